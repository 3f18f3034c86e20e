//! Chains that were parsed before: a client sends the same certificate with every request, and decoding it costs more than everything else
//! that a request with a remembered answer needs.
//!
//! What is remembered is what the octets of the two fields mean, so nothing can be wrong with it later. Never a verdict (requirements 6.2
//! item 10).

use std::sync::Arc;

use dance_core::CertificateDer;
use dance_core::matching::Credential;
use moka::sync::Cache;

use crate::forwarded::{ForwardedError, Values};

/// Octets of memory: some 3,000 clients with one certificate of ordinary size.
const MAX_OCTETS: u64 = 16 * 1024 * 1024;
/// What an entry costs besides its octets, about.
const OVERHEAD: usize = 256;

pub(crate) struct Chains(Cache<String, Arc<Credential>>);

impl Chains {
    pub(crate) fn new() -> Self {
        Self(Cache::builder().max_capacity(MAX_OCTETS).weigher(|fields: &String, _| weight(fields)).build())
    }

    /// The chain in these fields; what does not parse is not remembered.
    pub(crate) fn get(
        &self,
        values: &Values<'_>,
        parse: impl FnOnce(&Values<'_>) -> Result<Vec<CertificateDer<'static>>, ForwardedError>,
    ) -> Result<Arc<Credential>, ForwardedError> {
        let joined;
        let fields = match values.chain {
            None => values.certificate,
            Some(chain) => {
                // A line feed cannot stand in a field.
                joined = [values.certificate, "\n", chain].concat();
                &joined
            }
        };
        if let Some(known) = self.0.get(fields) {
            return Ok(known);
        }
        let chain = Arc::new(Credential::X509(parse(values)?));
        self.0.insert(fields.to_owned(), Arc::clone(&chain));
        Ok(chain)
    }
}

/// The octets of the field, and some three quarters of that as DER.
fn weight(fields: &str) -> u32 {
    u32::try_from(fields.len().saturating_mul(2).saturating_add(OVERHEAD)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use super::*;

    fn values<'a>(certificate: &'a str, chain: Option<&'a str>) -> Values<'a> {
        Values { certificate, chain }
    }

    /// What stands for the certificates of these fields: their octets.
    fn parse(values: &Values<'_>) -> Result<Vec<CertificateDer<'static>>, ForwardedError> {
        let fields = [values.certificate, values.chain.unwrap_or("none")];
        Ok(fields.into_iter().map(|field| CertificateDer::from(field.as_bytes().to_vec())).collect())
    }

    // HTTP-09, HTTP-14
    #[test]
    fn fields_do_not_stand_for_each_other() {
        let chains = Chains::new();
        let all =
            [values("a", None), values("b", None), values("ab", None), values("a", Some("b")), values("b", Some("a"))];
        for values in all.iter().chain(&[values("a", Some("a")), values("a", Some(""))]) {
            let first = chains.get(values, parse).unwrap();
            assert_eq!(*first, Credential::X509(parse(values).unwrap()), "{values:?}");
        }
        for values in &all {
            let known = chains.get(values, |values| panic!("{values:?} was forgotten")).unwrap();
            assert_eq!(*known, Credential::X509(parse(values).unwrap()), "{values:?}");
        }
    }

    #[test]
    fn what_does_not_parse_is_not_remembered() {
        let chains = Chains::new();
        let broken = |_: &Values<'_>| Err(ForwardedError::Base64);
        assert_eq!(chains.get(&values("a", None), broken), Err(ForwardedError::Base64));
        assert!(chains.get(&values("a", None), parse).is_ok());
        assert!(chains.get(&values("a", None), broken).is_ok());
    }

    // SEC-14: whoever sends certificates without end fills no memory, and does not push out who comes again and again.
    #[test]
    fn strangers_have_their_share_and_no_more() {
        let chains = Chains::new();
        let client = values("a client that comes again", None);
        let padding = "x".repeat(crate::forwarded::MAX_FIELD_LEN - 10);
        for number in 0..600 {
            let stranger = format!("{number}{padding}");
            chains.get(&values(&stranger, None), parse).unwrap();
            chains.get(&client, parse).unwrap();
            if number % 50 == 0 {
                chains.0.run_pending_tasks();
                assert!(chains.0.weighted_size() <= MAX_OCTETS, "{number}");
            }
        }
        chains.0.run_pending_tasks();
        assert!(chains.0.weighted_size() <= MAX_OCTETS && chains.0.weighted_size() > MAX_OCTETS / 2);
        let fields: usize = chains.0.iter().map(|(fields, _)| fields.len()).sum();
        assert!(fields as u64 * 2 <= MAX_OCTETS, "{fields}");
        assert!(chains.get(&client, |_| panic!("the client was forgotten")).is_ok());
    }
}

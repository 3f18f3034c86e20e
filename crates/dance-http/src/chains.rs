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

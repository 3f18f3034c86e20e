//! The matching engine against OpenSSL's DANE verifier, over random chains and RRsets.
//!
//! Their verdicts may differ in the ways of [`Difference`] and no other. OpenSSL plays the client here and we the server, so the
//! certificates are good for both.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::SystemTime;

use dance_core::matching::{Conclusion, Credential, MatchOptions, match_rrset};
use dance_core::name::ClientName;
use dance_core::tlsa::{CertUsage, TlsaRdata};
use dance_core::{CertificateDer, UnixTime};
use dance_interop::chains::{Chain, NAME, Naming, Random, Twist};
use dance_interop::openssl::{HOSTNAME_MISMATCH, Judgement, PERMITTED_VIOLATION, Presenter};
use tempfile::TempDir;

/// Chosen once. Another one for a longer search: `DANCE_ORACLE_SEED=N cargo test -p dance-interop --test oracle`.
const SEED: u64 = 20_261_122;
const CHAINS: usize = 60;
const RRSETS_PER_CHAIN: usize = 8;

fn ours(chain: &Chain, records: &[TlsaRdata], roots: &[Vec<u8>], digest_agility: bool) -> Conclusion {
    let certificates = |der: &[Vec<u8>]| der.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let credential = Credential::X509(certificates(&chain.sent));
    let options = MatchOptions { pkix_roots: certificates(roots), digest_agility, user_mode: false };
    let now = UnixTime::since_unix_epoch(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap());
    let name = ClientName::parse(NAME.as_bytes()).unwrap();
    match_rrset(records, &credential, &name, &options, now, dance_resolver::path_builder()).conclusion
}

/// Where OpenSSL authenticates and we do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    /// It falls back to the subject's common name.
    CommonName,
    /// It accepts wildcard dNSNames.
    Wildcard,
    /// It heeds no dates of a trust anchor that is not self-issued.
    AnchorDates,
    /// It takes an end entity for its own trust anchor, if DNS holds all of its certificate or key.
    OwnAnchor,
    /// It completes a PKIX path with a certificate from a `0 0 0` record.
    PathFromDns,
}

impl Difference {
    /// What can explain that OpenSSL authenticates and we conclude otherwise.
    fn explain(chain: &Chain, records: &[TlsaRdata], ours: &Conclusion) -> Option<Self> {
        let about = |usage: CertUsage, certificate: &[u8], record: &TlsaRdata| {
            record.usable().is_ok_and(|fields| {
                fields.usage == usage
                    && TlsaRdata::for_certificate(usage, fields.selector, fields.matching_type, certificate).as_ref()
                        == Ok(record)
            })
        };
        let full = |record: &TlsaRdata| record.as_wire()[2] == 0;
        let [end_entity, issuers @ ..] = chain.issued.as_slice() else { return None };
        let mut records = records.iter();
        match (ours, issuers, chain.twist) {
            (Conclusion::NameMismatch { .. }, ..) if chain.naming == Naming::CommonName => Some(Self::CommonName),
            (Conclusion::NameMismatch { .. }, ..) if chain.naming == Naming::Wildcard => Some(Self::Wildcard),
            (Conclusion::NoMatch, [], _) => records
                .any(|record| full(record) && about(CertUsage::DANE_TA, end_entity, record))
                .then_some(Self::OwnAnchor),
            (Conclusion::NoMatch, [issuer, _, ..], Twist::IssuerExpired) => {
                records.any(|record| about(CertUsage::DANE_TA, issuer, record)).then_some(Self::AnchorDates)
            }
            (Conclusion::NoMatch, [issuer, ..], Twist::IssuerNotSent) => records
                .any(|record| full(record) && about(CertUsage::PKIX_TA, issuer, record))
                .then_some(Self::PathFromDns),
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    authenticated: usize,
    refused: usize,
    name_mismatches: usize,
    /// Digest agility alone keeps the client out. OpenSSL cannot switch it off.
    agility: usize,
    differences: BTreeMap<Difference, usize>,
}

impl Tally {
    /// Counts a case; false where the two disagree in a way that is not known.
    fn count(&mut self, chain: &Chain, records: &[TlsaRdata], ours: &Conclusion, theirs: Judgement) -> bool {
        match (ours, theirs) {
            (Conclusion::Matched(_), Judgement::Authenticated) => self.authenticated += 1,
            (Conclusion::NameMismatch { .. }, Judgement::Refused(HOSTNAME_MISMATCH)) => self.name_mismatches += 1,
            // Without a dNSName, OpenSSL holds the common name against name constraints.
            (Conclusion::NameMismatch { .. }, Judgement::Refused(PERMITTED_VIOLATION))
                if chain.naming == Naming::CommonName =>
            {
                self.name_mismatches += 1;
            }
            // To OpenSSL a point off its curve is no key; we do not look into keys.
            (Conclusion::NoMatch | Conclusion::NoUsable, Judgement::Refused(_) | Judgement::NoUsable) => {
                self.refused += 1
            }
            (_, Judgement::Authenticated) => match Difference::explain(chain, records, ours) {
                Some(difference) => *self.differences.entry(difference).or_default() += 1,
                None => return false,
            },
            _ => return false,
        }
        true
    }
}

// TLSA-01, TLSA-02, TLSA-03, TLSA-04, TLSA-05, TLSA-06, TLSA-07, TLSA-08, TLSA-09, TLSA-10, TLSA-11, TLSA-12, TLSA-13, TLSA-14, TLSA-15
// TLSA-16, TLSA-19, TLSA-20, TLSA-21, TLSA-22, TLSA-24, TLSA-25, TLSA-26, TLSA-27, SRV-13, SRV-14
#[test]
fn openssl_agrees() {
    let seed = std::env::var("DANCE_ORACLE_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    let mut random = Random(seed);
    let mut tally = Tally::default();
    let mut differences = Vec::new();
    for number in 0..CHAINS {
        let chain = Chain::random(&mut random, number);
        let directory = TempDir::new().unwrap();
        let presenter = Presenter::start(directory.path(), &chain);
        for _ in 0..RRSETS_PER_CHAIN {
            let records = chain.random_rrset(&mut random);
            let root = chain.issued.last().unwrap();
            let roots = match random.below(4) {
                0 => vec![],
                1 => vec![chain.stranger.clone()],
                // A root is a CA's certificate.
                _ if chain.issued.len() > 1 => vec![root.clone()],
                _ => vec![],
            };
            let conclusion = ours(&chain, &records, &roots, true);
            let theirs = presenter.judge(&records, &roots);
            let matched = |conclusion: &Conclusion| matches!(conclusion, Conclusion::Matched(_));
            if !matched(&conclusion) && matched(&ours(&chain, &records, &roots, false)) {
                tally.agility += 1;
            }
            if !tally.count(&chain, &records, &conclusion, theirs) {
                let Chain { twist, naming, purpose, intermediates, .. } = &chain;
                let records: Vec<_> =
                    records.iter().map(|record| record.to_string()).map(|text| text[..20].to_owned()).collect();
                let trusted = if roots.is_empty() {
                    "no root"
                } else if roots[0] == *root {
                    "its root"
                } else {
                    "another root"
                };
                differences.push(format!(
                    "chain {number} ({twist:?}, {naming:?}, {purpose:?}, {intermediates:?} intermediates), {trusted}, {records:?}: \
                     ours {conclusion:?}, OpenSSL {theirs:?}"
                ));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "seed {seed}, {} of {}:\n{}",
        differences.len(),
        CHAINS * RRSETS_PER_CHAIN,
        differences.join("\n")
    );
    println!("seed {seed}: {tally:?}");
    // The usual search reaches what it is for.
    if seed == SEED {
        assert!(
            tally.authenticated >= 50 && tally.refused >= 50 && tally.name_mismatches >= 10 && tally.agility > 0,
            "{tally:?}"
        );
        for known in [Difference::CommonName, Difference::Wildcard] {
            assert!(tally.differences.contains_key(&known), "{tally:?}");
        }
    }
}

//! Throw-away keys, always the same ones: what is signed anew after it was changed must be signed with the zones' keys.

use std::sync::OnceLock;

use domain::base::iana::SecurityAlgorithm;
use domain::base::rdata::ComposeRecordData;
use domain::crypto::sign::{KeyPair, SecretKeyBytes, SignRaw};
use domain::dnssec::common::parse_from_bind;
use domain::rdata::Dnskey;

/// Public and private key files, one after the other.
const KEYS: &str = include_str!("keys.txt");

/// A key of no zone in particular.
pub struct Key {
    /// As in the files.
    pub text: &'static str,
    /// ECDSAP256SHA256 and so on.
    pub algorithm: SecurityAlgorithm,
    pair: KeyPair,
    public: Vec<u8>,
}

impl Key {
    fn read(text: &'static str) -> Self {
        let (public, secret) = text.split_at(text.find("Private-key-format").unwrap());
        let public = parse_from_bind::<Vec<u8>>(public).unwrap().into_data();
        let pair = KeyPair::from_bytes(&SecretKeyBytes::parse_from_bind(secret).unwrap(), &public).unwrap();
        Self { text, algorithm: public.algorithm(), pair, public: public.public_key().clone() }
    }

    /// All of them.
    pub fn all() -> &'static [Self] {
        static ALL: OnceLock<Vec<Key>> = OnceLock::new();
        ALL.get_or_init(|| KEYS.split("\n\n").map(Self::read).collect())
    }

    fn dnskey(&self, flags: u16) -> Dnskey<Vec<u8>> {
        Dnskey::new(flags, 3, self.algorithm, self.public.clone()).unwrap()
    }

    /// The data of its DNSKEY record.
    pub fn rdata(&self, flags: u16) -> Vec<u8> {
        let mut octets = Vec::new();
        let Ok(()) = self.dnskey(flags).compose_rdata(&mut octets);
        octets
    }

    /// Its tag, with these flags.
    pub fn tag(&self, flags: u16) -> u16 {
        self.dnskey(flags).key_tag()
    }

    /// A signature over these octets.
    pub fn sign(&self, octets: &[u8]) -> Vec<u8> {
        self.pair.sign_raw(octets).unwrap().as_ref().to_vec()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.algorithm, self.tag(257))
    }
}

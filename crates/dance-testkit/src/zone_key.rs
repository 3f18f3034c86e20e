//! Zone keys and the DS records that a parent holds for them.

use std::sync::Arc;

use bytes::Bytes;
use domain::base::iana::{Class, DigestAlgorithm, Rtype, SecurityAlgorithm};
use domain::base::rdata::ComposeRecordData;
use domain::base::{Record, ToName, Ttl};
use domain::crypto::common::{DigestBuilder, DigestType};
use domain::crypto::sign::{GenerateParams, KeyPair, SecretKeyBytes, SignError, SignRaw, Signature, generate};
use domain::dnssec::common::parse_from_bind;
use domain::dnssec::sign::keys::SigningKey;
use domain::rdata::{Dnskey, Ds};

use crate::dns_error::WorldError;
use crate::zone::{DEFAULT_TTL, DnsName, DsForm, KeyKind, KeyRole, KeySource, StoredRecord, Uses, Zone};

/// Not assigned by IANA as a DNSSEC algorithm.
const UNKNOWN_ALGORITHM: SecurityAlgorithm = SecurityAlgorithm::from_int(200);
/// Not assigned by IANA as a DS digest type.
const UNKNOWN_DIGEST: DigestAlgorithm = DigestAlgorithm::from_int(200);

/// The throw-away RSA key of all zones that sign with RSA: `ring` makes none, and making one takes seconds.
const RSA_PRIVATE: &str = include_str!("zone_rsa.private");

/// Most keys made in search of one with a given tag; on average it takes four.
const TAG_ATTEMPTS: usize = 500;
/// DNSKEY flags that decide whether a key may sign: Zone Key and REVOKE. SEP is a hint, and all others must be ignored (RFC 4034 section
/// 2.1.1).
const DECISIVE_FLAGS: u16 = 0x0180;

/// A zone key with its role.
#[derive(Debug)]
pub(crate) struct ZoneKey {
    pub(crate) kind: KeyKind,
    pub(crate) uses: Uses,
    /// Useless keys with the same tag.
    colliding: Vec<Dnskey<Bytes>>,
    pub(crate) signer: SigningKey<Bytes, Pair>,
}

impl ZoneKey {
    /// Makes a new key, RSA keys are always the same one; or takes the given one. With `colliding` useless ones of the same tag.
    pub(crate) fn new(apex: &DnsName, source: &KeySource, role: KeyRole, colliding: usize) -> Result<Self, WorldError> {
        let zone = || apex.fmt_with_dot().to_string();
        let uses = role.uses();
        let (kind, pair) = match source {
            KeySource::New(kind) => {
                let pair = Pair::new(*kind, uses).ok_or_else(|| WorldError::Key { zone: zone(), kind: *kind });
                (*kind, pair?)
            }
            KeySource::Given(text) => Pair::given(text, uses).ok_or_else(|| WorldError::GivenKey { zone: zone() })?,
        };
        let colliding = (1..=colliding).map_while(|turn| with_same_tag(&pair, kind, turn)).collect();
        Ok(Self { kind, uses, colliding, signer: SigningKey::new(apex.clone(), uses.flags, pair) })
    }

    /// The same key in another role.
    pub(crate) fn in_role(&self, role: KeyRole) -> Result<Self, WorldError> {
        let uses = role.uses();
        let apex = self.signer.owner();
        let pair = self.signer.raw_secret_key().used(uses);
        let pair = pair.ok_or_else(|| WorldError::Key { zone: apex.fmt_with_dot().to_string(), kind: self.kind })?;
        Ok(Self {
            kind: self.kind,
            uses,
            colliding: self.colliding.clone(),
            signer: SigningKey::new(apex.clone(), uses.flags, pair),
        })
    }

    /// The public key.
    pub(crate) fn dnskey(&self) -> &Dnskey<Bytes> {
        &self.signer.raw_secret_key().dnskey
    }

    /// What the DNSKEY RRset holds for this key: the useless ones too.
    pub(crate) fn published(&self) -> impl Iterator<Item = &Dnskey<Bytes>> {
        let all = self.colliding.iter().chain([self.dnskey()]);
        all.filter(|_| self.uses.published)
    }

    /// A DS for this key (RFC 4034 section 5.1.4).
    pub(crate) fn ds(&self, apex: &DnsName, form: DsForm) -> Result<Ds<Bytes>, WorldError> {
        let dnskey = self.dnskey();
        let mut digested = Vec::new();
        let Ok(()) = apex.compose_canonical(&mut digested);
        let Ok(()) = dnskey.compose_canonical_rdata(&mut digested);
        let digest = |kind| {
            let mut digest = DigestBuilder::new(kind);
            digest.update(&digested);
            digest.finish().as_ref().to_vec()
        };
        let garbage = |length| vec![0x5a; length];
        let (algorithm, digest_type, digest) = match form {
            DsForm::Sha1 => (dnskey.algorithm(), DigestAlgorithm::SHA1, digest(DigestType::Sha1)),
            DsForm::Sha256 => (dnskey.algorithm(), DigestAlgorithm::SHA256, digest(DigestType::Sha256)),
            DsForm::Sha384 => (dnskey.algorithm(), DigestAlgorithm::SHA384, digest(DigestType::Sha384)),
            DsForm::WrongSha1 => (dnskey.algorithm(), DigestAlgorithm::SHA1, garbage(20)),
            DsForm::WrongSha256 => (dnskey.algorithm(), DigestAlgorithm::SHA256, garbage(32)),
            DsForm::WrongSha384 => (dnskey.algorithm(), DigestAlgorithm::SHA384, garbage(48)),
            DsForm::UnknownAlgorithm => (UNKNOWN_ALGORITHM, DigestAlgorithm::SHA256, garbage(32)),
            DsForm::UnknownDigest => (dnskey.algorithm(), UNKNOWN_DIGEST, garbage(32)),
        };
        Ds::new(dnskey.key_tag(), algorithm, digest_type, digest.into())
            .map_err(|_| WorldError::LongRecord { rtype: Rtype::DS })
    }
}

/// A key pair as the signer wants it, with the DNSKEY that its role asks for.
#[derive(Debug)]
pub(crate) struct Pair {
    dnskey: Dnskey<Bytes>,
    /// `None` where the signatures are made up.
    secret: Option<Arc<KeyPair>>,
}

impl Pair {
    fn new(kind: KeyKind, uses: Uses) -> Option<Self> {
        let params = match kind {
            KeyKind::P256 => GenerateParams::EcdsaP256Sha256,
            KeyKind::P384 => GenerateParams::EcdsaP384Sha384,
            KeyKind::Ed25519 => GenerateParams::Ed25519,
            KeyKind::Rsa2048 | KeyKind::Rsa2048Sha512 | KeyKind::RsaSha1 => return Self::rsa(kind, uses),
            KeyKind::Ed448 => {
                // An Ed25519 key has the look of a part of one.
                let (_, part) = generate(&GenerateParams::Ed25519, uses.flags).ok()?;
                let mut public = part.public_key().clone();
                public.resize(57, 0x39);
                let dnskey = Dnskey::new(uses.flags, uses.protocol, SecurityAlgorithm::ED448, public.into()).ok()?;
                return Some(Self { dnskey, secret: None });
            }
        };
        let (secret, public) = generate(&params, uses.flags).ok()?;
        let secret = KeyPair::from_bytes(&secret, &public).ok()?;
        Self { dnskey: public.convert(), secret: Some(Arc::new(secret)) }.used(uses)
    }

    /// Reads a public and a private key file that follow one another.
    fn given(text: &str, uses: Uses) -> Option<(KeyKind, Self)> {
        let (public, secret) = text.split_at(text.find("Private-key-format")?);
        let public = parse_from_bind::<Vec<u8>>(public).ok()?.into_data();
        let kind = match public.algorithm() {
            SecurityAlgorithm::ECDSAP256SHA256 => KeyKind::P256,
            SecurityAlgorithm::ECDSAP384SHA384 => KeyKind::P384,
            SecurityAlgorithm::ED25519 => KeyKind::Ed25519,
            SecurityAlgorithm::RSASHA256 => KeyKind::Rsa2048,
            SecurityAlgorithm::RSASHA512 => KeyKind::Rsa2048Sha512,
            _ => return None,
        };
        let secret = KeyPair::from_bytes(&SecretKeyBytes::parse_from_bind(secret).ok()?, &public).ok()?;
        let pair = Self { dnskey: public.convert(), secret: Some(Arc::new(secret)) };
        Some((kind, pair.used(uses)?))
    }

    /// The published RSA key.
    fn rsa(kind: KeyKind, uses: Uses) -> Option<Self> {
        let SecretKeyBytes::RsaSha256(key) = SecretKeyBytes::parse_from_bind(RSA_PRIVATE).ok()? else {
            return None;
        };
        // RFC 3110 section 2: length of the exponent in one octet, exponent, modulus.
        let mut public = vec![u8::try_from(key.e.len()).ok()?];
        public.extend_from_slice(&key.e);
        public.extend_from_slice(&key.n);
        let (algorithm, secret) = match kind {
            KeyKind::Rsa2048 => (SecurityAlgorithm::RSASHA256, Some(SecretKeyBytes::RsaSha256(key))),
            KeyKind::Rsa2048Sha512 => (SecurityAlgorithm::RSASHA512, Some(SecretKeyBytes::RsaSha512(key))),
            _ => (SecurityAlgorithm::RSASHA1, None),
        };
        let dnskey: Dnskey<Vec<u8>> = Dnskey::new(uses.flags, 3, algorithm, public).ok()?;
        let secret = match secret {
            Some(secret) => Some(Arc::new(KeyPair::from_bytes(&secret, &dnskey).ok()?)),
            None => None,
        };
        Self { dnskey: dnskey.convert(), secret }.used(uses)
    }

    /// The same key with the flags and protocol of another use.
    fn used(&self, uses: Uses) -> Option<Self> {
        let key = &self.dnskey;
        let dnskey = Dnskey::new(uses.flags, uses.protocol, key.algorithm(), key.public_key().clone()).ok()?;
        Some(Self { dnskey, secret: self.secret.clone() })
    }
}

impl SignRaw for Pair {
    fn algorithm(&self) -> SecurityAlgorithm {
        self.dnskey.algorithm()
    }

    fn dnskey(&self) -> Dnskey<Vec<u8>> {
        self.dnskey.clone().convert()
    }

    fn sign_raw(&self, data: &[u8]) -> Result<Signature, SignError> {
        match &self.secret {
            Some(secret) => secret.sign_raw(data),
            None if self.algorithm() == SecurityAlgorithm::ED448 => Ok(Signature::Ed448(Box::new([0x39; 114]))),
            None => Ok(Signature::RsaSha1(vec![0x39; 256].into())),
        }
    }
}

/// Another key with the same tag. The tag is a sum of 16-bit words (RFC 4034 appendix B), and most flags have no meaning: for one key in
/// four there are flags that make up the difference. The words of an RSA key may change places: the first ones hold the exponent and
/// the top of the modulus, the last one its parity; those stay.
fn with_same_tag(pair: &Pair, kind: KeyKind, turn: usize) -> Option<Dnskey<Bytes>> {
    const KEPT_FIRST: usize = 6;
    const KEPT_LAST: usize = 2;
    let dnskey = &pair.dnskey;
    let with = |flags, public| Dnskey::new(flags, dnskey.protocol(), dnskey.algorithm(), public).ok();
    if let KeyKind::Rsa2048 | KeyKind::Rsa2048Sha512 | KeyKind::RsaSha1 = kind {
        let mut octets = dnskey.public_key().to_vec();
        let end = octets.len().checked_sub(KEPT_LAST)?;
        let middle = octets.get_mut(KEPT_FIRST..end)?;
        let turn = 2 * turn;
        if turn >= middle.len() {
            return None;
        }
        middle.rotate_left(turn);
        return with(dnskey.flags(), octets.into());
    }
    let uses = Uses { flags: 0, ..KeyRole::Csk.uses() };
    for _ in 0..TAG_ATTEMPTS {
        let other = Pair::new(kind, uses)?.dnskey;
        let flags = dnskey.key_tag().wrapping_sub(other.key_tag());
        // The carry that is added in the end may make a difference of one.
        for flags in [flags, flags.wrapping_sub(1)] {
            let other = with(flags, other.public_key().clone())?;
            if other.key_tag() == dnskey.key_tag() && flags & DECISIVE_FLAGS == dnskey.flags() & DECISIVE_FLAGS {
                return Some(other);
            }
        }
    }
    None
}

/// The DS RRset that the parent of a zone with these keys holds.
pub(crate) fn ds_records(zone: &Zone, apex: &DnsName, keys: &[ZoneKey]) -> Result<Vec<StoredRecord>, WorldError> {
    let mut all = Vec::new();
    for key in keys.iter().filter(|key| key.uses.has_ds) {
        for form in zone.delegation.forms() {
            let ds = key.ds(apex, *form)?;
            all.push(Record::new(apex.clone(), Class::IN, Ttl::from_secs(DEFAULT_TTL), ds.into()));
        }
    }
    Ok(all)
}

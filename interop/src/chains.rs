//! Random certificate chains and TLSA RRsets, the same for the same seed.

use std::fs;

use dance_core::tlsa::{CertUsage, MatchingType, Selector, TlsaRdata};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, NameConstraints, SanType, date_time_ymd,
};

use crate::process::vector;

/// The name that every chain is checked against.
pub const NAME: &str = "device1.example.com";

/// SplitMix64: enough for choosing among variants.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    /// One of these.
    pub fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// What is unusual about a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twist {
    /// Nothing.
    None,
    /// The end entity has expired.
    LeafExpired,
    /// The end entity is not valid yet.
    LeafNotYetValid,
    /// The last bit of the end entity's signature is flipped.
    LeafSignature,
    /// An issuer has expired.
    IssuerExpired,
    /// An issuer says that it is no CA.
    IssuerNotCa,
    /// An issuer may not sign certificates.
    IssuerKeyUsage,
    /// The root allows fewer intermediates than there are.
    PathLength,
    /// The root does not permit the name.
    NotPermitted,
    /// The root permits the name.
    Permitted,
    /// The issuer of the end entity is not sent.
    IssuerNotSent,
    /// The root is not sent.
    RootNotSent,
    /// The issuers are sent in reverse.
    Reversed,
    /// A certificate that has nothing to do with the others is sent among them.
    Stranger,
    /// In place of the root, one of the same name and another key is sent.
    Impersonator,
}

const TWISTS: &[Twist] = &[
    Twist::None,
    Twist::LeafExpired,
    Twist::LeafNotYetValid,
    Twist::LeafSignature,
    Twist::IssuerExpired,
    Twist::IssuerNotCa,
    Twist::IssuerKeyUsage,
    Twist::PathLength,
    Twist::NotPermitted,
    Twist::Permitted,
    Twist::IssuerNotSent,
    Twist::RootNotSent,
    Twist::Reversed,
    Twist::Stranger,
    Twist::Impersonator,
];

/// How the end entity names itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// A dNSName.
    Exact,
    /// A dNSName in upper case.
    UpperCase,
    /// The name after another one.
    Second,
    /// Another name.
    Other,
    /// The parent domain.
    Parent,
    /// The subject's common name alone.
    CommonName,
    /// A dNSName with a wildcard.
    Wildcard,
    /// No name at all.
    Nothing,
}

const NAMINGS: &[Naming] = &[
    // The right ones more often, or little would ever match.
    Naming::Exact,
    Naming::Exact,
    Naming::Exact,
    Naming::Exact,
    Naming::UpperCase,
    Naming::Second,
    Naming::Other,
    Naming::Parent,
    Naming::CommonName,
    Naming::Wildcard,
    Naming::Nothing,
];

/// A chain, as issued and as sent.
#[derive(Debug)]
pub struct Chain {
    /// What is unusual about it.
    pub twist: Twist,
    /// How the end entity names itself.
    pub naming: Naming,
    /// The end entity's extended key usage: both purposes, none stated, or another one.
    pub purpose: Purpose,
    /// Certificates between end entity and root; `None` for a self-signed end entity.
    pub intermediates: Option<usize>,
    /// The end entity's private key, a file of the vectors.
    pub key: &'static str,
    /// End entity first, root last, in DER.
    pub issued: Vec<Vec<u8>>,
    /// What the peer sends, end entity first, in DER.
    pub sent: Vec<Vec<u8>>,
    /// A root that has nothing to do with the chain.
    pub stranger: Vec<u8>,
}

/// What an end entity's certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Server and client: OpenSSL's verifier plays the client here, ours the server.
    Both,
    /// Not stated: anything.
    Any,
    /// E-mail only.
    Email,
}

impl Chain {
    /// Draws a chain. Twist and naming go by its number, so that each comes up.
    #[must_use]
    pub fn random(random: &mut Random, number: usize) -> Self {
        let twist = TWISTS[number % TWISTS.len()];
        let naming = NAMINGS[number % NAMINGS.len()];
        let purpose = random.choose(&[Purpose::Both, Purpose::Both, Purpose::Any, Purpose::Email]);
        let intermediates = match twist {
            // These are of the end entity or of nobody.
            Twist::None | Twist::LeafExpired | Twist::LeafNotYetValid | Twist::LeafSignature | Twist::Stranger => {
                random.choose(&[None, Some(0), Some(1), Some(2)])
            }
            Twist::PathLength => Some(2),
            _ => random.choose(&[Some(0), Some(1), Some(2)]),
        };
        let key = random.choose(&["keys/ee-p256.key.pem", "keys/ee-rsa2048.key.pem", "keys/ee-ed25519.key.pem"]);

        let leaf = leaf_parameters(twist, naming, purpose);
        let leaf_key = key_pair(key);
        let issued = match intermediates {
            None => vec![leaf.self_signed(&leaf_key).unwrap().der().to_vec()],
            Some(intermediates) => issue(&leaf, &leaf_key, twist, intermediates),
        };
        let stranger = authority("Stranger").self_signed(&key_pair("keys/other.key.pem")).unwrap().der().to_vec();
        let mut chain = Self { twist, naming, purpose, intermediates, key, sent: issued.clone(), issued, stranger };
        if twist == Twist::LeafSignature {
            for leaf in [&mut chain.issued[0], &mut chain.sent[0]] {
                *leaf.last_mut().unwrap() ^= 1;
            }
        }
        chain.misplace();
        chain
    }

    /// Twists of what is sent, for chains long enough.
    fn misplace(&mut self) {
        let issuers = self.sent.len() - 1;
        match self.twist {
            Twist::IssuerNotSent if issuers > 0 => drop(self.sent.remove(1)),
            Twist::RootNotSent if issuers > 0 => drop(self.sent.pop()),
            Twist::Reversed => self.sent[1..].reverse(),
            Twist::Stranger => self.sent.insert(1, self.stranger.clone()),
            Twist::Impersonator if issuers > 0 => {
                let impersonator = authority("Root").self_signed(&key_pair("keys/root2.key.pem")).unwrap();
                self.sent[issuers] = impersonator.der().to_vec();
            }
            _ => {}
        }
    }

    /// Draws one to four records, most of them about certificates of this chain.
    #[must_use]
    pub fn random_rrset(&self, random: &mut Random) -> Vec<TlsaRdata> {
        let mut records: Vec<_> = (0..=random.below(4)).map(|_| self.random_record(random)).collect();
        if random.below(6) == 0 {
            // A digest that matches and a stronger one that does not.
            let (usage, selector, certificate) = self.random_subject(random);
            records.push(record(usage, selector, MatchingType::SHA2_256, certificate));
            records.push(record(usage, selector, MatchingType::SHA2_512, &self.stranger));
        }
        records
    }

    /// What a record is about: mostly what its usage is made for, sometimes the wrong end of the chain, rarely another chain.
    fn random_subject(&self, random: &mut Random) -> (CertUsage, Selector, &[u8]) {
        const USAGES: [CertUsage; 5] =
            [CertUsage::PKIX_TA, CertUsage::PKIX_EE, CertUsage::DANE_TA, CertUsage::DANE_TA, CertUsage::DANE_EE];
        let usage = random.choose(&USAGES);
        let [end_entity, issuers @ ..] = self.issued.as_slice() else { unreachable!("a chain has an end entity") };
        let certificate = match (random.below(8), usage) {
            (0, _) => &self.stranger,
            (1, _) => &self.issued[random.below(self.issued.len())],
            (_, CertUsage::PKIX_TA | CertUsage::DANE_TA) if !issuers.is_empty() => {
                &issuers[random.below(issuers.len())]
            }
            _ => end_entity,
        };
        (usage, random.choose(&[Selector::CERT, Selector::SPKI]), certificate)
    }

    fn random_record(&self, random: &mut Random) -> TlsaRdata {
        let (usage, selector, certificate) = self.random_subject(random);
        let matching_type = random.choose(&[MatchingType::FULL, MatchingType::SHA2_256, MatchingType::SHA2_512]);
        let mut octets = record(usage, selector, matching_type, certificate).as_wire().to_vec();
        match random.below(12) {
            // Data of an unusable length, parameters that nobody knows, a digest of something else.
            0 => octets.truncate(octets.len() - 1),
            1 => octets[random.below(3)] = 77,
            2 if matching_type != MatchingType::FULL => octets[3] ^= 1,
            _ => {}
        }
        TlsaRdata::from_wire(&octets)
    }
}

fn record(usage: CertUsage, selector: Selector, matching_type: MatchingType, certificate: &[u8]) -> TlsaRdata {
    TlsaRdata::for_certificate(usage, selector, matching_type, certificate).unwrap()
}

fn key_pair(file: &str) -> KeyPair {
    KeyPair::from_pem(&fs::read_to_string(vector(file)).unwrap()).unwrap()
}

fn leaf_parameters(twist: Twist, naming: Naming, purpose: Purpose) -> CertificateParams {
    let common_name = if naming == Naming::CommonName { NAME } else { "a device" };
    let mut leaf = named(common_name);
    let names: &[&str] = match naming {
        Naming::Exact => &[NAME],
        Naming::UpperCase => &["DEVICE1.EXAMPLE.com"],
        Naming::Second => &["other.example.com", NAME],
        Naming::Other => &["device2.example.com"],
        Naming::Parent => &["example.com"],
        Naming::Wildcard => &["*.example.com"],
        Naming::CommonName | Naming::Nothing => &[],
    };
    leaf.subject_alt_names = names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect();
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = match purpose {
        Purpose::Both => vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth],
        Purpose::Any => vec![],
        Purpose::Email => vec![ExtendedKeyUsagePurpose::EmailProtection],
    };
    match twist {
        Twist::LeafExpired => leaf.not_after = date_time_ymd(2021, 1, 1),
        Twist::LeafNotYetValid => leaf.not_before = date_time_ymd(2048, 1, 1),
        _ => {}
    }
    leaf
}

fn named(common_name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    parameters.not_before = date_time_ymd(2020, 1, 1);
    parameters.not_after = date_time_ymd(2049, 1, 1);
    parameters.use_authority_key_identifier_extension = true;
    parameters
}

fn authority(common_name: &str) -> CertificateParams {
    let mut parameters = named(common_name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    parameters
}

/// Root, intermediates and end entity; the result has the end entity first. Twists about an issuer hit the end entity's.
fn issue(leaf: &CertificateParams, leaf_key: &KeyPair, twist: Twist, intermediates: usize) -> Vec<Vec<u8>> {
    const KEYS: [&str; 3] = ["keys/root.key.pem", "keys/inter.key.pem", "keys/inter2.key.pem"];
    let mut issued: Vec<Vec<u8>> = Vec::new();
    let mut above: Option<Issuer<'_, KeyPair>> = None;
    for (depth, key) in KEYS.iter().enumerate().take(intermediates + 1) {
        let mut parameters = authority(if depth == 0 { "Root" } else { ["First", "Second"][depth - 1] });
        match twist {
            Twist::IssuerExpired if depth == intermediates => parameters.not_after = date_time_ymd(2021, 1, 1),
            Twist::IssuerNotCa if depth == intermediates => parameters.is_ca = IsCa::ExplicitNoCa,
            Twist::IssuerKeyUsage if depth == intermediates => parameters.key_usages = vec![KeyUsagePurpose::CrlSign],
            Twist::PathLength if depth == 0 => parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)),
            Twist::NotPermitted | Twist::Permitted if depth == 0 => {
                let subtree = if twist == Twist::Permitted { "example.com" } else { "example.org" };
                parameters.name_constraints = Some(NameConstraints {
                    permitted_subtrees: vec![GeneralSubtree::DnsName(subtree.to_owned())],
                    excluded_subtrees: vec![],
                });
            }
            _ => {}
        }
        let key = key_pair(key);
        let certificate = match &above {
            None => parameters.self_signed(&key).unwrap(),
            Some(above) => parameters.signed_by(&key, above).unwrap(),
        };
        issued.insert(0, certificate.der().to_vec());
        above = Some(Issuer::new(parameters, key));
    }
    issued.insert(0, leaf.signed_by(leaf_key, &above.unwrap()).unwrap().der().to_vec());
    issued
}

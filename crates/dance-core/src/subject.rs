//! What a record is compared with, and what a certificate says about who holds it.

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::OnceCell;

use sha2::{Digest as _, Sha256, Sha512};

use crate::matching::Credential;
use crate::name::ClientName;
use crate::search::Node;
use crate::tlsa::{MatchingType, Selector, TlsaFields};
use crate::x509::{AltName, Certificate};

/// Longest user id: the longest local part of an e-mail address (RFC 5321 section 4.5.3.1.1).
const MAX_USER_ID_LEN: usize = 64;

/// What a record is compared with: one certificate or raw public key. Digests are computed when asked for, each once.
pub(crate) struct Subject<'a> {
    /// `None` for a raw public key.
    pub(crate) certificate: Option<&'a [u8]>,
    /// `None` for a certificate that does not decode.
    spki: Option<&'a [u8]>,
    pub(crate) node: Option<Node<'a>>,
    sha256: [OnceCell<[u8; 32]>; 2],
    sha512: [OnceCell<[u8; 64]>; 2],
}

impl<'a> Subject<'a> {
    pub(crate) fn of(credential: &'a Credential) -> Self {
        match credential {
            Credential::X509(chain) => {
                let leaf = chain.first();
                let node = leaf.and_then(Node::new);
                Self::new(leaf.map(|octets| octets.as_ref()), node.map(|node| node.certificate.spki()), node)
            }
            Credential::RawPublicKey(spki) => Self::new(None, Some(spki), None),
        }
    }

    pub(crate) fn of_node(node: &Node<'a>) -> Self {
        Self::new(Some(node.octets), Some(node.certificate.spki()), Some(*node))
    }

    fn new(certificate: Option<&'a [u8]>, spki: Option<&'a [u8]>, node: Option<Node<'a>>) -> Self {
        Self { certificate, spki, node, sha256: Default::default(), sha512: Default::default() }
    }

    /// Whether this is what a usable record describes.
    pub(crate) fn is(&self, record: TlsaFields<'_>) -> bool {
        let [sha256_of_certificate, sha256_of_spki] = &self.sha256;
        let [sha512_of_certificate, sha512_of_spki] = &self.sha512;
        let (content, sha256, sha512) = match record.selector {
            Selector::CERT => (self.certificate, sha256_of_certificate, sha512_of_certificate),
            Selector::SPKI => (self.spki, sha256_of_spki, sha512_of_spki),
            Selector(_) => return false,
        };
        let Some(content) = content else { return false };
        match record.matching_type {
            MatchingType::FULL => content == record.data,
            MatchingType::SHA2_256 => sha256.get_or_init(|| Sha256::digest(content).into()) == record.data,
            MatchingType::SHA2_512 => sha512.get_or_init(|| Sha512::digest(content).into()) == record.data,
            MatchingType(_) => false,
        }
    }

    fn certificate(&self) -> Option<&Certificate<'a>> {
        self.node.as_ref().map(|node| &node.certificate)
    }

    /// Requirements 5.4: a dNSName that equals the name, whole, without regard to case; no wildcard, no subject.
    pub(crate) fn holds(&self, name: &ClientName) -> bool {
        self.certificate().is_some_and(|certificate| {
            certificate.dns_names().any(|entry| entry.eq_ignore_ascii_case(name.as_str().as_bytes()))
        })
    }

    /// Requirements 2.5: the user at `domain`, lower case. `None` unless there is exactly one, printable.
    pub(crate) fn user(&self, domain: &ClientName) -> Option<String> {
        let mut uids = Vec::new();
        let mut emails = Vec::new();
        for name in self.certificate()?.alt_names() {
            match name.ok()? {
                AltName::Uid(uid) => uids.push(uid),
                AltName::Email(address) => {
                    let parts = core::str::from_utf8(address).ok().and_then(|address| address.rsplit_once('@'));
                    let here = parts.filter(|(_, host)| host.eq_ignore_ascii_case(domain.as_str()));
                    emails.extend(here.map(|(local, _)| local));
                }
                AltName::Dns(_) | AltName::Other => {}
            }
        }
        let ids = if uids.is_empty() { emails } else { uids };
        let &[id] = ids.as_slice() else { return None };
        is_user_id(id).then(|| alloc::format!("{}@{domain}", id.to_ascii_lowercase()))
    }
}

/// Whether this can stand before the `@` of an identity (requirements 2.5).
pub(crate) fn is_user_id(id: &str) -> bool {
    (1..=MAX_USER_ID_LEN).contains(&id.len()) && id.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'@')
}

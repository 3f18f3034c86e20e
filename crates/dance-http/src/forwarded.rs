//! The certificate that the balancer forwards, in the one dialect that the configuration names.
//!
//! A dialect is never guessed: what one balancer writes into a field, another lets through from outside. What is read is strict: one
//! field line, nothing beside what the dialect prescribes, and each certificate exactly one DER certificate.

use std::borrow::Cow;
use std::fmt;

use dance_core::CertificateDer;
use dance_core::message::MAX_CERTIFICATES;
use dance_core::x509::Certificate;
use data_encoding::BASE64;
use http::header::{HeaderMap, HeaderName};
use sfv::{BareItem, Item, List, ListEntry, Parser};

use crate::xfcc;

/// Longest value of a field that is looked at, in octets: what the Certificate message may have (SEC-14), which Base64 and percent
/// encoding make half as long again at most before balancers' own limits of 8 to 64 KiB cut it.
pub const MAX_FIELD_LEN: usize = 96 * 1024;

/// `Client-Cert` (RFC 9440 section 2.2).
pub const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
/// `Client-Cert-Chain` (RFC 9440 section 2.3).
pub const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");

/// How a balancer writes certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// RFC 9440: the end entity as a Byte Sequence, the rest of the chain, where there is one, as a List of them in the second field.
    Rfc9440,
    /// Percent-encoded PEM (nginx, Apache, AWS, Azure Application Gateway): the end entity, and after it the chain where the balancer
    /// writes one.
    EscapedPem,
    /// DER in Base64 (HAProxy, Caddy, Cloudflare, Azure App Service): the end entity. The second field, where there is one, holds the rest
    /// of the chain as certificates that follow upon each other, in one piece of Base64.
    Base64Der,
    /// `X-Forwarded-Client-Cert` of Envoy: of several elements the last, which our own proxy has appended. With `URI` or `DNS` in it, which
    /// Envoy does not quote, an element must be the only one.
    Xfcc,
    /// Traefik's `X-Forwarded-Tls-Client-Cert`: DER in Base64, the end entity first, joined by commas.
    Traefik,
}

/// Which fields a balancer forwards a certificate in, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedBy {
    dialect: Dialect,
    /// `None`: in no field, but beside the request.
    certificate: Option<HeaderName>,
    chain: Option<HeaderName>,
}

impl ForwardedBy {
    /// By RFC 9440.
    #[must_use]
    pub const fn rfc9440() -> Self {
        Self { dialect: Dialect::Rfc9440, certificate: Some(CLIENT_CERT), chain: Some(CLIENT_CERT_CHAIN) }
    }

    /// In no field of the request, but in a protocol of the balancer's own, as percent-encoded PEM: Envoy's `ext_authz` over gRPC. No
    /// field counts then, whoever has written it.
    #[must_use]
    pub const fn beside_the_request() -> Self {
        Self { dialect: Dialect::EscapedPem, certificate: None, chain: None }
    }

    /// In a field of the operator's choice.
    #[must_use]
    pub const fn new(dialect: Dialect, certificate: HeaderName) -> Self {
        Self { dialect, certificate: Some(certificate), chain: None }
    }

    /// With the rest of the chain in a field of its own. Of no use to dialects that have both in one.
    #[must_use]
    pub fn with_chain(self, chain: HeaderName) -> Self {
        Self { chain: Some(chain), ..self }
    }

    /// The fields: nobody but the balancer may have written them.
    pub fn fields(&self) -> impl Iterator<Item = &HeaderName> {
        self.certificate.iter().chain(&self.chain)
    }

    /// Whether certificates come [beside the request](Self::beside_the_request).
    #[must_use]
    pub const fn is_beside_the_request(&self) -> bool {
        self.certificate.is_none()
    }

    /// The values of the two fields as they stand, or what the balancer says `beside` them: what a memory of parsed chains is keyed by.
    ///
    /// # Errors
    /// A field is there more than once, is too long, or there is a chain and no certificate.
    pub(crate) fn values<'a>(
        &self,
        headers: &'a HeaderMap,
        beside: &'a str,
    ) -> Result<Option<Values<'a>>, ForwardedError> {
        let certificate = match &self.certificate {
            Some(name) => one(headers, name)?,
            None => value(beside.as_bytes())?,
        };
        let chain = match &self.chain {
            Some(name) => one(headers, name)?,
            None => None,
        };
        match (certificate, chain) {
            (Some(certificate), chain) => Ok(Some(Values { certificate, chain })),
            (None, None) => Ok(None),
            // RFC 9440 section 2.3: never without the certificate.
            (None, Some(_)) => Err(ForwardedError::ChainAlone),
        }
    }

    /// The client's certificates, the end entity first; `None` if the balancer says that it has shown none.
    ///
    /// # Errors
    /// The fields are not what the dialect prescribes: a misconfigured balancer, or somebody else's field let through.
    pub fn read(&self, headers: &HeaderMap) -> Result<Option<Vec<CertificateDer<'static>>>, ForwardedError> {
        self.values(headers, "")?.map(|values| self.parse(&values)).transpose()
    }

    pub(crate) fn parse(&self, values: &Values<'_>) -> Result<Vec<CertificateDer<'static>>, ForwardedError> {
        let mut certificates = match self.dialect {
            Dialect::Rfc9440 => vec![byte_sequence(values.certificate)?],
            Dialect::EscapedPem => pem(&percent_decode(values.certificate)?)?,
            Dialect::Base64Der => vec![base64(values.certificate)?],
            Dialect::Xfcc => pem(&percent_decode(&xfcc::certificates(values.certificate)?)?)?,
            Dialect::Traefik => comma_joined(values.certificate)?,
        };
        if let Some(chain) = values.chain {
            match self.dialect {
                Dialect::Rfc9440 => certificates.extend(byte_sequences(chain)?),
                Dialect::EscapedPem | Dialect::Xfcc => certificates.extend(pem(&percent_decode(chain)?)?),
                Dialect::Base64Der => certificates.extend(concatenated(&base64(chain)?)?),
                Dialect::Traefik => certificates.extend(comma_joined(chain)?),
            }
        }
        if certificates.len() > MAX_CERTIFICATES {
            return Err(ForwardedError::TooMany { found: certificates.len() });
        }
        certificates
            .into_iter()
            .enumerate()
            .map(|(position, octets)| match Certificate::parse(&octets) {
                Ok(_) => Ok(CertificateDer::from(octets)),
                Err(_) => Err(ForwardedError::NotACertificate { position }),
            })
            .collect()
    }
}

/// What the fields hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Values<'a> {
    pub(crate) certificate: &'a str,
    pub(crate) chain: Option<&'a str>,
}

/// The one value of a field that may be there once. An empty one counts as absent: balancers set a field from a variable that is empty
/// where there was no certificate.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ForwardedError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ForwardedError::Repeated { field: name.clone() });
    }
    self::value(value.as_bytes())
}

fn value(octets: &[u8]) -> Result<Option<&str>, ForwardedError> {
    if octets.len() > MAX_FIELD_LEN {
        return Err(ForwardedError::TooLong { found: octets.len() });
    }
    let visible = |octet: &u8| matches!(octet, b'\t' | b' '..=b'~');
    let text = std::str::from_utf8(octets).ok().filter(|_| octets.iter().all(visible));
    let text = text.ok_or(ForwardedError::NotAscii)?.trim_matches([' ', '\t']);
    Ok((!text.is_empty()).then_some(text))
}

fn byte_sequence(value: &str) -> Result<Vec<u8>, ForwardedError> {
    let item: Item = Parser::new(value).parse().map_err(|_| ForwardedError::Syntax { dialect: Dialect::Rfc9440 })?;
    octets(item.bare_item)
}

fn byte_sequences(value: &str) -> Result<Vec<Vec<u8>>, ForwardedError> {
    let list: List = Parser::new(value).parse().map_err(|_| ForwardedError::Syntax { dialect: Dialect::Rfc9440 })?;
    list.into_iter()
        .map(|entry| match entry {
            ListEntry::Item(item) => octets(item.bare_item),
            ListEntry::InnerList(_) => Err(ForwardedError::Syntax { dialect: Dialect::Rfc9440 }),
        })
        .collect()
}

fn octets(item: BareItem) -> Result<Vec<u8>, ForwardedError> {
    match item {
        BareItem::ByteSequence(octets) => Ok(octets),
        _ => Err(ForwardedError::Syntax { dialect: Dialect::Rfc9440 }),
    }
}

fn base64(value: &str) -> Result<Vec<u8>, ForwardedError> {
    BASE64.decode(value.as_bytes()).map_err(|_| ForwardedError::Base64)
}

/// Traefik up to 2.x escaped the value; a comma, a plus sign and a slash that are escaped come out the same.
fn comma_joined(value: &str) -> Result<Vec<Vec<u8>>, ForwardedError> {
    percent_decode(value)?.split(',').map(base64).collect()
}

/// DER certificates one after the other.
fn concatenated(mut octets: &[u8]) -> Result<Vec<Vec<u8>>, ForwardedError> {
    let mut certificates = Vec::new();
    while !octets.is_empty() {
        let length = der_length(octets).ok_or(ForwardedError::NotACertificate { position: certificates.len() + 1 })?;
        let (certificate, rest) = octets.split_at(length);
        certificates.push(certificate.to_vec());
        octets = rest;
    }
    Ok(certificates)
}

/// How many octets the first element takes, if it is a SEQUENCE in DER of at most 64 KiB and all there.
fn der_length(octets: &[u8]) -> Option<usize> {
    let length = match octets {
        [0x30, short @ 0..=0x7f, ..] => 2 + usize::from(*short),
        [0x30, 0x81, one, ..] => 3 + usize::from(*one),
        [0x30, 0x82, high, low, ..] => 4 + usize::from(u16::from_be_bytes([*high, *low])),
        _ => return None,
    };
    (length <= octets.len()).then_some(length)
}

fn percent_decode(value: &str) -> Result<Cow<'_, str>, ForwardedError> {
    percent_encoding::percent_decode_str(value).decode_utf8().map_err(|_| ForwardedError::Base64)
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Certificates in PEM, with nothing but line ends between them.
fn pem(text: &str) -> Result<Vec<Vec<u8>>, ForwardedError> {
    let mut certificates = Vec::new();
    for part in text.split_inclusive(END) {
        let part = part.trim_ascii();
        if part.is_empty() {
            continue;
        }
        // The decoder would read over text before the armour.
        if !part.starts_with(BEGIN) {
            return Err(ForwardedError::Pem);
        }
        let (_, octets) = pem_rfc7468::decode_vec(part.as_bytes()).map_err(|_| ForwardedError::Pem)?;
        certificates.push(octets);
    }
    if certificates.is_empty() { Err(ForwardedError::Pem) } else { Ok(certificates) }
}

/// Why a forwarded certificate cannot be read. The balancer's configuration is at fault, or it lets through what it should set itself; the
/// answer is 400 (requirements 6.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardedError {
    /// A field stands in more than one line.
    Repeated {
        /// Which.
        field: HeaderName,
    },
    /// The chain without the certificate (RFC 9440 section 2.3).
    ChainAlone,
    /// Longer than [`MAX_FIELD_LEN`].
    TooLong {
        /// Octets.
        found: usize,
    },
    /// Octets beyond ASCII.
    NotAscii,
    /// Not what the dialect writes.
    Syntax {
        /// The dialect that was expected.
        dialect: Dialect,
    },
    /// Not Base64, or not what was percent-encoded.
    Base64,
    /// Not PEM of certificates alone.
    Pem,
    /// An `X-Forwarded-Client-Cert` in which names out of the client's certificate may have become elements or pairs.
    UnquotedNames,
    /// More certificates than [`MAX_CERTIFICATES`].
    TooMany {
        /// How many.
        found: usize,
    },
    /// Octets that are not exactly one DER certificate.
    NotACertificate {
        /// Its position; 0 is the end entity.
        position: usize,
    },
}

impl fmt::Display for ForwardedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repeated { field } => write!(
                f,
                "expected one line of {field}, found several: the balancer must replace what comes in from outside, not add to it"
            ),
            Self::ChainAlone => {
                f.write_str("expected the client's certificate beside its chain, found the chain alone: the balancer must remove both")
            }
            Self::TooLong { found } => {
                write!(f, "expected a forwarded certificate of at most {MAX_FIELD_LEN} octets, found {found}")
            }
            Self::NotAscii => f.write_str("expected a forwarded certificate in ASCII, found other octets"),
            Self::Syntax { dialect } => write!(
                f,
                "expected a forwarded certificate as {} writes it, found something else: is this the dialect of the balancer in front?",
                dialect.name()
            ),
            Self::Base64 => f.write_str("expected a forwarded certificate in Base64, found something else"),
            Self::Pem => f.write_str("expected percent-encoded PEM of certificates and nothing else"),
            Self::UnquotedNames => f.write_str(
                "expected X-Forwarded-Client-Cert without URI and DNS, into which clients write what they please unless the element is the \
                 only one and ends with them: have Envoy set cert and chain alone (set_current_client_cert_details)",
            ),
            Self::TooMany { found } => {
                write!(f, "expected at most {MAX_CERTIFICATES} forwarded certificates, found {found}")
            }
            Self::NotACertificate { position } => write!(
                f,
                "forwarded certificate {position} (0 is the client's own): expected exactly one certificate in DER, found other octets"
            ),
        }
    }
}

impl std::error::Error for ForwardedError {}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Rfc9440, Self::EscapedPem, Self::Base64Der, Self::Xfcc, Self::Traefik];

    /// Its name in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rfc9440 => "rfc9440",
            Self::EscapedPem => "escaped-pem",
            Self::Base64Der => "base64-der",
            Self::Xfcc => "xfcc",
            Self::Traefik => "traefik",
        }
    }

    /// The field in which its balancers forward unless told otherwise; `None` where they must be told.
    #[must_use]
    pub const fn default_field(self) -> Option<HeaderName> {
        match self {
            Self::Rfc9440 => Some(CLIENT_CERT),
            Self::Xfcc => Some(HeaderName::from_static("x-forwarded-client-cert")),
            Self::Traefik => Some(HeaderName::from_static("x-forwarded-tls-client-cert")),
            Self::EscapedPem | Self::Base64Der => None,
        }
    }

    /// The dialect of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == name)
    }
}

//! The identity header: taken off every request that comes in, put on those of authenticated clients, and kept out of shared caches
//! (requirements 6.1 items 3, 4 and 7).
//!
//! On the way to the origin the gateway owns these fields, whatever the client writes:
//!
//! * the identity header, `Dane-Clientid`, `Client-Cert`, `Client-Cert-Chain`: removed; the identity header is set to the
//!   authenticated name, or stays absent; `Client-Cert` is set to the certificate of a client whose name nobody has asked for, or who did
//!   not give one and is known by an ordinary CA, or stays absent, and `Client-Cert-Chain` with it;
//! * `Forwarded`, `X-Real-IP` and everything that begins with `X-Forwarded-`: removed; `X-Forwarded-For` is set to the peer's address
//!   and `X-Forwarded-Proto` to `https`. Nothing is appended to: what a client says about those before it is hearsay.
//!
//! `Dane-Clientid-Asserted` passes: it says nothing but what the client claims, and whoever is behind the gateway may want to check that.
//!
//! Names are compared without regard to case and with all octets that are neither letter nor digit equal, because CGI, WSGI and their
//! kin map `Dane-Clientid`, `dane_clientid` and, in places, `dane.clientid` to one variable.

use crate::asserted::ASSERTED;
use crate::forwarded::{CLIENT_CERT, CLIENT_CERT_CHAIN, ForwardedBy};
use dance_core::CertificateDer;
use dance_core::verdict::VerifiedClient;
use data_encoding::BASE64;
use http::header::{self, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Where the application finds the authenticated name, unless configured otherwise (requirements 6.1 item 3).
pub const IDENTITY: HeaderName = HeaderName::from_static("dane-clientid");
const HTTPS: HeaderValue = HeaderValue::from_static("https");

/// Fields that say who the client is, under their own names, besides the one that the configuration chose.
const IDENTITY_FIELDS: [&[u8]; 3] = [b"dane-clientid", b"client-cert", b"client-cert-chain"];
/// Fields that say where a request came from.
const FORWARDING_FIELDS: [&[u8]; 2] = [b"forwarded", b"x-real-ip"];
const FORWARDING_PREFIX: &[u8] = b"x-forwarded-";

/// Fields between one hop and the next (RFC 9110 section 7.6.1), `Connection` aside.
const HOP_BY_HOP: [HeaderName; 6] = [
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The rules for one gateway.
#[derive(Clone, Debug)]
pub struct HeaderRules {
    identity: HeaderName,
}

/// The rules for an application behind a balancer: what the balancer itself has written stays, what says who the client is is ours alone.
#[derive(Clone, Debug)]
pub struct IdentityFields {
    /// Says who the client is.
    identity: HeaderName,
    /// The balancer's own.
    kept: Vec<HeaderName>,
}

impl IdentityFields {
    /// Where certificates come in these fields.
    #[must_use]
    pub fn new(forwarded_by: &ForwardedBy) -> Self {
        Self { identity: IDENTITY, kept: forwarded_by.fields().cloned().collect() }
    }

    /// Says who the client is in this field instead of [`IDENTITY`], which nobody may set then.
    #[must_use]
    pub fn telling_in(self, identity: HeaderName) -> Self {
        Self { identity, ..self }
    }

    /// Those of `headers` that came in from outside and must not reach the application, under any spelling: whatever says who the
    /// client is, and the name that was only asserted.
    pub fn foreign<'a>(&self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a HeaderName> {
        headers.keys().filter(|name| self.is_identity(name.as_str().as_bytes()) && !self.kept.contains(name))
    }

    /// Takes off what came in from outside under any spelling, the name that was only asserted too, and says who the client is. What
    /// `Connection` names of it is no longer named there, or the next hop would take off what we say.
    pub fn rewrite(&self, headers: &mut HeaderMap, client: &VerifiedClient) {
        let foreign: Vec<_> = self.foreign(headers).cloned().collect();
        for name in foreign {
            headers.remove(name);
        }
        retain_tokens(headers, &header::CONNECTION, |token| !self.is_identity(token));
        // Printable ASCII without spaces, so always a value; without one the field stays absent.
        if let Ok(identity) = HeaderValue::from_str(client.identity()) {
            headers.insert(self.identity.clone(), identity);
        }
    }

    /// What an application answers to an authenticated client is for that client, unless the application says otherwise, by
    /// `Cache-Control` or by a `Vary` that tells clients apart (RFC 9440 section 2.4). One by `Accept-Encoding` does not. One by a field
    /// that says who the client is becomes `*`: that field is not in the request that a cache on the way has seen.
    pub(crate) fn keep_from_caches(&self, response: &mut HeaderMap) {
        let varies = |by: &dyn Fn(&[u8]) -> bool| response.get_all(header::VARY).iter().flat_map(tokens).any(by);
        if varies(&|token| self.is_identity(token)) {
            response.insert(header::VARY, HeaderValue::from_static("*"));
        } else if !varies(&|token| token == b"*") && !response.contains_key(header::CACHE_CONTROL) {
            response.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }

    /// Takes off trailers what says who the client is; the balancer says it in headers.
    pub(crate) fn strip_trailers(&self, trailers: &mut HeaderMap) {
        remove(trailers, |name| self.is_identity(name.as_str().as_bytes()));
    }

    /// Whether a field of this name says who the client is, to whatever may read it.
    fn is_identity(&self, name: &[u8]) -> bool {
        same(name, ASSERTED.as_str().as_bytes())
            || same(name, self.identity.as_str().as_bytes())
            || IDENTITY_FIELDS.iter().any(|field| same(name, field))
            || self.kept.iter().any(|kept| same(name, kept.as_str().as_bytes()))
    }
}

/// What is the same for all requests of one connection.
#[derive(Clone, Debug)]
pub struct PeerHeaders {
    identity: Option<HeaderValue>,
    certificate: Option<HeaderValue>,
    /// Never without the certificate (RFC 9440 section 2.3).
    chain: Option<HeaderValue>,
    address: HeaderValue,
}

impl PeerHeaders {
    /// For a client that connected from `address`; `client` is who it is, where that is established.
    ///
    /// # Errors
    /// The identity cannot stand in a header. Core admits none such; the connection must not go on without it.
    pub fn new(address: std::net::IpAddr, client: Option<&VerifiedClient>) -> Result<Self, InvalidHeaderValue> {
        let identity = client.map(|client| HeaderValue::from_str(client.identity())).transpose()?;
        let address = HeaderValue::from_str(&address.to_canonical().to_string())?;
        Ok(Self { identity, certificate: None, chain: None, address })
    }

    /// For a client of which no more is told than the certificates that it has shown, the end entity's first: `Client-Cert` with that one
    /// (RFC 9440 section 2.2), `Client-Cert-Chain` with the others in their order (section 2.3), neither if there is none.
    ///
    /// # Errors
    /// None that octets in Base64 could cause.
    pub fn with_certificates(
        address: std::net::IpAddr,
        certificates: &[CertificateDer<'_>],
    ) -> Result<Self, InvalidHeaderValue> {
        let peer = Self::new(address, None)?;
        let Some((end_entity, issuers)) = certificates.split_first() else { return Ok(peer) };
        let issuers: Vec<_> = issuers.iter().map(byte_sequence).collect();
        let chain = (!issuers.is_empty()).then(|| HeaderValue::try_from(issuers.join(", "))).transpose()?;
        Ok(Self { certificate: Some(HeaderValue::try_from(byte_sequence(end_entity))?), chain, ..peer })
    }

    /// How many octets the values of `Client-Cert` and `Client-Cert-Chain` have together: what an origin may find too long (RFC 9440 section
    /// 3.2).
    #[must_use]
    pub fn certificate_octets(&self) -> usize {
        [&self.certificate, &self.chain].into_iter().flatten().map(HeaderValue::len).sum()
    }
}

/// A Byte Sequence, on one line (RFC 9651 section 4.1.8).
fn byte_sequence(certificate: &CertificateDer<'_>) -> String {
    format!(":{}:", BASE64.encode(certificate))
}

/// Whether a request asked to leave HTTP, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// It did not, or for a protocol that the gateway does not let through.
    None,
    /// To WebSocket (RFC 6455).
    WebSocket,
}

impl HeaderRules {
    /// Tells the client's identity in the field `identity`.
    #[must_use]
    pub const fn new(identity: HeaderName) -> Self {
        Self { identity }
    }

    /// Makes the headers of a request those that the origin may see. First everything that ends at this hop goes, including what
    /// `Connection` names, so that a client cannot have our own fields removed behind us; then what only we may say; then we say it.
    pub fn rewrite_request(&self, headers: &mut HeaderMap, peer: &PeerHeaders) -> Upgrade {
        let upgrade = take_hop_by_hop(headers);
        self.strip(headers);
        self.strip_announced(headers);
        headers.insert(X_FORWARDED_FOR, peer.address.clone());
        headers.insert(X_FORWARDED_PROTO, HTTPS);
        if let Some(identity) = &peer.identity {
            headers.insert(self.identity.clone(), identity.clone());
        }
        if let Some(certificate) = &peer.certificate {
            headers.insert(CLIENT_CERT, certificate.clone());
        }
        if let Some(chain) = &peer.chain {
            headers.insert(CLIENT_CERT_CHAIN, chain.clone());
        }
        upgrade
    }

    /// Removes from request headers or trailers every field that only the gateway may set.
    pub fn strip(&self, headers: &mut HeaderMap) {
        remove(headers, |name| self.is_ours(name));
    }

    /// Removes those fields from the announcement of trailers.
    fn strip_announced(&self, headers: &mut HeaderMap) {
        retain_tokens(headers, &header::TRAILER, |token| {
            HeaderName::from_bytes(token).is_ok_and(|name| !self.is_ours(&name))
        });
    }

    /// Makes the headers of a response those that the client may see: hop-by-hop fields go, and a response that varies by identity
    /// is marked as varying by something that no cache can see (RFC 9440 section 2.4).
    pub fn rewrite_response(&self, headers: &mut HeaderMap) {
        take_hop_by_hop(headers);
        headers.remove(&self.identity);
        let names_identity = |value: &HeaderValue| tokens(value).any(|token| self.is_identity(token));
        if headers.get_all(header::VARY).iter().any(names_identity) {
            headers.insert(header::VARY, HeaderValue::from_static("*"));
        }
    }

    fn is_ours(&self, name: &HeaderName) -> bool {
        self.is_identity(name.as_str().as_bytes()) || Self::is_forwarding(name)
    }

    /// Whether the field says who the client is.
    fn is_identity(&self, name: &[u8]) -> bool {
        same(name, self.identity.as_str().as_bytes()) || IDENTITY_FIELDS.iter().any(|field| same(name, field))
    }

    /// Whether the field says where a request came from.
    pub fn is_forwarding(name: &HeaderName) -> bool {
        let octets = name.as_str().as_bytes();
        octets.get(..FORWARDING_PREFIX.len()).is_some_and(|prefix| same(prefix, FORWARDING_PREFIX))
            || FORWARDING_FIELDS.iter().any(|field| same(octets, field))
    }
}

/// Whether two names are one variable to some interface behind the gateway.
pub fn same(one: &[u8], other: &[u8]) -> bool {
    let mark = |octet: u8| !octet.is_ascii_alphanumeric();
    one.len() == other.len() && one.iter().zip(other).all(|(&a, &b)| a.eq_ignore_ascii_case(&b) || (mark(a) && mark(b)))
}

/// Removes `Connection`, the fields it names, and the other hop-by-hop fields (RFC 9110 section 7.6.1).
fn take_hop_by_hop(headers: &mut HeaderMap) -> Upgrade {
    let mut upgrade = Upgrade::None;
    let mut named = Vec::new();
    for token in headers.get_all(header::CONNECTION).iter().flat_map(tokens) {
        if token.eq_ignore_ascii_case(b"upgrade") {
            let websocket = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
            // Only WebSocket: a tunnel that carries further HTTP requests, such as h2c, would carry them past this module.
            let mut protocols = headers.get_all(header::UPGRADE).iter();
            if protocols.next().is_some_and(websocket) && protocols.next().is_none() {
                upgrade = Upgrade::WebSocket;
            }
        } else if token.eq_ignore_ascii_case(b"close") || token.eq_ignore_ascii_case(b"keep-alive") {
            // Options, not field names.
        } else if let Ok(name) = HeaderName::from_bytes(token) {
            // Host belongs to every recipient; naming it is an error that must not cost the origin its virtual host.
            if name != header::HOST {
                named.push(name);
            }
        }
    }
    headers.remove(header::CONNECTION);
    for name in &named {
        headers.remove(name);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    upgrade
}

/// Removes the fields whose name is `unwanted`.
fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    let names: Vec<_> = headers.keys().filter(|name| unwanted(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Leaves those members of a list that are `wanted`, and the field as it is if all are.
fn retain_tokens(headers: &mut HeaderMap, field: &HeaderName, wanted: impl Fn(&[u8]) -> bool) {
    if headers.get_all(field).iter().flat_map(tokens).all(&wanted) {
        return;
    }
    let left: Vec<&[u8]> = headers.get_all(field).iter().flat_map(tokens).filter(|token| wanted(token)).collect();
    match HeaderValue::from_bytes(&left.join(&b", "[..])) {
        Ok(value) if !left.is_empty() => headers.insert(field, value),
        _ => headers.remove(field),
    };
}

/// The comma-separated members of a field value, without the white space around them.
pub fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|&octet| octet == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests;

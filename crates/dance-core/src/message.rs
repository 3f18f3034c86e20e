//! Certificate and CertificateRequest messages, read without copying (RFC 9846 sections 4.4.2 and 4.5.1; for a client's Certificate of
//! TLS 1.2 RFC 5246 section 7.4.2 and RFC 7250 section 3).
//!
//! A message is given whole, with its handshake header of four octets and without record headers; a CompressedCertificate after
//! decompression. The TLS stack below has accepted it already. It is read a second time here because what the stack hands out is not
//! what was received: certificates come re-encoded, and extensions of later entries not at all.

use alloc::vec::Vec;
use core::fmt;

use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};

use crate::clientid::{
    ClientProfile, ExtensionError, ExtensionType, ExtensionTypes, Place, Placement, Profile, TlsVersion, decode_client,
    placement,
};
use crate::matching::Credential;
use crate::reason::Reason;
use crate::verdict::{ClientId, Presented};

/// Most certificates in a Certificate message (requirements 7, SEC-14).
pub const MAX_CERTIFICATES: usize = 16;

/// Longest message in octets, header included (requirements 7, SEC-14).
pub const MAX_MESSAGE_LEN: usize = 64 * 1024;

/// HandshakeType certificate (RFC 9846 section 4).
const CERTIFICATE: u8 = 11;
/// HandshakeType certificate_request.
const CERTIFICATE_REQUEST: u8 = 13;

/// A Certificate message of TLS 1.3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateMessage<'a> {
    /// The certificate_request_context: empty in the main handshake, that of the request after it.
    pub context: &'a [u8],
    /// The certificate_list in its order; may be empty.
    pub entries: Vec<CertificateEntry<'a>>,
}

/// A CertificateEntry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateEntry<'a> {
    /// A certificate, or with raw public keys a SubjectPublicKeyInfo, in DER as received.
    pub data: &'a [u8],
    /// Its extensions.
    pub extensions: Extensions<'a>,
}

impl<'a> CertificateMessage<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// [`MessageError`]: it does not decode, or exceeds a limit.
    pub fn parse(message: &'a [u8]) -> Result<Self, MessageError> {
        let mut body = handshake(message, CERTIFICATE)?;
        let context = body.prefixed(1)?;
        let mut list = Reader(body.prefixed(3)?);
        body.end()?;
        let mut entries = Vec::new();
        while !list.0.is_empty() {
            let data = list.certificate(entries.len())?;
            entries.push(CertificateEntry { data, extensions: Extensions::parse(list.prefixed(2)?)? });
        }
        Ok(Self { context, entries })
    }
}

/// A CertificateRequest message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertificateRequestMessage<'a> {
    /// The certificate_request_context: empty in the main handshake.
    pub context: &'a [u8],
    /// Its extensions.
    pub extensions: Extensions<'a>,
}

impl<'a> CertificateRequestMessage<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// [`MessageError`]: it does not decode, or exceeds a limit.
    pub fn parse(message: &'a [u8]) -> Result<Self, MessageError> {
        let mut body = handshake(message, CERTIFICATE_REQUEST)?;
        let context = body.prefixed(1)?;
        let extensions = Extensions::parse(body.prefixed(2)?)?;
        body.end()?;
        Ok(Self { context, extensions })
    }

    /// Whether the server says that it can do DANE: the first of `extension_types` that is there, and the profile of its signal. A
    /// server signals every code point that it takes, so that several are no fault.
    ///
    /// # Errors
    /// One of them stands twice, or what is there is no signal of `profile`.
    pub fn signal(
        &self,
        extension_types: &ExtensionTypes,
        profile: ClientProfile,
    ) -> Result<Option<(ExtensionType, Profile)>, ExtensionError> {
        let mut signal = None;
        for kind in extension_types.as_slice() {
            let data = self.extensions.get(&ExtensionTypes::from(*kind))?;
            signal = signal.or(data.map(|data| (*kind, data)));
        }
        signal.map(|(kind, data)| Ok((kind, profile.decode_signal(data)?))).transpose()
    }
}

/// A block of extensions, known to decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extensions<'a>(&'a [u8]);

impl<'a> Extensions<'a> {
    /// Takes a block without the length before it.
    ///
    /// # Errors
    /// It does not decode.
    pub fn parse(block: &'a [u8]) -> Result<Self, MessageError> {
        let mut reader = Reader(block);
        while !reader.0.is_empty() {
            reader.extension()?;
        }
        Ok(Self(block))
    }

    /// Type and data of each, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let mut reader = Reader(self.0);
        core::iter::from_fn(move || reader.extension().ok())
    }

    /// The data of ours, if it is there.
    ///
    /// # Errors
    /// [`ExtensionError::Duplicate`]: more than one of ours (requirements 3.4 h). Other types are the business of the TLS stack.
    pub fn get(&self, extension_types: &ExtensionTypes) -> Result<Option<&'a [u8]>, ExtensionError> {
        let mut ours = self.iter().filter(|(found, _)| extension_types.contains(*found)).map(|(_, data)| data);
        let data = ours.next();
        if ours.next().is_some() { Err(ExtensionError::Duplicate) } else { Ok(data) }
    }
}

/// What client and server have agreed on before the client's Certificate message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated<'a> {
    /// The code points of `dane_clientid` that the server takes, each of which it has signalled.
    pub extension_types: &'a ExtensionTypes,
    /// The wire profile.
    pub profile: Profile,
    /// Whether the CertificateRequest carried the signal.
    pub signal_sent: bool,
    /// The client certificate type (RFC 7250).
    pub certificate_type: CertificateType,
    /// The certificate_request_context of the CertificateRequest: empty in the main handshake.
    pub context: &'a [u8],
}

/// What the entries of a Certificate message hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateType {
    /// Certificates.
    X509,
    /// One raw public key.
    RawPublicKey,
}

/// Reads a client's Certificate message of TLS 1.3 into what the decision procedure starts from (requirements 4.2 steps 4 and 5).
/// Faults of the extension are part of the result, since they are decided upon there.
///
/// # Errors
/// [`MessageError`]: the message itself is at fault. Aborts the handshake under either policy.
pub fn read_client_certificate(message: &[u8], negotiated: &Negotiated<'_>) -> Result<Presented, MessageError> {
    let message = CertificateMessage::parse(message)?;
    if message.context != negotiated.context {
        return Err(MessageError::OtherContext);
    }
    let certificates = message.entries.iter().map(|entry| entry.data);
    let credential = match negotiated.certificate_type {
        CertificateType::RawPublicKey if message.entries.len() > 1 => return Err(MessageError::SeveralRawPublicKeys),
        CertificateType::RawPublicKey => certificates.map(raw_public_key).next(),
        CertificateType::X509 => chain(certificates),
    };
    let client_id = match client_id(&message.entries, negotiated) {
        Ok(client_id) => client_id,
        Err(error) => ClientId::Invalid(error),
    };
    Ok(Presented { credential, client_id })
}

/// Reads a client's Certificate message of TLS 1.2, in which there are no extensions: `client_id` is what its ClientHello said. A list or
/// key without octets is how a client has nothing to present (RFC 5246 section 7.4.6).
///
/// # Errors
/// [`MessageError`]: the message itself is at fault. Aborts the handshake under either policy.
pub fn read_client_certificate_tls12(
    message: &[u8],
    certificate_type: CertificateType,
    client_id: ClientId,
) -> Result<Presented, MessageError> {
    let mut body = handshake(message, CERTIFICATE)?;
    let mut content = Reader(body.prefixed(3)?);
    body.end()?;
    let credential = match certificate_type {
        // One key in the place of the list; the length of the one is that of the other.
        CertificateType::RawPublicKey => (!content.0.is_empty()).then(|| raw_public_key(content.0)),
        CertificateType::X509 => {
            let mut certificates = Vec::new();
            while !content.0.is_empty() {
                certificates.push(content.certificate(certificates.len())?);
            }
            chain(certificates.into_iter())
        }
    };
    Ok(Presented { credential, client_id })
}

fn raw_public_key(octets: &[u8]) -> Credential {
    Credential::RawPublicKey(SubjectPublicKeyInfoDer::from(octets.to_vec()))
}

/// `None` for no certificate.
fn chain<'a>(certificates: impl Iterator<Item = &'a [u8]>) -> Option<Credential> {
    let chain: Vec<_> = certificates.map(|octets| CertificateDer::from(octets.to_vec())).collect();
    (!chain.is_empty()).then_some(Credential::X509(chain))
}

/// The extension of the first entry, which is the only one that may have it (requirements 3.4 h, i, l).
fn client_id(entries: &[CertificateEntry<'_>], negotiated: &Negotiated<'_>) -> Result<ClientId, ExtensionError> {
    let Negotiated { extension_types, profile, signal_sent, .. } = *negotiated;
    for (index, entry) in entries.iter().enumerate() {
        let place = if index == 0 { Place::ClientCertificate } else { Place::ClientCertificateLater };
        if entry.extensions.iter().any(|(found, _)| extension_types.contains(found))
            && let Placement::Refuse(error) = placement(profile, TlsVersion::Tls13, place, signal_sent)
        {
            return Err(error);
        }
    }
    let Some(first) = entries.first() else { return Ok(ClientId::Absent) };
    match first.extensions.get(extension_types)? {
        None => Ok(ClientId::Absent),
        Some(data) => decode_client(profile, data).map(ClientId::Form),
    }
}

/// Why a message does not decode. The fault of whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// An entry without octets.
    EmptyCertificate,
    /// A length that points past the end, or octets after the end.
    Length,
    /// A certificate_request_context that is not the request's.
    OtherContext,
    /// Another handshake message.
    OtherMessage {
        /// The HandshakeType expected.
        expected: u8,
        /// That found.
        found: u8,
    },
    /// More than one entry with raw public keys (RFC 9846 section 4.5.1, SRV-22).
    SeveralRawPublicKeys,
    /// More than [`MAX_MESSAGE_LEN`].
    TooLong {
        /// How many octets.
        octets: usize,
    },
    /// More than [`MAX_CERTIFICATES`].
    TooManyCertificates,
}

impl MessageError {
    /// The reason it becomes, and by that the alert.
    #[must_use]
    pub const fn reason(self) -> Reason {
        Reason::CertificateMalformed
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyCertificate => {
                f.write_str("expected a certificate or key in each entry, found one without octets")
            }
            Self::Length => f.write_str("a length in the message does not agree with the octets that follow"),
            Self::OtherContext => f.write_str("the certificate_request_context is not that of the request"),
            Self::OtherMessage { expected, found } => {
                write!(f, "expected handshake message type {expected}, found {found}")
            }
            Self::SeveralRawPublicKeys => f.write_str("expected one raw public key, found several entries"),
            Self::TooLong { octets } => write!(f, "expected at most {MAX_MESSAGE_LEN} octets, found {octets}"),
            Self::TooManyCertificates => write!(f, "expected at most {MAX_CERTIFICATES} certificates, found more"),
        }
    }
}

impl core::error::Error for MessageError {}

/// The body of a handshake message.
fn handshake(message: &[u8], expected: u8) -> Result<Reader<'_>, MessageError> {
    if message.len() > MAX_MESSAGE_LEN {
        return Err(MessageError::TooLong { octets: message.len() });
    }
    let (&found, rest) = message.split_first().ok_or(MessageError::Length)?;
    if found != expected {
        return Err(MessageError::OtherMessage { expected, found });
    }
    let mut rest = Reader(rest);
    let body = rest.prefixed(3)?;
    rest.end()?;
    Ok(Reader(body))
}

/// Octets not read yet.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], MessageError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(MessageError::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A big-endian number.
    pub(crate) fn number(&mut self, octets: usize) -> Result<usize, MessageError> {
        Ok(self.take(octets)?.iter().fold(0, |number, octet| number << 8 | usize::from(*octet)))
    }

    /// A vector behind its length of so many octets (RFC 9846 section 3.4).
    pub(crate) fn prefixed(&mut self, length_octets: usize) -> Result<&'a [u8], MessageError> {
        let len = self.number(length_octets)?;
        self.take(len)
    }

    /// A certificate or key, after so many before it.
    fn certificate(&mut self, before: usize) -> Result<&'a [u8], MessageError> {
        if before == MAX_CERTIFICATES {
            return Err(MessageError::TooManyCertificates);
        }
        let octets = self.prefixed(3)?;
        if octets.is_empty() { Err(MessageError::EmptyCertificate) } else { Ok(octets) }
    }

    fn extension(&mut self) -> Result<(u16, &'a [u8]), MessageError> {
        let [high, low] = self.take(2)? else { return Err(MessageError::Length) };
        Ok((u16::from_be_bytes([*high, *low]), self.prefixed(2)?))
    }

    pub(crate) const fn end(&self) -> Result<(), MessageError> {
        if self.0.is_empty() { Ok(()) } else { Err(MessageError::Length) }
    }
}

//! What a connection knows while OpenSSL runs its handshake, and what it answers when OpenSSL asks. Lives in the SSL
//! object.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dance_core::clientid::{
    ExtensionError, ExtensionType, Place, Placement, Profile, TlsVersion, decode_client, decode_signal, placement,
};
use dance_core::message::CertificateRequestMessage;
use openssl::ssl::{SslRef, SslVersion};
use openssl_sys as sys;

use crate::ffi;
use crate::transport::Gate;

/// HandshakeType (RFC 9846 section 4).
const HANDSHAKE_SERVER_HELLO: u8 = 2;
const HANDSHAKE_ENCRYPTED_EXTENSIONS: u8 = 8;
const HANDSHAKE_CERTIFICATE: u8 = 11;
const HANDSHAKE_CERTIFICATE_REQUEST: u8 = 13;
/// Handshake header, empty certificate_request_context and certificate_list length: what a Certificate has at least.
const EMPTY_CERTIFICATE: usize = 4 + 1 + 3;

/// Which way a message went.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Received,
    Sent,
}

/// The answer to "which extension here?".
pub(crate) enum Addition<'a> {
    Nothing,
    Data(&'a [u8]),
    /// End the connection with this alert.
    Alert(u8),
}

/// The answer to "is this certificate or key acceptable?".
pub(crate) enum Judgement {
    Accept {
        /// Client: the server has not negotiated the type of credential that there is, so there is none to use. Left to
        /// itself, OpenSSL 3.5 sends an empty Certificate and signs it.
        unusable_credential: bool,
    },
    /// OpenSSL's own verification failed, and makes the alert.
    Untrusted,
    HandshakeFailure,
}

/// Which end of the connection this is, with its settings.
pub(crate) enum Side {
    Server {
        /// `extension_data` for CertificateRequest; `None` where DANE is off.
        signal: Option<&'static [u8]>,
        /// Closed when the client's Certificate comes in, in TLS 1.2.
        gate: Gate,
    },
    Client(ClientSide),
}

pub(crate) struct ClientSide {
    /// `extension_data` for the first CertificateEntry.
    pub(crate) client_id: Option<Box<[u8]>>,
    /// Go on only if the server can do DANE (requirements C3).
    pub(crate) require_signal: bool,
    /// The credential is a raw public key.
    pub(crate) raw_public_key: bool,
    /// Judge the server's certificate. Off by explicit setting only.
    pub(crate) verify_server: bool,
}

/// Why a client refused a server when it judged its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerRefusal {
    Untrusted,
    NoSignal,
    NoRawPublicKeys,
}

pub(crate) struct Conn {
    profile: Profile,
    side: Side,
    state: Mutex<State>,
    #[cfg(feature = "misbehave")]
    rewrite: Option<crate::misbehave::Rewrite>,
    #[cfg(feature = "misbehave")]
    rewritten: Mutex<Vec<u8>>,
}

/// What the callbacks have learnt.
#[derive(Clone, Default)]
pub(crate) struct State {
    /// Server: the client's Certificate message as received, header included.
    pub(crate) certificate: Option<Vec<u8>>,
    /// The peer's certificate or key has been judged: what fails from here on is not about its message.
    judged: bool,
    /// Server: CertificateRequest has been sent.
    asked: bool,
    /// Client: the server's CertificateRequest message as received, header included.
    certificate_request: Option<Vec<u8>>,
    /// Client: the type of the server's message that OpenSSL reads.
    reading: Option<u8>,
    /// Client: the CertificateRequest carried the signal.
    pub(crate) signal_seen: bool,
    /// Client: a Certificate with at least one entry has been sent.
    pub(crate) credential_sent: bool,
    /// Client: the name has been sent.
    pub(crate) name_sent: bool,
    /// Why the parse callback ended the handshake.
    pub(crate) extension_error: Option<ExtensionError>,
    /// Why the certificate callback did.
    pub(crate) server_refusal: Option<ServerRefusal>,
    /// Server: end the connection with this alert at the next NewSessionTicket.
    verdict_alert: Option<u8>,
    /// The alert that this end sent, if it ended the connection by an error.
    pub(crate) alert_sent: Option<u8>,
    /// The alert that the peer sent, likewise.
    pub(crate) alert_received: Option<u8>,
    /// Panic at the next opportunity.
    #[cfg(test)]
    pub(crate) panic: bool,
}

impl State {
    /// Takes what the handshake was for; alerts stay, for the rest of the connection.
    pub(crate) fn take(&mut self) -> Self {
        let rest = Self { alert_sent: self.alert_sent, alert_received: self.alert_received, ..Self::default() };
        std::mem::replace(self, rest)
    }

    /// Client: what is wrong with an extension that OpenSSL has refused without asking: it takes none of ours in a
    /// ServerHello or EncryptedExtensions, because the ClientHello has none, and nothing twice.
    pub(crate) fn refused_extension(&self, extension_type: ExtensionType, profile: Profile) -> Option<ExtensionError> {
        match self.reading? {
            HANDSHAKE_SERVER_HELLO => Some(ExtensionError::Unsolicited(Place::ServerHello)),
            HANDSHAKE_ENCRYPTED_EXTENSIONS => Some(ExtensionError::Unsolicited(Place::EncryptedExtensions)),
            HANDSHAKE_CERTIFICATE_REQUEST => {
                let request = CertificateRequestMessage::parse(self.certificate_request.as_deref()?).ok()?;
                request.signal(&extension_type.into(), profile.into()).err()
            }
            _ => None,
        }
    }

    /// Server: the client has been asked for its Certificate, and none with entries has been read to its end.
    pub(crate) fn awaiting_certificate(&self) -> bool {
        self.asked && !self.judged && self.certificate.as_ref().is_none_or(|message| message.len() > EMPTY_CERTIFICATE)
    }
}

impl Conn {
    pub(crate) fn new(profile: Profile, side: Side) -> Self {
        Self {
            profile,
            side,
            state: Mutex::default(),
            #[cfg(feature = "misbehave")]
            rewrite: None,
            #[cfg(feature = "misbehave")]
            rewritten: Mutex::default(),
        }
    }

    /// The state. A callback that panicked poisons nothing: each field is written in one step.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        #[cfg(test)]
        assert!(!state.panic, "a test has asked for a panic");
        state
    }

    /// Server: the next NewSessionTicket becomes this alert instead.
    pub(crate) fn refuse_with(&self, alert: u8) {
        self.state().verdict_alert = Some(alert);
    }

    /// OpenSSL is building a message that may carry the extension.
    pub(crate) fn add_extension(&self, context: u32, chain_index: usize) -> Addition<'_> {
        match &self.side {
            Side::Server { signal, .. } => match (context, signal) {
                (sys::SSL_EXT_TLS1_3_CERTIFICATE_REQUEST, Some(signal)) => Addition::Data(signal),
                (sys::SSL_EXT_TLS1_3_NEW_SESSION_TICKET, _) => {
                    self.state().verdict_alert.map_or(Addition::Nothing, Addition::Alert)
                }
                _ => Addition::Nothing,
            },
            Side::Client(client) => {
                let certificate = matches!(context, sys::SSL_EXT_TLS1_3_CERTIFICATE | ffi::EXT_RAW_PUBLIC_KEY);
                let mut state = self.state();
                match &client.client_id {
                    Some(client_id) if certificate && chain_index == 0 && state.signal_seen => {
                        state.name_sent = true;
                        Addition::Data(client_id)
                    }
                    _ => Addition::Nothing,
                }
            }
        }
    }

    /// OpenSSL has met the extension. The error is the alert that ends the handshake.
    pub(crate) fn parse_extension(
        &self,
        ssl: &SslRef,
        context: u32,
        chain_index: usize,
        data: &[u8],
    ) -> Result<(), u8> {
        let version = version(ssl);
        let place = self.place(context, chain_index);
        let asked = matches!(&self.side, Side::Server { signal: Some(_), .. });
        let mut state = self.state();
        let result = match placement(self.profile, version, place, asked) {
            Placement::Ignore => Ok(()),
            Placement::Refuse(error) => Err(error),
            Placement::Read => match &self.side {
                Side::Server { .. } => decode_client(self.profile, data).map(|_| ()),
                Side::Client(_) => decode_signal(self.profile, data).map(|()| state.signal_seen = true),
            },
        };
        result.map_err(|error| {
            state.extension_error = Some(error);
            error.reason().alert().code()
        })
    }

    /// OpenSSL's context flag, of which there is one at a time, as a place in the handshake.
    fn place(&self, context: u32, chain_index: usize) -> Place {
        let server = matches!(self.side, Side::Server { .. });
        match context {
            sys::SSL_EXT_CLIENT_HELLO => Place::ClientHello,
            sys::SSL_EXT_TLS1_3_HELLO_RETRY_REQUEST => Place::HelloRetryRequest,
            sys::SSL_EXT_TLS1_3_ENCRYPTED_EXTENSIONS => Place::EncryptedExtensions,
            sys::SSL_EXT_TLS1_3_CERTIFICATE_REQUEST => Place::CertificateRequest,
            sys::SSL_EXT_TLS1_3_NEW_SESSION_TICKET => Place::NewSessionTicket,
            sys::SSL_EXT_TLS1_3_CERTIFICATE | ffi::EXT_RAW_PUBLIC_KEY if !server => Place::ServerCertificate,
            sys::SSL_EXT_TLS1_3_CERTIFICATE | ffi::EXT_RAW_PUBLIC_KEY if chain_index == 0 => Place::ClientCertificate,
            sys::SSL_EXT_TLS1_3_CERTIFICATE | ffi::EXT_RAW_PUBLIC_KEY => Place::ClientCertificateLater,
            _ => Place::ServerHello,
        }
    }

    /// OpenSSL has read the peer's certificate or raw public key. A server takes any: possession is proven by
    /// CertificateVerify, and who it is says DANE. A client has `trusted` judge by its trust anchors and the server's
    /// name.
    pub(crate) fn judge_certificate(&self, ssl: &SslRef, trusted: impl FnOnce() -> bool) -> Judgement {
        self.state().judged = true;
        let Side::Client(client) = &self.side else {
            return Judgement::Accept { unusable_credential: false };
        };
        let unusable_credential = client.raw_public_key && !ffi::client_uses_raw_public_key(ssl);
        let refusal = if client.verify_server && !trusted() {
            Some(ServerRefusal::Untrusted)
        } else if client.require_signal && !self.state().signal_seen {
            Some(ServerRefusal::NoSignal)
        } else if client.require_signal && unusable_credential {
            Some(ServerRefusal::NoRawPublicKeys)
        } else {
            None
        };
        self.state().server_refusal = refusal;
        match refusal {
            None => Judgement::Accept { unusable_credential },
            Some(ServerRefusal::Untrusted) => Judgement::Untrusted,
            Some(ServerRefusal::NoSignal | ServerRefusal::NoRawPublicKeys) => Judgement::HandshakeFailure,
        }
    }

    /// A whole handshake message, before OpenSSL interprets it or after it was sent. What is kept is bounded by
    /// OpenSSL's max_cert_list.
    pub(crate) fn on_handshake_message(&self, ssl: &SslRef, direction: Direction, message: &[u8]) {
        let Some(&message_type) = message.first() else {
            return;
        };
        let mut state = self.state();
        match (&self.side, direction, message_type) {
            (Side::Server { gate, .. }, Direction::Received, HANDSHAKE_CERTIFICATE) => {
                if version(ssl) == TlsVersion::Tls12 {
                    gate.close();
                }
                state.certificate = Some(message.to_vec());
            }
            (Side::Server { .. }, Direction::Sent, HANDSHAKE_CERTIFICATE_REQUEST) => state.asked = true,
            (Side::Client(_), Direction::Received, _) => {
                state.reading = Some(message_type);
                if message_type == HANDSHAKE_CERTIFICATE_REQUEST {
                    state.certificate_request = Some(message.to_vec());
                }
            }
            (Side::Client(_), Direction::Sent, HANDSHAKE_CERTIFICATE) => {
                state.credential_sent = message.len() > EMPTY_CERTIFICATE;
            }
            _ => {}
        }
    }

    /// An alert: level and description.
    pub(crate) fn on_alert(&self, direction: Direction, alert: &[u8]) {
        // These two end the stream in good order (RFC 9846 section 6.1).
        const CLOSE_NOTIFY: u8 = 0;
        const USER_CANCELED: u8 = 90;
        let &[_, description] = alert else {
            return;
        };
        if matches!(description, CLOSE_NOTIFY | USER_CANCELED) {
            return;
        }
        let mut state = self.state();
        match direction {
            Direction::Received => state.alert_received = Some(description),
            Direction::Sent => state.alert_sent = Some(description),
        }
    }
}

/// The version, once negotiated.
pub(crate) fn version(ssl: &SslRef) -> TlsVersion {
    match ssl.version2() {
        Some(SslVersion::TLS1_3) => TlsVersion::Tls13,
        _ => TlsVersion::Tls12,
    }
}

#[cfg(feature = "misbehave")]
impl Conn {
    pub(crate) fn with_rewrite(mut self, rewrite: Option<crate::misbehave::Rewrite>) -> Self {
        self.rewrite = rewrite;
        self
    }

    /// The message as the misbehaving peer sends it. The octets stay where they are until the next call.
    pub(crate) fn rewrite(&self, message: &[u8]) -> (*mut u8, usize) {
        let message = self.rewrite.as_ref().map_or_else(|| message.to_vec(), |rewrite| rewrite(message));
        let mut rewritten = self.rewritten.lock().unwrap_or_else(PoisonError::into_inner);
        *rewritten = message;
        (rewritten.as_mut_ptr(), rewritten.len())
    }
}

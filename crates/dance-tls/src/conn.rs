//! What a connection knows while OpenSSL runs its handshake, and what it answers when OpenSSL asks. Lives in the SSL
//! object.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dance_core::clientid::{
    ClientForm, ClientProfile, ExtensionError, ExtensionType, ExtensionTypes, Place, Placement, Profile, TlsVersion,
    decode_client, placement,
};
use dance_core::message::{CertificateRequestMessage, Extensions};
use openssl::ssl::{SslRef, SslVersion};
use openssl_sys as sys;

use crate::ffi;
use crate::session::Tickets;
use crate::session_store::Keeper;
use crate::transport::Gate;

/// HandshakeType (RFC 9846 section 4).
const HANDSHAKE_CLIENT_HELLO: u8 = 1;
const HANDSHAKE_SERVER_HELLO: u8 = 2;
const HANDSHAKE_ENCRYPTED_EXTENSIONS: u8 = 8;
const HANDSHAKE_CERTIFICATE: u8 = 11;
const HANDSHAKE_CERTIFICATE_REQUEST: u8 = 13;
/// Other extensions (registry of TLS ExtensionType values).
const EXTENDED_MASTER_SECRET: u16 = 23;
const SUPPORTED_VERSIONS: u16 = 43;
const RENEGOTIATION_INFO: u16 = 0xff01;

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
    Server(ServerSide),
    Client(ClientSide),
}

pub(crate) struct ServerSide {
    pub(crate) profile: Profile,
    pub(crate) extension_types: ExtensionTypes,
    /// Whether clients are asked for their name.
    pub(crate) dane: bool,
    /// Closed when the client's Certificate comes in, in TLS 1.2.
    pub(crate) gate: Gate,
}

pub(crate) struct ClientSide {
    pub(crate) profile: ClientProfile,
    /// What the ClientHello says.
    pub(crate) client_hello: Option<Said>,
    /// What the first CertificateEntry says.
    pub(crate) client_id: Option<Said>,
    /// Go on only if the server can do DANE (requirements C3).
    pub(crate) require_signal: bool,
    /// The credential is a raw public key.
    pub(crate) raw_public_key: bool,
    /// Judge the server's certificate. Off by explicit setting only.
    pub(crate) verify_server: bool,
}

/// What a client says, encoded.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    extension_data: Box<[u8]>,
    name: bool,
}

impl Said {
    /// `None` for a form that the profile does not have.
    pub(crate) fn new(form: &ClientForm, profile: ClientProfile) -> Option<Self> {
        // What of it both profiles have is the same in both.
        let profile = match profile {
            ClientProfile::Fixed(profile) => profile,
            ClientProfile::Auto => Profile::Current,
        };
        let name = matches!(form, ClientForm::Name(_));
        form.encode(profile).map(|data| Self { extension_data: data.into_boxed_slice(), name })
    }
}

/// Why a client refused a server when it judged its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerRefusal {
    Untrusted,
    LegacyHandshake,
    NoSignal,
    NoRawPublicKeys,
}

pub(crate) struct Conn {
    side: Side,
    state: Mutex<State>,
    /// Server: its part in resumption. `None`: it is off.
    tickets: Option<Box<Tickets>>,
    /// Client: its part in resumption. `None`: it is off.
    keeper: Option<Box<Keeper>>,
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
    /// Server: the extension as the client sent it where it counts, which is the ClientHello of TLS 1.2 and the
    /// Certificate of TLS 1.3, and its code point.
    pub(crate) client_id: Option<(u32, ClientForm)>,
    /// Server: the ClientHello has the extension more than once.
    pub(crate) hello_has_duplicate: bool,
    /// The ServerHello is of TLS 1.2 and lacks extended_master_secret or renegotiation_info.
    pub(crate) legacy: bool,
    /// Server: CertificateRequest has been sent.
    asked: bool,
    /// Client: the server's CertificateRequest message as received, header included.
    pub(crate) certificate_request: Option<Vec<u8>>,
    /// Client: the type of the server's message that OpenSSL reads.
    reading: Option<u8>,
    /// Client: the profile whose signal the CertificateRequest carried, in TLS 1.2 the ServerHello.
    pub(crate) signal: Option<Profile>,
    /// Client: a Certificate has been sent; whether it had at least one entry.
    pub(crate) credential_sent: Option<bool>,
    /// Client: the extension has been sent with the name in it, or in a Certificate without.
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
    /// ServerHello or EncryptedExtensions unless the ClientHello has it (`offered`), and nothing twice.
    pub(crate) fn refused_extension(
        &self,
        extension_type: ExtensionType,
        profile: ClientProfile,
        offered: bool,
    ) -> Option<ExtensionError> {
        match self.reading? {
            HANDSHAKE_SERVER_HELLO | HANDSHAKE_ENCRYPTED_EXTENSIONS if offered => Some(ExtensionError::Duplicate),
            HANDSHAKE_SERVER_HELLO => Some(ExtensionError::Unsolicited(Place::ServerHello)),
            HANDSHAKE_ENCRYPTED_EXTENSIONS => Some(ExtensionError::Unsolicited(Place::EncryptedExtensions)),
            HANDSHAKE_CERTIFICATE_REQUEST => {
                let request = CertificateRequestMessage::parse(self.certificate_request.as_deref()?).ok()?;
                request.signal(&extension_type.into(), profile).err()
            }
            _ => None,
        }
    }

    /// Server: the client has been asked for its Certificate, and none with entries has been read to its end.
    pub(crate) fn awaiting_certificate(&self, version: TlsVersion) -> bool {
        self.asked && !self.judged && self.certificate.as_ref().is_none_or(|message| !is_empty(message, version))
    }
}

/// Whether a Certificate message has no entries: nothing but a handshake header, in TLS 1.3 an empty
/// certificate_request_context, and the length of the list.
const fn is_empty(certificate: &[u8], version: TlsVersion) -> bool {
    certificate.len()
        <= match version {
            TlsVersion::Tls12 => 4 + 3,
            TlsVersion::Tls13 => 4 + 1 + 3,
        }
}

/// Whether a ServerHello is of TLS 1.2 and lacks what keeps connections apart: extended_master_secret (RFC 7627) and
/// renegotiation_info (RFC 5746). Both answer the client's.
fn is_legacy(server_hello: &[u8]) -> bool {
    // Suite and compression method.
    let Some(extensions) = after_session_id(server_hello).and_then(|rest| extensions(rest.get(2 + 1..)?)) else {
        return true;
    };
    let has = |wanted| extensions.iter().any(|(found, _)| found == wanted);
    !(has(SUPPORTED_VERSIONS) || has(EXTENDED_MASTER_SECRET) && has(RENEGOTIATION_INFO))
}

/// Whether a ClientHello has any of these extensions more than once in all. OpenSSL refuses what stands twice without
/// saying what it was.
fn has_duplicate(client_hello: &[u8], extension_types: &ExtensionTypes) -> bool {
    client_hello_extensions(client_hello).is_some_and(|extensions| extensions.get(extension_types).is_err())
}

/// The extensions of a ClientHello.
pub(crate) fn client_hello_extensions(client_hello: &[u8]) -> Option<Extensions<'_>> {
    let (suites, rest) = after_session_id(client_hello)?.split_at_checked(2)?;
    let [high, low] = suites else { return None };
    let (&compression_methods, rest) = rest.get(usize::from(u16::from_be_bytes([*high, *low]))..)?.split_first()?;
    extensions(rest.get(usize::from(compression_methods)..)?)
}

/// What follows the session id in a ClientHello or ServerHello.
fn after_session_id(hello: &[u8]) -> Option<&[u8]> {
    /// Handshake header, version, random.
    const SESSION_ID: usize = 4 + 2 + 32;
    let (&session_id, rest) = hello.get(SESSION_ID..)?.split_first()?;
    rest.get(usize::from(session_id)..)
}

/// The extensions at the end of a hello, behind their length.
fn extensions(rest: &[u8]) -> Option<Extensions<'_>> {
    Extensions::parse(rest.get(2..)?).ok()
}

impl Conn {
    pub(crate) fn new(side: Side) -> Self {
        Self {
            side,
            state: Mutex::default(),
            tickets: None,
            keeper: None,
            #[cfg(feature = "misbehave")]
            rewrite: None,
            #[cfg(feature = "misbehave")]
            rewritten: Mutex::default(),
        }
    }

    pub(crate) fn with_tickets(mut self, tickets: Option<Tickets>) -> Self {
        self.tickets = tickets.map(Box::new);
        self
    }

    pub(crate) fn tickets(&self) -> Option<&Tickets> {
        self.tickets.as_deref()
    }

    pub(crate) fn with_keeper(mut self, keeper: Option<Keeper>) -> Self {
        self.keeper = keeper.map(Box::new);
        self
    }

    pub(crate) fn keeper(&self) -> Option<&Keeper> {
        self.keeper.as_deref()
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
    pub(crate) fn add_extension(&self, extension_type: u32, context: u32, chain_index: usize) -> Addition<'_> {
        let mut state = self.state();
        match (&self.side, context) {
            (Side::Server(server), sys::SSL_EXT_TLS1_3_CERTIFICATE_REQUEST) if server.dane => {
                Addition::Data(server.profile.signal())
            }
            // In answer to the ClientHello, and by the code point that stood there.
            (Side::Server(server), sys::SSL_EXT_TLS1_2_SERVER_HELLO)
                if state.client_id.as_ref().is_some_and(|(found, _)| *found == extension_type) =>
            {
                Addition::Data(server.profile.signal())
            }
            (Side::Server(_), sys::SSL_EXT_TLS1_3_NEW_SESSION_TICKET) => {
                state.verdict_alert.map_or(Addition::Nothing, Addition::Alert)
            }
            (Side::Client(client), sys::SSL_EXT_CLIENT_HELLO) => {
                let Some(said) = &client.client_hello else {
                    return Addition::Nothing;
                };
                state.name_sent |= said.name;
                Addition::Data(&said.extension_data)
            }
            (Side::Client(client), sys::SSL_EXT_TLS1_3_CERTIFICATE | ffi::EXT_RAW_PUBLIC_KEY) => {
                match &client.client_id {
                    Some(said) if chain_index == 0 && state.signal.is_some() => {
                        state.name_sent = true;
                        Addition::Data(&said.extension_data)
                    }
                    _ => Addition::Nothing,
                }
            }
            _ => Addition::Nothing,
        }
    }

    /// OpenSSL has met the extension. The error is the alert that ends the handshake.
    pub(crate) fn parse_extension(
        &self,
        ssl: &SslRef,
        extension_type: u32,
        context: u32,
        chain_index: usize,
        data: &[u8],
    ) -> Result<(), u8> {
        let version = version(ssl);
        let place = self.place(context, chain_index);
        let mut state = self.state();
        let result = match &self.side {
            Side::Server(server) => match placement(server.profile, version, place, server.dane) {
                Placement::Refuse(error) => Err(error),
                Placement::Ignore => Ok(()),
                // A ClientHello to a listener to which the extension is one of those that nobody knows.
                Placement::Read if !server.dane => Ok(()),
                Placement::Read if state.client_id.is_some() => Err(ExtensionError::Duplicate),
                Placement::Read => decode_client(server.profile, data)
                    .map(|client_id| state.client_id = Some((extension_type, client_id))),
            },
            Side::Client(client) => match client.profile.placement(version, place, client.client_hello.is_some()) {
                Placement::Refuse(error) => Err(error),
                Placement::Ignore => Ok(()),
                Placement::Read => client.profile.decode_signal(data).map(|profile| state.signal = Some(profile)),
            },
        };
        result.map_err(|error| {
            state.extension_error = Some(error);
            error.reason().alert().code()
        })
    }

    /// OpenSSL's context flag, of which there is one at a time, as a place in the handshake.
    fn place(&self, context: u32, chain_index: usize) -> Place {
        let server = matches!(self.side, Side::Server(_));
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
        let refusal = if self.state().legacy {
            Some(ServerRefusal::LegacyHandshake)
        } else if client.verify_server && !trusted() {
            Some(ServerRefusal::Untrusted)
        } else if client.require_signal && self.state().signal.is_none() {
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
            Some(ServerRefusal::LegacyHandshake | ServerRefusal::NoSignal | ServerRefusal::NoRawPublicKeys) => {
                Judgement::HandshakeFailure
            }
        }
    }

    /// A whole handshake message, before OpenSSL interprets it or after it was sent. What is kept is bounded by
    /// OpenSSL's max_cert_list.
    pub(crate) fn on_handshake_message(&self, ssl: &SslRef, direction: Direction, message: &[u8]) {
        let as_in_tls = if is_dtls(ssl) { as_in_tls(message) } else { None };
        let message = as_in_tls.as_deref().unwrap_or(message);
        let Some(&message_type) = message.first() else {
            return;
        };
        let mut state = self.state();
        if message_type == HANDSHAKE_SERVER_HELLO {
            state.legacy = is_legacy(message);
        }
        match (&self.side, direction, message_type) {
            (Side::Server(server), Direction::Received, HANDSHAKE_CLIENT_HELLO) => {
                state.hello_has_duplicate = has_duplicate(message, &server.extension_types);
                if let Some(tickets) = &self.tickets {
                    tickets.on_client_hello(message);
                }
            }
            (Side::Server(server), Direction::Received, HANDSHAKE_CERTIFICATE) => {
                // OpenSSL completes the handshake by itself. In TLS 1.3 it has nothing left to say; in TLS 1.2 its Finished
                // would tell the client that it is through.
                if version(ssl) == TlsVersion::Tls12 {
                    server.gate.close();
                }
                state.certificate = Some(message.to_vec());
            }
            (Side::Server(_), Direction::Sent, HANDSHAKE_CERTIFICATE_REQUEST) => state.asked = true,
            (Side::Client(_), Direction::Received, _) => {
                state.reading = Some(message_type);
                if message_type == HANDSHAKE_CERTIFICATE_REQUEST {
                    state.certificate_request = Some(message.to_vec());
                }
            }
            (Side::Client(_), Direction::Sent, HANDSHAKE_CERTIFICATE) => {
                state.credential_sent = Some(!is_empty(message, version(ssl)));
            }
            _ => {}
        }
    }

    /// An alert: level and description.
    pub(crate) fn on_alert(&self, ssl: &SslRef, direction: Direction, alert: &[u8]) {
        // These two end the stream in good order (RFC 9846 section 6.1).
        const CLOSE_NOTIFY: u8 = 0;
        const USER_CANCELED: u8 = 90;
        // Sent by a server of TLS 1.2 while the version is still open.
        const UNRECOGNIZED_NAME: u8 = 112;
        const WARNING: u8 = 1;
        let &[level, description] = alert else {
            return;
        };
        // In TLS 1.2 a warning ends nothing; TLS 1.3 does not look at the level (RFC 9846 section 6).
        let warning = level == WARNING && (version(ssl) == TlsVersion::Tls12 || description == UNRECOGNIZED_NAME);
        if warning || matches!(description, CLOSE_NOTIFY | USER_CANCELED) {
            return;
        }
        let mut state = self.state();
        match direction {
            Direction::Received => state.alert_received = Some(description),
            Direction::Sent => state.alert_sent = Some(description),
        }
    }
}

/// The version, once negotiated. DTLS 1.2 is TLS 1.2 but for the records.
pub(crate) fn version(ssl: &SslRef) -> TlsVersion {
    match ssl.version2() {
        Some(SslVersion::TLS1_3) => TlsVersion::Tls13,
        _ => TlsVersion::Tls12,
    }
}

fn is_dtls(ssl: &SslRef) -> bool {
    matches!(ssl.version2(), Some(SslVersion::DTLS1 | SslVersion::DTLS1_2))
}

/// A handshake message of DTLS as TLS would have it: its header without sequence number and fragment, which is all of the
/// message where OpenSSL shows it, and a ClientHello without the cookie behind its session id (RFC 6347 sections 4.2.1,
/// 4.2.2). Lengths are left as they are: nobody looks at them again.
fn as_in_tls(message: &[u8]) -> Option<Vec<u8>> {
    let mut as_in_tls = [message.get(..4)?, message.get(4 + 2 + 3 + 3..)?].concat();
    if as_in_tls.first() == Some(&HANDSHAKE_CLIENT_HELLO) {
        let rest = after_session_id(&as_in_tls)?;
        let (&cookie, suites) = rest.split_first()?;
        let suites = suites.get(usize::from(cookie)..)?.to_vec();
        as_in_tls.truncate(as_in_tls.len() - rest.len());
        as_in_tls.extend(suites);
    }
    Some(as_in_tls)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A hello with a session id of two octets: `middle`, then the extensions, each without data.
    fn hello(message_type: u8, middle: &[u8], extensions: &[u16]) -> Vec<u8> {
        let mut hello = vec![message_type, 0, 0, 0, 3, 3];
        hello.extend([0; 32]);
        hello.extend([2, 0, 0]);
        hello.extend(middle);
        hello.extend((4 * extensions.len() as u16).to_be_bytes());
        hello.extend(extensions.iter().flat_map(|extension| [extension.to_be_bytes(), [0, 0]].concat()));
        hello
    }

    // SRV-24, SRV-20
    #[test]
    fn legacy_is_what_lacks_either_in_tls12() {
        let suite = [0xc0, 0x2b, 0];
        for (extensions, legacy) in [
            (&[EXTENDED_MASTER_SECRET, RENEGOTIATION_INFO][..], false),
            (&[RENEGOTIATION_INFO, 11, EXTENDED_MASTER_SECRET], false),
            (&[SUPPORTED_VERSIONS], false),
            (&[EXTENDED_MASTER_SECRET], true),
            (&[RENEGOTIATION_INFO], true),
            (&[], true),
        ] {
            let hello = hello(HANDSHAKE_SERVER_HELLO, &suite, extensions);
            assert_eq!(is_legacy(&hello), legacy, "{extensions:?}");
            // Cut off anywhere: what does not decode, and a hello without extensions, has neither.
            assert!((0..hello.len()).all(|len| is_legacy(&hello[..len])));
        }
    }

    // CID-09
    #[test]
    fn duplicate_is_found_in_a_client_hello() {
        let types = ExtensionTypes::DEFAULT;
        let ours = ExtensionType::DEFAULT.get();
        let suites_and_compression = [0, 4, 0x13, 1, 0xc0, 0x2b, 1, 0];
        for (extensions, duplicate) in
            [(&[ours, 11, ours][..], true), (&[ours, 11], false), (&[11, 11], false), (&[], false)]
        {
            let hello = hello(HANDSHAKE_CLIENT_HELLO, &suites_and_compression, extensions);
            assert_eq!(has_duplicate(&hello, &types), duplicate, "{extensions:?}");
            assert!((0..hello.len()).all(|len| !has_duplicate(&hello[..len], &types)));
        }
    }
}

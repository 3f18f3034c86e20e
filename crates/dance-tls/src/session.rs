//! Resumption at the server (requirements 4.2 step 2): who gets a ticket, what stands in it, and which tickets are good.
//!
//! A ticket is made in one place, [`issue`], for a client that is authenticated. It holds the TLS session and, as the
//! session's application data, the verified client, both under one MAC. It does not hold the client's certificate or key:
//! OpenSSL would encode and decode it several times for each resumption, at the cost of a full handshake. The verified
//! client has the key's digest, and gets a ticket for a session of that key only. TLS 1.2 has no tickets: there a ticket
//! would leave before the verdict.
//!
//! When a ticket comes back it is judged in OpenSSL's callback, that is inside the handshake and before the binder
//! proves that the client holds the session's key; whatever is wrong with it, a full handshake takes place.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use dance_core::clientid::TlsVersion;
use dance_core::ticket::Ticket;
use dance_core::verdict::{Presented, VerifiedClient};
use der::asn1::AnyRef;
use der::{Decode as _, Encode as _, Header, Length, Reader as _, SliceReader, Tag, Tagged as _};
use openssl::error::ErrorStack;
use openssl::ssl::SslRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_openssl::SslStream;
use tracing::debug;

use crate::conn::{client_hello_extensions, version};
use crate::ffi;
use crate::ticket_keys::{self, TicketKey, TicketKeys};
use crate::transport::Transport;

/// What a server needs to know in order to resume sessions (requirements 4.2 step 2, `resumption` `bound`). All of it is
/// called in the middle of handshakes and must not block.
pub trait Resumption: Send + Sync {
    /// What tickets are bound to: listener, profile, policy, roots, service label. A ticket that was issued under another
    /// context is not accepted. Asked for once, when the [`Acceptor`](crate::Acceptor) is made.
    fn context(&self) -> [u8; 32];

    /// Decides anew about the client of a ticket, by what is known without asking anybody. `None`: the client has to
    /// authenticate from scratch.
    fn resume(&self, ticket: &Ticket) -> Option<VerifiedClient>;

    /// How long a ticket for this client may live. An hour is the most that is made of it; less than a second makes no
    /// ticket.
    fn lifetime(&self, client: &VerifiedClient) -> Duration;
}

/// Most PSK identities of a ClientHello that are looked at. Each costs a decryption, and clients that hold more than a
/// few tickets of one server gain nothing by offering them all.
const MAX_IDENTITIES: u32 = 4;

/// Most octets that are put into a ticket besides the session. They hold the record that matched, which may hold a
/// certificate, and become part of the client's next ClientHello. OpenSSL ends the connection over a ticket that is too
/// long.
const MAX_APPLICATION_DATA: usize = 16 * 1024;

/// The resumption of a listener, shared by its connections.
pub(crate) struct Sessions {
    resumption: Arc<dyn Resumption>,
    keys: TicketKeys,
}

impl Sessions {
    pub(crate) fn new(resumption: Arc<dyn Resumption>) -> Result<Self, ErrorStack> {
        Ok(Self { resumption, keys: TicketKeys::new()? })
    }

    /// The session id context.
    pub(crate) fn context(&self) -> [u8; 32] {
        self.resumption.context()
    }

    fn lifetime(&self, client: &VerifiedClient) -> Duration {
        self.resumption.lifetime(client).min(ticket_keys::PERIOD)
    }
}

impl fmt::Debug for dyn Resumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resumption")
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

/// What a connection has to do with sessions.
pub(crate) struct Tickets {
    sessions: Arc<Sessions>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The client can resume by psk_dhe_ke.
    psk_dhe_ke: bool,
    /// How many of its PSK identities have been looked at.
    identities: u32,
    /// The ticket that was judged last was good: this is whose it is.
    resumed: Option<VerifiedClient>,
    /// What the next ticket says. Without it there is no ticket.
    next: Option<NewTicket>,
    /// A ticket is being made.
    making: bool,
}

/// What a ticket says besides the session.
pub(crate) struct NewTicket {
    pub(crate) application_data: Vec<u8>,
    pub(crate) lifetime: Duration,
}

impl Tickets {
    pub(crate) fn new(sessions: Arc<Sessions>) -> Self {
        Self { sessions, state: Mutex::default() }
    }

    /// A callback that panicked poisons nothing: each field is written in one step.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A ClientHello has been received; after a HelloRetryRequest, the second.
    pub(crate) fn on_client_hello(&self, message: &[u8]) {
        let psk_dhe_ke = offers_psk_dhe_ke(message);
        let mut state = self.state();
        state.psk_dhe_ke = psk_dhe_ke;
        state.identities = 0;
    }

    /// The key for the ticket that is being made. `None`: there must be none.
    pub(crate) fn key_to_make(&self) -> Option<Arc<TicketKey>> {
        if !std::mem::take(&mut self.state().making) {
            return None;
        }
        self.sessions.keys.current()
    }

    /// The key for a ticket that has been offered. `None`: it is not one of ours.
    pub(crate) fn key_to_open(&self, name: &[u8]) -> Option<Arc<TicketKey>> {
        let mut state = self.state();
        if state.identities == MAX_IDENTITIES {
            return None;
        }
        state.identities += 1;
        drop(state);
        self.sessions.keys.find(name)
    }

    /// What OpenSSL is to put into the ticket that it is about to make.
    pub(crate) fn contents(&self) -> Option<NewTicket> {
        self.state().next.take()
    }

    /// The contents are in the session.
    pub(crate) fn make(&self) {
        self.state().making = true;
    }

    /// A ticket has been offered; here is its [`NewTicket::application_data`], if it could be opened. Whether the session
    /// may be used.
    pub(crate) fn judge(&self, ssl: &SslRef, application_data: Option<&[u8]>) -> bool {
        self.state().resumed = None;
        if version(ssl) != TlsVersion::Tls13 {
            return false;
        }
        let resumed = application_data.and_then(Ticket::decode).and_then(|ticket| {
            let client = self.sessions.resumption.resume(&ticket)?;
            // Whoever decides may not put another client into the session.
            (client.key_digest() == ticket.key_digest()).then_some(client)
        });
        let good = resumed.is_some();
        self.state().resumed = resumed;
        good
    }
}

/// Whose session a handshake has resumed, if it has. OpenSSL may find fault with a ticket that was good to us (another
/// context, another hash), so what it says counts.
pub(crate) fn resumed(ssl: &SslRef) -> Option<VerifiedClient> {
    tickets_of(ssl)?.state().resumed.take().filter(|_| ssl.session_reused())
}

/// Gives a client that has just been authenticated a ticket, if it can use one and the session is its own.
pub(crate) fn issue_first<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut SslStream<Transport<S>>,
    client: &VerifiedClient,
    presented: &Presented,
) {
    if presented.credential.as_ref().is_some_and(|credential| credential.key_digest() == *client.key_digest()) {
        issue(stream, client);
    }
}

/// Gives the client of this session a ticket, if it can use one. The ticket waits in the transport.
pub(crate) fn issue<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut SslStream<Transport<S>>, client: &VerifiedClient) {
    let Some(tickets) = tickets_of(stream.ssl()) else {
        return;
    };
    let lifetime = tickets.sessions.lifetime(client);
    let mut state = tickets.state();
    if !state.psk_dhe_ke || version(stream.ssl()) != TlsVersion::Tls13 || lifetime.as_secs() == 0 {
        return;
    }
    let application_data = client.to_ticket();
    if application_data.len() > MAX_APPLICATION_DATA {
        debug!("the client's record is too long for a ticket");
        return;
    }
    state.next = Some(NewTicket { application_data, lifetime });
    drop(state);
    build_ticket(stream, |ssl| tickets_of(ssl).is_none_or(|tickets| tickets.state().next.is_none()));
}

/// Has OpenSSL build a NewSessionTicket until `done`.
///
/// Where OpenSSL owes the client a KeyUpdate, it sends that first, and forgets about the ticket until it is asked again.
pub(crate) fn build_ticket<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut SslStream<Transport<S>>,
    done: impl Fn(&SslRef) -> bool,
) -> bool {
    const STEPS: usize = 2;
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..STEPS {
        if !ffi::new_session_ticket(stream) {
            break;
        }
        // Never waits: nothing is read, and the transport takes all that is written. An error ends the connection, and
        // whoever uses it next hears of it.
        let _ = Pin::new(&mut *stream).poll_do_handshake(&mut cx);
        if done(stream.ssl()) {
            return true;
        }
    }
    false
}

/// A session in OpenSSL's encoding, without the peer's certificate and raw public key. `None` if it is something else.
pub(crate) fn without_peer(session: &[u8]) -> Option<Vec<u8>> {
    /// The tags of the two: context-specific, explicit (SSL_SESSION_ASN1 in OpenSSL).
    const PEER: [u8; 2] = [0xa0 | 3, 0xa0 | 20];
    let session = AnyRef::from_der(session).ok().filter(|session| session.tag() == Tag::Sequence)?;
    let mut reader = SliceReader::new(session.value()).ok()?;
    let mut fields = Vec::new();
    while !reader.is_finished() {
        fields.push(reader.tlv_bytes().ok()?);
    }
    fields.retain(|field| field.first().is_none_or(|tag| !PEER.contains(tag)));
    let len = Length::try_from(fields.iter().map(|field| field.len()).sum::<usize>()).ok()?;
    let mut header = [0; 8];
    let header = Header::new(Tag::Sequence, len).encode_to_slice(&mut header).ok()?;
    // As long as it will be: it holds a secret, and a vector that grows leaves copies behind.
    let mut kept = Vec::with_capacity(session.value().len() + header.len());
    kept.extend_from_slice(header);
    fields.iter().for_each(|field| kept.extend_from_slice(field));
    Some(kept)
}

fn tickets_of(ssl: &SslRef) -> Option<&Tickets> {
    ffi::conn(ssl)?.tickets()
}

/// Whether a ClientHello offers to resume with a fresh key exchange (RFC 9846, psk_key_exchange_modes). OpenSSL uses no
/// other mode, but gives a ticket on request to clients that cannot use any.
fn offers_psk_dhe_ke(client_hello: &[u8]) -> bool {
    const PSK_KEY_EXCHANGE_MODES: u16 = 45;
    const PSK_DHE_KE: u8 = 1;
    let modes = client_hello_extensions(client_hello)
        .and_then(|extensions| extensions.iter().find(|(found, _)| *found == PSK_KEY_EXCHANGE_MODES))
        .and_then(|(_, data)| data.split_first());
    // OpenSSL has not looked into it yet; if the length before the modes is wrong, it ends the handshake.
    modes.is_some_and(|(_, modes)| modes.contains(&PSK_DHE_KE))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    struct Nobody;

    impl Resumption for Nobody {
        fn context(&self) -> [u8; 32] {
            [0; 32]
        }

        fn resume(&self, _: &Ticket) -> Option<VerifiedClient> {
            None
        }

        fn lifetime(&self, _: &VerifiedClient) -> Duration {
            Duration::ZERO
        }
    }

    fn tickets() -> Tickets {
        Tickets::new(Arc::new(Sessions::new(Arc::new(Nobody)).unwrap()))
    }

    // SRV-17: of a client that offers many tickets, a few are looked at in each ClientHello.
    #[test]
    fn few_identities_are_looked_at() {
        let tickets = tickets();
        let name = *tickets.sessions.keys.current().unwrap().name();
        for _ in 0..2 {
            tickets.on_client_hello(&[]);
            for found in [true, true, true, true, false, false] {
                assert_eq!(tickets.key_to_open(&name).is_some(), found);
            }
        }
    }

    // SRV-17: a ticket of which nothing has been said has no key, and the key is for one.
    #[test]
    fn no_key_without_contents() {
        let tickets = tickets();
        assert!(tickets.contents().is_none() && tickets.key_to_make().is_none());
        tickets.make();
        assert!(tickets.key_to_make().is_some());
        assert!(tickets.key_to_make().is_none());
    }

    // SRV-17: two fields go, all others stay as they are, and what is no session stays away.
    #[test]
    fn sessions_without_their_peer() {
        let certificate = [&[0xa3, 0x81, 0x80][..], &[7; 0x80]].concat();
        let key = [0xb4, 2, 4, 0];
        let others = [&[2, 1, 1][..], &[4, 2, 0x13, 1], &[0xa1, 1, 9], &[0xa4, 2, 4, 0], &[0xb2, 2, 4, 0]].concat();
        let sequence = |content: &[u8]| match u8::try_from(content.len()).unwrap() {
            short @ ..0x80 => [&[0x30, short][..], content].concat(),
            long => [&[0x30, 0x81, long][..], content].concat(),
        };
        let whole = sequence(&[&others[..7], &certificate, &others[7..], &key].concat());
        assert_eq!(without_peer(&whole), Some(sequence(&others)));
        assert_eq!(without_peer(&sequence(&others)), Some(sequence(&others)));
        assert_eq!(without_peer(&sequence(&[])), Some(sequence(&[])));
        for len in 0..whole.len() {
            assert_eq!(without_peer(&whole[..len]), None);
        }
        for other in [&[0x31, 0][..], &[0x30, 1, 2], &[0x30, 0, 0], &[0x30, 3, 0xa3, 5, 1]] {
            assert_eq!(without_peer(other), None, "{other:?}");
        }
    }

    // SRV-17: the modes of a ClientHello, and what is no ClientHello.
    #[test]
    fn modes_are_read_from_the_client_hello() {
        let hello = |extensions: &[u8]| {
            let mut hello = vec![1, 0, 0, 0, 3, 3];
            hello.extend([7; 32]);
            // No session id, one suite, one compression method.
            hello.extend([0, 0, 2, 0x13, 1, 1, 0]);
            hello.extend((extensions.len() as u16).to_be_bytes());
            hello.extend(extensions);
            hello
        };
        for (extensions, expected) in [
            (&[0, 45, 0, 2, 1, 1][..], true),
            (&[0, 45, 0, 3, 2, 0, 1], true),
            (&[0, 45, 0, 2, 1, 0], false),
            (&[0, 43, 0, 2, 1, 1], false),
            (&[0, 43, 0, 1, 1, 0, 45, 0, 2, 1, 1], true),
            (&[0, 45, 0, 1, 1], false),
            (&[0, 45, 0, 0], false),
            (&[0, 45, 0, 9, 1, 1], false),
            (&[], false),
        ] {
            assert_eq!(offers_psk_dhe_ke(&hello(extensions)), expected, "{extensions:?}");
        }
        let whole = hello(&[0, 45, 0, 2, 1, 1]);
        for len in 0..whole.len() {
            assert!(!offers_psk_dhe_ke(&whole[..len]));
        }
    }
}

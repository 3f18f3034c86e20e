//! Resumption that is bound to the verdict: who may resume, and what is left of it when anything has changed.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/bound.rs"]
mod bound;
mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bound::*;
use common::*;
use dance_core::answer::{Denial, DenialKind, LookupFailure, TlsaAnswer};
use dance_core::clientid::{Profile, TlsVersion};
use dance_core::policy::AllowList;
use dance_core::reason::Reason;
use dance_core::tlsa::{CertUsage, MatchingType, Selector, TlsaRdata};
use dance_core::verdict::Verdict;
use dance_tls::misbehave::{self, CLIENT_HELLO};
use dance_tls::{
    AcceptError, Accepted, Acceptor, CertifiedKey, ClientConfig, ClientCredential, ConnectError, Connector,
    CredentialType, Resumed, ServerConfig, ServerVerification,
};
use openssl::ssl::Ssl;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_openssl::SslStream;

const PRE_SHARED_KEY: u16 = 41;
/// Content type of records.
const HANDSHAKE: u8 = 22;

// SRV-17, SEC-12, HTTP-16: as long as the answer is good the client comes back without presenting itself; then it
// authenticates from scratch. The same client, and the same end, each time.
#[tokio::test]
async fn resumed_as_long_as_the_answer_is_good() {
    for credential in [x509(), raw_public_key()] {
        let bound = Bound::new();
        let (acceptor, connector) = (bound.acceptor(), resuming(credential));
        let first = enter(&bound, &acceptor, &connector).await;
        assert!(!first.resumed);
        // Each ticket is for one use, and is followed by the next.
        for _ in 0..3 {
            bound.advance(ANSWER / 4);
            let again = enter(&bound, &acceptor, &connector).await;
            assert!(again.resumed);
            assert_eq!(again.client, first.client, "nothing is gained by coming back");
            assert_eq!(again.negotiated, first.negotiated);
        }
        bound.advance(ANSWER / 4);
        *bound.answer.lock().unwrap() = None;
        let judged = bound.judged.load(Ordering::Relaxed);
        let (accepted, connected) = handshake_any(&acceptor, &connector).await;
        assert!(matches!(accepted, Accepted::Pending(_)));
        assert!(connected.name_sent() && !connected.resumed());
        assert_eq!(bound.judged.load(Ordering::Relaxed), judged + 1, "it was offered, and declined");
    }
}

// CLI-02, SRV-17: a client that demands DANE has had the signal when the session began; a server that resumes sends none.
#[tokio::test]
async fn signal_that_is_demanded_is_that_of_the_first_handshake() {
    let bound = Bound::new();
    let config = ClientConfig { resumption: true, require_signal: true, ..client_config(x509()) };
    let (acceptor, connector) = (bound.acceptor(), Connector::new(&config).unwrap());
    for resumed in [false, true, true] {
        assert_eq!(enter(&bound, &acceptor, &connector).await.resumed, resumed);
    }
}

async fn handshake_any(
    acceptor: &Acceptor,
    connector: &Connector,
) -> (Accepted<tokio::net::TcpStream>, dance_tls::ClientStream<tokio::net::TcpStream>) {
    let (client, server) = tcp().await;
    let (accepted, connected) = tokio::join!(acceptor.accept(server), connector.connect(SERVER, client));
    (accepted.unwrap(), connected.unwrap())
}

// SRV-17: in profile 2022 likewise, where both ends speak TLS 1.2 too, and never in TLS 1.2 itself.
#[tokio::test]
async fn resumed_in_profile_2022() {
    for (tls13, resumed) in [(true, true), (false, false)] {
        let bound = Bound::new();
        bound.settings.lock().unwrap().profile = Profile::Draft2022;
        let config = ServerConfig { profile: Profile::Draft2022, tls12: true, ..bound.config() };
        let acceptor = Acceptor::new(&config).unwrap();
        let connector = Connector::new(&ClientConfig {
            profile: Profile::Draft2022.into(),
            tls12: true,
            tls13,
            name_in_client_hello: true,
            resumption: true,
            ..client_config(x509())
        })
        .unwrap();
        for resumed in [false, resumed, resumed] {
            assert_eq!(enter(&bound, &acceptor, &connector).await.resumed, resumed);
        }
    }
}

// SRV-17: it takes both ends.
#[tokio::test]
async fn off_unless_both_ends_want_it() {
    let bound = Bound::new();
    let off = Acceptor::new(&server_config()).unwrap();
    for (acceptor, connector) in [(&off, resuming(x509())), (&bound.acceptor(), connector(x509()))] {
        for _ in 0..2 {
            assert!(!enter(&bound, acceptor, &connector).await.resumed);
        }
    }
    assert_eq!(bound.judged.load(Ordering::Relaxed), 0);
}

// SRV-17, SEC-12: whatever has changed, the client authenticates from scratch, and nobody is sent an alert for it.
#[tokio::test]
async fn declined_by_a_full_handshake() {
    type Change = fn(&Bound);
    let changes: [(&str, Change); 5] = [
        ("allow-list", |bound| {
            bound.settings.lock().unwrap().allow_list = AllowList::parse(["x.example.com"]).unwrap()
        }),
        ("record gone", |bound| {
            let denial = Denial { kind: DenialKind::Nodata, valid_until: bound.now() };
            *bound.answer.lock().unwrap() = Some(TlsaAnswer::Denied(denial));
        }),
        ("another record", |bound| *bound.answer.lock().unwrap() = Some(answer(&vector("keys/ee-rsa2048.spki.der")))),
        ("cache empty", |bound| *bound.answer.lock().unwrap() = None),
        ("DNS fails", |bound| {
            *bound.answer.lock().unwrap() = Some(TlsaAnswer::Indeterminate(LookupFailure::Servfail));
        }),
    ];
    for credential in [x509(), raw_public_key()] {
        for (what, change) in changes {
            let bound = Bound::new();
            let (acceptor, connector) = (bound.acceptor(), resuming(credential.clone()));
            enter(&bound, &acceptor, &connector).await;
            // Control: unchanged, it is resumed.
            assert!(enter(&bound, &acceptor, &connector).await.resumed, "{what}");

            change(&bound);
            let judged = bound.judged.load(Ordering::Relaxed);
            let (accepted, client) = handshake_any(&acceptor, &connector).await;
            let Accepted::Pending(pending) = accepted else { panic!("{what}") };
            assert_eq!(bound.judged.load(Ordering::Relaxed), judged + 1, "{what}");
            assert_eq!(
                certificates(pending.presented().credential.as_ref()).len(),
                usize::from(client.credential_sent() == Some(CredentialType::X509))
            );
            assert!(client.signal_seen() && client.name_sent() && !client.resumed(), "{what}");
        }
    }
}

// SRV-17: a ticket is good at the listener that issued it.
#[tokio::test]
async fn ticket_of_another_listener_is_declined() {
    let bound = Bound::new();
    let (one, other, connector) = (bound.acceptor(), bound.acceptor(), resuming(x509()));
    enter(&bound, &one, &connector).await;
    assert!(!enter(&bound, &other, &connector).await.resumed);
    assert_eq!(bound.judged.load(Ordering::Relaxed), 0, "it cannot even be opened");
    // Control: the ticket that the other has issued is good there.
    assert!(enter(&bound, &other, &connector).await.resumed);
    let elsewhere = Bound::new();
    assert!(!enter(&elsewhere, &elsewhere.acceptor(), &connector).await.resumed);
}

// SRV-17, SEC-12: keys change twice in a ticket's longest life, and are gone then.
#[tokio::test(start_paused = true)]
async fn ticket_outlives_one_change_of_keys() {
    const PERIOD: Duration = Duration::from_secs(3600);
    for (changes, resumed) in [(1, true), (2, false)] {
        let bound = Bound::new();
        let (acceptor, connector) = (bound.acceptor(), resuming(x509()));
        enter_over(&bound, &acceptor, &connector, tokio::io::duplex(10_000)).await;
        for _ in 0..changes {
            tokio::time::advance(PERIOD).await;
            // Somebody else comes by.
            enter_over(&bound, &acceptor, &resuming(x509()), tokio::io::duplex(10_000)).await;
        }
        let entered = enter_over(&bound, &acceptor, &connector, tokio::io::duplex(10_000)).await;
        assert_eq!(entered.resumed, resumed);
    }
}

// SRV-17: with a hash that is not the session's, or after a HelloRetryRequest, in which everything is offered a second
// time.
#[tokio::test]
async fn resumed_after_a_hello_retry_request() {
    let bound = Bound::new();
    let config = ServerConfig { groups: Some("P-256".to_owned()), ..bound.config() };
    let (acceptor, connector) = (Acceptor::new(&config).unwrap(), resuming(x509()));
    for resumed in [false, true, true] {
        let judged = bound.judged.load(Ordering::Relaxed);
        assert_eq!(enter(&bound, &acceptor, &connector).await.resumed, resumed);
        assert_eq!(bound.judged.load(Ordering::Relaxed) - judged, if resumed { 2 } else { 0 });
    }
}

/// The identity of the PSK in a ClientHello, as a range of it.
fn ticket_in(client_hello: &[u8]) -> Option<std::ops::Range<usize>> {
    let number = |at: usize| usize::from(u16::from_be_bytes([client_hello[at], client_hello[at + 1]]));
    let mut at = 4 + misbehave::hello_length(client_hello) + 2;
    while at < client_hello.len() {
        let data = at + 4;
        if client_hello[at..].starts_with(&PRE_SHARED_KEY.to_be_bytes()) {
            // Lengths of the list and of its first entry.
            return Some(data + 4..data + 4 + number(data + 2));
        }
        at = data + number(at + 2);
    }
    None
}

// SRV-17: of two ClientHellos the second counts. Who offers a good ticket in the first alone is not resumed.
#[tokio::test]
async fn ticket_in_the_first_client_hello_alone_is_none() {
    let bound = Bound::new();
    let config = ServerConfig { groups: Some("P-256".to_owned()), ..bound.config() };
    let (acceptor, honest) = (Acceptor::new(&config).unwrap(), resuming(x509()));
    enter(&bound, &acceptor, &honest).await;
    let hellos = AtomicUsize::new(0);
    let withdraws = misbehave::connector(
        &honest,
        misbehave::only(CLIENT_HELLO, move |message| {
            if hellos.fetch_add(1, Ordering::Relaxed) == 0 {
                return message.to_vec();
            }
            let rest = hello_extensions(message).into_iter().filter(|(found, _)| *found != PRE_SHARED_KEY);
            with_hello_extensions(message, rest)
        }),
    );
    let judged = bound.judged.load(Ordering::Relaxed);
    assert!(!enter(&bound, &acceptor, &withdraws).await.resumed);
    assert_eq!(bound.judged.load(Ordering::Relaxed), judged + 1, "it was good");
}

// SRV-17, SRV-24: a ticket of TLS 1.3 in the place of one of TLS 1.2 is none: the server's Finished waits for the verdict.
#[tokio::test]
async fn ticket_of_tls13_is_none_in_tls12() {
    const SESSION_TICKET: u16 = 35;
    let bound = Bound::new();
    bound.settings.lock().unwrap().profile = Profile::Draft2022;
    let config = ServerConfig { profile: Profile::Draft2022, tls12: true, ..bound.config() };
    let acceptor = Acceptor::new(&config).unwrap();
    let config = ClientConfig { profile: Profile::Draft2022.into(), ..client_config(x509()) };
    let honest = Connector::new(&ClientConfig { resumption: true, ..config.clone() }).unwrap();
    enter(&bound, &acceptor, &honest).await;
    let (hellos, record) = recorder(CLIENT_HELLO);
    // Control: in its own place it is good.
    assert!(enter(&bound, &acceptor, &misbehave::connector(&honest, record)).await.resumed);
    let ticket = {
        let hellos = hellos.lock().unwrap();
        hellos[0][ticket_in(&hellos[0]).expect("a ticket")].to_vec()
    };

    let old = ClientConfig { tls12: true, tls13: false, name_in_client_hello: true, ..config };
    let transplants = misbehave::connector(
        &Connector::new(&old).unwrap(),
        misbehave::only(CLIENT_HELLO, move |message| {
            let rest = hello_extensions(message).into_iter().filter(|(found, _)| *found != SESSION_TICKET);
            with_hello_extensions(message, rest.chain([(SESSION_TICKET, ticket.clone())]))
        }),
    );
    let judged = bound.judged.load(Ordering::Relaxed);
    let (client, server) = tcp().await;
    let (server, written) = Tapped::new(server);
    let client = tokio::spawn(async move { transplants.connect(SERVER, client).await });
    let Accepted::Pending(pending) = acceptor.accept(server).await.unwrap() else { panic!() };
    assert_eq!(pending.version(), TlsVersion::Tls12);
    assert!(pending.presented().credential.is_some());
    assert!(records(&written.lock().unwrap()).iter().all(|(content_type, _)| *content_type == HANDSHAKE));
    drop(pending);
    assert!(matches!(client.await.unwrap().unwrap_err(), ConnectError::ClientAuthRefused));
    assert_eq!(bound.judged.load(Ordering::Relaxed), judged);
}

// SRV-17: a ticket with one bit wrong is no ticket, wherever the bit is.
#[tokio::test]
async fn changed_ticket_is_declined() {
    let bound = Bound::new();
    let (acceptor, honest) = (bound.acceptor(), resuming(x509()));
    enter(&bound, &acceptor, &honest).await;
    // The name of the key, the initialisation vector, the session at both ends and in between, the MAC.
    for place in [0.0, 0.014, 0.02, 0.03, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.97, 0.99, 1.0] {
        let offered = Arc::new(Mutex::new(0));
        let seen = Arc::clone(&offered);
        let forger = misbehave::connector(
            &honest,
            misbehave::only(CLIENT_HELLO, move |message| {
                let ticket = ticket_in(message).expect("a ticket");
                *seen.lock().unwrap() = ticket.len();
                let mut changed = message.to_vec();
                changed[ticket.start + ((ticket.len() - 1) as f64 * place) as usize] ^= 0x10;
                changed
            }),
        );
        let judged = bound.judged.load(Ordering::Relaxed);
        assert!(!enter(&bound, &acceptor, &forger).await.resumed, "{place}");
        assert!(*offered.lock().unwrap() > 100, "it was offered");
        assert_eq!(bound.judged.load(Ordering::Relaxed), judged, "it cannot be opened");
        // Control: the ticket from the full handshake, as it is.
        assert!(enter(&bound, &acceptor, &honest).await.resumed);
    }
}

// SRV-17: who holds a ticket and not the session's key gets decrypt_error from the TLS stack, as who does not prove
// possession in a full handshake does.
#[tokio::test]
async fn ticket_without_its_key_is_an_error() {
    let bound = Bound::new();
    let (acceptor, honest) = (bound.acceptor(), resuming(x509()));
    enter(&bound, &acceptor, &honest).await;
    // The last octet of this ClientHello is the binder's.
    let thief = misbehave::corrupts(&honest, CLIENT_HELLO);
    let (error, end) = refused(&acceptor, &thief).await;
    assert!(matches!(&error, AcceptError::Tls(failure) if failure.alert_sent.unwrap().code() == 51), "{error:?}");
    assert_eq!(end.alert(), Some(51));
}

// SRV-17: external PSKs are not known, and more than a few identities are not even looked at; all of it is declined by a
// full handshake.
#[tokio::test]
async fn psk_that_nobody_issued_is_declined() {
    let bound = Bound::new();
    let acceptor = bound.acceptor();
    for (identities, octets) in [(1, 1), (1, 32), (1, 300), (3, 200), (100, 200)] {
        let identity =
            [&(octets as u16).to_be_bytes()[..], &vec![b'i'; octets], &[0, 0, 0, 1]].concat().repeat(identities);
        let binders = [&[32][..], &[b'b'; 32]].concat().repeat(identities);
        let lists =
            [&(identity.len() as u16).to_be_bytes()[..], &identity, &(binders.len() as u16).to_be_bytes(), &binders];
        let psk = misbehave::extension(41, &lists.concat());
        let stranger = misbehave::sends_in_client_hello(&connector(x509()), &psk);
        assert!(!enter(&bound, &acceptor, &stranger).await.resumed);
    }
    assert_eq!(bound.judged.load(Ordering::Relaxed), 0);
}

// SRV-17: a client that can only resume without a key exchange of its own is not resumed.
#[tokio::test]
async fn resumption_wants_a_key_exchange() {
    const MODES: &[u8] = &[0, 45, 0, 2, 1, 1];
    let bound = Bound::new();
    let (acceptor, honest) = (bound.acceptor(), resuming(x509()));
    let psk_ke_only = misbehave::connector(
        &honest,
        misbehave::only(CLIENT_HELLO, |message| {
            let at = message.windows(MODES.len()).position(|window| window == MODES).expect("psk_dhe_ke");
            let mut changed = message.to_vec();
            changed[at + MODES.len() - 1] = 0;
            changed
        }),
    );
    enter(&bound, &acceptor, &honest).await;
    // It offers the ticket, is not resumed by it, and is given none.
    assert!(!enter(&bound, &acceptor, &psk_ke_only).await.resumed);
    assert!(!enter(&bound, &acceptor, &honest).await.resumed);
    assert_eq!(bound.judged.load(Ordering::Relaxed), 0);
    // Control.
    assert!(enter(&bound, &acceptor, &honest).await.resumed);
}

// SRV-17: who was not authenticated holds nothing to come back with.
#[tokio::test]
async fn nothing_to_resume_without_authentication() {
    let bound = Bound::new();
    let (acceptor, connector) = (bound.acceptor(), resuming(x509()));
    for verdict in [
        Verdict::Abort(Reason::NoMatch),
        Verdict::Unauthenticated(Reason::NoMatch),
        Verdict::NotDane(Reason::NoClientName),
    ] {
        let (accepted, mut client) = handshake_any(&acceptor, &connector).await;
        let Accepted::Pending(pending) = accepted else { panic!("{verdict:?}") };
        let server = async {
            match pending.resume(&verdict).await {
                Resumed::Open(mut stream) => {
                    stream.write_all(b"hello").await.unwrap();
                    stream.shutdown().await.unwrap();
                }
                Resumed::Refused => assert!(matches!(verdict, Verdict::Abort(_))),
            }
        };
        let client = async {
            let mut answer = Vec::new();
            match client.read_to_end(&mut answer).await {
                Ok(_) => assert_eq!(answer, b"hello"),
                Err(error) => assert!(is_auth_refused(&error) && matches!(verdict, Verdict::Abort(_)), "{error}"),
            }
        };
        tokio::join!(server, client);
    }
    assert!(!enter(&bound, &acceptor, &connector).await.resumed);
    // Control.
    assert!(enter(&bound, &acceptor, &connector).await.resumed);
}

// CLI-07, HTTP-16: a server that gives tickets before its verdict and then refuses: what it gave is not kept.
#[tokio::test]
async fn session_is_kept_once_it_has_proven_good() {
    let server = plain_server();
    let connector = resuming(x509());
    for (answers, resumed) in [(false, false), (true, false), (true, true), (false, true), (true, false)] {
        let (client, end) = tcp().await;
        let serve = async {
            let mut stream = SslStream::new(Ssl::new(&server).unwrap(), end).unwrap();
            std::pin::Pin::new(&mut stream).accept().await.unwrap();
            if answers {
                stream.write_all(b"hello").await.unwrap();
            }
            stream.shutdown().await.unwrap();
            stream.ssl().session_reused()
        };
        let come = async {
            let mut stream = connector.connect(SERVER, client).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            (stream.resumed(), answer)
        };
        let (reused, (client_resumed, answer)) = tokio::join!(serve, come);
        assert_eq!((reused, client_resumed, answer.is_empty()), (resumed, resumed, !answers));
    }
}

// HTTP-16: a server whose name is another gets another session, however it is written.
#[tokio::test]
async fn sessions_are_kept_by_server_name() {
    let bound = Bound::new();
    let acceptor = bound.acceptor();
    let config = ClientConfig { server_verification: ServerVerification::UnsafeNone, ..client_config(x509()) };
    let connector = Connector::new(&ClientConfig { resumption: true, ..config }).unwrap();
    for (server_name, resumed) in
        [("one.test", false), ("two.test", false), ("ONE.test.", true), ("one.test", true), ("127.0.0.1", false)]
    {
        let (client, server) = tcp().await;
        let (accepted, connected) = tokio::join!(acceptor.accept(server), connector.connect(server_name, client));
        let mut client = connected.unwrap();
        assert_eq!(client.resumed(), resumed, "{server_name}");
        let mut server = match accepted.unwrap() {
            Accepted::Resumed(resumed) => resumed.stream,
            Accepted::Pending(pending) => {
                let verdict = bound.verdict(pending.presented());
                let Resumed::Open(stream) = pending.resume(&verdict).await else { panic!("{verdict:?}") };
                stream
            }
        };
        echo(&mut server, &mut client).await;
    }
}

// SRV-17: a certificate may be as long as it likes, tickets do not hold it; a record that holds it fits into none, and
// then the client has no ticket, and nothing worse.
#[tokio::test]
async fn long_certificate() {
    let mut params = rcgen::CertificateParams::new(vec!["sensor7.example.com".to_owned()]).unwrap();
    let names = (0..1000).map(|n| rcgen::SanType::DnsName(format!("n{n}.example.com").try_into().unwrap()));
    params.subject_alt_names.extend(names);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let credential = CertifiedKey::parse(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
    let digest = TlsaRdata::for_spki(CertUsage::DANE_EE, MatchingType::SHA2_256, &spki).unwrap();
    let whole = TlsaRdata::new(CertUsage::DANE_EE, Selector::CERT, MatchingType::FULL, certificate.der());
    for (record, resumed) in [(digest, true), (whole, false)] {
        let bound = Bound::new();
        *bound.answer.lock().unwrap() = Some(answer_of(record));
        let (acceptor, connector) = (bound.acceptor(), resuming(ClientCredential::X509(credential.clone())));
        assert!(!enter(&bound, &acceptor, &connector).await.resumed);
        assert_eq!(enter(&bound, &acceptor, &connector).await.resumed, resumed);
    }
}

// Settings go to logs.
#[test]
fn debug_output_holds_no_keys() {
    let bound = Bound::new();
    assert!(format!("{:?}", bound.config()).contains("resumption: Some(Resumption)"));
    assert!(!format!("{:?}", bound.acceptor()).contains("keys"));
}

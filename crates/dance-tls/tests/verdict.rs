//! What a client presents, how it waits, and what it sees of the verdict.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use dance_core::clientid::{ClientForm, TlsVersion};
use dance_core::matching::Credential;
use dance_core::reason::Reason;
use dance_core::verdict::{ClientId, Verdict};
use dance_tls::{
    Acceptor, ClientConfig, ClientCredential, Connector, CredentialType, Linger, Resumed, ServerConfig,
    ServerVerification, TrustAnchors,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const REFUSE: Verdict = Verdict::Abort(Reason::NoMatch);

// CID-04, CLI-03, TLSA-23
#[tokio::test]
async fn x509_client_is_presented_as_received() {
    let (accepted, connected) = handshake(&acceptor(), &connector(x509())).await;
    let (pending, mut client) = (accepted.unwrap(), connected.unwrap());
    assert_eq!(certificates(pending.presented().credential.as_ref()), [vector("certs/ee-p256.der")]);
    assert_eq!(pending.presented().client_id, ClientId::Form(ClientForm::Name(name())));
    assert_eq!(pending.server_name(), Some(SERVER));
    assert_eq!(pending.version(), TlsVersion::Tls13);
    assert!(client.signal_seen() && client.name_sent());
    assert_eq!(client.credential_sent(), Some(CredentialType::X509));
    echo(&mut open(pending).await, &mut client).await;
}

// CLI-06, TLSA-23: the chain arrives whole and in its order, the root included.
#[tokio::test]
async fn chain_is_presented_as_received() {
    let (accepted, _connected) = handshake(&acceptor(), &connector(leaf())).await;
    let pending = accepted.unwrap();
    let expected = ["certs/leaf.der", "certs/inter.der", "certs/root.der"].map(vector);
    assert_eq!(certificates(pending.presented().credential.as_ref()), expected);
}

// CLI-06: what the client is configured with, and nothing that it happens to know besides.
#[tokio::test]
async fn chain_is_not_completed_from_the_clients_anchors() {
    let chain = vector("certs/leaf.pem");
    let credential = dance_tls::CertifiedKey::parse(&chain, &vector("keys/leaf.key.pem")).unwrap();
    let anchors = [server_certificate(), vector("certs/inter.pem"), vector("certs/root.pem")].concat();
    let server_verification = ServerVerification::Roots(TrustAnchors::parse(&anchors).unwrap());
    let config = ClientConfig { server_verification, ..client_config(ClientCredential::X509(credential)) };
    let (accepted, _connected) = handshake(&acceptor(), &Connector::new(&config).unwrap()).await;
    assert_eq!(certificates(accepted.unwrap().presented().credential.as_ref()), [vector("certs/leaf.der")]);
}

// HTTP-07: expired, self-signed, made for servers: all is taken, possession proven.
#[tokio::test]
async fn any_certificate_is_taken() {
    for (certificate, key) in [
        ("ee-p256-expired", "ee-p256"),
        ("ee-rsa2048", "ee-rsa2048"),
        ("ee-ed25519", "ee-ed25519"),
        ("leaf-ekuserver", "leaf"),
    ] {
        let chain = vector(&format!("certs/{certificate}.pem"));
        let key = vector(&format!("keys/{key}.key.pem"));
        let credential = ClientCredential::X509(dance_tls::CertifiedKey::parse(&chain, &key).unwrap());
        let (accepted, _connected) = handshake(&acceptor(), &connector(credential)).await;
        let expected = vector(&format!("certs/{certificate}.der"));
        assert_eq!(certificates(accepted.unwrap().presented().credential.as_ref()), [expected]);
    }
}

// CID-04, RPK-03, TLSA-23
#[tokio::test]
async fn raw_public_key_client_is_presented_as_received() {
    let (accepted, connected) = handshake(&acceptor(), &connector(raw_public_key())).await;
    let (pending, mut client) = (accepted.unwrap(), connected.unwrap());
    let spki = vector("keys/ee-p256.spki.der");
    assert_eq!(pending.presented().credential, Some(Credential::RawPublicKey(spki.into())));
    assert_eq!(pending.presented().client_id, ClientId::Form(ClientForm::Name(name())));
    assert_eq!(client.credential_sent(), Some(CredentialType::RawPublicKey));
    echo(&mut open(pending).await, &mut client).await;
}

// SRV-04, SRV-06, SRV-16: nothing, or a certificate without name, is no name; it is refused like all others.
#[tokio::test]
async fn client_without_name_is_absent() {
    for credential in [None, Some(x509()), Some(leaf()), Some(raw_public_key())] {
        let config = ClientConfig { credential: credential.clone(), ..ClientConfig::new(trust_server()) };
        let (accepted, connected) = handshake(&acceptor(), &Connector::new(&config).unwrap()).await;
        let (pending, client) = (accepted.unwrap(), connected.unwrap());
        assert_eq!(pending.presented().client_id, ClientId::Absent);
        assert_eq!(pending.presented().credential.is_some(), credential.is_some());
        assert_eq!(client.credential_sent().is_some(), credential.is_some());
        assert!(client.signal_seen() && !client.name_sent());
        let verdict = Verdict::Abort(Reason::NoClientName);
        let (_, end) = tokio::join!(pending.resume(&verdict), read_end(client));
        assert!(matches!(&end, ClientEnd::Read(error) if is_auth_refused(error)), "{end:?}");
    }
}

// SRV-16, CLI-07
#[tokio::test]
async fn refusal_is_handshake_failure_at_the_clients_first_read() {
    for credential in [x509(), raw_public_key()] {
        let (accepted, connected) = handshake(&acceptor(), &connector(credential)).await;
        let (pending, mut client) = (accepted.unwrap(), connected.unwrap());
        let client = async {
            let error = client.read_u8().await.unwrap_err();
            // The alert is remembered: the second read says the same, and so does a write.
            let again = client.read_u8().await.unwrap_err();
            let write = client.write_all(b"hello").await.unwrap_err();
            assert_eq!(client.alert_received().map(|alert| alert.code()), Some(40));
            [error, again, write]
        };
        let (resumed, errors) = tokio::join!(pending.resume(&REFUSE), client);
        assert!(matches!(resumed, Resumed::Refused));
        for error in errors {
            assert!(is_auth_refused(&error), "{error:?}");
            assert!(error.to_string().contains("client authentication refused"));
        }
    }
}

// SRV-16, SEC-11: whatever the reason, the client sees its alert and nothing else.
#[tokio::test]
async fn every_reason_has_its_alert() {
    for reason in Reason::ALL {
        let (accepted, connected) = handshake(&acceptor(), &connector(x509())).await;
        let verdict = Verdict::Abort(*reason);
        let (_, end) = tokio::join!(accepted.unwrap().resume(&verdict), read_end(connected.unwrap()));
        assert_eq!(end.alert(), Some(reason.alert().code()), "{reason}: {end:?}");
    }
}

// SRV-16: whoever drops a pending client, by `?` or a cancelled task, has refused it.
#[tokio::test]
async fn dropping_a_pending_client_refuses_it() {
    for pipelined in [0, 5000] {
        let (accepted, connected) = handshake(&acceptor(), &connector(x509())).await;
        let mut client = connected.unwrap();
        client.write_all(&vec![b'x'; pipelined]).await.unwrap();
        drop(accepted.unwrap());
        let end = read_end(client).await;
        assert!(matches!(&end, ClientEnd::Read(error) if is_auth_refused(error)), "{end:?}");
    }
}

/// Refuses a client that is in the middle of a request too large for the socket buffers: how the request and the first
/// read end for the client.
async fn refuse_during_request(acceptor: &Acceptor) -> (std::io::Result<()>, ClientEnd) {
    let (accepted, connected) = handshake(acceptor, &connector(x509())).await;
    let (pending, mut client) = (accepted.unwrap(), connected.unwrap());
    let client = async {
        let written = client.write_all(&vec![b'x'; 3_000_000]).await;
        (written, read_end(client).await)
    };
    let server = async {
        pending.get_ref().unwrap().readable().await.unwrap();
        pending.resume(&REFUSE).await
    };
    tokio::join!(server, client).1
}

// SRV-16, CLI-07: lingering close. A request in flight when the client is refused does not cost it its alert.
#[tokio::test]
async fn pipelined_request_does_not_hide_the_alert() {
    let acceptor = acceptor();
    for _ in 0..20 {
        let (written, end) = refuse_during_request(&acceptor).await;
        written.unwrap();
        assert!(matches!(&end, ClientEnd::Read(error) if is_auth_refused(error)), "{end:?}");
    }
}

// Control for the above: without lingering the same client's request breaks off. What is left of the alert is looked
// for then, and not every system keeps it.
#[tokio::test]
async fn without_lingering_the_request_breaks_off() {
    let linger = Linger { time: Duration::ZERO, octets: 0 };
    let acceptor = Acceptor::new(&ServerConfig { linger, ..server_config() }).unwrap();
    for _ in 0..20 {
        let (written, _) = refuse_during_request(&acceptor).await;
        let error = written.unwrap_err();
        assert!(is_auth_refused(&error) || cfg!(not(target_os = "linux")), "{error:?}");
    }
}

// SEC-02: pending clients hold no thread. A hundred wait at once on two, and each gets its own verdict.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_wait_at_once() {
    const CLIENTS: usize = 100;
    let (acceptor, connector) = (acceptor(), connector(raw_public_key()));
    let all_pending = Arc::new(tokio::sync::Barrier::new(CLIENTS));
    let mut tasks = Vec::new();
    for client in 0..CLIENTS {
        let (acceptor, connector, all_pending) = (acceptor.clone(), connector.clone(), Arc::clone(&all_pending));
        tasks.push(tokio::spawn(async move {
            let (accepted, connected) = handshake(&acceptor, &connector).await;
            let (pending, mut connected) = (accepted.unwrap(), connected.unwrap());
            all_pending.wait().await;
            if client % 2 == 0 {
                echo(&mut open(pending).await, &mut connected).await;
            } else {
                let (_, end) = tokio::join!(pending.resume(&REFUSE), read_end(connected));
                assert_eq!(end.alert(), Some(40), "{end:?}");
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

// SRV-10: what a client sends before the verdict is delivered after it, and not before.
#[tokio::test]
async fn early_request_waits_for_the_verdict() {
    let (accepted, connected) = handshake(&acceptor(), &connector(x509())).await;
    let (mut pending, mut client) = (accepted.unwrap(), connected.unwrap());
    client.write_all(b"request").await.unwrap();
    pending.get_ref().unwrap().readable().await.unwrap();
    // The request does not count as going away. Polled once, `closed` has looked at it.
    let mut closed = Box::pin(pending.closed());
    assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(closed.as_mut().poll(cx).is_pending())).await);
    drop(closed);
    // The server has said nothing either: not a single octet for the client (no half-RTT data, no tickets).
    let mut octet = [0];
    assert!(client.get_ref().try_read(&mut octet).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));

    let mut server = open(pending).await;
    let mut request = [0; 7];
    server.read_exact(&mut request).await.unwrap();
    assert_eq!(&request, b"request");
    echo(&mut server, &mut client).await;
}

// A client that goes away while pending is noticed, whether it says so or not.
#[tokio::test]
async fn pending_client_that_goes_away_is_noticed() {
    for orderly in [true, false] {
        let (accepted, connected) = handshake(&acceptor(), &connector(x509())).await;
        let (mut pending, mut client) = (accepted.unwrap(), connected.unwrap());
        if orderly {
            client.shutdown().await.unwrap();
        }
        drop(client);
        pending.closed().await;
        assert!(matches!(pending.resume(&REFUSE).await, Resumed::Refused));
    }
}

// A client that half-closes after its request still gets its answer.
#[tokio::test]
async fn half_closed_client_is_answered() {
    let (accepted, connected) = handshake(&acceptor(), &connector(x509())).await;
    let (pending, mut client) = (accepted.unwrap(), connected.unwrap());
    client.write_all(b"request").await.unwrap();
    client.shutdown().await.unwrap();
    let mut server = open(pending).await;
    let mut request = Vec::new();
    server.read_to_end(&mut request).await.unwrap();
    assert_eq!(request, b"request");
    server.write_all(b"answer").await.unwrap();
    server.shutdown().await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"answer");
}

// An end without close_notify is an error, not an end: octets may be missing.
#[tokio::test]
async fn truncation_is_an_error() {
    let (accepted, connected) = handshake(&acceptor(), &connector(x509())).await;
    let mut server = open(accepted.unwrap()).await;
    drop(connected.unwrap());
    let error = server.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    assert!(error.get_ref().is_none(), "from TLS, not from read_u8: {error:?}");
}

// Large transfers in both directions at once, over a transport that takes a few octets at a time.
#[tokio::test]
async fn octets_survive_a_narrow_transport() {
    let (client, server) = tokio::io::duplex(97);
    let (acceptor, connector) = (acceptor(), connector(leaf()));
    let (accepted, connected) = tokio::join!(accept(&acceptor, server), connector.connect(SERVER, client));
    let Resumed::Open(server) = accepted.unwrap().resume(&ACCEPT).await else { panic!() };
    let sent: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
    let (there, back) = tokio::join!(both_ways(server, &sent), both_ways(connected.unwrap(), &sent));
    assert!(there == sent && back == sent);
}

/// Sends these octets and receives as many.
async fn both_ways(stream: impl AsyncRead + AsyncWrite, sent: &[u8]) -> Vec<u8> {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut received = vec![0; sent.len()];
    let write = async {
        write.write_all(sent).await.unwrap();
        write.flush().await.unwrap();
    };
    let (read, ()) = tokio::join!(read.read_exact(&mut received), write);
    read.unwrap();
    received
}

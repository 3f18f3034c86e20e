//! Clients that do odd things while a server of TLS 1.2 holds its last flight back, and records of every shape.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::*;
use dance_core::clientid::{ClientForm, Profile, TlsVersion};
use dance_core::reason::Reason;
use dance_core::verdict::{ClientId, Verdict};
use dance_tls::misbehave::{self, CLIENT_HELLO, FINISHED};
use dance_tls::{
    AcceptError, Acceptor, ClientConfig, ClientCredential, ClientStream, ConnectError, Connector, Linger, Resumed,
    ServerConfig,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

const REFUSE: Verdict = Verdict::Abort(Reason::NoMatch);
/// Content types of records.
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
/// The record of a fatal handshake_failure in the clear.
const REFUSAL: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

fn server(linger: Linger) -> Acceptor {
    let config = ServerConfig { profile: Profile::Draft2022, tls12: true, linger, ..server_config() };
    Acceptor::new(&config).unwrap()
}

fn config(credential: ClientCredential) -> ClientConfig {
    ClientConfig {
        profile: Profile::Draft2022.into(),
        tls12: true,
        name_in_client_hello: true,
        ..client_config(credential)
    }
}

fn client(credential: ClientCredential) -> Connector {
    Connector::new(&config(credential)).unwrap()
}

/// A client that speaks TLS 1.2 and nothing else.
fn old_client(credential: ClientCredential) -> Connector {
    Connector::new(&ClientConfig { tls13: false, ..config(credential) }).unwrap()
}

type Connected = JoinHandle<Result<ClientStream<DuplexStream>, ConnectError>>;

fn connect(connector: Connector, stream: DuplexStream) -> Connected {
    tokio::spawn(async move { connector.connect(SERVER, stream).await })
}

/// Content type and body.
type Record = (u8, Vec<u8>);
/// Records laid out anew.
type Shape = fn(&[Record]) -> Vec<u8>;

/// Both ends of a connection in memory: client, server. In between, `shape` lays out anew what the client sends before its
/// ChangeCipherSpec, one flight at a time, and `behind` is added to the flight that ends in its Finished.
fn between(shape: Shape, behind: Vec<u8>) -> (DuplexStream, DuplexStream) {
    let (client, mut near) = duplex(100_000);
    let (mut far, server) = duplex(100_000);
    tokio::spawn(async move {
        let mut flight = vec![0; 100_000];
        let mut plain = true;
        while plain {
            tokio::select! {
                len = near.read(&mut flight) => {
                    let found = records(&flight[..len.unwrap()]);
                    let last = found.iter().position(|(content_type, _)| *content_type == CHANGE_CIPHER_SPEC);
                    plain = last.is_none();
                    let (shaped, rest) = found.split_at(last.unwrap_or(found.len()));
                    let behind = if plain { &[][..] } else { &behind[..] };
                    far.write_all(&[&shape(shaped)[..], &unchanged(rest), behind].concat()).await.unwrap();
                }
                octet = far.read_u8() => match octet {
                    Ok(octet) => near.write_u8(octet).await.unwrap(),
                    Err(_) => return,
                },
            }
        }
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    (client, server)
}

fn record(content_type: u8, body: &[u8]) -> Vec<u8> {
    let mut record = vec![content_type, 3, 3];
    record.extend((body.len() as u16).to_be_bytes());
    record.extend(body);
    record
}

/// Records as they came.
fn unchanged(found: &[Record]) -> Vec<u8> {
    found.iter().flat_map(|(content_type, body)| record(*content_type, body)).collect()
}

/// A record for every three octets: handshake headers do not fit into one.
fn tiny(found: &[Record]) -> Vec<u8> {
    found
        .iter()
        .flat_map(|(content_type, body)| body.chunks(3).flat_map(|piece| record(*content_type, piece)))
        .collect()
}

/// All messages of a flight in one record.
fn together(found: &[Record]) -> Vec<u8> {
    let Some((content_type, _)) = found.first() else { return Vec::new() };
    assert!(found.iter().all(|(other, _)| other == content_type));
    record(*content_type, &found.iter().flat_map(|(_, body)| body.clone()).collect::<Vec<_>>())
}

// CID-04, SRV-24: it does not matter how messages are laid out in records: ClientHello, Certificate and what follows in
// tiny ones, or a whole flight in one.
#[tokio::test]
async fn messages_may_be_laid_out_in_records_as_the_client_likes() {
    for shape in [unchanged, tiny, together] {
        for (connector, version) in [
            (old_client(leaf()), TlsVersion::Tls12),
            (old_client(raw_public_key()), TlsVersion::Tls12),
            (client(leaf()), TlsVersion::Tls13),
        ] {
            let (client, stream) = between(shape, Vec::new());
            let client = connect(connector, client);
            let pending = accept(&server(Linger::default()), stream).await.unwrap();
            assert_eq!(pending.version(), version);
            assert_eq!(pending.presented().client_id, ClientId::Form(ClientForm::Name(name())));
            let Resumed::Open(mut server) = pending.resume(&ACCEPT).await else { panic!() };
            let mut client = client.await.unwrap().unwrap();
            client.write_all(b"hello").await.unwrap();
            let mut octets = [0; 5];
            server.read_exact(&mut octets).await.unwrap();
            assert_eq!(&octets, b"hello");
        }
    }
}

// SRV-24: octets that are no record of this connection, behind the client's Finished: OpenSSL's alert about them is not
// sent either.
#[tokio::test]
async fn garbage_while_pending_gets_nothing_out() {
    for (wait, garbage) in [
        (true, record(23, &[b'x'; 100])),
        (true, b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        (true, record(CHANGE_CIPHER_SPEC, &[1])),
        // Unread when the client is refused.
        (false, record(23, &[b'x'; 100])),
    ] {
        let (client, stream) = between(unchanged, garbage);
        let (stream, written) = Tapped::new(stream);
        let connected = connect(old_client(x509()), client);
        let acceptor = server(Linger::default());
        let mut pending = accept(&acceptor, stream).await.unwrap();
        let before = written.lock().unwrap().len();
        if wait {
            // That client is as good as gone.
            pending.closed().await;
        }
        assert_eq!(written.lock().unwrap().len(), before);
        assert!(matches!(pending.resume(&REFUSE).await, Resumed::Refused));
        assert_eq!(written.lock().unwrap()[before..], REFUSAL);
        assert!(matches!(connected.await.unwrap().unwrap_err(), ConnectError::ClientAuthRefused));
    }
}

// SRV-20, SRV-24: a client that asks to renegotiate while it is pending, be it ever so often, gets no answer before the
// verdict, and does not make the server hold more than a little.
#[tokio::test]
async fn renegotiation_while_pending_gets_nothing_out() {
    for (requests, goes_away, verdict) in
        [(1, false, REFUSE), (1000, false, REFUSE), (1000, true, REFUSE), (1, false, ACCEPT)]
    {
        let connector = misbehave::connector(
            &old_client(x509()),
            misbehave::only(FINISHED, move |message| {
                let hello = misbehave::with_body(&[CLIENT_HELLO], &[0; 4]);
                [message.to_vec(), hello.repeat(requests)].concat()
            }),
        );
        let (client, stream) = duplex(100_000);
        let (stream, written) = Tapped::new(stream);
        let connected = connect(connector, client);
        let acceptor = server(Linger::default());
        let mut pending = accept(&acceptor, stream).await.unwrap();
        let before = written.lock().unwrap().len();
        let mut closed = Box::pin(pending.closed());
        for _ in 0..10 {
            let pending =
                std::future::poll_fn(|cx| std::task::Poll::Ready(closed.as_mut().poll(cx).is_pending())).await;
            assert!(pending);
        }
        drop(closed);
        assert_eq!(written.lock().unwrap().len(), before);
        if goes_away {
            // It is heard of, although the gate is full.
            connected.abort();
            pending.closed().await;
            continue;
        }
        match pending.resume(&verdict).await {
            Resumed::Refused => {
                assert_eq!(written.lock().unwrap()[before..], REFUSAL);
                assert!(matches!(connected.await.unwrap().unwrap_err(), ConnectError::ClientAuthRefused));
            }
            // What was held goes out in its order: the last flight, then "no". The client's Finished was not what it
            // thinks it was, so that it comes no further.
            Resumed::Open(_stream) => {
                let found = records(&written.lock().unwrap()[before..]);
                let content_types: Vec<_> = found.iter().map(|(content_type, _)| *content_type).collect();
                assert_eq!(content_types, [CHANGE_CIPHER_SPEC, HANDSHAKE, 21]);
                let error = connected.await.unwrap().unwrap_err();
                assert!(matches!(error, ConnectError::Tls(_)), "{error:?}");
            }
        }
    }
}

// SRV-10: a client that goes away while pending is noticed, and whoever resumes it all the same does no harm.
#[tokio::test]
async fn client_that_goes_away_while_pending_is_noticed() {
    for verdict in [REFUSE, ACCEPT] {
        let (client, stream) = duplex(100_000);
        let connected = connect(old_client(x509()), client);
        let acceptor = server(Linger::default());
        let mut pending = accept(&acceptor, stream).await.unwrap();
        connected.abort();
        assert!(connected.await.unwrap_err().is_cancelled());
        pending.closed().await;
        match pending.resume(&verdict).await {
            Resumed::Refused => {}
            Resumed::Open(mut stream) => assert!(stream.read_u8().await.is_err()),
        }
    }
}

// SRV-09, SRV-24: a client that leaves out its CertificateVerify gets OpenSSL's alert, and nothing else.
#[tokio::test]
async fn client_without_proof_gets_no_further() {
    fn without_the_last(found: &[Record]) -> Vec<u8> {
        match found {
            [hello] => unchanged(std::slice::from_ref(hello)),
            // CertificateVerify is missing, and ChangeCipherSpec comes out of turn.
            [most @ .., _] => unchanged(most),
            [] => Vec::new(),
        }
    }
    let (client, stream) = between(without_the_last, Vec::new());
    let connected = connect(old_client(x509()), client);
    let (stream, written) = Tapped::new(stream);
    let error = accept(&server(Linger::default()), stream).await.unwrap_err();
    let AcceptError::Tls(failure) = &error else { panic!("{error:?}") };
    assert_eq!(failure.alert_sent.map(|alert| alert.code()), Some(10), "{error:?}");
    let written = records(&written.lock().unwrap());
    assert!(written.iter().all(|(content_type, _)| *content_type != CHANGE_CIPHER_SPEC));
    assert_eq!(written.last(), Some(&(21, vec![2, 10])));
    assert!(matches!(connected.await.unwrap().unwrap_err(), ConnectError::PeerAlert(alert) if alert.code() == 10));
}

// A client that hangs up in the middle of its last flight is an I/O error, and no pending client.
#[tokio::test]
async fn client_that_hangs_up_before_its_finished_is_an_io_error() {
    let (client, stream) = duplex(100_000);
    let (mut near, relayed) = duplex(100_000);
    let connected = connect(old_client(x509()), relayed);
    let (mut from, mut to) = tokio::io::split(client);
    let relay = async move {
        let mut hello = vec![0; 100_000];
        let len = near.read(&mut hello).await.unwrap();
        to.write_all(&hello[..len]).await.unwrap();
        let mut answer = vec![0; 100_000];
        let len = from.read(&mut answer).await.unwrap();
        near.write_all(&answer[..len]).await.unwrap();
        let mut flight = vec![0; 100_000];
        let len = near.read(&mut flight).await.unwrap();
        to.write_all(&flight[..len - 20]).await.unwrap();
        // Both ends are dropped here.
    };
    let acceptor = server(Linger::default());
    let (accepted, ()) = tokio::join!(accept(&acceptor, stream), relay);
    let error = accepted.unwrap_err();
    assert!(matches!(&error, AcceptError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof), "{error:?}");
    assert!(matches!(connected.await.unwrap().unwrap_err(), ConnectError::Io(_)));
}

// SRV-16: a client that neither reads its alert nor hangs up is waited for as long as is set and no longer, in either
// version.
#[tokio::test(start_paused = true)]
async fn client_that_stops_reading_is_waited_for_as_long_as_is_set() {
    for connector in [old_client(x509()), client(x509())] {
        for seconds in [1, 7] {
            let linger = Linger { time: Duration::from_secs(seconds), ..Linger::default() };
            // Too narrow for the alert, so that not even that gets through.
            let (client, stream) = duplex(3);
            let connecting = connector.clone();
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let client = tokio::spawn(async move {
                let mut connecting = Box::pin(connecting.connect(SERVER, client));
                tokio::select! {
                    // In TLS 1.3 the client is through before it is refused; it holds its end and does not read.
                    connected = &mut connecting => { let _open = connected; std::future::pending::<()>().await }
                    _ = stopped => std::future::pending().await,
                }
            });
            let acceptor = server(linger);
            let pending = accept(&acceptor, stream).await.unwrap();
            drop(stop);
            tokio::task::yield_now().await;
            let start = tokio::time::Instant::now();
            assert!(matches!(pending.resume(&REFUSE).await, Resumed::Refused));
            assert_eq!(start.elapsed().as_secs(), seconds);
            client.abort();
        }
    }
}

// Octet by octet, and large transfers in both directions at once.
#[tokio::test]
async fn octets_survive_a_narrow_transport() {
    for width in [1, 97] {
        let (client, stream) = duplex(width);
        let connected = connect(old_client(leaf()), client);
        let Resumed::Open(server) = accept(&server(Linger::default()), stream).await.unwrap().resume(&ACCEPT).await
        else {
            panic!()
        };
        let sent: Vec<u8> = (0..20_000_u32).map(|n| n as u8).collect();
        let there = tokio::spawn(both_ways(server, sent.clone()));
        let back = tokio::spawn(both_ways(connected.await.unwrap().unwrap(), sent.clone()));
        assert!(there.await.unwrap() == sent && back.await.unwrap() == sent);
    }
}

/// Sends these octets and receives as many.
async fn both_ways(stream: impl AsyncRead + AsyncWrite, sent: Vec<u8>) -> Vec<u8> {
    let (mut read, mut write) = tokio::io::split(stream);
    let mut received = vec![0; sent.len()];
    let write = async {
        write.write_all(&sent).await.unwrap();
        write.flush().await.unwrap();
    };
    let (read, ()) = tokio::join!(read.read_exact(&mut received), write);
    read.unwrap();
    received
}

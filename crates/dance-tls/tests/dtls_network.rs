//! DTLS over a network that loses, doubles and swaps datagrams, and peers that only pretend to be there. The waiting is
//! OpenSSL's, by its own clock: a second before it first repeats anything.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "common/datagrams.rs"]
mod datagrams;

use std::time::Duration;

use common::x509;
use dance_tls::{AcceptError, ConnectError, DtlsAcceptor, DtlsLimits, Linger, ServerConfig};
use datagrams::{
    Fate, From, Net, REFUSE, acceptor, client_settings, connect, echo, in_certificate, listener, of_last_flight, open,
    receive, records, server_settings, socket,
};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// HandshakeType.
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;

/// Data gets through: nobody would send it again.
fn spare_data(
    mut fate: impl FnMut(From, usize, &[u8]) -> Fate + Send + 'static,
) -> impl FnMut(From, usize, &[u8]) -> Fate + Send + 'static {
    move |from, index, datagram| {
        if records(datagram)[0].content_type == 23 { Fate::Pass } else { fate(from, index, datagram) }
    }
}

/// A client is accepted, whatever the network does.
async fn comes_through(about: String, fate: impl FnMut(From, usize, &[u8]) -> Fate + Send + 'static) {
    let mut net = Net::new(&in_certificate(), spare_data(fate)).await;
    let pending = net.accept(&acceptor()).await.unwrap_or_else(|error| panic!("{about}: {error}"));
    net.relay.settle().await;
    assert!(!net.relay.server_sent().iter().any(|datagram| of_last_flight(datagram)), "{about}");
    echo(open(pending).await, net.client).await;
}

/// A client is refused in its handshake, whatever the network does.
async fn is_refused(about: String, fate: impl FnMut(From, usize, &[u8]) -> Fate + Send + 'static) {
    let mut net = Net::new(&in_certificate(), spare_data(fate)).await;
    // A client that has had to repeat itself before does so more and more slowly.
    let linger = Linger { time: Duration::from_secs(20), ..Linger::default() };
    let acceptor = DtlsAcceptor::new(&ServerConfig { linger, ..server_settings() }).unwrap();
    let pending = net.accept(&acceptor).await.unwrap_or_else(|error| panic!("{about}: {error}"));
    let refusing = tokio::spawn(async move { pending.resume(&REFUSE).await });
    let error = net.client.await.unwrap().unwrap_err();
    refusing.abort();
    assert!(matches!(error, ConnectError::ClientAuthRefused), "{about}: {error:?}");
    net.relay.settle().await;
    assert!(!net.relay.server_sent().iter().any(|datagram| of_last_flight(datagram)), "{about}");
}

// SRV-24: the first of each end's datagrams lost, one at a time: the client comes to its verdict, and to no other.
#[tokio::test]
async fn loss() {
    let mut all = JoinSet::new();
    for lost in 0..4 {
        for side in [From::Client, From::Server] {
            let fate = move |from, index, _: &[u8]| if from == side && index == lost { Fate::Drop } else { Fate::Pass };
            all.spawn(comes_through(format!("{side:?} {lost}"), fate));
            all.spawn(is_refused(format!("{side:?} {lost}"), fate));
        }
    }
    all.join_all().await;
}

// SRV-24: everything twice, everything behind what follows it, and both.
#[tokio::test]
async fn doubles_and_disorder() {
    let mut all = JoinSet::new();
    let twice = |_, _, _: &[u8]| Fate::Twice;
    let swapped = |_, index, _: &[u8]| if index % 2 == 0 { Fate::Later } else { Fate::Pass };
    let both = |_, index, _: &[u8]| if index % 3 == 0 { Fate::Later } else { Fate::Twice };
    all.spawn(comes_through("twice".to_owned(), twice));
    all.spawn(is_refused("twice".to_owned(), twice));
    all.spawn(comes_through("swapped".to_owned(), swapped));
    all.spawn(is_refused("swapped".to_owned(), swapped));
    all.spawn(comes_through("both".to_owned(), both));
    all.spawn(is_refused("both".to_owned(), both));
    all.join_all().await;
}

// SRV-24: the last flight lost: the client asks again, and the open stream answers.
#[tokio::test]
async fn last_flight_lost() {
    let mut lost = 0;
    comes_through("last flight".to_owned(), move |from, _, datagram| {
        if from == From::Server && lost == 0 && of_last_flight(datagram) {
            lost += 1;
            return Fate::Drop;
        }
        Fate::Pass
    })
    .await;
}

// SRV-24: the alert lost: the client asks again, and is told again, under the next number.
#[tokio::test]
async fn alert_lost() {
    let mut lost = 0;
    is_refused("alert".to_owned(), move |from, _, datagram| {
        if from == From::Server && records(datagram)[0].content_type == 21 {
            lost += 1;
            return if lost == 1 { Fate::Drop } else { Fate::Pass };
        }
        Fate::Pass
    })
    .await;
}

// SRV-10, SRV-24: a client that repeats its flight while it is pending makes OpenSSL repeat its own, of which nothing
// gets out either. With the verdict, one copy does, or the alert in its place.
#[tokio::test]
async fn client_asks_again_while_pending() {
    for refuse in [false, true] {
        let mut net = Net::new(&client_settings(x509()), |_, _, _| Fate::Pass).await;
        let mut pending = net.accept(&acceptor()).await.unwrap();
        let again = net.relay.until_count(2, |(from, datagram)| *from == From::Client && of_last_flight(datagram));
        tokio::select! {
            () = pending.closed() => panic!("the client is still there"),
            () = again => {}
        }
        // Time for the server to read it.
        for _ in 0..100 {
            tokio::task::yield_now().await;
            tokio::select! { biased; () = pending.closed() => panic!("the client is still there"), () = std::future::ready(()) => {} }
        }
        net.relay.settle().await;
        assert!(!net.relay.server_sent().iter().any(|datagram| of_last_flight(datagram)));
        if refuse {
            let (_, connected) = tokio::join!(pending.resume(&REFUSE), net.client);
            assert!(matches!(connected.unwrap(), Err(ConnectError::ClientAuthRefused)));
            net.relay.settle().await;
            assert!(!net.relay.server_sent().iter().any(|datagram| of_last_flight(datagram)));
        } else {
            let (_server, _client) = echo(open(pending).await, net.client).await;
            let sent = net.relay.server_sent();
            let changes = sent.iter().flat_map(|datagram| records(datagram)).filter(|record| record.content_type == 20);
            assert_eq!(changes.count(), 1);
        }
    }
}

// A client that is gone is noticed by its silence, pending or not, and forgotten with what is dropped.
#[tokio::test]
async fn client_gone_while_pending() {
    let (mut listener, address) = listener(DtlsLimits::default()).await;
    let client = connect(&client_settings(x509()), address);
    let mut pending = acceptor().accept(listener.accept().await.unwrap()).await.unwrap();
    client.abort();
    // From here on, time passes where nothing else happens.
    tokio::time::pause();
    pending.closed().await;
    assert_eq!(listener.clients(), 1);
    drop(pending);
    assert_eq!(listener.clients(), 0);
}

// RFC 6347 section 4.2.1: HelloVerifyRequest and ServerHello have the numbers of the ClientHellos that they answer, so that
// a client which had to repeat itself does not take the ServerHello for a replay.
#[tokio::test]
async fn numbers_of_the_first_records() {
    let mut net =
        Net::new(
            &client_settings(x509()),
            |from, index, _| {
                if from == From::Server && index == 0 { Fate::Drop } else { Fate::Pass }
            },
        )
        .await;
    let pending = net.accept(&acceptor()).await.unwrap();
    let sent = net.relay.sent();
    let numbers = |message| -> Vec<u64> {
        let all = sent.iter().flat_map(|(_, datagram)| records(datagram));
        all.filter(|record| record.message() == Some(message)).map(|record| record.sequence).collect()
    };
    assert_eq!(numbers(CLIENT_HELLO), [0, 1, 2]);
    assert_eq!(numbers(HELLO_VERIFY_REQUEST), [0, 1]);
    assert_eq!(numbers(SERVER_HELLO), [2]);
    echo(open(pending).await, net.client).await;
}

/// The first ClientHello of a client.
async fn client_hello() -> Vec<u8> {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let client = connect(&client_settings(x509()), server.local_addr().unwrap());
    let mut buffer = [0; 2000];
    let length = server.recv(&mut buffer).await.unwrap();
    client.abort();
    buffer[..length].to_vec()
}

/// A ClientHello with this cookie, as the second of its client.
fn with_cookie(hello: &[u8], cookie: &[u8]) -> Vec<u8> {
    // Record header, message header, version, random; no session id.
    let at = 13 + 12 + 2 + 32 + 1;
    assert_eq!(hello[at - 1..=at], [0, 0]);
    let mut changed = [&hello[..at], &[cookie.len() as u8], cookie, &hello[at + 1..]].concat();
    let length = changed.len() - 13;
    changed[10] = 1;
    changed[11..13].copy_from_slice(&(length as u16).to_be_bytes());
    for field in [14, 22] {
        changed[field..field + 3].copy_from_slice(&((length - 12) as u32).to_be_bytes()[1..]);
    }
    changed[18] = 1;
    changed
}

// Whoever cannot receive at the address that it sends from gets nothing but cookies, in less than it has sent, and is not
// remembered. A cookie of another address or another ClientHello is none.
#[tokio::test]
async fn no_cookie_no_state() {
    let (mut listener, address) = listener(DtlsLimits::default()).await;
    let (hello, another) = (client_hello().await, client_hello().await);
    let (here, elsewhere) = (socket(address).await, socket(address).await);
    let mut answer = [0; 2000];
    let mut cookie = Vec::new();
    for _ in 0..500 {
        here.send(&hello).await.unwrap();
        let length = here.recv(&mut answer).await.unwrap();
        assert!(length < hello.len());
        let answer = &records(&answer[..length])[0];
        assert_eq!(answer.message(), Some(HELLO_VERIFY_REQUEST));
        cookie = answer.fragment[12 + 3..].to_vec();
    }
    let mut forged = cookie.clone();
    forged[31] ^= 1;
    let wrong = [
        (&elsewhere, with_cookie(&hello, &cookie)),
        (&here, with_cookie(&another, &cookie)),
        (&here, with_cookie(&hello, &forged)),
        (&here, with_cookie(&hello, &cookie[1..])),
    ];
    for (socket, hello) in wrong {
        socket.send(&hello).await.unwrap();
        let length = socket.recv(&mut answer).await.unwrap();
        assert_eq!(records(&answer[..length])[0].message(), Some(HELLO_VERIFY_REQUEST));
    }
    assert_eq!(listener.clients(), 0);
    // Control: the right one is a client.
    here.send(&with_cookie(&hello, &cookie)).await.unwrap();
    let incoming = listener.accept().await.unwrap();
    assert_eq!((incoming.peer_addr(), listener.clients()), (here.local_addr().unwrap(), 1));
    drop(incoming);
    assert_eq!(listener.clients(), 0);
}

/// Octets that are no DTLS, or none that belongs here.
fn noise() -> Vec<Vec<u8>> {
    let record = |header: &[u8], fragment: &[u8]| {
        [header, &[0, 0, 0, 0, 0, 0, 0, 77], &(fragment.len() as u16).to_be_bytes(), fragment].concat()
    };
    let mut noise = vec![
        vec![],
        vec![0],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0xff; 13],
        vec![22; 20_000],
        vec![0; 60_000],
        record(&[22, 0xfe, 0xfd], &[]),
        record(&[22, 0xfe, 0xfd], &[1; 11]),
        record(&[23, 0xfe, 0xfd], b"data"),
        record(&[20, 0xfe, 0xfd], &[1]),
        record(&[21, 0xfe, 0xfd], &[2, 40]),
        record(&[21, 0xfe, 0xfd], &[1, 0]),
        record(&[99, 0xfe, 0xfd], b"what"),
        record(&[22, 3, 3], &[1; 100]),
        // Longer than the datagram is, and of another epoch.
        vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 1, 2, 3],
        vec![22, 0xfe, 0xfd, 0, 9, 0, 0, 0, 0, 0, 99, 0, 4, 1, 2, 3, 4],
    ];
    // Shorter than its tag. OpenSSL 3.5.5 takes it for the end of an open connection (docs/limits.md).
    if openssl::version::number() >= 0x4000_0000 {
        noise.push(vec![23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 99, 0, 4, 1, 2, 3, 4]);
    }
    noise
}

// Noise is not answered, by the listener or by a connection, and ends none.
#[tokio::test]
async fn noise_is_ignored() {
    let mut net = Net::new(&client_settings(x509()), |_, _, _| Fate::Pass).await;
    let stranger = socket(net.listener.local_addr().unwrap()).await;
    for octets in noise() {
        stranger.send(&octets).await.unwrap();
    }
    let pending = net.accept(&acceptor()).await.unwrap();
    assert!(stranger.try_recv(&mut [0; 100]).is_err());
    let (mut server, mut client) = echo(open(pending).await, net.client).await;
    for octets in noise() {
        net.relay.forge(From::Client, &octets).await;
        net.relay.forge(From::Server, &octets).await;
        let (there, back) = (octets.len().to_be_bytes(), [1]);
        client.stream.send(&there).await.unwrap();
        assert_eq!(receive(&mut server).await, there);
        server.send(&back).await.unwrap();
        assert_eq!(receive(&mut client.stream).await, back);
    }
}

/// Shows itself at its address and asks to be a client. Has been heard when this returns.
async fn knock(socket: &UdpSocket, hello: &[u8]) {
    let mut answer = [0; 2000];
    let mut ask = async || {
        socket.send(hello).await.unwrap();
        let length = socket.recv(&mut answer).await.unwrap();
        records(&answer[..length])[0].fragment[12 + 3..].to_vec()
    };
    let cookie = ask().await;
    socket.send(&with_cookie(hello, &cookie)).await.unwrap();
    // A listener takes what comes in its order, and answers strangers at once.
    let stranger = self::socket(socket.peer_addr().unwrap()).await;
    stranger.send(hello).await.unwrap();
    stranger.recv(&mut [0; 2000]).await.unwrap();
}

// A limit on clients is one: who is above it is not heard, and is when another has gone.
#[tokio::test]
async fn too_many_clients() {
    let hello = client_hello().await;
    for limits in [
        DtlsLimits { clients: 2, ..DtlsLimits::default() },
        DtlsLimits { clients_per_source: 2, ..DtlsLimits::default() },
        DtlsLimits { backlog: 2, ..DtlsLimits::default() },
    ] {
        let (mut listener, address) = listener(limits).await;
        let sockets = [socket(address).await, socket(address).await, socket(address).await];
        for (socket, clients) in sockets.iter().zip([1, 2, 2]) {
            knock(socket, &hello).await;
            assert_eq!(listener.clients(), clients, "{limits:?}");
        }
        let first = listener.accept().await.unwrap();
        assert_eq!(first.peer_addr(), sockets[0].local_addr().unwrap());
        drop(first);
        knock(&sockets[2], &hello).await;
        assert_eq!(listener.clients(), 2);
        for socket in &sockets[1..] {
            assert_eq!(listener.accept().await.unwrap().peer_addr(), socket.local_addr().unwrap());
        }
        assert_eq!(listener.clients(), 0);
    }
}

// A queue that nobody reads takes so much and no more, and other clients do not notice.
#[tokio::test]
async fn full_queue_loses() {
    let limits = DtlsLimits { queue: 4, ..DtlsLimits::default() };
    let (mut listener, address) = listener(limits).await;
    let client = connect(&client_settings(x509()), address);
    let pending = acceptor().accept(listener.accept().await.unwrap()).await.unwrap();
    let (mut server, mut client) = echo(open(pending).await, client).await;
    for number in 0..100 {
        client.stream.send(&[number]).await.unwrap();
    }
    // A client that comes after all of these has been read after all of these.
    let another = connect(&client_settings(x509()), address);
    let pending = acceptor().accept(listener.accept().await.unwrap()).await.unwrap();
    echo(open(pending).await, another).await;
    for number in 0..4 {
        assert_eq!(receive(&mut server).await, [number]);
    }
    client.stream.send(b"next").await.unwrap();
    assert_eq!(receive(&mut server).await, b"next");
}

// A client that vanishes is forgotten in the end, and the end of the listener is not that of its clients.
#[tokio::test]
async fn ends() {
    let (mut listener, address) = listener(DtlsLimits::default()).await;
    let client = connect(&client_settings(x509()), address);
    let pending = acceptor().accept(listener.accept().await.unwrap()).await.unwrap();
    let server = open(pending).await;
    drop(listener);
    let (mut server, client) = echo(server, client).await;
    drop(client);
    tokio::time::pause();
    let error = server.recv(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

// A server that is not there: the client says so if the system does, and its handshake can be given up at any time.
#[tokio::test]
async fn nobody_there() {
    let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let error = connect(&client_settings(x509()), address).await.unwrap().unwrap_err();
    assert!(matches!(error, ConnectError::Io(_)), "{error:?}");

    // And a client that is not: the server's handshake ends with the client's time.
    let (mut listener, address) = listener(DtlsLimits::default()).await;
    let client = connect(&client_settings(x509()), address);
    let incoming = listener.accept().await.unwrap();
    client.abort();
    tokio::time::pause();
    let error = acceptor().accept(incoming).await.unwrap_err();
    assert!(matches!(&error, AcceptError::Io(cause) if cause.kind() == std::io::ErrorKind::TimedOut), "{error:?}");
    assert_eq!(listener.clients(), 0);
}

// A client's place is kept by what it sends, and not by what anybody can send from its address, such as its own attempts
// to begin anew.
#[tokio::test]
async fn noise_keeps_no_place() {
    let idle = DtlsLimits::default().idle;
    let mut net = Net::new(&client_settings(x509()), |_, _, _| Fate::Pass).await;
    let pending = net.accept(&acceptor()).await.unwrap();
    let (mut server, mut client) = echo(open(pending).await, net.client).await;
    let (_, hello) = net.relay.sent().swap_remove(0);
    assert_eq!(records(&hello)[0].message(), Some(CLIENT_HELLO));
    tokio::time::pause();
    for _ in 0..3 {
        tokio::time::advance(idle * 2 / 3).await;
        client.stream.send(b"here").await.unwrap();
        assert_eq!(receive(&mut server).await, b"here");
    }
    drop(client);
    let noise = async {
        for _ in 0..10 {
            tokio::time::sleep(idle / 2).await;
            net.relay.forge(From::Client, &hello).await;
        }
    };
    let mut buffer = [0];
    tokio::select! {
        received = server.recv(&mut buffer) => assert_eq!(received.unwrap_err().kind(), std::io::ErrorKind::TimedOut),
        () = noise => panic!("the client still has its place"),
    }
    drop(server);
    assert_eq!(net.listener.clients(), 0);
}

// Limits as high as can be said are no limits.
#[tokio::test]
async fn no_limits() {
    let limits = DtlsLimits {
        clients: usize::MAX,
        clients_per_source: usize::MAX,
        backlog: usize::MAX,
        queue: usize::MAX,
        idle: Duration::MAX,
    };
    let (mut listener, address) = listener(limits).await;
    let client = connect(&client_settings(x509()), address);
    let pending = acceptor().accept(listener.accept().await.unwrap()).await.unwrap();
    echo(open(pending).await, client).await;
}

// A listener's task that ends with its runtime ends its clients, which hear nothing any more.
#[test]
fn end_of_the_listeners_runtime() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (of_listener, of_clients) = (runtime(), runtime());
    let (mut listener, address) = of_listener.block_on(listener(DtlsLimits::default()));
    let (mut server, _client) = of_clients.block_on(async {
        let client = connect(&client_settings(x509()), address);
        let pending = acceptor().accept(listener.accept().await.unwrap()).await.unwrap();
        echo(open(pending).await, client).await
    });
    drop(of_listener);
    let aborted = Some(std::io::ErrorKind::ConnectionAborted);
    assert_eq!(of_clients.block_on(server.recv(&mut [0])).err().map(|error| error.kind()), aborted);
    assert_eq!(of_clients.block_on(listener.accept()).err().map(|error| error.kind()), aborted);
}

//! A network for DTLS that loses, doubles, swaps and changes datagrams as told, and keeps a copy of each.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared by test files that use different parts of it"
)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use dance_core::clientid::{ClientForm, ClientProfile, Profile};
use dance_core::reason::Reason;
use dance_core::verdict::Verdict;
use dance_tls::{
    AcceptError, ClientConfig, ClientCredential, ConnectError, DtlsAcceptor, DtlsConnected, DtlsConnector, DtlsLimits,
    DtlsListener, DtlsStream, PendingDatagramClient, ResumedDatagrams, ServerConfig,
};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::common::{SERVER, client_config, named, server_config};

pub fn server_settings() -> ServerConfig {
    ServerConfig { profile: Profile::Draft2022, tls12: true, ..server_config() }
}

pub fn acceptor() -> DtlsAcceptor {
    DtlsAcceptor::new(&server_settings()).unwrap()
}

/// A client that says its name.
pub fn client_settings(credential: ClientCredential) -> ClientConfig {
    ClientConfig {
        profile: ClientProfile::Fixed(Profile::Draft2022),
        tls12: true,
        name_in_client_hello: true,
        require_signal: true,
        ..client_config(credential)
    }
}

/// A client that says that its certificate holds its name.
pub fn in_certificate() -> ClientConfig {
    ClientConfig { client_id: Some(ClientForm::InCertificate), name_in_client_hello: false, ..client_settings(named()) }
}

/// A record of DTLS: type, epoch, sequence number, fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub content_type: u8,
    pub epoch: u16,
    pub sequence: u64,
    pub fragment: Vec<u8>,
}

impl Record {
    /// The type of the handshake message in the clear that it holds.
    pub fn message(&self) -> Option<u8> {
        (self.content_type == 22 && self.epoch == 0).then(|| self.fragment[0])
    }
}

pub fn records(mut datagram: &[u8]) -> Vec<Record> {
    let mut found = Vec::new();
    while !datagram.is_empty() {
        let number = |octets: &[u8]| octets.iter().fold(0_u64, |number, octet| number << 8 | u64::from(*octet));
        let end = 13 + number(&datagram[11..13]) as usize;
        found.push(Record {
            content_type: datagram[0],
            epoch: number(&datagram[3..5]) as u16,
            sequence: number(&datagram[5..11]),
            fragment: datagram[13..end].to_vec(),
        });
        datagram = &datagram[end..];
    }
    found
}

/// Whether it tells a client that it is through.
pub fn of_last_flight(datagram: &[u8]) -> bool {
    records(datagram).iter().any(|record| record.content_type == 20 || record.epoch > 0)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Client,
    Server,
}

/// What becomes of a datagram.
pub enum Fate {
    Pass,
    Drop,
    Twice,
    /// It comes after the next in its direction.
    Later,
    Changed(Vec<u8>),
}

/// All that was sent, in its order, whatever became of it.
pub type Sent = Vec<(From, Vec<u8>)>;

/// No DTLS.
const MARK: &[u8] = b"settle";

/// Stands between one client and a server.
pub struct Relay {
    /// Where the client sends to.
    pub address: SocketAddr,
    sent: watch::Receiver<Sent>,
    settled: watch::Receiver<usize>,
    back: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    client: Arc<Mutex<Option<SocketAddr>>>,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// The fate is told of each datagram by where it is from, how many have come from there before, and its octets.
    pub async fn new(server: SocketAddr, mut fate: impl FnMut(From, usize, &[u8]) -> Fate + Send + 'static) -> Self {
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        back.connect(server).await.unwrap();
        let address = front.local_addr().unwrap();
        let (log, sent) = watch::channel(Sent::new());
        let (settle, settled) = watch::channel(0);
        let client = Arc::new(Mutex::new(None));
        let task = tokio::spawn({
            let (front, back, client) = (Arc::clone(&front), Arc::clone(&back), Arc::clone(&client));
            async move {
                let (mut counts, mut later) = ([0; 2], [None, None]);
                let (mut one, mut other) = (vec![0; 20_000], vec![0; 20_000]);
                loop {
                    let (from, octets) = tokio::select! {
                        biased;
                        received = back.recv(&mut other) => (From::Server, other[..received.unwrap()].to_vec()),
                        received = front.recv_from(&mut one) => {
                            let (length, peer) = received.unwrap();
                            if one[..length] == *MARK {
                                settle.send_modify(|settled| *settled += 1);
                                continue;
                            }
                            *client.lock().unwrap() = Some(peer);
                            (From::Client, one[..length].to_vec())
                        }
                    };
                    let side = from as usize;
                    let fate = fate(from, counts[side], &octets);
                    counts[side] += 1;
                    log.send_modify(|sent| sent.push((from, octets.clone())));
                    let now = match fate {
                        Fate::Pass => vec![octets],
                        Fate::Drop => vec![],
                        Fate::Twice => vec![octets.clone(), octets],
                        Fate::Later => {
                            later[side] = Some(octets);
                            continue;
                        }
                        Fate::Changed(octets) => vec![octets],
                    };
                    for octets in now.into_iter().chain(later[side].take()) {
                        let peer = client.lock().unwrap().unwrap();
                        let _ = match from {
                            From::Client => back.send(&octets).await,
                            From::Server => front.send_to(&octets, peer).await,
                        };
                    }
                }
            }
        });
        Self { address, sent, settled, back, front, client, task }
    }

    /// Waits until everything that the server has sent before has been seen here: it is looked at before the mark is.
    pub async fn settle(&self) {
        let mut settled = self.settled.clone();
        let before = *settled.borrow();
        socket(self.address).await.send(MARK).await.unwrap();
        settled.wait_for(|settled| *settled > before).await.unwrap();
    }

    pub fn sent(&self) -> Sent {
        self.sent.borrow().clone()
    }

    pub fn server_sent(&self) -> Vec<Vec<u8>> {
        self.sent().into_iter().filter(|(from, _)| *from == From::Server).map(|(_, octets)| octets).collect()
    }

    /// Waits until there is such a datagram.
    pub async fn until(&self, wanted: impl Fn(&(From, Vec<u8>)) -> bool) {
        self.sent.clone().wait_for(|sent| sent.iter().any(&wanted)).await.unwrap();
    }

    /// Waits until so many such datagrams have been sent.
    pub async fn until_count(&self, count: usize, wanted: impl Fn(&(From, Vec<u8>)) -> bool) {
        self.sent.clone().wait_for(|sent| sent.iter().filter(|sent| wanted(sent)).count() >= count).await.unwrap();
    }

    /// Sends octets that the other end has not sent.
    pub async fn forge(&self, from: From, octets: &[u8]) {
        let client = self.client.lock().unwrap().unwrap();
        match from {
            From::Client => self.back.send(octets).await.unwrap(),
            From::Server => self.front.send_to(octets, client).await.unwrap(),
        };
    }
}

pub async fn listener(limits: DtlsLimits) -> (DtlsListener, SocketAddr) {
    let listener = DtlsListener::new(UdpSocket::bind("127.0.0.1:0").await.unwrap(), limits).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub async fn socket(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server).await.unwrap();
    socket
}

pub type Connecting = JoinHandle<Result<DtlsConnected, ConnectError>>;

pub fn connect(config: &ClientConfig, server: SocketAddr) -> Connecting {
    let connector = DtlsConnector::new(config).unwrap();
    tokio::spawn(async move { connector.connect(SERVER, socket(server).await).await })
}

/// A client's way to a server, with both handshakes on it.
pub struct Net {
    pub listener: DtlsListener,
    pub relay: Relay,
    pub client: Connecting,
}

impl Net {
    pub async fn new(config: &ClientConfig, fate: impl FnMut(From, usize, &[u8]) -> Fate + Send + 'static) -> Self {
        let (listener, address) = listener(DtlsLimits::default()).await;
        let relay = Relay::new(address, fate).await;
        let client = connect(config, relay.address);
        Self { listener, relay, client }
    }

    pub async fn accept(&mut self, acceptor: &DtlsAcceptor) -> Result<PendingDatagramClient, AcceptError> {
        acceptor.accept(self.listener.accept().await.unwrap()).await
    }
}

pub const ACCEPT: Verdict = Verdict::NotDane(Reason::NoClientName);
pub const REFUSE: Verdict = Verdict::Abort(Reason::NoMatch);

pub async fn open(pending: PendingDatagramClient) -> DtlsStream {
    match pending.resume(&ACCEPT).await {
        ResumedDatagrams::Open(stream) => stream,
        ResumedDatagrams::Refused => panic!("the verdict was to go on"),
    }
}

pub async fn receive(stream: &mut DtlsStream) -> Vec<u8> {
    let mut buffer = vec![0; 20_000];
    let length = stream.recv(&mut buffer).await.unwrap().expect("data");
    buffer.truncate(length);
    buffer
}

/// Data goes both ways. The server has to be waiting where the client may not have got its last flight.
pub async fn echo(mut server: DtlsStream, client: Connecting) -> (DtlsStream, DtlsConnected) {
    let server = tokio::spawn(async move {
        let data = receive(&mut server).await;
        server.send(&data).await.unwrap();
        server
    });
    let mut client = client.await.unwrap().unwrap();
    client.stream.send(b"hello").await.unwrap();
    assert_eq!(receive(&mut client.stream).await, b"hello");
    (server.await.unwrap(), client)
}

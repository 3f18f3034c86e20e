//! Resolvers whose behaviour a test makes up, in front of a world that knows the answers.
#![allow(clippy::unwrap_used, dead_code, reason = "test code; not every test file uses all of it")]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use dance_core::x509::Certificate;
use dance_resolver::{Server, TlsTrust, Transport};
use dance_testkit::{Identity, SignedWorld};
use ring::digest::{SHA256, digest};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Udp,
    Tcp,
}

/// Questions in octets, in order.
type Asked = Arc<Mutex<Vec<(By, Vec<u8>)>>>;

/// A resolver over UDP and TCP, on the loopback address of either family.
pub(crate) struct Plain {
    pub(crate) addr: SocketAddr,
    asked: Asked,
}

impl Plain {
    /// `reply` makes of each question what is sent back: any number of messages.
    pub(crate) async fn start(reply: impl Fn(By, &[u8]) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), reply).await
    }

    /// The same on ::1.
    pub(crate) async fn start_v6(reply: impl Fn(By, &[u8]) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self::start_at(Ipv6Addr::LOCALHOST.into(), reply).await
    }

    async fn start_at(ip: std::net::IpAddr, reply: impl Fn(By, &[u8]) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind((ip, 0)).await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let addr = udp.local_addr().unwrap();
        let asked: Asked = Arc::default();
        let log = Arc::clone(&asked);
        let reply = Arc::new(move |by, question: &[u8]| {
            log.lock().unwrap().push((by, question.to_vec()));
            reply(by, question)
        });
        let by_tcp = Arc::clone(&reply);
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, asker) = udp.recv_from(&mut buffer).await.unwrap();
                for message in reply(By::Udp, &buffer[..length]) {
                    udp.send_to(&message, asker).await.unwrap();
                }
            }
        });
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let reply = Arc::clone(&by_tcp);
                tokio::spawn(async move {
                    while let Some(question) = read_message(&mut stream).await {
                        for message in reply(By::Tcp, &question) {
                            write_message(&mut stream, &message).await;
                        }
                    }
                });
            }
        });
        Self { addr, asked }
    }

    /// All questions so far, and how they came.
    pub(crate) fn asked(&self) -> Vec<(By, Vec<u8>)> {
        self.asked.lock().unwrap().clone()
    }

    /// How many came by UDP and how many by TCP.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let asked = self.asked();
        let udp = asked.iter().filter(|(by, _)| *by == By::Udp).count();
        (udp, asked.len() - udp)
    }
}

/// What is seen of a TLS connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) server_name: Option<String>,
    pub(crate) protocol: Option<Vec<u8>>,
}

/// A resolver over TLS.
pub(crate) struct Dot {
    pub(crate) addr: SocketAddr,
    seen: watch::Receiver<Vec<Seen>>,
}

impl Dot {
    /// `serve` is called for each connection, with its number.
    pub(crate) async fn start<F>(
        identity: &Identity,
        serve: impl Fn(usize, TlsStream<TcpStream>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let chain = identity.chain_der().iter().cloned().map(CertificateDer::from).collect();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.key_der().to_vec()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![b"dot".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, seen) = watch::channel(Vec::new());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let (_, session) = stream.get_ref();
                let of_it = Seen {
                    server_name: session.server_name().map(ToOwned::to_owned),
                    protocol: session.alpn_protocol().map(<[u8]>::to_vec),
                };
                let number = sender.borrow().len();
                sender.send_modify(|seen| seen.push(of_it));
                tokio::spawn(serve(number, stream));
            }
        });
        Self { addr, seen }
    }

    /// One that answers as the world does.
    pub(crate) async fn of(identity: &Identity, world: &Arc<SignedWorld>) -> Self {
        let world = Arc::clone(world);
        Self::start(identity, move |_, stream| serve(stream, Arc::clone(&world))).await
    }

    /// The connections so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    pub(crate) fn by_name(&self, name: &str) -> Server {
        self.server(TlsTrust::Name(name.to_owned()))
    }

    pub(crate) fn by_pins(&self, pins: &[[u8; 32]]) -> Server {
        self.server(TlsTrust::Pins(pins.to_vec()))
    }

    pub(crate) fn by_anyone(&self) -> Server {
        self.server(TlsTrust::Unauthenticated)
    }

    fn server(&self, trust: TlsTrust) -> Server {
        Server { address: self.addr, transport: Transport::Tls(trust) }
    }
}

/// The digest that a key is pinned by.
pub(crate) fn pin(identity: &Identity) -> [u8; 32] {
    let certificate = Certificate::parse(identity.leaf_der()).unwrap();
    digest(&SHA256, certificate.spki()).as_ref().try_into().unwrap()
}

/// Answers as the world does, until the peer closes the connection.
pub(crate) async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, world: Arc<SignedWorld>) {
    while let Some(question) = read_message(&mut stream).await {
        if let Some(answer) = world.answer(&question) {
            write_message(&mut stream, &answer).await;
        }
    }
}

pub(crate) async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let length = stream.read_u16().await.ok()?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await.ok()?;
    Some(message)
}

pub(crate) async fn write_message(stream: &mut (impl AsyncWrite + Unpin), message: &[u8]) {
    let mut octets = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    octets.extend_from_slice(message);
    // The asker may have gone.
    let _ = stream.write_all(&octets).await;
    let _ = stream.flush().await;
}

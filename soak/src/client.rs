//! What each client does, and whether it was told what was planned.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use dance_core::clientid::{ClientForm, ClientProfile, Profile};
use dance_core::name::ClientName;
use dance_testkit::Identity;
use dance_tls::misbehave::{self, CERTIFICATE_VERIFY};
use dance_tls::{
    CertifiedKey, ClientAuthRefused, ClientConfig, ClientCredential, ClientStream, ConnectError, Connector, PeerAlert,
    PrivateKey, ServerVerification, TrustAnchors,
};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::cut::Cut;
use crate::plan::{Kind, Random, Shows, Speaks, Way};
use crate::scene::{LARGE, SENSORS, SLOW, SOON, Scene, TAMPERED, TRUCK, UNSIGNED, malformed_extension, sensor};

/// The alert for everything about authentication.
const HANDSHAKE_FAILURE: u8 = 40;
/// How long a client that no longer reads, or waits for its verdict, leaves its connection open.
const STUCK: Duration = Duration::from_secs(1);
/// Signatures differ in length; a handshake is cut before it could be complete with the shortest.
const SLACK: usize = 16;
/// In TLS 1.2 the server's last flight, ChangeCipherSpec and Finished, comes after the verdict: octets, and a few more.
const LAST_FLIGHT: usize = 64;
/// Names of clients whose look-ups are slow come again after so many: long after the look-up has ended.
const SLOW_NAMES: u64 = 10_000;

/// All clients.
pub(crate) struct Clients {
    scene: Scene,
    seed: u64,
    /// Settings of those who come again and again.
    connectors: Mutex<HashMap<(String, Way), Connector>>,
    lengths: HashMap<Way, Length>,
}

/// Octets that a client sends and receives until it has completed its handshake.
#[derive(Clone, Copy, Default)]
struct Length {
    sent: u64,
    received: u64,
}

/// How a client that was told what was planned went about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// By a handshake of its own.
    InFull,
    /// By one that resumed another.
    Resumed,
}

impl How {
    fn of<S: AsyncRead + AsyncWrite + Unpin>(tls: &ClientStream<S>) -> Self {
        if tls.resumed() { Self::Resumed } else { Self::InFull }
    }
}

impl Clients {
    pub(crate) async fn new(scene: Scene, seed: u64) -> Self {
        let mut clients = Self { scene, seed, connectors: Mutex::default(), lengths: HashMap::new() };
        for way in Way::ALL {
            let length = clients.measure(way).await;
            clients.lengths.insert(way, length);
        }
        clients
    }

    pub(crate) const fn scene(&self) -> &Scene {
        &self.scene
    }

    /// The kind of the client with this number.
    pub(crate) fn kind_of(&self, number: u64) -> Kind {
        Random::new(self.seed, number).kind()
    }

    /// Lets a client do its part. `lane`: only one client at a time has it, and with it an address.
    ///
    /// # Errors
    /// What came out otherwise than planned.
    pub(crate) async fn act(&self, kind: Kind, number: u64, lane: u64) -> Result<How, String> {
        let mut random = Random::new(self.seed, number);
        random.kind();
        let name = self.name(kind, number, &mut random);
        let way = random.way(kind);
        let about = format!("number {number}, {}, {way:?}", kind.words());
        let (stream, told) = self.open(way, lane).await.map_err(|error| format!("{about}: connecting: {error}"))?;
        let done = timeout(SOON, self.play(kind, way, &name, random, stream)).await;
        let said = timeout(SOON, told).await;
        match (done, said) {
            (Ok(Ok(how)), Ok(Ok(said))) => {
                let expected = match (kind.told(), how) {
                    (_, How::Resumed) => format!("resumed {name}"),
                    ("authenticated", How::InFull) => format!("authenticated {name}"),
                    (other, How::InFull) => other.to_owned(),
                };
                if said == expected {
                    return Ok(how);
                }
                Err(format!("{about}: expected `{expected}`, the gateway said `{said}`"))
            }
            (Ok(Err(error)), Ok(Ok(said))) => Err(format!("{about}: {error}; the gateway said `{said}`")),
            (Err(_), _) => Err(format!("{about}: not through after {} s", SOON.as_secs())),
            (_, Err(_) | Ok(Err(_))) => Err(format!("{about}: the gateway said nothing")),
        }
    }

    /// The name that the client conveys, or would.
    fn name(&self, kind: Kind, number: u64, random: &mut Random) -> String {
        match kind {
            Kind::Chain | Kind::NameInCertificate => TRUCK.to_owned(),
            Kind::ManyNames => format!("n{}._many.example.com", random.below(self.scene.names)),
            Kind::NotAllowed => "sensor0._device.elsewhere.example".to_owned(),
            Kind::NoRecord => "gone._device.example.com".to_owned(),
            Kind::Unsigned => format!("sensor0._device.{UNSIGNED}"),
            Kind::Bogus => TAMPERED.to_owned(),
            Kind::ClosesPending | Kind::ResetsPending => format!("n{}._device.{SLOW}", number % SLOW_NAMES),
            // Few, so that they have been there before.
            Kind::Returns | Kind::ResetsResponse | Kind::StopsReading => sensor(random.below(SENSORS / 4)),
            _ => sensor(random.below(SENSORS)),
        }
    }

    /// A TCP connection from the lane's address, and what the gateway will have said about it.
    async fn open(&self, way: Way, lane: u64) -> io::Result<(TcpStream, oneshot::Receiver<String>)> {
        let socket = TcpSocket::new_v4()?;
        // Ports run out where all come from one address.
        let [.., high, low] = lane.to_be_bytes();
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 1, high, low), 0)))?;
        let told = self.scene.gateways().expect_about(socket.local_addr()?);
        let stream = socket.connect(self.scene.address(way.speaks)).await?;
        stream.set_nodelay(true)?;
        Ok((stream, told))
    }

    async fn play(
        &self,
        kind: Kind,
        way: Way,
        name: &str,
        mut random: Random,
        mut stream: TcpStream,
    ) -> Result<How, String> {
        let scene = &self.scene;
        let form = || Some(ClientForm::Name(ClientName::parse_config(name).unwrap()));
        let fresh = || connector(scene, form(), &scene.device, way, "http/1.1");
        let known = || self.remembered(name, way, fresh);
        let returning = || {
            self.remembered(&format!("returning {name}"), way, || {
                let config = config(scene, form(), &scene.device, way, "http/1.1");
                Connector::new(&ClientConfig { resumption: true, ..config }).unwrap()
            })
        };
        match kind {
            Kind::Certificate | Kind::RawPublicKey | Kind::Draft2022 | Kind::Tls12 => {
                is_served(&known(), name, stream).await
            }
            Kind::Chain => {
                let chain = || connector(scene, form(), &scene.truck, way, "http/1.1");
                is_served(&self.remembered(name, way, chain), name, stream).await
            }
            Kind::NameInCertificate => {
                let chain = || connector(scene, Some(ClientForm::InCertificate), &scene.truck, way, "http/1.1");
                is_served(&self.remembered(name, way, chain), name, stream).await
            }
            Kind::ManyNames => is_served(&fresh(), name, stream).await,
            Kind::Returns => is_served(&returning(), name, stream).await,
            Kind::Http2 => {
                let http2 = || connector(scene, form(), &scene.device, way, "h2");
                is_served_http2(&self.remembered(&format!("h2 {name}"), way, http2), name, stream).await
            }
            Kind::WrongKey => {
                let wrong = || connector(scene, form(), &scene.stranger, way, "http/1.1");
                is_refused(kind, &self.remembered(&format!("wrong {name}"), way, wrong), stream).await
            }
            Kind::NoName => {
                let no_name = || connector(scene, None, &scene.device, way, "http/1.1");
                is_refused(kind, &self.remembered("", way, no_name), stream).await
            }
            Kind::Malformed => {
                let connector = misbehave::sends_in_certificate(&known(), &[malformed_extension()]);
                is_refused(kind, &connector, stream).await
            }
            Kind::NoProof => is_refused(kind, &misbehave::corrupts(&known(), CERTIFICATE_VERIFY), stream).await,
            Kind::NotAllowed | Kind::NoRecord | Kind::Unsigned | Kind::Bogus => {
                is_refused(kind, &known(), stream).await
            }
            Kind::Closes | Kind::Resets | Kind::FallsSilent => {
                break_off(&known(), self.lengths[&way], &mut random, &mut stream).await?;
                match kind {
                    // Until the gateway has had enough.
                    Kind::FallsSilent => drop(stream.read_to_end(&mut Vec::new()).await),
                    _ => leave(stream, kind == Kind::Resets),
                }
                Ok(How::InFull)
            }
            Kind::ClosesPending | Kind::ResetsPending => {
                let connector = fresh();
                let connected = timeout(STUCK, connect(&connector, &mut stream)).await;
                match (way.speaks, connected) {
                    // The server's Finished comes after the verdict, and that takes longer.
                    (Speaks::Tls12, Err(_)) | (Speaks::Current | Speaks::Draft2022, Ok(Ok(_))) => {}
                    (_, other) => return Err(format!("expected a handshake that waits, found {other:?}")),
                }
                leave(stream, kind == Kind::ResetsPending);
                Ok(How::InFull)
            }
            Kind::ResetsResponse | Kind::StopsReading => {
                let mut part = vec![0; random.below(LARGE as u64 / 2) as usize];
                let how = read_part(&returning(), &mut stream, &mut part).await?;
                if kind == Kind::StopsReading {
                    sleep(STUCK).await;
                }
                leave(stream, true);
                Ok(how)
            }
        }
    }

    /// How many octets a handshake has, less what differs from one to the next.
    async fn measure(&self, way: Way) -> Length {
        let form = Some(ClientForm::Name(ClientName::parse_config(&sensor(0)).unwrap()));
        let connector = connector(&self.scene, form, &self.scene.device, way, "http/1.1");
        let (stream, _told) = self.open(way, 0).await.unwrap();
        let mut cut = Cut::after(stream, usize::MAX, usize::MAX);
        drop(connect(&connector, &mut cut).await.unwrap());
        let after_verdict = if way.speaks == Speaks::Tls12 { LAST_FLIGHT } else { 0 };
        Length { sent: (cut.sent - SLACK) as u64, received: (cut.received - SLACK - after_verdict) as u64 }
    }

    /// The connector of this name, made if there is none yet.
    fn remembered(&self, name: &str, way: Way, make: impl FnOnce() -> Connector) -> Connector {
        let mut connectors = self.connectors.lock().unwrap();
        connectors.entry((name.to_owned(), way)).or_insert_with(make).clone()
    }
}

fn connector(scene: &Scene, client_id: Option<ClientForm>, identity: &Identity, way: Way, alpn: &str) -> Connector {
    Connector::new(&config(scene, client_id, identity, way, alpn)).unwrap()
}

fn config(scene: &Scene, client_id: Option<ClientForm>, identity: &Identity, way: Way, alpn: &str) -> ClientConfig {
    let (chain, key) = (identity.chain_pem(), identity.key_pem().as_bytes());
    let credential = match way.shows {
        Shows::Certificate => ClientCredential::X509(CertifiedKey::parse(chain.as_bytes(), key).unwrap()),
        Shows::RawPublicKey => ClientCredential::RawPublicKey(PrivateKey::parse(key).unwrap()),
    };
    let server = TrustAnchors::parse(scene.server.chain_pem().as_bytes()).unwrap();
    let tls12 = way.speaks == Speaks::Tls12;
    let profile = if way.speaks == Speaks::Current { Profile::Current } else { Profile::Draft2022 };
    ClientConfig {
        name_in_client_hello: tls12 && matches!(client_id, Some(ClientForm::Name(_))),
        client_id,
        credential: Some(credential),
        profile: ClientProfile::Fixed(profile),
        tls12,
        tls13: !tls12,
        alpn: vec![alpn.as_bytes().to_vec()],
        ..ClientConfig::new(ServerVerification::Roots(server))
    }
}

/// A handshake of which every octet arrives.
async fn connect<S: AsyncRead + AsyncWrite + Unpin + Send>(
    connector: &Connector,
    stream: S,
) -> Result<ClientStream<S>, String> {
    connector.connect("localhost", stream).await.map_err(|error| format!("the handshake failed: {error}"))
}

/// Goes away, in order or not.
fn leave(stream: TcpStream, reset: bool) {
    if reset {
        // Fails where the connection is gone already.
        let _ = stream.set_zero_linger();
    }
}

/// The client asks who it is.
async fn is_served(connector: &Connector, name: &str, stream: TcpStream) -> Result<How, String> {
    let mut tls = connect(connector, stream).await?;
    let fault = |error: io::Error| format!("a client that should be served: {error}");
    tls.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.map_err(fault)?;
    let mut response = String::new();
    tls.read_to_string(&mut response).await.map_err(fault)?;
    let right = response.starts_with("HTTP/1.1 200 ") && response.ends_with(&format!("\r\n\r\n{name}"));
    if right { Ok(How::of(&tls)) } else { Err(format!("expected to be told `{name}`, found `{response}`")) }
}

/// The same over HTTP/2.
async fn is_served_http2(connector: &Connector, name: &str, stream: TcpStream) -> Result<How, String> {
    let tls = connect(connector, stream).await?;
    let fault = |error: hyper::Error| format!("a client that should be served: {error}");
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls));
    let (mut sender, connection) = handshake.await.map_err(fault)?;
    let connection = tokio::spawn(connection);
    let request = http::Request::get("https://localhost/").body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.map_err(fault)?;
    let body = response.into_body().collect().await.map_err(fault)?.to_bytes();
    drop(sender);
    // It ends once nobody can send any more.
    connection.await.unwrap().map_err(fault)?;
    if body == name { Ok(How::InFull) } else { Err(format!("expected to be told `{name}`, found {body:?}")) }
}

/// The client gets the alert of its kind, in its handshake or after it.
async fn is_refused(kind: Kind, connector: &Connector, stream: TcpStream) -> Result<How, String> {
    let alert = match connector.connect("localhost", stream).await {
        Err(ConnectError::PeerAlert(alert)) => Some(alert.code()),
        Err(ConnectError::ClientAuthRefused) => Some(HANDSHAKE_FAILURE),
        Err(error) => return Err(format!("expected an alert, found: {error}")),
        Ok(mut tls) => tls.read(&mut [0]).await.err().as_ref().and_then(io::Error::get_ref).and_then(|error| {
            let alert = error.downcast_ref::<PeerAlert>().map(|alert| alert.0.code());
            alert.or_else(|| error.is::<ClientAuthRefused>().then_some(HANDSHAKE_FAILURE))
        }),
    };
    if alert == kind.alert() {
        Ok(How::InFull)
    } else {
        Err(format!("expected alert {:?}, found {alert:?}", kind.alert()))
    }
}

/// The client asks for more than it reads.
async fn read_part(connector: &Connector, stream: &mut TcpStream, part: &mut [u8]) -> Result<How, String> {
    let mut tls = connect(connector, stream).await?;
    let fault = |error: io::Error| format!("a client that should be served: {error}");
    tls.write_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n").await.map_err(fault)?;
    tls.read_exact(part).await.map_err(fault)?;
    Ok(How::of(&tls))
}

/// A handshake that fails below TLS, after a random number of octets in a random direction.
async fn break_off(
    connector: &Connector,
    length: Length,
    random: &mut Random,
    stream: &mut TcpStream,
) -> Result<(), String> {
    let mut cut = if random.below(4) == 0 {
        Cut::after(stream, usize::MAX, random.below(length.received) as usize)
    } else {
        Cut::after(stream, random.below(length.sent) as usize, usize::MAX)
    };
    match connector.connect("localhost", &mut cut).await {
        Err(ConnectError::Io(_)) => Ok(()),
        other => Err(format!("expected a handshake that breaks off, found {other:?}")),
    }
}

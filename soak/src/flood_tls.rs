//! The flood over TLS: handshakes with a gateway in a process of its own.

use std::net::{Ipv4Addr, SocketAddr};

use dance_core::clientid::ClientForm;
use dance_core::name::ClientName;
use dance_gateway::Config;
use dance_gateway::config::DnsConfig;
use dance_testkit::{CertSpec, Identity, SignedWorld};
use dance_tls::{ClientConfig, ClientCredential, Connector, PrivateKey, ServerVerification, TrustAnchors};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::flood::{MOST_KNOWN, Names, SILENT, Scenario, ZONE, known_name};
use crate::flood_driver::world;
use crate::measure::Process;
use crate::scene::{SOON, Server, start_origin};

/// Strangers' names: made once, so that the making of clients takes no time from anybody. Nothing but failures is remembered about them, for
/// some seconds, so that it hardly matters that they come again.
const STRANGERS: u64 = 500;

/// A gateway, and everybody's keys.
pub(crate) struct Tls {
    server: Server,
    known: Vec<Connector>,
    silent: Vec<Connector>,
    not_allowed: Vec<Connector>,
    world: SignedWorld,
    _directory: tempfile::TempDir,
}

impl Tls {
    pub(crate) async fn new(known: u64) -> Self {
        let device = CertSpec::client("any.example.com").self_signed().unwrap();
        let identity = CertSpec::localhost_server().self_signed().unwrap();
        let world = world(&device, known).await;
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let config = Config {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            certificate: Some(file("server.pem", &identity.chain_pem())),
            key: Some(file("server.key", identity.key_pem())),
            origin: Some(start_origin().await.to_string().parse().unwrap()),
            allow: vec![format!("**.{ZONE}"), format!("**.{SILENT}")],
            dns: DnsConfig {
                resolver: vec![world.addr().to_string()],
                trust_anchor: Some(file("trust-anchor", world.trust_anchor_text())),
                ..DnsConfig::default()
            },
            ..Config::default()
        };
        let server = Server::start(&[file("gateway.toml", &config.to_string())]).await;
        let roots = TrustAnchors::parse(identity.chain_pem().as_bytes()).unwrap();
        let known = (0..known).map(|number| connector(&known_name(number), &device, &roots)).collect();
        let strangers =
            |names: Names| (0..STRANGERS).map(|number| connector(&names.name(number), &device, &roots)).collect();
        let (silent, not_allowed) = (strangers(Names::Silent), strangers(Names::NotAllowed));
        Self { server, known, silent, not_allowed, world, _directory: directory }
    }

    /// From an address of its own: limits for one are not what this is about.
    async fn open(&self, number: u64) -> std::io::Result<(TcpStream, oneshot::Receiver<String>)> {
        let socket = TcpSocket::new_v4()?;
        let [.., a, b] = number.to_be_bytes();
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 2, a, b), 0)))?;
        let told = self.server.expect_about(socket.local_addr()?);
        let stream = socket.connect(self.server.addresses[0]).await?;
        stream.set_nodelay(true)?;
        Ok((stream, told))
    }
}

fn connector(name: &str, device: &Identity, roots: &TrustAnchors) -> Connector {
    let key = PrivateKey::parse(device.key_pem().as_bytes()).unwrap();
    Connector::new(&ClientConfig {
        client_id: Some(ClientForm::Name(ClientName::parse_config(name).unwrap())),
        credential: Some(ClientCredential::RawPublicKey(key)),
        alpn: vec![b"http/1.1".to_vec()],
        ..ClientConfig::new(ServerVerification::Roots(roots.clone()))
    })
    .unwrap()
}

impl Scenario for Tls {
    async fn known(&self, number: u64) -> Result<(), String> {
        let name = known_name(number);
        let fault = |error: &dyn std::fmt::Display| format!("{name}: {error}");
        let (stream, _told) = self.open(number).await.map_err(|error| fault(&error))?;
        let mut tls = self.known[number as usize].connect("localhost", stream).await.map_err(|error| fault(&error))?;
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        tls.write_all(request).await.map_err(|error| fault(&error))?;
        let mut response = String::new();
        tls.read_to_string(&mut response).await.map_err(|error| fault(&error))?;
        if response.ends_with(&name) { Ok(()) } else { Err(fault(&response)) }
    }

    async fn stranger(&self, number: u64, names: Names) -> String {
        let strangers = match names {
            Names::Silent => &self.silent,
            Names::NotAllowed => &self.not_allowed,
        };
        let connector = &strangers[number as usize % strangers.len()];
        let (stream, told) = match self.open(number + MOST_KNOWN).await {
            Ok(opened) => opened,
            Err(error) => return error.to_string(),
        };
        // In TLS 1.3 the client is through before it is refused.
        if let Ok(mut tls) = connector.connect("localhost", stream).await {
            let _ = timeout(SOON, tls.read(&mut [0])).await;
        }
        match timeout(SOON, told).await {
            Ok(Ok(said)) => said.strip_prefix("refused ").unwrap_or(&said).to_owned(),
            _ => "nothing".to_owned(),
        }
    }

    fn process(&self) -> Process {
        Process(self.server.pid)
    }

    fn tidy(&self) {
        self.world.clear_log();
    }
}

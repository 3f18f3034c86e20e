//! A gateway with everything around it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dance_core::clientid::ClientForm;
use dance_core::name::{ClientName, OwnerName};
use dance_core::pkix::PathError;
use dance_core::reason::Reason;
use dance_gateway::{Config, Gateway, Outcome, VerdictEvent};
use dance_resolver::{Lookup, Resolver, ResolverConfig, Servers, TlsaSource, TrustAnchorSource};
use dance_testkit::{CertSpec, Identity, Origin, SignedWorld, Zone};
use dance_tls::{
    CertifiedKey, ClientConfig, ClientCredential, ClientStream, Connector, PrivateKey, ServerVerification, TrustAnchors,
};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinHandle;

/// The zone of all clients, which the allow-list of [`Lab`] admits.
pub(crate) const ZONE: &str = "example.com";
/// A zone below it, whose servers can be silent while those of [`ZONE`] are not.
pub(crate) const SILENT: &str = "silent.example.com";
/// A zone that the allow-list admits, and that nobody has signed.
pub(crate) const UNSIGNED: &str = "unsigned.example";
/// A client that is authenticated, unless a test sees to the contrary.
pub(crate) const SENSOR: &str = "sensor7._device.example.com";
/// Longest time for anything that should happen at once: a test that waits for it has failed.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// What a verdict event said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) code: &'static str,
    pub(crate) reason: Option<Reason>,
    pub(crate) client_name: Option<String>,
    pub(crate) identity: Option<String>,
    pub(crate) certificate: Option<Result<(), PathError>>,
    pub(crate) certificates: Option<usize>,
}

impl Told {
    fn of(event: &VerdictEvent) -> Self {
        Self {
            code: event.code(),
            reason: event.reason(),
            client_name: event.decision().and_then(|decision| Some(decision.client_name.as_ref()?.to_string())),
            identity: event.client().map(|client| client.identity().to_owned()),
            certificate: event.certificate,
            certificates: match event.outcome {
                Outcome::Forwarded { certificates } => Some(certificates),
                _ => None,
            },
        }
    }
}

/// Everything but the gateway.
pub(crate) struct Lab {
    pub(crate) world: SignedWorld,
    pub(crate) origin: Origin,
    pub(crate) server: Identity,
    pub(crate) directory: tempfile::TempDir,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::with(Origin::start().await.unwrap()).await
    }

    pub(crate) async fn with(origin: Origin) -> Self {
        let zones = SignedWorld::builder().zone(Zone::new(ZONE)).zone(Zone::new(SILENT));
        let world = zones.zone(Zone::unsigned(UNSIGNED)).start().await.unwrap();
        let server = CertSpec::localhost_server().self_signed().unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("chain.pem"), server.chain_pem()).unwrap();
        std::fs::write(directory.path().join("key.pem"), server.key_pem()).unwrap();
        Self { world, origin, server, directory }
    }

    /// A configuration that works.
    pub(crate) fn config(&self) -> Config {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            certificate: Some(self.directory.path().join("chain.pem")),
            key: Some(self.directory.path().join("key.pem")),
            origin: Some(self.origin.address().parse().unwrap()),
            allow: vec![format!("**.{ZONE}"), format!("**.{UNSIGNED}")],
            ..Config::default()
        }
    }

    pub(crate) fn resolver(&self) -> Resolver {
        Resolver::new(self.resolver_config()).unwrap()
    }

    pub(crate) fn resolver_config(&self) -> ResolverConfig {
        ResolverConfig {
            servers: Servers::List(vec![self.world.addr().into()]),
            trust_anchor: TrustAnchorSource::Text(self.world.trust_anchor_text().to_owned()),
            ..ResolverConfig::default()
        }
    }

    /// A gateway with the working configuration.
    pub(crate) fn start(&self) -> Running {
        self.start_with(self.config())
    }

    pub(crate) fn start_with(&self, config: Config) -> Running {
        self.start_over(config, self.resolver())
    }

    pub(crate) fn start_over(&self, config: Config, source: impl TlsaSource + 'static) -> Running {
        Self::run(Gateway::bind(&config, source).unwrap())
    }

    pub(crate) fn run<S: TlsaSource + 'static>(gateway: Gateway<S>) -> Running {
        let address = gateway.local_addr();
        let told = Arc::new(Mutex::new(Vec::new()));
        let count = watch::Sender::new(0);
        let (log, counter) = (Arc::clone(&told), count.clone());
        let gateway = gateway.observed_by(move |event| {
            log.lock().unwrap().push(Told::of(event));
            counter.send_modify(|count| *count += 1);
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(gateway.run(async { drop(stopped.await) }));
        Running { address, told, count, stop: Some(stop), task }
    }

    /// A key and certificate whose `3 1 1` record is in the zone.
    pub(crate) fn enrol(&self, name: &str) -> Identity {
        self.enrol_for(name, 300)
    }

    /// The same, with a TTL in seconds.
    pub(crate) fn enrol_for(&self, name: &str, ttl: u32) -> Identity {
        let identity = CertSpec::client(name).self_signed().unwrap();
        self.world.set_tlsa(name, &[identity.tlsa_311().unwrap()], ttl).unwrap();
        identity
    }

    /// TLS for a client that presents a certificate.
    pub(crate) fn certificate(&self, name: &str, identity: &Identity) -> ClientConfig {
        let key = CertifiedKey::parse(identity.chain_pem().as_bytes(), identity.key_pem().as_bytes()).unwrap();
        self.client(Some(name), Some(ClientCredential::X509(key)))
    }

    /// TLS for a client that presents a raw public key.
    pub(crate) fn raw_key(&self, name: &str, identity: &Identity) -> ClientConfig {
        let key = PrivateKey::parse(identity.key_pem().as_bytes()).unwrap();
        self.client(Some(name), Some(ClientCredential::RawPublicKey(key)))
    }

    pub(crate) fn client(&self, name: Option<&str>, credential: Option<ClientCredential>) -> ClientConfig {
        let anchors = TrustAnchors::parse(self.server.chain_pem().as_bytes()).unwrap();
        ClientConfig {
            client_id: name.map(|name| ClientForm::Name(ClientName::parse_config(name).unwrap())),
            credential,
            ..ClientConfig::new(ServerVerification::Roots(anchors))
        }
    }
}

/// A source that answers nothing before it is told to.
pub(crate) struct Held {
    inner: Resolver,
    gate: Arc<Semaphore>,
}

impl Held {
    /// Adding a permit to the gate lets one look-up pass.
    pub(crate) fn new(inner: Resolver) -> (Self, Arc<Semaphore>) {
        let gate = Arc::new(Semaphore::new(0));
        (Self { inner, gate: Arc::clone(&gate) }, gate)
    }
}

impl TlsaSource for Held {
    async fn lookup(&self, owner: &OwnerName) -> Lookup {
        self.gate.acquire().await.unwrap().forget();
        self.inner.lookup(owner).await
    }
}

/// A running gateway.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    told: Arc<Mutex<Vec<Told>>>,
    count: watch::Sender<usize>,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<bool>,
}

pub(crate) type Tls = ClientStream<TcpStream>;

impl Running {
    /// A connection after its handshake; in TLS 1.3 that says nothing about the verdict.
    pub(crate) async fn connect(&self, client: &ClientConfig) -> Tls {
        let stream = TcpStream::connect(self.address).await.unwrap();
        Connector::new(client).unwrap().connect("localhost", stream).await.unwrap()
    }

    /// Waits until there have been that many verdicts.
    pub(crate) async fn told(&self, verdicts: usize) -> Vec<Told> {
        let mut count = self.count.subscribe();
        tokio::time::timeout(SOON, count.wait_for(|count| *count >= verdicts)).await.unwrap().unwrap();
        self.told.lock().unwrap().clone()
    }

    /// Begins the shutdown.
    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }
}

//! What the demonstration plays in: a signed zone, three clients, the web application, and the gateway in front of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use dance_core::clientid::Profile;
use dance_core::reason::Reason;
use dance_core::verdict::VerifiedClient;
use dance_gateway::config::Span;
use dance_gateway::config::{DnsConfig, ProfileSetting};
use dance_gateway::origin::Origin;
use dance_gateway::{Config, Gateway, VerdictEvent};
use dance_testkit::{Authority, CertSpec, Identity, SignedWorld, Zone};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::Error;
use crate::demo::app::{App, HEADER};
use crate::files::{self, Secrecy};

pub(super) const SENSOR: &str = "sensor7._device.example.com";
pub(super) const ROBOT: &str = "robot3._device.example.com";
pub(super) const FLEET: &str = "*._fleet.example.com";
pub(super) const TRUCK: &str = "truck12._fleet.example.com";
/// Another organisation's, which nobody has let in.
pub(super) const STRANGER: &str = "sensor7._device.example.net";
pub(super) const ALLOW: [&str; 2] = ["*._device.example.com", FLEET];

/// Short, so that nobody has to wait long for its end.
pub(super) const SENSOR_TTL: u32 = 2;
const TTL: u32 = 300;

/// Everything that the story needs, running.
pub(super) struct Scene {
    pub(super) profile: Profile,
    pub(super) dns: SignedWorld,
    pub(super) app: App,
    pub(super) gateway: SocketAddr,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    pub(super) sensor: Identity,
    pub(super) robot: Identity,
    pub(super) truck: Identity,
    pub(super) records: Vec<Record>,
    pub(super) server_ca: String,
    files: TempDir,
    shutdown: oneshot::Sender<()>,
    running: JoinHandle<bool>,
}

/// A published record, for the story.
pub(super) struct Record {
    pub(super) owner: &'static str,
    pub(super) ttl: u32,
    pub(super) data: String,
    pub(super) meaning: &'static str,
}

/// What the gateway's log says about one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) outcome: &'static str,
    pub(super) reason: Option<Reason>,
    pub(super) name: Option<String>,
    /// Usage, selector and matching type of the record that matched.
    pub(super) matched: Option<String>,
    pub(super) wildcard: bool,
    pub(super) dns: Dns,
    pub(super) millis: u128,
}

/// What the gateway needed of DNS for its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dns {
    /// Nothing.
    NotAsked,
    /// An answer that it still had.
    Cached,
    /// An answer that took so many queries.
    Queries(usize),
}

impl Event {
    fn of(event: &VerdictEvent) -> Self {
        let client = event.client();
        let parameters = |client: &VerifiedClient| {
            let numbers: Vec<_> = client.record().as_wire().iter().take(3).map(u8::to_string).collect();
            numbers.join(" ")
        };
        Self {
            outcome: event.code(),
            reason: event.reason(),
            name: event.decision().and_then(|decision| decision.client_name.as_ref()).map(ToString::to_string),
            matched: client.map(parameters),
            wildcard: client.and_then(VerifiedClient::wildcard) == Some(true),
            dns: match &event.trace {
                None => Dns::NotAsked,
                Some(trace) if trace.from_cache => Dns::Cached,
                Some(trace) => Dns::Queries(trace.queries),
            },
            millis: event.elapsed.as_millis(),
        }
    }

    /// The gateway's log line about a client, in words.
    pub(super) fn in_words(&self) -> String {
        let mut words = self.outcome.to_owned();
        if let Some(reason) = self.reason {
            words += &format!(": {reason}");
        }
        if let Some(matched) = &self.matched {
            words += &format!(" by {matched}");
        }
        if self.wildcard {
            words += ", found through the wildcard";
        }
        words
    }
}

impl Scene {
    pub(super) async fn set(profile: Profile) -> Result<Self, Error> {
        let sensor = CertSpec::client(SENSOR).self_signed().map_err(Error::DemoCertificates)?;
        let robot = CertSpec::client(ROBOT).self_signed().map_err(Error::DemoCertificates)?;
        let organisation = Authority::root("Example Organisation fleet CA").map_err(Error::DemoCertificates)?;
        let truck = CertSpec::client(TRUCK).issued_by(&organisation).map_err(Error::DemoCertificates)?;

        let of_key = |identity: &Identity| identity.tlsa_311().map_err(Error::DemoCertificates);
        let of_ca = organisation.tlsa_201().map_err(Error::DemoCertificates)?;
        let records = vec![
            Record {
                owner: SENSOR,
                ttl: SENSOR_TTL,
                data: of_key(&sensor)?.to_string(),
                meaning: "the digest of sensor7's key",
            },
            Record { owner: ROBOT, ttl: TTL, data: of_key(&robot)?.to_string(), meaning: "the digest of robot3's key" },
            Record {
                owner: FLEET,
                ttl: TTL,
                data: of_ca.to_string(),
                meaning: "for all of the fleet: the digest of its CA's certificate",
            },
        ];
        let zone = records
            .iter()
            .fold(Zone::new("example.com"), |zone, record| zone.tlsa(record.owner, &record.data, record.ttl));
        let dns = SignedWorld::builder().zone(zone).start().await.map_err(Error::DemoDns)?;

        let app = App::start().await.map_err(Error::DemoListen)?;

        let server_ca = Authority::root("Example server CA").map_err(Error::DemoCertificates)?;
        let server = CertSpec::localhost_server().issued_by(&server_ca).map_err(Error::DemoCertificates)?;
        let files = tempfile::Builder::new()
            .prefix("dance-demo-")
            .tempdir()
            .map_err(|error| Error::Write { path: std::env::temp_dir(), error })?;
        let write = |name: &str, content: &str, secrecy| {
            files::write(&files.path().join(name), content.as_bytes(), secrecy, false)
        };
        write("server.pem", &server.chain_pem(), Secrecy::Public)?;
        write("server.key", server.key_pem(), Secrecy::Secret)?;
        write("trust-anchor", dns.trust_anchor_text(), Secrecy::Public)?;

        let config = Config {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            certificate: Some(files.path().join("server.pem")),
            key: Some(files.path().join("server.key")),
            origin: Some(Origin::Address(app.address())),
            allow: ALLOW.map(str::to_owned).to_vec(),
            header: HEADER.to_owned(),
            profile: match profile {
                Profile::Current => ProfileSetting::Current,
                Profile::Draft2022 => ProfileSetting::Draft2022,
            },
            tls12: profile == Profile::Draft2022,
            drain_timeout: Span::secs(1),
            dns: DnsConfig {
                resolver: vec![dns.addr().to_string()],
                trust_anchor: Some(files.path().join("trust-anchor")),
                ..DnsConfig::default()
            },
            ..Config::default()
        };
        let (seen, events) = mpsc::unbounded_channel();
        let resolver = dance_gateway::resolver(&config).map_err(Error::GatewayStart)?;
        let gateway = Gateway::bind(&config, resolver)
            .map_err(Error::GatewayStart)?
            // Nobody listens any more once the story is over.
            .observed_by(move |event| drop(seen.send(Event::of(event))));
        let address = gateway.local_addr();
        let (shutdown, ended) = oneshot::channel::<()>();
        let running = tokio::spawn(gateway.run(async { drop(ended.await) }));
        Ok(Self {
            profile,
            dns,
            app,
            gateway: address,
            events,
            sensor,
            robot,
            truck,
            records,
            server_ca: server_ca.pem().to_owned(),
            files,
            shutdown,
            running,
        })
    }

    /// Writes what somebody needs to connect with other programs, and says where.
    pub(super) fn write_clients(&self) -> Result<&Path, Error> {
        let directory = self.files.path();
        let write = |name: &str, content: &str, secrecy| {
            files::write(&directory.join(name), content.as_bytes(), secrecy, false)
        };
        write("server-ca.pem", &self.server_ca, Secrecy::Public)?;
        for (name, identity) in [("sensor7", &self.sensor), ("robot3", &self.robot), ("truck12", &self.truck)] {
            write(&format!("{name}.cert.pem"), &identity.chain_pem(), Secrecy::Public)?;
            write(&format!("{name}.key.pem"), identity.key_pem(), Secrecy::Secret)?;
        }
        Ok(directory)
    }

    /// Ends the gateway in order and removes the files.
    pub(super) async fn strike(self) -> Result<(), Error> {
        drop(self.shutdown);
        // A gateway that had to cut off an idle connection has ended all the same.
        let _ = self.running.await;
        let path: PathBuf = self.files.path().to_owned();
        self.files.close().map_err(|error| Error::Write { path, error })
    }
}

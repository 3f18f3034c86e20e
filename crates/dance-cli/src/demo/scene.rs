//! What the demonstration plays in: a signed zone, three clients, the web application, and the gateway in front of it.

use dance_core::clientid::Profile;
use dance_core::reason::Reason;
use dance_core::verdict::VerifiedClient;
use dance_gateway::config::ProfileSetting;
use dance_gateway::{Config, Gateway, VerdictEvent};
use dance_resolver::Trace;
use dance_testkit::{Authority, CertSpec, Identity};
use tokio::sync::mpsc;

use crate::Error;
use crate::demo::app::{App, HEADER};
use crate::demo::stage::{Record, Running, Stage};

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
    pub(super) stage: Stage,
    pub(super) app: App,
    pub(super) gateway: Running,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    pub(super) sensor: Identity,
    pub(super) robot: Identity,
    pub(super) truck: Identity,
    pub(super) records: Vec<Record>,
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

impl Dns {
    pub(super) const fn of(trace: Option<&Trace>) -> Self {
        match trace {
            None => Self::NotAsked,
            Some(trace) if trace.from_cache => Self::Cached,
            Some(trace) => Self::Queries(trace.queries),
        }
    }
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
            dns: Dns::of(event.trace.as_ref()),
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
        let stage = Stage::set(&records).await?;
        let app = App::start().await.map_err(Error::DemoListen)?;
        let config = Config {
            allow: ALLOW.map(str::to_owned).to_vec(),
            header: HEADER.to_owned(),
            profile: match profile {
                Profile::Current => ProfileSetting::Current,
                Profile::Draft2022 => ProfileSetting::Draft2022,
            },
            tls12: profile == Profile::Draft2022,
            dns: stage.dns_config(),
            ..stage.gateway(app.address())
        };
        let (seen, events) = mpsc::unbounded_channel();
        let gateway = Gateway::from_config(&config)
            .map_err(Error::GatewayStart)?
            // Nobody listens any more once the story is over.
            .observed_by(move |event| drop(seen.send(Event::of(event))));
        Ok(Self { profile, stage, app, gateway: Running::start(gateway), events, sensor, robot, truck, records })
    }

    /// Its clients, by the names of their files.
    pub(super) fn clients(&self) -> [(&'static str, &Identity); 3] {
        [("sensor7", &self.sensor), ("robot3", &self.robot), ("truck12", &self.truck)]
    }

    /// Ends the gateway in order and removes the files.
    pub(super) async fn strike(self) -> Result<(), Error> {
        self.gateway.stop().await;
        self.stage.strike()
    }
}

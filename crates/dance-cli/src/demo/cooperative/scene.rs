//! What the story plays in: a terminator that forwards certificates, and an application that finds out whose they are.

use std::sync::Arc;

use dance_core::clientid::Profile;
use dance_core::matching::MatchOptions;
use dance_core::policy::{OnLookupFailure, Policy, WildcardEndEntity};
use dance_core::verdict::Settings;
use dance_daemon::{StartError as DaemonError, settings};
use dance_gateway::config::{ClientCertificates, LimitsConfig};
use dance_gateway::{Config, Gateway, Outcome, StartError};
use dance_http::{CheckEvent, Checker, ForwardedBy, Rules};
use dance_resolver::Verifier;
use dance_testkit::{Authority, CertSpec, Identity};
use tokio::sync::mpsc;

use super::app::App;
use crate::Error;
use crate::demo::scene::{ALLOW, Dns, FLEET, ROBOT, SENSOR, TRUCK};
use crate::demo::stage::{Record, Running, Stage};

const TTL: u32 = 300;

/// Everything that the story needs, running.
pub(super) struct Scene {
    pub(super) stage: Stage,
    pub(super) app: App,
    pub(super) terminator: Running,
    /// How many certificates the terminator has forwarded, by connection.
    pub(super) forwarded: mpsc::UnboundedReceiver<Option<usize>>,
    pub(super) checks: mpsc::UnboundedReceiver<Check>,
    pub(super) sensor: Identity,
    /// Its certificate has expired.
    pub(super) robot: Identity,
    pub(super) truck: Identity,
    pub(super) records: Vec<Record>,
}

/// What one request's check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    /// `authenticated`, or why not.
    pub(super) outcome: &'static str,
    /// Usage, selector and matching type of the record that matched.
    pub(super) matched: Option<String>,
    pub(super) dns: Dns,
}

impl Check {
    fn of(event: &CheckEvent<'_>) -> Self {
        let checked = event.checked;
        let (outcome, matched) = match &checked.outcome {
            Ok(client) => {
                let numbers: Vec<_> = client.record().as_wire().iter().take(3).map(u8::to_string).collect();
                ("authenticated", Some(numbers.join(" ")))
            }
            Err(refusal) => (refusal.code(), None),
        };
        Self { outcome, matched, dns: Dns::of(checked.trace.as_ref()) }
    }
}

impl Scene {
    pub(super) async fn set() -> Result<Self, Error> {
        let sensor = CertSpec::client(SENSOR).self_signed().map_err(Error::DemoCertificates)?;
        let robot = CertSpec::client(ROBOT).expired().self_signed().map_err(Error::DemoCertificates)?;
        let organisation = Authority::root("Example Organisation fleet CA").map_err(Error::DemoCertificates)?;
        let truck = CertSpec::client(TRUCK).issued_by(&organisation).map_err(Error::DemoCertificates)?;
        let of_key = |identity: &Identity| identity.tlsa_311().map_err(Error::DemoCertificates);
        let of_ca = organisation.tlsa_201().map_err(Error::DemoCertificates)?;
        let record = |owner, data: String, meaning| Record { owner, ttl: TTL, data, meaning };
        let records = vec![
            record(SENSOR, of_key(&sensor)?.to_string(), "the digest of sensor7's key"),
            record(ROBOT, of_key(&robot)?.to_string(), "the digest of robot3's key"),
            record(FLEET, of_ca.to_string(), "for all of the fleet: the digest of its CA's certificate"),
        ];
        let stage = Stage::set(&records).await?;

        // Nobody listens any more once the story is over.
        let (checked, checks) = mpsc::unbounded_channel();
        let checker = checker(&stage)?.observed_by(move |event| drop(checked.send(Check::of(event))));
        let app = App::start(Arc::new(checker)).await.map_err(Error::DemoListen)?;

        let config = Config { client_certificates: ClientCertificates::Forward, ..stage.gateway(app.address()) };
        let (shown, forwarded) = mpsc::unbounded_channel();
        let terminator = Gateway::from_config(&config).map_err(Error::GatewayStart)?.observed_by(move |event| {
            let certificates = match event.outcome {
                Outcome::Forwarded { certificates } => Some(certificates),
                _ => None,
            };
            let _ = shown.send(certificates);
        });
        let terminator = Running::start(terminator);
        Ok(Self { stage, app, terminator, forwarded, checks, sensor, robot, truck, records })
    }

    /// Its clients, by the names of their files.
    pub(super) fn clients(&self) -> [(&'static str, &Identity); 3] {
        [("sensor7", &self.sensor), ("robot3", &self.robot), ("truck12", &self.truck)]
    }

    /// Ends the terminator in order and removes the files.
    pub(super) async fn strike(self) -> Result<(), Error> {
        self.terminator.stop().await;
        self.stage.strike()
    }
}

/// The check as an application would have it, with the names that it lets in.
fn checker(stage: &Stage) -> Result<Checker<dance_resolver::Resolver>, Error> {
    let fault = |error: DaemonError| Error::GatewayStart(StartError::Daemon(error));
    let patterns = ALLOW.map(str::to_owned);
    let allow_list =
        settings::allow_list(&patterns).map_err(|error| Error::GatewayStart(StartError::Config(error.into())))?;
    let settings = Settings {
        profile: Profile::Current,
        policy: Policy::Require,
        on_lookup_failure: OnLookupFailure::Abort,
        allow_list,
        service_label: None,
        derive_without_signal: false,
        wildcard_ee: WildcardEndEntity::Accept,
        matching: MatchOptions::default(),
    };
    let (dns, limits) = (stage.dns_config(), LimitsConfig::default());
    let resolver = dns.resolver(&limits).map_err(fault)?;
    let verifier = Verifier::new(Arc::new(settings), Arc::new(resolver), limits.of(&dns))
        .map_err(|error| fault(DaemonError::Limits(error)))?;
    Ok(Checker::new(Rules::new(ForwardedBy::rfc9440()), Arc::new(verifier)))
}

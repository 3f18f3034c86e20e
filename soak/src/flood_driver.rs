//! The flood at the driver: no TLS, no sockets of clients, one call for each of them.

use std::sync::Arc;

use dance_core::SubjectPublicKeyInfoDer;
use dance_core::clientid::{ClientForm, Profile};
use dance_core::matching::{Credential, MatchOptions};
use dance_core::name::ClientName;
use dance_core::policy::{AllowList, OnLookupFailure, Policy, WildcardEndEntity};
use dance_core::verdict::{ClientId, Presented, Settings, Verdict};
use dance_resolver::{Limits, Resolver, ResolverConfig, Servers, TrustAnchorSource, Verifier};
use dance_testkit::{CertSpec, Fault, Identity, SignedWorld, Zone};

use crate::flood::{LONG_TTL, MOST_KNOWN, Names, SHORT_TTL, SILENT, SILENT_BELOW, Scenario, ZONE, address, known_name};
use crate::measure::Process;

/// One driver with its resolver, over zones in this process.
pub(crate) struct Driver {
    verifier: Verifier<Resolver>,
    known: Vec<Presented>,
    device: Identity,
    world: SignedWorld,
}

/// The zones: known clients with records of their own, and two whose servers never answer.
pub(crate) async fn world(device: &Identity, known: u64) -> SignedWorld {
    let mut zone = Zone::new(ZONE);
    for number in 0..known {
        let ttl = if number.is_multiple_of(2) { SHORT_TTL } else { LONG_TTL };
        zone = zone.tlsa(&known_name(number), device.tlsa_311().unwrap(), ttl);
    }
    SignedWorld::builder()
        .zone(zone)
        .zone(Zone::new(SILENT_BELOW))
        .zone(Zone::new(SILENT))
        .zone_fault(SILENT_BELOW, Fault::NeverAnswers)
        .zone_fault(SILENT, Fault::NeverAnswers)
        .start()
        .await
        .unwrap()
}

impl Driver {
    pub(crate) async fn new(known: u64) -> Self {
        let device = CertSpec::client("any.example.com").self_signed().unwrap();
        let world = world(&device, known).await;
        let resolver = Resolver::new(ResolverConfig {
            servers: Servers::List(vec![world.addr().into()]),
            trust_anchor: TrustAnchorSource::Text(world.trust_anchor_text().to_owned()),
            ..ResolverConfig::default()
        });
        let entries = [format!("**.{ZONE}"), format!("**.{SILENT}")];
        let settings = Settings {
            profile: Profile::Current,
            policy: Policy::Require,
            on_lookup_failure: OnLookupFailure::Abort,
            allow_list: AllowList::parse(entries.iter().map(String::as_str)).unwrap(),
            service_label: None,
            derive_without_signal: false,
            wildcard_ee: WildcardEndEntity::Accept,
            matching: MatchOptions::default(),
        };
        let verifier = Verifier::new(Arc::new(settings), Arc::new(resolver.unwrap()), Limits::default()).unwrap();
        let known = (0..known).map(|number| presented(&known_name(number), &device)).collect();
        Self { verifier, known, device, world }
    }
}

fn presented(name: &str, device: &Identity) -> Presented {
    Presented {
        credential: Some(Credential::RawPublicKey(SubjectPublicKeyInfoDer::from(device.spki_der().to_vec()))),
        client_id: ClientId::Form(ClientForm::Name(ClientName::parse(name.as_bytes()).unwrap())),
    }
}

impl Scenario for Driver {
    async fn known(&self, number: u64) -> Result<(), String> {
        let peer = address(number);
        match self.verifier.verify(&self.known[number as usize], peer).await.decision.verdict {
            Verdict::Authenticated(_) => Ok(()),
            other => Err(format!("{}: {other:?}", known_name(number))),
        }
    }

    async fn stranger(&self, number: u64, names: Names) -> String {
        let presented = presented(&names.name(number), &self.device);
        let verified = self.verifier.verify(&presented, address(number + MOST_KNOWN)).await;
        verified.decision.verdict.reason().map_or_else(|| "authenticated".to_owned(), |reason| reason.code().to_owned())
    }

    fn process(&self) -> Process {
        Process(std::process::id())
    }

    fn tidy(&self) {
        self.world.clear_log();
    }
}

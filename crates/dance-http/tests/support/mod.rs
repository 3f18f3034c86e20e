//! The world that requests are checked against: a signed DNS, the client that has a record in it, and one that has not.
#![allow(dead_code, clippy::unwrap_used, reason = "each test uses a part of it, and fails where it is not to be had")]

pub(crate) mod wire;

use std::net::IpAddr;
use std::sync::Arc;

use dance_core::clientid::Profile;
use dance_core::matching::MatchOptions;
use dance_core::policy::{AllowList, OnLookupFailure, Policy, WildcardEndEntity};
use dance_core::verdict::Settings;
use dance_http::{Checker, ForwardedBy, Peer, Rules};
use dance_resolver::{Limits, Resolver, ResolverConfig, Servers, TrustAnchorSource, Verifier};
use dance_testkit::{CertSpec, Fault, Identity, SignedWorld, Zone};
use data_encoding::BASE64;
use http::Request;

pub(crate) const NAME: &str = "device1.example.com";

pub(crate) struct Scene {
    pub(crate) world: SignedWorld,
    pub(crate) client: Identity,
    pub(crate) other: Identity,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let client = CertSpec::client(NAME).self_signed().unwrap();
        let other = CertSpec::client(NAME).self_signed().unwrap();
        let record = client.tlsa_311().unwrap();
        let world = SignedWorld::builder()
            .zone(Zone::new("com"))
            .zone(Zone::new("example.com").tlsa(NAME, &record, 300).tlsa("broken.example.com", &record, 300))
            .zone(Zone::unsigned("insecure.com").tlsa("device1.insecure.com", &record, 300))
            .fault("broken.example.com", Fault::Servfail)
            .start()
            .await
            .unwrap();
        Self { world, client, other }
    }

    pub(crate) fn checker(&self, rules: Rules) -> Arc<Checker<Resolver>> {
        let config = ResolverConfig {
            servers: Servers::List(vec![self.world.addr().into()]),
            trust_anchor: TrustAnchorSource::Text(self.world.trust_anchor_text().to_owned()),
            ..ResolverConfig::default()
        };
        let settings = Settings {
            profile: Profile::Current,
            policy: Policy::Require,
            on_lookup_failure: OnLookupFailure::Abort,
            allow_list: AllowList::parse(["*.example.com", "*.insecure.com"]).unwrap(),
            service_label: None,
            derive_without_signal: false,
            wildcard_ee: WildcardEndEntity::Accept,
            matching: MatchOptions::default(),
        };
        let source = Arc::new(Resolver::new(config).unwrap());
        let verifier = Verifier::new(Arc::new(settings), source, Limits::default()).unwrap();
        Arc::new(Checker::new(rules, Arc::new(verifier)))
    }

    pub(crate) fn forwarded(&self, identity: &Identity) -> String {
        format!(":{}:", BASE64.encode(identity.leaf_der()))
    }

    /// A request that is all right, from the balancer.
    pub(crate) fn request(&self) -> http::request::Builder {
        Request::builder()
            .method("POST")
            .uri("/")
            .extension(Peer::Address(IpAddr::from([127, 0, 0, 1])))
            .header("client-cert", self.forwarded(&self.client))
    }
}

pub(crate) fn rules() -> Rules {
    Rules::new(ForwardedBy::rfc9440())
}

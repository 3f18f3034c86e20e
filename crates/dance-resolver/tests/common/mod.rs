//! What the tests share: a resolver over a world, names, clients.
#![allow(clippy::unwrap_used, dead_code, reason = "test code; not every test file uses all of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dance_core::answer::{DenialKind, SecureTlsa, TlsaAnswer};
use dance_core::clientid::{ClientForm, Profile};
use dance_core::matching::{Credential, MatchOptions};
use dance_core::name::{ClientName, OwnerName};
use dance_core::policy::{AllowList, OnLookupFailure, Policy, WildcardEndEntity};
use dance_core::verdict::{ClientId, Presented, Settings};
use dance_core::{SubjectPublicKeyInfoDer, UnixTime};
use dance_resolver::{Clock, Lookup, Resolver, ResolverConfig, Servers, TrustAnchorSource, now};
use dance_testkit::SignedWorld;

/// Some TLSA record.
pub(crate) const RECORD: &str = "3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

pub(crate) fn owner(name: &str) -> OwnerName {
    OwnerName::verbatim(&ClientName::parse(name.as_bytes()).unwrap())
}

/// A validating configuration for a world.
pub(crate) fn config(world: &SignedWorld) -> ResolverConfig {
    ResolverConfig {
        servers: Servers::List(vec![world.addr().into()]),
        trust_anchor: TrustAnchorSource::Text(world.trust_anchor_text().to_owned()),
        ..ResolverConfig::default()
    }
}

pub(crate) fn resolver(world: &SignedWorld) -> Resolver {
    Resolver::new(config(world)).unwrap()
}

/// One word for an answer, as in the table of look-up cases: S secure, SX and SN denied, I insecure, B bogus, T a look-up failure.
pub(crate) fn code(lookup: &Lookup) -> &'static str {
    match &lookup.answer {
        TlsaAnswer::Secure(_) => "S",
        TlsaAnswer::Denied(denial) if denial.kind == DenialKind::Nxdomain => "SX",
        TlsaAnswer::Denied(_) => "SN",
        TlsaAnswer::Insecure => "I",
        TlsaAnswer::Bogus => "B",
        TlsaAnswer::Indeterminate(_) => "T",
    }
}

pub(crate) fn secure(lookup: &Lookup) -> Arc<SecureTlsa> {
    match &lookup.answer {
        TlsaAnswer::Secure(secure) => Arc::clone(secure),
        other => panic!("expected a secure answer, found {other:?}, {:?}", lookup.trace),
    }
}

/// A clock that is right until it is set forward.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn forward(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let ahead = Arc::clone(&self.0);
        Clock::from_fn(move || {
            UnixTime::since_unix_epoch(Duration::from_secs(now().as_secs() + ahead.load(Ordering::SeqCst)))
        })
    }
}

/// A listener that admits everybody under `example.test` and requires authentication.
pub(crate) fn settings(allow: &[&str]) -> Settings {
    Settings {
        profile: Profile::Current,
        policy: Policy::Require,
        on_lookup_failure: OnLookupFailure::Abort,
        allow_list: AllowList::parse(allow.iter().copied()).unwrap(),
        service_label: None,
        derive_without_signal: false,
        wildcard_ee: WildcardEndEntity::Accept,
        matching: MatchOptions::default(),
    }
}

/// A client with a raw public key that conveys `name`.
pub(crate) fn client(name: &str, spki: &[u8]) -> Presented {
    Presented {
        credential: Some(Credential::RawPublicKey(SubjectPublicKeyInfoDer::from(spki.to_vec()))),
        client_id: ClientId::Form(ClientForm::Name(ClientName::parse(name.as_bytes()).unwrap())),
    }
}

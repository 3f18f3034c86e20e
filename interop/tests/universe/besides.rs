//! What changes while it is remembered, and resolvers that are no good.

use std::net::SocketAddr;
use std::time::Duration;

use dance_core::answer::TlsaAnswer;
use dance_core::name::{ClientName, OwnerName};
use dance_interop::process::dance;
use dance_interop::universe::{Forwarder, Manner, Universe};
use dance_resolver::{Resolver, ResolverConfig, Servers, TlsaSource as _, TrustAnchorSource};

use crate::{resolve, verdict};

const GOOD: &str = "dev1._device.example.test";

/// A resolver that remembers, as the gateway's does.
struct Remembering {
    runtime: tokio::runtime::Runtime,
    resolver: Resolver,
}

impl Remembering {
    fn new(universe: &Universe, server: SocketAddr) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let config = ResolverConfig {
            servers: Servers::List(vec![server.into()]),
            trust_anchor: TrustAnchorSource::File(universe.trust_anchor.clone()),
            timeout: Duration::from_secs(20),
            ..ResolverConfig::default()
        };
        let resolver = runtime.block_on(async { Resolver::new(config) }).unwrap();
        Self { runtime, resolver }
    }

    fn look_up(&self, name: &str) -> TlsaAnswer {
        let owner = OwnerName::verbatim(&ClientName::parse(name.as_bytes()).unwrap());
        self.runtime.block_on(self.resolver.lookup(&owner)).answer
    }
}

fn through(universe: &Universe, resolver: SocketAddr, name: &str, timeout: &str) -> String {
    verdict(&resolve(universe, resolver, name, &["--timeout", timeout]))
}

// DNS-08
#[test]
fn signatures_that_expire_while_they_are_remembered() {
    const NAME: &str = "dev1._device.brief.test";
    const SECONDS: i64 = 20;
    let universe = Universe::shared();
    let resolvers =
        [Forwarder::UnboundIterating, Forwarder::BindIterating].map(|forwarder| universe.address(forwarder));
    let remembering = resolvers.map(|resolver| Remembering::new(&universe, resolver));
    // Built before time runs.
    drop(dance());
    let server = universe.serve("brief.test", SECONDS);
    let signed = dance_resolver::now();
    let last = signed.as_secs() + u64::try_from(SECONDS).unwrap();
    for (resolver, remembering) in resolvers.into_iter().zip(&remembering) {
        match remembering.look_up(NAME) {
            TlsaAnswer::Secure(secure) => assert!(secure.valid_until.as_secs() <= last),
            other => panic!("{other:?}"),
        }
        assert_eq!(through(&universe, resolver, NAME, "20s"), "S");
    }
    // From here on the resolvers answer from memory: their TTL is five minutes.
    drop(server);
    while dance_resolver::now().as_secs() <= last {
        std::thread::sleep(Duration::from_millis(100));
    }
    for (resolver, remembering) in resolvers.into_iter().zip(&remembering) {
        assert!(matches!(remembering.look_up(NAME), TlsaAnswer::Bogus), "{:?}", remembering.look_up(NAME));
        assert_eq!(through(&universe, resolver, NAME, "20s"), "B");
    }
}

// DNS-01
#[test]
fn a_key_rollover_under_way() {
    const ZONE: &str = "rolling.test";
    const HOUR: i64 = 3600;
    let universe = Universe::shared();
    let resolver = universe.address(Forwarder::UnboundIterating);
    let remembering = Remembering::new(&universe, resolver);
    let assert_secure = |name: &str| {
        let answer = remembering.look_up(name);
        assert!(matches!(answer, TlsaAnswer::Secure(_)), "{name}: {answer:?}");
        assert_eq!(through(&universe, resolver, name, "20s"), "S", "{name}");
    };

    let new = universe.publish_zsk(ZONE);
    let before = universe.serve(ZONE, HOUR);
    assert_secure("dev1._device.rolling.test");
    drop(before);

    // Signed with the new key, which is known by now.
    universe.change_zsk(ZONE, &new);
    let under_way = universe.serve(ZONE, HOUR);
    assert_secure("foo._wild.rolling.test");
    drop(under_way);

    // A key that was not published in time: the set of keys that is remembered knows nothing of it.
    universe.replace_zsks(ZONE);
    let _without_notice = universe.serve(ZONE, HOUR);
    assert!(matches!(remembering.look_up("exact._wild.rolling.test"), TlsaAnswer::Bogus));
    assert_eq!(through(&universe, resolver, "exact._wild.rolling.test", "20s"), "B");
    // What was remembered before is as good as ever.
    assert_secure("dev1._device.rolling.test");
}

// DNS-04
#[test]
fn a_resolver_that_drops_signatures() {
    let universe = Universe::shared();
    let resolver = universe.in_front(Manner::WithoutSignatures);
    // Without signatures not even that there are none can be proven.
    for name in [GOOD, "nx._device.example.test", "foo._wild.ed.test", "dev1._device.insecure.test"] {
        assert_eq!(through(&universe, resolver, name, "20s"), "B", "{name}");
    }
}

// DNS-09
#[test]
fn a_resolver_that_truncates_everything() {
    let universe = Universe::shared();
    let resolver = universe.in_front(Manner::TruncatesUdp);
    for (name, expected) in [(GOOD, "S"), ("nx._device.ed.test", "SX"), ("dev1._device.insecure.test", "I")] {
        assert_eq!(through(&universe, resolver, name, "20s"), expected, "{name}");
    }
    let resolver = universe.in_front(Manner::Truncates);
    assert_eq!(through(&universe, resolver, GOOD, "5s"), "T");
}

// DNS-09, DNS-10
#[test]
fn a_resolver_that_answers_octet_by_octet() {
    let universe = Universe::shared();
    let slow = universe.in_front(Manner::Drips(Duration::from_millis(1)));
    assert_eq!(through(&universe, slow, GOOD, "50s"), "S");
    let endless = universe.in_front(Manner::Drips(Duration::from_millis(500)));
    assert_eq!(through(&universe, endless, GOOD, "2s"), "T");
}

// DNS-10
#[test]
fn a_resolver_that_never_answers() {
    let universe = Universe::shared();
    let silent = universe.in_front(Manner::Silent);
    assert_eq!(through(&universe, silent, GOOD, "2s"), "T");
    // The next one is asked in its place.
    let next = universe.address(Forwarder::Unbound).to_string();
    let found = resolve(&universe, silent, GOOD, &["--resolver", &next, "--timeout", "50s"]);
    assert_eq!(verdict(&found), "S", "{found}");
}

// DNS-03
#[test]
fn nobody_is_believed_who_does_not_say_ad() {
    let universe = Universe::shared();
    for forwarder in [Forwarder::UnboundIterating, Forwarder::BindIterating] {
        for name in [GOOD, "nx._device.example.test", "dev1._device.badsig.test"] {
            let found = resolve(&universe, universe.address(forwarder), name, &["--dns-mode", "ad"]);
            assert_eq!(verdict(&found), "I", "{forwarder:?}: {found}");
        }
    }
}

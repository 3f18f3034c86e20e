//! A DNS built with other people's tools, root and all: zones signed by BIND's, ldns's and Knot DNS's signers, served by NSD, BIND
//! and Knot DNS, and resolvers in front of them.

mod ask;
mod cases;
mod forwarders;
mod proxy;
mod servers;
mod sign;
mod zones;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Runtime;

pub use self::cases::{BESIDES, Case, Finds, TABLE};
pub use self::forwarders::Forwarder;
use self::forwarders::Surroundings;
use self::proxy::name;
pub use self::proxy::{Lie, Manner};
use self::servers::{place, public_address};
pub use self::zones::{BIG, DEV1, EXACT, WILD};
use self::zones::{Server, Way, Zone};
use crate::dns::{answers, free_port, loopback};
use crate::process::{Daemon, shared};

/// How late `lag.test` answers.
const LAG: Duration = Duration::from_millis(700);

/// The universe. Ended when the last test lets go of it.
pub struct Universe {
    /// Trust anchor: the root's DNSKEY record in presentation form.
    pub trust_anchor: PathBuf,
    forwarders: BTreeMap<Forwarder, (Daemon, SocketAddr)>,
    _servers: Vec<(Daemon, SocketAddr)>,
    port: u16,
    directory: TempDir,
    // After those that it serves, so that nobody waits for a proxy that has gone.
    runtime: Runtime,
}

impl Universe {
    /// The one that tests of a process share while any of them runs.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Universe>> = Mutex::new(Weak::new());
        shared(&SHARED, Self::start)
    }

    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let trust_anchor = sign_all(path);
        // Another program may take the port in between.
        let Served { runtime, port, servers } = (0..5).find_map(|_| serve(path)).expect("no port for the name servers");
        let mut universe =
            Self { trust_anchor, forwarders: BTreeMap::new(), _servers: servers, port, directory, runtime };
        for forwarder in Forwarder::ALL {
            let started = (0..5).find_map(|_| universe.start_forwarder(forwarder));
            universe.forwarders.insert(forwarder, started.unwrap_or_else(|| panic!("{forwarder:?} does not start")));
        }
        universe
    }

    fn start_forwarder(&self, forwarder: Forwarder) -> Option<(Daemon, SocketAddr)> {
        let (held, port) = free_port();
        drop(held);
        let surroundings = Surroundings {
            directory: self.directory.path(),
            anchor: &self.trust_anchor,
            port: self.port,
            iterating: self.forwarders.get(&Forwarder::UnboundIterating).map(|(_, address)| *address),
        };
        let daemon = forwarder.start(&surroundings, port);
        answers(&daemon, loopback(port), "example.test").then(|| (daemon, loopback(port)))
    }

    /// Where a forwarder listens.
    #[must_use]
    pub fn address(&self, forwarder: Forwarder) -> SocketAddr {
        self.forwarders[&forwarder].1
    }

    /// Starts something in front of the unbound that does not validate, until the universe ends.
    #[must_use]
    pub fn in_front(&self, manner: Manner) -> SocketAddr {
        proxy::start(&self.runtime, loopback(0), self.address(Forwarder::UnboundIterating), manner).unwrap()
    }

    /// Signs a zone of the test's own with the keys that are in use, and serves it until the daemon is dropped. The signatures are good
    /// for so many seconds.
    #[must_use]
    pub fn serve(&self, zone: &str, seconds: i64) -> Daemon {
        let (zone, own) = self.own(zone);
        sign::bind_signed(&own, zone, Some((-60, seconds)));
        let address = SocketAddr::new(public_address(zone), self.port);
        let daemon = servers::nsd(self.directory.path(), &format!("nsd-{}", zone.name), address, [zone]);
        assert!(answers(&daemon, address, zone.name), "NSD does not serve {}", zone.name);
        daemon
    }

    /// Publishes a new zone-signing key of such a zone, which is not in use yet, and gives its name.
    #[must_use]
    pub fn publish_zsk(&self, zone: &str) -> String {
        let (zone, own) = self.own(zone);
        sign::bind_key(&own, zone, zone.algorithm, sign::PUBLISHED)
    }

    /// Uses it, and keeps the other ones published.
    pub fn change_zsk(&self, zone: &str, new: &str) {
        let (_, own) = self.own(zone);
        for key in sign::bind_zsks(&own) {
            let change = if key == new { ["-A", "now"] } else { ["-I", "now"] };
            sign::bind_settime(&own, &key, &change);
        }
    }

    /// Puts a new one in the place of all that were.
    pub fn replace_zsks(&self, zone: &str) {
        let (zone, own) = self.own(zone);
        for key in sign::bind_zsks(&own) {
            for ending in ["key", "private"] {
                fs::remove_file(own.join(format!("{key}.{ending}"))).unwrap();
            }
        }
        sign::bind_key(&own, zone, zone.algorithm, &[]);
    }

    fn own(&self, name: &str) -> (&'static Zone, PathBuf) {
        let zone = zones::ZONES.iter().find(|zone| zone.name == name && zone.server == Server::Test);
        let zone = zone.unwrap_or_else(|| panic!("{name} is no zone of the tests' own"));
        (zone, self.directory.path().join(place(zone)))
    }

    /// What a validating forwarder itself makes of a name.
    #[must_use]
    pub fn own_verdict(&self, forwarder: Forwarder, query: &str, patience: Duration) -> String {
        self.runtime.block_on(ask::verdict(self.address(forwarder), query, patience))
    }
}

/// Signs all zones, those below first, and gives the root's key.
fn sign_all(directory: &Path) -> PathBuf {
    let mut delegations: BTreeMap<&str, String> = BTreeMap::new();
    let deepest = zones::ZONES.iter().map(Zone::depth).max().unwrap();
    for depth in (0..=deepest).rev() {
        let level: Vec<&Zone> = zones::ZONES.iter().filter(|zone| zone.depth() == depth).collect();
        let signed = std::thread::scope(|scope| {
            let threads: Vec<_> = level
                .iter()
                .map(|zone| {
                    let below = delegations.get(zone.name).cloned().unwrap_or_default();
                    scope.spawn(move || signed(directory, zone, &below))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        for (zone, delegation) in level.iter().zip(signed) {
            if let Some(parent) = zone.parent() {
                delegations.entry(parent.name).or_default().push_str(&delegation);
            }
        }
    }
    let root = directory.join(place(&zones::ZONES[0]));
    let keys = fs::read_to_string(root.join("signed")).unwrap();
    let key = keys.lines().find(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word != "DNSKEY");
        words.nth(1) == Some("257")
    });
    let anchor = directory.join("trust-anchor");
    let key = key.unwrap().split(';').next().unwrap();
    fs::write(&anchor, format!("{key}\n")).unwrap();
    anchor
}

/// Signs one zone that delegates so, and gives its own delegation.
fn signed(directory: &Path, zone: &Zone, below: &str) -> String {
    let own = directory.join(place(zone));
    fs::create_dir(&own).unwrap();
    let address = public_address(zone);
    fs::write(own.join("zone"), zone.text(address) + below).unwrap();
    let ds = sign::sign(&own, zone);
    let apex = zone.apex();
    format!("{apex} 300 NS ns.{apex}\nns.{apex} 300 A {address}\n{ds}")
}

/// The name servers, and the proxies in front of some.
struct Served {
    runtime: Runtime,
    port: u16,
    servers: Vec<(Daemon, SocketAddr)>,
}

/// Starts the servers, and the proxies in front of some; nothing where a port is taken.
fn serve(directory: &Path) -> Option<Served> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let ((udp, tcp), port) = free_port();
    drop((udp, tcp));
    for zone in zones::ZONES {
        let manner = match zone.way {
            Way::Straight => continue,
            Way::Late => Manner::Late(LAG),
            Way::Silent => Manner::Silent,
            Way::Lies => Manner::Lies(Arc::new(lies(zone.name))),
        };
        let upstream = SocketAddr::new(servers::address(zone.server), port);
        proxy::start(&runtime, SocketAddr::new(public_address(zone), port), upstream, manner).ok()?;
    }
    let started = servers::start(directory, port);
    let served = [Server::Nsd, Server::Named, Server::Knotd]
        .map(|server| zones::ZONES.iter().rfind(|zone| zone.server == server));
    let all = started.iter().zip(served).all(|((daemon, address), zone)| answers(daemon, *address, zone.unwrap().name));
    all.then_some(Served { runtime, port, servers: started })
}

/// The lies about a zone's names.
fn lies(zone: &str) -> Vec<(domain::base::Name<Vec<u8>>, Lie)> {
    let as_for = |other: &str| Lie::AsFor(name(&format!("{other}.{zone}")));
    [
        ("strip1._wild", Lie::WithoutProof),
        ("exact._wild", as_for("early._wild")),
        ("strip1._device", Lie::WithoutProof),
        ("dev1._device", as_for("nodata._device")),
        ("alias._device", as_for("nx._device")),
        // The right signatures, the wrong owner.
        ("moved._device", as_for("dev1._device")),
    ]
    .map(|(label, lie)| (name(&format!("{label}.{zone}")), lie))
    .into()
}

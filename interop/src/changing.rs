//! A signed zone whose records change while a gateway looks them up.

use std::fs;
use std::path::PathBuf;

use dance_core::tlsa::TlsaRdata;
use dance_testkit::{SignedWorld, Zone};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::gateway::{Dns, Gateway};

/// The zone `example.com`, its server and resolver.
pub struct ChangingWorld {
    world: SignedWorld,
    trust_anchor: PathBuf,
    _directory: TempDir,
    _runtime: Runtime,
}

impl ChangingWorld {
    /// An empty zone.
    #[must_use]
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let world = runtime.block_on(SignedWorld::builder().zone(Zone::new("example.com")).start()).unwrap();
        let directory = TempDir::new().unwrap();
        let trust_anchor = directory.path().join("trust-anchor");
        fs::write(&trust_anchor, world.trust_anchor_text()).unwrap();
        Self { world, trust_anchor, _directory: directory, _runtime: runtime }
    }

    /// Publishes a record that resolvers may keep for so many seconds, in place of what there was.
    pub fn publish(&self, name: &str, record: &TlsaRdata, ttl: u32) {
        self.world.set_tlsa(name, &[record], ttl).unwrap();
    }

    /// Takes a name's records out of the zone.
    pub fn withdraw(&self, name: &str) {
        self.world.withdraw(name).unwrap();
    }

    /// How many TLSA queries for a name there have been.
    #[must_use]
    pub fn queries(&self, name: &str) -> usize {
        let is = |query: &&String| query.trim_end_matches('.').eq_ignore_ascii_case(name);
        self.world.tlsa_queries().iter().filter(is).count()
    }

    /// A gateway that looks names up here.
    #[must_use]
    pub fn gateway(&self, settings: &str) -> Gateway {
        let dns = Dns { resolver: self.world.addr(), mode: "validate" };
        Gateway::start_with(&dns, &self.trust_anchor, settings)
    }
}

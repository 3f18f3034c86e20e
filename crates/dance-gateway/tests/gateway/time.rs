//! Time that passes when a test says so, and not otherwise.

use std::sync::mpsc;
use std::time::Duration;

use dance_core::UnixTime;
use dance_gateway::config::Span;
use dance_gateway::{Config, Gateway};
use dance_resolver::{Clock, Resolver, ResolverConfig};
use dance_testkit::SignedWorld;
use tokio::time::{Instant, advance, pause};

use crate::lab::{Lab, Running, SOON};

/// A test that takes longer than this, by the clock on the wall, has failed: time passes by itself from then on.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time that stands still, for the whole runtime of the test.
pub(crate) struct Frozen {
    /// Where [`Clock`] and tokio's clock were the same.
    start: Instant,
    wall: UnixTime,
    _hold: mpsc::Sender<()>,
}

impl Frozen {
    /// Stops it.
    pub(crate) fn new() -> Self {
        let (hold, held) = mpsc::channel::<()>();
        // While a blocking task runs, a paused clock does not run ahead to the next timer.
        tokio::task::spawn_blocking(move || held.recv_timeout(PATIENCE));
        pause();
        Self { start: Instant::now(), wall: dance_resolver::now(), _hold: hold }
    }

    /// The clock of everything that decides.
    fn clock(&self) -> Clock {
        let (start, wall) = (self.start, self.wall);
        Clock::from_fn(move || UnixTime::since_unix_epoch(Duration::from_secs(wall.as_secs()) + start.elapsed()))
    }

    /// A gateway for which time stands still, too. Connections may rest for long.
    pub(crate) fn start(&self, lab: &Lab, config: Config) -> Running {
        let resolver = Resolver::new(ResolverConfig { clock: self.clock(), ..lab.resolver_config() }).unwrap();
        let day = Span::secs(24 * 3600);
        let config = Config { header_timeout: day, idle_timeout: day, tunnel_idle_timeout: day, ..config };
        let config = Config { origin_timeout: day, ..config };
        Lab::run(Gateway::bind_with_clock(&config, resolver, self.clock()).unwrap())
    }

    /// Lets time pass, a second at a time, and whatever was waiting for it have its turn.
    pub(crate) async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            advance(Duration::from_secs(1)).await;
            for _ in 0..64 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Waits, while time stands still, until a name has been asked for so many times and the last answer has been thought about.
    pub(crate) async fn asked(&self, world: &SignedWorld, name: &str, times: usize) {
        let count = || world.tlsa_queries().iter().filter(|asked| *asked == name).count();
        let started = std::time::Instant::now();
        while count() < times {
            assert!(started.elapsed() < SOON, "{name}: asked for {} times", count());
            tokio::task::yield_now().await;
        }
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
        assert_eq!(count(), times, "{name}");
    }
}

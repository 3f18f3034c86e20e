//! A circuit breaker for each zone whose servers are slow: look-ups that would only wait are refused at once, so that they hold no place
//! and no socket (SEC-01, SEC-02).
//!
//! A zone is a cut that was proven to be one while the question below it stayed unanswered, so that a slow sub-delegation does not
//! suspend its parent, and a resolver that is down suspends nothing. Who makes his own zone slow gets at himself, and at whoever has
//! names below it. What is in the cache is not asked for here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::metrics::Counter;
use dance_dnssec::DnsName;
use tokio::time::Instant;

use crate::metrics;

/// So many time-outs without any answer in between suspend a zone. Each of them stands for several tries of a recursive resolver: one may be a
/// server's restart, or a resolver's that has yet to find out which of the zone's servers are alive.
pub(crate) const SLOW_LOOKUPS: u32 = 5;
/// How long a zone is suspended first: about as long as a look-up would have waited.
pub(crate) const SHORTEST_SUSPENSION: Duration = Duration::from_secs(2);
/// How long at most: every probe that times out doubles it. A zone that is well again is asked no later than that.
pub(crate) const LONGEST_SUSPENSION: Duration = Duration::from_secs(32);
/// A zone that nobody has asked for so long, after its suspension if there was one, starts anew.
const FORGET: Duration = Duration::from_secs(60);
/// Most zones remembered. It takes a look-up that times out to bring one in, so not even those who have zones without end get more than about
/// a hundred in a second.
const MAX_ZONES: usize = 1024;

/// The zones that are or were slow. Clones share them.
#[derive(Clone)]
pub(crate) struct Breaker {
    zones: Arc<Mutex<HashMap<DnsName, Slow>>>,
    suspensions: Counter,
}

/// What is known about a slow zone.
#[derive(Clone, Copy)]
enum Slow {
    /// So many time-outs in a row, the last at this time.
    Counted { lookups: u32, last: Instant },
    /// No look-ups until then; after that, one at a time.
    Suspended { until: Instant, length: Duration, probing: bool },
    /// It answered at this time, although a zone above it was suspended: its servers are others.
    Well { since: Instant },
}

impl Slow {
    /// From then on it is of no interest.
    fn forgotten(&self) -> Instant {
        match self {
            Self::Counted { last, .. } => *last + FORGET,
            Self::Suspended { until, .. } => *until + FORGET,
            Self::Well { since } => *since + FORGET,
        }
    }
}

/// The look-up is refused: its name is in or below a zone whose servers are slow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suspended {
    pub(crate) zone: DnsName,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { zones: Arc::default(), suspensions: metrics::suspensions() }
    }
}

impl Breaker {
    /// Whether to look `owner` up now.
    pub(crate) fn admit(&self, owner: &DnsName) -> Result<Admission, Suspended> {
        let now = Instant::now();
        let mut zones = self.zones();
        let mut probed = None;
        if !zones.is_empty() {
            for zone in owner.iter_suffixes() {
                let Some((name, slow)) = zones.get_key_value(&zone) else { continue };
                match slow {
                    Slow::Suspended { until, probing, .. } if now < *until || *probing => {
                        return Err(Suspended { zone: name.clone() });
                    }
                    Slow::Suspended { .. } if now < slow.forgotten() => probed = probed.or_else(|| Some(name.clone())),
                    // What is above is not needed for it.
                    Slow::Well { .. } if now < slow.forgotten() => break,
                    Slow::Suspended { .. } | Slow::Counted { .. } | Slow::Well { .. } => {}
                }
            }
        }
        if let Some(zone) = &probed {
            set_probing(&mut zones, zone, true);
        }
        Ok(Admission { breaker: self.clone(), probed })
    }

    /// Held for a few operations on one map, which no panic can leave half done.
    fn zones(&self) -> MutexGuard<'_, HashMap<DnsName, Slow>> {
        self.zones.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A look-up that was admitted. Dropped without a word it counts for nothing: another one may probe.
pub(crate) struct Admission {
    breaker: Breaker,
    /// The suspended zone that this look-up finds out about.
    probed: Option<DnsName>,
}

impl Admission {
    /// An answer from `zone` came, or, where it is not known, something that is no time-out: servers that fail at once hold nobody up.
    pub(crate) fn answered(&self, zone: Option<&DnsName>) {
        let Some(zone) = zone.or(self.probed.as_ref()) else { return };
        let mut zones = self.breaker.zones();
        // Of the zone above it this tells nothing, and it need not wait for that one to be well.
        let is_below = self.probed.as_ref().is_some_and(|probed| probed != zone && zone.ends_with(probed));
        match is_below || matches!(zones.get(zone), Some(Slow::Well { .. })) {
            true => put(&mut zones, zone, Slow::Well { since: Instant::now() }),
            false => drop(zones.remove(zone)),
        }
    }

    /// No answer came, and nobody knows who kept silent. A suspension that was to be probed ends: were it to go on, whoever has names under
    /// that zone that lead elsewhere could take the place of every probe that would be answered.
    pub(crate) fn unclear(&self) {
        if let Some(probed) = &self.probed {
            self.breaker.zones().remove(probed);
        }
    }

    /// No answer came, and `zone` is the one that kept silent.
    pub(crate) fn slow(&self, zone: &DnsName) {
        let is_probe = self.probed.as_ref() == Some(zone);
        if !is_probe {
            self.unclear();
        }
        let now = Instant::now();
        let mut zones = self.breaker.zones();
        let slow = match zones.get(zone).filter(|slow| now < slow.forgotten()) {
            Some(Slow::Suspended { length, .. }) if is_probe => suspended(now, *length * 2),
            // By somebody who set out before.
            Some(Slow::Suspended { .. }) => return,
            Some(Slow::Counted { lookups, .. }) if lookups + 1 >= SLOW_LOOKUPS => suspended(now, SHORTEST_SUSPENSION),
            Some(Slow::Counted { lookups, .. }) => Slow::Counted { lookups: lookups + 1, last: now },
            Some(Slow::Well { .. }) | None => Slow::Counted { lookups: 1, last: now },
        };
        if matches!(slow, Slow::Suspended { .. }) {
            self.breaker.suspensions.increment(1);
        }
        put(&mut zones, zone, slow);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(zone) = &self.probed {
            set_probing(&mut self.breaker.zones(), zone, false);
        }
    }
}

fn suspended(now: Instant, length: Duration) -> Slow {
    let length = length.min(LONGEST_SUSPENSION);
    Slow::Suspended { until: now + length, length, probing: false }
}

fn set_probing(zones: &mut HashMap<DnsName, Slow>, zone: &DnsName, now: bool) {
    if let Some(Slow::Suspended { probing, .. }) = zones.get_mut(zone) {
        *probing = now;
    }
}

fn put(zones: &mut HashMap<DnsName, Slow>, zone: &DnsName, slow: Slow) {
    if zones.len() >= MAX_ZONES && !zones.contains_key(zone) {
        make_room(zones);
    }
    zones.insert(zone.clone(), slow);
}

/// Forgets the zone that is of no interest soonest, rather one that is counted only.
fn make_room(zones: &mut HashMap<DnsName, Slow>) {
    let rank = |(_, slow): &(&DnsName, &Slow)| (matches!(slow, Slow::Suspended { .. }), slow.forgotten());
    if let Some(zone) = zones.iter().min_by_key(rank).map(|(zone, _)| zone.clone()) {
        zones.remove(&zone);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test code")]

    use std::str::FromStr as _;

    use tokio::time::advance;

    use super::*;

    fn name(text: &str) -> DnsName {
        DnsName::from_str(text).unwrap()
    }

    fn times_out(breaker: &Breaker, zone: &str, times: u32) {
        for _ in 0..times {
            breaker.admit(&name(&format!("dev._device.{zone}"))).ok().unwrap().slow(&name(zone));
        }
    }

    fn refused(breaker: &Breaker, owner: &str) -> Option<String> {
        breaker.admit(&name(owner)).err().map(|suspended| suspended.zone.to_string())
    }

    // SEC-01, SEC-02
    #[tokio::test(start_paused = true)]
    async fn slow_zones_are_suspended() {
        let breaker = Breaker::default();
        let owner = name("dev._device.slow.test");
        // Those that are under way when it happens.
        let late: Vec<_> = (0..10).map(|_| breaker.admit(&owner).ok().unwrap()).collect();
        times_out(&breaker, "slow.test", SLOW_LOOKUPS - 1);
        assert_eq!(refused(&breaker, "dev._device.slow.test"), None);
        times_out(&breaker, "slow.test", 1);
        for admission in late {
            admission.slow(&name("slow.test"));
        }
        // In it and below it, in whatever case, and nowhere else.
        for owner in ["dev._device.slow.test", "slow.test", "a.b.SLOW.test"] {
            assert_eq!(refused(&breaker, owner).as_deref(), Some("slow.test"), "{owner}");
        }
        for owner in ["test", "dev._device.example.test", "notslow.test"] {
            assert_eq!(refused(&breaker, owner), None, "{owner}");
        }
        advance(SHORTEST_SUSPENSION - Duration::from_millis(1)).await;
        assert!(refused(&breaker, "slow.test").is_some());
        // One at a time finds out.
        advance(Duration::from_millis(1)).await;
        let probe = breaker.admit(&owner).ok().unwrap();
        assert!(refused(&breaker, "slow.test").is_some());
        // One who goes away has found out nothing.
        drop(probe);
        let probe = breaker.admit(&owner).ok().unwrap();
        probe.answered(Some(&name("slow.test")));
        drop(probe);
        // It starts anew.
        times_out(&breaker, "slow.test", SLOW_LOOKUPS - 1);
        assert_eq!(refused(&breaker, "dev._device.slow.test"), None);
    }

    // SEC-01
    #[tokio::test(start_paused = true)]
    async fn longer_and_longer() {
        let breaker = Breaker::default();
        times_out(&breaker, "slow.test", SLOW_LOOKUPS);
        let mut lengths = Vec::new();
        for _ in 0..7 {
            let start = Instant::now();
            while refused(&breaker, "slow.test").is_some() {
                advance(Duration::from_secs(1)).await;
            }
            lengths.push(start.elapsed().as_secs());
            let probe = breaker.admit(&name("slow.test")).ok().unwrap();
            probe.slow(&name("slow.test"));
        }
        assert_eq!(lengths, [2, 4, 8, 16, 32, 32, 32]);
        // A failure that holds nobody up ends it.
        advance(LONGEST_SUSPENSION).await;
        breaker.admit(&name("slow.test")).ok().unwrap().answered(None);
        assert_eq!(breaker.zones().len(), 0);
        // So does time in which nobody asks: no probe, but everybody.
        times_out(&breaker, "slow.test", SLOW_LOOKUPS);
        advance(SHORTEST_SUSPENSION + FORGET).await;
        let all: Vec<_> = (0..3).map(|_| breaker.admit(&name("slow.test"))).collect();
        assert!(all.iter().all(Result::is_ok));
    }

    // SEC-01: an answer in between is enough, and each zone counts for itself.
    #[tokio::test(start_paused = true)]
    async fn only_the_zone_that_keeps_silent() {
        let breaker = Breaker::default();
        for _ in 0..3 {
            times_out(&breaker, "example.test", SLOW_LOOKUPS - 1);
            breaker.admit(&name("dev.example.test")).ok().unwrap().answered(Some(&name("example.test")));
        }
        assert_eq!(refused(&breaker, "dev.example.test"), None);
        times_out(&breaker, "sub.example.test", SLOW_LOOKUPS);
        assert_eq!(refused(&breaker, "dev.example.test"), None);
        assert_eq!(refused(&breaker, "dev.sub.example.test").as_deref(), Some("sub.example.test"));
        // Above, answers go on, and change nothing for what is below.
        breaker.admit(&name("dev.example.test")).ok().unwrap().answered(Some(&name("example.test")));
        assert!(refused(&breaker, "dev.sub.example.test").is_some());
        // Time-outs that are long past do not add up.
        times_out(&breaker, "example.test", SLOW_LOOKUPS - 1);
        advance(FORGET).await;
        times_out(&breaker, "example.test", 1);
        assert_eq!(refused(&breaker, "dev.example.test"), None);
    }

    // SEC-01: servers that answer are not left alone for what is wrong with those of a zone above.
    #[tokio::test(start_paused = true)]
    async fn a_zone_below_one_that_is_slow() {
        let breaker = Breaker::default();
        let (sub, owner) = (name("sub.slow.test"), name("dev.sub.slow.test"));
        times_out(&breaker, "slow.test", SLOW_LOOKUPS);
        assert!(refused(&breaker, "dev.sub.slow.test").is_some());
        advance(SHORTEST_SUSPENSION).await;
        breaker.admit(&owner).ok().unwrap().answered(Some(&sub));
        // All at once, whoever finds out about the zone above.
        let probe = breaker.admit(&name("dev.slow.test")).ok().unwrap();
        let all: Vec<_> = (0..3).map(|_| breaker.admit(&owner)).collect();
        all.into_iter().for_each(|admission| admission.ok().unwrap().answered(Some(&sub)));
        assert!(breaker.admit(&owner).is_ok());
        assert!(refused(&breaker, "dev.slow.test").is_some() && refused(&breaker, "dev.other.slow.test").is_some());
        probe.slow(&name("slow.test"));
        drop(probe);
        assert!(refused(&breaker, "dev.slow.test").is_some());
        assert_eq!(refused(&breaker, "dev.sub.slow.test"), None);
        // Until it is slow itself.
        times_out(&breaker, "sub.slow.test", 1);
        assert_eq!(refused(&breaker, "dev.sub.slow.test").as_deref(), Some("slow.test"));
    }

    // SEC-01: nobody keeps a zone suspended that is well again by look-ups that tell nothing about it.
    #[tokio::test(start_paused = true)]
    async fn probes_that_tell_nothing() {
        let breaker = Breaker::default();
        let ends: [&dyn Fn(&Admission); 2] = [&Admission::unclear, &|probe| probe.slow(&name("sub.slow.test"))];
        for end in ends {
            times_out(&breaker, "slow.test", SLOW_LOOKUPS);
            advance(SHORTEST_SUSPENSION).await;
            let probe = breaker.admit(&name("dev.sub.slow.test")).ok().unwrap();
            assert!(refused(&breaker, "dev.slow.test").is_some());
            end(&probe);
            drop(probe);
            let all: Vec<_> = (0..3).map(|_| breaker.admit(&name("dev.slow.test"))).collect();
            assert!(all.iter().all(Result::is_ok));
        }
    }

    // SEC-02: zones without end take no more than their room, and none from those that are suspended.
    #[tokio::test(start_paused = true)]
    async fn endless_zones() {
        let breaker = Breaker::default();
        times_out(&breaker, "slow.test", SLOW_LOOKUPS);
        for n in 0..2 * MAX_ZONES {
            times_out(&breaker, &format!("z{n}.evil.test"), 1);
        }
        assert_eq!(breaker.zones().len(), MAX_ZONES);
        assert!(refused(&breaker, "slow.test").is_some());
    }
}

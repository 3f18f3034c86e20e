//! The memory of what is proven about zones, which look-ups share. What may push out what is [`store`](crate::store)'s: zones that serve
//! clients stay, however many others there are.

use dance_core::UnixTime;
use dance_core::answer::MAX_FAILURE_CACHE;
use dance_dnssec::{DnsName, Known, ZoneFact, ZoneKind};

use crate::clock::Clock;
use crate::metrics::Memory;
use crate::outcome::later;
use crate::store::{Group, Remembered, Store};

/// Facts by name.
pub(crate) struct Zones {
    facts: Store<DnsName, Entry>,
    clock: Clock,
}

#[derive(Clone)]
struct Entry {
    fact: ZoneFact,
    /// That of a failure ends sooner than others.
    good_until: UnixTime,
}

impl Remembered for Entry {
    fn is_good(&self, now: UnixTime) -> bool {
        now < self.good_until && self.fact.is_usable(now)
    }

    /// What is good for no time serves this one look-up.
    fn can_serve(&self) -> bool {
        false
    }
}

impl Zones {
    /// Room for facts of so many octets, with all that they take in memory.
    pub(crate) fn new(octets: usize, clock: Clock) -> Self {
        Self { facts: Store::new(octets, Memory::Zones), clock }
    }

    /// Remembers what was just proven. A failure does not stand in for what is proven and still good.
    pub(crate) fn insert(&self, fact: ZoneFact) {
        let now = self.clock.now();
        let name = fact.name().clone();
        let good_until = match fact.kind() {
            ZoneKind::Keys | ZoneKind::Unsigned | ZoneKind::NotAZone => fact.good_until(),
            ZoneKind::Failed if self.zone(&name).is_some_and(|known| known.kind() != ZoneKind::Failed) => {
                return;
            }
            ZoneKind::Failed => fact.good_until().min(later(now, MAX_FAILURE_CACHE)),
        };
        let octets = name.len() + fact.octets();
        self.facts.insert(name, Entry { fact, good_until }, octets, now);
    }

    /// Notes that the zones above `owner` serve a client that `group` admits.
    pub(crate) fn mark(&self, owner: &DnsName, group: Group) {
        let now = self.clock.now();
        for zone in owner.iter_suffixes() {
            self.facts.mark(&zone, group, now);
        }
    }
}

impl Known for Zones {
    fn zone(&self, name: &DnsName) -> Option<ZoneFact> {
        self.facts.get(name, self.clock.now()).map(|entry| entry.fact)
    }
}

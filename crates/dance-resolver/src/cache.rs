//! What is known about names: validated answers, never verdicts (requirements 5.7).
//!
//! Clients choose names, so what costs them nothing must not push out what is useful. Validated TLSA RRsets have a room of their own,
//! into which only the holder of a signed zone on the allow-list can bring anything; denials, unsigned names and failures have
//! another, smaller one. Within each, the library admits a newcomer to a full room only over an entry that is asked for less often.

use dance_core::UnixTime;
use dance_core::answer::TlsaAnswer;
use dance_core::name::OwnerName;
use moka::sync::Cache as Room;

use crate::outcome::Outcome;

/// How much smaller the room for all that is not a validated RRset is.
const OTHERS_SHARE: u64 = 4;

pub(crate) struct Cache {
    secure: Room<OwnerName, Entry>,
    others: Room<OwnerName, Entry>,
}

#[derive(Clone)]
struct Entry {
    outcome: Outcome,
    since: UnixTime,
}

impl Cache {
    /// Room for `entries` answers of up to 1 KiB; longer ones count for more.
    pub(crate) fn new(entries: usize) -> Self {
        let entries = u64::try_from(entries).unwrap_or(u64::MAX);
        let room = |capacity| Room::builder().max_capacity(capacity).weigher(weight).build();
        Self { secure: room(entries), others: room(entries.div_ceil(OTHERS_SHARE)) }
    }

    /// What is known about `owner` and still good at `now`. A clock that was set back makes nothing last longer.
    pub(crate) fn get(&self, owner: &OwnerName, now: UnixTime) -> Option<Outcome> {
        let good = |entry: &Entry| (entry.since..entry.outcome.good_until).contains(&now);
        let entry = self.secure.get(owner).filter(good).or_else(|| self.others.get(owner).filter(good))?;
        Some(entry.outcome)
    }

    /// Remembers `outcome`, found at `now`, if it is good for any time at all.
    pub(crate) fn insert(&self, owner: OwnerName, outcome: Outcome, now: UnixTime) {
        let is_secure = matches!(outcome.answer, TlsaAnswer::Secure(_));
        let (room, other_room) = if is_secure { (&self.secure, &self.others) } else { (&self.others, &self.secure) };
        other_room.invalidate(&owner);
        if now < outcome.good_until {
            room.insert(owner, Entry { outcome, since: now });
        } else {
            room.invalidate(&owner);
        }
    }
}

fn weight(_: &OwnerName, entry: &Entry) -> u32 {
    let octets: usize = match &entry.outcome.answer {
        TlsaAnswer::Secure(secure) => secure.records.iter().map(|record| record.as_wire().len()).sum(),
        TlsaAnswer::Denied(_) | TlsaAnswer::Insecure | TlsaAnswer::Bogus | TlsaAnswer::Indeterminate(_) => 0,
    };
    u32::try_from(octets / 1024).unwrap_or(u32::MAX - 1) + 1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test code")]

    use std::sync::Arc;
    use std::time::Duration;

    use dance_core::answer::{LookupFailure, SecureTlsa};
    use dance_core::name::ClientName;
    use dance_core::tlsa::TlsaRdata;

    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    fn owner(name: &str) -> OwnerName {
        OwnerName::verbatim(&ClientName::parse(name.as_bytes()).unwrap())
    }

    fn outcome(answer: TlsaAnswer, good_until: u64) -> Outcome {
        Outcome { answer, good_until: at(good_until), end: "".into(), links: Arc::new([]), detail: None }
    }

    fn secure(octets: usize, good_until: u64) -> Outcome {
        let records = vec![TlsaRdata::from_wire(&vec![0; octets])];
        let secure = SecureTlsa { records, valid_until: at(good_until), ttl: 1, wildcard: None };
        outcome(TlsaAnswer::Secure(Arc::new(secure)), good_until)
    }

    fn failed(good_until: u64) -> Outcome {
        outcome(TlsaAnswer::Indeterminate(LookupFailure::Timeout), good_until)
    }

    // SEC-03: names that come to nothing take no room from those that do, and no more than their own.
    #[test]
    fn rooms() {
        let cache = Cache::new(100);
        cache.insert(owner("good.example.com"), secure(35, 1000), at(0));
        for n in 0..10_000 {
            cache.insert(owner(&format!("bad{n}.example.com")), failed(1000), at(0));
        }
        assert!(cache.get(&owner("good.example.com"), at(1)).is_some());
        cache.others.run_pending_tasks();
        assert!(cache.others.entry_count() <= 25);
        for n in 0..10_000 {
            cache.insert(owner(&format!("good{n}.example.com")), secure(10_000, 1000), at(0));
        }
        cache.secure.run_pending_tasks();
        // Each counts for ten.
        assert!(cache.secure.entry_count() <= 10);
    }

    // DNS-08
    #[test]
    fn good_from_and_until() {
        let cache = Cache::new(100);
        let name = owner("dev.example.com");
        cache.insert(name.clone(), secure(35, 110), at(100));
        assert!(cache.get(&name, at(99)).is_none());
        assert!(cache.get(&name, at(100)).is_some());
        assert!(cache.get(&name, at(109)).is_some());
        assert!(cache.get(&name, at(110)).is_none());
        // What is found next stands in the place of what was known, even if it is good for no time.
        cache.insert(name.clone(), failed(115), at(110));
        assert!(matches!(cache.get(&name, at(110)).unwrap().answer, TlsaAnswer::Indeterminate(_)));
        cache.insert(name.clone(), secure(35, 120), at(112));
        assert!(matches!(cache.get(&name, at(112)).unwrap().answer, TlsaAnswer::Secure(_)));
        cache.insert(name.clone(), secure(35, 113), at(113));
        assert!(cache.get(&name, at(113)).is_none());
    }
}

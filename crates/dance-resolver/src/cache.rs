//! What is known about names: validated answers, never verdicts (requirements 5.7). What may push out what is [`store`](crate::store)'s.

use std::hash::{BuildHasher as _, RandomState};

use ::metrics::Counter;
use dance_core::UnixTime;
use dance_core::answer::TlsaAnswer;
use dance_core::name::OwnerName;
use dance_core::policy::Pattern;
use dance_core::tlsa::TlsaRdata;
use dance_dnssec::Failure;

use crate::metrics::{self, Memory};
use crate::outcome::Outcome;
use crate::source::{Link, ZoneLink};
use crate::store::{Group, Remembered, Store};

/// Answers by owner name.
pub(crate) struct Cache {
    answers: Store<OwnerName, Entry>,
    /// Tells allow-list entries apart.
    entries: RandomState,
    hits: Counter,
}

#[derive(Clone)]
struct Entry {
    outcome: Outcome,
    since: UnixTime,
}

impl Remembered for Entry {
    /// A clock that was set back makes nothing last longer.
    fn is_good(&self, now: UnixTime) -> bool {
        (self.since..self.outcome.good_until).contains(&now)
    }

    fn can_serve(&self) -> bool {
        matches!(self.outcome.answer, TlsaAnswer::Secure(_))
    }
}

impl Cache {
    /// Room for answers of so many octets, with all that they take in memory.
    pub(crate) fn new(octets: usize) -> Self {
        Self { answers: Store::new(octets, Memory::Answers), entries: RandomState::new(), hits: metrics::hits() }
    }

    /// What is known about `owner` and still good at `now`.
    pub(crate) fn get(&self, owner: &OwnerName, now: UnixTime) -> Option<Outcome> {
        let entry = self.answers.get(owner, now)?;
        self.hits.increment(1);
        Some(entry.outcome)
    }

    /// Remembers `outcome`, found at `now`.
    pub(crate) fn insert(&self, owner: OwnerName, outcome: Outcome, now: UnixTime) {
        let octets = owner.as_str().len() + outcome.heap_octets();
        self.answers.insert(owner, Entry { outcome, since: now }, octets, now);
    }

    /// Notes that a client that `admitted_by` admits was authenticated by what is known about `owner`. If it is the first since that was
    /// inserted, returns what stands for that allow-list entry.
    pub(crate) fn note_use(&self, owner: &OwnerName, admitted_by: &Pattern, now: UnixTime) -> Option<Group> {
        let group = Group(self.entries.hash_one(admitted_by));
        self.answers.mark(owner, group, now).then_some(group)
    }

    /// Whether a client was authenticated by what is, or was, known about `owner`.
    pub(crate) fn is_in_use(&self, owner: &OwnerName) -> bool {
        self.answers.is_in_use(owner)
    }
}

/// What the allocator and an `Arc`'s counts take.
const ALLOCATION: usize = 32;

impl Outcome {
    /// What hangs on it in memory.
    fn heap_octets(&self) -> usize {
        let Self { answer, good_until: _, end, links, zones, wildcard, detail } = self;
        let records = match answer {
            TlsaAnswer::Secure(secure) => {
                let record = |record: &TlsaRdata| size_of::<TlsaRdata>() + record.as_wire().len() + ALLOCATION;
                size_of_val(secure.as_ref()) + 2 * ALLOCATION + secure.records.iter().map(record).sum::<usize>()
            }
            TlsaAnswer::Denied(_) | TlsaAnswer::Insecure | TlsaAnswer::Bogus | TlsaAnswer::Indeterminate(_) => 0,
        };
        let link = |link: &Link| {
            let signer = link.signature.as_ref().map_or(0, |signature| signature.signer.len() + ALLOCATION);
            size_of::<Link>() + link.owner.len() + ALLOCATION + signer
        };
        let links: usize = links.iter().map(link).sum();
        let zone = |zone: &ZoneLink| size_of::<ZoneLink>() + zone.zone.len() + ALLOCATION;
        let zones: usize = zones.iter().map(zone).sum();
        let wildcard = wildcard.as_ref().map_or(0, |wildcard| wildcard.len() + ALLOCATION);
        // Its names and words, which are at most as long as this.
        let detail = detail.as_ref().map_or(0, |_| DETAIL);
        records + end.len() + links + zones + wildcard + detail + 3 * ALLOCATION
    }
}

/// A failure, with at most three names in it.
const DETAIL: usize = size_of::<Failure>() + 3 * 255 + ALLOCATION;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test code")]

    use std::sync::Arc;
    use std::time::Duration;

    use dance_core::answer::{Denial, DenialKind, LookupFailure, SecureTlsa};
    use dance_core::name::ClientName;

    use super::*;

    fn entry() -> Pattern {
        Pattern::parse("**.example.com").unwrap()
    }

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    fn owner(name: &str) -> OwnerName {
        OwnerName::verbatim(&ClientName::parse(name.as_bytes()).unwrap())
    }

    fn outcome(answer: TlsaAnswer, good_until: u64) -> Outcome {
        let (links, zones) = (Arc::new([]), Arc::new([]));
        Outcome { answer, good_until: at(good_until), end: "".into(), links, zones, wildcard: None, detail: None }
    }

    fn secure(octets: usize, good_until: u64) -> Outcome {
        let records = vec![TlsaRdata::from_wire(&vec![0; octets])];
        let secure = SecureTlsa { records, valid_until: at(good_until), ttl: 1, wildcard: None };
        outcome(TlsaAnswer::Secure(Arc::new(secure)), good_until)
    }

    fn failed(good_until: u64) -> Outcome {
        outcome(TlsaAnswer::Indeterminate(LookupFailure::Timeout), good_until)
    }

    // SEC-01, SEC-03: names without end, in whatever state, leave names in use alone, and memory as it is.
    #[test]
    fn endless_names() {
        let denied = || {
            let denial = Denial { kind: DenialKind::Nxdomain, valid_until: at(1000) };
            outcome(TlsaAnswer::Denied(denial), 1000)
        };
        let states: [(&str, &dyn Fn() -> Outcome); 6] = [
            ("secure", &|| secure(35, 1000)),
            ("large", &|| secure(8_000, 1000)),
            ("denied", &denied),
            ("insecure", &|| outcome(TlsaAnswer::Insecure, 1000)),
            ("bogus", &|| outcome(TlsaAnswer::Bogus, 1000)),
            ("failed", &|| failed(1000)),
        ];
        const OCTETS: usize = 1 << 20;
        let cache = Cache::new(OCTETS);
        let known: Vec<_> = (0..200).map(|n| owner(&format!("dev{n}.example.com"))).collect();
        for name in &known {
            cache.insert(name.clone(), secure(35, 1000), at(0));
            assert!(cache.note_use(name, &entry(), at(0)).is_some());
        }
        for (state, outcome) in states {
            for n in 0..4_000 {
                let name = owner(&format!("{state}{n}.example.com"));
                cache.insert(name.clone(), outcome(), at(1));
                // Asking for it over and over is no help.
                for _ in 0..3 {
                    cache.get(&name, at(1));
                }
            }
            assert!(known.iter().all(|name| cache.get(name, at(1)).is_some()), "{state}");
            let [strangers, in_use] = cache.answers.sizes();
            assert_eq!(in_use.0, known.len());
            assert!(strangers.0 > 10 && strangers.1 + in_use.1 <= OCTETS, "{strangers:?} {in_use:?}");
        }
        // Those that nobody was authenticated by do go.
        let bare = owner("bare.example.com");
        cache.insert(bare.clone(), secure(35, 1000), at(1));
        for n in 0..4_000 {
            cache.insert(owner(&format!("more{n}.example.com")), denied(), at(1));
        }
        assert!(cache.get(&bare, at(1)).is_none());
    }

    // DNS-08
    #[test]
    fn good_from_and_until() {
        let cache = Cache::new(100_000);
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
        // Nobody can be authenticated by a failure: no place is kept for it.
        cache.insert(name.clone(), failed(113), at(113));
        assert_eq!(cache.answers.sizes(), [(0, 0); 2]);
        // A name in use keeps its place, even if its records are good for no time from the beginning.
        cache.insert(name.clone(), secure(35, 113), at(113));
        assert!(cache.get(&name, at(113)).is_none() && !cache.is_in_use(&name));
        assert!(cache.note_use(&name, &entry(), at(113)).is_some());
        cache.insert(name.clone(), failed(113), at(114));
        assert!(cache.get(&name, at(114)).is_none() && cache.is_in_use(&name));
    }
}

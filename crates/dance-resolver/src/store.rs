//! Memory that is bounded in octets, and that strangers cannot push anything useful out of.
//!
//! Who may choose names without end? Everybody, for names that come to nothing, and below a wildcard for names that are Secure too: a
//! certificate of one's own making is enough for a look-up. The holder of a zone on the allow-list may choose names without end that
//! he is authenticated by. Neither frequency nor recency tells such names from those that serve clients: both can be had by asking
//! again. So this memory has two rooms, and the first door is a proof.
//!
//! * *Strangers*: whatever a look-up brings, in whatever state. It has at least a quarter of the octets, and all that the other room
//!   does not use. A newcomer pushes out strangers only.
//! * *In use*: what a client was authenticated by ([`Store::mark`]), up to three quarters. No look-up pushes anything out of it, only
//!   another authentication does. It is shared between allow-list entries: when it is full, the entry with most octets loses
//!   something. A holder with endless names gets what others leave, and above that pushes out his own; `n` entries are sure of an `n`th
//!   each. The allow-list is the administrator's, so nobody can multiply his share as he could with zones or names.
//!
//! Within strangers and within one entry it is first in, first out, with a second chance for what was asked for since. The clients of
//! one entry are what the administrator has put together: they can crowd out each other, at the pace of their handshakes. It costs
//! whoever is pushed out one look-up.
//!
//! Keys are spread over shards by a keyed hash, so each shard has its part of all this, and a lock of its own.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dance_core::UnixTime;

use crate::metrics::{Memory, MemoryMetrics};

/// Most shards: enough that the cores of a large machine hardly meet.
const MAX_SHARDS: usize = 32;
/// Octets that a shard has at least, if there is more than one: room for some hundred entries, so that the shares mean something.
const MIN_SHARD: usize = 256 * 1024;
/// One in so many octets is for strangers only.
const STRANGERS_SHARE: usize = 4;
/// What takes more than one in so many octets of a shard is not kept.
const LARGEST_SHARE: usize = 4;
/// Second chances that an entry can save up: what is asked for often outlives so many rounds without being asked for.
const MAX_VISITS: u8 = 3;
/// Second chances given before something goes regardless, so that no eviction takes long.
const MAX_CHANCES: usize = 256;

/// What is kept in a [`Store`].
pub(crate) trait Remembered: Clone {
    /// Whether it may be used at `now`.
    fn is_good(&self, now: UnixTime) -> bool;

    /// Whether a client can be authenticated by it: then it has its place even if it is good for no time.
    fn can_serve(&self) -> bool;
}

/// Stands for one allow-list entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Group(pub(crate) u64);

/// The memory. See the module's documentation.
pub(crate) struct Store<K, V> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    hasher: RandomState,
    metrics: MemoryMetrics,
}

impl<K: Clone + Eq + Hash, V: Remembered> Store<K, V> {
    /// What an entry takes besides what hangs on its key and value: its place in the table, which is between half and nearly full, and in a queue, likewise;
    /// and what the allocator needs for the key.
    pub(crate) const OVERHEAD: usize = 2 * size_of::<(K, Entry<V>)>() + 2 * size_of::<(u64, K)>() + 16;

    /// Room for so many octets, counted as `memory`.
    pub(crate) fn new(octets: usize, memory: Memory) -> Self {
        let shards = (octets / MIN_SHARD).clamp(1, MAX_SHARDS);
        let shard = || Mutex::new(Shard::new(octets / shards));
        Self {
            shards: (0..shards).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            metrics: MemoryMetrics::new(memory),
        }
    }

    /// What is kept under `key`, if it is good at `now`.
    pub(crate) fn get(&self, key: &K, now: UnixTime) -> Option<V> {
        let mut shard = self.shard(key);
        let entry = shard.entries.get_mut(key).filter(|entry| entry.value.is_good(now))?;
        entry.visits = entry.visits.saturating_add(1).min(MAX_VISITS);
        Some(entry.value.clone())
    }

    /// Keeps `value`, on which and on whose key hang `heap` octets, in the place of what is there under `key`. What is in use stays so, and
    /// keeps its place even if the new value is not good at `now`.
    pub(crate) fn insert(&self, key: K, value: V, heap: usize, now: UnixTime) {
        let octets = heap.saturating_add(Self::OVERHEAD);
        let mut shard = self.shard(&key);
        let before = shard.octets();
        let evicted = shard.insert(key, value, octets, now);
        self.account(before, shard.octets(), evicted);
    }

    /// Notes that a client that `group` admits was authenticated by what is kept under `key`. True if it is the first since that was inserted.
    pub(crate) fn mark(&self, key: &K, group: Group, now: UnixTime) -> bool {
        let mut shard = self.shard(key);
        let before = shard.octets();
        let first = shard.mark(key, group);
        let evicted = if first { shard.evict(now) } else { 0 };
        self.account(before, shard.octets(), evicted);
        first
    }

    /// Whether a client was authenticated by what is, or was, known under `key`.
    pub(crate) fn is_in_use(&self, key: &K) -> bool {
        self.shard(key).entries.get(key).is_some_and(|entry| entry.group.is_some())
    }

    /// Held for a few operations on maps; what those do, no panic can leave half done.
    fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K, V>> {
        let index = self.hasher.hash_one(key) as usize % self.shards.len();
        #[allow(clippy::indexing_slicing, reason = "index is reduced modulo the length")]
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn account(&self, before: usize, after: usize, evicted: usize) {
        if before != after {
            self.metrics.grown(after.cast_signed() - before.cast_signed());
        }
        self.metrics.evicted(evicted);
    }

    /// Entries and octets, of strangers and in use.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> [(usize, usize); 2] {
        self.shards.iter().fold([(0, 0); 2], |[strangers, in_use], shard| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = shard.entries.len() - shard.strangers.order.len();
            [
                (strangers.0 + shard.strangers.order.len(), strangers.1 + shard.strangers.octets),
                (in_use.0 + kept, in_use.1 + shard.in_use),
            ]
        })
    }
}

impl<K, V> Drop for Store<K, V> {
    fn drop(&mut self) {
        for shard in &mut self.shards {
            let shard = shard.get_mut().unwrap_or_else(PoisonError::into_inner);
            self.metrics.grown(-shard.octets().cast_signed());
        }
    }
}

struct Shard<K, V> {
    entries: HashMap<K, Entry<V>>,
    strangers: Queue<K>,
    groups: HashMap<Group, Queue<K>>,
    /// Octets of all groups.
    in_use: usize,
    capacity: usize,
    next_ticket: u64,
}

/// What is kept under one key.
pub(crate) struct Entry<V> {
    value: V,
    octets: usize,
    /// Whose it is, if it is in use.
    group: Option<Group>,
    /// Its place in the queue.
    ticket: u64,
    /// How often it was asked for of late.
    visits: u8,
    /// It was marked since it was inserted.
    marked: bool,
}

/// In the order of arrival, by ticket.
struct Queue<K> {
    octets: usize,
    order: BTreeMap<u64, K>,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self { octets: 0, order: BTreeMap::new() }
    }
}

impl<K, V> Shard<K, V> {
    const fn octets(&self) -> usize {
        self.strangers.octets + self.in_use
    }
}

impl<K: Clone + Eq + Hash, V: Remembered> Shard<K, V> {
    fn new(capacity: usize) -> Self {
        Self {
            entries: HashMap::new(),
            strangers: Queue::default(),
            groups: HashMap::new(),
            in_use: 0,
            capacity,
            next_ticket: 0,
        }
    }

    fn insert(&mut self, key: K, value: V, octets: usize, now: UnixTime) -> usize {
        let old = self.entries.get(&key).map(|entry| (entry.group, entry.ticket, entry.visits, entry.octets));
        let group = old.and_then(|(group, ..)| group);
        let fits = octets <= self.capacity / LARGEST_SHARE;
        if !fits || (group.is_none() && !value.is_good(now) && !value.can_serve()) {
            self.remove(&key);
            return 0;
        }
        let (ticket, visits) = match old {
            Some((group, ticket, visits, old)) => {
                self.weigh(group, old, octets);
                (ticket, visits)
            }
            None => {
                self.weigh(None, 0, octets);
                (self.enqueue(None, key.clone()), 0)
            }
        };
        self.entries.insert(key, Entry { value, octets, group, ticket, visits, marked: false });
        self.evict(now)
    }

    fn mark(&mut self, key: &K, group: Group) -> bool {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| !entry.marked) else { return false };
        entry.marked = true;
        if entry.group.is_none() {
            let (octets, ticket) = (entry.octets, entry.ticket);
            self.strangers.order.remove(&ticket);
            self.weigh(None, octets, 0);
            self.weigh(Some(group), 0, octets);
            let ticket = self.enqueue(Some(group), key.clone());
            if let Some(entry) = self.entries.get_mut(key) {
                (entry.group, entry.ticket) = (Some(group), ticket);
            }
        }
        true
    }

    fn remove(&mut self, key: &K) {
        let Some(entry) = self.entries.remove(key) else { return };
        self.queue(entry.group).order.remove(&entry.ticket);
        self.weigh(entry.group, entry.octets, 0);
    }

    /// Until everything fits; says how many had to go.
    fn evict(&mut self, now: UnixTime) -> usize {
        let mut evicted = 0;
        loop {
            let group = if self.in_use > self.capacity - self.capacity / STRANGERS_SHARE {
                self.groups.iter().max_by_key(|(_, queue)| queue.octets).map(|(group, _)| *group)
            } else if self.octets() > self.capacity {
                None
            } else {
                return evicted;
            };
            if !self.evict_from(group, now) {
                return evicted;
            }
            evicted += 1;
        }
    }

    /// False if there is nothing, which the sums rule out.
    fn evict_from(&mut self, group: Option<Group>, now: UnixTime) -> bool {
        for chances in 0.. {
            let Some((_, key)) = self.queue(group).order.pop_first() else { return false };
            let entry = self
                .entries
                .get_mut(&key)
                .filter(|entry| chances < MAX_CHANCES && entry.visits > 0 && entry.value.is_good(now));
            let Some(entry) = entry else {
                if let Some(entry) = self.entries.remove(&key) {
                    self.weigh(group, entry.octets, 0);
                }
                return true;
            };
            entry.visits -= 1;
            let ticket = self.enqueue(group, key.clone());
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.ticket = ticket;
            }
        }
        false
    }

    fn queue(&mut self, group: Option<Group>) -> &mut Queue<K> {
        match group {
            None => &mut self.strangers,
            Some(group) => self.groups.entry(group).or_default(),
        }
    }

    /// At the end of its queue.
    fn enqueue(&mut self, group: Option<Group>, key: K) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.queue(group).order.insert(ticket, key);
        ticket
    }

    /// An entry of `group` has `new` octets in place of `old`. A group without any is forgotten.
    fn weigh(&mut self, group: Option<Group>, old: usize, new: usize) {
        let queue = self.queue(group);
        queue.octets = queue.octets + new - old;
        let is_empty = queue.octets == 0;
        if let Some(group) = group {
            self.in_use = self.in_use + new - old;
            if is_empty {
                self.groups.remove(&group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test code")]

    use std::time::Duration;

    use super::*;

    /// Good until that second.
    #[derive(Clone)]
    struct Until(u64);

    impl Remembered for Until {
        fn is_good(&self, now: UnixTime) -> bool {
            now.as_secs() < self.0
        }

        fn can_serve(&self) -> bool {
            self.0 > 0
        }
    }

    const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::ZERO);
    const LONG: Until = Until(1000);
    /// What an entry without anything on it takes.
    const ENTRY: usize = Store::<u32, Until>::OVERHEAD;
    const HONEST: Group = Group(1);
    const ALSO_HONEST: Group = Group(2);
    const GREEDY: Group = Group(3);

    /// One shard with room for so many entries.
    fn store(entries: usize) -> Store<u32, Until> {
        Store::new(entries * ENTRY, Memory::Answers)
    }

    /// They are known, and clients are authenticated by them.
    fn use_all(store: &Store<u32, Until>, keys: impl IntoIterator<Item = u32>, group: Group) {
        for key in keys {
            store.insert(key, LONG, 0, NOW);
            store.mark(&key, group, NOW);
        }
    }

    fn held(store: &Store<u32, Until>, keys: impl IntoIterator<Item = u32>) -> usize {
        keys.into_iter().filter(|key| store.is_in_use(key)).count()
    }

    // SEC-01: who has names without end that he is authenticated by gets what others leave.
    #[test]
    fn a_greedy_allow_list_entry() {
        let store = store(400);
        use_all(&store, 0..100, HONEST);
        use_all(&store, 1_000..1_020, ALSO_HONEST);
        for round in 1..100 {
            use_all(&store, 10_000 * round..10_000 * round + 100, GREEDY);
            // Asked for over and over.
            for key in 10_000 * round..10_000 * round + 100 {
                store.get(&key, NOW);
            }
        }
        assert_eq!((held(&store, 0..100), held(&store, 1_000..1_020)), (100, 20));
        // Three quarters are for names in use; all but what the others have is his.
        assert_eq!(store.sizes()[1], (300, 300 * ENTRY));
        // One that wants more than its share gets an equal one, and the small one keeps what it has.
        use_all(&store, 0..200, HONEST);
        assert_eq!((held(&store, 0..200), held(&store, 1_000..1_020), store.sizes()[1].0), (140, 20, 300));
    }

    // SEC-01: with all shards.
    #[test]
    fn shares_hold_in_every_shard() {
        let octets = MAX_SHARDS * MIN_SHARD;
        let store = Store::<u32, Until>::new(octets, Memory::Answers);
        assert_eq!(store.shards.len(), MAX_SHARDS);
        use_all(&store, 0..1_000, HONEST);
        let many = 4 * u32::try_from(octets / ENTRY).unwrap();
        use_all(&store, 1_000..many, GREEDY);
        for key in many..2 * many {
            store.insert(key, LONG, 0, NOW);
        }
        assert_eq!(held(&store, 0..1_000), 1_000);
        let [strangers, in_use] = store.sizes();
        assert!(strangers.1 + in_use.1 <= octets);
        assert!(in_use.1 <= octets - octets / STRANGERS_SHARE && in_use.1 > octets / 2, "{strangers:?} {in_use:?}");
        assert!(strangers.1 > octets / STRANGERS_SHARE - MAX_SHARDS * ENTRY, "{strangers:?} {in_use:?}");
    }

    // SEC-03: strangers have what is not in use, and give it back.
    #[test]
    fn room_that_is_lent() {
        let store = store(400);
        (0..1_000).for_each(|key| store.insert(key, LONG, 0, NOW));
        assert_eq!(store.sizes(), [(400, 400 * ENTRY), (0, 0)]);
        use_all(&store, 1_000..2_000, HONEST);
        // The last to come was a stranger when it came.
        assert_eq!(store.sizes(), [(99, 99 * ENTRY), (300, 300 * ENTRY)]);
    }

    // Within a group, who comes back stays, and who is no longer good goes first.
    #[test]
    fn second_chances() {
        let store = store(400);
        use_all(&store, 0..300, HONEST);
        for key in 0..100 {
            store.insert(key, Until(1), 0, NOW);
        }
        for key in 0..200 {
            store.get(&key, NOW);
        }
        let later = UnixTime::since_unix_epoch(Duration::from_secs(1));
        for key in 1_000..1_200 {
            store.insert(key, LONG, 0, later);
            store.mark(&key, HONEST, later);
        }
        assert_eq!((held(&store, 0..100), held(&store, 100..200), held(&store, 200..300)), (0, 100, 0));
    }

    #[test]
    fn what_changes_is_accounted_for() {
        let store = store(40);
        store.insert(1, LONG, 100, NOW);
        assert_eq!(store.sizes(), [(1, ENTRY + 100), (0, 0)]);
        store.insert(1, LONG, 40, NOW);
        assert_eq!(store.sizes(), [(1, ENTRY + 40), (0, 0)]);
        assert!(store.mark(&1, HONEST, NOW) && !store.mark(&1, HONEST, NOW), "once is enough");
        assert_eq!(store.sizes(), [(0, 0), (1, ENTRY + 40)]);
        store.insert(1, LONG, 50, NOW);
        assert!(store.mark(&1, HONEST, NOW), "once for each value");
        assert_eq!(store.sizes(), [(0, 0), (1, ENTRY + 50)]);
        // Too large to be kept: what was known is wrong in any case.
        store.insert(1, LONG, 10 * ENTRY, NOW);
        assert!(store.get(&1, NOW).is_none() && !store.is_in_use(&1));
        assert_eq!(store.sizes(), [(0, 0); 2]);
        // Good for no time.
        store.insert(2, Until(0), 0, NOW);
        assert!(!store.mark(&2, HONEST, NOW));
        assert_eq!(store.sizes(), [(0, 0); 2]);
    }
}

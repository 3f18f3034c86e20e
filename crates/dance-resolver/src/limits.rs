//! What unauthenticated peers may cause: look-ups in flight and time (requirements section 7, SEC-01).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dance_core::verdict::LimitExceeded;
use metrics::Gauge;

/// Longest time for a look-up (requirements section 7).
pub const LOOKUP_BUDGET: Duration = Duration::from_secs(3);
/// Longest time for the whole check (requirements section 7).
pub const CHECK_BUDGET: Duration = Duration::from_secs(5);
/// Look-ups in flight in total (requirements section 7).
pub const MAX_IN_FLIGHT: usize = 256;
/// Look-ups in flight for one client address, or one IPv6 /64 (requirements section 7).
pub const MAX_IN_FLIGHT_PER_ADDRESS: usize = 8;
/// Look-ups in flight for one allow-list entry (requirements section 7).
pub const MAX_IN_FLIGHT_PER_ENTRY: usize = 64;

/// The limits of a [`Verifier`](crate::Verifier).
///
/// Clients that were authenticated lately, whose names are [in use](crate::TlsaSource::is_in_use), have as many again in total and for their
/// allow-list entry: whoever takes all places for names that nobody has been authenticated by does not keep out those who are known when their
/// answers run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Look-ups in flight in total, at least 1.
    pub total: usize,
    /// Look-ups in flight for one client address (/64 for IPv6), at least 1.
    pub per_address: usize,
    /// Look-ups in flight for one allow-list entry, at least 1.
    pub per_entry: usize,
    /// Longest time for a look-up, from 1 ms to `check`.
    pub lookup: Duration,
    /// Longest time for the whole check.
    pub check: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total: MAX_IN_FLIGHT,
            per_address: MAX_IN_FLIGHT_PER_ADDRESS,
            per_entry: MAX_IN_FLIGHT_PER_ENTRY,
            lookup: LOOKUP_BUDGET,
            check: CHECK_BUDGET,
        }
    }
}

impl Limits {
    /// Whether they make sense together.
    ///
    /// # Errors
    /// The first that does not.
    pub fn validate(&self) -> Result<(), LimitsError> {
        for (limit, found) in [("total", self.total), ("per_address", self.per_address), ("per_entry", self.per_entry)]
        {
            if found == 0 {
                return Err(LimitsError::Zero { limit });
            }
        }
        if self.lookup < Duration::from_millis(1) || self.lookup > self.check {
            return Err(LimitsError::LookupBudget { found: self.lookup, check: self.check });
        }
        Ok(())
    }
}

/// Why limits make no sense. The fault of whoever configured them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitsError {
    /// A limit of 0 look-ups in flight.
    Zero {
        /// Which field of [`Limits`].
        limit: &'static str,
    },
    /// The look-up's budget is below 1 ms or above the whole check's.
    LookupBudget {
        /// What it is.
        found: Duration,
        /// The whole check's.
        check: Duration,
    },
}

impl fmt::Display for LimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero { limit } => {
                write!(f, "expected at least 1 look-up in flight for {limit}, found 0: nobody could be authenticated")
            }
            Self::LookupBudget { found, check } => write!(
                f,
                "expected a look-up budget between 1 ms and the whole check's {} ms, found {} ms",
                check.as_millis(),
                found.as_millis()
            ),
        }
    }
}

impl std::error::Error for LimitsError {}

/// Whose look-up it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Anybody may be.
    Stranger,
    /// A client was authenticated by that name lately.
    Known,
}

impl Standing {
    /// How many may be in flight where others have `max`.
    fn of(self, max: usize) -> usize {
        match self {
            Self::Stranger => max,
            Self::Known => max.saturating_mul(2),
        }
    }
}

/// Open connections may have one in so many of the look-ups in flight that each limit allows: were the answers of a crowd to run out
/// together, or their DNS to fall silent, new clients would still find room.
const RECHECK_SHARE: usize = 2;

impl Limits {
    /// The part of them that re-checks may have.
    pub(crate) fn for_rechecks(self) -> Self {
        let share = |limit: usize| (limit / RECHECK_SHARE).max(1);
        Self {
            total: share(self.total),
            per_address: share(self.per_address),
            per_entry: share(self.per_entry),
            ..self
        }
    }
}

/// Counts look-ups in flight; shared by all listeners of a process.
struct InFlight {
    gauge: Gauge,
    total: AtomicUsize,
    max_total: usize,
    max_per_address: usize,
    addresses: Box<[Mutex<HashMap<IpAddr, usize>>]>,
    hasher: RandomState,
}

/// Enough that 8 cores hardly meet, few enough to cost nothing.
const SHARDS: usize = 32;

impl InFlight {
    fn new(limits: &Limits, gauge: Gauge) -> Self {
        Self {
            gauge,
            total: AtomicUsize::new(0),
            max_total: limits.total,
            max_per_address: limits.per_address,
            addresses: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// The counts of one address. Held for one map operation; a poisoned lock guards a count that no panic can have left half done.
    fn shard(&self, address: &IpAddr) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        let index = self.hasher.hash_one(address) as usize % self.addresses.len();
        #[allow(clippy::indexing_slicing, reason = "index is reduced modulo the length")]
        self.addresses[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acquire_address(&self, address: &IpAddr) -> bool {
        match self.shard(address).entry(*address) {
            Entry::Occupied(mut entry) if *entry.get() < self.max_per_address => {
                *entry.get_mut() += 1;
                true
            }
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(1);
                true
            }
        }
    }

    /// Entries that fall to zero go, so that the map holds no more entries than there are look-ups in flight.
    fn release_address(&self, address: &IpAddr) {
        if let Entry::Occupied(mut entry) = self.shard(address).entry(*address) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// Look-ups in flight for each allow-list entry of one listener, by position.
struct Entries {
    counts: Box<[AtomicUsize]>,
    max: usize,
}

impl Entries {
    fn new(entries: usize, limits: &Limits) -> Self {
        Self { counts: (0..entries).map(|_| AtomicUsize::new(0)).collect(), max: limits.per_entry }
    }
}

/// What is counted for one listener, and the places to take.
pub(crate) struct Places {
    in_flight: Arc<InFlight>,
    entries: Arc<Entries>,
}

impl Places {
    /// `gauge` shows how many are taken.
    pub(crate) fn new(entries: usize, limits: &Limits, gauge: Gauge) -> Self {
        Self { in_flight: Arc::new(InFlight::new(limits, gauge)), entries: Arc::new(Entries::new(entries, limits)) }
    }

    /// For another listener with so many entries.
    pub(crate) fn with_entries(&self, entries: usize, limits: &Limits) -> Self {
        Self { in_flight: Arc::clone(&self.in_flight), entries: Arc::new(Entries::new(entries, limits)) }
    }

    /// Takes a place for a client at `peer` whose name `entry` of the allow-list admits, or says at once which limit forbids it.
    pub(crate) fn acquire(&self, peer: IpAddr, entry: usize, standing: Standing) -> Result<Permit, LimitExceeded> {
        Permit::acquire(&self.in_flight, &self.entries, peer, entry, standing)
    }
}

/// One look-up in flight; gives its place back when dropped.
pub(crate) struct Permit {
    in_flight: Arc<InFlight>,
    entries: Arc<Entries>,
    address: IpAddr,
    entry: usize,
}

impl Permit {
    fn acquire(
        in_flight: &Arc<InFlight>,
        entries: &Arc<Entries>,
        peer: IpAddr,
        entry: usize,
        standing: Standing,
    ) -> Result<Self, LimitExceeded> {
        let address = network(peer);
        if !increment(&in_flight.total, standing.of(in_flight.max_total)) {
            return Err(LimitExceeded::Total);
        }
        if !in_flight.acquire_address(&address) {
            in_flight.total.fetch_sub(1, Ordering::Relaxed);
            return Err(LimitExceeded::Address);
        }
        if !entries.counts.get(entry).is_some_and(|count| increment(count, standing.of(entries.max))) {
            in_flight.release_address(&address);
            in_flight.total.fetch_sub(1, Ordering::Relaxed);
            return Err(LimitExceeded::Entry);
        }
        in_flight.gauge.increment(1.0);
        Ok(Self { in_flight: Arc::clone(in_flight), entries: Arc::clone(entries), address, entry })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(count) = self.entries.counts.get(self.entry) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
        self.in_flight.gauge.decrement(1.0);
        self.in_flight.release_address(&self.address);
        self.in_flight.total.fetch_sub(1, Ordering::Relaxed);
    }
}

fn increment(count: &AtomicUsize, max: usize) -> bool {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < max).then_some(count + 1)).is_ok()
}

/// What counts as one client: an IPv4 address (mapped ones too), or an IPv6 /64.
#[must_use]
pub fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test code")]

    use super::*;

    // SEC-01, SEC-02: counts fall back to nothing, and addresses are forgotten.
    #[test]
    fn nothing_is_left_behind() {
        let limits = Limits { total: 3, per_address: 2, per_entry: 2, ..Limits::default() };
        let in_flight = Arc::new(InFlight::new(&limits, Gauge::noop()));
        let entries = Arc::new(Entries::new(2, &limits));
        let acquire =
            |peer: &str, entry| Permit::acquire(&in_flight, &entries, peer.parse().unwrap(), entry, Standing::Stranger);
        let held = || {
            let addresses: usize = in_flight.addresses.iter().map(|shard| shard.lock().unwrap().len()).sum();
            let entries: Vec<_> = entries.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            (in_flight.total.load(Ordering::Relaxed), addresses, entries)
        };
        let first = acquire("192.0.2.1", 0).ok().unwrap();
        let second = acquire("::ffff:192.0.2.1", 1).ok().unwrap();
        assert_eq!(held(), (2, 1, vec![1, 1]));
        assert_eq!(acquire("192.0.2.1", 0).err(), Some(LimitExceeded::Address));
        let third = acquire("2001:db8::1", 0).ok().unwrap();
        assert_eq!(acquire("192.0.2.2", 1).err(), Some(LimitExceeded::Total));
        drop(second);
        assert_eq!(acquire("192.0.2.2", 0).err(), Some(LimitExceeded::Entry));
        // A position that is not on the list has no room.
        assert_eq!(acquire("192.0.2.2", 2).err(), Some(LimitExceeded::Entry));
        assert_eq!(held(), (2, 2, vec![2, 0]));
        drop((first, third));
        assert_eq!(held(), (0, 0, vec![0, 0]));
    }

    // SEC-01: those who are known have places of their own, but no more at their address.
    #[test]
    fn those_who_are_known() {
        let limits = Limits { total: 8, per_address: 3, per_entry: 4, ..Limits::default() };
        let places = Places::new(3, &limits, Gauge::noop());
        let acquire = |peer: u8, entry, standing| places.acquire(IpAddr::from([192, 0, 2, peer]), entry, standing);
        let mut held: Vec<_> = (0..4).map(|peer| acquire(peer, 0, Standing::Stranger).unwrap()).collect();
        assert_eq!(acquire(9, 0, Standing::Stranger).err(), Some(LimitExceeded::Entry));
        held.extend((10..14).map(|peer| acquire(peer, 0, Standing::Known).unwrap()));
        assert_eq!(acquire(9, 0, Standing::Known).err(), Some(LimitExceeded::Entry));
        assert_eq!(acquire(9, 1, Standing::Stranger).err(), Some(LimitExceeded::Total));
        held.extend((0..3).map(|_| acquire(9, 1, Standing::Known).unwrap()));
        assert_eq!(acquire(9, 1, Standing::Known).err(), Some(LimitExceeded::Address));
        held.extend((20..25).map(|peer| acquire(peer, 1 + usize::from(peer % 2), Standing::Known).unwrap()));
        assert_eq!(acquire(8, 2, Standing::Known).err(), Some(LimitExceeded::Total));
    }

    #[test]
    fn one_client_is_one_network() {
        let text = |peer: &str| network(peer.parse().unwrap()).to_string();
        assert_eq!(text("192.0.2.1"), "192.0.2.1");
        assert_eq!(text("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(text("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}

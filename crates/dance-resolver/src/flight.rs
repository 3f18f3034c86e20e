//! One piece of work per key at a time: whoever asks meanwhile waits for the same result.

use std::collections::HashMap;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{Shared, WeakShared};

type Work<V> = Pin<Box<dyn Future<Output = V> + Send>>;

/// The result to come. The work goes on while anybody holds one of these, and is dropped with the last.
pub(crate) type Flight<V> = Shared<Work<V>>;

/// Work under way, by key.
pub(crate) struct Flights<K, V: Clone>(Arc<Mutex<Departures<K, V>>>);

struct Departures<K, V: Clone> {
    flights: HashMap<K, (u64, WeakShared<Work<V>>)>,
    next: u64,
}

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Departures { flights: HashMap::new(), next: 0 })))
    }

    /// Joins the work under way for `key`, or starts it with `work`, which must only make the future.
    pub(crate) fn join<F>(&self, key: K, work: impl FnOnce() -> F) -> Flight<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut departures = lock(&self.0);
        if let Some(flight) = departures.flights.get(&key).and_then(|(_, flight)| flight.upgrade()) {
            return flight;
        }
        let number = departures.next;
        departures.next += 1;
        let landing = Landing { departures: Arc::clone(&self.0), key: key.clone(), number };
        let work = work();
        let boxed: Work<V> = Box::pin(async move {
            let _landing = landing;
            work.await
        });
        let flight = boxed.shared();
        if let Some(weak) = flight.downgrade() {
            departures.flights.insert(key, (number, weak));
        }
        flight
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        lock(&self.0).flights.len()
    }
}

/// Takes the entry away when the work ends or is given up, unless another one has taken its place.
struct Landing<K: Eq + Hash, V: Clone> {
    departures: Arc<Mutex<Departures<K, V>>>,
    key: K,
    number: u64,
}

impl<K: Eq + Hash, V: Clone> Drop for Landing<K, V> {
    fn drop(&mut self) {
        let mut departures = lock(&self.departures);
        if departures.flights.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            departures.flights.remove(&self.key);
        }
    }
}

/// Poisoning is of no concern: no code that can panic runs under the lock.
fn lock<K, V: Clone>(departures: &Mutex<Departures<K, V>>) -> MutexGuard<'_, Departures<K, V>> {
    departures.lock().unwrap_or_else(PoisonError::into_inner)
}

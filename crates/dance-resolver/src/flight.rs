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
    K: Clone + Eq + Hash + Send + Sync + 'static,
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
        self.join_and_stay(key, work).0
    }

    /// As [`join`](Self::join); whoever starts the work may also keep its result there for those who come after its end.
    pub(crate) fn join_and_stay<F>(&self, key: K, work: impl FnOnce() -> F) -> (Flight<V>, Option<Stay<K, V>>)
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut departures = lock(&self.0);
        if let Some(flight) = departures.flights.get(&key).and_then(|(_, flight)| flight.upgrade()) {
            return (flight, None);
        }
        let number = departures.next;
        departures.next += 1;
        let landing = Arc::new(Landing { departures: Arc::clone(&self.0), key: key.clone(), number });
        let work = work();
        let under_way = Arc::clone(&landing);
        let boxed: Work<V> = Box::pin(async move {
            let _under_way = under_way;
            work.await
        });
        let flight = boxed.shared();
        if let Some(weak) = flight.downgrade() {
            departures.flights.insert(key, (number, weak));
        }
        (flight.clone(), Some(Stay { _flight: flight, _landing: landing }))
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        lock(&self.0).flights.len()
    }
}

/// While it is held, work that was started is to be joined, also after its end.
pub(crate) struct Stay<K: Eq + Hash, V: Clone> {
    _flight: Flight<V>,
    _landing: Arc<Landing<K, V>>,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test code")]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    // SEC-02
    #[tokio::test]
    async fn one_at_a_time() {
        let flights = Flights::new();
        let started = Arc::new(AtomicUsize::new(0));
        let (done, wait) = oneshot::channel::<u8>();
        let work = |wait: oneshot::Receiver<u8>| {
            let started = Arc::clone(&started);
            async move {
                started.fetch_add(1, Ordering::SeqCst);
                wait.await.unwrap()
            }
        };
        let first = flights.join("key", || work(wait));
        let second = flights.join("key", || work(oneshot::channel().1));
        let other = flights.join("other", || work(oneshot::channel().1));
        assert_eq!(flights.len(), 2);
        drop(other);
        assert_eq!(flights.len(), 1);
        // One who stops waiting does not stop the others.
        drop(first);
        done.send(7).unwrap();
        assert_eq!(second.await, 7);
        assert_eq!(started.load(Ordering::SeqCst), 1);
        // Landed: nothing is left, and the next one starts anew.
        assert_eq!(flights.len(), 0);
        let (done, wait) = oneshot::channel();
        done.send(8).unwrap();
        assert_eq!(flights.join("key", || work(wait)).await, 8);
        assert_eq!(flights.len(), 0);
    }

    // SEC-02: work that nobody waits for any more is given up.
    #[tokio::test]
    async fn given_up_with_the_last_waiter() {
        let flights = Flights::new();
        let (done, wait) = oneshot::channel::<u8>();
        let first = flights.join("key", || async { wait.await.unwrap() });
        let second = first.clone();
        drop(first);
        assert!(!done.is_closed());
        drop(second);
        assert!(done.is_closed());
        assert_eq!(flights.len(), 0);
    }

    // SEC-02: a result that is kept is there for all, and goes with whoever keeps it.
    #[tokio::test]
    async fn a_result_that_is_kept() {
        let flights = Flights::new();
        let (first, stay) = flights.join_and_stay("key", || async { 7_u8 });
        assert_eq!(first.await, 7);
        let (second, none) = flights.join_and_stay("key", || async { 8 });
        assert!(none.is_none());
        assert_eq!((second.await, flights.len()), (7, 1));
        drop(stay);
        assert_eq!(flights.len(), 0);
        assert_eq!(flights.join("key", || async { 8 }).await, 8);
    }
}

//! The keys that a server encrypts its tickets with: random, of this process alone, changed by time.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openssl::error::ErrorStack;
use openssl::rand::rand_bytes;
use tokio::time::Instant;

use crate::ffi;

/// How long a key makes tickets; after that, it opens those that it has made for as long again. No ticket lives longer,
/// so that each can be opened its whole life (requirements 4.2 step 2).
pub(crate) const PERIOD: Duration = Duration::from_secs(3600);

/// Length of a key's name, which stands at the front of a ticket (SSL_CTX_set_tlsext_ticket_key_evp_cb(3)).
pub(crate) const NAME_LEN: usize = 16;

/// A key for AES-256-CBC and one for HMAC-SHA-256. Erased when nobody uses it any more.
pub(crate) struct TicketKey {
    name: [u8; NAME_LEN],
    cipher: [u8; 32],
    mac: [u8; 32],
    made: Instant,
}

impl TicketKey {
    fn random(now: Instant) -> Result<Arc<Self>, ErrorStack> {
        let mut key = Arc::new(Self { name: [0; NAME_LEN], cipher: [0; 32], mac: [0; 32], made: now });
        // Filled where it lies: a key that is moved leaves copies behind.
        if let Some(key) = Arc::get_mut(&mut key) {
            rand_bytes(&mut key.name)?;
            rand_bytes(&mut key.cipher)?;
            rand_bytes(&mut key.mac)?;
        }
        Ok(key)
    }

    pub(crate) const fn name(&self) -> &[u8; NAME_LEN] {
        &self.name
    }

    pub(crate) const fn cipher(&self) -> &[u8; 32] {
        &self.cipher
    }

    pub(crate) const fn mac(&self) -> &[u8; 32] {
        &self.mac
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.made)
    }
}

impl Drop for TicketKey {
    fn drop(&mut self) {
        ffi::session::erase(&mut self.cipher);
        ffi::session::erase(&mut self.mac);
    }
}

/// The key that makes tickets, and the one before it.
struct Keys {
    current: Arc<TicketKey>,
    previous: Option<Arc<TicketKey>>,
}

/// The keys of a listener. A handshake locks them for as long as it takes to compare two names, twice, which is nothing
/// to what it takes itself; making a new key falls to one handshake an hour.
pub(crate) struct TicketKeys(Mutex<Keys>);

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKeys")
    }
}

impl TicketKeys {
    pub(crate) fn new() -> Result<Self, ErrorStack> {
        Ok(Self(Mutex::new(Keys { current: TicketKey::random(Instant::now())?, previous: None })))
    }

    /// The key for a new ticket. `None`: there is none to be had, because the random number generator has failed.
    pub(crate) fn current(&self) -> Option<Arc<TicketKey>> {
        self.with(|keys, now| (keys.current.age(now) < PERIOD).then(|| Arc::clone(&keys.current)))
    }

    /// The key that has made a ticket, as long as tickets of it can be good.
    pub(crate) fn find(&self, name: &[u8]) -> Option<Arc<TicketKey>> {
        self.with(|keys, now| {
            let mut keys = std::iter::once(&keys.current).chain(&keys.previous);
            keys.find(|key| key.name == name && key.age(now) < 2 * PERIOD).map(Arc::clone)
        })
    }

    /// Looks at the keys as they should be now.
    fn with<T>(&self, look: impl FnOnce(&Keys, Instant) -> T) -> T {
        let now = Instant::now();
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.current.age(now) >= PERIOD
            && let Ok(new) = TicketKey::random(now)
        {
            keys.previous = Some(std::mem::replace(&mut keys.current, new));
        }
        keys.previous.take_if(|key| key.age(now) >= 2 * PERIOD);
        look(&keys, now)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const ALMOST: Duration = Duration::from_millis(3_599_999);
    const MOMENT: Duration = Duration::from_millis(1);

    // SRV-17, SEC-12: a key makes tickets for one period and opens them for two, so each ticket for one at least.
    #[tokio::test(start_paused = true)]
    async fn keys_change_by_time() {
        let keys = TicketKeys::new().unwrap();
        let first = *keys.current().unwrap().name();
        tokio::time::advance(ALMOST).await;
        assert_eq!(keys.current().unwrap().name(), &first);

        tokio::time::advance(MOMENT).await;
        let second = *keys.current().unwrap().name();
        assert_ne!(second, first);
        assert!(keys.find(&first).is_some() && keys.find(&second).is_some());

        tokio::time::advance(ALMOST).await;
        assert!(keys.find(&first).is_some());
        tokio::time::advance(MOMENT).await;
        assert!(keys.find(&first).is_none());
        assert!(keys.find(&second).is_some());
        assert_ne!(keys.current().unwrap().name(), &second);
    }

    // SRV-17: nobody came for long; what was made before is not opened.
    #[tokio::test(start_paused = true)]
    async fn keys_of_an_idle_listener_end_all_the_same() {
        let keys = TicketKeys::new().unwrap();
        let first = *keys.current().unwrap().name();
        tokio::time::advance(2 * PERIOD - MOMENT).await;
        // The first time that anybody looks.
        assert!(keys.find(&first).is_some());
        assert_ne!(keys.current().unwrap().name(), &first);
        tokio::time::advance(MOMENT).await;
        assert!(keys.find(&first).is_none());

        let keys = TicketKeys::new().unwrap();
        let first = *keys.current().unwrap().name();
        tokio::time::advance(10 * PERIOD).await;
        assert!(keys.find(&first).is_none());
    }

    // SRV-17: keys are random, each part of its own, and a name that nobody gave is not found.
    #[test]
    fn keys_have_nothing_in_common() {
        let (one, other) = (TicketKeys::new().unwrap(), TicketKeys::new().unwrap());
        let (a, b) = (one.current().unwrap(), other.current().unwrap());
        assert!(a.name() != b.name() && a.cipher() != b.cipher() && a.mac() != b.mac() && a.cipher() != a.mac());
        assert!(one.find(b.name()).is_none() && one.find(&[]).is_none() && one.find(&a.name()[..15]).is_none());
        assert!(one.find(a.name()).is_some());
        assert_eq!(format!("{one:?}"), "TicketKeys");
    }
}

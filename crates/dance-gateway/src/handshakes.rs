//! How many handshakes one client address has under way. Until there is a verdict nobody knows who the client is, so that an address is
//! all that one flood has in common.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dance_resolver::network;

/// Counts handshakes under way by address, or by /64 in IPv6.
pub(crate) struct Handshakes {
    counts: Mutex<HashMap<IpAddr, usize>>,
    max: usize,
}

/// A handshake under way.
pub(crate) struct Handshake {
    handshakes: Arc<Handshakes>,
    network: IpAddr,
}

impl Handshakes {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { counts: Mutex::default(), max })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one; `None` if the address has as many as it may.
    pub(crate) fn begin(self: &Arc<Self>, peer: IpAddr) -> Option<Handshake> {
        let network = network(peer);
        let mut counts = self.counts();
        let count = counts.entry(network).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Handshake { handshakes: Arc::clone(self), network })
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut counts = self.handshakes.counts();
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            // Addresses without a handshake are forgotten: there are no more entries than connections.
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::Handshakes;

    #[test]
    fn an_address_has_so_many_and_gets_them_back() {
        let handshakes = Handshakes::new(2);
        let begin = |peer: &str| handshakes.begin(peer.parse().unwrap());
        let (first, second) = (begin("2001:db8::1").unwrap(), begin("2001:db8::2").unwrap());
        assert!(begin("2001:db8::ffff:0:0:3").is_none());
        let other = begin("2001:db8:0:1::1").unwrap();
        drop(first);
        let third = begin("2001:db8::3").unwrap();
        assert!(begin("2001:db8::4").is_none());
        drop((second, third, other));
        let mapped = (begin("192.0.2.1").unwrap(), begin("::ffff:192.0.2.1").unwrap());
        assert!(begin("192.0.2.1").is_none() && begin("192.0.2.2").is_some());
        drop(mapped);
        assert!(handshakes.counts().is_empty());
    }
}

//! Keys that stand for more than one service: what such a client is sent for one of them can be replayed to another (SEC-07).

use std::sync::{Mutex, PoisonError};

use dance_core::verdict::VerifiedClient;

/// Keys to remember. Where two fall on one place the later one stays.
const PLACES: usize = 4096;

/// The service under which each key was seen first, for as many keys as there is room for.
#[derive(Debug)]
pub struct Services(Mutex<Box<[Option<Seen>]>>);

#[derive(Clone, Debug)]
struct Seen {
    key: u64,
    /// The first label of the client name, which begins with `_`.
    service: Box<str>,
    warned: bool,
}

/// A key under two services.
#[derive(Debug, PartialEq, Eq)]
pub struct Shared {
    /// The beginning of the key's digest.
    pub key: u64,
    /// The service under which it was known.
    pub before: String,
}

impl Default for Services {
    fn default() -> Self {
        Self::new()
    }
}

impl Services {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Mutex::new(vec![None; PLACES].into()))
    }

    /// Notes the service of an authenticated client. `Some`, once for each key, if its key is known under another.
    pub fn note(&self, client: &VerifiedClient) -> Option<Shared> {
        let service = client.client_name().labels().next().filter(|label| label.starts_with('_'))?;
        self.note_key(client.key_digest().first_chunk().map_or(0, |octets| u64::from_be_bytes(*octets)), service)
    }

    fn note_key(&self, key: u64, service: &str) -> Option<Shared> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The remainder is below PLACES.
        let place = places.get_mut((key % PLACES as u64) as usize)?;
        match place {
            Some(seen) if seen.key == key => {
                if seen.warned || *seen.service == *service {
                    return None;
                }
                seen.warned = true;
                Some(Shared { key, before: seen.service.to_string() })
            }
            _ => {
                *place = Some(Seen { key, service: service.into(), warned: false });
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PLACES, Services, Shared};

    // SEC-07
    #[test]
    fn a_key_under_two_services_is_told_once() {
        let services = Services::new();
        assert_eq!(services.note_key(7, "_smtp-client"), None);
        assert_eq!(services.note_key(7, "_smtp-client"), None);
        assert_eq!(services.note_key(8, "_imap-client"), None);
        assert_eq!(services.note_key(7, "_imap-client"), Some(Shared { key: 7, before: "_smtp-client".to_owned() }));
        assert_eq!(services.note_key(7, "_imap-client"), None);
        assert_eq!(services.note_key(7, "_mqtt"), None);
        assert_eq!(services.note_key(8, "_imap-client"), None);
    }

    // SEC-07: memory is bounded, whoever comes.
    #[test]
    fn the_latest_keys_are_remembered() {
        let services = Services::new();
        for key in 0..3 * PLACES as u64 {
            assert_eq!(services.note_key(key, "_a"), None);
        }
        assert_eq!(services.note_key(0, "_b"), None, "forgotten");
        assert!(services.note_key(3 * PLACES as u64 - 1, "_b").is_some(), "known");
    }
}

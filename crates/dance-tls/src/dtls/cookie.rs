//! Cookies: a client is heard only after it has shown that it receives what is sent to its address (RFC 6347 section
//! 4.2.1). Nothing is kept about it before that.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;
use tokio::time::Instant;

use super::record::ClientHello;

/// How long a key makes cookies. They are good for as long again.
const KEY_LIFETIME: Duration = Duration::from_secs(60);
/// HMAC-SHA256.
const LENGTH: usize = 32;

/// Keys that never leave the process.
pub(super) struct Cookies {
    current: PKey<Private>,
    previous: PKey<Private>,
    since: Instant,
}

impl Cookies {
    pub(super) fn new() -> Result<Self, ErrorStack> {
        Ok(Self { current: key()?, previous: key()?, since: Instant::now() })
    }

    /// The cookie for a client at this address.
    pub(super) fn make(&mut self, peer: SocketAddr, hello: &ClientHello<'_>) -> Result<Vec<u8>, ErrorStack> {
        let age = self.since.elapsed();
        if age >= 2 * KEY_LIFETIME {
            // Nobody has asked for long, and the cookies of both have expired.
            *self = Self::new()?;
        } else if age >= KEY_LIFETIME {
            self.previous = std::mem::replace(&mut self.current, key()?);
            self.since += KEY_LIFETIME;
        }
        mac(&self.current, peer, hello)
    }

    /// Whether the client was given its cookie at this address, and not long ago.
    pub(super) fn verify(&self, peer: SocketAddr, hello: &ClientHello<'_>) -> bool {
        if hello.cookie.len() != LENGTH {
            return false;
        }
        let age = self.since.elapsed();
        [(&self.current, 2 * KEY_LIFETIME), (&self.previous, KEY_LIFETIME)].into_iter().any(|(key, lifetime)| {
            age < lifetime
                && mac(key, peer, hello).is_ok_and(|expected| {
                    // `eq` panics where they differ.
                    expected.len() == LENGTH && openssl::memcmp::eq(hello.cookie, &expected)
                })
        })
    }
}

fn key() -> Result<PKey<Private>, ErrorStack> {
    let mut secret = [0; 32];
    openssl::rand::rand_bytes(&mut secret)?;
    PKey::hmac(&secret)
}

fn mac(key: &PKey<Private>, peer: SocketAddr, hello: &ClientHello<'_>) -> Result<Vec<u8>, ErrorStack> {
    let mut signer = Signer::new(MessageDigest::sha256(), key)?;
    match peer.ip() {
        IpAddr::V4(address) => signer.update(&address.octets())?,
        IpAddr::V6(address) => signer.update(&address.octets())?,
    }
    signer.update(&peer.port().to_be_bytes())?;
    signer.update(hello.parameters)?;
    signer.sign_to_vec()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    // A cookie is good for the client that it was made for, at its address, and for two minutes at most.
    #[tokio::test(start_paused = true)]
    async fn cookies_are_bound_and_expire() {
        let mut cookies = Cookies::new().unwrap();
        let [here, port, address] = ["192.0.2.1:7", "192.0.2.1:8", "192.0.2.2:7"].map(|peer| peer.parse().unwrap());
        let hello = ClientHello { sequence: 0, parameters: b"random", cookie: &[] };
        let cookie = cookies.make(here, &hello).unwrap();
        let with = |parameters| ClientHello { sequence: 1, parameters, cookie: &cookie };
        assert!(cookies.verify(here, &with(b"random")));
        assert!(!cookies.verify(here, &hello));
        assert!(!cookies.verify(here, &with(b"Random")));
        assert!(!cookies.verify(port, &with(b"random")));
        assert!(!cookies.verify(address, &with(b"random")));
        assert!(!cookies.verify(here, &ClientHello { sequence: 1, parameters: b"random", cookie: &cookie[1..] }));

        tokio::time::advance(KEY_LIFETIME).await;
        assert_ne!(cookies.make(here, &hello).unwrap(), cookie);
        assert!(cookies.verify(here, &with(b"random")));
        tokio::time::advance(KEY_LIFETIME).await;
        assert!(!cookies.verify(here, &with(b"random")));
        assert_ne!(cookies.make(here, &hello).unwrap(), cookie);
        assert!(!cookies.verify(here, &with(b"random")));
    }

    // Nor does it live longer where nobody has asked for another meanwhile.
    #[tokio::test(start_paused = true)]
    async fn cookies_expire_in_silence() {
        for silence in [2 * KEY_LIFETIME - Duration::from_millis(1), 2 * KEY_LIFETIME, 100 * KEY_LIFETIME] {
            let mut cookies = Cookies::new().unwrap();
            let here = "192.0.2.1:7".parse().unwrap();
            let hello = ClientHello { sequence: 0, parameters: b"random", cookie: &[] };
            let cookie = cookies.make(here, &hello).unwrap();
            let returned = ClientHello { sequence: 1, parameters: b"random", cookie: &cookie };
            tokio::time::advance(silence).await;
            assert_ne!(cookies.make(here, &hello).unwrap(), cookie);
            assert_eq!(cookies.verify(here, &returned), silence < 2 * KEY_LIFETIME);
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(!cookies.verify(here, &returned));
        }
    }
}

//! What every line about a client has in common (SEC-16): names as far as they may be shown (SEC-06), and records in words.

use std::borrow::Cow;
use std::fmt;

use dance_core::matching::RecordOutcome;
use dance_core::verdict::VerifiedClient;
use data_encoding::HEXLOWER;
use ring::hmac;

use crate::error::StartError;
use crate::services::Shared;
use crate::settings::LogNames;

/// How names stand in the log.
#[derive(Debug)]
pub struct Names {
    show: Show,
}

#[derive(Debug)]
enum Show {
    Full,
    Hashed(hmac::Key),
    Off,
}

/// So many octets of a hashed name are shown: enough to tell the clients of one log apart.
const HASH_LEN: usize = 8;

impl Names {
    /// Draws a key if there is need for one.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn new(setting: LogNames) -> Result<Self, StartError> {
        let show = match setting {
            LogNames::Full => Show::Full,
            LogNames::Off => Show::Off,
            LogNames::Hashed => {
                let random = ring::rand::SystemRandom::new();
                let key = hmac::Key::generate(hmac::HMAC_SHA256, &random);
                Show::Hashed(key.map_err(|_| StartError::NoRandomness)?)
            }
        };
        Ok(Self { show })
    }

    /// A name as it may stand in the log.
    #[must_use]
    pub fn show<'a>(&self, name: &'a str) -> Option<Cow<'a, str>> {
        match &self.show {
            Show::Full => Some(Cow::Borrowed(name)),
            Show::Off => None,
            Show::Hashed(key) => {
                let tag = hmac::sign(key, name.as_bytes());
                let short = tag.as_ref().get(..HASH_LEN).unwrap_or_default();
                Some(Cow::Owned(format!("hashed:{}", HEXLOWER.encode(short))))
            }
        }
    }

    /// Whether words that may hold names can be shown.
    #[must_use]
    pub const fn in_full(&self) -> bool {
        matches!(self.show, Show::Full)
    }

    /// Warns that a client's key stands for another service too. The key is as good as a name: its digest is in the TLSA record.
    pub fn warn_shared(&self, client: &VerifiedClient, shared: &Shared) {
        let key = format!("{:016x}", shared.key);
        tracing::warn!(
            client_name = self.show(client.client_name().as_str()).as_deref(),
            key = self.show(&key).as_deref(),
            before = self.show(&shared.before).as_deref(),
            "one key stands for several services, so that what is sent to one of them can be replayed to another; give each a key of its own"
        );
    }
}

/// What became of each record: `3 1 1 matched, 3 1 2 no-match`.
#[derive(Debug)]
pub struct Records<'a>(pub &'a [RecordOutcome]);

impl fmt::Display for Records<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, record) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            let fields = [record.usage.map(|u| u.0), record.selector.map(|s| s.0), record.matching_type.map(|m| m.0)];
            for field in fields {
                match field {
                    Some(number) => write!(f, "{number} ")?,
                    None => f.write_str("? ")?,
                }
            }
            f.write_str(record.outcome.code())?;
        }
        Ok(())
    }
}

/// What a client was authenticated by: `3 1 1 depth 0 until 1767225600, wildcard`.
#[derive(Debug)]
pub struct Matched<'a>(pub &'a VerifiedClient);

impl fmt::Display for Matched<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for octet in self.0.record().as_wire().iter().take(3) {
            write!(f, "{octet} ")?;
        }
        write!(f, "depth {} until {}", self.0.depth(), self.0.valid_until().as_secs())?;
        match self.0.wildcard() {
            Some(true) => f.write_str(", wildcard"),
            Some(false) => Ok(()),
            None => f.write_str(", wildcard unknown"),
        }
    }
}

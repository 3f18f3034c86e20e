//! What is known about names: validated answers, never verdicts (requirements 5.7).
//!
//! Clients choose names, so what costs them nothing must not push out what is useful. Validated TLSA RRsets have a room of their own,
//! into which only the holder of a signed zone on the allow-list can bring anything; denials, unsigned names and failures have
//! another, smaller one. Within each, the library admits a newcomer to a full room only over an entry that is asked for less often.

use dance_core::UnixTime;
use dance_core::answer::TlsaAnswer;
use dance_core::name::OwnerName;
use moka::sync::Cache as Room;

use crate::outcome::Outcome;

/// How much smaller the room for all that is not a validated RRset is.
const OTHERS_SHARE: u64 = 4;

pub(crate) struct Cache {
    secure: Room<OwnerName, Entry>,
    others: Room<OwnerName, Entry>,
}

#[derive(Clone)]
struct Entry {
    outcome: Outcome,
    since: UnixTime,
}

impl Cache {
    /// Room for `entries` answers of up to 1 KiB; longer ones count for more.
    pub(crate) fn new(entries: usize) -> Self {
        let entries = u64::try_from(entries).unwrap_or(u64::MAX);
        let room = |capacity| Room::builder().max_capacity(capacity).weigher(weight).build();
        Self { secure: room(entries), others: room(entries.div_ceil(OTHERS_SHARE)) }
    }

    /// What is known about `owner` and still good at `now`. A clock that was set back makes nothing last longer.
    pub(crate) fn get(&self, owner: &OwnerName, now: UnixTime) -> Option<Outcome> {
        let good = |entry: &Entry| (entry.since..entry.outcome.good_until).contains(&now);
        let entry = self.secure.get(owner).filter(good).or_else(|| self.others.get(owner).filter(good))?;
        Some(entry.outcome)
    }

    /// Remembers `outcome`, found at `now`, if it is good for any time at all.
    pub(crate) fn insert(&self, owner: OwnerName, outcome: Outcome, now: UnixTime) {
        let is_secure = matches!(outcome.answer, TlsaAnswer::Secure(_));
        let (room, other_room) = if is_secure { (&self.secure, &self.others) } else { (&self.others, &self.secure) };
        other_room.invalidate(&owner);
        if now < outcome.good_until {
            room.insert(owner, Entry { outcome, since: now });
        } else {
            room.invalidate(&owner);
        }
    }
}

fn weight(_: &OwnerName, entry: &Entry) -> u32 {
    let octets: usize = match &entry.outcome.answer {
        TlsaAnswer::Secure(secure) => secure.records.iter().map(|record| record.as_wire().len()).sum(),
        TlsaAnswer::Denied(_) | TlsaAnswer::Insecure | TlsaAnswer::Bogus | TlsaAnswer::Indeterminate(_) => 0,
    };
    u32::try_from(octets / 1024).unwrap_or(u32::MAX - 1) + 1
}

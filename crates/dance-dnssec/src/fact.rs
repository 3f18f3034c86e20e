//! What is proven about names as places where zones may begin: the memory that proofs share.

use std::sync::Arc;
use std::time::Duration;

use dance_core::UnixTime;

use crate::failure::Failure;
use crate::keys::Key;
use crate::proof::ZoneLink;
use crate::question::DnsName;

/// What is proven about a name as a place where a zone may begin. Comes out of a proof and goes into later ones; carries its own window
/// and is checked against the time at every use. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct ZoneFact(pub(crate) Arc<Fact>);

#[derive(Debug)]
pub(crate) struct Fact {
    pub(crate) name: DnsName,
    pub(crate) kind: Kind,
    /// When all signatures down to here are valid.
    pub(crate) window: Window,
    /// When it was proven: TTLs count from here.
    pub(crate) learnt: u64,
    pub(crate) good_until: u64,
    /// From the anchor down.
    pub(crate) chain: Vec<ZoneLink>,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Keys(Vec<Key>),
    Unsigned,
    NotAZone,
    Failed(Failure),
}

/// A span of time in seconds since 1970, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: u64,
    pub(crate) until: u64,
}

impl Window {
    pub(crate) const ALWAYS: Self = Self { from: 0, until: u64::MAX };

    pub(crate) fn and(self, other: Self) -> Self {
        Self { from: self.from.max(other.from), until: self.until.min(other.until) }
    }

    pub(crate) fn holds(self, now: u64) -> bool {
        self.from <= now && now <= self.until
    }
}

/// What a [`ZoneFact`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ZoneKind {
    /// A zone with its validated keys.
    Keys,
    /// A proven insecure delegation, or one with unknown algorithms or digests only: all below is Insecure.
    Unsigned,
    /// Proven: no delegation here.
    NotAZone,
    /// Its chain of trust is Bogus or too costly. Kept no longer than [`MAX_FAILURE_CACHE`](dance_core::answer::MAX_FAILURE_CACHE).
    Failed,
}

impl ZoneFact {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &DnsName {
        &self.0.name
    }

    /// What it says.
    #[must_use]
    pub fn kind(&self) -> ZoneKind {
        match self.0.kind {
            Kind::Keys(_) => ZoneKind::Keys,
            Kind::Unsigned => ZoneKind::Unsigned,
            Kind::NotAZone => ZoneKind::NotAZone,
            Kind::Failed(_) => ZoneKind::Failed,
        }
    }

    /// Whether it may be used at `now`: its signatures are valid, its TTLs have not run out, and the clock has not been set back behind
    /// the time at which it was proven.
    #[must_use]
    pub fn is_usable(&self, now: UnixTime) -> bool {
        let now = now.as_secs();
        self.0.learnt <= now && now < self.0.good_until && self.0.window.holds(now)
    }

    /// When it must be forgotten at the latest.
    #[must_use]
    pub fn good_until(&self) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(self.0.good_until))
    }

    /// Its size in memory, about.
    #[must_use]
    pub fn octets(&self) -> usize {
        /// The longest name in wire form: a part of it keeps the whole.
        const NAME: usize = 255;
        let keys: usize = match &self.0.kind {
            Kind::Keys(keys) => keys.iter().map(|key| size_of::<Key>() + key.octets).sum(),
            Kind::Unsigned | Kind::NotAZone | Kind::Failed(_) => 0,
        };
        let chain: usize = self.0.chain.iter().map(|link| size_of::<ZoneLink>() + link.zone.len()).sum();
        size_of::<Fact>() + NAME + keys + chain
    }
}

/// The memory of proven facts that the caller keeps, filled from [`Proving::learnt`](crate::Proving::learnt). What it gives is checked
/// against the time; it must come from proofs with the same trust anchors.
pub trait Known {
    /// What is known about this very name.
    fn zone(&self, name: &DnsName) -> Option<ZoneFact>;
}

/// No memory.
impl Known for () {
    fn zone(&self, _: &DnsName) -> Option<ZoneFact> {
        None
    }
}

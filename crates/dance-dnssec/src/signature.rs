//! One RRset against the keys of one zone: time, verification, and what both may cost.

use dance_core::UnixTime;
use domain::base::iana::SecurityAlgorithm;

use crate::budget::{Budget, BudgetKind, Cost, units};
use crate::canonical::{signed_data, signed_labels};
use crate::denial::Hashes;
use crate::fact::Window;
use crate::failure::Failure;
use crate::keys::Key;
use crate::message::{Rrset, Signature};
use crate::question::DnsName;
use crate::time::{serial_time, unix};

/// What a look-up may cost and what it has cost.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    pub(crate) budget: Budget,
    pub(crate) cost: Cost,
}

impl Ledger {
    pub(crate) fn new(budget: Budget) -> Self {
        Self { budget, cost: Cost::default() }
    }

    /// Pays for one verification beforehand.
    fn pay(&mut self, units: u32) -> Result<(), BudgetKind> {
        if self.cost.failed_units >= self.budget.failed_units {
            return Err(BudgetKind::FailedUnits);
        }
        let total = self.cost.units.saturating_add(units);
        if total > self.budget.units {
            return Err(BudgetKind::Units);
        }
        self.cost.units = total;
        self.cost.signatures = self.cost.signatures.saturating_add(1);
        Ok(())
    }

    /// Lets `prove` use up NSEC3 hashes.
    pub(crate) fn hashing<T>(&mut self, prove: impl FnOnce(&mut Hashes) -> T) -> T {
        let before = self.budget.nsec3_hashes.saturating_sub(self.cost.nsec3_hashes);
        let mut hashes = Hashes { left: before };
        let result = prove(&mut hashes);
        self.cost.nsec3_hashes = self.cost.nsec3_hashes.saturating_add(before.saturating_sub(hashes.left));
        result
    }
}

/// A signature that verified and is valid now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Valid {
    pub(crate) key_tag: u16,
    pub(crate) algorithm: SecurityAlgorithm,
    pub(crate) labels: u8,
    pub(crate) original_ttl: u32,
    pub(crate) window: Window,
}

impl Valid {
    /// Whether the RRset was expanded from a wildcard (RFC 4035 section 5.3.4).
    pub(crate) fn is_wildcard(&self, owner: &DnsName) -> bool {
        usize::from(self.labels) < signed_labels(owner)
    }
}

/// Why no signature of the zone is valid, in rising order of how much it tells.
enum Fault {
    Early(u64),
    Late(u64),
    Labels,
    NoKey(u16, SecurityAlgorithm),
    Wrong(u16, SecurityAlgorithm),
    Budget(BudgetKind),
}

impl Fault {
    const fn rank(&self) -> u8 {
        match self {
            Self::Early(_) => 0,
            Self::Late(_) => 1,
            Self::Labels => 2,
            Self::NoKey(..) => 3,
            Self::Wrong(..) => 4,
            Self::Budget(_) => 5,
        }
    }

    /// The one of two that tells more: the later end, the earlier beginning.
    fn or(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Early(a), Self::Early(b)) if b < a => other,
            (Self::Late(a), Self::Late(b)) if b > a => other,
            _ if other.rank() > self.rank() => other,
            _ => self,
        }
    }

    fn at(self, set: &Rrset, zone: &DnsName) -> Failure {
        let (owner, rtype, zone) = (set.owner.clone(), set.rtype, zone.clone());
        match self {
            Self::Early(at) => Failure::SignatureNotYetValid { owner, rtype, zone, at: unix(at) },
            Self::Late(at) => Failure::SignatureExpired { owner, rtype, zone, at: unix(at) },
            Self::Labels => Failure::Labels { owner, rtype, zone },
            Self::NoKey(key_tag, algorithm) => Failure::NoKeyForSignature { owner, rtype, zone, key_tag, algorithm },
            Self::Wrong(key_tag, algorithm) => Failure::SignatureWrong { owner, rtype, zone, key_tag, algorithm },
            Self::Budget(kind) => Failure::Budget { owner, rtype, kind },
        }
    }
}

/// Finds a signature over `set` by one of these keys of `zone` that is valid now; the first one found will do (RFC 6840 section 5.11).
///
/// # Errors
/// What is wrong with the best of the zone's signatures.
pub(crate) fn verify(
    set: &Rrset,
    zone: &DnsName,
    keys: &[&Key],
    now: UnixTime,
    ledger: &mut Ledger,
) -> Result<Valid, Failure> {
    let mut fault: Option<Fault> = None;
    let mut tried = 0;
    for signature in set.signatures.iter().filter(|signature| signature.signer == *zone) {
        let result = match window(signature, now) {
            Ok(_) if usize::from(signature.labels) > signed_labels(&set.owner) => Err(Fault::Labels),
            Ok(window) => {
                tried += 1;
                if tried > ledger.budget.signatures_per_rrset {
                    fault = Some(Fault::Budget(BudgetKind::SignaturesPerRrset));
                    break;
                }
                try_keys(set, signature, keys, ledger).map(|()| window)
            }
            Err(fault) => Err(fault),
        };
        match result {
            Ok(window) => {
                return Ok(Valid {
                    key_tag: signature.key_tag,
                    algorithm: signature.algorithm,
                    labels: signature.labels,
                    original_ttl: signature.original_ttl,
                    window,
                });
            }
            // The look-up has no more to spend, on any RRset.
            Err(Fault::Budget(kind @ (BudgetKind::Units | BudgetKind::FailedUnits))) => {
                return Err(Fault::Budget(kind).at(set, zone));
            }
            Err(other) => {
                fault = Some(match fault {
                    Some(fault) => fault.or(other),
                    None => other,
                });
            }
        }
    }
    Err(match fault {
        Some(fault) => fault.at(set, zone),
        None => {
            let (owner, rtype, zone) = (set.owner.clone(), set.rtype, zone.clone());
            match set.signatures.first() {
                Some(signature) => Failure::WrongSigner { owner, rtype, zone, signer: signature.signer.clone() },
                None => Failure::SignatureMissing { owner, rtype, zone },
            }
        }
    })
}

/// When the signature is valid, if that is now.
fn window(signature: &Signature, now: UnixTime) -> Result<Window, Fault> {
    let from = serial_time(signature.inception, now);
    let until = serial_time(signature.expiration, now);
    if until < now.as_secs() {
        Err(Fault::Late(until))
    } else if now.as_secs() < from {
        Err(Fault::Early(from))
    } else {
        Ok(Window { from, until })
    }
}

fn try_keys(set: &Rrset, signature: &Signature, keys: &[&Key], ledger: &mut Ledger) -> Result<(), Fault> {
    let (tag, algorithm) = (signature.key_tag, signature.algorithm);
    let mut fault = Fault::NoKey(tag, algorithm);
    let mut data = None;
    let mut tried = 0;
    for key in keys.iter().filter(|key| key.tag == tag && key.algorithm == algorithm) {
        tried += 1;
        if tried > ledger.budget.keys_per_signature {
            return Err(Fault::Budget(BudgetKind::KeysPerSignature));
        }
        let units = units(algorithm, key.octets);
        ledger.pay(units).map_err(Fault::Budget)?;
        let data = match &data {
            Some(data) => data,
            None => data.insert(signed_data(set, signature).ok_or(Fault::Wrong(tag, algorithm))?),
        };
        if key.public.verify(data, &signature.value).is_ok() {
            return Ok(());
        }
        ledger.cost.failed_units = ledger.cost.failed_units.saturating_add(units);
        fault = Fault::Wrong(tag, algorithm);
    }
    Err(fault)
}

/// A signature over `set` that is valid and not over a wildcard: for DS, DNSKEY, DNAME and the proofs of denial, none of which may be
/// expanded.
pub(crate) fn verify_exact(
    set: &Rrset,
    zone: &DnsName,
    keys: &[&Key],
    now: UnixTime,
    ledger: &mut Ledger,
) -> Result<Valid, Failure> {
    let valid = verify(set, zone, keys, now, ledger)?;
    if valid.is_wildcard(&set.owner) {
        return Err(Failure::Labels { owner: set.owner.clone(), rtype: set.rtype, zone: zone.clone() });
    }
    Ok(valid)
}

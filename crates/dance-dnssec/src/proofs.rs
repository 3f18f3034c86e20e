//! The NSEC and NSEC3 records of a reply, as far as one zone's signatures over them are valid.

use dance_core::UnixTime;
use domain::base::iana::Rtype;

use crate::budget::{BudgetKind, MAX_PROOFS};
use crate::denial::Proofs;
use crate::fact::{Window, ZoneFact};
use crate::failure::{Failure, Unproven};
use crate::message::Rrset;
use crate::question::DnsName;
use crate::signature::{Ledger, Valid, verify_exact};

/// What a reply proves by records of one zone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proven {
    pub(crate) proofs: Proofs,
    /// The smallest TTL, as received and as signed, in seconds.
    pub(crate) ttl: u32,
    /// The signature that ends first, with the window of all.
    pub(crate) valid: Option<Valid>,
    /// Why a record does not count.
    pub(crate) fault: Option<Failure>,
}

/// Whether an RRset is part of a proof of denial.
pub(crate) fn is_proof(set: &Rrset) -> bool {
    matches!(set.rtype, Rtype::NSEC | Rtype::NSEC3) && !set.data.is_empty()
}

impl Proven {
    /// Takes the records of `zone` from an authority section. Those expanded from a wildcard prove nothing.
    ///
    /// # Errors
    /// Only if it becomes too costly.
    pub(crate) fn gather(
        authority: &[Rrset],
        zone: &ZoneFact,
        now: UnixTime,
        ledger: &mut Ledger,
    ) -> Result<Self, Failure> {
        let keys = zone.keys();
        let mut proven = Self { ttl: u32::MAX, ..Self::default() };
        let by_zone = |set: &&Rrset| {
            let mut signers = set.signatures.iter().map(|signature| &signature.signer);
            is_proof(set) && set.owner.ends_with(zone.name()) && signers.any(|signer| signer == zone.name())
        };
        for (count, set) in authority.iter().filter(by_zone).enumerate() {
            if count >= MAX_PROOFS {
                return Err(Failure::Budget { owner: set.owner.clone(), rtype: set.rtype, kind: BudgetKind::Proofs });
            }
            match verify_exact(set, zone.name(), &keys, now, ledger) {
                Ok(valid) => proven.add(zone, set, valid),
                Err(failure @ Failure::Budget { .. }) => return Err(failure),
                Err(failure) => proven.fault = proven.fault.or(Some(failure)),
            }
        }
        Ok(proven)
    }

    /// When all signatures over the records are valid.
    pub(crate) fn window(&self) -> Window {
        self.valid.map_or(Window::ALWAYS, |valid| valid.window)
    }

    /// That something about `owner` is not proven: if a record does not count, why, which tells more.
    pub(crate) fn unproven(self, owner: &DnsName, rtype: Rtype, zone: &ZoneFact, what: Unproven) -> Failure {
        let missing = || Failure::ProofMissing { owner: owner.clone(), rtype, zone: zone.name().clone(), what };
        self.fault.unwrap_or_else(missing)
    }

    fn add(&mut self, zone: &ZoneFact, set: &Rrset, valid: Valid) {
        self.ttl = self.ttl.min(set.ttl).min(valid.original_ttl);
        let window = self.valid.map_or(valid.window, |before| before.window.and(valid.window));
        let first = self.valid.filter(|before| before.window.until <= valid.window.until).unwrap_or(valid);
        self.valid = Some(Valid { window, ..first });
        for data in &set.data {
            self.proofs.push(zone.name(), &set.owner, set.rtype, data);
        }
    }
}

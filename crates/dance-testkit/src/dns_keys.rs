//! Keys that change while the world runs: rollovers, and what goes wrong in them.

use domain::base::iana::Rtype;

use crate::dns::{SignedWorld, is_in_rrset, no_zone};
use crate::dns_answer::parent_of;
use crate::dns_error::WorldError;
use crate::zone::{Delegation, KeyKind, KeyRole, KeySource, parse_name};
use crate::zone_key::{ZoneKey, ds_records};

impl SignedWorld {
    /// Gives a zone one more key and signs it anew; the key's index. The parent's DS stay as they are: see
    /// [`SignedWorld::update_ds`].
    ///
    /// # Errors
    ///
    /// When there is no such zone, or no key can be made.
    pub fn add_key(&self, apex: &str, kind: KeyKind, role: KeyRole) -> Result<usize, WorldError> {
        let name = parse_name(apex)?;
        let mut index = 0;
        self.change(&name, |apex, source| {
            if apex != &name {
                return Err(no_zone(&name));
            }
            index = source.keys.len();
            source.keys.push(ZoneKey::new(apex, &KeySource::New(kind), role, source.zone.colliding_keys)?);
            Ok(())
        })?;
        Ok(index)
    }

    /// Gives a key, by its index, another role, and signs its zone anew. The parent's DS stay as they are.
    ///
    /// # Errors
    ///
    /// When there is no such zone or key.
    pub fn set_role(&self, apex: &str, index: usize, role: KeyRole) -> Result<(), WorldError> {
        let name = parse_name(apex)?;
        self.change(&name, |apex, source| {
            let key = source.keys.get_mut(index).filter(|_| apex == &name).ok_or_else(|| no_zone(&name))?;
            *key = key.in_role(role)?;
            Ok(())
        })
    }

    /// Makes the parent's DS those that the zone's keys should have.
    ///
    /// # Errors
    ///
    /// When there is no such zone, or it has no parent here.
    pub fn update_ds(&self, apex: &str) -> Result<(), WorldError> {
        let name = parse_name(apex)?;
        let records = {
            let sources = self.sources();
            let source = sources.get(&name).ok_or_else(|| no_zone(&name))?;
            ds_records(&source.zone, &name, &source.keys)?
        };
        let parent = parent_of(&name).ok_or_else(|| no_zone(&name))?;
        self.change(&parent, |_, source| {
            source.records.retain(|record| !is_in_rrset(record, &name, Rtype::DS));
            source.records.extend(records);
            Ok(())
        })
    }

    /// Sets what the parent says about a zone, with effect at once.
    ///
    /// # Errors
    ///
    /// When there is no such zone, or it has no parent here.
    pub fn set_delegation(&self, apex: &str, delegation: Delegation) -> Result<(), WorldError> {
        let name = parse_name(apex)?;
        self.change(&name, |apex, source| {
            if apex != &name {
                return Err(no_zone(&name));
            }
            source.zone.delegation = delegation;
            Ok(())
        })?;
        self.update_ds(apex)
    }
}

//! Questions and names.

use std::fmt;

use bytes::Bytes;
use dance_core::name::OwnerName;
use domain::base::iana::Rtype;
use domain::base::name::{Name, ToName as _};

use crate::budget::BudgetKind;
use crate::failure::Failure;

/// A domain name; compares and hashes without regard to case.
pub type DnsName = Name<Bytes>;

/// A question of class IN.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name.
    pub name: DnsName,
    /// The type: TLSA, DS or DNSKEY.
    pub rtype: Rtype,
}

impl Question {
    pub(crate) fn new(name: &DnsName, rtype: Rtype) -> Self {
        Self { name: name.clone(), rtype }
    }

    /// Its reply is more than a proof may take.
    pub(crate) fn too_much(&self, kind: BudgetKind) -> Failure {
        Failure::Budget { owner: self.name.clone(), rtype: self.rtype, kind }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Shown(&self.name), self.rtype)
    }
}

/// An owner name for a message.
#[must_use]
pub fn dns_name(owner: &OwnerName) -> DnsName {
    // A checked name is a valid wire name; were it not, the root has no TLSA records.
    Name::from_octets(Bytes::copy_from_slice(owner.to_wire().as_slice())).unwrap_or_else(|_| Name::root())
}

/// Shows a name as logs and diagnosis do: lower case, without final dot unless it is the root.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a DnsName);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_root() {
            return f.write_str(".");
        }
        self.0.to_canonical_name::<Bytes>().fmt(f)
    }
}

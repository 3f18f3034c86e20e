//! Denial by NSEC records (RFC 4035 section 5.4).

use bytes::Bytes;
use domain::base::iana::Rtype;
use domain::base::name::Name;
use domain::dep::octseq::Parser;

use super::{CutDenial, Denied, Types, cut_by_types, hides_names_below, lacks, wildcard};
use crate::question::DnsName;

/// One NSEC record: `owner` exists with `types`, and in canonical order no name until `next`.
#[derive(Clone, Debug)]
pub(super) struct Nsec {
    owner: DnsName,
    next: DnsName,
    types: Types,
}

impl Nsec {
    /// Reads RDATA (RFC 4034 section 4.1); `None` if it does not decode, or owner or next name are not in the zone.
    pub(super) fn parse(zone: &DnsName, owner: &DnsName, rdata: &Bytes) -> Option<Self> {
        let mut parser = Parser::from_ref(rdata);
        let next = Name::parse(&mut parser).ok()?;
        let types = Types::parse(&mut parser).ok()?;
        let in_zone = owner.ends_with(zone) && next.ends_with(zone);
        in_zone.then(|| Self { owner: owner.clone(), next, types })
    }

    /// Whether the record shows that no records stand at `name`, a name in the zone: it is absent, or an empty non-terminal.
    fn covers(&self, zone: &DnsName, name: &DnsName) -> bool {
        // The last record of the zone leads back to the apex.
        let before_next = *name < self.next || self.next == *zone;
        let hidden = name.ends_with(&self.owner) && hides_names_below(&self.types);
        self.owner < *name && before_next && !hidden
    }

    /// Whether `name`, which the record covers, is an empty non-terminal: there is a name below it.
    fn is_above_next(&self, name: &DnsName) -> bool {
        self.next.ends_with(name)
    }

    /// The deepest existing name above `name`, which the record covers: as owner and next name exist, all names above them do.
    fn closest_encloser(&self, name: &DnsName) -> Option<DnsName> {
        name.iter_suffixes().find(|above| self.owner.ends_with(above) || self.next.ends_with(above))
    }
}

/// What the records prove about a name in the zone.
pub(super) fn denies(records: &[Nsec], zone: &DnsName, name: &DnsName, rtype: Rtype) -> Option<Denied> {
    if has_without(records, zone, name, rtype) {
        return Some(Denied::Nodata);
    }
    records.iter().filter(|record| record.covers(zone, name)).find_map(|record| {
        let wildcard = wildcard(&record.closest_encloser(name)?)?;
        if absent(records, zone, &wildcard) {
            return Some(Denied::Nxdomain);
        }
        has_without(records, zone, &wildcard, rtype).then_some(Denied::Nodata)
    })
}

/// Whether the name exists without records of the type.
fn has_without(records: &[Nsec], zone: &DnsName, name: &DnsName, rtype: Rtype) -> bool {
    records.iter().any(|record| match record.owner == *name {
        true => lacks(&record.types, rtype),
        false => record.covers(zone, name) && record.is_above_next(name),
    })
}

/// Whether a name does not exist although the one above it does: for a wildcard, or the closest name in whose place one was expanded. A
/// record that shows that the one above does not exist either is of another time than whatever shows that it does.
pub(super) fn absent(records: &[Nsec], zone: &DnsName, name: &DnsName) -> bool {
    let shows = |record: &Nsec| {
        record.covers(zone, name) && !record.is_above_next(name) && record.closest_encloser(name) == name.parent()
    };
    records.iter().any(shows)
}

/// What the records prove about a name below the apex as a zone cut.
pub(super) fn cut(records: &[Nsec], zone: &DnsName, name: &DnsName) -> Option<CutDenial> {
    records.iter().find_map(|record| match record.owner == *name {
        true => cut_by_types(&record.types),
        false => record.covers(zone, name).then_some(CutDenial::NotACut),
    })
}

//! What NSEC and NSEC3 records prove. The module is that of `dance-dnssec`, which keeps it to itself.
//!
//! The octets: how many labels of the name are above the zone, a signature's labels, and fields with their lengths before them: the name,
//! and for each record its owner and its data, with a 0 before the data of an NSEC.
#![no_main]

#[allow(dead_code, reason = "the rest is for the machine around it")]
#[path = "../../crates/dance-dnssec/src/denial/mod.rs"]
mod denial;

/// What the module takes from its crate.
mod question {
    pub(crate) type DnsName = domain::base::Name<bytes::Bytes>;
}

use bytes::Bytes;
use denial::{CutDenial, Denied, Hashes, NoCloser, Proofs, cut, denies, no_closer};
use domain::base::Name;
use domain::base::iana::Rtype;
use question::DnsName;

/// SHA-1 runs: as many as a look-up has.
const HASHES: u32 = 20_000;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = denial(data);
});

fn denial(data: &[u8]) -> Option<()> {
    let (&[zone_labels, labels], mut rest) = data.split_first_chunk()?;
    let mut next = || {
        let (&length, after) = rest.split_first()?;
        let (field, after) = after.split_at(after.len().min(length.into()));
        rest = after;
        Some(Bytes::copy_from_slice(field))
    };
    let qname: DnsName = Name::from_octets(next()?).ok()?;
    let zone = qname.iter_suffixes().nth(usize::from(zone_labels) % qname.label_count())?;
    let (mut sets, mut owners) = (Proofs::default(), Vec::new());
    while let (Some(owner), Some(rdata)) = (next(), next()) {
        let Some(&kind) = rdata.first() else { continue };
        let rtype = if kind == 0 { Rtype::NSEC } else { Rtype::NSEC3 };
        if let Ok(owner) = Name::from_octets(owner) {
            sets.push(&zone, &owner, rtype, &rdata.slice(1..));
            owners.push((owner, rtype));
        }
    }

    let mut hashes = Hashes { left: HASHES };
    let denied = denies(&zone, &sets, &qname, Rtype::TLSA, &mut hashes);
    let denied_ds = denies(&zone, &sets, &qname, Rtype::DS, &mut hashes);
    let closer = no_closer(&zone, &sets, &qname, labels, &mut hashes);
    let place = cut(&zone, &sets, &qname, &mut hashes);
    assert!(hashes.left <= HASHES);

    // Without hashes there is nothing to prove by NSEC3, and by NSEC there is as before.
    let mut none = Hashes { left: 0 };
    let by_nsec = denies(&zone, &sets, &qname, Rtype::TLSA, &mut none);
    assert!(by_nsec == denied || by_nsec == Denied::TooCostly);

    // A zone says nothing of its own DS, nor of itself as a cut.
    if qname == zone {
        assert_eq!((denied_ds, place), (Denied::Nothing, CutDenial::Nothing));
    }
    // A name that has a record of its own exists.
    if owners == [(qname.clone(), Rtype::NSEC)] {
        assert_ne!(denied, Denied::Nxdomain);
        assert_ne!(closer, NoCloser::Proven);
    }
    // Case is nothing.
    let mut upper = qname.as_slice().to_vec();
    upper.make_ascii_uppercase();
    let upper: DnsName = Name::from_octets(upper.into()).ok()?;
    assert_eq!(denies(&zone, &sets, &upper, Rtype::TLSA, &mut Hashes { left: HASHES }), denied);
    Some(())
}

//! What goes wrong besides the table of cases: signatures, denials, delegations, aliases, keys and forwarders that are almost right.
#![allow(clippy::unwrap_used, reason = "test code")]

mod aliases;
#[path = "../common/mod.rs"]
mod common;
mod delegations;
mod denials;
mod forwarders;
mod rollovers;
mod signatures;
mod time;

use common::{RECORD, code, owner, resolver};
use dance_resolver::{Lookup, TlsaSource as _};
use dance_testkit::{Fault, Forged, RecordSet, Rtype, SignedWorld, WorldBuilder, Zone};

/// A name with one TLSA record.
const NAME: &str = "dev1._device.example.test";
/// Its zone.
const ZONE: &str = "example.test";

/// What the zones hold.
fn filled(zone: Zone) -> Zone {
    zone.text(&format!(
        "$TTL 300\n\
         dev1._device IN TLSA {RECORD}\n\
         alias._device IN CNAME dev1._device\n\
         nodata._device IN TXT \"here\"\n\
         *._wild IN TLSA {RECORD}\n\
         exact._wild IN TLSA {RECORD}\n\
         *._text IN TXT \"any\"\n\
         exact._text IN TLSA {RECORD}\n"
    ))
}

fn zone(apex: &str) -> Zone {
    filled(Zone::new(apex))
}

/// `example.test` and its neighbours.
fn world() -> WorldBuilder {
    neighbours().zone(zone(ZONE))
}

/// The neighbours alone.
fn neighbours() -> WorldBuilder {
    SignedWorld::builder()
        .zone(Zone::new("test"))
        .zone(zone("other.test"))
        .zone(filled(Zone::unsigned("insecure.test")))
        .zone(zone("sub.example.test"))
}

/// What a resolver finds that knows nothing yet.
async fn fresh(world: &SignedWorld, name: &str) -> Lookup {
    resolver(world).lookup(&owner(name)).await
}

/// Whether what was found is one of those that are right, as in the table of cases: `B/T`.
fn is_right(lookup: &Lookup, expected: &str) -> bool {
    expected.split('/').any(|expected| expected == code(lookup))
}

/// A fault, where it is placed, and what is right then.
struct Case {
    what: &'static str,
    place: (&'static str, Option<Rtype>),
    faults: Vec<Fault>,
    expected: &'static str,
}

impl Case {
    /// A fault of the answer for the name itself.
    fn of(what: &'static str, name: &'static str, fault: Fault, expected: &'static str) -> Self {
        Self { what, place: (name, None), faults: vec![fault], expected }
    }

    /// A fault of the answer to another question.
    fn at(what: &'static str, name: &'static str, rtype: Rtype, fault: Fault, expected: &'static str) -> Self {
        Self { what, place: (name, Some(rtype)), faults: vec![fault], expected }
    }

    /// With one more fault at the same place.
    fn and(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }
}

/// Looks `name` up under each fault, and without any before and after: then `good` is right.
async fn check(world: &SignedWorld, name: &str, good: &str, cases: Vec<Case>) {
    let mut wrong = Vec::new();
    let mut object = |what: &str, lookup: &Lookup, expected: &str| {
        if !is_right(lookup, expected) {
            wrong.push(format!("{what}: {name} should be {expected}: {:?}, {:?}", lookup.answer, lookup.trace));
        }
    };
    world.clear_faults();
    object("before", &fresh(world, name).await, good);
    for Case { what, place: (place, rtype), faults, expected } in cases {
        world.clear_faults();
        for fault in faults {
            match rtype {
                Some(rtype) => world.add_fault_on_type(place, rtype, fault).unwrap(),
                None => world.add_fault(place, fault).unwrap(),
            }
        }
        object(what, &fresh(world, name).await, expected);
    }
    world.clear_faults();
    object("after", &fresh(world, name).await, good);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A TLSA record that no zone holds.
fn made_up(name: &str) -> RecordSet {
    RecordSet::text(&format!("{name} 300 IN TLSA 3 1 1 {:064x}", 0xbad))
}

/// Just this RRset.
fn just(set: RecordSet) -> Fault {
    Fault::Answers(Forged::new().answer(set))
}

/// The SOA record of a zone.
fn soa(zone: &str) -> RecordSet {
    RecordSet::of(zone, zone, Rtype::SOA)
}

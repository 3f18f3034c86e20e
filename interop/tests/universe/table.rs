//! The table of cases and those besides, each through each resolver.

use std::sync::Mutex;
use std::time::Duration;

use dance_interop::universe::{BESIDES, Case, Forwarder, TABLE, Universe};

use crate::{fault, resolve, verdict};

/// Look-ups at a time: most of their time they wait.
const AT_ONCE: usize = 6;
/// For a look-up that ends with an answer. Only a hang ever uses it up.
const PATIENCE: Duration = Duration::from_secs(50);
/// For one that does not.
const FOR_SILENCE: Duration = Duration::from_secs(3);

/// A case in which a resolver leaves nothing else to find.
struct Skip {
    forwarder: Forwarder,
    case: &'static str,
    /// What it is instead.
    gives: &'static str,
    /// Why that is no fault of anybody's.
    #[expect(dead_code, reason = "for whoever reads this")]
    reason: &'static str,
}

/// In mode `ad`, and where the resolvers are asked for their own verdicts.
const SKIPPED: &[Skip] = &[Skip {
    forwarder: Forwarder::Knot,
    case: "nsec3_200it_positive",
    gives: "I",
    reason: "Knot Resolver takes a zone with more than 150 NSEC3 iterations for Insecure as a whole",
}];

fn cases() -> impl Iterator<Item = &'static Case> {
    TABLE.iter().chain(BESIDES)
}

/// Looks all cases up, several at a time, and gives what is wrong.
fn wrong(look_up: impl Fn(&Case) -> Result<(), String> + Sync) -> Vec<String> {
    let (left, wrong) = (Mutex::new(cases()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(case) = left.lock().unwrap().next() else { return };

                    if let Err(what) = look_up(case) {
                        wrong
                            .lock()
                            .unwrap()
                            .push(format!("{} ({}): expected {}, {what}", case.name, case.query, case.expected));
                    }
                }
            });
        }
    });
    wrong.into_inner().unwrap()
}

fn allowed(case: &Case, verdict: &str, skipped: &[Skip], forwarder: Forwarder) -> bool {
    match skipped.iter().find(|skip| skip.forwarder == forwarder && skip.case == case.name) {
        Some(skip) => skip.gives == verdict,
        None => case.allows(verdict),
    }
}

fn patience(case: &Case) -> Duration {
    if case.allows("T") { FOR_SILENCE } else { PATIENCE }
}

/// Each case by `dance`, through this resolver.
fn assert_all(forwarder: Forwarder, mode: &str, skipped: &[Skip]) {
    let universe = Universe::shared();
    let wrong = wrong(|case| {
        let timeout = format!("{}s", patience(case).as_secs());
        let options = ["--dns-mode", mode, "--timeout", &timeout];
        let found = resolve(&universe, universe.address(forwarder), case.query, &options);
        if !allowed(case, &verdict(&found), skipped, forwarder) {
            return Err(format!("found {found}"));
        }
        fault(case, &found).map_or(Ok(()), |fault| Err(format!("{fault}: {found}")))
    });
    assert!(wrong.is_empty(), "{forwarder:?}, {mode}: {} of {}:\n{}", wrong.len(), cases().count(), wrong.join("\n"));
}

#[test]
fn there_are_as_many_as_there_should_be() {
    assert_eq!(TABLE.len(), 72);
    let mut names: Vec<_> = cases().map(|case| case.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases().count());
    assert!(SKIPPED.iter().all(|skip| names.contains(&skip.case)));
}

#[test]
fn the_universe_is_as_it_should_be() {
    let universe = Universe::shared();
    for forwarder in Forwarder::ALL.into_iter().filter(|forwarder| forwarder.validates()) {
        let wrong = wrong(|case| {
            let own = universe.own_verdict(forwarder, case.query, patience(case));
            if allowed(case, &own, SKIPPED, forwarder) { Ok(()) } else { Err(format!("found {own}")) }
        });
        assert!(wrong.is_empty(), "{forwarder:?}:\n{}", wrong.join("\n"));
    }
}

// DNS-01, DNS-03, DNS-04, DNS-05, DNS-07, DNS-09
#[test]
fn through_unbound() {
    assert_all(Forwarder::Unbound, "validate", &[]);
}

// DNS-01, DNS-03, DNS-04, DNS-05, DNS-07, DNS-09
#[test]
fn through_an_unbound_that_does_not_validate() {
    assert_all(Forwarder::UnboundIterating, "validate", &[]);
}

// DNS-01, DNS-03, DNS-04, DNS-05, DNS-07, DNS-09
#[test]
fn through_bind() {
    assert_all(Forwarder::Bind, "validate", &[]);
}

// DNS-01, DNS-03, DNS-04, DNS-05, DNS-07, DNS-09
#[test]
fn through_a_bind_that_does_not_validate() {
    assert_all(Forwarder::BindIterating, "validate", &[]);
}

// DNS-01, DNS-03, DNS-04, DNS-05, DNS-07, DNS-09
#[test]
fn through_knot_resolver() {
    assert_all(Forwarder::Knot, "validate", &[]);
}

// DNS-01, DNS-03, DNS-04, DNS-05
#[test]
fn by_the_ad_bit_of_unbound() {
    assert_all(Forwarder::Unbound, "ad", SKIPPED);
}

// DNS-01, DNS-03, DNS-04, DNS-05
#[test]
fn by_the_ad_bit_of_bind() {
    assert_all(Forwarder::Bind, "ad", SKIPPED);
}

// DNS-01, DNS-03, DNS-04, DNS-05
#[test]
fn by_the_ad_bit_of_knot_resolver() {
    assert_all(Forwarder::Knot, "ad", SKIPPED);
}

//! What this implementation makes of answers that were tampered with, and what unbound and delv make of them.
//!
//! `cargo xtask soak differential` does the same with more cases. One case alone, with all that there is to be told about it and what
//! libunbound logs: set DIFFERENTIAL_UNIVERSE and DIFFERENTIAL_CASE to the two numbers in the account of a failure.
#![allow(clippy::unwrap_used, reason = "tests")]

use dance_interop::differential::judge::{self, Plan};

/// A number from the environment.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

// DNS-01, DNS-03, DNS-05, DNS-07
#[test]
fn unbound_and_delv_come_to_the_same_verdicts() {
    if let (Some(universe), Some(case)) = (number("DIFFERENTIAL_UNIVERSE"), number("DIFFERENTIAL_CASE")) {
        println!("{}", judge::one(universe, case));
        return;
    }
    let seed = number("DIFFERENTIAL_SEED").unwrap_or(1);
    let cases = number("DIFFERENTIAL_CASES").unwrap_or(500);
    let report = judge::run(Plan { seed, cases, lanes: 2 });
    println!("seed {seed}: {}", report.text());
    assert!(report.unexplained.is_empty(), "seed {seed}: differences that are not explained, see above");
    // Not all of one kind, and each of those who judge had a part in it.
    assert!(
        report.delv >= cases / 20 && report.secure() >= cases / 10 && report.bogus() >= cases / 10,
        "{}",
        report.text()
    );
}

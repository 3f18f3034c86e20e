//! The tests of dance-tls under valgrind: what they show of the workspace's only `unsafe`, and of OpenSSL below it.
//!
//! All of them, unit tests of the FFI module included: they take some twenty times longer, and still two minutes. Nothing in them runs
//! against the clock: the time that matters is paused or the tests' own, and how long a refused peer is listened to ends a wait but
//! changes no outcome.

use crate::peers;
use crate::runner::{Context, Stop, run};

/// Reads and writes where nothing (any more) is, decisions on memory that nobody has written, and memory that no pointer leads to in the
/// end. What is still reachable in the end is no fault: OpenSSL and the Rust runtime keep tables until the process is gone.
///
/// Nothing is suppressed. OpenSSL's choice of instructions needs no help either: it follows valgrind's CPUID, which shows only what
/// valgrind can run.
const VALGRIND: &[&str] = &[
    "valgrind",
    "--quiet",
    // Not what a failed test ends with.
    "--error-exitcode=99",
    "--leak-check=full",
    "--show-leak-kinds=definite",
    "--errors-for-leak-kinds=definite",
    // From the allocation in OpenSSL up to the test.
    "--num-callers=40",
];

/// Installs valgrind where it is missing, and runs the tests in it.
pub(crate) fn check(context: &Context) -> Result<(), Stop> {
    peers::debian_packages(&[("valgrind", "valgrind")])?;
    let runner = VALGRIND.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
    let mut cargo = context.cargo(["test", "--package", "dance-tls", "--lib", "--tests", "--no-fail-fast", "--config"]);
    run(cargo.arg(format!("target.'cfg(all())'.runner = [{runner}]")))
}

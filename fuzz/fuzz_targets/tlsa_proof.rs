//! The messages of a look-up, up to its verdict. Nobody has the keys of the world that the seeds are from, so the truth about its names
//! is all that may come out, and for Secure records the checker of `dance-dnssec`'s property tests must find a chain too.
#![no_main]
#![allow(clippy::unwrap_used, reason = "test code")]

#[allow(dead_code, reason = "the property tests use the rest")]
#[path = "../../crates/dance-dnssec/tests/checker/mod.rs"]
mod checker;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = checker::recorded::replay(data);
});

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dance_core::fuzzing::rfc3597(data));

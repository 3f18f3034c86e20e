#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dance_core::fuzzing::ticket(data));

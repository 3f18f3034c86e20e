//! What the interop tests share: programs that others wrote, started on loopback and ended with the test.
//!
//! `cargo xtask test --only interop` installs those programs and runs the tests.

//! What the interop tests share: programs that others wrote, started on loopback and ended with the test.
//!
//! `cargo xtask test --only interop` installs those programs and runs the tests.
#![allow(clippy::unwrap_used, reason = "support code of tests: a failure here is a failed test")]

pub mod application;
pub mod balancer;
pub mod case;
pub mod chains;
pub mod changing;
pub mod client;
pub mod clients;
pub mod differential;
pub mod dns;
pub mod gateway;
pub mod openssl;
pub mod organisation;
pub mod process;
pub mod rustls_client;
pub mod tlslite;
pub mod universe;
pub mod wire;

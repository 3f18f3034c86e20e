//! DANE TLS client authentication as pure functions.
//!
//! Bytes and facts go in, a verdict comes out. This crate opens no socket, reads no clock, draws no random number, and holds no
//! `unsafe` and no `async`: time is an argument, DNS answers are arguments, and lints keep it so. It is `no_std` with `alloc`.
//!
//! In reading order, which is the order of a connection's life:
//!
//! | module | what it turns into what |
//! |---|---|
//! | [`name`] | octets into a [`ClientName`](name::ClientName), once, for every door that names come through |
//! | [`clientid`] | `extension_data` of `dane_clientid` into a name or a signal; all that differs between wire profiles |
//! | [`message`] | a Certificate or CertificateRequest message into its entries, verbatim |
//! | [`policy`] | a list of patterns into "may this name be looked up at all?" |
//! | [`answer`] | what DNS said, wrapped in its DNSSEC validation state |
//! | [`tlsa`] | TLSA RDATA, wire, presentation and RFC 3597 form |
//! | [`matching`], [`pkix`], [`x509`] | TLSA RRset x presented credential x time into an outcome for each record |
//! | [`verdict`] | all of these, in the order of the specification, as one step machine |
//! | [`reason`] | why, and what follows from it: code, alert, whether policy `optional` softens it |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod answer;
pub mod clientid;
#[doc(hidden)]
pub mod fuzzing;
pub mod matching;
pub mod message;
pub mod name;
pub mod pkix;
pub mod policy;
pub mod reason;
mod search;
pub mod tlsa;
pub mod verdict;
pub mod x509;

pub use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};

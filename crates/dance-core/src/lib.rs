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
//! | [`ticket`] | a verified client into a session ticket's content, and that with a current answer back into one |
//! | [`reason`] | why, and what follows from it: code, alert, whether policy `optional` softens it |
//!
//! A server's side in full, for a client with a raw public key. What lies between the two steps, one DNS look-up, is the caller's:
//!
//! ```
//! use dance_core::answer::{ChainEnd, Link, LinkState, LinkTimes, TlsaAnswer};
//! use dance_core::clientid::{ClientForm, Profile};
//! use dance_core::matching::{Credential, MatchOptions};
//! use dance_core::name::ClientName;
//! use dance_core::pkix::WebPki;
//! use dance_core::policy::{AllowList, OnLookupFailure, Policy, WildcardEndEntity};
//! use dance_core::tlsa::{CertUsage, MatchingType, TlsaRdata};
//! use dance_core::verdict::{ClientId, Presented, Settings, Step, Verdict};
//! use dance_core::{SubjectPublicKeyInfoDer, UnixTime};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = Settings {
//!     profile: Profile::Current,
//!     policy: Policy::Require,
//!     on_lookup_failure: OnLookupFailure::Abort,
//!     allow_list: AllowList::parse(["*._device.example.com"])?,
//!     service_label: None,
//!     derive_without_signal: false,
//!     wildcard_ee: WildcardEndEntity::Accept,
//!     matching: MatchOptions::default(),
//! };
//!
//! // What the client presented, out of its Certificate message (see `message`).
//! let spki = [&b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00"[..], &[7; 32]].concat();
//! let presented = Presented {
//!     credential: Some(Credential::RawPublicKey(SubjectPublicKeyInfoDer::from(spki.clone()))),
//!     client_id: ClientId::Form(ClientForm::Name(ClientName::parse(b"Sensor7._device.example.com")?)),
//! };
//!
//! let Step::NeedTlsa(need) = settings.start(&presented) else { panic!("not on the allow-list") };
//! assert_eq!(need.owner_name().as_str(), "sensor7._device.example.com");
//!
//! // What DNS said: one RRset, validated, good for five minutes.
//! let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
//! let times = LinkTimes { ttl: 300, original_ttl: Some(300), signature_expiry: None };
//! let record = TlsaRdata::for_spki(CertUsage::DANE_EE, MatchingType::SHA2_256, &spki)?;
//! let end = ChainEnd::Records { records: vec![record], wildcard: Some(false) };
//! let answer = TlsaAnswer::from_chain(now, &[], Link { state: LinkState::Secure, times }, end);
//!
//! // No certificate, no path: any validator will do.
//! let decision = need.answer(&answer, now, &WebPki::new(&[]));
//! let Verdict::Authenticated(client) = decision.verdict else { panic!("{:?}", decision.records) };
//! assert_eq!(client.identity(), "sensor7._device.example.com");
//! assert_eq!(client.valid_until().as_secs(), now.as_secs() + 300);
//! # Ok(())
//! # }
//! ```
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
mod subject;
pub mod ticket;
pub mod tlsa;
pub mod verdict;
pub mod x509;

pub use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};

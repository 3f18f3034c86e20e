//! A signed DNS world in process, certificates, and peers that misbehave: for the tests of every crate and for the
//! product's demonstration.
//!
//! [`SignedWorld`] is a DNS with its own root and trust anchor, served on a loopback port the way a recursive resolver
//! would; nothing leaves the process.
//!
//! ```
//! use dance_testkit::{Fault, SignedWorld, Zone};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), dance_testkit::WorldError> {
//! let digest = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
//! let world = SignedWorld::builder()
//!     .zone(
//!         Zone::new("example.com")
//!             .tlsa("sensor7._device.example.com", &format!("3 1 1 {digest}"), 300)
//!             .text("old._device 300 IN CNAME sensor7._device"),
//!     )
//!     .zone(Zone::unsigned("example.net"))
//!     .fault("gone._device.example.com", Fault::NeverAnswers)
//!     .start()
//!     .await?;
//!
//! // Give these two to a validating resolver.
//! let (server, anchor) = (world.addr(), world.trust_anchor_text());
//! assert!(server.ip().is_loopback() && anchor.starts_with(". "));
//!
//! // Later: what was asked, and revocation.
//! assert!(world.tlsa_queries().is_empty());
//! world.withdraw("sensor7._device.example.com")?;
//! # Ok(()) }
//! ```

mod certs;
mod dns;
mod dns_answer;
mod dns_error;
mod dns_fault;
mod dns_forge;
mod dns_keys;
mod dns_log;
mod dns_message;
mod dns_resolve;
mod dns_server;
pub mod origin;
mod zone;
mod zone_key;
mod zone_sign;

pub use certs::{Authority, CertError, CertKey, CertSpec, Identity};
pub use dns::{SignedWorld, WorldBuilder};
pub use dns_error::WorldError;
pub use dns_fault::Fault;
pub use dns_forge::{Forged, RecordSet, Sign};
pub use dns_log::{Query, Transport};
pub use dns_resolve::Front;
pub use domain::base::iana::Rtype;
pub use origin::Origin;
pub use zone::{DEFAULT_TTL, Delegation, Denial, DsForm, KeyKind, KeyRole, Zone};

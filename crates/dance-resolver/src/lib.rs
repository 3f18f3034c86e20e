//! Validated TLSA look-ups, and the one driver that takes a presented client to a verdict.
//!
//! | item | what it is |
//! |---|---|
//! | [`TlsaSource`] | a name in, a [`TlsaAnswer`](dance_core::answer::TlsaAnswer) in its DNSSEC validation state out |
//! | [`Resolver`] | the source that asks DNS: validates itself, or takes the AD bit of a resolver on loopback |
//! | [`Verifier`] | the driver: limits, look-up, decision, in the order that the core prescribes |
//!
//! # How a look-up goes
//!
//! In mode [`Validate`](DnsMode::Validate) `dance_dnssec` says what has to be asked: the TLSA question, and beside it, where the zone is not known, the DS
//! and DNSKEY questions for the zones above. All of it goes to the resolver at once, with DO=1 and CD=1, over UDP and, if the answer is truncated,
//! TCP, or over TLS. DS and DNSKEY questions are shared by all look-ups that ask them at the time. What is proven about zones is remembered,
//! and held against the time whenever it is used; nothing is remembered that is not proven. Where an answer fails under keys that were remembered,
//! they are fetched once more, so that a key rollover makes nothing Bogus.
//!
//! In mode [`AdBit`](DnsMode::AdBit) a resolver on loopback, or one that is known by TLS, is asked with AD=1, and believed.
//!
//! # Limitations
//!
//! * Zones signed with algorithm 16 (Ed448) only are Insecure: the crypto library does not have it. So are those with algorithm 5 or 7 only,
//!   which rest on SHA-1 (RFC 9905). Their clients are refused, never let in.
//! * The resolvers must be recursive, and must deliver DNSSEC records in mode `Validate`.
//! * QNAME minimisation is the recursive resolver's to do.
//! * Trust anchors follow their file, not a rollover by themselves (RFC 5011): `docs/trust-anchors.md` says why.
//! * Questions under way hold sockets: allow the process [`MAX_SOCKETS`] open files for them, and some more for connections.

#![forbid(unsafe_code)]

mod adbit;
mod anchors;
mod breaker;
mod cache;
mod clock;
mod config;
mod fetch;
mod flight;
mod limits;
pub mod metrics;
mod outcome;
mod paths;
mod prove;
mod resolver;
mod server;
mod source;
mod store;
mod upstream;
mod verifier;
mod zones;

pub use anchors::AnchorError;
pub use clock::{Clock, now};
pub use config::{
    CACHE_BYTES, ConfigError, DnsMode, MAX_CONCURRENT_LOOKUPS, RESOLV_CONF, ResolverConfig, Servers, TrustAnchorSource,
};
pub use dance_dnssec::{Failure, RecordFault, Unproven};
pub use domain::base::iana::{ExtendedErrorCode, OptRcode, Rtype, SecurityAlgorithm};
pub use limits::{
    CHECK_BUDGET, LOOKUP_BUDGET, Limits, LimitsError, MAX_IN_FLIGHT, MAX_IN_FLIGHT_PER_ADDRESS,
    MAX_IN_FLIGHT_PER_ENTRY, network,
};
pub use paths::path_builder;
pub use resolver::Resolver;
pub use server::{DNS_PORT, DOT_PORT, Server, ServerError, TlsTrust, Transport};
pub use source::{Detail, Link, Lookup, Signature, TlsaSource, Trace, ZoneLink};
pub use upstream::{Exchange, ExchangeOutcome, MAX_SOCKETS, Protocol, TlsFailure};
pub use verifier::{Evidence, Verified, Verifier};

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
//! In mode [`Validate`](DnsMode::Validate) the resolver is asked with DO=1 and CD=1, over UDP and, if the answer is truncated, TCP. The
//! reply's code comes first, then its alias chain, which must be the only one in it; then `domain`'s validator judges it, fetching DS
//! and DNSKEY records as it needs them; then every signature's time is checked once more. In mode [`AdBit`](DnsMode::AdBit) a resolver
//! on loopback is asked with AD=1, and believed.
//!
//! # Limitations
//!
//! * Zones signed with algorithm 14 (ECDSA P-384), 15 (Ed25519) or 16 (Ed448) only are Insecure: `domain`'s validator takes these
//!   algorithms for unknown. Their clients are refused, never let in. AD mode has no such limit.
//! * An alias that leads from one zone to another, where both lie below a name that is no zone of its own, can be Bogus: `domain`'s
//!   validator takes that name for the second zone's parent. Without aliases such zones are judged anew, and rightly.
//! * The resolvers must be recursive, and must deliver DNSSEC records in mode `Validate`.
//! * QNAME minimisation is the recursive resolver's to do; there is no encrypted transport to it yet: use one on this machine.
//! * Trust anchors are read once. They do not follow a rollover by themselves (RFC 5011); make a new resolver to change them.
//! * A look-up under way holds a socket: allow the process as many open files as look-ups in flight, and some more.

#![forbid(unsafe_code)]

mod adbit;
mod anchor;
mod breaker;
mod cache;
mod clock;
mod config;
mod flight;
mod keys;
mod limits;
pub mod metrics;
mod outcome;
mod paths;
mod reply;
mod resolver;
mod run;
mod server;
mod source;
mod store;
mod upstream;
mod validate;
mod verifier;
mod zones;

pub use anchor::{AnchorError, RecordFault};
pub use clock::{Clock, now};
pub use config::{
    CACHE_BYTES, ConfigError, DnsMode, MAX_CONCURRENT_LOOKUPS, RESOLV_CONF, ResolverConfig, Servers, TrustAnchorSource,
};
pub use domain::base::iana::{ExtendedErrorCode, OptRcode, Rtype};
pub use limits::{
    CHECK_BUDGET, LOOKUP_BUDGET, Limits, LimitsError, MAX_IN_FLIGHT, MAX_IN_FLIGHT_PER_ADDRESS,
    MAX_IN_FLIGHT_PER_ENTRY, network,
};
pub use paths::path_builder;
pub use resolver::Resolver;
pub use server::{DNS_PORT, DOT_PORT, Server, ServerError, TlsTrust, Transport};
pub use source::{Detail, Link, Lookup, TlsaSource, Trace};
pub use upstream::{Exchange, ExchangeOutcome, Protocol, TlsFailure};
pub use verifier::{Evidence, Verified, Verifier};

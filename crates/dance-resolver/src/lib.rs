//! Validated TLSA look-ups, and the one driver that takes a presented client to a verdict.
//!
//! | item | what it is |
//! |---|---|
//! | [`TlsaSource`] | a name in, a [`TlsaAnswer`](dance_core::answer::TlsaAnswer) in its DNSSEC validation state out |
//! | [`Resolver`] | the source that asks DNS: validates itself, or takes the AD bit of a resolver on loopback |
//! | [`Verifier`] | the driver: limits, look-up, decision, in the order that the core prescribes |

#![forbid(unsafe_code)]

mod anchor;
mod clock;
mod config;
mod limits;
mod paths;
mod resolver;
mod source;
mod verifier;

pub use anchor::{AnchorError, RecordFault};
pub use clock::{Clock, now};
pub use config::{
    CACHE_ENTRIES, ConfigError, DNS_PORT, DnsMode, MAX_CONCURRENT_LOOKUPS, RESOLV_CONF, ResolverConfig, Servers,
    TrustAnchorSource,
};
pub use domain::base::iana::{ExtendedErrorCode, Rcode, Rtype};
pub use limits::{
    CHECK_BUDGET, LOOKUP_BUDGET, Limits, LimitsError, MAX_IN_FLIGHT, MAX_IN_FLIGHT_PER_ADDRESS, MAX_IN_FLIGHT_PER_ENTRY,
};
pub use paths::path_builder;
pub use resolver::Resolver;
pub use source::{Detail, Link, Lookup, State, TlsaSource, Trace};
pub use verifier::{Verified, Verifier};

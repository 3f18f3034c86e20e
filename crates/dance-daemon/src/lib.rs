//! What every daemon has in common: the gateway, which authenticates clients in the handshake, and the service that does it for load
//! balancers. The same setting means the same in both, and so does the same field in the log.
//!
//! | module | what it holds |
//! |---|---|
//! | [`settings`], [`duration`] | the parts of a configuration file that both have, and how a file is read |
//! | [`error`] | what is wrong with them, or why a daemon does not start |
//! | [`dns`] | the tables `[dns]` and `[limits]`: the resolver, and look-ups in flight |
//! | [`listener`] | accepting connections within limits, and draining them at the end |
//! | [`log`], [`services`] | names in the log, records in words, keys with several services |
//! | [`metrics`] | what is counted, for Prometheus |

#![forbid(unsafe_code)]

pub mod dns;
pub mod duration;
pub mod error;
pub mod listener;
pub mod log;
pub mod metrics;
pub mod services;
pub mod settings;

pub use duration::Span;
pub use error::{SettingError, StartError};

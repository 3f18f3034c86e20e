//! DANE client authentication behind a load balancer (TLS-cooperative, requirements 6.2).
//!
//! The balancer terminates TLS, accepts whatever certificate a client shows, and proves that the client has its key. It forwards the
//! certificate in a header field; the request says who the client is. What is left is done here: read both, ask whether the name may
//! come in, look its TLSA records up, match, and answer 401 or 403 where that fails.
//!
//! | module | what it does |
//! |---|---|
//! | [`peer`] | whose forwarded certificates count |
//! | [`forwarded`] | the certificate out of the balancer's field, in the one dialect that is configured |
//! | [`asserted`] | the name out of header or body |
//! | [`check`] | the order of it all, ending in the decision that the gateway takes too |
//! | [`refusal`] | what a refused request is told |
//! | [`layer`] | the same as a tower layer: for axum, tonic, hyper and whatever else speaks tower |
//! | [`metrics`] | what is counted |
//! | `axum` | an extractor, with the feature of this name |
//! | [`identity`] | header fields that say who the client is: which pass, and who sets them |

#![forbid(unsafe_code)]

pub mod asserted;
#[cfg(feature = "axum")]
pub mod axum;
mod body;
mod chains;
pub mod check;
pub mod forwarded;
pub mod identity;
pub mod layer;
mod log;
pub mod metrics;
pub mod peer;
pub mod refusal;
mod xfcc;

pub use body::{CheckedBody, read_body};
pub use check::{Beside, CheckEvent, Checked, Checker, NameFrom, Rules};
pub use forwarded::{Dialect, ForwardedBy};
pub use layer::{AuthenticatedClient, DaneLayer};
pub use peer::{Peer, TrustedPeers};
pub use refusal::{Refusal, StatusRules};

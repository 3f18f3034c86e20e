//! The core's rules, one test a rule, with the requirements that it shows named above it.
//!
//! The published vectors are run elsewhere, by the one runner that the command line has; here is what they do not hold.
#![allow(clippy::unwrap_used, reason = "tests")]

mod answers;
mod attacks;
mod authority;
mod certificates;
mod client_paths;
mod codec;
mod decision;
mod matching;
mod messages;
mod names;
mod properties;
mod records;
mod tickets;
mod usage_2;

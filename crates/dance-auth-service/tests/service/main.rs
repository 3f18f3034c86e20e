//! The service over real sockets and a signed world: what load balancers are answered, and what DNS is asked.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod bodies;
mod connections;
mod grpc;
mod lab;
mod log;
mod metrics;
mod requests;
mod socket;

//! Load balancers in front of the check, each configured by the files that docs/load-balancers shows.
#![allow(clippy::unwrap_used, reason = "tests")]

mod apache;
mod caddy;
mod envoy_grpc;
mod envoy_http;
mod gateway;
mod haproxy;
mod nginx;
mod traefik;

//! DANE client authentication as a service for load balancers: nginx `auth_request`, Caddy `forward_auth`, Traefik `ForwardAuth`,
//! Envoy `ext_authz` over HTTP and gRPC. The balancer asks about every request, and goes on or not by the answer.
//!
//! What it decides is `dance-http`'s, and below that what the gateway decides too. Reading order is a request's way:
//!
//! | module | what it does |
//! |---|---|
//! | [`config`] | the configuration file, checked before anything starts |
//! | `listener` | the port, or the Unix socket and its file |
//! | `connection`, `pace` | HTTP/1.1 or HTTP/2 by prior knowledge; no connection stays idle or slow for long |
//! | `answer` | one request over HTTP, for every method and path |
//! | `grpc` | one call of Envoy's |
//! | `log` | one line for each request |
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use dance_auth_service::{AuthService, Config};
//!
//! let config = Config::read("auth-service.toml".as_ref())?;
//! let service = AuthService::bind(&config, dance_auth_service::resolver(&config)?)?;
//! println!("listening on {}", service.local());
//! service.run(async { drop(tokio::signal::ctrl_c().await) }).await;
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

mod answer;
pub mod config;
mod connection;
mod grpc;
mod listener;
mod log;
mod pace;
mod start;

pub use config::Config;
pub use start::{AuthService, StartError, raise_open_files, resolver};

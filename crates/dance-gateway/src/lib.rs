//! The gateway: terminates TLS, authenticates the client by DANE during the handshake, and tells the web application behind it who
//! connected.
//!
//! Reading order is a connection's life:
//!
//! | module | what it does |
//! |---|---|
//! | [`config`], [`origin`] | the configuration file, checked before anything starts |
//! | `listener` | what all connections share, and how they are accepted |
//! | `handshakes` | how many of them one address has under way |
//! | `admission`, `sessions` | handshake, verdict, and whom it lets in; whom without a verdict of its own |
//! | `connection` | then HTTP/1.1 or HTTP/2 by ALPN |
//! | [`forwarding`] | what is counted where nobody is asked who they are |
//! | `ordinary` | certificates of clients that do not ask for DANE |
//! | [`log`] | one line for each verdict |
//! | `proxy` | one request |
//! | `recheck`, `standing` | whether the client of an open connection is still who it was |
//! | `upstream`, `body`, `stream` | the way to the origin and back |
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use dance_gateway::{Config, Gateway};
//!
//! let config = Config::read("gateway.toml".as_ref())?;
//! let resolver = dance_gateway::resolver(&config)?;
//! let gateway = Gateway::bind(&config, resolver)?;
//! println!("listening on {}", gateway.local_addr());
//! gateway.run(async { drop(tokio::signal::ctrl_c().await) }).await;
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

mod admission;
mod body;
pub mod config;
mod connection;
pub mod forwarding;
mod handshakes;
mod listener;
pub mod log;
mod ordinary;
pub mod origin;
mod proxy;
mod recheck;
mod sessions;
mod standing;
mod start;
mod stream;
mod upstream;

pub use config::Config;
pub use log::{Outcome, VerdictEvent};
pub use start::{Gateway, StartError, raise_open_files, resolver};

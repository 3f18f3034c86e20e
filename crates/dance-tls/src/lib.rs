//! TLS with DANE client authentication over OpenSSL: the `dane_clientid` extension, raw public keys, and a handshake that waits for a verdict.
//!
//! A server makes an [`Acceptor`] once. Each connection becomes a [`PendingClient`]: handshake complete, possession of the key proven,
//! nothing read or written. Whoever decides looks at [`PendingClient::presented`] and hands the verdict to [`PendingClient::resume`], which
//! gives a [`TlsStream`] or sends the alert. A client makes a [`Connector`] once; each connection becomes a [`ClientStream`].
//!
//! This crate knows nothing of DNS. It decides nothing about a client but whether its messages obey the protocol.
//!
//! | module | what it holds |
//! |---|---|
//! | `config` | settings of both ends, and the context they make |
//! | `server`, `client` | the two ends |
//! | `stream` | the open connection |
//! | `transport` | the octets below TLS, and the lingering close |
//! | `conn` | what a connection learns during its handshake and answers OpenSSL's callbacks with |
//! | `certificate` | the client's Certificate message |
//! | `credential` | certificates and keys from files |
//! | `ffi` | the only `unsafe` |
#![deny(unsafe_code)]

mod certificate;
mod client;
mod config;
mod conn;
mod credential;
mod error;
#[allow(unsafe_code, reason = "the one module that may")]
mod ffi;
#[cfg(feature = "misbehave")]
#[doc(hidden)]
pub mod misbehave;
mod server;
mod stream;
mod transport;

pub use client::Connector;
pub use config::{
    ClientConfig, ClientCredential, DaneMode, MAX_CERTIFICATE_MESSAGE, ServerConfig, ServerVerification, TrustAnchors,
};
pub use credential::{CertifiedKey, PrivateKey};
pub use error::{
    AcceptError, AlertDescription, ClientAuthRefused, ConfigError, ConnectError, CredentialError, CredentialSource,
    PeerAlert, TlsFailure,
};
pub use server::{Acceptor, PendingClient, Resumed};
pub use stream::{ClientStream, CredentialType, Negotiated, TlsStream};
pub use transport::Linger;

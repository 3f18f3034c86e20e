//! TLS with DANE client authentication over OpenSSL: the `dane_clientid` extension, raw public keys, and a handshake
//! that waits for a verdict.
//!
//! A server makes an [`Acceptor`] once. Each connection becomes a [`PendingClient`]: handshake complete, possession of
//! the key proven, nothing read or written. Whoever decides looks at [`PendingClient::presented`] and hands the verdict
//! to [`PendingClient::resume`], which gives a [`TlsStream`] or sends the alert. A client makes a [`Connector`] once;
//! each connection becomes a [`ClientStream`].
//!
//! With a [`Resumption`], an authenticated client is given a ticket, and comes back as a [`ResumedClient`] if whoever
//! decided still agrees; if not, as a [`PendingClient`] like everybody else.
//!
//! This crate knows nothing of DNS. It decides nothing about a client but whether its messages obey the protocol.
//!
//! | module | what it holds |
//! |---|---|
//! | `config` | settings of both ends, and the context they make |
//! | `server`, `client` | the two handshakes |
//! | `pending` | the pause between a server's handshake and its stream |
//! | `stream` | the open connection |
//! | `transport` | the octets below TLS, and the lingering close |
//! | `session`, `session_store`, `ticket_keys` | resumption, at the server and at the client |
//! | `conn` | what a connection learns during its handshake and answers OpenSSL's callbacks with |
//! | `dtls` | DTLS 1.2, for profile `2022`: the same over datagrams |
//! | `credential` | certificates and keys from files |
//! | `rollover` | a client's current and next credential, loaded anew without restart |
//! | `ffi` | the only `unsafe` |
#![deny(unsafe_code)]

mod client;
mod config;
mod conn;
mod credential;
mod dtls;
mod error;
#[allow(unsafe_code, reason = "the one module that may")]
mod ffi;
#[cfg(feature = "misbehave")]
#[doc(hidden)]
pub mod misbehave;
mod pending;
mod rollover;
mod server;
mod session;
mod session_store;
mod stream;
mod ticket_keys;
mod transport;

pub use client::Connector;
pub use config::{ClientConfig, ClientCredential, DaneMode, ServerConfig, ServerVerification, TrustAnchors};
pub use credential::{CertifiedKey, PrivateKey};
pub use dtls::{
    DtlsAcceptor, DtlsConnected, DtlsConnector, DtlsIncoming, DtlsLimits, DtlsListener, DtlsStream,
    PendingDatagramClient, ResumedDatagrams,
};
pub use error::{
    AcceptError, AlertDescription, ClientAuthRefused, ConfigError, ConnectError, CredentialError, CredentialSource,
    PeerAlert, TlsFailure,
};
pub use pending::{PendingClient, Resumed, ResumedClient};
pub use rollover::{CredentialFiles, Credentials, ReadyCredential, Rollover, RolloverError, Slot};
pub use server::{Accepted, Acceptor};
pub use session::Resumption;
pub use stream::{ClientStream, CredentialType, Negotiated, TlsStream};
pub use transport::Linger;

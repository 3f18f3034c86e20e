//! OpenSSL 4.0.3 under the version number that `openssl-sys` accepts.
pub use real::*;

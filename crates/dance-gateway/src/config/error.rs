//! What is wrong with a configuration. All of it is the fault of whoever wrote it, and says what to write instead.

use std::fmt;

use dance_daemon::SettingError;

use crate::origin::Origin;

/// A setting that cannot be used. The fault of whoever wrote the configuration.
#[derive(Clone, Debug)]
pub enum ConfigError {
    /// One that every daemon has.
    Setting(SettingError),
    /// A key without default is missing.
    Missing {
        /// Which.
        key: &'static str,
    },
    /// The plaintext side would leave this host.
    OriginNotLocal {
        /// Where it points.
        origin: Origin,
    },
    /// `tls12` with `profile = "current"` and `policy = "require"`.
    Tls12Required,
    /// `derive-without-signal` with `profile = "current"`.
    DeriveWithoutSignal,
    /// `client-ca` with `policy = "require"`.
    ClientCaUnused,
    /// A setting about finding out who clients are, with `client-certificates = "forward"`.
    Forwarding {
        /// Which.
        key: &'static str,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { key } => write!(f, "the setting `{key}` has no default and is not set; {}", wanted(key)),
            Self::Setting(error) => error.fmt(f),
            Self::OriginNotLocal { origin } => write!(
                f,
                "the origin {origin} is not on this host: the connection to it is not encrypted and whoever reaches it can forge the identity header; use a loopback address or a Unix socket, or set unsafe-origin = true if the network between is yours alone"
            ),
            Self::Tls12Required => f.write_str(
                "tls12 = true with profile = \"current\" and policy = \"require\" could let nobody in by TLS 1.2, which has no place for the name there; use profile = \"2022\" or policy = \"optional\", or leave tls12 out",
            ),
            Self::DeriveWithoutSignal => f.write_str(
                "derive-without-signal = true needs profile = \"2022\": in profile \"current\" a name never comes from the certificate",
            ),
            Self::ClientCaUnused => f.write_str(
                "client-ca is for clients that do not ask for DANE, and policy = \"require\" lets none of them in; set policy = \"optional\", or leave client-ca out",
            ),
            Self::Forwarding { key } => write!(f, "`{key}` {}", why_not_here(key)),
        }
    }
}

/// Why a setting has no meaning where certificates are forwarded, and what to do about it.
fn why_not_here(key: &str) -> &'static str {
    match key {
        "resumption" => {
            "has tickets for clients that DANE has authenticated, and with client-certificates = \"forward\" it has authenticated none: each connection shows its certificate anew; leave `resumption` out"
        }
        "header" => {
            "tells a name that DANE has proven, and with client-certificates = \"forward\" there is none: the application finds the certificate in Client-Cert; leave `header` out"
        }
        _ => {
            "is about finding out who clients are, which with client-certificates = \"forward\" the application does, by its own settings: leave it out here, or set client-certificates = \"dane\""
        }
    }
}

fn wanted(key: &str) -> &'static str {
    match key {
        "certificate" => "it names a PEM file with the server's certificate chain, the server's own certificate first",
        "key" => "it names a PEM file with the key of the server's certificate",
        _ => "it is the web application's address, such as \"127.0.0.1:8080\" or \"unix:/run/app.sock\"",
    }
}

impl std::error::Error for ConfigError {}

impl From<SettingError> for ConfigError {
    fn from(error: SettingError) -> Self {
        Self::Setting(error)
    }
}

//! What is wrong with a configuration, told as: what was expected, what was found, what to write instead.

use std::fmt;
use std::net::SocketAddr;

use dance_daemon::SettingError;
use dance_http::Dialect;
use dance_http::peer::TrustedPeersError;

/// A configuration that cannot be used. The fault of whoever wrote it.
#[derive(Clone, Debug)]
pub enum ConfigError {
    /// A setting that every daemon has.
    Setting(SettingError),
    /// `listen` reaches beyond this machine.
    ListenNotLocal {
        /// As written.
        address: SocketAddr,
    },
    /// Nobody could ask.
    NoTrustedPeers,
    /// An entry of `trusted-peers`.
    TrustedPeers(TrustedPeersError),
    /// `forwarded-by` is missing.
    NoForwardedBy,
    /// The dialect has no field that goes without saying.
    NoCertificateHeader {
        /// Which.
        dialect: Dialect,
    },
    /// The dialect has certificate and chain in one field.
    ChainInOne {
        /// Which.
        dialect: Dialect,
    },
    /// Fields that would count for nothing.
    ExtAuthzHeaders,
    /// Envoy states the certificate over gRPC alone.
    ExtAuthzOverHttp,
    /// No field name.
    FieldSyntax {
        /// The key.
        key: &'static str,
        /// As written.
        value: String,
    },
    /// A field that has another use.
    FieldTaken {
        /// The key.
        key: &'static str,
        /// As written.
        value: String,
    },
    /// `realm` cannot stand in a challenge.
    Realm {
        /// As written.
        value: String,
    },
}

impl From<SettingError> for ConfigError {
    fn from(error: SettingError) -> Self {
        Self::Setting(error)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(error) => error.fmt(f),
            Self::ListenNotLocal { address } => write!(
                f,
                "listen \"{address}\" is not on this host alone: whoever reaches it and is in `trusted-peers` can claim to be any client whose certificate it knows; use a loopback address or \"unix:/PATH\", or set unsafe-listen = true if the network is yours alone"
            ),
            Self::NoTrustedPeers => f.write_str(
                "`trusted-peers` is empty, so nobody could ask; name the load balancer, such as trusted-peers = [\"127.0.0.1\"] or [\"unix\"]",
            ),
            Self::TrustedPeers(error) => write!(f, "trusted-peers: {error}"),
            Self::NoForwardedBy => f.write_str(
                "`forwarded-by` is missing: it says how the load balancer in front forwards certificates: \"rfc9440\", \"escaped-pem\", \"base64-der\", \"xfcc\", \"traefik\" or \"ext-authz\"",
            ),
            Self::NoCertificateHeader { dialect } => write!(
                f,
                "forwarded-by = \"{}\" needs `certificate-header`: the field that the load balancer is configured to write, such as \"X-Client-Cert\"",
                dialect.name()
            ),
            Self::ChainInOne { dialect } => write!(
                f,
                "forwarded-by = \"{}\" has certificate and chain in one field; leave `chain-header` out",
                dialect.name()
            ),
            Self::ExtAuthzHeaders => f.write_str(
                "forwarded-by = \"ext-authz\" takes the certificate from what Envoy states beside the request, and from no field; leave `certificate-header` and `chain-header` out",
            ),
            Self::ExtAuthzOverHttp => f.write_str(
                "forwarded-by = \"ext-authz\" needs protocol = \"grpc\": over HTTP Envoy states no certificate; leave `protocol` out, or use forwarded-by = \"xfcc\"",
            ),
            Self::FieldSyntax { key, value } => {
                write!(f, "{key} \"{value}\" is no HTTP field name; expected letters, digits and '-'")
            }
            Self::FieldTaken { key, value } => write!(
                f,
                "{key} \"{value}\" has another use here: clients write Dane-Clientid-Asserted, this service writes `header`, and certificate and chain have a field each"
            ),
            Self::Realm { value } => write!(
                f,
                "realm \"{}\": expected printable ASCII without quotation marks and backslashes",
                value.escape_debug()
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

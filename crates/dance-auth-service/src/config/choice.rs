//! The settings that are a choice, as they are written.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use dance_http::Dialect;
use serde::{Deserialize, Serialize};

/// `listen`: `ADDR:PORT` or `unix:/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// TCP.
    Address(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// `protocol`: never told from the request, since who sends the request can write what it looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// The answer is the status: `auth_request`, `forward_auth`, `ForwardAuth`, `ext_authz` over HTTP.
    Http,
    /// Envoy's `ext_authz` over gRPC, where the status is 200 for every answer.
    Grpc,
}

/// `name-from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NameFromSetting {
    /// `Dane-Clientid-Asserted`.
    Header,
    /// The body.
    Body,
    /// Either, and both alike.
    Either,
}

/// `forwarded-by`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedBySetting {
    /// In header fields, in this dialect.
    Dialect(Dialect),
    /// As Envoy's own statement in `CheckRequest.attributes.source.certificate`.
    ExtAuthz,
}

const EXT_AUTHZ: &str = "ext-authz";

impl ForwardedBySetting {
    const fn name(self) -> &'static str {
        match self {
            Self::Dialect(dialect) => dialect.name(),
            Self::ExtAuthz => EXT_AUTHZ,
        }
    }
}

/// What is none of the texts that a setting may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChoiceError {
    expected: &'static str,
}

impl fmt::Display for ChoiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.expected)
    }
}

impl std::error::Error for ChoiceError {}

impl FromStr for Listen {
    type Err = ChoiceError;

    fn from_str(text: &str) -> Result<Self, ChoiceError> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Self::Unix(path.into())),
            Some(_) => Err(ChoiceError { expected: "a path after unix:, such as unix:/run/dance/auth.sock" }),
            None => text.parse().map(Self::Address).map_err(|_| ChoiceError {
                expected: "an address with its port, such as 127.0.0.1:9181, or unix:/run/dance/auth.sock",
            }),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for ForwardedBySetting {
    type Err = ChoiceError;

    fn from_str(text: &str) -> Result<Self, ChoiceError> {
        if text == EXT_AUTHZ {
            return Ok(Self::ExtAuthz);
        }
        Dialect::from_name(text).map(Self::Dialect).ok_or(ChoiceError {
            expected: "rfc9440, escaped-pem, base64-der, xfcc, traefik or ext-authz: what the balancer in front writes",
        })
    }
}

impl fmt::Display for ForwardedBySetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! written_as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

written_as_text!(Listen, ForwardedBySetting);

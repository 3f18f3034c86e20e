//! The settings that are a choice, as they are written.

use dance_core::clientid::{ExtensionType, ExtensionTypes};
use serde::{Deserialize, Serialize};

/// `client-certificates`: what the gateway does about its clients' certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientCertificates {
    /// It authenticates clients by DANE, during the handshake.
    Dane,
    /// It takes any and forwards them (RFC 9440): whose they are is for the application to find out (requirements 6.2).
    Forward,
}

/// `policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicySetting {
    /// No connection without DANE authentication.
    Require,
    /// Such connections go on, anonymously.
    Optional,
}

/// `on-lookup-failure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnLookupFailureSetting {
    /// The handshake ends.
    Abort,
    /// The connection goes on, anonymously; under policy `optional` only.
    Unauthenticated,
}

/// `profile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProfileSetting {
    /// draft-ietf-dance-client-auth-13.
    #[serde(rename = "current")]
    Current,
    /// draft-ietf-dance-client-auth-00.
    #[serde(rename = "2022")]
    Draft2022,
}

/// `resumption`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResumptionSetting {
    /// Every connection has a full handshake.
    Off,
    /// Authenticated clients get tickets that are bound to their record and go when it goes (requirements 4.2 step 2).
    Bound,
}

/// `extension-type`: a number or its hexadecimal form in a string, or a list of such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionTypeSetting(pub ExtensionTypes);

impl Serialize for ExtensionTypeSetting {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => serializer.collect_str(one),
            several => serializer.collect_seq(several.iter().map(ToString::to_string)),
        }
    }
}

impl<'de> Deserialize<'de> for ExtensionTypeSetting {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            One(WrittenType),
            Several(Vec<WrittenType>),
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum WrittenType {
            Number(u16),
            Text(String),
        }
        let value = |written: &WrittenType| {
            let number = match written {
                WrittenType::Number(number) => Some(*number),
                WrittenType::Text(text) => {
                    text.strip_prefix("0x").and_then(|digits| u16::from_str_radix(digits, 16).ok())
                }
            };
            number.and_then(ExtensionType::new)
        };
        let types = match Written::deserialize(deserializer) {
            Ok(Written::One(one)) => value(&one).map(ExtensionTypes::from),
            Ok(Written::Several(several)) => {
                several.iter().map(value).collect::<Option<Vec<_>>>().and_then(ExtensionTypes::new)
            }
            Err(_) => None,
        };
        types.map(Self).ok_or_else(|| {
            serde::de::Error::custom(format_args!(
                "expected a TLS extension type of the private-use range, \"0xff00\" to \"0xffff\" without \"0xff01\", or a list of at most {} of them, all different",
                ExtensionTypes::MAX
            ))
        })
    }
}

//! One module a command.

use dance_core::clientid::{ClientProfile, ExtensionType, Profile};
use dance_core::name::{ClientName, NameError};
use serde::Serialize;

pub(crate) mod auth_service;
pub(crate) mod connect;
pub(crate) mod daemon;
pub(crate) mod demo;
pub(crate) mod dns;
pub(crate) mod extension;
pub(crate) mod gateway;
pub(crate) mod identity;
pub(crate) mod match_;
pub(crate) mod name;
pub(crate) mod preflight;
pub(crate) mod request;
pub(crate) mod resolve;
pub(crate) mod tls;
pub(crate) mod tlsa;
pub(crate) mod vectors;

/// What a receiver does with octets: the verdict of `dance name` and `dance extension decode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// Uses them.
    Accept,
    /// Ends the handshake.
    Reject,
    /// Goes on as if they were not there.
    Ignore,
}

/// Reads `--profile`.
pub(crate) fn parse_profile(text: &str) -> Result<Profile, String> {
    Profile::from_name(text).ok_or_else(|| "expected `current` or `2022`".to_owned())
}

/// Reads `--profile` of a client.
pub(crate) fn parse_client_profile(text: &str) -> Result<ClientProfile, String> {
    ClientProfile::from_name(text).ok_or_else(|| "expected `current`, `2022` or `auto`".to_owned())
}

/// Reads `--name` and other names that people type: a final dot is taken off.
pub(crate) fn parse_name(text: &str) -> Result<ClientName, NameError> {
    ClientName::parse_config(text)
}

/// Reads `--extension-type`: decimal, or hexadecimal with `0x`.
pub(crate) fn parse_extension_type(text: &str) -> Result<ExtensionType, String> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u16::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.ok().and_then(ExtensionType::new).ok_or_else(|| {
        "expected a number from 0xff00 to 0xffff other than 0xff01 (IANA has assigned none yet)".to_owned()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    // CID-01
    #[test]
    fn extension_type_is_decimal_or_hexadecimal_and_private() {
        assert_eq!(parse_extension_type("0xFFDC").unwrap(), ExtensionType::DEFAULT);
        assert_eq!(parse_extension_type("65500").unwrap(), ExtensionType::DEFAULT);
        for refused in ["0xff01", "0xfeff", "65536", "0x10000", "", "0x", "ffdc", "-1"] {
            assert!(parse_extension_type(refused).is_err(), "{refused:?} was taken");
        }
    }

    #[test]
    fn profiles_have_two_names_and_a_client_may_leave_it_open() {
        assert_eq!(parse_profile("current").unwrap(), Profile::Current);
        assert_eq!(parse_profile("2022").unwrap(), Profile::Draft2022);
        assert!(parse_profile("Current").is_err());
        assert!(parse_profile("auto").is_err());
        assert_eq!(parse_client_profile("current").unwrap(), ClientProfile::Fixed(Profile::Current));
        assert_eq!(parse_client_profile("2022").unwrap(), ClientProfile::Fixed(Profile::Draft2022));
        assert_eq!(parse_client_profile("auto").unwrap(), ClientProfile::Auto);
        assert!(parse_client_profile("any").is_err());
    }
}

//! Why a request is refused, and the status that tells as much of it as may be told (requirements 6.4).

use std::fmt;

use dance_core::reason::Reason;
use http::header::{CACHE_CONTROL, HeaderValue, RETRY_AFTER as RETRY_AFTER_FIELD, WWW_AUTHENTICATE};
use http::{Response, StatusCode};

use crate::asserted::AssertedError;
use crate::check::Rules;
use crate::forwarded::ForwardedError;

/// Why a request is refused. For the log; the client sees a status and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not come from the balancer.
    UntrustedPeer,
    /// The balancer says that the client has shown no certificate.
    NoCertificate,
    /// What the balancer forwards cannot be read.
    Forwarded(ForwardedError),
    /// No name is asserted.
    NoName,
    /// What is asserted cannot be read.
    Asserted(AssertedError),
    /// Header and body assert different names.
    NamesDiffer,
    /// The body is longer than may be read.
    BodyTooLarge,
    /// The body broke off.
    BodyIncomplete,
    /// The decision.
    Decided(Reason),
}

/// What a refusal becomes on the wire, besides its own nature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusRules {
    /// Tell failed look-ups, which may go better next time, from failed clients: 503 and not 401.
    pub distinguish_transient: bool,
    /// 403 for 401: whoever asks does not learn whether a name is on the allow-list.
    pub uniform_failure: bool,
    /// The asker relays 401 and 403 only (nginx `auth_request`): every other refusal is 401.
    pub relayed: bool,
}

/// Seconds after which a look-up that failed may be tried again: what failures are remembered for.
pub const RETRY_AFTER: u64 = dance_core::answer::MAX_FAILURE_CACHE.as_secs();

impl Refusal {
    /// The status by table 6.4.
    #[must_use]
    pub const fn status(&self, rules: StatusRules) -> StatusCode {
        let status = match self {
            Self::Forwarded(_) | Self::Asserted(_) | Self::BodyIncomplete => StatusCode::BAD_REQUEST,
            Self::UntrustedPeer | Self::NoCertificate | Self::NoName => StatusCode::UNAUTHORIZED,
            Self::NamesDiffer => StatusCode::FORBIDDEN,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Decided(reason) => of_reason(*reason, rules.distinguish_transient),
        };
        match status {
            StatusCode::UNAUTHORIZED if rules.uniform_failure => StatusCode::FORBIDDEN,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => status,
            _ if rules.relayed && rules.uniform_failure => StatusCode::FORBIDDEN,
            _ if rules.relayed => StatusCode::UNAUTHORIZED,
            _ => status,
        }
    }

    /// The refusal on the wire: a status, a challenge where there must be one (RFC 9110 section 15.5.2), and no word of why.
    #[must_use]
    pub fn response<B: Default>(&self, rules: &Rules) -> Response<B> {
        let mut response = Response::new(B::default());
        let status = self.status(rules.status);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, challenge(&rules.realm));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER_FIELD, HeaderValue::from(RETRY_AFTER));
            }
            _ => {}
        }
        response
    }

    /// The stable codes of all refusals that come before a decision.
    pub const CODES: [&str; 8] = [
        "untrusted-peer",
        "no-certificate",
        "forwarded-certificate",
        "no-client-name",
        "asserted-name",
        "names-differ",
        "body-too-large",
        "body-incomplete",
    ];

    /// The stable code: log field, metric label.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UntrustedPeer => "untrusted-peer",
            Self::NoCertificate => "no-certificate",
            Self::Forwarded(_) => "forwarded-certificate",
            Self::NoName => "no-client-name",
            Self::Asserted(_) => "asserted-name",
            Self::NamesDiffer => "names-differ",
            Self::BodyTooLarge => "body-too-large",
            Self::BodyIncomplete => "body-incomplete",
            Self::Decided(reason) => reason.code(),
        }
    }
}

/// The challenge of 401 (RFC 9110 section 11.6.1), by a scheme of our own, since no registered one fits (requirements 6.4).
fn challenge(realm: &str) -> HeaderValue {
    let mut text = String::from("DANE-TLS realm=\"");
    for character in realm.chars() {
        if matches!(character, '"' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("DANE-TLS"))
}

/// 403 for a name that may not come in, 503 for what another try may mend, 401 for everything else: who the client is, is not established.
const fn of_reason(reason: Reason, distinguish_transient: bool) -> StatusCode {
    match reason {
        Reason::NameNotAllowed | Reason::WrongServiceLabel => StatusCode::FORBIDDEN,
        Reason::LookupLimitTotal
        | Reason::LookupLimitAddress
        | Reason::LookupLimitEntry
        | Reason::LookupTimeout
        | Reason::LookupServfail
        | Reason::LookupRefused
        | Reason::LookupMalformed
        | Reason::LookupUnreachable
        | Reason::LookupTooCostly
        | Reason::LookupZoneSuspended
        | Reason::CheckTimeout
            if distinguish_transient =>
        {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Reason::LookupLimitTotal
        | Reason::LookupLimitAddress
        | Reason::LookupLimitEntry
        | Reason::LookupTimeout
        | Reason::LookupServfail
        | Reason::LookupRefused
        | Reason::LookupMalformed
        | Reason::LookupUnreachable
        | Reason::LookupTooCostly
        | Reason::LookupZoneSuspended
        | Reason::CheckTimeout
        | Reason::LookupAliasLimit
        | Reason::VersionTooLow
        | Reason::LegacyHandshake
        | Reason::ExtensionUndecodable
        | Reason::ExtensionMisplaced
        | Reason::ExtensionUnsolicited
        | Reason::CertificateMalformed
        | Reason::EmptyClientName
        | Reason::InvalidClientName
        | Reason::NoClientName
        | Reason::NoNameInCertificate
        | Reason::TlsaAbsent
        | Reason::DnssecInsecure
        | Reason::DnssecBogus
        | Reason::DnssecIndeterminate
        | Reason::NoUsableRecord
        | Reason::NoMatch
        | Reason::SanMismatch
        | Reason::WildcardEndEntity => StatusCode::UNAUTHORIZED,
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UntrustedPeer => f.write_str(
                "expected the request from the balancer, found it from somebody else, whose certificate fields count for nothing",
            ),
            Self::NoCertificate => f.write_str("the client has shown no certificate, or the balancer forwards none"),
            Self::Forwarded(error) => error.fmt(f),
            Self::NoName => f.write_str(
                "the request asserts no client name: expected the header Dane-Clientid-Asserted, or dane_clientid in a JSON or form body",
            ),
            Self::Asserted(error) => error.fmt(f),
            Self::NamesDiffer => f.write_str("the header asserts one client name and the body another"),
            Self::BodyTooLarge => f.write_str("the body is longer than is read in search of a client name"),
            Self::BodyIncomplete => f.write_str("the body broke off before its end"),
            Self::Decided(reason) => reason.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

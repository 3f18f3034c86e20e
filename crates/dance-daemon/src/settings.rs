//! Settings that are the same in every daemon's configuration file, and how the file is read. Unknown keys are errors there: a mistyped
//! security setting must not be lost.

use std::net::SocketAddr;
use std::path::Path;

use dance_core::CertificateDer;
use dance_core::name::ServiceLabel;
use dance_core::policy::{AllowList, WildcardEndEntity};
use dance_core::x509::Certificate;
use dance_http::identity::{HeaderRules, same};
use http::HeaderName;
use rustls_pki_types::pem::PemObject as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::duration::Span;
use crate::error::{HeaderError, ReadError, ReadErrorKind, RootsError, SettingError, StartError};

/// `wildcard-ee`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WildcardSetting {
    /// A DANE-EE match at a wildcard counts.
    Accept,
    /// It counts as no match (SEC-08).
    Reject,
}

impl From<WildcardSetting> for WildcardEndEntity {
    fn from(setting: WildcardSetting) -> Self {
        match setting {
            WildcardSetting::Accept => Self::Accept,
            WildcardSetting::Reject => Self::Reject,
        }
    }
}

/// `log-names`: how client names stand in the log (SEC-06).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogNames {
    /// As they are.
    Full,
    /// As a digest under a key that is drawn at start and never leaves the process: equal names can be told, names cannot.
    Hashed,
    /// Not at all.
    Off,
}

/// Most of anything that is counted: tokio's semaphores end near here on 32-bit machines.
pub const MAX_COUNT: usize = 1_000_000;

/// Fields that HTTP itself or every application depends on, or that tell of ordinary certificates: as the identity header they would be
/// lost to what they are for, or mistaken for it.
const FORBIDDEN_HEADERS: [&[u8]; 15] = [
    b"authorization",
    b"client-cert",
    b"client-cert-chain",
    b"connection",
    b"content-length",
    b"cookie",
    b"expect",
    b"host",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"vary",
];

/// Reads a configuration file.
///
/// # Errors
/// It cannot be read, is no TOML, has an unknown key, or a value that is none for its key.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, ReadError> {
    let fault = |kind| ReadError { path: path.to_owned(), kind };
    let text = std::fs::read_to_string(path).map_err(|error| fault(ReadErrorKind::Io(error)))?;
    toml::from_str(&text).map_err(|error| fault(ReadErrorKind::Syntax(error)))
}

/// `allow`.
///
/// # Errors
/// An entry is no pattern, or there is none.
pub fn allow_list(patterns: &[String]) -> Result<AllowList, SettingError> {
    let list = AllowList::parse(patterns.iter().map(String::as_str)).map_err(SettingError::Pattern)?;
    if list.is_empty() { Err(SettingError::NoAllowList) } else { Ok(list) }
}

/// `service-label`.
///
/// # Errors
/// It is none.
pub fn service_label(text: Option<&str>) -> Result<Option<ServiceLabel>, SettingError> {
    let label =
        |text| ServiceLabel::parse(text).map_err(|error| SettingError::ServiceLabel { value: text.to_owned(), error });
    text.map(label).transpose()
}

/// `header`.
///
/// # Errors
/// It is no field name, or one that has another use.
pub fn identity_header(text: &str) -> Result<HeaderName, SettingError> {
    let fault = |error| SettingError::Header { value: text.to_owned(), error };
    let header: HeaderName = text.parse().map_err(|_| fault(HeaderError::Syntax))?;
    let taken = FORBIDDEN_HEADERS.iter().any(|name| same(header.as_str().as_bytes(), name));
    if taken || HeaderRules::is_forwarding(&header) { Err(fault(HeaderError::Taken)) } else { Ok(header) }
}

/// `metrics` and `unsafe-metrics`: where to tell what is counted.
///
/// # Errors
/// Whoever reaches the port could watch.
pub fn metrics_address(metrics: Option<SocketAddr>, unsafe_metrics: bool) -> Result<Option<SocketAddr>, SettingError> {
    match metrics {
        Some(address) if !unsafe_metrics && !address.ip().to_canonical().is_loopback() => {
            Err(SettingError::MetricsNotLocal { address })
        }
        metrics => Ok(metrics),
    }
}

/// Time-outs, each more than nothing.
///
/// # Errors
/// The first that is not.
pub fn check_spans(spans: &[(&'static str, Span)]) -> Result<(), SettingError> {
    match spans.iter().find(|(_, span)| span.0.is_zero()) {
        Some((key, _)) => Err(SettingError::ZeroSpan { key }),
        None => Ok(()),
    }
}

/// Numbers, each within its bounds: key, value, least and most.
///
/// # Errors
/// The first that is not.
pub fn check_ranges(numbers: &[(&'static str, usize, usize, usize)]) -> Result<(), SettingError> {
    match numbers.iter().find(|(_, found, min, max)| !(min..=max).contains(&found)) {
        Some(&(key, found, min, max)) => Err(SettingError::OutOfRange { key, found, min, max }),
        None => Ok(()),
    }
}

/// The certificates in a PEM file that the setting `key` names.
///
/// # Errors
/// [`StartError::Roots`].
pub fn roots(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let fault = |kind| StartError::Roots { key, path: path.to_owned(), kind };
    let text = std::fs::read(path).map_err(|error| fault(RootsError::Io(error)))?;
    let roots: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|_| fault(RootsError::Pem))?;
    if roots.is_empty() {
        return Err(fault(RootsError::Empty));
    }
    for (position, root) in roots.iter().enumerate() {
        Certificate::parse(root).map_err(|_| fault(RootsError::Certificate { position: position + 1 }))?;
    }
    Ok(roots)
}

/// Raises this process's limit of open files to so many, and logs a warning where the system does not let it. For the whole process, which
/// is why nothing but a daemon's main function calls it.
pub fn raise_open_files(wanted: usize) {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX).saturating_add(SPARE_FILES);
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let allowed = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    limit.current = Some(allowed);
    let raised = setrlimit(Resource::Nofile, limit);
    if allowed < wanted || raised.is_err() {
        tracing::warn!(
            allowed,
            wanted,
            "too few files may be open for as many connections as are configured: raise the hard limit (ulimit -Hn, LimitNOFILE=), or lower max-connections"
        );
    }
}

/// Files that are no connections: the listening socket, the log, what the runtime polls with.
const SPARE_FILES: u64 = 64;

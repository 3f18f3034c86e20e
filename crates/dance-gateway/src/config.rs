//! The gateway's configuration: a TOML file, defaults for what it leaves out, and what is checked before anything starts.
//!
//! [`Config`] is the file as written, [`Config::check`] turns it into values that can be used, and printing it gives the effective
//! configuration. Unknown keys are errors: a mistyped security setting must not be lost.

mod error;
mod settings;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use dance_core::clientid::{ExtensionTypes, Profile};
use dance_core::name::ServiceLabel;
use dance_core::policy::{AllowList, OnLookupFailure, Policy, WildcardEndEntity};
use dance_resolver::Server;
use http::HeaderName;
use serde::{Deserialize, Serialize};

use crate::duration::Span;
use crate::origin::Origin;
use dance_http::identity::{HeaderRules, same};

pub use error::{ConfigError, HeaderError, ReadError, ReadErrorKind};
pub use settings::{
    DnsMode, ExtensionTypeSetting, LogNames, OnLookupFailureSetting, PolicySetting, ProfileSetting, ResumptionSetting,
    WildcardSetting,
};

/// The configuration as written, with defaults for what is left out. Keys in the file are these names in kebab-case;
/// `gateway.example.toml` explains each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each key is explained in gateway.example.toml, which a test holds to this struct")]
pub struct Config {
    pub listen: SocketAddr,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub origin: Option<Origin>,
    pub unsafe_origin: bool,
    pub server_names: Vec<String>,

    pub allow: Vec<String>,
    pub policy: PolicySetting,
    pub on_lookup_failure: OnLookupFailureSetting,
    pub profile: ProfileSetting,
    pub tls12: bool,
    pub extension_type: ExtensionTypeSetting,
    pub raw_public_keys: bool,
    pub service_label: Option<String>,
    pub derive_without_signal: bool,
    pub user_mode: bool,
    pub wildcard_ee: WildcardSetting,
    pub pkix_roots: Option<PathBuf>,
    pub client_ca: Option<PathBuf>,
    pub resumption: ResumptionSetting,

    pub header: String,
    pub log_names: LogNames,
    pub metrics: Option<SocketAddr>,
    pub unsafe_metrics: bool,

    pub handshake_timeout: Span,
    pub header_timeout: Span,
    pub idle_timeout: Span,
    pub tunnel_idle_timeout: Span,
    pub origin_connect_timeout: Span,
    pub origin_timeout: Span,
    pub drain_timeout: Span,

    pub max_connections: usize,
    pub handshakes_per_address: usize,
    pub max_origin_connections: usize,
    pub max_streams: u32,
    pub max_header_bytes: usize,

    pub dns: DnsConfig,
    pub limits: LimitsConfig,
}

/// The table `[dns]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each key is explained in gateway.example.toml, which a test holds to this struct")]
pub struct DnsConfig {
    pub resolver: Vec<String>,
    pub resolver_ca: Option<PathBuf>,
    pub mode: DnsMode,
    pub trust_anchor: Option<PathBuf>,
    pub timeout: Span,
    pub cache_bytes: usize,
}

/// The table `[limits]`: look-ups in flight (SEC-01).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each key is explained in gateway.example.toml, which a test holds to this struct")]
pub struct LimitsConfig {
    pub lookups_total: usize,
    pub lookups_per_address: usize,
    pub lookups_per_entry: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8443)),
            certificate: None,
            key: None,
            origin: None,
            unsafe_origin: false,
            server_names: Vec::new(),
            allow: Vec::new(),
            policy: PolicySetting::Require,
            on_lookup_failure: OnLookupFailureSetting::Abort,
            profile: ProfileSetting::Current,
            tls12: false,
            extension_type: ExtensionTypeSetting(ExtensionTypes::DEFAULT),
            raw_public_keys: true,
            service_label: None,
            derive_without_signal: false,
            user_mode: false,
            wildcard_ee: WildcardSetting::Accept,
            pkix_roots: None,
            client_ca: None,
            resumption: ResumptionSetting::Off,
            header: "Dane-Clientid".to_owned(),
            log_names: LogNames::Full,
            metrics: None,
            unsafe_metrics: false,
            handshake_timeout: Span::secs(10),
            header_timeout: Span::secs(10),
            idle_timeout: Span::secs(75),
            tunnel_idle_timeout: Span::secs(3600),
            origin_connect_timeout: Span::secs(5),
            origin_timeout: Span::secs(60),
            drain_timeout: Span::secs(30),
            max_connections: 4096,
            handshakes_per_address: 64,
            max_origin_connections: 1024,
            max_streams: 100,
            max_header_bytes: 32 * 1024,
            dns: DnsConfig::default(),
            limits: LimitsConfig::default(),
        }
    }
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            resolver: Vec::new(),
            mode: DnsMode::Validate,
            resolver_ca: None,
            trust_anchor: None,
            timeout: Span::secs(3),
            cache_bytes: dance_resolver::CACHE_BYTES,
        }
    }
}

impl Default for LimitsConfig {
    /// Requirements section 7.
    fn default() -> Self {
        Self { lookups_total: 256, lookups_per_address: 8, lookups_per_entry: 64 }
    }
}

impl Config {
    /// Reads a file. Relative paths in it count from the file's own directory.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, has an unknown key, or a value that is none for its key.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let fault = |kind| ReadError { path: path.to_owned(), kind };
        let text = std::fs::read_to_string(path).map_err(|error| fault(ReadErrorKind::Io(error)))?;
        let mut config = Self::parse(&text).map_err(|error| fault(ReadErrorKind::Syntax(error)))?;
        let base = path.parent().unwrap_or(Path::new(""));
        let paths = [
            &mut config.certificate,
            &mut config.key,
            &mut config.pkix_roots,
            &mut config.client_ca,
            &mut config.dns.resolver_ca,
            &mut config.dns.trust_anchor,
        ];
        for path in paths.into_iter().flatten() {
            *path = base.join(&*path);
        }
        Ok(config)
    }

    /// Reads TOML text.
    ///
    /// # Errors
    /// As [`read`](Self::read), but for the file.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Checks everything that can be checked without opening a file or socket.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check(&self) -> Result<Checked<'_>, ConfigError> {
        let certificate = self.certificate.as_deref().ok_or(ConfigError::Missing { key: "certificate" })?;
        let key = self.key.as_deref().ok_or(ConfigError::Missing { key: "key" })?;
        let origin = self.origin.as_ref().ok_or(ConfigError::Missing { key: "origin" })?;
        if !self.unsafe_origin && !origin.is_local() {
            return Err(ConfigError::OriginNotLocal { origin: origin.clone() });
        }
        let allow_list = AllowList::parse(self.allow.iter().map(String::as_str)).map_err(ConfigError::Pattern)?;
        if allow_list.is_empty() {
            return Err(ConfigError::NoAllowList);
        }
        let service_label = match &self.service_label {
            Some(text) => Some(
                ServiceLabel::parse(text).map_err(|error| ConfigError::ServiceLabel { value: text.clone(), error })?,
            ),
            None => None,
        };
        match (self.profile, self.policy) {
            (ProfileSetting::Current, PolicySetting::Require) if self.tls12 => return Err(ConfigError::Tls12Required),
            (ProfileSetting::Current, _) if self.derive_without_signal => return Err(ConfigError::DeriveWithoutSignal),
            (_, PolicySetting::Require) if self.client_ca.is_some() => return Err(ConfigError::ClientCaUnused),
            _ => {}
        }
        // The AD bit does not tell whether a wildcard was expanded (requirements 4.2 step 16).
        if self.wildcard_ee == WildcardSetting::Reject && self.dns.mode == DnsMode::Ad {
            return Err(ConfigError::WildcardUnseen);
        }
        self.dns_servers()?;
        self.metrics_address()?;
        self.check_ranges()?;
        let header = self
            .header
            .parse::<HeaderName>()
            .map_err(|_| ConfigError::Header { value: self.header.clone(), error: HeaderError::Syntax })?;
        if FORBIDDEN_HEADERS.iter().any(|name| same(header.as_str().as_bytes(), name))
            || HeaderRules::is_forwarding(&header)
        {
            return Err(ConfigError::Header { value: self.header.clone(), error: HeaderError::Taken });
        }
        Ok(Checked { certificate, key, origin, allow_list, service_label, header })
    }

    /// The resolvers; empty for those of the system.
    ///
    /// # Errors
    /// [`ConfigError::DnsServer`].
    pub fn dns_servers(&self) -> Result<Vec<Server>, ConfigError> {
        let server = |text: &String| text.parse().map_err(ConfigError::DnsServer);
        self.dns.resolver.iter().map(server).collect()
    }

    /// Where to tell what is counted.
    pub(crate) fn metrics_address(&self) -> Result<Option<SocketAddr>, ConfigError> {
        match self.metrics {
            Some(address) if !self.unsafe_metrics && !address.ip().to_canonical().is_loopback() => {
                Err(ConfigError::MetricsNotLocal { address })
            }
            metrics => Ok(metrics),
        }
    }

    fn check_ranges(&self) -> Result<(), ConfigError> {
        let spans = [
            ("handshake-timeout", self.handshake_timeout),
            ("header-timeout", self.header_timeout),
            ("idle-timeout", self.idle_timeout),
            ("tunnel-idle-timeout", self.tunnel_idle_timeout),
            ("origin-connect-timeout", self.origin_connect_timeout),
            ("origin-timeout", self.origin_timeout),
            ("dns.timeout", self.dns.timeout),
        ];
        for (key, span) in spans {
            if span.0.is_zero() {
                return Err(ConfigError::ZeroSpan { key });
            }
        }
        let numbers = [
            ("max-connections", self.max_connections, 1, MAX_COUNT),
            ("handshakes-per-address", self.handshakes_per_address, 1, MAX_COUNT),
            ("max-origin-connections", self.max_origin_connections, 1, MAX_COUNT),
            ("max-streams", self.max_streams as usize, 1, 10_000),
            ("max-header-bytes", self.max_header_bytes, 8 * 1024, 1024 * 1024),
            ("dns.cache-bytes", self.dns.cache_bytes, 64 * 1024, 1 << 40),
            ("limits.lookups-total", self.limits.lookups_total, 1, MAX_COUNT),
            ("limits.lookups-per-address", self.limits.lookups_per_address, 1, MAX_COUNT),
            ("limits.lookups-per-entry", self.limits.lookups_per_entry, 1, MAX_COUNT),
        ];
        for (key, found, min, max) in numbers {
            if !(min..=max).contains(&found) {
                return Err(ConfigError::OutOfRange { key, found, min, max });
            }
        }
        Ok(())
    }

    /// The policy for clients.
    #[must_use]
    pub const fn policy(&self) -> Policy {
        match self.policy {
            PolicySetting::Require => Policy::Require,
            PolicySetting::Optional => Policy::Optional,
        }
    }

    /// What a failed look-up becomes.
    #[must_use]
    pub const fn on_lookup_failure(&self) -> OnLookupFailure {
        match self.on_lookup_failure {
            OnLookupFailureSetting::Abort => OnLookupFailure::Abort,
            OnLookupFailureSetting::Unauthenticated => OnLookupFailure::Unauthenticated,
        }
    }

    /// The wire profile.
    #[must_use]
    pub const fn profile(&self) -> Profile {
        match self.profile {
            ProfileSetting::Current => Profile::Current,
            ProfileSetting::Draft2022 => Profile::Draft2022,
        }
    }

    /// What a DANE-EE match at a wildcard counts for.
    #[must_use]
    pub const fn wildcard_ee(&self) -> WildcardEndEntity {
        match self.wildcard_ee {
            WildcardSetting::Accept => WildcardEndEntity::Accept,
            WildcardSetting::Reject => WildcardEndEntity::Reject,
        }
    }
}

/// Most of anything that is counted: tokio's semaphores end near here on 32-bit machines.
const MAX_COUNT: usize = 1_000_000;

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

impl fmt::Display for Config {
    /// The effective configuration as TOML that can be read back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&toml::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// What [`Config::check`] makes of the texts in a configuration.
#[derive(Clone, Debug)]
pub struct Checked<'a> {
    /// The server's certificate chain.
    pub certificate: &'a Path,
    /// Its key.
    pub key: &'a Path,
    /// The web application.
    pub origin: &'a Origin,
    /// Who may be looked up; never empty.
    pub allow_list: AllowList,
    /// The listener's service.
    pub service_label: Option<ServiceLabel>,
    /// The field that tells the web application who connected.
    pub header: HeaderName,
}

#[cfg(test)]
mod tests;

//! The gateway's configuration: a TOML file, defaults for what it leaves out, and what is checked before anything starts.
//!
//! [`Config`] is the file as written, [`Config::check`] turns it into values that can be used, and printing it gives the effective
//! configuration. Unknown keys are errors: a mistyped security setting must not be lost.

mod choice;
mod error;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use dance_core::clientid::{ExtensionTypes, Profile};
use dance_core::name::ServiceLabel;
use dance_core::policy::{AllowList, OnLookupFailure, Policy};
use dance_daemon::SettingError;
use dance_daemon::error::ReadError;
use dance_daemon::settings::{self, MAX_COUNT};
use http::HeaderName;
use serde::{Deserialize, Serialize};

use crate::origin::Origin;

pub use choice::{
    ClientCertificates, ExtensionTypeSetting, OnLookupFailureSetting, PolicySetting, ProfileSetting, ResumptionSetting,
};
pub use dance_daemon::Span;
pub use dance_daemon::dns::{DnsConfig, DnsMode, LimitsConfig};
pub use dance_daemon::settings::{LogNames, WildcardSetting};
pub use error::ConfigError;

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

    pub client_certificates: ClientCertificates,
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
    pub max_certificate_bytes: usize,

    pub dns: DnsConfig,
    pub limits: LimitsConfig,
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
            client_certificates: ClientCertificates::Dane,
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
            max_certificate_bytes: 16 * 1024,
            dns: DnsConfig::default(),
            limits: LimitsConfig::default(),
        }
    }
}

impl Config {
    /// Reads a file. Relative paths in it count from the file's own directory.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, has an unknown key, or a value that is none for its key.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let mut config: Self = settings::read(path)?;
        let base = path.parent().unwrap_or(Path::new(""));
        let paths = [&mut config.certificate, &mut config.key, &mut config.pkix_roots, &mut config.client_ca];
        for path in paths.into_iter().flatten().chain(config.dns.paths_mut()) {
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
        let dane = match self.client_certificates {
            ClientCertificates::Dane => Some(self.check_dane()?),
            ClientCertificates::Forward => {
                self.check_forward()?;
                None
            }
        };
        self.metrics_address()?;
        self.check_ranges()?;
        let header = settings::identity_header(&self.header)?;
        Ok(Checked { certificate, key, origin, dane, header })
    }

    /// What finding out who clients are needs.
    fn check_dane(&self) -> Result<CheckedDane, ConfigError> {
        let allow_list = settings::allow_list(&self.allow)?;
        let service_label = settings::service_label(self.service_label.as_deref())?;
        match (self.profile, self.policy) {
            (ProfileSetting::Current, PolicySetting::Require) if self.tls12 => return Err(ConfigError::Tls12Required),
            (ProfileSetting::Current, _) if self.derive_without_signal => return Err(ConfigError::DeriveWithoutSignal),
            (_, PolicySetting::Require) if self.client_ca.is_some() => return Err(ConfigError::ClientCaUnused),
            _ => {}
        }
        // The AD bit does not tell whether a wildcard was expanded (requirements 4.2 step 16).
        if self.wildcard_ee == WildcardSetting::Reject && self.dns.mode == DnsMode::Ad {
            return Err(SettingError::WildcardUnseen.into());
        }
        self.dns.check()?;
        self.limits.check()?;
        Ok(CheckedDane { allow_list, service_label })
    }

    /// Finding out who clients are is the application's here. A setting about that says that somebody counts on it.
    fn check_forward(&self) -> Result<(), ConfigError> {
        let unset = Self::default();
        let set = [
            ("allow", !self.allow.is_empty()),
            ("policy", self.policy != unset.policy),
            ("on-lookup-failure", self.on_lookup_failure != unset.on_lookup_failure),
            ("profile", self.profile != unset.profile),
            ("extension-type", self.extension_type != unset.extension_type),
            ("service-label", self.service_label.is_some()),
            ("derive-without-signal", self.derive_without_signal),
            ("user-mode", self.user_mode),
            ("wildcard-ee", self.wildcard_ee != unset.wildcard_ee),
            ("pkix-roots", self.pkix_roots.is_some()),
            ("client-ca", self.client_ca.is_some()),
            ("resumption", self.resumption != unset.resumption),
            ("header", self.header != unset.header),
            ("dns", self.dns != unset.dns),
            ("limits", self.limits != unset.limits),
        ];
        match set.into_iter().find(|(_, set)| *set) {
            Some((key, _)) => Err(ConfigError::Forwarding { key }),
            None => Ok(()),
        }
    }

    /// Where to tell what is counted.
    ///
    /// # Errors
    /// [`SettingError::MetricsNotLocal`].
    pub fn metrics_address(&self) -> Result<Option<SocketAddr>, SettingError> {
        settings::metrics_address(self.metrics, self.unsafe_metrics)
    }

    fn check_ranges(&self) -> Result<(), SettingError> {
        settings::check_spans(&[
            ("handshake-timeout", self.handshake_timeout),
            ("header-timeout", self.header_timeout),
            ("idle-timeout", self.idle_timeout),
            ("tunnel-idle-timeout", self.tunnel_idle_timeout),
            ("origin-connect-timeout", self.origin_connect_timeout),
            ("origin-timeout", self.origin_timeout),
        ])?;
        settings::check_ranges(&[
            ("max-connections", self.max_connections, 1, MAX_COUNT),
            ("handshakes-per-address", self.handshakes_per_address, 1, MAX_COUNT),
            ("max-origin-connections", self.max_origin_connections, 1, MAX_COUNT),
            ("max-streams", self.max_streams as usize, 1, 10_000),
            ("max-header-bytes", self.max_header_bytes, 8 * 1024, 1024 * 1024),
            ("max-certificate-bytes", self.max_certificate_bytes, 1024, 128 * 1024),
        ])
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
}

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
    /// How to find out who clients are; `None` if certificates are forwarded.
    pub dane: Option<CheckedDane>,
    /// The field that tells the web application who connected.
    pub header: HeaderName,
}

/// The part of it that there is with `client-certificates = "dane"`.
#[derive(Clone, Debug)]
pub struct CheckedDane {
    /// Who may be looked up; never empty.
    pub allow_list: AllowList,
    /// The listener's service.
    pub service_label: Option<ServiceLabel>,
}

#[cfg(test)]
mod tests;

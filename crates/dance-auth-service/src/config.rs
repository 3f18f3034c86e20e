//! The service's configuration: a TOML file, defaults for what it leaves out, and what is checked before anything starts. As the
//! gateway's, where a key is in both.

mod choice;
mod error;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use dance_core::name::ServiceLabel;
use dance_core::policy::AllowList;
use dance_daemon::dns::{DnsConfig, DnsMode, LimitsConfig};
use dance_daemon::error::ReadError;
use dance_daemon::settings::{self, LogNames, MAX_COUNT, WildcardSetting};
use dance_daemon::{SettingError, Span};
use dance_http::asserted::ASSERTED;
use dance_http::check::BODY_LIMIT;
use dance_http::identity::same;
use dance_http::{Dialect, ForwardedBy, NameFrom, Rules, StatusRules, TrustedPeers};
use http::HeaderName;
use serde::{Deserialize, Serialize};

pub use choice::{ForwardedBySetting, Listen, NameFromSetting, Protocol};
pub use error::ConfigError;

/// The configuration as written, with defaults for what is left out. Keys in the file are these names in kebab-case;
/// `auth-service.example.toml` explains each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each key is explained in auth-service.example.toml, which a test holds to this struct")]
pub struct Config {
    pub listen: Listen,
    pub unsafe_listen: bool,
    pub protocol: Option<Protocol>,
    pub trusted_peers: Vec<String>,

    pub forwarded_by: Option<ForwardedBySetting>,
    pub certificate_header: Option<String>,
    pub chain_header: Option<String>,
    pub name_from: NameFromSetting,
    pub alias: bool,
    pub body_limit: usize,
    pub client_address_header: Option<String>,

    pub allow: Vec<String>,
    pub service_label: Option<String>,
    pub user_mode: bool,
    pub wildcard_ee: WildcardSetting,
    pub pkix_roots: Option<PathBuf>,

    pub header: String,
    pub realm: String,
    pub distinguish_transient: bool,
    pub uniform_failure: bool,
    #[serde(rename = "relay-401-and-403-only")]
    pub relay_401_and_403_only: bool,
    pub log_names: LogNames,
    pub metrics: Option<SocketAddr>,
    pub unsafe_metrics: bool,

    pub header_timeout: Span,
    pub body_timeout: Span,
    pub idle_timeout: Span,
    pub drain_timeout: Span,

    pub max_connections: usize,
    pub max_streams: u32,
    pub max_header_bytes: usize,

    pub dns: DnsConfig,
    pub limits: LimitsConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Listen::Address(SocketAddr::from(([127, 0, 0, 1], 9181))),
            unsafe_listen: false,
            protocol: None,
            trusted_peers: ["127.0.0.0/8", "::1", "unix"].map(str::to_owned).into(),
            forwarded_by: None,
            certificate_header: None,
            chain_header: None,
            name_from: NameFromSetting::Either,
            alias: false,
            body_limit: BODY_LIMIT,
            client_address_header: None,
            allow: Vec::new(),
            service_label: None,
            user_mode: false,
            wildcard_ee: WildcardSetting::Accept,
            pkix_roots: None,
            header: "Dane-Clientid".to_owned(),
            realm: "DANE".to_owned(),
            distinguish_transient: false,
            uniform_failure: false,
            relay_401_and_403_only: false,
            log_names: LogNames::Full,
            metrics: None,
            unsafe_metrics: false,
            header_timeout: Span::secs(10),
            body_timeout: Span::secs(10),
            idle_timeout: Span::secs(75),
            drain_timeout: Span::secs(30),
            max_connections: 4096,
            max_streams: 100,
            max_header_bytes: 128 * 1024,
            dns: DnsConfig::default(),
            limits: LimitsConfig::default(),
        }
    }
}

/// A checked configuration's values in usable form.
#[derive(Debug)]
pub struct Checked {
    /// How requests are read, and what refusals become.
    pub rules: Rules,
    /// What is spoken.
    pub protocol: Protocol,
    /// Who may come in.
    pub allow_list: AllowList,
    /// The service that clients come for.
    pub service_label: Option<ServiceLabel>,
    /// The field that tells who the client is.
    pub header: HeaderName,
    /// Look-ups in flight.
    pub limits: LimitsConfig,
}

impl Config {
    /// Reads a file. Relative paths in it count from the file's own directory.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, has an unknown key, or a value that is none for its key.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let mut config: Self = settings::read(path)?;
        let base = path.parent().unwrap_or(Path::new(""));
        if let Listen::Unix(path) = &mut config.listen {
            *path = base.join(&*path);
        }
        for path in config.pkix_roots.iter_mut().chain(config.dns.paths_mut()) {
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
    pub fn check(&self) -> Result<Checked, ConfigError> {
        match &self.listen {
            Listen::Address(address) if !self.unsafe_listen && !address.ip().to_canonical().is_loopback() => {
                return Err(ConfigError::ListenNotLocal { address: *address });
            }
            Listen::Address(_) | Listen::Unix(_) => {}
        }
        let header = settings::identity_header(&self.header)?;
        let forwarded_by = self.forwarded_by(&header)?;
        let protocol = match (self.protocol, forwarded_by.is_beside_the_request()) {
            (Some(Protocol::Http), true) => return Err(ConfigError::ExtAuthzOverHttp),
            (None | Some(Protocol::Grpc), true) => Protocol::Grpc,
            (chosen, false) => chosen.unwrap_or(Protocol::Http),
        };
        let client_address = self.client_address_header.as_deref();
        let client_address = client_address.map(|value| field("client-address-header", value)).transpose()?;
        let limits = LimitsConfig {
            // Nobody tells clients' addresses: the balancer's, which all have in common, limits nobody.
            lookups_per_address: match (&client_address, protocol) {
                (None, Protocol::Http) => self.limits.lookups_total,
                (Some(_), _) | (None, Protocol::Grpc) => self.limits.lookups_per_address,
            },
            ..self.limits.clone()
        };
        let rules = Rules {
            forwarded_by,
            trusted_peers: self.trusted_peers()?,
            name_from: self.name_from.into(),
            alias: self.alias,
            body_limit: self.body_limit,
            client_address,
            status: StatusRules {
                distinguish_transient: self.distinguish_transient,
                uniform_failure: self.uniform_failure,
                relayed: self.relay_401_and_403_only,
            },
            realm: self.realm()?,
        };
        let allow_list = settings::allow_list(&self.allow)?;
        let service_label = settings::service_label(self.service_label.as_deref())?;
        // The AD bit does not tell whether a wildcard was expanded (requirements 4.2 step 16).
        if self.wildcard_ee == WildcardSetting::Reject && self.dns.mode == DnsMode::Ad {
            return Err(SettingError::WildcardUnseen.into());
        }
        self.dns.check()?;
        self.limits.check()?;
        self.metrics_address()?;
        settings::check_spans(&[
            ("header-timeout", self.header_timeout),
            ("body-timeout", self.body_timeout),
            ("idle-timeout", self.idle_timeout),
        ])?;
        settings::check_ranges(&[
            ("body-limit", self.body_limit, 1, MAX_BODY),
            ("max-connections", self.max_connections, 1, MAX_COUNT),
            ("max-streams", self.max_streams as usize, 1, 10_000),
            ("max-header-bytes", self.max_header_bytes, 8 * 1024, 1024 * 1024),
        ])?;
        Ok(Checked { rules, protocol, allow_list, service_label, header, limits })
    }

    /// Where to tell what is counted.
    ///
    /// # Errors
    /// [`SettingError::MetricsNotLocal`].
    pub fn metrics_address(&self) -> Result<Option<SocketAddr>, SettingError> {
        settings::metrics_address(self.metrics, self.unsafe_metrics)
    }

    fn trusted_peers(&self) -> Result<TrustedPeers, ConfigError> {
        if self.trusted_peers.is_empty() {
            return Err(ConfigError::NoTrustedPeers);
        }
        self.trusted_peers.join(",").parse().map_err(ConfigError::TrustedPeers)
    }

    fn forwarded_by(&self, identity: &HeaderName) -> Result<ForwardedBy, ConfigError> {
        let dialect = match self.forwarded_by.ok_or(ConfigError::NoForwardedBy)? {
            ForwardedBySetting::Dialect(dialect) => dialect,
            ForwardedBySetting::ExtAuthz => {
                if self.certificate_header.is_some() || self.chain_header.is_some() {
                    return Err(ConfigError::ExtAuthzHeaders);
                }
                return Ok(ForwardedBy::beside_the_request());
            }
        };
        let certificate = match (self.certificate_header.as_deref(), dialect.default_field()) {
            (Some(written), _) => field("certificate-header", written)?,
            (None, Some(usual)) => usual,
            (None, None) => return Err(ConfigError::NoCertificateHeader { dialect }),
        };
        let chain = match (self.chain_header.as_deref(), dialect) {
            (Some(_), Dialect::Xfcc | Dialect::Traefik) => return Err(ConfigError::ChainInOne { dialect }),
            (Some(written), _) => Some(field("chain-header", written)?),
            (None, Dialect::Rfc9440) => Some(dance_http::forwarded::CLIENT_CERT_CHAIN),
            (None, _) => None,
        };
        let octets = |name: &HeaderName| name.as_str().as_bytes().to_vec();
        let is_one = |one: &HeaderName, other: &HeaderName| same(&octets(one), &octets(other));
        let fields = [("certificate-header", Some(&certificate)), ("chain-header", chain.as_ref())];
        for (key, name) in fields {
            if let Some(name) = name.filter(|name| is_one(name, identity) || is_one(name, &ASSERTED)) {
                return Err(ConfigError::FieldTaken { key, value: name.to_string() });
            }
        }
        if chain.as_ref().is_some_and(|chain| is_one(chain, &certificate)) {
            return Err(ConfigError::FieldTaken { key: "chain-header", value: certificate.to_string() });
        }
        let forwarded_by = ForwardedBy::new(dialect, certificate);
        Ok(match chain {
            Some(chain) => forwarded_by.with_chain(chain),
            None => forwarded_by,
        })
    }

    fn realm(&self) -> Result<String, ConfigError> {
        let plain = |octet: u8| matches!(octet, b' '..=b'~') && !matches!(octet, b'"' | b'\\');
        if self.realm.bytes().all(plain) {
            Ok(self.realm.clone())
        } else {
            Err(ConfigError::Realm { value: self.realm.clone() })
        }
    }
}

/// One body must fit.
const MAX_BODY: usize = crate::answer::BODY_MEMORY;

fn field(key: &'static str, value: &str) -> Result<HeaderName, ConfigError> {
    value.parse().map_err(|_| ConfigError::FieldSyntax { key, value: value.to_owned() })
}

impl From<NameFromSetting> for NameFrom {
    fn from(setting: NameFromSetting) -> Self {
        match setting {
            NameFromSetting::Header => Self::Header,
            NameFromSetting::Body => Self::Body,
            NameFromSetting::Either => Self::Either,
        }
    }
}

impl fmt::Display for Config {
    /// The effective configuration as TOML that can be read back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&toml::to_string(self).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests;

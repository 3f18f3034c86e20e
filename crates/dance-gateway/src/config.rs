//! The gateway's configuration: a TOML file, defaults for what it leaves out, and what is checked before anything starts.
//!
//! [`Config`] is the file as written, [`Config::check`] turns it into values that can be used, and printing it gives the effective
//! configuration. Unknown keys are errors: a mistyped security setting must not be lost.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use dance_core::clientid::{ExtensionType, Profile};
use dance_core::name::{NameError, ServiceLabel};
use dance_core::policy::{AllowList, OnLookupFailure, PatternError, Policy, WildcardEndEntity};
use dance_resolver::DNS_PORT;
use http::HeaderName;
use serde::{Deserialize, Serialize};

use crate::duration::Span;
use crate::identity::{HeaderRules, same};
use crate::origin::Origin;

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
    pub extension_type: ExtensionTypeSetting,
    pub raw_public_keys: bool,
    pub service_label: Option<String>,
    pub wildcard_ee: WildcardSetting,
    pub pkix_roots: Option<PathBuf>,

    pub header: String,
    pub log_names: LogNames,

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
    pub mode: DnsMode,
    pub trust_anchor: Option<PathBuf>,
    pub timeout: Span,
    pub cache_entries: usize,
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
            extension_type: ExtensionTypeSetting(ExtensionType::DEFAULT),
            raw_public_keys: true,
            service_label: None,
            wildcard_ee: WildcardSetting::Accept,
            pkix_roots: None,
            header: "Dane-Clientid".to_owned(),
            log_names: LogNames::Full,
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
            trust_anchor: None,
            timeout: Span::secs(3),
            cache_entries: 10_000,
        }
    }
}

impl Default for LimitsConfig {
    /// Requirements section 7.
    fn default() -> Self {
        Self { lookups_total: 256, lookups_per_address: 8, lookups_per_entry: 64 }
    }
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

/// `wildcard-ee`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WildcardSetting {
    /// A DANE-EE match at a wildcard counts.
    Accept,
    /// It counts as no match (SEC-08).
    Reject,
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

/// `dns.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DnsMode {
    /// The gateway validates signatures itself.
    Validate,
    /// It believes the resolver's AD bit.
    Ad,
}

/// `extension-type`: a number in the file or its hexadecimal form in a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionTypeSetting(pub ExtensionType);

impl Serialize for ExtensionTypeSetting {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ExtensionTypeSetting {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u16),
            Text(String),
        }
        let value = match Written::deserialize(deserializer) {
            Ok(Written::Number(number)) => Some(number),
            Ok(Written::Text(text)) => text.strip_prefix("0x").and_then(|hex| u16::from_str_radix(hex, 16).ok()),
            Err(_) => None,
        };
        value.and_then(ExtensionType::new).map(Self).ok_or_else(|| {
            serde::de::Error::custom(
                "expected a TLS extension type of the private-use range, \"0xff00\" to \"0xffff\" without \"0xff01\"",
            )
        })
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
        let paths = [&mut config.certificate, &mut config.key, &mut config.pkix_roots, &mut config.dns.trust_anchor];
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
        // The AD bit does not tell whether a wildcard was expanded (requirements 4.2 step 16).
        if self.wildcard_ee == WildcardSetting::Reject && self.dns.mode == DnsMode::Ad {
            return Err(ConfigError::WildcardUnseen);
        }
        self.dns_servers()?;
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
    pub fn dns_servers(&self) -> Result<Vec<SocketAddr>, ConfigError> {
        let address = |text: &String| {
            let address = text.parse::<SocketAddr>().ok();
            let address = address.or_else(|| Some((text.parse::<IpAddr>().ok()?, DNS_PORT).into()));
            address.ok_or_else(|| ConfigError::DnsServer { value: text.clone() })
        };
        self.dns.resolver.iter().map(address).collect()
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
            ("dns.cache-entries", self.dns.cache_entries, 1, 10_000_000),
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

/// Fields that HTTP itself or every application depends on: as the identity header they would be lost to what they are for.
const FORBIDDEN_HEADERS: [&[u8]; 13] = [
    b"authorization",
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

/// A configuration file that cannot be used.
#[derive(Debug)]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub kind: ReadErrorKind,
}

/// What is wrong with a configuration file.
#[derive(Debug)]
pub enum ReadErrorKind {
    /// It cannot be read.
    Io(io::Error),
    /// It is no TOML, has a key that there is none of, or a value of the wrong form; the message quotes the line.
    Syntax(toml::de::Error),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ReadErrorKind::Io(error) => write!(
                f,
                "cannot read the configuration {}: {error}; name a TOML file that this program may read",
                self.path.display()
            ),
            ReadErrorKind::Syntax(error) => write!(f, "configuration {}: {error}", self.path.display()),
        }
    }
}

impl std::error::Error for ReadError {}

/// A setting that cannot be used. The fault of whoever wrote the configuration.
#[derive(Clone, Debug)]
pub enum ConfigError {
    /// A key without default is missing.
    Missing {
        /// Which.
        key: &'static str,
    },
    /// Nobody would be let in.
    NoAllowList,
    /// An entry of `allow`.
    Pattern(PatternError),
    /// An entry of `dns.resolver`.
    DnsServer {
        /// As written.
        value: String,
    },
    /// The plaintext side would leave this host.
    OriginNotLocal {
        /// Where it points.
        origin: Origin,
    },
    /// `service-label`.
    ServiceLabel {
        /// As written.
        value: String,
        /// Why it is none.
        error: NameError,
    },
    /// `header`.
    Header {
        /// As written.
        value: String,
        /// Why it cannot be used.
        error: HeaderError,
    },
    /// `wildcard-ee = "reject"` with `dns.mode = "ad"`.
    WildcardUnseen,
    /// A time-out of nothing.
    ZeroSpan {
        /// Which.
        key: &'static str,
    },
    /// A number outside its bounds.
    OutOfRange {
        /// Which.
        key: &'static str,
        /// As written.
        found: usize,
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
}

/// Why a text cannot be the identity header's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// It is no field name.
    Syntax,
    /// HTTP or the gateway uses it for something else.
    Taken,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { key } => write!(f, "the setting `{key}` has no default and is not set; {}", wanted(key)),
            Self::NoAllowList => f.write_str(
                "the allow-list is empty, so nobody could connect; name the clients to let in, such as allow = [\"sensor7._device.example.com\", \"*._device.example.com\"]",
            ),
            Self::Pattern(error) => error.fmt(f),
            Self::DnsServer { value } => write!(
                f,
                "dns.resolver \"{value}\": expected an IP address, or one with a port (\"127.0.0.1:53\", \"[::1]:53\")"
            ),
            Self::OriginNotLocal { origin } => write!(
                f,
                "the origin {origin} is not on this host: the connection to it is not encrypted and whoever reaches it can forge the identity header; use a loopback address or a Unix socket, or set unsafe-origin = true if the network between is yours alone"
            ),
            Self::ServiceLabel { value, error } => write!(f, "service-label \"{value}\": {error}"),
            Self::Header { value, error: HeaderError::Syntax } => write!(
                f,
                "header \"{value}\" is no HTTP field name; expected letters, digits and '-', such as \"Dane-Clientid\""
            ),
            Self::Header { value, error: HeaderError::Taken } => write!(
                f,
                "header \"{value}\": HTTP or the gateway itself uses this field; choose one of its own, such as \"Dane-Clientid\""
            ),
            Self::WildcardUnseen => f.write_str(
                "wildcard-ee = \"reject\" needs dns.mode = \"validate\": a resolver's AD bit does not tell whether a wildcard was expanded",
            ),
            Self::ZeroSpan { key } => write!(f, "`{key}` is zero; expected at least \"1ms\""),
            Self::OutOfRange { key, found, min, max } => {
                write!(f, "`{key}` is {found}; expected {min} to {max}")
            }
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

#[cfg(test)]
mod tests;

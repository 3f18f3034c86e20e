//! Where the web application listens.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The web application's address: `127.0.0.1:8080`, `localhost:8080`, `app.internal:8080` or `unix:/run/app.sock`.
///
/// The connection to it is plain HTTP/1.1, and it believes the identity header, so it belongs on this host
/// ([`is_local`](Self::is_local); requirements 6.1 item 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An IP address and port.
    Address(SocketAddr),
    /// A host name and port, looked up by the system for each new connection.
    Host(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Origin {
    /// Whether no other host can be at the other end, or in between.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Address(address) => address.ip().to_canonical().is_loopback(),
            Self::Host(host, _) => host == "localhost",
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(OriginError::RelativeSocket) };
        }
        if text.starts_with("https://") {
            return Err(OriginError::Https);
        }
        let authority = text.strip_prefix("http://").unwrap_or(text);
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.contains('/') {
            return Err(OriginError::Path);
        }
        if let Ok(address) = authority.parse() {
            return Ok(Self::Address(address));
        }
        let (host, port) = authority.rsplit_once(':').ok_or(OriginError::NoPort)?;
        let port = port.parse().map_err(|_| OriginError::NoPort)?;
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if host.is_empty() || !host.chars().all(name) || host.parse::<IpAddr>().is_ok() {
            return Err(OriginError::Host);
        }
        Ok(Self::Host(host.to_ascii_lowercase(), port))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Why a text is no [`Origin`]. The fault of whoever wrote the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginError {
    /// `https://`.
    Https,
    /// A host that is neither an address nor a name.
    Host,
    /// No port, or one that is no number from 0 to 65535.
    NoPort,
    /// Something after the port.
    Path,
    /// `unix:` with a path that does not start at the root.
    RelativeSocket,
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Https => {
                "the gateway speaks plain HTTP/1.1 to the web application: write its loopback address (\"127.0.0.1:8080\") or its Unix socket (\"unix:/run/app.sock\")"
            }
            Self::Host => "expected an IP address or a host name before the port",
            Self::NoPort => "expected HOST:PORT or unix:/PATH; the port is missing or no number from 0 to 65535",
            Self::Path => "expected HOST:PORT and nothing after it: requests keep the path that the client sent",
            Self::RelativeSocket => "expected unix: and a path from the root, such as \"unix:/run/app.sock\"",
        })
    }
}

impl std::error::Error for OriginError {}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::{Origin, OriginError};

    #[test]
    fn every_way_to_write_an_origin_is_read_and_printed() {
        for (text, printed, local) in [
            ("127.0.0.1:8080", "127.0.0.1:8080", true),
            ("http://127.0.0.1:8080/", "127.0.0.1:8080", true),
            ("[::1]:80", "[::1]:80", true),
            ("[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.1]:80", true),
            ("localhost:3000", "localhost:3000", true),
            ("LOCALHOST:3000", "localhost:3000", true),
            ("unix:/run/app.sock", "unix:/run/app.sock", true),
            ("192.0.2.1:80", "192.0.2.1:80", false),
            ("0.0.0.0:80", "0.0.0.0:80", false),
            ("app:8080", "app:8080", false),
            ("localhost.example:80", "localhost.example:80", false),
        ] {
            let origin: Origin = text.parse().unwrap();
            assert_eq!((origin.to_string().as_str(), origin.is_local()), (printed, local), "{text}");
            assert_eq!(origin.to_string().parse(), Ok(origin));
        }
    }

    #[test]
    fn what_is_no_origin_says_what_was_expected() {
        for (text, error) in [
            ("https://127.0.0.1:8443", OriginError::Https),
            ("127.0.0.1", OriginError::NoPort),
            ("localhost:http", OriginError::NoPort),
            ("", OriginError::NoPort),
            (":8080", OriginError::Host),
            ("user@host:80", OriginError::Host),
            ("::1:80:80", OriginError::Host),
            ("http://localhost:80/app", OriginError::Path),
            ("unix:app.sock", OriginError::RelativeSocket),
        ] {
            assert_eq!(text.parse::<Origin>(), Err(error), "{text}");
        }
    }
}

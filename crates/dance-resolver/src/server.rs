//! A resolver to ask: where it is, how it is reached, and how it shows that it is the right one.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use rustls_pki_types::ServerName;

/// Port of DNS over UDP and TCP (RFC 1035 section 4.2).
pub const DNS_PORT: u16 = 53;
/// Port of DNS over TLS (RFC 7858 section 3.1).
pub const DOT_PORT: u16 = 853;

/// A recursive resolver.
///
/// | text | what it is |
/// |---|---|
/// | `192.0.2.53`, `192.0.2.53:5353`, `2001:db8::53`, `[2001:db8::53]:5353` | UDP and TCP, port 53 unless given |
/// | `tls://192.0.2.53#dns.example.net` | DNS over TLS, port 853 unless given; its certificate must be good for that name |
/// | `tls://192.0.2.53#sha256:HEX` | DNS over TLS; its key must have this SHA-256 digest. Several, with commas between, for a change of keys |
/// | `tls://[2001:db8::53]:8853` | DNS over TLS without looking at who it is (opportunistic): encrypted, never counted as authenticated |
///
/// ```
/// use dance_resolver::{Server, TlsTrust, Transport};
///
/// let server: Server = "tls://192.0.2.53#dns.example.net".parse()?;
/// assert_eq!(server.address.to_string(), "192.0.2.53:853");
/// assert_eq!(server.transport, Transport::Tls(TlsTrust::Name("dns.example.net".to_owned())));
/// assert_eq!(server.to_string(), "tls://192.0.2.53:853#dns.example.net");
/// # Ok::<(), dance_resolver::ServerError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Where it is.
    pub address: SocketAddr,
    /// How it is reached.
    pub transport: Transport,
}

/// How a resolver is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP, and TCP where UDP will not do.
    Plain,
    /// DNS over TLS (RFC 7858), and nothing else: there is no falling back to [`Plain`](Self::Plain).
    Tls(TlsTrust),
}

/// How a resolver shows over TLS that it is the right one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TlsTrust {
    /// By a certificate for this name or IP address, from an authority that is trusted (RFC 8310 section 8.1).
    Name(String),
    /// By a key of its own whose SubjectPublicKeyInfo has one of these SHA-256 digests (RFC 7858 section 4.2); not empty. Nothing else in
    /// its certificate is looked at.
    Pins(Vec<[u8; 32]>),
    /// Not at all: whoever is on the way could pose as the resolver (RFC 7858 section 4.1).
    Unauthenticated,
}

impl Server {
    /// Whether what it says reaches us as it said it: it is on this machine, or shows over TLS who it is. Requirements 5.7, DNS-02.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
            || matches!(self.transport, Transport::Tls(TlsTrust::Name(_) | TlsTrust::Pins(_)))
    }
}

impl From<SocketAddr> for Server {
    fn from(address: SocketAddr) -> Self {
        Self { address, transport: Transport::Plain }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Transport::Tls(trust) = &self.transport else { return self.address.fmt(f) };
        write!(f, "tls://{}", self.address)?;
        match trust {
            TlsTrust::Name(name) => write!(f, "#{name}"),
            TlsTrust::Unauthenticated => Ok(()),
            TlsTrust::Pins(pins) => {
                for (index, pin) in pins.iter().enumerate() {
                    f.write_str(if index == 0 { "#" } else { "," })?;
                    f.write_str(PIN)?;
                    pin.iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
                }
                Ok(())
            }
        }
    }
}

const PIN: &str = "sha256:";

impl FromStr for Server {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Self, ServerError> {
        let Some(rest) = text.strip_prefix("tls://") else {
            return match text.split_once("://") {
                Some((scheme, _)) => Err(ServerError::Scheme { found: scheme.to_owned() }),
                None => Ok(address(text, DNS_PORT)?.into()),
            };
        };
        let (host, trust) = match rest.split_once('#') {
            None => (rest, TlsTrust::Unauthenticated),
            Some((host, trust)) if trust.starts_with(PIN) => {
                (host, TlsTrust::Pins(trust.split(',').map(pin).collect::<Result<_, _>>()?))
            }
            Some((host, name)) => (host, TlsTrust::Name(server_name(name).map(|_| name.to_owned())?)),
        };
        Ok(Self { address: address(host, DOT_PORT)?, transport: Transport::Tls(trust) })
    }
}

/// What a certificate is checked against.
pub(crate) fn server_name(name: &str) -> Result<ServerName<'static>, ServerError> {
    let parsed = ServerName::try_from(name).map_err(|_| ServerError::Name { found: name.to_owned() });
    Ok(parsed?.to_owned())
}

fn address(text: &str, port: u16) -> Result<SocketAddr, ServerError> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, port));
    }
    text.parse().map_err(|_| ServerError::Address { found: text.to_owned() })
}

fn pin(text: &str) -> Result<[u8; 32], ServerError> {
    let error = || ServerError::Pin { found: text.to_owned() };
    let digits = text.strip_prefix(PIN).ok_or_else(error)?.as_bytes();
    let mut pin = [0; 32];
    if digits.len() != 2 * pin.len() {
        return Err(error());
    }
    for (octet, pair) in pin.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |digit: &u8| char::from(*digit).to_digit(16);
        *octet = pair
            .iter()
            .try_fold(0, |sum, digit| Some(16 * sum + value(digit)?))
            .and_then(|sum| u8::try_from(sum).ok())
            .ok_or_else(error)?;
    }
    Ok(pin)
}

/// Why a text names no resolver. The fault of whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerError {
    /// The address.
    Address {
        /// As written.
        found: String,
    },
    /// The name that its certificate must be good for.
    Name {
        /// As written.
        found: String,
    },
    /// The digest of its key.
    Pin {
        /// As written.
        found: String,
    },
    /// A transport that is not known here.
    Scheme {
        /// As written, without `://`.
        found: String,
    },
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { found } => write!(
                f,
                "expected the IP address of a resolver, with or without port (192.0.2.53, 192.0.2.53:5353, 2001:db8::53, \
                 [2001:db8::53]:5353), for DNS over TLS as in tls://192.0.2.53#dns.example.net; found \"{found}\""
            ),
            Self::Name { found } => write!(
                f,
                "expected after '#' the name in the resolver's certificate, or \"{PIN}\" and its key's digest; found \"{found}\""
            ),
            Self::Pin { found } => {
                write!(
                    f,
                    "expected \"{PIN}\" and the 64 hexadecimal digits of the key's SHA-256 digest, found \"{found}\""
                )
            }
            Self::Scheme { found } => {
                write!(f, "expected an IP address, or \"tls://\" for DNS over TLS; \"{found}://\" is not known here")
            }
        }
    }
}

impl std::error::Error for ServerError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    // SEC-04
    #[test]
    fn text_there_and_back() {
        let digest = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
        let lower = digest.to_ascii_lowercase();
        for (text, shown) in [
            ("192.0.2.53", "192.0.2.53:53"),
            ("192.0.2.53:5353", "192.0.2.53:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("[2001:db8::53]", "[2001:db8::53]:53"),
            ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
            ("tls://192.0.2.53", "tls://192.0.2.53:853"),
            ("tls://[2001:db8::53]:8853", "tls://[2001:db8::53]:8853"),
            ("tls://192.0.2.53#dns.example.net", "tls://192.0.2.53:853#dns.example.net"),
            ("tls://192.0.2.53#192.0.2.53", "tls://192.0.2.53:853#192.0.2.53"),
            (&format!("tls://::1#sha256:{digest}"), &format!("tls://[::1]:853#sha256:{lower}")),
            (
                &format!("tls://::1#sha256:{digest},sha256:{digest}"),
                &format!("tls://[::1]:853#sha256:{lower},sha256:{lower}"),
            ),
        ] {
            let server: Server = text.parse().unwrap();
            assert_eq!(server.to_string(), shown);
            assert_eq!(shown.parse(), Ok(server));
        }
    }

    #[test]
    fn what_is_no_resolver() {
        for text in
            ["", "localhost", "192.0.2.53:", "192.0.2.53:x", "[2001:db8::53", ":53", "tls://", "tls://dns.example#x"]
        {
            assert!(matches!(text.parse::<Server>(), Err(ServerError::Address { .. })), "{text}");
        }
        for name in ["", "a b", "-", "exa..mple", "sha512:00"] {
            let error = format!("tls://192.0.2.53#{name}").parse::<Server>();
            assert!(matches!(error, Err(ServerError::Name { .. })), "{name}: {error:?}");
        }
        let digest = "0".repeat(64);
        for pins in ["sha256:", "sha256:00", &format!("sha256:{digest}0"), &format!("sha256:{digest},"), "sha256:+0"] {
            let error = format!("tls://192.0.2.53#{pins}").parse::<Server>();
            assert!(matches!(error, Err(ServerError::Pin { .. })), "{pins}: {error:?}");
        }
        assert_eq!("https://192.0.2.53".parse::<Server>(), Err(ServerError::Scheme { found: "https".to_owned() }));
        assert!(Server::from_str("dns.example").unwrap_err().to_string().contains("tls://192.0.2.53#dns.example.net"));
    }

    // DNS-02, SEC-04
    #[test]
    fn who_is_authenticated() {
        let pin = format!("tls://192.0.2.53#sha256:{}", "0".repeat(64));
        for (text, authenticated) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("tls://127.0.0.53", true),
            ("tls://192.0.2.53#dns.example.net", true),
            (&pin, true),
            ("192.0.2.53", false),
            ("tls://192.0.2.53", false),
        ] {
            assert_eq!(text.parse::<Server>().unwrap().is_authenticated(), authenticated, "{text}");
        }
    }
}

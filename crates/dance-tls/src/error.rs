//! What can go wrong, and whose fault it is.

use std::ffi::c_int;
use std::path::PathBuf;
use std::{fmt, io};

use dance_core::clientid::{ClientProfile, ExtensionError};
use dance_core::name::ClientName;
use dance_core::reason::Reason;
use openssl::error::ErrorStack;
use openssl::x509::X509VerifyResult;

use crate::ffi;

/// The description octet of a TLS alert that was sent or received, of which the registry has more than
/// [`dance_core::reason::Alert`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AlertDescription(u8);

impl AlertDescription {
    pub(crate) const fn new(code: u8) -> Self {
        Self(code)
    }

    /// The number on the wire (RFC 9846 section 6).
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }

    /// The name, in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        ffi::alert_name(self.0)
    }
}

impl fmt::Display for AlertDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

/// OpenSSL gave up on a handshake for a reason of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFailure {
    /// The alert that went to the peer, if one did.
    pub alert_sent: Option<AlertDescription>,
    /// OpenSSL's explanation. For the log, never for the peer.
    pub text: String,
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match self.alert_sent {
            Some(alert) => write!(f, "; sent {alert}"),
            None => Ok(()),
        }
    }
}

/// Why a server's handshake came to nothing.
#[derive(Debug)]
pub enum AcceptError {
    /// The client broke a rule of DANE client authentication; it was sent the reason's alert. One exception: OpenSSL
    /// answers a Certificate message above the size limit with illegal_parameter.
    Refused(Reason),
    /// The client gave up.
    PeerAlert(AlertDescription),
    /// The connection below TLS failed, or the client closed it in the middle.
    Io(io::Error),
    /// OpenSSL refused what the client sent: not TLS, no version or algorithm in common, a signature that does not
    /// verify.
    Tls(TlsFailure),
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "refused the client: {reason}"),
            Self::PeerAlert(alert) => write!(f, "the client ended the handshake: {alert}"),
            Self::Io(error) => write!(f, "the connection failed during the handshake: {error}"),
            Self::Tls(failure) => write!(f, "the handshake failed: {failure}"),
        }
    }
}

impl std::error::Error for AcceptError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Refused(_) | Self::PeerAlert(_) | Self::Tls(_) => None,
        }
    }
}

/// The server refused the client's authentication: handshake_failure after the client's last flight, and the server
/// says no more than that. In TLS 1.3 it comes with the first read, as the inner error of the [`io::Error`]; in TLS 1.2
/// it ends the handshake ([`ConnectError::ClientAuthRefused`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAuthRefused;

impl fmt::Display for ClientAuthRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "client authentication refused: the server does not accept this name and credential (it says no more; its log does)",
        )
    }
}

impl std::error::Error for ClientAuthRefused {}

/// The peer ended an established connection by a fatal alert; the inner error of an [`io::Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAlert(pub AlertDescription);

impl fmt::Display for PeerAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the peer ended the connection: {}", self.0)
    }
}

impl std::error::Error for PeerAlert {}

/// Why a client's handshake came to nothing.
#[derive(Debug)]
pub enum ConnectError {
    /// Not a name or address that a server certificate can be checked against.
    ServerName(String),
    /// The server's certificate does not verify.
    ServerCertificate {
        /// The name it was verified for.
        server_name: String,
        /// OpenSSL's verdict.
        verdict: X509VerifyResult,
    },
    /// The server did not say that it can do DANE client authentication, or did not ask for a certificate, and the client
    /// demands it.
    NoSignal,
    /// The server does not take raw public keys, and the client has nothing else.
    NoRawPublicKeys,
    /// The server speaks TLS 1.2 without extended_master_secret (RFC 7627) or renegotiation_info (RFC 5746); it was sent
    /// handshake_failure.
    LegacyHandshake,
    /// The server's extension is wrong or in the wrong place; it was sent the reason's alert.
    Extension(ExtensionError),
    /// The server refused the client's authentication within the handshake.
    ClientAuthRefused,
    /// The server gave up.
    PeerAlert(AlertDescription),
    /// The connection below TLS failed, or the server closed it in the middle.
    Io(io::Error),
    /// OpenSSL refused what the server sent.
    Tls(TlsFailure),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServerName(name) => write!(f, "expected the server's DNS name or IP address, found {name:?}"),
            Self::ServerCertificate { server_name, verdict } => {
                write!(f, "the server's certificate does not verify for {server_name}: {}", verdict.error_string())
            }
            Self::NoSignal => f.write_str(
                "expected the server's dane_clientid signal and its request for a certificate, found none: the server does not do DANE \
                 client authentication, or uses another extension type",
            ),
            Self::NoRawPublicKeys => {
                f.write_str("the server does not take raw public keys: use a certificate, or have it enable them")
            }
            Self::LegacyHandshake => f.write_str(
                "expected TLS 1.3, or TLS 1.2 with extended_master_secret and renegotiation_info, found TLS 1.2 without: have the server updated",
            ),
            Self::Extension(error) => write!(f, "the server's dane_clientid extension is wrong: {error}"),
            Self::ClientAuthRefused => ClientAuthRefused.fmt(f),
            Self::PeerAlert(alert) => write!(f, "the server ended the handshake: {alert}"),
            Self::Io(error) => write!(f, "the connection failed during the handshake: {error}"),
            Self::Tls(failure) => write!(f, "the handshake failed: {failure}"),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Extension(error) => Some(error),
            Self::ClientAuthRefused => Some(&ClientAuthRefused),
            Self::ServerName(_)
            | Self::ServerCertificate { .. }
            | Self::NoSignal
            | Self::NoRawPublicKeys
            | Self::LegacyHandshake
            | Self::PeerAlert(_)
            | Self::Tls(_) => None,
        }
    }
}

/// Why settings make no acceptor or connector.
#[derive(Debug)]
pub enum ConfigError {
    /// The OpenSSL that was loaded is older than the one this was built for.
    OpenSslTooOld {
        /// What it says it is.
        found: &'static str,
    },
    /// A client is to speak TLS 1.2 too, in a profile that does not.
    Tls12 {
        /// Which.
        profile: ClientProfile,
    },
    /// DTLS is wanted with settings that leave no version of it: there is DTLS 1.2, for profile `2022` with TLS 1.2.
    Dtls {
        /// The profile that is set.
        profile: ClientProfile,
    },
    /// A client is to speak neither TLS 1.2 nor TLS 1.3.
    NoVersion,
    /// A client's ClientHello is to say its name, and there is no name or no TLS 1.2 to say it for.
    NameInClientHello,
    /// A client is to say that its certificate holds its name, in a profile that does not know this.
    InCertificate {
        /// Which.
        profile: ClientProfile,
    },
    /// A client says that its certificate holds its name, alone, and it does not.
    NameNotInCertificate {
        /// The name, where there is one.
        expected: Option<ClientName>,
        /// The dNSNames in the certificate; none in a raw public key.
        found: Vec<String>,
    },
    /// A client name, but no certificate or key to go with it.
    NameWithoutCredential,
    /// The client demands DANE, but has no name to convey.
    DemandWithoutName,
    /// An ALPN protocol name that is not of 1 to 255 octets.
    Alpn {
        /// Its length.
        octets: usize,
    },
    /// OpenSSL does not understand the list of groups.
    Groups {
        /// The list.
        groups: String,
        /// OpenSSL's explanation.
        cause: ErrorStack,
    },
    /// There is no trust anchor to verify servers by.
    NoRoots,
    /// OpenSSL does not take the certificate or key.
    Credential(ErrorStack),
    /// OpenSSL failed for a reason of its own, for instance for want of memory.
    OpenSsl(ErrorStack),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenSslTooOld { found } => {
                write!(f, "expected OpenSSL 3.5 or newer at run time, found {found}: update libssl")
            }
            Self::Tls12 { profile } => {
                write!(f, "profile `{profile}` is TLS 1.3 only for a client: drop TLS 1.2, or use profile `2022`")
            }
            Self::Dtls { profile } => write!(
                f,
                "expected profile `2022` with TLS 1.2 enabled, since DTLS 1.2 is the only DTLS there is, found profile `{profile}`: \
                 use these, or TLS over TCP"
            ),
            Self::NoVersion => f.write_str("a client needs a version of TLS to speak: enable TLS 1.2 or TLS 1.3"),
            Self::NameInClientHello => f.write_str(
                "the name stands in the ClientHello for the sake of TLS 1.2: enable that and give the name, or do not ask for it there",
            ),
            Self::InCertificate { profile } => write!(
                f,
                "profile `{profile}` takes no name from a certificate: give the name, or use profile `2022`"
            ),
            Self::NameNotInCertificate { expected, found } => {
                f.write_str("a server that is not told the name takes it from the certificate; expected ")?;
                match expected {
                    Some(name) => write!(f, "{name} as the only dNSName there")?,
                    None => f.write_str("one dNSName there that can be a client name")?,
                }
                match found.as_slice() {
                    [] => f.write_str(", found none")?,
                    found => write!(f, ", found {}", found.join(", "))?,
                }
                f.write_str(match expected {
                    Some(_) => ": use such a certificate, drop TLS 1.2, or allow the name in the ClientHello, where anybody on the way can read it",
                    None => ": use such a certificate, or give the name",
                })
            }
            Self::NameWithoutCredential => {
                f.write_str("a client name needs a certificate or key to go with it: configure one, or drop the name")
            }
            Self::DemandWithoutName => {
                f.write_str("DANE is demanded of the server, but there is no client name to convey: configure one")
            }
            Self::Alpn { octets } => {
                write!(f, "expected an ALPN protocol name of 1 to 255 octets, found one of {octets}")
            }
            Self::Groups { groups, cause } => {
                write!(f, "expected a list of groups like X25519:secp256r1, found {groups:?}: {}", words(cause))
            }
            Self::NoRoots => f.write_str(
                "expected trust anchors to verify the server by, found none: name a PEM file with certificates",
            ),
            Self::Credential(cause) => write!(f, "OpenSSL does not take the certificate or key: {}", words(cause)),
            Self::OpenSsl(cause) => write!(f, "OpenSSL failed: {}", words(cause)),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Where a credential came from, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// A file.
    File(PathBuf),
    /// Octets handed in by the caller.
    Octets,
}

impl fmt::Display for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Octets => f.write_str("the given octets"),
        }
    }
}

/// Why a certificate or key cannot be loaded.
#[derive(Debug)]
pub enum CredentialError {
    /// The file cannot be read.
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// No certificate in it.
    NoCertificate(CredentialSource),
    /// A certificate that does not decode.
    BadCertificate {
        /// Where.
        source: CredentialSource,
        /// OpenSSL's explanation.
        cause: ErrorStack,
    },
    /// No private key in it, or one that does not decode.
    BadKey {
        /// Where.
        source: CredentialSource,
        /// OpenSSL's explanation.
        cause: ErrorStack,
    },
    /// The private key is encrypted.
    EncryptedKey(CredentialSource),
    /// The key is not that of the first certificate.
    Mismatch {
        /// Subject of the first certificate.
        subject: String,
        /// Position, from 1, of a later certificate that the key does belong to.
        belongs_to: Option<usize>,
    },
}

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, error } => {
                write!(f, "cannot read {}: {error}; name a PEM file that this program may read", path.display())
            }
            Self::NoCertificate(source) => {
                write!(f, "expected a certificate in PEM or DER in {source}, found none")
            }
            Self::BadCertificate { source, cause } => {
                write!(f, "a certificate in {source} does not decode: {}", words(cause))
            }
            Self::BadKey { source, cause } => {
                write!(f, "expected a private key in PEM or DER in {source}, found none that decodes: {}", words(cause))
            }
            Self::EncryptedKey(source) => {
                write!(
                    f,
                    "the private key in {source} is encrypted: decrypt it (openssl pkey -in IN -out OUT) and protect the file"
                )
            }
            Self::Mismatch { subject, belongs_to: Some(position) } => write!(
                f,
                "the private key belongs to certificate {position} of the chain, not to the first ({subject}): put the end entity first"
            ),
            Self::Mismatch { subject, belongs_to: None } => {
                write!(
                    f,
                    "the private key does not belong to the certificate of {subject}: configure the two that were made together"
                )
            }
        }
    }
}

impl std::error::Error for CredentialError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { error, .. } => Some(error),
            Self::NoCertificate(_)
            | Self::BadCertificate { .. }
            | Self::BadKey { .. }
            | Self::EncryptedKey(_)
            | Self::Mismatch { .. } => None,
        }
    }
}

/// Whether this is among OpenSSL's reasons.
pub(crate) fn because(stack: &ErrorStack, reason: c_int) -> bool {
    stack.errors().iter().any(|error| error.reason_code() == reason)
}

/// OpenSSL's error stack in words, without its file names and hexadecimal codes.
pub(crate) fn words(stack: &ErrorStack) -> String {
    let mut text = String::new();
    for error in stack.errors() {
        let separator = if text.is_empty() { "" } else { "; " };
        text += separator;
        text += error.reason().unwrap_or("unknown error");
        if let Some(data) = error.data().filter(|data| !data.is_empty()) {
            text += &format!(" ({data})");
        }
    }
    if text.is_empty() { "no explanation".to_owned() } else { text }
}

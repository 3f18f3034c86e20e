//! Settings of a TLS server and a TLS client.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use dance_core::clientid::{ClientForm, ClientProfile, ExtensionType, ExtensionTypes, Profile};
use dance_core::message::MAX_MESSAGE_LEN;
use dance_core::name::ClientName;
use dance_core::x509::Certificate;
use openssl::error::ErrorStack;
use openssl::ssl::{SslContextBuilder, SslMethod, SslMode, SslOptions, SslSessionCacheMode, SslVersion};
use openssl::x509::X509;

use crate::conn::Said;
use crate::credential::{CertifiedKey, PrivateKey, certificates, read};
use crate::error::{ConfigError, CredentialError, CredentialSource};
use crate::ffi;
use crate::session::Resumption;
use crate::transport::Linger;

/// X25519 first for its cost; the post-quantum hybrid for clients that offer nothing cheaper.
const GROUPS: &str = "X25519:X25519MLKEM768:secp256r1:secp384r1";
/// Suites for TLS 1.3: all three, the one with SHA-256 first. The key schedule of a handshake runs on that hash, and SHA-384
/// costs several times as much where the processor has instructions for SHA-256.
const TLS13_SUITES: &str = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
/// Suites for TLS 1.2: AEAD, with keys that the server's certificate does not reveal (requirements 4.2 step 1), in the same
/// order.
const TLS12_SUITES: &str = "ECDHE+AESGCM+AES128:ECDHE+AESGCM:ECDHE+CHACHA20";
/// OpenSSL 3.5.0 in the form of OPENSSL_VERSION_NUMBER.
const OLDEST_OPENSSL: i64 = 0x3050_0000;

/// Whether a listener authenticates clients by DANE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DaneMode {
    /// CertificateRequest carries the signal.
    #[default]
    On,
    /// It does not; client certificates are asked for all the same. A client that sends the extension unasked is sent
    /// unsupported_extension (CID-10).
    Off,
}

/// Settings of a listener's TLS.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// What the server presents.
    pub certified_key: CertifiedKey,
    /// Whether clients are asked for their DANE name.
    pub dane: DaneMode,
    /// The wire profile.
    pub profile: Profile,
    /// The extension's code points. All are signalled; a client answers to one.
    pub extension_types: ExtensionTypes,
    /// Whether clients may present a raw public key (RFC 7250).
    pub raw_public_keys: bool,
    /// Whether TLS 1.2 is spoken too, in which names and certificates can be read on the way. In profile `current` its
    /// clients cannot authenticate: their extension is neither read nor answered.
    pub tls12: bool,
    /// ALPN protocols, in order of preference. Empty: none is negotiated.
    pub alpn: Vec<Vec<u8>>,
    /// Key exchange groups in OpenSSL's notation, in order of preference. `None`: X25519, X25519MLKEM768, secp256r1,
    /// secp384r1. In TLS 1.2 the curves of certificates must be among them too (RFC 8422 section 5.1).
    pub groups: Option<String>,
    /// How TLS 1.3 clients may resume (requirements 4.2 step 2, `bound`). `None`: not at all.
    pub resumption: Option<Arc<dyn Resumption>>,
    /// How long refused clients are given to read their alert.
    pub linger: Linger,
}

impl ServerConfig {
    /// Everything at its default: DANE on, profile `current`, raw public keys accepted.
    #[must_use]
    pub fn new(certified_key: CertifiedKey) -> Self {
        Self {
            certified_key,
            dane: DaneMode::default(),
            profile: Profile::default(),
            extension_types: ExtensionTypes::default(),
            raw_public_keys: true,
            tls12: false,
            alpn: Vec::new(),
            groups: None,
            resumption: None,
            linger: Linger::default(),
        }
    }
}

/// What a client presents.
#[derive(Clone, Debug)]
pub enum ClientCredential {
    /// A certificate chain, sent as it stands (with usage 2, up to and including the trust anchor: RFC 7671 section
    /// 5.2).
    X509(CertifiedKey),
    /// The public key of this private key (RFC 7250).
    RawPublicKey(PrivateKey),
}

/// Trust anchors to verify servers by.
#[derive(Clone)]
pub struct TrustAnchors(pub(crate) Vec<X509>);

impl TrustAnchors {
    /// Takes certificates in PEM, or one in DER. Each is trusted as it stands, self-signed or not.
    ///
    /// # Errors
    /// [`CredentialError`]: none, or one that does not decode.
    pub fn parse(octets: &[u8]) -> Result<Self, CredentialError> {
        certificates(octets, CredentialSource::Octets).map(Self)
    }

    /// As [`Self::parse`], from a file.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn load(path: &Path) -> Result<Self, CredentialError> {
        certificates(&read(path)?, CredentialSource::File(path.to_owned())).map(Self)
    }
}

impl fmt::Debug for TrustAnchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustAnchors({})", self.0.len())
    }
}

/// How a client knows that the server is the one it means. The name leaves only after that (CLI-05).
#[derive(Clone, Debug)]
pub enum ServerVerification {
    /// By the system's trust anchors (SSL_CERT_FILE and SSL_CERT_DIR are heeded).
    SystemRoots,
    /// By these alone.
    Roots(TrustAnchors),
    /// Not at all: anybody on the path learns the client's name. Spelled `unsafe-*` wherever it can be set.
    UnsafeNone,
}

/// Settings of a client's TLS.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// What to present when asked.
    pub credential: Option<ClientCredential>,
    /// What to say to servers that signal DANE: the name, or in profile `2022` that the certificate holds it. `None`:
    /// the credential is an ordinary client certificate.
    pub client_id: Option<ClientForm>,
    /// Whether to end the handshake with servers that do not signal DANE.
    pub require_signal: bool,
    /// The wire profile.
    pub profile: ClientProfile,
    /// The extension's code point.
    pub extension_type: ExtensionType,
    /// How the server is verified.
    pub server_verification: ServerVerification,
    /// Whether TLS 1.2 is spoken too; profile `2022` only. There the extension stands in the ClientHello, which anybody
    /// on the way can read: it says no more than that the certificate holds the name.
    pub tls12: bool,
    /// Whether TLS 1.3 is spoken. Off only to see what a server does in TLS 1.2.
    pub tls13: bool,
    /// With `tls12`, the ClientHello says the name itself, whatever is negotiated then.
    pub name_in_client_hello: bool,
    /// ALPN protocols to offer. Empty: none.
    pub alpn: Vec<Vec<u8>>,
    /// Key exchange groups in OpenSSL's notation. `None`: OpenSSL's default, which offers the post-quantum hybrid
    /// first. In TLS 1.2 the curves of certificates must be among them too (RFC 8422 section 5.1).
    pub groups: Option<String>,
    /// Whether to resume with servers that allow it, in TLS 1.3. Nothing is sent that the server could take for a
    /// request before it has answered (early data).
    pub resumption: bool,
    /// How long a refused server is given to read its alert.
    pub linger: Linger,
}

impl ClientConfig {
    /// Everything at its default: no credential, profile `current`, DANE not demanded.
    #[must_use]
    pub fn new(server_verification: ServerVerification) -> Self {
        Self {
            credential: None,
            client_id: None,
            require_signal: false,
            profile: ClientProfile::default(),
            extension_type: ExtensionType::default(),
            server_verification,
            tls12: false,
            tls13: true,
            name_in_client_hello: false,
            alpn: Vec::new(),
            groups: None,
            resumption: false,
            linger: Linger::default(),
        }
    }

    /// What the ClientHello says, which is nothing unless TLS 1.2 may be negotiated (requirements C11, CLI-08).
    pub(crate) fn client_hello(&self) -> Option<ClientForm> {
        self.profile.client_hello(self.tls12, self.name_in_client_hello, self.client_id.as_ref()?)
    }

    /// Refuses what no server could make sense of (requirements C4, C11).
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if !self.tls12 && !self.tls13 {
            return Err(ConfigError::NoVersion);
        }
        if self.tls12 && !self.profile.may_use_client_hello() {
            return Err(ConfigError::Tls12 { profile: self.profile });
        }
        if self.name_in_client_hello && !(self.tls12 && matches!(self.client_id, Some(ClientForm::Name(_)))) {
            return Err(ConfigError::NameInClientHello);
        }
        let Some(form) = &self.client_id else {
            return if self.require_signal { Err(ConfigError::DemandWithoutName) } else { Ok(()) };
        };
        let names = match &self.credential {
            None => return Err(ConfigError::NameWithoutCredential),
            Some(ClientCredential::RawPublicKey(_)) => Vec::new(),
            Some(ClientCredential::X509(certified_key)) => dns_names(certified_key),
        };
        let (expected, holds) = match form {
            ClientForm::InCertificate if Said::new(form, self.profile).is_none() => {
                return Err(ConfigError::InCertificate { profile: self.profile });
            }
            ClientForm::InCertificate => {
                (None, matches!(names.as_slice(), [only] if ClientName::parse(only.as_bytes()).is_ok()))
            }
            ClientForm::Name(name) => (Some(name), names == [name.as_str()]),
        };
        let from_certificate = expected.is_none() || self.client_hello() == Some(ClientForm::InCertificate);
        if from_certificate && !holds {
            return Err(ConfigError::NameNotInCertificate { expected: expected.cloned(), found: names });
        }
        Ok(())
    }
}

/// The dNSNames of a chain's end entity, in lower case. What is no certificate holds none.
fn dns_names(certified_key: &CertifiedKey) -> Vec<String> {
    let Some(Ok(end_entity)) = certified_key.chain().first().map(|end_entity| end_entity.to_der()) else {
        return Vec::new();
    };
    let names = |certificate: Certificate<'_>| {
        certificate.dns_names().map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).collect()
    };
    Certificate::parse(&end_entity).map(names).unwrap_or_default()
}

/// What a connection runs over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Stream,
    /// DTLS.
    Datagrams,
}

/// What both ends have in common.
pub(crate) struct Common<'a> {
    pub(crate) method: SslMethod,
    pub(crate) over: Over,
    pub(crate) extension_types: &'a ExtensionTypes,
    pub(crate) tls12: bool,
    pub(crate) groups: Option<&'a str>,
    /// RFC 7250 types of the client's credential, in order of preference.
    pub(crate) client_cert_types: &'a [u8],
}

/// A context with everything that both ends have in common: TLS 1.3, or 1.2 of the better kind; no resumption of any kind, no renegotiation, this
/// crate's callbacks.
pub(crate) fn context(common: &Common<'_>) -> Result<SslContextBuilder, ConfigError> {
    if openssl::version::number() < OLDEST_OPENSSL {
        return Err(ConfigError::OpenSslTooOld { found: openssl::version::version() });
    }
    let mut ctx = SslContextBuilder::new(common.method).map_err(ConfigError::OpenSsl)?;
    let oldest = match common.over {
        Over::Stream if !common.tls12 => SslVersion::TLS1_3,
        Over::Stream => SslVersion::TLS1_2,
        Over::Datagrams => SslVersion::DTLS1_2,
    };
    ctx.set_min_proto_version(Some(oldest)).map_err(ConfigError::OpenSsl)?;
    ctx.set_ciphersuites(TLS13_SUITES).map_err(ConfigError::OpenSsl)?;
    ctx.set_cipher_list(TLS12_SUITES).map_err(ConfigError::OpenSsl)?;
    ctx.set_options(
        SslOptions::NO_TICKET
            | SslOptions::NO_RENEGOTIATION
            | SslOptions::NO_COMPRESSION
            | SslOptions::from_bits_retain(ffi::OP_NO_CERTIFICATE_COMPRESSION),
    );
    if common.over == Over::Datagrams {
        // The size of datagrams is set for each connection.
        ctx.set_options(SslOptions::NO_QUERY_MTU);
    }
    ctx.set_session_cache_mode(SslSessionCacheMode::OFF);
    // One system call for a record instead of three: its header, its body, and one more to find that there is nothing else.
    ctx.set_read_ahead(true);
    ctx.set_mode(
        SslMode::ACCEPT_MOVING_WRITE_BUFFER
            | SslMode::ENABLE_PARTIAL_WRITE
            | SslMode::NO_AUTO_CHAIN
            | SslMode::RELEASE_BUFFERS,
    );
    if let Some(groups) = common.groups {
        if groups.contains('\0') {
            // `openssl` would panic.
            return Err(ConfigError::Groups { groups: groups.to_owned(), cause: ErrorStack::get() });
        }
        ctx.set_groups_list(groups).map_err(|cause| ConfigError::Groups { groups: groups.to_owned(), cause })?;
    }
    ffi::register(&mut ctx, common.extension_types, MAX_MESSAGE_LEN, common.client_cert_types)
        .map_err(ConfigError::OpenSsl)?;
    Ok(ctx)
}

/// The server's groups: as configured, or ours.
pub(crate) fn server_groups(configured: Option<&str>) -> &str {
    configured.unwrap_or(GROUPS)
}

/// Puts a chain and its key into a context.
pub(crate) fn use_certified_key(ctx: &mut SslContextBuilder, certified_key: &CertifiedKey) -> Result<(), ConfigError> {
    let mut chain = certified_key.chain().iter();
    if let Some(end_entity) = chain.next() {
        ctx.set_certificate(end_entity).map_err(ConfigError::Credential)?;
    }
    for issuer in chain {
        ctx.add_extra_chain_cert(issuer.clone()).map_err(ConfigError::Credential)?;
    }
    ctx.set_private_key(certified_key.key().as_pkey()).map_err(ConfigError::Credential)
}

/// ALPN protocol names are of 1 to 255 octets (RFC 7301 section 3.1).
pub(crate) fn check_alpn(protocols: &[Vec<u8>]) -> Result<(), ConfigError> {
    match protocols.iter().map(Vec::len).find(|octets| !(1..=255).contains(octets)) {
        Some(octets) => Err(ConfigError::Alpn { octets }),
        None => Ok(()),
    }
}

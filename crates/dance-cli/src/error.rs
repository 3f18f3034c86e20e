//! Everything that can go wrong in a command, told as: what was expected, what was found, what to do.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use dance_core::name::{ClientName, NameError};
use dance_core::tlsa::AssociationError;
use dance_daemon::error::ReadError;
use dance_gateway::StartError;
use dance_testkit::{CertError, WorldError};
use dance_tls::{ClientAuthRefused, ConnectError, CredentialError, RolloverError};

use crate::command::preflight::Unpublished;
use crate::command::tls::is_refusal;
use crate::{Difference, Exit, vectors};

/// Why a command could not do what it was asked.
#[derive(Debug)]
pub enum Error {
    /// No record can be made of what a file holds.
    Association {
        /// The file.
        path: PathBuf,
        /// Why.
        error: AssociationError,
    },
    /// The service for load balancers does not start.
    AuthServiceStart(dance_auth_service::StartError),
    /// A connection cannot be opened.
    Connect {
        /// To whom.
        server: String,
        /// Why.
        error: io::Error,
    },
    /// An open connection failed.
    Connection(io::Error),
    /// A connection or its handshake took too long.
    ConnectTimeout {
        /// To whom.
        server: String,
        /// What it was given.
        time: Duration,
    },
    /// A certificate or private key for TLS cannot be used.
    Credential(CredentialError),
    /// A client's certificate or key, the current or the next one, cannot be used.
    Credentials(RolloverError),
    /// The demonstration did not go as told.
    Demo(Difference),
    /// The demonstration's certificates cannot be made.
    DemoCertificates(CertError),
    /// The demonstration's DNS cannot be made or changed.
    DemoDns(WorldError),
    /// The demonstration's application cannot listen on loopback.
    DemoListen(io::Error),
    /// The file exists already.
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// A configuration file cannot be used.
    DaemonConfig(ReadError),
    /// The gateway does not start.
    GatewayStart(StartError),
    /// The TLS handshake failed.
    Handshake(ConnectError),
    /// An argument is not hexadecimal.
    Hex {
        /// What is wrong with it.
        error: data_encoding::DecodeError,
    },
    /// A request got no response.
    Http(hyper::Error),
    /// A bare key published as something that a bare key cannot match.
    KeyUsage {
        /// The certificate usage asked for.
        usage: u8,
        /// The selector asked for.
        selector: u8,
    },
    /// rcgen refuses to make a key or certificate.
    MakeIdentity(rcgen::Error),
    /// No record can be made for a key just made.
    MakeRecord(AssociationError),
    /// `--message` names a message that the sender never sends.
    MessageOfOtherSide {
        /// The sender.
        sender: &'static str,
        /// The messages that are not its own.
        others: &'static str,
    },
    /// A name on the command line breaks the syntax of client names.
    Name {
        /// What was typed.
        name: String,
        /// The rule it breaks.
        error: NameError,
    },
    /// A client's extension needs a name in this profile.
    NameMissing,
    /// No server looks for the name where its record is said to be.
    OwnerName {
        /// Where.
        owner: ClientName,
        /// The name.
        name: ClientName,
    },
    /// Standard output cannot be written.
    Output(io::Error),
    /// A file without what was looked for.
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
        /// What was found instead.
        error: rustls_pki_types::pem::Error,
    },
    /// A private key of a kind whose public half cannot be written down.
    PublicHalf {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read.
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The server refused this client (CLI-07).
    Refused,
    /// The system does not let this program wait for signals.
    Signals(io::Error),
    /// No resolver can be made of the options.
    Resolver(dance_resolver::ConfigError),
    /// The threads of a command that uses the network cannot be started.
    Runtime(io::Error),
    /// A record does not match what it was made of.
    SelfCheck,
    /// A server's extension never carries a name.
    ServerHasNoName,
    /// The TLS options make no connector.
    TlsConfig(dance_tls::ConfigError),
    /// Servers would refuse this client (CLI-01, CLI-06).
    Unpublished(Unpublished),
    /// A file of vectors cannot be run.
    Vectors(vectors::Error),
    /// A file cannot be written.
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Error {
    /// An open connection failed, or the server refused this client.
    pub(crate) fn connection(error: io::Error) -> Self {
        if is_refusal(&error) { Self::Refused } else { Self::Connection(error) }
    }

    /// The exit code that tells it.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Association { .. }
            | Self::Exists { .. }
            | Self::DaemonConfig(_)
            | Self::Hex { .. }
            | Self::KeyUsage { .. }
            | Self::MessageOfOtherSide { .. }
            | Self::Name { .. }
            | Self::NameMissing
            | Self::OwnerName { .. }
            | Self::Pem { .. }
            | Self::PublicHalf { .. }
            | Self::Resolver(_)
            | Self::ServerHasNoName
            | Self::TlsConfig(_) => Exit::Usage,
            Self::Credential(error) | Self::Credentials(RolloverError::Credential { error, .. }) => match error {
                CredentialError::Read { .. } => Exit::Unknown,
                _ => Exit::Usage,
            },
            Self::Credentials(RolloverError::Config { .. }) => Exit::Usage,
            Self::GatewayStart(error) => match error {
                StartError::Daemon(error) if error.is_the_systems() => Exit::Unknown,
                StartError::Config(_) | StartError::Credential { .. } | StartError::Tls(_) | StartError::Daemon(_) => {
                    Exit::Usage
                }
            },
            Self::AuthServiceStart(error) if error.is_the_systems() => Exit::Unknown,
            Self::AuthServiceStart(_) => Exit::Usage,
            Self::Handshake(error) => match error {
                ConnectError::ServerName(_) => Exit::Usage,
                ConnectError::Io(_) => Exit::Unknown,
                ConnectError::ServerCertificate { .. }
                | ConnectError::NoSignal
                | ConnectError::NoRawPublicKeys
                | ConnectError::LegacyHandshake
                | ConnectError::Extension(_)
                | ConnectError::ClientAuthRefused
                | ConnectError::PeerAlert(_)
                | ConnectError::Tls(_) => Exit::No,
            },
            Self::Demo(_) | Self::Refused | Self::SelfCheck | Self::Unpublished(_) => Exit::No,
            Self::Vectors(error) => match error {
                vectors::Error::Read { .. } | vectors::Error::Print(_) => Exit::Unknown,
                vectors::Error::Json { .. }
                | vectors::Error::NotAnObject
                | vectors::Error::NotAList(_)
                | vectors::Error::NoSuchSection(_)
                | vectors::Error::NoParts(_)
                | vectors::Error::UnknownSection(_) => Exit::Usage,
            },
            Self::Connect { .. }
            | Self::Connection(_)
            | Self::ConnectTimeout { .. }
            | Self::DemoCertificates(_)
            | Self::DemoDns(_)
            | Self::DemoListen(_)
            | Self::Http(_)
            | Self::MakeIdentity(_)
            | Self::MakeRecord(_)
            | Self::Output(_)
            | Self::Read { .. }
            | Self::Runtime(_)
            | Self::Signals(_)
            | Self::Write { .. } => Exit::Unknown,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Association { path, error } => write!(f, "{}: {error}", path.display()),
            Self::AuthServiceStart(error) => error.fmt(f),
            Self::Connect { server, error } => write!(f, "cannot connect to {server}: {error}"),
            Self::Connection(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the server closed the connection before it had said anything")
            }
            Self::Connection(error) => write!(f, "the connection failed: {error}"),
            Self::ConnectTimeout { server, time } => {
                write!(f, "no connection to {server} within {} ms; --timeout gives it more", time.as_millis())
            }
            Self::Credential(error) => error.fmt(f),
            Self::Credentials(error) => error.fmt(f),
            Self::Demo(Difference { step, what, expected, found }) => {
                write!(f, "not as told, at \"{step}\": {what}: expected {expected}, found {found}")
            }
            Self::DemoCertificates(error) => write!(f, "making the demonstration's certificates failed: {error}"),
            Self::DemoDns(error) => write!(f, "making the demonstration's DNS failed: {error}"),
            Self::DemoListen(error) => {
                write!(f, "the demonstration's application cannot listen on 127.0.0.1: {error}")
            }
            Self::Exists { path } => write!(f, "{} exists already; --force replaces it", path.display()),
            Self::DaemonConfig(error) => error.fmt(f),
            Self::GatewayStart(error) => error.fmt(f),
            Self::Handshake(error) => error.fmt(f),
            Self::Hex { error } => write!(f, "expected pairs of hexadecimal digits: {error}"),
            Self::Http(error) => {
                write!(f, "the request failed: {error}")?;
                match error.source() {
                    Some(source) => write!(f, ": {source}"),
                    None => Ok(()),
                }
            }
            Self::KeyUsage { usage, selector } => write!(
                f,
                "expected usage 3 and selector 1 for a bare key, found {usage} {selector}: nothing else can match one; give the \
                 certificate with --cert"
            ),
            Self::MakeRecord(error) => write!(f, "making the record of the new key failed: {error}"),
            Self::MakeIdentity(error) => write!(f, "making key and certificate failed: {error}"),
            Self::MessageOfOtherSide { sender, others } => {
                write!(f, "--message: a {sender} never sends {others}; leave --message out, or change --from")
            }
            Self::Name { name, error } => write!(f, "name \"{}\": {error}", name.escape_debug()),
            Self::NameMissing => f.write_str("--name is missing: in profile current a client always conveys its name"),
            Self::OwnerName { owner, name } => write!(
                f,
                "--owner-name {owner}: no server looks for {name} there: expected the name itself, or with --profile 2022 or auto \
                 _SERVICE.{name} for a name without labels that start with '_'"
            ),
            Self::Output(error) => write!(f, "writing the result failed: {error}"),
            Self::Pem { path, expected, error } => {
                write!(f, "{}: expected {expected}: {error}", path.display())
            }
            Self::PublicHalf { path } => write!(
                f,
                "{}: expected a key of a kind that TLS uses (EC, Ed25519 or RSA), found one whose public half cannot be encoded",
                path.display()
            ),
            Self::Read { path, error } => write!(f, "{}: cannot be read: {error}", path.display()),
            Self::Refused => ClientAuthRefused.fmt(f),
            Self::Resolver(error) => error.fmt(f),
            Self::Runtime(error) => write!(f, "starting threads failed: {error}"),
            Self::SelfCheck => f.write_str(
                "the record does not match the file it was made of, so it is not printed; this is our fault, please report it",
            ),
            Self::ServerHasNoName => f.write_str("--name: a server's signal carries no name; leave --name out"),
            Self::Signals(error) => write!(f, "waiting for signals failed: {error}"),
            Self::TlsConfig(error) => error.fmt(f),
            Self::Unpublished(error) => error.fmt(f),
            Self::Vectors(error) => error.fmt(f),
            Self::Write { path, error } => write!(f, "{}: cannot be written: {error}", path.display()),
        }
    }
}

impl std::error::Error for Error {}

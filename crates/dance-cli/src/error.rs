//! Everything that can go wrong in a command, told as: what was expected, what was found, what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use dance_core::name::NameError;

use crate::Exit;

/// Why a command could not do what it was asked.
#[derive(Debug)]
pub enum Error {
    /// The file exists already.
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// An argument is not hexadecimal.
    Hex {
        /// What is wrong with it.
        error: data_encoding::DecodeError,
    },
    /// A private key that cannot be read.
    Key {
        /// Where it stands.
        path: PathBuf,
        /// What the key reader says.
        error: rcgen::Error,
    },
    /// rcgen refuses to make a key or certificate.
    MakeIdentity(rcgen::Error),
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
    /// A file cannot be read.
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A server's extension never carries a name.
    ServerHasNoName,
    /// A file cannot be written.
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Error {
    /// The exit code that tells it.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Exists { .. }
            | Self::Hex { .. }
            | Self::Key { .. }
            | Self::MessageOfOtherSide { .. }
            | Self::Name { .. }
            | Self::NameMissing
            | Self::Pem { .. }
            | Self::ServerHasNoName => Exit::Usage,
            Self::MakeIdentity(_) | Self::Output(_) | Self::Read { .. } | Self::Write { .. } => Exit::Unknown,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists { path } => write!(f, "{} exists already; --force replaces it", path.display()),
            Self::Hex { error } => write!(f, "expected pairs of hexadecimal digits: {error}"),
            Self::Key { path, error } => write!(
                f,
                "{}: expected an unencrypted PKCS#8 private key in PEM (RSA, P-256, P-384 or Ed25519): {error}",
                path.display()
            ),
            Self::MakeIdentity(error) => write!(f, "making key and certificate failed: {error}"),
            Self::MessageOfOtherSide { sender, others } => {
                write!(f, "--message: a {sender} never sends {others}; leave --message out, or change --from")
            }
            Self::Name { name, error } => write!(f, "name \"{}\": {error}", name.escape_debug()),
            Self::NameMissing => f.write_str("--name is missing: in profile current a client always conveys its name"),
            Self::Output(error) => write!(f, "writing the result failed: {error}"),
            Self::Pem { path, expected, error } => {
                write!(f, "{}: expected {expected}: {error}", path.display())
            }
            Self::Read { path, error } => write!(f, "{}: cannot be read: {error}", path.display()),
            Self::ServerHasNoName => f.write_str("--name: a server's signal carries no name; leave --name out"),
            Self::Write { path, error } => write!(f, "{}: cannot be written: {error}", path.display()),
        }
    }
}

impl std::error::Error for Error {}

//! A client's credentials from files: the one in use and the next, loaded anew without restart (requirements C12).
//!
//! A key is replaced by publishing the next one's record beside the current one's, waiting until no resolver has the old
//! answer any more, using the next key, and withdrawing the old record (requirements 5.6). [`Rollover`] holds both
//! credentials meanwhile, each with the [`Connector`] that presents it. Which one to present is the caller's choice:
//! this crate knows nothing of DNS.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use dance_core::matching::Credential;
use dance_core::{CertificateDer, SubjectPublicKeyInfoDer};
use openssl::error::ErrorStack;

use crate::client::Connector;
use crate::config::{ClientConfig, ClientCredential};
use crate::credential::{CertifiedKey, PrivateKey};
use crate::error::{ConfigError, CredentialError};

/// Where a client's credential lies. Whoever replaces a file should do so by renaming another onto it: a file that breaks
/// off after its first certificate cannot be told from one that holds no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialFiles {
    /// The certificate chain, the client's own first. `None`: the key is presented as a raw public key.
    pub certificate: Option<PathBuf>,
    /// The private key.
    pub key: PathBuf,
}

impl CredentialFiles {
    /// Reads the credential.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn load(&self) -> Result<ClientCredential, CredentialError> {
        match &self.certificate {
            Some(certificate) => CertifiedKey::load(certificate, &self.key).map(ClientCredential::X509),
            None => PrivateKey::load(&self.key).map(ClientCredential::RawPublicKey),
        }
    }

    /// Whether none of the files is there.
    fn absent(&self) -> bool {
        let absent = |path: &Path| matches!(path.try_exists(), Ok(false));
        absent(&self.key) && self.certificate.as_deref().is_none_or(absent)
    }
}

impl fmt::Display for CredentialFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.certificate {
            Some(certificate) => write!(f, "{} with {}", certificate.display(), self.key.display()),
            None => self.key.display().fmt(f),
        }
    }
}

/// Which of two credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The one in use.
    Current,
    /// The one that replaces it.
    Next,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Current => "current",
            Self::Next => "next",
        })
    }
}

/// A credential, and what presents it.
#[derive(Clone, Debug)]
pub struct ReadyCredential {
    presented: Credential,
    connector: Connector,
}

impl ReadyCredential {
    /// Makes the connector that presents `credential`, of `config` without regard to the credential in it.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(config: &ClientConfig, credential: ClientCredential) -> Result<Self, ConfigError> {
        let presented = credential.presented().map_err(ConfigError::Credential)?;
        let connector = Connector::new(&ClientConfig { credential: Some(credential), ..config.clone() })?;
        Ok(Self { presented, connector })
    }

    /// What the server will see.
    #[must_use]
    pub const fn presented(&self) -> &Credential {
        &self.presented
    }

    /// What presents it.
    #[must_use]
    pub const fn connector(&self) -> &Connector {
        &self.connector
    }
}

impl ClientCredential {
    /// What a server sees of it, once it has asked.
    ///
    /// # Errors
    /// OpenSSL cannot encode it.
    pub fn presented(&self) -> Result<Credential, ErrorStack> {
        Ok(match self {
            Self::X509(certified_key) => {
                let chain = certified_key.certificates_der()?;
                Credential::X509(chain.into_iter().map(CertificateDer::from).collect())
            }
            Self::RawPublicKey(key) => Credential::RawPublicKey(SubjectPublicKeyInfoDer::from(key.spki_der()?)),
        })
    }
}

/// The credentials as last loaded.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The one in use.
    pub current: ReadyCredential,
    /// The one that replaces it, if there is one already.
    pub next: Option<ReadyCredential>,
}

impl Credentials {
    /// Those that there are, the current one first.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &ReadyCredential)> {
        [(Slot::Current, &self.current)].into_iter().chain(self.next.as_ref().map(|next| (Slot::Next, next)))
    }
}

/// The credentials of one client, which can be loaded anew at any time. Share it behind an [`Arc`].
#[derive(Debug)]
pub struct Rollover {
    config: ClientConfig,
    current: CredentialFiles,
    next: Option<CredentialFiles>,
    loaded: RwLock<Arc<Credentials>>,
    /// Held while files are read, so that of two reloads the later one wins.
    reloading: Mutex<()>,
}

impl Rollover {
    /// Loads what is there. `config` says everything but the credential. The files of `next` may be missing, all of them:
    /// before a rollover begins and after it has ended there is no next credential.
    ///
    /// # Errors
    /// [`RolloverError`].
    pub fn load(
        config: ClientConfig,
        current: CredentialFiles,
        next: Option<CredentialFiles>,
    ) -> Result<Self, RolloverError> {
        let loaded = RwLock::new(Arc::new(read(&config, &current, next.as_ref())?));
        Ok(Self { config, current, next, loaded, reloading: Mutex::new(()) })
    }

    /// Reads the files anew. What was loaded before stays until all of it has been read and found good.
    ///
    /// # Errors
    /// [`RolloverError`]; nothing has changed then.
    pub fn reload(&self) -> Result<Arc<Credentials>, RolloverError> {
        let _reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Arc::new(read(&self.config, &self.current, self.next.as_ref())?);
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
        Ok(fresh)
    }

    /// The credentials as last loaded. Cheap; connections that are under way keep what they have.
    #[must_use]
    pub fn credentials(&self) -> Arc<Credentials> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn read(
    config: &ClientConfig,
    current: &CredentialFiles,
    next: Option<&CredentialFiles>,
) -> Result<Credentials, RolloverError> {
    let ready = |slot, files: &CredentialFiles| {
        let credential =
            files.load().map_err(|error| RolloverError::Credential { slot, files: files.clone(), error })?;
        ReadyCredential::new(config, credential).map_err(|error| RolloverError::Config {
            slot,
            files: files.clone(),
            error,
        })
    };
    let next = next.filter(|files| !files.absent()).map(|files| ready(Slot::Next, files)).transpose()?;
    Ok(Credentials { current: ready(Slot::Current, current)?, next })
}

/// Why credentials cannot be loaded.
#[derive(Debug)]
pub enum RolloverError {
    /// The files hold no credential.
    Credential {
        /// Which one of the two.
        slot: Slot,
        /// Its files.
        files: CredentialFiles,
        /// What is wrong with them.
        error: CredentialError,
    },
    /// The credential and the other settings make no connector.
    Config {
        /// Which one of the two.
        slot: Slot,
        /// Its files.
        files: CredentialFiles,
        /// Why.
        error: ConfigError,
    },
}

impl fmt::Display for RolloverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential { slot, files, error } => write!(f, "{slot} credential, {files}: {error}"),
            Self::Config { slot, files, error } => write!(f, "{slot} credential, {files}: {error}"),
        }
    }
}

impl std::error::Error for RolloverError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Credential { error, .. } => Some(error),
            Self::Config { error, .. } => Some(error),
        }
    }
}

//! Files that commands read and write.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use dance_core::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tempfile::NamedTempFile;

use crate::Error;

/// Who may read a written file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secrecy {
    /// Mode 0644.
    Public,
    /// Mode 0600.
    Secret,
}

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| Error::Read { path: path.to_owned(), error })
}

/// Reads the certificates of a PEM file, at least one.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let octets = read(path)?;
    let pem = |error| Error::Pem { path: path.to_owned(), expected: "certificates in PEM", error };
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&octets).collect::<Result<_, _>>().map_err(pem)?;
    if certificates.is_empty() {
        return Err(pem(rustls_pki_types::pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

/// Writes a file so that it is there whole or not at all.
///
/// # Errors
/// [`Error::Exists`] unless `force`.
pub(crate) fn write(path: &Path, content: &[u8], secrecy: Secrecy, force: bool) -> Result<(), Error> {
    let mut file = PendingFile::create(path, secrecy)?;
    file.write(content)?;
    file.commit(force)
}

/// A file being written: a temporary one beside its place, which takes the place when committed and is removed when dropped.
pub(crate) struct PendingFile {
    path: PathBuf,
    file: NamedTempFile,
}

impl PendingFile {
    pub(crate) fn create(path: &Path, secrecy: Secrecy) -> Result<Self, Error> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mode = match secrecy {
            Secrecy::Public => 0o644,
            Secrecy::Secret => 0o600,
        };
        let file = tempfile::Builder::new()
            .prefix(".dance-")
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(directory)
            .map_err(|error| failed(path, error))?;
        Ok(Self { path: path.to_owned(), file })
    }

    pub(crate) fn write(&mut self, content: &[u8]) -> Result<(), Error> {
        self.file.write_all(content).map_err(|error| failed(&self.path, error))
    }

    /// Puts the file into its place.
    ///
    /// # Errors
    /// [`Error::Exists`] unless `force`.
    pub(crate) fn commit(self, force: bool) -> Result<(), Error> {
        let Self { path, file } = self;
        file.as_file().sync_all().map_err(|error| failed(&path, error))?;
        let committed = if force { file.persist(&path) } else { file.persist_noclobber(&path) };
        committed.map(drop).map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists { path },
            _ => failed(&path, error.error),
        })
    }
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::Write { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    #[test]
    fn a_file_is_replaced_only_by_force_and_never_half() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        write(&path, b"first", Secrecy::Public, false).unwrap();
        assert!(matches!(write(&path, b"second", Secrecy::Secret, false), Err(Error::Exists { .. })));
        assert_eq!(read(&path).unwrap(), b"first");
        write(&path, b"third", Secrecy::Secret, true).unwrap();
        assert_eq!(read(&path).unwrap(), b"third");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let mut given_up = PendingFile::create(&path, Secrecy::Public).unwrap();
        given_up.write(b"fou").unwrap();
        drop(given_up);
        assert_eq!(read(&path).unwrap(), b"third");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}

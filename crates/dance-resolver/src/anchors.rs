//! Trust anchors (SEC-15): where they come from, and whether that has changed.
//!
//! A file is looked at again when a name is looked up, at most once a minute, and not upon a signal: so that it works in every program that
//! this resolver is part of, and nobody has to know of it who replaces the file, be it an administrator, a package, or a resolver that follows
//! the root's keys (RFC 5011).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use dance_core::UnixTime;
use dance_dnssec::{Anchors, EXPECTED_ANCHOR};

use crate::config::TrustAnchorSource;

/// Seconds from one look at the file to the next.
const LOOK_AGAIN: u64 = 60;

/// Where trust anchors are read from, and what was found there.
pub(crate) struct AnchorSource {
    source: TrustAnchorSource,
    /// Second in which the file was looked at last.
    looked: AtomicU64,
    seen: Mutex<Seen>,
}

/// The source as it was when it was read.
struct Seen {
    stamp: Option<Stamp>,
    /// What the anchors in use were made of.
    text: String,
}

/// What changes when somebody replaces or writes a file.
type Stamp = (SystemTime, u64);

/// [`AnchorSource::reread`] or [`AnchorSource::reread_if_touched`].
pub(crate) type Reread = fn(&AnchorSource, &dyn Fn(Anchors)) -> Result<bool, AnchorError>;

impl AnchorSource {
    /// Reads and checks them.
    pub(crate) fn new(source: TrustAnchorSource, now: UnixTime) -> Result<(Self, Anchors), AnchorError> {
        let stamp = stamp(&source);
        let (text, anchors) = read(&source)?;
        let seen = Mutex::new(Seen { stamp, text });
        Ok((Self { source, looked: AtomicU64::new(now.as_secs()), seen }, anchors))
    }

    /// Whether it is time to look at the file: true for one caller a minute, and never where there is no file.
    pub(crate) fn is_due(&self, now: UnixTime) -> bool {
        if !matches!(self.source, TrustAnchorSource::File(_)) {
            return false;
        }
        let (looked, now) = (self.looked.load(Ordering::Relaxed), now.as_secs());
        // A clock that was set back does not put it off.
        let is_due = !(looked..looked.saturating_add(LOOK_AGAIN)).contains(&now);
        is_due && self.looked.compare_exchange(looked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Reads the file again if it was touched, as [`reread`](Self::reread). Skips it while somebody else is at it.
    pub(crate) fn reread_if_touched(&self, install: &dyn Fn(Anchors)) -> Result<bool, AnchorError> {
        let seen = match self.seen.try_lock() {
            Ok(seen) => seen,
            Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => return Ok(false),
        };
        let stamp = stamp(&self.source);
        if stamp == seen.stamp { Ok(false) } else { self.renew(seen, stamp, install) }
    }

    /// Reads the anchors anew; where they are others than those in use, they go to `install`, one after the other if several callers do this.
    /// Returns whether there were others.
    pub(crate) fn reread(&self, install: &dyn Fn(Anchors)) -> Result<bool, AnchorError> {
        // What is guarded is written in one go.
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.source);
        self.renew(seen, stamp, install)
    }

    fn renew(
        &self,
        mut seen: MutexGuard<'_, Seen>,
        stamp: Option<Stamp>,
        install: &dyn Fn(Anchors),
    ) -> Result<bool, AnchorError> {
        // Also where it turns out to be broken: that is said once, not every minute.
        seen.stamp = stamp;
        let (text, anchors) = read(&self.source)?;
        let changed = text != seen.text;
        if changed {
            seen.text = text;
            install(anchors);
        }
        Ok(changed)
    }
}

/// When a file was written last, and its size. Nothing for what is no file, and for one that is not there.
fn stamp(source: &TrustAnchorSource) -> Option<Stamp> {
    let TrustAnchorSource::File(path) = source else { return None };
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(source: &TrustAnchorSource) -> Result<(String, Anchors), AnchorError> {
    let parse = |text: String, path: Option<&Path>| {
        let anchors =
            Anchors::parse(&text).map_err(|error| AnchorError::Records { path: path.map(Path::to_owned), error });
        anchors.map(|anchors| (text, anchors))
    };
    match source {
        TrustAnchorSource::Root => Ok((String::new(), Anchors::root())),
        TrustAnchorSource::Text(text) => parse(text.clone(), None),
        TrustAnchorSource::File(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| AnchorError::Unreadable { path: path.clone(), error: error.kind() })?;
            parse(without_untrusted(&text), Some(path))
        }
    }
}

/// The file that unbound keeps by RFC 5011 says of each key in a comment which state it is in. Those that are on trial, or revoked, are no trust
/// anchors; their lines become empty, so that all others keep their numbers.
fn without_untrusted(text: &str) -> String {
    const STATE: &str = ";;state=";
    /// VALID and MISSING (RFC 5011 section 4), as unbound writes them.
    const TRUSTED: [&str; 2] = ["2", "3"];
    let is_trusted = |line: &&str| {
        let state = line.split_once(STATE).and_then(|(_, rest)| rest.split_ascii_whitespace().next());
        state.is_none_or(|state| TRUSTED.contains(&state))
    };
    text.lines().map(|line| if is_trusted(&line) { line } else { "" }).flat_map(|line| [line, "\n"]).collect()
}

/// Why trust anchors cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnchorError {
    /// The file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::ErrorKind,
    },
    /// There are no records in it, or one that is no trust anchor.
    Records {
        /// The file, if it is one.
        path: Option<PathBuf>,
        /// Which, and what is wrong.
        error: dance_dnssec::AnchorError,
    },
}

impl fmt::Display for AnchorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("trust anchor")?;
        match self {
            Self::Unreadable { path, error } => write!(
                f,
                " {}: cannot be read ({error}); {EXPECTED_ANCHOR}, in a file that this program may read",
                path.display()
            ),
            Self::Records { path, error } => {
                if let Some(path) = path {
                    write!(f, " {}", path.display())?;
                }
                // "trust anchor line 4: expected ...", "trust anchor: expected ...".
                let separator = if matches!(error, dance_dnssec::AnchorError::Empty) { ":" } else { "" };
                write!(f, "{separator} {error}")
            }
        }
    }
}

impl std::error::Error for AnchorError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test code")]

    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    const KSK_2017: &str = "E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D";

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    fn error(source: TrustAnchorSource) -> String {
        AnchorSource::new(source, at(0)).err().unwrap().to_string()
    }

    // SEC-15: which file, which line, what was expected.
    #[test]
    fn faults_name_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_owned();
        let named = |rest: &str| format!("trust anchor {}{rest}", path.display());
        assert!(error(TrustAnchorSource::File(path.clone())).starts_with(&named(": expected DS or DNSKEY")));
        std::fs::write(&path, "; one\n. IN A 192.0.2.1\n").unwrap();
        assert!(error(TrustAnchorSource::File(path.clone())).starts_with(&named(" line 2: expected DS or DNSKEY")));
        assert!(error(TrustAnchorSource::Text(String::new())).starts_with("trust anchor: expected DS or DNSKEY"));
        let nowhere = PathBuf::from("/nowhere/root.key");
        let text = error(TrustAnchorSource::File(nowhere));
        assert!(text.starts_with("trust anchor /nowhere/root.key: cannot be read"), "{text}");
    }

    // SEC-15: keys that a resolver has not yet accepted by RFC 5011, or has seen revoked, are no anchors.
    #[test]
    fn states_of_keys() {
        let key =
            |owner: &str, state: &str| format!("{owner} 86400 IN DNSKEY 257 3 8 AwEAAQ== ;{{id = 1 (ksk)}} {state}\n");
        let text = [
            "; autotrust trust anchor file\n;;id: . 1\n".to_owned(),
            key("valid.", ";;state=2 [  VALID  ] ;;count=0"),
            key("pending.", ";;state=1 [ ADDPEND ] ;;count=3"),
            key("missing.", ";;state=3 [ MISSING ] ;;count=0"),
            key("revoked.", ";;state=4 [ REVOKED ] ;;count=0"),
            key("plain.", ""),
        ];
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text.concat()).unwrap();
        let (_, anchors) = AnchorSource::new(TrustAnchorSource::File(file.path().to_owned()), at(0)).unwrap();
        let owners: Vec<String> = anchors.owners().map(ToString::to_string).collect();
        assert_eq!(owners, ["valid", "missing", "plain"]);
        // Lines keep their numbers.
        std::fs::write(file.path(), key("pending.", ";;state=1") + ". IN A 192.0.2.1\n").unwrap();
        assert!(error(TrustAnchorSource::File(file.path().to_owned())).contains("line 2:"));
    }

    // SEC-15
    #[test]
    fn a_file_is_looked_at_once_a_minute() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!(". IN DS 20326 8 2 {KSK_2017}\n")).unwrap();
        let (source, _) = AnchorSource::new(TrustAnchorSource::File(file.path().to_owned()), at(1000)).unwrap();
        let due = |seconds| source.is_due(at(seconds));
        assert_eq!([1000, 1059, 1060, 1060, 1119, 1120].map(due), [false, false, true, false, false, true]);
        // Nor does a clock that is set back stop it.
        assert_eq!([500, 501, 560].map(due), [true, false, true]);
        let (root, _) = AnchorSource::new(TrustAnchorSource::Root, at(0)).unwrap();
        assert!(!root.is_due(at(1000)));
    }

    // SEC-15: what is broken changes nothing and is told once; what says the same changes nothing.
    #[test]
    fn rereading() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            // Writes within one tick of the file system's clock would look alike.
            let times = file.as_file().metadata().unwrap().modified().unwrap() + Duration::from_secs(text.len() as u64);
            file.as_file().set_modified(times).unwrap();
        };
        let good = format!(". IN DS 20326 8 2 {KSK_2017}\n");
        write(&good);
        let (source, _) = AnchorSource::new(TrustAnchorSource::File(file.path().to_owned()), at(0)).unwrap();
        let installed = Cell::new(0);
        let install = |_: Anchors| installed.set(installed.get() + 1);
        assert_eq!(source.reread_if_touched(&install), Ok(false));
        assert_eq!(source.reread(&install), Ok(false));
        write("broken");
        assert!(source.reread_if_touched(&install).is_err());
        assert_eq!(source.reread_if_touched(&install), Ok(false));
        assert!(source.reread(&install).is_err());
        assert_eq!(installed.get(), 0);
        write(&format!("{good}example.com. IN DS 20326 8 2 {KSK_2017}\n"));
        assert_eq!(source.reread_if_touched(&install), Ok(true));
        assert_eq!(source.reread(&install), Ok(false));
        assert_eq!(installed.get(), 1);
        std::fs::remove_file(file.path()).unwrap();
        assert!(matches!(source.reread_if_touched(&install), Err(AnchorError::Unreadable { .. })));
        assert_eq!(installed.get(), 1);
    }
}

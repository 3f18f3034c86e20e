//! Trust anchors (SEC-15): the root's keys that this version ships with, or DS and DNSKEY records that an administrator gives.

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;
use domain::base::iana::{Class, SecurityAlgorithm};
use domain::base::name::{Name, ToName as _};
use domain::base::{RecordData as _, Rtype};
use domain::dnssec::validator::anchor::TrustAnchors;
use domain::dnssec::validator::base::{supported_algorithm, supported_digest};
use domain::rdata::ZoneRecordData;
use domain::zonefile::inplace::{Entry, Zonefile};

use crate::config::TrustAnchorSource;
use crate::reply::DnsName;

/// The root zone's key signing keys as IANA publishes them (https://data.iana.org/root-anchors/root-anchors.xml): KSK-2017 and
/// KSK-2024. Both, so that the rollover between them needs no new version.
const ROOT: &str = "\
. IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D
. IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16
";

/// Checked trust anchors, in a form that validators can be made of again and again.
#[derive(Clone, Debug)]
pub(crate) struct Anchors {
    text: String,
    owners: Vec<DnsName>,
}

impl Anchors {
    pub(crate) fn load(source: &TrustAnchorSource) -> Result<Self, AnchorError> {
        match source {
            TrustAnchorSource::Root => Self::parse(ROOT, None),
            TrustAnchorSource::Text(text) => Self::parse(text, None),
            TrustAnchorSource::File(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| AnchorError::Unreadable { path: path.clone(), error: error.kind() })?;
                Self::parse(&text, Some(path))
            }
        }
    }

    fn parse(text: &str, path: Option<&PathBuf>) -> Result<Self, AnchorError> {
        let mut zonefile = Zonefile::new();
        zonefile.set_default_class(Class::IN);
        zonefile.set_origin(Name::root());
        let mut owners = Vec::new();
        // One entry at a time, so that a fault has its line.
        for (line, entry) in entries(text) {
            let fault = |kind| AnchorError::Record { path: path.cloned(), line, kind };
            zonefile.extend_from_slice(entry.as_bytes());
            zonefile.extend_from_slice(b"\n");
            loop {
                match zonefile.next_entry() {
                    Ok(Some(Entry::Record(record))) => {
                        check(record.data()).map_err(fault)?;
                        owners.push(record.owner().to_name());
                    }
                    Ok(Some(Entry::Include { .. })) => return Err(fault(RecordFault::Include)),
                    Ok(None) => break,
                    Err(_) => return Err(fault(RecordFault::Syntax)),
                }
            }
        }
        if owners.is_empty() {
            return Err(AnchorError::Empty { path: path.cloned() });
        }
        Ok(Self { text: format!("$ORIGIN .\n{text}\n"), owners })
    }

    /// Whether `name` is the owner of an anchor.
    pub(crate) fn covers_exactly(&self, name: &DnsName) -> bool {
        self.owners.contains(name)
    }

    /// Anchors for one validator. They were checked: should the validator's own reader differ, there are none, and no name is secure.
    pub(crate) fn for_validator(&self) -> TrustAnchors {
        TrustAnchors::from_u8(self.text.as_bytes()).unwrap_or_else(|_| TrustAnchors::empty())
    }
}

/// Whether a record can be a trust anchor.
fn check<N>(data: &ZoneRecordData<Bytes, N>) -> Result<(), RecordFault> {
    match data {
        ZoneRecordData::Ds(ds) if supported_algorithm(&ds.algorithm()) && supported_digest(&ds.digest_type()) => Ok(()),
        ZoneRecordData::Ds(ds) => Err(RecordFault::Unsupported { algorithm: ds.algorithm() }),
        ZoneRecordData::Dnskey(key) if !supported_algorithm(&key.algorithm()) => {
            Err(RecordFault::Unsupported { algorithm: key.algorithm() })
        }
        ZoneRecordData::Dnskey(key) if !key.is_zone_key() || key.is_revoked() => {
            Err(RecordFault::KeyFlags { flags: key.flags() })
        }
        ZoneRecordData::Dnskey(_) => Ok(()),
        other => Err(RecordFault::Type { found: other.rtype() }),
    }
}

/// The entries of a zone file, each with its first line, from 1: a line, or several as long as a parenthesis is open.
fn entries(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut lines = text.lines().enumerate();
    std::iter::from_fn(move || {
        let (index, first) = lines.next()?;
        let mut entry = first.to_owned();
        while open_parentheses(&entry)
            && let Some((_, line)) = lines.next()
        {
            entry.push('\n');
            entry.push_str(line);
        }
        Some((index + 1, entry))
    })
}

fn open_parentheses(entry: &str) -> bool {
    let count = |which| -> usize {
        entry.lines().filter_map(|line| line.split(';').next()).map(|line| line.matches(which).count()).sum()
    };
    count('(') > count(')')
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
    /// No record in it.
    Empty {
        /// The file, if it is one.
        path: Option<PathBuf>,
    },
    /// A record is not one to start validation from.
    Record {
        /// The file, if it is one.
        path: Option<PathBuf>,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        kind: RecordFault,
    },
}

/// What is wrong with a trust-anchor record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordFault {
    /// It does not parse.
    Syntax,
    /// An `$INCLUDE`.
    Include,
    /// Another type than DS and DNSKEY.
    Type {
        /// Which.
        found: Rtype,
    },
    /// An algorithm or digest that the validator does not know.
    Unsupported {
        /// The record's algorithm.
        algorithm: SecurityAlgorithm,
    },
    /// A key that is revoked (RFC 5011) or no zone key (RFC 4034 section 2.1.1).
    KeyFlags {
        /// The flags.
        flags: u16,
    },
}

impl fmt::Display for AnchorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const EXPECTED: &str = "expected DS or DNSKEY records, such as \". IN DS 20326 8 2 E06D...\"";
        f.write_str("trust anchor")?;
        match self {
            Self::Unreadable { path, error } => write!(
                f,
                " {}: cannot be read ({error}); {EXPECTED}, in a file that this program may read",
                path.display()
            ),
            Self::Empty { path } => {
                if let Some(path) = path {
                    write!(f, " {}", path.display())?;
                }
                write!(f, ": {EXPECTED}, found none")
            }
            Self::Record { path, line, kind } => {
                if let Some(path) = path {
                    write!(f, " {}", path.display())?;
                }
                write!(f, " line {line}: ")?;
                match kind {
                    RecordFault::Syntax => write!(f, "{EXPECTED}, found what does not parse"),
                    RecordFault::Include => write!(f, "{EXPECTED}, found $INCLUDE; put the records into this file"),
                    RecordFault::Type { found } => write!(f, "{EXPECTED}, found type {found}"),
                    RecordFault::Unsupported { algorithm } => write!(
                        f,
                        "expected algorithm 5, 7, 8, 10 or 13 and digest type 1, 2 or 4, found algorithm {} or another digest",
                        algorithm.to_int()
                    ),
                    RecordFault::KeyFlags { flags } => {
                        write!(f, "expected a zone key that is not revoked (flags 256 or 257), found flags {flags}")
                    }
                }
            }
        }
    }
}

impl std::error::Error for AnchorError {}

#[cfg(test)]
mod tests {
    use super::*;

    const DS: &str = "E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D";

    fn parse(text: &str) -> Result<Anchors, AnchorError> {
        Anchors::load(&TrustAnchorSource::Text(text.to_owned()))
    }

    // SEC-15
    #[test]
    fn shipped_anchors() {
        let anchors = Anchors::load(&TrustAnchorSource::Root).ok();
        assert_eq!(anchors.map(|anchors| anchors.owners), Some(vec![Name::root(), Name::root()]));
    }

    // SEC-15
    #[test]
    fn records_with_and_without_ttl_class_dot_and_last_line_end() {
        for text in [
            format!(". IN DS 20326 8 2 {DS}"),
            format!(". 172800 IN DS 20326 8 2 {DS}\n"),
            format!("; keys\n\nexample.com DS 20326 8 2 (\n  {DS} )\n"),
            ". IN DNSKEY 257 3 8 AwEAAQ==".to_owned(),
        ] {
            assert!(parse(&text).is_ok(), "{text}");
        }
    }

    // SEC-15: the line, what was expected, what was found.
    #[test]
    fn faults() {
        let cases = [
            (
                String::new(),
                "trust anchor: expected DS or DNSKEY records, such as \". IN DS 20326 8 2 E06D...\", found none",
            ),
            (format!(". IN DS 20326 8 2 {DS}\n\n; and\nexample. IN A 192.0.2.1\n"), "line 4: expected DS or DNSKEY"),
            (format!(". IN DS 20326 8 2 {DS}\n. IN DS 20326 8 2 xyz\n"), "line 2: expected DS or DNSKEY"),
            (format!(". IN DS 1 15 2 {DS}"), "line 1: expected algorithm 5, 7, 8, 10 or 13"),
            (format!(". IN DS 1 8 3 {DS}"), "line 1: expected algorithm 5, 7, 8, 10 or 13"),
            ("\n$INCLUDE keys\n".to_owned(), "line 2: expected DS or DNSKEY"),
            (". IN DNSKEY 385 3 8 AwEAAQ==".to_owned(), "found flags 385"),
            (". IN DNSKEY 1 3 8 AwEAAQ==".to_owned(), "found flags 1"),
        ];
        for (text, expected) in cases {
            let error = parse(&text).map(|_| ()).map_err(|error| error.to_string());
            assert!(error.as_ref().is_err_and(|error| error.contains(expected)), "{text}: {error:?}");
        }
        let path = PathBuf::from("/nowhere/root.key");
        let error = Anchors::load(&TrustAnchorSource::File(path)).map(|_| ());
        assert!(error.is_err_and(|error| error.to_string().contains("/nowhere/root.key: cannot be read")));
    }
}

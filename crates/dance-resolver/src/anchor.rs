//! Trust anchors (SEC-15): the root's keys that this version ships with, or DS and DNSKEY records that an administrator gives.

use std::fmt;
use std::path::PathBuf;

use domain::base::Rtype;
use domain::base::iana::SecurityAlgorithm;
use domain::base::name::{Name, ToName as _};
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
        let mut zonefile = Zonefile::from(text.as_bytes());
        // The last line of a file need not end.
        zonefile.extend_from_slice(b"\n");
        zonefile.set_default_class(domain::base::iana::Class::IN);
        zonefile.set_origin(Name::root());
        let mut owners = Vec::new();
        loop {
            let start = zonefile.current_offset();
            let fault = |kind| AnchorError::Record { path: path.cloned(), line: line_at(text, start), kind };
            let entry = match zonefile.next_entry() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(error) => return Err(fault(RecordFault::Syntax { parser: error.to_string() })),
            };
            let record = match entry {
                Entry::Record(record) => record,
                Entry::Include { .. } => return Err(fault(RecordFault::Include)),
            };
            match record.data() {
                ZoneRecordData::Ds(ds) => {
                    if !supported_algorithm(&ds.algorithm()) || !supported_digest(&ds.digest_type()) {
                        return Err(fault(RecordFault::Unsupported { algorithm: ds.algorithm() }));
                    }
                }
                ZoneRecordData::Dnskey(key) => {
                    if !supported_algorithm(&key.algorithm()) {
                        return Err(fault(RecordFault::Unsupported { algorithm: key.algorithm() }));
                    }
                    if !key.is_zone_key() || key.is_revoked() {
                        return Err(fault(RecordFault::KeyFlags { flags: key.flags() }));
                    }
                }
                _ => return Err(fault(RecordFault::Type { found: record.rtype() })),
            }
            owners.push(record.owner().to_name());
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

/// The line of the first thing at or after `offset` that is neither blank nor comment, from 1.
fn line_at(text: &str, offset: usize) -> usize {
    let mut line = 1 + text.bytes().take(offset).filter(|&octet| octet == b'\n').count();
    for rest in text.get(offset..).unwrap_or_default().lines() {
        let rest = rest.trim();
        if !rest.is_empty() && !rest.starts_with(';') {
            break;
        }
        line += 1;
    }
    line
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
    Syntax {
        /// What the zone-file parser says.
        parser: String,
    },
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
            Self::Unreadable { path, error } => write!(f, " {}: cannot be read: {error}", path.display()),
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
                    RecordFault::Syntax { parser } => write!(f, "{EXPECTED}, found what does not parse ({parser})"),
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

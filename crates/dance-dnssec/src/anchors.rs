//! Trust anchors (SEC-15): the root's keys that this version ships with, or DS and DNSKEY records that an administrator gives.

use std::fmt;

use bytes::Bytes;
use domain::base::RecordData as _;
use domain::base::iana::{Class, Rtype, SecurityAlgorithm};
use domain::base::name::{Name, ToName as _};
use domain::rdata::ZoneRecordData;
use domain::zonefile::inplace::{Entry, Zonefile};

use crate::keys::{Digest, Ds, Key, is_supported};
use crate::question::DnsName;

/// The root zone's key signing keys as IANA publishes them (https://data.iana.org/root-anchors/root-anchors.xml): KSK-2017 and
/// KSK-2024. Both, so that the rollover between them needs no new version.
const ROOT: &str = "\
. IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D
. IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16
";

/// Checked trust anchors.
#[derive(Clone, Debug)]
pub struct Anchors(Vec<Anchor>);

/// What is known beforehand of one zone's keys: one of these must sign them.
#[derive(Clone, Debug)]
pub(crate) struct Anchor {
    pub(crate) zone: DnsName,
    pub(crate) ds: Vec<Ds>,
    /// RDATA of DNSKEY records.
    pub(crate) keys: Vec<Bytes>,
}

impl Anchors {
    /// The root zone's keys that this version ships with.
    #[must_use]
    pub fn root() -> Self {
        // A test sees to it that they parse. Without an anchor, nothing is ever Secure.
        Self::parse(ROOT).unwrap_or_else(|_| Self(Vec::new()))
    }

    /// Reads DS and DNSKEY records in zone-file form; names without final dot are absolute all the same.
    ///
    /// # Errors
    /// With the line that is not a trust anchor.
    pub fn parse(text: &str) -> Result<Self, AnchorError> {
        let mut zonefile = Zonefile::new();
        zonefile.set_default_class(Class::IN);
        zonefile.set_origin(Name::root());
        let mut anchors = Self(Vec::new());
        // One entry at a time, so that a fault has its line.
        for (line, entry) in entries(text) {
            let fault = |kind| AnchorError::Record { line, kind };
            zonefile.extend_from_slice(entry.as_bytes());
            zonefile.extend_from_slice(b"\n");
            loop {
                match zonefile.next_entry() {
                    Ok(Some(Entry::Record(record))) => {
                        anchors.add(&record.owner().to_name(), record.data()).map_err(fault)?;
                    }
                    Ok(Some(Entry::Include { .. })) => return Err(fault(RecordFault::Include)),
                    Ok(None) => break,
                    Err(_) => return Err(fault(RecordFault::Syntax)),
                }
            }
        }
        if anchors.0.is_empty() {
            return Err(AnchorError::Empty);
        }
        Ok(anchors)
    }

    fn add<N>(&mut self, zone: &DnsName, data: &ZoneRecordData<Bytes, N>) -> Result<(), RecordFault> {
        match data {
            ZoneRecordData::Ds(ds) => {
                let unsupported = RecordFault::Unsupported { algorithm: ds.algorithm() };
                let digest = Digest::from_int(ds.digest_type().to_int()).filter(|_| is_supported(ds.algorithm()));
                let digest = digest.ok_or(unsupported)?;
                self.at(zone).ds.push(Ds {
                    tag: ds.key_tag(),
                    algorithm: ds.algorithm(),
                    digest,
                    value: ds.digest().clone(),
                });
            }
            ZoneRecordData::Dnskey(key) if !is_supported(key.algorithm()) => {
                return Err(RecordFault::Unsupported { algorithm: key.algorithm() });
            }
            ZoneRecordData::Dnskey(key) if !key.is_zone_key() || key.is_revoked() => {
                return Err(RecordFault::KeyFlags { flags: key.flags() });
            }
            ZoneRecordData::Dnskey(key) => self.at(zone).keys.push(Key::rdata(key)),
            other => return Err(RecordFault::Type { found: other.rtype() }),
        }
        Ok(())
    }

    fn at(&mut self, zone: &DnsName) -> &mut Anchor {
        let index = self.0.iter().position(|anchor| anchor.zone == *zone).unwrap_or_else(|| {
            self.0.push(Anchor { zone: zone.clone(), ds: Vec::new(), keys: Vec::new() });
            self.0.len() - 1
        });
        &mut self.0[index]
    }

    /// The deepest anchor at or above `name`.
    #[must_use]
    pub fn closest(&self, name: &DnsName) -> Option<&DnsName> {
        self.covering(name).map(|anchor| &anchor.zone)
    }

    pub(crate) fn covering(&self, name: &DnsName) -> Option<&Anchor> {
        let covering = self.0.iter().filter(|anchor| name.ends_with(&anchor.zone));
        covering.max_by_key(|anchor| anchor.zone.label_count())
    }

    /// The zones that have an anchor, each once.
    pub fn owners(&self) -> impl Iterator<Item = &DnsName> {
        self.0.iter().map(|anchor| &anchor.zone)
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
    /// No record in the text.
    Empty,
    /// A record is not one to start validation from.
    Record {
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

/// What an anchor should have been; the resolver's own message about an unreadable file ends in it too.
pub const EXPECTED_ANCHOR: &str = "expected DS or DNSKEY records, such as \". IN DS 20326 8 2 E06D...\"";

impl fmt::Display for AnchorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "{EXPECTED_ANCHOR}, found none"),
            Self::Record { line, kind } => {
                write!(f, "line {line}: ")?;
                match kind {
                    RecordFault::Syntax => write!(f, "{EXPECTED_ANCHOR}, found what does not parse"),
                    RecordFault::Include => {
                        write!(f, "{EXPECTED_ANCHOR}, found $INCLUDE; put the records into this file")
                    }
                    RecordFault::Type { found } => write!(f, "{EXPECTED_ANCHOR}, found type {found}"),
                    RecordFault::Unsupported { algorithm } => write!(
                        f,
                        "expected algorithm 8, 10, 13, 14 or 15 and digest type 1, 2 or 4, found algorithm {} or another digest",
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

    // SEC-15
    #[test]
    fn shipped_anchors() {
        assert_eq!(Anchors::root().owners().collect::<Vec<_>>(), [&DnsName::root()]);
        assert_eq!(Anchors::root().0[0].ds.iter().map(|ds| ds.tag).collect::<Vec<_>>(), [20326, 38696]);
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
            assert!(Anchors::parse(&text).is_ok(), "{text}");
        }
    }

    // SEC-15: the line, what was expected, what was found.
    #[test]
    fn faults() {
        let cases = [
            (String::new(), "expected DS or DNSKEY records, such as \". IN DS 20326 8 2 E06D...\", found none"),
            (format!(". IN DS 20326 8 2 {DS}\n\n; and\nexample. IN A 192.0.2.1\n"), "line 4: expected DS or DNSKEY"),
            (format!(". IN DS 20326 8 2 {DS}\n. IN DS 20326 8 2 xyz\n"), "line 2: expected DS or DNSKEY"),
            (format!(". IN DS 1 16 2 {DS}"), "line 1: expected algorithm 8, 10, 13, 14 or 15"),
            (format!(". IN DS 1 8 3 {DS}"), "line 1: expected algorithm 8, 10, 13, 14 or 15"),
            ("\n$INCLUDE keys\n".to_owned(), "line 2: expected DS or DNSKEY"),
            (format!(". IN DS 1 5 2 {DS}"), "line 1: expected algorithm 8, 10, 13, 14 or 15"),
            (". IN DNSKEY 385 3 8 AwEAAQ==".to_owned(), "found flags 385"),
            (". IN DNSKEY 1 3 8 AwEAAQ==".to_owned(), "found flags 1"),
        ];
        for (text, expected) in cases {
            let error = Anchors::parse(&text).map(|_| ()).map_err(|error| error.to_string());
            assert!(error.as_ref().is_err_and(|error| error.contains(expected)), "{text}: {error:?}");
        }
    }
}

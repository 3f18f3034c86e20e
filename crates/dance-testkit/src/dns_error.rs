//! Why a world cannot be made or changed.

use std::fmt;
use std::io;

use domain::base::iana::Rtype;
use domain::dnssec::sign::error::SigningError;

use crate::zone::KeyKind;

/// Why a world cannot be made or changed. All of these are mistakes of the caller, except `Key`, `Signing` and `Bind`.
#[derive(Debug)]
#[non_exhaustive]
pub enum WorldError {
    /// This text is not a domain name.
    Name {
        /// The text.
        name: String,
        /// What is wrong with it.
        source: domain::base::name::FromStrError,
    },
    /// The text of a zone cannot be read.
    ZoneFile {
        /// The zone.
        zone: String,
        /// What is wrong and where; its line 1 is a `$TTL` line put before the text.
        source: domain::zonefile::inplace::Error,
    },
    /// Zone text has an `$INCLUDE`, which is not followed.
    Include {
        /// The zone.
        zone: String,
        /// The file.
        path: String,
    },
    /// A record lies outside of its zone.
    OutOfZone {
        /// The record's owner.
        owner: String,
        /// The zone.
        zone: String,
    },
    /// Two records of one RRset have different TTLs.
    UnequalTtls {
        /// The RRset's owner.
        owner: String,
        /// The RRset's type.
        rtype: Rtype,
    },
    /// Two zones have the same apex.
    DuplicateZone {
        /// The apex.
        zone: String,
    },
    /// There are no such records to take away.
    NoRecords {
        /// The owner.
        owner: String,
        /// The type.
        rtype: Rtype,
    },
    /// This text is not one RRset.
    NoSet {
        /// The text.
        text: String,
    },
    /// The world has no such zone, or the zone no such key.
    NoZone {
        /// The apex asked for.
        zone: String,
    },
    /// An NSEC3 salt has more than 255 octets.
    LongSalt {
        /// Its length.
        octets: usize,
    },
    /// Record data has more than 65535 octets.
    LongRecord {
        /// The record's type.
        rtype: Rtype,
    },
    /// The cryptographic library made no key.
    Key {
        /// The zone.
        zone: String,
        /// The kind of key.
        kind: KeyKind,
    },
    /// The text of a given key cannot be read.
    GivenKey {
        /// The zone.
        zone: String,
    },
    /// The signer failed.
    Signing {
        /// The zone.
        zone: String,
        /// Its error.
        source: SigningError,
    },
    /// No port of the loopback interface could be bound.
    Bind {
        /// The system's error.
        source: io::Error,
    },
}

impl fmt::Display for WorldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { name, source } => write!(f, "`{name}` is not a domain name: {source}"),
            Self::ZoneFile { zone, source } => write!(f, "text of zone {zone}: {source}"),
            Self::Include { zone, path } => {
                write!(f, "text of zone {zone}: `$INCLUDE {path}` is not supported")
            }
            Self::OutOfZone { owner, zone } => write!(f, "{owner} does not lie in zone {zone}"),
            Self::UnequalTtls { owner, rtype } => {
                write!(f, "the {rtype} records of {owner} must all have the same TTL")
            }
            Self::DuplicateZone { zone } => write!(f, "zone {zone} is given twice"),
            Self::NoRecords { owner, rtype } => write!(f, "{owner} has no {rtype} records"),
            Self::NoSet { text } => write!(f, "expected records of one owner, type and TTL, found `{text}`"),
            Self::NoZone { zone } => write!(f, "there is no zone {zone}, or it has no such key"),
            Self::LongSalt { octets } => {
                write!(f, "an NSEC3 salt of {octets} octets: at most 255 are possible")
            }
            Self::LongRecord { rtype } => {
                write!(f, "{rtype} record data of more than 65535 octets")
            }
            Self::Key { zone, kind } => write!(f, "no {kind} key could be made for zone {zone}"),
            Self::GivenKey { zone } => {
                write!(f, "a key given for zone {zone} is not the text of a public and a private key file")
            }
            Self::Signing { zone, source } => write!(f, "zone {zone} cannot be signed: {source}"),
            Self::Bind { source } => write!(f, "no loopback port for the DNS server: {source}"),
        }
    }
}

impl std::error::Error for WorldError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Name { source, .. } => Some(source),
            Self::ZoneFile { source, .. } => Some(source),
            Self::Bind { source } => Some(source),
            // `SigningError` is no `Error`.
            _ => None,
        }
    }
}

//! `dance match`: the matching decision alone, offline.

use std::path::PathBuf;
use std::time::Duration;

use dance_core::clientid::Profile;
use dance_core::matching::{Conclusion, Credential, MatchOptions, MatchReport, match_rrset};
use dance_core::name::ClientName;
use dance_core::reason::Reason;
use dance_core::tlsa::{AssociationError, PresentationError, TlsaRdata};
use dance_core::x509::check_spki;
use dance_core::{SubjectPublicKeyInfoDer, UnixTime};
use jiff::Timestamp;
use serde::Serialize;

use crate::command::{parse_name, parse_profile};
use crate::files;
use crate::output::{self, Format};
use crate::{Error, Exit};

/// Match a certificate chain or raw public key against TLSA records, offline.
///
/// Takes the records for DNSSEC-validated, and the credential for one whose private key the client has proven to hold.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The conveyed name
    #[arg(long, value_parser = parse_name)]
    name: ClientName,

    #[command(flatten)]
    presented: Presented,

    /// The records, as "USAGE SELECTOR MATCHING-TYPE HEX", "\# LENGTH HEX", or a line of a zone file; none stands for an empty RRset
    #[arg(long, value_name = "RECORD", num_args = 1.., value_parser = parse_record)]
    tlsa: Vec<TlsaRdata>,

    /// Roots for records of usage 0 and 1; without them such records are unusable
    #[arg(long, value_name = "PEM")]
    roots: Option<PathBuf>,

    /// The time to judge certificates at (RFC 3339) [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    at: Option<UnixTime>,

    /// Wire profile: `current` or `2022`. Matching is the same in both
    #[arg(long, value_parser = parse_profile, default_value = "current")]
    profile: Profile,

    /// How to print the result
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// What the client presented: one of the two.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Presented {
    /// Certificates, the client's own first
    #[arg(long, value_name = "PEM")]
    chain: Option<PathBuf>,

    /// A raw public key, a SubjectPublicKeyInfo in DER
    #[arg(long, value_name = "DER")]
    spki: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
EXAMPLES:
    dance match --name sensor7._device.example.com --chain sensor7.cert.pem \\
        --tlsa '3 1 1 ee13f22ee41a355ee24a5f75c5659504191fc9deb93bcfb363ff6feec3856e93'
    dance match --name sensor7._device.example.com --spki sensor7.spki.der \\
        --tlsa '3 1 1 ee13...' '3 1 1 a27f...'

JSON KEYS:
    verdict        authenticated, name_mismatch, no_match or no_usable
    client_name    the name
    matched_index  the record that matched (for name_mismatch: all but the name), from 0, or null
    reason         a stable code; `matched` when authenticated
    records        for each: index, usage, selector, matching_type (null in records cut short before
                   it), outcome

EXIT CODES:
    0  authenticated
    1  not authenticated
    2  wrong usage, or a file that holds something else
    3  a file cannot be read";

#[derive(Serialize)]
struct Report {
    verdict: &'static str,
    client_name: String,
    matched_index: Option<usize>,
    reason: &'static str,
    records: Vec<Record>,
}

#[derive(Serialize)]
struct Record {
    index: usize,
    usage: Option<u8>,
    selector: Option<u8>,
    matching_type: Option<u8>,
    outcome: &'static str,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Error> {
        let credential = self.presented.read()?;
        let pkix_roots = self.roots.as_deref().map(files::read_certificates).transpose()?.unwrap_or_default();
        let options = MatchOptions { pkix_roots, digest_agility: true, user_mode: false };
        let now = self.at.unwrap_or_else(dance_resolver::now);
        let paths = dance_resolver::path_builder();
        let found = match_rrset(&self.tlsa, &credential, &self.name, &options, now, paths);
        let report = Report::new(&self.name, &self.tlsa, &found);
        match self.format {
            Format::Json => output::print_json(&report)?,
            Format::Text => print_text(&self.name, &self.tlsa, &found)?,
        }
        Ok(if matches!(found.conclusion, Conclusion::Matched(_)) { Exit::Yes } else { Exit::No })
    }
}

impl Presented {
    fn read(&self) -> Result<Credential, Error> {
        if let Some(path) = &self.chain {
            return files::read_certificates(path).map(Credential::X509);
        }
        // The argument group lets nobody through without one of the two.
        let path = self.spki.clone().unwrap_or_default();
        let octets = files::read(&path)?;
        check_spki(&octets).map_err(|error| Error::Association { path, error: AssociationError::Spki(error) })?;
        Ok(Credential::RawPublicKey(SubjectPublicKeyInfoDer::from(octets)))
    }
}

impl Report {
    fn new(name: &ClientName, records: &[TlsaRdata], found: &MatchReport) -> Self {
        let (verdict, matched_index, reason) = match &found.conclusion {
            Conclusion::Matched(matched) => ("authenticated", Some(matched.index), "matched"),
            Conclusion::NameMismatch { index, .. } => ("name_mismatch", Some(*index), Reason::SanMismatch.code()),
            Conclusion::NoMatch => ("no_match", None, Reason::NoMatch.code()),
            Conclusion::NoUsable => ("no_usable", None, Reason::NoUsableRecord.code()),
        };
        let records = found.records.iter().map(|row| {
            // A record cut short still has the fields before the cut.
            let field = |position| records.get(row.index).and_then(|record| record.as_wire().get(position)).copied();
            Record {
                index: row.index,
                usage: field(0),
                selector: field(1),
                matching_type: field(2),
                outcome: row.outcome.code(),
            }
        });
        Self { verdict, client_name: name.to_string(), matched_index, reason, records: records.collect() }
    }
}

fn print_text(name: &ClientName, records: &[TlsaRdata], found: &MatchReport) -> Result<(), Error> {
    output::print(match found.conclusion {
        Conclusion::Matched(_) => format!("authenticated: {name}"),
        Conclusion::NameMismatch { .. } => {
            format!("name mismatch: a record matches the chain, but the certificate does not hold {name} as a dNSName")
        }
        Conclusion::NoMatch => "no match: no usable record describes what was presented".to_owned(),
        Conclusion::NoUsable => "no usable record".to_owned(),
    })?;
    for row in &found.records {
        let record = records.get(row.index).map(ToString::to_string).unwrap_or_default();
        output::print(format_args!("    {}: {record}\n        {}", row.index, row.outcome))?;
    }
    Ok(())
}

/// Reads record data, or a whole line of a zone file as `dance tlsa generate` prints it.
fn parse_record(text: &str) -> Result<TlsaRdata, PresentationError> {
    let data = text.split_once(" TLSA ").or_else(|| text.split_once(" TYPE52 ")).map_or(text, |(_, data)| data);
    data.parse()
}

fn parse_instant(text: &str) -> Result<UnixTime, String> {
    text.parse::<Timestamp>()
        .ok()
        .and_then(|time| u64::try_from(time.as_second()).ok())
        .map(|seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
        .ok_or_else(|| "expected a time after 1970 with its zone, such as 2026-11-22T00:00:00Z".to_owned())
}

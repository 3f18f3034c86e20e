//! `dance tlsa generate`: the record to publish for a certificate or key.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use dance_core::matching::{Conclusion, Credential, MatchOptions, match_rrset};
use dance_core::name::{ClientName, NameError};
use dance_core::tlsa::{AssociationError, CertUsage, MatchingType, Selector, TlsaRdata};
use dance_core::x509::Certificate;
use dance_core::{CertificateDer, SubjectPublicKeyInfoDer};
use dance_tls::PrivateKey;
use data_encoding::HEXLOWER;
use rcgen::PublicKeyData as _;
use serde::Serialize;

use crate::files;
use crate::output::{self, Format};
use crate::{Error, Exit};

/// TTL of records that are printed without one being asked for, in seconds. Taking a record away takes this long to work.
pub(crate) const DEFAULT_TTL: u32 = 3600;

/// Work on TLSA records.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
EXAMPLES:
    dance tlsa generate --cert sensor7.cert.pem --name sensor7._device.example.com

EXIT CODES:
    as of the command that follows";

#[derive(Debug, Subcommand)]
enum Command {
    Generate(Generate),
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Error> {
        match self.command {
            Command::Generate(args) => args.run(),
        }
    }
}

/// Print the TLSA record to publish for a certificate or key.
///
/// The default, 3 1 1, names the client's key by its SHA-256 digest: it outlives a renewal of the certificate and works with raw
/// public keys. The record is matched against the file that was given before it is printed.
#[derive(Debug, clap::Args)]
#[command(after_help = GENERATE_AFTER_HELP)]
struct Generate {
    #[command(flatten)]
    source: Source,

    /// The client's name, at which the record is published; `*.NAME` for all names under one
    #[arg(long, value_parser = Owner::parse)]
    name: Owner,

    /// Certificate usage: 0 PKIX-TA, 1 PKIX-EE, 2 DANE-TA, 3 DANE-EE
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=3))]
    usage: u8,

    /// Selector: 0 the whole certificate, 1 its public key
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    selector: u8,

    /// Matching type: 0 the octets themselves, 1 SHA-256, 2 SHA-512
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    matching_type: u8,

    /// Time to live in seconds: how long a withdrawn record goes on working
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TTL, value_parser = clap::value_parser!(u32).range(..=0x7fff_ffff))]
    ttl: u32,

    /// Print the record in the generic form of RFC 3597, for name servers and forms that do not know TLSA
    #[arg(long)]
    generic: bool,

    /// How to print the result
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

const GENERATE_AFTER_HELP: &str = "\
EXAMPLES:
    dance tlsa generate --cert sensor7.cert.pem --name sensor7._device.example.com
    dance tlsa generate --key sensor7.key.pem --name sensor7._device.example.com --generic
    dance tlsa generate --cert ca.pem --name '*._device.example.com' --usage 2 --selector 0

JSON KEYS:
    owner           where to publish
    ttl             seconds
    usage, selector, matching_type, data_hex, rdata_wire_hex
    presentation    the record data: U S M HEX
    record          the whole record, as a line of a zone file
    generic         the same in the form of RFC 3597

EXIT CODES:
    0  printed
    1  the record does not match what it was made of; nothing is printed
    2  wrong usage, or a file that holds something else
    3  a file cannot be read";

/// What the record is made of: exactly one of the three.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// The certificate, in PEM; of several in the file, the first
    #[arg(long, value_name = "PEM")]
    cert: Option<PathBuf>,

    /// The private key, in PEM; only its public half is used
    #[arg(long, value_name = "PEM")]
    key: Option<PathBuf>,

    /// The public key, a SubjectPublicKeyInfo in DER
    #[arg(long, value_name = "DER")]
    spki: Option<PathBuf>,
}

/// Where a record is published: a name, or all names under one.
#[derive(Clone, Debug)]
struct Owner {
    wildcard: bool,
    name: ClientName,
}

impl Owner {
    fn parse(text: &str) -> Result<Self, NameError> {
        let (wildcard, name) = text.strip_prefix("*.").map_or((false, text), |name| (true, name));
        Ok(Self { wildcard, name: ClientName::parse_config(name)? })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.wildcard { "*." } else { "" }, self.name)
    }
}

/// The record for an end entity's key: `3 1 1`, good for its certificate and for the key alone.
pub(crate) fn record_for_key(key: &rcgen::KeyPair) -> Result<TlsaRdata, AssociationError> {
    TlsaRdata::for_spki(CertUsage::DANE_EE, MatchingType::SHA2_256, &key.subject_public_key_info())
}

/// A record as a line of a zone file.
pub(crate) fn zone_line(owner: impl fmt::Display, ttl: u32, rdata: &TlsaRdata) -> String {
    format!("{owner}. {ttl} IN TLSA {rdata}")
}

#[derive(Serialize)]
struct Generated {
    owner: String,
    ttl: u32,
    usage: u8,
    selector: u8,
    matching_type: u8,
    data_hex: String,
    rdata_wire_hex: String,
    presentation: String,
    record: String,
    generic: String,
}

impl Generate {
    fn run(self) -> Result<Exit, Error> {
        let (credential, rdata) = self.make()?;
        let record = zone_line(&self.name, self.ttl, &rdata);
        let generic = format!("{}. {} IN TYPE52 {}", self.name, self.ttl, rdata.to_rfc3597());
        let presentation = rdata.to_string();
        self_check(&presentation, &credential, &self.name.name)?;
        self.warn(&credential, &rdata);
        match (self.format, self.generic) {
            (Format::Text, false) => output::print(record)?,
            (Format::Text, true) => output::print(generic)?,
            (Format::Json, _) => output::print_json(&Generated {
                owner: self.name.to_string(),
                ttl: self.ttl,
                usage: self.usage,
                selector: self.selector,
                matching_type: self.matching_type,
                data_hex: HEXLOWER.encode(rdata.fields().map_or(&[], |fields| fields.data)),
                rdata_wire_hex: HEXLOWER.encode(rdata.as_wire()),
                presentation,
                record,
                generic,
            })?,
        }
        Ok(Exit::Yes)
    }

    fn make(&self) -> Result<(Credential, TlsaRdata), Error> {
        let usage = CertUsage(self.usage);
        let matching_type = MatchingType(self.matching_type);
        let (path, credential, rdata) = match &self.source {
            Source { cert: Some(path), .. } => {
                let mut certificates = files::read_certificates(path)?;
                certificates.truncate(1);
                let first: &[u8] = certificates.first().map_or(&[], |certificate| certificate);
                let rdata = TlsaRdata::for_certificate(usage, Selector(self.selector), matching_type, first);
                (path.as_path(), Credential::X509(certificates), rdata)
            }
            Source { key: Some(path), .. } => {
                let key = PrivateKey::load(path).map_err(Error::Credential)?;
                let spki = key.spki_der().map_err(|_| Error::PublicHalf { path: path.clone() })?;
                let rdata = TlsaRdata::for_spki(usage, matching_type, &spki);
                (path.as_path(), Credential::RawPublicKey(SubjectPublicKeyInfoDer::from(spki)), rdata)
            }
            Source { spki, .. } => {
                // The argument group lets nobody through without one of the three.
                let path = spki.as_deref().unwrap_or(Path::new(""));
                let spki = files::read(path)?;
                let rdata = TlsaRdata::for_spki(usage, matching_type, &spki);
                (path, Credential::RawPublicKey(SubjectPublicKeyInfoDer::from(spki)), rdata)
            }
        };
        let of_key = matches!(credential, Credential::RawPublicKey(_));
        if of_key && (usage != CertUsage::DANE_EE || Selector(self.selector) != Selector::SPKI) {
            return Err(Error::KeyUsage { usage: self.usage, selector: self.selector });
        }
        let rdata = rdata.map_err(|error| Error::Association { path: path.to_owned(), error })?;
        Ok((credential, rdata))
    }

    fn warn(&self, credential: &Credential, rdata: &TlsaRdata) {
        let usage = CertUsage(self.usage);
        if MatchingType(self.matching_type) == MatchingType::FULL {
            output::warning(format_args!(
                "matching type 0 puts all {} octets into DNS, where answers over 1232 need TCP; a digest (--matching-type 1) does \
                 the same",
                rdata.as_wire().len()
            ));
        }
        if usage == CertUsage::DANE_EE && Selector(self.selector) == Selector::CERT {
            output::warning(
                "this record ends with the certificate: each renewal needs a new one; --selector 1 does not",
            );
        }
        if usage == CertUsage::DANE_EE && self.name.wildcard {
            output::warning(
                "whoever holds this key can use every name under the wildcard; usage 2 tells clients apart",
            );
        }
        if usage.is_pkix() {
            output::warning(
                "servers ignore usages 0 and 1 unless they have roots configured for them; usages 2 and 3 need none",
            );
        }
        if matches!(usage, CertUsage::PKIX_TA | CertUsage::DANE_TA) && !is_authority(credential) {
            output::warning(
                "this certificate is no CA, so nothing can be issued under it; usage 3 is for a client's own",
            );
        }
    }
}

/// Reads back what is about to be printed and has the matching engine compare it with what it was made of. What is compared does not
/// depend on the usage, so usage 3 stands in for all: it needs neither chain nor roots, and ignores the name.
fn self_check(presentation: &str, credential: &Credential, name: &ClientName) -> Result<(), Error> {
    let printed: TlsaRdata = presentation.parse().map_err(|_| Error::SelfCheck)?;
    let fields = printed.fields().ok_or(Error::SelfCheck)?;
    let record = TlsaRdata::new(CertUsage::DANE_EE, fields.selector, fields.matching_type, fields.data);
    let options = MatchOptions { pkix_roots: Vec::new(), digest_agility: true, user_mode: false };
    let paths = dance_resolver::path_builder();
    let report = match_rrset(&[record], credential, name, &options, dance_resolver::now(), paths);
    if matches!(report.conclusion, Conclusion::Matched(_)) { Ok(()) } else { Err(Error::SelfCheck) }
}

fn is_authority(credential: &Credential) -> bool {
    let Credential::X509(chain) = credential else {
        return false;
    };
    let first: Option<&CertificateDer<'_>> = chain.first();
    first
        .and_then(|octets| Certificate::parse(octets).ok())
        .and_then(|certificate| certificate.basic_constraints().ok().flatten())
        .is_some_and(|constraints| constraints.ca)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use super::*;

    // TLSA-29
    #[test]
    fn a_record_of_something_else_is_not_printed() {
        let key = rcgen::KeyPair::generate().unwrap();
        let credential = Credential::RawPublicKey(SubjectPublicKeyInfoDer::from(key.subject_public_key_info()));
        let name = ClientName::parse(b"a.example.com").unwrap();
        let check = |record: &str| self_check(record, &credential, &name);
        let right = record_for_key(&key).unwrap().to_string();
        check(&right).unwrap();
        check(&right.replacen("3 1 1", "2 1 1", 1)).unwrap();
        // SHA-256 of nothing: what other tools have published for keys that they did not understand.
        let of_nothing = "3 1 1 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for wrong in
            [of_nothing, &right.replacen("3 1 1", "3 0 1", 1), &right.replacen("3 1 1", "3 1 2", 1), "3 1 1", ""]
        {
            assert!(matches!(check(wrong), Err(Error::SelfCheck)), "{wrong:?} passed");
        }
    }
}

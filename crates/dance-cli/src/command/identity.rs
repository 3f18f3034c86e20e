//! `dance identity new`: a key, and a certificate unless the key goes bare.

use std::fs;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use dance_core::name::ClientName;
use jiff::{Span, Timestamp, tz::TimeZone};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use serde::Serialize;

use crate::command::{parse_name, tlsa};
use crate::files::{self, Secrecy};
use crate::output::{self, Format};
use crate::{Error, Exit};

/// Make a client's identity: key and certificate, or a key alone.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
EXAMPLES:
    dance identity new --name sensor7._device.example.com --out /etc/dance

EXIT CODES:
    as of the command that follows";

#[derive(Debug, Subcommand)]
enum Command {
    New(New),
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Error> {
        match self.command {
            Command::New(args) => args.run(),
        }
    }
}

/// Make a new key with a self-signed certificate for a name, or a key to use bare (RFC 7250).
///
/// The certificate holds the name as its only dNSName. Nobody checks its dates, issuer or signature under a DANE-EE record: the
/// record in DNS is the credential, and taking it away is the revocation.
#[derive(Debug, clap::Args)]
#[command(after_help = NEW_AFTER_HELP)]
struct New {
    /// The client's name: the owner name of its TLSA record
    #[arg(long, value_parser = parse_name)]
    name: ClientName,

    /// What the client presents
    #[arg(long = "type", value_enum, default_value = "x509")]
    kind: Kind,

    /// The key's algorithm; cloud load balancers take P-256 and P-384, not Ed25519
    #[arg(long, value_enum, default_value = "p256")]
    key_type: KeyType,

    /// The directory to write to; made if it is not there
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,

    /// How many days the certificate is valid from today
    #[arg(long, value_name = "N", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36500))]
    days: u32,

    /// Replace files that exist
    #[arg(long)]
    force: bool,

    /// How to print the result
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

const NEW_AFTER_HELP: &str = "\
EXAMPLES:
    dance identity new --name sensor7._device.example.com
    dance identity new --name sensor7._device.example.com --type raw-key --out /etc/dance

    Writes NAME.key.pem (mode 0600) and, for x509, NAME.cert.pem. Prints the record to publish.

JSON KEYS:
    client_name  the name
    key          path of the private key
    certificate  path of the certificate, or null for a raw key
    record       the TLSA record data to publish at the name: 3 1 1 HEX

EXIT CODES:
    0  written
    2  wrong usage, or a file exists already
    3  a file cannot be written";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A self-signed certificate
    X509,
    /// A raw public key: no certificate
    RawKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KeyType {
    /// ECDSA P-256
    P256,
    /// ECDSA P-384
    P384,
    /// Ed25519
    Ed25519,
}

impl KeyType {
    const fn algorithm(self) -> &'static rcgen::SignatureAlgorithm {
        match self {
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
        }
    }
}

#[derive(Serialize)]
struct Made {
    client_name: String,
    key: PathBuf,
    certificate: Option<PathBuf>,
    record: String,
}

impl New {
    fn run(self) -> Result<Exit, Error> {
        let key_path = self.out.join(format!("{}.key.pem", self.name));
        let certificate_path = self.out.join(format!("{}.cert.pem", self.name));
        if !self.force {
            for path in [&key_path, &certificate_path] {
                if path.exists() {
                    return Err(Error::Exists { path: path.clone() });
                }
            }
        }
        let key = KeyPair::generate_for(self.key_type.algorithm()).map_err(Error::MakeIdentity)?;
        let certificate = match self.kind {
            Kind::RawKey => None,
            Kind::X509 => Some(self_signed(&self.name, &key, self.days)?),
        };
        fs::create_dir_all(&self.out).map_err(|error| Error::Write { path: self.out.clone(), error })?;
        files::write(&key_path, key.serialize_pem().as_bytes(), Secrecy::Secret, self.force)?;
        if let Some(certificate) = &certificate {
            files::write(&certificate_path, certificate.pem().as_bytes(), Secrecy::Public, self.force)?;
        }
        let record = tlsa::record_for_key(&key).map_err(Error::MakeRecord)?;
        let certificate = certificate.map(|_| certificate_path);
        match self.format {
            Format::Json => output::print_json(&Made {
                client_name: self.name.to_string(),
                key: key_path,
                certificate,
                record: record.to_string(),
            })?,
            Format::Text => {
                output::print(format_args!("wrote {} (the private key: it stays on the client)", key_path.display()))?;
                if let Some(certificate) = certificate {
                    output::print(format_args!("wrote {}", certificate.display()))?;
                }
                output::print(format_args!(
                    "\npublish this record, in a zone signed with DNSSEC:\n\n{}\n\nthen see whether it is there:\n\n    dance \
                     resolve {}",
                    tlsa::zone_line(&self.name, tlsa::DEFAULT_TTL, &record),
                    self.name
                ))?;
            }
        }
        Ok(Exit::Yes)
    }
}

/// Longest common name (RFC 5280 appendix A.1, ub-common-name).
const MAX_COMMON_NAME: usize = 64;

/// A certificate with the name as its only dNSName, and as its common name where that has room for it.
fn self_signed(name: &ClientName, key: &KeyPair, days: u32) -> Result<rcgen::Certificate, Error> {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let end = today.saturating_add(Span::new().days(i64::from(days)));
    let mut params = CertificateParams::new([name.to_string()]).map_err(Error::MakeIdentity)?;
    for (date, field) in [(today, &mut params.not_before), (end, &mut params.not_after)] {
        // Months and days of a civil date are positive.
        *field = rcgen::date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs());
    }
    params.distinguished_name = DistinguishedName::new();
    let common_name = if name.as_str().len() <= MAX_COMMON_NAME { name.as_str() } else { "DANE client" };
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.self_signed(key).map_err(Error::MakeIdentity)
}

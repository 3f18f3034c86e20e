//! OpenSSL's DANE verifier as an oracle: its server presents a chain, its client judges it by TLSA records.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use dance_core::tlsa::TlsaRdata;
use data_encoding::BASE64_MIME;

use crate::chains::{Chain, NAME};
use crate::process::{Daemon, program, run_on, text, vector};

/// What OpenSSL makes of a chain and an RRset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Authenticated.
    Authenticated,
    /// Not authenticated, with its verify error (`X509_V_ERR_…`).
    Refused(u32),
    /// No record that it can use.
    NoUsable,
}

impl Judgement {
    /// The more telling, the lower.
    const fn rank(self) -> u8 {
        match self {
            Self::Authenticated => 0,
            Self::Refused(HOSTNAME_MISMATCH | PERMITTED_VIOLATION) => 1,
            Self::Refused(_) => 2,
            Self::NoUsable => 3,
        }
    }
}

/// X509_V_ERR_HOSTNAME_MISMATCH.
pub const HOSTNAME_MISMATCH: u32 = 62;
/// X509_V_ERR_PERMITTED_VIOLATION.
pub const PERMITTED_VIOLATION: u32 = 47;

/// A server that presents one chain, to any number of clients.
pub struct Presenter {
    _daemon: Daemon,
    address: String,
    directory: PathBuf,
}

impl Presenter {
    /// Starts it.
    #[must_use]
    pub fn start(directory: &Path, chain: &Chain) -> Self {
        let file = |name: &str, certificates: &[Vec<u8>]| {
            let file = directory.join(name);
            fs::write(&file, certificates.iter().map(|der| pem(der)).collect::<String>()).unwrap();
            file
        };
        let mut command = program("openssl");
        // With -www it serves pages instead of reading its input.
        command.args(["s_server", "-accept", "127.0.0.1:0", "-www", "-no-CAfile", "-no-CApath", "-no-CAstore"]);
        command.arg("-cert").arg(file("leaf.pem", &chain.sent[..1])).arg("-key").arg(vector(chain.key));
        if chain.sent.len() > 1 {
            command.arg("-cert_chain").arg(file("issuers.pem", &chain.sent[1..]));
        }
        let daemon = Daemon::start(&command);
        let address = daemon.wait_for("address", |line| line.strip_prefix("ACCEPT ").map(str::to_owned));
        Self { _daemon: daemon, address, directory: directory.to_path_buf() }
    }

    /// What OpenSSL says, given these records and local roots.
    ///
    /// Records of PKIX usages are put to it apart from the others: beside them it takes the root from the local store, where no DANE-TA
    /// record may match it, and version 3.0 crashes on some `2 1 0` records.
    #[must_use]
    pub fn judge(&self, records: &[TlsaRdata], roots: &[Vec<u8>]) -> Judgement {
        let (pkix, dane): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.as_wire()[0] <= 1);
        let judgements =
            [pkix, dane].into_iter().filter(|records| !records.is_empty()).map(|records| self.ask(&records, roots));
        judgements.min_by_key(|judgement| judgement.rank()).unwrap_or(Judgement::NoUsable)
    }

    fn ask(&self, records: &[&TlsaRdata], roots: &[Vec<u8>]) -> Judgement {
        let mut command = program("openssl");
        command.args([
            "s_client",
            "-connect",
            &self.address,
            "-dane_tlsa_domain",
            NAME,
            "-dane_ee_no_namechecks",
            "-verify_return_error",
        ]);
        for record in records {
            command.arg("-dane_tlsa_rrdata").arg(presentation(record));
        }
        if !roots.is_empty() {
            let file = self.directory.join("roots.pem");
            fs::write(&file, roots.iter().map(|der| pem(der)).collect::<String>()).unwrap();
            command.arg("-CAfile").arg(file);
        } else {
            command.arg("-no-CAfile");
        }
        // `Q` ends it.
        let output = run_on(command.args(["-no-CApath", "-no-CAstore"]), "Q\n");
        let said = text(&output);
        if said.contains("Failed to import any TLSA records") {
            return Judgement::NoUsable;
        }
        let code = said.split("Verify return code: ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        match code.unwrap_or_else(|| panic!("{}, no verdict from {command:?}:\n{said}", output.status)) {
            0 => Judgement::Authenticated,
            code => Judgement::Refused(code),
        }
    }
}

/// Usage, selector, matching type and data, as s_client reads them.
fn presentation(record: &TlsaRdata) -> String {
    let [usage, selector, matching_type, data @ ..] = record.as_wire() else {
        panic!("a record without its fixed part")
    };
    let mut text = format!("{usage} {selector} {matching_type} ");
    for octet in data {
        let _ = write!(text, "{octet:02x}");
    }
    text
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", BASE64_MIME.encode(der))
}

//! `dance name`: is this a name that a client may convey, and how does it look in DNS?

use std::ffi::OsString;

use dance_core::name::{ClientName, NameError};
use dance_core::reason::Reason;
use data_encoding::HEXLOWER;
use serde::Serialize;

use crate::command::Verdict;
use crate::output::{self, Format};
use crate::{Error, Exit};

/// Check a client name as a server does, and show its normalised and wire forms.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The name, exactly as a client conveys it: no final dot, A-labels only
    #[arg(value_name = "NAME", allow_hyphen_values = true)]
    name: OsString,

    /// How to print the result
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
}

const AFTER_HELP: &str = "\
EXAMPLES:
    dance name sensor7._device.example.com
    dance name --format text _smtp-client.mail.example.com

JSON KEYS:
    verdict         accept or reject
    alert           the TLS alert that a server answers the name with, or null
    normalised      the name in lower case, or null
    qname_wire_hex  the name in DNS wire form, or null
    reason          a stable code, or null
    detail          what was expected and what was found, or null

EXIT CODES:
    0  a server accepts the name
    1  it does not
    2  wrong usage";

#[derive(Serialize)]
struct Report {
    verdict: Verdict,
    alert: Option<&'static str>,
    normalised: Option<String>,
    qname_wire_hex: Option<String>,
    reason: Option<&'static str>,
    detail: Option<String>,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Error> {
        let parsed = ClientName::parse(self.name.as_encoded_bytes());
        match self.format {
            Format::Json => output::print_json(&report(&parsed))?,
            Format::Text => match &parsed {
                Ok(name) => output::print(format_args!("accept: {name}"))?,
                Err(error) => output::print(format_args!("reject: {error}"))?,
            },
        }
        Ok(if parsed.is_ok() { Exit::Yes } else { Exit::No })
    }
}

fn report(parsed: &Result<ClientName, NameError>) -> Report {
    match parsed {
        Ok(name) => Report {
            verdict: Verdict::Accept,
            alert: None,
            normalised: Some(name.to_string()),
            qname_wire_hex: Some(HEXLOWER.encode(name.to_wire().as_slice())),
            reason: None,
            detail: None,
        },
        Err(error) => {
            let reason = Reason::InvalidClientName;
            Report {
                verdict: Verdict::Reject,
                alert: Some(reason.alert().name()),
                normalised: None,
                qname_wire_hex: None,
                reason: Some(reason.code()),
                detail: Some(error.to_string()),
            }
        }
    }
}

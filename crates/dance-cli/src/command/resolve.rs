//! `dance resolve`: the validated TLSA look-up alone.

use dance_core::UnixTime;
use dance_core::answer::{DenialKind, LinkState, TlsaAnswer};
use dance_core::name::{ClientName, OwnerName};
use dance_core::reason::Reason;
use dance_resolver::{Lookup, TlsaSource as _};
use jiff::Timestamp;
use serde::Serialize;

use crate::command::dns::DnsOptions;
use crate::command::parse_name;
use crate::output::{self, Format};
use crate::{Error, Exit, progress, runtime};

/// Look up a name's TLSA records and say in which DNSSEC state they are.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The owner name: the client's name as it conveys it
    #[arg(value_name = "NAME", value_parser = parse_name)]
    name: ClientName,

    /// How to print the result
    #[arg(long, value_enum, default_value = "text")]
    format: Format,

    #[command(flatten)]
    dns: DnsOptions,
}

const AFTER_HELP: &str = "\
EXAMPLES:
    dance resolve sensor7._device.example.com
    dance resolve sensor7._device.example.com --format json
    dance resolve sensor7._device.example.com --resolver 127.0.0.1:5353 --trust-anchor root.key

JSON KEYS:
    state        secure, insecure, bogus or indeterminate (RFC 4033)
    answer       records, nxdomain, nodata, or none where nothing was proven
    owner        the name at the end of the alias chain
    records      secure records as \"U S M HEX\"
    ttl          seconds: of the records, or for which a denial may be kept; 0 otherwise
    valid_until  when the answer must be asked for anew (RFC 3339), or null
    wildcard     the records were synthesised from a wildcard; null in --dns-mode ad
    links        the way to the answer: owner, type, signed, and state (null where it is not known
                 for this link alone)
    reason       a stable code where there are no secure records, or null
    detail       what was wrong, or null
    queries      how many queries were sent

EXIT CODES:
    0  secure records
    1  no records, proven; or insecure; or bogus
    2  wrong usage, or a trust anchor or resolver that cannot be used
    3  indeterminate: no answer, or one that proves nothing";

#[derive(Serialize)]
struct Report {
    state: &'static str,
    answer: &'static str,
    owner: String,
    records: Vec<String>,
    ttl: u64,
    valid_until: Option<String>,
    wildcard: Option<bool>,
    links: Vec<Link>,
    reason: Option<&'static str>,
    detail: Option<String>,
    queries: usize,
}

#[derive(Serialize)]
struct Link {
    owner: String,
    r#type: String,
    signed: bool,
    state: Option<&'static str>,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Error> {
        let lookup = runtime()?.block_on(async {
            let resolver = self.dns.resolver()?;
            let owner = OwnerName::verbatim(&self.name);
            let lookup = progress::watch(format_args!("looking up {}", self.name), resolver.lookup(&owner)).await;
            Ok::<_, Error>(lookup)
        })?;
        let report = Report::new(&lookup);
        match self.format {
            Format::Json => output::print_json(&report)?,
            Format::Text => report.print_text(&self.name)?,
        }
        Ok(match lookup.answer {
            TlsaAnswer::Secure(_) => Exit::Yes,
            TlsaAnswer::Denied(_) | TlsaAnswer::Insecure | TlsaAnswer::Bogus => Exit::No,
            TlsaAnswer::Indeterminate(_) => Exit::Unknown,
        })
    }
}

impl Report {
    fn new(lookup: &Lookup) -> Self {
        let trace = &lookup.trace;
        let links = trace.links.iter().map(|link| Link {
            owner: link.owner.to_string(),
            r#type: link.rtype.to_string(),
            signed: link.signed,
            state: link.state.map(state_name),
        });
        let empty = Self {
            state: state_name(LinkState::Indeterminate),
            answer: "none",
            owner: trace.final_owner.to_string(),
            records: Vec::new(),
            ttl: 0,
            valid_until: None,
            wildcard: Some(false),
            links: links.collect(),
            reason: None,
            detail: trace.detail.as_ref().map(ToString::to_string),
            queries: trace.queries,
        };
        match &lookup.answer {
            TlsaAnswer::Secure(secure) => Self {
                state: state_name(LinkState::Secure),
                answer: "records",
                records: secure.records.iter().map(ToString::to_string).collect(),
                ttl: u64::from(secure.ttl),
                valid_until: rfc3339(secure.valid_until),
                wildcard: secure.wildcard,
                ..empty
            },
            TlsaAnswer::Denied(denial) => Self {
                state: state_name(LinkState::Secure),
                answer: match denial.kind {
                    DenialKind::Nxdomain => "nxdomain",
                    DenialKind::Nodata => "nodata",
                },
                ttl: denial.valid_until.as_secs().saturating_sub(dance_resolver::now().as_secs()),
                valid_until: rfc3339(denial.valid_until),
                reason: Some(Reason::TlsaAbsent.code()),
                ..empty
            },
            TlsaAnswer::Insecure => {
                Self { state: state_name(LinkState::Insecure), reason: Some(Reason::DnssecInsecure.code()), ..empty }
            }
            TlsaAnswer::Bogus => {
                Self { state: state_name(LinkState::Bogus), reason: Some(Reason::DnssecBogus.code()), ..empty }
            }
            TlsaAnswer::Indeterminate(failure) => Self { reason: Some(failure.reason().code()), ..empty },
        }
    }

    fn print_text(&self, asked: &ClientName) -> Result<(), Error> {
        let aliases =
            if self.owner == asked.as_str() { String::new() } else { format!(", through aliases to {}", self.owner) };
        let found = match (self.state, self.answer) {
            ("secure", "records") => format!("secure: {} record(s) at {asked}{aliases}", self.records.len()),
            ("secure", "nxdomain") => format!("secure: the zone proves that {asked} does not exist{aliases}"),
            ("secure", _) => format!("secure: the zone proves that {asked} has no TLSA records{aliases}"),
            ("insecure", _) => format!("insecure: {asked} is not signed with DNSSEC all the way{aliases}"),
            ("bogus", _) => format!("bogus: what DNS says about {asked} fails validation{aliases}"),
            _ => format!("indeterminate: nothing is known about {asked}{aliases}"),
        };
        output::print(found)?;
        for record in &self.records {
            output::print(format_args!("    {record}"))?;
        }
        if self.wildcard == Some(true) {
            output::print("    synthesised from a wildcard")?;
        }
        if let Some(valid_until) = &self.valid_until {
            output::print(format_args!("    good until {valid_until} (TTL {} s)", self.ttl))?;
        }
        match (self.reason, &self.detail) {
            (Some(reason), Some(detail)) => output::print(format_args!("    {reason}: {detail}")),
            (Some(reason), None) => output::print(format_args!("    {reason}")),
            (None, Some(detail)) => output::print(format_args!("    {detail}")),
            (None, None) => Ok(()),
        }
    }
}

/// The DNSSEC states by the names of RFC 4033 section 5.
const fn state_name(state: LinkState) -> &'static str {
    match state {
        LinkState::Secure => "secure",
        LinkState::Insecure => "insecure",
        LinkState::Bogus => "bogus",
        LinkState::Indeterminate => "indeterminate",
    }
}

fn rfc3339(time: UnixTime) -> Option<String> {
    Timestamp::from_second(i64::try_from(time.as_secs()).ok()?).ok().map(|time| time.to_string())
}

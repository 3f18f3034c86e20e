//! `dance resolve`: the validated TLSA look-up alone.

use std::fmt;
use std::time::Duration;

use dance_core::UnixTime;
use dance_core::answer::{DenialKind, LinkState, TlsaAnswer};
use dance_core::name::{ClientName, OwnerName};
use dance_core::reason::Reason;
use dance_resolver::{
    Detail, ExchangeOutcome, Failure, Lookup, Protocol, RESOLV_CONF, Resolver, SecurityAlgorithm, Servers,
    TlsaSource as _, ZoneLink,
};
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
    wildcard_name
                 the wildcard that they, or an alias on the way, were synthesised from, or null
    links        the way to the answer: owner, type, signed, state (null where it is not known for
                 this link alone), ttl, wildcard, and of the signature that is valid (else null)
                 signer, key_tag, algorithm and expires
    zones        the chain of trust, from the trust anchor down, as far as it is proven; of each
                 signature zone, type (DS or its denial, DNSKEY), key_tag, algorithm, expires
    failed       owner and type of the RRset at which the proof fails, or null
    reason       a stable code where there are no secure records, or null
    detail       what was wrong, or null
    hint         what a comparison with another name says about where the fault is, or null
    queries      how many queries were sent
    exchanges    who was asked what: name, type, server, transport (udp, tcp or tls),
                 milliseconds, outcome (answered, truncated, doubtful, cookie-wanted, silent,
                 failed or untrusted), code (of an answer, as NOERROR; else null)
    milliseconds how long it took altogether

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
    wildcard_name: Option<String>,
    links: Vec<Link>,
    zones: Vec<Zone>,
    failed: Option<Failed>,
    reason: Option<&'static str>,
    detail: Option<String>,
    hint: Option<String>,
    queries: usize,
    exchanges: Vec<Exchange>,
    milliseconds: f64,
}

#[derive(Serialize)]
struct Link {
    owner: String,
    r#type: String,
    signed: bool,
    state: Option<&'static str>,
    ttl: u32,
    wildcard: bool,
    signer: Option<String>,
    key_tag: Option<u16>,
    algorithm: Option<u8>,
    expires: Option<String>,
}

#[derive(Serialize)]
struct Zone {
    zone: String,
    r#type: String,
    key_tag: u16,
    algorithm: u8,
    expires: Option<String>,
}

#[derive(Serialize)]
struct Failed {
    owner: String,
    r#type: String,
}

#[derive(Serialize)]
struct Exchange {
    name: String,
    r#type: String,
    server: String,
    transport: &'static str,
    milliseconds: f64,
    outcome: &'static str,
    code: Option<String>,
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Error> {
        let (lookup, hint) = runtime()?.block_on(async {
            let resolver = self.dns.resolver()?;
            let owner = OwnerName::verbatim(&self.name);
            let work = async {
                let lookup = resolver.lookup(&owner).await;
                let hint = hint(&resolver, &lookup).await;
                (lookup, hint)
            };
            Ok::<_, Error>(progress::watch(format_args!("looking up {}", self.name), work).await)
        })?;
        let report = Report { hint, ..Report::new(&lookup) };
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

/// A name that no zone can delegate: whoever passes on what is signed can prove that it is not there, or below what is (RFC 6761
/// section 6.5 has resolvers treat it as any other).
const CONTROL: &str = "nothing-here.example";

/// Where a proof fails in a way that the resolver may be to blame for, another name is looked up through it for comparison.
async fn hint(resolver: &Resolver, lookup: &Lookup) -> Option<String> {
    let drops = |what: &str| {
        let which = match resolver.config().servers {
            Servers::System => format!("this machine's resolver (of {RESOLV_CONF})"),
            Servers::List(_) => "this resolver".to_owned(),
        };
        format!(
            "{which} {what}: name one that passes on DNSSEC records by --resolver, such as unbound, BIND or Knot Resolver on this machine"
        )
    };
    match lookup.trace.detail.as_ref()? {
        Detail::ResolverStripsSignatures { .. } => return Some(drops("drops DNSSEC signatures")),
        Detail::EmptyReply { .. } | Detail::SignatureMissing { .. } => {}
        Detail::Unproven(failure) if matches!(**failure, Failure::ProofMissing { .. }) => {}
        _ => return None,
    }
    let control = ClientName::parse(CONTROL.as_bytes()).ok()?;
    match resolver.lookup(&OwnerName::verbatim(&control)).await.answer {
        TlsaAnswer::Secure(_) | TlsaAnswer::Denied(_) => Some(format!(
            "through the same resolver, {CONTROL} is proven not to exist: the fault is in this zone, or in what its servers answer"
        )),
        TlsaAnswer::Bogus => Some(drops(&format!("cannot prove either that {CONTROL} does not exist"))),
        TlsaAnswer::Insecure | TlsaAnswer::Indeterminate(_) => None,
    }
}

impl Report {
    fn new(lookup: &Lookup) -> Self {
        let trace = &lookup.trace;
        let detail = trace.detail.as_ref();
        let empty = Self {
            state: state_name(LinkState::Indeterminate),
            answer: "none",
            owner: trace.final_owner.to_string(),
            records: Vec::new(),
            ttl: 0,
            valid_until: None,
            wildcard: Some(false),
            wildcard_name: trace.wildcard.as_ref().map(ToString::to_string),
            links: trace.links.iter().map(Link::from).collect(),
            zones: trace.zones.iter().map(Zone::from).collect(),
            failed: detail
                .and_then(Detail::rrset)
                .map(|(owner, rtype)| Failed { owner: owner.to_string(), r#type: rtype.to_string() }),
            reason: None,
            detail: detail.map(ToString::to_string),
            hint: None,
            queries: trace.queries,
            exchanges: trace.exchanges.iter().map(Exchange::from).collect(),
            milliseconds: milliseconds(trace.took),
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

    /// The verdict; then what it rests on, in the order in which one thing follows from another.
    fn print_text(&self, asked: &ClientName) -> Result<(), Error> {
        self.print_verdict(asked)?;
        section("The answer:", &self.links.iter().map(Link::row).collect::<Vec<_>>())?;
        let chain: Vec<_> = self.zones.iter().map(|link| link.row(self.ends_at(link))).collect();
        section("The chain of trust, from the anchor down:", &chain)?;
        section("Asked:", &self.exchanges.iter().map(Exchange::row).collect::<Vec<_>>())?;
        output::print(format_args!("{} queries in {}", self.queries, Milliseconds(self.milliseconds)))
    }

    /// Whether the chain ends at this link: what the zone above says is that there are no keys below, or none of an algorithm that counts.
    fn ends_at(&self, link: &Zone) -> bool {
        let has_keys = |other: &Zone| other.zone == link.zone && other.r#type == "DNSKEY";
        self.state == state_name(LinkState::Insecure) && !self.zones.iter().any(has_keys)
    }

    fn print_verdict(&self, asked: &ClientName) -> Result<(), Error> {
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
        match &self.wildcard_name {
            Some(wildcard) => output::print(format_args!("    synthesised from the wildcard {wildcard}"))?,
            None if self.wildcard == Some(true) => output::print("    synthesised from a wildcard")?,
            None => {}
        }
        if let Some(valid_until) = &self.valid_until {
            output::print(format_args!("    good until {valid_until} (TTL {} s)", self.ttl))?;
        }
        match (self.reason, &self.detail) {
            (Some(reason), Some(detail)) => output::print(format_args!("    {reason}: {detail}")),
            (Some(reason), None) => output::print(format_args!("    {reason}")),
            (None, Some(detail)) => output::print(format_args!("    {detail}")),
            (None, None) => Ok(()),
        }?;
        match &self.hint {
            Some(hint) => output::print(format_args!("    {hint}")),
            None => Ok(()),
        }
    }
}

/// Prints rows in columns under a heading; nothing if there are none.
fn section<const COLUMNS: usize>(heading: &str, rows: &[[String; COLUMNS]]) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    output::print(format_args!("\n{heading}"))?;
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        output::print(format_args!("    {}", cells.join("  ").trim_end()))?;
    }
    Ok(())
}

impl From<&dance_resolver::Link> for Link {
    fn from(link: &dance_resolver::Link) -> Self {
        let signature = link.signature.as_ref();
        Self {
            owner: link.owner.to_string(),
            r#type: link.rtype.to_string(),
            signed: link.signed,
            state: link.state.map(state_name),
            ttl: link.ttl,
            wildcard: link.wildcard,
            signer: signature.map(|signature| signature.signer.to_string()),
            key_tag: signature.map(|signature| signature.key_tag),
            algorithm: signature.map(|signature| signature.algorithm.to_int()),
            expires: signature.and_then(|signature| rfc3339(signature.expiry)),
        }
    }
}

impl Link {
    fn row(&self) -> [String; 5] {
        let signed = match (&self.signer, self.key_tag, self.algorithm) {
            (Some(signer), Some(key_tag), Some(algorithm)) => {
                format!("signed by {signer}, {}", key(key_tag, algorithm))
            }
            _ if self.signed => "signed, not verified".to_owned(),
            _ => "not signed".to_owned(),
        };
        let state = self.state.unwrap_or("-").to_owned();
        [self.owner.clone(), self.r#type.clone(), state, signed, until(self.expires.as_deref())]
    }
}

impl From<&ZoneLink> for Zone {
    fn from(link: &ZoneLink) -> Self {
        Self {
            zone: link.zone.to_string(),
            r#type: link.rtype.to_string(),
            key_tag: link.key_tag,
            algorithm: link.algorithm.to_int(),
            expires: rfc3339(link.expiry),
        }
    }
}

impl Zone {
    fn row(&self, is_end: bool) -> [String; 4] {
        let rtype = if is_end { "DS: none that counts".to_owned() } else { self.r#type.clone() };
        let signed = format!("signed by {}", key(self.key_tag, self.algorithm));
        [self.zone.clone(), rtype, signed, until(self.expires.as_deref())]
    }
}

impl From<&dance_resolver::Exchange> for Exchange {
    fn from(exchange: &dance_resolver::Exchange) -> Self {
        let (outcome, code) = match exchange.outcome {
            ExchangeOutcome::Answered(code) => ("answered", Some(code.to_string())),
            ExchangeOutcome::Truncated => ("truncated", None),
            ExchangeOutcome::Doubtful => ("doubtful", None),
            ExchangeOutcome::CookieWanted => ("cookie-wanted", None),
            ExchangeOutcome::Silent => ("silent", None),
            ExchangeOutcome::Failed(_) => ("failed", None),
            ExchangeOutcome::Untrusted => ("untrusted", None),
        };
        Self {
            name: exchange.name.to_string(),
            r#type: exchange.rtype.to_string(),
            server: exchange.server.to_string(),
            transport: match exchange.protocol {
                Protocol::Udp => "udp",
                Protocol::Tcp => "tcp",
                Protocol::Tls => "tls",
            },
            milliseconds: milliseconds(exchange.took),
            outcome,
            code,
        }
    }
}

impl Exchange {
    fn row(&self) -> [String; 5] {
        let question = format!("{} {}", self.name, self.r#type);
        let outcome = self.code.clone().unwrap_or_else(|| self.outcome.to_owned());
        let took = format!("{:>10}", Milliseconds(self.milliseconds).to_string());
        [question, self.server.clone(), self.transport.to_owned(), took, outcome]
    }
}

fn key(tag: u16, algorithm: u8) -> String {
    match SecurityAlgorithm::from_int(algorithm).to_mnemonic_str() {
        Some(name) => format!("key {tag} ({name})"),
        None => format!("key {tag} (algorithm {algorithm})"),
    }
}

fn until(expires: Option<&str>) -> String {
    expires.map_or_else(String::new, |expires| format!("until {expires}"))
}

/// Rounded to microseconds.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

struct Milliseconds(f64);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} ms", self.0)
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

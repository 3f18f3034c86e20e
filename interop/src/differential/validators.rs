//! Those who judge: this implementation, unbound and delv.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use dance_core::answer::{DenialKind, LookupFailure, TlsaAnswer};
use dance_core::name::{ClientName, OwnerName};
use dance_dnssec::{Anchors, Budget, Proof, Proving, Step};
use dance_resolver::{Resolver, ResolverConfig, Servers, TlsaSource, TrustAnchorSource};
use domain::base::iana::Rcode;
use domain::base::{Message, ToName};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::liar::Liar;
use super::message::{DnsName, Question};
use super::random::Random;
use crate::process::{PATIENCE, program, run};

/// No case takes libunbound so long, unless it takes for ever.
const ENDLESS: Duration = Duration::from_secs(10);

/// A verdict, without the reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// These TLSA records, proven.
    Secure(BTreeSet<Vec<u8>>),
    /// Proven: no such name.
    Nxdomain,
    /// Proven: no such records.
    Nodata,
    /// Proven: unsigned.
    Insecure,
    /// A proof fails.
    Bogus,
    /// No verdict.
    Failed,
}

impl Verdict {
    fn of(answer: &TlsaAnswer) -> Self {
        match answer {
            TlsaAnswer::Secure(secure) => {
                Self::Secure(secure.records.iter().map(|record| record.as_wire().to_vec()).collect())
            }
            TlsaAnswer::Denied(denial) => match denial.kind {
                DenialKind::Nxdomain => Self::Nxdomain,
                DenialKind::Nodata => Self::Nodata,
            },
            TlsaAnswer::Insecure => Self::Insecure,
            TlsaAnswer::Bogus => Self::Bogus,
            TlsaAnswer::Indeterminate(_) => Self::Failed,
        }
    }

    /// How much it lets pass.
    #[must_use]
    pub const fn laxity(&self) -> u8 {
        match self {
            Self::Secure(_) | Self::Nxdomain | Self::Nodata => 2,
            Self::Insecure => 1,
            Self::Bogus | Self::Failed => 0,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secure(records) => write!(f, "secure {}", records.len()),
            Self::Nxdomain => f.write_str("secure NXDOMAIN"),
            Self::Nodata => f.write_str("secure NODATA"),
            Self::Insecure => f.write_str("insecure"),
            Self::Bogus => f.write_str("bogus"),
            Self::Failed => f.write_str("failed"),
        }
    }
}

/// A verdict with the reason given.
#[derive(Clone, Debug)]
pub struct Said {
    /// The verdict.
    pub verdict: Verdict,
    /// The reason, in the words of whoever judged.
    pub why: String,
}

/// This implementation's, from what the server says to it; replies that are awaited together come in an order of chance.
pub fn ours(liar: &Liar, anchor: &str, owner: &DnsName, random: &mut Random) -> (Said, Box<Proof>) {
    let anchors = Arc::new(Anchors::parse(anchor).unwrap());
    let now = dance_resolver::now();
    let mut proving = Proving::new(anchors, owner.clone(), Budget::default());
    let mut asked: Vec<dance_dnssec::Question> = Vec::new();
    let proof = loop {
        match proving.step(now, &()) {
            Step::Done(proof) => break proof,
            Step::Ask(questions) => asked.extend(questions),
        }
        assert!(!asked.is_empty(), "waits for nothing, asked for {owner}");
        let question = asked.swap_remove(random.below(asked.len()));
        let octets = liar.answer(&Question { name: question.name.to_canonical_name(), rtype: question.rtype });
        let message = Message::from_octets(Bytes::from(octets)).unwrap();
        match message.header().rcode() {
            Rcode::NOERROR | Rcode::NXDOMAIN => proving.reply(&question, &message),
            Rcode::SERVFAIL => proving.failed(&question, LookupFailure::Servfail),
            _ => proving.failed(&question, LookupFailure::Refused),
        }
    };
    let verdict = Verdict::of(&proof.to_answer(now));
    let why = proof.failure.as_ref().map(ToString::to_string).unwrap_or_default();
    (Said { verdict, why: format!("{:?} {why} {:?}", proof.state, proof.cost) }, proof)
}

/// The same over loopback, by all that the product puts around it.
pub fn ours_over_network(runtime: &Runtime, server: SocketAddr, anchor: &str, owner: &str) -> Verdict {
    let config = ResolverConfig {
        servers: Servers::List(vec![server.into()]),
        trust_anchor: TrustAnchorSource::Text(anchor.to_owned()),
        // A machine that is busy changes no verdict.
        timeout: PATIENCE,
        ..ResolverConfig::default()
    };
    let owner = OwnerName::verbatim(&ClientName::parse(owner.as_bytes()).unwrap());
    Verdict::of(&runtime.block_on(async { Resolver::new(config).unwrap().lookup(&owner).await }).answer)
}

/// libunbound, in a process of its own.
pub struct Unbound {
    verbosity: u8,
    child: Child,
    input: ChildStdin,
    output: Receiver<String>,
}

impl Unbound {
    /// Starts the process. With a verbosity above 0 it explains itself on standard error.
    #[must_use]
    pub fn start(verbosity: u8) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join("libunbound.py");
        let mut command = Command::new("python3");
        // -B: no byte code beside the sources.
        command.arg("-B").arg(script).arg(verbosity.to_string());
        if verbosity == 0 {
            command.stderr(Stdio::null());
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, lines) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()).lines());
        let (sender, output) = channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { verbosity, child, input, output }
    }

    /// Its verdict; `None` if it does not come to one. It is another process then.
    pub fn judge(&mut self, server: SocketAddr, anchor: &str, owner: &str) -> Option<Said> {
        let anchor: Vec<&str> = anchor.lines().collect();
        let server = format!("{}@{}", server.ip(), server.port());
        let question = json!({ "server": server, "anchor": anchor, "name": format!("{owner}.") });
        writeln!(self.input, "{question}").unwrap();
        let line = match self.output.recv_timeout(ENDLESS) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                *self = Self::start(self.verbosity);
                return None;
            }
            Err(RecvTimeoutError::Disconnected) => panic!("libunbound is gone or cannot be loaded, asked {question}"),
        };
        let said: Value = serde_json::from_str(&line).unwrap();
        let is = |key: &str| said[key].as_bool().unwrap();
        let data = said["data"].as_array().unwrap();
        let verdict = match said["rcode"].as_u64().unwrap() {
            _ if is("bogus") => Verdict::Bogus,
            0 | 3 if !is("secure") => Verdict::Insecure,
            0 if !data.is_empty() => {
                let octets = |text: &Value| data_encoding::HEXLOWER.decode(text.as_str().unwrap().as_bytes()).unwrap();
                Verdict::Secure(data.iter().map(octets).collect())
            }
            3 => Verdict::Nxdomain,
            0 => Verdict::Nodata,
            _ => Verdict::Failed,
        };
        Some(Said { verdict, why: said.to_string() })
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        // It ends at the end of its input; this one does not wait for that.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// BIND's delv.
pub struct Delv {
    directory: TempDir,
}

impl Delv {
    /// Makes room for its files.
    #[must_use]
    pub fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    /// Its verdict; records are not compared.
    pub fn judge(&self, server: SocketAddr, anchor: &str, owner: &str) -> Said {
        let anchors: String = anchor
            .lines()
            .map(|line| {
                let words: Vec<&str> = line.split_ascii_whitespace().collect();
                let kind = if words[3] == "DS" { "static-ds" } else { "static-key" };
                format!("\".\" {kind} {} {} {} \"{}\";\n", words[4], words[5], words[6], words[7..].concat())
            })
            .collect();
        let file = self.directory.path().join("anchors");
        fs::write(&file, format!("trust-anchors {{\n{anchors}}};\n")).unwrap();
        let mut command = program("delv");
        command.arg("-a").arg(&file).arg("+root=.").arg(format!("@{}", server.ip()));
        command.args(["-p", &server.port().to_string(), &format!("{owner}."), "TLSA"]);
        let output = run(&command);
        let text = crate::process::text(&output);
        let says = |words: &str| text.lines().any(|line| line.starts_with(words));
        // A denial is no answer to it: `ncache nxdomain` and `ncache nxrrset`.
        let fails = |line: &str| line.starts_with(";; resolution failed: ") && !line.contains("ncache");
        // Of several links, each has a line of its own.
        let verdict = if text.lines().any(fails) {
            Verdict::Bogus
        } else if says("; unsigned answer") || says("; negative response, unsigned answer") {
            Verdict::Insecure
        } else if says("; negative response, fully validated") {
            if text.contains("ncache nxdomain") { Verdict::Nxdomain } else { Verdict::Nodata }
        } else if says("; fully validated") {
            Verdict::Secure(BTreeSet::new())
        } else {
            Verdict::Bogus
        };
        Said { verdict, why: text.lines().filter(|line| line.starts_with(';')).collect::<Vec<_>>().join(" / ") }
    }
}

impl Default for Delv {
    fn default() -> Self {
        Self::new()
    }
}

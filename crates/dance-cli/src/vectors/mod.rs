//! Conformance vectors: every case is computed anew by the code that runs in production, and compared with what the file expects.
//!
//! A section is a list of cases in a file of the format of `spec/vectors/vectors.json`. For each case the runner of its section gives
//! the members that the case should have had, and those that are expectations are compared one by one; remarks (`reason`, `note`,
//! `source`) are for people and are not. A section with parts is an object that has a list, or one case, for each of them.

use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use dance_core::{CertificateDer, UnixTime};
use data_encoding::HEXLOWER_PERMISSIVE;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;

mod codec;
mod decide;
mod http;

/// One section of a file, or a part of one: then the two names have a slash between them.
struct Section {
    name: &'static str,
    /// The members of a case that are compared, as JSON pointers.
    expectations: &'static [&'static str],
    /// Gives a case as it should be.
    run: Run,
}

impl Section {
    /// Whether it is the section `name`, or a part of it.
    fn is_in(&self, name: &str) -> bool {
        self.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

type Run = fn(&Vectors, &Value) -> Result<Value, Fault>;

const SECTIONS: &[Section] = &[
    Section { name: "name", expectations: &["/verdict", "/normalised", "/qname_wire_hex"], run: codec::name },
    Section {
        name: "extension",
        expectations: &["/extension_hex", "/verdict", "/alert", "/client_name"],
        run: codec::extension,
    },
    Section {
        name: "message",
        expectations: &[
            "/length",
            "/sha256",
            "/expected/current/verdict",
            "/expected/current/alert",
            "/expected/current/client_name",
            "/expected/2022/verdict",
            "/expected/2022/alert",
            "/expected/2022/client_name",
        ],
        run: codec::message,
    },
    Section {
        name: "owner_name",
        expectations: &["/owner_2022", "/reject_2022", "/owner_current"],
        run: codec::owner_name,
    },
    Section {
        name: "tlsa_rdata",
        expectations: &["/data_hex", "/rdata_wire_hex", "/presentation"],
        run: codec::tlsa_rdata,
    },
    Section {
        name: "match",
        expectations: &["/expected/verdict", "/expected/matched_index", "/expected/depth"],
        run: decide::matching,
    },
    Section {
        name: "user",
        expectations: &["/expected/verdict", "/expected/identity", "/expected/reference_name"],
        run: decide::user,
    },
    Section { name: "dns", expectations: &["/expected", "/cache_seconds", "/wildcard"], run: decide::dns },
    Section { name: "decision", expectations: &["/expected", "/tlsa_queries_sent"], run: decide::decision },
    Section { name: "allow_list", expectations: &["/expected"], run: codec::allow_list },
    Section { name: "http/client_cert", expectations: &["/client_cert_value"], run: http::client_cert },
    Section { name: "http/client_cert_chain", expectations: &["/value"], run: http::client_cert_chain },
    Section { name: "http/native_header", expectations: &["/name", "/value"], run: http::native_header },
    // Each case is a name and nothing else.
    Section { name: "http/strip_inbound", expectations: &[""], run: http::strip_inbound },
    Section { name: "http/connection_nomination", expectations: &["/expected"], run: http::connection_nomination },
    Section {
        name: "http/cooperative",
        expectations: &["/client_name", "/status", "/tlsa_queries_sent"],
        run: http::cooperative,
    },
];

/// Members of a file that are no sections.
const NOT_SECTIONS: &[&str] = &["meta"];

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Cases that came out as expected.
    pub passed: usize,
    /// Those that did not, a line each.
    pub failures: Vec<Failure>,
}

/// A case that did not come out as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The section.
    pub section: &'static str,
    /// Position in the section, from 0.
    pub index: usize,
    /// The case's name.
    pub case: String,
    /// What was expected and what found.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FAIL {}[{}] \"{}\": {}", self.section, self.index, self.case, self.what)
    }
}

/// Runs a file and prints a line for each failing case and last `N passed, N failed`. `dir` is where `certs/`, `keys/` and `messages/` lie, by default beside the file. No `sections` means all of the file.
///
/// # Errors
/// [`Error`]. Failing cases are no error but part of the result.
pub fn run(file: &Path, dir: Option<&Path>, sections: &[String]) -> Result<Summary, Error> {
    let text = std::fs::read(file).map_err(|source| Error::Read { path: file.to_owned(), source })?;
    let content = serde_json::from_slice(&text).map_err(|source| Error::Json { path: file.to_owned(), source })?;
    let beside = file.parent().unwrap_or(Path::new("."));
    let summary = check(&content, dir.unwrap_or(beside), sections)?;
    let mut out = io::stdout().lock();
    for failure in &summary.failures {
        writeln!(out, "{failure}").map_err(Error::Print)?;
    }
    writeln!(out, "{} passed, {} failed", summary.passed, summary.failures.len()).map_err(Error::Print)?;
    Ok(summary)
}

/// Runs the content of a file.
///
/// # Errors
/// [`Error`].
pub fn check(content: &Value, dir: &Path, sections: &[String]) -> Result<Summary, Error> {
    let members = content.as_object().ok_or(Error::NotAnObject)?;
    for (name, content) in members.iter().filter(|(name, _)| !NOT_SECTIONS.contains(&name.as_str())) {
        known(name)?;
        if !SECTIONS.iter().any(|section| section.name == name) {
            let parts = content.as_object().ok_or_else(|| Error::NoParts(name.clone()))?;
            parts.keys().try_for_each(|part| known(&format!("{name}/{part}")))?;
        }
    }
    for name in sections {
        known(name)?;
        if content.pointer(&format!("/{name}")).is_none() {
            return Err(Error::NoSuchSection(name.clone()));
        }
    }
    let vectors = Vectors { meta: content.get("meta").cloned().unwrap_or_default(), dir: dir.to_owned() };
    let mut summary = Summary::default();
    let chosen = |section: &Section| sections.is_empty() || sections.iter().any(|name| section.is_in(name));
    for section in SECTIONS.iter().filter(|section| chosen(section)) {
        let Some(cases) = content.pointer(&format!("/{}", section.name)) else { continue };
        let cases = match cases {
            Value::Array(cases) => cases.as_slice(),
            one if section.name.contains('/') => std::slice::from_ref(one),
            _ => return Err(Error::NotAList(section.name)),
        };
        for (index, case) in cases.iter().enumerate() {
            match (section.run)(&vectors, case).and_then(|found| compare(case, &found, section.expectations)) {
                Ok(()) => summary.passed += 1,
                Err(fault) => summary.failures.push(Failure {
                    section: section.name,
                    index,
                    case: case.get("name").unwrap_or(case).as_str().unwrap_or_default().to_owned(),
                    what: fault.to_string(),
                }),
            }
        }
    }
    Ok(summary)
}

/// Whether there is a section, or a part of one, of this name.
fn known(name: &str) -> Result<(), Error> {
    if SECTIONS.iter().any(|section| section.is_in(name)) {
        Ok(())
    } else {
        Err(Error::UnknownSection(name.to_owned()))
    }
}

/// The names of the sections, and of the parts of those that have parts.
pub fn sections() -> impl Iterator<Item = &'static str> {
    SECTIONS.iter().map(|section| section.name)
}

/// The pointers of a section that `check` compares, for tests that alter each of them in turn.
#[must_use]
pub fn expectations(section: &str) -> &'static [&'static str] {
    SECTIONS.iter().find(|known| known.name == section).map_or(&[], |known| known.expectations)
}

fn compare(case: &Value, found: &Value, expectations: &[&'static str]) -> Result<(), Fault> {
    for &pointer in expectations {
        let expected = case.pointer(pointer).unwrap_or(&Value::Null);
        let found = found.pointer(pointer).unwrap_or(&Value::Null);
        if expected != found {
            return Err(Fault::Differs { pointer, expected: expected.clone(), found: found.clone() });
        }
    }
    Ok(())
}

/// What cases refer to.
struct Vectors {
    meta: Value,
    dir: PathBuf,
}

impl Vectors {
    /// A file of the set.
    fn file(&self, path: &str) -> Result<Vec<u8>, Fault> {
        std::fs::read(self.dir.join(path)).map_err(|source| Fault::File { path: path.to_owned(), source })
    }

    /// A certificate in PEM.
    fn certificate(&self, path: &str) -> Result<CertificateDer<'static>, Fault> {
        let pem = self.file(path)?;
        CertificateDer::from_pem_slice(&pem).map_err(|_| Fault::Certificate(path.to_owned()))
    }

    /// The certificates of a list of paths.
    fn certificates(&self, paths: &Value) -> Result<Vec<CertificateDer<'static>>, Fault> {
        let paths = paths.as_array().ok_or(Fault::Missing("list of certificates"))?;
        paths.iter().map(|path| self.certificate(path.as_str().ok_or(Fault::Missing("path"))?)).collect()
    }

    /// The clock of a case: its own `verify_at`, else that of the file.
    fn now(&self, case: &Value) -> Result<UnixTime, Fault> {
        let text = case.get("verify_at").or_else(|| self.meta.get("verify_at")).and_then(Value::as_str);
        let time: jiff::Timestamp =
            text.and_then(|text| text.parse().ok()).ok_or(Fault::Missing("verify_at, a time of RFC 3339"))?;
        let seconds = u64::try_from(time.as_second()).map_err(|_| Fault::Missing("verify_at after 1970"))?;
        Ok(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}

/// A text member of a case.
fn text<'a>(case: &'a Value, member: &'static str) -> Result<&'a str, Fault> {
    case.get(member).and_then(Value::as_str).ok_or(Fault::Missing(member))
}

/// A hexadecimal member of a case.
fn octets(case: &Value, member: &'static str) -> Result<Vec<u8>, Fault> {
    HEXLOWER_PERMISSIVE.decode(text(case, member)?.as_bytes()).map_err(|_| Fault::Missing(member))
}

/// A small number of a case.
fn number(case: &Value, member: &'static str) -> Result<u8, Fault> {
    case.get(member).and_then(Value::as_u64).and_then(|number| number.try_into().ok()).ok_or(Fault::Missing(member))
}

/// Why one case fails.
#[derive(Debug)]
enum Fault {
    /// An expectation is not what was found.
    Differs { pointer: &'static str, expected: Value, found: Value },
    /// A file that the case names cannot be read.
    File { path: String, source: io::Error },
    /// A file that the case names holds no certificate.
    Certificate(String),
    /// There is no runtime for a case to run on.
    Runtime(io::Error),
    /// The case lacks something, or it is not what it should be.
    Missing(&'static str),
    /// The case has a value that its section does not know.
    Unknown { member: &'static str, value: String },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differs { pointer: "", expected, found } => write!(f, "expected {expected}, found {found}"),
            Self::Differs { pointer, expected, found } => write!(f, "{pointer}: expected {expected}, found {found}"),
            Self::File { path, source } => write!(f, "cannot read {path}: {source}"),
            Self::Certificate(path) => write!(f, "expected a certificate in PEM in {path}"),
            Self::Runtime(source) => write!(f, "cannot set up what runs the case: {source}"),
            Self::Missing(what) => write!(f, "the case has no valid {what}"),
            Self::Unknown { member, value } => write!(f, "the case has {member} \"{value}\", which is not known"),
        }
    }
}

/// Why a file cannot be run.
#[derive(Debug)]
pub enum Error {
    /// The file cannot be read.
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not JSON.
    Json {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// The file is JSON, but no object.
    NotAnObject,
    /// A section is not a list of cases.
    NotAList(&'static str),
    /// A section that has parts is not an object.
    NoParts(String),
    /// The file has no such section.
    NoSuchSection(String),
    /// Nobody knows such a section.
    UnknownSection(String),
    /// Standard output cannot be written to.
    Print(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::Json { path, source } => write!(f, "{}: expected JSON, found otherwise: {source}", path.display()),
            Self::NotAnObject => f.write_str("expected a JSON object with a member for each section"),
            Self::NotAList(section) => write!(f, "section {section}: expected a list of cases"),
            Self::NoParts(section) => {
                write!(f, "section {section}: expected a JSON object with a member for each part")
            }
            Self::NoSuchSection(section) => write!(f, "the file has no section \"{section}\""),
            Self::UnknownSection(section) => {
                let known: Vec<_> = sections().collect();
                write!(f, "section \"{section}\" is not known; known are {}", known.join(", "))
            }
            Self::Print(source) => write!(f, "cannot write to standard output: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } | Self::Print(source) => Some(source),
            Self::Json { source, .. } => Some(source),
            Self::NotAnObject
            | Self::NotAList(_)
            | Self::NoParts(_)
            | Self::NoSuchSection(_)
            | Self::UnknownSection(_) => None,
        }
    }
}

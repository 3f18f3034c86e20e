//! Connections that tlslite-ng makes to a gateway, and what is to become of each at both ends.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::process::vector;
use crate::tlslite::{self, alert, name_extension};

/// A certificate chain and its key, in files.
#[derive(Clone, Debug)]
pub struct Credential {
    /// PEM, leaf first.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

impl Credential {
    /// A self-signed certificate of the vectors and its key.
    #[must_use]
    pub fn of_vectors(stem: &str) -> Self {
        Self { certificate: vector(&format!("certs/{stem}.pem")), key: vector(&format!("keys/{stem}.key.pem")) }
    }

    /// The one whose key has a record at every name below `_device`.
    #[must_use]
    pub fn right() -> Self {
        Self::of_vectors("ee-p256")
    }

    /// One that no record is about.
    #[must_use]
    pub fn wrong() -> Self {
        Self::of_vectors("ee-rsa2048")
    }

    /// The three-level chain of the vectors, with or without its root. Its leaf names `device1.example.com`.
    #[must_use]
    pub fn chain(directory: &Path, with_root: bool) -> Self {
        let certificates = ["leaf", "inter", "root"].map(|stem| vector(&format!("certs/{stem}.pem")));
        let sent = if with_root { &certificates[..] } else { &certificates[..2] };
        Self { certificate: tlslite::chain(directory, sent), key: vector("keys/leaf.key.pem") }
    }
}

/// How a client conveys its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// TLS 1.3: in Certificate.
    Tls13,
    /// TLS 1.2: in ClientHello.
    Tls12,
}

impl Wire {
    /// As tlslite-ng's peers call it.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::Tls13 => "1.3",
            Self::Tls12 => "1.2",
        }
    }

    /// The option that puts the extension where it belongs.
    #[must_use]
    pub const fn place(self) -> &'static str {
        match self {
            Self::Tls13 => "in_certificate",
            Self::Tls12 => "in_client_hello",
        }
    }
}

/// A connection with this credential, and this `extension_data` where the version has its place.
#[must_use]
pub fn sending(gateway: &Gateway, wire: Wire, credential: &Credential, extension_data: &[&str]) -> Value {
    let mut options = tlslite::client(&gateway.address, &credential.certificate, &credential.key);
    options["tls"] = json!(wire.version());
    options[wire.place()] = json!(extension_data);
    options
}

/// A connection that conveys this name.
#[must_use]
pub fn naming(gateway: &Gateway, wire: Wire, credential: &Credential, name: &str) -> Value {
    sending(gateway, wire, credential, &[&name_extension(name.as_bytes())])
}

/// What is to become of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The web application is told this name, and the client gets its answer.
    Page(String),
    /// The web application is told of nobody; this outcome and reason in the log.
    Nobody(&'static str, Option<&'static str>),
    /// This alert for the client, this reason in the log, and nothing for the web application.
    Aborted(&'static str, &'static str),
    /// The same, where TLS itself comes to nothing and no reason is logged.
    Failed(&'static str),
}

impl Expected {
    /// The client is who it says.
    #[must_use]
    pub fn page(name: &str) -> Self {
        Self::Page(name.to_owned())
    }

    /// The one alert for everything about authentication.
    #[must_use]
    pub const fn refused(reason: &'static str) -> Self {
        Self::Aborted("handshake_failure", reason)
    }

    /// Outcome and reason in the log.
    fn logged(&self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Page(_) => ("authenticated", None),
            Self::Nobody(outcome, reason) => (outcome, *reason),
            Self::Aborted(_, reason) => ("refused", Some(reason)),
            Self::Failed(_) => ("handshake-failed", None),
        }
    }

    /// The page that the client reads.
    fn body(&self) -> Option<&str> {
        match self {
            Self::Page(name) => Some(name),
            Self::Nobody(..) => Some("nobody"),
            Self::Aborted(..) | Self::Failed(_) => None,
        }
    }

    /// The alert that the client reads.
    const fn alert(&self) -> Option<&'static str> {
        match self {
            Self::Page(_) | Self::Nobody(..) => None,
            Self::Aborted(alert, _) | Self::Failed(alert) => Some(alert),
        }
    }
}

/// Reasons that are found without DNS.
const WITHOUT_DNS: &[&str] = &[
    "certificate-malformed",
    "empty-client-name",
    "extension-misplaced",
    "extension-undecodable",
    "extension-unsolicited",
    "invalid-client-name",
    "legacy-handshake",
    "name-not-allowed",
    "no-client-name",
    "no-name-in-certificate",
    "version-too-low",
    "wrong-service-label",
];

/// Makes the connections one after the other, and asserts what became of each: the client's alert or page, the verdict in the log with
/// its reason, whether DNS was asked, and that the web application saw the clients it should see and no other. In TLS 1.2 a refusal
/// comes before the server's Finished.
pub fn check(gateway: &Gateway, cases: &[(Value, Expected)]) {
    let before = gateway.origin.requests().len();
    let options: Vec<Value> = cases.iter().map(|(options, _)| options.clone()).collect();
    let mut wrong = Vec::new();
    for ((options, expected), result) in cases.iter().zip(tlslite::connect(&options)) {
        let verdict = gateway.next_verdict();
        let saw = (alert(&result), result["body"].as_str());
        let logged = (verdict["outcome"].as_str().unwrap_or_default(), verdict["reason"].as_str());
        let (_, reason) = expected.logged();
        let dns_expected = match (expected, reason) {
            (Expected::Failed(_), _) | (Expected::Nobody("not-dane", _), _) => false,
            (_, Some(reason)) => !WITHOUT_DNS.contains(&reason),
            (_, None) => true,
        };
        let dns_asked = !verdict["queries"].is_null();
        let refused_late = options["tls"] == "1.2" && expected.alert().is_some() && result["handshake"] == true;
        if saw != (expected.alert(), expected.body())
            || logged != expected.logged()
            || dns_asked != dns_expected
            || refused_late
        {
            wrong.push(format!("{options}\n  expected {expected:?}\n  client   {result}\n  server   {verdict}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let pages = cases.iter().filter(|(_, expected)| expected.body().is_some()).count();
    assert_eq!(gateway.origin.requests().len() - before, pages, "the web application saw a refused client's request");
}

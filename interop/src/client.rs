//! Our client, and servers of tlslite-ng for it.

use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::case::Credential;
use crate::gateway::ServerCertificate;
use crate::process::{dance, run, text};
use crate::tlslite::{Server, alert_of_peer};

/// `dance request` for the server's root page. What servers make of a client is the matter here, so that it does not look its record up.
#[must_use]
pub fn request(address: &str, server: &ServerCertificate) -> Command {
    let mut command = dance();
    let port = address.rsplit(':').next().unwrap();
    command.args(["request", &format!("https://localhost:{port}/"), "--resolve-to", address, "--no-record-check"]);
    command.arg("--server-ca").arg(&server.certificate);
    command
}

/// Has it present this chain.
pub fn x509<'a>(command: &'a mut Command, credential: &Credential) -> &'a mut Command {
    command.arg("--cert").arg(&credential.certificate).arg("--key").arg(&credential.key)
}

/// The page of a run that went well.
#[must_use]
pub fn page(output: &Output) -> &str {
    assert!(output.status.success(), "{}", text(output));
    std::str::from_utf8(&output.stdout).unwrap()
}

/// Whoever runs servers for the client.
pub struct Peer {
    /// For files of one test.
    pub directory: TempDir,
    /// What the servers present.
    pub certificate: ServerCertificate,
}

impl Peer {
    /// One with a certificate for `localhost`.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it writes files")]
    pub fn new() -> Self {
        let directory = TempDir::new().unwrap();
        Self { certificate: ServerCertificate::new(directory.path(), [2020, 2049]), directory }
    }

    /// A server for one connection.
    #[must_use]
    pub fn start(&self, options: &Value) -> Server {
        Server::start(&self.certificate.certificate, &self.certificate.key, options)
    }

    /// Runs the client, with these arguments, against a server with these options. It gets its page; the server's account of it.
    #[must_use]
    pub fn serves(&self, credential: &Credential, client: &[&str], options: &Value) -> Value {
        let server = self.start(options);
        let output = run(x509(request(&server.address, &self.certificate).args(client), credential));
        assert_eq!(page(&output), "hello", "{client:?} {options}");
        server.result()
    }

    /// Runs the client likewise; it sends this alert and tells its user this, and nothing of its own has been shown.
    pub fn is_refused(&self, credential: &Credential, client: &[&str], options: &Value, alert: &str, message: &str) {
        let server = self.start(options);
        let output = run(x509(request(&server.address, &self.certificate).args(client), credential));
        let result = server.result();
        let said = format!("{client:?} {options}: {result}\n{}", text(&output));
        assert_eq!(alert_of_peer(&result), Some(alert), "{said}");
        assert!(result["entries"].is_null() && result["request"] == json!(null), "something went out: {said}");
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(text(&output).contains(message), "{said}");
    }
}

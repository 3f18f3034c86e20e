//! Stock clients that know nothing of the extension: OpenSSL's s_client, curl, GnuTLS. Each asks for a page.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::case::{Credential, Wire};
use crate::gateway::Gateway;
use crate::process::{program, run_ok, run_on, text};

/// What each of them sends.
pub const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// `openssl s_client`, to which options can be added.
#[must_use]
pub fn s_client(address: &str) -> Command {
    let mut command = program("openssl");
    command.args(["s_client", "-connect", address, "-servername", "localhost", "-ign_eof"]);
    command
}

/// Has s_client present this, issuers included.
pub fn present(command: &mut Command, credential: &Credential) {
    command.arg("-cert").arg(&credential.certificate).arg("-cert_chain").arg(&credential.certificate);
    command.arg("-key").arg(&credential.key);
}

/// All that s_client says, asked to get a page.
#[must_use]
pub fn ask(command: &Command) -> String {
    text(&run_on(command, REQUEST))
}

/// A handshake message in the output of `s_client -trace`: its name, and its lines below that.
#[derive(Debug)]
pub struct Traced {
    /// As OpenSSL calls it.
    pub name: String,
    /// Its fields, trimmed.
    pub lines: Vec<String>,
}

impl Traced {
    /// The octets of an extension that OpenSSL does not know, in hexadecimal.
    #[must_use]
    pub fn extension(&self, code_point: u16) -> Option<String> {
        let start = format!("extension_type=UNKNOWN({code_point}), length=");
        let at = self.lines.iter().position(|line| line.starts_with(&start))?;
        if self.lines[at].ends_with("length=0") {
            return Some(String::new());
        }
        // `0000 - 00 01 02   ...`
        let dump = self.lines[at + 1..].iter().map_while(|line| line.split_once(" - "));
        Some(dump.map(|(_, octets)| octets.split("   ").next().unwrap().replace([' ', '-'], "")).collect())
    }
}

/// The handshake messages that s_client traced.
#[must_use]
pub fn traced(said: &str) -> Vec<Traced> {
    let mut messages: Vec<Traced> = Vec::new();
    for line in said.lines() {
        let depth = line.len() - line.trim_start().len();
        match line.trim().split_once(", Length=") {
            Some((name, _)) if depth == 4 => messages.push(Traced { name: name.to_owned(), lines: Vec::new() }),
            _ if depth > 4 => {
                if let Some(message) = messages.last_mut() {
                    message.lines.push(line.trim().to_owned());
                }
            }
            _ => {}
        }
    }
    messages
}

/// `curl`, which verifies the gateway's certificate.
#[must_use]
pub fn curl(gateway: &Gateway, credential: Option<&Credential>) -> Command {
    let mut command = program("curl");
    let port = gateway.address.rsplit(':').next().unwrap();
    command.args(["--silent", "--show-error", "--cacert"]).arg(&gateway.server.certificate);
    command.args(["--resolve", &format!("localhost:{port}:127.0.0.1")]);
    if let Some(credential) = credential {
        command.arg("--cert").arg(&credential.certificate).arg("--key").arg(&credential.key);
    }
    command.arg(format!("https://localhost:{port}/"));
    command
}

/// All that `gnutls-cli` says as a client with a raw public key.
#[must_use]
pub fn gnutls_with_raw_key(gateway: &Gateway, wire: Wire, directory: &Path, key: &Path) -> String {
    let mut command = program("gnutls-cli");
    let priority = format!("NORMAL:-VERS-ALL:+VERS-TLS{}:-CTYPE-CLI-ALL:+CTYPE-CLI-RAWPK", wire.version());
    command.args(["--priority", &priority, "--no-ca-verification", "--sni-hostname", "localhost"]);
    command.arg("--rawpkkeyfile").arg(key).arg("--rawpkfile").arg(public_key(directory, key));
    let (host, port) = gateway.address.rsplit_once(':').unwrap();
    text(&run_on(command.args(["--port", port, host]), REQUEST))
}

fn public_key(directory: &Path, key: &Path) -> PathBuf {
    let file = directory.join("public.pem");
    run_ok(program("openssl").args(["pkey", "-pubout", "-in"]).arg(key).arg("-out").arg(&file));
    file
}

//! tlslite-ng as a peer: it sends the extension as it is told to, well-formed or not.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::process::{Daemon, run_on, text};

/// The code point of the vectors and of the gateway's default.
pub const EXTENSION_TYPE: u16 = 0xffdc;

/// A script of interop/peers, under the interpreter that has tlslite-ng.
fn script(name: &str) -> Command {
    let python = crate::process::target().join("interop-venv").join("bin").join("python");
    assert!(python.is_file(), "{} is missing: `cargo xtask test --only interop` makes it", python.display());
    let mut command = Command::new(python);
    // -B: no byte code beside the sources.
    command.arg("-B").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name));
    command
}

/// extension_data of profile `current` for a name.
#[must_use]
pub fn name_extension(name: &[u8]) -> String {
    let octets = std::iter::once(u8::try_from(name.len()).unwrap()).chain(name.iter().copied());
    octets.map(|octet| format!("{octet:02x}")).collect()
}

/// A connection for [`connect`] to make: TLS 1.3 with this certificate and key, nothing else.
#[must_use]
pub fn client(address: &str, certificate: &Path, key: &Path) -> Value {
    json!({
        "address": address, "tls": "1.3", "extension_type": EXTENSION_TYPE, "certificate": certificate, "key": key,
    })
}

/// Makes the connections one after the other and gives what became of each.
#[must_use]
pub fn connect(connections: &[Value]) -> Vec<Value> {
    let output = run_on(&script("tlslite_client.py"), &format!("{}\n", Value::from(connections)));
    assert!(output.status.success(), "{}", text(&output));
    let results: Vec<Value> = output
        .stdout
        .split(|octet| *octet == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(results.len(), connections.len());
    results
}

/// The alert that the peer sent, by its name.
#[must_use]
pub fn alert(result: &Value) -> Option<&str> {
    let alert = &result["alert"];
    assert_ne!(alert["by"], "us", "tlslite-ng itself is not content: {result}");
    assert!(result["error"].is_null(), "{result}");
    alert["alert"].as_str()
}

/// The alert that a peer of [`Server`] sent, by its name. tlslite-ng may have found fault with what followed it.
#[must_use]
pub fn alert_of_peer(result: &Value) -> Option<&str> {
    let alert = &result["alert"];
    (alert["by"] == "peer").then(|| alert["alert"].as_str()).flatten()
}

/// A server for one connection.
pub struct Server {
    /// Where it listens.
    pub address: String,
    daemon: Daemon,
}

impl Server {
    /// Starts one that asks for a certificate over TLS 1.3, with these options on top.
    #[must_use]
    pub fn start(certificate: &Path, key: &Path, more: &Value) -> Self {
        let mut options = json!({
            "tls": "1.3", "extension_type": EXTENSION_TYPE, "certificate": certificate, "key": key,
        });
        for (key, value) in more.as_object().unwrap() {
            options[key] = value.clone();
        }
        let mut command = script("tlslite_server.py");
        let daemon = Daemon::start(command.arg(options.to_string()));
        let address = daemon.wait_for("address", |line| {
            serde_json::from_str::<Value>(line).ok()?["listening"].as_str().map(str::to_owned)
        });
        Self { address, daemon }
    }

    /// What became of its connection.
    #[must_use]
    pub fn result(&self) -> Value {
        self.daemon.wait_for("result", |line| {
            serde_json::from_str::<Value>(line).ok().filter(|value| value.get("handshake").is_some())
        })
    }
}

/// A name for files of PEM blocks put together, leaf first.
#[must_use]
pub fn chain(directory: &Path, certificates: &[PathBuf]) -> PathBuf {
    let pem: String = certificates.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let stems: Vec<_> = certificates.iter().map(|path| path.file_stem().unwrap().to_string_lossy()).collect();
    let file = directory.join(format!("{}.chain.pem", stems.join("-")));
    std::fs::write(&file, pem).unwrap();
    file
}

//! The gateway as a program, in front of a web application that says whom it was told of.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;

use crate::case::Credential;
use crate::dns::World;
use crate::process::{Daemon, dance};

/// The field in which the web application finds the client's name.
pub const HEADER: &str = "dane-clientid";

/// A web application: answers each request with the client's name, or with `nobody`.
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Origin {
    /// Starts it. It runs until the test's process ends.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = seen.clone();
                std::thread::spawn(move || serve(&stream, &seen));
            }
        });
        Self { address, requests }
    }

    /// The requests until now, each with its body.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Requests one after the other, as long as the connection lasts.
fn serve(stream: &TcpStream, seen: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if !matches!(reader.read_line(&mut head), Ok(1..)) {
                return;
            }
        }
        let field = |wanted| {
            let mut fields = head.lines().filter_map(|line| line.split_once(':'));
            fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim().to_owned())
        };
        let body = field(HEADER).unwrap_or_else(|| "nobody".to_owned());
        let mut content = vec![0; field("content-length").map_or(0, |length| length.parse().unwrap())];
        if reader.read_exact(&mut content).is_err() {
            return;
        }
        if field("transfer-encoding").is_some() {
            // With the chunks' sizes and the trailers. The tests' bodies have no empty line.
            while !content.ends_with(b"\r\n\r\n") {
                if !matches!(reader.read_until(b'\n', &mut content), Ok(1..)) {
                    return;
                }
            }
        }
        seen.lock().unwrap().push(head + &String::from_utf8_lossy(&content));
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if { stream }.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Certificate and key for `localhost`, in files.
pub struct ServerCertificate {
    /// Chain.
    pub certificate: PathBuf,
    /// Key.
    pub key: PathBuf,
}

impl ServerCertificate {
    /// Self-signed, valid between these years.
    #[must_use]
    pub fn new(directory: &Path, years: [i32; 2]) -> Self {
        let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        [parameters.not_before, parameters.not_after] = years.map(|year| rcgen::date_time_ymd(year, 1, 1));
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let files = [("pem", certificate.pem()), ("key", key.serialize_pem())].map(|(suffix, content)| {
            let file = directory.join(format!("server-{}-{}.{suffix}", years[0], years[1]));
            fs::write(&file, content).unwrap();
            file
        });
        let [certificate, key] = files;
        Self { certificate, key }
    }
}

/// A gateway in front of an origin.
pub struct Gateway {
    /// Where clients connect.
    pub address: String,
    /// The web application behind it.
    pub origin: Origin,
    /// The certificate it presents; a client may take it for a root.
    pub server: ServerCertificate,
    daemon: Daemon,
    verdicts_seen: Mutex<usize>,
    /// It is needed as long as the gateway is.
    _world: Option<Arc<World>>,
    _directory: TempDir,
}

/// Where a gateway looks names up.
pub struct Dns {
    /// The resolver.
    pub resolver: SocketAddr,
    /// `validate` or `ad`.
    pub mode: &'static str,
}

impl Gateway {
    /// Starts a gateway that admits every name of the world's zones. `more` holds further settings, as lines of TOML.
    #[must_use]
    pub fn start(world: &Arc<World>, dns: &Dns, more: &str) -> Self {
        Self { _world: Some(world.clone()), ..Self::start_with(dns, &world.trust_anchor, more) }
    }

    /// As [`start`](Self::start), with another trust anchor.
    #[must_use]
    pub fn start_with(dns: &Dns, trust_anchor: &Path, more: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let server = ServerCertificate::new(directory.path(), [2020, 2049]);
        Self::launch(directory, server, dns, trust_anchor, more)
    }

    /// One with an RSA key and a certificate that is not for `localhost`.
    #[must_use]
    pub fn with_rsa_key(world: &Arc<World>, more: &str) -> Self {
        let dns = Dns { resolver: world.validating, mode: "validate" };
        let Credential { certificate, key } = Credential::of_vectors("ee-rsa2048");
        let server = ServerCertificate { certificate, key };
        let gateway = Self::launch(TempDir::new().unwrap(), server, &dns, &world.trust_anchor, more);
        Self { _world: Some(world.clone()), ..gateway }
    }

    fn launch(directory: TempDir, server: ServerCertificate, dns: &Dns, trust_anchor: &Path, more: &str) -> Self {
        let origin = Origin::start();
        let file = directory.path().join("gateway.toml");
        let settings = format!(
            "listen = \"127.0.0.1:0\"
certificate = {:?}
key = {:?}
origin = \"{}\"
allow = [\"**.example.com\", \"**.example.net\", \"**.broken.example\", \"**.expired.example\", \"**.unsigned.example\"]
{more}
[dns]
resolver = [\"{}\"]
mode = \"{}\"
trust-anchor = {:?}
",
            server.certificate, server.key, origin.address, dns.resolver, dns.mode, trust_anchor
        );
        fs::write(&file, settings).unwrap();
        let mut command = dance();
        let daemon = Daemon::start(command.args(["gateway", "--log-format", "json", "--config"]).arg(file));
        let address = daemon.wait_for("address", |line| field(line, "addr")?.as_str().map(str::to_owned));
        Self { address, origin, server, daemon, verdicts_seen: Mutex::new(0), _world: None, _directory: directory }
    }

    /// One with the validating unbound, and its own validation on top.
    #[must_use]
    pub fn validating(world: &Arc<World>, more: &str) -> Self {
        Self::start(world, &Dns { resolver: world.validating, mode: "validate" }, more)
    }

    /// The log line of the next connection's verdict. Connections are to be made one after the other.
    #[must_use]
    pub fn next_verdict(&self) -> Value {
        let mut seen = self.verdicts_seen.lock().unwrap();
        let mut skip = *seen;
        *seen += 1;
        self.daemon.wait_for("verdict", |line| {
            field(line, "outcome")?;
            if skip == 0 {
                serde_json::from_str(line).ok()
            } else {
                skip -= 1;
                None
            }
        })
    }
}

/// A field of a log line.
fn field(line: &str, name: &str) -> Option<Value> {
    serde_json::from_str::<Value>(line).ok()?.get(name).cloned()
}

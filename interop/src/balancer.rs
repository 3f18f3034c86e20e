//! Load balancers that others wrote, configured by the files of docs/load-balancers, between curl and a web application; and what is to
//! become of requests there.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dance_http::{Dialect, ForwardedBy, Rules};
use tempfile::TempDir;

use crate::application::Application;
use crate::case::Credential;
use crate::dns::{World, free_port, loopback};
use crate::gateway::{Origin, ServerCertificate};
use crate::process::{Daemon, PATIENCE, dance, program, repository, run};

pub mod cases;
mod http2;

/// A recipe of docs/load-balancers, and what it says of itself.
pub struct Recipe {
    /// The directory, which is also the page.
    pub name: &'static str,
    /// The balancer's files in it.
    pub files: &'static [&'static str],
    /// Where the check is done.
    pub check: Check,
    /// What in the files is of the operator's machine and what it is here, where `{dir}` is a directory that holds the files, and `{port}`
    /// the port of the balancer. Each has to be there.
    pub here: &'static [(&'static str, &'static str)],
    /// Starts it on the files in a directory, in the foreground.
    pub command: fn(&Path) -> Command,
    /// How it forwards certificates.
    pub dialect: Dialect,
    /// In which fields.
    pub fields: &'static [&'static str],
    /// Whether it forwards the issuers too.
    pub chain: bool,
    /// Whether the check sees bodies.
    pub body: bool,
    /// What becomes of a body that is longer than the check may read; `None` where that depends on who is faster.
    pub long_body: Option<u16>,
    /// What becomes of a client with a certificate that is expired, or not for clients.
    pub expired: Expired,
    /// What becomes of a name that is none.
    pub malformed: u16,
    /// What becomes of everybody while there is no service.
    pub down: u16,
    /// What clients get where something answers 200 in the service's place and gives no name; `None` where they get to the application.
    pub nameless: Option<u16>,
    /// Whether sessions are resumed.
    pub resumes: bool,
    /// Certificates that are longer than usual by so many octets, and the status.
    pub large_certificates: &'static [(usize, u16)],
    /// Fields of so many octets, and the status.
    pub large_fields: &'static [(usize, u16)],
}

/// Who does the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// `dance auth-service`, with this file. It reads the fields.
    Service(&'static str),
    /// The same, asked over gRPC: what the balancer knows of the client stands beside the request's fields, and those do not count.
    Grpc(&'static str),
    /// The application, with the layer in front of it.
    Application,
}

/// What becomes of a client with a certificate that is expired or not for clients, of which DANE-EE does not take notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// Nothing.
    Passes,
    /// The balancer answers with this status, or ends the handshake (0).
    Refused(u16),
}

/// A balancer between a port of its own and a web application.
pub struct Balancer {
    recipe: &'static Recipe,
    world: Arc<World>,
    server: ServerCertificate,
    port: u16,
    service: Option<Service>,
    application: Behind,
    daemon: Daemon,
    directory: TempDir,
}

/// What is behind the balancer.
enum Behind {
    /// An application that believes what it is told.
    Believing(Origin),
    /// One that checks.
    Checking(Application),
}

impl Behind {
    fn address(&self) -> SocketAddr {
        match self {
            Self::Believing(origin) => origin.address,
            Self::Checking(application) => application.address,
        }
    }

    /// The requests until now.
    fn requests(&self) -> Vec<String> {
        match self {
            Self::Believing(origin) => origin.requests(),
            Self::Checking(application) => application.requests(),
        }
    }
}

/// What the client got.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status, or 0 where there was none.
    pub status: u16,
    /// The lines of the head.
    pub head: String,
    /// The rest.
    pub body: String,
    /// What curl has to say about it.
    pub trouble: String,
}

impl Balancer {
    /// Starts all of it.
    #[must_use]
    pub fn start(recipe: &'static Recipe) -> Self {
        let world = World::shared();
        let directory = TempDir::new().unwrap();
        let server = ServerCertificate::new(directory.path(), [2020, 2049]);
        let tls = directory.path().join("tls");
        fs::create_dir(&tls).unwrap();
        // HAProxy looks for the key beside the certificate.
        for (from, to) in [(&server.certificate, "pem"), (&server.key, "key"), (&server.key, "pem.key")] {
            fs::copy(from, tls.join(format!("localhost.{to}"))).unwrap();
        }
        fs::copy(&server.certificate, tls.join("unused-ca.pem")).unwrap();
        let (service, application) = match recipe.check {
            Check::Service(file) | Check::Grpc(file) => {
                (Some(Service::start(&world, recipe, file)), Behind::Believing(Origin::start()))
            }
            Check::Application => (None, Behind::Checking(application(&world, recipe))),
        };
        for _ in 0..5 {
            let (held, port) = free_port();
            let service_port = service.as_ref().map_or(0, |service| service.address.port());
            configure(recipe, directory.path(), &[port, service_port, application.address().port()]);
            drop(held);
            let daemon = Daemon::start((recipe.command)(directory.path()).current_dir(directory.path()));
            if listens(&daemon, port) {
                let balancer = Self { recipe, world, server, port, service, application, daemon, directory };
                balancer.wait_until_configured();
                return balancer;
            }
            eprintln!("{} ended:\n{}", recipe.name, daemon.lines().join("\n"));
        }
        panic!("{} does not start", recipe.name)
    }

    /// Traefik listens before it knows what for.
    fn wait_until_configured(&self) {
        let end = Instant::now() + PATIENCE;
        while matches!(self.ask(&mut self.curl(None, None)).status, 0 | 404) {
            assert!(Instant::now() < end, "{} does not answer:\n{}", self.recipe.name, self.daemon.lines().join("\n"));
        }
    }

    /// curl with a credential and an asserted name.
    fn curl(&self, credential: Option<&Credential>, name: Option<&str>) -> Command {
        let mut command = program("curl");
        command.args(["--silent", "--show-error", "--include", "--write-out", "\n%{http_code}", "--cacert"]);
        command.arg(&self.server.certificate);
        command.args(["--resolve", &format!("localhost:{}:127.0.0.1", self.port)]);
        if let Some(Credential { certificate, key }) = credential {
            command.arg("--cert").arg(certificate).arg("--key").arg(key);
        }
        if let Some(name) = name {
            command.args(["--header", &format!("Dane-Clientid-Asserted: {name}")]);
        }
        command.arg(format!("https://localhost:{}/inbox?box=1", self.port));
        command
    }

    fn ask(&self, command: &mut Command) -> Answer {
        answer(&run(command))
    }

    /// A name that no other test uses.
    fn name(&self, what: &str) -> String {
        let file = self.recipe.files[0].to_ascii_lowercase();
        format!("{what}-{}._device.example.com", file.split('.').next().unwrap())
    }
}

/// By `curl --include --write-out "\n%{http_code}"`.
fn answer(said: &Output) -> Answer {
    let trouble = String::from_utf8_lossy(&said.stderr).into_owned();
    let said = String::from_utf8_lossy(&said.stdout);
    let (rest, status) = said.trim_end().rsplit_once('\n').unwrap_or(("", &said));
    let status = status.parse().unwrap_or_else(|_| panic!("not what curl says: {said}"));
    let rest = rest.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(rest);
    let (head, body) = rest.split_once("\r\n\r\n").unwrap_or((rest, ""));
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned(), trouble }
}

/// The recipe's files, for this machine.
fn configure(recipe: &Recipe, directory: &Path, ports: &[u16; 3]) {
    let [own, service, application] = ports.map(|port| port.to_string());
    let filled = |text: &str| text.replace("{dir}", &directory.display().to_string()).replace("{port}", &own);
    let mut changes: Vec<(&str, String)> = recipe.here.iter().map(|(from, to)| (*from, filled(to))).collect();
    changes.extend([("8080", application), ("api.example.com", "localhost".to_owned())]);
    if recipe.check != Check::Application {
        changes.push(("9181", service));
    }
    let texts: Vec<String> = recipe.files.iter().map(|file| fs::read_to_string(path(recipe, file)).unwrap()).collect();
    for (from, _) in &changes {
        assert!(texts.iter().any(|text| text.contains(from)), "no `{from}` in the files of {}", recipe.name);
    }
    for (file, text) in recipe.files.iter().zip(texts) {
        fs::write(directory.join(file), changed(&text, &changes)).unwrap();
    }
}

/// In one pass, so that nothing is changed that a change has brought in.
fn changed(mut text: &str, changes: &[(&str, String)]) -> String {
    let mut result = String::new();
    let first = |text: &str| {
        let found = changes.iter().filter_map(|(from, to)| Some((text.find(from)?, *from, to.clone())));
        found.min_by_key(|(at, from, _)| (*at, std::cmp::Reverse(from.len())))
    };
    while let Some((at, from, to)) = first(text) {
        result.push_str(&text[..at]);
        result.push_str(&to);
        text = &text[at + from.len()..];
    }
    result + text
}

/// A file of a recipe.
#[must_use]
pub fn path(recipe: &Recipe, file: &str) -> std::path::PathBuf {
    repository().join("docs/load-balancers").join(recipe.name).join(file)
}

/// Waits until somebody listens; says `false` where the program ended instead.
fn listens(daemon: &Daemon, port: u16) -> bool {
    let end = Instant::now() + PATIENCE;
    while !daemon.ended() {
        if std::net::TcpStream::connect(loopback(port)).is_ok() {
            return true;
        }
        assert!(Instant::now() < end, "nobody listens:\n{}", daemon.lines().join("\n"));
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

/// `dance auth-service`, on a port of its own.
struct Service {
    address: SocketAddr,
    _daemon: Daemon,
}

impl Service {
    fn start(world: &World, recipe: &Recipe, file: &str) -> Self {
        let mut command = dance();
        command.args(["auth-service", "--log-format", "json", "--config"]).arg(path(recipe, file));
        command.args(["--listen", "127.0.0.1:0", "--resolver", &world.validating.to_string(), "--trust-anchor"]);
        let daemon = Daemon::start(command.arg(&world.trust_anchor));
        let address = daemon.wait_for("address", |line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            line["addr"].as_str()?.parse().ok()
        });
        Self { address, _daemon: daemon }
    }
}

/// Whom the recipes let in.
const ALLOWED: &[&str] = &["*._device.example.com", "device1.example.com"];

fn application(world: &World, recipe: &Recipe) -> Application {
    Application::start(world, rules(recipe), ALLOWED)
}

fn rules(recipe: &Recipe) -> Rules {
    let [certificate, chain @ ..] = recipe.fields else { panic!("no field for the certificate") };
    let forwarded_by = ForwardedBy::new(recipe.dialect, certificate.parse().unwrap());
    Rules::new(match chain.first() {
        Some(chain) => forwarded_by.with_chain(chain.parse().unwrap()),
        None => forwarded_by,
    })
}

//! What the clients meet: DNS, the web application, and the gateway's process with what it says about each of them.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dance_core::clientid::ExtensionType;
use dance_gateway::Config;
use dance_gateway::config::Span;
use dance_gateway::config::{DnsConfig, LimitsConfig, ProfileSetting, ResumptionSetting};
use dance_testkit::{Authority, CertSpec, Fault, Identity, SignedWorld, Zone};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::plan::Speaks;

/// The zone of the clients that are served.
pub(crate) const ZONE: &str = "example.com";
/// A zone whose answers come late.
pub(crate) const SLOW: &str = "example.net";
/// A zone that nobody has signed.
pub(crate) const UNSIGNED: &str = "example.org";
/// The client that shows a chain.
pub(crate) const TRUCK: &str = "truck12._fleet.example.com";
/// The client whose record somebody changes on the way.
pub(crate) const TAMPERED: &str = "tampered._device.example.com";
/// So many clients have a record of their own.
pub(crate) const SENSORS: u64 = 16;
/// Octets of a large response.
pub(crate) const LARGE: usize = 1 << 20;
/// How late: later than anybody notices that a client has left.
const LATE: Duration = Duration::from_secs(3);
/// How long the gateway waits for a handshake: long enough for those that go on, on a busy machine, and not for those that do not.
const HANDSHAKE_TIMEOUT: u64 = 5;
/// How long the gateway is given to say something, or to end.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// Octets of memory for each answer, and a part of the zones': about.
const ANSWER: u64 = 1500;
/// Higher than anything here: limits are for others, and a client that met one would be told something else than planned.
const NO_LIMIT: usize = 100_000;

/// Everything but the clients.
pub(crate) struct Scene {
    /// The key and certificate that most clients have.
    pub(crate) device: Identity,
    /// One that no record is about.
    pub(crate) stranger: Identity,
    /// The truck's, with its chain.
    pub(crate) truck: Identity,
    /// What clients verify the gateway by.
    pub(crate) server: Identity,
    /// Gateways of the profiles `current` and `2022`.
    server_process: Server,
    /// Names to draw from for clients that are mostly looked up anew.
    pub(crate) names: u64,
    _world: SignedWorld,
    _directory: tempfile::TempDir,
}

/// A process with gateways, and what it says about each client.
pub(crate) struct Server {
    /// Where they listen, in the order of their configurations.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) pid: u32,
    waiting: Arc<Waiting>,
    process: tokio::sync::Mutex<Child>,
}

/// Who waits for what the gateway says about a client, by the client's address.
type Waiting = Mutex<HashMap<SocketAddr, oneshot::Sender<String>>>;

impl Scene {
    /// `handshakes`: the more there are, the more names; each comes some ten times, so that all caches are full before half are through.
    pub(crate) async fn set(handshakes: u64) -> Self {
        let device = CertSpec::client("any.example.com").self_signed().unwrap();
        let stranger = CertSpec::client("any.example.com").self_signed().unwrap();
        let organisation = Authority::root("Example fleet CA").unwrap();
        let truck = CertSpec::client(TRUCK).issued_by(&organisation).unwrap();
        let server = CertSpec::localhost_server().self_signed().unwrap();

        let record = device.tlsa_311().unwrap();
        let mut zone = Zone::new(ZONE)
            .tlsa(&format!("*._many.{ZONE}"), &record, 3600)
            .tlsa(&format!("*._fleet.{ZONE}"), organisation.tlsa_201().unwrap(), 3600)
            .tlsa(TAMPERED, &record, 3600);
        for number in 0..SENSORS {
            zone = zone.tlsa(&sensor(number), &record, 3600);
        }
        let world = SignedWorld::builder()
            .zone(zone)
            // Not remembered, so that every look-up is pending for a while.
            .zone(Zone::new(SLOW).tlsa(&format!("*._device.{SLOW}"), &record, 0))
            .zone(Zone::unsigned(UNSIGNED).tlsa(&format!("sensor0._device.{UNSIGNED}"), &record, 3600))
            .zone_fault(SLOW, Fault::DelayedBy(LATE))
            .fault(TAMPERED, Fault::TamperedRdata)
            .start()
            .await
            .unwrap();

        let names = (handshakes / 100).clamp(16, 2_000);
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let config = Config {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            certificate: Some(file("server.pem", &server.chain_pem())),
            key: Some(file("server.key", server.key_pem())),
            origin: Some(start_origin().await.to_string().parse().unwrap()),
            allow: [ZONE, SLOW, UNSIGNED].map(|zone| format!("**.{zone}")).to_vec(),
            resumption: ResumptionSetting::Bound,
            handshake_timeout: Span::secs(HANDSHAKE_TIMEOUT),
            handshakes_per_address: NO_LIMIT,
            limits: LimitsConfig {
                lookups_total: NO_LIMIT,
                lookups_per_address: NO_LIMIT,
                lookups_per_entry: NO_LIMIT,
            },
            dns: DnsConfig {
                resolver: vec![world.addr().to_string()],
                trust_anchor: Some(file("trust-anchor", world.trust_anchor_text())),
                timeout: Span::secs(4 * LATE.as_secs()),
                cache_bytes: usize::try_from(names / 2 * ANSWER).unwrap().max(64 * 1024),
                ..DnsConfig::default()
            },
            ..Config::default()
        };
        let draft2022 = Config { profile: ProfileSetting::Draft2022, tls12: true, ..config.clone() };
        let files = [file("current.toml", &config.to_string()), file("2022.toml", &draft2022.to_string())];
        let server_process = Server::start(&files).await;
        let (_world, _directory) = (world, directory);
        Self { device, stranger, truck, server, server_process, names, _world, _directory }
    }

    /// Where to connect to.
    pub(crate) fn address(&self, speaks: Speaks) -> SocketAddr {
        let gateway = match speaks {
            Speaks::Current => 0,
            Speaks::Draft2022 | Speaks::Tls12 => 1,
        };
        self.server_process.addresses[gateway]
    }

    /// The gateways' process.
    pub(crate) const fn gateways(&self) -> &Server {
        &self.server_process
    }
}

impl Server {
    /// One gateway for each configuration file.
    pub(crate) async fn start(configurations: &[PathBuf]) -> Self {
        let (process, mut lines) = start_gateways(configurations);
        let mut addresses = Vec::new();
        for _ in configurations {
            addresses.push(lines.next_line().await.unwrap().expect("a gateway's address").parse().unwrap());
        }
        let waiting = Arc::new(Waiting::default());
        tokio::spawn(listen_to(lines, Arc::clone(&waiting)));
        let pid = process.id().unwrap();
        Self { addresses, pid, waiting, process: tokio::sync::Mutex::new(process) }
    }

    /// To be called before the client connects from `address`.
    pub(crate) fn expect_about(&self, address: SocketAddr) -> oneshot::Receiver<String> {
        let (tell, told) = oneshot::channel();
        self.waiting.lock().unwrap().insert(address, tell);
        told
    }

    /// Ends the gateways. True if they ended in order, with nothing left to cut off.
    pub(crate) async fn stop(&self) -> bool {
        let mut process = self.process.lock().await;
        drop(process.stdin.take());
        timeout(SOON, process.wait()).await.is_ok_and(|status| status.unwrap().success())
    }
}

/// The name of a client that has a record of its own.
pub(crate) fn sensor(number: u64) -> String {
    format!("sensor{number}._device.{ZONE}")
}

/// The extension with a name that ends before it says it does.
pub(crate) fn malformed_extension() -> Vec<u8> {
    dance_tls::misbehave::extension(ExtensionType::DEFAULT.get(), b"\x20a.example")
}

fn start_gateways(configurations: &[PathBuf]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .arg("--server")
        .args(configurations)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    (process, lines)
}

/// Passes on what the gateway says to who waits for it.
async fn listen_to(mut lines: Lines<BufReader<ChildStdout>>, waiting: Arc<Waiting>) {
    while let Ok(Some(line)) = lines.next_line().await {
        let (address, said) = line.split_once(' ').unwrap();
        match waiting.lock().unwrap().remove(&address.parse().unwrap()) {
            // Who no longer waits has complained about that.
            Some(tell) => drop(tell.send(said.to_owned())),
            None => println!("the gateway speaks of a client that nobody knows: {line}"),
        }
    }
}

/// A web application: tells everyone who they are, or sends a large response.
pub(crate) async fn start_origin() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // The gateway may close whenever it likes.
            tokio::spawn(async move { drop(converse(stream).await) });
        }
    });
    address
}

async fn converse(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read(&mut buffer).await? {
                0 => return Ok(()),
                read => request.extend(buffer.iter().take(read)),
            }
        }
        let text = String::from_utf8(std::mem::take(&mut request)).unwrap().to_ascii_lowercase();
        let body = if text.starts_with("get /large ") {
            "x".repeat(LARGE)
        } else {
            let name = text.lines().find_map(|line| line.strip_prefix("dane-clientid:"));
            name.unwrap_or("nobody").trim().to_owned()
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all([head, body].concat().as_bytes()).await?;
    }
}

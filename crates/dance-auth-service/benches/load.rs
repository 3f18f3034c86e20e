//! What an answer costs: `cargo bench -p dance-auth-service --bench load [-- NAME...]`, beside nginx, which answers the same requests with
//! `return 204` and looks at nothing.
//!
//! The service and nginx run in processes of their own, one after the other, over the same octets on the same connections; the DNS world
//! and the clients are here. Names: `quiet` and `logged`, where both write a line for each request into a file.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has nothing to report")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dance_auth_service::config::ForwardedBySetting;
use dance_auth_service::{AuthService, Config};
use dance_http::Dialect;
use dance_testkit::{CertSpec, SignedWorld, Zone};
use data_encoding::BASE64;

const NAME: &str = "sensor7._device.example.com";
/// Connections that make requests, and requests of each.
const BUSY: usize = 8;
const REQUESTS: usize = 25_000;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [mode, scenario, resolver, anchor] = arguments.as_slice()
        && mode == "--service"
    {
        return serve(scenario, resolver, anchor).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let device = CertSpec::client(NAME).self_signed().unwrap();
    let zone = Zone::new("example.com").tlsa(NAME, device.tlsa_311().unwrap(), 3600);
    let world = SignedWorld::builder().zone(zone).start().await.unwrap();
    let anchor = directory.path().join("anchor");
    std::fs::write(&anchor, world.trust_anchor_text()).unwrap();
    let request = format!(
        "GET /auth HTTP/1.1\r\nHost: auth.test\r\nClient-Cert: :{}:\r\nDane-Clientid-Asserted: {NAME}\r\nX-Real-IP: 192.0.2.7\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n",
        BASE64.encode(device.leaf_der())
    );
    for scenario in ["quiet", "logged"] {
        if !arguments.is_empty() && !arguments.iter().any(|argument| argument == scenario) {
            continue;
        }
        let resolver = world.addr().to_string();
        let service = Server::service(directory.path(), scenario, &resolver, anchor.to_str().unwrap());
        let ours = measure(service, &request, "200");
        let theirs = measure(Server::nginx(directory.path(), scenario), &request, "204");
        println!("{scenario}: auth-service {ours}; nginx {theirs}; {:.2} times nginx's CPU", ours.cpu / theirs.cpu);
    }
}

/// The service, until the other end of standard input is closed.
async fn serve(scenario: &str, resolver: &str, anchor: &str) {
    if scenario == "logged" {
        tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    }
    let mut config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        forwarded_by: Some(ForwardedBySetting::Dialect(Dialect::Rfc9440)),
        allow: vec!["*._device.example.com".to_owned()],
        ..Config::default()
    };
    config.dns.resolver = vec![resolver.to_owned()];
    config.dns.trust_anchor = Some(anchor.into());
    let service = AuthService::bind(&config, dance_auth_service::resolver(&config).unwrap()).unwrap();
    println!("{}", service.local());
    let stopped = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
    service.run(async { drop(stopped.await) }).await;
}

/// A process that answers, and where.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn service(directory: &Path, scenario: &str, resolver: &str, anchor: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--service", scenario, resolver, anchor])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(directory.join("auth-service.log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().parse().unwrap() }
    }

    /// One process without a master, so that its CPU is all there is.
    fn nginx(directory: &Path, scenario: &str) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let path = directory.display();
        let log = if scenario == "logged" { format!("{path}/access.log") } else { "off".to_owned() };
        let configuration = format!(
            "daemon off; master_process off; pid {path}/nginx.pid; error_log {path}/error.log;
            events {{}}
            http {{
                access_log {log}; keepalive_requests 1000000; large_client_header_buffers 4 128k;
                client_body_temp_path {path}; proxy_temp_path {path}; fastcgi_temp_path {path}; uwsgi_temp_path {path}; scgi_temp_path {path};
                server {{ listen {address}; location / {{ return 204; }} }}
            }}"
        );
        let file = directory.join("nginx.conf");
        std::fs::write(&file, configuration).unwrap();
        let child = Command::new("/usr/sbin/nginx").arg("-c").arg(file).spawn().expect("nginx (Debian: nginx)");
        while TcpStream::connect(address).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, address }
    }

    /// Processor time of the process, in ticks of 10 ms.
    fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_ascii_whitespace().collect();
        let ticks = |position: usize| fields.get(position).unwrap().parse::<u64>().unwrap();
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Measured {
    /// Requests in a second.
    rate: f64,
    /// Microseconds for each.
    cpu: f64,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} requests/s, {:.1} us CPU each", self.rate, self.cpu)
    }
}

fn measure(server: Server, request: &str, status: &'static str) -> Measured {
    let mut connections: Vec<_> = (0..BUSY).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    // Connections, answers and allocator are warm before anything is measured.
    for connection in &mut connections {
        connection.set_nodelay(true).unwrap();
        ask(connection, request, status, REQUESTS / 10);
    }
    let (start, cpu) = (Instant::now(), server.cpu());
    std::thread::scope(|scope| {
        for connection in &mut connections {
            scope.spawn(|| ask(connection, request, status, REQUESTS));
        }
    });
    let (took, cpu) = (start.elapsed(), server.cpu() - cpu);
    let done = (BUSY * REQUESTS) as f64;
    Measured { rate: done / took.as_secs_f64(), cpu: cpu.as_secs_f64() * 1e6 / done }
}

fn ask(connection: &mut TcpStream, request: &str, status: &str, times: usize) {
    let mut answer = [0; 4096];
    for _ in 0..times {
        connection.write_all(request.as_bytes()).unwrap();
        let mut length = 0;
        while !answer.get(..length).unwrap().ends_with(b"\r\n\r\n") {
            let read = connection.read(answer.get_mut(length..).unwrap()).unwrap();
            assert_ne!(read, 0, "the connection ended");
            length += read;
        }
        let found = answer.get(9..12).unwrap();
        assert_eq!(found, status.as_bytes(), "{}", String::from_utf8_lossy(answer.get(..length).unwrap()));
    }
}

//! What a gateway costs: `cargo bench -p dance-gateway --bench load [-- NAME...]`.
//!
//! The gateway and the DNS world run in this process, clients and origin in another, so that processor time and memory of this one
//! are the gateway's. Names: `crowd`, `idle-http1`, `idle-http2`, `requests-http1`, `requests-http2`, `download`, `upload`.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has nothing to report")]

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use dance_core::clientid::ClientForm;
use dance_core::name::ClientName;
use dance_gateway::config::Span;
use dance_gateway::config::{DnsConfig, LimitsConfig, LogNames};
use dance_gateway::{Config, Gateway};
use dance_resolver::{Resolver, ResolverConfig, Servers, TrustAnchorSource};
use dance_testkit::{CertSpec, Fault, Rtype, SignedWorld, Zone};
use dance_tls::{
    CertifiedKey, ClientConfig, ClientCredential, ClientStream, Connector, ServerVerification, TrustAnchors,
};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;

/// Clients of `crowd` and connections of `idle-*`.
const CLIENTS: usize = 2_000;
/// Connections that make requests, and requests of each.
const BUSY: usize = 8;
const REQUESTS: usize = 10_000;
/// Octets of a large body.
const LARGE: usize = 400_000_000;
/// How long each look-up of `crowd` takes.
const SLOW: Duration = Duration::from_secs(1);

fn name(number: usize) -> String {
    format!("sensor{number}._device.example.com")
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [mode, directory] = arguments.as_slice()
        && mode == "--clients"
    {
        return clients::run(directory.as_ref()).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let server = CertSpec::localhost_server().self_signed().unwrap();
    // One key for all clients: signing is not what is measured.
    let device = CertSpec::client("any.example.com").self_signed().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("server.pem", &server.chain_pem());
    write("server.key", server.key_pem());
    write("client.pem", &device.chain_pem());
    write("client.key", device.key_pem());

    let record = device.tlsa_311().unwrap().to_string();
    let mut zone = Zone::new("example.com");
    for number in 0..CLIENTS {
        zone = zone.tlsa(&name(number), &record, 3600);
    }
    let world = SignedWorld::builder().zone(zone).start().await.unwrap();

    let wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == name);
    let all = ["crowd", "idle-http1", "idle-http2", "requests-http1", "requests-http2", "download", "upload"];
    for scenario in all.into_iter().filter(|name| wanted(name)) {
        measure(scenario, directory.path(), &world).await;
    }
}

/// One scenario with a gateway and a client process of its own.
async fn measure(scenario: &str, directory: &std::path::Path, world: &SignedWorld) {
    let mut peer = Peer::start(directory);
    let many = CLIENTS * 3;
    let config = Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        certificate: Some(directory.join("server.pem")),
        key: Some(directory.join("server.key")),
        origin: Some(peer.line().await.parse().unwrap()),
        allow: vec!["*._device.example.com".to_owned()],
        log_names: LogNames::Full,
        max_connections: many,
        handshakes_per_address: many,
        handshake_timeout: Span::secs(60),
        idle_timeout: Span::secs(600),
        limits: LimitsConfig { lookups_total: many, lookups_per_address: many, lookups_per_entry: many },
        dns: DnsConfig { timeout: Span::secs(30), ..DnsConfig::default() },
        ..Config::default()
    };
    let resolver = Resolver::new(ResolverConfig {
        servers: Servers::List(vec![world.addr().into()]),
        trust_anchor: TrustAnchorSource::Text(world.trust_anchor_text().to_owned()),
        timeout: Duration::from_secs(30),
        max_concurrent: many,
        ..ResolverConfig::default()
    })
    .unwrap();
    if scenario == "crowd" {
        for number in 0..CLIENTS {
            world.add_fault_on_type(&name(number), Rtype::TLSA, Fault::DelayedBy(SLOW)).unwrap();
        }
    }
    let gateway = Gateway::bind(&config, resolver).unwrap().observed_by(|event| {
        if event.client().is_none() {
            eprintln!("not served: {event:?}");
        }
    });
    let address = gateway.local_addr();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(gateway.run(async { drop(stopped.await) }));

    // Connections, resolver and allocator are warm before anything is measured.
    peer.tell(&format!("{address}")).await;
    peer.tell(&format!("{scenario} warm")).await;
    peer.line().await;
    let (start, cpu, memory) = (Instant::now(), cpu(), memory());
    peer.tell(&format!("{scenario} measure")).await;
    let done: usize = peer.line().await.parse().unwrap();
    let (took, cpu) = (start.elapsed(), self::cpu() - cpu);
    let grown = self::memory().saturating_sub(memory);
    report(scenario, done, took, cpu, grown);
    world.clear_faults();
    drop(peer);
    drop(stop);
    running.await.unwrap();
}

fn report(scenario: &str, done: usize, took: Duration, cpu: Duration, grown: usize) {
    let each = cpu.as_secs_f64() * 1e6 / done as f64;
    match scenario {
        "crowd" => println!(
            "{scenario}: {done} of {CLIENTS} clients served in {took:.2?}; gateway, resolver and DNS world: {cpu:.2?} CPU, {} KiB more memory at the end, {} MiB at most",
            grown / 1024,
            peak() / 1024 / 1024
        ),
        "idle-http1" | "idle-http2" => println!(
            "{scenario}: {done} authenticated connections, each idle after one request: {:.1} KiB each; {each:.0} us CPU each",
            grown as f64 / 1024.0 / done as f64
        ),
        "download" | "upload" => println!(
            "{scenario}: {:.0} MB/s, {:.2} us CPU per 16 KiB",
            done as f64 / took.as_secs_f64() / 1e6,
            cpu.as_secs_f64() * 1e6 / (done as f64 / 16384.0)
        ),
        _ => println!("{scenario}: {:.0} requests/s, {each:.1} us CPU each", done as f64 / took.as_secs_f64()),
    }
}

/// The process with clients and origin. They are told what to do line by line.
struct Peer {
    _child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Peer {
    fn start(directory: &std::path::Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("--clients")
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { _child: child, to, from: BufReader::new(from) }
    }

    async fn tell(&mut self, line: &str) {
        self.to.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }
}

fn proc(file: &str) -> String {
    std::fs::read_to_string(format!("/proc/self/{file}")).unwrap()
}

/// Processor time of this process, in ticks of 10 ms.
fn cpu() -> Duration {
    let stat = proc("stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_ascii_whitespace().collect();
    let ticks = |position: usize| fields.get(position).unwrap().parse::<u64>().unwrap();
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

fn status(field: &str) -> usize {
    let status = proc("status");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
}

/// Resident memory of this process, in octets.
fn memory() -> usize {
    status("VmRSS:")
}

/// The most there was.
fn peak() -> usize {
    status("VmHWM:")
}

mod clients {
    use super::*;

    pub(super) async fn run(directory: &std::path::Path) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(origin(stream));
            }
        });
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        let gateway: SocketAddr = lines.next_line().await.unwrap().unwrap().parse().unwrap();
        let bench = Bench { gateway, directory: directory.to_owned() };
        let mut open = Vec::new();
        while let Ok(Some(line)) = lines.next_line().await {
            let (scenario, phase) = line.split_once(' ').unwrap();
            println!("{}", bench.act(scenario, phase == "warm", &mut open).await);
        }
    }

    struct Bench {
        gateway: SocketAddr,
        directory: std::path::PathBuf,
    }

    impl Bench {
        fn connector(&self, number: usize, alpn: &str) -> Connector {
            let key =
                CertifiedKey::load(&self.directory.join("client.pem"), &self.directory.join("client.key")).unwrap();
            let anchors = TrustAnchors::load(&self.directory.join("server.pem")).unwrap();
            Connector::new(&ClientConfig {
                client_id: Some(ClientForm::Name(ClientName::parse_config(&name(number)).unwrap())),
                credential: Some(ClientCredential::X509(key)),
                alpn: vec![alpn.as_bytes().to_vec()],
                ..ClientConfig::new(ServerVerification::Roots(anchors))
            })
            .unwrap()
        }

        async fn connect(&self, number: usize, alpn: &str) -> ClientStream<TcpStream> {
            let connector = self.connector(number, alpn);
            let stream = TcpStream::connect(self.gateway).await.unwrap();
            stream.set_nodelay(true).unwrap();
            connector.connect("localhost", stream).await.unwrap()
        }

        /// Does a scenario's part; gives back how much was done.
        async fn act(&self, scenario: &str, warm: bool, open: &mut Vec<Connection>) -> usize {
            match (scenario, warm) {
                ("crowd", true) => usize::from(get(&mut self.connect(0, "http/1.1").await).await.is_ok()),
                ("crowd", false) => self.crowd().await,
                // The first lot finds out how much memory stays with the allocator, the second lot uses that first.
                ("idle-http1" | "idle-http2", _) => {
                    let alpn = if scenario == "idle-http1" { "http/1.1" } else { "h2" };
                    // One name, so that what the resolver remembers is not counted.
                    for _ in 0..CLIENTS {
                        open.push(self.idle(0, alpn).await);
                    }
                    // Long enough for whatever the gateway does with idle connections.
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    CLIENTS
                }
                ("requests-http1", true) => self.requests_http1(REQUESTS / 20).await,
                ("requests-http1", false) => self.requests_http1(REQUESTS).await,
                ("requests-http2", true) => self.requests_http2(REQUESTS / 20).await,
                ("requests-http2", false) => self.requests_http2(REQUESTS).await,
                ("download", true) => self.download(LARGE / 20).await,
                ("download", false) => self.download(LARGE).await,
                ("upload", true) => self.upload(LARGE / 20).await,
                _ => self.upload(LARGE).await,
            }
        }

        async fn crowd(&self) -> usize {
            // The connections first, so that all handshakes come at once.
            let mut streams = Vec::new();
            for number in 0..CLIENTS {
                streams.push((self.connector(number, "http/1.1"), TcpStream::connect(self.gateway).await.unwrap()));
            }
            let mut tasks = JoinSet::new();
            for (connector, stream) in streams {
                tasks.spawn(async move {
                    let mut tls = connector.connect("localhost", stream).await.ok()?;
                    get(&mut tls).await.ok()
                });
            }
            tasks.join_all().await.into_iter().flatten().count()
        }

        async fn idle(&self, number: usize, alpn: &str) -> Connection {
            let mut tls = self.connect(number, alpn).await;
            if alpn == "h2" {
                let (mut sender, connection) = handshake(tls).await;
                tokio::spawn(async move { drop(connection.await) });
                two(&mut sender).await;
                return Connection::Two(sender);
            }
            get(&mut tls).await.unwrap();
            Connection::One(tls)
        }

        async fn requests_http1(&self, requests: usize) -> usize {
            let mut tasks = JoinSet::new();
            for number in 0..BUSY {
                let mut tls = self.connect(number, "http/1.1").await;
                tasks.spawn(async move {
                    for _ in 0..requests {
                        get(&mut tls).await.unwrap();
                    }
                });
            }
            tasks.join_all().await;
            BUSY * requests
        }

        async fn requests_http2(&self, requests: usize) -> usize {
            let mut tasks = JoinSet::new();
            for number in 0..BUSY {
                let (mut sender, connection) = handshake(self.connect(number, "h2").await).await;
                tokio::spawn(async move { drop(connection.await) });
                tasks.spawn(async move {
                    for _ in 0..requests {
                        two(&mut sender).await;
                    }
                });
            }
            tasks.join_all().await;
            BUSY * requests
        }

        async fn download(&self, octets: usize) -> usize {
            let mut tls = self.connect(0, "http/1.1").await;
            let request = format!("GET /{octets} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            tls.write_all(request.as_bytes()).await.unwrap();
            let mut buffer = vec![0; 256 * 1024];
            let mut read = 0;
            while read < octets {
                read += tls.read(&mut buffer).await.unwrap();
            }
            octets
        }

        async fn upload(&self, octets: usize) -> usize {
            let mut tls = self.connect(0, "http/1.1").await;
            let head = format!("POST /up HTTP/1.1\r\nHost: localhost\r\nContent-Length: {octets}\r\n\r\n");
            tls.write_all(head.as_bytes()).await.unwrap();
            let buffer = vec![7; 256 * 1024];
            let mut left = octets;
            while left > 0 {
                let piece = left.min(buffer.len());
                tls.write_all(buffer.get(..piece).unwrap()).await.unwrap();
                left -= piece;
            }
            // Any answer will do.
            let _ = tls.read(&mut [0; 1024]).await.unwrap();
            octets
        }
    }

    enum Connection {
        #[expect(dead_code, reason = "held open")]
        One(ClientStream<TcpStream>),
        #[expect(dead_code, reason = "held open")]
        Two(Sender),
    }

    type Sender = hyper::client::conn::http2::SendRequest<Nothing>;

    struct Nothing;

    impl http_body::Body for Nothing {
        type Data = &'static [u8];
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
            std::task::Poll::Ready(None)
        }

        fn is_end_stream(&self) -> bool {
            true
        }
    }

    async fn handshake(tls: ClientStream<TcpStream>) -> (Sender, impl Future<Output = hyper::Result<()>> + Send) {
        let executor = hyper_util::rt::TokioExecutor::new();
        hyper::client::conn::http2::handshake(executor, hyper_util::rt::TokioIo::new(tls)).await.unwrap()
    }

    async fn two(sender: &mut Sender) {
        use http_body::Body as _;
        let request = http::Request::get("https://localhost/").body(Nothing).unwrap();
        let mut body = sender.send_request(request).await.unwrap().into_body();
        while std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await.is_some() {}
    }

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nhello there\n";

    async fn get(tls: &mut ClientStream<TcpStream>) -> std::io::Result<()> {
        let fields = "User-Agent: bench\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nCookie: session=0123456789abcdef";
        tls.write_all(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n").as_bytes()).await?;
        let mut buffer = [0; 1024];
        let mut read = 0;
        loop {
            let more = tls.read(buffer.get_mut(read..).unwrap_or_default()).await?;
            if more == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            read += more;
            if buffer.get(..read).is_some_and(|answer| answer.ends_with(b"hello there\n")) {
                return Ok(());
            }
        }
    }

    /// As little of a web application as can be.
    async fn origin(mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut buffer = vec![0; 256 * 1024];
        let large = vec![7; 256 * 1024];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            let text = buffer.get(..read).unwrap();
            let head = text.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4).unwrap();
            let line = std::str::from_utf8(text.get(..head).unwrap()).unwrap();
            let number = |after: &str| line.split(after).nth(1)?.split_ascii_whitespace().next()?.parse::<usize>().ok();
            if let Some(mut left) = number("ontent-Length: ").map(|length| length - (read - head)) {
                while left > 0 {
                    left -= stream.read(&mut buffer).await.unwrap();
                }
            } else if let Some(mut left) = number("GET /") {
                stream
                    .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n").as_bytes())
                    .await
                    .unwrap();
                while left > 0 {
                    let piece = left.min(large.len());
                    stream.write_all(large.get(..piece).unwrap()).await.unwrap();
                    left -= piece;
                }
                continue;
            }
            if stream.write_all(OK).await.is_err() {
                return;
            }
        }
    }
}

//! Those who look up.

use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dance_core::name::{ClientName, OwnerName};
use dance_resolver::{Resolver, ResolverConfig, Servers, TlsaSource, TrustAnchorSource};
use domain::base::iana::Rtype;
use domain::base::{Message, MessageBuilder, Name};
use domain::dnssec::validator::anchor::TrustAnchors;
use domain::dnssec::validator::context::{ValidationContext, ValidationState};
use domain::net::client::dgram_stream;
use domain::net::client::protocol::{TcpConnect, UdpConnect};
use domain::net::client::request::{ComposeRequest as _, RequestMessage, SendRequest as _};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::dnssec::{Proof, TrustAnchors as HickoryAnchors};
use hickory_resolver::proto::rr::RecordType;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::server::Server;

/// Of one look-up or of several. Microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Costs {
    pub clock: f64,
    /// Of all threads of the contender.
    pub processor: f64,
    pub questions: f64,
}

/// One who looks up TLSA records and says whether they are Secure.
pub trait Contender {
    /// Forgets everything.
    fn renew(&mut self, server: &Server);
    /// Looks up these names so many times each, if `anew` by a new resolver each time. All must be Secure, unless the contender
    /// does not know the algorithm.
    fn look_up(&mut self, server: &Server, names: &[(String, usize)], anew: bool) -> Costs;
    /// Whether it remembers answers.
    fn remembers(&self) -> bool {
        true
    }
}

/// Times all of them.
fn timed(names: &[(String, usize)], mut look_up: impl FnMut(&str)) -> Costs {
    let (clock, before) = (Instant::now(), processor("self"));
    for (name, times) in names {
        for _ in 0..*times {
            look_up(name);
        }
    }
    let clock = clock.elapsed().as_nanos() as f64 / 1e3;
    Costs { clock, processor: processor("self") - before, questions: 0.0 }
}

/// What all threads of a process have had of the processor, in microseconds.
fn processor(process: &str) -> f64 {
    let threads = std::fs::read_dir(Path::new("/proc").join(process).join("task")).unwrap();
    let times = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok());
    times.map(|line| line.split(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>() / 1e3
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

pub struct Ours {
    runtime: Runtime,
    resolver: Option<Resolver>,
}

impl Ours {
    pub fn new() -> Self {
        Self { runtime: runtime(), resolver: None }
    }

    fn resolver(server: &Server) -> Resolver {
        let config = ResolverConfig {
            servers: Servers::List(vec![server.address.into()]),
            trust_anchor: TrustAnchorSource::Text(server.anchor.clone()),
            ..ResolverConfig::default()
        };
        Resolver::new(config).unwrap()
    }
}

impl Contender for Ours {
    fn renew(&mut self, server: &Server) {
        self.resolver = Some(Self::resolver(server));
    }

    fn look_up(&mut self, server: &Server, names: &[(String, usize)], anew: bool) -> Costs {
        let owners: std::collections::HashMap<&str, OwnerName> = names
            .iter()
            .map(|(name, _)| (&**name, OwnerName::verbatim(&ClientName::parse_config(name).unwrap())))
            .collect();
        timed(names, |name| {
            let made;
            let resolver = match &self.resolver {
                Some(resolver) if !anew => resolver,
                _ => {
                    made = Self::resolver(server);
                    &made
                }
            };
            let found = match resolver.cached(&owners[name]) {
                Some(found) => found,
                None => self.runtime.block_on(resolver.lookup(&owners[name])),
            };
            assert!(found.answer.secure().is_ok(), "{found:?}");
        })
    }
}

pub struct Hickory {
    runtime: Runtime,
    resolver: Option<hickory_resolver::Resolver<TokioRuntimeProvider>>,
}

impl Hickory {
    pub fn new() -> Self {
        Self { runtime: runtime(), resolver: None }
    }

    fn resolver(server: &Server) -> hickory_resolver::Resolver<TokioRuntimeProvider> {
        let file = std::env::temp_dir().join(format!("dance-compare-{}", std::process::id()));
        std::fs::write(&file, format!("{}\n", server.anchor)).unwrap();
        let anchors = HickoryAnchors::from_file(&file).unwrap();
        std::fs::remove_file(file).unwrap();
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = server.address.port();
            connection
        });
        let servers = vec![NameServerConfig::new(server.address.ip(), true, connections.into())];
        let config = hickory_resolver::config::ResolverConfig::from_parts(None, Vec::new(), servers);
        let mut options = ResolverOpts::default();
        options.validate = true;
        options.edns0 = true;
        options.cache_size = 1024;
        hickory_resolver::Resolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .with_trust_anchor(Arc::new(anchors))
            .build()
            .unwrap()
    }
}

impl Contender for Hickory {
    fn renew(&mut self, server: &Server) {
        self.resolver = Some(self.runtime.block_on(async { Self::resolver(server) }));
    }

    fn look_up(&mut self, server: &Server, names: &[(String, usize)], anew: bool) -> Costs {
        timed(names, |name| {
            let found = self.runtime.block_on(async {
                let made;
                let resolver = match &self.resolver {
                    Some(resolver) if !anew => resolver,
                    _ => {
                        made = Self::resolver(server);
                        &made
                    }
                };
                resolver.lookup(name, RecordType::TLSA).await
            });
            let found = found.unwrap();
            assert!(found.answers().iter().all(|record| record.proof == Proof::Secure), "{found:?}");
        })
    }
}

type Connection = dgram_stream::Connection<UdpConnect, RequestMessage<Vec<u8>>>;

pub struct Domain {
    runtime: Runtime,
    context: Option<(Connection, ValidationContext<Connection>)>,
}

impl Domain {
    pub fn new() -> Self {
        Self { runtime: runtime(), context: None }
    }

    fn context(server: &Server) -> (Connection, ValidationContext<Connection>) {
        let (connection, transport) =
            dgram_stream::Connection::new(UdpConnect::new(server.address), TcpConnect::new(server.address));
        tokio::spawn(async move { transport.run().await });
        let anchors = TrustAnchors::from_u8(format!("{}\n", server.anchor).as_bytes()).unwrap();
        (connection.clone(), ValidationContext::new(anchors, connection))
    }
}

impl Contender for Domain {
    fn renew(&mut self, server: &Server) {
        self.context = Some(self.runtime.block_on(async { Self::context(server) }));
    }

    fn look_up(&mut self, server: &Server, names: &[(String, usize)], anew: bool) -> Costs {
        timed(names, |name| {
            self.runtime.block_on(async {
                let made;
                let (connection, context) = match &self.context {
                    Some(context) if !anew => context,
                    _ => {
                        made = Self::context(server);
                        &made
                    }
                };
                let name: Name<Vec<u8>> = name.parse().unwrap();
                let mut message = MessageBuilder::new_vec().question();
                message.header_mut().set_rd(true);
                message.header_mut().set_cd(true);
                message.push((name, Rtype::TLSA)).unwrap();
                let mut request = RequestMessage::new(message.into_message()).unwrap();
                request.set_dnssec_ok(true);
                request.set_udp_payload_size(1232);
                let reply = connection.send_request(request).get_response().await.unwrap();
                let mut reply: Message<bytes::Bytes> = reply;
                let (state, _) = context.validate_msg::<_, Vec<u8>>(&mut reply).await.unwrap();
                // Algorithms 14 and 15 are unknown to it.
                assert!(matches!(state, ValidationState::Secure | ValidationState::Insecure), "{state:?}");
            });
        })
    }

    fn remembers(&self) -> bool {
        false
    }
}

/// libunbound, in a process of its own that times itself. Each of its look-ups that waits for its result makes a worker and ends it.
pub struct Unbound {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Unbound {
    pub fn new() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("libunbound.py");
        let mut command = Command::new("python3");
        let mut child = command.arg("-B").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    fn tell(&mut self, order: &Value) -> Value {
        writeln!(self.input, "{order}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Contender for Unbound {
    fn renew(&mut self, _: &Server) {
        self.tell(&json!({ "forget": true }));
    }

    fn look_up(&mut self, server: &Server, names: &[(String, usize)], anew: bool) -> Costs {
        let address = format!("{}@{}", server.address.ip(), server.address.port());
        let took = self.tell(&json!({ "server": address, "anchor": server.anchor, "names": names, "anew": anew }));
        Costs { clock: took["clock"].as_f64().unwrap(), processor: took["processor"].as_f64().unwrap(), questions: 0.0 }
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The daemon, asked over loopback as a stub resolver would.
pub struct Daemon {
    running: Option<(Child, UdpSocket)>,
}

impl Daemon {
    pub fn new() -> Self {
        Self { running: None }
    }

    fn ask(socket: &UdpSocket, name: &str) -> Option<()> {
        let mut message = MessageBuilder::new_vec();
        message.header_mut().set_rd(true);
        message.header_mut().set_ad(true);
        let mut message = message.question();
        message.push((name.parse::<Name<Vec<u8>>>().unwrap(), Rtype::TLSA)).unwrap();
        socket.send(&message.finish()).ok()?;
        let mut answer = [0; 4096];
        let length = socket.recv(&mut answer).ok()?;
        let header = Message::from_octets(&answer[..length]).unwrap().header();
        assert!(header.ad(), "{header:?}");
        Some(())
    }

    fn start(server: &Server) -> (Child, UdpSocket) {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let configuration = format!(
            "server:\n interface: 127.0.0.1\n port: {port}\n username: \"\"\n chroot: \"\"\n pidfile: \"\"\n directory: \"/\"\n \
             use-syslog: no\n do-not-query-localhost: no\n trust-anchor-signaling: no\n module-config: \"validator iterator\"\n \
             trust-anchor: \"{}\"\nremote-control:\n control-enable: no\nforward-zone:\n name: \".\"\n forward-addr: {}@{}\n",
            server.anchor,
            server.address.ip(),
            server.address.port()
        );
        let file = std::env::temp_dir().join(format!("dance-compare-{port}.conf"));
        std::fs::write(&file, configuration).unwrap();
        let child = Command::new("unbound").arg("-d").arg("-c").arg(&file).stderr(Stdio::null()).spawn().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        // A message that is no question is answered at once, or refused until somebody listens.
        let ready = || socket.send(&[0; 12]).and_then(|_| socket.recv(&mut [0; 512])).is_ok();
        while !ready() {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::fs::remove_file(file).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        (child, socket)
    }

    fn stop(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Contender for Daemon {
    fn renew(&mut self, server: &Server) {
        self.stop();
        self.running = Some(Self::start(server));
    }

    fn look_up(&mut self, server: &Server, names: &[(String, usize)], anew: bool) -> Costs {
        let mut all = Costs::default();
        for (name, times) in names {
            for _ in 0..*times {
                if anew || self.running.is_none() {
                    self.renew(server);
                }
                let (child, socket) = self.running.as_ref().unwrap();
                let (clock, before) = (Instant::now(), processor(&child.id().to_string()));
                Self::ask(socket, name).unwrap();
                all.clock += clock.elapsed().as_nanos() as f64 / 1e3;
                all.processor += processor(&child.id().to_string()) - before;
            }
        }
        all
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}

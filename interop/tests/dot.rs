//! The resolver's transports against resolvers that others wrote: DNS over TLS and DNS cookies.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dance_core::answer::{LookupFailure, TlsaAnswer};
use dance_core::name::{ClientName, OwnerName};
use dance_interop::dns::World;
use dance_interop::process::{Daemon, PATIENCE, program, run_ok};
use dance_resolver::{
    Detail, DnsMode, ExchangeOutcome, Lookup, OptRcode, Protocol, Resolver, ResolverConfig, Server, Servers,
    TlsFailure, TlsTrust, TlsaSource as _, Transport, TrustAnchorSource,
};
use dance_testkit::{Authority, CertSpec, Identity};
use tempfile::TempDir;

const NAME: &str = "sensor7._device.example.com";

/// A resolver that asks the world's for everything, over TLS and in clear text.
struct Peer {
    plain: SocketAddr,
    tls: SocketAddr,
    _daemon: Daemon,
}

/// Certificate, key and the authority's certificate.
struct Files {
    directory: TempDir,
    identity: Identity,
}

impl Files {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let authority = Authority::root("Resolvers").unwrap();
        let identity = CertSpec::localhost_server().issued_by(&authority).unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("ca.pem", authority.pem());
        write("chain.pem", &identity.chain_pem());
        write("key.pem", identity.key_pem());
        Self { directory, identity }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// As `openssl dgst -sha256` of the public key says.
    fn pin(&self) -> [u8; 32] {
        let key = self.path("spki.der");
        fs::write(&key, self.identity.spki_der()).unwrap();
        let mut openssl = program("openssl");
        openssl.args(["dgst", "-sha256", "-r"]).arg(key);
        let printed = run_ok(&openssl);
        data_encoding::HEXLOWER.decode(printed.split(' ').next().unwrap().as_bytes()).unwrap().try_into().unwrap()
    }
}

/// Two ports that are free for UDP and TCP.
fn free_ports() -> [u16; 2] {
    let held = [(), ()].map(|()| {
        loop {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = tcp.local_addr().unwrap();
            if let Ok(udp) = UdpSocket::bind(address) {
                return (address.port(), tcp, udp);
            }
        }
    });
    held.map(|(port, ..)| port)
}

impl Peer {
    /// Once more where another program took a port in between.
    fn start(mut daemon: impl FnMut(u16, u16) -> Daemon) -> Self {
        for _ in 0..5 {
            let [plain, tls] = free_ports();
            let daemon = daemon(plain, tls);
            let [plain, tls] = [plain, tls].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
            let end = Instant::now() + PATIENCE;
            while !daemon.ended() {
                if [plain, tls].iter().all(|address| TcpStream::connect(address).is_ok()) {
                    return Self { plain, tls, _daemon: daemon };
                }
                assert!(Instant::now() < end, "a resolver does not listen:\n{}", daemon.lines().join("\n"));
                std::thread::sleep(Duration::from_millis(10));
            }
            eprintln!("a resolver ended:\n{}", daemon.lines().join("\n"));
        }
        panic!("a resolver does not start");
    }

    fn unbound(world: &World, files: &Files, more: &str, zones: &str) -> Self {
        Self::start(|plain, tls| {
            let configuration = format!(
                "server:
  interface: 127.0.0.1@{plain}
  interface: 127.0.0.1@{tls}
  tls-port: {tls}
  tls-service-pem: \"{0}/chain.pem\"
  tls-service-key: \"{0}/key.pem\"
  username: \"\"
  chroot: \"\"
  directory: \"{0}\"
  pidfile: \"\"
  use-syslog: no
  logfile: \"\"
  do-not-query-localhost: no
  trust-anchor-signaling: no
  module-config: \"validator iterator\"
  trust-anchor-file: \"{1}\"
{more}
remote-control:
  control-enable: no
forward-zone:
  name: \".\"
  forward-addr: 127.0.0.1@{2}
{zones}
",
                files.directory.path().display(),
                world.trust_anchor.display(),
                world.iterating.port(),
            );
            let file = files.path(&format!("unbound-{plain}.conf"));
            fs::write(&file, configuration).unwrap();
            Daemon::start(program("unbound").args(["-d", "-c"]).arg(file))
        })
    }

    fn named(world: &World, files: &Files, more: &str, zones: &str) -> Self {
        Self::start(|plain, tls| {
            let configuration = format!(
                "tls ours {{ cert-file \"{0}/chain.pem\"; key-file \"{0}/key.pem\"; }};
options {{ directory \"{0}\"; listen-on port {plain} {{ 127.0.0.1; }}; listen-on port {tls} tls ours {{ 127.0.0.1; }};
  listen-on-v6 {{ none; }}; recursion yes; forward only; forwarders port {1} {{ 127.0.0.1; }}; dnssec-validation no;
  pid-file none; session-keyfile none; lock-file none; {more} }};\ncontrols {{ }};\n{zones}\n",
                files.directory.path().display(),
                world.iterating.port(),
            );
            let file = files.path(&format!("named-{plain}.conf"));
            fs::write(&file, configuration).unwrap();
            Daemon::start(program("named").args(["-g", "-n", "1", "-c"]).arg(file))
        })
    }

    fn kresd(world: &World, files: &Files) -> Self {
        Self::start(|plain, tls| {
            let directory = files.path(&format!("kresd-{plain}"));
            fs::create_dir(&directory).unwrap();
            let configuration = format!(
                "net.listen('127.0.0.1', {plain}, {{ kind = 'dns' }})
net.listen('127.0.0.1', {tls}, {{ kind = 'tls' }})
net.tls('{0}/chain.pem', '{0}/key.pem')
trust_anchors.add_file('{1}', true)
modules.unload('ta_signal_query')
modules.unload('priming')
modules.unload('ta_update')
cache.size = 10 * MB
policy.add(policy.all(policy.FORWARD('127.0.0.1@{2}')))
",
                files.directory.path().display(),
                world.trust_anchor.display(),
                world.iterating.port(),
            );
            let file = directory.join("kresd.conf");
            fs::write(&file, configuration).unwrap();
            Daemon::start(program("kresd").args(["-n", "-c"]).arg(file).arg(&directory))
        })
    }

    fn server(&self, trust: TlsTrust) -> Server {
        Server { address: self.tls, transport: Transport::Tls(trust) }
    }
}

fn resolver(world: &World, files: &Files, server: Server, mode: DnsMode) -> Resolver {
    Resolver::new(ResolverConfig {
        servers: Servers::List(vec![server]),
        resolver_ca: Some(files.path("ca.pem")),
        trust_anchor: TrustAnchorSource::File(world.trust_anchor.clone()),
        mode,
        // For what takes long on a machine that has much else to do.
        timeout: Duration::from_secs(10),
        ..ResolverConfig::default()
    })
    .unwrap()
}

async fn ask(resolver: &Resolver, name: &str) -> Lookup {
    resolver.lookup(&OwnerName::verbatim(&ClientName::parse(name.as_bytes()).unwrap())).await
}

fn is_secure(lookup: &Lookup) -> bool {
    matches!(lookup.answer, TlsaAnswer::Secure(_))
}

fn untrusted(lookup: &Lookup) -> TlsFailure {
    assert!(matches!(lookup.answer, TlsaAnswer::Indeterminate(LookupFailure::Unreachable)), "{lookup:?}");
    match lookup.trace.detail {
        Some(Detail::ResolverUntrusted { failure, .. }) => failure,
        ref other => panic!("expected a TLS failure, found {other:?}"),
    }
}

// SEC-04, DNS-01, DNS-02
#[tokio::test]
async fn a_resolver_over_tls_is_who_it_should_be() {
    let (world, files) = (World::shared(), Files::new());
    let right = TlsTrust::Name("localhost".to_owned());
    for (peer, validates) in [
        (Peer::unbound(&world, &files, "", ""), true),
        (Peer::named(&world, &files, "", ""), false),
        (Peer::kresd(&world, &files), true),
    ] {
        let resolver = |trust, mode| resolver(&world, &files, peer.server(trust), mode);
        for trust in [right.clone(), TlsTrust::Pins(vec![files.pin()]), TlsTrust::Unauthenticated] {
            let lookup = ask(&resolver(trust, DnsMode::Validate), NAME).await;
            assert!(is_secure(&lookup), "{lookup:?}");
        }
        let mode = if validates { DnsMode::AdBit } else { DnsMode::Validate };
        let believing = resolver(right.clone(), mode);
        let lookup = ask(&believing, NAME).await;
        assert!(is_secure(&lookup), "{lookup:?}");
        for zone in ["broken.example", "expired.example"] {
            let lookup = ask(&believing, &format!("sensor7._device.{zone}")).await;
            assert!(matches!(lookup.answer, TlsaAnswer::Bogus), "{lookup:?}");
        }
        for mode in [DnsMode::Validate, DnsMode::AdBit] {
            let wrong = resolver(TlsTrust::Name("dns.example".to_owned()), mode);
            assert_eq!(untrusted(&ask(&wrong, NAME).await), TlsFailure::Name);
            let wrong = resolver(TlsTrust::Pins(vec![[0; 32]]), mode);
            assert_eq!(untrusted(&ask(&wrong, NAME).await), TlsFailure::Pin);
        }
        // DNS in clear text is spoken on the other port.
        let clear = Server { address: peer.plain, ..peer.server(right.clone()) };
        let lookup = ask(&self::resolver(&world, &files, clear, DnsMode::Validate), NAME).await;
        assert!(matches!(lookup.answer, TlsaAnswer::Indeterminate(_)), "{lookup:?}");
    }
}

// SEC-04
#[tokio::test]
async fn many_questions_at_once_over_tls() {
    let (world, files) = (World::shared(), Files::new());
    for peer in [
        Peer::unbound(&world, &files, "", ""),
        // No more than a few at a time on a connection.
        Peer::unbound(&world, &files, "  incoming-num-tcp: 16", ""),
        Peer::named(&world, &files, "", ""),
        Peer::kresd(&world, &files),
    ] {
        let server = peer.server(TlsTrust::Name("localhost".to_owned()));
        let resolver = Arc::new(resolver(&world, &files, server, DnsMode::Validate));
        let asks: Vec<_> = (0..200)
            .map(|number| {
                let resolver = Arc::clone(&resolver);
                tokio::spawn(async move { ask(&resolver, &format!("dot{number}._device.example.net")).await })
            })
            .collect();
        for asked in asks {
            let lookup = asked.await.unwrap();
            assert!(is_secure(&lookup), "{lookup:?}");
        }
    }
}

// SEC-02: Unbound and BIND stop reading a connection while so many of its questions are under way.
#[tokio::test]
async fn names_that_are_never_answered_hold_nobody_up() {
    let (world, files) = (World::shared(), Files::new());
    let port = world.silent.port();
    let unbound = format!("forward-zone:\n  name: \"slow.example\"\n  forward-addr: 127.0.0.1@{port}");
    let named =
        format!("zone \"slow.example\" {{ type forward; forward only; forwarders port {port} {{ 127.0.0.1; }}; }};");
    for peer in [Peer::unbound(&world, &files, "", &unbound), Peer::named(&world, &files, "", &named)] {
        let server = peer.server(TlsTrust::Name("localhost".to_owned()));
        let resolver = Arc::new(resolver(&world, &files, server, DnsMode::AdBit));
        for number in 0..60 {
            let resolver = Arc::clone(&resolver);
            tokio::spawn(async move { ask(&resolver, &format!("dev{number}.slow.example")).await });
        }
        for number in 0..5 {
            let lookup = ask(&resolver, &format!("quick{number}._device.example.com")).await;
            assert!(matches!(lookup.answer, TlsaAnswer::Secure(_) | TlsaAnswer::Insecure), "{lookup:?}");
        }
    }
}

// SEC-04
#[tokio::test]
async fn a_connection_that_unbound_closes_is_made_anew() {
    let (world, files) = (World::shared(), Files::new());
    let peer = Peer::unbound(&world, &files, "  tcp-idle-timeout: 200", "");
    let resolver = resolver(&world, &files, peer.server(TlsTrust::Pins(vec![files.pin()])), DnsMode::Validate);
    for number in 0..3 {
        let lookup = ask(&resolver, &format!("idle{number}._device.example.com")).await;
        assert!(is_secure(&lookup), "{lookup:?}");
        // A connection of ours that does the same tells when unbound's patience is over.
        let witness = TcpStream::connect(peer.plain).unwrap();
        witness.set_read_timeout(Some(PATIENCE)).unwrap();
        tokio::task::spawn_blocking(move || std::io::Read::read(&mut &witness, &mut [0])).await.unwrap().unwrap();
    }
}

// DNS-01: the server does not answer over UDP unless its cookie is shown.
#[tokio::test]
async fn bind_is_shown_its_cookie() {
    let (world, files) = (World::shared(), Files::new());
    let peer = Peer::named(&world, &files, "answer-cookie yes; require-server-cookie yes;", "");
    // One question for each look-up. BIND does not validate here: nothing is believed.
    let resolver = resolver(&world, &files, peer.plain.into(), DnsMode::AdBit);
    let answered = ExchangeOutcome::Answered(OptRcode::NOERROR);
    for (number, outcomes) in
        [vec![ExchangeOutcome::CookieWanted, answered], vec![answered], vec![answered]].iter().enumerate()
    {
        let lookup = ask(&resolver, &format!("cookie{number}._device.example.com")).await;
        assert!(matches!(lookup.answer, TlsaAnswer::Insecure), "{lookup:?}");
        let exchanges = lookup.trace.exchanges.iter();
        assert!(exchanges.clone().all(|exchange| exchange.protocol == Protocol::Udp), "{lookup:?}");
        assert!(exchanges.map(|exchange| &exchange.outcome).eq(outcomes), "{lookup:?}");
    }
    // The control: who knows what cookies are and shows none of BIND's gets no answer.
    let mut dig = program("dig");
    dig.args(["+cookie", "+nobadcookie", "-p", &peer.plain.port().to_string(), "@127.0.0.1", NAME, "TLSA"]);
    let refused = run_ok(&dig);
    assert!(refused.contains("status: BADCOOKIE") && refused.contains("ANSWER: 0"), "{refused}");
}

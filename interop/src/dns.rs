//! A DNS of its own: zones signed by BIND's and ldns's tools, served by BIND and NSD, looked up through unbound.

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::{Daemon, PATIENCE, program, run_ok, shared};

/// SHA-256 of spec/vectors/keys/ee-p256.spki.der.
const EE_P256: &str = "ee13f22ee41a355ee24a5f75c5659504191fc9deb93bcfb363ff6feec3856e93";
/// SHA-256 of spec/vectors/keys/ee-ed25519.spki.der.
const EE_ED25519: &str = "df6e64927805684620e7cd814902ec9569dbaa4bf0722f619a00bc47dccf4458";
/// SHA-256 of spec/vectors/certs/root.der.
const ROOT: &str = "227a071519aed88623ec91b218f355ec16b8c25a4c79fa81d4cc7d37ae4dd096";
/// TLSA, RFC 6698.
const TYPE_TLSA: u16 = 52;
const TYPE_SOA: u16 = 6;

/// Who signs a zone, and how.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signer {
    /// dnssec-signzone: ECDSA P-256 and NSEC.
    Bind,
    /// ldns-signzone: RSA-2048 and NSEC3.
    Ldns,
    /// ldns-signzone, with signatures that ran out in 2020.
    LdnsInThePast,
    /// Nobody: an unsigned delegation.
    Unsigned,
}

/// Zones below the root: name, signer.
const ZONES: &[(&str, Signer)] = &[
    ("example.com", Signer::Bind),
    ("example.net", Signer::Ldns),
    // A record was changed after the zone was signed.
    ("broken.example", Signer::Ldns),
    ("expired.example", Signer::LdnsInThePast),
    ("unsigned.example", Signer::Unsigned),
];

/// The records of each zone. `ee-p256` of the vectors has a record at every name below `_device` and at `sensor7._device` itself, so
/// that a test may choose a name of its own and recognise its queries.
fn records(zone: &str) -> String {
    format!(
        "$ORIGIN {zone}.
$TTL 300
@ SOA ns.{zone}. hostmaster.{zone}. 1 3600 600 86400 60
@ NS ns.{zone}.
ns A 127.0.0.1
*._device TLSA 3 1 1 {EE_P256}
sensor7._device TLSA 3 1 1 {EE_P256}
edwards._device TLSA 3 1 1 {EE_ED25519}
stale._device TLSA 3 1 1 {}
notlsa._device TXT nothing
alias._alias CNAME sensor7._device
device1 TLSA 2 0 1 {ROOT}
device9 TLSA 2 0 1 {ROOT}
",
        "00".repeat(32)
    )
}

/// The root, the zones below it, their servers and resolvers. Ended when the last test lets go of it.
pub struct World {
    /// Trust anchor: the root's DNSKEY record in presentation form.
    pub trust_anchor: PathBuf,
    /// A trust anchor of another root.
    pub wrong_trust_anchor: PathBuf,
    /// An unbound that validates, and sets AD.
    pub validating: SocketAddr,
    /// An unbound that does not validate, but passes signatures on.
    pub iterating: SocketAddr,
    /// A resolver that drops signatures.
    pub stripping: SocketAddr,
    /// A resolver that never answers.
    pub silent: SocketAddr,
    /// Where nothing listens.
    pub unreachable: SocketAddr,
    unbounds: Vec<Daemon>,
    _silent: (UdpSocket, TcpListener),
    _servers: Vec<Daemon>,
    _directory: TempDir,
}

impl World {
    /// The one that tests of a process share while any of them runs.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<World>> = Mutex::new(Weak::new());
        shared(&SHARED, || Self::start(&[]))
    }

    /// One whose zones hold these records too, given as zone and lines of presentation format.
    #[must_use]
    pub fn start(more: &[(&str, String)]) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let delegations: String = ZONES
            .iter()
            .map(|(zone, signer)| {
                let more = more.iter().filter(|(of, _)| of == zone).map(|(_, records)| records.as_str());
                let file = format!("{zone}.zone");
                fs::write(path.join(&file), records(zone) + &more.collect::<String>()).unwrap();
                sign(path, zone, &file, *signer)
            })
            .collect();
        let root = ". 300 SOA ns. hostmaster. 1 3600 600 86400 60\n. 300 NS ns.\nns. 300 A 127.0.0.1\n";
        fs::write(path.join("root.zone"), [root, &delegations].concat()).unwrap();
        let trust_anchor = sign_with_bind(path, ".", "root.zone");
        // The key of another zone, said to be the root's.
        let wrong_trust_anchor = path.join("wrong-anchor");
        let key = fs::read_to_string(find(path, "Kexample.com.", ".key", Some(" 257 "))).unwrap();
        fs::write(&wrong_trust_anchor, dnskey_line(&key).replacen("example.com.", ".", 1)).unwrap();

        let (nsd, nsd_port) = start_nsd(path);
        let (named, named_port) = start_named(path);
        let ports = [nsd_port, named_port];
        let (validator, validating) = start_unbound(path, "validator iterator", &trust_anchor, ports);
        let (iterator, iterating) = start_unbound(path, "iterator", &trust_anchor, ports);
        let (silent, silent_port) = free_port();
        let (held, unreachable) = free_port();
        drop(held);
        Self {
            trust_anchor,
            wrong_trust_anchor,
            validating,
            iterating,
            stripping: start_stripping(iterating),
            silent: loopback(silent_port),
            unreachable: loopback(unreachable),
            unbounds: vec![validator, iterator],
            _silent: silent,
            _servers: vec![nsd, named],
            _directory: directory,
        }
    }

    /// How many TLSA queries for a name have reached the resolvers until now.
    #[must_use]
    pub fn queries(&self, name: &str) -> usize {
        // Logs are read as they come: once a query of our own shows up, all before it have.
        static MARKER: AtomicU32 = AtomicU32::new(0);
        let marker = format!("marker{}.example.com", MARKER.fetch_add(1, Ordering::Relaxed));
        for (unbound, address) in self.unbounds.iter().zip([self.validating, self.iterating]) {
            assert!(ask(address, &marker, TYPE_TLSA, PATIENCE).is_some(), "unbound does not answer");
            unbound.wait_for("log of a query", |line| line.contains(&marker).then_some(()));
        }
        let line = format!(" {name}. TLSA IN");
        let lines = self.unbounds.iter().flat_map(Daemon::lines);
        lines.filter(|logged| logged.to_ascii_lowercase().ends_with(&line.to_ascii_lowercase())).count()
    }
}

/// Signs a zone and gives its delegation: NS, glue and DS records for its parent.
fn sign(directory: &Path, zone: &str, file: &str, signer: Signer) -> String {
    let ds = match signer {
        Signer::Bind => {
            sign_with_bind(directory, zone, file);
            fs::read_to_string(directory.join(format!("dsset-{zone}."))).unwrap()
        }
        Signer::Ldns => sign_with_ldns(directory, zone, file, &[]),
        Signer::LdnsInThePast => {
            sign_with_ldns(directory, zone, file, &["-i", "20200101000000", "-e", "20200201000000"])
        }
        Signer::Unsigned => {
            fs::rename(directory.join(file), directory.join(format!("{zone}.signed"))).unwrap();
            String::new()
        }
    };
    if zone == "broken.example" {
        let signed = directory.join(format!("{zone}.signed"));
        let changed = fs::read_to_string(&signed).unwrap().replace(EE_P256, &"ab".repeat(32));
        fs::write(signed, changed).unwrap();
    }
    format!("{zone}. 300 NS ns.{zone}.\nns.{zone}. 300 A 127.0.0.1\n{ds}\n")
}

/// Makes keys and signs; gives the file of the key-signing key's DNSKEY record.
fn sign_with_bind(directory: &Path, zone: &str, file: &str) -> PathBuf {
    for flags in [&["-f", "KSK"][..], &[]] {
        run_ok(
            program("dnssec-keygen").args(["-q", "-a", "ECDSAP256SHA256"]).args(flags).arg(zone).current_dir(directory),
        );
    }
    let signed = file.replace(".zone", ".signed");
    let mut signer = program("dnssec-signzone");
    run_ok(signer.args(["-S", "-o", zone, "-f", &signed, file]).current_dir(directory));
    let anchor = directory.join("trust-anchor");
    let prefix = if zone == "." { "K.+" } else { "K" };
    let key = fs::read_to_string(find(directory, prefix, ".key", Some(" 257 "))).unwrap();
    fs::write(&anchor, dnskey_line(&key)).unwrap();
    anchor
}

/// Makes keys and signs; gives the DS record.
fn sign_with_ldns(directory: &Path, zone: &str, file: &str, validity: &[&str]) -> String {
    let key = |flags: &[&str]| {
        let mut keygen = program("ldns-keygen");
        run_ok(keygen.args(["-a", "RSASHA256", "-b", "2048"]).args(flags).arg(zone).current_dir(directory))
            .trim()
            .to_owned()
    };
    let (ksk, zsk) = (key(&["-k"]), key(&[]));
    let signed = file.replace(".zone", ".signed");
    let mut signer = program("ldns-signzone");
    signer.args(["-n", "-t", "0", "-o", zone, "-f", &signed]).args(validity);
    run_ok(signer.args([file, &ksk, &zsk]).current_dir(directory));
    fs::read_to_string(directory.join(format!("{ksk}.ds"))).unwrap()
}

/// The one file with this beginning, ending and content.
fn find(directory: &Path, prefix: &str, suffix: &str, content: Option<&str>) -> PathBuf {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut found = paths.filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with(prefix)
            && name.ends_with(suffix)
            && content.is_none_or(|content| fs::read_to_string(path).unwrap().contains(content))
    });
    found.next().unwrap_or_else(|| panic!("no {prefix}*{suffix} in {}", directory.display()))
}

/// A key file without its comments.
fn dnskey_line(file: &str) -> String {
    file.lines().filter(|line| !line.starts_with(';')).map(|line| format!("{line}\n")).collect()
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A port that is free for UDP and TCP, with the sockets that hold it.
#[must_use]
pub fn free_port() -> ((UdpSocket, TcpListener), u16) {
    loop {
        let tcp = TcpListener::bind(loopback(0)).unwrap();
        let port = tcp.local_addr().unwrap().port();
        if let Ok(udp) = UdpSocket::bind(loopback(port)) {
            return ((udp, tcp), port);
        }
    }
}

/// Starts a name server, once more where another program took the port in between, and waits until it answers for `zone`.
fn start(zone: &str, mut daemon: impl FnMut(u16) -> Daemon) -> (Daemon, u16) {
    for _ in 0..5 {
        let (held, port) = free_port();
        drop(held);
        let daemon = daemon(port);
        if answers(&daemon, loopback(port), zone) {
            return (daemon, port);
        }
    }
    panic!("a name server does not start");
}

/// Waits until a name server answers for `zone`; says `false` where it ended instead.
pub(crate) fn answers(daemon: &Daemon, address: SocketAddr, zone: &str) -> bool {
    let end = Instant::now() + PATIENCE;
    while !daemon.ended() {
        if ask(address, zone, TYPE_SOA, Duration::from_millis(100)).is_some() {
            return true;
        }
        assert!(Instant::now() < end, "a name server does not answer for {zone}:\n{}", daemon.lines().join("\n"));
    }
    eprintln!("a name server ended:\n{}", daemon.lines().join("\n"));
    false
}

fn start_nsd(directory: &Path) -> (Daemon, u16) {
    start(".", |port| {
        let mut configuration = format!(
            "server:
  ip-address: 127.0.0.1
  port: {port}
  username: \"\"
  chroot: \"\"
  zonesdir: \"{0}\"
  database: \"\"
  pidfile: \"\"
  xfrdfile: \"{0}/xfrd.state\"
  zonelistfile: \"{0}/zone.list\"
  xfrdir: \"{0}\"
remote-control:
  control-enable: no
",
            directory.display()
        );
        let zones = ZONES.iter().filter(|(_, signer)| *signer != Signer::Bind).map(|(zone, _)| (*zone, *zone));
        for (zone, file) in zones.chain([(".", "root")]) {
            configuration.push_str(&format!("zone:\n  name: \"{zone}\"\n  zonefile: \"{file}.signed\"\n"));
        }
        let file = directory.join("nsd.conf");
        fs::write(&file, configuration).unwrap();
        Daemon::start(program("nsd").args(["-d", "-c"]).arg(file))
    })
}

fn start_named(directory: &Path) -> (Daemon, u16) {
    start("example.com", |port| {
        let mut configuration = format!(
            "options {{ directory \"{}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no;
  pid-file none; session-keyfile none; lock-file none; dnssec-validation no; }};\ncontrols {{ }};\n",
            directory.display()
        );
        for (zone, _) in ZONES.iter().filter(|(_, signer)| *signer == Signer::Bind) {
            configuration.push_str(&format!("zone \"{zone}\" {{ type primary; file \"{zone}.signed\"; }};\n"));
        }
        let file = directory.join("named.conf");
        fs::write(&file, configuration).unwrap();
        Daemon::start(program("named").args(["-g", "-n", "1", "-c"]).arg(file))
    })
}

fn start_unbound(directory: &Path, modules: &str, trust_anchor: &Path, servers: [u16; 2]) -> (Daemon, SocketAddr) {
    let [nsd, named] = servers;
    let (daemon, port) = start("example.com", |port| {
        let mut configuration = format!(
            "server:
  interface: 127.0.0.1
  port: {port}
  username: \"\"
  chroot: \"\"
  directory: \"{}\"
  pidfile: \"\"
  use-syslog: no
  logfile: \"\"
  log-queries: yes
  do-not-query-localhost: no
  trust-anchor-signaling: no
  module-config: \"{modules}\"
  trust-anchor-file: \"{}\"
remote-control:
  control-enable: no
stub-zone:
  name: \".\"
  stub-addr: 127.0.0.1@{nsd}
",
            directory.display(),
            trust_anchor.display()
        );
        for (zone, signer) in ZONES {
            let server = if *signer == Signer::Bind { named } else { nsd };
            configuration.push_str(&format!("stub-zone:\n  name: \"{zone}\"\n  stub-addr: 127.0.0.1@{server}\n"));
        }
        let file = directory.join(format!("unbound-{}.conf", modules.replace(' ', "-")));
        fs::write(&file, configuration).unwrap();
        Daemon::start(program("unbound").args(["-d", "-c"]).arg(file))
    });
    (daemon, loopback(port))
}

/// A forwarder that asks for no signatures, as old home routers do.
fn start_stripping(upstream: SocketAddr) -> SocketAddr {
    let socket = UdpSocket::bind(loopback(0)).unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let Some(header) = buffer[..length].first_chunk::<12>() else { continue };
            // The question alone: without EDNS there is no DO bit.
            let mut query = header.to_vec();
            query[6..12].fill(0);
            query.extend(question(&buffer[12..length]));
            let forward = UdpSocket::bind(loopback(0)).unwrap();
            forward.set_read_timeout(Some(PATIENCE)).unwrap();
            forward.send_to(&query, upstream).unwrap();
            let mut answer = [0; 4096];
            if let Ok((length, _)) = forward.recv_from(&mut answer) {
                let _ = socket.send_to(&answer[..length], client);
            }
        }
    });
    address
}

/// The first question of what follows a header.
fn question(body: &[u8]) -> &[u8] {
    let name = body.iter().position(|octet| *octet == 0).map_or(body.len(), |root| root + 1);
    &body[..(name + 4).min(body.len())]
}

/// Asks over UDP until there is an answer without error, and gives it.
fn ask(server: SocketAddr, name: &str, rrtype: u16, patience: Duration) -> Option<Vec<u8>> {
    const ID: [u8; 2] = [0x2a, 0x2a];
    let mut query = [&ID[..], &[0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.bytes());
    }
    query.extend([0, rrtype.to_be_bytes()[0], rrtype.to_be_bytes()[1], 0, 1]);
    let socket = UdpSocket::bind(loopback(0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let end = Instant::now() + patience;
    while Instant::now() < end {
        let mut answer = [0; 4096];
        // Where nothing listens yet, sending or receiving fails at once.
        let received = socket.send(&query).and_then(|_| socket.recv(&mut answer));
        match received {
            Ok(length) if answer.starts_with(&ID) && matches!(answer[3] & 0x0f, 0 | 3) => {
                return Some(answer[..length].to_vec());
            }
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    None
}

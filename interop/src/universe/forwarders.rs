//! The resolvers that `dance` asks: unbound, BIND and Knot Resolver, each with the universe's own root.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::servers::public_address;
use super::zones::ZONES;
use crate::process::{Daemon, program};

/// A resolver of other people's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Forwarder {
    /// unbound, which validates.
    Unbound,
    /// unbound without its validator, which passes signatures on.
    UnboundIterating,
    /// BIND, which validates.
    Bind,
    /// BIND with `dnssec-validation no`.
    BindIterating,
    /// Knot Resolver, which validates, and forwards to the unbound that does not.
    Knot,
}

impl Forwarder {
    /// All, in an order in which each finds those that it needs running.
    pub const ALL: [Self; 5] = [Self::UnboundIterating, Self::Unbound, Self::Bind, Self::BindIterating, Self::Knot];

    /// Whether it validates and sets AD.
    #[must_use]
    pub const fn validates(self) -> bool {
        matches!(self, Self::Unbound | Self::Bind | Self::Knot)
    }

    /// Starts it on a port of 127.0.0.1.
    pub(crate) fn start(self, surroundings: &Surroundings<'_>, port: u16) -> Daemon {
        match self {
            Self::Unbound => unbound(surroundings, port, "validator iterator"),
            Self::UnboundIterating => unbound(surroundings, port, "iterator"),
            Self::Bind => bind(surroundings, port, "yes"),
            Self::BindIterating => bind(surroundings, port, "no"),
            Self::Knot => knot(surroundings, port),
        }
    }
}

/// What they need to know.
pub(crate) struct Surroundings<'a> {
    pub(crate) directory: &'a Path,
    /// The root's DNSKEY record in presentation format.
    pub(crate) anchor: &'a Path,
    /// The port of all authoritative servers.
    pub(crate) port: u16,
    /// Where the unbound that does not validate listens, once it does.
    pub(crate) iterating: Option<SocketAddr>,
}

fn unbound(surroundings: &Surroundings<'_>, port: u16, modules: &str) -> Daemon {
    // Names under `test` are blocked unless told otherwise (RFC 6761). Proofs are not used for other names than the one asked for: they
    // would make up for what the lies leave out.
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
  do-not-query-localhost: no
  trust-anchor-signaling: no
  local-zone: \"test.\" nodefault
  aggressive-nsec: no
  module-config: \"{modules}\"
  trust-anchor-file: \"{}\"
remote-control:
  control-enable: no
",
        surroundings.directory.display(),
        surroundings.anchor.display()
    );
    // It asks port 53 where a delegation leads; stubs lead elsewhere.
    for zone in ZONES {
        let address = public_address(zone);
        configuration.push_str(&format!(
            "stub-zone:\n  name: \"{}\"\n  stub-addr: {address}@{}\n",
            zone.name, surroundings.port
        ));
    }
    let file = surroundings.directory.join(format!("unbound-{}.conf", modules.replace(' ', "-")));
    fs::write(&file, configuration).unwrap();
    Daemon::start(program("unbound").args(["-d", "-c"]).arg(file))
}

fn bind(surroundings: &Surroundings<'_>, port: u16, validation: &str) -> Daemon {
    let directory = surroundings.directory;
    let key = fs::read_to_string(surroundings.anchor).unwrap();
    let key: Vec<&str> = key.split_whitespace().skip_while(|word| *word != "DNSKEY").skip(1).collect();
    let hints = directory.join("hints");
    fs::write(&hints, format!(". 300 NS ns.\nns. 300 A {}\n", public_address(&ZONES[0]))).unwrap();
    // Its port is the one on which it asks; that on which it listens is given with the address.
    let configuration = format!(
        "options {{ directory \"{0}\"; port {1}; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  recursion yes; allow-recursion {{ any; }}; dnssec-validation {validation}; synth-from-dnssec no; trust-anchor-telemetry no;
  pid-file none; session-keyfile none; lock-file none; managed-keys-directory \"{0}\"; }};\ncontrols {{ }};
zone \".\" {{ type hint; file \"{2}\"; }};
trust-anchors {{ . static-key {3} \"{4}\"; }};\n",
        directory.display(),
        surroundings.port,
        hints.display(),
        key[..3].join(" "),
        key[3..].concat(),
    );
    let file = directory.join(format!("bind-{validation}.conf"));
    fs::write(&file, configuration).unwrap();
    Daemon::start(program("named").args(["-g", "-n", "1", "-c"]).arg(file))
}

fn knot(surroundings: &Surroundings<'_>, port: u16) -> Daemon {
    let own = surroundings.directory.join("kresd");
    fs::create_dir_all(&own).unwrap();
    let upstream = surroundings.iterating.unwrap();
    let configuration = format!(
        "net.listen('127.0.0.1', {port}, {{ kind = 'dns' }})
net.ipv6 = false
cache.open(10 * MB, 'lmdb://{}/cache')
modules.unload('priming')
modules.unload('ta_signal_query')
modules.unload('ta_update')
modules.unload('detect_time_skew')
trust_anchors.remove('.')
trust_anchors.add_file('{}', true)
policy.add(policy.all(policy.FORWARD({{'{}@{}'}})))
",
        own.display(),
        surroundings.anchor.display(),
        upstream.ip(),
        upstream.port(),
    );
    let file = own.join("config");
    fs::write(&file, configuration).unwrap();
    Daemon::start(program("kresd").args(["-n", "-c"]).arg(file).arg(own))
}

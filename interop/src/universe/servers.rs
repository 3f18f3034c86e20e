//! The authoritative servers: NSD, BIND, Knot DNS. All on one port, each on a loopback address of its own, because BIND's resolver
//! asks every server on the same port.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use super::zones::{Server, Way, ZONES, Zone};
use crate::process::{Daemon, program};

/// The address of a daemon.
pub(crate) const fn address(server: Server) -> IpAddr {
    match server {
        // named listens on addresses of interfaces only.
        Server::Named => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Server::Nsd => host(2),
        Server::Knotd => host(3),
        Server::Test => host(4),
    }
}

/// Where the world finds a zone: its server, or what is in front of it.
pub(crate) fn public_address(zone: &Zone) -> IpAddr {
    match (zone.way, zone.server) {
        (Way::Straight, Server::Nsd | Server::Named | Server::Knotd) => address(zone.server),
        // A resolver that has had bad experiences with an address keeps away from it: each has its own.
        _ => {
            let number = ZONES.iter().position(|other| other.name == zone.name).unwrap();
            host(100 + u8::try_from(number).unwrap())
        }
    }
}

const fn host(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 53, 0, last))
}

/// The directory of a zone.
pub(crate) fn place(zone: &Zone) -> &'static str {
    if zone.name == "." { "root" } else { zone.name }
}

fn zones(server: Server) -> impl Iterator<Item = &'static Zone> {
    ZONES.iter().filter(move |zone| zone.server == server)
}

/// Starts the three. Zones lie in directories of their names below `directory`.
pub(crate) fn start(directory: &Path, port: u16) -> Vec<(Daemon, SocketAddr)> {
    let at = |server| SocketAddr::new(address(server), port);
    vec![
        (nsd(directory, "nsd", at(Server::Nsd), zones(Server::Nsd)), at(Server::Nsd)),
        (named(directory, at(Server::Named)), at(Server::Named)),
        (knotd(directory, at(Server::Knotd)), at(Server::Knotd)),
    ]
}

/// An NSD of these zones, with a directory of its own in `directory`.
pub(crate) fn nsd<'a>(
    directory: &Path,
    name: &str,
    listen: SocketAddr,
    zones: impl IntoIterator<Item = &'a Zone>,
) -> Daemon {
    let own = directory.join(name);
    fs::create_dir_all(&own).unwrap();
    let mut configuration = format!(
        "server:
  ip-address: {}
  port: {}
  username: \"\"
  chroot: \"\"
  zonesdir: \"{}\"
  database: \"\"
  pidfile: \"\"
  xfrdfile: \"{3}/xfrd.state\"
  zonelistfile: \"{3}/zone.list\"
  xfrdir: \"{3}\"
remote-control:
  control-enable: no
",
        listen.ip(),
        listen.port(),
        directory.display(),
        own.display(),
    );
    for zone in zones {
        configuration.push_str(&format!("zone:\n  name: \"{}\"\n  zonefile: \"{}/signed\"\n", zone.name, place(zone)));
    }
    let file = own.join("nsd.conf");
    fs::write(&file, configuration).unwrap();
    Daemon::start(program("nsd").args(["-d", "-c"]).arg(file))
}

fn named(directory: &Path, listen: SocketAddr) -> Daemon {
    let mut configuration = format!(
        "options {{ directory \"{}\"; listen-on port {} {{ {}; }}; listen-on-v6 {{ none; }}; recursion no;
  pid-file none; session-keyfile none; lock-file none; dnssec-validation no; }};\ncontrols {{ }};\n",
        directory.display(),
        listen.port(),
        listen.ip()
    );
    for zone in zones(Server::Named) {
        let file = place(zone);
        configuration.push_str(&format!(
            "zone \"{}\" {{ type primary; file \"{file}/signed\"; check-integrity no; }};\n",
            zone.name
        ));
    }
    let file = directory.join("named.conf");
    fs::write(&file, configuration).unwrap();
    Daemon::start(program("named").args(["-g", "-n", "1", "-c"]).arg(file))
}

fn knotd(directory: &Path, listen: SocketAddr) -> Daemon {
    let own = directory.join("knotd");
    fs::create_dir_all(&own).unwrap();
    let mut configuration = format!(
        "server:
    rundir: \"{0}\"
    listen: {1}@{2}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: \"{0}\"
log:
  - target: stderr
    any: info
template:
  - id: default
    storage: \"{3}\"
    semantic-checks: off
    zonefile-sync: -1
    journal-content: none
zone:
",
        own.display(),
        listen.ip(),
        listen.port(),
        directory.display(),
    );
    for zone in zones(Server::Knotd) {
        configuration.push_str(&format!("  - domain: \"{}\"\n    file: \"{}/signed\"\n", zone.name, place(zone)));
    }
    let file = own.join("knot.conf");
    fs::write(&file, configuration).unwrap();
    Daemon::start(program("knotd").arg("-c").arg(file))
}

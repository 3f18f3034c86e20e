//! Zones signed by other people's tools.

use std::fs;
use std::path::{Path, PathBuf};

use super::zones::{Denial, Ds, Edit, Keys, Signer, Window, Zone};
use crate::process::{program, run_ok};

/// A key that is published, but not in use.
pub(crate) const PUBLISHED: &[&str] = &["-P", "now", "-A", "+1y"];

/// A DS record.
#[derive(Clone)]
struct DsRecord {
    key_tag: String,
    algorithm: String,
    digest_type: String,
    digest: String,
}

/// Signs the zone whose file lies in `directory` as `zone`, writes it there as `signed`, and gives the DS records for its parent.
pub(crate) fn sign(directory: &Path, zone: &Zone) -> String {
    let found = match zone.signer {
        Signer::Nobody => {
            fs::copy(directory.join("zone"), directory.join("signed")).unwrap();
            return String::new();
        }
        Signer::Bind => sign_with_bind(directory, zone),
        Signer::Ldns => sign_with_ldns(directory, zone),
        Signer::Knot => sign_with_knot(directory, zone),
    };
    edit(directory, zone);
    let records = ds_records(&found);
    assert!(!records.is_empty(), "no DS record for {} in:\n{found}", zone.name);
    in_the_parent(zone.ds, records)
        .iter()
        .map(|DsRecord { key_tag, algorithm, digest_type, digest }| {
            format!("{} 300 DS {key_tag} {algorithm} {digest_type} {digest}\n", zone.apex())
        })
        .collect()
}

/// Makes a key with BIND's tool, and gives its files' name without ending.
pub(crate) fn bind_key(directory: &Path, zone: &Zone, algorithm: &str, options: &[&str]) -> String {
    let mut keygen = program("dnssec-keygen");
    keygen.args(["-q", "-a", algorithm]).args(options).current_dir(directory);
    if algorithm.contains("RSA") {
        keygen.args(["-b", "2048"]);
    }
    run_ok(keygen.arg(zone.apex())).trim().to_owned()
}

/// The names of its zone-signing keys' files, without ending.
pub(crate) fn bind_zsks(directory: &Path) -> Vec<String> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let keys = files.filter(|file| file.extension().is_some_and(|extension| extension == "key"));
    let zsks = keys.filter(|file| fs::read_to_string(file).unwrap().contains(" DNSKEY 256 "));
    zsks.map(|file| file.file_stem().unwrap().to_string_lossy().into_owned()).collect()
}

/// Changes when a key is used.
pub(crate) fn bind_settime(directory: &Path, key: &str, options: &[&str]) {
    run_ok(program("dnssec-settime").args(options).arg(key).current_dir(directory));
}

/// Signs with the keys that are there.
pub(crate) fn bind_signed(directory: &Path, zone: &Zone, window: Window) {
    let mut signer = program("dnssec-signzone");
    // -O full: a record a line. -P: what is wrong is meant to be.
    signer.args(["-q", "-P", "-S", "-O", "full", "-o", &zone.apex(), "-f", "signed"]).current_dir(directory);
    if let Denial::Nsec3 { iterations, opt_out } = zone.denial {
        signer.args(["-3", "-", "-H", &iterations.to_string()]);
        if opt_out {
            signer.arg("-A");
        }
    }
    if zone.keys == Keys::Single {
        signer.arg("-z");
    }
    if let Some((from, until)) = window {
        signer.args(["-s", &instant(from), "-e", &instant(until)]);
    }
    run_ok(signer.arg("zone"));
}

fn sign_with_bind(directory: &Path, zone: &Zone) -> String {
    const KSK: &[&str] = &["-f", "KSK"];
    let key = |algorithm: &str, options: &[&str]| bind_key(directory, zone, algorithm, options);
    let mut ksks = vec![key(zone.algorithm, KSK)];
    if zone.keys != Keys::Single {
        key(zone.algorithm, &[]);
    }
    match zone.keys {
        Keys::Pair | Keys::Single => {}
        Keys::TwoAlgorithms(other) => {
            ksks.push(key(other, KSK));
            key(other, &[]);
        }
        Keys::NewAlgorithm(other) => {
            key(other, KSK);
            key(other, &[]);
        }
        Keys::TwoKsks => ksks.push(key(zone.algorithm, KSK)),
        Keys::NewKsk => drop(key(zone.algorithm, KSK)),
        Keys::NewZsk => drop(key(zone.algorithm, PUBLISHED)),
        Keys::TwoZsks => drop(key(zone.algorithm, &[])),
        Keys::RevokedKsk => {
            let revoked = key(zone.algorithm, KSK);
            run_ok(program("dnssec-revoke").arg("-r").arg(revoked).current_dir(directory));
        }
    }
    bind_signed(directory, zone, zone.window);
    let ds = |ksk: &String| run_ok(program("dnssec-dsfromkey").args(["-2", ksk]).current_dir(directory));
    ksks.iter().map(ds).collect()
}

fn sign_with_ldns(directory: &Path, zone: &Zone) -> String {
    let algorithm = if zone.algorithm == "NSEC3RSASHA1" { "RSASHA1-NSEC3-SHA1" } else { zone.algorithm };
    let key = |flags: &[&str]| {
        let mut keygen = program("ldns-keygen");
        keygen.args(["-a", algorithm, "-b", "2048"]).args(flags).arg(zone.apex()).current_dir(directory);
        run_ok(&keygen).trim().to_owned()
    };
    assert_eq!(zone.keys, Keys::Pair, "{}: BIND's tools do that", zone.name);
    let (ksk, zsk) = (key(&["-k"]), key(&[]));
    let mut signer = program("ldns-signzone");
    signer.args(["-o", &zone.apex(), "-f", "signed"]).current_dir(directory);
    if let Denial::Nsec3 { iterations, opt_out } = zone.denial {
        signer.args(["-n", "-t", &iterations.to_string()]);
        if opt_out {
            signer.arg("-p");
        }
    }
    if let Some((from, until)) = zone.window {
        signer.args(["-i", &instant(from), "-e", &instant(until)]);
    }
    run_ok(signer.args(["zone", &ksk, &zsk]));
    fs::read_to_string(directory.join(format!("{ksk}.ds"))).unwrap()
}

fn sign_with_knot(directory: &Path, zone: &Zone) -> String {
    let algorithm = zone.algorithm.to_lowercase();
    let denial = match zone.denial {
        Denial::Nsec => "nsec3: off".to_owned(),
        Denial::Nsec3 { iterations, opt_out } => format!(
            "nsec3: on\n    nsec3-iterations: {iterations}\n    nsec3-salt-length: 0\n    nsec3-opt-out: {}",
            if opt_out { "on" } else { "off" }
        ),
    };
    let single = match zone.keys {
        Keys::Pair => "off",
        Keys::Single => "on",
        other => panic!("{}: BIND's tools do {other:?}", zone.name),
    };
    assert_eq!(zone.window, None, "{}: BIND's and ldns's tools do that", zone.name);
    let configuration = format!(
        "server:
    rundir: \"{0}\"
database:
    storage: \"{0}\"
    kasp-db: \"{0}/keys\"
policy:
  - id: policy
    algorithm: {algorithm}
    single-type-signing: {single}
    {denial}
    cds-cdnskey-publish: none
    ksk-lifetime: 0
    zsk-lifetime: 0
zone:
  - domain: {1}
    storage: \"{0}\"
    file: \"zone\"
    dnssec-signing: on
    dnssec-policy: policy
",
        directory.display(),
        zone.apex()
    );
    let file = directory.join("knot.conf");
    fs::write(&file, configuration).unwrap();
    let signed = directory.join("out");
    fs::create_dir(&signed).unwrap();
    run_ok(program("kzonesign").arg("-c").arg(&file).arg("-o").arg(&signed).arg(zone.apex()));
    fs::rename(only_file(&signed), directory.join("signed")).unwrap();
    run_ok(program("keymgr").arg("-c").arg(&file).arg(zone.apex()).arg("ds"))
}

fn only_file(directory: &Path) -> PathBuf {
    let mut files = fs::read_dir(directory).unwrap();
    files.next().unwrap().unwrap().path()
}

/// So many seconds from now, as all three understand it.
fn instant(offset: i64) -> String {
    let now = i64::try_from(dance_resolver::now().as_secs()).unwrap();
    let time = jiff::Timestamp::from_second(now + offset).unwrap();
    time.strftime("%Y%m%d%H%M%S").to_string()
}

/// DS records as dnssec-dsfromkey, ldns-keygen and keymgr print them.
fn ds_records(text: &str) -> Vec<DsRecord> {
    let record = |line: &str| {
        let mut words = line.split_whitespace().skip_while(|word| *word != "DS").skip(1).map(str::to_owned);
        let (key_tag, algorithm, digest_type) = (words.next()?, words.next()?, words.next()?);
        Some(DsRecord { key_tag, algorithm, digest_type, digest: words.collect() })
    };
    text.lines().filter_map(record).collect()
}

fn in_the_parent(ds: Ds, mut right: Vec<DsRecord>) -> Vec<DsRecord> {
    let unknown = || "200".to_owned();
    let wrong = |right: &DsRecord| DsRecord { digest: "ab".repeat(right.digest.len() / 2), ..right.clone() };
    match ds {
        Ds::Right => {}
        Ds::Missing => right.clear(),
        Ds::UnknownAlgorithm => right.iter_mut().for_each(|record| record.algorithm = unknown()),
        Ds::UnknownDigest => right.iter_mut().for_each(|record| record.digest_type = unknown()),
        Ds::Wrong => right = right.iter().map(wrong).collect(),
        Ds::WrongBesideRight => right.insert(0, wrong(&right[0])),
    }
    right
}

fn edit(directory: &Path, zone: &Zone) {
    let file = directory.join("signed");
    let signed = fs::read_to_string(&file).unwrap();
    // Owner, TTL, class (which Knot DNS leaves out), type.
    let is = |line: &str, rtype: &str| line.split_whitespace().take(4).any(|word| word == rtype);
    let without = |types: &[&str]| {
        let kept = signed.lines().filter(|line| !types.iter().any(|rtype| is(line, rtype)));
        kept.map(str::to_owned).collect()
    };
    let edited: Vec<String> = match zone.edit {
        Edit::None => return,
        Edit::NoSignatures => without(&["RRSIG"]),
        Edit::NoDnssec => without(&["RRSIG", "DNSKEY", "NSEC"]),
        Edit::Tampered => {
            let dev1 = format!("dev1._device.{}", zone.apex());
            let other = format!("{dev1} 300 IN TLSA 3 1 1 {}", "ab".repeat(32));
            let tampered = |line: &str| line.starts_with(&dev1) && !is(line, "RRSIG") && is(line, "TLSA");
            signed.lines().map(|line| if tampered(line) { other.clone() } else { line.to_owned() }).collect()
        }
    };
    let edited = edited.join("\n") + "\n";
    assert_ne!(edited, signed, "{}: nothing to edit", zone.name);
    fs::write(&file, edited).unwrap();
}

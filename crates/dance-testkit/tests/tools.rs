//! The signed zones against a zone checker that nobody here wrote.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Write;
use std::process::{Command, Stdio};

use dance_testkit::{Denial, KeyKind, KeyRole, SignedWorld, Zone};

const TEXT: &str = "dev1._device TLSA 3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n\
                    dev1._device TLSA 2 0 1 00\n\
                    dev1._device TLSA 3 1 2 0011223344\n\
                    *._wild TLSA 3 1 1 00\n\
                    a.b.c.deep TXT \"empty non-terminals above\"\n\
                    alias CNAME dev1._device\n\
                    sub DNAME elsewhere.test.\n\
                    unsigned NS localhost.\n";

#[tokio::test]
async fn ldns_verify_zone_accepts_every_zone() {
    let zone = |label: &str| Zone::new(label).text(TEXT);
    let p256 = KeyKind::P256;
    let world = SignedWorld::builder()
        .zone(zone("nsec"))
        .zone(zone("nsec3").denial(Denial::nsec3()))
        .zone(zone("salted").denial(Denial::nsec3_iterations(5)))
        .zone(zone("optout").denial(Denial::nsec3_opt_out()))
        .zone(zone("p384").key(KeyKind::P384))
        .zone(zone("ed25519").key(KeyKind::Ed25519))
        .zone(zone("rsa").key(KeyKind::Rsa2048))
        .zone(zone("two").keys(&[(p256, KeyRole::Csk), (KeyKind::Ed25519, KeyRole::Csk)]))
        .zone(zone("split").keys(&[(p256, KeyRole::Ksk), (p256, KeyRole::Zsk), (p256, KeyRole::Published)]))
        .zone(zone("tampered"))
        .start()
        .await
        .unwrap();
    let zones = [".", "nsec", "nsec3", "salted", "optout", "p384", "ed25519", "rsa", "two", "split"];
    for apex in zones {
        let text = world.signed_zone_text(apex).unwrap();
        let Some((accepted, said)) = verify(&text) else {
            assert!(std::env::var_os("CI").is_none(), "ldns-verify-zone (Debian package ldnsutils) is missing");
            eprintln!("skipped: no ldns-verify-zone; the Debian package ldnsutils has it");
            return;
        };
        assert!(accepted, "zone {apex}: {said}");
    }
    // Positive control for the checker: it notices a change.
    let text = world.signed_zone_text("tampered").unwrap().replace("above", "below");
    assert!(!verify(&text).unwrap().0);
}

/// What the checker says of a zone; `None` if it is not there.
fn verify(zone: &str) -> Option<(bool, String)> {
    let mut command = Command::new("ldns-verify-zone");
    command.args(["-V", "3", "/dev/stdin"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    child.stdin.take().unwrap().write_all(zone.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

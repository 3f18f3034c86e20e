//! `dance resolve`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;

use dance_testkit::{Fault, SignedWorld, Zone};
use support::{Ran, run};
use tempfile::TempDir;

const RECORD: &str = "3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const NAME: &str = "sensor7._device.example.com";

struct World {
    dns: SignedWorld,
    files: TempDir,
}

impl World {
    async fn start() -> Self {
        let zone = Zone::new("example.com")
            .tlsa(NAME, RECORD, 300)
            .tlsa("*._wild.example.com", RECORD, 60)
            .cname("old._device.example.com", NAME, 120)
            .text("text._device 300 IN TXT \"no TLSA here\"");
        let dns = SignedWorld::builder()
            .zone(zone)
            .zone(Zone::unsigned("example.net").tlsa("a.example.net", RECORD, 300))
            .zone(Zone::new("example.org").tlsa("a.example.org", RECORD, 300).expired())
            .fault("slow.example.com", Fault::NeverAnswers)
            .start()
            .await
            .unwrap();
        let files = tempfile::tempdir().unwrap();
        fs::write(files.path().join("anchor"), dns.trust_anchor_text()).unwrap();
        Self { dns, files }
    }

    async fn resolve(&self, name: &str, more: &[&str]) -> Ran {
        let anchor = self.files.path().join("anchor");
        let mut args =
            vec!["resolve".to_owned(), name.to_owned(), "--resolver".to_owned(), self.dns.addr().to_string()];
        args.extend(["--trust-anchor".to_owned(), anchor.to_str().unwrap().to_owned()]);
        args.extend(more.iter().map(|&arg| arg.to_owned()));
        tokio::task::spawn_blocking(move || run(args)).await.unwrap()
    }

    async fn json(&self, name: &str) -> (i32, serde_json::Value) {
        let ran = self.resolve(name, &["--format", "json"]).await;
        (ran.code, ran.json())
    }
}

// DNS-01, DNS-11, NAM-07
#[tokio::test(flavor = "multi_thread")]
async fn secure_records() {
    let world = World::start().await;
    let (code, printed) = world.json(NAME).await;
    assert_eq!(code, 0, "{printed}");
    assert_eq!(printed["state"], "secure");
    assert_eq!(printed["answer"], "records");
    assert_eq!(printed["owner"], NAME);
    assert_eq!(printed["records"], serde_json::json!([RECORD]));
    assert_eq!(printed["ttl"], 300);
    assert_eq!(printed["wildcard"], false);
    assert_eq!(printed["reason"], serde_json::Value::Null);
    assert!(printed["valid_until"].as_str().unwrap().ends_with('Z'), "{printed}");
    assert!(printed["queries"].as_u64().unwrap() >= 1, "{printed}");
    let links = printed["links"].as_array().unwrap();
    assert_eq!((&links[0]["owner"], &links[0]["type"]), (&NAME.into(), &"TLSA".into()), "{printed}");
    assert_eq!(world.dns.tlsa_queries(), [NAME]);

    let ran = world.resolve(NAME, &[]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.starts_with("secure: ") && ran.stdout.contains(RECORD), "{ran:?}");
}

// DNS-01: what the verdict rests on, from the anchor down, and who was asked.
#[tokio::test(flavor = "multi_thread")]
async fn the_proof_is_told() {
    let world = World::start().await;
    let (code, printed) = world.json("old._device.example.com").await;
    assert_eq!(code, 0, "{printed}");
    let links = printed["links"].as_array().unwrap();
    let expected = [("old._device.example.com", "CNAME", 120), (NAME, "TLSA", 300)];
    for (link, (owner, rtype, ttl)) in links.iter().zip(expected) {
        assert_eq!((&link["owner"], &link["type"], &link["ttl"]), (&owner.into(), &rtype.into(), &ttl.into()));
        assert_eq!((&link["state"], &link["signer"]), (&"secure".into(), &"example.com".into()));
        assert_eq!((&link["algorithm"], &link["wildcard"]), (&13.into(), &false.into()));
        assert!(link["key_tag"].is_u64() && link["expires"].as_str().unwrap().ends_with('Z'), "{link}");
    }
    let zones = printed["zones"].as_array().unwrap();
    let chain: Vec<_> =
        zones.iter().map(|link| (link["zone"].as_str().unwrap(), link["type"].as_str().unwrap())).collect();
    assert_eq!(chain, [(".", "DNSKEY"), ("example.com", "DS"), ("example.com", "DNSKEY")]);
    assert_eq!(zones.last().unwrap()["key_tag"], links[0]["key_tag"]);
    let exchanges = printed["exchanges"].as_array().unwrap();
    assert_eq!(exchanges.len(), printed["queries"].as_u64().unwrap() as usize);
    let asked = exchanges.iter().find(|asked| asked["type"] == "TLSA").unwrap();
    assert_eq!(asked["name"], "old._device.example.com");
    assert_eq!(asked["server"], world.dns.addr().to_string());
    let how = (&asked["transport"], &asked["outcome"], &asked["code"]);
    assert_eq!(how, (&"udp".into(), &"answered".into(), &"NOERROR".into()));
    assert!(printed["milliseconds"].as_f64().unwrap() >= asked["milliseconds"].as_f64().unwrap(), "{printed}");
    assert_eq!((&printed["failed"], &printed["hint"]), (&serde_json::Value::Null, &serde_json::Value::Null));

    // The same in words, in the order of the story.
    let text = world.resolve("old._device.example.com", &[]).await.stdout;
    let order = [
        "secure: ",
        RECORD,
        "good until",
        "The answer:",
        "CNAME",
        "TLSA",
        "The chain of trust",
        " DS ",
        "Asked:",
        "queries in",
    ];
    let places: Vec<usize> =
        order.iter().map(|part| text.find(part).unwrap_or_else(|| panic!("no {part:?} in {text}"))).collect();
    assert!(places.is_sorted(), "{text}");
    assert!(text.contains("signed by example.com, key "), "{text}");
}

// DNS-01: where it fails, and whether the resolver is to blame.
#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_told() {
    let world = World::start().await;
    let (_, printed) = world.json("a.example.org").await;
    assert_eq!(
        (&printed["failed"]["owner"], &printed["failed"]["type"]),
        (&"example.org".into(), &"DNSKEY".into()),
        "{printed}"
    );
    assert!(printed["detail"].as_str().unwrap().contains("expired"), "{printed}");
    assert_eq!(printed["hint"], serde_json::Value::Null);

    // One zone's signatures are missing: its own fault.
    world.dns.add_fault(NAME, Fault::StrippedSignatures).unwrap();
    let (code, printed) = world.json(NAME).await;
    assert_eq!((code, &printed["state"]), (1, &"bogus".into()), "{printed}");
    assert!(printed["hint"].as_str().unwrap().contains("the fault is in this zone"), "{printed}");
    // No signatures, or nothing, for any name: the resolver's.
    world.dns.clear_faults();
    for fault in [Fault::StrippedSignatures, Fault::StrippedProof, Fault::EmptyAnswer] {
        world.dns.add_server_fault(fault.clone()).unwrap();
        let ran = world.resolve("nobody._device.example.com", &[]).await;
        assert_eq!(ran.code, 1, "{fault:?}: {ran:?}");
        assert!(ran.stdout.contains("this resolver") && ran.stdout.contains("--resolver"), "{fault:?}: {ran:?}");
        world.dns.clear_faults();
    }
    assert_eq!(world.json(NAME).await.0, 0);
}

// DNS-05, DNS-07
#[tokio::test(flavor = "multi_thread")]
async fn aliases_and_wildcards_are_told() {
    let world = World::start().await;
    let (code, printed) = world.json("old._device.example.com").await;
    assert_eq!((code, &printed["owner"], &printed["ttl"]), (0, &NAME.into(), &120.into()), "{printed}");
    assert_eq!(printed["links"].as_array().unwrap().len(), 2);

    let (code, printed) = world.json("any._wild.example.com").await;
    assert_eq!((code, &printed["wildcard"]), (0, &true.into()), "{printed}");
    assert_eq!(printed["wildcard_name"], "*._wild.example.com");
    let ran = world.resolve("any._wild.example.com", &[]).await;
    assert!(ran.stdout.contains("synthesised from the wildcard *._wild.example.com"), "{ran:?}");
}

// DNS-03, DNS-04
#[tokio::test(flavor = "multi_thread")]
async fn everything_but_secure_records_is_no() {
    let world = World::start().await;
    for (name, state, answer, reason) in [
        ("nobody._device.example.com", "secure", "nxdomain", "tlsa-absent"),
        ("text._device.example.com", "secure", "nodata", "tlsa-absent"),
        ("a.example.net", "insecure", "none", "dnssec-insecure"),
        ("a.example.org", "bogus", "none", "dnssec-bogus"),
    ] {
        let (code, printed) = world.json(name).await;
        assert_eq!(code, 1, "{name}: {printed}");
        let found = (&printed["state"], &printed["answer"], &printed["reason"], &printed["records"]);
        assert_eq!(found, (&state.into(), &answer.into(), &reason.into(), &serde_json::json!([])), "{name}: {printed}");
        let ran = world.resolve(name, &[]).await;
        assert!(ran.code == 1 && ran.stdout.starts_with(&format!("{state}: ")), "{ran:?}");
    }
}

// DNS-10
#[tokio::test(flavor = "multi_thread")]
async fn silence_is_indeterminate_after_the_time_out() {
    let world = World::start().await;
    let ran = world.resolve("slow.example.com", &["--format", "json", "--timeout", "300ms"]).await;
    let printed = ran.json();
    assert_eq!(ran.code, 3, "{printed}");
    assert_eq!(
        (&printed["state"], &printed["reason"]),
        (&"indeterminate".into(), &"lookup-timeout".into()),
        "{printed}"
    );
}

// SEC-15
#[tokio::test(flavor = "multi_thread")]
async fn the_root_zones_own_keys_are_the_default_anchor() {
    let world = World::start().await;
    let args = ["resolve".to_owned(), NAME.to_owned(), "--resolver".to_owned(), world.dns.addr().to_string()];
    let ran = tokio::task::spawn_blocking(move || run(args)).await.unwrap();
    assert!(ran.code != 0 && !ran.stdout.contains("3 1 1"), "{ran:?}");
}

// DNS-02
#[test]
fn the_ad_bit_of_another_host_is_refused() {
    run(["resolve", NAME, "--resolver", "192.0.2.1", "--dns-mode", "ad"]).assert_usage_error("cannot be trusted");
}

// SEC-04
#[test]
fn how_to_write_a_resolver_is_told() {
    run(["resolve", NAME, "--resolver", "dns.example"]).assert_usage_error("tls://192.0.2.53#dns.example.net");
    run(["resolve", NAME, "--resolver", "tls://192.0.2.1#sha256:00"]).assert_usage_error("64 hexadecimal digits");
    let pin = format!("tls://192.0.2.1#sha256:{}", "0".repeat(64));
    run(["resolve", NAME, "--resolver", &pin, "--trust-anchor", "/dev/null"]).assert_usage_error("found none");
    let name = "tls://192.0.2.1#dns.example";
    run(["resolve", NAME, "--resolver", name, "--resolver-ca", "/dev/null"]).assert_usage_error("/dev/null");
    // Without a name to know it by, it is not believed.
    let ad = ["--resolver", "tls://192.0.2.1", "--dns-mode", "ad"];
    run([["resolve", NAME].as_slice(), &ad].concat()).assert_usage_error("cannot be trusted");
}

// NAM-12
#[test]
fn what_is_no_name_is_not_asked_for() {
    run(["resolve", "192.0.2.1"]).assert_usage_error("IP addresses have no TLSA records");
    run(["resolve", NAME, "--trust-anchor", "/dev/null"]).assert_usage_error("found none");
}

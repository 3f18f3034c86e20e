//! Withdrawn records, and sessions that foreign clients resume: for as long as the record stands, and never without one.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::time::Instant;

use dance_core::tlsa::TlsaRdata;
use dance_interop::case::{Credential, Expected, Wire, check, naming};
use dance_interop::changing::ChangingWorld;
use dance_interop::clients::{ask, present, s_client, traced};
use dance_interop::gateway::Gateway;
use dance_interop::organisation::{Authority, EE_KEY};
use dance_interop::process::PATIENCE;
use dance_interop::tlslite;
use serde_json::{Value, json};
use tempfile::TempDir;

const NAME: &str = "sensor7.example.com";
const WIRES: [(&str, Wire); 3] = [
    ("profile = \"current\"", Wire::Tls13),
    ("profile = \"2022\"", Wire::Tls13),
    ("profile = \"2022\"\ntls12 = true", Wire::Tls12),
];
/// Clients that cannot send the extension are taken by the name in their certificate.
const DERIVED: &str = "profile = \"2022\"\nderive-without-signal = true";

/// A client with this name in its certificate, and its record.
fn client(directory: &Path) -> (Credential, TlsaRdata) {
    let issued = Authority::new("Device CA").issue(&[NAME]);
    (issued.with(directory, &[]), issued.record(EE_KEY))
}

// SEC-12, SRV-12
#[test]
fn a_withdrawn_record_is_a_refused_client() {
    let directory = TempDir::new().unwrap();
    for (settings, wire) in WIRES {
        let world = ChangingWorld::start();
        let (credential, record) = client(directory.path());
        world.publish(NAME, &record, 0);
        let gateway = world.gateway(settings);
        check(&gateway, &[(naming(&gateway, wire, &credential, NAME), Expected::page(NAME))]);
        world.withdraw(NAME);
        check(&gateway, &[(naming(&gateway, wire, &credential, NAME), Expected::refused("tlsa-absent"))]);
        assert_eq!(world.queries(NAME), 2);
    }
}

/// tlslite-ng twice, the second time with what it was given the first time.
fn twice(gateway: &Gateway, options: &Value) -> [(Value, Value); 2] {
    let mut options = options.clone();
    options["resume"] = json!(true);
    let result = tlslite::connect(&[options]).remove(0);
    [result["first"].clone(), result].map(|result| (result, gateway.next_verdict()))
}

// SRV-17, HTTP-16
#[test]
fn an_authenticated_client_resumes_where_that_is_set() {
    let world = ChangingWorld::start();
    let directory = TempDir::new().unwrap();
    let (credential, record) = client(directory.path());
    world.publish(NAME, &record, 300);
    for (resumption, resumed, outcome) in [("off", false, "authenticated"), ("bound", true, "resumed")] {
        for (settings, wire) in WIRES.into_iter().filter(|(_, wire)| *wire == Wire::Tls13) {
            let gateway = world.gateway(&format!("resumption = \"{resumption}\"\n{settings}"));
            let [(first, first_verdict), (second, verdict)] =
                twice(&gateway, &naming(&gateway, wire, &credential, NAME));
            assert_eq!((&first["resumed"], &first["body"]), (&json!(false), &json!(NAME)), "{first}");
            assert_eq!(first["tickets"], u8::from(resumed), "{first}");
            assert_eq!(first_verdict["outcome"], "authenticated", "{first_verdict}");
            assert_eq!((&second["resumed"], &second["body"]), (&json!(resumed), &json!(NAME)), "{second}");
            assert_eq!((&verdict["outcome"], &verdict["client_name"]), (&json!(outcome), &json!(NAME)), "{verdict}");
        }
    }
}

// SRV-17, SRV-15
#[test]
fn who_is_not_authenticated_has_nothing_to_resume() {
    let world = ChangingWorld::start();
    let directory = TempDir::new().unwrap();
    let (credential, record) = client(directory.path());
    world.publish(NAME, &record, 300);
    let gateway = world.gateway("policy = \"optional\"\nresumption = \"bound\"");
    let mut not_dane = naming(&gateway, Wire::Tls13, &credential, NAME);
    not_dane["in_certificate"] = json!([]);
    let wrong = naming(&gateway, Wire::Tls13, &Credential::wrong(), NAME);
    for (options, outcome) in [(not_dane, "not-dane"), (wrong, "unauthenticated")] {
        for (result, verdict) in twice(&gateway, &options) {
            assert_eq!((&result["resumed"], &result["body"]), (&json!(false), &json!("nobody")), "{result}");
            assert_eq!(verdict["outcome"], outcome, "{verdict}");
            assert!(result["tickets"].is_null() || result["tickets"] == 0, "{result}");
        }
    }
}

/// s_client with or without a session to resume; whether it did, and what it said.
fn openssl(gateway: &Gateway, credential: &Credential, session: &Path, option: &str) -> (bool, String) {
    let mut command = s_client(&gateway.address);
    present(&mut command, credential);
    let said = ask(command.args(["-tls1_3", "-trace", option]).arg(session));
    (said.contains("Reused, TLSv1.3"), said)
}

// SRV-17, SEC-12
#[test]
fn stock_openssl_resumes_until_its_record_is_withdrawn() {
    let world = ChangingWorld::start();
    let directory = TempDir::new().unwrap();
    let session = directory.path().join("session");
    let (credential, record) = client(directory.path());
    world.publish(NAME, &record, 2);
    let gateway = world.gateway(&format!("resumption = \"bound\"\n{DERIVED}"));
    let (resumed, said) = openssl(&gateway, &credential, &session, "-sess_out");
    assert!(!resumed && said.contains(NAME), "{said}");
    assert_eq!(traced(&said).iter().filter(|message| message.name == "NewSessionTicket").count(), 1, "{said}");
    assert_eq!(gateway.next_verdict()["outcome"], "authenticated");
    world.withdraw(NAME);

    // While the answer may be believed it is; a session that is not taken any more is no way in either.
    let end = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < end, "the session outlives its record");
        let (resumed, said) = openssl(&gateway, &credential, &session, "-sess_in");
        let verdict = gateway.next_verdict();
        if verdict["outcome"] == "refused" {
            assert_eq!(verdict["reason"], "tlsa-absent", "{verdict}");
            assert!(!resumed && said.contains("SSL alert number 40"), "{said}");
            break;
        }
        assert_eq!(resumed, verdict["outcome"] == "resumed", "{said}\n{verdict}");
        assert!(said.contains("HTTP/1.1 200 OK") && said.contains(NAME), "{said}");
    }
    assert_eq!(world.queries(NAME), 2);
}

// SRV-17, SRV-15
#[test]
fn stock_openssl_without_a_record_is_given_no_session() {
    let world = ChangingWorld::start();
    let directory = TempDir::new().unwrap();
    let session = directory.path().join("session");
    let (credential, record) = client(directory.path());
    world.publish(NAME, &record, 300);
    let gateway = world.gateway(&format!("policy = \"optional\"\nresumption = \"bound\"\n{DERIVED}"));
    let (resumed, said) = openssl(&gateway, &Credential::wrong(), &session, "-sess_out");
    assert!(!resumed && said.contains("nobody"), "{said}");
    assert!(!session.exists() && traced(&said).iter().all(|message| message.name != "NewSessionTicket"), "{said}");
    assert_ne!(gateway.next_verdict()["outcome"], "authenticated");
    // The same gateway has one for those whom it knows.
    for (option, expected) in [("-sess_out", false), ("-sess_in", true)] {
        let (resumed, said) = openssl(&gateway, &credential, &session, option);
        assert!(resumed == expected && said.contains(NAME), "{said}");
        assert_eq!(gateway.next_verdict()["outcome"], if expected { "resumed" } else { "authenticated" });
    }
}

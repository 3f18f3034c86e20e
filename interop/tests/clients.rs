//! Stock clients that know nothing of the extension: they tolerate the signal, and are nobody or refused.
#![allow(clippy::unwrap_used, reason = "tests")]

use dance_interop::case::{Credential, Expected, Wire, check, naming};
use dance_interop::clients::{ask, curl, gnutls_with_raw_key, present, s_client, traced};
use dance_interop::dns::World;
use dance_interop::gateway::Gateway;
use dance_interop::process::{run, text, vector};
use dance_interop::rustls_client::{self, Form, Outcome};
use dance_interop::tlslite::EXTENSION_TYPE;
use rustls::AlertDescription;
use tempfile::TempDir;

/// What a client has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    HandshakeFailure,
    /// The page for clients that the web application is told nothing of.
    Nobody,
}

/// By the words that a program has for the alert.
fn seen(said: &str, alert: &str) -> Seen {
    match (said.contains(alert), said.contains("nobody")) {
        (true, false) => Seen::HandshakeFailure,
        (false, true) => Seen::Nobody,
        _ => panic!("neither refused nor served, or both:\n{said}"),
    }
}

fn by_s_client(gateway: &Gateway, wire: Wire, credential: Option<&Credential>) -> Seen {
    let mut command = s_client(&gateway.address);
    command.arg(if wire == Wire::Tls12 { "-tls1_2" } else { "-tls1_3" });
    if let Some(credential) = credential {
        present(&mut command, credential);
    }
    seen(&ask(&command), "SSL alert number 40")
}

fn by_curl(gateway: &Gateway, wire: Wire, credential: Option<&Credential>) -> Seen {
    let mut command = curl(gateway, credential);
    seen(&text(&run(command.args(["--tlsv1.2", "--tls-max", wire.version()]))), "handshake failure")
}

fn by_gnutls(gateway: &Gateway, wire: Wire) -> Seen {
    let directory = TempDir::new().unwrap();
    let said = gnutls_with_raw_key(gateway, wire, directory.path(), &Credential::right().key);
    let negotiated = format!("(TLS{}-Raw Public Key-X.509)", wire.version());
    // In TLS 1.2 a refusal comes before there is anything to describe.
    assert!(said.contains(&negotiated) || (wire == Wire::Tls12 && said.contains("[40]")), "{said}");
    seen(&said, "Received alert [40]")
}

fn by_rustls(gateway: &Gateway, wire: Wire, form: Form) -> Seen {
    match rustls_client::ask(gateway, wire, &Credential::right(), form) {
        Outcome::Alert(AlertDescription::HandshakeFailure) => Seen::HandshakeFailure,
        Outcome::Page(body) if body == "nobody" => Seen::Nobody,
        other => panic!("{other:?}"),
    }
}

/// Each of them, with the credential that has a record and without one: refused under policy `require`, nobody under `optional`, and
/// DNS is not asked.
fn nobody_or_refused(settings: &str, wire: Wire) {
    let world = World::shared();
    for (policy, expected) in [("require", Seen::HandshakeFailure), ("optional", Seen::Nobody)] {
        let gateway = Gateway::validating(&world, &format!("policy = \"{policy}\"\n{settings}"));
        let mut number = 0;
        let mut assert_seen = |who: &str, seen: Seen| {
            let verdict = gateway.next_verdict();
            assert_eq!(seen, expected, "{who} under {policy}, {settings}: {verdict}");
            assert_eq!(verdict["reason"], "no-client-name", "{who}: {verdict}");
            assert_eq!(
                verdict["outcome"],
                if policy == "require" { "refused" } else { "not-dane" },
                "{who}: {verdict}"
            );
            assert!(verdict["queries"].is_null(), "{who}: {verdict}");
            number += usize::from(seen == Seen::Nobody);
            assert_eq!(gateway.origin.requests().len(), number, "{who}");
        };
        for credential in [Some(Credential::right()), None] {
            assert_seen("s_client", by_s_client(&gateway, wire, credential.as_ref()));
            assert_seen("curl", by_curl(&gateway, wire, credential.as_ref()));
        }
        assert_seen("gnutls", by_gnutls(&gateway, wire));
        assert_seen("rustls", by_rustls(&gateway, wire, Form::Certificate));
        if wire == Wire::Tls13 {
            assert_seen("rustls, raw key", by_rustls(&gateway, wire, Form::RawPublicKey));
        }
    }
}

// SRV-04, SRV-05, SRV-06, HTTP-01, HTTP-05
#[test]
fn the_current_signal_is_tolerated() {
    nobody_or_refused("profile = \"current\"", Wire::Tls13);
}

// SRV-04, SRV-05, SRV-06, HTTP-01, HTTP-05
#[test]
fn the_signal_of_2022_is_tolerated() {
    nobody_or_refused("profile = \"2022\"", Wire::Tls13);
}

// SRV-03, SRV-04, SRV-05, SRV-06, HTTP-01, HTTP-05
#[test]
fn without_the_extension_tls_12_has_no_signal() {
    nobody_or_refused("profile = \"2022\"\ntls12 = true", Wire::Tls12);
}

// CID-02, CID-03, SRV-01, SRV-16, SRV-17, SRV-19, SRV-21
#[test]
fn openssl_traces_one_request_with_the_signal_and_no_ticket() {
    for (profile, signal) in [("current", "00"), ("2022", "")] {
        let settings = format!("policy = \"optional\"\nprofile = \"{profile}\"");
        let gateway = Gateway::validating(&World::shared(), &settings);
        let mut command = s_client(&gateway.address);
        present(&mut command, &Credential::right());
        let said = ask(command.args(["-trace", "-enable_pha"]));
        assert!(said.contains("nobody") && said.contains("extension_type=post_handshake_auth(49)"), "{said}");
        let messages = traced(&said);
        let with: Vec<_> = messages
            .iter()
            .filter_map(|message| Some((message.name.as_str(), message.extension(EXTENSION_TYPE)?)))
            .collect();
        assert_eq!(with, [("CertificateRequest", signal.to_owned())], "{messages:#?}");
        let received = |name| messages.iter().filter(|message| message.name == name).count();
        assert_eq!((received("CertificateRequest"), received("NewSessionTicket")), (1, 0), "{messages:#?}");
        assert!(!said.contains("certificate_authorities"), "{said}");
    }
}

// SRV-02, SRV-03, SEC-09, SEC-10
#[test]
fn tls_12_is_refused() {
    for settings in ["policy = \"require\"", "policy = \"optional\"", "profile = \"2022\""] {
        let gateway = Gateway::validating(&World::shared(), settings);
        let mut command = s_client(&gateway.address);
        present(command.arg("-tls1_2"), &Credential::right());
        let said = ask(&command);
        assert!(said.contains("SSL alert number 70"), "{said}");
        assert_eq!(gateway.next_verdict()["reason"], "version-too-low");

        let options = naming(&gateway, Wire::Tls12, &Credential::right(), "sensor7._device.example.com");
        check(&gateway, &[(options, Expected::Aborted("protocol_version", "version-too-low"))]);
    }
}

// SRV-15, HTTP-03, HTTP-05
#[test]
fn under_policy_optional_a_client_cannot_name_itself() {
    let gateway = Gateway::validating(&World::shared(), "policy = \"optional\"");
    let mut command = curl(&gateway, Some(&Credential::right()));
    command.args([
        "--header",
        "Dane-Clientid: sensor7._device.example.com",
        "--header",
        "dane_clientid: mallory.example.com",
    ]);
    let output = run(&command);
    assert_eq!((output.status.success(), text(&output)), (true, "nobody".to_owned()));
    assert_eq!(gateway.next_verdict()["outcome"], "not-dane");
    // The same web application, told of somebody.
    let name = "sensor7._device.example.com";
    check(&gateway, &[(naming(&gateway, Wire::Tls13, &Credential::right(), name), Expected::page(name))]);
}

// SRV-05, SRV-15
#[test]
fn an_ordinary_certificate_is_another_matter() {
    let root = vector("certs/root.pem");
    let settings = format!("policy = \"optional\"\nclient-ca = {root:?}");
    let gateway = Gateway::validating(&World::shared(), &settings);
    let directory = TempDir::new().unwrap();
    let chain = Credential::chain(directory.path(), true);
    let forwarded = || gateway.origin.requests().last().unwrap().to_ascii_lowercase().contains("\nclient-cert: :");
    assert_eq!(by_curl(&gateway, Wire::Tls13, Some(&chain)), Seen::Nobody);
    assert_eq!(gateway.next_verdict()["outcome"], "not-dane");
    assert!(forwarded());
    // One of another authority.
    assert_eq!(by_curl(&gateway, Wire::Tls13, Some(&Credential::right())), Seen::Nobody);
    assert_eq!(gateway.next_verdict()["outcome"], "not-dane");
    assert!(!forwarded());
    // Who asks for DANE and fails has no certificate either.
    let failed = naming(&gateway, Wire::Tls13, &chain, "sensor7._device.example.com");
    check(&gateway, &[(failed, Expected::Nobody("unauthenticated", Some("no-match")))]);
    assert!(!forwarded());
}

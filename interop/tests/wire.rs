//! The octets of the extension at their places, as Wireshark reads them; keys by the peer that nobody here wrote.
#![allow(clippy::unwrap_used, reason = "tests")]

use dance_interop::case::Credential;
use dance_interop::clients::{ask, present, s_client};
use dance_interop::dns::World;
use dance_interop::gateway::{Gateway, ServerCertificate};
use dance_interop::process::{dance, run, text};
use dance_interop::tlslite::{EXTENSION_TYPE, Server, name_extension};
use dance_interop::wire::{Message, Tap};
use serde_json::json;
use tempfile::TempDir;

const NAME: &str = "sensor7._device.example.com";

/// The messages that hold the extension, with its data.
fn places(messages: &[Message]) -> Vec<(&str, Vec<String>)> {
    let of = |message| Message::extensions(message, EXTENSION_TYPE);
    messages.iter().map(|message| (message.name.as_str(), of(message))).filter(|(_, found)| !found.is_empty()).collect()
}

fn names(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.name.as_str()).collect()
}

// CID-01, CID-02, CID-03, SRV-01, SRV-21
#[test]
fn the_signal_stands_in_the_certificate_request_and_nowhere_else() {
    let world = World::shared();
    for (profile, signal) in [("current", "00"), ("2022", "")] {
        let directory = TempDir::new().unwrap();
        let gateway = Gateway::validating(&world, &format!("profile = \"{profile}\""));
        let tap = Tap::start(&gateway.address);
        let keys = directory.path().join("keys");
        let mut command = s_client(&tap.address);
        present(&mut command, &Credential::right());
        let said = ask(command.arg("-keylogfile").arg(&keys));
        assert!(said.contains("SSL alert number 40"), "{said}");
        assert_eq!(gateway.next_verdict()["reason"], "no-client-name");

        let messages = tap.dissected(directory.path(), Some(&keys));
        let server =
            ["Server Hello", "Encrypted Extensions", "Certificate Request", "Certificate", "Certificate Verify"];
        let client = ["Finished", "Certificate", "Certificate Verify", "Finished"];
        assert_eq!(names(&messages), [&["Client Hello"], &server[..], &client[..]].concat());
        assert_eq!(places(&messages), [("Certificate Request", vec![signal.to_owned()])]);
        assert!(!messages[3].lines.iter().any(|line| line.contains("certificate_authorities")), "{messages:#?}");
    }
}

// CID-04, CLI-03, CLI-08
#[test]
fn the_name_stands_on_the_first_certificate_and_nowhere_else() {
    for (profile, signal) in [("current", "00"), ("2022", "")] {
        let directory = TempDir::new().unwrap();
        let certificate = ServerCertificate::new(directory.path(), [2020, 2049]);
        let keys = directory.path().join("keys");
        let options = json!({"signal": [signal], "key_log": keys});
        let server = Server::start(&certificate.certificate, &certificate.key, &options);
        let tap = Tap::start(&server.address);
        let mut command = dance();
        let port = tap.address.rsplit(':').next().unwrap();
        command.args(["request", &format!("https://localhost:{port}/"), "--resolve-to", &tap.address, "--name", NAME]);
        command.args(["--no-record-check", "--profile", profile, "--server-ca"]).arg(&certificate.certificate);
        let chain = Credential::chain(directory.path(), true);
        let output = run(command.arg("--cert").arg(chain.certificate).arg("--key").arg(chain.key));
        assert_eq!(output.stdout, b"hello", "{}", text(&output));

        let messages = tap.dissected(directory.path(), Some(&keys));
        let name = name_extension(NAME.as_bytes());
        let expected = [("Certificate Request", vec![signal.to_owned()]), ("Certificate", vec![name])];
        assert_eq!(places(&messages), expected);
        // Of three certificates, before the second.
        let client = messages.iter().rfind(|message| message.name == "Certificate").unwrap();
        let line = |text: &str| client.lines.iter().position(|line| line.contains(text)).unwrap();
        assert_eq!(
            client.lines.iter().filter(|line| line.starts_with("Certificate Length: ")).count(),
            3,
            "{client:#?}"
        );
        let second = client.lines.iter().rposition(|line| line.starts_with("Certificate Length: ")).unwrap();
        assert!(line("Type: Unknown") < second, "{client:#?}");
        assert!(!names(&messages).contains(&"Encrypted Handshake Message"), "{messages:#?}");
    }
}

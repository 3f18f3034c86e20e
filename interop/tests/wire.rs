//! The octets of the extension at their places, as Wireshark reads them; keys by the peer that nobody here wrote.
#![allow(clippy::unwrap_used, reason = "tests")]

use dance_interop::case::{Credential, Expected, Wire, check, naming};
use dance_interop::client::{Peer, page, request, x509};
use dance_interop::clients::{ask, present, s_client};
use dance_interop::dns::World;
use dance_interop::gateway::Gateway;
use dance_interop::process::run;
use dance_interop::tlslite::{EXTENSION_TYPE, name_extension};
use dance_interop::wire::{Message, Tap};
use serde_json::json;
use tempfile::TempDir;

const NAME: &str = "sensor7._device.example.com";
/// The one name in the certificate of the vectors' chain.
const DEVICE: &str = "device1.example.com";

/// The messages that hold the extension, with its data.
fn places(messages: &[Message], code_point: u16) -> Vec<(&str, Vec<String>)> {
    let of = |message| Message::extensions(message, code_point);
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
        assert_eq!(places(&messages, EXTENSION_TYPE), [("Certificate Request", vec![signal.to_owned()])]);
        assert!(!messages[3].lines.iter().any(|line| line.contains("certificate_authorities")), "{messages:#?}");
    }
}

// CID-04, CLI-03, CLI-08
#[test]
fn the_name_stands_on_the_first_certificate_and_nowhere_else() {
    for (profile, signal) in [("current", "00"), ("2022", "")] {
        let peer = Peer::new();
        let keys = peer.directory.path().join("keys");
        let server = peer.start(&json!({"signal": [signal], "key_log": keys}));
        let tap = Tap::start(&server.address);
        let chain = Credential::chain(peer.directory.path(), true);
        let mut command = request(&tap.address, &peer.certificate);
        command.args(["--profile", profile, "--name", NAME]);
        assert_eq!(page(&run(x509(&mut command, &chain))), "hello");

        let messages = tap.dissected(peer.directory.path(), Some(&keys));
        let name = name_extension(NAME.as_bytes());
        let expected = [("Certificate Request", vec![signal.to_owned()]), ("Certificate", vec![name])];
        assert_eq!(places(&messages, EXTENSION_TYPE), expected);
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

// CID-01, CID-09
#[test]
fn a_change_of_code_points_needs_no_flag_day() {
    const NEXT: u16 = 0xff5a;
    let world = World::shared();
    for (profile, signal) in [("current", "00"), ("2022", "")] {
        let directory = TempDir::new().unwrap();
        let settings = format!("profile = \"{profile}\"\nextension-type = [\"0xffdc\", \"0xff5a\"]");
        let gateway = Gateway::validating(&world, &settings);
        let case = |code_point: u16, expected| {
            let mut options = naming(&gateway, Wire::Tls13, &Credential::right(), NAME);
            options["extension_type"] = code_point.into();
            (options, expected)
        };
        check(
            &gateway,
            &[
                case(EXTENSION_TYPE, Expected::page(NAME)),
                case(NEXT, Expected::page(NAME)),
                // One that nobody has asked for.
                case(0xff60, Expected::refused("no-client-name")),
            ],
        );
        let tap = Tap::start(&gateway.address);
        let keys = directory.path().join("keys");
        let said = ask(s_client(&tap.address).arg("-keylogfile").arg(&keys));
        assert!(said.contains("SSL alert number 40"), "{said}");
        let messages = tap.dissected(directory.path(), Some(&keys));
        for code_point in [EXTENSION_TYPE, NEXT] {
            assert_eq!(places(&messages, code_point), [("Certificate Request", vec![signal.to_owned()])]);
        }
    }
}

// CID-03, CID-16
#[test]
fn over_tls_12_openssl_asks_and_the_server_hello_answers() {
    let gateway = Gateway::validating(&World::shared(), "profile = \"2022\"\ntls12 = true");
    for serverinfo in [true, false] {
        let directory = TempDir::new().unwrap();
        let tap = Tap::start(&gateway.address);
        let mut command = s_client(&tap.address);
        present(command.arg("-tls1_2"), &Credential::chain(directory.path(), true));
        if serverinfo {
            command.args(["-serverinfo", &EXTENSION_TYPE.to_string()]);
        }
        let said = ask(&command);
        let messages = tap.dissected(directory.path(), None);
        if serverinfo {
            assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
            let empty = || vec![String::new()];
            assert_eq!(places(&messages, EXTENSION_TYPE), [("Client Hello", empty()), ("Server Hello", empty())]);
        } else {
            assert!(said.contains("SSL alert number 40"), "{said}");
            assert_eq!(places(&messages, EXTENSION_TYPE), []);
            // The server's Finished would be encrypted: there is the client's alone.
            let finished = names(&messages).iter().filter(|name| **name == "Encrypted Handshake Message").count();
            assert_eq!(finished, 1, "{messages:#?}");
        }
        assert!(names(&messages).contains(&"Certificate Request"), "{messages:#?}");
    }
}

// CLI-08, CID-04
#[test]
fn over_tls_12_the_client_s_name_is_not_in_its_hello_unless_told_to() {
    for (more, extension) in
        [(None, String::new()), (Some("--name-in-client-hello"), name_extension(DEVICE.as_bytes()))]
    {
        let peer = Peer::new();
        let server = peer.start(&json!({"tls": "1.2", "in_server_hello": [""]}));
        let tap = Tap::start(&server.address);
        let chain = Credential::chain(peer.directory.path(), true);
        let mut command = request(&tap.address, &peer.certificate);
        command.args(["--profile", "2022", "--tls12", "--name", DEVICE]).args(more);
        assert_eq!(page(&run(x509(&mut command, &chain))), "hello");
        let messages = tap.dissected(peer.directory.path(), None);
        let expected = [("Client Hello", vec![extension]), ("Server Hello", vec![String::new()])];
        assert_eq!(places(&messages, EXTENSION_TYPE), expected);
    }
}

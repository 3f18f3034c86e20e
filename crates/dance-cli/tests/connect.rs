//! `dance connect`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/server.rs"]
mod server;
mod support;

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt as _;
use std::process::Stdio;

use dance_core::clientid::{ClientForm, ExtensionType, Profile};
use dance_core::matching::Credential;
use dance_core::name::ClientName;
use dance_core::reason::Reason;
use dance_core::verdict::{ClientId, Presented, Verdict};
use dance_tls::{DaneMode, ServerConfig, TlsStream};
use server::{NAME, Server, run_beside};
use support::{Ran, dance, run, unhex, vector_section, vectors};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const ACCEPT: Verdict = Verdict::NotDane(Reason::NoClientName);
const REFUSE: Verdict = Verdict::Abort(Reason::NoMatch);

/// Reads to the end, then answers in upper case.
async fn shout(mut stream: TlsStream<TcpStream>) {
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.unwrap();
    stream.write_all(heard.to_uppercase().as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
}

/// Runs `dance connect` with something on standard input.
async fn connect(server: &Server, options: Vec<String>, input: &'static str) -> Ran {
    let address = server.addr.to_string();
    tokio::task::spawn_blocking(move || {
        let mut command = dance();
        command.arg("connect").arg(address).args(options);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A refused client may be gone before it has read any of it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Ran::new(child.wait_with_output().unwrap())
    })
    .await
    .unwrap()
}

fn conveyed(presented: &Presented) -> Option<&str> {
    match &presented.client_id {
        ClientId::Form(ClientForm::Name(name)) => Some(name.as_str()),
        _ => None,
    }
}

// CLI-03
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_and_the_name_go_out_and_both_directions_are_piped() {
    let mut server = Server::start(ACCEPT, |_| {}, shout).await;
    let ran = connect(&server, server.x509(), "hello").await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "HELLO"), "{ran:?}");
    assert!(ran.stderr.contains("TLS 1.3") && ran.stderr.contains(&format!("certificate sent as {NAME}")), "{ran:?}");
    let presented = server.presented().await;
    assert_eq!(conveyed(&presented), Some(NAME));
    assert!(matches!(presented.credential, Some(Credential::X509(_))), "{presented:?}");
}

// CLI-04, RPK-03
#[tokio::test(flavor = "multi_thread")]
async fn a_key_alone_is_a_raw_public_key() {
    let mut server = Server::start(ACCEPT, |_| {}, shout).await;
    let ran = connect(&server, server.raw_key(), "hello").await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "HELLO"), "{ran:?}");
    assert!(ran.stderr.contains(&format!("raw public key sent as {NAME}")), "{ran:?}");
    let presented = server.presented().await;
    assert_eq!(conveyed(&presented), Some(NAME));
    assert!(matches!(presented.credential, Some(Credential::RawPublicKey(_))), "{presented:?}");
}

// CLI-07
#[tokio::test(flavor = "multi_thread")]
async fn a_late_alert_is_a_refusal_of_the_client() {
    let server = Server::start(REFUSE, |_| {}, shout).await;
    for input in ["", "hello"] {
        let ran = connect(&server, server.x509(), input).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
        assert!(ran.stderr.contains("error: client authentication refused"), "{ran:?}");
    }
}

/// Those of a client that speaks profile `2022` over TLS 1.2 and nothing else.
const TLS12: [&str; 4] = ["--profile", "2022", "--tls12", "--no-tls13"];

/// A listener of profile `2022` that speaks TLS 1.2 too.
fn old(config: &mut ServerConfig) {
    config.profile = Profile::Draft2022;
    config.tls12 = true;
}

fn with(mut options: Vec<String>, more: &[&str]) -> Vec<String> {
    options.extend(more.iter().map(|&option| option.to_owned()));
    options
}

/// The options without one of them and its value.
fn without(mut options: Vec<String>, option: &str) -> Vec<String> {
    let at = options.iter().position(|found| found == option).unwrap();
    options.drain(at..at + 2);
    options
}

// CLI-07
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_within_the_handshake_of_tls_1_2_is_told_in_the_same_words() {
    let words = |ran: &Ran| ran.stderr.lines().last().unwrap().to_owned();
    let server = Server::start(REFUSE, old, shout).await;
    let late = connect(&server, with(server.x509(), &["--profile", "2022"]), "").await;
    assert!(late.stderr.contains("TLS 1.3") && words(&late).contains("client authentication refused"), "{late:?}");
    for credential in [server.x509(), with(server.raw_key(), &["--name-in-client-hello"])] {
        let ran = connect(&server, with(credential, &TLS12), "hello").await;
        assert_eq!((ran.code, ran.stdout.as_str(), words(&ran)), (1, "", words(&late)), "{ran:?}");
        assert!(!ran.stderr.contains("connected to"), "{ran:?}");
    }

    let server = Server::start(ACCEPT, old, shout).await;
    let ran = connect(&server, with(server.x509(), &TLS12), "hello").await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "HELLO"), "{ran:?}");
    assert!(ran.stderr.contains("TLS 1.2") && ran.stderr.contains("profile 2022"), "{ran:?}");
}

// CLI-08, CLI-04
#[tokio::test(flavor = "multi_thread")]
async fn a_client_hello_says_the_name_only_where_that_is_asked_for() {
    let mut server = Server::start(ACCEPT, old, shout).await;
    let in_certificate = ClientId::Form(ClientForm::InCertificate);
    let name = ClientId::Form(ClientForm::Name(ClientName::parse_config(NAME).unwrap()));
    let nameless = without(server.x509(), "--name");
    for (options, more, says) in [
        (server.x509(), &TLS12[..], &in_certificate),
        (server.x509(), &[&TLS12[..], &["--name-in-client-hello"]].concat(), &name),
        (server.raw_key(), &[&TLS12[..], &["--name-in-client-hello"]].concat(), &name),
        (nameless.clone(), &[&TLS12[..], &["--name-in-certificate"]].concat(), &in_certificate),
        // Where TLS 1.3 is negotiated, the Certificate says it.
        (server.x509(), &["--profile", "2022", "--tls12"], &name),
        (nameless, &["--profile", "2022", "--name-in-certificate"], &in_certificate),
    ] {
        let ran = connect(&server, with(options, more), "hello").await;
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "HELLO"), "{ran:?}");
        assert!(ran.stderr.contains("record checked: 3 1 1"), "{ran:?}");
        let presented = server.presented().await;
        assert_eq!(&presented.client_id, says, "{more:?}");
    }

    // A raw public key holds no name, and its ClientHello may not say it: there is nothing to connect with.
    let ran = connect(&server, with(server.raw_key(), &TLS12), "").await;
    ran.assert_usage_error("allow the name in the ClientHello");
}

// CLI-10
#[tokio::test(flavor = "multi_thread")]
async fn auto_speaks_the_profile_that_the_server_reveals() {
    for (profile, other) in [(Profile::Current, "2022"), (Profile::Draft2022, "current")] {
        let mut server = Server::start(ACCEPT, move |config| config.profile = profile, shout).await;
        for spoken in ["auto", profile.name()] {
            let ran = connect(&server, with(server.x509(), &["--profile", spoken]), "hello").await;
            assert_eq!((ran.code, ran.stdout.as_str()), (0, "HELLO"), "{ran:?}");
            assert!(ran.stderr.contains(&format!("client authentication, profile {profile};")), "{ran:?}");
            assert_eq!(conveyed(&server.presented().await), Some(NAME));
        }
        let ran = connect(&server, with(server.x509(), &["--profile", other]), "hello").await;
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
        assert!(ran.stderr.contains("the server's dane_clientid extension is wrong"), "{ran:?}");
    }
}

// CID-01
#[tokio::test(flavor = "multi_thread")]
async fn both_sides_must_mean_the_same_code_point() {
    let number = ExtensionType::new(0xff5a).unwrap();
    let server = Server::start(ACCEPT, move |config| config.extension_types = number.into(), shout).await;
    let ran = connect(&server, with(server.x509(), &["--extension-type", "0xff5a"]), "hello").await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "HELLO"), "{ran:?}");
    let ran = connect(&server, server.x509(), "hello").await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("found none"), "{ran:?}");
}

// CLI-02, CLI-03
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_the_signal_is_told_nothing() {
    let mut server = Server::start(ACCEPT, |config| config.dane = DaneMode::Off, shout).await;
    let ran = connect(&server, server.x509(), "").await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("found none"), "{ran:?}");

    // The same server takes an ordinary client certificate, to which no name goes.
    let ran = connect(&server, without(server.x509(), "--name"), "hello").await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "HELLO"), "{ran:?}");
    assert!(ran.stderr.contains("warning: without --name"), "{ran:?}");
    assert_eq!(conveyed(&server.presented().await), None);
}

// CLI-05
#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_server_learns_nothing() {
    let server = Server::start(ACCEPT, |_| {}, shout).await;
    let mut options = server.x509();
    options.extend(["--server-name".to_owned(), "other.example".to_owned()]);
    let ran = connect(&server, options, "").await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("does not verify for other.example"), "{ran:?}");

    // With verification switched off the same server is good enough.
    let mut options = server.raw_key();
    let ca = options.iter().position(|option| option == "--server-ca").unwrap();
    options.splice(ca..ca + 2, ["--unsafe-no-verify".to_owned()]);
    let ran = connect(&server, options, "x").await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "X"), "{ran:?}");
    assert!(ran.stderr.contains("warning: the server is not verified"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_not_a_refusal() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let ran = run_beside(vec!["connect".to_owned(), address]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("cannot connect to"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_waited_for_so_long_and_no_longer() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let ran = run_beside(vec!["connect".to_owned(), address, "--timeout".to_owned(), "200ms".to_owned()]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("within 200 ms"), "{ran:?}");
}

// CLI-09
#[test]
fn wrong_usage() {
    run(["connect", "example.com"]).assert_usage_error("found no port");
    run(["connect", "example.com:443", "--name", NAME]).assert_usage_error("--key <PEM>");
    run(["connect", "example.com:443", "--cert", "x"]).assert_usage_error("--key <PEM>");
    run(["connect", "example.com:443", "--key", "x", "--name", "192.0.2.1"]).assert_usage_error("IP addresses");
    run(["connect", "example.com:443", "--key", "/dev/null", "--name", NAME]).assert_usage_error("private key");
    let missing = run(["connect", "example.com:443", "--key", "/no/such/file", "--name", NAME]);
    assert_eq!(missing.code, 3, "{missing:?}");

    let certificate = vectors("certs/leaf-twosan.pem");
    let key = vectors("keys/leaf.key.pem");
    let client = |more: &[&str]| {
        let files = ["--cert", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()];
        run(["connect", "example.com:443"].into_iter().chain(files).chain(more.iter().copied()))
    };
    client(&["--name", NAME, "--tls12"]).assert_usage_error("TLS 1.3 only");
    client(&["--name", NAME, "--tls12", "--profile", "auto"]).assert_usage_error("TLS 1.3 only");
    client(&["--name", NAME, "--no-tls13"]).assert_usage_error("--tls12");
    client(&["--name", NAME, "--name-in-client-hello"]).assert_usage_error("--tls12");
    client(&["--name", NAME, "--name-in-certificate"]).assert_usage_error("cannot be used with");
    client(&["--name-in-certificate"]).assert_usage_error("profile `current` takes no name from a certificate");
    client(&["--name-in-certificate", "--profile", "auto"]).assert_usage_error("takes no name from a certificate");
    // CLI-04: a certificate of several names does not say which.
    client(&["--name-in-certificate", "--profile", "2022"]).assert_usage_error("give the name");
    run(["connect", "example.com:443", "--key", "x", "--name-in-certificate"]).assert_usage_error("--cert <PEM>");
    run(["connect", "example.com:443", "--profile", "2023"]).assert_usage_error("`2022` or `auto`");
}

// CLI-09, CID-05, NAM-12
#[test]
fn no_name_is_conveyed_that_a_server_must_refuse() {
    let mut refused = 0;
    for case in vector_section("name") {
        let octets = unhex(case["octets_hex"].as_str().unwrap());
        // An administrator may type the final dot; it is not sent.
        let typed_dot = octets.last() == Some(&b'.') && octets != b".";
        let name = OsString::from_vec([b"--name=".as_slice(), &octets].concat());
        for command in ["connect", "request"] {
            let server = if command == "connect" { "example.com:443" } else { "https://example.com/" };
            let words = ["dance", command, server, "--key", "k"].map(OsString::from).into_iter();
            let taken = dance_cli::check_usage(words.chain([name.clone()])).is_ok();
            assert_eq!(taken, case["verdict"] == "accept" || typed_dot, "{case}");
            refused += usize::from(!taken);
        }
    }
    assert!(refused >= 20, "only {refused} refused");
}

//! `dance connect`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/server.rs"]
mod server;
mod support;

use std::io::Write as _;
use std::process::Stdio;

use dance_core::clientid::ClientForm;
use dance_core::matching::Credential;
use dance_core::reason::Reason;
use dance_core::verdict::{ClientId, Presented, Verdict};
use dance_tls::{DaneMode, TlsStream};
use server::{NAME, Server, run_beside};
use support::{Ran, dance, run};
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

// CLI-02, CLI-03
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_the_signal_is_told_nothing() {
    let mut server = Server::start(ACCEPT, |config| config.dane = DaneMode::Off, shout).await;
    let ran = connect(&server, server.x509(), "").await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("found none"), "{ran:?}");

    // The same server takes an ordinary client certificate, to which no name goes.
    let mut options = server.x509();
    let name = options.iter().position(|option| option == "--name").unwrap();
    options.drain(name..name + 2);
    let ran = connect(&server, options, "hello").await;
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
}

//! `dance connect` and `dance request` look up their own record before they connect.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/server.rs"]
mod server;
mod support;

use std::fs;

use dance_core::clientid::Profile;
use dance_core::reason::Reason;
use dance_core::tlsa::{CertUsage, MatchingType, Selector, TlsaRdata};
use dance_core::verdict::Verdict;
use dance_testkit::{Authority, CertSpec, Fault, Identity};
use dance_tls::TlsStream;
use server::{NAME, Server, run_beside};
use support::{Ran, vector_section, vectors};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// Whatever the record: what is asserted here is what the client makes of it.
const ACCEPT: Verdict = Verdict::NotDane(Reason::NoClientName);
/// A name without record, until a test publishes one.
const OTHER: &str = "robot3._device.example.com";

async fn close(mut stream: TlsStream<TcpStream>) {
    let _ = stream.shutdown().await;
}

async fn start() -> Server {
    Server::start(ACCEPT, |_| {}, close).await
}

/// `dance connect` as `name`, with the rest of its options.
async fn connect(server: &Server, name: &str, options: &[&str]) -> Ran {
    let address = server.addr.to_string();
    let mut args = vec!["connect".to_owned(), address];
    args.extend(["--name", name, "--server-ca", &server.file("ca.pem")].map(str::to_owned));
    args.extend(options.iter().map(|&option| option.to_owned()));
    if !options.contains(&"--no-record-check") && !options.contains(&"--resolver") {
        args.extend(server.resolver());
    }
    run_beside(args).await
}

/// With the certificate or bare key in `PREFIXcert.pem` and `PREFIXkey.pem`.
async fn with_certificate(server: &Server, name: &str, prefix: &str) -> Ran {
    let files = [server.file(&format!("{prefix}cert.pem")), server.file(&format!("{prefix}key.pem"))];
    connect(server, name, &["--cert", &files[0], "--key", &files[1]]).await
}

async fn with_key(server: &Server, name: &str, prefix: &str) -> Ran {
    connect(server, name, &["--key", &server.file(&format!("{prefix}key.pem"))]).await
}

fn assert_refused(server: &Server, ran: &Ran, parts: &[&str]) {
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(ran.stderr.starts_with("error: not connecting: servers would refuse this client\n"), "{ran:?}");
    for part in parts {
        assert!(ran.stderr.contains(part), "no `{part}` in {}", ran.stderr);
    }
    assert_eq!(server.connections(), 0, "{ran:?}");
}

fn assert_connected(server: &Server, ran: &Ran, note: &str) {
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains(note) && ran.stderr.contains("connected to"), "no `{note}` in {}", ran.stderr);
    assert!(server.connections() > 0, "{ran:?}");
}

/// An address at which nobody listens.
fn closed_port() -> String {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().to_string()
}

fn of_key(identity: &Identity) -> TlsaRdata {
    identity.tlsa_311().unwrap()
}

fn publish(server: &Server, records: &[&str]) {
    server.dns.set_tlsa(OTHER, records, 0).unwrap();
}

/// Makes the client of [`OTHER`] with its files under `robot-`.
fn robot(server: &Server) -> Identity {
    let robot = CertSpec::client(OTHER).self_signed().unwrap();
    server.write("robot-", &robot);
    robot
}

// CLI-01
#[tokio::test(flavor = "multi_thread")]
async fn without_a_record_there_is_no_connection_and_the_record_is_told() {
    let server = start().await;
    let robot = robot(&server);
    for ran in [with_key(&server, OTHER, "robot-").await, with_certificate(&server, OTHER, "robot-").await] {
        let missing = format!("{OTHER} has no TLSA record (tlsa-absent)");
        assert_refused(&server, &ran, &[&missing, "--no-record-check connects all the same"]);
        // The advice is good, whichever of the two it is given for.
        let advice = format!("{OTHER}. IN TLSA ");
        let record = ran.stderr.lines().find_map(|line| line.trim().strip_prefix(&advice)).unwrap();
        assert_eq!(record, of_key(&robot).to_string());
    }
    publish(&server, &[&of_key(&robot).to_string()]);
    let note = format!("record checked: 3 1 1 at {OTHER} matches");
    assert_connected(&server, &with_certificate(&server, OTHER, "robot-").await, &note);
    assert_connected(&server, &with_key(&server, OTHER, "robot-").await, &note);
}

// CLI-01
#[tokio::test(flavor = "multi_thread")]
async fn what_dnssec_does_not_prove_is_no_record() {
    let server = start().await;
    let unsigned = "robot3.unsigned.example";
    let robot = robot(&server);
    server.dns.set_tlsa(unsigned, &[of_key(&robot)], 0).unwrap();
    let ran = with_certificate(&server, unsigned, "robot-").await;
    assert_refused(&server, &ran, &["is not signed with DNSSEC", "(dnssec-insecure)", "sign the zone"]);

    publish(&server, &[&of_key(&robot).to_string()]);
    server.dns.add_fault(OTHER, Fault::TamperedRdata).unwrap();
    let ran = with_certificate(&server, OTHER, "robot-").await;
    assert_refused(&server, &ran, &["fails validation", "(dnssec-bogus)", "repair the zone's signatures"]);

    server.dns.clear_faults();
    assert_connected(&server, &with_certificate(&server, OTHER, "robot-").await, "record checked: 3 1 1");
}

// CLI-01, RPK-01
#[tokio::test(flavor = "multi_thread")]
async fn each_record_that_does_not_match_is_told_with_its_fault() {
    let server = start().await;
    let robot = robot(&server);
    let good = of_key(&robot).to_string();
    let zeros = "00".repeat(32);
    publish(&server, &[&format!("3 1 1 {zeros}"), &format!("3 0 1 {zeros}"), "3 1 1 00", &format!("9 1 1 {zeros}")]);
    let ran = with_certificate(&server, OTHER, "robot-").await;
    let expected = [
        "no record at robot3._device.example.com matches the certificate (no-match)",
        "describes another key",
        "describes another certificate",
        "3 1 1 00\n",
        "expected a digest of 32 octets, found 1",
        &format!("{OTHER}. IN TLSA {good}"),
    ];
    assert_refused(&server, &ran, &expected);

    // Digest agility: a stronger digest that does not match hides a weaker one that would.
    publish(&server, &[&good, &format!("3 1 2 {}", "00".repeat(64))]);
    assert_refused(&server, &with_certificate(&server, OTHER, "robot-").await, &["stronger digest", "(no-match)"]);

    let certificate =
        TlsaRdata::for_certificate(CertUsage::DANE_EE, Selector::CERT, MatchingType::SHA2_256, robot.leaf_der())
            .unwrap();
    publish(&server, &[&certificate.to_string()]);
    let ran = with_key(&server, OTHER, "robot-").await;
    let expected = ["no record at robot3._device.example.com can be used for the raw public key", "only 3 1 x can"];
    assert_refused(&server, &ran, &expected);
    // The same record is good for the certificate, and another one for the key.
    assert_connected(&server, &with_certificate(&server, OTHER, "robot-").await, "record checked: 3 0 1");
    publish(&server, &[&good]);
    assert_connected(&server, &with_key(&server, OTHER, "robot-").await, "record checked: 3 1 1");
}

// CLI-06
#[tokio::test(flavor = "multi_thread")]
async fn usage_2_needs_the_chain_up_to_the_trust_anchor() {
    let server = start().await;
    let authority = Authority::root("Fleet CA").unwrap();
    let robot = CertSpec::client(OTHER).issued_by(&authority).unwrap();
    server.write("robot-", &robot);
    publish(&server, &[&authority.tlsa_201().unwrap().to_string()]);
    let chain = robot.chain_pem();
    let leaf = chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
    assert!(leaf.len() < chain.len());
    fs::write(server.file("robot-cert.pem"), leaf).unwrap();
    let ran = with_certificate(&server, OTHER, "robot-").await;
    let expected =
        ["its trust anchor is not among the certificates sent", "up to and including the trust anchor", "--cert"];
    assert_refused(&server, &ran, &expected);

    // The whole certificate in DNS needs no chain (RFC 7671 section 5.2.2).
    let whole = TlsaRdata::new(CertUsage::DANE_TA, Selector::CERT, MatchingType::FULL, authority.der());
    publish(&server, &[&whole.to_string()]);
    assert_connected(&server, &with_certificate(&server, OTHER, "robot-").await, "record checked: 2 0 0");

    publish(&server, &[&authority.tlsa_201().unwrap().to_string()]);
    fs::write(server.file("robot-cert.pem"), chain).unwrap();
    assert_connected(&server, &with_certificate(&server, OTHER, "robot-").await, "record checked: 2 0 1");
}

// CLI-06
#[tokio::test(flavor = "multi_thread")]
async fn usages_with_a_name_check_need_the_name_in_the_certificate() {
    let server = start().await;
    let authority = Authority::root("Fleet CA").unwrap();
    let robot = CertSpec::client("another.example.com").issued_by(&authority).unwrap();
    server.write("robot-", &robot);
    publish(&server, &[&authority.tlsa_201().unwrap().to_string()]);
    let ran = with_certificate(&server, OTHER, "robot-").await;
    assert_refused(&server, &ran, &["(san-mismatch)", "the certificate has no dNSName that equals the client name"]);

    // Usage 1 as well, whatever roots a server has; and it must be this key.
    let of_key = of_key(&robot);
    let pkix = |data: &TlsaRdata| data.to_string().replacen('3', "1", 1);
    publish(&server, &[&pkix(&of_key)]);
    let ran = with_certificate(&server, OTHER, "robot-").await;
    assert_refused(&server, &ran, &["(no-usable-record)", &format!("asks for {OTHER} as a dNSName")]);
    let robot = CertSpec::client(OTHER).issued_by(&authority).unwrap();
    server.write("robot-", &robot);
    assert_refused(&server, &with_certificate(&server, OTHER, "robot-").await, &["describes another key"]);

    // What a server's roots decide, a client cannot know.
    publish(&server, &[&pkix(&robot.tlsa_311().unwrap())]);
    let ran = with_certificate(&server, OTHER, "robot-").await;
    assert_connected(
        &server,
        &ran,
        "warning: 1 1 1 at robot3._device.example.com authenticates this credential only with",
    );
    publish(&server, &[&authority.tlsa_201().unwrap().to_string()]);
    assert_connected(&server, &with_certificate(&server, OTHER, "robot-").await, "record checked: 2 0 1");
}

// NAM-11
#[tokio::test(flavor = "multi_thread")]
async fn a_users_certificate_names_the_domain() {
    let server = start().await;
    let chain =
        ["certs/leaf-user.pem", "certs/inter.pem", "certs/root.pem"].map(|file| fs::read(vectors(file)).unwrap());
    fs::write(server.file("robot-cert.pem"), chain.concat()).unwrap();
    fs::copy(vectors("keys/leaf.key.pem"), server.file("robot-key.pem")).unwrap();
    let case = vector_section("user").into_iter().find(|case| case["expected"]["verdict"] == "authenticated").unwrap();
    let record = case["rrset"][0].as_str().unwrap();
    // Another name than the certificate's domain, and a name that is no user's.
    for name in ["_user.org.example.com", "example.com.example.com"] {
        server.dns.set_tlsa(name, &[record], 0).unwrap();
        assert_refused(&server, &with_certificate(&server, name, "robot-").await, &["(san-mismatch)"]);
    }
    let name = case["client_name"].as_str().unwrap();
    server.dns.set_tlsa(name, &[record], 0).unwrap();
    assert_connected(&server, &with_certificate(&server, name, "robot-").await, "record checked: 2 0 1");
}

// CLI-01
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_told_is_a_warning() {
    let server = start().await;
    let connect = |options: Vec<String>| {
        let mut args = vec!["connect".to_owned(), server.addr.to_string()];
        args.extend(options);
        run_beside(args)
    };
    for (fault, reason) in [(Fault::Servfail, "lookup-servfail"), (Fault::NeverAnswers, "lookup-timeout")] {
        server.dns.add_fault(NAME, fault).unwrap();
        let ran = connect(server.x509()).await;
        assert_connected(&server, &ran, "warning: whether the record of this credential is published at");
        assert!(ran.stderr.contains(reason), "{ran:?}");
        server.dns.clear_faults();
    }
    // A resolver that validates nothing says nothing about the zone.
    server.dns.add_server_fault(Fault::StrippedSignatures).unwrap();
    let ran = connect(server.x509()).await;
    assert_connected(&server, &ran, "drops DNSSEC signatures");
    server.dns.clear_faults();
    server.dns.add_server_fault(Fault::EmptyAnswer).unwrap();
    let ran = connect(server.x509()).await;
    assert_connected(&server, &ran, "proves nothing");
    server.dns.clear_faults();

    let mut elsewhere = server.x509();
    let resolver = elsewhere.iter().position(|option| option == "--resolver").unwrap();
    elsewhere[resolver + 1] = closed_port();
    assert_connected(&server, &connect(elsewhere).await, "lookup-unreachable");

    assert_connected(&server, &connect(server.x509()).await, "record checked: 3 1 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_looked_up_without_a_name_or_where_that_is_asked() {
    let server = start().await;
    let credential = [server.file("cert.pem"), server.file("key.pem")];
    let credential = ["--cert", &credential[0], "--key", &credential[1]];
    let unchecked = connect(&server, OTHER, &[&credential[..], &["--no-record-check"]].concat()).await;
    assert_connected(&server, &unchecked, &format!("certificate sent as {OTHER}"));

    let mut args = vec!["connect".to_owned(), server.addr.to_string()];
    args.extend(credential.map(str::to_owned));
    args.extend(["--server-ca".to_owned(), server.file("ca.pem")]);
    args.extend(server.resolver());
    assert_connected(&server, &run_beside(args).await, "warning: without --name");
    assert!(server.dns.queries().is_empty(), "{:?}", server.dns.queries());

    assert_connected(&server, &connect(&server, NAME, &credential).await, "record checked");
    assert_eq!(server.dns.tlsa_queries(), [NAME]);
}

// CLI-01
#[tokio::test(flavor = "multi_thread")]
async fn a_request_checks_too() {
    let server = start().await;
    let mut args = vec!["request".to_owned(), format!("https://localhost:{}/", server.addr.port())];
    args.extend(["--resolve-to".to_owned(), server.addr.to_string()]);
    args.extend(server.x509());
    server.dns.withdraw(NAME).unwrap();
    let ran = run_beside(args).await;
    assert_refused(&server, &ran, &["(tlsa-absent)"]);
}

// NAM-08
#[tokio::test(flavor = "multi_thread")]
async fn the_record_may_be_where_a_server_of_2022_puts_its_label() {
    let client = "robot3.example.com";
    let owner = "_mqtt.robot3.example.com";
    let server = Server::start(ACCEPT, |config| config.profile = Profile::Draft2022, close).await;
    let robot = CertSpec::client(client).self_signed().unwrap();
    server.write("robot-", &robot);
    server.dns.set_tlsa(owner, &[of_key(&robot)], 0).unwrap();
    let key = server.file("robot-key.pem");
    let old = ["--key", &key, "--profile", "2022"];
    let ran = connect(&server, client, &old).await;
    assert_refused(&server, &ran, &["robot3.example.com has no TLSA record"]);
    for profile in ["2022", "auto"] {
        let ran = connect(&server, client, &["--key", &key, "--profile", profile, "--owner-name", owner]).await;
        assert_connected(&server, &ran, &format!("record checked: 3 1 1 at {owner} matches"));
    }
    // No server looks there.
    let ran = connect(&server, client, &["--key", &key, "--owner-name", owner]).await;
    ran.assert_usage_error("no server looks for robot3.example.com there");
    for elsewhere in ["other.example.com", "mqtt.robot3.example.com", "_x._mqtt.robot3.example.com"] {
        let ran = connect(&server, client, &[&old[..], &["--owner-name", elsewhere]].concat()).await;
        ran.assert_usage_error("no server looks for robot3.example.com there");
    }
    let ran = connect(&server, NAME, &[&old[..], &["--owner-name", &format!("_mqtt.{NAME}")]].concat()).await;
    ran.assert_usage_error("no server looks for");
}

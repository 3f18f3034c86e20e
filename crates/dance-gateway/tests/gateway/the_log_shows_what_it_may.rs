use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Mutex, Once};

use dance_gateway::Config;
use dance_gateway::config::{ClientCertificates, LogNames, PolicySetting, ProfileSetting};
use dance_testkit::{CertSpec, Fault};
use dance_tls::ClientConfig;
use data_encoding::HEXLOWER;
use tokio::io::AsyncReadExt as _;

use crate::http::Http1;
use crate::lab::{Lab, Running, SENSOR};
use crate::time::Frozen;

thread_local! {
    /// Where this thread's log goes. One subscriber serves the whole process: with one for each test, which lines are wanted at all
    /// would depend on what the other tests do meanwhile.
    static CAPTURE: RefCell<Captured> = RefCell::default();
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// Captures what this thread, on which the whole test runs, logs for everybody to read.
    fn begin() -> Self {
        static SUBSCRIBER: Once = Once::new();
        SUBSCRIBER.call_once(|| {
            let writer = || CAPTURE.with_borrow(Self::clone);
            let subscriber = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::INFO);
            subscriber.with_writer(writer).init();
        });
        let captured = Self::default();
        CAPTURE.set(captured.clone());
        captured
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines about clients.
    fn verdicts(&self) -> Vec<String> {
        self.text()
            .lines()
            .filter(|line| line.contains("_gateway::log") || line.contains("_daemon::log"))
            .map(str::to_owned)
            .collect()
    }
}

impl io::Write for Captured {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn refused(gateway: &Running, client: &ClientConfig) {
    gateway.connect(client).await.read(&mut [0; 16]).await.unwrap_err();
}

/// One client that is let in, twice, one whose key is another, and one whose zone is broken.
async fn log(setting: LogNames) -> (Captured, Vec<String>) {
    let captured = Captured::begin();
    let lab = Lab::new().await;
    let gateway = lab.start_with(Config { log_names: setting, ..lab.config() });
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    for _ in 0..2 {
        assert_eq!(Http1::new(gateway.connect(&client).await).get("/", &[]).await.status, 200);
    }
    let stranger = CertSpec::client("gate._device.example.com").self_signed().unwrap();
    lab.enrol("gate._device.example.com");
    refused(&gateway, &lab.certificate("gate._device.example.com", &stranger)).await;
    let broken = lab.enrol("pump._device.example.com");
    lab.world.add_fault("pump._device.example.com", Fault::Servfail).unwrap();
    refused(&gateway, &lab.certificate("pump._device.example.com", &broken)).await;
    let lines = captured.verdicts();
    assert_eq!(lines.len(), 4, "{}", captured.text());
    (captured, lines)
}

// SEC-06, SEC-16
#[tokio::test]
async fn in_full() {
    let (_, lines) = log(LogNames::Full).await;
    for expected in [
        "outcome=\"authenticated\"",
        "client_name=\"sensor7._device.example.com\"",
        "owner_name=\"sensor7._device.example.com\"",
        "matched=\"3 1 1 depth 0 until ",
        "records=\"3 1 1 matched\"",
        "peer=127.0.0.1:",
        "cached=false",
        "queries=",
        "ms=",
    ] {
        assert!(lines[0].contains(expected), "{expected} in {}", lines[0]);
    }
    assert!(lines[1].contains("cached=true") && !lines[0].contains("reason="), "{}", lines[1]);
    assert!(lines[2].contains("outcome=\"refused\" reason=\"no-match\""), "{}", lines[2]);
    assert!(lines[2].contains("records=\"3 1 1 "), "{}", lines[2]);
    assert!(
        lines[3].contains("reason=\"lookup-servfail\"") && lines[3].contains("SERVFAIL when asked for pump._device"),
        "{}",
        lines[3]
    );
}

fn name_shown(line: &str) -> &str {
    line.split("client_name=\"").nth(1).unwrap().split('"').next().unwrap()
}

// SEC-06
#[tokio::test]
async fn hashed() {
    let (captured, lines) = log(LogNames::Hashed).await;
    assert!(!captured.text().contains("_device"), "{}", captured.text());
    let shown: Vec<_> = lines.iter().map(|line| name_shown(line)).collect();
    assert!(shown.iter().all(|name| name.starts_with("hashed:") && name.len() == 7 + 16));
    assert_eq!(shown[0], shown[1]);
    assert_ne!(shown[0], shown[2]);
    // Under another key the same name is another hash.
    let (_, others) = log(LogNames::Hashed).await;
    assert_ne!(shown[0], name_shown(&others[0]));
    assert!(lines[2].contains("reason=\"no-match\""), "{}", lines[2]);
}

// SEC-06
#[tokio::test]
async fn not_at_all() {
    let (captured, lines) = log(LogNames::Off).await;
    assert!(!captured.text().contains("_device") && !captured.text().contains("client_name"), "{}", captured.text());
    assert!(lines[0].contains("outcome=\"authenticated\"") && lines[3].contains("reason=\"lookup-servfail\""));
}

#[tokio::test]
async fn with_a_warning_about_the_origin_but_none_about_a_request() {
    let captured = Captured::begin();
    let lab = Lab::new().await;
    let gateway = lab.start();
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let mut http = Http1::new(gateway.connect(&client).await);
    http.send("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n").await;
    assert_eq!(http.answer().await.status, 400);
    assert!(!captured.text().contains("WARN"), "{}", captured.text());
    let mut http = Http1::new(gateway.connect(&client).await);
    assert_eq!(http.get("/break", &[]).await.status, 502);
    assert!(captured.text().contains("WARN") && captured.text().contains("status=502"), "{}", captured.text());
}

// SEC-16, SRV-23
#[tokio::test]
async fn when_a_client_is_withdrawn() {
    let captured = Captured::begin();
    let lab = Lab::new().await;
    let time = Frozen::new();
    let gateway = time.start(&lab, lab.config());
    let client = lab.certificate(SENSOR, &lab.enrol_for(SENSOR, 60));
    let mut http = Http1::new(gateway.connect(&client).await);
    assert_eq!(http.get("/", &[]).await.status, 200);
    lab.world.withdraw(SENSOR).unwrap();
    time.pass(66).await;
    gateway.told(2).await;
    let lines = captured.verdicts();
    for expected in [
        "outcome=\"withdrawn\" reason=\"tlsa-absent\"",
        "client_name=\"sensor7._device.example.com\"",
        "owner_name=\"sensor7._device.example.com\"",
        "peer=127.0.0.1:",
        "cached=false",
    ] {
        assert!(lines[1].contains(expected), "{expected} in {}", lines[1]);
    }
    let ms = lines[1].split("ms=").nth(1).unwrap().trim();
    assert!(ms.split(' ').next().unwrap().parse::<u32>().unwrap() >= 60_000, "{}", lines[1]);
}

// SEC-16, NAM-11
#[tokio::test]
async fn who_a_user_is_and_what_a_certificate_was_good_for() {
    let captured = Captured::begin();
    let lab = Lab::new().await;
    let authority = dance_testkit::Authority::root("People").unwrap();
    let path = lab.directory.path().join("ca.pem");
    std::fs::write(&path, authority.pem()).unwrap();
    let policy = PolicySetting::Optional;
    let gateway = lab.start_with(Config { policy, user_mode: true, client_ca: Some(path), ..lab.config() });
    lab.world.set_tlsa("_user.example.com", &[authority.tlsa_201().unwrap()], 300).unwrap();
    let person = CertSpec::client("example.com").email("alice@example.com").issued_by(&authority).unwrap();
    let alice = lab.certificate("_user.example.com", &person);
    let stranger = CertSpec::client(SENSOR).self_signed().unwrap();
    let ordinary = |identity| ClientConfig { client_id: None, ..lab.certificate(SENSOR, identity) };
    for client in [alice, ordinary(&person), ordinary(&stranger)] {
        assert_eq!(Http1::new(gateway.connect(&client).await).get("/", &[]).await.status, 200);
    }
    let lines = captured.verdicts();
    for (line, expected) in [
        "client_name=\"_user.example.com\" owner_name=\"_user.example.com\" identity=\"alice@example.com\"",
        "reason=\"no-client-name\" certificate=\"accepted\"",
        "reason=\"no-client-name\" certificate=\"path-no-issuer\"",
    ]
    .into_iter()
    .enumerate()
    {
        assert!(lines[line].contains(expected), "{expected} in {}", lines[line]);
    }
    assert!(!captured.text().contains("WARN"), "{}", captured.text());
}

/// Two services of one machine, with keys of their own or one for both.
async fn services(shared: bool, setting: LogNames) -> (Captured, String) {
    let captured = Captured::begin();
    let lab = Lab::new().await;
    let gateway = lab.start_with(Config { log_names: setting, ..lab.config() });
    let (smtp, imap) = ("_smtp-client.host.example.com", "_imap-client.host.example.com");
    let one = lab.enrol(smtp);
    let other = if shared { None } else { Some(lab.enrol(imap)) };
    let other = other.as_ref().unwrap_or(&one);
    lab.world.set_tlsa(imap, &[other.tlsa_311().unwrap()], 300).unwrap();
    for _ in 0..2 {
        for (name, identity) in [(smtp, &one), (imap, other)] {
            let client = lab.certificate(name, identity);
            assert_eq!(Http1::new(gateway.connect(&client).await).get("/", &[]).await.status, 200);
        }
    }
    // What the record of the first one shows to everybody.
    (captured, HEXLOWER.encode(&one.tlsa_311().unwrap().as_wire()[3..]))
}

// SEC-07, SEC-06
#[tokio::test]
async fn a_key_that_stands_for_several_services() {
    let (captured, digest) = services(true, LogNames::Full).await;
    let warnings: Vec<_> = captured.verdicts().into_iter().filter(|line| line.contains("WARN")).collect();
    assert!(warnings[0].contains(&digest[..16]), "{warnings:?} {digest}");
    assert_eq!(warnings.len(), 1, "{}", captured.text());
    let expected = "client_name=\"_imap-client.host.example.com\"";
    assert!(warnings[0].contains(expected) && warnings[0].contains("before=\"_smtp-client\""), "{warnings:?}");

    for setting in [LogNames::Off, LogNames::Hashed] {
        let (captured, digest) = services(true, setting).await;
        let text = captured.text();
        assert!(text.contains("several services"), "{text}");
        assert!(!text.contains("client.") && !text.contains(&digest[..16]), "{text}");
    }
    // Each with its own key: nothing to warn about.
    assert!(!services(false, LogNames::Full).await.0.text().contains("WARN"));
}

// HTTP-19, SEC-06, SEC-16
#[tokio::test]
async fn how_many_certificates_were_forwarded_and_not_whose() {
    let captured = Captured::begin();
    let lab = Lab::new().await;
    let forward = Config { client_certificates: ClientCertificates::Forward, allow: Vec::new(), ..lab.config() };
    let gateway = lab.start_with(Config { max_certificate_bytes: 1024, ..forward });
    let authority = dance_testkit::Authority::root("Devices").unwrap();
    let (alone, issued) =
        (CertSpec::client(SENSOR).self_signed().unwrap(), CertSpec::client(SENSOR).issued_by(&authority));
    let holder = |identity| ClientConfig { client_id: None, ..lab.certificate(SENSOR, identity) };
    for (client, status) in [(lab.client(None, None), 200), (holder(&alone), 200), (holder(&issued.unwrap()), 431)] {
        let mut http = Http1::new(gateway.connect(&client).await);
        for _ in 0..2 {
            assert_eq!(http.get("/", &[]).await.status, status);
        }
    }
    let lines = captured.verdicts();
    assert_eq!(lines.len(), 3, "{}", captured.text());
    for (number, line) in lines.iter().enumerate() {
        assert!(line.contains(&format!("outcome=\"forwarded\" certificates={number} ms=")), "{line}");
        assert!(line.contains("peer=127.0.0.1:"), "{line}");
    }
    // Once for the connection, not for every request.
    assert_eq!(captured.text().matches("answered 431").count(), 1, "{}", captured.text());
    assert!(captured.text().contains("most=1024"), "{}", captured.text());
    assert!(!captured.text().contains("_device") && !captured.text().contains("WARN"), "{}", captured.text());
}

// SEC-09
#[tokio::test]
async fn that_tls_1_2_is_on() {
    let captured = Captured::begin();
    let lab = Lab::new().await;
    let profile = ProfileSetting::Draft2022;
    drop(lab.start_with(Config { profile, ..lab.config() }));
    assert!(!captured.text().contains("WARN"), "{}", captured.text());
    drop(lab.start_with(Config { profile, tls12: true, ..lab.config() }));
    assert!(captured.text().contains("WARN") && captured.text().contains("TLS 1.2 is on"), "{}", captured.text());
}

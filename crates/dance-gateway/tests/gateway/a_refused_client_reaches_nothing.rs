use std::time::Duration;

use dance_core::reason::Reason;
use dance_gateway::Config;
use dance_gateway::config::Span;
use dance_gateway::config::{LimitsConfig, OnLookupFailureSetting, PolicySetting};
use dance_testkit::{CertSpec, Fault};
use dance_tls::{ClientAuthRefused, ClientConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::http::Http1;
use crate::lab::{Held, Lab, Running, SENSOR, UNSIGNED};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Connects and sends a request at once, as any client does that does not wait for verdicts. What the client sees of its refusal:
/// the alert, and every octet before it.
async fn refusal(gateway: &Running, client: &ClientConfig) -> (u8, Vec<u8>) {
    let mut tls = gateway.connect(client).await;
    tls.write_all(REQUEST).await.unwrap();
    let mut octets = Vec::new();
    let error = tls.read_to_end(&mut octets).await.unwrap_err();
    assert!(error.get_ref().unwrap().is::<ClientAuthRefused>(), "{error}");
    (tls.alert_received().unwrap().code(), octets)
}

// HTTP-01, SRV-04, SRV-07, SRV-11, SRV-12, SRV-16, SEC-11
#[tokio::test]
async fn whatever_the_reason_and_sees_the_same_alert() {
    let lab = Lab::new().await;
    let gateway = lab.start_with(Config {
        dns: dance_gateway::config::DnsConfig { timeout: Span(Duration::from_millis(300)), ..lab.config().dns },
        ..lab.config()
    });

    let stranger = CertSpec::client("sensor7.example.net").self_signed().unwrap();
    let named = |label: &str| format!("{label}.{}", crate::lab::ZONE);
    let broken = |label: &str, fault: Fault| {
        let name = named(label);
        let identity = lab.enrol(&name);
        lab.world.add_fault(&name, fault).unwrap();
        lab.certificate(&name, &identity)
    };
    let other_key = lab.enrol(&named("other-key"));
    let unusable = lab.enrol(&named("unusable"));
    lab.world.set_tlsa(&named("unusable"), &["9 9 9 00"], 300).unwrap();
    let insecure = lab.enrol(&format!("sensor.{UNSIGNED}"));

    let cases = [
        (Reason::NameNotAllowed, lab.certificate("sensor7.example.net", &stranger)),
        (Reason::NoClientName, ClientConfig { client_id: None, ..lab.certificate(SENSOR, &lab.enrol(SENSOR)) }),
        (Reason::NoClientName, lab.client(None, None)),
        (Reason::TlsaAbsent, lab.certificate(&named("nobody"), &stranger)),
        (Reason::NoMatch, lab.certificate(&named("other-key"), &stranger)),
        (Reason::NoUsableRecord, lab.certificate(&named("unusable"), &unusable)),
        (Reason::DnssecInsecure, lab.certificate(&format!("sensor.{UNSIGNED}"), &insecure)),
        (Reason::DnssecBogus, broken("bogus", Fault::TamperedRdata)),
        (Reason::LookupServfail, broken("servfail", Fault::Servfail)),
        (Reason::LookupTimeout, broken("slow", Fault::NeverAnswers)),
    ];
    let mut refused = 0;
    for (reason, client) in &cases {
        assert_eq!(refusal(&gateway, client).await, (40, Vec::new()), "{reason}");
        refused += 1;
        let told = gateway.told(refused).await;
        let last = told.last().unwrap();
        assert_eq!((last.code, last.reason, last.identity.as_deref()), ("refused", Some(*reason), None));
    }
    assert_eq!(lab.origin.connections(), 0);
    assert!(lab.origin.seen().is_empty());
    // Names that the allow-list does not have, and clients without one, cost no query.
    let asked = lab.world.queries();
    assert!(asked.iter().all(|query| !query.name.contains("example.net") && query.name != SENSOR));

    // The same probe, with the same gateway, when it should pass.
    let mut http = Http1::new(gateway.connect(&lab.certificate(&named("other-key"), &other_key)).await);
    http.send(REQUEST).await;
    assert_eq!(http.answer().await.status, 200);
    assert_eq!(lab.origin.seen().len(), 1);
}

// SRV-10
#[tokio::test]
async fn not_even_by_a_request_sent_before_the_verdict() {
    let lab = Lab::new().await;
    let (source, gate) = Held::new(lab.resolver());
    let gateway = lab.start_over(lab.config(), source);
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let mut http = Http1::new(gateway.connect(&client).await);
    http.send(REQUEST).await;
    http.send(REQUEST).await;
    // A second client comes and goes meanwhile, so the gateway has had its turn.
    drop(gateway.connect(&client).await);
    assert_eq!(gateway.told(1).await.first().unwrap().code, "client-gone");
    assert_eq!((lab.origin.connections(), lab.origin.seen().len()), (0, 0));

    gate.add_permits(1);
    assert_eq!(http.answer().await.status, 200);
    assert_eq!(http.answer().await.status, 200);
    assert_eq!(lab.origin.seen().len(), 2);
}

// SRV-04, SRV-10
#[tokio::test]
async fn nor_when_the_verdict_does_not_come_in_time() {
    let lab = Lab::new().await;
    let (source, _gate) = Held::new(lab.resolver());
    let config = Config { handshake_timeout: Span(Duration::from_millis(200)), ..lab.config() };
    let gateway = lab.start_over(config, source);
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    assert_eq!(refusal(&gateway, &client).await, (40, Vec::new()));
    assert_eq!(gateway.told(1).await.first().unwrap().code, "handshake-timeout");
    assert_eq!(lab.origin.connections(), 0);
}

// SRV-05, SRV-15, HTTP-05
#[tokio::test]
async fn or_reaches_it_without_identity_where_the_policy_is_optional() {
    let lab = Lab::new().await;
    let gateway = lab.start_with(Config { policy: PolicySetting::Optional, ..lab.config() });
    let identity = lab.enrol(SENSOR);
    let stranger = CertSpec::client(SENSOR).self_signed().unwrap();
    let clients = [
        ("not-dane", Some(Reason::NoClientName), None, lab.client(None, None)),
        // A certificate with the right name and key, but not asked for by DANE: no name is taken from it.
        (
            "not-dane",
            Some(Reason::NoClientName),
            None,
            ClientConfig { client_id: None, ..lab.certificate(SENSOR, &identity) },
        ),
        ("unauthenticated", Some(Reason::NoMatch), None, lab.certificate(SENSOR, &stranger)),
        ("authenticated", None, Some(SENSOR), lab.certificate(SENSOR, &identity)),
    ];
    for (number, (code, reason, expected, client)) in clients.into_iter().enumerate() {
        let mut http = Http1::new(gateway.connect(&client).await);
        let forged = ["Dane-Clientid: forged.example.com", "Client-Cert: :Zm9yZ2Vk:"];
        assert_eq!(http.get("/", &forged).await.status, 200);
        let told = gateway.told(number + 1).await;
        assert_eq!((told[number].code, told[number].reason), (code, reason));
        let seen = lab.origin.seen();
        assert_eq!(seen[number].values("dane-clientid"), expected.into_iter().collect::<Vec<_>>());
        assert!(seen[number].values("client-cert").is_empty());
    }
}

// SRV-08, SRV-13
#[tokio::test]
async fn and_some_things_are_refused_under_either_policy() {
    let lab = Lab::new().await;
    let limits = LimitsConfig { lookups_per_address: 1, ..LimitsConfig::default() };
    let config = Config { policy: PolicySetting::Optional, limits, ..lab.config() };
    assert_eq!(config.on_lookup_failure, OnLookupFailureSetting::Abort);
    let gateway = lab.start_with(config);

    let authority = dance_testkit::Authority::root("Devices").unwrap();
    let other = CertSpec::client("other.example.com").issued_by(&authority).unwrap();
    lab.world.set_tlsa(SENSOR, &[authority.tlsa_201().unwrap()], 300).unwrap();
    let mismatch = lab.certificate(SENSOR, &other);
    assert_eq!(refusal(&gateway, &mismatch).await, (40, Vec::new()));

    let bogus = lab.enrol("bogus.example.com");
    lab.world.add_fault("bogus.example.com", Fault::TamperedRdata).unwrap();
    assert_eq!(refusal(&gateway, &lab.certificate("bogus.example.com", &bogus)).await, (40, Vec::new()));

    let told = gateway.told(2).await;
    let reasons: Vec<_> = told.iter().map(|told| told.reason.unwrap()).collect();
    assert_eq!(reasons, [Reason::SanMismatch, Reason::DnssecBogus]);
    assert_eq!(lab.origin.connections(), 0);

    // The authority's client under its own name is let in.
    let right = CertSpec::client(SENSOR).issued_by(&authority).unwrap();
    let mut http = Http1::new(gateway.connect(&lab.certificate(SENSOR, &right)).await);
    assert_eq!(http.get("/", &[]).await.status, 200);
    assert_eq!(lab.origin.seen()[0].values("dane-clientid"), [SENSOR]);
}

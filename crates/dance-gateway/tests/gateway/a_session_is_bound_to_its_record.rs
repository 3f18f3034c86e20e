use dance_core::reason::Reason;
use dance_gateway::Config;
use dance_gateway::config::ResumptionSetting;
use dance_tls::{ClientConfig, Connector};
use tokio::net::TcpStream;

use crate::http::{self, Http1, get};
use crate::lab::{Lab, Running, SENSOR, Tls};
use crate::time::Frozen;

const TTL: u32 = 120;

/// A client that keeps its sessions.
struct Client {
    connector: Connector,
}

impl Client {
    fn new(config: &ClientConfig) -> Self {
        Self { connector: Connector::new(&ClientConfig { resumption: true, ..config.clone() }).unwrap() }
    }

    async fn connect(&self, gateway: &Running) -> Tls {
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        self.connector.connect("localhost", stream).await.unwrap()
    }

    /// One request on a connection of its own; whether it was a resumed one.
    async fn visit(&self, gateway: &Running) -> bool {
        let tls = self.connect(gateway).await;
        let resumed = tls.resumed();
        assert_eq!(Http1::new(tls).get("/", &[]).await.status, 200);
        resumed
    }
}

async fn start(resumption: ResumptionSetting) -> (Lab, Frozen, Running, ClientConfig) {
    let lab = Lab::new().await;
    let time = Frozen::new();
    let gateway = time.start(&lab, Config { resumption, ..lab.config() });
    let config = lab.certificate(SENSOR, &lab.enrol_for(SENSOR, TTL));
    (lab, time, gateway, config)
}

// SRV-17, SEC-16, HTTP-02
#[tokio::test]
async fn and_tells_the_application_who_came_back() {
    let (lab, _time, gateway, config) = start(ResumptionSetting::Bound).await;
    let client = Client::new(&config);
    assert!(!client.visit(&gateway).await);
    assert!(client.visit(&gateway).await);
    assert!(client.visit(&gateway).await);
    let told = gateway.told(3).await;
    assert_eq!(told.iter().map(|told| told.code).collect::<Vec<_>>(), ["authenticated", "resumed", "resumed"]);
    let name = Some(SENSOR.to_owned());
    assert!(told.iter().all(|told| (&told.client_name, &told.identity, told.reason) == (&name, &name, None)));
    assert!(lab.origin.seen().iter().all(|request| request.values("dane-clientid") == [SENSOR]));
    assert_eq!(lab.world.tlsa_queries().len(), 1);

    let http2 = Client::new(&ClientConfig { alpn: vec![b"h2".to_vec()], ..config });
    for resumed in [false, true] {
        let tls = http2.connect(&gateway).await;
        assert_eq!(tls.resumed(), resumed);
        assert_eq!(http::http2(tls).await.send_request(get("/")).await.unwrap().status(), 200);
    }
}

// SRV-17: off unless it is asked for.
#[tokio::test]
async fn where_there_are_any() {
    assert_eq!(Config::default().resumption, ResumptionSetting::Off);
    let (_lab, _time, gateway, config) = start(ResumptionSetting::Off).await;
    let client = Client::new(&config);
    for _ in 0..3 {
        assert!(!client.visit(&gateway).await);
    }
    assert!(gateway.told(3).await.iter().all(|told| told.code == "authenticated"));
}

// SRV-17, SEC-12
#[tokio::test]
async fn and_ends_with_it() {
    let (lab, time, gateway, config) = start(ResumptionSetting::Bound).await;
    let client = Client::new(&config);
    client.visit(&gateway).await;
    time.pass(60).await;
    // The ticket of a resumed session lives no longer than the first one.
    assert!(client.visit(&gateway).await);
    lab.world.withdraw(SENSOR).unwrap();
    time.pass(u64::from(TTL) - 60).await;
    let mut tls = client.connect(&gateway).await;
    assert!(!tls.resumed());
    tokio::io::AsyncReadExt::read(&mut tls, &mut [0; 16]).await.unwrap_err();
    let told = gateway.told(3).await;
    assert_eq!((told[2].code, told[2].reason), ("refused", Some(Reason::TlsaAbsent)));
    assert_eq!(lab.origin.seen().len(), 2);
}

// SRV-17: the positive control: the record stays, so the client only has to say again who it is.
#[tokio::test]
async fn or_is_begun_anew() {
    let (lab, time, gateway, config) = start(ResumptionSetting::Bound).await;
    let client = Client::new(&config);
    for _ in 0..3 {
        assert!(!client.visit(&gateway).await);
        assert!(client.visit(&gateway).await);
        time.pass(u64::from(TTL)).await;
    }
    assert_eq!(lab.world.tlsa_queries().len(), 3);
}

// SRV-17, SRV-23, SEC-12: a resumed connection shows no certificate, and is asked for by what its ticket said.
#[tokio::test]
async fn on_open_connections_too() {
    let (lab, time, gateway, config) = start(ResumptionSetting::Bound).await;
    let client = Client::new(&config);
    client.visit(&gateway).await;
    let tls = client.connect(&gateway).await;
    assert!(tls.resumed());
    let mut http = Http1::new(tls);
    assert_eq!(http.get("/", &[]).await.status, 200);
    time.pass(u64::from(TTL) + 6).await;
    time.asked(&lab.world, SENSOR, 2).await;
    assert_eq!(http.get("/", &[]).await.status, 200);

    lab.world.withdraw(SENSOR).unwrap();
    time.pass(u64::from(TTL) + 6).await;
    let told = gateway.told(3).await;
    assert_eq!((told[2].code, told[2].reason), ("withdrawn", Some(Reason::TlsaAbsent)));
    assert!(http.rest().await.unwrap_or_default().is_empty());
    assert_eq!(lab.origin.seen().len(), 3);
}

// SRV-17, SRV-15: who was not authenticated has nothing to come back with.
#[tokio::test]
async fn and_nobody_elses() {
    let lab = Lab::new().await;
    let policy = dance_gateway::config::PolicySetting::Optional;
    let gateway = lab.start_with(Config { policy, resumption: ResumptionSetting::Bound, ..lab.config() });
    let identity = lab.enrol(SENSOR);
    let stranger = dance_testkit::CertSpec::client(SENSOR).self_signed().unwrap();
    let known = lab.certificate(SENSOR, &identity);
    for (config, code, comes_back) in [
        (known.clone(), "authenticated", true),
        (lab.certificate(SENSOR, &stranger), "unauthenticated", false),
        (ClientConfig { client_id: None, ..known }, "not-dane", false),
    ] {
        let before = gateway.told(0).await.len();
        let client = Client::new(&config);
        assert!(!client.visit(&gateway).await);
        assert_eq!(client.visit(&gateway).await, comes_back);
        let told = gateway.told(before + 2).await;
        let again = if comes_back { "resumed" } else { code };
        assert_eq!([told[before].code, told[before + 1].code], [code, again]);
    }
}

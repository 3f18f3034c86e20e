use dance_core::reason::Reason;
use dance_gateway::Config;
use dance_gateway::config::LimitsConfig;
use dance_testkit::Fault;
use dance_tls::ClientConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::http::{self, Http1, collect, get};
use crate::lab::{Lab, Running, SENSOR, SILENT};
use crate::time::Frozen;

const TTL: u32 = 60;
/// When the last of those connections has been asked for whose answer ran out now: what they are spread over.
const ASKED: u64 = 6;
/// What requests under way are given.
const GOODBYE: u64 = 11;

struct Scene {
    lab: Lab,
    time: Frozen,
    gateway: Running,
    client: ClientConfig,
    http2: ClientConfig,
}

impl Scene {
    async fn start(ttl: u32) -> Self {
        Self::with(ttl, |_| {}).await
    }

    async fn with(ttl: u32, change: impl FnOnce(&mut Config)) -> Self {
        let lab = Lab::new().await;
        let time = Frozen::new();
        let mut config = lab.config();
        change(&mut config);
        let gateway = time.start(&lab, config);
        let client = lab.certificate(SENSOR, &lab.enrol_for(SENSOR, ttl));
        let http2 = ClientConfig { alpn: vec![b"h2".to_vec()], ..client.clone() };
        Self { lab, time, gateway, client, http2 }
    }

    /// A connection in HTTP/1.1 that has been used.
    async fn http1(&self) -> Http1<crate::lab::Tls> {
        let mut http = Http1::new(self.gateway.connect(&self.client).await);
        assert_eq!(http.get("/", &[]).await.status, 200);
        http
    }

    /// The verdicts so far, of which that one must be `withdrawn`.
    async fn withdrawn(&self, verdicts: usize, reason: Reason) {
        let told = self.gateway.told(verdicts).await;
        let last = told.last().unwrap();
        assert_eq!((told.len(), last.code, last.reason), (verdicts, "withdrawn", Some(reason)));
        assert_eq!((last.client_name.as_deref(), &last.identity), (Some(SENSOR), &None));
    }

    fn seen(&self) -> usize {
        self.lab.origin.seen().len()
    }

    fn asked(&self) -> usize {
        self.lab.world.tlsa_queries().len()
    }
}

// SRV-23, SEC-12
#[tokio::test]
async fn between_two_requests() {
    let scene = Scene::start(TTL).await;
    let mut http = scene.http1().await;
    scene.lab.world.withdraw(SENSOR).unwrap();
    // Until the answer runs out nobody has cause to ask.
    scene.time.pass(u64::from(TTL) - 2).await;
    assert_eq!(http.get("/", &[]).await.status, 200);
    assert_eq!((scene.seen(), scene.asked()), (2, 1));
    scene.time.pass(2 + ASKED).await;
    scene.withdrawn(2, Reason::TlsaAbsent).await;
    // A proper end: close_notify, not a reset.
    assert!(http.rest().await.unwrap().is_empty());
    assert_eq!((scene.seen(), scene.asked()), (2, 2));
}

// SRV-23, SEC-12: a pause after which the connection holds nothing but its TLS state.
#[tokio::test]
async fn in_a_long_pause() {
    let scene = Scene::start(3600).await;
    let mut http = scene.http1().await;
    scene.time.pass(3500).await;
    scene.lab.world.withdraw(SENSOR).unwrap();
    scene.time.pass(100 + ASKED).await;
    scene.withdrawn(2, Reason::TlsaAbsent).await;
    assert!(http.rest().await.unwrap().is_empty());
}

// SRV-23, SEC-12
#[tokio::test]
async fn when_the_request_under_way_is_answered() {
    let scene = Scene::start(TTL).await;
    let mut http = scene.http1().await;
    // The second is not to be looked at.
    http.send("GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\nGET /late HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    scene.lab.origin.wait_for(2).await;
    scene.lab.world.withdraw(SENSOR).unwrap();
    scene.time.pass(u64::from(TTL) + ASKED).await;
    scene.withdrawn(2, Reason::TlsaAbsent).await;
    scene.lab.origin.release();
    let answer = http.answer().await;
    assert_eq!((answer.text(), answer.values("connection")), ("held\n", vec!["close"]));
    assert!(http.rest().await.unwrap_or_default().is_empty());
    assert_eq!(scene.seen(), 2);
}

// SRV-23
#[tokio::test]
async fn or_is_cut_off_when_that_takes_long() {
    let scene = Scene::start(TTL).await;
    let mut http = scene.http1().await;
    http.send("GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let mut sender = http::http2(scene.gateway.connect(&scene.http2).await).await;
    let held = tokio::spawn(sender.send_request(get("/hold")));
    scene.lab.origin.wait_for(3).await;
    scene.lab.world.withdraw(SENSOR).unwrap();
    scene.time.pass(u64::from(TTL) + ASKED).await;
    scene.withdrawn(4, Reason::TlsaAbsent).await;
    assert!(!held.is_finished());
    scene.time.pass(GOODBYE).await;
    assert!(http.rest().await.unwrap_or_default().is_empty());
    held.await.unwrap().unwrap_err();
    // What it still had to say has nobody to say it to.
    scene.lab.origin.release();
    scene.lab.origin.wait_for_open(0).await;
}

// SRV-23, SEC-12
#[tokio::test]
async fn in_http_2_by_goaway() {
    let scene = Scene::start(TTL).await;
    let mut sender = http::http2(scene.gateway.connect(&scene.http2).await).await;
    assert_eq!(sender.send_request(get("/")).await.unwrap().status(), 200);
    let held = tokio::spawn(sender.send_request(get("/hold")));
    scene.lab.origin.wait_for(2).await;
    scene.lab.world.withdraw(SENSOR).unwrap();
    scene.time.pass(u64::from(TTL) + ASKED).await;
    scene.withdrawn(2, Reason::TlsaAbsent).await;
    // What is under way is finished, and nothing else is begun.
    let late = sender.send_request(get("/late")).await;
    assert!(late.is_err_and(|error| !error.is_timeout()));
    scene.lab.origin.release();
    assert_eq!(collect(held.await.unwrap().unwrap()).await.0, b"held\n");
    while sender.ready().await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.seen(), 2);
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut octets = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    octets.extend([kind, flags]);
    octets.extend(stream.to_be_bytes());
    octets.extend(payload);
    octets
}

/// `GET / HTTP/2`, in fields of the static table.
fn headers(stream: u32) -> Vec<u8> {
    let fields = [&[0x82, 0x87, 0x84, 0x41, 9][..], b"localhost"].concat();
    frame(1, 0x05, stream, &fields)
}

/// Reads up to the first frame of this kind on this stream.
async fn read_frame(tls: &mut crate::lab::Tls, kind: u8, stream: u32) -> Vec<u8> {
    loop {
        let mut head = [0; 9];
        tls.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        tls.read_exact(&mut payload).await.unwrap();
        if (head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]])) == (kind, stream) {
            return payload;
        }
    }
}

// SEC-12
#[tokio::test]
async fn whatever_a_client_makes_of_goaway() {
    let scene = Scene::start(TTL).await;
    let mut tls = scene.gateway.connect(&scene.http2).await;
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])].concat();
    tls.write_all(&[preface, headers(1)].concat()).await.unwrap();
    const DATA: u8 = 0;
    const GOAWAY: u8 = 7;
    assert_eq!(read_frame(&mut tls, DATA, 1).await, b"ok\n");
    scene.lab.world.withdraw(SENSOR).unwrap();
    scene.time.pass(u64::from(TTL) + ASKED).await;
    scene.withdrawn(2, Reason::TlsaAbsent).await;
    read_frame(&mut tls, GOAWAY, 0).await;
    // The server may not know yet that the client knows, so it takes streams for a moment; none of them reaches the origin.
    tls.write_all(&headers(3)).await.unwrap();
    assert_eq!(read_frame(&mut tls, DATA, 3).await, b"421 Misdirected Request\n");
    scene.time.pass(GOODBYE).await;
    tls.read_to_end(&mut Vec::new()).await.unwrap_or_default();
    assert_eq!(scene.seen(), 1);
}

// SRV-23, SEC-12
#[tokio::test]
async fn in_a_tunnel() {
    let scene = Scene::start(TTL).await;
    let mut tunnel = Http1::new(scene.gateway.connect(&scene.client).await);
    let answer = tunnel.get("/websocket", &["Connection: Upgrade", "Upgrade: websocket"]).await;
    assert_eq!(answer.status, 101);
    scene.time.pass(u64::from(TTL) + ASKED).await;
    // Its record stands: it goes on.
    scene.lab.world.wait_for(|query| query.name == SENSOR).await;
    tunnel.send("ping").await;
    let mut pong = [0; 4];
    tunnel.0.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"ping");

    scene.lab.world.withdraw(SENSOR).unwrap();
    scene.time.pass(u64::from(TTL) + ASKED).await;
    scene.withdrawn(2, Reason::TlsaAbsent).await;
    assert!(tunnel.rest().await.unwrap_or_default().is_empty());
    scene.lab.origin.wait_for_open(0).await;
}

// SRV-23, SEC-12
#[tokio::test]
async fn and_so_does_everything_else() {
    let scene = Scene::start(TTL).await;
    let mut idle = scene.http1().await;
    let mut sender = http::http2(scene.gateway.connect(&scene.http2).await).await;
    assert_eq!(sender.send_request(get("/")).await.unwrap().status(), 200);
    scene.lab.world.withdraw(SENSOR).unwrap();
    scene.time.pass(u64::from(TTL) + ASKED).await;
    scene.gateway.told(4).await;
    assert!(idle.rest().await.unwrap().is_empty());
    while sender.ready().await.is_ok() {
        tokio::task::yield_now().await;
    }
    // A new handshake.
    scene.gateway.connect(&scene.client).await.read(&mut [0; 16]).await.unwrap_err();
    let told = scene.gateway.told(5).await;
    let codes: Vec<_> = told.iter().map(|told| (told.code, told.reason)).collect();
    let gone = ("withdrawn", Some(Reason::TlsaAbsent));
    let authenticated = ("authenticated", None);
    assert_eq!(codes, [authenticated, authenticated, gone, gone, ("refused", Some(Reason::TlsaAbsent))]);
    assert_eq!((scene.seen(), scene.asked()), (2, 2), "one answer serves them all");
}

/// Replaces the record, and expects the connection to end for that reason.
async fn replaced(replace: impl FnOnce(&Lab), reason: Reason) {
    let scene = Scene::start(TTL).await;
    let mut http = scene.http1().await;
    replace(&scene.lab);
    scene.time.pass(u64::from(TTL) + ASKED).await;
    scene.withdrawn(2, reason).await;
    assert!(http.rest().await.unwrap().is_empty());
}

// SRV-23
#[tokio::test]
async fn when_the_record_is_of_another_key() {
    replaced(|lab| drop(lab.enrol(SENSOR)), Reason::NoMatch).await;
}

// SRV-23
#[tokio::test]
async fn when_the_record_is_of_no_use() {
    replaced(|lab| lab.world.set_tlsa(SENSOR, &["3 1 1 00"], TTL).unwrap(), Reason::NoUsableRecord).await;
}

// SRV-23, SEC-12: the positive control of all the others.
#[tokio::test]
async fn and_stays_open_while_its_record_stays() {
    let scene = Scene::start(TTL).await;
    let mut http = scene.http1().await;
    let mut sender = http::http2(scene.gateway.connect(&scene.http2).await).await;
    for round in 1..=5 {
        scene.time.pass(u64::from(TTL) + ASKED).await;
        scene.time.asked(&scene.lab.world, SENSOR, round + 1).await;
        assert_eq!(http.get("/", &[]).await.status, 200);
        assert_eq!(sender.send_request(get("/")).await.unwrap().status(), 200);
    }
    assert_eq!(scene.gateway.told(2).await.len(), 2);
    let seen = scene.lab.origin.seen();
    assert!(seen.len() == 11 && seen.iter().all(|request| request.values("dane-clientid") == [SENSOR]));
}

// SRV-23
#[tokio::test]
async fn or_while_one_look_up_fails() {
    let scene = Scene::start(TTL).await;
    let mut http = scene.http1().await;
    scene.lab.world.add_fault(SENSOR, Fault::Servfail).unwrap();
    scene.time.pass(u64::from(TTL) + ASKED).await;
    scene.time.asked(&scene.lab.world, SENSOR, 2).await;
    assert_eq!(http.get("/", &[]).await.status, 200);
    scene.lab.world.clear_faults();
    // Half a minute after the first one, and a second in which a timer may be late.
    scene.time.pass(31).await;
    scene.time.asked(&scene.lab.world, SENSOR, 3).await;
    scene.time.pass(20).await;
    assert_eq!(http.get("/", &[]).await.status, 200);
    assert_eq!(scene.gateway.told(1).await.len(), 1);
}

/// Has DNS fail from the first re-check on, and expects both connections to end.
async fn dead(fault: Fault, reason: Reason) {
    let scene = Scene::start(TTL).await;
    let mut http = scene.http1().await;
    let mut parked = scene.http1().await;
    scene.lab.world.add_fault(SENSOR, fault).unwrap();
    scene.time.pass(u64::from(TTL) + 29).await;
    assert_eq!(http.get("/", &[]).await.status, 200);
    scene.time.pass(31).await;
    let told = scene.gateway.told(4).await;
    for told in &told[2..] {
        assert_eq!((told.code, told.reason), ("withdrawn", Some(reason)));
    }
    assert!(http.rest().await.unwrap_or_default().is_empty());
    assert!(parked.rest().await.unwrap_or_default().is_empty());
    assert_eq!(scene.seen(), 3);
}

// SRV-23
#[tokio::test]
async fn but_not_for_longer_than_a_minute_when_dns_fails() {
    dead(Fault::Servfail, Reason::LookupServfail).await;
}

// SRV-23
#[tokio::test]
async fn nor_when_it_does_not_answer() {
    dead(Fault::NeverAnswers, Reason::LookupTimeout).await;
}

// SRV-23
#[tokio::test]
async fn nor_when_the_answer_is_forged() {
    dead(Fault::TamperedRdata, Reason::DnssecBogus).await;
}

// SRV-23
#[tokio::test]
async fn and_is_asked_for_once_in_30_seconds_whatever_the_ttl() {
    let scene = Scene::start(0).await;
    let mut http = scene.http1().await;
    let mut asked = vec![0];
    for second in 1..=600 {
        scene.time.pass(1).await;
        if scene.asked() > asked.len() {
            asked.push(second);
            assert_eq!((scene.asked(), http.get("/", &[]).await.status), (asked.len(), 200));
        }
    }
    // A question may be seen a moment after it was asked.
    assert!(asked.windows(2).all(|pair| (29..=38).contains(&(pair[1] - pair[0]))), "{asked:?}");
    assert!(asked.len() > 600 / 38, "{asked:?}");
    // It is no less gone for that.
    scene.lab.world.withdraw(SENSOR).unwrap();
    scene.time.pass(36).await;
    scene.withdrawn(2, Reason::TlsaAbsent).await;
    assert!(http.rest().await.unwrap_or_default().is_empty());
}

// SEC-01: what is asked about open connections leaves room for new ones.
#[tokio::test]
async fn and_many_are_asked_for_without_a_crowd() {
    let limits = LimitsConfig { lookups_total: 8, ..Default::default() };
    let scene = Scene::with(TTL, |config| config.limits = limits).await;
    let mut clients = Vec::new();
    for number in 0..40 {
        let name = format!("pump{number}._device.example.com");
        let client = scene.lab.certificate(&name, &scene.lab.enrol_for(&name, TTL));
        let mut http = Http1::new(scene.gateway.connect(&client).await);
        assert_eq!(http.get("/", &[]).await.status, 200);
        clients.push(http);
    }
    scene.time.pass(u64::from(TTL) + 45).await;
    assert_eq!(scene.asked(), 80);
    assert_eq!(scene.gateway.told(40).await.len(), 40);
    for http in &mut clients {
        assert_eq!(http.get("/", &[]).await.status, 200);
    }
}

// SEC-01: whichever limit it is.
#[tokio::test]
async fn and_leaves_room_for_new_clients() {
    let default = LimitsConfig::default();
    for limits in [
        LimitsConfig { lookups_total: 4, ..default.clone() },
        LimitsConfig { lookups_per_address: 4, ..default.clone() },
        LimitsConfig { lookups_per_entry: 4, ..default },
    ] {
        let scene = Scene::with(TTL, |config| config.limits = limits.clone()).await;
        let mut clients = Vec::new();
        for number in 0..20 {
            let name = format!("pump{number}.{SILENT}");
            let client = scene.lab.certificate(&name, &scene.lab.enrol_for(&name, TTL));
            clients.push(Http1::new(scene.gateway.connect(&client).await));
            scene.gateway.told(number + 1).await;
            scene.lab.world.add_fault(&name, Fault::NeverAnswers).unwrap();
        }
        // As many are asked for as may be, and nobody is answered.
        scene.time.pass(u64::from(TTL) + 4).await;
        assert!(scene.asked() > 20, "{limits:?}");
        let mut http = Http1::new(scene.gateway.connect(&scene.client).await);
        let told = scene.gateway.told(21).await;
        assert_eq!(told[20].code, "authenticated", "{limits:?} {:?}", &told[20..]);
        assert_eq!(http.get("/", &[]).await.status, 200);
        tokio::time::resume();
    }
}

// SRV-23, SEC-12: before the first request, in the middle of one, and where a response is not taken.
#[tokio::test]
async fn whatever_is_under_way() {
    let scene = Scene::start(TTL).await;
    let mut silent = scene.gateway.connect(&scene.client).await;
    scene.gateway.told(1).await;
    let mut header = scene.gateway.connect(&scene.client).await;
    header.write_all(b"GET /header HTTP/1.1\r\nHost: loc").await.unwrap();
    let mut upload = Http1::new(scene.gateway.connect(&scene.client).await);
    upload.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    scene.gateway.told(3).await;
    scene.lab.world.withdraw(SENSOR).unwrap();
    for _ in 0..u64::from(TTL) + ASKED + GOODBYE {
        scene.time.pass(1).await;
        // Never quiet.
        upload.0.write_all(b"3\r\nabc\r\n").await.ok();
    }
    let told = scene.gateway.told(6).await;
    assert!(told[3..].iter().all(|told| told.code == "withdrawn"));
    assert!(silent.read_to_end(&mut Vec::new()).await.is_ok());
    header.write_all(b"alhost\r\n\r\n").await.ok();
    header.read_to_end(&mut Vec::new()).await.ok();
    upload.rest().await.unwrap_or_default();
    scene.lab.origin.wait_for_open(0).await;
    assert!(scene.lab.origin.seen().iter().all(|request| !request.target.contains("header")));
}

// SRV-23: a gateway on its way down asks no less.
#[tokio::test]
async fn and_on_the_way_down() {
    let mut scene = Scene::with(TTL, |config| config.drain_timeout = "1h".parse().unwrap()).await;
    let mut http = scene.http1().await;
    http.send("GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    scene.lab.origin.wait_for(2).await;
    scene.gateway.stop();
    scene.time.pass(1).await;
    scene.lab.world.withdraw(SENSOR).unwrap();
    scene.time.pass(u64::from(TTL) + ASKED).await;
    scene.withdrawn(2, Reason::TlsaAbsent).await;
    scene.time.pass(GOODBYE).await;
    assert!(http.rest().await.unwrap_or_default().is_empty());
    assert!(scene.gateway.task.await.unwrap());
}

use dance_gateway::Config;
use dance_testkit::Origin;
use dance_tls::ClientConfig;

use crate::http::{Http1, collect, get, http2};
use crate::lab::{Lab, SENSOR};

fn offering(alpn: &[u8], client: ClientConfig) -> ClientConfig {
    ClientConfig { alpn: vec![alpn.to_vec()], ..client }
}

// HTTP-02, SRV-01
#[tokio::test]
async fn over_http1_with_a_certificate_on_each_request() {
    let lab = Lab::new().await;
    let gateway = lab.start();
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let mut http = Http1::new(gateway.connect(&client).await);
    for round in 0..3 {
        let answer = http.get(&format!("/{round}"), &[]).await;
        assert_eq!((answer.status, answer.text()), (200, "ok\n"));
    }
    let seen = lab.origin.seen();
    assert_eq!(seen.len(), 3);
    for (round, request) in seen.iter().enumerate() {
        assert_eq!(request.target, format!("/{round}"));
        // One line, one value, the name as it is.
        assert_eq!(request.values("dane-clientid"), [SENSOR]);
        assert_eq!(request.values("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(request.values("x-forwarded-proto"), ["https"]);
        assert_eq!(request.values("host"), ["localhost"]);
    }
    // One connection to the origin served all three.
    assert_eq!(lab.origin.connections(), 1);

    let [told] = gateway.told(1).await.try_into().unwrap();
    assert_eq!((told.code, told.reason, told.identity.as_deref()), ("authenticated", None, Some(SENSOR)));
    // One look-up for the handshake, none for a request (6.1 item 8).
    assert_eq!(lab.world.tlsa_queries(), [SENSOR]);
}

// HTTP-02, RPK-01
#[tokio::test]
async fn over_http2_with_a_raw_public_key_on_each_stream() {
    let lab = Lab::new().await;
    let gateway = lab.start();
    let client = offering(b"h2", lab.raw_key(SENSOR, &lab.enrol(SENSOR)));
    let tls = gateway.connect(&client).await;
    assert_eq!(tls.negotiated().alpn.as_deref(), Some(&b"h2"[..]));
    let mut sender = http2(tls).await;
    for round in 0..3 {
        let response = sender.send_request(get(&format!("/{round}?q=1"))).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(collect(response).await.0, b"ok\n");
    }
    let seen = lab.origin.seen();
    assert_eq!(seen.len(), 3);
    for (round, request) in seen.iter().enumerate() {
        assert_eq!(request.target, format!("/{round}?q=1"));
        assert_eq!(request.values("dane-clientid"), [SENSOR]);
        assert_eq!(request.values("host"), ["localhost"]);
    }
}

// HTTP-02
#[tokio::test]
async fn over_each_protocol_with_each_credential() {
    let lab = Lab::new().await;
    let gateway = lab.start();
    let identity = lab.enrol(SENSOR);
    for client in [lab.certificate(SENSOR, &identity), lab.raw_key(SENSOR, &identity)] {
        let mut http = Http1::new(gateway.connect(&offering(b"http/1.1", client.clone())).await);
        assert_eq!(http.get("/1", &[]).await.status, 200);
        let mut sender = http2(gateway.connect(&offering(b"h2", client)).await).await;
        assert_eq!(sender.send_request(get("/2")).await.unwrap().status(), 200);
    }
    let seen = lab.origin.wait_for(4).await;
    assert!(seen.iter().all(|request| request.values("dane-clientid") == [SENSOR]));
}

// HTTP-02
#[tokio::test]
async fn in_the_field_that_was_chosen_and_over_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let lab = Lab::with(Origin::start_unix(&directory.path().join("app.sock")).unwrap()).await;
    let gateway = lab.start_with(Config { header: "X-Device".to_owned(), ..lab.config() });
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let mut http = Http1::new(gateway.connect(&client).await);
    let answer = http.get("/", &["Dane-Clientid: forged.example.com", "x_device: forged.example.com"]).await;
    assert_eq!(answer.status, 200);
    let [request] = lab.origin.seen().try_into().unwrap();
    assert_eq!(request.values("x-device"), [SENSOR]);
    assert!(request.values("dane-clientid").is_empty());
    assert!(!format!("{request:?}").contains("forged"));
}

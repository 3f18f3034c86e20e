use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dance_core::clientid::{ClientProfile, Profile};
use dance_gateway::Config;
use dance_gateway::config::ClientCertificates;
use dance_testkit::origin::Seen;
use dance_testkit::{Authority, CertKey, CertSpec, Identity};
use dance_tls::misbehave::{self, CERTIFICATE_VERIFY};
use dance_tls::{CertifiedKey, ClientConfig, ClientCredential, ConnectError, Connector, PrivateKey};
use data_encoding::BASE64;
use http::Request;
use http_body::Frame;
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::ssl::{Ssl, SslContext, SslMethod, SslSessionCacheMode, SslVersion};
use openssl::x509::{X509, X509NameBuilder};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_openssl::SslStream;

use crate::http::{Frames, Http1, get, http2};
use crate::lab::{Lab, Running, SENSOR};

fn config(lab: &Lab) -> Config {
    Config { client_certificates: ClientCertificates::Forward, allow: Vec::new(), ..lab.config() }
}

/// A client with certificates, the end entity's first, and a key.
fn holder(lab: &Lab, chain: &str, key: &str) -> ClientConfig {
    let key = CertifiedKey::parse(chain.as_bytes(), key.as_bytes()).unwrap();
    lab.client(None, Some(ClientCredential::X509(key)))
}

fn holder_of(lab: &Lab, identity: &Identity) -> ClientConfig {
    holder(lab, &identity.chain_pem(), identity.key_pem())
}

fn over_tls12(client: &ClientConfig) -> ClientConfig {
    ClientConfig { profile: ClientProfile::Fixed(Profile::Draft2022), tls12: true, tls13: false, ..client.clone() }
}

/// What the fields of RFC 9440 must hold for this chain, each in one line or absent.
fn fields(chain: &[Vec<u8>]) -> [Vec<String>; 2] {
    let sequence = |der: &Vec<u8>| format!(":{}:", BASE64.encode(der));
    let issuers: Vec<_> = chain.iter().skip(1).map(sequence).collect();
    let list = if issuers.is_empty() { Vec::new() } else { vec![issuers.join(", ")] };
    [chain.first().map(sequence).into_iter().collect(), list]
}

/// What they held.
fn arrived(request: &Seen) -> [Vec<String>; 2] {
    ["client-cert", "client-cert-chain"].map(|name| request.values(name).into_iter().map(str::to_owned).collect())
}

/// A certificate of version 1, which has no extensions and no purposes: its octets and key in PEM.
fn version_1() -> (X509, String) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    sign(&key, 0)
}

/// Self-signed, with the version as it is encoded.
fn sign(key: &PKey<openssl::pkey::Private>, version: i32) -> (X509, String) {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "no name that DNS knows").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(version).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.sign(key, MessageDigest::sha256()).unwrap();
    (builder.build(), String::from_utf8(key.private_key_to_pem_pkcs8().unwrap()).unwrap())
}

/// Clients of all kinds, and the certificates that they show.
fn all_kinds(lab: &Lab) -> Vec<(&'static str, ClientConfig, Vec<Vec<u8>>)> {
    let authority = Authority::root("Nobody's").unwrap();
    let below = authority.intermediate("Issuing").unwrap();
    let spec = CertSpec::client(SENSOR);
    let bare = |key: PKey<openssl::pkey::Private>, version| {
        let (certificate, key) = sign(&key, version);
        let pem = String::from_utf8(certificate.to_pem().unwrap()).unwrap();
        (holder(lab, &pem, &key), vec![certificate.to_der().unwrap()])
    };
    let (v1, v1_key) = version_1();
    let v1_pem = String::from_utf8(v1.to_pem().unwrap()).unwrap();
    let rsa = bare(PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap(), 2);
    let mut kinds = vec![
        ("version 1", holder(lab, &v1_pem, &v1_key), vec![v1.to_der().unwrap()]),
        ("RSA, without a single extension", rsa.0, rsa.1),
    ];
    for (kind, identity) in [
        ("self-signed", spec.self_signed().unwrap()),
        ("expired", spec.clone().expired().self_signed().unwrap()),
        ("not yet valid", spec.clone().not_yet_valid().self_signed().unwrap()),
        ("a server's", CertSpec::localhost_server().self_signed().unwrap()),
        ("Ed25519", spec.clone().key(CertKey::Ed25519).self_signed().unwrap()),
        ("P-384", spec.clone().key(CertKey::P384).self_signed().unwrap()),
        ("of a CA that nobody knows", spec.issued_by(&authority).unwrap()),
        ("expired, of an intermediate CA", spec.expired().issued_by(&below).unwrap()),
    ] {
        kinds.push((kind, holder_of(lab, &identity), identity.chain_der().to_vec()));
    }
    kinds
}

// HTTP-07, HTTP-08, HTTP-09
#[tokio::test]
async fn whatever_it_is_octet_by_octet_and_asks_nobody() {
    let lab = Lab::new().await;
    let gateway = lab.start_with(Config { tls12: true, ..config(&lab) });
    let kinds = all_kinds(&lab);
    assert_eq!(kinds.iter().map(|(_, _, chain)| chain.len()).max(), Some(3));
    let mut count = 0;
    for (kind, client, chain) in &kinds {
        for client in [client.clone(), over_tls12(client)] {
            let mut http = Http1::new(gateway.connect(&client).await);
            // Every request of the connection.
            for _ in 0..2 {
                assert_eq!(http.get("/", &[]).await.status, 200, "{kind}");
                let request = lab.origin.seen().pop().unwrap();
                assert_eq!(arrived(&request), fields(chain), "{kind}");
                assert!(request.values("dane-clientid").is_empty());
            }
            count += 1;
            let told = gateway.told(count).await.pop().unwrap();
            assert_eq!(
                (told.code, told.certificates, told.client_name),
                ("forwarded", Some(chain.len()), None),
                "{kind}"
            );
        }
    }
    // Over HTTP/2 too.
    let (_, client, chain) = kinds.last().unwrap();
    let client = ClientConfig { alpn: vec![b"h2".to_vec()], ..client.clone() };
    let mut sender = http2(gateway.connect(&client).await).await;
    for _ in 0..2 {
        assert_eq!(sender.send_request(get("/")).await.unwrap().status(), 200);
        assert_eq!(arrived(&lab.origin.seen().pop().unwrap()), fields(chain));
    }
    assert!(lab.world.queries().is_empty());
}

/// Asks for `/`, and says whether an answer came.
async fn answered(gateway: &Running, connector: &Connector) -> bool {
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    // In TLS 1.3 the client is through before the server has read what it sent; it hears of the alert when it reads.
    let Ok(mut tls) = connector.connect("localhost", stream).await else { return false };
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let written = tls.write_all(request).await;
    written.is_ok() && matches!(tls.read(&mut [0; 16]).await, Ok(1..))
}

// HTTP-07, SRV-09
#[tokio::test]
async fn if_the_client_proves_that_it_holds_the_key() {
    let lab = Lab::new().await;
    let gateway = lab.start_with(Config { tls12: true, ..config(&lab) });
    let holder = holder_of(&lab, &CertSpec::client(SENSOR).self_signed().unwrap());
    for (number, client) in [holder.clone(), over_tls12(&holder)].into_iter().enumerate() {
        let honest = Connector::new(&client).unwrap();
        assert!(!answered(&gateway, &misbehave::corrupts(&honest, CERTIFICATE_VERIFY)).await);
        assert_eq!(gateway.told(2 * number + 1).await[2 * number].code, "handshake-failed");
        assert_eq!(lab.origin.seen().len(), number);
        assert!(answered(&gateway, &honest).await);
        assert_eq!(gateway.told(2 * number + 2).await[2 * number + 1].code, "forwarded");
        assert_eq!(lab.origin.seen().len(), number + 1);
    }
}

// HTTP-17
#[tokio::test]
async fn but_no_raw_public_key_which_no_field_could_hold() {
    let lab = Lab::new().await;
    let gateway = lab.start_with(Config { tls12: true, ..config(&lab) });
    let identity = CertSpec::client(SENSOR).self_signed().unwrap();
    let key = PrivateKey::parse(identity.key_pem().as_bytes()).unwrap();
    let bare = lab.client(None, Some(ClientCredential::RawPublicKey(key)));
    for (number, client) in [bare.clone(), over_tls12(&bare)].into_iter().enumerate() {
        let tls = gateway.connect(&client).await;
        // Offered, and not taken: the client is one without certificate.
        assert_eq!(tls.credential_sent(), None);
        assert_eq!(Http1::new(tls).get("/", &["Client-Cert: :Zm9yZ2Vk:"]).await.status, 200);
        assert_eq!(gateway.told(number + 1).await[number].certificates, Some(0));
        assert_eq!(arrived(&lab.origin.seen()[number]), fields(&[]));
    }
    // With the setting that has it taken where names are asked for.
    let dane = lab.start();
    lab.world.set_tlsa(SENSOR, &[identity.tlsa_311().unwrap()], 300).unwrap();
    let tls = dane.connect(&lab.raw_key(SENSOR, &identity)).await;
    assert_eq!(tls.credential_sent(), Some(dance_tls::CredentialType::RawPublicKey));
    assert_eq!(Http1::new(tls).get("/", &[]).await.status, 200);
}

// CID-10, HTTP-07
#[tokio::test]
async fn and_no_name_is_asked_for() {
    let lab = Lab::new().await;
    let gateway = lab.start_with(config(&lab));
    let identity = lab.enrol(SENSOR);
    let named = lab.certificate(SENSOR, &identity);
    let tls = gateway.connect(&named).await;
    assert!(!tls.signal_seen() && !tls.name_sent());
    assert_eq!(Http1::new(tls).get("/", &[]).await.status, 200);
    assert_eq!(arrived(&lab.origin.seen()[0]), fields(identity.chain_der()));
    // A client that insists on being asked goes away by itself, and says nothing.
    let insists = Connector::new(&ClientConfig { require_signal: true, ..named }).unwrap();
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let refusal = insists.connect("localhost", stream).await.unwrap_err();
    assert!(matches!(refusal, ConnectError::NoSignal), "{refusal}");
    assert!(lab.world.queries().is_empty());
}

// HTTP-03, HTTP-04, HTTP-09
#[tokio::test]
async fn and_nothing_that_a_request_says_instead() {
    let lab = Lab::new().await;
    let gateway = lab.start_with(config(&lab));
    let authority = Authority::root("Nobody's").unwrap();
    let alone = CertSpec::client(SENSOR).self_signed().unwrap();
    let issued = CertSpec::client(SENSOR).issued_by(&authority).unwrap();
    let forged = [
        "Client-Cert: :Zm9yZ2Vk:",
        "client_cert: :Zm9yZ2Vk:",
        "CLIENT-CERT: :Zm9yZ2Vk:",
        "Client.Cert: :Zm9yZ2Vk:",
        "Client-Cert-Chain: :Zm9yZ2Vk:",
        "Client_Cert_Chain: :Zm9yZ2Vk:",
        "Dane-Clientid: Zm9yZ2Vk",
        "dane_clientid: Zm9yZ2Vk",
        "X-Forwarded-Client-Cert: Zm9yZ2Vk",
        "X-Forwarded-Tls-Client-Cert: Zm9yZ2Vk",
        "Connection: Client-Cert, client-cert-chain, dane-clientid",
    ];
    // The positive control: without a gateway all of it arrives.
    let mut direct = Http1::new(TcpStream::connect(lab.origin.address()).await.unwrap());
    assert_eq!(direct.get("/", &forged).await.status, 200);
    assert_eq!(format!("{:?}", lab.origin.seen()[0]).matches("Zm9yZ2Vk").count(), 10);

    let clients = [
        (lab.client(None, None), Vec::new()),
        (holder_of(&lab, &alone), alone.chain_der().to_vec()),
        (holder_of(&lab, &issued), issued.chain_der().to_vec()),
    ];
    let mut seen = 1;
    for (client, chain) in &clients {
        let mut http = Http1::new(gateway.connect(client).await);
        let claims = ["Dane-Clientid-Asserted: sensor9._device.example.com", "X-Other: passes"];
        assert_eq!(http.get("/", &[&forged[..], &claims].concat()).await.status, 200);
        // The same at the end of a body.
        let head = "POST / HTTP/1.1\r\nHost: localhost\r\nTrailer: Client-Cert, client_cert_chain, X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n";
        let end = "0\r\nClient-Cert: :Zm9yZ2Vk:\r\nclient_cert_chain: :Zm9yZ2Vk:\r\nX-Sum: 7\r\n\r\n";
        http.send(format!("{head}5\r\nhello\r\n{end}")).await;
        assert_eq!(http.answer().await.status, 200);
        let http2_client = ClientConfig { alpn: vec![b"h2".to_vec()], ..client.clone() };
        let mut sender = http2(gateway.connect(&http2_client).await).await;
        let mut trailers = http::HeaderMap::new();
        trailers.insert("client-cert", ":Zm9yZ2Vk:".parse().unwrap());
        let body = Frames([Frame::data("hello".into()), Frame::trailers(trailers)].into());
        let request = Request::post("https://localhost/").header("client_cert", ":Zm9yZ2Vk:").body(body).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), 200);

        let requests = lab.origin.seen().split_off(seen);
        seen += requests.len();
        assert_eq!(requests.len(), 3);
        for request in &requests {
            assert!(!format!("{request:?}").contains("Zm9yZ2Vk"), "{request:?}");
            assert_eq!(arrived(request), fields(chain));
            assert!(request.values("connection").is_empty() && request.values("client_cert").is_empty());
        }
        // What the client claims is for the application to check.
        assert_eq!(requests[0].values("dane-clientid-asserted"), ["sensor9._device.example.com"]);
        assert_eq!(requests[0].values("x-other"), ["passes"]);
        assert_eq!((requests[1].values("trailer"), requests[1].trailers.len()), (vec!["X-Sum"], 1));
    }
}

/// What a client has been given to resume sessions by, over one connection with a request: OpenSSL's own, which takes whatever comes.
async fn sessions_given(server: SocketAddr, version: SslVersion, identity: &Identity) -> usize {
    let mut context = SslContext::builder(SslMethod::tls_client()).unwrap();
    context.set_max_proto_version(Some(version)).unwrap();
    context.set_certificate(&X509::from_der(identity.leaf_der()).unwrap()).unwrap();
    context.set_private_key(&PKey::private_key_from_pem(identity.key_pem().as_bytes()).unwrap()).unwrap();
    context.set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
    let given = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&given);
    context.set_new_session_callback(move |_, _| {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let stream = TcpStream::connect(server).await.unwrap();
    let mut tls = SslStream::new(Ssl::new(&context.build()).unwrap(), stream).unwrap();
    Pin::new(&mut tls).connect().await.unwrap();
    assert_eq!(tls.ssl().version2(), Some(version));
    assert_eq!(Http1::new(&mut tls).get("/", &[]).await.status, 200);
    given.load(Ordering::Relaxed)
}

/// A server that lets its clients resume, as servers do unless they are told not to.
async fn resuming_server(lab: &Lab) -> SocketAddr {
    let mut context = SslContext::builder(SslMethod::tls_server()).unwrap();
    context.set_certificate(&X509::from_der(lab.server.leaf_der()).unwrap()).unwrap();
    context.set_private_key(&PKey::private_key_from_pem(lab.server.key_pem().as_bytes()).unwrap()).unwrap();
    let (context, listener) = (context.build(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut tls = SslStream::new(Ssl::new(&context).unwrap(), stream).unwrap();
            Pin::new(&mut tls).accept().await.unwrap();
            tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            // Until the client has what it wants.
            let _ = tls.read_to_end(&mut Vec::new()).await;
        }
    });
    address
}

// HTTP-16
#[tokio::test]
async fn and_shows_it_anew_on_every_connection() {
    let lab = Lab::new().await;
    let gateway = lab.start_with(Config { tls12: true, ..config(&lab) });
    let identity = CertSpec::client(SENSOR).self_signed().unwrap();
    let control = resuming_server(&lab).await;
    for version in [SslVersion::TLS1_3, SslVersion::TLS1_2] {
        assert!(sessions_given(control, version, &identity).await > 0);
        assert_eq!(sessions_given(gateway.address, version, &identity).await, 0);
    }
    // One connector keeps what it is given.
    let connector = Connector::new(&ClientConfig { resumption: true, ..holder_of(&lab, &identity) }).unwrap();
    for _ in 0..2 {
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        let tls = connector.connect("localhost", stream).await.unwrap();
        assert!(!tls.resumed());
        assert_eq!(Http1::new(tls).get("/", &[]).await.status, 200);
    }
    let seen = lab.origin.seen();
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|request| arrived(request) == fields(identity.chain_der())), "{seen:?}");
}

// HTTP-19
#[tokio::test]
async fn unless_it_is_too_long_for_the_application() {
    let lab = Lab::new().await;
    let authority = Authority::root("Root").unwrap();
    let mut below = authority.intermediate("1").unwrap();
    for level in 2..8 {
        below = below.intermediate(&level.to_string()).unwrap();
    }
    let spec = CertSpec::client(SENSOR);
    let (short, long) = (spec.self_signed().unwrap(), spec.issued_by(&below).unwrap());
    let octets = |identity: &Identity| fields(identity.chain_der()).iter().flatten().map(String::len).sum::<usize>();
    let fitting = octets(&long);
    assert!(octets(&short) < 1024 && fitting > 4096);

    let cut = lab.start_with(Config { max_certificate_bytes: fitting - 1, ..config(&lab) });
    let mut http = Http1::new(cut.connect(&holder_of(&lab, &long)).await);
    for _ in 0..2 {
        let answer = http.get("/", &[]).await;
        assert_eq!((answer.status, answer.text()), (431, "431 Request Header Fields Too Large\n"));
    }
    assert!(lab.origin.seen().is_empty());
    // Others are served meanwhile, and where it fits so is this one.
    assert_eq!(Http1::new(cut.connect(&holder_of(&lab, &short)).await).get("/", &[]).await.status, 200);
    let fits = lab.start_with(Config { max_certificate_bytes: fitting, ..config(&lab) });
    let mut http = Http1::new(fits.connect(&holder_of(&lab, &long)).await);
    assert_eq!(http.get("/", &[]).await.status, 200);
    assert_eq!(
        lab.origin.seen().iter().map(arrived).collect::<Vec<_>>(),
        [fields(short.chain_der()), fields(long.chain_der())]
    );
}

// HTTP-15
#[tokio::test]
async fn and_keeps_answers_about_it_out_of_shared_caches() {
    let lab = Lab::new().await;
    let gateway = lab.start_with(config(&lab));
    let client = holder_of(&lab, &CertSpec::client(SENSOR).self_signed().unwrap());
    let answer = Http1::new(gateway.connect(&client).await).get("/vary/Client-Cert", &[]).await;
    assert_eq!(answer.values("vary"), ["*"]);
    // As the origin wrote it.
    let mut direct = Http1::new(TcpStream::connect(lab.origin.address()).await.unwrap());
    assert_eq!(direct.get("/vary/Client-Cert", &[]).await.values("vary"), ["Client-Cert"]);
    let answer = Http1::new(gateway.connect(&client).await).get("/vary/Accept", &[]).await;
    assert_eq!(answer.values("vary"), ["Accept"]);
}

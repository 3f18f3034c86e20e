use dance_core::clientid::{ClientForm, ExtensionType, ExtensionTypes, Profile, TlsVersion};
use dance_core::name::ClientName;
use dance_core::reason::Reason;
use dance_gateway::Config;
use dance_gateway::config::{ExtensionTypeSetting, PolicySetting, ProfileSetting};
use dance_testkit::{Authority, CertSpec};
use dance_tls::{ClientConfig, Connector};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::http::Http1;
use crate::lab::{Lab, Running, SENSOR};

fn old(config: ClientConfig) -> ClientConfig {
    ClientConfig { profile: Profile::Draft2022.into(), ..config }
}

/// TLS 1.2 and nothing else.
fn tls12(config: ClientConfig) -> ClientConfig {
    ClientConfig { tls12: true, tls13: false, ..old(config) }
}

/// What the application is told about a client that must be served.
async fn served(lab: &Lab, gateway: &Running, client: &ClientConfig, version: TlsVersion) -> Vec<String> {
    let tls = gateway.connect(client).await;
    assert_eq!(tls.negotiated().version, version);
    assert_eq!(Http1::new(tls).get("/", &[]).await.status, 200);
    lab.origin.seen().last().unwrap().values("dane-clientid").into_iter().map(str::to_owned).collect()
}

/// Whether a handshake, or the first read after it, fails.
async fn refused(gateway: &Running, client: &ClientConfig) {
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    if let Ok(mut tls) = Connector::new(client).unwrap().connect("localhost", stream).await {
        tls.read(&mut [0; 16]).await.unwrap_err();
    }
}

// SRV-02, SEC-09, SEC-10
#[tokio::test]
async fn by_tls_1_2_only_where_that_is_on() {
    let lab = Lab::new().await;
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let profile = ProfileSetting::Draft2022;
    for config in [lab.config(), Config { profile, ..lab.config() }] {
        assert!(!config.tls12);
        let gateway = lab.start_with(config);
        refused(&gateway, &tls12(client.clone())).await;
        assert_eq!(gateway.told(1).await[0].reason, Some(Reason::VersionTooLow));
    }
    assert!(lab.world.tlsa_queries().is_empty());

    let gateway = lab.start_with(Config { profile, tls12: true, ..lab.config() });
    assert_eq!(served(&lab, &gateway, &tls12(client.clone()), TlsVersion::Tls12).await, [SENSOR]);
    assert_eq!(served(&lab, &gateway, &old(client), TlsVersion::Tls13).await, [SENSOR]);
}

// SRV-03
#[tokio::test]
async fn without_a_name_by_tls_1_2_in_profile_current() {
    let lab = Lab::new().await;
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let gateway = lab.start_with(Config { policy: PolicySetting::Optional, tls12: true, ..lab.config() });
    assert!(served(&lab, &gateway, &tls12(client.clone()), TlsVersion::Tls12).await.is_empty());
    assert_eq!(gateway.told(1).await[0].code, "not-dane");
    assert!(lab.world.tlsa_queries().is_empty());
    assert_eq!(served(&lab, &gateway, &client, TlsVersion::Tls13).await, [SENSOR]);
}

// CID-01: the change to another code point needs no day on which all clients change.
#[tokio::test]
async fn by_any_code_point_that_is_configured() {
    let lab = Lab::new().await;
    let client = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    let [new, other] = [0xff5a, 0xff5b].map(|number| ExtensionType::new(number).unwrap());
    let with = |extension_type| ClientConfig { extension_type, ..client.clone() };
    let set = ExtensionTypeSetting(ExtensionTypes::new([new, ExtensionType::DEFAULT]).unwrap());
    let gateway = lab.start_with(Config { extension_type: set, ..lab.config() });
    for kind in [new, ExtensionType::DEFAULT] {
        assert_eq!(served(&lab, &gateway, &with(kind), TlsVersion::Tls13).await, [SENSOR]);
    }
    refused(&gateway, &with(other)).await;
    let alone = lab.start();
    assert_eq!(served(&lab, &alone, &with(ExtensionType::DEFAULT), TlsVersion::Tls13).await, [SENSOR]);
    refused(&alone, &with(new)).await;
}

// NAM-09
#[tokio::test]
async fn by_the_name_in_the_certificate_where_that_is_on() {
    let lab = Lab::new().await;
    let identity = lab.enrol(SENSOR);
    let named = old(lab.certificate(SENSOR, &identity));
    let silent = ClientConfig { client_id: None, ..named.clone() };
    let empty = ClientConfig { client_id: Some(ClientForm::InCertificate), ..named };
    let profile = ProfileSetting::Draft2022;
    let gateway = lab.start_with(Config { profile, ..lab.config() });
    assert_eq!(served(&lab, &gateway, &empty, TlsVersion::Tls13).await, [SENSOR]);
    refused(&gateway, &silent).await;
    assert_eq!(gateway.told(2).await[1].reason, Some(Reason::NoClientName));

    let gateway = lab.start_with(Config { profile, derive_without_signal: true, ..lab.config() });
    assert_eq!(served(&lab, &gateway, &silent, TlsVersion::Tls13).await, [SENSOR]);
}

// NAM-11, HTTP-02
#[tokio::test]
async fn as_a_user_where_there_are_users() {
    let lab = Lab::new().await;
    let authority = Authority::root("People of example.com").unwrap();
    let (users, domain) = ("_user.example.com", "example.com");
    lab.world.set_tlsa(users, &[authority.tlsa_201().unwrap()], 300).unwrap();
    let person = |email: &str| {
        let identity = CertSpec::client(domain).email(email).issued_by(&authority).unwrap();
        let client_id = Some(ClientForm::Name(ClientName::parse_config(users).unwrap()));
        ClientConfig { client_id, ..lab.certificate(users, &identity) }
    };
    let gateway = lab.start_with(Config { user_mode: true, ..lab.config() });
    assert_eq!(served(&lab, &gateway, &person("Alice@example.com"), TlsVersion::Tls13).await, ["alice@example.com"]);
    assert_eq!(served(&lab, &gateway, &person("bob@Example.com"), TlsVersion::Tls13).await, ["bob@example.com"]);
    let told = gateway.told(2).await;
    assert_eq!((told[0].client_name.as_deref(), told[0].identity.as_deref()), (Some(users), Some("alice@example.com")));
    refused(&gateway, &person("carol@example.net")).await;
    assert_eq!(gateway.told(3).await[2].code, "refused");
    // Other names are as they were.
    let device = lab.certificate(SENSOR, &lab.enrol(SENSOR));
    assert_eq!(served(&lab, &gateway, &device, TlsVersion::Tls13).await, [SENSOR]);

    // Without the setting the certificate would have to hold the name, and nobody is a user.
    let plain = lab.start();
    refused(&plain, &person("alice@example.com")).await;
    assert_eq!(plain.told(1).await[0].reason, Some(Reason::SanMismatch));
}

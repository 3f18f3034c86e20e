use std::net::TcpListener;
use std::path::PathBuf;

use dance_gateway::config::DnsConfig;
use dance_gateway::{Config, Gateway};
use dance_testkit::CertSpec;

use crate::lab::Lab;

/// The message of a start that must fail.
fn failure(lab: &Lab, config: &Config) -> String {
    Gateway::bind(config, lab.resolver()).unwrap_err().to_string()
}

#[tokio::test]
async fn on_a_port_in_use() {
    let lab = Lab::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Config { listen: taken.local_addr().unwrap(), ..lab.config() };
    let message = failure(&lab, &config);
    assert!(message.contains(&config.listen.to_string()) && message.contains("`listen`"), "{message}");
    drop(taken);
    Gateway::bind(&config, lab.resolver()).unwrap();
}

#[tokio::test]
async fn with_a_file_that_is_not_there_or_not_what_it_should_be() {
    let lab = Lab::new().await;
    let file = |name: &str, content: &str| -> Option<PathBuf> {
        let path = lab.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        Some(path)
    };
    let other = CertSpec::localhost_server().self_signed().unwrap();
    let missing = Some(lab.directory.path().join("missing.pem"));
    let base = lab.config();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let base = Config { listen: free, ..base };
    let faults = [
        (Config { certificate: missing.clone(), ..base.clone() }, "missing.pem"),
        (Config { key: missing.clone(), ..base.clone() }, "missing.pem"),
        (Config { key: file("other.pem", other.key_pem()), ..base.clone() }, "other.pem: "),
        (Config { certificate: file("empty.pem", ""), ..base.clone() }, "empty.pem"),
        (Config { pkix_roots: missing, ..base.clone() }, "missing.pem"),
        (
            Config { pkix_roots: file("none.pem", "nothing here"), ..base.clone() },
            "expected certificates in PEM, found none",
        ),
        (
            Config {
                pkix_roots: file("broken.pem", "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n"),
                ..base.clone()
            },
            "broken.pem",
        ),
        (
            Config {
                pkix_roots: file("no.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
                ..base.clone()
            },
            "certificate 1 in it is no X.509 certificate",
        ),
        (Config { allow: Vec::new(), ..base.clone() }, "allow-list is empty"),
        (Config { allow: vec!["*.com".to_owned()], ..base.clone() }, "\"*.com\""),
        (Config { origin: Some("192.0.2.1:80".parse().unwrap()), ..base.clone() }, "unsafe-origin"),
    ];
    for (config, expected) in faults {
        let message = failure(&lab, &config);
        assert!(message.contains(expected), "{message}");
        // Nothing was left listening.
        drop(TcpListener::bind(free).unwrap());
    }
    // What was wrong was each of these, and nothing else.
    let roots = file("roots.pem", &other.chain_pem());
    assert_eq!(Gateway::bind(&Config { pkix_roots: roots, ..base }, lab.resolver()).unwrap().local_addr(), free);
}

// DNS-02
#[tokio::test]
async fn with_a_resolver_that_cannot_be_believed() {
    let lab = Lab::new().await;
    let dns = |dns: DnsConfig| dance_gateway::resolver(&Config { dns, ..lab.config() });
    let server = vec![lab.world.addr().to_string()];
    let good = DnsConfig { resolver: server, ..DnsConfig::default() };
    dns(good.clone()).unwrap();
    let missing = lab.directory.path().join("root.key");
    let faults = [
        (DnsConfig { trust_anchor: Some(missing), ..good.clone() }, "root.key"),
        (DnsConfig { resolver: vec!["resolver.example".to_owned()], ..good.clone() }, "resolver.example"),
        (
            DnsConfig {
                resolver: vec!["tls://192.0.2.53#a".to_owned()],
                resolver_ca: Some("/none.pem".into()),
                ..good.clone()
            },
            "/none.pem",
        ),
        (
            DnsConfig {
                resolver: vec!["tls://192.0.2.53".to_owned()],
                mode: dance_gateway::config::DnsMode::Ad,
                ..good.clone()
            },
            "192.0.2.53",
        ),
        (
            DnsConfig { resolver: vec!["192.0.2.53".to_owned()], mode: dance_gateway::config::DnsMode::Ad, ..good },
            "192.0.2.53:53",
        ),
    ];
    for (config, expected) in faults {
        let message = dns(config).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

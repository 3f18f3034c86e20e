#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeSet;

use dance_daemon::dns::{DnsConfig, DnsMode};
use dance_daemon::settings::WildcardSetting;
use dance_http::Dialect;

use super::{Config, ForwardedBySetting, Listen, Protocol};

const EXAMPLE: &str = include_str!("../../auth-service.example.toml");

/// What the example sets although there is no default for it.
fn example() -> Config {
    Config {
        forwarded_by: Some(ForwardedBySetting::Dialect(Dialect::Rfc9440)),
        allow: vec!["*._device.example.com".to_owned()],
        ..Config::default()
    }
}

fn keys(table: &toml::Table, prefix: &str, into: &mut BTreeSet<String>) {
    for (key, value) in table {
        match value {
            toml::Value::Table(table) => keys(table, &format!("{prefix}{key}."), into),
            _ => drop(into.insert(format!("{prefix}{key}"))),
        }
    }
}

#[test]
fn the_example_equals_the_defaults() {
    assert_eq!(Config::parse(EXAMPLE).unwrap(), example());
    example().check().unwrap();
}

#[test]
fn the_example_lists_every_key() {
    let full = Config {
        protocol: Some(Protocol::Http),
        certificate_header: Some("Client-Cert".to_owned()),
        chain_header: Some("Client-Cert-Chain".to_owned()),
        client_address_header: Some("X-Real-IP".to_owned()),
        service_label: Some("smtp-client".to_owned()),
        pkix_roots: Some("/roots.pem".into()),
        metrics: Some("127.0.0.1:9464".parse().unwrap()),
        dns: DnsConfig {
            resolver_ca: Some("/resolver-ca.pem".into()),
            trust_anchor: Some("/root.key".into()),
            ..DnsConfig::default()
        },
        ..example()
    };
    let mut expected = BTreeSet::new();
    keys(&full.to_string().parse().unwrap(), "", &mut expected);

    // Keys without a default stand in the example as comments: `#key = value`.
    let uncommented: String = EXAMPLE
        .lines()
        .map(|line| {
            let key = line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
            format!("{}\n", key.unwrap_or(line))
        })
        .collect();
    let mut found = BTreeSet::new();
    keys(&uncommented.parse().unwrap(), "", &mut found);
    assert_eq!(found, expected);
    Config::parse(&uncommented).unwrap().check().unwrap();
}

#[test]
fn the_effective_configuration_reads_back() {
    let unix = Listen::Unix("/run/dance/auth.sock".into());
    let config = Config { listen: unix, forwarded_by: Some(ForwardedBySetting::ExtAuthz), ..example() };
    assert_eq!(Config::parse(&config.to_string()).unwrap(), config);
}

#[test]
fn relative_paths_count_from_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("auth-service.toml");
    let text = "listen = \"unix:auth.sock\"\npkix-roots = \"/abs/roots.pem\"\n[dns]\ntrust-anchor = \"root.key\"";
    std::fs::write(&file, text).unwrap();
    let config = Config::read(&file).unwrap();
    assert_eq!(config.listen, Listen::Unix(dir.path().join("auth.sock")));
    assert_eq!(config.pkix_roots, Some("/abs/roots.pem".into()));
    assert_eq!(config.dns.trust_anchor, Some(dir.path().join("root.key")));
}

// HTTP-14: each dialect has its fields, and none is guessed.
#[test]
fn fields_go_with_the_dialect() {
    let fields = |text: &str| {
        let config = Config::parse(&format!("allow = [\"a.example.com\"]\n{text}")).unwrap();
        let rules = config.check().map_err(|error| error.to_string())?.rules;
        Ok::<_, String>(rules.forwarded_by.fields().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(fields("forwarded-by = \"rfc9440\"").unwrap(), ["client-cert", "client-cert-chain"]);
    assert_eq!(fields("forwarded-by = \"xfcc\"").unwrap(), ["x-forwarded-client-cert"]);
    assert_eq!(fields("forwarded-by = \"traefik\"").unwrap(), ["x-forwarded-tls-client-cert"]);
    assert_eq!(fields("forwarded-by = \"ext-authz\"").unwrap(), [""; 0]);
    assert_eq!(fields("forwarded-by = \"base64-der\"\ncertificate-header = \"X-C\"").unwrap(), ["x-c"]);
    let both = "forwarded-by = \"base64-der\"\ncertificate-header = \"X-C\"\nchain-header = \"X-D\"";
    assert_eq!(fields(both).unwrap(), ["x-c", "x-d"]);
    for (text, expected) in [
        ("", "`forwarded-by` is missing"),
        ("forwarded-by = \"escaped-pem\"", "needs `certificate-header`"),
        ("forwarded-by = \"traefik\"\nchain-header = \"X-D\"", "leave `chain-header` out"),
        ("forwarded-by = \"ext-authz\"\ncertificate-header = \"X-C\"", "from no field"),
        ("forwarded-by = \"ext-authz\"\nprotocol = \"http\"", "needs protocol = \"grpc\""),
        ("forwarded-by = \"rfc9440\"\ncertificate-header = \"a b\"", "no HTTP field name"),
        ("forwarded-by = \"rfc9440\"\ncertificate-header = \"Dane_Clientid\"", "has another use"),
        ("forwarded-by = \"rfc9440\"\ncertificate-header = \"Dane-Clientid-Asserted\"", "has another use"),
        ("forwarded-by = \"rfc9440\"\nchain-header = \"Client_Cert\"", "has another use"),
    ] {
        let message = fields(text).unwrap_err();
        assert!(message.contains(expected), "{text}: {message}");
    }
    let unknown = Config::parse("forwarded-by = \"nginx\"").unwrap_err().to_string();
    assert!(unknown.contains("what the balancer in front writes"), "{unknown}");
}

#[test]
fn each_fault_is_named_with_what_to_do() {
    let faults: [(Config, &str); 13] = [
        (Config { allow: Vec::new(), ..example() }, "allow = ["),
        (Config { allow: vec!["*.com".to_owned()], ..example() }, "\"*.com\""),
        (Config { listen: "192.0.2.1:80".parse().unwrap(), ..example() }, "unsafe-listen"),
        (Config { listen: "0.0.0.0:80".parse().unwrap(), ..example() }, "unsafe-listen"),
        (Config { metrics: Some("192.0.2.1:9464".parse().unwrap()), ..example() }, "unsafe-metrics"),
        (Config { trusted_peers: Vec::new(), ..example() }, "`trusted-peers` is empty"),
        (Config { trusted_peers: vec!["lan".to_owned()], ..example() }, "found \"lan\""),
        (Config { realm: "a\"b".to_owned(), ..example() }, "without quotation marks"),
        (Config { header: "Host".to_owned(), ..example() }, "choose one of its own"),
        (Config { body_timeout: super::Span::secs(0), ..example() }, "`body-timeout` is zero"),
        (Config { body_limit: 1 << 40, ..example() }, "`body-limit` is"),
        (Config { max_header_bytes: 1000, ..example() }, "expected 8192 to 1048576"),
        (
            Config {
                wildcard_ee: WildcardSetting::Reject,
                dns: DnsConfig { mode: DnsMode::Ad, ..DnsConfig::default() },
                ..example()
            },
            "dns.mode = \"validate\"",
        ),
    ];
    for (config, expected) in faults {
        let message = config.check().unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    for listen in ["[::1]:80", "127.8.8.8:80", "unix:/run/a.sock"] {
        Config { listen: listen.parse().unwrap(), ..example() }.check().unwrap();
    }
    Config { listen: "0.0.0.0:80".parse().unwrap(), unsafe_listen: true, ..example() }.check().unwrap();
    for wrong in ["", "unix:", "80", "localhost:80"] {
        assert!(wrong.parse::<Listen>().is_err(), "{wrong}");
    }
}

// SEC-01: where nobody tells clients' addresses, the limit for one address would be one for all.
#[test]
fn the_limit_for_one_address_needs_addresses() {
    let limit = |config: Config| config.check().unwrap().limits.lookups_per_address;
    assert_eq!(limit(example()), 256);
    assert_eq!(limit(Config { client_address_header: Some("X-Real-IP".to_owned()), ..example() }), 8);
    assert_eq!(limit(Config { protocol: Some(Protocol::Grpc), ..example() }), 8);
}

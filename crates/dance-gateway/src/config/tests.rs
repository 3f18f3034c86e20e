#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeSet;

use super::{Config, ConfigError, SettingError};

const EXAMPLE: &str = include_str!("../../gateway.example.toml");

/// What the example sets although there is no default for it.
fn example() -> Config {
    Config {
        certificate: Some("/etc/dance/server-chain.pem".into()),
        key: Some("/etc/dance/server-key.pem".into()),
        origin: Some("127.0.0.1:8080".parse().unwrap()),
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
        service_label: Some("smtp-client".to_owned()),
        pkix_roots: Some("/roots.pem".into()),
        client_ca: Some("/ca.pem".into()),
        metrics: Some("127.0.0.1:9464".parse().unwrap()),
        dns: super::DnsConfig {
            resolver_ca: Some("/resolver-ca.pem".into()),
            trust_anchor: Some("/root.key".into()),
            ..super::DnsConfig::default()
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
    let optional = super::PolicySetting::Optional;
    Config { policy: optional, ..Config::parse(&uncommented).unwrap() }.check().unwrap();
}

#[test]
fn the_effective_configuration_reads_back() {
    let config = Config { service_label: Some("mqtt".to_owned()), max_streams: 7, ..example() };
    assert_eq!(Config::parse(&config.to_string()).unwrap(), config);
}

#[test]
fn unknown_keys_are_errors_that_quote_the_line() {
    for text in ["alow = []", "[dns]\nresolvers = []", "[limits]\nlookups = 3", "[tls]\n"] {
        let message = Config::parse(text).unwrap_err().to_string();
        assert!(message.contains("unknown field") && message.contains("line "), "{message}");
    }
}

#[test]
fn extension_types_are_read_in_both_forms_and_checked() {
    for text in ["extension-type = \"0xff5a\"", "extension-type = 0xff5a", "extension-type = 65370"] {
        let types = Config::parse(text).unwrap().extension_type.0;
        assert_eq!(types.as_slice().iter().map(|one| one.get()).collect::<Vec<_>>(), [0xff5a]);
    }
    let set = Config::parse("extension-type = [\"0xff5a\", 65500]").unwrap();
    assert_eq!(set.extension_type.0.to_string(), "0xff5a, 0xffdc");
    let again = Config { extension_type: set.extension_type, ..example() };
    assert_eq!(Config::parse(&again.to_string()).unwrap(), again);
    for text in [
        "\"0xff01\"",
        "\"ff5a\"",
        "\"0x10ff5a\"",
        "0",
        "70000",
        "true",
        "[]",
        "[1]",
        "[65500, 65500]",
        "[65500, 65499, 65498, 65497, 65496]",
    ] {
        let message = Config::parse(&format!("extension-type = {text}")).unwrap_err().to_string();
        assert!(message.contains("private-use"), "{message}");
    }
}

#[test]
fn relative_paths_count_from_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.toml");
    std::fs::write(&file, "certificate = \"chain.pem\"\nkey = \"/abs/key.pem\"\n[dns]\ntrust-anchor = \"root.key\"\nresolver-ca = \"ca.pem\"")
        .unwrap();
    let config = Config::read(&file).unwrap();
    assert_eq!(config.certificate, Some(dir.path().join("chain.pem")));
    assert_eq!(config.key, Some("/abs/key.pem".into()));
    assert_eq!(config.dns.trust_anchor, Some(dir.path().join("root.key")));
    assert_eq!(config.dns.resolver_ca, Some(dir.path().join("ca.pem")));

    let missing = Config::read(&dir.path().join("none.toml")).unwrap_err().to_string();
    assert!(missing.contains("none.toml") && missing.contains("No such file"), "{missing}");
}

#[test]
fn a_gateway_without_allow_list_is_refused() {
    let config = Config { allow: Vec::new(), ..example() };
    let error = config.check().unwrap_err();
    assert!(matches!(error, ConfigError::Setting(SettingError::NoAllowList)));
    assert!(error.to_string().contains("allow = ["), "{error}");
}

// HTTP-07, HTTP-14
#[test]
fn what_a_forwarding_gateway_cannot_heed_is_refused_with_the_reason() {
    use super::{ClientCertificates, LogNames, PolicySetting, ProfileSetting};
    let forward = || Config { client_certificates: ClientCertificates::Forward, allow: Vec::new(), ..example() };
    // Both sides opt in: by default nothing is forwarded.
    assert_eq!(Config::default().client_certificates, ClientCertificates::Dane);
    let checked = forward();
    assert!(checked.check().unwrap().dane.is_none());
    assert_eq!(
        Config::parse("client-certificates = \"forward\"").unwrap().client_certificates,
        ClientCertificates::Forward
    );
    let finding_out: [(Config, &str); 14] = [
        (Config { allow: vec!["*._device.example.com".to_owned()], ..forward() }, "`allow` "),
        (Config { policy: PolicySetting::Optional, ..forward() }, "`policy` "),
        (
            Config { on_lookup_failure: super::OnLookupFailureSetting::Unauthenticated, ..forward() },
            "`on-lookup-failure` ",
        ),
        (Config { profile: ProfileSetting::Draft2022, ..forward() }, "`profile` "),
        (
            Config { extension_type: Config::parse("extension-type = 0xff5a").unwrap().extension_type, ..forward() },
            "`extension-type` ",
        ),
        (Config { service_label: Some("mqtt".to_owned()), ..forward() }, "`service-label` "),
        (Config { derive_without_signal: true, ..forward() }, "`derive-without-signal` "),
        (Config { user_mode: true, ..forward() }, "`user-mode` "),
        (Config { wildcard_ee: super::WildcardSetting::Reject, ..forward() }, "`wildcard-ee` "),
        (Config { pkix_roots: Some("/roots.pem".into()), ..forward() }, "`pkix-roots` "),
        (Config { client_ca: Some("/ca.pem".into()), ..forward() }, "`client-ca` "),
        (
            Config { dns: super::DnsConfig { cache_bytes: 1 << 20, ..super::DnsConfig::default() }, ..forward() },
            "`dns` ",
        ),
        (
            Config { limits: super::LimitsConfig { lookups_total: 7, ..super::LimitsConfig::default() }, ..forward() },
            "`limits` ",
        ),
        (Config { allow: vec!["no pattern".to_owned()], ..forward() }, "the application does"),
    ];
    for (config, expected) in finding_out {
        let message = config.check().unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains("the application does"), "{message}");
    }
    let bound = Config { resumption: super::ResumptionSetting::Bound, ..forward() }.check().unwrap_err().to_string();
    assert!(bound.contains("leave `resumption` out"), "{bound}");
    let renamed = Config { header: "X-Device".to_owned(), ..forward() }.check().unwrap_err().to_string();
    assert!(renamed.contains("Client-Cert") && renamed.contains("leave `header` out"), "{renamed}");
    // What does not depend on who the client is stays a setting; and TLS 1.2 has a place for certificates.
    for config in [
        Config { tls12: true, ..forward() },
        Config { raw_public_keys: false, ..forward() },
        Config { log_names: LogNames::Off, ..forward() },
        Config { max_certificate_bytes: 65536, ..forward() },
    ] {
        config.check().unwrap();
    }
}

#[test]
fn each_fault_is_named_with_what_to_do() {
    use super::{PolicySetting, ProfileSetting};
    let old = ProfileSetting::Draft2022;
    let optional = PolicySetting::Optional;
    let faults: [(Config, &str); 24] = [
        (Config { certificate: None, ..example() }, "`certificate`"),
        (Config { key: None, ..example() }, "`key`"),
        (Config { origin: None, ..example() }, "`origin`"),
        (Config { origin: Some("192.0.2.1:80".parse().unwrap()), ..example() }, "unsafe-origin"),
        (Config { metrics: Some("192.0.2.1:9464".parse().unwrap()), ..example() }, "unsafe-metrics"),
        (Config { allow: vec!["*.com".to_owned()], ..example() }, "\"*.com\""),
        (Config { service_label: Some("a.b".to_owned()), ..example() }, "service-label \"a.b\""),
        (Config { header: "Dane Clientid".to_owned(), ..example() }, "no HTTP field name"),
        (Config { header: "Host".to_owned(), ..example() }, "choose one of its own"),
        (Config { header: "Content_Length".to_owned(), ..example() }, "choose one of its own"),
        (Config { header: "Authorization".to_owned(), ..example() }, "choose one of its own"),
        (Config { header: "Keep-Alive".to_owned(), ..example() }, "choose one of its own"),
        (Config { header: "Vary".to_owned(), ..example() }, "choose one of its own"),
        (Config { header: "X-Forwarded-Client-Cert".to_owned(), ..example() }, "choose one of its own"),
        (Config { header: "Client-Cert".to_owned(), ..example() }, "choose one of its own"),
        (Config { header: "client_cert_chain".to_owned(), ..example() }, "choose one of its own"),
        (Config { handshake_timeout: super::Span::secs(0), ..example() }, "`handshake-timeout` is zero"),
        (Config { max_header_bytes: 1000, ..example() }, "expected 8192 to 1048576"),
        (
            Config { max_certificate_bytes: 1000, ..example() },
            "`max-certificate-bytes` is 1000; expected 1024 to 131072",
        ),
        (
            Config {
                wildcard_ee: super::WildcardSetting::Reject,
                dns: super::DnsConfig { mode: super::DnsMode::Ad, ..super::DnsConfig::default() },
                ..example()
            },
            "dns.mode = \"validate\"",
        ),
        (Config { tls12: true, ..example() }, "policy = \"optional\""),
        (Config { derive_without_signal: true, ..example() }, "profile = \"2022\""),
        (Config { client_ca: Some("/ca.pem".into()), ..example() }, "policy = \"optional\""),
        (Config { client_ca: Some("/ca.pem".into()), profile: old, ..example() }, "policy = \"optional\""),
    ];
    for (config, expected) in faults {
        let message = config.check().unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let unsafe_origin = Config { origin: Some("192.0.2.1:80".parse().unwrap()), unsafe_origin: true, ..example() };
    unsafe_origin.check().unwrap();
    let everywhere = Some("0.0.0.0:9464".parse().unwrap());
    Config { metrics: everywhere, unsafe_metrics: true, ..example() }.check().unwrap();
    Config { metrics: Some("[::1]:9464".parse().unwrap()), ..example() }.check().unwrap();
    for config in [
        Config { tls12: true, profile: old, ..example() },
        Config { tls12: true, policy: optional, ..example() },
        Config { derive_without_signal: true, profile: old, ..example() },
        Config { client_ca: Some("/ca.pem".into()), policy: optional, ..example() },
    ] {
        config.check().unwrap();
    }
}

use std::collections::BTreeMap;
use std::net::SocketAddr;

use dance_core::reason::Reason;
use dance_daemon::metrics::{Exporter, Recorder};
use dance_gateway::config::ClientCertificates;
use dance_gateway::forwarding::FORWARDED;
use dance_gateway::{Config, Gateway};
use dance_resolver::metrics::{METRICS, Metric, MetricKind};
use dance_testkit::{Authority, CertSpec};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::http::Http1;
use crate::lab::{Lab, Running, SENSOR};

const DOCS: &str = include_str!("../../../../docs/metrics.md");

/// A gateway that counts by its own recorder, and the port that tells.
fn start(lab: &Lab) -> (Running, SocketAddr, Recorder) {
    start_with(lab, lab.config())
}

fn start_with(lab: &Lab, config: Config) -> (Running, SocketAddr, Recorder) {
    let config = Config { metrics: Some(SocketAddr::from(([127, 0, 0, 1], 0))), ..config };
    let exporter = Exporter::bind(config.metrics_address().unwrap().unwrap()).unwrap();
    let (address, recorder) = (exporter.local_addr(), exporter.recorder().clone());
    let bind = || match config.client_certificates {
        ClientCertificates::Dane => Gateway::bind(&config, lab.resolver()),
        ClientCertificates::Forward => Gateway::from_config(&config),
    };
    let gateway = ::metrics::with_local_recorder(&recorder, bind).unwrap();
    tokio::spawn(exporter.run());
    (Lab::run(gateway), address, recorder)
}

/// What the port answers: head and body.
async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// Values by series.
fn series(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').map(|(series, value)| (series.to_owned(), value.parse().unwrap())).unwrap())
        .collect()
}

// SEC-01, SEC-03
#[tokio::test]
async fn at_a_port_of_its_own() {
    let lab = Lab::new().await;
    let identity = lab.enrol(SENSOR);
    let (gateway, address, _) = start(&lab);
    let known = lab.certificate(SENSOR, &identity);
    for _ in 0..2 {
        assert_eq!(Http1::new(gateway.connect(&known).await).get("/", &[]).await.status, 200);
    }
    let stranger = CertSpec::client(SENSOR).self_signed().unwrap();
    let refused = [SENSOR, "nobody._device.example.com"].map(|name| lab.certificate(name, &stranger));
    let [_first, _second] = [gateway.connect(&refused[0]).await, gateway.connect(&refused[1]).await];
    gateway.told(4).await;

    let (head, body) = get(address, "/metrics").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let series = series(&body);
    let expected = [
        ("dance_checks_total{outcome=\"authenticated\"}", 2.0),
        ("dance_checks_total{outcome=\"no-match\"}", 1.0),
        ("dance_checks_total{outcome=\"tlsa-absent\"}", 1.0),
        ("dance_checks_total{outcome=\"lookup-timeout\"}", 0.0),
        ("dance_lookups_total{outcome=\"secure\"}", 1.0),
        ("dance_lookups_total{outcome=\"tlsa-absent\"}", 1.0),
        ("dance_lookups_refused_total{limit=\"entry\"}", 0.0),
        ("dance_lookups_in_flight", 0.0),
        ("dance_cache_hits_total", 2.0),
        ("dance_cache_misses_total", 2.0),
        ("dance_memory_evictions_total{memory=\"answers\"}", 0.0),
        ("dance_zone_suspensions_total", 0.0),
    ];
    for (name, value) in expected {
        assert_eq!(series.get(name), Some(&value), "{name} in {body}");
    }
    for name in ["dance_memory_octets{memory=\"answers\"}", "dance_memory_octets{memory=\"zones\"}"] {
        assert!((100.0..100_000.0).contains(&series[name]), "{name} in {body}");
    }
    let asked: f64 =
        series.iter().filter(|(name, _)| name.starts_with("dance_upstream_queries_total")).map(|(_, n)| n).sum();
    assert_eq!(asked as usize, lab.world.queries().len());
    assert!(!body.contains("device") && !body.contains("example"), "names are no labels");

    assert!(get(address, "/").await.0.starts_with("HTTP/1.1 404 "));
}

// HTTP-09, HTTP-19
#[tokio::test]
async fn where_certificates_are_forwarded() {
    let lab = Lab::new().await;
    let forward = Config { client_certificates: ClientCertificates::Forward, allow: Vec::new(), ..lab.config() };
    let (gateway, address, recorder) = start_with(&lab, Config { max_certificate_bytes: 1600, ..forward });
    let authority = Authority::root("Devices").unwrap();
    let below = authority.intermediate("Below").unwrap();
    let spec = CertSpec::client(SENSOR);
    let holders = [spec.self_signed(), spec.issued_by(&authority), spec.issued_by(&below)];
    let holders = holders.map(|identity| lab.certificate(SENSOR, &identity.unwrap()));
    let clients =
        [lab.client(None, None), holders[0].clone(), holders[0].clone(), holders[1].clone(), holders[2].clone()];
    for (client, status) in clients.iter().zip([200, 200, 200, 200, 431]) {
        let mut http = Http1::new(gateway.connect(client).await);
        assert_eq!(http.get("/", &[]).await.status, status);
        assert_eq!(http.get("/", &[]).await.status, status);
    }
    let (_, body) = get(address, "/metrics").await;
    let series = series(&body);
    for (kind, count) in [("none", 1.0), ("one", 2.0), ("chain", 1.0), ("too-long", 1.0)] {
        let name = format!("dance_connections_forwarded_total{{certificates=\"{kind}\"}}");
        assert_eq!(series.get(&name), Some(&count), "{name} in {body}");
    }
    // There is nobody who could look anything up.
    assert_eq!(series.len(), 4, "{body}");
    let expected = table(&[FORWARDED], &recorder.render());
    assert!(DOCS.contains(&expected), "docs/metrics.md must have this table:\n{expected}");
}

/// The table of `docs/metrics.md`, as it should be.
fn table(metrics: &[Metric], rendered: &str) -> String {
    let row = |metric: &Metric| {
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        };
        let values = |label: &&str| {
            let of_metric = |line: &&str| line.starts_with(&format!("{}{{", metric.name));
            let value = |line: &str| {
                line.split_once(&format!("{label}=\"")).and_then(|(_, rest)| Some(rest.split_once('"')?.0.to_owned()))
            };
            let mut values: Vec<String> = rendered.lines().filter(of_metric).filter_map(value).collect();
            values.sort_unstable();
            values.dedup();
            assert!(!values.is_empty(), "{} has no label {label} in {rendered}", metric.name);
            format!("`{label}`: {}", values.join(", "))
        };
        let labels: Vec<String> = metric.labels.iter().map(values).collect();
        assert!(rendered.contains(&format!("# TYPE {} {kind}\n", metric.name)), "{} is not told", metric.name);
        format!("| `{}` | {kind} | {} | {} |\n", metric.name, labels.join("; "), metric.help)
    };
    metrics.iter().map(row).collect()
}

#[tokio::test]
async fn as_the_documentation_says() {
    let (_gateway, _, recorder) = start(&Lab::new().await);
    let rendered = recorder.render();
    let expected = table(METRICS, &rendered);
    assert!(DOCS.contains(&expected), "docs/metrics.md must have this table:\n{expected}");
    let names = rendered.lines().filter(|line| line.starts_with("# TYPE ")).count();
    assert_eq!(names, METRICS.len(), "{rendered}");
    for reason in Reason::ALL {
        assert!(rendered.contains(&format!("dance_checks_total{{outcome=\"{reason}\"}} 0\n")));
    }
}

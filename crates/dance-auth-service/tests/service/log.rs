//! What is logged.

use std::io;
use std::sync::{Arc, Mutex};

use dance_auth_service::Config;
use dance_daemon::settings::LogNames;
use http_body_util::Full;
use serde_json::Value;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use crate::lab::{Lab, NAME};

/// Keeps what this thread logs.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Kept {
    fn start() -> (Self, DefaultGuard) {
        let kept = Self::default();
        let lines = tracing_subscriber::fmt().json().flatten_event(true).with_writer(kept.clone()).finish();
        (kept, tracing::subscriber::set_default(lines))
    }

    /// The lines about requests, as a whole and one by one.
    fn take(&self) -> (String, Vec<Value>) {
        let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let lines = lines.filter(|line: &Value| line.get("message") == Some(&"request".into())).collect();
        (text, lines)
    }
}

async fn three_requests(lab: &Lab, log_names: LogNames) -> (String, Vec<Value>) {
    let (kept, _guard) = Kept::start();
    let client_address_header = Some("x-real-ip".to_owned());
    let service = lab.start(&Config { log_names, client_address_header, ..lab.config() });
    let from = |name: &str| {
        let request = lab.request().header("dane-clientid-asserted", name).header("x-real-ip", "192.0.2.9");
        request.body(Full::default()).unwrap()
    };
    service.get(from(NAME)).await.assert_welcome(NAME);
    service.get(from("broken.example.com")).await.assert_refused(401, "broken");
    service.get(from("not a name")).await.assert_refused(400, "no name");
    kept.take()
}

// SEC-16
#[tokio::test]
async fn is_one_line_for_each_request() {
    let lab = Lab::new().await;
    let (_, lines) = three_requests(&lab, LogNames::Full).await;
    let [welcome, broken, malformed] = lines.as_slice() else { panic!("{lines:?}") };
    let text = |line: &Value, key: &str| line.get(key).and_then(Value::as_str).map(str::to_owned);
    for (line, level, outcome, reason, name) in [
        (welcome, "INFO", "authenticated", None, Some(NAME)),
        (broken, "INFO", "refused", Some("lookup-servfail"), Some("broken.example.com")),
        (malformed, "INFO", "refused", Some("asserted-name"), None),
    ] {
        assert_eq!(text(line, "level").as_deref(), Some(level), "{line}");
        assert_eq!(text(line, "outcome").as_deref(), Some(outcome), "{line}");
        assert_eq!(text(line, "reason").as_deref(), reason, "{line}");
        assert_eq!(text(line, "client_name").as_deref(), name, "{line}");
        assert_eq!(text(line, "owner_name").as_deref(), name, "{line}");
        assert_eq!(text(line, "peer").as_deref(), Some("127.0.0.1"), "{line}");
        assert!(line.get("ms").is_some_and(Value::is_u64), "{line}");
    }
    assert_eq!(text(welcome, "client_address").as_deref(), Some("192.0.2.9"));
    assert_eq!(text(welcome, "records").as_deref(), Some("3 1 1 matched"));
    assert!(text(welcome, "matched").unwrap().starts_with("3 1 1 depth 0 until "));
    assert_eq!(welcome.get("cached"), Some(&false.into()));
    assert!(text(broken, "dns").is_some() && text(malformed, "detail").is_some());
}

// SEC-06
#[tokio::test]
async fn shows_names_as_far_as_it_may() {
    let lab = Lab::new().await;
    for setting in [LogNames::Hashed, LogNames::Off] {
        let (text, lines) = three_requests(&lab, setting).await;
        assert_eq!(lines.len(), 3);
        for name in ["device1", "broken.example", "not a name", "example.com"] {
            let shown = text.lines().filter(|line| line.contains("\"request\"") && line.contains(name)).count();
            assert_eq!(shown, 0, "{name} in {text}");
        }
        let name = lines.first().and_then(|line| line.get("client_name")?.as_str());
        assert_eq!(name.is_some_and(|name| name.starts_with("hashed:")), setting == LogNames::Hashed, "{text}");
    }
}

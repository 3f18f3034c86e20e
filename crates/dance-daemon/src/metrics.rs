//! What is counted, for Prometheus: the setting `metrics` opens a port of its own, over plain HTTP, where `GET /metrics` tells everything that is
//! counted in this process.
//!
//! Counters and gauges are all there is, so this is its own recorder instead of an exporter with histograms and the twenty crates that
//! those take.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::error::StartError;
use crate::listener;

/// Most connections at a time: whoever collects metrics has one.
const MAX_CONNECTIONS: usize = 8;
/// Longest time that a connection lives; collectors connect anew.
const LONGEST: Duration = Duration::from_secs(60);
/// How long it waits where no connection can be taken.
const PAUSE: Duration = Duration::from_millis(100);
/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Keeps what is counted in this process, and tells it. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Registry>>);

#[derive(Debug, Default)]
struct Registry {
    counters: BTreeMap<Key, Arc<AtomicU64>>,
    gauges: BTreeMap<Key, Arc<AtomicU64>>,
    /// What each of them says.
    help: BTreeMap<KeyName, SharedString>,
}

impl Recorder {
    /// Becomes the recorder of this process. What was made before counts for nobody: call it before anything that counts, the resolver first of all.
    ///
    /// # Errors
    /// [`StartError::MetricsTaken`]: the process has one.
    pub fn install(&self) -> Result<(), StartError> {
        metrics::set_global_recorder(self.clone()).map_err(|_| StartError::MetricsTaken)
    }

    /// Everything, in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let registry = self.registry();
        let mut text = String::new();
        let counters = registry.counters.iter().map(|(key, value)| (key, value.load(Ordering::Relaxed).to_string()));
        families(&mut text, &registry.help, "counter", counters);
        let gauge = |value: &AtomicU64| f64::from_bits(value.load(Ordering::Relaxed)).to_string();
        families(&mut text, &registry.help, "gauge", registry.gauges.iter().map(|(key, value)| (key, gauge(value))));
        text
    }

    /// Held while handles are made and while the text is written, never while anything is counted.
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All of one kind, in the order of their names.
fn families<'a>(
    text: &mut String,
    help: &BTreeMap<KeyName, SharedString>,
    kind: &str,
    values: impl Iterator<Item = (&'a Key, String)>,
) {
    let mut family = "";
    for (key, value) in values {
        let name = key.name();
        if name != family {
            family = name;
            let help = help.get(name).map_or("", |help| help);
            // Writing to a string does not fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
        // Labels are words of ours: nothing in them needs an escape.
        let labels: Vec<_> = key.labels().map(|label| format!("{}=\"{}\"", label.key(), label.value())).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.registry().help.insert(name, help);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.registry().help.insert(name, help);
    }

    /// There are none.
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::clone(self.registry().counters.entry(key.clone()).or_default()))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::clone(self.registry().gauges.entry(key.clone()).or_default()))
    }

    /// There are none.
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// The port for those who collect.
pub struct Exporter {
    listener: TcpListener,
    address: SocketAddr,
    recorder: Recorder,
}

impl Exporter {
    /// Opens the port. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError::ListenMetrics`].
    pub fn bind(address: SocketAddr) -> Result<Self, StartError> {
        let fault = |error| StartError::ListenMetrics { address, error };
        let listener = listener::listen(address).map_err(fault)?;
        let address = listener.local_addr().map_err(fault)?;
        Ok(Self { listener, address, recorder: Recorder::default() })
    }

    /// What it tells.
    #[must_use]
    pub const fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until it is dropped.
    pub async fn run(self) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            // Never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let recorder = self.recorder.clone();
                    tokio::spawn(async move {
                        serve(stream, &recorder).await;
                        drop(place);
                    });
                }
                // Of the client, or too many open files: a pause in either case.
                Err(_) => sleep(PAUSE).await,
            }
        }
    }
}

async fn serve(stream: TcpStream, recorder: &Recorder) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(&request, recorder);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    // What becomes of it is the collector's.
    let _ = timeout(LONGEST, connection).await;
}

fn respond(request: &Request<Incoming>, recorder: &Recorder) -> Response<String> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, recorder.render()),
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
        _ => (StatusCode::NOT_FOUND, "expected /metrics\n".to_owned()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
    response
}

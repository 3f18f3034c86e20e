//! What the layer adds to a request, in time and in allocations: with the certificate seen before and the records remembered, as for every
//! request of a client but its first; and what reading a certificate costs that was not seen before.
#![allow(missing_docs, clippy::unwrap_used, reason = "benchmarks")]

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use dance_core::clientid::Profile;
use dance_core::matching::MatchOptions;
use dance_core::policy::{AllowList, OnLookupFailure, Policy, WildcardEndEntity};
use dance_core::verdict::Settings;
use dance_http::{AuthenticatedClient, CheckedBody, Checker, DaneLayer, Dialect, ForwardedBy, Peer, Rules};
use dance_resolver::{Limits, Resolver, ResolverConfig, Servers, TrustAnchorSource, Verifier};
use dance_testkit::{CertSpec, Identity, SignedWorld, Zone};
use data_encoding::BASE64;
use divan::{AllocProfiler, Bencher, black_box};
use http::{HeaderMap, HeaderName, Request, Response};
use http_body_util::Full;
use tokio::runtime::Runtime;
use tower::{Layer as _, Service as _};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const NAME: &str = "sensor7._device.example.test";
const LEAF: &[u8] = include_bytes!("../../../spec/vectors/certs/leaf.der");
const INTERMEDIATE: &[u8] = include_bytes!("../../../spec/vectors/certs/inter.der");
const LEAF_PEM: &str = include_str!("../../../spec/vectors/certs/leaf.pem");

fn main() {
    divan::main();
}

/// A checker that has let the client in before.
struct Bench {
    runtime: Runtime,
    checker: Arc<Checker<Resolver>>,
    client: Identity,
}

impl Bench {
    fn new() -> Self {
        let client = CertSpec::client(NAME).self_signed().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let zone = Zone::new("example.test").tlsa(NAME, client.tlsa_311().unwrap(), 3600);
        let world = runtime.block_on(SignedWorld::builder().zone(Zone::new("test")).zone(zone).start()).unwrap();
        let config = ResolverConfig {
            servers: Servers::List(vec![world.addr().into()]),
            trust_anchor: TrustAnchorSource::Text(world.trust_anchor_text().to_owned()),
            ..ResolverConfig::default()
        };
        let settings = Settings {
            profile: Profile::Current,
            policy: Policy::Require,
            on_lookup_failure: OnLookupFailure::Abort,
            allow_list: AllowList::parse(["*._device.example.test"]).unwrap(),
            service_label: None,
            derive_without_signal: false,
            wildcard_ee: WildcardEndEntity::Accept,
            matching: MatchOptions::default(),
        };
        let source = Arc::new(Resolver::new(config).unwrap());
        let verifier = Arc::new(Verifier::new(Arc::new(settings), source, Limits::default()).unwrap());
        let checker = Arc::new(Checker::new(Rules::new(ForwardedBy::rfc9440()), verifier));
        let bench = Self { runtime, checker, client };
        assert_eq!(bench.through_the_layer(bench.by_header()), 200);
        // What is measured from here on asks nobody.
        drop(world);
        bench
    }

    fn request(&self) -> http::request::Builder {
        Request::post("/readings")
            .extension(Peer::Address(IpAddr::from([127, 0, 0, 1])))
            .header("host", "app.example.com")
            .header("user-agent", "sensor/1.0")
            .header("accept", "*/*")
            .header("x-forwarded-for", "192.0.2.7")
            .header("client-cert", format!(":{}:", BASE64.encode(self.client.leaf_der())))
    }

    fn by_header(&self) -> Request<Full<Bytes>> {
        self.request().header("dane-clientid-asserted", NAME).body(Full::default()).unwrap()
    }

    fn by_json(&self) -> Request<Full<Bytes>> {
        let body = format!("{{\"celsius\":21.5,\"dane_clientid\":\"{NAME}\",\"at\":\"2026-11-22T12:00:00Z\"}}");
        self.request().header("content-type", "application/json").body(body.into()).unwrap()
    }

    fn by_form(&self) -> Request<Full<Bytes>> {
        let body = format!("celsius=21.5&dane_clientid={NAME}&at=2026-11-22T12%3A00%3A00Z");
        self.request().header("content-type", "application/x-www-form-urlencoded").body(body.into()).unwrap()
    }

    fn through_the_layer(&self, request: Request<Full<Bytes>>) -> u16 {
        let mut service = DaneLayer::new(Arc::clone(&self.checker)).layer(tower::service_fn(application));
        self.runtime.block_on(service.call(request)).unwrap().status().as_u16()
    }

    fn measure(&self, bencher: Bencher<'_, '_>, request: impl Fn() -> Request<Full<Bytes>>, status: u16) {
        let mut service = DaneLayer::new(Arc::clone(&self.checker)).layer(tower::service_fn(application));
        assert_eq!(self.through_the_layer(request()), status);
        bencher
            .with_inputs(request)
            .bench_local_values(|request| self.runtime.block_on(service.call(request)).unwrap());
    }
}

async fn application(request: Request<CheckedBody<Full<Bytes>>>) -> Result<Response<Full<Bytes>>, Infallible> {
    black_box(request.extensions().get::<AuthenticatedClient>());
    Ok(Response::default())
}

/// The same request to the application alone: what to take off from the others.
#[divan::bench]
fn without_the_layer(bencher: Bencher<'_, '_>) {
    let bench = Bench::new();
    let mut service = tower::service_fn(async |request: Request<Full<Bytes>>| {
        black_box(request.extensions().get::<AuthenticatedClient>());
        Ok::<_, Infallible>(Response::<Full<Bytes>>::default())
    });
    let requests = bencher.with_inputs(|| bench.by_header());
    requests.bench_local_values(|request| bench.runtime.block_on(service.call(request)).unwrap());
}

#[divan::bench]
fn name_in_the_header(bencher: Bencher<'_, '_>) {
    let bench = Bench::new();
    bench.measure(bencher, || bench.by_header(), 200);
}

#[divan::bench]
fn name_in_json(bencher: Bencher<'_, '_>) {
    let bench = Bench::new();
    bench.measure(bencher, || bench.by_json(), 200);
}

#[divan::bench]
fn name_in_a_form(bencher: Bencher<'_, '_>) {
    let bench = Bench::new();
    bench.measure(bencher, || bench.by_form(), 200);
}

/// A chain in two fields.
#[divan::bench]
fn chain_of_two(bencher: Bencher<'_, '_>) {
    let bench = Bench::new();
    let issuer = format!(":{}:", BASE64.encode(INTERMEDIATE));
    let request = || {
        let mut request = bench.by_header();
        request.headers_mut().insert("client-cert-chain", issuer.parse().unwrap());
        request
    };
    bench.measure(bencher, request, 200);
}

#[divan::bench]
fn refused_without_certificate(bencher: Bencher<'_, '_>) {
    let bench = Bench::new();
    let request = || {
        let mut request = bench.by_header();
        request.headers_mut().remove("client-cert");
        request
    };
    bench.measure(bencher, request, 401);
}

/// A certificate that was not seen before, out of its field.
#[divan::bench(args = Dialect::ALL)]
fn certificate_read(bencher: Bencher<'_, '_>, dialect: Dialect) {
    const FIELD: HeaderName = HeaderName::from_static("x-client-cert");
    let escaped: String = LEAF_PEM
        .chars()
        .map(|character| match character {
            '\n' => "%0A".to_owned(),
            ' ' => "%20".to_owned(),
            '+' => "%2B".to_owned(),
            '/' => "%2F".to_owned(),
            '=' => "%3D".to_owned(),
            other => other.to_string(),
        })
        .collect();
    let value = match dialect {
        Dialect::Rfc9440 => format!(":{}:", BASE64.encode(LEAF)),
        Dialect::EscapedPem => escaped,
        Dialect::Base64Der | Dialect::Traefik => BASE64.encode(LEAF),
        Dialect::Xfcc => format!("Hash=00;Cert=\"{escaped}\";Subject=\"CN=device\""),
    };
    let headers = HeaderMap::from_iter([(FIELD, value.parse().unwrap())]);
    let forwarded_by = ForwardedBy::new(dialect, FIELD);
    assert!(forwarded_by.read(&headers).is_ok());
    bencher.bench_local(|| forwarded_by.read(black_box(&headers)));
}

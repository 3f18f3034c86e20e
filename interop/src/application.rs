//! A web application that does the check itself: `dance-http`'s layer in front of a service that says whom it was told of.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use dance_core::clientid::Profile;
use dance_core::matching::MatchOptions;
use dance_core::policy::{AllowList, OnLookupFailure, Policy, WildcardEndEntity};
use dance_core::verdict::Settings;
use dance_http::{AuthenticatedClient, CheckedBody, Checker, DaneLayer, Peer, Rules};
use dance_resolver::{Limits, Resolver, ResolverConfig, Servers, TrustAnchorSource, Verifier};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::runtime::Runtime;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::dns::World;

/// The application, until this is dropped.
pub struct Application {
    /// Where it listens.
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    _runtime: Runtime,
}

impl Application {
    /// Starts it: it reads requests by `rules`, and lets in whom `allow` names.
    #[must_use]
    pub fn start(world: &World, rules: Rules, allow: &[&str]) -> Self {
        let runtime = Runtime::new().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::clone(&requests);
        let answer = service_fn(move |request| answer(request, Arc::clone(&seen)));
        let layer = DaneLayer::new(Arc::new(runtime.block_on(async { checker(world, rules, allow) })));
        runtime.spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let service = layer.layer(answer.clone()).map_request(move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(Peer::Address(peer.ip()));
                    request
                });
                tokio::spawn(async move {
                    let service = TowerToHyperService::new(service);
                    // A connection that breaks is the balancer's business.
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, requests, _runtime: runtime }
    }

    /// The requests until now that came through the layer, each with its body.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn checker(world: &World, rules: Rules, allow: &[&str]) -> Checker<Resolver> {
    let config = ResolverConfig {
        servers: Servers::List(vec![world.validating.into()]),
        trust_anchor: TrustAnchorSource::Text(std::fs::read_to_string(&world.trust_anchor).unwrap()),
        ..ResolverConfig::default()
    };
    let settings = Settings {
        profile: Profile::Current,
        policy: Policy::Require,
        on_lookup_failure: OnLookupFailure::Abort,
        allow_list: AllowList::parse(allow.iter().copied()).unwrap(),
        service_label: None,
        derive_without_signal: false,
        wildcard_ee: WildcardEndEntity::Accept,
        matching: MatchOptions::default(),
    };
    let resolver = Arc::new(Resolver::new(config).unwrap());
    Checker::new(rules, Arc::new(Verifier::new(Arc::new(settings), resolver, Limits::default()).unwrap()))
}

async fn answer(
    request: Request<CheckedBody<Incoming>>,
    seen: Arc<Mutex<Vec<String>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let name = head.extensions.get::<AuthenticatedClient>().unwrap().identity().to_owned();
    let lines =
        head.headers.iter().map(|(name, value)| format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes())));
    let lines: String = lines.collect();
    let body = body.collect().await.map_or_else(|_| "broken off".into(), http_body_util::Collected::to_bytes);
    let request = format!("{} {}\r\n{lines}\r\n{}", head.method, head.uri, String::from_utf8_lossy(&body));
    seen.lock().unwrap().push(request);
    Ok(Response::new(Full::from(name)))
}

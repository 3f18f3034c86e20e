//! An application that knows its devices by their names in DNS. What is of interest is in `main` and in the handlers: the rest is reading
//! the command line.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Parser;
use dance_core::clientid::Profile;
use dance_core::matching::MatchOptions;
use dance_core::policy::{AllowList, OnLookupFailure, Policy, WildcardEndEntity};
use dance_core::verdict::Settings;
use dance_http::{AuthenticatedClient, Checker, DaneLayer, Dialect, ForwardedBy, Peer, Rules, TrustedPeers};
use dance_resolver::{Limits, Resolver, ResolverConfig, Servers, TrustAnchorSource, Verifier};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// An application behind a load balancer that takes any client certificate and forwards it.
#[derive(Parser)]
struct Options {
    /// Where to listen; the load balancer alone should get here
    #[arg(long, env, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// Whose forwarded certificates count: addresses and networks
    #[arg(long, env, value_name = "PEERS", default_value = "127.0.0.0/8, ::1")]
    trusted_peers: TrustedPeers,

    /// How the load balancer writes certificates: rfc9440, escaped-pem, base64-der, xfcc or traefik
    #[arg(long, env, value_name = "DIALECT", value_parser = dialect)]
    forwarded_by: Dialect,

    /// The field that it writes them into; needed for escaped-pem and base64-der
    #[arg(long, env, value_name = "FIELD")]
    certificate_header: Option<axum::http::HeaderName>,

    /// A device, or a pattern such as *.example.com; may be given several times
    #[arg(long, env, value_name = "PATTERN", value_delimiter = ',', required = true)]
    allow: Vec<String>,

    /// A resolver to ask [default: those of the system]
    #[arg(long, env, value_name = "ADDR:PORT")]
    resolver: Option<SocketAddr>,

    /// Validate from these DS or DNSKEY records [default: the keys of the root zone]
    #[arg(long, env, value_name = "FILE")]
    trust_anchor: Option<PathBuf>,
}

fn dialect(name: &str) -> Result<Dialect, String> {
    Dialect::from_name(name).ok_or_else(|| format!("expected one of {}", Dialect::ALL.map(Dialect::name).join(", ")))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).init();
    let options = Options::parse();
    let listener = TcpListener::bind(options.listen).await?;
    let checker = Arc::new(checker(options)?);

    let devices =
        Router::new().route("/whoami", get(whoami)).route("/readings", post(reading)).layer(DaneLayer::new(checker));
    // What the layer is not in front of is for everybody.
    let app = Router::new().route("/healthz", get(async || "ok\n")).merge(devices);

    tracing::info!("listening on {}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<Peer>())
        .with_graceful_shutdown(async {
            // Without a handler the signal ends the process by itself.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await?;
    Ok(())
}

/// What decides about clients: where their certificates come from, who may come in, and whom to ask about them.
fn checker(options: Options) -> Result<Checker<Resolver>, Box<dyn Error>> {
    let field = options.certificate_header.or(options.forwarded_by.default_field());
    let field = field.ok_or("--certificate-header: name the field that the load balancer writes certificates into")?;
    let forwarded_by = match options.forwarded_by {
        // In two fields.
        Dialect::Rfc9440 => ForwardedBy::rfc9440(),
        dialect => ForwardedBy::new(dialect, field),
    };
    let settings = Settings {
        profile: Profile::Current,
        policy: Policy::Require,
        on_lookup_failure: OnLookupFailure::Abort,
        allow_list: AllowList::parse(options.allow.iter().map(String::as_str))?,
        service_label: None,
        derive_without_signal: false,
        wildcard_ee: WildcardEndEntity::Accept,
        matching: MatchOptions::default(),
    };
    let resolver = Resolver::new(ResolverConfig {
        servers: options.resolver.map_or(Servers::System, |address| Servers::List(vec![address.into()])),
        trust_anchor: options.trust_anchor.map_or(TrustAnchorSource::Root, TrustAnchorSource::File),
        ..ResolverConfig::default()
    })?;
    let verifier = Verifier::new(Arc::new(settings), Arc::new(resolver), Limits::default())?;
    let rules = Rules { trusted_peers: options.trusted_peers, ..Rules::new(forwarded_by) };
    Ok(Checker::new(rules, Arc::new(verifier)))
}

#[derive(Serialize)]
struct Whoami {
    /// The name that the client has in DNS.
    client: String,
    /// The TLSA record that its certificate matches.
    record: String,
}

async fn whoami(client: AuthenticatedClient) -> Json<Whoami> {
    Json(Whoami { client: client.identity().to_owned(), record: client.record().to_string() })
}

/// What a device sends. It says its name in the same body (`dane_clientid`), or in the header `Dane-Clientid-Asserted`: the layer has read
/// that, and the handler goes by what the layer says.
#[derive(Deserialize)]
struct Reading {
    celsius: f64,
}

async fn reading(client: AuthenticatedClient, Json(reading): Json<Reading>) -> String {
    tracing::info!(client = client.identity(), celsius = reading.celsius, "reading");
    format!("thank you, {}\n", client.identity())
}

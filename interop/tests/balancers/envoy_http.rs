//! Envoy: ext_authz over HTTP.

use dance_http::Dialect;
use dance_interop::balancer::{Check, Expired, Recipe};
use dance_interop::process::from_venv;

static RECIPE: Recipe = Recipe {
    name: "envoy",
    files: &["envoy-http.yaml"],
    check: Check::Service("auth-service-http.toml"),
    here: &[("address: 0.0.0.0, port_value: 443", "address: 127.0.0.1, port_value: {port}"), ("/etc/envoy", "{dir}")],
    command: |directory| {
        let mut command = from_venv("envoy");
        command.args(["--disable-hot-restart", "--concurrency", "1", "-c"]).arg(directory.join("envoy-http.yaml"));
        command
    },
    dialect: Dialect::Xfcc,
    fields: &["X-Forwarded-Client-Cert"],
    chain: true,
    body: true,
    long_body: Some(413),
    expired: Expired::Passes,
    malformed: 400,
    down: 503,
    nameless: Some(403),
    resumes: true,
    large_certificates: &[(8_000, 200), (30_000, 200), (60_000, 0)],
    large_fields: &[(12_000, 200), (40_000, 200), (100_000, 431)],
};

behaves_as_it_should!(RECIPE);
asks_the_service!(RECIPE);

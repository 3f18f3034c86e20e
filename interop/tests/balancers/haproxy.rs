//! HAProxy: a Lua action.

use dance_http::Dialect;
use dance_interop::balancer::{Check, Expired, Recipe};
use dance_interop::process::program;

static RECIPE: Recipe = Recipe {
    name: "haproxy",
    files: &["haproxy.cfg", "dance.lua"],
    check: Check::Service("auth-service.toml"),
    here: &[("bind :443", "bind 127.0.0.1:{port}"), ("/etc/haproxy", "{dir}")],
    command: |directory| {
        let mut command = program("haproxy");
        command.args(["-db", "-f"]).arg(directory.join("haproxy.cfg"));
        command
    },
    dialect: Dialect::Base64Der,
    fields: &["X-Client-Cert", "X-Client-Cert-Chain"],
    chain: true,
    body: false,
    long_body: Some(200),
    expired: Expired::Passes,
    malformed: 400,
    down: 503,
    nameless: Some(503),
    resumes: false,
    large_certificates: &[(8_000, 200), (30_000, 200), (60_000, 401)],
    large_fields: &[(12_000, 200), (40_000, 200), (100_000, 400)],
};

behaves_as_it_should!(RECIPE);
asks_the_service!(RECIPE);

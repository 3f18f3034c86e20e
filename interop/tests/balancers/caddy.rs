//! Caddy: `forward_auth`.

use dance_http::Dialect;
use dance_interop::balancer::{Check, Expired, Recipe};
use dance_interop::process::program;

static RECIPE: Recipe = Recipe {
    name: "caddy",
    files: &["Caddyfile"],
    check: Check::Service("auth-service.toml"),
    here: &[("https://api.example.com:443", "https://localhost:{port}"), ("/etc/caddy", "{dir}")],
    command: |directory| {
        let mut command = program("caddy");
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(directory.join("Caddyfile"));
        command.env("XDG_DATA_HOME", directory).env("XDG_CONFIG_HOME", directory);
        command
    },
    dialect: Dialect::Base64Der,
    fields: &["X-Client-Cert"],
    chain: false,
    body: false,
    long_body: Some(200),
    expired: Expired::Passes,
    malformed: 400,
    down: 502,
    nameless: Some(503),
    resumes: true,
    large_certificates: &[(8_000, 200), (30_000, 200), (60_000, 200)],
    large_fields: &[(12_000, 200), (100_000, 200)],
};

behaves_as_it_should!(RECIPE);
asks_the_service!(RECIPE);

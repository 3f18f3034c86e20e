//! Caddy: `forward_auth`.

use dance_http::Dialect;
use dance_interop::balancer::{Check, Expired, Recipe, cases};
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
    resumes: true,
    large_certificates: &[(8_000, 200), (30_000, 200), (60_000, 200)],
    large_fields: &[(12_000, 200), (100_000, 200)],
};

// HTTP-07, HTTP-08, HTTP-09, HTTP-10, HTTP-11, HTTP-12, HTTP-13, TLSA-03
#[test]
fn clients_are_told_apart() {
    cases::clients_are_told_apart(&RECIPE);
}

// HTTP-10
#[test]
fn bodies_come_through() {
    cases::bodies_come_through(&RECIPE);
}

// HTTP-03, HTTP-04, HTTP-05, HTTP-14
#[test]
fn nobody_outside_sets_our_fields() {
    cases::nobody_outside_sets_our_fields(&RECIPE);
}

// HTTP-16
#[test]
fn a_resumed_session_keeps_its_certificate() {
    cases::a_resumed_session_keeps_its_certificate(&RECIPE);
}

// HTTP-12
#[test]
fn without_the_service_nobody_passes() {
    cases::without_the_service_nobody_passes(&RECIPE);
}

// HTTP-19
#[test]
fn large_certificates_and_fields() {
    cases::large_certificates_and_fields(&RECIPE);
}

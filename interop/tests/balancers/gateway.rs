//! `dance gateway` with certificates forwarded: the check is in the application.

use dance_http::Dialect;
use dance_interop::balancer::{Check, Expired, Recipe};
use dance_interop::process::dance;

static RECIPE: Recipe = Recipe {
    name: "gateway",
    files: &["gateway.toml"],
    check: Check::Application,
    here: &[("0.0.0.0:443", "127.0.0.1:{port}"), ("/etc/dance", "{dir}")],
    command: |directory| {
        let mut command = dance();
        command.args(["gateway", "--config"]).arg(directory.join("gateway.toml"));
        command
    },
    dialect: Dialect::Rfc9440,
    fields: &["Client-Cert", "Client-Cert-Chain"],
    chain: true,
    body: true,
    long_body: Some(413),
    expired: Expired::Passes,
    malformed: 400,
    down: 0,
    nameless: None,
    resumes: false,
    large_certificates: &[(8_000, 200), (30_000, 431)],
    large_fields: &[(12_000, 200), (40_000, 431)],
};

behaves_as_it_should!(RECIPE);

//! `dance gateway` with certificates forwarded: the check is in the application.

use dance_http::Dialect;
use dance_interop::balancer::{Check, Expired, Recipe, cases};
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
    resumes: false,
    large_certificates: &[(8_000, 200), (30_000, 431)],
    large_fields: &[(12_000, 200), (40_000, 431)],
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

// HTTP-19
#[test]
fn large_certificates_and_fields() {
    cases::large_certificates_and_fields(&RECIPE);
}

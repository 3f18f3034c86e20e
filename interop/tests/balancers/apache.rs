//! Apache httpd: the check is in the application.

use dance_http::Dialect;
use dance_interop::balancer::{Check, Expired, Recipe, cases};
use dance_interop::process::program;

static RECIPE: Recipe = Recipe {
    name: "apache",
    files: &["httpd.conf"],
    check: Check::Application,
    here: &[
        ("Listen 443", "Listen 127.0.0.1:{port}"),
        ("*:443", "*:{port}"),
        ("/etc/apache2", "{dir}"),
        ("/run/apache2", "{dir}"),
    ],
    command: |directory| {
        let mut command = program("apache2");
        command.args(["-DFOREGROUND", "-f"]).arg(directory.join("httpd.conf"));
        command
    },
    dialect: Dialect::EscapedPem,
    fields: &["X-Client-Cert", "X-Client-Cert-Chain"],
    chain: true,
    body: true,
    long_body: None,
    expired: Expired::Refused(0),
    malformed: 400,
    down: 0,
    resumes: false,
    large_certificates: &[(8_000, 200), (30_000, 200), (60_000, 200)],
    large_fields: &[(12_000, 200), (40_000, 400)],
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

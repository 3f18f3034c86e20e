//! Apache httpd: the check is in the application.

use dance_http::Dialect;
use dance_interop::balancer::{Check, Expired, Recipe};
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
    nameless: None,
    resumes: false,
    large_certificates: &[(8_000, 200), (30_000, 200), (60_000, 200)],
    large_fields: &[(12_000, 200), (40_000, 400)],
};

behaves_as_it_should!(RECIPE);

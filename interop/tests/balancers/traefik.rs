//! Traefik: `forwardAuth`.

use dance_http::Dialect;
use dance_interop::balancer::{Check, Expired, Recipe};
use dance_interop::process::from_venv;

static RECIPE: Recipe = Recipe {
    name: "traefik",
    files: &["traefik.yml", "dynamic.yml"],
    check: Check::Service("auth-service.toml"),
    here: &[("address: \":443\"", "address: 127.0.0.1:{port}"), ("/etc/traefik", "{dir}")],
    command: |directory| {
        let mut command = from_venv("traefik");
        command.arg("--configFile").arg(directory.join("traefik.yml"));
        command
    },
    dialect: Dialect::Traefik,
    fields: &["X-Forwarded-Tls-Client-Cert"],
    chain: true,
    body: true,
    long_body: Some(401),
    expired: Expired::Passes,
    malformed: 400,
    down: 500,
    nameless: None,
    resumes: true,
    large_certificates: &[(8_000, 200), (30_000, 200), (60_000, 200)],
    large_fields: &[(12_000, 200), (100_000, 200)],
};

behaves_as_it_should!(RECIPE);
asks_the_service!(RECIPE);

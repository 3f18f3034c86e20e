//! nginx: `auth_request`.

use dance_http::Dialect;
use dance_interop::balancer::{Check, Expired, Recipe};
use dance_interop::process::program;

static RECIPE: Recipe = Recipe {
    name: "nginx",
    files: &["nginx.conf"],
    check: Check::Service("auth-service.toml"),
    here: &[
        ("listen 443", "listen 127.0.0.1:{port}"),
        ("/etc/nginx", "{dir}"),
        (
            "http {",
            "http { client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi; access_log off;",
        ),
    ],
    command: |directory| {
        let mut command = program("nginx");
        command.arg("-p").arg(directory).arg("-c").arg(directory.join("nginx.conf"));
        command.args(["-e", "stderr", "-g", "daemon off; pid nginx.pid;"]);
        command
    },
    dialect: Dialect::EscapedPem,
    fields: &["X-Client-Cert"],
    chain: false,
    body: false,
    long_body: Some(413),
    expired: Expired::Refused(400),
    malformed: 401,
    down: 500,
    nameless: Some(502),
    resumes: true,
    large_certificates: &[(8_000, 200), (30_000, 200), (60_000, 200)],
    large_fields: &[(12_000, 200), (40_000, 400)],
};

behaves_as_it_should!(RECIPE);
asks_the_service!(RECIPE);

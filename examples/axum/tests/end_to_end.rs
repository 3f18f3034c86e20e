//! The application as it is started, behind a load balancer that this test plays: it takes any certificate and forwards it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use dance_testkit::{CertSpec, Identity, SignedWorld, Zone};
use data_encoding::BASE64;

const NAME: &str = "sensor7._device.example.com";

/// The application, and where it listens.
struct Application {
    process: Child,
    address: String,
}

impl Drop for Application {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Application {
    fn start(world: &SignedWorld, directory: &std::path::Path, arguments: &[&str]) -> Self {
        let anchor = directory.join("anchor");
        std::fs::write(&anchor, world.trust_anchor_text()).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_example-axum"))
            .args(["--listen", "127.0.0.1:0", "--resolver", &world.addr().to_string()])
            .arg("--trust-anchor")
            .arg(anchor)
            .args(arguments)
            // Options come from there too.
            .env("ALLOW", "*._device.example.com")
            .env_remove("RUST_LOG")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let address = line.trim_end().rsplit(' ').next().unwrap().to_owned();
        // Read on, or the application would end up waiting for a reader.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { process, address }
    }

    /// Status and body of the answer.
    fn send(&self, line: &str, fields: &[(&str, &str)], body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        let head = format!("{line} HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\nContent-Length: {length}\r\n");
        stream.write_all(format!("{head}{fields}\r\n{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.get(9..12).unwrap().parse().unwrap(), body.to_owned())
    }
}

/// A device with a record, and one with the same name that has none.
async fn world() -> (SignedWorld, Identity, Identity) {
    let (device, other) =
        (CertSpec::client(NAME).self_signed().unwrap(), CertSpec::client(NAME).self_signed().unwrap());
    let zone = Zone::new("example.com").tlsa(NAME, device.tlsa_311().unwrap(), 300);
    (SignedWorld::builder().zone(zone).start().await.unwrap(), device, other)
}

// HTTP-10, HTTP-11, HTTP-12, HTTP-14
#[tokio::test(flavor = "multi_thread")]
async fn devices_come_in_by_their_names() {
    let (world, device, other) = world().await;
    let directory = tempfile::tempdir().unwrap();
    let application = Application::start(&world, directory.path(), &["--forwarded-by", "rfc9440"]);
    let forwarded = |identity: &Identity| format!(":{}:", BASE64.encode(identity.leaf_der()));
    let (good, wrong) = (forwarded(&device), forwarded(&other));
    let reading = format!("{{\"dane_clientid\":\"{NAME}\",\"celsius\":21.5}}");
    let json = ("Content-Type", "application/json");
    let name = ("Dane-Clientid-Asserted", NAME);

    let answer = application.send("POST /readings", &[("Client-Cert", &good), json], &reading);
    assert_eq!(answer, (200, format!("thank you, {NAME}\n")));
    let (status, whoami) = application.send("GET /whoami", &[("Client-Cert", &good), name], "");
    assert_eq!((status, whoami.contains(NAME) && whoami.contains("3 1 1")), (200, true), "{whoami}");
    assert_eq!(world.tlsa_queries().len(), 1);

    // Another key, no certificate, a name that may not come in, no name; and what is for everybody.
    assert_eq!(application.send("POST /readings", &[("Client-Cert", &wrong), json], &reading), (401, String::new()));
    assert_eq!(application.send("POST /readings", &[json, ("Dane-Clientid", NAME)], &reading), (401, String::new()));
    let elsewhere = ("Dane-Clientid-Asserted", "sensor7._device.example.net");
    assert_eq!(application.send("GET /whoami", &[("Client-Cert", &good), elsewhere], ""), (403, String::new()));
    assert_eq!(application.send("GET /whoami", &[("Client-Cert", &good)], ""), (401, String::new()));
    assert_eq!(application.send("GET /healthz", &[], ""), (200, "ok\n".to_owned()));
    assert_eq!(world.tlsa_queries().len(), 1);
}

// HTTP-14: another dialect, and nobody trusted.
#[tokio::test(flavor = "multi_thread")]
async fn behind_another_balancer() {
    let (world, device, _) = world().await;
    let directory = tempfile::tempdir().unwrap();
    let base64 = BASE64.encode(device.leaf_der());
    let fields = [("X-Client-Cert", base64.as_str()), ("Dane-Clientid-Asserted", NAME)];
    let arguments = ["--forwarded-by", "base64-der", "--certificate-header", "X-Client-Cert"];
    let application = Application::start(&world, directory.path(), &arguments);
    assert_eq!(application.send("GET /whoami", &fields, "").0, 200);
    let strangers = [&arguments[..], &["--trusted-peers", "192.0.2.0/24"]].concat();
    let application = Application::start(&world, directory.path(), &strangers);
    assert_eq!(application.send("GET /whoami", &fields, "").0, 401);
}

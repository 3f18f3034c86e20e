//! `dance auth-service` as a program.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use dance_testkit::{CertSpec, SignedWorld, Zone};
use data_encoding::BASE64;
use support::{dance, run};

const NAME: &str = "sensor7._device.example.com";

/// A service that listens. Dropping it kills it.
struct Running {
    child: Child,
    log: mpsc::Receiver<String>,
    address: String,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let mut child = dance().arg("auth-service").args(args).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, log) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        let mut running = Self { child, log, address: String::new() };
        running.address = running.line("listening").split("addr=").nth(1).unwrap().to_owned();
        running
    }

    fn line(&self, part: &str) -> String {
        self.log.iter().find(|line| line.contains(part)).unwrap_or_else(|| panic!("the log ended without {part:?}"))
    }

    /// Sends a signal; the exit code, and what was logged until then.
    fn end(mut self, signal: &str) -> (Option<i32>, Vec<String>) {
        let kill = Command::new("sh").args(["-c", "kill \"$0\" \"$1\"", signal, &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        let status = self.child.wait().unwrap();
        (status.code(), self.log.iter().collect())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(mut stream: impl std::io::Read + std::io::Write, certificate: &str) -> String {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nClient-Cert: {certificate}\r\nDane-Clientid-Asserted: {NAME}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

// HTTP-10, HTTP-12
#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_is_answered_and_signals_end_it_in_order() {
    let [client, other] = [(); 2].map(|()| CertSpec::client(NAME).self_signed().unwrap());
    let zone = Zone::new("example.com").tlsa(NAME, client.tlsa_311().unwrap(), 300);
    let dns = SignedWorld::builder().zone(zone).start().await.unwrap();
    let files = tempfile::tempdir().unwrap();
    let anchor = files.path().join("anchor");
    fs::write(&anchor, dns.trust_anchor_text()).unwrap();
    let (server, anchor) = (dns.addr().to_string(), anchor.to_str().unwrap().to_owned());
    let socket = files.path().join("auth.sock");
    let unix = format!("unix:{}", socket.display());
    let forwarded = |octets: &[u8]| format!(":{}:", BASE64.encode(octets));
    let (right, wrong) = (forwarded(client.leaf_der()), forwarded(other.leaf_der()));

    for (listen, signal) in [("127.0.0.1:0", "-TERM"), (unix.as_str(), "-INT")] {
        let flags = ["--listen", listen, "--forwarded-by", "rfc9440", "--allow", "*._device.example.com"];
        let dns_flags = ["--resolver", &server, "--trust-anchor", &anchor, "--log-names", "hashed"];
        let service = Running::start(&[&flags[..], &dns_flags].concat());
        let ask = |certificate: &str| {
            if listen == unix {
                assert_eq!(service.address, unix);
                ask(UnixStream::connect(&socket).unwrap(), certificate)
            } else {
                ask(TcpStream::connect(&service.address).unwrap(), certificate)
            }
        };
        let answer = ask(&right);
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.contains(&format!("dane-clientid: {NAME}\r\n")),
            "{answer}"
        );
        let line = service.line("outcome=");
        assert!(line.contains("authenticated") && line.contains("hashed:") && !line.contains("sensor7"), "{line}");
        let answer = ask(&wrong);
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        assert!(service.line("outcome=").contains("no-match"));
        let (code, log) = service.end(signal);
        assert_eq!(code, Some(0), "{log:?}");
        assert!(log.last().unwrap().contains("ended") && !socket.exists(), "{log:?}");
    }
}

#[test]
fn a_configuration_is_checked_without_serving() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../dance-auth-service/auth-service.example.toml");
    let checked = run(["auth-service", "--config", example, "--resolver", "127.0.0.1", "--check"]);
    assert_eq!((checked.code, checked.stderr.as_str()), (0, ""), "{checked:?}");
    assert!(
        checked.stdout.contains("forwarded-by = \"rfc9440\"") && checked.stdout.contains("[limits]"),
        "{checked:?}"
    );
    let flags = ["auth-service", "--allow", "a.example.com", "--check"];
    run(flags).assert_usage_error("`forwarded-by` is missing");
    run([&flags[..], &["--forwarded-by", "escaped-pem"]].concat()).assert_usage_error("`certificate-header`");
    run([&flags[..], &["--forwarded-by", "rfc9440", "--listen", "0.0.0.0:80"]].concat())
        .assert_usage_error("unsafe-listen");
    run(["auth-service", "--forwarded-by", "rfc9440", "--check"]).assert_usage_error("allow = [");
    assert_eq!(run(["auth-service", "--forwarded-by", "nginx"]).code, 2);
    assert_eq!(run(["auth-service", "--config", "/nowhere.toml"]).code, 2);
}

#[test]
fn an_address_that_is_taken_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let flags = ["auth-service", "--forwarded-by", "rfc9440", "--allow", "a.example.com", "--resolver", "127.0.0.1"];
    let ran = run([&flags[..], &["--listen", &listen]].concat());
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("another process does"), "{ran:?}");
    // A check goes on beside it.
    assert_eq!(run([&flags[..], &["--listen", &listen, "--check"]].concat()).code, 0);
}

//! How much resident memory an idle connection costs the server: this crate's share and OpenSSL's, without the kernel's
//! socket buffers.
//!
//! `cargo run --release -p dance-tls --example idle_memory [-- CONNECTIONS]`. Clients run in a process of their own;
//! Linux only.
#![allow(clippy::unwrap_used, reason = "a measurement")]

use std::process::{Command, Stdio};

use dance_core::clientid::ClientForm;
use dance_core::name::ClientName;
use dance_core::reason::Reason;
use dance_core::verdict::Verdict;
use dance_tls::{
    Acceptor, CertifiedKey, ClientConfig, ClientCredential, Connector, PrivateKey, Resumed, ServerConfig,
    ServerVerification,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [role, address, count] if role == "client" => clients(address, count.parse().unwrap()).await,
        rest => server(rest.first().map_or(2000, |count| count.parse().unwrap())).await,
    }
}

async fn server(count: usize) {
    let made = rcgen::generate_simple_self_signed(["server.test".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let identity = CertifiedKey::parse(certificate.as_bytes(), key.as_bytes()).unwrap();
    let acceptor = Acceptor::new(&ServerConfig::new(identity)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["client", &listener.local_addr().unwrap().to_string(), &count.to_string()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();

    // One first, so that what is allocated once is not counted.
    let mut open = Vec::with_capacity(count);
    let mut pending = Vec::with_capacity(count);
    let first = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
    pending.push(first.pending().unwrap());
    let before = resident_kib();
    while pending.len() < count {
        let accepted = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
        pending.push(accepted.pending().unwrap());
    }
    let report = |what: &str, kib: u64| println!("{what:<40} {:>6.1} KiB each", kib as f64 / (count - 1) as f64);
    report("waiting for the verdict", resident_kib() - before);
    for pending in pending {
        let Resumed::Open(mut stream) = pending.resume(&Verdict::NotDane(Reason::NoClientName)).await else {
            panic!("the verdict was to go on")
        };
        let octet = stream.read_u8().await.unwrap();
        stream.write_u8(octet).await.unwrap();
        open.push(stream);
    }
    report("open, after an octet each way", resident_kib() - before);
    drop(child.stdin.take());
    child.wait().unwrap();
}

async fn clients(address: &str, count: usize) {
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let connector = Connector::new(&ClientConfig {
        credential: Some(ClientCredential::RawPublicKey(PrivateKey::parse(key.as_bytes()).unwrap())),
        client_id: ClientName::parse(b"sensor7._device.example.com").map(ClientForm::Name).ok(),
        ..ClientConfig::new(ServerVerification::UnsafeNone)
    })
    .unwrap();
    let mut open = Vec::with_capacity(count);
    for _ in 0..count {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = connector.connect("server.test", stream).await.unwrap();
        stream.write_u8(1).await.unwrap();
        open.push(stream);
    }
    for stream in &mut open {
        stream.read_u8().await.unwrap();
    }
    // Until the server has measured.
    let _ = std::io::Read::read(&mut std::io::stdin(), &mut [0]);
}

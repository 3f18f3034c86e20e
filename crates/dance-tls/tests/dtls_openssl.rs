//! DTLS with a client that nobody here wrote: `openssl s_client`, which says by an empty extension that its certificate
//! holds its name. Where there is no `openssl`, there is nothing to see.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "common/datagrams.rs"]
mod datagrams;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use dance_core::clientid::ClientForm;
use dance_core::verdict::ClientId;
use dance_tls::{DtlsLimits, PeerAlert};
use datagrams::{REFUSE, acceptor, listener, open, receive};

fn s_client(server: SocketAddr) -> Option<Child> {
    let vector = |path| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors").join(path);
    let child = Command::new("openssl")
        .args(["s_client", "-dtls1_2", "-serverinfo", "65500", "-connect", &server.to_string()])
        .arg("-cert")
        .arg(vector("certs/leaf-devsan.pem"))
        .arg("-key")
        .arg(vector("keys/leaf.key.pem"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    match child {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        child => Some(child.unwrap()),
    }
}

async fn end(child: Child) -> String {
    let Output { stdout, stderr, .. } =
        tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
}

// CID-03, SRV-20: the empty form and its answer; data both ways; renegotiation is refused.
#[tokio::test]
async fn s_client_accepted_may_not_renegotiate() {
    let (mut listener, address) = listener(DtlsLimits::default()).await;
    let Some(mut child) = s_client(address) else { return };
    let pending = acceptor().accept(listener.accept().await.unwrap()).await.unwrap();
    assert_eq!(pending.presented().client_id, ClientId::Form(ClientForm::InCertificate));
    let mut server = open(pending).await;
    let stdin = child.stdin.as_mut().unwrap();
    stdin.write_all(b"hello\n").unwrap();
    assert_eq!(receive(&mut server).await, b"hello\n");
    server.send(b"and good day\n").await.unwrap();
    // To s_client, a line that begins so is an order.
    child.stdin.as_mut().unwrap().write_all(b"R\n").unwrap();
    let error = server.recv(&mut [0]).await.unwrap_err();
    let alert = error.get_ref().unwrap().downcast_ref::<PeerAlert>().unwrap();
    assert_eq!(alert.0.code(), 40);
    let output = end(child).await;
    assert!(output.contains("and good day"), "{output}");
    assert!(output.contains("no renegotiation"), "{output}");
    assert!(output.contains("-----BEGIN SERVERINFO FOR EXTENSION 65500-----"), "{output}");
    assert!(output.contains("DTLSv1.2") && output.contains("Extended master secret: yes"), "{output}");
}

// SRV-16, SRV-24: refused within its handshake.
#[tokio::test]
async fn s_client_refused() {
    let (mut listener, address) = listener(DtlsLimits::default()).await;
    let Some(child) = s_client(address) else { return };
    let pending = acceptor().accept(listener.accept().await.unwrap()).await.unwrap();
    let (_, output) = tokio::join!(pending.resume(&REFUSE), end(child));
    assert!(output.contains("SSL alert number 40"), "{output}");
}

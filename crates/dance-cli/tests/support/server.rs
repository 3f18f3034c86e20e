//! A TLS server whose verdict about every client is known beforehand, and the DNS in which its client's record is.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dance_core::verdict::{Presented, Verdict};
use dance_testkit::{Authority, CertSpec, Identity, SignedWorld, Zone};
use dance_tls::{Accepted, Acceptor, CertifiedKey, Resumed, ServerConfig, TlsStream};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::support::{Ran, run};

/// The name that test clients convey.
pub(crate) const NAME: &str = "sensor7._device.example.com";

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) files: TempDir,
    /// A signed zone example.com with the client's record, an unsigned one unsigned.example, and nothing else.
    pub(crate) dns: SignedWorld,
    connections: Arc<AtomicUsize>,
    presented: mpsc::UnboundedReceiver<Presented>,
}

impl Server {
    /// Starts a server that decides `verdict` about everyone and has `serve` deal with those who may go on.
    pub(crate) async fn start<F, Fut>(verdict: Verdict, alter: impl FnOnce(&mut ServerConfig), serve: F) -> Self
    where
        F: Fn(TlsStream<TcpStream>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let files = tempfile::tempdir().unwrap();
        let authority = Authority::root("Test servers").unwrap();
        let identity = CertSpec::localhost_server().issued_by(&authority).unwrap();
        fs::write(files.path().join("ca.pem"), authority.pem()).unwrap();
        let client = CertSpec::client(NAME).self_signed().unwrap();
        write(&files, "", &client);
        let zone = Zone::new("example.com").tlsa(NAME, client.tlsa_311().unwrap(), 300);
        let dns = SignedWorld::builder().zone(zone).zone(Zone::unsigned("unsigned.example")).start().await.unwrap();
        fs::write(files.path().join("trust-anchor"), dns.trust_anchor_text()).unwrap();

        let certified_key =
            CertifiedKey::parse(identity.chain_pem().as_bytes(), identity.key_pem().as_bytes()).unwrap();
        let mut config = ServerConfig::new(certified_key);
        alter(&mut config);
        let acceptor = Acceptor::new(&config).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (seen, presented) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let Some(pending) = acceptor.accept(stream).await.ok().and_then(Accepted::pending) else {
                    continue;
                };
                let _ = seen.send(Presented::clone(pending.presented()));
                if let Resumed::Open(stream) = pending.resume(&verdict).await {
                    tokio::spawn(serve(stream));
                }
            }
        });
        Self { addr, files, dns, connections, presented }
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.files.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes a client's files: `PREFIXcert.pem` and `PREFIXkey.pem`.
    pub(crate) fn write(&self, prefix: &str, client: &Identity) {
        write(&self.files, prefix, client);
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The options by which a client asks the DNS of this scene.
    pub(crate) fn resolver(&self) -> Vec<String> {
        let options = ["--resolver", &self.dns.addr().to_string(), "--trust-anchor", &self.file("trust-anchor")];
        options.map(str::to_owned).to_vec()
    }

    /// What the next client presented.
    pub(crate) async fn presented(&mut self) -> Presented {
        self.presented.recv().await.unwrap()
    }

    /// The options by which the test client is the one of [`NAME`] with a certificate.
    pub(crate) fn x509(&self) -> Vec<String> {
        self.with_credential(&["--cert", &self.file("cert.pem"), "--key", &self.file("key.pem")])
    }

    /// Likewise with a raw public key.
    pub(crate) fn raw_key(&self) -> Vec<String> {
        self.with_credential(&["--key", &self.file("key.pem")])
    }

    fn with_credential(&self, credential: &[&str]) -> Vec<String> {
        let mut args: Vec<_> = credential.iter().map(|&arg| arg.to_owned()).collect();
        args.extend(["--name".to_owned(), NAME.to_owned(), "--server-ca".to_owned(), self.file("ca.pem")]);
        args.extend(self.resolver());
        args
    }
}

fn write(files: &TempDir, prefix: &str, client: &Identity) {
    fs::write(files.path().join(format!("{prefix}cert.pem")), client.chain_pem()).unwrap();
    fs::write(files.path().join(format!("{prefix}key.pem")), client.key_pem()).unwrap();
}

/// Runs `dance` to its end without holding up the server.
pub(crate) async fn run_beside(args: Vec<String>) -> Ran {
    tokio::task::spawn_blocking(move || run(args)).await.unwrap()
}

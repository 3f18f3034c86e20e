//! A client changes its key while a gateway stays as it is: no connection is refused on the way.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use dance_core::clientid::ClientForm;
use dance_core::name::ClientName;
use dance_gateway::{Config, Gateway};
use dance_resolver::{Resolver, ResolverConfig, Servers, TrustAnchorSource};
use dance_testkit::{CertSpec, Identity, Origin, SignedWorld, Zone};
use dance_tls::{
    ClientAuthRefused, ClientConfig, CredentialFiles, ReadyCredential, Rollover, ServerVerification, TrustAnchors,
};
use support::{Ran, run};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

const NAME: &str = "sensor7._device.example.com";

/// A gateway in front of an application, the DNS, and a client's directory.
struct Scene {
    dns: SignedWorld,
    origin: Origin,
    files: TempDir,
    gateway: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Scene {
    async fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        let dns = SignedWorld::builder().zone(Zone::new("example.com")).start().await.unwrap();
        let origin = Origin::start().await.unwrap();
        let server = CertSpec::localhost_server().self_signed().unwrap();
        for (file, content) in [
            ("server.pem", server.chain_pem()),
            ("server.key", server.key_pem().to_owned()),
            ("trust-anchor", dns.trust_anchor_text().to_owned()),
        ] {
            fs::write(files.path().join(file), content).unwrap();
        }
        let config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            certificate: Some(files.path().join("server.pem")),
            key: Some(files.path().join("server.key")),
            origin: Some(origin.address().parse().unwrap()),
            allow: vec![NAME.to_owned()],
            ..Config::default()
        };
        let resolver = Resolver::new(ResolverConfig {
            servers: Servers::List(vec![dns.addr().into()]),
            trust_anchor: TrustAnchorSource::Text(dns.trust_anchor_text().to_owned()),
            ..ResolverConfig::default()
        });
        let gateway = Gateway::bind(&config, resolver.unwrap()).unwrap();
        let address = gateway.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(gateway.run(async { drop(stopped.await) }));
        Self { dns, origin, files, gateway: address, _stop: stop }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn file(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Makes a credential and writes its files, `PREFIX.pem` and `PREFIX.key`.
    fn make(&self, prefix: &str) -> Identity {
        let made = CertSpec::client(NAME).self_signed().unwrap();
        fs::write(self.path(&format!("{prefix}.pem")), made.chain_pem()).unwrap();
        fs::write(self.path(&format!("{prefix}.key")), made.key_pem()).unwrap();
        made
    }

    fn files(&self, prefix: &str) -> CredentialFiles {
        CredentialFiles {
            certificate: Some(self.path(&format!("{prefix}.pem"))),
            key: self.path(&format!("{prefix}.key")),
        }
    }

    /// Has the zone hold the records of these keys and no others, with a TTL of 0: what is published counts at once.
    fn publish(&self, keys: &[&Identity]) {
        let records: Vec<_> = keys.iter().map(|key| key.tlsa_311().unwrap()).collect();
        match records.as_slice() {
            [] => self.dns.withdraw(NAME).unwrap(),
            records => self.dns.set_tlsa(NAME, records, 0).unwrap(),
        }
    }

    fn rollover(&self) -> Rollover {
        let anchors = TrustAnchors::load(&self.path("server.pem")).unwrap();
        let config = ClientConfig {
            client_id: Some(ClientForm::Name(ClientName::parse_config(NAME).unwrap())),
            ..ClientConfig::new(ServerVerification::Roots(anchors))
        };
        Rollover::load(config, self.files("current"), Some(self.files("next"))).unwrap()
    }

    /// Whether the gateway lets a credential in.
    async fn lets_in(&self, ready: &ReadyCredential) -> bool {
        let stream = TcpStream::connect(self.gateway).await.unwrap();
        let mut stream = ready.connector().connect("localhost", stream).await.unwrap();
        let before = self.origin.seen().len();
        // A gateway that refuses may have closed the connection already.
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
        let mut answer = String::new();
        match stream.read_to_string(&mut answer).await {
            Ok(_) => {
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                let seen = self.origin.seen();
                assert_eq!(seen.len(), before + 1);
                assert_eq!(seen.last().unwrap().values("Dane-Clientid"), [NAME]);
                true
            }
            Err(error) => {
                assert!(error.get_ref().is_some_and(|inner| inner.is::<ClientAuthRefused>()), "{error}");
                assert_eq!(self.origin.seen().len(), before);
                false
            }
        }
    }

    /// `dance request` with both credentials.
    async fn request(&self) -> Ran {
        self.request_by(&self.dns.addr().to_string()).await
    }

    /// Likewise, asking another resolver than the gateway.
    async fn request_by(&self, resolver: &str) -> Ran {
        let mut args = vec!["request".to_owned(), format!("https://localhost:{}/", self.gateway.port())];
        for (option, value) in [
            ("--resolve-to", self.gateway.to_string()),
            ("--server-ca", self.file("server.pem")),
            ("--name", NAME.to_owned()),
            ("--cert", self.file("current.pem")),
            ("--key", self.file("current.key")),
            ("--next-cert", self.file("next.pem")),
            ("--next-key", self.file("next.key")),
            ("--resolver", resolver.to_owned()),
            ("--trust-anchor", self.file("trust-anchor")),
        ] {
            args.extend([option.to_owned(), value]);
        }
        tokio::task::spawn_blocking(move || run(args)).await.unwrap()
    }
}

/// An address at which nobody listens.
fn closed_port() -> String {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().to_string()
}

/// The order that requirements 5.6 ask for: the next record, the next key, the old record.
#[tokio::test(flavor = "multi_thread")]
async fn record_first_then_key() {
    let scene = Scene::start().await;
    let old = scene.make("current");
    scene.publish(&[&old]);
    let rollover = scene.rollover();
    assert!(scene.lets_in(&rollover.credentials().current).await);

    let new = scene.make("next");
    let both = rollover.reload().unwrap();
    let next = both.next.as_ref().unwrap();
    assert!(scene.lets_in(&both.current).await && !scene.lets_in(next).await);
    scene.publish(&[&old, &new]);
    assert!(scene.lets_in(&both.current).await && scene.lets_in(next).await);

    // The next key takes the place of the current one, under the living object.
    for file in ["pem", "key"] {
        fs::rename(scene.path(&format!("next.{file}")), scene.path(&format!("current.{file}"))).unwrap();
    }
    let after = rollover.reload().unwrap();
    assert!(after.next.is_none() && scene.lets_in(&after.current).await);
    scene.publish(&[&new]);
    assert!(scene.lets_in(&rollover.credentials().current).await);
    assert!(!scene.lets_in(&both.current).await, "the old key is good for nothing any more");
}

/// The zone's owner is hasty, or a key was lost: its record is replaced at once. A client that holds both goes on all the same.
#[tokio::test(flavor = "multi_thread")]
async fn record_replaced_at_once() {
    let scene = Scene::start().await;
    let (old, new) = (scene.make("current"), scene.make("next"));
    scene.publish(&[&old]);
    let both = scene.rollover().credentials();
    let next = both.next.as_ref().unwrap();
    assert!(scene.lets_in(&both.current).await && !scene.lets_in(next).await);
    scene.publish(&[&new]);
    assert!(!scene.lets_in(&both.current).await && scene.lets_in(next).await);
    // And back.
    scene.publish(&[&old]);
    assert!(scene.lets_in(&both.current).await && !scene.lets_in(next).await);
}

// CLI-01
#[tokio::test(flavor = "multi_thread")]
async fn the_command_presents_the_one_whose_record_is_published() {
    let scene = Scene::start().await;
    let old = scene.make("current");
    let presents_next = |ran: &Ran| ran.stderr.contains("the next one's is: presenting that");
    let served = |ran: &Ran| (ran.code, ran.stdout == "ok\n");

    scene.publish(&[&old]);
    let ran = scene.request().await;
    assert_eq!((served(&ran), presents_next(&ran)), ((0, true), false), "{ran:?}");
    assert!(ran.stderr.contains("there is no next credential: "), "{ran:?}");

    // The gateway lets in nobody whose key is not published, so each answer tells which one was presented.
    let new = scene.make("next");
    for (published, next) in [(&[&old][..], false), (&[&old, &new], false), (&[&new], true), (&[&old], false)] {
        scene.publish(published);
        let ran = scene.request().await;
        assert_eq!((served(&ran), presents_next(&ran)), ((0, true), next), "{ran:?}");
        assert!(!ran.stderr.contains("there is no next"), "{ran:?}");
    }

    scene.publish(&[]);
    let (requests, ran) = (scene.origin.seen().len(), scene.request().await);
    assert_eq!((ran.code, scene.origin.seen().len()), (1, requests), "{ran:?}");
    for part in ["current credential: ", "next credential: ", "(tlsa-absent)"] {
        assert!(ran.stderr.contains(part), "{ran:?}");
    }

    // Without an answer, the current one: good or not.
    for (published, code) in [(&old, 0), (&new, 1)] {
        scene.publish(&[published]);
        let ran = scene.request_by(&closed_port()).await;
        assert!(ran.stderr.contains("cannot be told") && !presents_next(&ran), "{ran:?}");
        assert_eq!((ran.code, ran.stderr.contains("client authentication refused")), (code, code == 1), "{ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_cannot_be_used_is_an_error_whichever_it_is() {
    let scene = Scene::start().await;
    let old = scene.make("current");
    scene.publish(&[&old]);
    scene.make("next");
    fs::copy(scene.path("current.key"), scene.path("next.key")).unwrap();
    let ran = scene.request().await;
    ran.assert_usage_error("next credential");
    assert!(ran.stderr.contains("does not belong to the certificate"), "{ran:?}");
    scene.make("next");
    assert_eq!(scene.request().await.code, 0);

    run(["connect", "localhost:1", "--key", "k", "--next-key", "n"]).assert_usage_error("--name");
    run(["connect", "localhost:1", "--name", NAME, "--next-key", "n"]).assert_usage_error("--key <PEM>");
    let next = ["connect", "localhost:1", "--name", NAME, "--key", "k", "--next-cert", "n"];
    run(next).assert_usage_error("--next-key <PEM>");
    let unchecked = ["connect", "localhost:1", "--name", NAME, "--key", "k", "--next-key", "n", "--no-record-check"];
    run(unchecked).assert_usage_error("cannot be used with");
}

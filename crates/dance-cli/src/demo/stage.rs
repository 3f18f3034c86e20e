//! What every story plays in: a signed zone, files, and a gateway that ends TLS.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use dance_gateway::config::{DnsConfig, Span};
use dance_gateway::origin::Origin;
use dance_gateway::{Config, Gateway};
use dance_resolver::TlsaSource;
use dance_testkit::{Authority, CertSpec, Identity, SignedWorld, Zone};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::Error;
use crate::files::{self, Secrecy};

/// A published record, for the story.
pub(super) struct Record {
    pub(super) owner: &'static str,
    pub(super) ttl: u32,
    pub(super) data: String,
    pub(super) meaning: &'static str,
}

/// DNS, and a directory with the server's certificate.
pub(super) struct Stage {
    pub(super) dns: SignedWorld,
    pub(super) server_ca: String,
    files: TempDir,
}

impl Stage {
    /// With these records in `example.com`.
    pub(super) async fn set(records: &[Record]) -> Result<Self, Error> {
        let zone = records
            .iter()
            .fold(Zone::new("example.com"), |zone, record| zone.tlsa(record.owner, &record.data, record.ttl));
        let dns = SignedWorld::builder().zone(zone).start().await.map_err(Error::DemoDns)?;
        let server_ca = Authority::root("Example server CA").map_err(Error::DemoCertificates)?;
        let server = CertSpec::localhost_server().issued_by(&server_ca).map_err(Error::DemoCertificates)?;
        let files = tempfile::Builder::new()
            .prefix("dance-demo-")
            .tempdir()
            .map_err(|error| Error::Write { path: std::env::temp_dir(), error })?;
        let stage = Self { dns, server_ca: server_ca.pem().to_owned(), files };
        stage.write("server.pem", &server.chain_pem(), Secrecy::Public)?;
        stage.write("server.key", server.key_pem(), Secrecy::Secret)?;
        stage.write("trust-anchor", stage.dns.trust_anchor_text(), Secrecy::Public)?;
        Ok(stage)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn write(&self, name: &str, content: &str, secrecy: Secrecy) -> Result<(), Error> {
        files::write(&self.path(name), content.as_bytes(), secrecy, false)
    }

    /// How whoever looks records up finds this DNS.
    pub(super) fn dns_config(&self) -> DnsConfig {
        DnsConfig {
            resolver: vec![self.dns.addr().to_string()],
            trust_anchor: Some(self.path("trust-anchor")),
            ..DnsConfig::default()
        }
    }

    /// A gateway in front of `application`, but for what it does about its clients.
    pub(super) fn gateway(&self, application: SocketAddr) -> Config {
        Config {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            certificate: Some(self.path("server.pem")),
            key: Some(self.path("server.key")),
            origin: Some(Origin::Address(application)),
            drain_timeout: Span::secs(1),
            ..Config::default()
        }
    }

    /// Writes what somebody needs to connect with other programs, and says where.
    pub(super) fn write_clients(&self, clients: &[(&str, &Identity)]) -> Result<&Path, Error> {
        self.write("server-ca.pem", &self.server_ca, Secrecy::Public)?;
        for (name, identity) in clients {
            self.write(&format!("{name}.cert.pem"), &identity.chain_pem(), Secrecy::Public)?;
            self.write(&format!("{name}.key.pem"), identity.key_pem(), Secrecy::Secret)?;
        }
        Ok(self.files.path())
    }

    /// Removes the files.
    pub(super) fn strike(self) -> Result<(), Error> {
        let path = self.files.path().to_owned();
        self.files.close().map_err(|error| Error::Write { path, error })
    }
}

/// A gateway that runs.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    shutdown: oneshot::Sender<()>,
    ended: JoinHandle<bool>,
}

impl Running {
    pub(super) fn start<S: TlsaSource + 'static>(gateway: Gateway<S>) -> Self {
        let address = gateway.local_addr();
        let (shutdown, wanted) = oneshot::channel::<()>();
        let ended = tokio::spawn(gateway.run(async { drop(wanted.await) }));
        Self { address, shutdown, ended }
    }

    /// Ends it in order.
    pub(super) async fn stop(self) {
        drop(self.shutdown);
        // A gateway that had to cut off an idle connection has ended all the same.
        let _ = self.ended.await;
    }
}

//! One signed world, one application, and a gateway for each combination of settings, shared by all the rows of a table.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dance_core::clientid::Profile;
use dance_core::name::OwnerName;
use dance_core::policy::{OnLookupFailure, Policy};
use dance_core::reason::Reason;
use dance_core::verdict::{Presented, Verdict};
use dance_gateway::Config;
use dance_gateway::config::Span;
use dance_gateway::config::{DnsConfig, LimitsConfig, OnLookupFailureSetting, PolicySetting};
use dance_resolver::{Lookup, Resolver, ResolverConfig, Servers, TlsaSource, TrustAnchorSource};
use dance_testkit::Identity;
use dance_tls::{AcceptError, Acceptor, CertifiedKey, ClientStream, ConnectError, Connector, DaneMode, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::lab::{Lab, Running, SOON};
use crate::wire::{Credential, Wire};

/// What a gateway's DNS is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dns {
    /// The world, with its trust anchor.
    World,
    /// The world, with a trust anchor of another name only.
    NoAnchor,
    /// The world, and no patience with it.
    Impatient,
    /// The only place for a look-up is taken.
    Busy,
}

/// The settings in which rows differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) wire: Wire,
    pub(crate) policy: Policy,
    pub(crate) on_lookup_failure: OnLookupFailure,
    pub(crate) dns: Dns,
}

impl Setting {
    pub(crate) fn new(wire: Wire, policy: Policy) -> Self {
        Self { wire, policy, on_lookup_failure: OnLookupFailure::Abort, dns: Dns::World }
    }
}

/// How a handshake ended, at both ends and beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The server's verdict.
    pub(crate) code: &'static str,
    /// Its reason.
    pub(crate) reason: Option<Reason>,
    /// The alert that the client got. It sent a request with its last flight, and got no octet before the alert.
    pub(crate) alert: Option<u8>,
    /// The names of TLSA questions, in their order.
    pub(crate) asked: Vec<String>,
    /// What the application was told about the client: names, or none. `None` if nothing came to it.
    pub(crate) told: Option<Vec<String>>,
}

impl Row {
    /// Refused, without a question to DNS.
    pub(crate) fn refused(reason: Reason, alert: u8) -> Self {
        Self { code: "refused", reason: Some(reason), alert: Some(alert), asked: Vec::new(), told: None }
    }

    /// Let in without a name.
    pub(crate) fn anonymous(code: &'static str, reason: Reason) -> Self {
        Self { code, reason: Some(reason), alert: None, asked: Vec::new(), told: Some(Vec::new()) }
    }

    pub(crate) fn authenticated(identity: &str) -> Self {
        let name = identity.to_owned();
        Self { code: "authenticated", reason: None, alert: None, asked: vec![name.clone()], told: Some(vec![name]) }
    }

    pub(crate) fn asked(self, name: &str) -> Self {
        Self { asked: vec![name.to_owned()], ..self }
    }
}

/// How it ended for the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Alert(u8),
    /// The status of a response.
    Served(u16),
    Other(String),
}

/// A gateway, and the number of its verdicts.
struct Started {
    setting: Setting,
    gateway: Running,
    verdicts: usize,
}

/// Everything that the rows of a table share.
pub(crate) struct Ground {
    pub(crate) lab: Lab,
    gateways: Vec<Started>,
    /// Clients that hold places for look-ups.
    holders: JoinSet<()>,
    rows: usize,
    wrong: Vec<String>,
}

impl Ground {
    pub(crate) async fn new() -> Self {
        let lab = Lab::new().await;
        Self { lab, gateways: Vec::new(), holders: JoinSet::new(), rows: 0, wrong: Vec::new() }
    }

    /// Has a client of these settings try, with a request that it sends without waiting for a verdict.
    pub(crate) async fn check(&mut self, setting: Setting, client: &Connector, expected: &Row, about: &str) {
        self.start(setting).await;
        self.rows += 1;
        let target = format!("/{}", self.rows);
        let Started { gateway, verdicts, .. } =
            self.gateways.iter_mut().find(|started| started.setting == setting).unwrap();
        *verdicts += 1;
        let (world, origin) = (&self.lab.world, &self.lab.origin);
        world.clear_log();
        let (seen, connections) = (origin.seen().len(), origin.connections());
        let end = probe(gateway.address, client, &target).await;
        let verdict = gateway.told(*verdicts).await.pop().unwrap();
        if let Some(name) = expected.asked.first() {
            // What was sent may arrive after the verdict, where that did not wait for an answer.
            let _ = timeout(SOON, world.wait_for_tlsa(name)).await;
        }
        let reached = origin.seen().split_off(seen);
        let found = Row {
            code: verdict.code,
            reason: verdict.reason,
            alert: if let End::Alert(alert) = end { Some(alert) } else { None },
            asked: world.tlsa_queries(),
            told: reached
                .first()
                .map(|request| request.values("dane-clientid").into_iter().map(str::to_owned).collect()),
        };
        let served = if found.told.is_some() {
            reached.len() == 1 && reached[0].target == target && end == End::Served(200)
        } else {
            origin.connections() == connections && matches!(end, End::Alert(_))
        };
        let identity = found.told.iter().flatten().next();
        let consistent = served && verdict.identity.as_ref() == identity;
        if &found != expected || !consistent {
            self.wrong.push(format!("{about}:\n  expected {expected:?}\n  found    {found:?}, {end:?}, {reached:?}"));
        }
    }

    /// As [`Self::check`], with a listener that does DANE for nobody; a gateway always does.
    pub(crate) async fn check_without_dane(&mut self, wire: Wire, client: &Connector, expected: &Row, about: &str) {
        let server = &self.lab.server;
        let key = CertifiedKey::parse(server.chain_pem().as_bytes(), server.key_pem().as_bytes()).unwrap();
        let config = ServerConfig { dane: DaneMode::Off, profile: wire.profile, ..ServerConfig::new(key) };
        let acceptor = Acceptor::new(&config).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        self.rows += 1;
        self.lab.world.clear_log();
        let accepting = async { acceptor.accept(listener.accept().await.unwrap().0).await.map(drop) };
        let both = async { tokio::join!(accepting, probe(address, client, "/")) };
        let (accepted, end) = timeout(SOON, both).await.unwrap();
        let (code, reason) = match &accepted {
            Err(AcceptError::Refused(reason)) => ("refused", Some(*reason)),
            Err(_) => ("handshake-failed", None),
            Ok(()) => ("not-dane", None),
        };
        let alert = if let End::Alert(alert) = end { Some(alert) } else { None };
        let found = Row { code, reason, alert, asked: self.lab.world.tlsa_queries(), told: None };
        if &found != expected {
            self.wrong.push(format!("{about}:\n  expected {expected:?}\n  found    {found:?}, {accepted:?}, {end:?}"));
        }
    }

    /// How many rows there were; all of them ended as they should.
    pub(crate) fn finish(self) -> usize {
        assert!(self.wrong.is_empty(), "{} of {} rows:\n{}", self.wrong.len(), self.rows, self.wrong.join("\n"));
        self.rows
    }

    /// TLS of a client.
    pub(crate) fn client(
        &self,
        wire: Wire,
        credential: Credential,
        name: Option<&str>,
        identity: &Identity,
    ) -> Connector {
        crate::wire::client(&self.lab, wire, credential, name, identity)
    }

    async fn start(&mut self, setting: Setting) {
        if self.gateways.iter().any(|started| started.setting == setting) {
            return;
        }
        let config = self.config(setting);
        let resolver = self.resolver(setting.dns);
        let gateway = if setting.dns == Dns::Busy {
            let (source, gate) = Gated::new(resolver);
            let config = Config {
                limits: LimitsConfig { lookups_total: 1, ..LimitsConfig::default() },
                dns: DnsConfig { timeout: Span::secs(600), ..DnsConfig::default() },
                handshake_timeout: Span::secs(600),
                ..config
            };
            let gateway = self.lab.start_over(config, source);
            let name = format!("holder.{}", crate::lab::ZONE);
            let identity = dance_testkit::CertSpec::client(&name).self_signed().unwrap();
            let holder = self.client(setting.wire, Credential::RawKey, Some(&name), &identity);
            let stream = TcpStream::connect(gateway.address).await.unwrap();
            // In TLS 1.2 the handshake itself waits for the verdict.
            self.holders.spawn(async move {
                let _tls = holder.connect("localhost", stream).await;
                std::future::pending::<()>().await;
            });
            gate.under_way(1).await;
            gateway
        } else {
            self.lab.start_over(config, resolver)
        };
        self.gateways.push(Started { setting, gateway, verdicts: 0 });
    }

    fn config(&self, setting: Setting) -> Config {
        let mut config = Config {
            policy: match setting.policy {
                Policy::Require => PolicySetting::Require,
                Policy::Optional => PolicySetting::Optional,
            },
            on_lookup_failure: match setting.on_lookup_failure {
                OnLookupFailure::Abort => OnLookupFailureSetting::Abort,
                OnLookupFailure::Unauthenticated => OnLookupFailureSetting::Unauthenticated,
            },
            ..setting.wire.config(&self.lab)
        };
        // Requiring DANE of clients of TLS 1.2 that cannot do it is a setting that the gateway does not take.
        config.tls12 &= setting.wire.profile == Profile::Draft2022 || setting.policy == Policy::Optional;
        config.allow.push(crate::wire::LONGEST.to_owned());
        if setting.dns == Dns::Impatient {
            // Less than it takes to ask again, enough to have asked on a busy machine.
            config.dns.timeout = Span(Duration::from_millis(500));
        }
        config
    }

    fn resolver(&self, dns: Dns) -> Resolver {
        if dns != Dns::NoAnchor {
            return self.lab.resolver();
        }
        let elsewhere = self.lab.world.trust_anchor_ds_text().replace(". ", "other. ");
        Resolver::new(ResolverConfig {
            servers: Servers::List(vec![self.lab.world.addr().into()]),
            trust_anchor: TrustAnchorSource::Text(elsewhere),
            ..ResolverConfig::default()
        })
        .unwrap()
    }
}

/// Connects, sends a request at once, and reads until the end.
pub(crate) async fn probe(address: SocketAddr, client: &Connector, target: &str) -> End {
    let stream = TcpStream::connect(address).await.unwrap();
    let mut tls = match timeout(SOON, client.connect("localhost", stream)).await.unwrap() {
        Ok(tls) => tls,
        Err(ConnectError::ClientAuthRefused) => return End::Alert(40),
        Err(ConnectError::PeerAlert(alert)) => return End::Alert(alert.code()),
        Err(error) => return End::Other(error.to_string()),
    };
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    if let Err(error) = tls.write_all(request.as_bytes()).await {
        return End::Other(format!("request: {error}"));
    }
    let mut octets = Vec::new();
    let read = timeout(SOON, tls.read_to_end(&mut octets)).await.unwrap();
    match (read, tls.alert_received(), octets.as_slice()) {
        (Ok(_), None, [b'H', b'T', b'T', b'P', _, _, _, _, b' ', status @ ..]) if status.len() > 3 => {
            End::Served(std::str::from_utf8(&status[..3]).unwrap().parse().unwrap())
        }
        (Err(_), Some(alert), []) => End::Alert(alert.code()),
        (read, alert, octets) => End::Other(format!("{read:?}, {alert:?}, {} octets", octets.len())),
    }
}

/// What a server found in a client's handshake that it let pass, and the client's account of it.
pub(crate) type Met = (Result<Arc<Presented>, AcceptError>, Result<ClientStream<TcpStream>, ConnectError>);

/// Runs a handshake between a server and a client of any kind.
pub(crate) async fn meet(server: &Acceptor, client: &Connector) -> Met {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let accepting = async {
        let pending = server.accept(listener.accept().await.unwrap().0).await?.pending().unwrap();
        let presented = Arc::clone(pending.presented());
        drop(pending.resume(&Verdict::NotDane(Reason::NoClientName)).await);
        Ok(presented)
    };
    timeout(SOON, async { tokio::join!(accepting, client.connect("localhost", stream)) }).await.unwrap()
}

/// A source that lets a look-up pass for each permit of its gate, and tells how many are under way.
pub(crate) struct Gated {
    inner: Resolver,
    gate: Gate,
}

/// The other end of a [`Gated`] source.
#[derive(Clone)]
pub(crate) struct Gate {
    permits: Arc<Semaphore>,
    under_way: Arc<watch::Sender<usize>>,
}

impl Gated {
    pub(crate) fn new(inner: Resolver) -> (Self, Gate) {
        let gate = Gate { permits: Arc::new(Semaphore::new(0)), under_way: Arc::new(watch::Sender::new(0)) };
        (Self { inner, gate: gate.clone() }, gate)
    }
}

impl Gate {
    /// Waits until so many look-ups are under way.
    pub(crate) async fn under_way(&self, look_ups: usize) {
        let mut count = self.under_way.subscribe();
        timeout(SOON, count.wait_for(|count| *count == look_ups)).await.unwrap().unwrap();
    }

    /// Lets so many look-ups pass.
    pub(crate) fn open(&self, look_ups: usize) {
        self.permits.add_permits(look_ups);
    }
}

impl TlsaSource for Gated {
    async fn lookup(&self, owner: &OwnerName) -> Lookup {
        struct UnderWay<'a>(&'a watch::Sender<usize>);
        impl Drop for UnderWay<'_> {
            fn drop(&mut self) {
                self.0.send_modify(|count| *count -= 1);
            }
        }
        self.gate.under_way.send_modify(|count| *count += 1);
        let _under_way = UnderWay(&self.gate.under_way);
        self.gate.permits.acquire().await.unwrap().forget();
        self.inner.lookup(owner).await
    }
}

//! The check of one request, in the order of requirements 6.2: peer, certificate, name, and then the decision that every other entry
//! takes too (`dance-resolver`'s `Verifier`).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use dance_core::clientid::ClientForm;
use dance_core::matching::Credential;
use dance_core::name::ClientName;
use dance_core::verdict::{ClientId, Decision, Presented, Verdict, VerifiedClient};
use dance_resolver::{TlsaSource, Trace, Verifier};
use http::header::{HeaderMap, HeaderName};

use crate::asserted::{self, BodyKind};
use crate::chains::Chains;
use crate::forwarded::ForwardedBy;
use crate::log;
use crate::metrics::RequestMetrics;
use crate::peer::{Peer, TrustedPeers, client_address};
use crate::refusal::{Refusal, StatusRules};

/// Longest body in octets that is read in search of a name (requirements 6.2 item 7).
pub const BODY_LIMIT: usize = 1024 * 1024;

/// Where a request may assert its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameFrom {
    /// In `Dane-Clientid-Asserted`. The body is not read: whatever name it holds, the application must not take it for the client's.
    Header,
    /// In the body.
    Body,
    /// In either; where both have one they must agree.
    #[default]
    Either,
}

/// How requests are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How the balancer forwards certificates. There is no default: it must be what the balancer in front does.
    pub forwarded_by: ForwardedBy,
    /// Whose requests count.
    pub trusted_peers: TrustedPeers,
    /// Where names are asserted.
    pub name_from: NameFrom,
    /// Take `dane_id` for `dane_clientid`.
    pub alias: bool,
    /// Longest body that is read, in octets.
    pub body_limit: usize,
    /// The field in which the balancer tells the client's address, for the limit on look-ups of one address. `None`: the limit counts the
    /// balancer, so it should be as high as the total.
    pub client_address: Option<HeaderName>,
    /// What refusals become.
    pub status: StatusRules,
    /// The `realm` of the challenge that comes with 401; without quotes, backslashes and control characters.
    pub realm: String,
}

impl Rules {
    /// Requests of a balancer on this machine, names in header or body.
    #[must_use]
    pub fn new(forwarded_by: ForwardedBy) -> Self {
        Self {
            forwarded_by,
            trusted_peers: TrustedPeers::this_machine(),
            name_from: NameFrom::Either,
            alias: false,
            body_limit: BODY_LIMIT,
            client_address: None,
            status: StatusRules::default(),
            realm: "DANE".to_owned(),
        }
    }
}

/// Checks requests. Cheap to share behind an [`Arc`].
pub struct Checker<S> {
    rules: Rules,
    verifier: Arc<Verifier<S>>,
    chains: Chains,
    metrics: RequestMetrics,
    observer: Observer,
}

type Observer = Box<dyn Fn(&CheckEvent<'_>) + Send + Sync>;

/// What a balancer says of a request beside its header fields, in a protocol of its own (Envoy's `ext_authz` over gRPC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beside<'a> {
    /// The certificate, as percent-encoded PEM; empty for none. Counts where certificates come
    /// [beside the request](ForwardedBy::beside_the_request), and nowhere else.
    pub certificate: &'a str,
    /// The client's address, which counts where [`Rules::client_address`] finds none.
    pub client_address: Option<IpAddr>,
}

/// What one check came to, for those who tell of it.
#[derive(Clone, Copy, Debug)]
pub struct CheckEvent<'a> {
    /// Who sent the request.
    pub peer: Option<Peer>,
    /// The outcome.
    pub checked: &'a Checked,
    /// From the request's header to the outcome.
    pub elapsed: Duration,
}

/// A request whose headers are read.
pub struct Begun {
    chain: Arc<Credential>,
    name: Option<ClientName>,
    body: Option<BodyKind>,
    address: IpAddr,
}

/// What a check came to, for the answer and the log.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The client, or why there is none.
    pub outcome: Result<Box<VerifiedClient>, Refusal>,
    /// The decision, where it came to one.
    pub decision: Option<Decision>,
    /// How DNS answered, where it was asked.
    pub trace: Option<Trace>,
    /// Whose look-ups the limit for one address counts, where it came so far.
    pub client_address: Option<IpAddr>,
}

impl Checked {
    /// Without a decision.
    #[must_use]
    pub const fn refused(refusal: Refusal) -> Self {
        Self { outcome: Err(refusal), decision: None, trace: None, client_address: None }
    }
}

impl<S: TlsaSource> Checker<S> {
    /// By these rules, and by the settings of the verifier, whose policy must be `require`: a route needs a client or it does not.
    #[must_use]
    pub fn new(rules: Rules, verifier: Arc<Verifier<S>>) -> Self {
        Self {
            rules,
            verifier,
            chains: Chains::new(),
            metrics: RequestMetrics::new(),
            observer: Box::new(|event| log::tell(event.checked)),
        }
    }

    /// Shows what every check came to to `observer`, which takes the place of the lines that are logged otherwise: at level `info` or
    /// above for those refused, at `debug` for those let in, with names in full. It runs in the request's task and must not block.
    #[must_use]
    pub fn observed_by(self, observer: impl Fn(&CheckEvent<'_>) + Send + Sync + 'static) -> Self {
        Self { observer: Box::new(observer), ..self }
    }

    /// Counts what a check came to, and shows it to the observer. Once for each request, by whoever answers it.
    pub fn tell(&self, event: &CheckEvent<'_>) {
        self.metrics.count(event.checked);
        (self.observer)(event);
    }

    /// How it reads requests.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Reads what the headers say.
    ///
    /// # Errors
    /// The request is refused whatever its body says.
    pub fn begin(&self, headers: &HeaderMap, peer: Option<Peer>) -> Result<Begun, Refusal> {
        self.begin_beside(headers, Beside::default(), peer)
    }

    /// Reads what the headers say, and what `peer` says beside them.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn begin_beside(&self, headers: &HeaderMap, beside: Beside<'_>, peer: Option<Peer>) -> Result<Begun, Refusal> {
        let Some(peer) = peer.filter(|peer| self.rules.trusted_peers.contains(*peer)) else {
            return Err(Refusal::UntrustedPeer);
        };
        let forwarded_by = &self.rules.forwarded_by;
        let values = forwarded_by
            .values(headers, beside.certificate)
            .map_err(Refusal::Forwarded)?
            .ok_or(Refusal::NoCertificate)?;
        let chain = self.chains.get(&values, |values| forwarded_by.parse(values)).map_err(Refusal::Forwarded)?;
        let name = match self.rules.name_from {
            NameFrom::Header | NameFrom::Either => asserted::in_headers(headers).map_err(Refusal::Asserted)?,
            NameFrom::Body => None,
        };
        let body = match self.rules.name_from {
            NameFrom::Header => None,
            NameFrom::Body | NameFrom::Either => BodyKind::of(headers).map_err(Refusal::Asserted)?,
        };
        if name.is_none() && body.is_none() {
            return Err(Refusal::NoName);
        }
        let told = self.rules.client_address.as_ref().and_then(|field| client_address(headers, field));
        let address = told.or(beside.client_address).unwrap_or(match peer {
            Peer::Address(address) => address,
            Peer::UnixSocket => Ipv4Addr::LOCALHOST.into(),
        });
        Ok(Begun { chain, name, body, address })
    }

    /// Goes on to the end, once the body is there that [`Begun::body`] wants.
    pub async fn finish(&self, begun: Begun, body: Option<&[u8]>) -> Checked {
        match self.name(&begun, body.unwrap_or_default()) {
            Ok(name) => self.decide(begun, name).await,
            Err(refusal) => begun.refused(refusal),
        }
    }

    /// The first half of [`finish`](Self::finish): the name that is asserted. The body is not needed after it.
    ///
    /// # Errors
    /// There is none, none that can be read, or two.
    pub fn name(&self, begun: &Begun, body: &[u8]) -> Result<ClientName, Refusal> {
        let in_body = match begun.body {
            Some(kind) => asserted::in_body(kind, body, self.rules.alias).map_err(Refusal::Asserted)?,
            None => None,
        };
        match (&begun.name, in_body) {
            (Some(name), None) => Ok(name.clone()),
            (None, Some(name)) => Ok(name),
            (Some(one), Some(other)) if *one == other => Ok(other),
            (Some(_), Some(_)) => Err(Refusal::NamesDiffer),
            (None, None) => Err(Refusal::NoName),
        }
    }

    /// The second half of [`finish`](Self::finish): the decision.
    pub async fn decide(&self, begun: Begun, name: ClientName) -> Checked {
        let presented = Presented {
            credential: Some(Credential::clone(&begun.chain)),
            client_id: ClientId::Form(ClientForm::Name(name)),
        };
        let verified = self.verifier.verify(&presented, begun.address).await;
        let outcome = match &verified.decision.verdict {
            Verdict::Authenticated(client) => Ok(Box::new(client.clone())),
            Verdict::Unauthenticated(reason) | Verdict::NotDane(reason) | Verdict::Abort(reason) => {
                Err(Refusal::Decided(*reason))
            }
        };
        Checked {
            outcome,
            decision: Some(verified.decision),
            trace: verified.trace,
            client_address: Some(begun.address),
        }
    }
}

impl Begun {
    /// Of what kind the body is that has to be read, if it has to be.
    #[must_use]
    pub const fn body(&self) -> Option<BodyKind> {
        self.body
    }

    /// Without a decision after all.
    #[must_use]
    pub fn refused(&self, refusal: Refusal) -> Checked {
        Checked { client_address: Some(self.address), ..Checked::refused(refusal) }
    }
}

impl<S> std::fmt::Debug for Checker<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checker").field("rules", &self.rules).finish_non_exhaustive()
    }
}

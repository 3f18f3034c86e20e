//! Questions to the configured resolvers: the first of them that is up, another one soon when it does not answer.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dance_dnssec::Question;
use domain::base::Message;
use domain::base::iana::{ExtendedErrorCode, OptRcode};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};

mod cookie;
mod exchange;
mod failure;
mod health;
mod message;
mod peer;
mod stream;
mod tls;
mod udp;

pub(crate) use self::exchange::ExchangeLog;
pub use self::exchange::{Exchange, ExchangeOutcome, Protocol};
use self::failure::Failure;
pub use self::failure::TlsFailure;
pub(crate) use self::message::Flags;
use self::peer::Peer;
use crate::config::ConfigError;
use crate::server::Server;

/// When a question without answer is sent to the same resolver again; the earlier one stays open, so a slow answer still counts. Longer
/// than a resolver's usual cold look-up, short enough for a second try within the budget.
const RESEND_AFTER: Duration = Duration::from_millis(1000);
/// At random up to this much later, lest questions that were lost in one burst are sent again in another.
const RESEND_SPREAD: Duration = Duration::from_millis(500);
/// Most times that one question is sent, over all resolvers, unless there are more of these.
const MAX_SENDS: usize = 4;
/// How long others have to do better when one has answered with an error.
const SECOND_OPINION: Duration = Duration::from_millis(500);
/// Most datagram sockets that a resolver has open at once; questions beyond go over TCP, where they share few connections.
pub const MAX_SOCKETS: usize = 512;
/// How long a resolver that was down has to answer, to be up again.
const PROBE_TIME: Duration = Duration::from_secs(3);

/// A reply that fits its question by ID, question section and sender; nothing more is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) message: Message<Bytes>,
    pub(crate) server: SocketAddr,
}

/// RFC 8914 section 4: from DNSSEC Bogus (6) over expired, early and missing signatures and keys to NSEC Missing (12), all say that
/// validation failed.
const BOGUS_FIRST: u16 = ExtendedErrorCode::DNSSEC_BOGUS.to_int();
const BOGUS_LAST: u16 = ExtendedErrorCode::NSEC_MISSING.to_int();

impl Reply {
    /// Whether the resolver does not know EDNS (RFC 6891 section 7): it cannot deliver signatures.
    pub(crate) fn refuses_edns(&self) -> bool {
        match self.message.opt_rcode() {
            OptRcode::BADVERS => true,
            OptRcode::FORMERR | OptRcode::NOTIMP => self.message.opt().is_none(),
            _ => false,
        }
    }

    /// The extended error by which the resolver says that its validation failed.
    pub(crate) fn says_bogus(&self) -> Option<ExtendedErrorCode> {
        let code = self.message.opt()?.opt().extended_error()?.code();
        (BOGUS_FIRST..=BOGUS_LAST).contains(&code.to_int()).then_some(code)
    }

    fn standing(&self) -> Standing {
        match self.message.opt_rcode() {
            OptRcode::NOERROR | OptRcode::NXDOMAIN => Standing::Answer,
            OptRcode::SERVFAIL if self.says_bogus().is_some() => Standing::Answer,
            OptRcode::SERVFAIL => Standing::Failed,
            _ => Standing::Refused,
        }
    }
}

/// What a reply is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// The resolver does not serve us, or not for this question.
    Refused,
    /// It could not find out.
    Failed,
    /// It is what was asked for, or why there is none.
    Answer,
}

/// Why there is no reply.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NoReply {
    /// None came in time.
    Silence,
    /// Every resolver failed; the first one's failure.
    Failed { server: SocketAddr, kind: io::ErrorKind, os_error: Option<i32> },
    /// Every resolver failed; the first one's TLS was refused.
    Untrusted { server: SocketAddr, failure: TlsFailure },
}

impl NoReply {
    fn new(server: SocketAddr, failure: Failure) -> Self {
        match failure {
            Failure::Io { kind, os_error } => Self::Failed { server, kind, os_error },
            Failure::Tls(failure) => Self::Untrusted { server, failure },
        }
    }
}

/// The configured resolvers.
pub(crate) struct Upstream {
    /// In order of preference.
    peers: Box<[Arc<Peer>]>,
    /// How long to wait for a reply, over all sends.
    patience: Duration,
}

impl Upstream {
    /// `authorities`: a file of those that the resolvers' certificates may come from, in place of the system's.
    pub(crate) fn new(servers: &[Server], authorities: Option<&Path>, patience: Duration) -> Result<Self, ConfigError> {
        let sockets = Arc::new(Semaphore::new(MAX_SOCKETS));
        let peers = servers.iter().map(|server| Ok(Arc::new(Peer::new(server, authorities, &sockets)?)));
        Ok(Self { peers: peers.collect::<Result<_, _>>()?, patience })
    }

    /// Asks until a reply comes.
    ///
    /// The resolvers are asked in their order, those that are up before those that are not: the next one when one fails, when it answers
    /// with an error, or when it takes longer than is usual for it. A better reply than an error is waited for, but not for long.
    pub(crate) async fn ask(&self, question: &Question, flags: Flags, log: &ExchangeLog) -> Result<Reply, NoReply> {
        let mut give_up = Instant::now() + self.patience;
        let mut turns = Turns::new(self.order(question, flags));
        let mut pending = FuturesUnordered::new();
        let (mut no_reply, mut error) = (None, None::<Reply>);
        let mut next_at = None;
        let mut send_now = true;
        loop {
            if send_now {
                let next = turns.next();
                next_at = turns.next_at();
                if let Some((peer, since)) = next {
                    pending.push(async move { (peer.ask(question, flags, log).await, peer, since) });
                }
            }
            if pending.is_empty() {
                // Nobody is left to wait for.
                return error.map_or_else(|| Err(no_reply.unwrap_or(NoReply::Silence)), Ok);
            }
            let wake_at = next_at.map_or(give_up, |next_at| give_up.min(next_at));
            send_now = tokio::select! {
                Some((result, peer, since)) = pending.next() => {
                    turns.is_done(&peer);
                    match result {
                        Ok(message) => {
                            let reply = Reply { message, server: peer.address };
                            let standing = reply.standing();
                            judge(&peer, standing, since.elapsed());
                            if standing == Standing::Answer {
                                turns.silent_before(since).for_each(|peer| fail(peer, None));
                                return Ok(reply);
                            }
                            give_up = give_up.min(Instant::now() + SECOND_OPINION);
                            if error.as_ref().is_none_or(|error| error.standing() < standing) {
                                error = Some(reply);
                            }
                        }
                        Err(failure) => {
                            fail(&peer, Some(failure));
                            no_reply.get_or_insert(NoReply::new(peer.address, failure));
                        }
                    }
                    // Whoever keeps silent is asked again when it is time.
                    turns.has_unasked()
                }
                () = sleep_until(wake_at) => {
                    if wake_at == give_up {
                        return error.ok_or(NoReply::Silence);
                    }
                    true
                }
            };
        }
    }

    /// In which order to ask. Those that are down and ought to be tried again are tried now, on the side: the answer does not depend on
    /// them.
    fn order(&self, question: &Question, flags: Flags) -> Vec<Arc<Peer>> {
        let (mut order, down): (Vec<_>, Vec<_>) = self.peers.iter().cloned().partition(|peer| peer.health.is_up());
        if !order.is_empty() {
            for peer in down.iter().filter(|peer| peer.health.wants_probe()) {
                tokio::spawn(probe(Arc::clone(peer), question.clone(), flags));
            }
        }
        order.extend(down);
        order
    }
}

async fn probe(peer: Arc<Peer>, question: Question, flags: Flags) {
    let since = Instant::now();
    let log = ExchangeLog::default();
    if let Ok(Ok(message)) = timeout(PROBE_TIME, peer.ask(&question, flags, &log)).await {
        let reply = Reply { message, server: peer.address };
        judge(&peer, reply.standing(), since.elapsed());
    }
}

/// It replied.
fn judge(peer: &Peer, standing: Standing, took: Duration) {
    if standing == Standing::Refused {
        fail(peer, None);
    } else if peer.health.answered(took) {
        tracing::info!(resolver = %peer.address, "answers again");
    }
}

/// It failed, or kept silent while another answered, or does not serve us.
fn fail(peer: &Peer, failure: Option<Failure>) {
    if peer.health.failed() {
        match failure {
            Some(Failure::Io { kind, .. }) => tracing::warn!(resolver = %peer.address, %kind, "cannot be reached"),
            Some(Failure::Tls(failure)) => tracing::warn!(resolver = %peer.address, %failure, "is not trusted"),
            None => tracing::debug!(resolver = %peer.address, "is slower than others, or refuses to answer"),
        }
    }
}

/// Whose turn it is.
struct Turns(Vec<Turn>);

struct Turn {
    peer: Arc<Peer>,
    /// When it was asked, last and first.
    asked: Option<(Instant, Instant)>,
    sends: usize,
    /// It has failed, or answered with an error.
    done: bool,
}

impl Turns {
    fn new(order: Vec<Arc<Peer>>) -> Self {
        let turn = |peer| Turn { peer, asked: None, sends: 0, done: false };
        Self(order.into_iter().map(turn).collect())
    }

    fn has_unasked(&self) -> bool {
        self.0.iter().any(|turn| turn.asked.is_none())
    }

    /// One to ask now: the next that was not asked yet, otherwise the one whose silence is the longest.
    fn next(&mut self) -> Option<(Arc<Peer>, Instant)> {
        let sends: usize = self.0.iter().map(|turn| turn.sends).sum();
        let turns = self.0.iter_mut().filter(|turn| !turn.done);
        let turn = turns.min_by_key(|turn| turn.asked.map(|(last, _)| last))?;
        if turn.asked.is_some() && sends >= MAX_SENDS {
            return None;
        }
        let now = Instant::now();
        turn.asked = Some((now, turn.asked.map_or(now, |(_, first)| first)));
        turn.sends += 1;
        Some((Arc::clone(&turn.peer), now))
    }

    /// When the next one is to be asked, if nothing happens until then. To be called after [`next`](Self::next).
    fn next_at(&self) -> Option<Instant> {
        let waiting = || self.0.iter().filter(|turn| !turn.done);
        let last = |turn: &&Turn| turn.asked.map(|(last, _)| last);
        if self.has_unasked() {
            let turn = waiting().max_by_key(last)?;
            return Some(last(&turn)? + turn.peer.health.patience());
        }
        let sends: usize = self.0.iter().map(|turn| turn.sends).sum();
        let oldest = waiting().filter_map(|turn| last(&turn)).min().filter(|_| sends < MAX_SENDS)?;
        Some(oldest + RESEND_AFTER + RESEND_SPREAD.mul_f32(random_fraction()))
    }

    fn is_done(&mut self, peer: &Arc<Peer>) {
        self.0.iter_mut().filter(|turn| Arc::ptr_eq(&turn.peer, peer)).for_each(|turn| turn.done = true);
    }

    /// Those that were asked before and have not said anything.
    fn silent_before(&self, then: Instant) -> impl Iterator<Item = &Peer> {
        let silent = move |turn: &&Turn| !turn.done && turn.asked.is_some_and(|(_, first)| first < then);
        self.0.iter().filter(silent).map(|turn| &*turn.peer)
    }
}

/// Between 0 and 1; needs to be different, not unpredictable.
fn random_fraction() -> f32 {
    let random = RandomState::new().build_hasher().finish();
    f32::from(random.to_be_bytes()[0]) / f32::from(u8::MAX)
}

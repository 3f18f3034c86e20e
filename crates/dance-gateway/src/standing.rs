//! The client of one open connection, asked for anew: what [`recheck`](crate::recheck) times, done by the verifier.

use std::net::SocketAddr;
use std::sync::Arc;

use dance_core::UnixTime;
use dance_core::reason::Reason;
use dance_core::verdict::{Decision, Verdict, VerifiedClient};
use dance_resolver::{Evidence, TlsaSource, Trace, Verified, Verifier};
use tokio::time::Instant;

use crate::listener::{Clients, Core};
use crate::log::{Outcome, VerdictEvent};
use crate::recheck::{Recheck, Refusal, Vigil, watch};

/// A client that is known, and what of it can be asked about again.
pub(crate) struct Known {
    pub(crate) client: Box<VerifiedClient>,
    pub(crate) evidence: Evidence,
    /// When its name was looked up; `None` if what was known already did.
    pub(crate) asked: Option<Instant>,
}

/// Watches over a client whose connection was accepted at `accepted` and has just been let in.
pub(crate) fn vigil<S: TlsaSource + 'static>(
    core: Arc<Core<S>>,
    known: Known,
    peer: SocketAddr,
    accepted: Instant,
) -> Vigil {
    let Clients::Dane(dane) = &core.clients else {
        // Where nobody is asked for a name, nobody is known by one.
        return Vigil::over(async {});
    };
    let (until, asked) = (known.client.valid_until(), known.asked);
    let standing = Standing { verifier: Arc::clone(&dane.verifier), known, peer };
    Vigil::over(async move {
        let Lost { decision, trace } = watch(standing, until, asked).await;
        let outcome = Outcome::Withdrawn(decision);
        core.tell(&VerdictEvent { peer, outcome, certificate: None, trace, elapsed: accepted.elapsed() });
    })
}

struct Standing<S> {
    verifier: Arc<Verifier<S>>,
    known: Known,
    peer: SocketAddr,
}

/// A client that is not known any more, for the log.
struct Lost {
    decision: Decision,
    trace: Option<Trace>,
}

impl Refusal for Lost {
    fn reason(&self) -> Option<Reason> {
        self.decision.verdict.reason()
    }
}

impl<S: TlsaSource> Recheck for Standing<S> {
    type Refusal = Lost;

    fn now(&self) -> UnixTime {
        self.verifier.now()
    }

    async fn recheck(&mut self) -> Result<UnixTime, Lost> {
        let Verified { decision, trace } = self.verifier.recheck(&self.known.evidence, self.peer.ip()).await;
        match decision.verdict {
            Verdict::Authenticated(client) if client.identity() == self.known.client.identity() => {
                tracing::debug!(peer = %self.peer, until = client.valid_until().as_secs(), "client confirmed");
                Ok(client.valid_until())
            }
            // Whoever this is now, it is not who the application was told.
            Verdict::Authenticated(_) => {
                Err(Lost { decision: Decision { verdict: Verdict::Abort(Reason::NoMatch), ..decision }, trace })
            }
            Verdict::Unauthenticated(_) | Verdict::NotDane(_) | Verdict::Abort(_) => Err(Lost { decision, trace }),
        }
    }

    fn overdue(&self) -> Lost {
        let client = &self.known.client;
        let decision = Decision {
            verdict: Verdict::Abort(Reason::CheckTimeout),
            client_name: Some(client.client_name().clone()),
            owner_name: Some(client.owner_name().clone()),
            records: Vec::new(),
        };
        Lost { decision, trace: None }
    }
}

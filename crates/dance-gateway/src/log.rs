//! One line in the log for each client that got as far as a verdict, or that left or failed before one, and one more when an open
//! connection is closed because its client is no longer known (SEC-16).

use std::net::SocketAddr;
use std::time::Duration;

use dance_core::pkix::PathError;
use dance_core::reason::{Blame, Reason};
use dance_core::verdict::{Decision, Verdict, VerifiedClient};
use dance_daemon::log::{Matched, Names, Records};
use dance_resolver::Trace;
use dance_tls::AcceptError;

/// What came of one client's handshake, or of its connection afterwards. The log line is made from it, and so is whatever an observer shows.
#[derive(Debug)]
pub struct VerdictEvent {
    /// The client's address.
    pub peer: SocketAddr,
    /// How it ended.
    pub outcome: Outcome,
    /// What became of an ordinary certificate, where `client-ca` is set and a client that did not ask for DANE has presented one.
    pub certificate: Option<Result<(), PathError>>,
    /// How DNS answered, where it was asked.
    pub trace: Option<Trace>,
    /// From the connection's acceptance to the outcome.
    pub elapsed: Duration,
}

/// How a handshake ended, or an authenticated client's standing.
#[derive(Debug)]
pub enum Outcome {
    /// With a verdict.
    Decided(Decision),
    /// Without one of its own: a session was resumed, and the client is who it was (requirements 4.2 step 2).
    Resumed(Decision),
    /// Long after, and well until then: the answer that the client's name rested on has run out, and no other confirms it. The
    /// connection is closed (requirements 4.2 step 18).
    Withdrawn(Decision),
    /// Without: the gateway forwards certificates, and this client has shown so many (requirements 6.2).
    Forwarded {
        /// Of its chain; 0 if it has shown none.
        certificates: usize,
    },
    /// TLS came to nothing before there was anything to decide about.
    HandshakeFailed(AcceptError),
    /// It took longer than `handshake-timeout`.
    HandshakeTimeout,
    /// The client closed the connection while it waited for the verdict.
    ClientGone,
    /// The client's address has `handshakes-per-address` of them under way; this one was not begun.
    TooManyHandshakes,
}

impl VerdictEvent {
    /// The outcome's stable code: log field, metric label.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match &self.outcome {
            Outcome::Decided(decision) => match &decision.verdict {
                Verdict::Authenticated(_) => "authenticated",
                Verdict::Unauthenticated(_) => "unauthenticated",
                Verdict::NotDane(_) => "not-dane",
                Verdict::Abort(_) => "refused",
            },
            Outcome::Resumed(_) => "resumed",
            Outcome::Withdrawn(_) => "withdrawn",
            Outcome::Forwarded { .. } => "forwarded",
            Outcome::HandshakeFailed(AcceptError::Refused(_)) => "refused",
            Outcome::HandshakeFailed(_) => "handshake-failed",
            Outcome::HandshakeTimeout => "handshake-timeout",
            Outcome::ClientGone => "client-gone",
            Outcome::TooManyHandshakes => "too-many-handshakes",
        }
    }

    /// Why the client is not authenticated, or not any more, where that was decided.
    #[must_use]
    pub const fn reason(&self) -> Option<Reason> {
        match &self.outcome {
            Outcome::Decided(decision) | Outcome::Resumed(decision) | Outcome::Withdrawn(decision) => {
                decision.verdict.reason()
            }
            Outcome::HandshakeFailed(AcceptError::Refused(reason)) => Some(*reason),
            Outcome::Forwarded { .. }
            | Outcome::HandshakeFailed(_)
            | Outcome::HandshakeTimeout
            | Outcome::ClientGone
            | Outcome::TooManyHandshakes => None,
        }
    }

    /// Who the client is, if that is established.
    #[must_use]
    pub const fn client(&self) -> Option<&VerifiedClient> {
        match self.decision() {
            Some(Decision { verdict: Verdict::Authenticated(client), .. }) => Some(client),
            _ => None,
        }
    }

    /// The decision, if it came to one.
    #[must_use]
    pub const fn decision(&self) -> Option<&Decision> {
        match &self.outcome {
            Outcome::Decided(decision) | Outcome::Resumed(decision) | Outcome::Withdrawn(decision) => Some(decision),
            Outcome::Forwarded { .. }
            | Outcome::HandshakeFailed(_)
            | Outcome::HandshakeTimeout
            | Outcome::ClientGone
            | Outcome::TooManyHandshakes => None,
        }
    }
}

/// Writes the line.
pub(crate) fn write(names: &Names, event: &VerdictEvent) {
    let decision = event.decision();
    let client_name = decision.and_then(|decision| names.show(decision.client_name.as_ref()?.as_str()));
    let owner_name = decision.and_then(|decision| names.show(decision.owner_name.as_ref()?.as_str()));
    let records = decision.filter(|decision| !decision.records.is_empty());
    let records = records.map(|decision| Records(&decision.records).to_string());
    // A user's name is no client name.
    let user = event.client().filter(|client| client.identity() != client.client_name().as_str());
    let identity = user.and_then(|client| names.show(client.identity()));
    let matched = event.client().map(|client| Matched(client).to_string());
    // What the resolver says in words may hold names.
    let words = event.trace.as_ref().filter(|_| names.in_full());
    let dns = words.and_then(|trace| trace.detail.as_ref()).map(ToString::to_string);
    let certificate = event.certificate.map(|judged| judged.err().map_or("accepted", PathError::code));
    let certificates = match &event.outcome {
        Outcome::Forwarded { certificates } => Some(certificates),
        _ => None,
    };
    let tls = match &event.outcome {
        Outcome::HandshakeFailed(error) => Some(error.to_string()),
        _ => None,
    };
    macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    peer = %event.peer,
                    outcome = event.code(),
                    reason = event.reason().map(Reason::code),
                    client_name = client_name.as_deref(),
                    owner_name = owner_name.as_deref(),
                    identity = identity.as_deref(),
                    certificate,
                    certificates,
                    matched,
                    records,
                    dns,
                    queries = event.trace.as_ref().map(|trace| trace.queries),
                    cached = event.trace.as_ref().map(|trace| trace.from_cache),
                    tls,
                    ms = u64::try_from(event.elapsed.as_millis()).unwrap_or(u64::MAX),
                    "client"
                )
            };
        }
    if event.reason().is_some_and(|reason| reason.blame() == Blame::Server) {
        line!(warn);
    } else {
        line!(info);
    }
}

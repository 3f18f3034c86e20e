//! One line in the log for each client that got as far as a verdict, or that left or failed before one, and one more when an open
//! connection is closed because its client is no longer known (SEC-16).

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use dance_core::matching::RecordOutcome;
use dance_core::pkix::PathError;
use dance_core::reason::{Blame, Reason};
use dance_core::verdict::{Decision, Verdict, VerifiedClient};
use dance_resolver::Trace;
use dance_tls::AcceptError;
use data_encoding::HEXLOWER;
use ring::hmac;

use crate::config::LogNames;
use crate::services::Shared;

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
            Outcome::HandshakeFailed(_)
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
            Outcome::HandshakeFailed(_)
            | Outcome::HandshakeTimeout
            | Outcome::ClientGone
            | Outcome::TooManyHandshakes => None,
        }
    }
}

/// How names stand in the log.
#[derive(Debug)]
pub(crate) struct Names {
    show: Show,
}

#[derive(Debug)]
enum Show {
    Full,
    Hashed(hmac::Key),
    Off,
}

/// So many octets of a hashed name are shown: enough to tell the clients of one log apart.
const HASH_LEN: usize = 8;

impl Names {
    /// Draws a key if there is need for one; `None` if the system has no randomness to give.
    pub(crate) fn new(setting: LogNames) -> Option<Self> {
        let show = match setting {
            LogNames::Full => Show::Full,
            LogNames::Off => Show::Off,
            LogNames::Hashed => {
                let random = ring::rand::SystemRandom::new();
                Show::Hashed(hmac::Key::generate(hmac::HMAC_SHA256, &random).ok()?)
            }
        };
        Some(Self { show })
    }

    fn show<'a>(&self, name: &'a str) -> Option<Cow<'a, str>> {
        match &self.show {
            Show::Full => Some(Cow::Borrowed(name)),
            Show::Off => None,
            Show::Hashed(key) => {
                let tag = hmac::sign(key, name.as_bytes());
                let short = tag.as_ref().get(..HASH_LEN).unwrap_or_default();
                Some(Cow::Owned(format!("hashed:{}", HEXLOWER.encode(short))))
            }
        }
    }

    /// Warns that a client's key stands for another service too. The key is as good as a name: its digest is in the TLSA record.
    pub(crate) fn warn_shared(&self, client: &VerifiedClient, shared: &Shared) {
        let key = format!("{:016x}", shared.key);
        tracing::warn!(
            client_name = self.show(client.client_name().as_str()).as_deref(),
            key = self.show(&key).as_deref(),
            before = self.show(&shared.before).as_deref(),
            "one key stands for several services, so that what is sent to one of them can be replayed to another; give each a key of its own"
        );
    }

    /// Writes the line.
    pub(crate) fn write(&self, event: &VerdictEvent) {
        let decision = event.decision();
        let client_name = decision.and_then(|decision| self.show(decision.client_name.as_ref()?.as_str()));
        let owner_name = decision.and_then(|decision| self.show(decision.owner_name.as_ref()?.as_str()));
        let records = decision.filter(|decision| !decision.records.is_empty());
        let records = records.map(|decision| Records(&decision.records).to_string());
        // A user's name is no client name.
        let user = event.client().filter(|client| client.identity() != client.client_name().as_str());
        let identity = user.and_then(|client| self.show(client.identity()));
        let matched = event.client().map(|client| Matched(client).to_string());
        // What the resolver says in words may hold names.
        let words = event.trace.as_ref().filter(|_| matches!(self.show, Show::Full));
        let dns = words.and_then(|trace| trace.detail.as_ref()).map(ToString::to_string);
        let certificate = event.certificate.map(|judged| judged.err().map_or("accepted", PathError::code));
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
}

/// `3 1 1 matched, 3 1 2 no-match`.
struct Records<'a>(&'a [RecordOutcome]);

impl fmt::Display for Records<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, record) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            let fields = [record.usage.map(|u| u.0), record.selector.map(|s| s.0), record.matching_type.map(|m| m.0)];
            for field in fields {
                match field {
                    Some(number) => write!(f, "{number} ")?,
                    None => f.write_str("? ")?,
                }
            }
            f.write_str(record.outcome.code())?;
        }
        Ok(())
    }
}

/// `3 1 1 depth 0 until 1767225600, wildcard`.
struct Matched<'a>(&'a VerifiedClient);

impl fmt::Display for Matched<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for octet in self.0.record().as_wire().iter().take(3) {
            write!(f, "{octet} ")?;
        }
        write!(f, "depth {} until {}", self.0.depth(), self.0.valid_until().as_secs())?;
        match self.0.wildcard() {
            Some(true) => f.write_str(", wildcard"),
            Some(false) => Ok(()),
            None => f.write_str(", wildcard unknown"),
        }
    }
}

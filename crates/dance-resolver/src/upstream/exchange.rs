//! Who was asked what, and what came of it.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dance_dnssec::Question;
use domain::base::iana::{OptRcode, Rtype};
use tokio::time::Instant;

use crate::outcome::text;

/// One question to one resolver, and what came of it. For logs and diagnosis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The name asked for; lower case, without final dot.
    pub name: Arc<str>,
    /// The type asked for.
    pub rtype: Rtype,
    /// Who was asked.
    pub server: SocketAddr,
    /// Over what.
    pub protocol: Protocol,
    /// How long it took until the answer, the failure, or the end of waiting.
    pub took: Duration,
    /// How it ended.
    pub outcome: ExchangeOutcome,
}

/// What a question went over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// A datagram.
    Udp,
    /// A TCP connection.
    Tcp,
    /// A TLS connection.
    Tls,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeOutcome {
    /// By an answer with this code.
    Answered(OptRcode),
    /// By an answer that is truncated: the question went over TCP then.
    Truncated,
    /// By an answer that somebody else might have sent: the name not in the letters asked for, or without what else shows where it
    /// came from. It was not believed; the question went over TCP then.
    Doubtful,
    /// By an answer that only told the server's cookie: the question went out again with it.
    CookieWanted,
    /// Nothing had come when the answer was no longer needed, or the time over.
    Silent,
    /// The resolver cannot be reached, or what came is no answer.
    Failed(io::ErrorKind),
    /// It did not show over TLS that it is the right one.
    Untrusted,
}

/// Most exchanges that are kept for a look-up; all are counted.
const MAX_EXCHANGES: usize = 128;

/// A look-up's exchanges with resolvers, in the order in which they ended.
#[derive(Debug, Default)]
pub(crate) struct ExchangeLog {
    sent: AtomicUsize,
    ended: Mutex<Vec<Ended>>,
}

#[derive(Debug)]
struct Ended {
    question: Question,
    server: SocketAddr,
    protocol: Protocol,
    took: Duration,
    outcome: ExchangeOutcome,
}

impl ExchangeLog {
    /// Messages sent.
    pub(crate) fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// Those that have ended, the first [`MAX_EXCHANGES`] of them.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        let exchange = |ended: &Ended| Exchange {
            name: text(&ended.question.name),
            rtype: ended.question.rtype,
            server: ended.server,
            protocol: ended.protocol,
            took: ended.took,
            outcome: ended.outcome,
        };
        self.ended().iter().map(exchange).collect()
    }

    /// Held for a push, which leaves nothing half done.
    fn ended(&self) -> MutexGuard<'_, Vec<Ended>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A question goes out now.
    pub(super) fn begin<'a>(&'a self, question: &'a Question, server: SocketAddr, protocol: Protocol) -> Begun<'a> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let outcome = ExchangeOutcome::Silent;
        Begun { log: self, question, server, protocol, since: Instant::now(), outcome }
    }
}

/// An exchange under way. Goes into the log when it is dropped: silence, unless it is told otherwise.
#[derive(Debug)]
pub(super) struct Begun<'a> {
    log: &'a ExchangeLog,
    question: &'a Question,
    server: SocketAddr,
    protocol: Protocol,
    since: Instant,
    outcome: ExchangeOutcome,
}

impl Begun<'_> {
    pub(super) fn end(mut self, outcome: ExchangeOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let mut ended = self.log.ended();
        if ended.len() < MAX_EXCHANGES {
            ended.push(Ended {
                question: self.question.clone(),
                server: self.server,
                protocol: self.protocol,
                took: self.since.elapsed(),
                outcome: self.outcome,
            });
        }
    }
}

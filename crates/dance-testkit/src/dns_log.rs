//! The record of every question that the world was asked.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use domain::base::iana::Rtype;
use tokio::sync::watch;

/// Older questions are forgotten beyond this number, so that a long-running demo does not grow.
const MAX_QUERIES: usize = 100_000;

/// How a question arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A datagram.
    Udp,
    /// A TCP connection.
    Tcp,
}

/// A question that the world was asked.
#[derive(Clone, Debug)]
pub struct Query {
    /// The name in lower case without the trailing dot; the root is the empty string.
    pub name: String,
    /// The type asked for.
    pub rtype: Rtype,
    /// How the question arrived.
    pub transport: Transport,
    /// When it arrived.
    pub at: Instant,
    /// The CD bit: the asker validates for itself.
    pub checking_disabled: bool,
    /// The DO bit: the asker wants DNSSEC records.
    pub dnssec_ok: bool,
    /// The AD bit: the asker wants to know the resolver's verdict.
    pub authentic_data: bool,
}

#[derive(Debug)]
pub(crate) struct QueryLog {
    queries: Mutex<VecDeque<Query>>,
    /// Counts questions, to wake those who wait for one.
    arrivals: watch::Sender<u64>,
}

impl QueryLog {
    pub(crate) fn new() -> Self {
        Self { queries: Mutex::default(), arrivals: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Query>> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, query: Query) {
        let mut queries = self.lock();
        if queries.len() >= MAX_QUERIES {
            queries.pop_front();
        }
        queries.push_back(query);
        drop(queries);
        self.arrivals.send_modify(|count| *count += 1);
    }

    pub(crate) fn all(&self) -> Vec<Query> {
        self.lock().iter().cloned().collect()
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// Resolves with the first question in the log, past or future, that fits.
    pub(crate) async fn wait_for(&self, fits: impl Fn(&Query) -> bool) -> Query {
        let mut arrivals = self.arrivals.subscribe();
        loop {
            let found = self.lock().iter().find(|query| fits(query)).cloned();
            if let Some(query) = found {
                return query;
            }
            // The sender lives as long as `self`: there is always another arrival to wait for.
            let _ = arrivals.changed().await;
        }
    }
}

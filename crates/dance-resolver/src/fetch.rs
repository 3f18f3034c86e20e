//! The proof's questions. DS and DNSKEY are each asked once for all look-ups that need the answer now.
//!
//! Nothing is remembered here: what a proof makes of a reply is, as a fact about a zone. A reply stays shared as long as the look-up goes on that asked first,
//! so that those who come between the reply and the proof do not ask again.

use std::sync::Arc;

use dance_dnssec::Question;
use domain::base::iana::Rtype;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::flight::{Flights, Stay};
use crate::outcome::Fault;
use crate::upstream::{ExchangeLog, Flags, Reply, Upstream};

/// What came of a question: a reply with code NOERROR or NXDOMAIN, or why there is none.
pub(crate) type Answer = Result<Reply, Fault>;

/// Keeps an answer for others.
pub(crate) type Keep = Stay<Question, Answer>;

/// Asks for what a proof needs.
pub(crate) struct Fetch {
    upstream: Arc<Upstream>,
    flights: Flights<Question, Answer>,
}

impl Fetch {
    pub(crate) fn new(upstream: Arc<Upstream>) -> Self {
        Self { upstream, flights: Flights::new() }
    }

    /// The answer to come; and, if nobody was asking yet, what the look-up must hold to its end. What is sent is written into `log`.
    pub(crate) fn ask(
        &self,
        question: &Question,
        log: &Arc<ExchangeLog>,
    ) -> (BoxFuture<'static, Answer>, Option<Keep>) {
        let (upstream, log, wanted) = (Arc::clone(&self.upstream), Arc::clone(log), question.clone());
        let work = move || async move {
            let reply = upstream.ask(&wanted, Flags::Unchecked, &log).await;
            let reply = reply.map_err(|no_reply| Fault::no_reply(no_reply, &wanted.name, wanted.rtype))?;
            // An error is no answer: its emptiness must not be taken for a broken proof.
            Fault::check_code(&reply, &wanted.name, wanted.rtype)?;
            Ok(reply)
        };
        // Look-ups of one name are one already.
        if question.rtype == Rtype::TLSA {
            return (work().boxed(), None);
        }
        let (flight, keep) = self.flights.join_and_stay(question.clone(), work);
        (flight.boxed(), keep)
    }
}

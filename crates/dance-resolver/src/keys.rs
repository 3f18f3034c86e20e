//! The validator's own questions, DS and DNSKEY: each asked once for everybody who needs it now, and remembered for a minute.
//!
//! Without this, look-ups of many names in one zone each fetch the zone's whole chain of trust. What is remembered is as unvalidated
//! as what came from the network: every validation judges it anew.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::base::iana::Rtype;
use domain::base::{Message, ToName as _};
use domain::net::client::request::{ComposeRequest as _, Error, GetResponse, RequestMessage, SendRequest};
use moka::sync::Cache;
use tokio::time::Instant;

use crate::flight::{Flight, Flights};
use crate::outcome::Fault;
use crate::reply::{DnsName, smallest_ttl};
use crate::run::{RUN, Run};
use crate::upstream::{Flags, Question, Reply, Upstream};

/// Longest time that a reply is remembered, whatever its TTL: the validator counts the TTL anew from each time it gets the reply.
const MAX_KEPT: Duration = Duration::from_secs(60);
/// Size of the memory, in replies of up to 1 KiB.
const KEPT_REPLIES: u64 = 4096;

type Key = (DnsName, Rtype);

/// A transport for the validator.
#[derive(Clone)]
pub(crate) struct KeySource(Arc<Inner>);

struct Inner {
    upstream: Arc<Upstream>,
    flights: Flights<Key, Result<Reply, Fault>>,
    kept: Cache<Key, (Reply, Instant)>,
}

impl KeySource {
    pub(crate) fn new(upstream: Arc<Upstream>) -> Self {
        let kept = Cache::builder()
            .weigher(|_: &Key, (reply, _): &(Reply, Instant)| {
                1 + u32::try_from(reply.message.as_slice().len() / 1024).unwrap_or(u32::MAX - 1)
            })
            .max_capacity(KEPT_REPLIES)
            .build();
        Self(Arc::new(Inner { upstream, flights: Flights::new(), kept }))
    }

    /// Forgets what a failed validation was given, so that the next one sees what the network has then.
    pub(crate) fn forget(&self, run: &Run) {
        for (name, rtype, _) in run.seen() {
            self.0.kept.invalidate(&(name, rtype));
        }
    }
}

impl Inner {
    fn kept(&self, key: &Key) -> Option<Reply> {
        let (reply, until) = self.kept.get(key)?;
        (Instant::now() < until).then_some(reply)
    }

    async fn fetch(self: Arc<Self>, (name, rtype): Key, run: Arc<Run>) -> Result<Reply, Fault> {
        let question = Question { name: name.clone(), rtype };
        let reply = self.upstream.ask(&question, Flags::Unchecked, &run.log).await;
        let reply = reply.map_err(|no_reply| Fault::no_reply(no_reply, &name, rtype))?;
        Fault::check_code(&reply, &name, rtype)?;
        let keep = Duration::from_secs(smallest_ttl(&reply.message).into()).min(MAX_KEPT);
        if !keep.is_zero() {
            self.kept.insert((name, rtype), (reply.clone(), Instant::now() + keep));
        }
        Ok(reply)
    }
}

impl SendRequest<RequestMessage<Vec<u8>>> for KeySource {
    fn send_request(&self, request: RequestMessage<Vec<u8>>) -> Box<dyn GetResponse + Send + Sync> {
        let key = request.to_message().ok().and_then(|message| {
            message.sole_question().ok().map(|question| (question.qname().to_name(), question.qtype()))
        });
        let run = RUN.try_with(Arc::clone).unwrap_or_default();
        let Some(key) = key else {
            return Box::new(Unanswerable);
        };
        run.asks(&key.0, key.1);
        let state = match self.0.kept(&key) {
            Some(reply) => Progress::Kept(reply),
            None => {
                let (inner, run) = (Arc::clone(&self.0), Arc::clone(&run));
                Progress::Asked(self.0.flights.join(key.clone(), || inner.fetch(key.clone(), run)))
            }
        };
        Box::new(Answer { key, run, state })
    }
}

enum Progress {
    Kept(Reply),
    Asked(Flight<Result<Reply, Fault>>),
}

/// An answer for the validator. When there is none it never comes: the look-up as a whole has failed, and the validator, which would
/// take a missing answer for a broken chain of trust and remember it so, is not to hear of it.
struct Answer {
    key: Key,
    run: Arc<Run>,
    state: Progress,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Answer").field(&self.key).finish()
    }
}

impl GetResponse for Answer {
    fn get_response(&mut self) -> Pin<Box<dyn Future<Output = Result<Message<Bytes>, Error>> + Send + Sync + '_>> {
        Box::pin(async move {
            let result = match &mut self.state {
                Progress::Kept(reply) => Ok(reply.clone()),
                Progress::Asked(flight) => flight.clone().await,
            };
            match result {
                Ok(reply) => {
                    self.run.saw(&self.key.0, self.key.1, &reply);
                    Ok(reply.message)
                }
                Err(fault) => {
                    self.run.fail(fault);
                    std::future::pending().await
                }
            }
        })
    }
}

/// The answer to a request without a question, which the validator does not make.
#[derive(Debug)]
struct Unanswerable;

impl GetResponse for Unanswerable {
    fn get_response(&mut self) -> Pin<Box<dyn Future<Output = Result<Message<Bytes>, Error>> + Send + Sync + '_>> {
        Box::pin(std::future::ready(Err(Error::FormError)))
    }
}

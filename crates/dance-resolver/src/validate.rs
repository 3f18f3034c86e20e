//! Validation in this process, by `domain`'s validator and with guards around what it leaves open.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dance_core::UnixTime;
use dance_core::answer::{LinkState, MAX_FAILURE_CACHE};
use domain::base::Message;
use domain::base::iana::Rtype;
use domain::base::opt::ExtendedError;
use domain::dnssec::validator::context::{Config, ValidationContext, ValidationState};
use tokio::time::Instant;

use crate::anchor::Anchors;
use crate::clock::Clock;
use crate::config::DnsMode;
use crate::keys::KeySource;
use crate::outcome::{Fault, Outcome};
use crate::reply::{Chain, DnsName, all_rrsets};
use crate::run::Run;
use crate::source::Detail;
use crate::upstream::{Flags, Question, Reply, Upstream};

/// How long one validator is used. It takes signatures that it has once verified for good beyond their end and never forgets them, so
/// it is replaced.
const VALIDATOR_LIFETIME: Duration = Duration::from_secs(300);
/// After a Bogus answer it is replaced at this age: it may remember a zone as Bogus for that zone's whole TTL. Less than the time for which
/// failures are remembered, so that the next look-up finds a new one, and enough that nobody can make every look-up start from nothing.
const LIFETIME_AFTER_BOGUS: Duration = Duration::from_secs(MAX_FAILURE_CACHE.as_secs() - 1);
/// Names and zones that a validator remembers. Its default of 100 is for one user; here strangers choose names.
const VALIDATOR_NODES: u64 = 10_000;

type Validator = ValidationContext<KeySource>;

/// The validating way to an answer.
pub(crate) struct Validation {
    upstream: Arc<Upstream>,
    anchors: Anchors,
    keys: KeySource,
    current: Mutex<Current>,
}

/// The validator in use.
struct Current {
    validator: Arc<Validator>,
    since: Instant,
    lifetime: Duration,
}

impl Current {
    fn new(anchors: &Anchors, keys: &KeySource) -> Self {
        Self { validator: validator(anchors, keys), since: Instant::now(), lifetime: VALIDATOR_LIFETIME }
    }
}

impl Validation {
    pub(crate) fn new(upstream: Arc<Upstream>, anchors: Anchors) -> Self {
        let keys = KeySource::new(Arc::clone(&upstream));
        let current = Mutex::new(Current::new(&anchors, &keys));
        Self { upstream, anchors, keys, current }
    }

    /// Held for a comparison, or while a validator is made; a poisoned lock guards nothing half done.
    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The validator in use, or the next one if its time is over.
    fn validator(&self) -> Arc<Validator> {
        let mut current = self.current();
        if current.since.elapsed() >= current.lifetime {
            *current = Current::new(&self.anchors, &self.keys);
        }
        Arc::clone(&current.validator)
    }

    /// Sees to it that the next look-up, once this one's failure is forgotten, starts from what the network says then.
    fn distrust(&self, run: &Run) {
        self.keys.forget(run);
        self.current().lifetime = LIFETIME_AFTER_BOGUS;
    }

    /// Asks and validates, without limit of time. Must run where [`RUN`](crate::run::RUN) is `run`.
    pub(crate) async fn look_up(&self, name: &DnsName, clock: &Clock, run: &Run) -> Outcome {
        let (reply, chain) = match self.ask(name, run).await {
            Ok(found) => found,
            Err(fault) => return Outcome::fault(name, fault, clock.now()),
        };
        let state = self.validate(&reply, &chain, clock, run).await;
        Outcome::judged(&chain, reply.message.opt_rcode(), state, DnsMode::Validate, clock.now())
    }

    async fn ask(&self, name: &DnsName, run: &Run) -> Result<(Reply, Chain), Fault> {
        run.asks(name, Rtype::TLSA);
        let question = Question { name: name.clone(), rtype: Rtype::TLSA };
        let reply = self.upstream.ask(&question, Flags::Unchecked, &run.log).await;
        let reply = reply.map_err(|no_reply| Fault::no_reply(no_reply, name, Rtype::TLSA))?;
        // Before anything else: the validator would take the emptiness of an error reply for a broken proof.
        Fault::check_code(&reply, name, Rtype::TLSA)?;
        let chain = Chain::follow(&reply.message, name).map_err(|error| Fault::chain(error, name))?;
        Ok((reply, chain))
    }

    async fn validate(&self, reply: &Reply, chain: &Chain, clock: &Clock, run: &Run) -> Result<LinkState, Fault> {
        let judge = async |validator: &Validator| {
            let mut message = reply.message.clone();
            tokio::select! {
                biased;
                fault = run.failed() => Err(fault),
                result = validator.validate_msg::<_, Vec<u8>>(&mut message) => result.map_err(|_| Fault::malformed(&chain.end)),
            }
        };
        let (mut state, mut error) = judge(&self.validator()).await?;
        if matches!(state, ValidationState::Bogus) {
            // Where it remembers a name that is no zone, such as `com` in a world without that zone, and not the zone below it, the
            // validator takes the name for the zone's parent and finds no key. One that remembers nothing walks down from the anchor.
            let fresh = Current::new(&self.anchors, &self.keys);
            (state, error) = judge(&fresh.validator).await?;
            if !matches!(state, ValidationState::Bogus) {
                *self.current() = fresh;
            }
        }
        match state {
            ValidationState::Secure => Ok(LinkState::Secure),
            ValidationState::Insecure => Ok(LinkState::Insecure),
            ValidationState::Indeterminate => Ok(LinkState::Indeterminate),
            ValidationState::Bogus => {
                let detail = self.explain(reply, error, clock.now(), run);
                self.distrust(run);
                Err(Fault::bogus(detail))
            }
        }
    }

    /// The most telling reason for a Bogus answer: a signature out of its time, in the answer or in a key set that was fetched for it;
    /// no signatures from this resolver at all; no record in its reply; else what the validator says.
    fn explain(&self, reply: &Reply, error: Option<ExtendedError<Vec<u8>>>, now: UnixTime, run: &Run) -> Detail {
        let seen = run.seen();
        let messages = std::iter::once(&reply.message).chain(seen.iter().map(|(_, _, reply)| &reply.message));
        let out_of_time = |message| all_rrsets(message).iter().find_map(|set| set.times(now).err());
        if let Some(detail) = messages.filter_map(out_of_time).next() {
            return detail;
        }
        // An anchor's own keys are always signed: only a resolver that drops signatures leaves them bare.
        let bare_anchor = seen.iter().find(|(name, rtype, reply)| {
            *rtype == Rtype::DNSKEY && self.anchors.covers_exactly(name) && is_bare(&reply.message)
        });
        if let Some((_, _, reply)) = bare_anchor {
            return Detail::ResolverStripsSignatures { server: reply.server };
        }
        let counts = reply.message.header_counts();
        if counts.ancount() == 0 && counts.nscount() == 0 {
            return Detail::EmptyReply { server: reply.server };
        }
        match error {
            Some(error) => Detail::Validator {
                code: error.code(),
                text: String::from_utf8_lossy(error.text_slice().unwrap_or_default()).into(),
            },
            None => Detail::NotExplained,
        }
    }
}

fn is_bare(message: &Message<bytes::Bytes>) -> bool {
    all_rrsets(message).iter().all(|set| !set.is_signed())
}

fn validator(anchors: &Anchors, keys: &KeySource) -> Arc<Validator> {
    let mut config = Config::new();
    config.set_max_node_cache(VALIDATOR_NODES);
    config.set_max_validity(VALIDATOR_LIFETIME);
    config.set_max_bogus_validity(Duration::from_secs(1));
    // The memory of verified signatures is what ignores their end: as small as it can be made.
    config.set_max_isig_cache(1);
    config.set_max_usig_cache(1);
    Arc::new(ValidationContext::with_config(anchors.for_validator(), keys.clone(), config))
}

//! The resolver's word: its AD bit, over loopback or TLS with a server that is known.

use std::sync::Arc;

use dance_core::answer::{LinkState, LookupFailure, TlsaAnswer};
use dance_dnssec::{Chain, DnsName, Question};
use domain::base::iana::{OptRcode, Rtype};

use crate::clock::Clock;
use crate::outcome::{Fault, Outcome};
use crate::source::Detail;
use crate::upstream::{ExchangeLog, Flags, Reply, Upstream};

/// The way to an answer by way of trust.
pub(crate) struct AdBit {
    upstream: Arc<Upstream>,
}

impl AdBit {
    pub(crate) const fn new(upstream: Arc<Upstream>) -> Self {
        Self { upstream }
    }

    /// Asks, without limit of time.
    pub(crate) async fn look_up(&self, name: &DnsName, clock: &Clock, log: &ExchangeLog) -> Outcome {
        let reply = match self.ask(name, Flags::Verdict, log).await {
            Ok(reply) => reply,
            Err(fault) => return Outcome::fault(name, fault, clock.now()),
        };
        if reply.message.opt_rcode() == OptRcode::SERVFAIL {
            let fault = self.servfail(&reply, name, log).await;
            return Outcome::fault(name, fault, clock.now());
        }
        let header = reply.message.header();
        // Loopback, or TLS with a server that is known: it was checked when the resolver was made.
        let state = LinkState::from_ad(header.ad(), true);
        match chain(&reply, name) {
            Ok(chain) => Outcome::believed(&chain, reply.message.opt_rcode(), state, clock.now()),
            Err(fault) => Outcome::fault(name, fault, clock.now()),
        }
    }

    async fn ask(&self, name: &DnsName, flags: Flags, log: &ExchangeLog) -> Result<Reply, Fault> {
        let question = Question { name: name.clone(), rtype: Rtype::TLSA };
        self.upstream.ask(&question, flags, log).await.map_err(|no_reply| Fault::no_reply(no_reply, name, Rtype::TLSA))
    }

    /// SERVFAIL is how a validating resolver says Bogus, and how it says that it could not find out. The extended error tells; where
    /// there is none, the question is asked again with checking disabled, and an answer to that means Bogus.
    async fn servfail(&self, reply: &Reply, name: &DnsName, log: &ExchangeLog) -> Fault {
        if let Some(code) = reply.says_bogus() {
            return Fault::bogus(Detail::ResolverSaysBogus { code: Some(code) });
        }
        let servfail = Fault::check_code(reply, name, Rtype::TLSA).err().unwrap_or_else(|| Fault::malformed(name));
        let Ok(unchecked) = self.ask(name, Flags::Unchecked, log).await else { return servfail };
        match chain(&unchecked, name) {
            Ok(_) => Fault::bogus(Detail::ResolverSaysBogus { code: None }),
            // A loop is why it gave up.
            Err(fault @ Fault { answer: TlsaAnswer::Indeterminate(LookupFailure::AliasLimit), .. }) => fault,
            Err(_) => servfail,
        }
    }
}

/// The chain of a reply that is an answer.
fn chain(reply: &Reply, name: &DnsName) -> Result<Chain, Fault> {
    Fault::check_code(reply, name, Rtype::TLSA)?;
    Chain::follow(&reply.message, name).map_err(|error| Fault::chain(error, name))
}

//! The resolver's word: its AD bit, over loopback.

use std::sync::Arc;

use dance_core::answer::LinkState;
use domain::base::iana::{ExtendedErrorCode, Rcode, Rtype};

use crate::clock::Clock;
use crate::config::DnsMode;
use crate::outcome::{Fault, Outcome};
use crate::reply::{Chain, DnsName};
use crate::run::Run;
use crate::source::Detail;
use crate::upstream::{Flags, Question, Reply, Upstream};

/// The way to an answer by way of trust.
pub(crate) struct AdBit {
    upstream: Arc<Upstream>,
}

impl AdBit {
    pub(crate) const fn new(upstream: Arc<Upstream>) -> Self {
        Self { upstream }
    }

    /// Asks, without limit of time.
    pub(crate) async fn look_up(&self, name: &DnsName, clock: &Clock, run: &Run) -> Outcome {
        let reply = match self.ask(name, Flags::Verdict, run).await {
            Ok(reply) => reply,
            Err(fault) => return Outcome::fault(name, fault, clock.now()),
        };
        if reply.message.header().rcode() == Rcode::SERVFAIL {
            let fault = self.servfail(&reply, name, run).await;
            return Outcome::fault(name, fault, clock.now());
        }
        let chain = Fault::check_code(&reply, name, Rtype::TLSA)
            .and_then(|()| Chain::follow(&reply.message, name).map_err(|error| Fault::chain(error, name)));
        let header = reply.message.header();
        // The channel is loopback: it was checked when the resolver was made.
        let state = LinkState::from_ad(header.ad(), true);
        match chain {
            Ok(chain) => Outcome::judged(&chain, header.rcode(), Ok(state), DnsMode::AdBit, clock.now()),
            Err(fault) => Outcome::fault(name, fault, clock.now()),
        }
    }

    async fn ask(&self, name: &DnsName, flags: Flags, run: &Run) -> Result<Reply, Fault> {
        run.asks(name, Rtype::TLSA);
        let question = Question { name: name.clone(), rtype: Rtype::TLSA, flags };
        Ok(self.upstream.ask(&question, &run.sent).await?)
    }

    /// SERVFAIL is how a validating resolver says Bogus, and how it says that it could not find out. The extended error tells; where
    /// there is none, the question is asked again with checking disabled, and an answer to that means Bogus.
    async fn servfail(&self, reply: &Reply, name: &DnsName, run: &Run) -> Fault {
        let code = extended_error(reply);
        if code.is_some_and(|code| (BOGUS_FIRST..=BOGUS_LAST).contains(&code.to_int())) {
            return Fault::bogus(Detail::ResolverSaysBogus { code });
        }
        match self.ask(name, Flags::Unchecked, run).await {
            Ok(unchecked) if Fault::check_code(&unchecked, name, Rtype::TLSA).is_ok() => {
                Fault::bogus(Detail::ResolverSaysBogus { code: None })
            }
            Ok(_) | Err(_) => {
                Fault::check_code(reply, name, Rtype::TLSA).err().unwrap_or_else(|| Fault::malformed(name))
            }
        }
    }
}

/// RFC 8914 section 4: from DNSSEC Bogus (6) over expired, early and missing signatures and keys to NSEC Missing (12), all say that
/// validation failed.
const BOGUS_FIRST: u16 = ExtendedErrorCode::DNSSEC_BOGUS.to_int();
const BOGUS_LAST: u16 = ExtendedErrorCode::NSEC_MISSING.to_int();

fn extended_error(reply: &Reply) -> Option<ExtendedErrorCode> {
    Some(reply.message.opt()?.opt().extended_error()?.code())
}

//! One resolver: what it is asked over, and what has been learnt about it.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use dance_dnssec::Question;
use domain::base::Message;
use tokio::sync::Semaphore;

use super::cookie::Cookies;
use super::exchange::{Begun, ExchangeLog, ExchangeOutcome, Protocol};
use super::failure::Failure;
use super::health::Health;
use super::message::{Carrier, Fit, Flags, Letters, Query};
use super::stream::Streams;
use super::tls::{TlsClient, roots};
use super::udp::{self, Doubt, Heard};
use crate::config::ConfigError;
use crate::server::{Server, Transport};

/// How often a question is sent because connections that had worked are closed.
const MAX_TRIES: usize = 3;

/// A resolver.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) health: Health,
    /// TLS, or TCP for what UDP will not do.
    streams: Streams,
    /// Nothing for TLS.
    datagrams: Option<Datagrams>,
}

/// Questions over UDP, and what has been learnt for them.
struct Datagrams {
    /// Shared with the other resolvers.
    sockets: Arc<Semaphore>,
    cookies: Cookies,
    /// It repeats names in letters of its own, over TCP too.
    folds_letters: AtomicBool,
}

impl Datagrams {
    fn new(sockets: Arc<Semaphore>) -> Self {
        Self { sockets, cookies: Cookies::default(), folds_letters: AtomicBool::new(false) }
    }
}

impl Peer {
    /// `authorities`: a file of those that certificates may come from, in place of the system's.
    pub(super) fn new(
        server: &Server,
        authorities: Option<&Path>,
        sockets: &Arc<Semaphore>,
    ) -> Result<Self, ConfigError> {
        let address = server.address;
        let (tls, datagrams) = match &server.transport {
            Transport::Plain => (None, Some(Datagrams::new(Arc::clone(sockets)))),
            Transport::Tls(trust) => (Some(TlsClient::new(address, trust, || roots(authorities))?), None),
        };
        Ok(Self { address, health: Health::default(), streams: Streams::new(address, tls), datagrams })
    }

    /// Asks and waits for a reply, for as long as it takes.
    pub(super) async fn ask(
        &self,
        question: &Question,
        flags: Flags,
        log: &ExchangeLog,
    ) -> Result<Message<Bytes>, Failure> {
        match &self.datagrams {
            None => {
                let query = Query::new(question, flags, &Carrier::Tls)?;
                Ok(self.ask_stream(&query, || log.begin(question, self.address, Protocol::Tls)).await?.1)
            }
            Some(datagrams) => self.ask_plain(datagrams, question, flags, log).await,
        }
    }

    async fn ask_plain(
        &self,
        datagrams: &Datagrams,
        question: &Question,
        flags: Flags,
        log: &ExchangeLog,
    ) -> Result<Message<Bytes>, Failure> {
        let letters = match datagrams.folds_letters.load(Ordering::Relaxed) {
            true => Letters::Plain,
            false => Letters::Random,
        };
        let mut heard = self.ask_udp(datagrams, question, flags, letters, log).await?;
        if let Some(Heard::CookieWanted) = heard {
            heard = self.ask_udp(datagrams, question, flags, letters, log).await?;
        }
        let doubt = match heard {
            Some(Heard::Reply(reply)) => return Ok(reply),
            Some(Heard::Doubtful(doubt)) => Some(doubt),
            // RFC 7766 section 5, RFC 7873 section 5.3.
            Some(Heard::Truncated | Heard::CookieWanted) | None => None,
        };
        let query = Query::new(question, flags, &Carrier::Tcp { letters })?;
        let (fit, reply) = self.ask_stream(&query, || log.begin(question, self.address, Protocol::Tcp)).await?;
        // Only now it is certain that it was the server. Had it been somebody else, he would have had it believed by way of doubt.
        match (doubt, fit) {
            (Some(Doubt::Letters), Fit::Letters) => datagrams.folds_letters.store(true, Ordering::Relaxed),
            (Some(Doubt::Cookie), _) => datagrams.cookies.forget(),
            _ => {}
        }
        Ok(reply)
    }

    /// `None` where no socket is left for it.
    async fn ask_udp(
        &self,
        datagrams: &Datagrams,
        question: &Question,
        flags: Flags,
        letters: Letters,
        log: &ExchangeLog,
    ) -> Result<Option<Heard>, Failure> {
        let Ok(_socket) = datagrams.sockets.try_acquire() else { return Ok(None) };
        let exchange = log.begin(question, self.address, Protocol::Udp);
        let heard = udp::ask(self.address, question, flags, letters, &datagrams.cookies).await;
        exchange.end(match &heard {
            Ok(Heard::Reply(reply)) => ExchangeOutcome::Answered(reply.opt_rcode()),
            Ok(Heard::Truncated) => ExchangeOutcome::Truncated,
            Ok(Heard::Doubtful(_)) => ExchangeOutcome::Doubtful,
            Ok(Heard::CookieWanted) => ExchangeOutcome::CookieWanted,
            Err(failure) => failure.outcome(),
        });
        heard.map(Some)
    }

    async fn ask_stream<'a>(
        &self,
        query: &Query,
        begin: impl Fn() -> Begun<'a>,
    ) -> Result<(Fit, Message<Bytes>), Failure> {
        let mut tries = 1;
        loop {
            let exchange = begin();
            let lost = match self.streams.ask(query).await {
                // There is no way left by which the whole of it could come.
                Ok((_, reply)) if reply.header().tc() => {
                    let why = Failure::of(io::ErrorKind::InvalidData);
                    exchange.end(why.outcome());
                    return Err(why);
                }
                Ok((fit, reply)) => {
                    exchange.end(ExchangeOutcome::Answered(reply.opt_rcode()));
                    return Ok((fit, reply));
                }
                Err(lost) => lost,
            };
            exchange.end(lost.why.outcome());
            if !lost.again || tries == MAX_TRIES {
                return Err(lost.why);
            }
            tries += 1;
        }
    }
}

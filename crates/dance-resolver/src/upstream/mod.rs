//! Questions to the configured resolvers: UDP, TCP when the answer does not fit, another try or another resolver when none comes.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

mod exchange;
mod failure;

use bytes::Bytes;
use domain::base::iana::{Opcode, OptRcode, Rcode, Rtype};
use domain::base::{Header, Message, MessageBuilder};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, sleep_until};

pub(crate) use self::exchange::ExchangeLog;
pub use self::exchange::{Exchange, ExchangeOutcome, Protocol};
pub use self::failure::TlsFailure;
use crate::reply::DnsName;
use crate::server::{Server, Transport};

/// UDP payload size offered (EDNS): what fits into any path's packets without fragments.
const UDP_PAYLOAD: u16 = 1232;
/// When a question without answer is sent again; the earlier one stays open, so a slow answer still counts. Longer than a resolver's usual
/// cold look-up, short enough for a second try within the budget.
const RESEND_AFTER: Duration = Duration::from_millis(1000);
/// At random up to this much later, lest questions that were lost in one burst are sent again in another.
const RESEND_SPREAD: Duration = Duration::from_millis(500);
/// Most times that one question is sent, over all resolvers.
const MAX_SENDS: usize = 4;

/// A question to a resolver, in class IN.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) name: DnsName,
    pub(crate) rtype: Rtype,
}

/// What the asker wants of the resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flags {
    /// DO=1 CD=1: all data with signatures, validated or not.
    Unchecked,
    /// AD=1 CD=0: the resolver's verdict.
    Verdict,
}

impl Question {
    /// The message, with an ID of 0. `None` is impossible for a name that fits into one.
    fn to_wire(&self, flags: Flags) -> Option<Vec<u8>> {
        let mut builder = MessageBuilder::new_vec();
        let header = builder.header_mut();
        header.set_opcode(Opcode::QUERY);
        header.set_rd(true);
        header.set_cd(flags == Flags::Unchecked);
        header.set_ad(flags == Flags::Verdict);
        let mut builder = builder.question();
        builder.push((&self.name, self.rtype)).ok()?;
        let mut builder = builder.additional();
        builder
            .opt(|opt| {
                opt.set_udp_payload_size(UDP_PAYLOAD);
                opt.set_dnssec_ok(flags == Flags::Unchecked);
                Ok(())
            })
            .ok()?;
        Some(builder.finish())
    }
}

/// A reply that fits its question by ID, question section and sender; nothing more is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) message: Message<Bytes>,
    pub(crate) server: SocketAddr,
}

impl Reply {
    /// Whether the resolver does not know EDNS (RFC 6891 section 7): it cannot deliver signatures.
    pub(crate) fn refuses_edns(&self) -> bool {
        match self.message.opt_rcode() {
            OptRcode::BADVERS => true,
            OptRcode::FORMERR | OptRcode::NOTIMP => self.message.opt().is_none(),
            _ => false,
        }
    }
}

/// Why there is no reply.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NoReply {
    /// None came in time.
    Silence,
    /// Every resolver failed; the last one.
    Failed { server: SocketAddr, kind: io::ErrorKind, os_error: Option<i32> },
    /// Every resolver failed; the last one's TLS was refused.
    #[expect(dead_code, reason = "comes with DNS over TLS")]
    Untrusted { server: SocketAddr, failure: TlsFailure },
}

/// The configured resolvers.
#[derive(Debug)]
pub(crate) struct Upstream {
    servers: Box<[Server]>,
    /// How long to wait for a reply, over all sends.
    patience: Duration,
    /// Which to ask first: the last that answered when another did not.
    preferred: AtomicUsize,
}

impl Upstream {
    pub(crate) fn new(servers: Vec<Server>, patience: Duration) -> Self {
        Self { servers: servers.into(), patience, preferred: AtomicUsize::new(0) }
    }

    /// Asks until a reply comes.
    pub(crate) async fn ask(&self, question: &Question, flags: Flags, log: &ExchangeLog) -> Result<Reply, NoReply> {
        let give_up = Instant::now() + self.patience;
        let first = self.preferred.load(Ordering::Relaxed);
        let server = |send: usize| {
            self.servers
                .get((first + send) % self.servers.len())
                .map(|server| (server.address, server.transport == Transport::Plain))
        };
        let mut pending = FuturesUnordered::new();
        let (mut sends, mut failures) = (0, 0);
        let mut failure = NoReply::Silence;
        let mut send_now = true;
        let mut resend_at = Instant::now();
        loop {
            if send_now && let Some((server, plain)) = server(sends) {
                pending.push(async move {
                    let result = match plain {
                        true => ask_one(server, question, flags, log).await,
                        false => Err(io::ErrorKind::Unsupported.into()),
                    };
                    (server, result)
                });
                sends += 1;
                resend_at = Instant::now() + RESEND_AFTER + RESEND_SPREAD.mul_f32(random_fraction());
            } else if pending.is_empty() {
                return Err(failure);
            }
            send_now = tokio::select! {
                Some((server, result)) = pending.next() => match result {
                    Ok(message) => {
                        self.prefer(server, first, sends);
                        return Ok(Reply { message, server });
                    }
                    Err(error) => {
                        failures += 1;
                        failure = NoReply::Failed { server, kind: error.kind(), os_error: error.raw_os_error() };
                        // One that fails at once is asked once; one that keeps silent may have lost the question.
                        failures < self.servers.len() && sends < self.servers.len().max(MAX_SENDS)
                    }
                },
                () = sleep_until(resend_at), if sends < MAX_SENDS => true,
                () = sleep_until(give_up) => return Err(NoReply::Silence),
            };
        }
    }

    /// After more than one send, keeps to the resolver that did answer.
    fn prefer(&self, server: SocketAddr, first: usize, sends: usize) {
        if sends > 1
            && self.servers.get(first).is_some_and(|first| first.address != server)
            && let Some(index) = self.servers.iter().position(|other| other.address == server)
        {
            self.preferred.store(index, Ordering::Relaxed);
        }
    }
}

/// Between 0 and 1; needs to be different, not unpredictable.
fn random_fraction() -> f32 {
    let random = RandomState::new().build_hasher().finish();
    f32::from(random.to_be_bytes()[0]) / f32::from(u8::MAX)
}

async fn ask_one(
    server: SocketAddr,
    question: &Question,
    flags: Flags,
    log: &ExchangeLog,
) -> io::Result<Message<Bytes>> {
    let mut query = question.to_wire(flags).ok_or(io::ErrorKind::InvalidInput)?;
    Header::for_message_slice_mut(&mut query).set_random_id();
    let exchange = log.begin(question, server, Protocol::Udp);
    let reply = ask_udp(server, &query).await;
    let truncated = reply.as_ref().is_ok_and(|reply| reply.header().tc());
    exchange.end(if truncated { ExchangeOutcome::Truncated } else { outcome(&reply) });
    if !truncated {
        return reply;
    }
    // RFC 7766 section 5. One connection for each such question: they are rare, and nothing is left behind when it is given up.
    let exchange = log.begin(question, server, Protocol::Tcp);
    let reply = ask_tcp(server, &query).await;
    exchange.end(outcome(&reply));
    reply
}

fn outcome(reply: &io::Result<Message<Bytes>>) -> ExchangeOutcome {
    match reply {
        Ok(reply) => ExchangeOutcome::Answered(reply.opt_rcode()),
        Err(error) => ExchangeOutcome::Failed(error.kind()),
    }
}

async fn ask_udp(server: SocketAddr, query: &[u8]) -> io::Result<Message<Bytes>> {
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    // A socket, hence a port of the system's choice, for each question; connected, so that only `server` is heard.
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; usize::from(UDP_PAYLOAD)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(reply) = reply_to(query, buffer.get(..length).unwrap_or_default()) {
            return Ok(reply);
        }
    }
}

async fn ask_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Message<Bytes>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(query);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    reply_to(query, &buffer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The message, if it is a reply to `query`: same ID and opcode, same question. An error reply may leave the question out.
fn reply_to(query: &[u8], octets: &[u8]) -> Option<Message<Bytes>> {
    let query = Message::from_octets(query).ok()?;
    let reply = Message::from_octets(Bytes::copy_from_slice(octets)).ok()?;
    let header = reply.header();
    if !header.qr() || header.id() != query.header().id() || header.opcode() != Opcode::QUERY {
        return None;
    }
    let bare_error =
        reply.header_counts().qdcount() == 0 && !matches!(header.rcode(), Rcode::NOERROR | Rcode::NXDOMAIN);
    (bare_error || reply.sole_question().ok()? == query.sole_question().ok()?).then_some(reply)
}

//! Connections to a resolver, TCP or TLS, kept and shared by all who ask (RFC 7766, RFC 7858): questions go out as they come, and
//! answers are taken in any order.
//!
//! `domain`'s `multi_stream` has the same task and is not used. It keeps why a connection cannot be made to itself and tries again after up to
//! some seconds, so that the next resolver would be asked after a time-out instead of at once, and a wrong certificate would look like
//! silence; it does not flush what TLS could not send at once; a question that is given up keeps its place; and all questions of one
//! resolver share one connection, which resolvers stop reading when some twenty or thirty slow ones are under way.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use domain::base::Message;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::failure::Failure;
use super::message::{Fit, Query};
use super::tls::TlsClient;

/// Longest time to make a connection, TLS handshake included. A look-up's whole time, about.
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// How long a connection is kept without questions, unless the server says otherwise (RFC 7828): what other stub resolvers do.
const IDLE_TIME: Duration = Duration::from_secs(10);
/// Longest such time, whatever the server says.
const MAX_IDLE_TIME: Duration = Duration::from_secs(120);
/// Most questions under way on a connection; more wait.
const MAX_IN_FLIGHT: usize = 256;
/// A question that has waited this long is slow.
const SLOW: Duration = Duration::from_millis(500);
/// With this many slow questions, a connection gets no new ones while there can be another: BIND stops reading a connection at 23
/// questions under way, Unbound at 32, so that few slow zones would hold up everybody.
const MAX_SLOW: usize = 8;
/// Most connections that take questions.
const MAX_CONNECTIONS: usize = 8;
/// When a question has waited this long, and nothing at all has come meanwhile, the connection is left for a new one: it may be dead.
const STALL: Duration = Duration::from_secs(1);
/// After a connection could not be made or was of no use, none is tried for this time, then for twice as long each time,
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// up to this.
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// Longest time for the goodbye.
const CLOSE_TIME: Duration = Duration::from_secs(1);
/// Most octets that wait to be sent; questions beyond wait for their turn.
const MAX_OUTGOING: usize = 64 * 1024;
/// Least room to read into.
const READ_ROOM: usize = 4096;
/// The octets of a message's length (RFC 1035 section 4.2.2).
const LENGTH: usize = 2;

/// The connections to one resolver.
pub(super) struct Streams {
    server: SocketAddr,
    tls: Option<TlsClient>,
    connections: Mutex<Vec<Arc<Connection>>>,
    pause: Arc<Mutex<Option<Pause>>>,
}

/// No connection is tried for a while.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Instant,
    length: Duration,
    why: Failure,
}

/// A connection, or one in the making.
struct Connection {
    asks: mpsc::Sender<Ask>,
    places: Semaphore,
    slow: AtomicUsize,
    life: Arc<Life>,
}

/// What a connection's task tells.
#[derive(Debug, Default)]
struct Life {
    connected: AtomicBool,
    /// Messages that have come.
    heard: AtomicUsize,
    /// Gets no more questions.
    left: AtomicBool,
}

/// A question for a connection's task.
struct Ask {
    query: Query,
    reply: oneshot::Sender<Answer>,
}

type Answer = Result<(Fit, Message<Bytes>), Lost>;

/// Why a connection brought no reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost {
    pub(super) why: Failure,
    /// The question may be asked again (RFC 7766 section 6.2.4): its connection had worked before, or it was not sent at all.
    pub(super) again: bool,
}

impl Lost {
    /// The connection was closed before it took the question.
    const UNSENT: Self = Self { why: Failure::of(io::ErrorKind::ConnectionAborted), again: true };
}

impl Streams {
    pub(super) fn new(server: SocketAddr, tls: Option<TlsClient>) -> Self {
        Self { server, tls, connections: Mutex::default(), pause: Arc::default() }
    }

    /// Asks and waits for a reply, for as long as it takes.
    pub(super) async fn ask(&self, query: &Query) -> Answer {
        let connection = self.connection().map_err(|why| Lost { why, again: false })?;
        connection.ask(query.clone()).await
    }

    /// One that takes questions, new if need be.
    fn connection(&self) -> Result<Arc<Connection>, Failure> {
        let mut connections = locked(&self.connections);
        connections.retain(|connection| !connection.asks.is_closed() && !connection.life.left.load(Ordering::Relaxed));
        let free = |connection: &&Arc<Connection>| {
            connection.slow.load(Ordering::Relaxed) < MAX_SLOW && connection.places.available_permits() > 0
        };
        if let Some(connection) = connections.iter().find(free) {
            return Ok(Arc::clone(connection));
        }
        if connections.len() >= MAX_CONNECTIONS
            && let Some(connection) =
                connections.iter().min_by_key(|connection| connection.slow.load(Ordering::Relaxed))
        {
            return Ok(Arc::clone(connection));
        }
        if let Some(pause) = *locked(&self.pause)
            && Instant::now() < pause.until
        {
            return Err(pause.why);
        }
        let (asks, queue) = mpsc::channel(MAX_IN_FLIGHT);
        let life = Arc::new(Life::default());
        let task = Task { life: Arc::clone(&life), pause: Arc::clone(&self.pause), queue };
        tokio::spawn(task.run(self.server, self.tls.clone()));
        let connection = Connection { asks, places: Semaphore::new(MAX_IN_FLIGHT), slow: AtomicUsize::new(0), life };
        let connection = Arc::new(connection);
        connections.push(Arc::clone(&connection));
        Ok(connection)
    }
}

/// Held for assignments and pushes, which leave nothing half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connection {
    async fn ask(&self, query: Query) -> Answer {
        let Ok(_place) = self.places.acquire().await else { return Err(Lost::UNSENT) };
        let heard = self.life.heard.load(Ordering::Relaxed);
        let (reply, mut answer) = oneshot::channel();
        if self.asks.send(Ask { query, reply }).await.is_err() {
            return Err(Lost::UNSENT);
        }
        let mut wait = async |time| timeout(time, &mut answer).await.ok();
        let answered = match wait(SLOW).await {
            Some(answered) => Some(answered),
            None => {
                let _slow = Counted::new(&self.slow);
                match wait(STALL - SLOW).await {
                    Some(answered) => Some(answered),
                    None => {
                        let silent = self.life.heard.load(Ordering::Relaxed) == heard;
                        if silent && self.life.connected.load(Ordering::Relaxed) {
                            self.life.left.store(true, Ordering::Relaxed);
                        }
                        Some((&mut answer).await)
                    }
                }
            }
        };
        // The task sends something in any case, unless the question did not reach it.
        answered.and_then(Result::ok).unwrap_or(Err(Lost::UNSENT))
    }
}

/// One more, for as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What makes a connection and runs it. Ends when it is idle, when it breaks, or when nobody has it any more.
struct Task {
    life: Arc<Life>,
    pause: Arc<Mutex<Option<Pause>>>,
    queue: mpsc::Receiver<Ask>,
}

impl Task {
    async fn run(mut self, server: SocketAddr, tls: Option<TlsClient>) {
        let connect = async {
            let stream = TcpStream::connect(server).await?;
            stream.set_nodelay(true)?;
            match &tls {
                None => Ok((Some(stream), None)),
                Some(tls) => Ok((None, Some(tls.connect(stream).await?))),
            }
        };
        let closed = match timeout(CONNECT_TIME, connect).await.unwrap_or(Err(io::ErrorKind::TimedOut.into())) {
            Ok((Some(tcp), _)) => self.drive(tcp).await,
            Ok((None, Some(tls))) => self.drive(tls).await,
            Ok((None, None)) => None,
            Err(why) => Some(why),
        };
        if let Some(why) = closed
            && self.life.heard.load(Ordering::Relaxed) == 0
        {
            let mut pause = locked(&self.pause);
            let length = pause.map_or(FIRST_PAUSE, |pause| (pause.length * 2).min(LAST_PAUSE));
            *pause = Some(Pause { until: Instant::now() + length, length, why });
        }
        // Questions that came too late. Another connection, if one may be made, is theirs.
        self.queue.close();
        while let Some(ask) = self.queue.recv().await {
            let _ = ask.reply.send(Err(Lost::UNSENT));
        }
    }

    /// Until the connection is closed: `None` if it was for us to do.
    async fn drive<S: AsyncRead + AsyncWrite>(&mut self, stream: S) -> Option<Failure> {
        self.life.connected.store(true, Ordering::Relaxed);
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut under_way = UnderWay { asks: HashMap::new(), idle_time: IDLE_TIME };
        let (mut incoming, mut outgoing) = (BytesMut::new(), BytesMut::new());
        let mut unsent = false;
        let mut idle_at = Instant::now() + under_way.idle_time;
        let closed = loop {
            incoming.reserve(READ_ROOM);
            tokio::select! {
                read = reader.read_buf(&mut incoming) => {
                    match read {
                        Ok(0) => break Some(io::ErrorKind::UnexpectedEof.into()),
                        Ok(_) => {}
                        Err(error) => break Some(error.into()),
                    }
                    while let Some(message) = take_message(&mut incoming) {
                        if self.life.heard.fetch_add(1, Ordering::Relaxed) == 0 {
                            *locked(&self.pause) = None;
                        }
                        under_way.answer(&message);
                    }
                    idle_at = Instant::now() + under_way.idle_time;
                }
                ask = self.queue.recv(), if outgoing.len() < MAX_OUTGOING => {
                    let Some(ask) = ask else { break None };
                    under_way.add(ask, &mut outgoing);
                    // All that wait, in one go.
                    while outgoing.len() < MAX_OUTGOING && let Ok(ask) = self.queue.try_recv() {
                        under_way.add(ask, &mut outgoing);
                    }
                    unsent = true;
                    idle_at = Instant::now() + under_way.idle_time;
                }
                sent = send(&mut writer, &mut outgoing), if unsent => match sent {
                    Ok(all) => unsent = !all,
                    Err(error) => break Some(error.into()),
                },
                () = sleep_until(idle_at) => {
                    if under_way.is_empty() {
                        break None;
                    }
                    idle_at = Instant::now() + under_way.idle_time;
                }
            }
        };
        // A server that closes a connection at once does not want it; one that does so later may take another.
        let again = self.life.heard.load(Ordering::Relaxed) > 0;
        let why = closed.unwrap_or(Lost::UNSENT.why);
        for (_, ask) in under_way.asks {
            let _ = ask.reply.send(Err(Lost { why, again }));
        }
        if closed.is_none() {
            let _ = timeout(CLOSE_TIME, writer.shutdown()).await;
        }
        closed
    }
}

/// Sends some of what waits, then what the stream itself has kept back. Whether that was all. Nothing is lost if it is given up.
async fn send(writer: &mut (impl AsyncWrite + Unpin), outgoing: &mut BytesMut) -> io::Result<bool> {
    if outgoing.has_remaining() {
        if writer.write_buf(outgoing).await? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        return Ok(false);
    }
    writer.flush().await?;
    Ok(true)
}

/// The next message, once all of it has come.
fn take_message(incoming: &mut BytesMut) -> Option<BytesMut> {
    let length = incoming.first_chunk::<LENGTH>().map(|length| usize::from(u16::from_be_bytes(*length)))?;
    if incoming.len() < LENGTH + length {
        return None;
    }
    incoming.advance(LENGTH);
    Some(incoming.split_to(length))
}

/// The questions that a connection has sent.
struct UnderWay {
    asks: HashMap<u16, Ask>,
    idle_time: Duration,
}

impl UnderWay {
    fn add(&mut self, mut ask: Ask, outgoing: &mut BytesMut) {
        // Those that were given up hold no place.
        if self.asks.len() >= 2 * MAX_IN_FLIGHT {
            self.asks.retain(|_, ask| !ask.reply.is_closed());
        }
        let mut id = ask.query.id();
        while self.asks.contains_key(&id) {
            id = id.wrapping_add(1);
        }
        ask.query.set_id(id);
        let message = ask.query.as_slice();
        // A question is no longer than a few hundred octets.
        let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
        outgoing.extend_from_slice(&length.to_be_bytes());
        outgoing.extend_from_slice(message);
        self.asks.insert(id, ask);
    }

    /// A message that answers none of them is passed over.
    fn answer(&mut self, message: &[u8]) {
        let Ok(id) = Message::from_slice(message).map(|message| message.header().id()) else { return };
        let Some((fit, reply)) = self.asks.get(&id).and_then(|ask| ask.query.fit(message)) else { return };
        if let Some(idle) = reply.opt().and_then(|opt| opt.opt().tcp_keepalive()?.timeout()) {
            self.idle_time = Duration::from(idle).min(MAX_IDLE_TIME);
        }
        if let Some(ask) = self.asks.remove(&id) {
            // Where nothing need be left out, what was left out is not there to be had (RFC 2181 section 9): no verdict rests on the rest.
            let said = match reply.header().tc() {
                true => Err(Lost { why: io::ErrorKind::InvalidData.into(), again: false }),
                false => Ok((fit, reply)),
            };
            // Given up meanwhile, perhaps.
            let _ = ask.reply.send(said);
        }
    }

    /// Whether nobody waits for any of them.
    fn is_empty(&mut self) -> bool {
        self.asks.retain(|_, ask| !ask.reply.is_closed());
        self.asks.is_empty()
    }
}

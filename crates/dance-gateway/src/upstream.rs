//! The HTTP/1.1 client to the origin, and its idle connections.
//!
//! A connection to the origin is driven by the request that uses it, in the task of the client's connection: no task of its own, no
//! wake-ups between tasks. While it is idle nobody drives it; whoever takes it from the pool first looks whether the origin has
//! closed it or sent anything uncalled for, and then drops it.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::body::RequestBody;
use crate::origin::Origin;
use crate::stream::OriginStream;

/// How long an idle connection is kept: less than the 5 s after which common application servers close theirs.
const MAX_IDLE: Duration = Duration::from_secs(4);
/// One client's connection gets this part of the connections to the origin and no more, so that it takes several to leave others without.
const SHARE: usize = 4;
/// Most octets of the origin's response header, and of its body read at a time.
const MAX_READ: usize = 64 * 1024;

/// The way to the origin.
pub(crate) struct Upstream {
    origin: Origin,
    connect_timeout: Duration,
    response_timeout: Duration,
    /// One permit for each connection in use.
    slots: Arc<Semaphore>,
    /// How many of them one client's connection may have.
    share: usize,
    /// The one used last is at the back, and used first.
    idle: Mutex<VecDeque<Idle>>,
}

struct Idle {
    link: Box<Link>,
    since: Instant,
}

/// A connection to the origin.
pub(crate) struct Link {
    sender: http1::SendRequest<RequestBody>,
    conn: Option<http1::Connection<TokioIo<OriginStream>, RequestBody>>,
    /// `conn` has completed and must not be polled again.
    finished: bool,
    /// Has carried a request before, so that the origin may be about to close it.
    reused: bool,
    /// Held while in use.
    slot: Option<Slot>,
}

/// One of the connections to the origin that may be in use: of all, and of one client's.
pub(crate) struct Slot {
    _all: OwnedSemaphorePermit,
    _share: OwnedSemaphorePermit,
}

impl Link {
    /// Lets the connection do what it can. Ready once it is closed.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(conn) = &mut self.conn
            && !self.finished
            && Pin::new(conn).poll(cx).is_ready()
        {
            self.finished = true;
        }
        if self.finished { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether another request may be sent.
    fn is_usable(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx).is_pending() && self.sender.is_ready()
    }

    /// The stream after a response `101`, what the origin has sent on it already, and the place it takes.
    pub(crate) async fn into_stream(mut self: Box<Self>) -> Option<(OriginStream, Bytes, Option<Slot>)> {
        poll_fn(|cx| self.drive(cx)).await;
        let parts = self.conn.take()?.into_parts();
        Some((parts.io.into_inner(), parts.read_buf, self.slot.take()))
    }
}

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum OriginError {
    /// All connections are in use.
    Busy,
    /// No connection.
    Connect(io::Error),
    /// No connection in time.
    ConnectTimeout,
    /// The exchange failed.
    Exchange(hyper::Error),
    /// The request's body broke off or was none.
    Request(hyper::Error),
    /// No response in time.
    Timeout,
    /// This client's share of the connections is in use.
    Share,
    /// A response `101` to a request that asked for nothing of the kind.
    Uncalled,
}

impl OriginError {
    /// Whether it is the client's doing and the origin may be well.
    pub(crate) const fn is_the_clients(&self) -> bool {
        matches!(self, Self::Request(_) | Self::Share)
    }

    /// What the client is told, and nothing more.
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::Busy | Self::Share => StatusCode::SERVICE_UNAVAILABLE,
            Self::Connect(_) | Self::Exchange(_) | Self::Uncalled => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout | Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("all connections to the origin are in use (max-origin-connections)"),
            Self::Connect(error) => write!(f, "cannot connect to the origin: {error}"),
            Self::ConnectTimeout => {
                f.write_str("the origin did not accept the connection in time (origin-connect-timeout)")
            }
            Self::Exchange(error) => write!(f, "the exchange with the origin failed: {error}"),
            Self::Request(error) => write!(f, "the client did not send the request to its end: {error}"),
            Self::Timeout => f.write_str("the origin did not answer in time (origin-timeout)"),
            Self::Share => f.write_str(
                "one client's share of the connections to the origin is in use (a quarter of max-origin-connections)",
            ),
            Self::Uncalled => f.write_str("the origin switched protocols although nobody asked it to"),
        }
    }
}

impl Upstream {
    pub(crate) fn new(
        origin: Origin,
        connections: usize,
        connect_timeout: Duration,
        response_timeout: Duration,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(connections));
        let share = (connections / SHARE).max(1);
        Self { origin, connect_timeout, response_timeout, slots, share, idle: Mutex::default() }
    }

    /// The permits of one client's connection.
    pub(crate) fn share(&self) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(self.share))
    }

    /// Sends a request and waits for the header of the response. A request that met a connection which the origin was closing is
    /// sent once more on a new one, if nothing of it was sent or sending it twice is harmless (RFC 9110 section 9.2.2).
    pub(crate) async fn send(
        &self,
        share: &Arc<Semaphore>,
        mut request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Box<Link>), OriginError> {
        let slot = self.slot(share).await?;
        let mut idle = self.take_idle();
        loop {
            let mut link = match idle.take() {
                Some(link) => link,
                None => self.connect().await?,
            };
            let (parts, body) = request.into_parts();
            let harmless = link.reused && parts.method.is_idempotent() && body.is_end_stream();
            let repeat = harmless.then(|| parts.clone());
            match self.exchange(&mut link, Request::from_parts(parts, body)).await {
                Ok(response) => {
                    link.slot = Some(slot);
                    return Ok((response, link));
                }
                Err((OriginError::Exchange(_), Some(unsent))) if link.reused => request = unsent,
                Err((error @ OriginError::Exchange(_), _)) => match repeat {
                    Some(parts) => request = Request::from_parts(parts, RequestBody::empty()),
                    None => return Err(error),
                },
                Err((error, _)) => return Err(error),
            }
        }
    }

    async fn slot(&self, share: &Arc<Semaphore>) -> Result<Slot, OriginError> {
        let (share, slots) = (|| Arc::clone(share), || Arc::clone(&self.slots));
        if let (Ok(_share), Ok(_all)) = (share().try_acquire_owned(), slots().try_acquire_owned()) {
            return Ok(Slot { _all, _share });
        }
        let mut lacking = OriginError::Share;
        let both = async {
            let _share = share().acquire_owned().await.ok()?;
            lacking = OriginError::Busy;
            let _all = slots().acquire_owned().await.ok()?;
            Some(Slot { _all, _share })
        };
        timeout(self.connect_timeout, both).await.ok().flatten().ok_or(lacking)
    }

    /// The idle connection used last that is still good.
    fn take_idle(&self) -> Option<Box<Link>> {
        // Only a look: whoever uses the connection next drives it with a waker of its own.
        let mut glance = Context::from_waker(Waker::noop());
        loop {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop_back()?;
            if idle.since.elapsed() < MAX_IDLE && idle.link.is_usable(&mut glance) {
                return Some(idle.link);
            }
        }
    }

    async fn connect(&self) -> Result<Box<Link>, OriginError> {
        let stream = match timeout(self.connect_timeout, OriginStream::connect(&self.origin)).await {
            Ok(stream) => stream.map_err(OriginError::Connect)?,
            Err(_) => return Err(OriginError::ConnectTimeout),
        };
        let (sender, conn) = http1::Builder::new()
            .max_buf_size(MAX_READ)
            .title_case_headers(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(OriginError::Exchange)?;
        Ok(Box::new(Link { sender, conn: Some(conn), finished: false, reused: false, slot: None }))
    }

    /// One request and the header of its response; on failure also the request, if no octet of it was sent. The time-out starts
    /// anew with each part of the request's body: an upload may take long, as long as it goes on.
    async fn exchange(
        &self,
        link: &mut Link,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, (OriginError, Option<Request<RequestBody>>)> {
        let progress = request.body().progress();
        let mut frames = 0;
        let mut answer = pin!(link.sender.try_send_request(request));
        let mut patience = pin!(sleep(self.response_timeout));
        poll_fn(|cx| {
            // The answer arrives only by driving the link, which happens here, so there is no waker to leave with it.
            let mut quiet = Context::from_waker(Waker::noop());
            let closed = link.drive(cx).is_ready();
            let mut polled = answer.as_mut().poll(&mut quiet);
            if closed && polled.is_pending() {
                link.conn = None;
                polled = answer.as_mut().poll(&mut quiet);
            }
            if let Poll::Ready(answer) = polled {
                return Poll::Ready(answer.map_err(|mut failed| {
                    let unsent = failed.take_message();
                    let broken = progress.as_ref().is_some_and(|progress| progress.is_broken());
                    let kind = if broken { OriginError::Request } else { OriginError::Exchange };
                    (kind(failed.into_error()), unsent)
                }));
            }
            while patience.as_mut().poll(cx).is_ready() {
                let come = progress.as_ref().map_or(0, |progress| progress.frames());
                if come == frames {
                    return Poll::Ready(Err((OriginError::Timeout, None)));
                }
                frames = come;
                patience.as_mut().reset(tokio::time::Instant::now() + self.response_timeout);
            }
            Poll::Pending
        })
        .await
    }

    /// Takes a connection back after a response has ended. One that is not ready for the next request is closed.
    pub(crate) fn release(&self, mut link: Box<Link>, cx: &mut Context<'_>) {
        if link.is_usable(cx) {
            link.reused = true;
            link.slot = None;
            let idle = Idle { link, since: Instant::now() };
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push_back(idle);
        }
    }

    /// Closes connections that have been idle too long.
    pub(crate) fn sweep(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let old = idle.partition_point(|idle| idle.since.elapsed() >= MAX_IDLE);
        let old: Vec<_> = idle.drain(..old).collect();
        drop(idle);
        drop(old);
    }
}

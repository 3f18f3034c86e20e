//! The two byte streams of a proxied connection: to the origin, and from the client with an eye on its pace.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep_until};

use crate::origin::Origin;

/// A connection to the origin.
#[derive(Debug)]
pub(crate) enum OriginStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl OriginStream {
    pub(crate) async fn connect(origin: &Origin) -> io::Result<Self> {
        let tcp = match origin {
            Origin::Address(address) => TcpStream::connect(address).await?,
            Origin::Host(host, port) => TcpStream::connect((host.as_str(), *port)).await?,
            Origin::Unix(path) => return UnixStream::connect(path).await.map(Self::Unix),
        };
        tcp.set_nodelay(true)?;
        Ok(Self::Tcp(tcp))
    }
}

impl AsyncRead for OriginStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for OriginStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, octets),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, octets),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// What a connection's stream has seen lately. Times are milliseconds since [`Pace::start`], plus one; 0 is never.
#[derive(Debug)]
pub(crate) struct Pace {
    start: Instant,
    /// Since when octets lie here that belong to no request under way.
    header_since: AtomicU64,
    /// Since when the client has not taken what was written for it.
    blocked_since: AtomicU64,
    /// When octets last came or went.
    moved: AtomicU64,
    /// The last request had a body, and its end has not been read.
    body_open: AtomicBool,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            header_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            body_open: AtomicBool::new(false),
        }
    }

    fn stamp(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    fn set(&self, since: &AtomicU64) {
        if since.load(Ordering::Relaxed) == 0 {
            since.store(self.stamp(), Ordering::Relaxed);
        }
    }

    fn get(&self, since: &AtomicU64) -> Option<Instant> {
        let millis = since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.start + Duration::from_millis(millis))
    }

    fn touch(&self) {
        self.moved.store(self.stamp(), Ordering::Relaxed);
    }

    /// A request's header is complete, or the request is over.
    pub(crate) fn header_done(&self) {
        self.header_since.store(0, Ordering::Relaxed);
    }

    /// A request's body begins or ends.
    pub(crate) fn set_body_open(&self, open: bool) {
        self.body_open.store(open, Ordering::Relaxed);
    }

    /// Whether the stream is between two requests and nothing is on its way in either direction, provided that no request is under
    /// way. Then all that HTTP knows about the connection can be forgotten.
    pub(crate) fn is_clear(&self) -> bool {
        self.header_since().is_none() && self.blocked_since().is_none() && !self.body_open.load(Ordering::Relaxed)
    }

    /// When a header that is not complete yet began.
    pub(crate) fn header_since(&self) -> Option<Instant> {
        self.get(&self.header_since)
    }

    /// Waits until no octet has come or gone for so long.
    pub(crate) async fn rest(&self, limit: Duration) {
        loop {
            let until = self.get(&self.moved).unwrap_or(self.start) + limit;
            if Instant::now() >= until {
                return;
            }
            sleep_until(until).await;
        }
    }

    /// Since when the client has not taken what was written for it.
    pub(crate) fn blocked_since(&self) -> Option<Instant> {
        self.get(&self.blocked_since)
    }
}

/// A client's stream under watch.
#[derive(Debug)]
pub(crate) struct ClientStream<S> {
    inner: S,
    pace: Arc<Pace>,
    /// Was read already, and is read again before anything else.
    first: Bytes,
}

impl<S> ClientStream<S> {
    pub(crate) const fn new(inner: S, pace: Arc<Pace>) -> Self {
        Self { inner, pace, first: Bytes::new() }
    }

    /// Has octets, which were the last to be read, read once more.
    pub(crate) fn unread(&mut self, octets: Bytes) {
        debug_assert!(self.first.is_empty(), "what is left of them would be lost");
        self.first = octets;
    }

    fn written<T>(&self, polled: Poll<T>) -> Poll<T> {
        if polled.is_pending() {
            self.pace.set(&self.pace.blocked_since);
        } else {
            self.pace.blocked_since.store(0, Ordering::Relaxed);
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = if self.first.is_empty() {
            Pin::new(&mut self.inner).poll_read(cx, buf)
        } else {
            let take = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first.split_to(take));
            Poll::Ready(Ok(()))
        };
        if buf.filled().len() > before {
            self.pace.set(&self.pace.header_since);
            self.pace.touch();
        }
        polled
    }
}

/// Up to this, octets are gathered into one TLS record, so that a header and a short body leave together. What is longer is
/// encrypted from where it lies.
const GATHER: usize = 4096;

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, octets);
        if let Poll::Ready(Ok(1..)) = &polled {
            self.pace.touch();
        }
        self.written(polled)
    }

    /// TLS has no such write; that is why this does what it can.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut slices = slices.iter().filter(|slice| !slice.is_empty()).peekable();
        let first: &[u8] = slices.next().map_or(&[], |slice| slice);
        if first.len() >= GATHER || slices.peek().is_none() {
            return self.poll_write(cx, first);
        }
        let mut gathered = [0; GATHER];
        let mut room = gathered.as_mut_slice();
        for slice in std::iter::once(first).chain(slices.map(|slice| &**slice)) {
            let (fits, _) = slice.split_at(slice.len().min(room.len()));
            let (here, rest) = room.split_at_mut(fits.len());
            here.copy_from_slice(fits);
            room = rest;
        }
        let left = room.len();
        self.poll_write(cx, gathered.split_at(GATHER - left).0)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.written(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

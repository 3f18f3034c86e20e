//! Whether a connection is idle, slow, or busy; and its stream, which notes when octets come.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// What one connection has seen lately. Times are milliseconds since `start`, plus one; 0 is never.
#[derive(Debug)]
pub(crate) struct Pace {
    start: Instant,
    requests: AtomicUsize,
    /// When the last request ended.
    ended: AtomicU64,
    /// Since when octets lie here that belong to no request under way.
    header: AtomicU64,
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Pace>);

/// What becomes of a connection that nobody has closed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing before this.
    Wait(Instant),
    /// It has been without a request for too long.
    Idle,
    /// The header of a request takes too long.
    Slow,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            requests: AtomicUsize::new(0),
            ended: AtomicU64::new(0),
            header: AtomicU64::new(0),
        }
    }

    /// A request's header is complete.
    pub(crate) fn begin(self: &Arc<Self>) -> UnderWay {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.header.store(0, Ordering::Relaxed);
        UnderWay(Arc::clone(self))
    }

    /// What becomes of the connection now. Octets that come between two requests are the beginning of one in HTTP/1.1; in HTTP/2 they
    /// may be anything, and `header` is `None`.
    pub(crate) fn next(&self, header: Option<Duration>, idle: Duration) -> Next {
        let now = Instant::now();
        // One under way ends by itself: its body and its look-up have their own limits. What comes after it may be late.
        if self.requests.load(Ordering::Relaxed) > 0 {
            return Next::Wait(now + header.map_or(idle, |header| header.min(idle)));
        }
        let began = self.header.load(Ordering::Relaxed);
        let (until, late) = match header {
            Some(limit) if began != 0 => (self.at(began) + limit, Next::Slow),
            Some(limit) => {
                let until = self.at(self.ended.load(Ordering::Relaxed)) + idle;
                // A header that begins right now may not take longer either.
                return if until <= now { Next::Idle } else { Next::Wait(until.min(now + limit)) };
            }
            None => (self.at(self.ended.load(Ordering::Relaxed)) + idle, Next::Idle),
        };
        if until <= now { late } else { Next::Wait(until) }
    }

    fn at(&self, stamp: u64) -> Instant {
        self.start + Duration::from_millis(stamp.saturating_sub(1))
    }

    fn stamp(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    fn octets_came(&self) {
        if self.header.load(Ordering::Relaxed) == 0 {
            self.header.store(self.stamp(), Ordering::Relaxed);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let pace = &self.0;
        pace.ended.store(pace.stamp(), Ordering::Relaxed);
        pace.header.store(0, Ordering::Relaxed);
        pace.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream under watch.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    inner: S,
    pace: Arc<Pace>,
    /// Was read already, and is read again before anything else.
    first: Bytes,
}

impl<S> Watched<S> {
    pub(crate) const fn new(inner: S, first: Bytes, pace: Arc<Pace>) -> Self {
        Self { inner, pace, first }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = if self.first.is_empty() {
            Pin::new(&mut self.inner).poll_read(cx, buf)
        } else {
            let take = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first.copy_to_bytes(take));
            Poll::Ready(Ok(()))
        };
        if buf.filled().len() > before {
            self.pace.octets_came();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

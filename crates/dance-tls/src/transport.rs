//! The byte stream below TLS. During a handshake it takes whatever OpenSSL writes and passes it on when OpenSSL next
//! waits for the peer, so that an alert is never lost to a full socket, and can be made where nothing can be awaited.
//! A server of TLS 1.2 holds back what comes after its client's Certificate until there is a verdict.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tracing::debug;

/// How long a refused peer is given to read its alert. A close while the peer's octets lie unread resets the
/// connection, and the reset overtakes the alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linger {
    /// At most so long.
    pub time: Duration,
    /// At most so many octets are read and thrown away.
    pub octets: u64,
}

impl Default for Linger {
    /// 2 s, 4 MB.
    fn default() -> Self {
        Self { time: Duration::from_secs(2), octets: 4_000_000 }
    }
}

/// Closed by the callback that sees the client's Certificate, for the transport that carries it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<AtomicBool>);

impl Gate {
    /// What OpenSSL writes from here on waits for the verdict.
    pub(crate) fn close(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn open(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    fn is_closed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many octets a closed gate takes. A server's last flight is of 51 to 57; what comes after it are answers to a
/// client that asks to renegotiate, which is free to ask as often as it likes.
const MAX_HELD: usize = 4096;

#[derive(Debug)]
pub(crate) struct Transport<S> {
    inner: S,
    /// Written by OpenSSL, not yet by us, from `sent` on.
    out: Vec<u8>,
    sent: usize,
    gather: bool,
    gate: Gate,
    /// Written by OpenSSL behind the closed gate.
    held: Vec<u8>,
    /// What failed, for [`Self::take_error`]: OpenSSL does not hand errors on as they are.
    error: Option<io::Error>,
}

impl<S> Transport<S> {
    /// In handshake mode.
    pub(crate) const fn new(inner: S, gate: Gate) -> Self {
        Self { inner, out: Vec::new(), sent: 0, gather: true, gate, held: Vec::new(), error: None }
    }

    /// The error that OpenSSL has met in the stream, or has been spared: a write that fails looks to OpenSSL like one
    /// that would block, because after a failed write it reads no more, and the reason for the failure may be an alert
    /// waiting to be read.
    pub(crate) const fn take_error(&mut self) -> Option<io::Error> {
        self.error.take()
    }

    /// Ends handshake mode: what the gate held may go, and from here on writes go straight through.
    pub(crate) fn open(&mut self) {
        self.gather = false;
        self.gate.open();
        self.out.append(&mut self.held);
    }

    /// Where the gate is closed, drops what it held and has this alert go in its place: a record in the clear, since the
    /// peer has not been told to expect any other. False where the gate is open: then OpenSSL has to make the alert.
    pub(crate) fn refuse(&mut self, alert: u8) -> bool {
        /// ContentType alert, version TLS 1.2, two octets: AlertLevel fatal, and which (RFC 5246 sections 6.2.1, 7.2).
        const FATAL_ALERT: [u8; 6] = [21, 3, 3, 0, 2, 2];
        if !self.gate.is_closed() {
            return false;
        }
        self.held = Vec::new();
        self.out.extend(FATAL_ALERT);
        self.out.push(alert);
        true
    }

    pub(crate) const fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport<S> {
    /// Passes on what OpenSSL wrote.
    fn poll_pass_on(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.sent += n,
            }
        }
        // Gives the memory back: after the handshake it is rarely needed again.
        self.out = Vec::new();
        self.sent = 0;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    pub(crate) async fn pass_on(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_pass_on(cx)).await
    }

    /// Passes on what there is, says that no more will come, and reads until the peer closes or a limit is reached.
    pub(crate) async fn linger(&mut self, limits: Linger) {
        let lingering = async {
            self.pass_on().await?;
            self.inner.shutdown().await?;
            tokio::io::copy(&mut (&mut self.inner).take(limits.octets), &mut tokio::io::sink()).await
        };
        match tokio::time::timeout(limits.time, lingering).await {
            Ok(Ok(octets)) => debug!(octets, "lingering close done"),
            Ok(Err(error)) => debug!(%error, "the peer was gone before the lingering close was done"),
            Err(_) => debug!("lingering close ran out of time"),
        }
    }

    /// Passes on what can be passed on without waiting. True if that was all. What failed will fail again for whoever
    /// reads or writes next.
    pub(crate) fn pass_on_now(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        matches!(self.poll_pass_on(&mut cx), Poll::Ready(Ok(())))
    }

    /// The part of [`Self::linger`] that can be done without waiting.
    pub(crate) fn linger_now(&mut self) {
        /// How much of what the peer has sent is thrown away.
        const READS: usize = 16;
        if !self.pass_on_now() {
            return;
        }
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut self.inner).poll_shutdown(&mut cx);
        let mut octets = [0; 4096];
        for _ in 0..READS {
            let mut buf = ReadBuf::new(&mut octets);
            match Pin::new(&mut self.inner).poll_read(&mut cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                _ => return,
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Transport<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Both wakers are registered where both would block. Where writing fails, reading may still say why.
        if !self.out.is_empty()
            && let Poll::Ready(Err(error)) = self.poll_pass_on(cx)
        {
            self.out = Vec::new();
            self.error = Some(error);
        }
        Pin::new(&mut self.inner).poll_read(cx, buf).map_err(|error| {
            let kind = error.kind();
            self.error.get_or_insert(error);
            kind.into()
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Transport<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.gate.is_closed() {
            if self.held.len() + data.len() > MAX_HELD {
                // To OpenSSL, a socket that is full: it goes on reading.
                return Poll::Pending;
            }
            self.held.extend_from_slice(data);
            return Poll::Ready(Ok(data.len()));
        }
        if self.gather {
            self.out.extend_from_slice(data);
            return Poll::Ready(Ok(data.len()));
        }
        let written = if self.out.is_empty() { Poll::Ready(Ok(())) } else { self.poll_pass_on(cx) };
        let written = match written {
            Poll::Ready(Ok(())) => Pin::new(&mut self.inner).poll_write(cx, data),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        match written {
            Poll::Ready(Err(error)) => {
                self.error = Some(error);
                Poll::Pending
            }
            other => other,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gather { Poll::Ready(Ok(())) } else { self.poll_pass_on(cx) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pass_on(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    // SRV-20, SRV-24: whatever OpenSSL would write while a client is pending, it is not much that is kept of it.
    #[tokio::test]
    async fn gate_holds_so_much_and_no_more() {
        let (near, mut far) = tokio::io::duplex(2 * MAX_HELD);
        let gate = Gate::default();
        let mut transport = Transport::new(near, gate.clone());
        let mut cx = Context::from_waker(Waker::noop());
        transport.write_all(b"before").await.unwrap();
        gate.close();
        transport.write_all(&[b'x'; MAX_HELD]).await.unwrap();
        assert!(Pin::new(&mut transport).poll_write(&mut cx, b"y").is_pending());
        assert_eq!(transport.held.len(), MAX_HELD);

        // Nothing of it passes before the gate is opened, and then it passes in its order.
        let mut octets = [0; 2 * MAX_HELD];
        transport.pass_on().await.unwrap();
        assert_eq!(far.read(&mut octets).await.unwrap(), 6);
        transport.open();
        transport.write_all(b"after").await.unwrap();
        far.read_exact(&mut octets[..MAX_HELD + 5]).await.unwrap();
        assert_eq!(octets[MAX_HELD - 1..MAX_HELD + 5], *b"xafter");
    }
}

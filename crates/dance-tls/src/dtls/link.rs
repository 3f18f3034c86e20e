//! A DTLS connection being driven: datagrams in, datagrams out, and the timer of what has to be repeated.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use openssl::error::ErrorStack;
use openssl::ssl::{self, ErrorCode, Ssl, SslRef, SslStream};
use tokio::time::{Instant, Sleep};
use tracing::debug;

use super::path::Path;
use super::wire::Wire;
use crate::ffi;

/// The size of a datagram: what the smallest MTU of IPv6 leaves (RFC 8200 section 5), so that none is cut in pieces.
const MTU: usize = 1280 - 40 - 8;
/// What a record adds to its data: header, explicit nonce and tag (RFC 5288 section 3).
const RECORD_OVERHEAD: usize = 13 + 8 + 16;
/// How much application data fits into a datagram.
pub(super) const MAX_DATA: usize = MTU - RECORD_OVERHEAD;

/// Why there is no going on.
#[derive(Debug)]
pub(super) enum Failure {
    Path(io::Error),
    Tls(ssl::Error),
}

#[derive(Debug)]
pub(super) struct Link {
    tls: SslStream<Wire>,
    path: Path,
    timer: Pin<Box<Sleep>>,
    /// The peer's system has said that nobody is there. Of a socket that is connected, this is heard when something is
    /// sent next.
    refused: Option<io::Error>,
}

impl Link {
    pub(super) fn new(mut ssl: Ssl, wire: Wire, path: Path) -> Result<Self, ErrorStack> {
        ssl.set_mtu(MTU as u32)?;
        Ok(Self {
            tls: SslStream::new(ssl, wire)?,
            path,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            refused: None,
        })
    }

    pub(super) fn ssl(&self) -> &SslRef {
        self.tls.ssl()
    }

    pub(super) fn tls_mut(&mut self) -> &mut SslStream<Wire> {
        &mut self.tls
    }

    pub(super) fn wire_mut(&mut self) -> &mut Wire {
        self.tls.get_mut()
    }

    pub(super) const fn path(&self) -> &Path {
        &self.path
    }

    /// Repeats a call of OpenSSL until it no longer waits for anything. It is OpenSSL that repeats a flight, when it is
    /// called after its time.
    pub(super) async fn drive<T>(
        &mut self,
        mut call: impl FnMut(&mut SslStream<Wire>) -> Result<T, ssl::Error>,
    ) -> Result<T, Failure> {
        std::future::poll_fn(|cx| self.poll_drive(cx, &mut call)).await
    }

    fn poll_drive<T>(
        &mut self,
        cx: &mut Context<'_>,
        call: &mut impl FnMut(&mut SslStream<Wire>) -> Result<T, ssl::Error>,
    ) -> Poll<Result<T, Failure>> {
        let mut came = false;
        loop {
            let result = call(&mut self.tls);
            // What cannot be sent now is sent when this is polled next, which is when it can be.
            let _ = self.poll_flush(cx);
            match result {
                Ok(value) => {
                    if came {
                        self.path.heard();
                    }
                    return Poll::Ready(Ok(value));
                }
                Err(error) if matches!(error.code(), ErrorCode::WANT_READ | ErrorCode::WANT_WRITE) => {}
                Err(error) => return Poll::Ready(Err(Failure::Tls(error))),
            }
            if let Some(error) = self.refused.take() {
                return Poll::Ready(Err(Failure::Path(error)));
            }
            if let Some(left) = ffi::dtls_timeout(self.tls.ssl()) {
                self.timer.as_mut().reset(Instant::now() + left);
                if self.timer.as_mut().poll(cx).is_ready() {
                    continue;
                }
            }
            match ready!(self.path.poll_recv(cx)) {
                Ok(datagram) => {
                    came = true;
                    // In an open connection only what OpenSSL makes data of is from the peer for certain. Before that,
                    // who has returned a cookie is, whatever it sends.
                    if !self.tls.get_ref().is_open() {
                        self.path.heard();
                    }
                    self.tls.get_mut().receive(datagram);
                }
                Err(error) => return Poll::Ready(Err(Failure::Path(error))),
            }
        }
    }

    /// Sends what OpenSSL has written. A datagram that cannot be sent is one that is lost.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let wire = self.tls.get_mut();
        while let Some(datagram) = wire.front() {
            if let Err(error) = ready!(self.path.poll_send(cx, datagram)) {
                debug!(%error, "a datagram could not be sent");
                if error.kind() == io::ErrorKind::ConnectionRefused {
                    self.refused = Some(error);
                }
            }
            wire.sent();
        }
        Poll::Ready(())
    }

    pub(super) async fn flush(&mut self) {
        std::future::poll_fn(|cx| self.poll_flush(cx)).await;
    }

    /// Sends what can be sent without waiting.
    pub(super) fn flush_now(&mut self) {
        let _ = self.poll_flush(&mut Context::from_waker(Waker::noop()));
    }

    /// Sends the alert that has ended the handshake, and again in answer to whatever comes in.
    pub(super) async fn linger(&mut self, time: Duration) {
        /// A client repeats itself twice as slowly each time.
        const REPEATS: usize = 8;
        let lingering = async {
            for _ in 0..REPEATS {
                self.flush().await;
                if std::future::poll_fn(|cx| self.path.poll_recv(cx)).await.is_err() || !self.wire_mut().repeat_alert()
                {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(time, lingering).await;
    }
}

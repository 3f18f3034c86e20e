//! One connection of a load balancer, from its first octet to its last: HTTP/1.1, or HTTP/2 by prior knowledge.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dance_daemon::listener::Phase;
use dance_http::Peer;
use dance_resolver::TlsaSource;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::answer::Core;
use crate::listener::Stream;
use crate::pace::{Next, Pace, Watched};

/// How every connection in HTTP/2 begins (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Octets that are read or written at a time; below the header's limit they do not matter.
const BUFFER: usize = 64 * 1024;
/// After this, connections that were asked to end are closed.
const GOODBYE: Duration = Duration::from_secs(10);
/// Streams that a client opened and reset before they were looked at (CVE-2023-44487), and that we reset for its errors, before the
/// connection ends.
const MAX_RESET_STREAMS: usize = 20;
const MAX_ERROR_RESET_STREAMS: usize = 100;

/// How long a connection may do what, and how much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) header: Duration,
    pub(crate) idle: Duration,
    pub(crate) header_bytes: usize,
    pub(crate) streams: u32,
}

/// Serves one connection. Who is not the balancer is told so at each request, and keeps no place that the balancer might need.
pub(crate) async fn serve<S: TlsaSource + 'static>(
    core: Arc<Core<S>>,
    stream: Stream,
    peer: Peer,
    phase: watch::Receiver<Phase>,
) {
    let longest = core.limits.header;
    if core.checker.rules().trusted_peers.contains(peer) {
        connection(core, stream, peer, phase).await;
    } else {
        // What it was in the middle of is lost to nobody.
        let _ = timeout(longest, connection(core, stream, peer, phase)).await;
    }
}

async fn connection<S: TlsaSource + 'static>(
    core: Arc<Core<S>>,
    mut stream: Stream,
    peer: Peer,
    mut phase: watch::Receiver<Phase>,
) {
    let limits = core.limits;
    let opened = tokio::select! {
        opened = preface(&mut stream, limits) => opened,
        _ = Phase::changed(&mut phase) => None,
    };
    let Some((first, http2)) = opened else { return };
    let pace = Arc::new(Pace::new());
    let io = TokioIo::new(Watched::new(stream, first, Arc::clone(&pace)));
    let watched = Arc::clone(&pace);
    let service = service_fn(move |request: Request<Incoming>| {
        let (core, under_way) = (Arc::clone(&core), watched.begin());
        async move {
            let response = core.answer(request, peer).await;
            drop(under_way);
            Ok::<_, Infallible>(response)
        }
    });
    if http2 {
        let mut conn = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
            .max_local_error_reset_streams(MAX_ERROR_RESET_STREAMS)
            .max_send_buf_size(BUFFER)
            .serve_connection(io, service);
        run(&mut conn, || pace.next(None, limits.idle), phase).await;
    } else {
        let mut conn = http1::Builder::new()
            // The pace is this module's.
            .header_read_timeout(None)
            .max_buf_size(limits.header_bytes.max(BUFFER))
            .max_header_size(limits.header_bytes)
            .serve_connection(io, service);
        run(&mut conn, || pace.next(Some(limits.header), limits.idle), phase).await;
    }
}

/// The first octets, as few as tell HTTP/2 from HTTP/1.1, and whether it is HTTP/2. `None` if the connection comes to nothing.
async fn preface(stream: &mut Stream, limits: Limits) -> Option<(Bytes, bool)> {
    let mut octets = [0; PREFACE.len()];
    let mut length = 0;
    let mut deadline = Instant::now() + limits.idle;
    loop {
        match timeout_at(deadline, stream.read(octets.get_mut(length..)?)).await {
            Ok(Ok(read @ 1..)) => {
                if length == 0 {
                    deadline = Instant::now() + limits.header;
                }
                length += read;
            }
            Ok(Ok(0) | Err(_)) | Err(_) => return None,
        }
        let first = octets.get(..length)?;
        if !PREFACE.starts_with(first) || length == PREFACE.len() {
            return Some((Bytes::copy_from_slice(first), first == PREFACE));
        }
    }
}

/// Runs a connection until it ends by itself, is too slow or idle, or has to stop.
async fn run<C: GracefulConnection<Error = hyper::Error> + Unpin>(
    conn: &mut C,
    next: impl Fn() -> Next,
    mut phase: watch::Receiver<Phase>,
) {
    let mut timer = pin!(sleep_until(Instant::now()));
    let mut ending = false;
    loop {
        tokio::select! {
            biased;
            ended = &mut *conn => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            now = Phase::changed(&mut phase) => match now {
                Phase::Serving => {}
                Phase::Draining => {
                    ending = true;
                    Pin::new(&mut *conn).graceful_shutdown();
                }
                Phase::Stopped => return,
            },
            () = &mut timer => match next() {
                Next::Wait(until) => timer.as_mut().reset(until),
                Next::Idle if !ending => {
                    ending = true;
                    Pin::new(&mut *conn).graceful_shutdown();
                    timer.as_mut().reset(Instant::now() + GOODBYE);
                }
                Next::Idle | Next::Slow => return,
            },
        }
    }
}

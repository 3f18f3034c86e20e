//! One client's connection: once it is admitted, HTTP, and in the end perhaps a tunnel.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dance_daemon::listener::Phase;
use dance_resolver::TlsaSource;
use dance_tls::TlsStream;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::admission::{Admitted, Who, admit};
use crate::listener::{Clients, Core};
use crate::proxy::{Session, Tunnel};
use crate::recheck::Vigil;
use crate::standing;
use crate::stream::ClientStream;
use dance_http::identity::PeerHeaders;

/// Octets that are read or written at a time; below the header's limit they do not matter.
const BUFFER: usize = 64 * 1024;
/// After this without a request, an HTTP/1.1 connection gives back the memory that HTTP took.
const PARK: Duration = Duration::from_secs(2);
/// Connections are not looked at more often.
const TICK: Duration = Duration::from_millis(10);
/// After this, HTTP/2 connections that were asked to end are closed.
const GOODBYE: Duration = Duration::from_secs(10);
/// Streams that a client opened and reset before they were looked at (CVE-2023-44487), and that we reset for its errors, before the
/// connection ends.
const MAX_RESET_STREAMS: usize = 20;
const MAX_ERROR_RESET_STREAMS: usize = 100;

/// Serves one connection from its first octet to its last.
pub(crate) async fn serve<S: TlsaSource + 'static>(
    core: Arc<Core<S>>,
    stream: TcpStream,
    peer: SocketAddr,
    mut phase: watch::Receiver<Phase>,
) {
    let accepted = Instant::now();
    // Boxed, so that an idle connection does not keep the handshake's memory.
    let opened = tokio::select! {
        opened = Box::pin(admit(&core, stream, peer, accepted)) => opened,
        _ = Phase::changed(&mut phase) => None,
    };
    let Some(Admitted { tls, who, h2 }) = opened else {
        return;
    };
    let headers = match &who {
        Who::Known(known) => PeerHeaders::new(peer.ip(), Some(&known.client)),
        Who::Holder(certificates) => PeerHeaders::with_certificates(peer.ip(), certificates),
    };
    // Core gives out no identity that could not stand in a header; without it the connection must not go on.
    let headers = match headers {
        Ok(headers) => headers,
        Err(error) => return tracing::error!(%peer, %error, "an identity that no header can hold"),
    };
    let (octets, most) = (headers.certificate_octets(), core.shared.max_certificate_octets);
    if octets > most {
        tracing::info!(%peer, octets, most, "certificates too long for the application: its requests are answered 431");
    }
    if let (Clients::Forward(counted), Who::Holder(certificates)) = (&core.clients, &who) {
        counted.count(certificates.len(), octets > most);
    }
    let session = Arc::new(Session::new(Arc::clone(&core.shared), headers));
    let limits = core.limits;
    let vigil = match who {
        Who::Known(known) => standing::vigil(core, known, peer, accepted),
        Who::Holder(_) => Vigil::over_nobody(),
    };
    let ends = Ends { phase, vigil };
    if h2 {
        Box::pin(serve_http2(session, tls, limits, ends)).await;
    } else {
        Box::pin(serve_http1(session, tls, limits, ends)).await;
    }
}

/// What ends a connection from outside.
struct Ends {
    phase: watch::Receiver<Phase>,
    vigil: Vigil,
}

impl Ends {
    /// Resolves when nothing may go on: at the end of the gateway's way down, or of the client's standing.
    async fn cut(&mut self) {
        tokio::select! {
            () = self.vigil.ended() => {}
            () = Phase::stopped(&mut self.phase) => {}
        }
    }
}

/// How long a connection may do what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) handshake: Duration,
    pub(crate) header: Duration,
    pub(crate) idle: Duration,
    pub(crate) tunnel_idle: Duration,
    pub(crate) header_bytes: usize,
    pub(crate) streams: u32,
}

/// What becomes of a connection that nobody has closed.
enum Next {
    /// Nothing before this.
    Wait(Instant),
    /// It is between two requests, and may be for a while.
    Park,
    /// It has been without a request for too long.
    Idle,
    /// The client sends its header, or takes its response, too slowly.
    Slow,
}

impl Limits {
    /// What becomes of a connection now. `http1`: octets that belong to no request are the beginning of one, and between two requests
    /// there is nothing to remember.
    fn next(&self, session: &Session, http1: bool) -> Next {
        let now = Instant::now();
        let passed = |since: Option<Instant>, limit| since.is_some_and(|since| now.duration_since(since) >= limit);
        if passed(session.pace.blocked_since(), self.idle) || passed(session.unread_since(), self.idle) {
            return Next::Slow;
        }
        let mut wait = self.idle.min(self.header);
        if let Some(idle) = session.idle_since() {
            let header = session.pace.header_since().filter(|_| http1);
            if passed(header, self.header) {
                return Next::Slow;
            }
            if header.is_none() && passed(Some(idle), self.idle) {
                return Next::Idle;
            }
            if http1 && passed(Some(idle), PARK) && session.pace.is_clear() {
                return Next::Park;
            }
            let until = idle + if http1 { PARK.min(self.idle) } else { self.idle };
            wait = wait.min(until.saturating_duration_since(now).max(TICK));
        }
        Next::Wait(now + wait)
    }
}

/// How [`run`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// HTTP is over.
    Done,
    /// HTTP has nothing to do and nothing to remember.
    Parked,
    /// The connection must go.
    Cut,
}

/// Runs a connection until it ends by itself, is too slow or idle, has to stop, or has lost its client. From then on requests under
/// way are given [`GOODBYE`], and new ones are not taken.
async fn run<C: GracefulConnection<Error = hyper::Error> + Unpin>(
    conn: &mut C,
    session: &Session,
    next: impl Fn() -> Next,
    ends: &mut Ends,
) -> Ended {
    let mut timer = pin!(sleep_until(Instant::now() + TICK));
    let mut ending = false;
    loop {
        tokio::select! {
            // The vigil comes first, so that no client can be busy enough to have it put off.
            biased;
            () = ends.vigil.ended() => {
                session.withdraw();
                ending = true;
                Pin::new(&mut *conn).graceful_shutdown();
                timer.as_mut().reset(Instant::now() + GOODBYE);
            }
            ended = &mut *conn => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "client connection ended");
                }
                return Ended::Done;
            }
            () = &mut timer => match next() {
                _ if session.is_withdrawn() => return Ended::Cut,
                Next::Wait(until) => timer.as_mut().reset(until),
                Next::Park if !ending => return Ended::Parked,
                Next::Idle if !ending => {
                    ending = true;
                    Pin::new(&mut *conn).graceful_shutdown();
                    timer.as_mut().reset(Instant::now() + GOODBYE);
                }
                Next::Park | Next::Idle | Next::Slow => return Ended::Cut,
            },
            now = Phase::changed(&mut ends.phase) => match now {
                Phase::Serving => {}
                Phase::Draining => {
                    ending = true;
                    Pin::new(&mut *conn).graceful_shutdown();
                }
                Phase::Stopped => return Ended::Cut,
            }
        }
    }
}

type Client = ClientStream<TlsStream<TcpStream>>;

async fn serve_http1(session: Arc<Session>, tls: TlsStream<TcpStream>, limits: Limits, mut ends: Ends) {
    let mut client = ClientStream::new(tls, Arc::clone(&session.pace));
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .max_buf_size(limits.header_bytes.max(BUFFER))
        .max_header_size(limits.header_bytes);
    loop {
        let handler = Arc::clone(&session);
        let service = service_fn(move |request: Request<Incoming>| {
            let session = Arc::clone(&handler);
            async move { Ok::<_, Infallible>(session.handle(request).await) }
        });
        // Boxed, so that nothing of it is left while the connection is parked.
        let mut conn = Box::new(builder.serve_connection(TokioIo::new(client), service));
        let ended = run(&mut *conn, &session, || limits.next(&session, true), &mut ends).await;
        if ended == Ended::Cut {
            return;
        }
        let parts = conn.into_parts();
        client = parts.io.into_inner();
        if ended == Ended::Done {
            if let Some(tunnel) = session.take_tunnel()
                && !session.is_withdrawn()
            {
                tokio::select! {
                    biased;
                    () = ends.cut() => {}
                    () = session.pace.rest(limits.tunnel_idle) => {}
                    () = run_tunnel(client, parts.read_buf, tunnel) => {}
                }
            }
            return;
        }
        if !parts.read_buf.is_empty() {
            client.unread(parts.read_buf);
        } else if !wait_for_request(&mut client, limits.idle.saturating_sub(PARK), &mut ends).await {
            return;
        }
    }
}

/// Waits for the first octet of a request, and ends the connection if there comes none. False if it has ended.
async fn wait_for_request(client: &mut Client, idle: Duration, ends: &mut Ends) -> bool {
    let mut first = [0];
    tokio::select! {
        biased;
        () = ends.vigil.ended() => {}
        read = client.read(&mut first) => {
            if let Ok(1..) = read {
                client.unread(Bytes::copy_from_slice(&first));
                return true;
            }
        }
        () = sleep(idle) => {}
        _ = Phase::changed(&mut ends.phase) => {}
    }
    // Whether the client hears of it or not, the connection is over.
    let _ = timeout(GOODBYE, client.shutdown()).await;
    false
}

/// Passes octets between client and origin until both have ended.
async fn run_tunnel(mut client: Client, first: Bytes, mut tunnel: Tunnel) {
    let passed = async {
        tunnel.origin.write_all(&first).await?;
        client.write_all(&tunnel.first).await?;
        client.flush().await?;
        copy_bidirectional(&mut client, &mut tunnel.origin).await
    };
    // Either side may break off at any time; there is nobody left to tell.
    let _ = passed.await;
}

async fn serve_http2(session: Arc<Session>, tls: TlsStream<TcpStream>, limits: Limits, mut ends: Ends) {
    let handler = Arc::clone(&session);
    let service = service_fn(move |request: Request<Incoming>| {
        let session = Arc::clone(&handler);
        async move { Ok::<_, Infallible>(session.handle(request).await) }
    });
    let io = TokioIo::new(ClientStream::new(tls, Arc::clone(&session.pace)));
    let mut conn = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
        .max_local_error_reset_streams(MAX_ERROR_RESET_STREAMS)
        .max_send_buf_size(BUFFER)
        .serve_connection(io, service);
    run(&mut conn, &session, || limits.next(&session, false), &mut ends).await;
}

//! Accepting connections within limits, and stopping without dropping what is under way.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

/// Connections that the system holds until they are accepted.
const BACKLOG: i32 = 1024;
/// After this without an answer the system asks a silent client whether it is still there: tunnels have no other end.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How long to leave the system alone when it has no file descriptors or memory for another connection.
const BACK_OFF: Duration = Duration::from_millis(100);

/// How far a daemon is on its way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is not.
    Serving,
    /// Requests under way are finished, new ones are not taken.
    Draining,
    /// Nothing goes on.
    Stopped,
}

impl Phase {
    /// Waits for the next phase.
    pub async fn changed(phase: &mut watch::Receiver<Self>) -> Self {
        match phase.changed().await {
            Ok(()) => *phase.borrow_and_update(),
            Err(_) => Self::Stopped,
        }
    }

    /// Waits for the last phase.
    pub async fn stopped(phase: &mut watch::Receiver<Self>) {
        // An error means that the sender is gone, and the daemon with it.
        let _ = phase.wait_for(|phase| *phase == Self::Stopped).await;
    }
}

/// Where connections come from.
pub trait Accept {
    /// One connection.
    type Stream: Send + 'static;
    /// Who is at its other end.
    type Peer: fmt::Debug + Clone + Send + 'static;

    /// Waits for a connection.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;

    /// Sets what a connection needs before it is served.
    ///
    /// # Errors
    /// It is gone.
    fn prepare(stream: &Self::Stream) -> io::Result<()>;
}

impl Accept for TcpListener {
    type Stream = TcpStream;
    type Peer = SocketAddr;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        Self::accept(self).await
    }

    fn prepare(stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
    }
}

/// Opens a listening socket. SO_REUSEADDR lets a restart take the port over from connections that linger.
///
/// # Errors
/// The system does not let it.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts connections, at most so many at a time, and has each served in a task of its own, until `shutdown`; then drains for at most
/// `drain`. True if nothing had to be cut off.
pub async fn run<L, F>(
    listener: L,
    connections: usize,
    drain: Duration,
    shutdown: impl Future<Output = ()>,
    serve: impl Fn(L::Stream, L::Peer, watch::Receiver<Phase>) -> F,
) -> bool
where
    L: Accept,
    F: Future<Output = ()> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(connections));
    let (phase, watch) = watch::channel(Phase::Serving);
    tokio::select! {
        () = accept(&listener, &slots, &watch, serve) => {}
        () = shutdown => {}
    }
    // From here on the system refuses new connections.
    drop(listener);
    phase.send_replace(Phase::Draining);
    let all = u32::try_from(connections).unwrap_or(u32::MAX);
    let drained = timeout(drain, slots.acquire_many(all)).await.is_ok();
    phase.send_replace(Phase::Stopped);
    drained
}

async fn accept<L, F>(
    listener: &L,
    slots: &Arc<Semaphore>,
    phase: &watch::Receiver<Phase>,
    serve: impl Fn(L::Stream, L::Peer, watch::Receiver<Phase>) -> F,
) where
    L: Accept,
    F: Future<Output = ()> + Send + 'static,
{
    // The semaphore is never closed.
    while let Ok(slot) = Arc::clone(slots).acquire_owned().await {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if is_the_clients(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; raise the limit of open files, or lower max-connections");
                sleep(BACK_OFF).await;
                continue;
            }
        };
        if let Err(error) = L::prepare(&stream) {
            tracing::debug!(?peer, %error, "connection was gone before it was served");
            continue;
        }
        let serving = serve(stream, peer, phase.clone());
        tokio::spawn(async move {
            serving.await;
            drop(slot);
        });
    }
}

/// Whether a failure to accept is one connection's and not the system's (accept(2)).
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

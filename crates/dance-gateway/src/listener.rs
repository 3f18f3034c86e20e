//! The listener: accepts connections within limits, and stops without dropping what is under way.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dance_resolver::{TlsaSource, Verifier};
use dance_tls::Acceptor;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::connection::{Limits, serve};
use crate::handshakes::Handshakes;
use crate::log::{Names, VerdictEvent};
use crate::ordinary::ClientCa;
use crate::proxy::Shared;
use crate::services::Services;

/// Connections that the system holds until they are accepted.
const BACKLOG: i32 = 1024;
/// After this without an answer the system asks a silent client whether it is still there: tunnels have no other end.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How long to leave the system alone when it has no file descriptors or memory for another connection.
const BACK_OFF: Duration = Duration::from_millis(100);
/// How often idle connections to the origin are looked at.
const SWEEP: Duration = Duration::from_secs(2);

/// Called with every verdict.
pub(crate) type Observer = Arc<dyn Fn(&VerdictEvent) + Send + Sync>;

/// What every connection needs until its verdict.
pub(crate) struct Core<S> {
    pub(crate) acceptor: Acceptor,
    pub(crate) verifier: Arc<Verifier<S>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) limits: Limits,
    pub(crate) handshakes: Arc<Handshakes>,
    pub(crate) names: Names,
    pub(crate) client_ca: ClientCa,
    pub(crate) services: Services,
    pub(crate) observer: Option<Observer>,
}

impl<S> Core<S> {
    /// Logs an event, with a warning where it gives cause for one, and shows it to the observer.
    pub(crate) fn tell(&self, event: &VerdictEvent) {
        if let Some(client) = event.client()
            && let Some(shared) = self.services.note(client)
        {
            self.names.warn_shared(client, &shared);
        }
        self.names.write(event);
        if let Some(observer) = &self.observer {
            observer(event);
        }
    }
}

/// How far the gateway is on its way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It is not.
    Serving,
    /// Requests under way are finished, new ones are not taken.
    Draining,
    /// Nothing goes on.
    Stopped,
}

impl Phase {
    /// Waits for the next phase.
    pub(crate) async fn changed(phase: &mut watch::Receiver<Self>) -> Self {
        match phase.changed().await {
            Ok(()) => *phase.borrow_and_update(),
            Err(_) => Self::Stopped,
        }
    }

    /// Waits for the last phase.
    pub(crate) async fn stopped(phase: &mut watch::Receiver<Self>) {
        // An error means that the sender is gone, and the gateway with it.
        let _ = phase.wait_for(|phase| *phase == Self::Stopped).await;
    }
}

/// Opens the listening socket. SO_REUSEADDR lets a restart take the port over from connections that linger.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
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

/// Accepts and serves connections until `shutdown`, then drains for at most `drain`. True if nothing had to be cut off.
pub(crate) async fn run<S: TlsaSource + 'static>(
    listener: TcpListener,
    core: Arc<Core<S>>,
    connections: usize,
    drain: Duration,
    shutdown: impl Future<Output = ()>,
) -> bool {
    let slots = Arc::new(Semaphore::new(connections));
    let (phase, watch) = watch::channel(Phase::Serving);
    let shared = Arc::clone(&core.shared);
    tokio::select! {
        () = accept(&listener, core, &slots, &watch) => {}
        () = sweep(&shared) => {}
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

async fn accept<S: TlsaSource + 'static>(
    listener: &TcpListener,
    core: Arc<Core<S>>,
    slots: &Arc<Semaphore>,
    phase: &watch::Receiver<Phase>,
) {
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
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%peer, %error, "connection was gone before it was served");
            continue;
        }
        let serving = serve(Arc::clone(&core), stream, peer, phase.clone());
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

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}

async fn sweep(shared: &Shared) {
    let mut tick = interval(SWEEP);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        shared.upstream.sweep();
    }
}

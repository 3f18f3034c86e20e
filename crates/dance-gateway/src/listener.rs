//! What all connections share, and how they are accepted.

use std::sync::Arc;
use std::time::Duration;

use dance_daemon::log::Names;
use dance_daemon::services::Services;
use dance_resolver::{TlsaSource, Verifier};
use dance_tls::Acceptor;
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval};

use crate::connection::{Limits, serve};
use crate::forwarding::Forwarding;
use crate::handshakes::Handshakes;
use crate::log::{self, VerdictEvent};
use crate::ordinary::ClientCa;
use crate::proxy::Shared;

/// How often idle connections to the origin are looked at.
const SWEEP: Duration = Duration::from_secs(2);

/// Called with every verdict.
pub(crate) type Observer = Arc<dyn Fn(&VerdictEvent) + Send + Sync>;

/// What the gateway finds out about its clients.
pub(crate) enum Clients<S> {
    /// Who they are.
    Dane(Dane<S>),
    /// What certificates they hold.
    Forward(Forwarding),
}

/// What it takes to find out who clients are.
pub(crate) struct Dane<S> {
    pub(crate) verifier: Arc<Verifier<S>>,
    pub(crate) client_ca: ClientCa,
    pub(crate) services: Services,
}

/// What every connection needs until its verdict.
pub(crate) struct Core<S> {
    pub(crate) acceptor: Acceptor,
    pub(crate) clients: Clients<S>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) limits: Limits,
    pub(crate) handshakes: Arc<Handshakes>,
    pub(crate) names: Names,
    pub(crate) observer: Option<Observer>,
}

impl<S> Core<S> {
    /// Logs an event, with a warning where it gives cause for one, and shows it to the observer.
    pub(crate) fn tell(&self, event: &VerdictEvent) {
        if let (Clients::Dane(dane), Some(client)) = (&self.clients, event.client())
            && let Some(shared) = dane.services.note(client)
        {
            self.names.warn_shared(client, &shared);
        }
        log::write(&self.names, event);
        if let Some(observer) = &self.observer {
            observer(event);
        }
    }
}

/// Accepts and serves connections until `shutdown`, then drains for at most `drain`. True if nothing had to be cut off.
pub(crate) async fn run<S: TlsaSource + 'static>(
    listener: TcpListener,
    core: Arc<Core<S>>,
    connections: usize,
    drain: Duration,
    shutdown: impl Future<Output = ()>,
) -> bool {
    let shared = Arc::clone(&core.shared);
    let end = async {
        tokio::select! {
            () = sweep(&shared) => {}
            () = shutdown => {}
        }
    };
    let serve = move |stream, peer, phase| serve(Arc::clone(&core), stream, peer, phase);
    dance_daemon::listener::run(listener, connections, drain, end, serve).await
}

async fn sweep(shared: &Shared) {
    let mut tick = interval(SWEEP);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        shared.upstream.sweep();
    }
}

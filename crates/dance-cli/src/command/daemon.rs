//! What the commands that are daemons share: how names stand in the log, the port for metrics, the signals that end them.

use std::net::SocketAddr;

use clap::ValueEnum;
use dance_daemon::metrics::Exporter;
use dance_daemon::settings::LogNames;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::{Error, Exit};

/// `--log-names`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Names {
    /// As they are
    Full,
    /// As a digest under a key drawn at each start
    Hashed,
    /// Not at all
    Off,
}

impl From<Names> for LogNames {
    fn from(names: Names) -> Self {
        match names {
            Names::Full => Self::Full,
            Names::Hashed => Self::Hashed,
            Names::Off => Self::Off,
        }
    }
}

/// Starts to tell what is counted. Before there is anything to count.
pub(crate) fn tell_metrics(address: SocketAddr) -> Result<(), dance_daemon::StartError> {
    let exporter = Exporter::bind(address)?;
    exporter.recorder().install()?;
    info!(addr = %exporter.local_addr(), "metrics");
    tokio::spawn(exporter.run());
    Ok(())
}

/// SIGTERM and SIGINT, which end a daemon in order.
pub(crate) struct Shutdown {
    terminate: Signal,
    interrupt: Signal,
}

impl Shutdown {
    /// Must be called before the address is told: whoever reads it may send a signal at once.
    pub(crate) fn expect() -> Result<Self, Error> {
        let signal = |kind| signal(kind).map_err(Error::Signals);
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one of them.
    pub(crate) async fn wait(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        info!("finishing requests under way");
    }
}

/// Tells how a daemon ended.
pub(crate) fn ended(drained: bool) -> Exit {
    if drained {
        info!("ended");
        Exit::Yes
    } else {
        warn!("ended; requests under way were cut off after drain-timeout");
        Exit::No
    }
}

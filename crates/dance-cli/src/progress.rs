//! Long waits show on a terminal that something is going on.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Waits shorter than this show nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// Awaits `future`; after a second, where standard error is a terminal, says what is awaited and for how long already.
pub(crate) async fn watch<F: Future>(what: impl Display, future: F) -> F::Output {
    let mut future = pin!(future);
    if !io::stderr().is_terminal() {
        return future.await;
    }
    let started = Instant::now();
    let mut tick = started + PATIENCE;
    loop {
        tokio::select! {
            output = &mut future => {
                if tick > started + PATIENCE {
                    draw(format_args!(""));
                }
                return output;
            }
            () = sleep_until(tick) => {
                draw(format_args!("{what} ... {} s", started.elapsed().as_secs()));
                tick += Duration::from_secs(1);
            }
        }
    }
}

/// Replaces the line. Nobody is left to tell if the terminal is gone.
fn draw(line: impl Display) {
    let mut out = io::stderr().lock();
    let _ = write!(out, "\r\x1b[K{line}");
    let _ = out.flush();
}

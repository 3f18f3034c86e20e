//! Logs on standard error, as text or JSON.

use std::io::{self, IsTerminal as _};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// An object a line, fields at its top.
    Json,
}

/// Starts logging. `RUST_LOG` says how much, by default `info`.
pub(crate) fn start(format: LogFormat) {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    // A log that nobody reads any more must not end connections: by default the failure to write would be printed to the same place,
    // and that one panics.
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    // A second start would change nothing; there is one a process.
    let _ = match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal() && !no_color()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}

/// Whether the user wants no colour anywhere (https://no-color.org).
fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

//! Results on standard output, as text or JSON; errors and warnings on standard error.

use std::fmt::Display;
use std::io::{self, Write as _};

use clap::ValueEnum;
use serde::Serialize;

use crate::Error;

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs: keys and values are stable.
    Json,
}

/// Prints a result followed by a line feed.
///
/// # Errors
/// [`Error::Output`]. A reader that has gone away is no error: it has seen all it wanted.
pub(crate) fn print(text: impl Display) -> Result<(), Error> {
    ignore_closed(writeln!(io::stdout().lock(), "{text}"))
}

/// Passes octets on as they are.
///
/// # Errors
/// As [`print`].
pub(crate) fn raw(octets: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    ignore_closed(out.write_all(octets).and_then(|()| out.flush()))
}

/// Prints a result as JSON, indented, keys in the order of their declaration.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match serde_json::to_writer_pretty(&mut out, value) {
        Ok(()) => ignore_closed(writeln!(out)),
        Err(error) => ignore_closed(Err(error.into())),
    }
}

/// Prints an error.
pub(crate) fn error(error: &Error) {
    note(format_args!("error: {error}"));
}

/// Prints a warning: the command goes on.
pub(crate) fn warning(text: impl Display) {
    note(format_args!("warning: {text}"));
}

/// Prints a line on standard error. There is nobody left to tell if that fails.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn ignore_closed(result: io::Result<()>) -> Result<(), Error> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Output(error)),
        _ => Ok(()),
    }
}

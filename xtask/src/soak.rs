//! Very many handshakes with a gateway of the release build: on demand, not a group of the test command.

use crate::runner::{Context, Stop, run};

/// Builds the driver and the gateway in it, and runs it with these arguments.
pub(crate) fn soak(context: &Context, arguments: &[&str]) -> Result<(), Stop> {
    run(context.cargo(["run", "--release", "--package", "dance-soak", "--"]).args(arguments))
}

//! What takes too long for the test command: on demand, not a group of it.

use crate::runner::{Context, Stop, run};

/// Cases that are judged by this implementation and by unbound, unless another number is given.
const DIFFERENTIAL_CASES: &str = "20000";

/// Very many handshakes with a gateway of the release build: builds the driver and the gateway in it, and runs it with these arguments.
/// The flood is one of its scenarios. Or, if that is the first of them, the differential test of validation.
pub(crate) fn soak(context: &Context, arguments: &[&str]) -> Result<(), Stop> {
    match arguments {
        ["differential", arguments @ ..] => differential(context, arguments),
        _ => run(context.cargo(["run", "--release", "--package", "dance-soak", "--"]).args(arguments)),
    }
}

/// The test of the group interop, with more cases and another seed.
fn differential(context: &Context, arguments: &[&str]) -> Result<(), Stop> {
    let (mut cases, mut seed) = (DIFFERENTIAL_CASES, None);
    for pair in arguments.chunks(2) {
        match pair {
            ["--cases", number] => cases = number,
            ["--seed", number] => seed = Some((*number).to_owned()),
            _ => return Err(Stop::Failed("`soak differential` takes --cases N and --seed N".into())),
        }
    }
    crate::peers::validators()?;
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = seed.unwrap_or_else(|| since.map_or(0, |since| since.as_secs()).to_string());
    let test = ["test", "--package", "dance-interop", "--test", "differential", "--", "--nocapture"];
    run(context.cargo(test).env("DIFFERENTIAL_CASES", cases).env("DIFFERENTIAL_SEED", seed))
}

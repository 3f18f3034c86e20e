//! `dance demo`: the first thing to run.

use dance_core::clientid::Profile;

use crate::command::parse_profile;
use crate::demo;
use crate::{Error, Exit, runtime};

/// Show the whole thing on this machine: DNS, gateway, application and clients in one process, without any configuration.
///
/// Signs a zone, gives clients their identities, starts the gateway in front of a small web application, and tells what happens when
/// clients connect. Everything that is told is checked. Uses no network but loopback.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Wire profile: `current`, or `2022` for the older drafts, over TLS 1.3 and TLS 1.2
    #[arg(long, value_parser = parse_profile, default_value = "current")]
    profile: Profile,

    /// Behind a load balancer that forwards certificates: the application finds out whose they are
    #[arg(long, conflicts_with = "profile")]
    cooperative: bool,

    /// Leave it running, and print commands to try against it
    #[arg(long)]
    keep: bool,

    /// Tell it without colours; NO_COLOR does the same
    #[arg(long)]
    no_color: bool,
}

const AFTER_HELP: &str = "\
EXAMPLES:
    dance demo
    dance demo --keep
    dance demo --profile 2022
    dance demo --cooperative

EXIT CODES:
    0  everything went as told
    1  something did not; the error says what was expected and what was found
    2  wrong usage
    3  the scene could not be set up";

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Error> {
        if self.no_color {
            anstream::ColorChoice::Never.write_global();
        }
        let runtime = runtime()?;
        if self.cooperative {
            runtime.block_on(demo::cooperative::run(self.keep))?;
        } else {
            runtime.block_on(demo::run(self.profile, self.keep))?;
        }
        Ok(Exit::Yes)
    }
}

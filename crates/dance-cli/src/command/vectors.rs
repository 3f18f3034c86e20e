//! `dance vectors run`: a file of conformance vectors.

use std::path::PathBuf;

use clap::Subcommand;

use crate::{Error, Exit, vectors};

/// Work on files of conformance vectors.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
EXAMPLES:
    dance vectors run spec/vectors/vectors.json

EXIT CODES:
    as of the command that follows";

#[derive(Debug, Subcommand)]
enum Command {
    Run(Run),
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Error> {
        match self.command {
            Command::Run(args) => args.run(),
        }
    }
}

/// Run every case of a file of conformance vectors.
///
/// Prints a line for each case that fails, and last "N passed, N failed".
#[derive(Debug, clap::Args)]
#[command(after_help = RUN_AFTER_HELP)]
struct Run {
    /// The file, in the format of spec/vectors/vectors.json
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Where certs/, keys/ and messages/ lie [default: beside FILE]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Run this section, or this part of one (http/cooperative); may be given several times [default: all]
    #[arg(long = "section", value_name = "SECTION")]
    sections: Vec<String>,
}

const RUN_AFTER_HELP: &str = "\
EXAMPLES:
    dance vectors run spec/vectors/vectors.json
    dance vectors run my-vectors.json --dir spec/vectors --section match --section name

EXIT CODES:
    0  every case passed
    1  a case failed
    2  wrong usage, an unknown section, or a file of another format
    3  a file cannot be read";

impl Run {
    fn run(self) -> Result<Exit, Error> {
        let summary = vectors::run(&self.file, self.dir.as_deref(), &self.sections).map_err(Error::Vectors)?;
        Ok(if summary.failures.is_empty() { Exit::Yes } else { Exit::No })
    }
}

//! The command line of DANE TLS client authentication: what the binary `dance` does, as a library so that tests reach it.
//!
//! Each command is one module under `command`: its typed arguments, which say exactly what was typed, and a `run` that turns them
//! into meaning. Results go to standard output, progress and logs to standard error, and the exit code is the answer
//! ([`Exit`]).
#![forbid(unsafe_code)]

use std::ffi::OsString;

use clap::{Parser, Subcommand};

mod command;
mod demo;
mod error;
mod exit;
mod files;
mod logging;
mod output;
mod progress;
pub mod vectors;

pub use command::preflight::Unpublished;
pub use demo::Difference;
pub use error::Error;
pub use exit::Exit;

/// DANE authentication for TLS clients: the client's DNS name is its identity, its TLSA record is its credential.
#[derive(Debug, Parser)]
#[command(name = "dance", version, after_help = AFTER_HELP, max_term_width = 120, subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
EXAMPLES:
    dance demo
    dance identity new --name sensor7._device.example.com
    dance gateway --certificate server.pem --key server.key --origin 127.0.0.1:8080 \\
        --allow '*._device.example.com'

EXIT CODES:
    0  yes, or done
    1  no: refused, or a check failed
    2  wrong usage or configuration
    3  could not tell: network, DNS or I/O";

#[derive(Debug, Subcommand)]
enum Command {
    Demo(command::demo::Args),
    Gateway(command::gateway::Args),
    AuthService(command::auth_service::Args),
    Connect(command::connect::Args),
    Request(command::request::Args),
    Identity(command::identity::Args),
    Tlsa(command::tlsa::Args),
    Resolve(command::resolve::Args),
    Match(command::match_::Args),
    Name(command::name::Args),
    Extension(command::extension::Args),
    Vectors(command::vectors::Args),
}

/// Runs one command line, program name first. Errors are printed; the answer is the exit code.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come as "errors" that go to standard output. A closed pipe is nobody's fault.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Yes };
        }
    };
    let result = match cli.command {
        Command::Demo(args) => args.run(),
        Command::Gateway(args) => args.run(),
        Command::AuthService(args) => args.run(),
        Command::Connect(args) => args.run(),
        Command::Request(args) => args.run(),
        Command::Identity(args) => args.run(),
        Command::Tlsa(args) => args.run(),
        Command::Resolve(args) => args.run(),
        Command::Match(args) => args.run(),
        Command::Name(args) => args.run(),
        Command::Extension(args) => args.run(),
        Command::Vectors(args) => args.run(),
    };
    result.unwrap_or_else(|error| {
        output::error(&error);
        error.exit()
    })
}

/// Whether [`run`] would take a command line, program name first, and if not, what it would print. Runs nothing.
///
/// # Errors
/// What is wrong with it.
pub fn check_usage(args: impl IntoIterator<Item = OsString>) -> Result<(), String> {
    match Cli::try_parse_from(args) {
        Err(error) if error.use_stderr() => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// A runtime for a command that uses the network.
fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Runtime)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn every_command_shows_examples_and_exit_codes() {
        fn visit(command: &mut clap::Command, path: &str) -> usize {
            let help = command.render_long_help().to_string();
            assert!(help.contains("EXAMPLES:"), "no examples in the help of `{path}`");
            assert!(help.contains("EXIT CODES:"), "no exit codes in the help of `{path}`");
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in after.lines() {
                assert!(line.chars().count() <= 100, "the help of `{path}` is too wide: {line}");
            }
            let commands = command.get_subcommands_mut().filter(|command| command.get_name() != "help");
            1 + commands
                .map(|command| visit(command, &format!("{path} {}", command.get_name().to_owned())))
                .sum::<usize>()
        }
        let mut cli = Cli::command();
        cli.build();
        assert!(visit(&mut cli, "dance") > 3);
    }

    #[test]
    fn arguments_are_declared_consistently() {
        Cli::command().debug_assert();
    }
}

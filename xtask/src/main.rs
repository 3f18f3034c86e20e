//! The project's own commands.
//!
//! * `cargo xtask test` runs everything that CI runs, group by group.
//! * `cargo xtask requirements` checks docs/requirements.md against the tests; `--write` brings it up to date.
//! * `cargo xtask soak` has very many clients connect, and looks at what is left of them.

mod fuzz;
mod groups;
mod memory;
mod peers;
mod requirements;
mod runner;
mod soak;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask test [--only GROUP]... [--list]
       cargo xtask requirements [--write]
       cargo xtask soak [--handshakes N] [--clients N] [--seed N]
       cargo xtask soak flood [--seconds N] [--rate N] [--known N] [--judge yes|no]
       cargo xtask soak differential [--cases N] [--seed N]

  test           run all groups, or those named by --only; go on after a failure, exit 1 in the end.
                 With CI=true a skipped group counts as failed, unless it is optional.
    --only GROUP run this group; may be repeated
    --list       list the groups and stop
  requirements   check docs/requirements.md against the ids in the comments above tests
    --write      write the column of tests instead
  soak           200,000 clients or N of them, so many at a time, half of them refused or broken off; fails unless each is told
                 what was planned, and memory and open files are what they were. Linux only
    flood        strangers without end ask for names below zones that never answer, at the driver and over TLS: fails unless 200
                 known clients are authenticated as ever, nearly as fast, and memory is flat. Wants a quiet machine. Linux only
    differential 20,000 look-ups or N of them with answers that were tampered with: fails unless this validator and unbound agree, or
                 it is known why not. Linux only";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.split_first() {
        Some((&"test", rest)) => match parse_test(rest) {
            Ok(Test::List) => {
                groups::list();
                ExitCode::SUCCESS
            }
            Ok(Test::Run(only)) => runner::run_groups(&root(), &only),
            Err(message) => misuse(&message),
        },
        Some((&"requirements", [])) => report(requirements::check(&root())),
        Some((&"requirements", ["--write"])) => report(requirements::write(&root())),
        Some((&"soak", rest)) => match soak::soak(&runner::Context::new(&root()), rest) {
            Ok(()) => ExitCode::SUCCESS,
            Err(runner::Stop::Failed(why) | runner::Stop::Skipped(why)) => {
                eprintln!("{why}");
                ExitCode::FAILURE
            }
        },
        Some((&("--help" | "-h" | "help"), _)) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Some((command, _)) => misuse(&format!("`{command}` is no command of xtask")),
        None => misuse("a command is missing"),
    }
}

enum Test {
    List,
    /// The named groups; empty means all.
    Run(Vec<&'static groups::Group>),
}

fn parse_test(mut words: &[&str]) -> Result<Test, String> {
    let mut only = Vec::new();
    loop {
        words = match words {
            [] => return Ok(Test::Run(only)),
            ["--list", ..] => return Ok(Test::List),
            ["--only", name, rest @ ..] => {
                only.push(groups::find(name).ok_or_else(|| format!("no group is called `{name}`; --list lists them"))?);
                rest
            }
            ["--only"] => return Err("--only needs the name of a group; --list lists them".into()),
            [other, ..] => return Err(format!("`{other}` is no argument of `cargo xtask test`")),
        };
    }
}

fn misuse(message: &str) -> ExitCode {
    eprintln!("{message}\n\n{USAGE}");
    ExitCode::from(2)
}

fn report(result: Result<String, String>) -> ExitCode {
    match result {
        Ok(done) => {
            println!("{done}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// The repository: where this crate was built from.
fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

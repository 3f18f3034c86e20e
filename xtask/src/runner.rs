//! Runs groups one after the other and sums up.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use crate::groups::{GROUPS, Group};

/// Why a group did not pass.
pub(crate) enum Stop {
    /// What failed.
    Failed(String),
    /// What is missing here, and how to get it.
    Skipped(String),
}

/// Where groups run.
pub(crate) struct Context {
    /// The repository.
    pub(crate) root: PathBuf,
    /// Cargo's target directory.
    pub(crate) target: PathBuf,
}

impl Context {
    /// The repository, and the target directory that this very program was built into.
    pub(crate) fn new(root: &Path) -> Self {
        let program = std::env::current_exe().unwrap_or_default();
        let target = program.ancestors().nth(2).map_or_else(|| root.join("target"), Path::to_path_buf);
        Self { root: root.to_path_buf(), target }
    }

    /// What `rustc` prints for these arguments.
    pub(crate) fn rustc<const N: usize>(&self, arguments: [&str; N]) -> Result<String, Stop> {
        let output = Command::new("rustc").args(arguments).current_dir(&self.root).output();
        let output = output.map_err(|error| Stop::Failed(format!("`rustc` could not be started: {error}")))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// A cargo command in the repository.
    pub(crate) fn cargo<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// The binary, built as it is now.
    pub(crate) fn dance<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = self.cargo(["run", "--quiet", "--package", "dance-cli", "--bin", "dance", "--"]);
        command.args(arguments);
        command
    }
}

/// Shows the command line, runs it with its output passed through, and wants success.
pub(crate) fn run(command: &mut Command) -> Result<(), Stop> {
    let line = command_line(command);
    println!("$ {line}");
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Stop::Failed(format!("`{line}`: {status}"))),
        Err(error) => Err(Stop::Failed(format!("`{line}` could not be started: {error}"))),
    }
}

/// Whether a command can be started and succeeds; its output is not shown.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

/// Runs the groups (all, where none is named), prints a line for each, and last `N passed, N failed`.
pub(crate) fn run_groups(root: &Path, only: &[&'static Group]) -> ExitCode {
    let context = Context::new(root);
    let ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false");
    let chosen: Vec<&Group> = if only.is_empty() { GROUPS.iter().collect() } else { only.to_vec() };

    let mut lines = Vec::new();
    let (mut passed, mut failed) = (0_u32, 0_u32);
    for group in chosen {
        println!("\n== {}: {}", group.name, group.what);
        let start = Instant::now();
        let outcome = match (group.run)(&context) {
            Ok(()) => Outcome::Passed,
            Err(Stop::Failed(why)) => Outcome::Failed(why),
            Err(Stop::Skipped(why)) if ci && !group.optional => Outcome::Failed(format!("skipped, under CI: {why}")),
            Err(Stop::Skipped(why)) => Outcome::Skipped(why),
        };
        let seconds = start.elapsed().as_secs_f64();
        let (word, why) = match outcome {
            Outcome::Passed => {
                passed += 1;
                ("passed", String::new())
            }
            Outcome::Failed(why) => {
                failed += 1;
                ("failed", why)
            }
            Outcome::Skipped(why) => ("skipped", why),
        };
        let line = format!("{:<12} {word:<7} {seconds:>6.1} s  {}", group.name, group.what);
        let why = if why.is_empty() { why } else { format!(": {why}") };
        println!("{line}{why}");
        // In the summary each group has one line.
        lines.push(line + why.lines().next().unwrap_or_default());
    }

    println!("\n== summary");
    for line in lines {
        println!("{line}");
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

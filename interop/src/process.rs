//! Programs under test, and the programs they are tested against.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Longest time that anything on loopback may take. Only a hang ever uses it up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// A file of the published test vectors.
#[must_use]
pub fn vector(file: &str) -> PathBuf {
    let path = repository().join("spec/vectors").join(file);
    assert!(path.is_file(), "{} is missing", path.display());
    path
}

/// The binary `dance`, built as the sources are now.
#[must_use]
pub fn dance() -> Command {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let binary = BINARY.get_or_init(|| {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "dance-cli", "--bin", "dance"]).current_dir(repository());
        assert!(build.status().unwrap().success(), "`cargo build -p dance-cli` failed");
        target().join("debug").join("dance")
    });
    Command::new(binary)
}

/// A program of the virtual environment that `cargo xtask` makes below the target directory.
#[must_use]
pub fn from_venv(name: &str) -> Command {
    let file = target().join("interop-venv").join("bin").join(name);
    assert!(file.is_file(), "{} is missing: `cargo xtask test --only interop` installs it", file.display());
    Command::new(file)
}

/// A daemon of Debian's: sbin is not on everyone's PATH.
#[must_use]
pub fn program(name: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = directories.find_map(|directory| Some(directory.join(name)).filter(|file| file.is_file()));
    Command::new(found.unwrap_or_else(|| panic!("{name} is missing: `cargo xtask test --only interop` installs it")))
}

/// What the tests of a process share while any of them runs; ended when the last lets go of it.
pub fn shared<T>(slot: &Mutex<Weak<T>>, start: impl FnOnce() -> T) -> Arc<T> {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    slot.upgrade().unwrap_or_else(|| {
        let started = Arc::new(start());
        *slot = Arc::downgrade(&started);
        started
    })
}

/// Cargo's target directory, from where this test runs: TARGET/debug/deps/test.
pub(crate) fn target() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_path_buf()
}

/// Runs a program to its end, without input; one that hangs is ended.
#[must_use]
pub fn run(command: &Command) -> Output {
    let child = limited(command).stdin(Stdio::null()).spawn().unwrap();
    ended(command, child.wait_with_output().unwrap())
}

/// Runs a program to its end on this input, which then stays open: for programs that stop at the end of their input before they have
/// seen what the peer has to say.
#[must_use]
pub fn run_on(command: &Command, input: &str) -> Output {
    let mut child = limited(command).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A program that has ended reads no more.
    let _ = stdin.write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    ended(command, output)
}

fn limited(command: &Command) -> Command {
    let mut limited = Command::new("timeout");
    limited.arg(PATIENCE.as_secs().to_string()).arg(command.get_program()).args(command.get_args());
    copy_surroundings(command, &mut limited);
    limited.stdout(Stdio::piped()).stderr(Stdio::piped());
    limited
}

fn ended(command: &Command, output: Output) -> Output {
    assert_ne!(output.status.code(), Some(124), "{command:?} hangs; so far:\n{}", text(&output));
    output
}

/// Runs a program that has to succeed, and gives its standard output.
pub fn run_ok(command: &Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// All that a program said.
#[must_use]
pub fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|stream| String::from_utf8_lossy(stream)).concat()
}

fn copy_surroundings(from: &Command, to: &mut Command) {
    if let Some(directory) = from.get_current_dir() {
        to.current_dir(directory);
    }
    for (name, value) in from.get_envs() {
        match value {
            Some(value) => to.env(name, value),
            None => to.env_remove(name),
        };
    }
}

/// A program that runs until this is dropped or the test's process ends, however it ends.
pub struct Daemon {
    name: String,
    supervisor: Child,
    output: Arc<Collected>,
}

#[derive(Default)]
struct Collected {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

impl Daemon {
    /// Starts it. A shell between us ends it when our end of the shell's input is closed.
    #[must_use]
    pub fn start(command: &Command) -> Self {
        const SUPERVISE: &str = r#""$@" 2>&1 & pid=$!; exec >/dev/null 2>&1; cat; kill $pid; wait $pid"#;
        let mut shell = Command::new("sh");
        shell.args(["-c", SUPERVISE, "sh"]).arg(command.get_program()).args(command.get_args());
        copy_surroundings(command, &mut shell);
        let mut supervisor = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = Arc::new(Collected::default());
        let (reader, collected) = (BufReader::new(supervisor.stdout.take().unwrap()), output.clone());
        std::thread::spawn(move || {
            for line in reader.split(b'\n').map_while(Result::ok) {
                collected.state.lock().unwrap().lines.push(String::from_utf8_lossy(&line).into_owned());
                collected.changed.notify_all();
            }
            collected.state.lock().unwrap().ended = true;
            collected.changed.notify_all();
        });
        let name = Path::new(command.get_program()).file_name().unwrap().to_string_lossy().into_owned();
        Self { name, supervisor, output }
    }

    /// Waits for a line that `find` makes something of.
    pub fn wait_for<T>(&self, what: &str, mut find: impl FnMut(&str) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        let (mut state, mut seen) = (self.output.state.lock().unwrap(), 0);
        loop {
            if let Some(found) = state.lines[seen..].iter().find_map(|line| find(line)) {
                return found;
            }
            seen = state.lines.len();
            let left = end.saturating_duration_since(Instant::now());
            assert!(!state.ended && !left.is_zero(), "no {what} from {}:\n{}", self.name, state.lines.join("\n"));
            state = self.output.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// What it said so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.output.state.lock().unwrap().lines.clone()
    }

    /// Whether it ended by itself.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.output.state.lock().unwrap().ended
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        let _ = self.supervisor.wait();
    }
}

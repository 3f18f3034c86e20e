//! Runs the built binary and looks at what came out.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output};

/// The binary under test, with nothing of the caller's terminal settings.
pub(crate) fn dance() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dance"));
    command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
    command
}

/// Runs `dance` with these arguments to its end.
pub(crate) fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    Ran::new(dance().args(args).output().unwrap())
}

/// What a finished command left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Standard output as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// Asserts exit code 2 and an error that contains `part`, with nothing on standard output.
    pub(crate) fn assert_usage_error(&self, part: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (2, ""), "{self:?}");
        assert!(self.stderr.starts_with("error: ") && self.stderr.contains(part), "no `{part}` in {self:?}");
    }
}

/// A file of the published vectors.
pub(crate) fn vectors(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors").join(path)
}

/// A section of `vectors.json`.
pub(crate) fn vector_section(name: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(vectors("vectors.json")).unwrap();
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    all.get(name).and_then(serde_json::Value::as_array).unwrap().clone()
}

/// Decodes hexadecimal.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

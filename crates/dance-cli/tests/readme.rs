//! What README.md tells people to type works.
//!
//! * Blocks marked `console` are run, in order and in one directory. Lines that start with `$ dance` or
//!   `$ cargo run --release --` are commands (`\` at the end continues them); what follows, up to the next `$`, is their output,
//!   standard error included. In it, `...` stands for any text, and alone on a line for any lines. No output shown means that any will
//!   do. A command must succeed, unless the next one is `$ echo $?`, whose output is then its exit code.
//! * In the directory lie `server.pem` and `server.key`, a server's certificate for `localhost`, as a reader would have his own.
//!   `dance gateway` and `dance demo --keep` do not end: the one is run with `--check`, the other without `--keep`, and their output is
//!   not compared.
//! * In blocks marked `sh`, for what needs a network or a reader's own zone, lines that start with `dance` must be correct usage.
//!
//! Other commands (`cargo build`, `curl`) are not run.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dance_testkit::CertSpec;

/// A command, and what is shown below it.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    line: usize,
    command: String,
    output: Vec<String>,
}

/// The fenced blocks whose info string begins with `mark`: number of the first line, and lines.
fn blocks<'a>(text: &'a str, mark: &str) -> Vec<(usize, Vec<&'a str>)> {
    let mut found = Vec::new();
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        if let Some(info) = line.trim_start().strip_prefix("```") {
            let content = lines.by_ref().map(|(line, _)| line).take_while(|line| line.trim() != "```").collect();
            if info.split_whitespace().next() == Some(mark) {
                found.push((number + 1, content));
            }
        }
    }
    found
}

/// The commands of a block. `prompt` is what stands before each.
fn commands(first: usize, lines: &[&str], prompt: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    let mut continued = false;
    for (line, text) in (first..).zip(lines) {
        if continued && let Some(shown) = found.last_mut() {
            shown.command.push('\n');
            shown.command.push_str(text);
            continued = text.ends_with('\\');
        } else if let Some(command) = text.strip_prefix(prompt) {
            found.push(Shown { line, command: command.to_owned(), output: Vec::new() });
            continued = text.ends_with('\\');
        } else if let Some(shown) = found.last_mut() {
            shown.output.push((*text).to_owned());
        }
    }
    found
}

/// Whether `found` is what `shown` shows, `...` standing for anything.
fn fits(shown: &[String], found: &[&str]) -> bool {
    match (shown, found) {
        ([], []) => true,
        ([], _) => false,
        ([first, rest @ ..], _) if first.trim() == "..." => {
            (0..=found.len()).any(|skipped| fits(rest, &found[skipped..]))
        }
        ([first, rest @ ..], [line, lines @ ..]) => fits_line(first.trim_end(), line.trim_end()) && fits(rest, lines),
        (_, []) => false,
    }
}

fn fits_line(shown: &str, found: &str) -> bool {
    match shown.split_once("...") {
        None => shown == found,
        Some((before, after)) => found.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| fits_line(after, &rest[at..]))
        }),
    }
}

/// The command as `dance ...`, if it is one of ours.
fn ours(command: &str) -> Option<String> {
    if command.starts_with("dance ") {
        return Some(command.to_owned());
    }
    let arguments = command.strip_prefix("cargo run --release --")?;
    Some(format!("dance{arguments}"))
}

/// Runs a line in a shell whose `dance` is the binary under test: exit code, and both outputs together.
fn shell(directory: &Path, line: &str) -> (i32, String) {
    let path = format!("{}:{}", directory.join(".bin").display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("sh")
        .args(["-c", &format!("{{ {line}\n}} 2>&1")])
        .current_dir(directory)
        .env("PATH", path)
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

fn readme() -> Option<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    path.exists().then(|| fs::read_to_string(path).unwrap())
}

#[test]
fn every_command_shown_in_the_readme_does_what_is_shown() {
    let Some(text) = readme() else { return };
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    fs::create_dir(directory.join(".bin")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_dance"), directory.join(".bin/dance")).unwrap();
    let server = CertSpec::localhost_server().self_signed().unwrap();
    fs::write(directory.join("server.pem"), server.chain_pem()).unwrap();
    fs::write(directory.join("server.key"), server.key_pem()).unwrap();

    let mut ran = 0;
    for (first, lines) in blocks(&text, "console") {
        let shown = commands(first, &lines, "$ ");
        let mut shown = shown.iter().peekable();
        while let Some(Shown { line, command, output }) = shown.next() {
            let Some(command) = ours(command) else { continue };
            let endless = command.starts_with("dance gateway ") || command.contains("demo --keep");
            let command = match command.strip_prefix("dance gateway ") {
                Some(arguments) => format!("dance gateway --check {arguments}"),
                None => command.replace("demo --keep", "demo"),
            };
            let (code, found) = shell(directory, &command);
            let expected = match shown.next_if(|next| next.command == "echo $?") {
                Some(next) => next.output.concat().trim().parse().unwrap(),
                None => 0,
            };
            assert_eq!(code, expected, "README.md line {line}: `{command}` printed\n{found}");
            let found: Vec<_> = found.trim_end().lines().collect();
            let end = output.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
            let output = &output[..end];
            assert!(
                output.is_empty() || endless || fits(output, &found),
                "README.md line {line}: `{command}`\nshown:\n{}\nfound:\n{}",
                output.join("\n"),
                found.join("\n")
            );
            ran += 1;
        }
    }
    assert!(ran > 0, "README.md shows no command in a block marked `console`");
}

#[test]
fn every_command_that_needs_a_network_is_correct_usage() {
    let Some(text) = readme() else { return };
    for (first, lines) in blocks(&text, "sh") {
        for Shown { line, command, .. } in commands(first, &lines, "") {
            let Some(command) = ours(&command) else { continue };
            let script = format!("dance() {{ printf '%s\\0' dance \"$@\"; }}\n{command}");
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            let words = String::from_utf8(output.stdout).unwrap();
            let words = words.split_terminator('\0').map(Into::into);
            if let Err(error) = dance_cli::check_usage(words) {
                panic!("README.md line {line}: `{command}`: {error}");
            }
        }
    }
}

#[test]
fn the_reader_of_blocks_reads_them() {
    let text = "Text\n```console\n$ dance name x \\\n    --format text\nreject: ...\n\n$ echo $?\n1\n```\n```sh\ndance y\n```\n";
    let found = blocks(text, "console");
    assert_eq!(found.len(), 1);
    let (first, lines) = &found[0];
    let shown = |line, command: &str, output: &[&str]| Shown {
        line,
        command: command.to_owned(),
        output: output.iter().map(|&line| line.to_owned()).collect(),
    };
    assert_eq!(
        commands(*first, lines, "$ "),
        [shown(3, "dance name x \\\n    --format text", &["reject: ...", ""]), shown(7, "echo $?", &["1"])]
    );
    assert_eq!(blocks(text, "sh"), [(11, vec!["dance y"])]);

    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(fits(&lines("a\n...\nd"), &["a", "b", "c", "d"]));
    assert!(fits(&lines("a\n...\nd"), &["a", "d"]));
    assert!(!fits(&lines("a\n...\nd"), &["a", "b"]));
    assert!(fits(&lines("TTL ... s, ...!"), &["TTL 300 s, secure!"]));
    assert!(!fits(&lines("TTL ... s"), &["TTL 300 min"]));
    assert!(!fits(&lines("a"), &["a", "b"]));
}

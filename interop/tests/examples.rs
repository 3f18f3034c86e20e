//! What is in `examples/` does what its README shows, with programs as the distribution has them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use dance_interop::dns::free_port;
use dance_interop::process::{Daemon, dance, from_venv, repository, run, text};

/// A copy of an example on ports that are free: each of `ports` stands for one wherever it occurs.
fn copy(example: &str, ports: &[u16]) -> tempfile::TempDir {
    let held: Vec<_> = ports.iter().map(|_| free_port()).collect();
    let copy = tempfile::tempdir().unwrap();
    // nginx's workers may be another user.
    fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o711)).unwrap();
    for file in fs::read_dir(repository().join("examples").join(example)).unwrap().map(Result::unwrap) {
        if file.file_type().unwrap().is_dir() {
            continue;
        }
        let mut text = fs::read_to_string(file.path()).unwrap();
        for (port, (_, free)) in ports.iter().zip(&held) {
            text = text.replace(&port.to_string(), &free.to_string());
        }
        let to = copy.path().join(file.file_name());
        fs::write(&to, text).unwrap();
        fs::set_permissions(&to, file.metadata().unwrap().permissions()).unwrap();
    }
    copy
}

/// The commands in blocks marked `console`, which begin with `$ ./`, and the lines below each.
fn shown(readme: &Path) -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(readme).unwrap();
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    let mut lines = text.lines();
    while lines.by_ref().any(|line| line == "```console") {
        for line in lines.by_ref().take_while(|line| *line != "```") {
            match (line.strip_prefix("$ ./"), commands.last_mut()) {
                (Some(command), _) => commands.push((format!("./{command}"), Vec::new())),
                (None, Some((_, output))) => output.push(line.to_owned()),
                (None, None) => panic!("{line:?} stands before the first command"),
            }
        }
    }
    commands
}

/// Whether the lines are there in their order. `...` in a line stands for any text, alone in a line for any lines.
fn fits(shown: &[String], found: &[&str]) -> bool {
    match (shown, found) {
        ([], []) => true,
        ([first, rest @ ..], _) if first == "..." => (0..=found.len()).any(|skipped| fits(rest, &found[skipped..])),
        ([first, rest @ ..], [line, lines @ ..]) => {
            let fits_line = match first.split_once("...") {
                None => first == line,
                Some((before, after)) => line.strip_prefix(before).is_some_and(|rest| rest.ends_with(after)),
            };
            fits_line && fits(rest, lines)
        }
        _ => false,
    }
}

/// A command of the example, with `dance` and a Python that has Flask.
fn command(directory: &Path, line: &str) -> Command {
    let dance: PathBuf = dance().get_program().into();
    let path = [dance.parent().unwrap().as_os_str(), &std::env::var_os("PATH").unwrap_or_default()].join(":".as_ref());
    let mut command = Command::new(directory.join(line));
    command
        .current_dir(directory)
        .env("PATH", path)
        .env("PYTHON", from_venv("python").get_program())
        .env_remove("RUST_LOG");
    command
}

// HTTP-03, HTTP-07, HTTP-11, HTTP-12
#[test]
fn flask_behind_nginx_knows_its_clients() {
    let directory = copy("flask-nginx", &[8443, 8080, 9181, 5300]);
    let path = directory.path();
    let commands = shown(&path.join("README.md"));
    assert_eq!(commands.iter().map(|(line, _)| line.as_str()).collect::<Vec<_>>(), ["./prepare", "./run", "./try"]);
    let check = |line: &str, expected: &[String], found: &str| {
        let found: Vec<_> = found.trim_end().lines().collect();
        assert!(fits(expected, &found), "`{line}`\nshown:\n{}\nfound:\n{}", expected.join("\n"), found.join("\n"));
    };
    let to_the_end = |(line, expected): &(String, Vec<String>)| {
        let output = run(&command(path, line));
        assert!(output.status.success(), "`{line}`: {}\n{}", output.status, text(&output));
        check(line, expected, &text(&output));
    };
    to_the_end(&commands[0]);
    let (line, expected) = &commands[1];
    let running = Daemon::start(&command(path, line));
    running.wait_for("word that it is ready", |line| line.starts_with("ready: ").then_some(()));
    check(line, expected, &running.lines().join("\n"));
    to_the_end(&commands[2]);

    // Those that were refused have not got to the application, and each for its own reason.
    let log = running.lines();
    let count = |part: &str| log.iter().filter(|line| line.contains(part)).count();
    assert_eq!((count("says '"), count("99 degrees")), (2, 0), "{}", log.join("\n"));
    for (reason, times) in [("no-match", 1), ("name-not-allowed", 1), ("no-client-name", 1)] {
        assert_eq!(count(&format!("reason=\"{reason}\"")), times, "{reason}: {}", log.join("\n"));
    }
}

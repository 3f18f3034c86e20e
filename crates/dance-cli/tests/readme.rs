//! What README.md tells people to type works, in a scene made as the README supposes its reader's to be.
//!
//! * Blocks marked `console` are run, in order and in one directory. Lines that start with `$ dance` or
//!   `$ cargo run --release --` are commands (`\` at the end continues them); what follows, up to the next `$`, is their output,
//!   standard error included. In it, `...` stands for any text, and alone on a line for any lines. No output shown means that any will
//!   do. A command must succeed, unless the next one is `$ echo $?`, whose output is then its exit code.
//! * There is a signed DNS in which every record that a command prints is published at once, beside those that its name has, an application at 127.0.0.1:8080 that
//!   says hello to the name in `Dane-Clientid`, and the certificate of a server `gateway.example.net` in `server-chain.pem` and
//!   `server-key.pem`. Commands are given the options by which they find these on a test's ports.
//! * `dance gateway` stays up until the next one, and so does `dance auth-service`, which 127.0.0.1:9181 stands for; what is shown is their log up to
//!   the line with their address. `demo --keep` is run without `--keep`.
//! * In blocks marked `sh` lines that start with `dance` must be correct usage.
//!
//! Other commands (`cargo build`, `curl`) are not run.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use dance_testkit::{Authority, CertSpec, SignedWorld, Zone};
use tempfile::TempDir;

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
        ([first, rest @ ..], [line, lines @ ..]) => fits_line(first.trim(), line.trim()) && fits(rest, lines),
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

/// The world of the README's reader.
struct Scene {
    directory: TempDir,
    dns: SignedWorld,
    records: HashMap<String, Vec<String>>,
    application: String,
    gateway: Option<Daemon>,
    auth_service: Option<Daemon>,
}

struct Daemon {
    child: Child,
    address: String,
    /// Open for as long as it lives.
    _log: BufReader<ChildStdout>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Scene {
    async fn set() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let dns = SignedWorld::builder().zone(Zone::new("example.com")).start().await.unwrap();
        let authority = Authority::root("Servers").unwrap();
        let server = CertSpec::localhost_server().dns_names(&["gateway.example.net"]).issued_by(&authority).unwrap();
        for (name, content) in [
            ("server-chain.pem", server.chain_pem()),
            ("server-key.pem", server.key_pem().to_owned()),
            (".server-ca.pem", authority.pem().to_owned()),
            (".trust-anchor", dns.trust_anchor_text().to_owned()),
        ] {
            fs::write(path.join(name), content).unwrap();
        }
        symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec"), path.join("spec")).unwrap();
        Self { dns, records: HashMap::new(), application: application(), gateway: None, auth_service: None, directory }
    }

    /// A shell in which `dance` is the binary under test, with the options by which it finds the scene.
    fn shell(&self, line: &str) -> Command {
        let address = |daemon: &Option<Daemon>| daemon.as_ref().map_or("nobody:1".to_owned(), |it| it.address.clone());
        let gateway = address(&self.gateway);
        let dns = format!("--resolver {} --trust-anchor .trust-anchor", self.dns.addr());
        let script = format!(
            "dance() {{ case $1 in
                 resolve) {binary} \"$@\" {dns} ;;
                 request) {binary} \"$@\" --resolve-to {gateway} --server-ca .server-ca.pem {dns} ;;
                 gateway) case \" $* \" in
                     *' forward '*) exec {binary} \"$@\" --listen 127.0.0.1:0 ;;
                     *) exec {binary} \"$@\" --listen 127.0.0.1:0 {dns} ;;
                 esac ;;
                 auth-service) exec {binary} \"$@\" --listen 127.0.0.1:0 {dns} ;;
                 *) {binary} \"$@\" ;;
             esac; }}
             {{ {line}
             }} 2>&1",
            binary = env!("CARGO_BIN_EXE_dance"),
            line = line
                .replace("127.0.0.1:8080", &self.application)
                .replace("127.0.0.1:9181", &address(&self.auth_service)),
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(self.directory.path()).env("NO_COLOR", "1");
        command
    }

    /// Starts a daemon, and gives its lines until it listens.
    fn start(&self, command: &str) -> (Daemon, String) {
        let mut child = self.shell(command).stdout(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let mut lines = String::new();
        let address = loop {
            let start = lines.len();
            assert_ne!(log.read_line(&mut lines).unwrap(), 0, "`{command}` ended: {lines}");
            if let Some((_, address)) = lines[start..].trim_end().split_once("listening addr=") {
                break address.to_owned();
            }
        };
        (Daemon { child, address, _log: log }, lines)
    }

    /// Runs a command: its exit code and both outputs together. Of a daemon, the lines until it listens.
    fn run(&mut self, command: &str) -> (i32, String) {
        if command.starts_with("dance gateway ") {
            self.gateway = None;
            let (daemon, lines) = self.start(command);
            self.gateway = Some(daemon);
            return (0, lines);
        }
        if command.starts_with("dance auth-service ") {
            self.auth_service = None;
            let (daemon, lines) = self.start(command);
            self.auth_service = Some(daemon);
            return (0, lines);
        }
        let output = self.shell(command).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        for line in text.lines() {
            if let [owner, ttl, "IN", "TLSA", data @ ..] = line.split(' ').collect::<Vec<_>>().as_slice() {
                let records = self.records.entry((*owner).to_owned()).or_default();
                records.push(data.join(" "));
                self.dns.set_tlsa(owner, records, ttl.parse().unwrap()).unwrap();
            }
        }
        (output.status.code().unwrap(), text)
    }
}

/// An application that says hello to whoever the header names: its address.
fn application() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut head = BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            let field = head.find_map(|line| Some(line.to_lowercase().strip_prefix("dane-clientid: ")?.to_owned()));
            let body = format!("hello, {}\n", field.unwrap_or_default());
            let answer =
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _ = (&stream).write_all(answer.as_bytes());
        }
    });
    address
}

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_shown_in_the_readme_does_what_is_shown() {
    let text = readme();
    let mut scene = Scene::set().await;
    let mut ran = 0;
    for (first, lines) in blocks(&text, "console") {
        let shown = commands(first, &lines, "$ ");
        let mut shown = shown.iter().peekable();
        while let Some(Shown { line, command, output }) = shown.next() {
            let Some(command) = ours(command) else { continue };
            let (code, found) = scene.run(&command.replace("demo --keep", "demo"));
            let expected = match shown.next_if(|next| next.command == "echo $?") {
                Some(next) => next.output.concat().trim().parse().unwrap(),
                None => 0,
            };
            assert_eq!(code, expected, "README.md line {line}: `{command}` printed\n{found}");
            let found: Vec<_> = found.trim_end().lines().collect();
            let end = output.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
            let output = &output[..end];
            assert!(
                output.is_empty() || fits(output, &found),
                "README.md line {line}: `{command}`\nshown:\n{}\nfound:\n{}",
                output.join("\n"),
                found.join("\n")
            );
            ran += 1;
        }
    }
    assert!(ran > 5, "README.md shows only {ran} commands in blocks marked `console`");
}

#[test]
fn every_command_in_a_script_is_correct_usage() {
    let text = readme();
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

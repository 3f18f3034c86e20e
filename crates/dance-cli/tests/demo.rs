//! `dance demo`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::{Ran, dance, run};

const ESCAPE: char = '\u{1b}';

// SRV-07, SRV-12, HTTP-01, HTTP-02, SEC-12
#[test]
fn everything_goes_as_told() {
    let ran = run(["demo"]);
    assert_told(&ran, 6);
    assert!(!ran.stdout.contains("2022") && !ran.stdout.contains("TLS 1.2"), "{}", ran.stdout);
}

// SRV-24, CLI-04, CLI-07
#[test]
fn everything_goes_as_told_in_the_older_profile() {
    let ran = run(["demo", "--profile", "2022"]);
    assert_told(&ran, 8);
    let count = |told: &str| ran.stdout.matches(told).count();
    // Four over TLS 1.2, where names go in clear, and four over TLS 1.3, where they do not.
    assert_eq!((count("anybody could read  the client's name"), count("anybody could read  no client's name")), (4, 4));
    assert_eq!(count("handshake_failure in the middle of its handshake"), 2, "{}", ran.stdout);
    assert_eq!(count("handshake_failure, and no reason"), 1, "{}", ran.stdout);
}

// HTTP-03, HTTP-07, HTTP-08, HTTP-09, HTTP-11, HTTP-12
#[test]
fn everything_goes_as_told_behind_a_load_balancer() {
    let ran = run(["demo", "--cooperative"]);
    let told = [
        "200 OK: \"hello, sensor7._device.example.com\"",
        "its certificate, and 1 more of the chain",
        "authenticated by 2 0 1",
        "no-match (",
        "name-not-allowed (DNS not asked)",
        "no-certificate (DNS not asked)",
        "403 Forbidden, and no reason",
    ];
    assert_all_told(&ran, 8, &told);
    let count = |told: &str| ran.stdout.matches(told).count();
    assert_eq!((count("401 Unauthorized, and no reason"), count("application saw nothing")), (3, 4), "{}", ran.stdout);
    run(["demo", "--cooperative", "--profile", "2022"]).assert_usage_error("cannot be used with");
}

fn assert_told(ran: &Ran, visits: usize) {
    let told = [
        "authenticated by 3 1 1",
        "authenticated by 2 0 1, found through the wildcard",
        "refused: no-match",
        "refused: name-not-allowed (DNS not asked",
        "refused: tlsa-absent",
    ];
    assert_all_told(ran, visits, &told);
}

fn assert_all_told(ran: &Ran, visits: usize, all: &[&str]) {
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    assert_eq!(ran.stdout.matches("  ✓ ").count(), visits, "{ran:?}");
    assert!(ran.stdout.contains(&format!("All {visits} went as told")), "{ran:?}");
    for told in all {
        assert!(ran.stdout.contains(told), "{told:?} is not told: {}", ran.stdout);
    }
    assert!(!ran.stdout.contains(ESCAPE), "{ran:?}");
    assert!(ran.stdout.lines().all(|line| line.chars().count() <= 110), "{}", ran.stdout);
}

#[test]
fn colour_can_be_had_and_refused() {
    let demo = |set: &[&str], args: &[&str]| {
        let mut command = dance();
        command.arg("demo").args(args).env("CLICOLOR_FORCE", "1");
        command.envs(set.iter().map(|&name| (name, "1")));
        Ran::new(command.output().unwrap())
    };
    // Side by side, as each takes its seconds.
    std::thread::scope(|scope| {
        let forced = scope.spawn(|| demo(&[], &[]).stdout.contains(ESCAPE));
        let refused = scope.spawn(|| demo(&["NO_COLOR"], &[]).stdout.contains(ESCAPE));
        let told_not_to = scope.spawn(|| demo(&[], &["--no-color"]).stdout.contains(ESCAPE));
        let coloured = [forced, refused, told_not_to].map(|thread| thread.join().unwrap());
        assert_eq!(coloured, [true, false, false]);
    });
}

/// A demonstration that is left running; a failing test does not leave it behind.
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// HTTP-11, HTTP-12
#[test]
fn what_is_kept_behind_a_load_balancer_can_be_tried_too() {
    let (results, told) = try_what_is_printed(&["--cooperative"]);
    let codes: Vec<_> = results.iter().map(|ran| ran.code).collect();
    assert_eq!(codes, [0, 0, 0, 1, 1, 1], "{results:?}");
    assert_eq!(results[2].stdout, "hello, truck12._fleet.example.com\n");
    assert!(results[3].stderr.contains("401") && results[4].stderr.contains("403"), "{results:?}");
    let outcomes = ["authenticated by 3 1 1", "authenticated by 3 1 1", "authenticated by 2 0 1"];
    let outcomes = outcomes.into_iter().chain(["no-match", "name-not-allowed", "no-certificate"]);
    for (line, outcome) in told.iter().zip(outcomes) {
        assert!(line.contains(&format!("application: {outcome}")), "{told:?}");
    }
}

#[test]
fn what_is_kept_can_be_tried_with_the_commands_that_are_printed() {
    try_profile("current", &[0, 0, 1, 1, 0, 1]);
}

#[test]
fn what_is_kept_of_the_older_profile_can_be_tried_too() {
    try_profile("2022", &[0, 0, 1, 1, 0, 1, 0]);
}

fn try_profile(profile: &str, expected: &[i32]) {
    let (results, told) = try_what_is_printed(&["--profile", profile]);
    let codes: Vec<_> = results.iter().map(|ran| ran.code).collect();
    assert_eq!(codes, expected, "{results:?}");
    assert_eq!(results[0].stdout, "hello, robot3._device.example.com\n");
    assert_eq!(results[1].stdout, "hello, truck12._fleet.example.com\n");
    assert!(results[2].stderr.contains("not connecting"), "{results:?}");
    assert!(results[3].stderr.contains("client authentication refused"), "{results:?}");

    if let Some(legacy) = results.get(6) {
        assert!(legacy.stderr.contains("TLS 1.2") && legacy.stdout == results[0].stdout, "{results:?}");
    }
    assert!(told[0].contains("gateway: robot3._device.example.com authenticated by 3 1 1"), "{told:?}");
    assert!(told[1].contains("gateway: truck12._fleet.example.com authenticated by 2 0 1"), "{told:?}");
    assert!(told[2].contains("gateway: robot3._device.example.com refused: no-match"), "{told:?}");
}

/// What comes of each command that a demonstration prints, and what it tells of the visitors.
fn try_what_is_printed(args: &[&str]) -> (Vec<Ran>, Vec<String>) {
    let mut demo = Kept(dance().args(["demo", "--keep"]).args(args).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut commands = Vec::new();
    let binary = env!("CARGO_BIN_EXE_dance");
    let directory = loop {
        let line = lines.next().unwrap();
        if let Some(command) = line.trim().strip_prefix(binary) {
            commands.push(command.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        }
        if let Some((_, directory)) = line.split_once("Ctrl-C ends it and removes ") {
            break directory.trim_end_matches('.').to_owned();
        }
    };
    let results: Vec<_> = commands.iter().map(run).collect();

    // A signal ends it and leaves nothing behind; until then each visitor was told about.
    assert!(Path::new(&directory).exists());
    let kill = Command::new("sh").args(["-c", "kill \"$0\"", &demo.0.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(demo.0.wait().unwrap().code(), Some(0));
    assert!(!Path::new(&directory).exists());
    let told = lines.filter(|line| line.contains("gateway: ") || line.contains("application: ")).collect();
    (results, told)
}

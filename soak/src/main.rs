//! Very many handshakes with a gateway in a process of its own, half of them refused or broken off at random points, and what is left
//! of them in the end: `cargo xtask soak`.
//!
//! | module | holds |
//! |---|---|
//! | `plan` | the kinds of clients, how often each comes, and what the gateway must say about it |
//! | `client` | what each does |
//! | `cut` | connections that break off after so many octets |
//! | `flood`, `flood_driver`, `flood_tls` | another scenario: strangers without end, and whether known clients notice |
//! | `scene` | DNS, web application, keys, the gateway's process and what it says |
//! | `server` | that process |
//! | `measure` | its memory and open files |
//! | `report` | what it came to |
#![allow(clippy::unwrap_used, reason = "a test program: what it cannot set up, it cannot report on")]

mod client;
mod cut;
mod flood;
mod flood_driver;
mod flood_tls;
mod measure;
mod plan;
mod report;
mod scene;
mod server;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::client::Clients;
use crate::measure::{Process, Sample};
use crate::plan::Kind;
use crate::report::Report;
use crate::scene::Scene;

const USAGE: &str = "\
Usage: dance-soak [--handshakes N] [--clients N] [--seed N]
       dance-soak flood [--seconds N] [--rate N] [--known N] [--judge yes|no]

  --handshakes N  how many [default: 200000]
  --clients N     how many at a time [default: 192]
  --seed N        draw the same clients as another run [default: by the clock]";

/// How often memory and open files are looked at.
const SAMPLE: Duration = Duration::from_millis(200);
/// How often there is a sign of life.
const PROGRESS: Duration = Duration::from_secs(10);
/// After the last client the gateway has this long to get back to the files that it had open before: longer than any of its own
/// time limits (idle connections to the origin, look-ups that nobody waits for).
const SETTLE: Duration = Duration::from_secs(30);
/// The whole run must not take longer than this, and for each handshake so much more: some ten times of what it takes.
const LONGEST: Duration = Duration::from_secs(120);
const LONGEST_EACH: Duration = Duration::from_millis(20);

struct Settings {
    handshakes: u64,
    clients: u64,
    seed: u64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["--server", configurations @ ..] = words.as_slice() {
        return server::run(configurations);
    }
    if let ["flood", rest @ ..] = words.as_slice() {
        return flood::main(rest);
    }
    match parse(&words) {
        Ok(settings) => tokio::runtime::Runtime::new().unwrap().block_on(soak(&settings)),
        Err(message) => {
            eprintln!("{message}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut words: &[&str]) -> Result<Settings, String> {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut settings = Settings { handshakes: 200_000, clients: 192, seed: u64::from(clock.subsec_nanos()) };
    loop {
        let (setting, value, rest) = match words {
            [] => return Ok(settings),
            ["--handshakes", value, rest @ ..] => (&mut settings.handshakes, value, rest),
            ["--clients", value, rest @ ..] => (&mut settings.clients, value, rest),
            ["--seed", value, rest @ ..] => (&mut settings.seed, value, rest),
            [other, ..] => return Err(format!("`{other}` is no argument, or has no value")),
        };
        *setting = value.parse().map_err(|_| format!("`{value}` is no number"))?;
        words = rest;
    }
}

async fn soak(settings: &Settings) -> ExitCode {
    println!("{} handshakes, {} at a time, --seed {}", settings.handshakes, settings.clients, settings.seed);
    let scene = Scene::set(settings.handshakes).await;
    let clients = Arc::new(Clients::new(scene, settings.seed).await);
    let process = Process(clients.scene().gateways().pid);

    // One of each first: what is made once and kept (keys of zones, tables, caches) is there before anything is compared.
    let mut report = Report::default();
    let mut first = JoinSet::new();
    for (lane, kind) in (0..).zip(Kind::ALL) {
        let clients = Arc::clone(&clients);
        first.spawn(async move { (*kind, clients.act(*kind, 0, lane).await) });
    }
    while let Some(done) = first.join_next().await {
        let (kind, result) = done.unwrap();
        report.add(kind, result);
    }
    settle(&process, 0).await;
    let start = Instant::now();
    let before = process.sample(0);

    let longest = LONGEST + LONGEST_EACH * u32::try_from(settings.handshakes).unwrap_or(u32::MAX);
    let mut samples = vec![before];
    if timeout(longest, all(settings, &clients, &process, &mut report, &mut samples)).await.is_err() {
        println!("FAILED: not through after {} s", longest.as_secs());
        return ExitCode::FAILURE;
    }
    let took = start.elapsed();
    settle(&process, before.files).await;
    let after = process.sample(settings.handshakes);
    let orderly = clients.scene().gateways().stop().await;
    if report.print(&samples, after, took, orderly) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All handshakes, by so many clients at a time.
async fn all(
    settings: &Settings,
    clients: &Arc<Clients>,
    process: &Process,
    report: &mut Report,
    samples: &mut Vec<Sample>,
) {
    let (next, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for lane in 0..settings.clients {
        let (clients, next, done, all) =
            (Arc::clone(clients), Arc::clone(&next), Arc::clone(&done), settings.handshakes);
        tasks.spawn(async move {
            let mut report = Report::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= all {
                    return report;
                }
                let kind = clients.kind_of(number);
                report.add(kind, clients.act(kind, number, lane).await);
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut tick = interval(SAMPLE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (start, mut told) = (Instant::now(), Instant::now());
    loop {
        tokio::select! {
            ended = tasks.join_next() => match ended {
                Some(part) => report.merge(part.unwrap()),
                None => return,
            },
            _ = tick.tick() => {
                let sample = process.sample(done.load(Ordering::Relaxed));
                if told.elapsed() >= PROGRESS {
                    told = Instant::now();
                    println!("{:>4} s: {sample}", start.elapsed().as_secs());
                }
                samples.push(sample);
            }
        }
    }
}

/// Waits until the process has no more files open than that, or at least no longer closes any.
async fn settle(process: &Process, files: usize) {
    let start = Instant::now();
    let (mut fewest, mut since) = (usize::MAX, Instant::now());
    while start.elapsed() < SETTLE && since.elapsed() < SETTLE / 3 {
        let open = process.sample(0).files;
        if open <= files {
            return;
        }
        if open < fewest {
            (fewest, since) = (open, Instant::now());
        }
        sleep(SAMPLE).await;
    }
}

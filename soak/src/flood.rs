//! A flood: strangers without end ask for names below zones whose servers never answer, while known clients keep authenticating
//! (SEC-01, SEC-02). `cargo xtask soak flood`.
//!
//! Once at the driver, 5,000 calls a second, with the same run without flood before and after; and over TLS, where strangers take CPU from
//! known clients by their handshakes alone: there it is also compared with as many strangers whose names are refused without a look-up. Half of the
//! known clients have records with a TTL of two seconds, so that they are looked up all the time; half of the strangers' names are below
//! the known clients' own allow-list entry.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until};

use crate::flood_driver::Driver;
use crate::flood_tls::Tls;
use crate::measure::{Process, Sample, growth};

pub(crate) const USAGE: &str = "\
Usage: dance-soak flood [--seconds N] [--rate N] [--known N] [--judge yes|no]

  --seconds N     length of each run [default: 20]
  --rate N        strangers' calls at the driver, each second [default: 5000]
  --known N       known clients [default: 200]
  --judge yes|no  whether times and memory are judged too, or only failures; then over TLS the
                  smallest flood only [default: yes]";

/// Strangers' addresses begin after those of as many known clients.
pub(crate) const MOST_KNOWN: u64 = 1_000;
/// The zone of the known clients, and of an allow-list entry.
pub(crate) const ZONE: &str = "example.com";
/// A zone below it whose servers never answer: in the same allow-list entry.
pub(crate) const SILENT_BELOW: &str = "silent.example.com";
/// Another one, with an entry of its own.
pub(crate) const SILENT: &str = "silent.example.net";
/// Seconds for which every other known client's answer is good.
pub(crate) const SHORT_TTL: u32 = 2;
/// Seconds for which the others' are.
pub(crate) const LONG_TTL: u32 = 3600;

/// From one authentication of a known client to its next.
const PACE: Duration = Duration::from_millis(100);
/// Over TLS, where each costs a handshake.
const TLS_PACE: Duration = Duration::from_secs(1);
/// Strangers' handshakes, in hundredths of what the machine can do beside the known clients'.
const TLS_SHARES: [u64; 3] = [25, 50, 90];
/// So many handshakes at a time find out what the machine can do.
const LANES: u64 = 32;
/// Most strangers under way at a time: more than that is a machine that does not keep up.
const MOST_STRANGERS: usize = 2000;
/// Before anything is measured: everybody has been there, and the silent zones have been found out.
const WARM_UP: Duration = Duration::from_secs(4);
/// What most strangers are told.
const SUSPENDED: &str = "lookup-zone-suspended";
/// What any of them is.
const EXPECTED: [&str; 4] = [SUSPENDED, "lookup-timeout", "lookup-limit-entry", "lookup-limit-total"];
/// Strangers who cause no look-ups may make known clients wait this many times as long. Where they do so more, what makes them wait is the
/// queue for a CPU that is as good as full, and the next percent of load changes it by any factor: shown, and not judged.
const MOST_LOADED: f64 = 3.0;
/// The known clients' 99th percentile may grow by this factor.
const MOST_SLOWER: f64 = 2.0;
/// Memory may grow by so many octets with each stranger's call: an object of the smallest size that is kept is more.
const MOST_GROWTH: f64 = 16.0;
const SAMPLE: Duration = Duration::from_millis(200);

struct Settings {
    seconds: u64,
    rate: u64,
    known: u64,
    judge: bool,
}

/// What a known client and a stranger do, and where memory is counted.
pub(crate) trait Scenario: Send + Sync + 'static {
    /// The known client with this number authenticates once.
    fn known(&self, number: u64) -> impl Future<Output = Result<(), String>> + Send;

    /// The stranger with this number comes, and is told.
    fn stranger(&self, number: u64, names: Names) -> impl Future<Output = String> + Send;

    /// The process that is to withstand it.
    fn process(&self) -> Process;

    /// Called now and then: forget what was only for a log.
    fn tidy(&self) {}
}

/// What strangers ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Names below the silent zones.
    Silent,
    /// Names that are off the allow-list: refused before a look-up.
    NotAllowed,
}

impl Names {
    /// The name that the stranger with this number conveys.
    pub(crate) fn name(self, number: u64) -> String {
        let zone = match self {
            Self::NotAllowed => "elsewhere.example",
            Self::Silent if number.is_multiple_of(2) => SILENT,
            Self::Silent => SILENT_BELOW,
        };
        format!("n{number}._device.{zone}")
    }
}

/// An address for each of many.
pub(crate) fn address(number: u64) -> IpAddr {
    let [.., a, b, c] = (number % (1 << 24)).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, a, b, c))
}

/// The known client's name.
pub(crate) fn known_name(number: u64) -> String {
    format!("sensor{number}._device.{ZONE}")
}

/// What one run came to.
#[derive(Default)]
struct Run {
    /// What each authentication of a known client took, sorted.
    times: Vec<Duration>,
    failed: Vec<String>,
    strangers: BTreeMap<String, u64>,
    took: Duration,
    samples: Vec<Sample>,
}

impl Run {
    fn percentile(&self, part: f64) -> Duration {
        #[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "a position in the list")]
        let position = (self.times.len() as f64 * part) as usize;
        self.times.get(position.min(self.times.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    fn strangers(&self) -> u64 {
        self.strangers.values().sum()
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = |part| self.percentile(part).as_micros();
        let memory = |sample: Option<&Sample>| sample.map_or(0.0, |sample| sample.memory as f64 / 1024.0 / 1024.0);
        write!(
            f,
            "{} | {} | {} | {} | {} | {:.0} | {:.1} -> {:.1}",
            self.times.len(),
            self.failed.len(),
            micros(0.5),
            micros(0.99),
            micros(0.999),
            self.strangers() as f64 / self.took.as_secs_f64(),
            memory(self.samples.first()),
            memory(self.samples.last()),
        )
    }
}

pub(crate) fn main(words: &[&str]) -> ExitCode {
    match parse(words) {
        Ok(settings) => tokio::runtime::Runtime::new().unwrap().block_on(flood(&settings)),
        Err(message) => {
            eprintln!("{message}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut words: &[&str]) -> Result<Settings, String> {
    let mut settings = Settings { seconds: 20, rate: 5000, known: 200, judge: true };
    loop {
        let (setting, value, rest) = match words {
            [] => return Ok(settings),
            ["--judge", value @ ("yes" | "no"), rest @ ..] => {
                (settings.judge, words) = (*value == "yes", rest);
                continue;
            }
            ["--seconds", value, rest @ ..] => (&mut settings.seconds, value, rest),
            ["--rate", value, rest @ ..] => (&mut settings.rate, value, rest),
            ["--known", value, rest @ ..] => (&mut settings.known, value, rest),
            [other, ..] => return Err(format!("`{other}` is no argument, or has no value")),
        };
        *setting = value.parse().ok().filter(|value| *value > 0).ok_or(format!("`{value}` is no number"))?;
        words = rest;
    }
}

async fn flood(settings: &Settings) -> ExitCode {
    let driver =
        scenario("At the driver", Driver::new(settings.known).await, PACE, &[settings.rate], false, settings).await;
    let tls = Tls::new(settings.known).await;
    let capacity = capacity(&tls).await;
    println!("\nThis machine does {capacity} handshakes a second, both ends, if it does nothing else");
    let rates = TLS_SHARES.map(|share| (capacity.saturating_sub(settings.known) * share / 100).max(1));
    let rates = if settings.judge { &rates[..] } else { &rates[..1] };
    let tls = scenario("Over TLS", tls, TLS_PACE, rates, true, settings).await;
    if driver && tls { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Known clients' handshakes in a second, as fast as they go.
async fn capacity<S: Scenario>(scenario: &S) -> u64 {
    let (start, done) = (Instant::now(), AtomicU64::new(0));
    let lane = async |number: u64| {
        while start.elapsed() < WARM_UP {
            scenario.known(number).await.unwrap();
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    join_all((0..LANES).map(lane)).await;
    done.load(Ordering::Relaxed) / WARM_UP.as_secs()
}

/// The runs of one scenario, with so many strangers a second, and what they come to. With `control` each flood is held against as many
/// strangers who cause no look-ups, else against quiet. True if all is well.
async fn scenario<S: Scenario>(
    title: &str,
    scenario: S,
    pace: Duration,
    rates: &[u64],
    control: bool,
    settings: &Settings,
) -> bool {
    let scenario = Arc::new(scenario);
    let length = Duration::from_secs(settings.seconds);
    let run = |rate, names, length| run(&scenario, settings.known, pace, (rate, names), length);
    let mut failures = run(0, Names::Silent, WARM_UP).await.failed;
    println!("\n{title}: {} known clients, each every {} ms", settings.known, pace.as_millis());
    println!(
        "\n| run | authenticated | failed | median us | 99 % us | 99.9 % us | strangers/s | MiB |\n|---|---|---|---|---|---|---|---|"
    );
    let mut judgements = Vec::new();
    let mut quiet = run(0, Names::Silent, length).await;
    println!("| quiet | {quiet} |");
    for rate in rates {
        // The strangers who wait while the zones are found out are in its figures as well.
        let flooded = run(*rate, Names::Silent, length + WARM_UP).await;
        println!("| {rate} strangers/s | {flooded} |");
        let harmless = if control { Some(run(*rate, Names::NotAllowed, length).await) } else { None };
        if let Some(harmless) = &harmless {
            println!("| {rate} off the allow-list/s | {harmless} |");
        }
        let after = run(0, Names::Silent, length).await;
        println!("| quiet | {after} |");
        judgements.push(Judgement::new(*rate, &flooded, [&quiet, &after], harmless.as_ref()));
        failures.extend([quiet.failed, flooded.failed, harmless.unwrap_or_default().failed].concat());
        quiet = after;
    }
    failures.extend(quiet.failed);
    println!();
    let well = judgements.iter().filter(|judgement| judgement.print(settings.judge)).count() == judgements.len();
    for failure in failures.iter().take(5) {
        println!("WRONG: {failure}");
    }
    if !failures.is_empty() {
        println!("FAILED: {} times a known client was not authenticated", failures.len());
    }
    well && failures.is_empty()
}

/// What a flood was told, and whether it was noticed.
struct Judgement {
    rate: u64,
    told: BTreeMap<String, u64>,
    /// The known clients' 99th percentile, by that of the quiet runs before and after.
    to_quiet: f64,
    /// By that with as many strangers who cause no look-ups.
    to_harmless: Option<f64>,
    /// Those by the quiet ones.
    loaded: f64,
    /// Octets for each stranger.
    growth: f64,
}

impl Judgement {
    fn new(rate: u64, flooded: &Run, quiet: [&Run; 2], harmless: Option<&Run>) -> Self {
        let percentile = |run: &Run| run.percentile(0.99).as_secs_f64();
        let quiet = quiet.map(percentile).iter().sum::<f64>() / 2.0;
        let second_half = flooded.samples.get(flooded.samples.len() / 2..).unwrap_or_default();
        Self {
            rate,
            told: flooded.strangers.clone(),
            to_quiet: percentile(flooded) / quiet,
            to_harmless: harmless.map(|harmless| percentile(flooded) / percentile(harmless)),
            loaded: harmless.map_or(1.0, |harmless| percentile(harmless) / quiet),
            growth: growth(second_half).unwrap_or_default(),
        }
    }

    /// True if all is well.
    fn print(&self, judge: bool) -> bool {
        let Self { rate, told, to_quiet, to_harmless, loaded, growth } = self;
        let harmless = to_harmless
            .map(|ratio| format!(", with as many off the allow-list {ratio:.2} (those with quiet {loaded:.2})"));
        let harmless = harmless.unwrap_or_default();
        let list: Vec<_> = told.iter().map(|(told, count)| format!("{told} {count}")).collect();
        println!(
            "{rate} strangers/s: 99 % compared with quiet {to_quiet:.2}{harmless}; {growth:.1} octets for each stranger in the second half; told: {}",
            list.join(", ")
        );
        let checks = [
            (told.keys().all(|told| EXPECTED.contains(&told.as_str())), "a stranger was told something else"),
            (told.contains_key(SUSPENDED), "the silent zones were not found out"),
            (
                !judge || *loaded > MOST_LOADED || to_harmless.unwrap_or(*to_quiet) <= MOST_SLOWER,
                "known clients had to wait more than twice as long",
            ),
            (!judge || *growth < MOST_GROWTH, "memory grew"),
        ];
        for (_, what) in checks.iter().filter(|(well, _)| !well) {
            println!("FAILED: {what}");
        }
        checks.iter().all(|(well, _)| *well)
    }
}

/// Known clients for so long, and strangers beside them.
async fn run<S: Scenario>(
    scenario: &Arc<S>,
    clients: u64,
    pace: Duration,
    flood: (u64, Names),
    length: Duration,
) -> Run {
    let (start, over, came) = (Instant::now(), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut known = JoinSet::new();
    for number in 0..clients {
        let (scenario, over) = (Arc::clone(scenario), Arc::clone(&over));
        known.spawn(async move {
            let (mut times, mut failed) = (Vec::new(), Vec::new());
            // Spread over the pace.
            let mut next = tokio::time::Instant::now() + pace.mul_f64(number as f64 / clients as f64);
            while !over.load(Ordering::Relaxed) {
                sleep_until(next).await;
                let begun = Instant::now();
                match scenario.known(number).await {
                    Ok(()) => times.push(begun.elapsed()),
                    Err(error) => failed.push(error),
                }
                next += pace;
            }
            (times, failed)
        });
    }
    let strangers = tokio::spawn(strangers(Arc::clone(scenario), flood, Arc::clone(&over), Arc::clone(&came)));
    let mut samples = Vec::new();
    let mut tick = interval(SAMPLE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while start.elapsed() < length {
        tick.tick().await;
        samples.push(scenario.process().sample(came.load(Ordering::Relaxed)));
        scenario.tidy();
    }
    over.store(true, Ordering::Relaxed);
    let mut result = Run { took: start.elapsed(), samples, ..Run::default() };
    while let Some(done) = known.join_next().await {
        let (times, failed) = done.unwrap();
        result.times.extend(times);
        result.failed.extend(failed);
    }
    result.times.sort_unstable();
    result.strangers = strangers.await.unwrap();
    result
}

/// So many strangers a second, and what they were told.
async fn strangers<S: Scenario>(
    scenario: Arc<S>,
    (rate, names): (u64, Names),
    over: Arc<AtomicBool>,
    came: Arc<AtomicU64>,
) -> BTreeMap<String, u64> {
    let (mut tasks, mut told) = (JoinSet::new(), BTreeMap::new());
    let count = |told: &mut BTreeMap<_, _>, what: String| *told.entry(what).or_default() += 1;
    let start = Instant::now();
    while rate > 0 && !over.load(Ordering::Relaxed) {
        #[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "a count")]
        let due = (start.elapsed().as_secs_f64() * rate as f64) as u64;
        while came.load(Ordering::Relaxed) < due && tasks.len() < MOST_STRANGERS {
            let (scenario, number) = (Arc::clone(&scenario), came.fetch_add(1, Ordering::Relaxed));
            tasks.spawn(async move { scenario.stranger(number, names).await });
        }
        while let Some(done) = tasks.try_join_next() {
            count(&mut told, done.unwrap());
        }
        sleep(Duration::from_millis(1)).await;
    }
    while let Some(done) = tasks.join_next().await {
        count(&mut told, done.unwrap());
    }
    told
}

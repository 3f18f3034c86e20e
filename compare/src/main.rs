//! The same look-ups by this implementation, by unbound as a library and as a daemon, by hickory's resolver and by `domain`'s validator, one after the other.
//!
//! All of them ask the same server, in a process of its own on loopback, for names in the third of three signed zones:
//!
//! * cold: nothing is known but the trust anchor;
//! * chain: the zone's keys are known, the name is not;
//! * warm: the answer is known.
//!
//! `domain`'s validator does not know the algorithms of ed25519 and p384: it stops at the root's keys and says Insecure, so its figures
//! there are no comparison.
//!
//! `cargo run --release` in this directory; it needs `python3`, `libunbound.so.8` and `unbound`, and two idle processors.
#![allow(clippy::unwrap_used, reason = "a benchmark: what fails here ends it")]

mod contenders;
mod server;

use std::time::Duration;

use contenders::{Contender, Costs, Daemon, Domain, Hickory, Ours, Unbound};
use dance_testkit::KeyKind;
use server::Server;

/// Look-ups with nothing known, each by a new resolver.
const COLD: usize = 25;
/// Look-ups of new names in a known zone.
const CHAIN: usize = 300;
/// Look-ups of a name that is known.
const WARM: usize = 5_000;
/// In the measurement of round trips each answer takes so long.
const DELAY: Duration = Duration::from_millis(25);

const KINDS: [(&str, KeyKind); 4] =
    [("p256", KeyKind::P256), ("ed25519", KeyKind::Ed25519), ("rsa2048", KeyKind::Rsa2048), ("p384", KeyKind::P384)];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", kind, delay] => server::serve(kind_of(kind), Duration::from_millis(delay.parse().unwrap())),
        [] => compare(),
        _ => panic!("no arguments are needed"),
    }
}

fn kind_of(name: &str) -> KeyKind {
    KINDS.iter().find(|(known, _)| *known == name).unwrap().1
}

fn compare() {
    println!("us of the clock, us of the processor, questions; in brackets the ratio to this implementation's");
    for (name, _) in KINDS {
        println!("\n{name}");
        let (server, slow) = (Server::start(name, Duration::ZERO), Server::start(name, DELAY));
        let ours = measure(&mut Ours::new(), &server, &slow);
        ours.print("this", &ours);
        measure(&mut Unbound::new(), &server, &slow).print("libunbound", &ours);
        measure(&mut Daemon::new(), &server, &slow).print("unbound", &ours);
        measure(&mut Hickory::new(), &server, &slow).print("hickory", &ours);
        measure(&mut Domain::new(), &server, &slow).print("domain", &ours);
    }
}

/// What a contender needs for one look-up of each kind.
struct Measured {
    cold: Costs,
    chain: Costs,
    warm: Option<Costs>,
    /// How many answers of the slow server a cold look-up waits for, one after the other.
    rounds: f64,
}

impl Measured {
    fn print(&self, name: &str, ours: &Self) {
        let cell = |costs: &Costs, ours: &Costs| {
            format!(
                "{:>9.1} ({:>5.1})  cpu {:>8.1} ({:>5.1})  {:>4.1} q",
                costs.clock,
                costs.clock / ours.clock,
                costs.processor,
                costs.processor / ours.processor,
                costs.questions
            )
        };
        println!("  {name:<11} cold  {}  {:.1} rounds", cell(&self.cold, &ours.cold), self.rounds);
        println!("  {name:<11} chain {}", cell(&self.chain, &ours.chain));
        if let (Some(warm), Some(ours)) = (&self.warm, &ours.warm) {
            println!("  {name:<11} warm  {:>9.3} ({:>5.1})", warm.clock, warm.clock / ours.clock);
        }
    }
}

fn measure(contender: &mut dyn Contender, server: &Server, slow: &Server) -> Measured {
    let name = server::name;
    let cold = averaged(server, COLD, contender.look_up(server, &[(name(0), COLD)], true));
    contender.renew(server);
    contender.look_up(server, &[(name(0), 1)], false);
    let names: Vec<_> = (1..=CHAIN).map(|number| (name(number), 1)).collect();
    server.questions();
    let chain = averaged(server, CHAIN, contender.look_up(server, &names, false));
    let warm = contender.remembers().then(|| {
        contender.look_up(server, &[(name(0), 1)], false);
        averaged(server, WARM, contender.look_up(server, &[(name(0), WARM)], false))
    });
    let rounds = contender.look_up(slow, &[(name(0), 3)], true).clock / 3.0 / DELAY.as_micros() as f64;
    Measured { cold, chain, warm, rounds }
}

fn averaged(server: &Server, count: usize, all: Costs) -> Costs {
    let count = count as f64;
    Costs { clock: all.clock / count, processor: all.processor / count, questions: server.questions() as f64 / count }
}

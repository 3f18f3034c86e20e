//! What a run came to.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::How;
use crate::measure::{Sample, growth};
use crate::plan::{End, Kind};

/// Memory must grow by less with each handshake, in octets: an object of any size that is lost with one kind of client in ten, or
/// the smallest one that an allocator hands out that is lost with all, is more. What is less is for the memory checker.
const MOST_GROWTH: f64 = 64.0;
/// With fewer handshakes, caches and what the allocator keeps for later are still on their way to their full size in the second half.
const FEWEST: u64 = 50_000;
/// So many failures of a kind are shown by each of those who count.
const SHOWN: u64 = 3;

/// Counts, and what went wrong.
#[derive(Default)]
pub(crate) struct Report {
    counts: BTreeMap<Kind, u64>,
    wrong: BTreeMap<Kind, u64>,
    resumed: u64,
}

impl Report {
    /// Counts a client.
    pub(crate) fn add(&mut self, kind: Kind, result: Result<How, String>) {
        *self.counts.entry(kind).or_default() += 1;
        match result {
            Ok(How::InFull) => {}
            Ok(How::Resumed) => self.resumed += 1,
            Err(error) => {
                let wrong = self.wrong.entry(kind).or_default();
                *wrong += 1;
                if *wrong <= SHOWN {
                    println!("WRONG: {error}");
                }
            }
        }
    }

    /// Counts the clients of another report.
    pub(crate) fn merge(&mut self, other: Self) {
        for (kind, count) in other.counts {
            *self.counts.entry(kind).or_default() += count;
        }
        for (kind, count) in other.wrong {
            *self.wrong.entry(kind).or_default() += count;
        }
        self.resumed += other.resumed;
    }

    /// Prints everything. True if all is well.
    pub(crate) fn print(&self, samples: &[Sample], after: Sample, took: Duration, orderly: bool) -> bool {
        println!("\n| client | told | clients | told otherwise |\n|---|---|---|---|");
        for kind in Kind::ALL {
            let count = |counts: &BTreeMap<Kind, u64>| counts.get(kind).copied().unwrap_or_default();
            println!("| {} | {} | {} | {} |", kind.words(), kind.told(), count(&self.counts), count(&self.wrong));
        }
        let ended = |end| self.counts.iter().filter(|(kind, _)| kind.end() == end).map(|(_, count)| count).sum::<u64>();
        let [served, refused, broken_off] = [End::Served, End::Refused, End::BrokenOff].map(ended);
        let per_second = after.done as f64 / took.as_secs_f64();
        println!(
            "\n{served} served ({} resumed), {refused} refused, {broken_off} broken off, in {:.0} s ({per_second:.0}/s)",
            self.resumed,
            took.as_secs_f64()
        );

        let before = samples.first().copied().unwrap_or_default();
        println!("\nbefore:   {before}");
        for part in 1..=4 {
            let until = after.done * part / 4;
            if let Some(sample) = samples.iter().rfind(|sample| sample.done <= until) {
                println!("{:>3} %:    {sample}", part * 25);
            }
        }
        println!("idle:     {after}");
        let second_half: Vec<Sample> = samples.iter().copied().filter(|sample| sample.done >= after.done / 2).collect();
        let growth = growth(&second_half);
        if let Some(growth) = growth {
            println!("growth:   {growth:.1} octets for each handshake of the second half, at most {MOST_GROWTH}");
        }

        let wrong: u64 = self.wrong.values().sum();
        let enough = after.done >= FEWEST;
        let checks = [
            (wrong == 0, "a client came out otherwise than planned"),
            (self.resumed > 0, "nobody came back with a ticket"),
            (after.files <= before.files, "files were left open"),
            (!enough || growth.is_some_and(|growth| growth < MOST_GROWTH), "memory grew"),
            (orderly, "the gateway did not end in order"),
        ];
        for (_, what) in checks.iter().filter(|(well, _)| !well) {
            println!("FAILED: {what}");
        }
        let well = checks.iter().all(|(well, _)| *well);
        if well {
            let memory = if enough { "memory flat" } else { "too few for a word on memory" };
            println!("passed: every client told as planned, no file left open, {memory}");
        }
        well
    }
}

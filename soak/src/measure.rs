//! Memory and open files of a process, and whether they stay the same.

use std::fmt;

/// A process, by its id.
pub(crate) struct Process(pub(crate) u32);

/// What it had at one time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// Handshakes so far.
    pub(crate) done: u64,
    /// Resident memory that is no file's, in octets.
    pub(crate) memory: u64,
    /// Open file descriptors.
    pub(crate) files: usize,
}

impl Process {
    /// How it is now.
    pub(crate) fn sample(&self, done: u64) -> Sample {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        let memory = line.split_ascii_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024;
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.0)).unwrap().count();
        Sample { done, memory, files }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = self.memory as f64 / 1024.0 / 1024.0;
        write!(f, "{} handshakes, {mebibytes:.1} MiB, {} files", self.done, self.files)
    }
}

/// By how many octets memory grows with each handshake: the slope of the straight line that fits best (least squares). `None` where
/// there are too few handshakes to fit one.
pub(crate) fn growth(samples: &[Sample]) -> Option<f64> {
    let count = samples.len() as f64;
    let mean = |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|sample| sample.done as f64), mean(|sample| sample.memory as f64));
    let deviations = samples.iter().map(|sample| (sample.done as f64 - x, sample.memory as f64 - y));
    let (xx, xy) = deviations.fold((0.0, 0.0), |(xx, xy), (dx, dy)| (xx + dx * dx, xy + dx * dy));
    (xx > 0.0).then_some(xy / xx)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(memory: impl Fn(u64) -> u64) -> Vec<Sample> {
        (0..200).map(|n| Sample { done: n * 500, memory: memory(n), files: 0 }).collect()
    }

    #[test]
    fn growth_is_seen_through_noise() {
        // Up to 2 MiB more or less, as allocators do.
        let noise = |n: u64| (n * 7919 % 32) * 65_536;
        let flat = growth(&samples(|n| 50_000_000 + noise(n))).unwrap();
        assert!(flat.abs() < 10.0, "{flat}");
        let leak = growth(&samples(|n| 50_000_000 + noise(n) + n * 500 * 100)).unwrap();
        assert!((leak - 100.0).abs() < 10.0, "{leak}");
        assert!(growth(&samples(|n| n)[..1]).is_none() && growth(&[]).is_none());
    }
}

//! What is counted, by the `metrics` facade: whoever embeds this decides what becomes of it, and pays one addition for each count.
//!
//! Handles are made once, with the resolver, the driver and their memory: a recorder must be installed before those are made. No count
//! takes a lock, and no label comes from outside, so that nobody can make series without end.

use dance_core::answer::{LookupFailure, TlsaAnswer};
use dance_core::reason::Reason;
use dance_core::verdict::{LimitExceeded, Verdict};
use metrics::{Counter, Gauge};

use crate::upstream::{Exchange, ExchangeOutcome, Protocol};

/// What one metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it moves.
    pub kind: MetricKind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Up only.
    Counter,
    /// Up and down.
    Gauge,
}

macro_rules! metrics_table {
    ($( $constant:ident = $name:literal, $kind:ident, [$($label:literal),*], $help:literal; )*) => {
        $( const $constant: &str = $name; )*

        /// All of them, as `docs/metrics.md` lists them.
        pub const METRICS: &[Metric] = &[$(
            Metric { name: $name, kind: MetricKind::$kind, labels: &[$($label),*], help: $help },
        )*];
    };
}

metrics_table! {
    CHECKS = "dance_checks_total", Counter, ["outcome"],
        "Verdicts about clients in handshakes and re-checks: authenticated, or the reason why not";
    LOOKUPS = "dance_lookups_total", Counter, ["outcome"],
        "Look-ups that were made, those that several clients share once: secure, or the reason that the answer is";
    REFUSED = "dance_lookups_refused_total", Counter, ["limit"],
        "Look-ups that a limit forbade: total, address, entry, suspended (the zone's servers are slow), too-costly";
    IN_FLIGHT = "dance_lookups_in_flight", Gauge, [], "Clients that wait for a look-up";
    HITS = "dance_cache_hits_total", Counter, [], "Answers that were known";
    MISSES = "dance_cache_misses_total", Counter, [], "Answers that were not known, or no longer, and were looked up";
    EVICTIONS = "dance_memory_evictions_total", Counter, ["memory"],
        "What was pushed out of a full memory: answers, zones";
    OCTETS = "dance_memory_octets", Gauge, ["memory"], "What a memory takes: answers, zones";
    SUSPENSIONS = "dance_zone_suspensions_total", Counter, [],
        "Zones that were suspended, or whose suspension was prolonged, because their servers are slow";
    QUERIES = "dance_upstream_queries_total", Counter, ["transport", "outcome"],
        "Questions to recursive resolvers over udp, tcp or tls: answered, truncated, doubtful, cookie-wanted, silent, failed, untrusted";
}

/// Tells the recorder what the metrics mean.
fn describe() {
    for metric in METRICS {
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
        }
    }
}

/// One counter for each reason.
fn by_reason(name: &'static str, counts: fn(Reason) -> bool) -> Vec<(Reason, Counter)> {
    let counted = Reason::ALL.iter().filter(|reason| counts(**reason));
    counted.map(|&reason| (reason, metrics::counter!(name, "outcome" => reason.code()))).collect()
}

fn count(counters: &[(Reason, Counter)], reason: Reason) {
    if let Some((_, counter)) = counters.iter().find(|(counted, _)| *counted == reason) {
        counter.increment(1);
    }
}

/// What the driver counts.
pub(crate) struct CheckMetrics {
    authenticated: Counter,
    others: Vec<(Reason, Counter)>,
    refused: [Counter; 3],
}

impl CheckMetrics {
    pub(crate) fn new() -> Self {
        describe();
        Self {
            authenticated: metrics::counter!(CHECKS, "outcome" => "authenticated"),
            others: by_reason(CHECKS, |_| true),
            refused: ["total", "address", "entry"].map(|limit| metrics::counter!(REFUSED, "limit" => limit)),
        }
    }

    pub(crate) fn verdict(&self, verdict: &Verdict) {
        match verdict.reason() {
            Some(reason) => count(&self.others, reason),
            None => self.authenticated.increment(1),
        }
    }

    pub(crate) fn refused(&self, limit: LimitExceeded) {
        let [total, address, entry] = &self.refused;
        match limit {
            LimitExceeded::Total => total,
            LimitExceeded::Address => address,
            LimitExceeded::Entry => entry,
        }
        .increment(1);
    }
}

/// Clients that wait for a look-up.
pub(crate) fn in_flight() -> Gauge {
    metrics::gauge!(IN_FLIGHT)
}

/// What the resolver counts.
pub(crate) struct LookupMetrics {
    misses: Counter,
    secure: Counter,
    others: Vec<(Reason, Counter)>,
    suspended: Counter,
    too_costly: Counter,
    /// Over UDP, TCP, TLS.
    queries: [[Counter; 7]; 3],
}

impl LookupMetrics {
    pub(crate) fn new() -> Self {
        describe();
        let refused = |limit: &'static str| metrics::counter!(REFUSED, "limit" => limit);
        Self {
            misses: metrics::counter!(MISSES),
            secure: metrics::counter!(LOOKUPS, "outcome" => "secure"),
            others: by_reason(LOOKUPS, is_of_a_lookup),
            suspended: refused("suspended"),
            too_costly: refused("too-costly"),
            queries: ["udp", "tcp", "tls"].map(|transport| {
                OUTCOMES.map(|outcome| metrics::counter!(QUERIES, "transport" => transport, "outcome" => outcome))
            }),
        }
    }

    /// A look-up came to `answer`, by these questions.
    pub(crate) fn looked_up(&self, answer: &TlsaAnswer, exchanges: &[Exchange]) {
        self.misses.increment(1);
        match answer.secure() {
            Ok(_) => self.secure.increment(1),
            Err(reason) => count(&self.others, reason),
        }
        match answer {
            TlsaAnswer::Indeterminate(LookupFailure::Suspended) => self.suspended.increment(1),
            TlsaAnswer::Indeterminate(LookupFailure::TooCostly) => self.too_costly.increment(1),
            _ => {}
        }
        let [udp, tcp, tls] = &self.queries;
        for exchange in exchanges {
            let [answered, truncated, doubtful, cookie_wanted, silent, failed, untrusted] = match exchange.protocol {
                Protocol::Udp => udp,
                Protocol::Tcp => tcp,
                Protocol::Tls => tls,
            };
            match exchange.outcome {
                ExchangeOutcome::Answered(_) => answered,
                ExchangeOutcome::Truncated => truncated,
                ExchangeOutcome::Doubtful => doubtful,
                ExchangeOutcome::CookieWanted => cookie_wanted,
                ExchangeOutcome::Silent => silent,
                ExchangeOutcome::Failed(_) => failed,
                ExchangeOutcome::Untrusted => untrusted,
            }
            .increment(1);
        }
    }
}

/// As [`LookupMetrics::looked_up`] takes them apart.
const OUTCOMES: [&str; 7] = ["answered", "truncated", "doubtful", "cookie-wanted", "silent", "failed", "untrusted"];

/// Whether an answer can be the reason.
fn is_of_a_lookup(reason: Reason) -> bool {
    let failures = [
        LookupFailure::AliasLimit,
        LookupFailure::Malformed,
        LookupFailure::NoTrust,
        LookupFailure::Refused,
        LookupFailure::Servfail,
        LookupFailure::Suspended,
        LookupFailure::Timeout,
        LookupFailure::TooCostly,
        LookupFailure::Unreachable,
    ];
    let others = [Reason::TlsaAbsent, Reason::DnssecInsecure, Reason::DnssecBogus];
    others.contains(&reason) || failures.iter().any(|failure| failure.reason() == reason)
}

/// Which memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    Answers,
    Zones,
}

/// What a memory counts.
pub(crate) struct MemoryMetrics {
    evictions: Counter,
    octets: Gauge,
}

impl MemoryMetrics {
    pub(crate) fn new(memory: Memory) -> Self {
        let memory = match memory {
            Memory::Answers => "answers",
            Memory::Zones => "zones",
        };
        Self {
            evictions: metrics::counter!(EVICTIONS, "memory" => memory),
            octets: metrics::gauge!(OCTETS, "memory" => memory),
        }
    }

    pub(crate) fn evicted(&self, entries: usize) {
        if entries > 0 {
            self.evictions.increment(u64::try_from(entries).unwrap_or(u64::MAX));
        }
    }

    /// So many octets have come, or gone.
    pub(crate) fn grown(&self, by: isize) {
        #[allow(clippy::cast_precision_loss, reason = "memory is not of 2^53 octets")]
        self.octets.increment(by as f64);
    }
}

/// Answers that were known.
pub(crate) fn hits() -> Counter {
    metrics::counter!(HITS)
}

/// Suspensions of zones.
pub(crate) fn suspensions() -> Counter {
    metrics::counter!(SUSPENSIONS)
}

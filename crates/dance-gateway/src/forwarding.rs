//! What is counted where certificates are forwarded and nobody is asked for a name. A recorder must be installed before the gateway is
//! made.

use dance_resolver::metrics::{Metric, MetricKind};
use metrics::{Counter, counter, describe_counter};

/// As `docs/metrics.md` lists it.
pub const FORWARDED: Metric = Metric {
    name: "dance_connections_forwarded_total",
    kind: MetricKind::Counter,
    labels: &["certificates"],
    help: "Connections by what is forwarded of them: none, one, chain, or too-long, and then their requests are answered 431",
};

/// One counter for each kind of client.
pub(crate) struct Forwarding {
    none: Counter,
    one: Counter,
    chain: Counter,
    too_long: Counter,
}

impl Forwarding {
    pub(crate) fn new() -> Self {
        describe_counter!(FORWARDED.name, FORWARDED.help);
        let kind = |kind: &'static str| counter!(FORWARDED.name, "certificates" => kind);
        Self { none: kind("none"), one: kind("one"), chain: kind("chain"), too_long: kind("too-long") }
    }

    /// A client has shown so many certificates.
    pub(crate) fn count(&self, certificates: usize, too_long: bool) {
        let counter = match certificates {
            _ if too_long => &self.too_long,
            0 => &self.none,
            1 => &self.one,
            _ => &self.chain,
        };
        counter.increment(1);
    }
}

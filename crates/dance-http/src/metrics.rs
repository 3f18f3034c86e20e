//! What is counted, by the `metrics` facade, as `dance-resolver` counts what lies below. A recorder must be installed before the
//! [`Checker`](crate::Checker) is made.

use dance_core::reason::Reason;
use dance_resolver::metrics::{Metric, MetricKind};
use metrics::Counter;

use crate::check::Checked;
use crate::refusal::Refusal;

const REQUESTS: Metric = Metric {
    name: "dance_requests_total",
    kind: MetricKind::Counter,
    labels: &["outcome"],
    help: "Requests from behind a load balancer: authenticated, or the reason why not",
};

/// All of them, as `docs/metrics.md` lists them.
pub const METRICS: &[Metric] = &[REQUESTS];

/// A counter for each outcome: no label comes from outside.
pub(crate) struct RequestMetrics {
    authenticated: Counter,
    refused: Vec<(&'static str, Counter)>,
}

impl RequestMetrics {
    pub(crate) fn new() -> Self {
        metrics::describe_counter!(REQUESTS.name, REQUESTS.help);
        let counter = |outcome: &'static str| metrics::counter!(REQUESTS.name, "outcome" => outcome);
        let mut codes: Vec<_> =
            Refusal::CODES.into_iter().chain(Reason::ALL.iter().map(|reason| reason.code())).collect();
        codes.sort_unstable();
        codes.dedup();
        Self {
            authenticated: counter("authenticated"),
            refused: codes.into_iter().map(|code| (code, counter(code))).collect(),
        }
    }

    pub(crate) fn count(&self, checked: &Checked) {
        match &checked.outcome {
            Ok(_) => self.authenticated.increment(1),
            Err(refusal) => {
                let code = refusal.code();
                if let Ok(place) = self.refused.binary_search_by_key(&code, |(code, _)| code)
                    && let Some((_, counter)) = self.refused.get(place)
                {
                    counter.increment(1);
                }
            }
        }
    }
}

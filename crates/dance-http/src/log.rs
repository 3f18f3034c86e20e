//! One line in the log for each request that was checked (SEC-16).

use dance_core::reason::Blame;

use crate::check::Checked;
use crate::refusal::Refusal;

/// Tells what a check came to: at level `warn` if DNS or this server is at fault, else at `info`, and at `debug` for those let in.
pub(crate) fn tell(checked: &Checked) {
    match &checked.outcome {
        Ok(client) => tracing::debug!(client = client.identity(), record = %client.record(), "authenticated"),
        Err(refusal) => {
            let detail = checked.trace.as_ref().and_then(|trace| trace.detail.as_ref());
            let detail = detail.map(tracing::field::display);
            let name = checked.decision.as_ref().and_then(|decision| decision.client_name.as_ref());
            let name = name.map(tracing::field::display);
            match refusal {
                Refusal::Decided(reason) if reason.blame() != Blame::Client => {
                    tracing::warn!(reason = refusal.code(), name, detail, "refused: {refusal}");
                }
                _ => tracing::info!(reason = refusal.code(), name, detail, "refused: {refusal}"),
            }
        }
    }
}

//! One line in the log for each request (SEC-16), with the fields of the gateway's line.

use dance_core::reason::Blame;
use dance_daemon::log::{Matched, Names, Records};
use dance_daemon::services::Services;
use dance_http::{CheckEvent, Peer, Refusal};
use tracing::Level;

/// Tells of every check.
pub(crate) struct Log {
    names: Names,
    services: Services,
}

impl Log {
    pub(crate) fn new(names: Names) -> Self {
        Self { names, services: Services::new() }
    }

    /// Logs what a check came to, with a warning where it gives cause for one.
    pub(crate) fn tell(&self, event: &CheckEvent<'_>) {
        if let Ok(client) = &event.checked.outcome
            && let Some(shared) = self.services.note(client)
        {
            self.names.warn_shared(client, &shared);
        }
        let refusal = event.checked.outcome.as_ref().err();
        match refusal {
            Some(Refusal::Decided(reason)) if reason.blame() == Blame::Server => {
                if tracing::enabled!(Level::WARN) {
                    self.write(event, refusal, true);
                }
            }
            _ => {
                if tracing::enabled!(Level::INFO) {
                    self.write(event, refusal, false);
                }
            }
        }
    }

    fn write(&self, event: &CheckEvent<'_>, refusal: Option<&Refusal>, warn: bool) {
        let checked = event.checked;
        let client = checked.outcome.as_deref().ok();
        let decision = checked.decision.as_ref();
        let client_name = decision.and_then(|decision| self.names.show(decision.client_name.as_ref()?.as_str()));
        let owner_name = decision.and_then(|decision| self.names.show(decision.owner_name.as_ref()?.as_str()));
        let records = decision.filter(|decision| !decision.records.is_empty());
        let records = records.map(|decision| Records(&decision.records).to_string());
        // A user's name is no client name.
        let user = client.filter(|client| client.identity() != client.client_name().as_str());
        let identity = user.and_then(|client| self.names.show(client.identity()));
        let matched = client.map(|client| Matched(client).to_string());
        // What is said in words may hold names.
        let words = checked.trace.as_ref().filter(|_| self.names.in_full());
        let dns = words.and_then(|trace| trace.detail.as_ref()).map(ToString::to_string);
        let detail = match refusal {
            Some(Refusal::Decided(_)) | None => None,
            Some(early) => self.names.in_full().then(|| early.to_string()),
        };
        let peer = match event.peer {
            Some(Peer::Address(address)) => Some(address.to_canonical().to_string()),
            Some(Peer::UnixSocket) => Some("unix".to_owned()),
            None => None,
        };
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    peer = peer.map(tracing::field::display),
                    client_address = checked.client_address.map(tracing::field::display),
                    outcome = if client.is_some() { "authenticated" } else { "refused" },
                    reason = refusal.map(Refusal::code),
                    client_name = client_name.as_deref(),
                    owner_name = owner_name.as_deref(),
                    identity = identity.as_deref(),
                    matched,
                    records,
                    dns,
                    queries = checked.trace.as_ref().map(|trace| trace.queries),
                    cached = checked.trace.as_ref().map(|trace| trace.from_cache),
                    detail,
                    ms = u64::try_from(event.elapsed.as_millis()).unwrap_or(u64::MAX),
                    "request"
                )
            };
        }
        if warn {
            line!(warn);
        } else {
            line!(info);
        }
    }
}

//! What one look-up does, as it does it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::base::iana::Rtype;
use tokio::sync::watch;

use crate::outcome::Fault;
use crate::reply::{DnsName, question_text};
use crate::upstream::{ExchangeLog, Reply};

/// A look-up's own account. The validator's questions find it through the task they are asked in.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// Who was asked what.
    pub(crate) log: ExchangeLog,
    state: Mutex<State>,
    fault: watch::Sender<Option<Fault>>,
}

/// Most answers kept for explanations.
const MAX_SEEN: usize = 32;

#[derive(Debug, Default)]
struct State {
    asking: Option<(DnsName, Rtype)>,
    seen: Vec<(DnsName, Rtype, Reply)>,
}

impl Run {
    /// Held for an assignment or a push, which leave nothing half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sent(&self) -> usize {
        self.log.sent()
    }

    /// Notes what is asked now, for the account of a time-out.
    pub(crate) fn asks(&self, name: &DnsName, rtype: Rtype) {
        self.state().asking = Some((name.clone(), rtype));
    }

    /// What was asked last.
    pub(crate) fn asking(&self) -> Option<Arc<str>> {
        self.state().asking.as_ref().map(|(name, rtype)| question_text(name, *rtype))
    }

    /// Notes the answer to one of the validator's questions, to explain a failure by.
    pub(crate) fn saw(&self, name: &DnsName, rtype: Rtype, reply: &Reply) {
        let mut state = self.state();
        if state.seen.len() < MAX_SEEN {
            state.seen.push((name.clone(), rtype, reply.clone()));
        }
    }

    /// The answers to the validator's questions.
    pub(crate) fn seen(&self) -> Vec<(DnsName, Rtype, Reply)> {
        self.state().seen.clone()
    }

    /// One of the validator's questions came to nothing, and with it the look-up.
    pub(crate) fn fail(&self, fault: Fault) {
        self.fault.send_replace(Some(fault));
    }

    /// Resolves when a question came to nothing.
    pub(crate) async fn failed(&self) -> Fault {
        let mut fault = self.fault.subscribe();
        let found = fault.wait_for(Option::is_some).await.ok().and_then(|fault| fault.clone());
        match found {
            Some(fault) => fault,
            // The sender is a field of `self`: it cannot have gone.
            None => std::future::pending().await,
        }
    }
}

tokio::task_local! {
    /// The run that the current task works for.
    pub(crate) static RUN: Arc<Run>;
}

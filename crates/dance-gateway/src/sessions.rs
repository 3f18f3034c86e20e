//! Sessions that are bound to the record which authenticated their client (`resumption = "bound"`; requirements 4.2 step 2, SRV-17).

use std::sync::Arc;
use std::time::Duration;

use dance_core::ticket::Ticket;
use dance_core::verdict::VerifiedClient;
use dance_resolver::{TlsaSource, Verifier};
use dance_tls::Resumption;

/// Decides about tickets as the verifier decides about clients, by what is known without asking anybody.
pub(crate) struct Sessions<S> {
    verifier: Arc<Verifier<S>>,
    listener: String,
}

impl<S> Sessions<S> {
    /// For the tickets of one listener.
    pub(crate) const fn new(verifier: Arc<Verifier<S>>, listener: String) -> Self {
        Self { verifier, listener }
    }
}

impl<S: TlsaSource> Resumption for Sessions<S> {
    fn context(&self) -> [u8; 32] {
        self.verifier.settings().session_context(self.listener.as_bytes())
    }

    fn resume(&self, ticket: &Ticket) -> Option<VerifiedClient> {
        let resumed = self.verifier.resume(ticket);
        if let Err(refused) = &resumed {
            tracing::debug!(%refused, "a ticket is declined; a full handshake follows");
        }
        resumed.ok()
    }

    fn lifetime(&self, client: &VerifiedClient) -> Duration {
        let left = client.valid_until().as_secs().saturating_sub(self.verifier.now().as_secs());
        Duration::from_secs(left)
    }
}

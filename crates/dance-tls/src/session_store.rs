//! Resumption at the client: the sessions that may be offered, each once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openssl::ssl::{SslSession, SslSessionRef, SslVersion};

use crate::ffi;

/// Most sessions that are kept; the oldest go first.
const MAX_SESSIONS: usize = 64;

/// The sessions of a [`Connector`](crate::Connector), by server name. All else that a session depends on (ALPN,
/// credential, how servers are verified) is the connector's and never changes.
#[derive(Default)]
pub(crate) struct SessionStore(Mutex<VecDeque<(String, SslSession)>>);

impl SessionStore {
    fn sessions(&self) -> MutexGuard<'_, VecDeque<(String, SslSession)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, server_name: String, session: SslSession) {
        let mut sessions = self.sessions();
        if sessions.len() == MAX_SESSIONS {
            sessions.pop_front();
        }
        sessions.push_back((server_name, session));
    }

    /// The latest session with this server, which nobody gets a second time (RFC 9846 appendix on client tracking).
    pub(crate) fn take(&self, server_name: &str) -> Option<SslSession> {
        let server_name = key(server_name);
        let mut sessions = self.sessions();
        let latest = sessions.iter().rposition(|(name, _)| *name == server_name)?;
        sessions.remove(latest).map(|(_, session)| session)
    }
}

/// How names of servers are compared: without regard to case and final dot.
fn key(server_name: &str) -> String {
    server_name.strip_suffix('.').unwrap_or(server_name).to_ascii_lowercase()
}

/// What a connection does with the session that it is given: it keeps it back until the connection has proven good.
pub(crate) struct Keeper {
    store: Arc<SessionStore>,
    server_name: String,
    kept: Mutex<Kept>,
}

enum Kept {
    Nothing,
    Session(SslSession),
    /// In the store. One session is enough to come back with, and a server that sends more does not push out those of
    /// others.
    Stored,
}

impl Keeper {
    pub(crate) fn new(store: Arc<SessionStore>, server_name: &str) -> Self {
        Self { store, server_name: key(server_name), kept: Mutex::new(Kept::Nothing) }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server has sent a NewSessionTicket.
    pub(crate) fn on_session(&self, session: &SslSessionRef) {
        let mut kept = self.kept();
        if matches!(*kept, Kept::Stored) || session.protocol_version() != SslVersion::TLS1_3 {
            return;
        }
        if let Some(session) = ffi::session::copy_session(session) {
            *kept = Kept::Session(session);
        }
    }

    /// The server has sent application data. The servers of this crate issue tickets after their verdict only; others
    /// may do it before, and refuse the client all the same.
    pub(crate) fn on_application_data(&self) {
        let mut kept = self.kept();
        if matches!(*kept, Kept::Session(_))
            && let Kept::Session(session) = std::mem::replace(&mut *kept, Kept::Stored)
        {
            self.store.put(self.server_name.clone(), session);
        }
    }
}

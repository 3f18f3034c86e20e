//! From a client's first octet to its verdict, and what the verdict lets in.

use std::net::SocketAddr;
use std::sync::Arc;

use dance_core::CertificateDer;
use dance_core::matching::Credential;
use dance_core::reason::Reason;
use dance_core::verdict::{Decision, Verdict};
use dance_resolver::{Evidence, TlsaSource};
use dance_tls::{Accepted, Resumed, TlsStream};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::listener::{Clients, Core};
use crate::log::{Outcome, VerdictEvent};
use crate::standing::Known;

/// HTTP/2 by ALPN.
pub(crate) const H2: &[u8] = b"h2";

/// A client that may go on.
pub(crate) struct Admitted {
    pub(crate) tls: TlsStream<TcpStream>,
    pub(crate) who: Who,
    /// It speaks HTTP/2.
    pub(crate) h2: bool,
}

/// Who a client is.
pub(crate) enum Who {
    /// DANE says who.
    Known(Known),
    /// DANE does not. These certificates of its, the end entity's first, are told to the application: those that it has shown, where
    /// all are forwarded; the one that an ordinary CA knows, of a client that did not ask for DANE; or none, and then nobody says.
    Holder(Vec<CertificateDer<'static>>),
}

/// The handshake of a connection that was accepted at `start`, the verdict, and what follows from it.
pub(crate) async fn admit<S: TlsaSource>(
    core: &Core<S>,
    stream: TcpStream,
    peer: SocketAddr,
    start: Instant,
) -> Option<Admitted> {
    let event = |outcome| VerdictEvent { peer, outcome, certificate: None, trace: None, elapsed: start.elapsed() };
    let Some(_handshake) = core.handshakes.begin(peer.ip()) else {
        core.tell(&event(Outcome::TooManyHandshakes));
        return None;
    };
    let deadline = start + core.limits.handshake;
    let mut pending = match timeout_at(deadline, core.acceptor.accept(stream)).await {
        Ok(Ok(Accepted::Pending(pending))) => pending,
        Ok(Ok(Accepted::Resumed(resumed))) => {
            let decision = Decision {
                client_name: Some(resumed.client.client_name().clone()),
                owner_name: Some(resumed.client.owner_name().clone()),
                verdict: Verdict::Authenticated(resumed.client.clone()),
                records: Vec::new(),
            };
            core.tell(&event(Outcome::Resumed(decision)));
            let h2 = resumed.negotiated().alpn.as_deref() == Some(H2);
            let client = Box::new(resumed.client);
            let who = Who::Known(Known { evidence: Evidence::Resumed(client.clone()), client, asked: None });
            return Some(Admitted { tls: resumed.stream, who, h2 });
        }
        Ok(Err(error)) => {
            core.tell(&event(Outcome::HandshakeFailed(error)));
            return None;
        }
        Err(_) => {
            core.tell(&event(Outcome::HandshakeTimeout));
            return None;
        }
    };
    // From here on the client has proven possession of the key in whatever it has shown.
    let presented = Arc::clone(pending.presented());
    let (verdict, asked, certificates) = match &core.clients {
        // It was asked for a certificate and for no name, so there is nothing to decide.
        Clients::Forward(_) => {
            let certificates = match &presented.credential {
                Some(Credential::X509(chain)) => chain.clone(),
                Some(Credential::RawPublicKey(_)) | None => Vec::new(),
            };
            core.tell(&event(Outcome::Forwarded { certificates: certificates.len() }));
            (Verdict::NotDane(Reason::NoClientName), None, certificates)
        }
        Clients::Dane(dane) => {
            let decided = tokio::select! {
                biased;
                verified = dane.verifier.verify(&presented, peer.ip()) => Ok(verified),
                () = pending.closed() => Err(Outcome::ClientGone),
                () = sleep_until(deadline) => Err(Outcome::HandshakeTimeout),
            };
            let verified = match decided {
                Ok(verified) => verified,
                Err(outcome) => {
                    core.tell(&event(outcome));
                    // Without a decision, dropping the pending client refuses it.
                    return None;
                }
            };
            let asked = verified.trace.as_ref().is_some_and(|trace| !trace.from_cache).then(Instant::now);
            // Who asked for DANE and failed is anonymous, whatever its certificate is good for elsewhere.
            let ordinary = match &verified.decision.verdict {
                Verdict::NotDane(_) => dane.client_ca.judge(&presented, dane.verifier.now()),
                Verdict::Authenticated(_) | Verdict::Unauthenticated(_) | Verdict::Abort(_) => None,
            };
            let told = VerdictEvent {
                certificate: ordinary.map(|judged| judged.map(drop)),
                trace: verified.trace,
                ..event(Outcome::Decided(verified.decision))
            };
            core.tell(&told);
            let Outcome::Decided(decision) = told.outcome else {
                return None;
            };
            (decision.verdict, asked, ordinary.and_then(Result::ok).cloned().into_iter().collect())
        }
    };
    let h2 = pending.alpn() == Some(H2);
    let Resumed::Open(tls) = pending.resume(&verdict).await else {
        return None;
    };
    let who = match verdict {
        Verdict::Authenticated(client) => {
            Who::Known(Known { client: Box::new(client), evidence: Evidence::Presented(presented), asked })
        }
        Verdict::NotDane(_) | Verdict::Unauthenticated(_) => Who::Holder(certificates),
        // An aborted client is never handed out; if it were, it would go no further.
        Verdict::Abort(_) => return None,
    };
    Some(Admitted { tls, who, h2 })
}

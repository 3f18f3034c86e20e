//! Session tickets: what one says about the client, and what must still hold for it to be who it was (requirements 4.2 step 2).
//!
//! A resumed handshake has no CertificateRequest, so nothing is presented that could be matched anew. A ticket therefore carries what
//! was established and by which record, and [`Settings::resume`] asks whether that record still counts. It is the second and last way to
//! a [`VerifiedClient`].
//!
//! Nothing here is secret or authenticated: that the content is this server's own is for the TLS stack, which encrypts tickets, to know.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use rustls_pki_types::UnixTime;
use sha2::{Digest as _, Sha256};

use crate::answer::TlsaAnswer;
use crate::matching::{Conclusion, Match, MatchOptions};
use crate::message::Reader;
use crate::name::{ClientName, OwnerName};
use crate::subject::is_user_id;
use crate::tlsa::{CertUsage, TlsaRdata};
use crate::verdict::{Established, Settings, VerifiedClient};

/// The first octet. Tickets of another form are as good as none.
const VERSION: u8 = 1;

/// What a ticket says that its holder was. Not who the holder is: only [`Settings::resume`] makes a [`VerifiedClient`] of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket(pub(crate) Established);

impl VerifiedClient {
    /// What to put into a session ticket for this client.
    #[must_use]
    pub fn to_ticket(&self) -> Vec<u8> {
        encode(&self.0)
    }
}

pub(crate) fn encode(known: &Established) -> Vec<u8> {
    let Established { name, owner_name, matched, wildcard, valid_until, key_digest } = known;
    let Match { index, record, depth, not_after, user } = matched;
    // The rest of the identity is in the name.
    let user = user.as_deref().and_then(|user| user.split('@').next()).unwrap_or_default();
    let mut octets = Vec::new();
    octets.push(VERSION);
    for text in [name.as_str(), owner_name.as_str(), user] {
        octets.push(small(text.len()));
        octets.extend_from_slice(text.as_bytes());
    }
    octets.extend([small(*index), small(*depth)]);
    octets.push(match wildcard {
        Some(false) => 0,
        Some(true) => 1,
        None => 2,
    });
    octets.extend(valid_until.as_secs().to_be_bytes());
    match not_after {
        None => octets.push(0),
        Some(not_after) => {
            octets.push(1);
            octets.extend(not_after.as_secs().to_be_bytes());
        }
    }
    octets.extend(key_digest);
    let record = record.as_wire();
    octets.extend(u16::try_from(record.len()).unwrap_or(u16::MAX).to_be_bytes());
    octets.extend_from_slice(record);
    octets
}

/// Names, user ids and positions fit by their limits. What would not is written so that it does not decode.
fn small(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

impl Ticket {
    /// Reads what [`VerifiedClient::to_ticket`] wrote; `None` for anything else.
    #[must_use]
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let mut reader = Reader(octets);
        if reader.octet()? != VERSION {
            return None;
        }
        let name = reader.name()?;
        let owner_name = OwnerName::verbatim(&reader.name()?);
        let user = match core::str::from_utf8(reader.prefixed(1).ok()?).ok()? {
            "" => None,
            id => Some(user(id, &name)?),
        };
        let (index, depth) = (usize::from(reader.octet()?), usize::from(reader.octet()?));
        let wildcard = match reader.octet()? {
            0 => Some(false),
            1 => Some(true),
            2 => None,
            _ => return None,
        };
        let valid_until = reader.time()?;
        let not_after = match reader.octet()? {
            0 => None,
            1 => Some(reader.time()?),
            _ => return None,
        };
        let key_digest = reader.take(32).ok()?.try_into().ok()?;
        let record = TlsaRdata::from_wire(reader.prefixed(2).ok()?);
        reader.end().ok()?;
        // No match is without a usable record, no path without an end, and nothing outlives its path.
        let without_path = record.usable().ok()?.usage == CertUsage::DANE_EE;
        if without_path != not_after.is_none() || not_after.is_some_and(|not_after| not_after < valid_until) {
            return None;
        }
        let matched = Match { index, record, depth, not_after, user };
        Some(Self(Established { name, owner_name, matched, wildcard, valid_until, key_digest }))
    }

    /// Where the TLSA RRset was found: what [`Settings::resume`] wants the answer of.
    #[must_use]
    pub const fn owner_name(&self) -> &OwnerName {
        &self.0.owner_name
    }

    /// SHA-256 of the SubjectPublicKeyInfo that the client proved possession of ([`Credential::key_digest`]), to be compared with that
    /// of the certificate or key that the session has kept.
    ///
    /// [`Credential::key_digest`]: crate::matching::Credential::key_digest
    #[must_use]
    pub const fn key_digest(&self) -> &[u8; 32] {
        &self.0.key_digest
    }

    /// When it stops being good for anything.
    #[must_use]
    pub const fn valid_until(&self) -> UnixTime {
        self.0.valid_until
    }
}

/// The identity of a user in the domain that the name is of.
fn user(id: &str, name: &ClientName) -> Option<String> {
    let lower = !id.bytes().any(|octet| octet.is_ascii_uppercase());
    let domain = name.without_user_label()?;
    (lower && is_user_id(id)).then(|| alloc::format!("{id}@{domain}"))
}

/// The pieces of a ticket.
impl Reader<'_> {
    fn octet(&mut self) -> Option<u8> {
        self.take(1).ok()?.first().copied()
    }

    fn time(&mut self) -> Option<UnixTime> {
        let seconds = u64::from_be_bytes(self.take(8).ok()?.try_into().ok()?);
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }

    /// A name in the one form that it is written in.
    fn name(&mut self) -> Option<ClientName> {
        let octets = self.prefixed(1).ok()?;
        ClientName::parse(octets).ok().filter(|name| name.as_str().as_bytes() == octets)
    }
}

impl Settings {
    /// Step 2 of requirements 4.2: who the holder of a ticket is, by the answer that the cache holds for [`Ticket::owner_name`]. The
    /// client's time is the ticket's, or the answer's if that ends sooner: a chain of resumptions never outlives the answer of the full
    /// handshake, and a withdrawal counts as soon as it does for others.
    ///
    /// # Errors
    /// [`TicketRefused`]: decline the ticket and go on with a full handshake.
    pub fn resume(&self, ticket: &Ticket, answer: &TlsaAnswer, now: UnixTime) -> Result<VerifiedClient, TicketRefused> {
        let Ticket(known) = ticket;
        if known.matched.path_ended(now) {
            return Err(TicketRefused::PathExpired);
        }
        if known.valid_until <= now {
            return Err(TicketRefused::Expired);
        }
        if self.allow_list.admits(&known.name).is_none() {
            return Err(TicketRefused::NotAllowed);
        }
        if self.owner_name(&known.name).as_ref() != Ok(&known.owner_name) {
            return Err(TicketRefused::OtherOwner);
        }
        let secure = match answer {
            TlsaAnswer::Secure(secure) if secure.valid_until > now => secure,
            TlsaAnswer::Secure(_) => return Err(TicketRefused::NoAnswer),
            TlsaAnswer::Denied(_) => return Err(TicketRefused::RecordGone),
            TlsaAnswer::Insecure | TlsaAnswer::Bogus | TlsaAnswer::Indeterminate(_) => {
                return Err(TicketRefused::NotSecure);
            }
        };
        match self.match_again(known, secure, now).conclusion {
            Conclusion::Matched(matched) => {
                let valid_until = known.valid_until.min(secure.valid_until);
                Ok(VerifiedClient(Established { matched, wildcard: secure.wildcard, valid_until, ..known.clone() }))
            }
            Conclusion::NameMismatch { .. } | Conclusion::NoMatch | Conclusion::NoUsable => {
                Err(TicketRefused::RecordGone)
            }
        }
    }

    /// What the tickets of a listener are bound to: SHA-256 over its name and over all settings by which clients are told, but for those
    /// that [`resume`](Self::resume) asks anew. For use as session id context: a ticket of another context is no ticket.
    #[must_use]
    pub fn session_context(&self, listener: &[u8]) -> [u8; 32] {
        let Self {
            profile,
            policy,
            // Nothing that it softens ends in a ticket.
            on_lookup_failure: _,
            // Asked anew.
            allow_list: _,
            service_label,
            derive_without_signal,
            wildcard_ee,
            matching: MatchOptions { pkix_roots, digest_agility, user_mode },
        } = self;
        let mut hash = Sha256::new();
        let mut put = |field: &[u8]| {
            hash.update((field.len() as u64).to_be_bytes());
            hash.update(field);
        };
        put(b"dance session context");
        put(&[VERSION]);
        put(listener);
        put(profile.name().as_bytes());
        // No label is empty.
        put(service_label.as_ref().map_or("", |label| label.as_str()).as_bytes());
        let flags = [*derive_without_signal, *digest_agility, *user_mode].map(u8::from);
        put(&[&[*policy as u8, *wildcard_ee as u8][..], &flags].concat());
        for root in pkix_roots {
            put(root);
        }
        hash.finalize().into()
    }
}

/// Why a ticket is declined. Never an alert: a full handshake follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TicketRefused {
    /// What it says was good until a time that has come.
    Expired,
    /// The allow-list no longer has the client name.
    NotAllowed,
    /// The settings put the TLSA RRset elsewhere today.
    OtherOwner,
    /// The cache holds no answer, or one whose time is over.
    NoAnswer,
    /// The answer is not Secure.
    NotSecure,
    /// The record that matched is not in the answer, cannot be used, is passed over for a stronger digest, or does not count at a wildcard.
    RecordGone,
    /// A certificate of the path has expired.
    PathExpired,
}

impl TicketRefused {
    /// The stable code: log field, metric label.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Expired => "ticket-expired",
            Self::NotAllowed => "ticket-name-not-allowed",
            Self::OtherOwner => "ticket-other-owner",
            Self::NoAnswer => "ticket-no-answer",
            Self::NotSecure => "ticket-answer-not-secure",
            Self::RecordGone => "ticket-record-gone",
            Self::PathExpired => "ticket-path-expired",
        }
    }
}

impl fmt::Display for TicketRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "the ticket's time is over",
            Self::NotAllowed => "the allow-list no longer has the client name of the ticket",
            Self::OtherOwner => {
                "the settings have changed: the client's TLSA records are looked for under another name"
            }
            Self::NoAnswer => "no current answer for the owner name of the ticket is in the cache",
            Self::NotSecure => "the answer in the cache is not Secure",
            Self::RecordGone => "the TLSA record by which the client was authenticated is gone, or no longer counts",
            Self::PathExpired => "a certificate by which the client was authenticated has expired",
        })
    }
}

impl core::error::Error for TicketRefused {}

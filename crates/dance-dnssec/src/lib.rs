//! The DNSSEC proof of one TLSA RRset, sans I/O: trust anchors, the time and messages go in; questions and in the end a [`Proof`] come out.
//! No clock, no network, no randomness, no task. One that proves by this crate needs a loop:
//!
//! ```
//! # use std::{sync::Arc, time::Duration};
//! # use bytes::Bytes;
//! # use dance_core::{UnixTime, answer::LookupFailure};
//! use dance_dnssec::{Anchors, Budget, DnsName, Known, Proof, Proving, Question, Step};
//! # use domain::base::Message;
//!
//! fn prove(
//!     owner: DnsName,
//!     now: UnixTime,
//!     memory: &impl Known,
//!     ask: impl Fn(&Question) -> Result<Message<Bytes>, LookupFailure>,
//! ) -> Proof {
//!     let mut proving = Proving::new(Arc::new(Anchors::root()), owner, Budget::default());
//!     loop {
//!         match proving.step(now, memory) {
//!             Step::Done(proof) => return *proof,
//!             Step::Ask(questions) => {
//!                 for question in questions {
//!                     match ask(&question) {
//!                         Ok(message) => proving.reply(&question, &message),
//!                         Err(failure) => proving.failed(&question, failure),
//!                     }
//!                 }
//!             }
//!         }
//!     }
//! }
//! # let owner = "dev1._device.example.com.".parse().unwrap();
//! # let proof = prove(owner, UnixTime::since_unix_epoch(Duration::from_secs(0)), &(), |_| Err(LookupFailure::Timeout));
//! # assert!(proof.failure.is_some());
//! ```
//!
//! # How a proof goes
//!
//! **The answer** (`message`, `answer`). The TLSA reply must hold one chain of aliases and nothing else. Each CNAME and DNAME on it, and
//! what is at its end, is judged by itself, in the zone whose name its signature bears: an RRset by [a signature](#signatures), and if it
//! was expanded from a wildcard, by the proof that no closer name exists; an absence by the NSEC or NSEC3 records in the authority section
//! (`proofs`, `denial`) and the zone's SOA. The whole is as bad as its worst link.
//!
//! **The zone** (`walk`, `zone`). The signer's name is nothing but a claim. It counts once a walk from a trust anchor, or from the deepest
//! zone known, down to it has found at every name on the way what that name is, by its DS records or their denial, signed by the zone
//! above:
//!
//! * a *signed delegation*: some DS record of a supported algorithm and digest stands for a key which signs the zone's DNSKEY RRset; on it
//!   goes with those keys;
//! * an *unsigned* one: no DS, by a record that says there is a delegation and does not come from below it; or a DS RRset of nothing but
//!   unknown algorithms and digests; or an opt-out span. All below is Insecure;
//! * *no zone*: the zone above goes on.
//!
//! A signer that turns out to be no zone counts for nothing. What nobody signed, a proven unsigned delegation at or above it makes
//! Insecure, and nothing else saves it from being Bogus.
//!
//! **Questions.** DS and DNSKEY of all names down to a signer are asked side by side. The first step asks, with the TLSA question, for
//! those of the names above the owner, if no zone near it is known: with that a cold look-up takes two round trips at most (one for each
//! further alias into a strange zone), and one in a known zone takes one question.
//!
//! **Memory** (`fact`). What a walk proves about a name is a [`ZoneFact`] with the span of time in which every signature down to it is
//! valid. Callers keep facts and hand them to later proofs, which look at the time anew at every use: nothing outlives a signature, and a
//! clock that is set back makes all facts useless.
//!
//! <a id="signatures"></a>**Signatures** (`canonical`, `signature`, `keys`). The signed octets are put together here; verification is the
//! crypto back end's. One valid path is enough, so that rollovers pass: any supported DS, any key of the tag, any signature. Algorithms
//! 8, 10, 13, 14 and 15; 5 and 7 rest on SHA-1 and are as unknown as 16 is to the back end.
//!
//! **Limits** (`budget`). A stranger chooses the zone, and its owner what our work is. All that can be many has a limit with a name, work
//! is counted in units of a P-256 verification, and what exceeds a limit is a look-up failure with a reason of its own: neither Bogus, nor
//! remembered against a zone that is not to blame.
//!
//! **Failures** (`failure`) name the RRset at which the proof broke, the zone, whose fault it is and what to do.
#![forbid(unsafe_code)]

mod anchors;
mod answer;
mod budget;
mod canonical;
mod denial;
mod fact;
mod failure;
mod keys;
mod message;
mod proof;
mod proofs;
mod proving;
mod question;
mod replies;
mod signature;
mod time;
mod walk;
mod zone;

pub use anchors::{AnchorError, Anchors, EXPECTED_ANCHOR, RecordFault};
pub use budget::{
    Budget, BudgetKind, Cost, MAX_DIGESTS, MAX_FAILED_UNITS, MAX_KEYS_PER_SIGNATURE, MAX_NSEC3_HASHES, MAX_PROOFS,
    MAX_QUESTIONS, MAX_REPLY_OCTETS, MAX_SECTION_RECORDS, MAX_SECTION_RRSETS, MAX_SIGNATURES_PER_RRSET, MAX_SIGNERS,
    MAX_UNITS, MAX_ZONES,
};
pub use fact::{Known, ZoneFact, ZoneKind};
pub use failure::{Failure, Unproven};
pub use message::{Chain, ChainError, Rrset};
pub use proof::{AnswerLink, Found, Proof, ZoneLink};
pub use proving::{Proving, Step};
pub use question::{DnsName, Question, Shown, dns_name};

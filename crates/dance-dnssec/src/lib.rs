//! The DNSSEC proof of one TLSA RRset, sans I/O.
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
    MAX_QUESTIONS, MAX_SECTION_RECORDS, MAX_SECTION_RRSETS, MAX_SIGNATURES_PER_RRSET, MAX_SIGNERS, MAX_UNITS,
    MAX_ZONES,
};
pub use fact::{Known, ZoneFact, ZoneKind};
pub use failure::{Failure, Unproven};
pub use message::{Chain, ChainError, Rrset};
pub use proof::{AnswerLink, Found, Proof, ZoneLink};
pub use proving::{Proving, Step};
pub use question::{DnsName, Question, Shown, dns_name};

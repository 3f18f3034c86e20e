//! The questions of one look-up, and what came back.

use std::sync::Arc;

use bytes::Bytes;
use dance_core::answer::LookupFailure;
use domain::base::Message;
use domain::base::iana::Rtype;

use crate::budget::BudgetKind;
use crate::failure::Failure;
use crate::message::{ChainError, Sections};
use crate::question::{DnsName, Question};

/// What came back.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Sections(Arc<Sections>),
    Failed(Failure),
}

/// All questions so far.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    all: Vec<Asked>,
    /// Questions that the caller has not been told of yet.
    wanted: Vec<Question>,
    /// Of the replies that are kept.
    octets: usize,
}

#[derive(Debug)]
struct Asked {
    question: Question,
    reply: Option<Reply>,
}

impl Replies {
    fn asked(&mut self, question: &Question) -> Option<&mut Asked> {
        self.all.iter_mut().find(|asked| asked.question == *question)
    }

    /// The reply to a question: `None` if it was not asked, `Some(None)` if it is not answered.
    pub(crate) fn get(&self, name: &DnsName, rtype: Rtype) -> Option<Option<&Reply>> {
        let asked = self.all.iter().find(|asked| asked.question.rtype == rtype && asked.question.name == *name);
        asked.map(|asked| asked.reply.as_ref())
    }

    /// Asks, unless that has been done. Says whether there is room for one more question.
    pub(crate) fn want(&mut self, name: &DnsName, rtype: Rtype, limit: usize) -> bool {
        if self.get(name, rtype).is_some() {
            return true;
        }
        if self.all.len() >= limit {
            return false;
        }
        let question = Question::new(name, rtype);
        self.wanted.push(question.clone());
        self.all.push(Asked { question, reply: None });
        true
    }

    /// Questions asked since the last call.
    pub(crate) fn take_wanted(&mut self) -> Vec<Question> {
        std::mem::take(&mut self.wanted)
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// Whether the reply fits beside those that are kept; it counts as kept then.
    pub(crate) fn has_room(&mut self, message: &Message<Bytes>, limit: usize) -> bool {
        let octets = self.octets.saturating_add(message.as_slice().len());
        let fits = octets <= limit;
        if fits {
            self.octets = octets;
        }
        fits
    }

    /// Puts the reply to its question; the first one counts, and one to a question that was not asked is not looked at.
    pub(crate) fn reply(&mut self, question: &Question, message: &Message<Bytes>, limit: usize) {
        if self.asked(question).is_none_or(|asked| asked.reply.is_some()) {
            return;
        }
        let has_room = self.has_room(message, limit);
        let Some(asked) = self.asked(question) else { return };
        if !has_room {
            asked.reply = Some(Reply::Failed(question.too_much(BudgetKind::ReplyOctets)));
            return;
        }
        asked.reply = Some(match Sections::parse(message) {
            Ok(sections) => Reply::Sections(Arc::new(sections)),
            Err(ChainError::TooMuch) => Reply::Failed(question.too_much(BudgetKind::Records)),
            Err(ChainError::Malformed | ChainError::AliasLimit(_)) => {
                Reply::Failed(Failure::Malformed { question: question.clone() })
            }
        });
    }

    pub(crate) fn failed(&mut self, question: &Question, failure: LookupFailure) {
        let Some(asked) = self.asked(question).filter(|asked| asked.reply.is_none()) else { return };
        asked.reply = Some(Reply::Failed(Failure::LookUp { question: question.clone(), failure }));
    }
}

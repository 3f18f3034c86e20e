//! Look-ups in a world whose keys nobody has, recorded once: what a fuzzer begins with.
//!
//! Octets of a recording: which of the [`truths`]; which of the [`TIMES`], in two bits, the order of answers in five, and whether the first is
//! late in one; and messages, each after its length in two octets. A question is answered by the first message left over that carries it, or
//! else by the first left over at all.

use dance_core::answer::LinkState;
use dance_dnssec::{DnsName, Question};
use domain::base::Message;

use super::Pool;
use super::look_up::{Course, Trust};
use super::truth::truths;

/// On the first line the time of the recording in seconds since 1970, on the others the trust anchor.
const WORLD: &str = include_str!("recorded.txt");
/// Seconds after the recording. The signatures of one zone end after half an hour, all others after 14 days.
const TIMES: [u64; 4] = [0, 60, 1801, 15 * 86_400];

/// Looks up the name that the octets say, with their messages as answers, and checks what comes of it.
pub(crate) fn replay(octets: &[u8]) -> Option<LinkState> {
    let (&[which, when], mut rest) = octets.split_first_chunk()?;
    let truths = truths();
    let (owner, truth) = truths.get(usize::from(which) % truths.len())?;
    let (time, anchor) = WORLD.split_once('\n')?;
    let now = time.parse::<u64>().ok()? + TIMES[usize::from(when & 3)];
    let course = Course { now, order: usize::from(when >> 2 & 31), late: when & 0x80 != 0 };
    let mut messages = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk() {
        let (message, after) = after.split_at(after.len().min(usize::from(u16::from_be_bytes(*length))));
        messages.push(message.to_vec());
        rest = after;
    }

    let trust = Trust::parse(anchor);
    let owner: DnsName = owner.parse().unwrap();
    let mut pool = Pool::default();
    let (proof, _) = trust.look_up(&owner, course, &(), &mut pool, |question| {
        let carries = |message: &Vec<u8>| carries(message, question);
        let at = messages.iter().position(carries).unwrap_or(0);
        (at < messages.len()).then(|| messages.remove(at))
    });
    trust.check(&owner, truth, now, &proof, &pool, "recorded");
    Some(proof.state)
}

fn carries(message: &[u8], question: &Question) -> bool {
    let Ok(message) = Message::from_octets(message) else { return false };
    message.first_question().is_some_and(|first| first.qname() == &question.name && first.qtype() == question.rtype)
}

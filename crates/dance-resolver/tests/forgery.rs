//! What a forger would have to guess, besides ID and port: the letters of the name, and cookies.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod common;
mod fronts;

use std::sync::Arc;

use common::{RECORD, code, config, owner};
use dance_core::answer::{LookupFailure, TlsaAnswer};
use dance_resolver::{DnsMode, Lookup, Resolver, ResolverConfig, Servers, TlsaSource as _};
use dance_testkit::{Front, SignedWorld, Zone};
use fronts::{By, Plain};

const NAME: &str = "dev1._device.example.test";
/// In octets, after the header.
const NAME_END: usize = 12 + NAME.len() + 2;
/// The option code of cookies.
const COOKIE: u16 = 10;
/// What our servers put into their cookies.
const SERVERS: [u8; 16] = [7; 16];

/// One question for each look-up.
async fn world() -> Arc<SignedWorld> {
    let zone = Zone::new("example.test").tlsa(NAME, RECORD, 0);
    let world = SignedWorld::builder().front(Front::Validating).zone(Zone::new("test")).zone(zone);
    Arc::new(world.start().await.unwrap())
}

fn resolver(world: &SignedWorld, front: &Plain) -> Resolver {
    let servers = Servers::List(vec![front.addr.into()]);
    Resolver::new(ResolverConfig { servers, mode: DnsMode::AdBit, ..config(world) }).unwrap()
}

fn servfail(mut message: Vec<u8>) -> Vec<u8> {
    message[3] = (message[3] & 0xf0) | 2;
    message
}

fn is_servfail(lookup: &Lookup) -> bool {
    matches!(lookup.answer, TlsaAnswer::Indeterminate(LookupFailure::Servfail))
}

/// The cookie in a question: the client's eight octets and, perhaps, ours.
fn cookie(question: &[u8]) -> Option<Vec<u8>> {
    // The OPT record is all there is after the question.
    let mut options = &question[NAME_END + 4 + 11..];
    while let [c0, c1, l0, l1, rest @ ..] = options {
        let (data, rest) = rest.split_at(usize::from(u16::from_be_bytes([*l0, *l1])));
        if u16::from_be_bytes([*c0, *c1]) == COOKIE {
            return Some(data.to_vec());
        }
        options = rest;
    }
    None
}

/// Puts a cookie into a reply whose last record is an OPT record without options.
fn with_cookie(mut reply: Vec<u8>, cookie: &[u8]) -> Vec<u8> {
    let length = u16::try_from(cookie.len()).unwrap();
    let end = reply.len();
    assert_eq!(reply[end - 11..end - 8], [0, 0, 41], "an OPT record");
    reply[end - 2..].copy_from_slice(&(length + 4).to_be_bytes());
    reply.extend([COOKIE.to_be_bytes(), length.to_be_bytes()].concat());
    reply.extend(cookie);
    reply
}

/// With the client's part of the question and our own.
fn honest(reply: Vec<u8>, question: &[u8]) -> Vec<u8> {
    let client = &cookie(question).unwrap()[..8];
    with_cookie(reply, &[client, &SERVERS].concat())
}

/// BADCOOKIE (23): the upper bits of the code are in the OPT record.
fn bad_cookie(reply: Vec<u8>, question: &[u8]) -> Vec<u8> {
    let mut reply = honest(reply, question);
    reply[3] = (reply[3] & 0xf0) | 7;
    let opt = reply.len() - (11 + 4 + 24);
    reply[opt + 5] = 1;
    reply
}

// DNS-01
#[tokio::test]
async fn names_go_out_in_letters_of_any_size_and_must_come_back_so() {
    let world = world().await;
    let of_front = Arc::clone(&world);
    // Before the answer, one with the name in small letters, as somebody would send it who has not seen the question.
    let front = Plain::start(move |by, question| {
        let answer = of_front.answer(question).unwrap();
        let mut forged = servfail(answer.clone());
        forged[12..NAME_END].make_ascii_lowercase();
        if by == By::Udp { vec![forged, answer] } else { vec![answer] }
    })
    .await;
    let resolver = resolver(&world, &front);
    for _ in 0..3 {
        assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
    }
    let asked = front.asked();
    assert_eq!(front.counts(), (3, 3));
    let names: Vec<_> = asked.iter().map(|(_, question)| &question[12..NAME_END]).collect();
    // Each question is in letters of its own: the server was not taken for one that folds.
    assert!(names[0] != names[2] && names[2] != names[4] && names[0] != names[4]);
}

// DNS-01: the control of the above: in the right letters, a forged answer would be heard.
#[tokio::test]
async fn in_the_right_letters_anything_is_heard() {
    let world = world().await;
    let of_front = Arc::clone(&world);
    let front = Plain::start(move |_, question| {
        let answer = of_front.answer(question).unwrap();
        vec![servfail(answer.clone()), answer]
    })
    .await;
    assert!(is_servfail(&resolver(&world, &front).lookup(&owner(NAME)).await));
}

// DNS-01
#[tokio::test]
async fn a_server_that_folds_letters_is_remembered() {
    let world = world().await;
    let of_front = Arc::clone(&world);
    let front = Plain::start(move |_, question| {
        let mut answer = of_front.answer(question).unwrap();
        answer[12..NAME_END].make_ascii_lowercase();
        vec![answer]
    })
    .await;
    let resolver = resolver(&world, &front);
    for _ in 0..4 {
        assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
    }
    // Asked over TCP once.
    assert_eq!(front.counts(), (4, 1));
    assert!(front.asked()[2..].iter().all(|(_, question)| !question[12..NAME_END].iter().any(u8::is_ascii_uppercase)));
}

// DNS-01
#[tokio::test]
async fn an_error_without_question_is_not_believed_over_udp() {
    let world = world().await;
    let of_front = Arc::clone(&world);
    let front = Plain::start(move |by, question| {
        let mut bare = servfail(question[..12].to_vec());
        bare[2] |= 0x80;
        bare[4..].fill(0);
        if by == By::Udp { vec![bare] } else { vec![of_front.answer(question).unwrap()] }
    })
    .await;
    assert_eq!(code(&resolver(&world, &front).lookup(&owner(NAME)).await), "S");
    // Over TCP it is: nobody else can have sent it.
    let front = Plain::start(|_, question| {
        let mut bare = servfail(question[..12].to_vec());
        bare[2] |= 0x80;
        bare[4..].fill(0);
        vec![bare]
    })
    .await;
    assert!(is_servfail(&resolver(&world, &front).lookup(&owner(NAME)).await));
}

// DNS-01: nobody has tries without end at the ID.
#[tokio::test]
async fn after_too_many_guesses_the_question_goes_over_tcp() {
    for (guesses, expected) in [(9, (1, 0)), (10, (1, 1))] {
        let world = world().await;
        let of_front = Arc::clone(&world);
        let front = Plain::start(move |by, question| {
            let answer = of_front.answer(question).unwrap();
            let guess = |number: u8| {
                let mut guess = servfail(answer.clone());
                guess[1] ^= number;
                guess
            };
            match by {
                By::Udp => (1..=guesses).map(guess).chain([answer.clone()]).collect(),
                By::Tcp => vec![answer],
            }
        })
        .await;
        assert_eq!(code(&resolver(&world, &front).lookup(&owner(NAME)).await), "S");
        assert_eq!(front.counts(), expected);
    }
}

// DNS-01
#[tokio::test]
async fn cookies_are_learnt_and_shown() {
    let world = world().await;
    let of_front = Arc::clone(&world);
    let front = Plain::start(move |_, question| vec![honest(of_front.answer(question).unwrap(), question)]).await;
    let resolver = resolver(&world, &front);
    for _ in 0..3 {
        assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
    }
    assert_eq!(front.counts(), (3, 0));
    let shown: Vec<_> = front.asked().iter().map(|(_, question)| cookie(question).unwrap()).collect();
    assert_eq!(shown[0].len(), 8);
    let both = [&shown[0][..], &SERVERS].concat();
    assert_eq!(shown[1..], [both.clone(), both]);
    // Another server is shown another one.
    let of_front = Arc::clone(&world);
    let other = Plain::start(move |_, question| vec![of_front.answer(question).unwrap()]).await;
    assert_eq!(code(&self::resolver(&world, &other).lookup(&owner(NAME)).await), "S");
    assert_ne!(cookie(&other.asked()[0].1).unwrap(), shown[0]);
}

// DNS-01
#[tokio::test]
async fn a_reply_with_a_wrong_cookie_is_not_heard() {
    let world = world().await;
    let of_front = Arc::clone(&world);
    let front = Plain::start(move |_, question| {
        let answer = of_front.answer(question).unwrap();
        let right = cookie(question).unwrap()[..8].to_vec();
        let wrong: Vec<u8> = right.iter().map(|octet| octet ^ 1).collect();
        let forge = |cookie: &[u8]| with_cookie(servfail(answer.clone()), cookie);
        vec![
            forge(&[&wrong[..], &SERVERS].concat()),
            forge(&wrong),
            forge(&right[..7]),
            forge(&[&right[..], &[0; 33]].concat()),
            honest(answer.clone(), question),
        ]
    })
    .await;
    assert_eq!(code(&resolver(&world, &front).lookup(&owner(NAME)).await), "S");
    assert_eq!(front.counts(), (1, 0));
    // The control: with the right one it is.
    let of_front = Arc::clone(&world);
    let front = Plain::start(move |_, question| {
        let answer = of_front.answer(question).unwrap();
        vec![honest(servfail(answer.clone()), question), honest(answer, question)]
    })
    .await;
    assert!(is_servfail(&resolver(&world, &front).lookup(&owner(NAME)).await));
}

// DNS-01
#[tokio::test]
async fn a_server_that_has_cookies_is_expected_to_show_one() {
    let world = world().await;
    let of_front = Arc::clone(&world);
    let forged = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let forging = Arc::clone(&forged);
    let front = Plain::start(move |by, question| {
        let answer = of_front.answer(question).unwrap();
        let forged = forging.load(std::sync::atomic::Ordering::SeqCst);
        match by {
            By::Udp if forged => vec![servfail(answer.clone()), honest(answer, question)],
            By::Udp => vec![honest(answer, question)],
            By::Tcp => vec![answer],
        }
    })
    .await;
    let resolver = resolver(&world, &front);
    assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
    forged.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
    assert_eq!(front.counts(), (2, 1));
}

// DNS-01
#[tokio::test]
async fn a_server_that_wants_its_cookie_is_shown_it() {
    let world = world().await;
    let of_front = Arc::clone(&world);
    let front = Plain::start(move |_, question| {
        let answer = of_front.answer(question).unwrap();
        match cookie(question).unwrap()[8..] == SERVERS {
            true => vec![honest(answer, question)],
            false => vec![bad_cookie(answer, question)],
        }
    })
    .await;
    let resolver = resolver(&world, &front);
    for _ in 0..2 {
        assert_eq!(code(&resolver.lookup(&owner(NAME)).await), "S");
    }
    assert_eq!(front.counts(), (3, 0));

    // One that is never content is asked over TCP, where it needs none.
    let of_front = Arc::clone(&world);
    let front = Plain::start(move |by, question| {
        let answer = of_front.answer(question).unwrap();
        vec![if by == By::Udp { bad_cookie(answer, question) } else { answer }]
    })
    .await;
    assert_eq!(code(&self::resolver(&world, &front).lookup(&owner(NAME)).await), "S");
    assert_eq!(front.counts(), (2, 1));
}

// DNS-09
#[tokio::test]
async fn what_is_truncated_over_tcp_is_no_answer() {
    let world = world().await;
    for (over_tcp, expected) in [(false, "S"), (true, "T")] {
        let of_front = Arc::clone(&world);
        let front = Plain::start(move |by, question| {
            let mut answer = of_front.answer(question).unwrap();
            if over_tcp || by == By::Udp {
                answer[2] |= 0x02;
            }
            vec![answer]
        })
        .await;
        assert_eq!(code(&resolver(&world, &front).lookup(&owner(NAME)).await), expected);
        assert!(front.asked().iter().any(|(by, _)| *by == By::Tcp));
    }
}

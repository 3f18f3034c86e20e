//! A datagram, as a listener reads it before it knows anything of who has sent it. The module is that of `dance-tls`, which
//! as a whole would need OpenSSL here. Its promises are in the body below, since no other crate can see it.
#![no_main]

#[allow(dead_code, reason = "the rest is for the connections behind it")]
#[path = "../../crates/dance-tls/src/dtls/record.rs"]
mod record;

use record::{ClientHello, HEADER, Record, fatal_alert, hello_verify_request, records, shift};

/// Of HMAC-SHA256.
const COOKIE: [u8; 32] = [7; 32];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    client_hello(data);
    moved(data);
});

/// Who is answered has sent more, in a message that holds what the cookie is made of; the answer has its number.
fn client_hello(datagram: &[u8]) {
    let Some(hello) = ClientHello::parse(datagram) else { return };
    let (first, _) = Record::split(datagram).expect("a record");
    assert_eq!((first.sequence, first.epoch), (hello.sequence, 0));
    let parameters = &first.fragment[12..][..hello.parameters.len()];
    assert_eq!(parameters, hello.parameters);
    let cookie = &first.fragment[12 + parameters.len()..];
    assert_eq!(usize::from(cookie[0]), hello.cookie.len());
    assert_eq!(&cookie[1..][..hello.cookie.len()], hello.cookie);

    let answer = hello_verify_request(hello.sequence, &COOKIE);
    assert!(answer.len() < datagram.len());
    assert!(ClientHello::parse(&answer).is_none());
    let (record, rest) = Record::split(&answer).expect("a record");
    assert_eq!((record.sequence, record.epoch, rest), (hello.sequence, 0, &[][..]));
    assert!(record.fragment.ends_with(&COOKIE));
}

/// Records fill their datagram; moving their numbers changes nothing but numbers, and of records in the clear only.
fn moved(datagram: &[u8]) {
    let Some(before) = records(datagram) else { return };
    assert_eq!(before.iter().map(|record| HEADER + record.fragment.len()).sum::<usize>(), datagram.len());
    for by in [0, 1, (1 << 48) - 1] {
        let mut changed = datagram.to_vec();
        shift(&mut changed, by);
        let after = records(&changed).expect("records");
        assert_eq!(after.len(), before.len());
        for (before, after) in before.iter().zip(&after) {
            assert_eq!((before.content_type, before.epoch), (after.content_type, after.epoch));
            assert_eq!(before.fragment, after.fragment);
            let number = if before.epoch == 0 { (before.sequence + by).min((1 << 48) - 1) } else { before.sequence };
            assert_eq!(after.sequence, number);
            let alert = fatal_alert(after.sequence, 40);
            assert_eq!(Record::split(&alert).map(|(record, _)| record.sequence), Some(number));
        }
    }
}

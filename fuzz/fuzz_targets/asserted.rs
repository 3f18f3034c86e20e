//! The name out of a header field or a body, held against readers that know nothing of each other. The module is that of `dance-http`, which as
//! a whole would bring a resolver and its runtime here.
//!
//! The octets: where the name is and whether under its other name too; then the value or the body.
#![no_main]

#[allow(dead_code, reason = "the rest is for the check around it")]
#[path = "../../crates/dance-http/src/asserted.rs"]
mod asserted;

use asserted::{ALIAS, ASSERTED, BodyKind, MEMBER, in_body, in_headers};
use dance_core::name::ClientName;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&choice, octets)) = data.split_first() else { return };
    let alias = choice & 1 != 0;
    match choice >> 1 & 3 {
        0 => header(octets),
        1 => form(octets, alias),
        _ => json(octets, alias),
    }
});

fn header(octets: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(octets) else { return };
    let mut headers = HeaderMap::from_iter([(ASSERTED, value.clone())]);
    let found = in_headers(&headers);
    assert_eq!(found.ok().flatten(), ClientName::parse(octets.trim_ascii()).ok());
    headers.append(ASSERTED, value);
    assert!(in_headers(&headers).is_err());
}

fn json(body: &[u8], alias: bool) {
    let found = in_body(BodyKind::Json, body, alias);
    if let Ok(document) = serde_json::from_slice::<Value>(body) {
        let named = |member| document.get(member).filter(|_| member == MEMBER || alias);
        let members: Vec<_> = [MEMBER, ALIAS].into_iter().filter_map(named).collect();
        // That reader keeps the last of members that are there twice, and ours takes none of them.
        match (&found, members.as_slice()) {
            (Ok(None), members) => assert!(members.is_empty()),
            (Ok(Some(name)), [Value::String(text)]) => assert_eq!(ClientName::parse(text.as_bytes()).as_ref(), Ok(name)),
            (Ok(Some(name)), members) => panic!("{name} out of {members:?}"),
            (Err(_), members) => assert!(!members.is_empty()),
        }
    }
    again(BodyKind::Json, found.ok().flatten(), |name| format!("{{\"{MEMBER}\":\"{name}\"}}"));
}

fn form(body: &[u8], alias: bool) {
    let found = in_body(BodyKind::Form, body, alias);
    let fields = body.split(|&octet| octet == b'&').map(|field| {
        let mut parts = field.splitn(2, |&octet| octet == b'=').map(decode);
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    });
    let is_name = |key: &[u8]| key == MEMBER.as_bytes() || (alias && key == ALIAS.as_bytes());
    let names: Vec<_> = fields.filter(|(key, _)| is_name(key)).map(|(_, value)| value).collect();
    match (&found, names.as_slice()) {
        (Ok(None), names) => assert!(names.is_empty()),
        (Ok(Some(name)), [value]) => assert_eq!(ClientName::parse(value).as_ref(), Ok(name)),
        (Ok(Some(name)), names) => panic!("{name} out of {names:?}"),
        (Err(_), [value]) => assert!(ClientName::parse(value).is_err()),
        (Err(_), names) => assert!(names.len() > 1),
    }
    again(BodyKind::Form, found.ok().flatten(), |name| format!("a=1&{MEMBER}={name}"));
}

/// As the URL standard decodes a form, octet by octet.
fn decode(text: &[u8]) -> Vec<u8> {
    let digit = |octet: &u8| char::from(*octet).to_digit(16).map(|digit| digit as u8);
    let (mut plain, mut rest) = (Vec::new(), text);
    while let [first, after @ ..] = rest {
        rest = after;
        plain.push(match (first, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) if let (Some(high), Some(low)) = (digit(high), digit(low)) => {
                rest = after;
                high << 4 | low
            }
            _ => *first,
        });
    }
    plain
}

/// A name that is asserted plainly is the same.
fn again(kind: BodyKind, name: Option<ClientName>, body: impl Fn(&ClientName) -> String) {
    if let Some(name) = name {
        assert_eq!(in_body(kind, body(&name).as_bytes(), false), Ok(Some(name)));
    }
}

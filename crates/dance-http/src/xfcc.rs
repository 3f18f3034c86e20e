//! Envoy's `X-Forwarded-Client-Cert`: elements joined by commas, each of pairs joined by semicolons, values bare or quoted.
//!
//! Whoever may come in chooses much of what stands here: where Envoy appends, the elements before its own; and in its own the names of
//! a certificate that nobody has issued. Envoy escapes quotes in `Subject` but writes `URI` and `DNS` as the certificate has them, commas
//! and semicolons included. So every value of every element is read strictly, or a quote that one element leaves open could end in
//! another; and where a name may have become syntax, nothing is read at all.

use std::borrow::Cow;

use crate::forwarded::{Dialect, ForwardedError};

const MALFORMED: ForwardedError = ForwardedError::Syntax { dialect: Dialect::Xfcc };

/// The percent-encoded PEM of the last element: `Chain`, which begins with the end entity, or where it has none `Cert`. Where it has both,
/// the chain must begin with the certificate.
pub(crate) fn certificates(value: &str) -> Result<Cow<'_, str>, ForwardedError> {
    let mut last = Element::default();
    let (mut elements, mut names) = (0, false);
    for element in split(value, ',') {
        last = Element::read(element?)?;
        elements += 1;
        names |= last.names;
    }
    if names && elements > 1 {
        return Err(ForwardedError::UnquotedNames);
    }
    match (last.certificate, last.chain) {
        (Some(certificate), Some(chain)) if chain.starts_with(certificate.trim_end_matches("%0A")) => Ok(chain),
        (Some(_), Some(_)) | (None, None) => Err(MALFORMED),
        (Some(one), None) | (None, Some(one)) => Ok(one),
    }
}

/// What one proxy has written.
#[derive(Default)]
struct Element<'a> {
    certificate: Option<Cow<'a, str>>,
    chain: Option<Cow<'a, str>>,
    /// It holds names as the certificate has them.
    names: bool,
}

impl<'a> Element<'a> {
    fn read(text: &'a str) -> Result<Self, ForwardedError> {
        let mut element = Self::default();
        for pair in split(text, ';') {
            let (key, value) = pair?.split_once('=').ok_or(MALFORMED)?;
            let value = unquote(value.trim_ascii())?;
            let is = |name: &str| key.trim_ascii().eq_ignore_ascii_case(name);
            if is("uri") || is("dns") {
                element.names = true;
                continue;
            }
            // Envoy writes nothing behind these names, so a name has.
            if element.names {
                return Err(ForwardedError::UnquotedNames);
            }
            let place = if is("cert") {
                &mut element.certificate
            } else if is("chain") {
                &mut element.chain
            } else {
                continue;
            };
            if place.replace(value).is_some() {
                return Err(MALFORMED);
            }
        }
        Ok(element)
    }
}

/// The parts between separators that stand outside quotes. An error for a quote that is not closed.
fn split(text: &str, separator: char) -> impl Iterator<Item = Result<&str, ForwardedError>> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let (mut quoted, mut escaped) = (false, false);
        for (index, character) in text.char_indices() {
            match character {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                _ if character == separator && !quoted => {
                    rest = text.get(index + 1..);
                    return text.get(..index).map(Ok);
                }
                _ => {}
            }
        }
        Some(if quoted { Err(MALFORMED) } else { Ok(text) })
    })
}

fn unquote(value: &str) -> Result<Cow<'_, str>, ForwardedError> {
    let Some(inner) = value.strip_prefix('"') else {
        return if value.contains('"') { Err(MALFORMED) } else { Ok(Cow::Borrowed(value)) };
    };
    let inner = inner.strip_suffix('"').ok_or(MALFORMED)?;
    if !inner.contains('\\') {
        return if inner.contains('"') { Err(MALFORMED) } else { Ok(Cow::Borrowed(inner)) };
    }
    let mut plain = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.push(characters.next().ok_or(MALFORMED)?),
            '"' => return Err(MALFORMED),
            other => plain.push(other),
        }
    }
    Ok(Cow::Owned(plain))
}

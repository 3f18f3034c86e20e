//! Envoy's `X-Forwarded-Client-Cert`: elements joined by commas, each of pairs joined by semicolons, values bare or quoted.

use std::borrow::Cow;

use crate::forwarded::{Dialect, ForwardedError};

const MALFORMED: ForwardedError = ForwardedError::Syntax { dialect: Dialect::Xfcc };

/// The percent-encoded PEM of the last element: `Chain`, which begins with the end entity, or where it has none `Cert`. Where it has both,
/// the chain must begin with the certificate.
pub(crate) fn certificates(value: &str) -> Result<Cow<'_, str>, ForwardedError> {
    let mut certificate = None;
    let mut chain = None;
    for pair in split(last_element(value)?, ';') {
        let pair = pair?;
        let (key, value) = pair.split_once('=').ok_or(MALFORMED)?;
        let place = match key.trim_ascii() {
            key if key.eq_ignore_ascii_case("cert") => &mut certificate,
            key if key.eq_ignore_ascii_case("chain") => &mut chain,
            _ => continue,
        };
        if place.replace(unquote(value.trim_ascii())?).is_some() {
            return Err(MALFORMED);
        }
    }
    match (certificate, chain) {
        (Some(certificate), Some(chain)) if chain.starts_with(certificate.trim_end_matches("%0A")) => Ok(chain),
        (Some(_), Some(_)) | (None, None) => Err(MALFORMED),
        (Some(one), None) | (None, Some(one)) => Ok(one),
    }
}

fn last_element(value: &str) -> Result<&str, ForwardedError> {
    split(value, ',').last().unwrap_or(Err(MALFORMED))
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

//! The name that a request asserts: who the client says it is, which proves nothing by itself (requirements 6.2 item 7).

use std::fmt;

use dance_core::name::{ClientName, NameError};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName};
use serde::de::{Deserialize as _, Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;

/// The field in which a request asserts a name where nobody reads its body.
pub const ASSERTED: HeaderName = HeaderName::from_static("dane-clientid-asserted");
/// The member or field of a body.
pub const MEMBER: &str = "dane_clientid";
/// Its other name, as some demonstrations have it.
pub const ALIAS: &str = "dane_id";

/// What kind of body may hold a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// `application/json`: a member of the object at the top.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
}

impl BodyKind {
    /// The kind of the body that comes with these headers; `None` if it is of no kind that can hold a name.
    ///
    /// # Errors
    /// Two content types, or a coding or character encoding that hides the name from this reader and not from the application's.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, AssertedError> {
        let mut types = headers.get_all(CONTENT_TYPE).iter();
        let Some(first) = types.next() else { return Ok(None) };
        if types.next().is_some() {
            return Err(AssertedError::ContentTypes);
        }
        let text = first.to_str().map_err(|_| AssertedError::ContentTypes)?;
        let mut parts = text.split(';').map(str::trim_ascii);
        let essence = parts.next().unwrap_or_default();
        let kind = if essence.eq_ignore_ascii_case("application/json") {
            Self::Json
        } else if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            Self::Form
        } else {
            return Ok(None);
        };
        if parts.any(hides_letters) {
            return Err(AssertedError::Charset);
        }
        let coded = |value: &http::HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
        if headers.get_all(CONTENT_ENCODING).iter().any(coded) {
            return Err(AssertedError::Coded);
        }
        Ok(Some(kind))
    }
}

/// Character encodings in which letters are the octets that they are here.
const CHARSETS: [&str; 4] = ["utf-8", "utf8", "us-ascii", "iso-8859-1"];

/// Whether a parameter of the content type says that letters are other octets: an application that goes by it reads another name.
fn hides_letters(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    let value = value.trim_ascii().trim_matches('"');
    name.trim_ascii().eq_ignore_ascii_case("charset") && !CHARSETS.iter().any(|known| known.eq_ignore_ascii_case(value))
}

/// The name in the header field, if there is one.
///
/// # Errors
/// Several lines, or no name by requirements 2.4.
pub fn in_headers(headers: &HeaderMap) -> Result<Option<ClientName>, AssertedError> {
    let mut values = headers.get_all(ASSERTED).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(AssertedError::Repeated);
    }
    parse(value.as_bytes().trim_ascii()).map(Some)
}

/// The name in a body, if there is one; `alias` also takes it from a member called `dane_id`.
///
/// # Errors
/// A body that does not decode, the name twice, not as a string, or not a name.
pub fn in_body(kind: BodyKind, body: &[u8], alias: bool) -> Result<Option<ClientName>, AssertedError> {
    let is_name = |key: &str| key == MEMBER || (alias && key == ALIAS);
    let mut names = Names { is_name, first: None, more: false };
    match kind {
        // An empty body is no document, and no name.
        BodyKind::Json if body.is_empty() => {}
        BodyKind::Json => {
            let mut reader = serde_json::Deserializer::from_slice(body);
            let read = if body.trim_ascii_start().starts_with(b"{") {
                reader.deserialize_map(&mut names)
            } else {
                IgnoredAny::deserialize(&mut reader).map(drop)
            };
            read.and_then(|()| reader.end()).map_err(|error| match error.classify() {
                // Nothing but the name has to be of a kind.
                Category::Data => AssertedError::NotText,
                Category::Syntax | Category::Eof | Category::Io => AssertedError::Undecodable { kind },
            })?;
        }
        BodyKind::Form => {
            for (key, value) in form_urlencoded::parse(body) {
                if (names.is_name)(&key) {
                    names.add(value.into_owned());
                }
            }
        }
    }
    if names.more { Err(AssertedError::Repeated) } else { names.first.map(|name| parse(name.as_bytes())).transpose() }
}

fn parse(octets: &[u8]) -> Result<ClientName, AssertedError> {
    ClientName::parse(octets).map_err(AssertedError::Name)
}

/// The name, which should be there once.
struct Names<F> {
    is_name: F,
    first: Option<String>,
    more: bool,
}

impl<F> Names<F> {
    fn add(&mut self, name: String) {
        self.more |= self.first.replace(name).is_some();
    }
}

/// Reads a JSON object through to its end, since an error after the name is an error too, and keeps nothing but the name: no value that
/// a client could have built up in memory many times as large as its body.
impl<'de, F: Fn(&str) -> bool> Visitor<'de> for &mut Names<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if (self.is_name)(&key) {
                self.add(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Why an asserted name cannot be read. The client is at fault; the answer is 400 (requirements 6.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AssertedError {
    /// More than one name.
    Repeated,
    /// Not a string.
    NotText,
    /// Not a name.
    Name(NameError),
    /// More than one content type, or one that is no text.
    ContentTypes,
    /// The body is in a character encoding that is not read here.
    Charset,
    /// The body is compressed, or coded otherwise.
    Coded,
    /// The body does not decode as what it says it is.
    Undecodable {
        /// What that is.
        kind: BodyKind,
    },
}

impl fmt::Display for AssertedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repeated => f.write_str("expected one asserted client name, found several"),
            Self::NotText => f.write_str("expected the asserted client name as a string, found another JSON value"),
            Self::Name(error) => write!(f, "the asserted client name: {error}"),
            Self::ContentTypes => f.write_str("expected one content type, found several or none that can be read"),
            Self::Charset => f.write_str(
                "the body that may assert a client name is in a character encoding other than UTF-8: send it so, or the name in Dane-Clientid-Asserted",
            ),
            Self::Coded => f.write_str(
                "the body that may assert a client name has a content coding: send it without, or the name in Dane-Clientid-Asserted",
            ),
            Self::Undecodable { kind: BodyKind::Json } => f.write_str("the body does not decode as JSON"),
            Self::Undecodable { kind: BodyKind::Form } => f.write_str("the body does not decode as a form"),
        }
    }
}

impl std::error::Error for AssertedError {}

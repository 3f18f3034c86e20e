//! Names: the conveyed name, the owner name made from it, and their one syntax check.
//!
//! Every name, whether it comes from the extension, a certificate, an HTTP body or a configuration file, passes through
//! [`ClientName::parse`], so that two doors can never disagree about what a name is (NAM-12).

use alloc::borrow::ToOwned;
use alloc::sync::Arc;
use core::fmt;

/// Longest name in text form, without the final dot. RFC 1035 section 2.3.4 allows 255 octets in wire form, two more than the text.
pub const MAX_TEXT_LEN: usize = 253;

/// Longest label in octets (RFC 1035 section 2.3.4).
pub const MAX_LABEL_LEN: usize = 63;

/// A conveyed name: checked, ASCII lower case, without final dot (draft section 7; our stricter syntax is requirements 2.4).
///
/// It is not a host name and not an SNI value: labels may begin with an underscore. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientName(Arc<str>);

impl ClientName {
    /// Checks and lower-cases `octets` as they came from a peer: no final dot, A-labels only.
    ///
    /// # Errors
    /// The first rule of requirements 2.4 that the octets break.
    pub fn parse(octets: &[u8]) -> Result<Self, NameError> {
        check(octets)?;
        let mut buffer = [0u8; MAX_TEXT_LEN];
        let lower = buffer.get_mut(..octets.len()).ok_or(NameError::TooLong { octets: octets.len() })?;
        lower.copy_from_slice(octets);
        lower.make_ascii_lowercase();
        let text = core::str::from_utf8(lower).map_err(|_| NameError::ForbiddenOctet { octet: 0x80, offset: 0 })?;
        Ok(Self(Arc::from(text)))
    }

    /// Like [`parse`](Self::parse), for names that an administrator typed: one final dot is taken off first.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_config(text: &str) -> Result<Self, NameError> {
        Self::parse(text.strip_suffix('.').unwrap_or(text).as_bytes())
    }

    /// The name in lower case, without final dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels, leftmost first.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        self.0.split('.')
    }

    /// The name in DNS wire form, root label included (RFC 1035 section 3.1).
    #[must_use]
    pub fn to_wire(&self) -> WireName {
        let mut wire = WireName { octets: [0; 255], len: 0 };
        for label in self.labels() {
            wire.push(&[label.len() as u8]);
            wire.push(label.as_bytes());
        }
        wire.push(&[0]);
        wire
    }

    /// The name without its first label, if that label is exactly `_user` and a name remains (requirements 2.5).
    #[must_use]
    pub fn without_user_label(&self) -> Option<Self> {
        let rest = self.0.strip_prefix("_user.")?;
        Self::parse(rest.as_bytes()).ok()
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientName({})", self.as_str())
    }
}

/// The rules of requirements 2.4, in an order that names the most telling fault first.
fn check(octets: &[u8]) -> Result<(), NameError> {
    if octets.is_empty() {
        return Err(NameError::Empty);
    }
    for (offset, &octet) in octets.iter().enumerate() {
        if !matches!(octet, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.') {
            return Err(NameError::ForbiddenOctet { octet, offset });
        }
    }
    if octets.last() == Some(&b'.') {
        return Err(NameError::TrailingDot);
    }
    let mut labels = 0usize;
    let mut last: &[u8] = &[];
    for label in octets.split(|&octet| octet == b'.') {
        if label.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        if label.len() > MAX_LABEL_LEN {
            return Err(NameError::LabelTooLong { octets: label.len() });
        }
        if label.first() == Some(&b'-') || label.last() == Some(&b'-') {
            return Err(NameError::HyphenAtEdge);
        }
        labels += 1;
        last = label;
    }
    if octets.len() > MAX_TEXT_LEN {
        return Err(NameError::TooLong { octets: octets.len() });
    }
    if labels < 2 {
        return Err(NameError::SingleLabel);
    }
    if last.first() == Some(&b'_') {
        return Err(NameError::UnderscoreTopLabel);
    }
    let hexadecimal = matches!(last, [b'0', b'x' | b'X', ..]);
    if hexadecimal || last.iter().all(u8::is_ascii_digit) {
        return Err(NameError::NumericTopLabel);
    }
    Ok(())
}

/// Why octets are not a [`ClientName`]. Always the fault of whoever wrote the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Nothing at all.
    Empty,
    /// Two dots in a row, or a dot first.
    EmptyLabel,
    /// An octet outside letters, digits, hyphen, underscore and dot. Covers escapes, U-labels, URIs and addresses.
    ForbiddenOctet {
        /// The octet.
        octet: u8,
        /// Where it stands, counted from 0.
        offset: usize,
    },
    /// A label that starts or ends with a hyphen.
    HyphenAtEdge,
    /// A label over [`MAX_LABEL_LEN`].
    LabelTooLong {
        /// Its length.
        octets: usize,
    },
    /// The last label is a number: an IP address written as text.
    NumericTopLabel,
    /// One label only.
    SingleLabel,
    /// Text over [`MAX_TEXT_LEN`], hence a wire form over 255 octets.
    TooLong {
        /// The text's length.
        octets: usize,
    },
    /// A final dot.
    TrailingDot,
    /// The last label starts with an underscore.
    UnderscoreTopLabel,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("expected a DNS name, found nothing"),
            Self::EmptyLabel => {
                f.write_str("expected labels of 1 to 63 octets, found an empty one (two dots in a row, or a dot first)")
            }
            Self::ForbiddenOctet { octet, offset } => write!(
                f,
                "expected letters, digits, '-', '_' and '.' only, found octet 0x{octet:02x} at offset {offset}; write international names as A-labels (xn--...)"
            ),
            Self::HyphenAtEdge => f.write_str("expected labels without '-' at either end, found one"),
            Self::LabelTooLong { octets } => write!(f, "expected labels of at most 63 octets, found one of {octets}"),
            Self::NumericTopLabel => {
                f.write_str("expected a DNS name, found a number as its last label: IP addresses have no TLSA records")
            }
            Self::SingleLabel => f.write_str("expected at least two labels, found one; write the complete name"),
            Self::TooLong { octets } => write!(f, "expected at most 253 octets, found {octets}"),
            Self::TrailingDot => f.write_str("expected a name without final dot, found one"),
            Self::UnderscoreTopLabel => {
                f.write_str("expected a top-level domain as the last label, found one that starts with '_'")
            }
        }
    }
}

impl core::error::Error for NameError {}

/// A name in DNS wire form.
#[derive(Clone)]
pub struct WireName {
    octets: [u8; 255],
    len: usize,
}

impl WireName {
    /// The octets, from the first length octet to the root label.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or(&[])
    }

    fn push(&mut self, octets: &[u8]) {
        // A checked name fits: 253 octets of text are 255 in wire form.
        if let Some(room) = self.octets.get_mut(self.len..self.len + octets.len()) {
            room.copy_from_slice(octets);
            self.len += octets.len();
        }
    }
}

/// The DNS name at which the TLSA RRset is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerName(ClientName);

impl OwnerName {
    /// Profile `current`: the conveyed name as it is, nothing added (draft sections 2, 7, 8.2).
    #[must_use]
    pub fn verbatim(name: &ClientName) -> Self {
        Self(name.clone())
    }

    /// Profile `2022`: with a service label configured, the five rules of requirements 2.2 (a to e).
    ///
    /// # Errors
    /// The name belongs to another service or class, or the constructed name is too long.
    pub fn construct(name: &ClientName, service: Option<&ServiceLabel>) -> Result<Self, OwnerNameError> {
        let Some(service) = service else {
            return Ok(Self::verbatim(name));
        };
        let first = name.labels().next().unwrap_or_default();
        if first == service.as_str() {
            return Ok(Self::verbatim(name));
        }
        if first.starts_with('_') {
            return Err(OwnerNameError::OtherService);
        }
        if name.labels().any(|label| label.starts_with('_')) {
            return Ok(Self::verbatim(name));
        }
        let text = alloc::format!("{service}.{name}");
        ClientName::parse(text.as_bytes()).map(Self).map_err(|_| OwnerNameError::TooLong { octets: text.len() })
    }

    /// The name in lower case, without final dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The name in DNS wire form.
    #[must_use]
    pub fn to_wire(&self) -> WireName {
        self.0.to_wire()
    }

    /// The labels, leftmost first.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        self.0.labels()
    }
}

impl fmt::Display for OwnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why no owner name can be made of a client name (profile `2022` with a service label).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerNameError {
    /// The first label names another service, or a class such as `_user`.
    OtherService,
    /// Label and name together exceed [`MAX_TEXT_LEN`].
    TooLong {
        /// The length they would have.
        octets: usize,
    },
}

impl fmt::Display for OwnerNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherService => f.write_str("the name is for another service or class"),
            Self::TooLong { octets } => {
                write!(f, "with the service label the owner name would have {octets} octets, more than 253")
            }
        }
    }
}

impl core::error::Error for OwnerNameError {}

/// A service label with its underscore, such as `_smtp-client` (draft section 2, format 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceLabel(alloc::string::String);

impl ServiceLabel {
    /// Takes `smtp-client` or `_smtp-client`.
    ///
    /// # Errors
    /// Whatever makes it no label of a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let label = if text.starts_with('_') { text.to_owned() } else { alloc::format!("_{text}") };
        if label.contains('.') {
            return Err(NameError::ForbiddenOctet { octet: b'.', offset: label.find('.').unwrap_or_default() });
        }
        if label.len() < 2 {
            return Err(NameError::Empty);
        }
        // The name's own check, under a domain that adds nothing to complain of.
        let name = ClientName::parse(alloc::format!("{label}.example").as_bytes())?;
        Ok(Self(name.labels().next().unwrap_or_default().to_owned()))
    }

    /// The label, underscore included, lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

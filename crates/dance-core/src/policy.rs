//! What a listener admits: the policy, and the allow-list that is asked before any DNS query (requirements 6.3).

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::name::{ClientName, NameError};

/// Whether a connection without DANE authentication may go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// It may not.
    #[default]
    Require,
    /// It may, anonymously. The application decides on the identity, never on the connection (SEC-13).
    Optional,
}

/// What a failed look-up becomes under policy `optional`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLookupFailure {
    /// Abort the handshake.
    #[default]
    Abort,
    /// Go on without identity.
    Unauthenticated,
}

/// What a DANE-EE match at a wildcard counts for (SEC-08): every key holder under it may use every name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WildcardEndEntity {
    /// Counts.
    #[default]
    Accept,
    /// Counts as no match.
    Reject,
}

/// Patterns of client names that a server looks up and accepts. Empty admits nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    patterns: Vec<Pattern>,
}

impl AllowList {
    /// Takes patterns in any order.
    #[must_use]
    pub const fn new(patterns: Vec<Pattern>) -> Self {
        Self { patterns }
    }

    /// Parses patterns written by an administrator.
    ///
    /// # Errors
    /// The first pattern that is none.
    pub fn parse<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, PatternError> {
        patterns.into_iter().map(Pattern::parse).collect::<Result<_, _>>().map(Self::new)
    }

    /// The position of the first pattern that admits `name`.
    #[must_use]
    pub fn admits(&self, name: &ClientName) -> Option<usize> {
        self.patterns.iter().position(|pattern| pattern.admits(name))
    }

    /// The patterns.
    #[must_use]
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Whether it admits nobody.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }
}

/// One allow-list entry: `host.example.com`, `*.example.com` (one more label) or `**.example.com` (one or more).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    kind: PatternKind,
    suffix: ClientName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum PatternKind {
    Exact,
    OneLabel,
    AnyDepth,
}

impl Pattern {
    /// Parses one pattern; a final dot is taken off.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (kind, suffix) = if let Some(suffix) = text.strip_prefix("**.") {
            (PatternKind::AnyDepth, suffix)
        } else if let Some(suffix) = text.strip_prefix("*.") {
            (PatternKind::OneLabel, suffix)
        } else {
            (PatternKind::Exact, text)
        };
        let fault = |kind| PatternError { pattern: text.to_string(), kind };
        if suffix.contains('*') {
            return Err(fault(PatternErrorKind::StarInside));
        }
        let suffix = match ClientName::parse_config(suffix) {
            Ok(suffix) => suffix,
            Err(NameError::SingleLabel | NameError::Empty) if kind != PatternKind::Exact => {
                return Err(fault(PatternErrorKind::TooBroad));
            }
            Err(error) => return Err(fault(PatternErrorKind::Name(error))),
        };
        Ok(Self { kind, suffix })
    }

    /// Whether the pattern admits `name`. Whole labels only; the suffix itself is never admitted by a wildcard.
    #[must_use]
    pub fn admits(&self, name: &ClientName) -> bool {
        let (name, suffix) = (name.as_str(), self.suffix.as_str());
        if self.kind == PatternKind::Exact {
            return name == suffix;
        }
        let Some(front) = name.strip_suffix(suffix).and_then(|rest| rest.strip_suffix('.')) else {
            return false;
        };
        match self.kind {
            PatternKind::OneLabel => !front.contains('.'),
            PatternKind::AnyDepth | PatternKind::Exact => true,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.kind {
            PatternKind::Exact => "",
            PatternKind::OneLabel => "*.",
            PatternKind::AnyDepth => "**.",
        };
        write!(f, "{prefix}{}", self.suffix)
    }
}

/// Why a text is no allow-list entry. The fault of whoever wrote the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// The text.
    pub pattern: String,
    /// What is wrong with it.
    pub kind: PatternErrorKind,
}

/// What is wrong with a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternErrorKind {
    /// Its name breaks requirements 2.4.
    Name(NameError),
    /// A `*` that is not the whole first label.
    StarInside,
    /// A wildcard directly under the root or a top-level domain.
    TooBroad,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "allow-list entry \"{}\": ", self.pattern)?;
        match self.kind {
            PatternErrorKind::Name(error) => error.fmt(f),
            PatternErrorKind::StarInside => {
                f.write_str("'*' may only stand alone as the first label (\"*.example.com\", \"**.example.com\")")
            }
            PatternErrorKind::TooBroad => f.write_str(
                "a wildcard directly under a top-level domain would admit strangers; name the organisation's domain",
            ),
        }
    }
}

impl core::error::Error for PatternError {}

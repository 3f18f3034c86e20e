//! Durations as people write them in a configuration: `500ms`, `10s`, `5m`, `1h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A time span in a configuration file, written as a whole number and a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// So many seconds.
    #[must_use]
    pub const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

/// Units with their length in milliseconds, the longest first.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let number: u64 = digits.parse().map_err(|_| SpanError)?;
        let unit = text.get(digits.len()..).ok_or(SpanError)?;
        let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(SpanError)?;
        number.checked_mul(*millis).map(|millis| Self(Duration::from_millis(millis))).ok_or(SpanError)
    }
}

impl fmt::Display for Span {
    /// In the longest unit that loses nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis == 0 {
            return f.write_str("0s");
        }
        let whole = UNITS.iter().find(|(_, unit)| millis.is_multiple_of(u128::from(*unit)));
        let (name, unit) = whole.unwrap_or(&("ms", 1));
        write!(f, "{}{name}", millis / u128::from(*unit))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A text that is no [`Span`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanError;

impl fmt::Display for SpanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a whole number and a unit: \"500ms\", \"10s\", \"5m\" or \"1h\"")
    }
}

impl std::error::Error for SpanError {}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::{Span, SpanError};

    #[test]
    fn a_span_reads_back_as_it_was_written() {
        for text in ["1ms", "1500ms", "10s", "90s", "5m", "36h", "0s"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("60s".parse::<Span>().unwrap().to_string(), "1m");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "10", "s", "10 s", "-1s", "1.5s", "1d", "10S", "99999999999999999999s", "18446744073709551615h"]
        {
            assert_eq!(text.parse::<Span>(), Err(SpanError), "{text}");
        }
    }
}

//! Times as signatures write them.

use std::time::Duration;

use dance_core::UnixTime;

/// The time that a signature's 32 bits mean: the one closest to `now` (RFC 4034 section 3.1.5, RFC 1982).
pub(crate) fn serial_time(serial: u32, now: UnixTime) -> u64 {
    let now = now.as_secs();
    #[allow(clippy::cast_possible_truncation, reason = "serial numbers are the low 32 bits")]
    let distance = serial.wrapping_sub(now as u32).cast_signed();
    now.saturating_add_signed(distance.into())
}

/// Seconds since 1970 as a time.
pub(crate) fn unix(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_near_the_turn_of_the_era() {
        let era = 1u64 << 32;
        assert_eq!(serial_time(1000, unix(900)), 1000);
        assert_eq!(serial_time(1000, unix(1_100)), 1000);
        assert_eq!(serial_time(5, unix(era - 5)), era + 5);
        assert_eq!(serial_time(u32::MAX, unix(era + 5)), era - 1);
    }
}

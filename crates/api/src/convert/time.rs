//! `google.protobuf.Timestamp` and our milliseconds.

use hansa_types::time::{LogTime, WallTime};
use prost_types::Timestamp;

use super::Checks;
use crate::status::Reason;

const MS_PER_S: u64 = 1_000;
const NANOS_PER_MS: i32 = 1_000_000;
/// 9999-12-31T23:59:59Z, where RFC 3339 ends.
const SECONDS_MAX: i64 = 253_402_300_799;

/// A timestamp of `ms` since the Unix epoch.
pub fn from_ms(ms: u64) -> Timestamp {
    // A u64 of milliseconds has fewer seconds than i64 holds, and less than 1,000 ms remain.
    let seconds = i64::try_from(ms / MS_PER_S).unwrap_or(SECONDS_MAX);
    let nanos = i32::try_from(ms % MS_PER_S).unwrap_or(0) * NANOS_PER_MS;
    Timestamp { seconds, nanos }
}

pub fn from_log(at: LogTime) -> Timestamp {
    from_ms(at.ms())
}

/// Milliseconds since the Unix epoch; `None` before it, after year 9999, or with bad nanos.
pub fn to_ms(time: &Timestamp) -> Option<u64> {
    if !(0..=SECONDS_MAX).contains(&time.seconds) || !(0..1_000_000_000).contains(&time.nanos) {
        return None;
    }
    let ms = u64::try_from(time.nanos / NANOS_PER_MS).ok()?;
    Some(u64::try_from(time.seconds).ok()? * MS_PER_S + ms)
}

impl Checks {
    /// A time that may be left out.
    pub(super) fn time(
        &mut self,
        field: &'static str,
        time: Option<&Timestamp>,
    ) -> Option<WallTime> {
        let ms = to_ms(time?);
        if ms.is_none() {
            self.refuse(Reason::FieldInvalid, field, "from 1970 to 9999");
        }
        ms.map(WallTime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_survive_the_edge() {
        for ms in [0, 1, 999, 1_000, 1_700_000_000_123, 253_402_300_799_999] {
            assert_eq!(to_ms(&from_ms(ms)), Some(ms));
        }
        let bad = |seconds, nanos| to_ms(&Timestamp { seconds, nanos });
        assert_eq!(bad(-1, 0), None);
        assert_eq!(bad(0, -1), None);
        assert_eq!(bad(0, 1_000_000_000), None);
        assert_eq!(bad(SECONDS_MAX + 1, 0), None);
    }
}

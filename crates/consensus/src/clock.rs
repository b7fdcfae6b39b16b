//! The group's own time, as its leader stamps it.

use std::time::Duration;

use hansa_types::time::{LogTime, WallTime};

/// Largest share of the elapsed time by which a leader slews towards its wall clock: one in this
/// many.
const SLEW: u128 = 10;

/// Stamps entries for one term of office.
///
/// The last LogTime of the group plus the monotonic time since taking office, slewed towards the
/// wall clock by at most 10 %: a wall clock that jumps moves nothing at once, and time never goes
/// back.
///
/// # Source
/// domain.md §1.
#[derive(Debug, Clone)]
pub struct LeaderClock {
    /// Nanoseconds since the Unix epoch, as of `read_at`.
    now_ns: u128,
    read_at: Duration,
}

impl LeaderClock {
    /// Takes office after `last`. A group that has no time yet starts at the wall clock.
    pub fn take_office(last: LogTime, monotonic: Duration, wall: WallTime) -> Self {
        let start_ms = if last == LogTime::ZERO { wall.ms() } else { last.ms() };
        Self { now_ns: u128::from(start_ms) * 1_000_000, read_at: monotonic }
    }

    /// The group's time now.
    pub fn read(&mut self, monotonic: Duration, wall: WallTime) -> LogTime {
        let elapsed = monotonic.saturating_sub(self.read_at).as_nanos();
        let steady = self.now_ns + elapsed;
        let target = u128::from(wall.ms()) * 1_000_000;
        let slew_max = elapsed / SLEW;
        self.now_ns = target.clamp(steady - slew_max, steady + slew_max);
        self.read_at = self.read_at.max(monotonic);
        self.time()
    }

    fn time(&self) -> LogTime {
        LogTime(u64::try_from(self.now_ns / 1_000_000).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn office(last_ms: u64, wall_ms: u64) -> LeaderClock {
        LeaderClock::take_office(LogTime(last_ms), Duration::ZERO, WallTime(wall_ms))
    }

    #[test]
    fn a_clock_in_step_with_the_wall_keeps_its_pace() {
        let mut clock = office(50_000, 50_000);
        assert_eq!(clock.read(10 * SECOND, WallTime(60_000)), LogTime(60_000));
    }

    #[test]
    fn a_new_group_starts_at_the_wall_clock() {
        assert_eq!(office(0, 77_000).read(SECOND, WallTime(78_000)), LogTime(78_000));
    }

    #[test]
    fn a_wall_clock_ahead_pulls_by_a_tenth_at_most() {
        let mut clock = office(100_000, 0);
        assert_eq!(clock.read(10 * SECOND, WallTime(9_000_000)), LogTime(111_000));
    }

    #[test]
    fn a_wall_clock_behind_holds_back_by_a_tenth_at_most() {
        let mut clock = office(100_000, 0);
        assert_eq!(clock.read(10 * SECOND, WallTime(0)), LogTime(109_000));
    }

    #[test]
    fn many_small_steps_slew_as_one_large_step() {
        let mut clock = office(100_000, 0);
        let mut last = LogTime::ZERO;
        for ms in 1..=10_000 {
            last = clock.read(Duration::from_millis(ms), WallTime(9_000_000));
        }
        assert_eq!(last, LogTime(111_000));
    }

    #[test]
    fn time_never_goes_back() {
        let mut clock = office(100_000, 100_000);
        let mut last = LogTime::ZERO;
        for (step, wall) in [(5, 105_000), (5, 1), (4, 900_000), (9, 0), (9, 0), (12, 0)] {
            let now = clock.read(step * SECOND, WallTime(wall));
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
    }

    /// What happens to a group's time: a leader reads it after so long with its wall clock there,
    /// or another takes office.
    #[derive(Debug, Clone)]
    enum Step {
        Read { after_ms: u64, wall_ms: u64 },
        Elect { after_ms: u64, wall_ms: u64, lost: bool },
    }

    fn step() -> impl Strategy<Value = Step> {
        // Walls that jump anywhere, and walls that run 1.5 times too fast.
        let wall = prop_oneof![0..200_000_u64, 1_000_000_000..2_000_000_000_u64, any::<u64>()];
        (0..100_000_u64, wall, 0..6_u8, any::<bool>()).prop_map(
            |(after_ms, wall_ms, kind, lost)| match kind {
                0 => Step::Elect { after_ms, wall_ms, lost },
                _ => Step::Read { after_ms, wall_ms },
            },
        )
    }

    proptest! {
        /// Over any changes of leader and any walls, time never goes back, and no hold of TTL t
        /// expires before t has passed on a clock a tenth too fast.
        #[test]
        fn no_hold_expires_before_its_time_on_the_fastest_allowed_clock(
            steps in prop::collection::vec(step(), 1..60),
        ) {
            let (start, mut monotonic) = (1_000_000_u64, Duration::ZERO);
            let mut clock = office(start, start);
            // What the log has; a stamp that was not committed is lost with its leader.
            let (mut logged, mut last) = (LogTime(start), LogTime(start));
            for step in steps {
                let (Step::Read { after_ms, wall_ms } | Step::Elect { after_ms, wall_ms, .. }) =
                    step;
                monotonic += Duration::from_millis(after_ms);
                match step {
                    Step::Read { .. } => {
                        let before = last;
                        last = clock.read(monotonic, WallTime(wall_ms));
                        prop_assert!(last >= before, "{last} after {before}");
                        let least = before.ms() + after_ms * 9 / 10;
                        prop_assert!(last.ms() + 2 >= least, "slewed below a tenth");
                    }
                    Step::Elect { lost, .. } => {
                        // Another machine: its clocks have nothing to do with the last one's.
                        let held = if lost { logged } else { last };
                        logged = held;
                        last = held;
                        clock = LeaderClock::take_office(held, monotonic, WallTime(wall_ms));
                    }
                }
                let passed = monotonic.as_millis() as u64;
                prop_assert!(last.ms() <= start + passed * 11 / 10 + 1, "time ran ahead");
            }
        }

        /// A wall clock that runs 1.5 times too fast gains a tenth, whatever the steps.
        #[test]
        fn a_wall_clock_that_runs_half_again_as_fast_gains_a_tenth(
            steps in prop::collection::vec(1..5_000_u64, 1..200),
        ) {
            let (start, mut true_ms) = (1_000_000_u64, 0);
            let mut clock = office(start, start);
            for step in steps {
                true_ms += step;
                let wall = WallTime(start + true_ms * 3 / 2);
                let now = clock.read(Duration::from_millis(true_ms), wall);
                let (slowest, fastest) = (start + true_ms, start + true_ms * 11 / 10 + 1);
                prop_assert!((slowest..=fastest).contains(&now.ms()));
            }
        }
    }

    #[test]
    fn it_meets_the_wall_and_then_follows_it() {
        let mut clock = office(100_000, 0);
        assert_eq!(clock.read(100 * SECOND, WallTime(205_000)), LogTime(205_000));
        assert_eq!(clock.read(101 * SECOND, WallTime(206_000)), LogTime(206_000));
    }
}

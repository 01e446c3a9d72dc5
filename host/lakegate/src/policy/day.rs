//! Which day it is for a quota: the UTC day, as long as the clock goes on; and no day twice when it is set.
//!
//! A clock that moves into a later day than any before opens that day: it was midnight, or the machine slept, or the clock was wrong until
//! now. A clock that was set back opens nothing by that: what was used stays used. But it must not shut a tenant out until it has caught
//! up, which may take years. So it opens a day at a midnight of its own, though only once twelve hours have really passed, by a clock that
//! nobody can set, since a day was opened. After a clock was set back, a day is thus at least twelve hours long and at most thirty-six.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// How long a day lasts at least where a clock was set back.
const LEAST_DAY: Duration = Duration::from_secs(12 * 60 * 60);

/// A moment by both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// The UTC day since 1970, or before.
    pub(super) day: i64,
    /// By the clock that only goes on.
    pub(super) steady: Instant,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { day: day_of(SystemTime::now()), steady: Instant::now() }
    }
}

fn day_of(time: SystemTime) -> i64 {
    let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => seconds(since) / DAY_SECONDS,
        // A part of a second before midnight is the day before, too.
        Err(before) => (-seconds(before.duration()) - 1).div_euclid(DAY_SECONDS),
    }
}

/// The day that is being counted.
#[derive(Debug, Default)]
pub(super) struct CountedDay(Option<State>);

#[derive(Debug, Clone, Copy)]
struct State {
    /// The UTC day that was opened last.
    opened: i64,
    /// When that was.
    since: Instant,
    /// The day of the last look, which is an earlier one where the clock was set back.
    seen: i64,
}

impl CountedDay {
    /// Whether another day has begun by `now`.
    pub(super) fn turns(&mut self, now: Moment) -> bool {
        let Some(state) = &mut self.0 else {
            self.0 = Some(State { opened: now.day, since: now.steady, seen: now.day });
            return true;
        };
        let midnight = now.day > state.seen;
        state.seen = now.day;
        let later = now.day > state.opened;
        let set_back = now.day <= state.opened && midnight && now.steady.saturating_duration_since(state.since) >= LEAST_DAY;
        if later || set_back {
            (state.opened, state.since) = (now.day, now.steady);
        }
        later || set_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which of these moments (days, and hours that have really passed) a day begins.
    #[track_caller]
    fn check(what: &str, moments: &[(i64, u64)], begins: &[usize]) {
        let (mut day, begun) = (CountedDay::default(), Instant::now());
        let at = |hours: u64| begun + Duration::from_secs(hours * 3_600);
        let turns =
            |(number, (day_now, hours)): (usize, &(i64, u64))| day.turns(Moment { day: *day_now, steady: at(*hours) }).then_some(number);
        let found: Vec<usize> = moments.iter().enumerate().filter_map(turns).collect();
        assert_eq!(found, begins, "{what}");
    }

    #[test]
    fn a_day_begins_once_whatever_the_clock_does() {
        check("a clock that goes on", &[(5, 0), (5, 1), (6, 2), (6, 25), (7, 26)], &[0, 2, 4]);
        check("a process that begins just before midnight", &[(5, 0), (6, 0)], &[0, 1]);
        check("a machine that slept for days", &[(5, 0), (9, 1), (9, 2), (10, 16)], &[0, 1, 3]);
        check("a clock that was never set, and then is", &[(0, 0), (20_000, 0), (20_001, 10)], &[0, 1, 2]);
        check("set back over midnight: one day, not two", &[(5, 0), (6, 1), (5, 1), (6, 2), (6, 25), (7, 26)], &[0, 1, 5]);
        check("set back by a day: at its next midnight", &[(6, 0), (5, 1), (5, 23), (6, 24), (7, 48)], &[0, 3, 4]);
        check(
            "ahead by years for a moment: not shut out for years",
            &[(5, 0), (4_000, 1), (5, 1), (5, 23), (6, 24), (7, 48)],
            &[0, 1, 4, 5],
        );
        check("a midnight too soon is waited out, one day at most", &[(5, 0), (4_000, 20), (5, 20), (6, 24), (6, 47), (7, 48)], &[0, 1, 5]);
        check("forth and back again and again", &[(5, 0), (6, 0), (5, 0), (6, 0), (5, 0), (6, 0), (5, 0), (6, 0)], &[0, 1]);
        check("back and forth below the day", &[(5, 0), (2, 0), (3, 0), (2, 0), (3, 0), (4, 11), (4, 12)], &[0]);
        check("nobody looked at midnight", &[(5, 0), (2, 1), (3, 20), (3, 21), (4, 44)], &[0, 2, 4]);
        check("before 1970", &[(20_000, 0), (-365, 1), (-364, 13), (-364, 20), (-363, 37), (20_000, 38)], &[0, 2, 4, 5]);
    }

    #[test]
    fn days_before_1970_have_numbers_too() {
        for (seconds, day) in [(0, 0), (86_399, 0), (86_400, 1), (-1, -1), (-86_399, -1), (-86_401, -2), (-400 * 86_400 - 1, -401)] {
            let span = Duration::from_secs(i64::unsigned_abs(seconds));
            let time = if seconds < 0 { UNIX_EPOCH - span } else { UNIX_EPOCH + span };
            assert_eq!(day_of(time), day, "{seconds}");
        }
        assert_eq!(day_of(UNIX_EPOCH - Duration::from_millis(1)), -1);
    }
}

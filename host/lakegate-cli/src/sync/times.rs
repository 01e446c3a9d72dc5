//! Times and durations in the format of the CloudQuery CLI.

/// Formats seconds as Go prints a duration: `12s`, `1m12s`, `1h0m0s`.
pub(super) fn go_seconds(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// Formats a time for the summary.
pub(super) fn time_rfc3339(time_us: i64) -> String {
    let time = chrono::DateTime::from_timestamp_micros(time_us).unwrap_or_default();
    time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (60, "1m0s"), (72, "1m12s"), (3_600, "1h0m0s"), (90_061, "25h1m1s")] {
            assert_eq!(go_seconds(seconds), text);
        }
    }

    #[test]
    fn the_moment_of_a_sync() {
        assert_eq!(time_rfc3339(1_700_000_000_000_001), "2023-11-14T22:13:20.000001Z");
    }
}

//! `${time:EXPRESSION|LAYOUT}`: a point in time, absolute or relative to now, formatted by a Go time layout (RFC 3339 by default).

use chrono::{DateTime, Datelike, FixedOffset, Months, NaiveDate, NaiveTime, TimeDelta, Timelike, Utc};

/// Longer expressions and layouts are certainly mistakes.
const MAX_BYTES: usize = 256;

/// Evaluates an expression and formats the result.
pub(super) fn expand(expression: &str, now: DateTime<Utc>) -> Result<String, String> {
    if expression.len() > MAX_BYTES {
        return Err(format!("longer than {MAX_BYTES} bytes"));
    }
    let (moment, layout) = match expression.split_once('|') {
        Some((moment, layout)) => (moment, layout.trim()),
        None => (expression, ""),
    };
    let moment = parse(moment.trim(), now)?;
    Ok(format(moment, if layout.is_empty() { "2006-01-02T15:04:05Z07:00" } else { layout }))
}

fn parse(text: &str, now: DateTime<Utc>) -> Result<DateTime<FixedOffset>, String> {
    if text.eq_ignore_ascii_case("now") {
        return Ok(now.fixed_offset());
    }
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Ok(moment);
    }
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Ok(date.and_time(NaiveTime::MIN).and_utc().fixed_offset());
    }
    let relative = |rest: &str, sign: i64| shift(rest, sign, now).map(|it| it.fixed_offset());
    let found = match (text.strip_suffix("ago"), text.strip_suffix("from now")) {
        (Some(rest), _) => relative(rest, -1),
        (_, Some(rest)) => relative(rest, 1),
        _ => None,
    };
    found.ok_or_else(|| "expected `now`, `7 days ago`, `1h from now`, a date such as 2021-03-04, or RFC 3339".to_owned())
}

/// Parses `1 day 2 hours` or `1h30m` and shifts `from` by it.
fn shift(text: &str, sign: i64, from: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut moment = from;
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let after = after.trim_start();
        let (unit, after) = after.split_at(after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len()));
        moment = shift_by(moment, sign.checked_mul(digits.parse().ok()?)?, unit)?;
        rest = after.trim_start();
    }
    Some(moment)
}

fn shift_by(moment: DateTime<Utc>, amount: i64, unit: &str) -> Option<DateTime<Utc>> {
    let by = match unit {
        "ns" | "nanosecond" | "nanoseconds" => Some(TimeDelta::nanoseconds(amount)),
        "us" | "microsecond" | "microseconds" => Some(TimeDelta::microseconds(amount)),
        "ms" | "millisecond" | "milliseconds" => TimeDelta::try_milliseconds(amount),
        "s" | "second" | "seconds" => TimeDelta::try_seconds(amount),
        "m" | "minute" | "minutes" => TimeDelta::try_minutes(amount),
        "h" | "hour" | "hours" => TimeDelta::try_hours(amount),
        "d" | "day" | "days" => TimeDelta::try_days(amount),
        "w" | "week" | "weeks" => TimeDelta::try_weeks(amount),
        "month" | "months" => return shift_months(moment, amount),
        "y" | "year" | "years" => return shift_months(moment, amount.checked_mul(12)?),
        _ => None,
    };
    moment.checked_add_signed(by?)
}

fn shift_months(moment: DateTime<Utc>, months: i64) -> Option<DateTime<Utc>> {
    let count = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    if months < 0 { moment.checked_sub_months(count) } else { moment.checked_add_months(count) }
}

const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// The parts of Go's reference time, and how each is formatted. If one part is a prefix of another, the longer one comes first.
type Part = (&'static str, fn(&DateTime<FixedOffset>) -> String);
const PARTS: [Part; 31] = [
    ("January", |t| MONTHS[t.month0() as usize].to_owned()),
    ("Jan", |t| MONTHS[t.month0() as usize].chars().take(3).collect()),
    ("Monday", |t| WEEKDAYS[t.weekday().num_days_from_monday() as usize].to_owned()),
    ("Mon", |t| WEEKDAYS[t.weekday().num_days_from_monday() as usize].chars().take(3).collect()),
    ("MST", zone_name),
    ("2006", |t| format!("{:04}", t.year())),
    ("002", |t| format!("{:03}", t.ordinal())),
    ("01", |t| format!("{:02}", t.month())),
    ("02", |t| format!("{:02}", t.day())),
    ("03", |t| format!("{:02}", t.hour12().1)),
    ("04", |t| format!("{:02}", t.minute())),
    ("05", |t| format!("{:02}", t.second())),
    ("06", |t| format!("{:02}", t.year().rem_euclid(100))),
    ("15", |t| format!("{:02}", t.hour())),
    ("_2", |t| format!("{:2}", t.day())),
    ("1", |t| t.month().to_string()),
    ("2", |t| t.day().to_string()),
    ("3", |t| t.hour12().1.to_string()),
    ("4", |t| t.minute().to_string()),
    ("5", |t| t.second().to_string()),
    ("PM", |t| if t.hour12().0 { "PM" } else { "AM" }.to_owned()),
    ("pm", |t| if t.hour12().0 { "pm" } else { "am" }.to_owned()),
    ("Z07:00", |t| if seconds_east(t) == 0 { "Z".to_owned() } else { offset(t, ":") }),
    ("Z0700", |t| if seconds_east(t) == 0 { "Z".to_owned() } else { offset(t, "") }),
    ("-07:00", |t| offset(t, ":")),
    ("-0700", |t| offset(t, "")),
    ("-07", |t| offset(t, "").chars().take(3).collect()),
    (".000000000", |t| format!(".{:09}", t.nanosecond())),
    (".000000", |t| format!(".{:06}", t.nanosecond() / 1_000)),
    (".000", |t| format!(".{:03}", t.nanosecond() / 1_000_000)),
    (".999999999", |t| format!(".{:09}", t.nanosecond()).trim_end_matches('0').trim_end_matches('.').to_owned()),
];

fn seconds_east(time: &DateTime<FixedOffset>) -> i32 {
    time.offset().local_minus_utc()
}

fn offset(time: &DateTime<FixedOffset>, between: &str) -> String {
    let seconds = seconds_east(time);
    let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
    format!("{sign}{:02}{between}{:02}", minutes / 60, minutes % 60)
}

fn zone_name(time: &DateTime<FixedOffset>) -> String {
    if seconds_east(time) == 0 { "UTC".to_owned() } else { offset(time, "") }
}

/// Formats a time by a Go layout. Anything that is not part of the reference time is copied.
fn format(time: DateTime<FixedOffset>, layout: &str) -> String {
    let mut written = String::new();
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        if let Some((after, write)) = PARTS.iter().find_map(|(part, write)| Some((rest.strip_prefix(part)?, write))) {
            written.push_str(&write(&time));
            rest = after;
        } else {
            written.push(first);
            rest = rest.strip_prefix(first).unwrap_or_default();
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2021-03-04T05:06:07.089Z, a Thursday.
    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_614_834_367, 89_000_000).unwrap()
    }

    #[test]
    fn moments() {
        let check = |expression: &str, expected: &str| assert_eq!(expand(expression, now()).as_deref(), Ok(expected), "{expression}");
        check("now", "2021-03-04T05:06:07Z");
        check(" Now ", "2021-03-04T05:06:07Z");
        check("7 days ago", "2021-02-25T05:06:07Z");
        check("1 day ago", "2021-03-03T05:06:07Z");
        check("7d ago", "2021-02-25T05:06:07Z");
        check("1h from now", "2021-03-04T06:06:07Z");
        check("1h30m from now", "2021-03-04T06:36:07Z");
        check("1 year 1 month 2 hours ago", "2020-02-04T03:06:07Z");
        check("2 weeks from now", "2021-03-18T05:06:07Z");
        check("2021-05-06", "2021-05-06T00:00:00Z");
        check("2021-05-06T07:08:09+02:00", "2021-05-06T07:08:09+02:00");
    }

    #[test]
    fn layouts() {
        let check = |layout: &str, expected: &str| {
            assert_eq!(expand(&format!("now|{layout}"), now()).as_deref(), Ok(expected), "{layout}");
        };
        check("2006-01-02", "2021-03-04");
        check("2006/1/2 15:04:05", "2021/3/4 05:06:07");
        check("Mon Jan _2 03:04:05 PM MST 2006", "Thu Mar  4 05:06:07 AM UTC 2021");
        check("Monday, January 2, 06", "Thursday, March 4, 21");
        check("15:04:05.000", "05:06:07.089");
        check("15:04:05.000000Z0700", "05:06:07.089000Z");
        check("15:04:05.999999999", "05:06:07.089");
        check("-0700 -07:00", "+0000 +00:00");
        check("002", "063");
        check("dt=2006", "dt=2021");
        check("", "2021-03-04T05:06:07Z");
    }

    #[test]
    fn refuses() {
        for expression in [
            "",
            "then",
            "ago",
            "from now",
            "days ago",
            "7 ago",
            "7 parsecs ago",
            "99999999999999999999 days ago",
            "9999999999 years ago",
            "2021-13-01",
        ] {
            let error = expand(expression, now()).expect_err(expression);
            assert!(error.starts_with("expected `now`"), "{error}");
        }
        assert_eq!(expand(&"x".repeat(257), now()), Err("longer than 256 bytes".to_owned()));
    }
}

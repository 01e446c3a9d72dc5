//! Durations as Go writes them: `30s`, `1h2m3.5s`, `-1.5h`, `0`. The errors are those of Go's `time.ParseDuration`.

use super::document::preview;

/// Nanoseconds of each unit. Both signs for "micro" are accepted: U+00B5 and the Greek letter.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
];

/// The longest negative duration is one nanosecond longer than the longest positive one.
const MAX_MAGNITUDE: u64 = 1 << 63;

/// Nanoseconds, signed as Go's are.
pub(super) fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration \"{}\"", preview(text));
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let amount = Amount::take(&mut rest).ok_or_else(invalid)?;
        let unit = take_while(&mut rest, |c| c != '.' && !c.is_ascii_digit());
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration \"{}\"", preview(text)));
        }
        let Some((_, nanoseconds)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("time: unknown unit \"{}\" in duration \"{}\"", preview(unit), preview(text)));
        };
        let addend = amount.times(*nanoseconds).ok_or_else(invalid)?;
        total = total.checked_add(addend).filter(|it| *it <= MAX_MAGNITUDE).ok_or_else(invalid)?;
    }
    if negative { Ok(0_i64.wrapping_sub_unsigned(total)) } else { i64::try_from(total).map_err(|_| invalid()) }
}

/// A decimal number: whole part, and a fraction of `scale`.
struct Amount {
    whole: u64,
    fraction: u64,
    scale: f64,
}

impl Amount {
    /// Takes digits, perhaps with a point among them, off the front. `None`: no digit, or a whole part too large.
    fn take(rest: &mut &str) -> Option<Self> {
        let whole_digits = take_while(rest, |c| c.is_ascii_digit());
        let fraction_digits = match rest.strip_prefix('.') {
            None => "",
            Some(after) => {
                *rest = after;
                take_while(rest, |c| c.is_ascii_digit())
            }
        };
        if whole_digits.is_empty() && fraction_digits.is_empty() {
            return None;
        }
        let whole = if whole_digits.is_empty() { 0 } else { whole_digits.parse().ok().filter(|it| *it <= MAX_MAGNITUDE)? };
        let (fraction, scale) = fraction_of(fraction_digits);
        Some(Self { whole, fraction, scale })
    }

    /// Go computes the fraction in floating point and cuts it off; so does this, to the same nanosecond.
    fn times(&self, unit: u64) -> Option<u64> {
        let whole = self.whole.checked_mul(unit).filter(|it| *it <= MAX_MAGNITUDE)?;
        // Below one unit, so never negative and at most 3.6e12: the casts lose nothing.
        let fraction = (self.fraction as f64 * (unit as f64 / self.scale)) as u64;
        whole.checked_add(fraction).filter(|it| *it <= MAX_MAGNITUDE)
    }
}

/// The digits after a point as number and power of ten. Digits beyond what 63 bits hold are too small to matter and are left out.
fn fraction_of(digits: &str) -> (u64, f64) {
    let (mut number, mut scale) = (0_u64, 1.0);
    for digit in digits.bytes().map(|b| u64::from(b - b'0')) {
        let Some(next) = number.checked_mul(10).and_then(|it| it.checked_add(digit)).filter(|it| *it < MAX_MAGNITUDE) else { break };
        number = next;
        scale *= 10.0;
    }
    (number, scale)
}

fn take_while<'a>(rest: &mut &'a str, wanted: impl Fn(char) -> bool) -> &'a str {
    let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
    let (taken, left) = rest.split_at(end);
    *rest = left;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_go_reads() {
        let check = |text: &str, expected: i64| assert_eq!(parse(text), Ok(expected), "{text}");
        const SECOND: i64 = 1_000_000_000;
        check("0", 0);
        check("+0", 0);
        check("-0", 0);
        check("0s", 0);
        check("30s", 30 * SECOND);
        check("+5s", 5 * SECOND);
        check("-5s", -5 * SECOND);
        check("5.0s", 5 * SECOND);
        check("5.6s", 5_600_000_000);
        check("5.s", 5 * SECOND);
        check(".5s", SECOND / 2);
        check("1.004s", 1_004_000_000);
        check("1.00400s", 1_004_000_000);
        check("100.00100s", 100_001_000_000);
        check("10ns", 10);
        check("11us", 11_000);
        check("12µs", 12_000);
        check("12μs", 12_000);
        check("13ms", 13_000_000);
        check("15m", 900 * SECOND);
        check("16h", 57_600 * SECOND);
        check("3h30m", 12_600 * SECOND);
        check("10.5s4m", 250_500_000_000);
        check("-2m3.4s", -123_400_000_000);
        check("1h2m3s4ms5us6ns", 3_723_004_005_006);
        check("39h9m14.425s", 140_954_425_000_000);
        check("52763797000ns", 52_763_797_000);
        check("0.3333333333333333333h", 1_200_000_000_000);
        check("9007199254740993ns", 9_007_199_254_740_993);
        check("9223372036854775807ns", i64::MAX);
        check("9223372036854775.807us", i64::MAX);
        check("9223372036s854ms775us807ns", i64::MAX);
        check("-9223372036854775808ns", i64::MIN);
        check("-9223372036854775.808us", i64::MIN);
        check("0.100000000000000000000h", 360 * SECOND);
        check("0.830103483285477580700h", 2_988_372_539_827);
    }

    #[test]
    fn refuses_what_go_refuses_in_its_words() {
        let check = |text: &str, expected: &str| assert_eq!(parse(text), Err(expected.to_owned()), "{text}");
        check("", "time: invalid duration \"\"");
        check("soon", "time: invalid duration \"soon\"");
        check("-", "time: invalid duration \"-\"");
        check("+", "time: invalid duration \"+\"");
        check("s", "time: invalid duration \"s\"");
        check(".", "time: invalid duration \".\"");
        check(".s", "time: invalid duration \".s\"");
        check("--5s", "time: invalid duration \"--5s\"");
        check(" 5s", "time: invalid duration \" 5s\"");
        check("30", "time: missing unit in duration \"30\"");
        check("1.5", "time: missing unit in duration \"1.5\"");
        check("1h30", "time: missing unit in duration \"1h30\"");
        check("3000h ", "time: unknown unit \"h \" in duration \"3000h \"");
        check("1d", "time: unknown unit \"d\" in duration \"1d\"");
        check("1S", "time: unknown unit \"S\" in duration \"1S\"");
        check("1.2.3s", "time: missing unit in duration \"1.2.3s\"");
        check("9223372036854775810ns", "time: invalid duration \"9223372036854775810ns\"");
        check("9223372036854775808ns", "time: invalid duration \"9223372036854775808ns\"");
        check("-9223372036854775809ns", "time: invalid duration \"-9223372036854775809ns\"");
        check("9223372036854776us", "time: invalid duration \"9223372036854776us\"");
        check("3000000h", "time: invalid duration \"3000000h\"");
        check("9223372036854ms775us808ns", "time: invalid duration \"9223372036854ms775us808ns\"");
        check("99999999999999999999s", "time: invalid duration \"99999999999999999999s\"");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-+]?([0-9]{0,12}(\\.[0-9]{0,30})?(ns|us|ms|s|m|h|x|é)?){0,4}") {
            if let Err(reason) = parse(&text) {
                prop_assert!(reason.starts_with("time: "));
            }
        }

        #[test]
        fn whole_nanoseconds_come_back(value in any::<i64>()) {
            prop_assert_eq!(parse(&format!("{value}ns")), Ok(value));
        }
    }
}

//! Decimal digits eight at a time, and the text of dates and clocks made of them.
//!
//! All arithmetic is on 64 bits: wider numbers are slow in wasm. Divisions by constants are multiplications by reciprocals, exact in the
//! ranges that are named.

use super::append::push_word;

/// Eight ASCII zeros.
pub(crate) const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Values below this have at most eight digits.
pub(crate) const EIGHT_DIGITS: u64 = 100_000_000;

/// A value below 2^32 divided by 10,000.
#[inline(always)]
const fn ten_thousandth(value: u64) -> u64 {
    (value * 3_518_437_209) >> 45
}

/// The eight decimal digits (as numbers, the first in the lowest byte) of a value below 10^8, all at once.
#[inline(always)]
pub(crate) const fn digits(value: u64) -> u64 {
    let high = ten_thousandth(value);
    digits_of_fours(high, value - high * 10_000)
}

/// The same of a value given as its first and its last four digits.
#[inline(always)]
pub(crate) const fn digits_of_fours(high: u64, low: u64) -> u64 {
    // Four digits a lane of 32 bits, then two a lane of 16, then one a byte. The factors are reciprocals, exact for lanes this small.
    let fours = high | low << 32;
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = hundreds | (fours - hundreds * 100) << 16;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (twos - tens * 10) << 8
}

/// How many of eight digits are leading zeros; of a zero, all but one.
#[inline(always)]
pub(crate) const fn leading_zeros(digits: u64) -> u32 {
    (digits | 1 << 56).trailing_zeros() / 8
}

/// How many of eight digits are trailing zeros.
#[inline(always)]
pub(crate) fn trailing_zeros(digits: u64) -> u32 {
    digits.leading_zeros() / 8
}

/// A value below 10^8 as text without leading zeros (the first character in the lowest byte), and its length.
#[inline(always)]
pub(crate) const fn short_int(value: u64) -> (u64, usize) {
    let digits = digits(value);
    let zeros = leading_zeros(digits);
    ((digits | ZEROS) >> (8 * zeros), (8 - zeros) as usize)
}

/// Appends an integer without a sign.
#[inline]
pub(crate) fn push_unsigned(out: &mut Vec<u8>, value: u64) {
    const SIXTEEN_DIGITS: u64 = EIGHT_DIGITS * EIGHT_DIGITS;
    let eight = |out: &mut Vec<u8>, value: u64| out.extend_from_slice(&(digits(value) | ZEROS).to_le_bytes());
    let short = |out: &mut Vec<u8>, value: u64| {
        let (text, length) = short_int(value);
        push_word(out, text, length);
    };
    if value < EIGHT_DIGITS {
        short(out, value);
    } else if value < SIXTEEN_DIGITS {
        short(out, value / EIGHT_DIGITS);
        eight(out, value % EIGHT_DIGITS);
    } else {
        short(out, value / SIXTEEN_DIGITS);
        eight(out, value / EIGHT_DIGITS % EIGHT_DIGITS);
        eight(out, value % EIGHT_DIGITS);
    }
}

/// Appends an integer.
#[inline]
pub(crate) fn push_int(out: &mut Vec<u8>, value: impl Into<i64>) {
    let value = value.into();
    if value < 0 {
        out.push(b'-');
    }
    push_unsigned(out, value.unsigned_abs());
}

/// Days since 1970 of the years 0000 to 9999, whose dates have ten characters.
pub(crate) const FOUR_DIGIT_YEARS: std::ops::Range<i64> = -719_528..2_932_897;

/// The eight digits `yyyymmdd` of a day of [`FOUR_DIGIT_YEARS`].
///
/// Years are counted from a first of March 400 years before the year 0000, so that no number is negative. The divisions by 1,461 and 153
/// are done as in Neri and Schneider's "Euclidean affine functions", by one multiplication each.
#[inline(always)]
pub(crate) const fn date_digits(unix_days: i64) -> u64 {
    const DAYS_TO_1970: i64 = 719_468 + 146_097;
    let day = (unix_days + DAYS_TO_1970) as u32;
    let quarters = 4 * day + 3;
    let century = quarters / 146_097;
    let product = 2_939_745 * ((quarters % 146_097) | 3) as u64;
    let year_of_century = (product >> 32) as u32;
    let day_of_year = product as u32 / 2_939_745 / 4;
    let months = 2_141 * day_of_year + 197_913;
    let next_year = (day_of_year >= 306) as u32;
    let year = (100 * century + year_of_century + next_year).wrapping_sub(400);
    let month = (months >> 16) - 12 * next_year;
    let day = (months & 0xffff) / 2_141 + 1;
    digits_of_fours(year as u64, (month * 100 + day) as u64)
}

/// `2006-01-02`: the first eight characters, and the last two (in the lowest bytes).
#[inline(always)]
pub(crate) const fn date_text(unix_days: i64) -> (u64, u64) {
    const DASHES: u64 = (b'-' as u64) << 32 | (b'-' as u64) << 56;
    let text = date_digits(unix_days) | ZEROS;
    (text & 0xffff_ffff | (text >> 32 & 0xffff) << 40 | DASHES, text >> 48)
}

/// Values below this have their text in a table.
pub(crate) const LISTED: usize = 1 << 13;

/// The text of integers below [`LISTED`] (the first character in the lowest byte), and in the highest byte its length.
pub(crate) static INTEGERS: [u64; LISTED] = {
    let mut table = [0; LISTED];
    let mut value = 0;
    while value < LISTED {
        let (text, length) = short_int(value as u64);
        table[value] = text & 0x00ff_ffff_ffff_ffff | (length as u64) << 56;
        value += 1;
    }
    table
};

/// The same of hundredths below [`LISTED`], without trailing zeros.
pub(crate) static HUNDREDTHS: [u64; LISTED] = {
    let mut table = [0; LISTED];
    let mut value = 0;
    while value < LISTED {
        let (whole, length) = short_int(value as u64 / 100);
        let fraction = FRACTIONS[value % 100];
        let text = whole & ((1 << (8 * length)) - 1) | (fraction as u64 & 0x00ff_ffff) << (8 * length);
        table[value] = text | (length as u64 + (fraction >> 24) as u64) << 56;
        value += 1;
    }
    table
};

/// The text behind the whole part by hundredths, without trailing zeros: the text, and in the highest byte its length.
pub(crate) static FRACTIONS: [u32; 100] = {
    let mut table = [0; 100];
    let mut value = 0;
    while value < 100 {
        let (tens, ones) = (b'0' as u32 + value / 10, b'0' as u32 + value % 10);
        let length = if value == 0 {
            0
        } else if value.is_multiple_of(10) {
            2
        } else {
            3
        };
        table[value as usize] = b'.' as u32 | tens << 8 | ones << 16 | length << 24;
        value += 1;
    }
    table
};

/// Days from 1970 on that have their text in a table: to 2059.
pub(crate) const LISTED_DAYS: usize = 1 << 15;

/// `2006-01-02` for the first [`LISTED_DAYS`], padded.
pub(crate) static DATES: [[u8; 16]; LISTED_DAYS] = {
    let mut table = [[0; 16]; LISTED_DAYS];
    let mut day = 0;
    while day < LISTED_DAYS {
        let (start, end) = date_text(day as i64);
        table[day] = (start as u128 | (end as u128) << 64).to_le_bytes();
        day += 1;
    }
    table
};

/// `15:04:05`.
#[inline(always)]
pub(crate) fn clock_text(second_of_day: u32) -> u64 {
    const COLONS: u64 = (b':' as u64) << 16 | (b':' as u64) << 40;
    let (hours, minutes, seconds) = (second_of_day / 3_600, second_of_day / 60 % 60, second_of_day % 60);
    let twos = u64::from(hours) | u64::from(minutes) << 24 | u64::from(seconds) << 48;
    let tens = ((twos * 103) >> 10) & 0x000f_0000_0f00_000f;
    const PLACES: u64 = 0x3030_0030_3000_3030;
    (tens | (twos - tens * 10) << 8) + PLACES + COLONS
}

#[cfg(test)]
mod tests {
    use super::super::number::{DecimalType, push_decimal128};
    use super::super::time::push_date;
    use super::*;
    use crate::calendar::CivilDay;
    use proptest::prelude::*;

    fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).expect("digits")
    }

    #[test]
    fn integers_at_every_change_of_length() {
        for power in 0..20 {
            let ten = 10u64.pow(power);
            for value in [ten - 1, ten, ten + 1, u64::MAX] {
                assert_eq!(text(|out| push_unsigned(out, value)), value.to_string());
            }
        }
        for value in [0, -1, i64::MIN, i64::MAX, -10_000_000, -100_000_000] {
            assert_eq!(text(|out| push_int(out, value)), value.to_string());
        }
    }

    #[test]
    fn every_day_of_four_digit_years_is_the_calendars() {
        for day in FOUR_DIGIT_YEARS {
            let CivilDay { year, month, day: of_month } = CivilDay::from_unix_days(day);
            let expected = digits_of_fours(year as u64, u64::from(month) * 100 + u64::from(of_month));
            assert_eq!(date_digits(day), expected, "day {day}");
        }
    }

    #[test]
    fn what_is_listed_is_what_would_be_computed() {
        let listed = |text: u64| text.to_le_bytes()[..(text >> 56) as usize].to_vec();
        for (value, (&integer, &hundredths)) in INTEGERS.iter().zip(&HUNDREDTHS).enumerate() {
            assert_eq!(listed(integer), value.to_string().as_bytes());
            let mut expected = Vec::new();
            push_decimal128(&mut expected, value as i128, DecimalType { precision: 15, scale: 2 });
            assert_eq!(listed(hundredths), expected);
        }
        for (day, text) in DATES.iter().enumerate() {
            let mut expected = Vec::new();
            push_date(&mut expected, day as i64);
            assert_eq!(text[..10], expected);
        }
    }

    #[test]
    fn every_second_of_a_day_is_a_clocks() {
        for second in 0..86_400 {
            let expected = format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60);
            assert_eq!(clock_text(second).to_le_bytes(), expected.as_bytes());
        }
    }

    #[test]
    fn a_date_has_its_dashes() {
        let (first, last) = date_text(11_016);
        assert_eq!(
            text(|out| {
                push_word(out, first, 8);
                push_word(out, last, 2)
            }),
            "2000-02-29"
        );
    }

    proptest! {
        #[test]
        fn integers_are_those_of_the_standard_library(value in any::<i64>(), shift in 0u32..64) {
            prop_assert_eq!(text(|out| push_int(out, value >> shift)), (value >> shift).to_string());
            prop_assert_eq!(text(|out| push_unsigned(out, value as u64 >> shift)), (value as u64 >> shift).to_string());
        }

        #[test]
        fn eight_digits_are_the_numbers(value in 0..EIGHT_DIGITS) {
            let expected = format!("{value:08}");
            prop_assert_eq!(&(digits(value) | ZEROS).to_le_bytes(), expected.as_bytes());
        }
    }
}

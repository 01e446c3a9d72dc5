//! Numbers as text: shortest floats and decimals, in the two notations of the formats.

use super::append::push_text;
use super::digits::{EIGHT_DIGITS, ZEROS, digits, push_unsigned};

/// How a float is laid out once its shortest digits are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FloatStyle {
    /// Plain from 1e-6 up to 1e21, else exponent form; not-a-number and the infinities are strings.
    Json,
    /// Plain from 1e-4 up to 1e6, else exponent form.
    Csv,
}

impl FloatStyle {
    /// The decimal exponents (of the first digit) that are written plain.
    fn is_plain(self, exponent: i32) -> bool {
        match self {
            Self::Json => (-6..21).contains(&exponent),
            Self::Csv => (-4..6).contains(&exponent),
        }
    }
}

/// Appends a double by its shortest digits.
pub(crate) fn push_f64(out: &mut Vec<u8>, value: f64, style: FloatStyle) {
    if (1e-3..1e6).contains(&value.abs()) {
        push_ordinary(out, zmij::Buffer::new().format_finite(value).as_bytes());
    } else if value.is_finite() {
        push_shortest(out, zmij::Buffer::new().format_finite(value).as_bytes(), style);
    } else {
        push_not_finite(out, value.is_nan(), value.is_sign_negative(), style);
    }
}

/// Appends a float by its shortest digits.
pub(crate) fn push_f32(out: &mut Vec<u8>, value: f32, style: FloatStyle) {
    if (1e-3..1e6).contains(&value.abs()) {
        push_ordinary(out, zmij::Buffer::new().format_finite(value).as_bytes());
    } else if value.is_finite() {
        push_shortest(out, zmij::Buffer::new().format_finite(value).as_bytes(), style);
    } else {
        push_not_finite(out, value.is_nan(), value.is_sign_negative(), style);
    }
}

/// Lays out a number that both styles, and the printer too, write plain: all there is to do is to leave out a fraction of zero.
fn push_ordinary(out: &mut Vec<u8>, shortest: &[u8]) {
    push_text(out, shortest.strip_suffix(b".0").unwrap_or(shortest));
}

fn push_not_finite(out: &mut Vec<u8>, nan: bool, negative: bool, style: FloatStyle) {
    let text: &[u8] = match (nan, negative) {
        (true, _) => b"NaN",
        (false, false) => b"+Inf",
        (false, true) => b"-Inf",
    };
    match style {
        FloatStyle::Csv => out.extend_from_slice(text),
        FloatStyle::Json => {
            out.push(b'"');
            out.extend_from_slice(text);
            out.push(b'"');
        }
    }
}

/// Longest run of significant digits a shortest double has.
const MAX_SHORTEST_DIGITS: usize = 17;

/// Lays out a number that is already shortest (`-12.5`, `1e-7`, `3.0`) in the given style.
fn push_shortest(out: &mut Vec<u8>, shortest: &[u8], style: FloatStyle) {
    let (negative, magnitude) = match shortest.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, shortest),
    };
    let (mantissa, exponent) = match magnitude.iter().position(|&byte| byte == b'e') {
        Some(at) => (&magnitude[..at], parse_exponent(&magnitude[at + 1..])),
        None => (magnitude, 0),
    };
    let mut digits = [0u8; MAX_SHORTEST_DIGITS + 8];
    let mut count = 0;
    let mut point = None;
    let mut leading_zeros = 0;
    for &byte in mantissa {
        if byte == b'.' {
            point = Some(count + leading_zeros);
        } else if byte == b'0' && count == 0 {
            leading_zeros += 1;
        } else if count < digits.len() {
            digits[count] = byte;
            count += 1;
        }
    }
    let whole = point.unwrap_or(count + leading_zeros);
    // The exponent of the first significant digit, counted from the decimal point.
    let exponent = exponent + whole as i32 - leading_zeros as i32 - 1;
    while count > 0 && digits[count - 1] == b'0' {
        count -= 1;
    }
    if negative {
        out.push(b'-');
    }
    if count == 0 {
        out.push(b'0');
    } else if style.is_plain(exponent) {
        push_plain(out, &digits[..count], exponent);
    } else {
        push_scientific(out, &digits[..count], exponent);
    }
}

fn parse_exponent(text: &[u8]) -> i32 {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let value = digits.iter().fold(0, |sum, &digit| sum * 10 + i32::from(digit - b'0'));
    if negative { -value } else { value }
}

/// Appends significant digits without an exponent. `exponent` is that of the first digit.
fn push_plain(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + (-exponent - 1) as usize, b'0');
        push_text(out, digits);
        return;
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        push_text(out, digits);
        out.resize(out.len() + whole - digits.len(), b'0');
    } else {
        push_text(out, &digits[..whole]);
        out.push(b'.');
        push_text(out, &digits[whole..]);
    }
}

/// Appends significant digits in exponent form: one digit before the point, at least two in the exponent.
fn push_scientific(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        push_text(out, &digits[1..]);
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    let size = exponent.unsigned_abs();
    if size < 10 {
        out.push(b'0');
    }
    push_unsigned(out, u64::from(size));
}

/// Digits of the largest 256-bit integer.
const MAX_DECIMAL_DIGITS: usize = 78;

/// Decimal digits of an unscaled value, most significant first, without leading zeros.
struct Digits {
    bytes: [u8; MAX_DECIMAL_DIGITS],
    start: usize,
}

impl Digits {
    fn from_u128(value: u128) -> Self {
        match u64::try_from(value) {
            Ok(value) => Self::from_u64(value),
            Err(_) => Self::from_limbs([value as u64, (value >> 64) as u64, 0, 0]),
        }
    }

    fn from_u64(mut value: u64) -> Self {
        let mut digits_of = Self { bytes: [b'0'; MAX_DECIMAL_DIGITS], start: MAX_DECIMAL_DIGITS };
        let mut end = MAX_DECIMAL_DIGITS;
        while value > 0 {
            let eight = digits(value % EIGHT_DIGITS);
            digits_of.bytes[end - 8..end].copy_from_slice(&(eight | ZEROS).to_le_bytes());
            // Right for the eight digits in front, whose first is not zero; the others' answer is written over.
            digits_of.start = end - 8 + (eight.trailing_zeros() / 8) as usize;
            value /= EIGHT_DIGITS;
            end -= 8;
        }
        digits_of
    }

    /// Little-endian 64-bit limbs.
    fn from_limbs(mut limbs: [u64; 4]) -> Self {
        /// The largest power of ten that fits 64 bits, and its exponent.
        const CHUNK: (u64, usize) = (10_000_000_000_000_000_000, 19);
        let mut digits = Self { bytes: [b'0'; MAX_DECIMAL_DIGITS], start: MAX_DECIMAL_DIGITS };
        let mut end = MAX_DECIMAL_DIGITS;
        while limbs != [0; 4] {
            let mut rest = 0u64;
            for limb in limbs.iter_mut().rev() {
                let part = (u128::from(rest) << 64) | u128::from(*limb);
                *limb = (part / u128::from(CHUNK.0)) as u64;
                rest = (part % u128::from(CHUNK.0)) as u64;
            }
            let mut at = end;
            while rest > 0 && at > 0 {
                at -= 1;
                digits.bytes[at] = b'0' + (rest % 10) as u8;
                rest /= 10;
                digits.start = at;
            }
            end = end.saturating_sub(CHUNK.1);
        }
        digits
    }
}

/// A decimal type: how many digits it has, and how many of them stand behind the point (before it, if negative).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DecimalType {
    /// Significant digits.
    pub(crate) precision: u8,
    /// Digits behind the point.
    pub(crate) scale: i8,
}

/// Appends a decimal of at most 128 bits.
pub(crate) fn push_decimal128(out: &mut Vec<u8>, unscaled: i128, ty: DecimalType) {
    push_decimal(out, unscaled < 0, Digits::from_u128(unscaled.unsigned_abs()), ty);
}

/// Appends a decimal of 256 bits.
pub(crate) fn push_decimal256(out: &mut Vec<u8>, unscaled: arrow_buffer::i256, ty: DecimalType) {
    let negative = unscaled.is_negative();
    // Wrapping: the smallest value is its own negation, and then its bits read without a sign are its magnitude.
    let magnitude = if negative { unscaled.wrapping_neg() } else { unscaled };
    let (low, high) = magnitude.to_parts();
    let high = high as u128;
    let limbs = [low as u64, (low >> 64) as u64, high as u64, (high >> 64) as u64];
    push_decimal(out, negative, Digits::from_limbs(limbs), ty);
}

/// No trailing zeros; at most `precision` digits (half to even); exponent form below 1e-4, and where more zeros than the precision holds
/// would be needed before the point.
fn push_decimal(out: &mut Vec<u8>, negative: bool, mut all: Digits, ty: DecimalType) {
    let start = all.start;
    let digits = &mut all.bytes[start..];
    let mut exponent = digits.len() as i32 - i32::from(ty.scale) - 1;
    let precision = usize::from(ty.precision).max(1);
    let mut kept = digits.len();
    if kept > precision {
        let next = digits[precision];
        let beyond = digits[precision + 1..].iter().any(|&digit| digit != b'0');
        let odd = digits[precision - 1] % 2 == 1;
        kept = precision;
        if next > b'5' || (next == b'5' && (beyond || odd)) {
            while kept > 0 && digits[kept - 1] == b'9' {
                kept -= 1;
            }
            if kept == 0 {
                digits[0] = b'1';
                kept = 1;
                exponent += 1;
            } else {
                digits[kept - 1] += 1;
            }
        }
    }
    while kept > 0 && digits[kept - 1] == b'0' {
        kept -= 1;
    }
    if kept == 0 {
        out.push(b'0');
        return;
    }
    if negative {
        out.push(b'-');
    }
    let whole = exponent + 1;
    let widest = if precision > kept && kept as i32 >= whole { kept } else { precision };
    if exponent < -4 || exponent >= widest as i32 {
        push_scientific(out, &digits[..kept], exponent);
    } else {
        push_plain(out, &digits[..kept], exponent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_buffer::i256;

    #[track_caller]
    fn check_f64(value: f64, json: &str, csv: &str) {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        push_f64(&mut a, value, FloatStyle::Json);
        push_f64(&mut b, value, FloatStyle::Csv);
        assert_eq!((String::from_utf8_lossy(&a).as_ref(), String::from_utf8_lossy(&b).as_ref()), (json, csv));
    }

    #[test]
    fn doubles_are_plain_within_each_formats_own_range() {
        check_f64(0.0, "0", "0");
        check_f64(-0.0, "-0", "-0");
        check_f64(100_000.0, "100000", "100000");
        check_f64(999_999.0, "999999", "999999");
        check_f64(1e6, "1000000", "1e+06");
        check_f64(1_234_567.5, "1234567.5", "1.2345675e+06");
        check_f64(0.0001, "0.0001", "0.0001");
        check_f64(0.00001, "0.00001", "1e-05");
        check_f64(0.000001, "0.000001", "1e-06");
        check_f64(1e-7, "1e-07", "1e-07");
        check_f64(1e20, "100000000000000000000", "1e+20");
        check_f64(1e21, "1e+21", "1e+21");
        check_f64(-2.5e-300, "-2.5e-300", "-2.5e-300");
        check_f64(f64::MAX, "1.7976931348623157e+308", "1.7976931348623157e+308");
        check_f64(5e-324, "5e-324", "5e-324");
        check_f64(f64::NAN, "\"NaN\"", "NaN");
        check_f64(f64::INFINITY, "\"+Inf\"", "+Inf");
        check_f64(f64::NEG_INFINITY, "\"-Inf\"", "-Inf");
    }

    #[test]
    fn floats_have_the_digits_of_their_own_width() {
        let text = |value: f32, style| {
            let mut out = Vec::new();
            push_f32(&mut out, value, style);
            String::from_utf8(out).expect("digits")
        };
        assert_eq!(text(16_777_216.0, FloatStyle::Json), "16777216");
        assert_eq!(text(16_777_216.0, FloatStyle::Csv), "1.6777216e+07");
        assert_eq!(text(0.1, FloatStyle::Csv), "0.1");
        assert_eq!(text(0.099975586, FloatStyle::Json), "0.099975586");
    }

    #[track_caller]
    fn check_decimal(unscaled: i128, precision: u8, scale: i8, expected: &str) {
        let ty = DecimalType { precision, scale };
        let (mut narrow, mut wide) = (Vec::new(), Vec::new());
        push_decimal128(&mut narrow, unscaled, ty);
        push_decimal256(&mut wide, i256::from_i128(unscaled), ty);
        assert_eq!(String::from_utf8_lossy(&narrow), expected);
        assert_eq!(narrow, wide, "128 and 256 bits agree");
    }

    #[test]
    fn decimals_drop_zeros_and_turn_scientific_below_a_ten_thousandth() {
        check_decimal(15_000_000_000, 19, 10, "1.5");
        check_decimal(0, 19, 10, "0");
        check_decimal(1_000_000_000_000, 19, 10, "100");
        check_decimal(1_000_000, 19, 10, "0.0001");
        check_decimal(1_200_000, 19, 10, "0.00012");
        check_decimal(100_000, 19, 10, "1e-05");
        check_decimal(-1, 19, 10, "-1e-10");
        check_decimal(9_999_999_999_999_999_999, 19, 10, "999999999.9999999999");
        check_decimal(10i128.pow(38) - 1, 38, 0, "99999999999999999999999999999999999999");
        check_decimal(123, 3, -4, "1.23e+06");
        check_decimal(123, 3, 5, "0.00123");
        check_decimal(100_000, 38, 0, "100000");
        check_decimal(9995, 3, 0, "1e+04");
        check_decimal(-12_345, 4, 2, "-123.4");
    }

    #[test]
    fn the_extremes_of_256_bits_have_all_their_digits() {
        let mut out = Vec::new();
        push_decimal256(&mut out, i256::MIN, DecimalType { precision: 77, scale: 0 });
        assert_eq!(String::from_utf8_lossy(&out), "-57896044618658097711785492504343953926634992332820282019728792003956564819968");
    }
}

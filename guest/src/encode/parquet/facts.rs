//! What a finished file says of its columns: sums over its row groups, and bounds as Iceberg writes single values.
//!
//! Bounds come from the statistics of the chunks. A bound that Iceberg has no form for, or one of more than [`MAX_BOUND_BYTES`] that cannot be cut, is
//! left out: a bound says that no value is beyond it, and to say nothing is always right.

use crate::host::ColumnFacts;
use crate::limits::{MAX_BOUND_BYTES, MAX_FACT_COLUMNS};
use parquet::basic::{IntType, LogicalType, TimeType, TimeUnit, TimestampType, Type as Physical};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescriptor;

/// Facts of the first leaves of a file, as many as the world takes. `nans` has the NaNs of each leaf, where they were counted.
pub(super) fn from_row_groups(groups: &[RowGroupMetaData], nans: &[Option<u64>]) -> Vec<ColumnFacts> {
    let leaves = groups.first().map_or(0, RowGroupMetaData::num_columns).min(MAX_FACT_COLUMNS);
    (0..leaves).map(|leaf| leaf_facts(groups.iter().map(|group| group.column(leaf)), nans.get(leaf).copied().flatten())).collect()
}

fn leaf_facts<'a>(chunks: impl Iterator<Item = &'a ColumnChunkMetaData>, nans: Option<u64>) -> ColumnFacts {
    let mut facts = ColumnFacts { nans, ..ColumnFacts::default() };
    let mut bounds: Option<Extent> = None;
    // Of a chunk without bounds nothing is known, unless it has nothing but nulls.
    let mut is_known = true;
    for chunk in chunks {
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        let values = count(chunk.num_values());
        let nulls = chunk.statistics().and_then(Statistics::null_count_opt).unwrap_or_default();
        if facts.path.is_empty() {
            facts.path = chunk.column_path().string();
        }
        facts.values += values;
        facts.nulls += nulls;
        *facts.encoded_bytes.get_or_insert_default() += count(chunk.compressed_size());
        match chunk.statistics().and_then(|statistics| Extent::from_statistics(statistics, chunk.column_descr())) {
            Some(more) => bounds = Some(bounds.map_or(more.clone(), |known| known.with(more))),
            None => is_known &= nulls == values,
        }
    }
    if let Some(bounds) = bounds.filter(|_| is_known) {
        (facts.lower, facts.upper) = bounds.encoded();
    }
    facts
}

/// The bounds of a column, in a form in which they can be compared; and which form Iceberg has for them.
#[derive(Debug, Clone, PartialEq)]
enum Extent {
    Bool(bool, bool),
    /// Little endian, four bytes.
    Int(i128, i128),
    /// Little endian, eight bytes.
    Long(i128, i128),
    /// Big endian, as few bytes as hold it.
    Decimal(i128, i128),
    Float(f32, f32),
    Double(f64, f64),
    /// Text and bytes, which may be cut, and what may not.
    Bytes {
        lower: Vec<u8>,
        upper: Vec<u8>,
        is_text: bool,
        may_be_cut: bool,
    },
}

impl Extent {
    fn from_statistics(statistics: &Statistics, descr: &ColumnDescriptor) -> Option<Self> {
        let logical = descr.logical_type_ref();
        match statistics {
            Statistics::Boolean(it) => Some(Self::Bool(*it.min_opt()?, *it.max_opt()?)),
            Statistics::Int32(it) => {
                let (low, high) = (*it.min_opt()?, *it.max_opt()?);
                match logical {
                    // A column of wider numbers: there is no unsigned type of four bytes.
                    Some(LogicalType::Integer(IntType { is_signed: false, bit_width: 32 })) => {
                        Some(Self::Long((low as u32).into(), (high as u32).into()))
                    }
                    Some(LogicalType::Decimal { .. }) => Some(Self::Decimal(low.into(), high.into())),
                    Some(LogicalType::Time { .. }) => Some(Self::Long(i128::from(low) * 1_000, i128::from(high) * 1_000)),
                    Some(LogicalType::Integer { .. } | LogicalType::Date) | None => Some(Self::Int(low.into(), high.into())),
                    Some(_) => None,
                }
            }
            Statistics::Int64(it) => {
                let (low, high) = (i128::from(*it.min_opt()?), i128::from(*it.max_opt()?));
                match logical {
                    Some(LogicalType::Integer(IntType { is_signed: false, .. })) => {
                        Some(Self::Decimal((low as u64).into(), (high as u64).into()))
                    }
                    Some(LogicalType::Decimal { .. }) => Some(Self::Decimal(low, high)),
                    Some(LogicalType::Time(TimeType { unit, .. }) | LogicalType::Timestamp(TimestampType { unit, .. })) => {
                        Self::microseconds(low, high, *unit)
                    }
                    Some(LogicalType::Integer { .. }) | None => Some(Self::Long(low, high)),
                    Some(_) => None,
                }
            }
            Statistics::Float(it) => Some(Self::Float(*it.min_opt()?, *it.max_opt()?)),
            Statistics::Double(it) => Some(Self::Double(*it.min_opt()?, *it.max_opt()?)),
            Statistics::ByteArray(_) | Statistics::FixedLenByteArray(_) => {
                let (lower, upper) = (statistics.min_bytes_opt()?, statistics.max_bytes_opt()?);
                match (descr.physical_type(), logical) {
                    (_, Some(LogicalType::Decimal { .. })) => Some(Self::Decimal(big_endian(lower)?, big_endian(upper)?)),
                    (_, Some(LogicalType::Float16)) => None,
                    (Physical::BYTE_ARRAY, logical) => {
                        let is_text = matches!(logical, Some(LogicalType::String | LogicalType::Enum | LogicalType::Json));
                        Some(Self::Bytes { lower: lower.into(), upper: upper.into(), is_text, may_be_cut: true })
                    }
                    _ => Some(Self::Bytes { lower: lower.into(), upper: upper.into(), is_text: false, may_be_cut: false }),
                }
            }
            Statistics::Int96(_) => None,
        }
    }

    /// Iceberg counts in microseconds. What lies between two of them is rounded away from the values.
    fn microseconds(low: i128, high: i128, unit: TimeUnit) -> Option<Self> {
        let (low, high) = match unit {
            TimeUnit::MILLIS => (low * 1_000, high * 1_000),
            TimeUnit::MICROS => (low, high),
            TimeUnit::NANOS => (low.div_euclid(1_000), -(-high).div_euclid(1_000)),
        };
        let fits = |value: i128| i64::try_from(value).is_ok();
        (fits(low) && fits(high)).then_some(Self::Long(low, high))
    }

    fn with(self, more: Self) -> Self {
        match (self, more) {
            (Self::Bool(low, high), Self::Bool(other_low, other_high)) => Self::Bool(low & other_low, high | other_high),
            (Self::Int(low, high), Self::Int(other_low, other_high)) => Self::Int(low.min(other_low), high.max(other_high)),
            (Self::Long(low, high), Self::Long(other_low, other_high)) => Self::Long(low.min(other_low), high.max(other_high)),
            (Self::Decimal(low, high), Self::Decimal(other_low, other_high)) => Self::Decimal(low.min(other_low), high.max(other_high)),
            (Self::Float(low, high), Self::Float(other_low, other_high)) => Self::Float(low.min(other_low), high.max(other_high)),
            (Self::Double(low, high), Self::Double(other_low, other_high)) => Self::Double(low.min(other_low), high.max(other_high)),
            (Self::Bytes { lower, upper, is_text, may_be_cut }, Self::Bytes { lower: other_lower, upper: other_upper, .. }) => {
                Self::Bytes { lower: lower.min(other_lower), upper: upper.max(other_upper), is_text, may_be_cut }
            }
            // The chunks of a column have one type.
            (one, _) => one,
        }
    }

    fn encoded(&self) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        match self {
            Self::Bool(low, high) => (Some(vec![u8::from(*low)]), Some(vec![u8::from(*high)])),
            Self::Int(low, high) => (Some((*low as i32).to_le_bytes().into()), Some((*high as i32).to_le_bytes().into())),
            Self::Long(low, high) => (Some((*low as i64).to_le_bytes().into()), Some((*high as i64).to_le_bytes().into())),
            Self::Decimal(low, high) => (Some(shortest(*low)), Some(shortest(*high))),
            Self::Float(low, high) => (Some(low.to_le_bytes().into()), Some(high.to_le_bytes().into())),
            Self::Double(low, high) => (Some(low.to_le_bytes().into()), Some(high.to_le_bytes().into())),
            Self::Bytes { lower, upper, may_be_cut: false, .. } => {
                let whole = |bytes: &Vec<u8>| (bytes.len() <= MAX_BOUND_BYTES).then(|| bytes.clone());
                (whole(lower), whole(upper))
            }
            Self::Bytes { lower, upper, is_text, .. } => (Some(cut_down(lower, *is_text)), cut_up(upper, *is_text)),
        }
    }
}

/// A number of two's complement. [`None`]: more bytes than there are here.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let filler = if negative { 0xff } else { 0 };
    let (beyond, bytes) = bytes.split_at(bytes.len().saturating_sub(16));
    let mut all = [filler; 16];
    all.get_mut(16 - bytes.len()..)?.copy_from_slice(bytes);
    let value = i128::from_be_bytes(all);
    (beyond.iter().all(|byte| *byte == filler) && (value < 0) == negative).then_some(value)
}

/// Two's complement, big endian, without bytes that repeat the sign.
fn shortest(value: i128) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let sign = if value < 0 { 0xff } else { 0 };
    let repeated =
        bytes.windows(2).take_while(|pair| matches!(pair, [first, second] if *first == sign && (second ^ sign) & 0x80 == 0)).count();
    bytes.get(repeated..).unwrap_or_default().to_vec()
}

/// The longest beginning that is short enough: not above the value. Text is cut between characters.
fn cut_down(bytes: &[u8], is_text: bool) -> Vec<u8> {
    let mut end = bytes.len().min(MAX_BOUND_BYTES);
    while is_text && end < bytes.len() && bytes.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    bytes.get(..end).unwrap_or_default().to_vec()
}

/// The least of the short ones that is not below the value: a beginning whose last character or byte that can be greater by one is.
fn cut_up(bytes: &[u8], is_text: bool) -> Option<Vec<u8>> {
    if bytes.len() <= MAX_BOUND_BYTES {
        return Some(bytes.to_vec());
    }
    let mut cut = cut_down(bytes, is_text);
    if is_text {
        let mut text = String::from_utf8(cut).ok()?;
        while let Some(last) = text.pop() {
            if let Some(next) = next_character(last).filter(|next| text.len() + next.len_utf8() <= MAX_BOUND_BYTES) {
                text.push(next);
                return Some(text.into_bytes());
            }
        }
        return None;
    }
    while let Some(last) = cut.pop() {
        if last < u8::MAX {
            cut.push(last + 1);
            return Some(cut);
        }
    }
    None
}

/// Surrogates are no characters.
fn next_character(character: char) -> Option<char> {
    let next = u32::from(character) + 1;
    char::from_u32(if next == 0xd800 { 0xe000 } else { next })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_have_as_few_bytes_as_hold_them() {
        for (value, expected) in [
            (0, vec![0]),
            (127, vec![127]),
            (128, vec![0, 128]),
            (-1, vec![255]),
            (-128, vec![128]),
            (-129, vec![255, 127]),
            (14_200, vec![0x37, 0x78]),
        ] {
            assert_eq!(shortest(value), expected, "{value}");
        }
        assert_eq!(big_endian(&[0xff; 20]), Some(-1));
        assert_eq!(big_endian(&[1; 20]), None);
        assert_eq!(big_endian(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Some(i128::MIN));
        assert_eq!(big_endian(&[0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(big_endian(&[]), Some(0));
    }

    #[test]
    fn times_are_rounded_away_from_the_values() {
        assert_eq!(Extent::microseconds(-1_001, 1_001, TimeUnit::NANOS), Some(Extent::Long(-2, 2)));
        assert_eq!(Extent::microseconds(-1_000, 1_000, TimeUnit::NANOS), Some(Extent::Long(-1, 1)));
        assert_eq!(Extent::microseconds(7, 8, TimeUnit::MILLIS), Some(Extent::Long(7_000, 8_000)));
        assert_eq!(Extent::microseconds(i64::MIN.into(), 0, TimeUnit::MILLIS), None);
    }

    proptest! {
        #[test]
        fn a_number_comes_back(value in any::<i128>()) {
            let bytes = shortest(value);
            prop_assert_eq!(big_endian(&bytes), Some(value));
            prop_assert!(bytes.len() == 1 || big_endian(&bytes[1..]) != Some(value));
        }

        #[test]
        fn bounds_that_are_cut_are_still_bounds(text in "(a|\u{10ffff}|\u{d7ff}|é){0,80}", bytes in prop::collection::vec(prop_oneof![Just(255), any::<u8>()], 0..130)) {
            for (value, is_text) in [(text.as_bytes(), true), (bytes.as_slice(), false)] {
                let low = cut_down(value, is_text);
                prop_assert!(low.as_slice() <= value && low.len() <= MAX_BOUND_BYTES);
                prop_assert!(!is_text || std::str::from_utf8(&low).is_ok());
                if let Some(high) = cut_up(value, is_text) {
                    prop_assert!(high.as_slice() >= value && high.len() <= MAX_BOUND_BYTES);
                    prop_assert!(!is_text || std::str::from_utf8(&high).is_ok());
                }
            }
        }
    }
}

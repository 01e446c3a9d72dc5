//! Columns to lanes: branch-free kernels where a block of a column is plain, else the general path value by value.
//!
//! A kernel is chosen for a block by the least and the greatest of its values, and then looks at none of them: its loop has no branch that
//! depends on a value. Rows that are null are computed like others, and overwritten.

use super::bind::{Bytes, ColumnReader, Days, Decimals, Ints, Values, days_of_milliseconds};
use super::cells::{CellSource, ColumnCells, STORE_BYTES};
use super::digits::{DATES, FRACTIONS, HUNDREDTHS, INTEGERS, LISTED, LISTED_DAYS};
use super::digits::{EIGHT_DIGITS, FOUR_DIGIT_YEARS, ZEROS, clock_text, date_text, digits, leading_zeros, short_int, trailing_zeros};
use super::drain::ValueError;
use super::frame::{CsvStyle, Separators};
use super::number::DecimalType;
use super::string::{Html, begins_with_space, csv_needs_quotes, is_ascii_space, is_odd, is_plain_csv, is_plain_json};
use super::string::{mark_csv_specials, push_csv_field, push_csv_quoted};
use super::string::{needs_no_csv_escape, push_json_string};
use super::time::ticks_per_second;
use super::value::{TextFormat, may_need_quotes};
use super::zone::Zone;
use crate::calendar::SECONDS_PER_DAY;
use arrow_buffer::NullBuffer;
use arrow_schema::TimeUnit;
use std::ops::Range;

/// Fills a lane with the cells of some rows of a column.
///
/// # Errors
/// [`ValueError`] if a value has no text.
pub(crate) fn fill(
    lane: &mut ColumnCells,
    reader: &ColumnReader<'_>,
    rows: Range<usize>,
    separators: Separators,
    spare: &mut Vec<u8>,
) -> Result<(), ValueError> {
    let odd = matches!(separators, Separators::Csv { delimiter, style } if is_odd(delimiter) || !style.is_plain());
    let nulls = Nulls::new(reader.nulls, &rows, separators);
    let filled = !odd
        && match &reader.values {
            Values::Text(bytes) => fill_strings(lane, &nulls, *bytes, rows.clone(), separators),
            Values::Int(ints) => fill_ints(lane, &nulls, *ints, rows.clone()),
            Values::Decimal(decimals, ty) => fill_decimals(lane, &nulls, *decimals, *ty, rows.clone()),
            Values::Date(days) => fill_dates(lane, &nulls, *days, rows.clone()),
            Values::Timestamp(ticks, unit, Zone::Utc) => fill_timestamps(lane, &nulls, &ticks[rows.clone()], *unit),
            Values::Bool(array) => {
                let (cells, lengths) = lane.short_cells(rows.len());
                for ((cell, length), row) in cells.iter_mut().zip(lengths).zip(rows.clone()) {
                    let (word, long) = if array.value(row) { (b"true\0\0\0\0", 4) } else { (b"false\0\0\0", 5) };
                    cell[..8].copy_from_slice(word);
                    *length = long;
                }
                nulls.finish_short(lane, Quotes::Never);
                true
            }
            _ => false,
        };
    if filled { Ok(()) } else { general(lane, reader, rows, separators, spare) }
}

/// Which rows of a block are null, and what their cells are.
struct Nulls<'a> {
    /// None if no row of the block is.
    of_rows: Option<(&'a NullBuffer, Range<usize>)>,
    json: bool,
}

impl<'a> Nulls<'a> {
    fn new(nulls: Option<&'a NullBuffer>, rows: &Range<usize>, separators: Separators) -> Self {
        let json = separators == Separators::Json;
        let is_any = |nulls: &NullBuffer| nulls.null_count() > 0 && nulls.slice(rows.start, rows.len()).null_count() > 0;
        Self { of_rows: nulls.filter(|nulls| is_any(nulls)).map(|nulls| (nulls, rows.clone())), json }
    }

    fn any(&self) -> bool {
        self.of_rows.is_some()
    }

    /// Is the block's row (counted from its first) null?
    #[inline(always)]
    fn is_null(&self, row: usize) -> bool {
        self.of_rows.as_ref().is_some_and(|(nulls, rows)| nulls.is_null(rows.start + row))
    }

    /// Puts nulls among short cells, and quotes where they belong: around all cells of the lane, or, as a null has none, into the cells.
    fn finish_short(&self, lane: &mut ColumnCells, quotes: Quotes) {
        let quotes = self.json && quotes == Quotes::Json;
        let Some((nulls, rows)) = &self.of_rows else {
            lane.quoted = quotes;
            return;
        };
        for ((cell, length), row) in lane.short.iter_mut().zip(&mut lane.lengths).zip(rows.clone()) {
            if nulls.is_null(row) {
                cell[..4].copy_from_slice(b"null");
                *length = if self.json { 4 } else { 0 };
            } else if quotes {
                let text = *cell;
                cell[1..].copy_from_slice(&text[..STORE_BYTES - 1]);
                cell[0] = b'"';
                cell[(*length as usize + 1) % STORE_BYTES] = b'"';
                *length += 2;
            }
        }
    }
}

/// Are the values of such a lane strings in JSON?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// Yes. Their text has at most fourteen bytes, so that quotes fit a short cell.
    Json,
    Never,
}

/// Writes short cells, four a turn: a turn of a loop costs a look at the clock.
#[inline(always)]
fn write_short<T: Copy>(lane: &mut ColumnCells, values: &[T], cell: impl Fn(&mut [u8; STORE_BYTES], T) -> u32) {
    let (cells, lengths) = lane.short_cells(values.len());
    let (cells, cells_rest) = cells.as_chunks_mut::<4>();
    let (lengths, lengths_rest) = lengths.as_chunks_mut::<4>();
    let (values, values_rest) = values.as_chunks::<4>();
    for ((cells, lengths), values) in cells.iter_mut().zip(lengths).zip(values) {
        lengths[0] = cell(&mut cells[0], values[0]);
        lengths[1] = cell(&mut cells[1], values[1]);
        lengths[2] = cell(&mut cells[2], values[2]);
        lengths[3] = cell(&mut cells[3], values[3]);
    }
    for ((to, length), &value) in cells_rest.iter_mut().zip(lengths_rest).zip(values_rest) {
        *length = cell(to, value);
    }
}

/// Writes eight bytes of a cell.
#[inline(always)]
fn put(cell: &mut [u8; STORE_BYTES], at: usize, word: u64) {
    cell[at..at + 8].copy_from_slice(&word.to_le_bytes());
}

/// The least and the greatest value.
#[inline(always)]
fn range<T: Copy>(values: &[T], to_i64: impl Fn(T) -> i64) -> (i64, i64) {
    values.iter().fold((i64::MAX, i64::MIN), |(least, greatest), &value| (least.min(to_i64(value)), greatest.max(to_i64(value))))
}

/// All bits that any value has. One that is negative has the highest.
#[inline(always)]
fn bits<T: Copy>(values: &[T], to_i64: impl Fn(T) -> i64) -> u64 {
    let (blocks, rest) = values.as_chunks::<16>();
    let of = |values: &[T]| values.iter().fold(0, |bits, &value| bits | to_i64(value) as u64);
    blocks.iter().fold(of(rest), |bits, block| bits | of(block))
}

/// Writes cells whose text is in a table that has its length in the highest byte.
#[inline(always)]
fn write_listed<T: Copy>(lane: &mut ColumnCells, values: &[T], table: &[u64; LISTED], to_i64: impl Fn(T) -> i64) {
    write_short(lane, values, |cell, value| {
        let text = table[to_i64(value) as usize % LISTED];
        put(cell, 0, text);
        (text >> 56) as u32
    });
}

/// Integers below this have, with a sign, at most sixteen characters.
const SHORT_INT_LIMIT: i64 = 1_000_000_000_000_000;

fn fill_ints(lane: &mut ColumnCells, nulls: &Nulls<'_>, ints: Ints<'_>, rows: Range<usize>) -> bool {
    match ints {
        Ints::I8(values) => fill_ints_of(lane, nulls, &values[rows], i64::from),
        Ints::I16(values) => fill_ints_of(lane, nulls, &values[rows], i64::from),
        Ints::I32(values) => fill_ints_of(lane, nulls, &values[rows], i64::from),
        Ints::I64(values) => fill_ints_of(lane, nulls, &values[rows], i64::from),
        Ints::U8(values) => fill_ints_of(lane, nulls, &values[rows], i64::from),
        Ints::U16(values) => fill_ints_of(lane, nulls, &values[rows], i64::from),
        Ints::U32(values) => fill_ints_of(lane, nulls, &values[rows], i64::from),
        // What does not fit is taken for a number that is too long.
        Ints::U64(values) => fill_ints_of(lane, nulls, &values[rows], |value| i64::try_from(value).unwrap_or(i64::MAX)),
    }
}

#[inline(never)]
fn fill_ints_of<T: Copy>(lane: &mut ColumnCells, nulls: &Nulls<'_>, values: &[T], to_i64: impl Fn(T) -> i64) -> bool {
    let bits = bits(values, &to_i64);
    if bits < LISTED as u64 {
        write_listed(lane, values, &INTEGERS, to_i64);
        nulls.finish_short(lane, Quotes::Never);
        return true;
    }
    let (least, greatest) = if bits < EIGHT_DIGITS { (0, bits as i64) } else { range(values, &to_i64) };
    if least >= 0 && greatest < EIGHT_DIGITS as i64 {
        write_short(lane, values, |cell, value| {
            let (text, length) = short_int(to_i64(value) as u64);
            put(cell, 0, text);
            length as u32
        });
    } else if least > -SHORT_INT_LIMIT && greatest < SHORT_INT_LIMIT {
        write_short(lane, values, |cell, value| int_of_sixteen(cell, to_i64(value)));
    } else {
        return false;
    }
    nulls.finish_short(lane, Quotes::Never);
    true
}

/// An integer of magnitude below [`SHORT_INT_LIMIT`].
#[inline(always)]
fn int_of_sixteen(cell: &mut [u8; STORE_BYTES], value: i64) -> u32 {
    let magnitude = value.unsigned_abs();
    let (high, low) = (digits(magnitude / EIGHT_DIGITS), digits(magnitude % EIGHT_DIGITS));
    let zeros = if high == 0 { 8 + leading_zeros(low) } else { leading_zeros(high) };
    // The sign takes the place of the last zero before the digits.
    let skipped = if value < 0 { zeros - 1 } else { zeros };
    let sign = if value < 0 { u64::from(b'-' ^ b'0') } else { 0 };
    let (mut first, mut second) = (high | ZEROS, low | ZEROS);
    if skipped < 8 {
        first ^= sign << (8 * skipped);
        // In two steps, because a shift by all 64 bits shifts by 0.
        first = first >> (8 * skipped) | second << 8 << (56 - 8 * skipped);
        second >>= 8 * skipped;
    } else {
        first = (second ^ sign << (8 * (skipped - 8))) >> (8 * (skipped - 8));
    }
    put(cell, 0, first);
    put(cell, 8, second);
    STORE_BYTES as u32 - skipped
}

/// Decimals of this scale or less are never so small that they turn to exponent form.
const MAX_PLAIN_SCALE: i8 = 4;

/// Whole parts below this leave room in a short cell for a sign and eight bytes behind.
const WHOLE_LIMIT: u64 = 10_000_000;

fn fill_decimals(lane: &mut ColumnCells, nulls: &Nulls<'_>, decimals: Decimals<'_>, ty: DecimalType, rows: Range<usize>) -> bool {
    match decimals {
        Decimals::D32(values) => fill_decimals_of(lane, nulls, &values[rows], ty, i64::from),
        Decimals::D64(values) => fill_decimals_of(lane, nulls, &values[rows], ty, i64::from),
        Decimals::D128(values) => {
            let values = &values[rows];
            // A value fits 64 bits if its upper half is nothing but its sign.
            let beyond = bits(values, |value| (value >> 64) as i64 ^ (value as i64 >> 63));
            beyond == 0 && fill_decimals_of(lane, nulls, values, ty, |value| value as i64)
        }
        Decimals::D256(_) => false,
    }
}

#[inline(never)]
fn fill_decimals_of<T: Copy>(lane: &mut ColumnCells, nulls: &Nulls<'_>, values: &[T], ty: DecimalType, to_i64: impl Fn(T) -> i64) -> bool {
    if !(0..=MAX_PLAIN_SCALE).contains(&ty.scale) {
        return false;
    }
    let unit = 10u64.pow(ty.scale as u32);
    // No more digits in all than the type has.
    let limit = (unit * WHOLE_LIMIT).min(10u64.checked_pow(u32::from(ty.precision)).unwrap_or(u64::MAX));
    let bits = bits(values, &to_i64);
    if ty.scale == 2 && bits < (LISTED as u64).min(limit) {
        write_listed(lane, values, &HUNDREDTHS, to_i64);
        nulls.finish_short(lane, Quotes::Json);
        return true;
    }
    let (least, greatest) = if bits < limit { (0, bits as i64) } else { range(values, &to_i64) };
    if least.unsigned_abs().max(greatest.unsigned_abs()) >= limit {
        return false;
    }
    if ty.scale == 2 && least >= 0 {
        write_short(lane, values, |cell, value| {
            let value = to_i64(value) as u64;
            let (whole, length) = short_int(value / 100);
            let behind = FRACTIONS[(value % 100) as usize];
            put(cell, 0, whole);
            // Never cut: eight digits at most stand before.
            cell[length.min(8)..length.min(8) + 4].copy_from_slice(&behind.to_le_bytes());
            length as u32 + (behind >> 24)
        });
    } else {
        let to_eight = EIGHT_DIGITS / unit;
        write_short(lane, values, |cell, value| {
            let value = to_i64(value);
            let (magnitude, sign) = (value.unsigned_abs(), usize::from(value < 0));
            let (whole, length) = short_int(magnitude / unit);
            let fraction = digits(magnitude % unit * to_eight);
            let places = 8 - trailing_zeros(fraction);
            let at = sign + length.min(7);
            cell[0] = b'-';
            put(cell, sign, whole);
            put(cell, at, u64::from(b'.') | (fraction | ZEROS) << 8);
            at as u32 + places + u32::from(places > 0)
        });
    }
    nulls.finish_short(lane, Quotes::Json);
    true
}

fn fill_dates(lane: &mut ColumnCells, nulls: &Nulls<'_>, days: Days<'_>, rows: Range<usize>) -> bool {
    match days {
        Days::Days(values) => fill_dates_of(lane, nulls, &values[rows], i64::from),
        Days::Milliseconds(values) => fill_dates_of(lane, nulls, &values[rows], days_of_milliseconds),
    }
}

#[inline(never)]
fn fill_dates_of<T: Copy>(lane: &mut ColumnCells, nulls: &Nulls<'_>, values: &[T], to_days: impl Fn(T) -> i64) -> bool {
    if bits(values, &to_days) < LISTED_DAYS as u64 {
        write_short(lane, values, |cell, value| {
            *cell = DATES[to_days(value) as usize % LISTED_DAYS];
            10
        });
        nulls.finish_short(lane, Quotes::Json);
        return true;
    }
    let (first, last) = range(values, &to_days);
    if !FOUR_DIGIT_YEARS.contains(&first) || !FOUR_DIGIT_YEARS.contains(&last) {
        return false;
    }
    write_short(lane, values, |cell, value| {
        let (start, end) = date_text(to_days(value));
        put(cell, 0, start);
        put(cell, 8, end);
        10
    });
    nulls.finish_short(lane, Quotes::Json);
    true
}

/// Room for a timestamp in UTC: quotes, ten characters of date, `T`, eight of clock, point, nine digits, `Z`; as wide stores may write it.
const TIMESTAMP_BYTES: usize = 48;

fn fill_timestamps(lane: &mut ColumnCells, nulls: &Nulls<'_>, ticks: &[i64], unit: TimeUnit) -> bool {
    let per_second = ticks_per_second(unit);
    let (first, last) = range(ticks, |ticks| ticks);
    let day_of = |ticks: i64| ticks.div_euclid(per_second).div_euclid(SECONDS_PER_DAY);
    if !FOUR_DIGIT_YEARS.contains(&day_of(first)) || !FOUR_DIGIT_YEARS.contains(&day_of(last)) {
        return false;
    }
    let to_nanoseconds = 1_000_000_000 / per_second as u64;
    // Unsigned numbers divide faster: counted from the first day of the range, none is negative.
    let origin = -FOUR_DIGIT_YEARS.start * SECONDS_PER_DAY;
    let own_quotes = nulls.json && nulls.any();
    lane.quoted = nulls.json && !own_quotes;
    lane.text.resize(ticks.len() * TIMESTAMP_BYTES, 0);
    for (row, (cell, &ticks)) in lane.text.as_chunks_mut::<TIMESTAMP_BYTES>().0.iter_mut().zip(ticks).enumerate() {
        let start = row * TIMESTAMP_BYTES;
        if nulls.is_null(row) {
            cell[..4].copy_from_slice(b"null");
            lane.starts.push(start);
            lane.lengths.push(if nulls.json { 4 } else { 0 });
            continue;
        }
        let seconds = (ticks.div_euclid(per_second) + origin) as u64;
        let nanoseconds = ticks.rem_euclid(per_second) as u64 * to_nanoseconds;
        let day = seconds / SECONDS_PER_DAY as u64;
        let (date, day_of_month) = date_text(day as i64 + FOUR_DIGIT_YEARS.start);
        let clock = clock_text((seconds - day * SECONDS_PER_DAY as u64) as u32);
        let length = 1 + write_timestamp(cell, date, day_of_month, clock, nanoseconds);
        if own_quotes {
            cell[0] = b'"';
            cell[length % TIMESTAMP_BYTES] = b'"';
            lane.starts.push(start);
            lane.lengths.push(length as u32 + 1);
        } else {
            lane.starts.push(start + 1);
            lane.lengths.push(length as u32 - 1);
        }
    }
    true
}

/// Writes a timestamp from the cell's second byte on, and returns its length.
#[inline(always)]
fn write_timestamp(cell: &mut [u8; TIMESTAMP_BYTES], date: u64, day_of_month: u64, clock: u64, nanoseconds: u64) -> usize {
    let mut put = |at: usize, word: u64| cell[at..at + 8].copy_from_slice(&word.to_le_bytes());
    put(1, date);
    put(9, day_of_month | u64::from(b'T') << 16);
    put(12, clock);
    // The ninth digit first, then the other eight before it.
    let (eight, last) = (digits(nanoseconds / 10), nanoseconds % 10);
    let places = if last > 0 { 9 } else { 8 - trailing_zeros(eight) as usize };
    put(20, u64::from(b'.') | (eight | ZEROS) << 8);
    put(28, (eight | ZEROS) >> 56 | (last + u64::from(b'0')) << 8);
    let end = 20 + if places > 0 { places + 1 } else { 0 };
    cell[end] = b'Z';
    end
}

fn fill_strings(lane: &mut ColumnCells, nulls: &Nulls<'_>, bytes: Bytes<'_>, rows: Range<usize>, separators: Separators) -> bool {
    match bytes {
        Bytes::Small(array) => {
            fill_spans(lane, nulls, array.value_data(), &array.value_offsets()[rows.start..=rows.end], separators, |at| at as usize)
        }
        Bytes::Large(array) => {
            fill_spans(lane, nulls, array.value_data(), &array.value_offsets()[rows.start..=rows.end], separators, |at| at as usize)
        }
        Bytes::View(_) => false,
    }
}

/// Strings that lie in one buffer, each from its offset to the next one's. Offsets were found to be within the buffer when the record was
/// decoded, so none is negative.
#[inline(never)]
fn fill_spans<O: Copy>(
    lane: &mut ColumnCells,
    nulls: &Nulls<'_>,
    data: &[u8],
    offsets: &[O],
    separators: Separators,
    to_usize: impl Fn(O) -> usize,
) -> bool {
    let count = offsets.len() - 1;
    let region = &data[to_usize(offsets[0])..to_usize(offsets[count])];
    let borrow = match separators {
        Separators::Json => !nulls.any() && is_plain_json(region),
        Separators::Csv { .. } => needs_no_csv_escape(region),
    };
    if !borrow {
        for row in 0..count {
            let start = lane.text.len();
            let value = &data[to_usize(offsets[row])..to_usize(offsets[row + 1])];
            match (separators, nulls.is_null(row)) {
                (Separators::Json, false) => push_json_string(&mut lane.text, value, Html::Raw),
                (Separators::Json, true) => lane.text.extend_from_slice(b"null"),
                (Separators::Csv { delimiter, .. }, false) => push_csv_field(&mut lane.text, value, delimiter),
                (Separators::Csv { .. }, true) => {}
            }
            lane.end_cell(start);
        }
        return true;
    }
    lane.starts.extend(offsets[..count].iter().map(|&start| to_usize(start)));
    lane.lengths
        .extend(offsets[..count].iter().zip(&offsets[1..]).map(|(&start, &end)| to_usize(end).wrapping_sub(to_usize(start)) as u32));
    lane.source = CellSource::Borrowed;
    if nulls.any() {
        // A null may have bytes.
        (0..count).filter(|row| nulls.is_null(*row)).for_each(|row| lane.lengths[row] = 0);
    }
    match separators {
        Separators::Json => lane.quoted = true,
        Separators::Csv { delimiter, .. } => flag_fields(lane, data, region, delimiter),
    }
    true
}

/// Marks the fields that need quotes, of strings that have neither a quote nor a backslash.
fn flag_fields(lane: &mut ColumnCells, data: &[u8], region: &[u8], delimiter: u8) {
    let ColumnCells { starts, lengths, flags, .. } = lane;
    let firsts = flag_leading_space(flags, starts, data);
    if firsts == Firsts::Plain && is_plain_csv(region, delimiter) {
        return;
    }
    let (origin, mut row) = (starts.first().copied().unwrap_or_default(), 0);
    mark_csv_specials(region, delimiter, |at| {
        while row + 1 < starts.len() && starts[row + 1] <= origin + at {
            row += 1;
        }
        flags[row] = 1;
    });
    if firsts == Firsts::BeyondAscii {
        for ((&start, &length), flag) in starts.iter().zip(lengths.iter()).zip(flags.iter_mut()) {
            *flag |= u8::from(begins_with_space(&data[start..start + length as usize]));
        }
    }
    for (length, flag) in lengths.iter_mut().zip(flags) {
        // The bytes of a null are no field, and the first byte after an empty one is another's.
        *flag &= u8::from(*length > 0);
        *length += 2 * u32::from(*flag);
    }
    lane.source = CellSource::Flagged;
}

/// What the first bytes of the fields of a block are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Firsts {
    /// Bytes of ASCII, and no white space.
    Plain,
    /// Some are white space: these are flagged.
    Space,
    /// Some begin a character that might be white space: these want a closer look.
    BeyondAscii,
}

/// Flags what begins with white space of ASCII, be it a field or what follows an empty one.
fn flag_leading_space(flags: &mut Vec<u8>, starts: &[usize], data: &[u8]) -> Firsts {
    flags.clear();
    flags.resize(starts.len(), 0);
    let (mut spaces, mut all) = (0, 0);
    let mut look = |start: usize| {
        let first = data.get(start).copied().unwrap_or_default();
        let space = u8::from(is_ascii_space(first));
        all |= first;
        spaces |= space;
        space
    };
    let (flags, flags_rest) = flags.as_chunks_mut::<8>();
    let (starts, starts_rest) = starts.as_chunks::<8>();
    for (flags, starts) in flags.iter_mut().zip(starts) {
        for (flag, &start) in flags.iter_mut().zip(starts) {
            *flag = look(start);
        }
    }
    for (flag, &start) in flags_rest.iter_mut().zip(starts_rest) {
        *flag = look(start);
    }
    match (all.is_ascii(), spaces) {
        (false, _) => Firsts::BeyondAscii,
        (true, 0) => Firsts::Plain,
        (true, _) => Firsts::Space,
    }
}

/// The general path: each value as text, one after the other.
pub(crate) fn general(
    lane: &mut ColumnCells,
    reader: &ColumnReader<'_>,
    rows: Range<usize>,
    separators: Separators,
    spare: &mut Vec<u8>,
) -> Result<(), ValueError> {
    for row in rows {
        let start = lane.text.len();
        match separators {
            Separators::Json => reader.push(&mut lane.text, row, TextFormat::Json(Html::Raw))?,
            Separators::Csv { style: CsvStyle { null: Some(null), .. }, .. } if reader.is_null(row) => {
                lane.text.extend_from_slice(null.as_bytes());
            }
            Separators::Csv { delimiter, style } if !style.is_plain() && !reader.is_null(row) => {
                spare.clear();
                reader.push(spare, row, TextFormat::Csv)?;
                let quotes = style.quotes(spare) || csv_needs_quotes(spare, delimiter);
                if quotes { push_csv_quoted(&mut lane.text, spare) } else { lane.text.extend_from_slice(spare) }
            }
            Separators::Csv { delimiter, .. } if may_need_quotes(&reader.values, delimiter) => {
                spare.clear();
                reader.push(spare, row, TextFormat::Csv)?;
                push_csv_field(&mut lane.text, spare, delimiter);
            }
            Separators::Csv { .. } => reader.push(&mut lane.text, row, TextFormat::Csv)?,
        }
        lane.end_cell(start);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::plan::ValueKind;
    use super::*;
    use arrow_array::{Array, BinaryArray, BooleanArray, Date32Array, Date64Array, Decimal128Array, Int64Array, UInt64Array};
    use arrow_array::{TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray};
    use proptest::prelude::*;
    use std::rc::Rc;

    const fn csv(delimiter: u8) -> Separators {
        Separators::Csv { delimiter, style: CsvStyle { quotes_all: false, null: None } }
    }

    const SEPARATORS: [Separators; 4] = [Separators::Json, csv(b','), csv(b';'), csv(b'-')];

    /// The cells of a lane with the quotes that belong to them.
    fn cells(lane: &ColumnCells, reader: &ColumnReader<'_>) -> Vec<Vec<u8>> {
        let borrowed = match &reader.values {
            Values::Text(bytes) => bytes.data().unwrap_or_default(),
            _ => &[],
        };
        let quote = |row: usize| -> &[u8] { if lane.has_quotes(row) { b"\"" } else { b"" } };
        (0..lane.lengths.len()).map(|row| [quote(row), lane.cell(row, borrowed), quote(row)].concat()).collect()
    }

    /// Whatever path a block takes, its cells are those of the general path; also when the rows are a slice.
    fn check(kind: &ValueKind, array: &dyn Array) {
        let middle = array.len() / 3;
        for slice in [array.slice(0, array.len()), array.slice(middle, array.len() - middle)] {
            let reader = ColumnReader::new(kind, slice.as_ref()).expect("the kind fits");
            for separators in SEPARATORS {
                let (mut fast, mut slow) = (ColumnCells::default(), ColumnCells::default());
                fill(&mut fast, &reader, 0..slice.len(), separators, &mut Vec::new()).expect("a text");
                general(&mut slow, &reader, 0..slice.len(), separators, &mut Vec::new()).expect("a text");
                assert_eq!(cells(&fast, &reader), cells(&slow, &reader), "{separators:?}");
            }
        }
    }

    /// Magnitudes of every length are alike likely.
    fn wide() -> impl Strategy<Value = i64> {
        (any::<i64>(), 0u32..64).prop_map(|(value, shift)| value >> shift)
    }

    fn nullable<T: std::fmt::Debug + Clone>(value: impl Strategy<Value = T> + Clone) -> impl Strategy<Value = Vec<Option<T>>> {
        let some = proptest::collection::vec(value.clone().prop_map(Some), 1..40);
        let mixed = proptest::collection::vec(proptest::option::of(value), 1..40);
        prop_oneof![some, mixed]
    }

    proptest! {
        #[test]
        fn integers_take_either_path_alike(values in nullable(wide().boxed())) {
            check(&ValueKind::Int, &Int64Array::from(values.clone()));
            let unsigned: Vec<Option<u64>> = values.iter().map(|value| value.map(|value| value as u64)).collect();
            check(&ValueKind::Int, &UInt64Array::from(unsigned));
        }

        #[test]
        fn small_integers_take_either_path_alike(values in nullable((-2_000_000_000_000_000i64..2_000_000_000_000_000, 0u32..50).prop_map(|(value, shift)| value >> shift).boxed())) {
            check(&ValueKind::Int, &Int64Array::from(values));
        }

        #[test]
        fn decimals_take_either_path_alike(values in nullable((wide(), 0u32..8).prop_map(|(value, zeros)| i128::from(value % 10_000_000_000) / 10i128.pow(zeros) * 10i128.pow(zeros)).boxed()), scale in -2i8..7, precision in 1u8..20) {
            let array = Decimal128Array::from(values);
            check(&ValueKind::Decimal(DecimalType { precision, scale }), &array);
        }

        #[test]
        fn dates_take_either_path_alike(values in nullable(prop_oneof![-800_000i32..3_000_000, any::<i32>(), 0i32..20_000].boxed())) {
            check(&ValueKind::Date, &Date32Array::from(values.clone()));
            let milliseconds: Vec<Option<i64>> = values.iter().map(|day| day.map(|day| i64::from(day) * 86_400_000 + 1)).collect();
            check(&ValueKind::Date, &Date64Array::from(milliseconds));
        }

        #[test]
        fn timestamps_take_either_path_alike(values in nullable(prop_oneof![-62_167_219_200i64..253_402_300_800, -62_168_000_000i64..-62_166_000_000, any::<i64>(), 0i64..2_000_000_000].boxed()), fraction in 0i64..1_000_000_000, zeros in 0u32..9) {
            let fraction = fraction / 10i64.pow(zeros) * 10i64.pow(zeros);
            let scaled = |per_second: i64| -> Vec<Option<i64>> {
                let ticks = |seconds: i64| seconds.wrapping_mul(per_second).wrapping_add(fraction / (1_000_000_000 / per_second));
                values.iter().map(|value| value.map(ticks)).collect()
            };
            let kind = |unit| ValueKind::Timestamp(unit, Rc::new(Zone::Utc));
            check(&kind(TimeUnit::Second), &TimestampSecondArray::from(values.clone()));
            check(&kind(TimeUnit::Millisecond), &TimestampMillisecondArray::from(scaled(1_000)));
            check(&kind(TimeUnit::Microsecond), &TimestampMicrosecondArray::from(scaled(1_000_000)));
            check(&kind(TimeUnit::Nanosecond), &TimestampNanosecondArray::from(scaled(1_000_000_000)));
        }

        #[test]
        fn booleans_take_either_path_alike(values in nullable(any::<bool>().boxed())) {
            check(&ValueKind::Bool, &BooleanArray::from(values));
        }

        #[test]
        fn strings_take_either_path_alike(values in nullable(prop_oneof!["[a-z ]{0,40}", "[a-z]{0,12}", "[a-z,]{60,140}", "[a-z,;\"\\\\ \n<\u{a0}\u{2028}]{0,6}"].boxed())) {
            let values: Vec<Option<&[u8]>> = values.iter().map(|value| value.as_deref().map(str::as_bytes)).collect();
            check(&ValueKind::Text, &BinaryArray::from(values));
        }
    }
}

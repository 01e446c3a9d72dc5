//! Column chunks of columns that are not nested: our own, because they are what tables are made of and what an encoder spends its time on.
//!
//! A chunk is a dictionary page, if the column has a dictionary, and data pages. A value is either looked up in the dictionary or written as
//! it is; a dictionary that has grown past [`DICTIONARY_BYTES`] takes no more, and the pages after that are plain. A page ends at
//! [`PAGE_ROWS`] or [`PAGE_BYTES`], is compressed at once, and waits as bytes for the end of its row group. Each page has its bounds, for
//! the page index.
//!
//! Booleans, floats (their order has rules of its own), nulls and nested columns are left to the `parquet` crate.

mod bounds;
mod dictionary;
mod page;

use super::choice;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal32Type, Decimal64Type, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, GenericByteArray, types::ByteArrayType};
use arrow_buffer::{ArrowNativeType, NullBuffer};
use arrow_schema::{DataType, TimeUnit};
use bounds::{Bounds, ByteBounds};
use bytes::Bytes;
use dictionary::{ByteDictionary, NumberDictionary};
pub(super) use page::Press;
use page::{PageKind, write_hybrid, write_validity};
use parquet::basic::{BoundaryOrder, Compression, Encoding, LogicalType, PageType, Type as Physical};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats};
use parquet::schema::types::{ColumnDescPtr, ColumnDescriptor};
use std::cmp::Ordering;
use std::ops::Range;

/// Rows of a page at most, as in other writers: what a reader that looks for a few rows has to decode.
const PAGE_ROWS: usize = 20_000;

/// Bytes of a page before compression at which it ends.
const PAGE_BYTES: usize = 1 << 20;

/// Bytes of a dictionary at which it takes no more values.
const DICTIONARY_BYTES: usize = 1 << 20;

/// Rows taken between two looks at whether the page is full.
const STEP_ROWS: usize = 4_096;

/// Why a column cannot be written; never a value of it.
pub(super) type Why = String;

/// How the values of a column lie in memory and in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Four bytes, the lowest first.
    Int32 { unsigned: bool },
    /// Eight bytes, the lowest first.
    Int64 { unsigned: bool },
    /// Decimals of at most 18 digits: so many bytes, the highest first.
    Decimal { bytes: usize },
    /// Decimals of at most 38 digits.
    WideDecimal { bytes: usize },
    /// Bytes of any number.
    Bytes { utf8: bool },
    /// Bytes, so many.
    Fixed { bytes: usize },
}

impl Form {
    /// The form of a converted column; `None` if it is the crate's to write.
    fn of(ty: &DataType, descr: &ColumnDescriptor) -> Option<Self> {
        let flat = descr.max_rep_level() == 0 && descr.max_def_level() <= 1;
        let bytes = usize::try_from(descr.type_length()).unwrap_or_default();
        match (descr.physical_type(), ty) {
            _ if !flat => None,
            (Physical::INT32, DataType::UInt8 | DataType::UInt16 | DataType::UInt32) => Some(Self::Int32 { unsigned: true }),
            (Physical::INT32, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Date32 | DataType::Time32(_)) => {
                Some(Self::Int32 { unsigned: false })
            }
            (Physical::INT64, DataType::UInt64) => Some(Self::Int64 { unsigned: true }),
            (Physical::INT64, DataType::Int64 | DataType::Time64(_) | DataType::Timestamp(..)) => Some(Self::Int64 { unsigned: false }),
            (Physical::FIXED_LEN_BYTE_ARRAY, DataType::Decimal32(..) | DataType::Decimal64(..)) if bytes <= 8 => Some(Self::Decimal { bytes }),
            (Physical::FIXED_LEN_BYTE_ARRAY, DataType::Decimal128(..)) if bytes <= 8 => Some(Self::Decimal { bytes }),
            (Physical::FIXED_LEN_BYTE_ARRAY, DataType::Decimal128(..)) => Some(Self::WideDecimal { bytes }),
            (Physical::FIXED_LEN_BYTE_ARRAY, DataType::FixedSizeBinary(_)) => Some(Self::Fixed { bytes }),
            (Physical::BYTE_ARRAY, DataType::Binary | DataType::LargeBinary) => {
                Some(Self::Bytes { utf8: descr.logical_type_ref() == Some(&LogicalType::String) })
            }
            _ => None,
        }
    }
}

/// The values of a column chunk that are not in a finished page, and its dictionary.
#[derive(Debug)]
enum Values {
    Int32(Numbers<i32>),
    Int64(Numbers<i64>),
    Int128(Numbers<i128>),
    Bytes(Strings),
}

/// What the footer will say of a finished page.
#[derive(Debug)]
struct Page {
    bytes: Range<usize>,
    rows: usize,
    nulls: usize,
    encoding: Encoding,
    /// Bytes of the values themselves, of columns of type BYTE_ARRAY.
    value_bytes: Option<i64>,
    bounds: Option<Bounds>,
}

/// One column chunk in the making.
#[derive(Debug)]
pub(super) struct FlatColumn {
    descr: ColumnDescPtr,
    form: Form,
    values: Values,
    /// Rows and nulls of the page, and where the nulls are, if there are any.
    rows: usize,
    nulls: usize,
    validity: Vec<bool>,
    pages: Vec<u8>,
    finished: Vec<Page>,
    uncompressed: usize,
}

impl FlatColumn {
    /// Is a column of this type one of these?
    pub(super) fn takes(ty: &DataType, descr: &ColumnDescriptor) -> bool {
        Form::of(ty, descr).is_some()
    }

    /// Begins a chunk. `None` if [`FlatColumn::takes`] is false.
    pub(super) fn new(ty: &DataType, descr: ColumnDescPtr, dictionary: bool) -> Option<Self> {
        let form = Form::of(ty, &descr)?;
        let values = match form {
            Form::Int32 { unsigned } => Values::Int32(Numbers::new(dictionary, if unsigned { i32::MIN } else { 0 })),
            Form::Int64 { unsigned } => Values::Int64(Numbers::new(dictionary, if unsigned { i64::MIN } else { 0 })),
            Form::Decimal { .. } => Values::Int64(Numbers::new(dictionary, 0)),
            Form::WideDecimal { .. } => Values::Int128(Numbers::new(dictionary, 0)),
            Form::Bytes { .. } | Form::Fixed { .. } => Values::Bytes(Strings::new(dictionary)),
        };
        let (pages, finished, validity) = (Vec::new(), Vec::new(), Vec::new());
        Some(Self { descr, form, values, rows: 0, nulls: 0, validity, pages, finished, uncompressed: 0 })
    }

    /// Memory that the chunk takes.
    pub(super) fn held_bytes(&self) -> usize {
        let values = match &self.values {
            Values::Int32(numbers) => numbers.held_bytes(),
            Values::Int64(numbers) => numbers.held_bytes(),
            Values::Int128(numbers) => numbers.held_bytes(),
            Values::Bytes(strings) => strings.held_bytes(),
        };
        self.pages.capacity() + self.finished.len() * size_of::<Page>() + self.validity.capacity() + values
    }

    /// Takes the rows of a converted array, which has no nulls if the column is declared to have none.
    pub(super) fn write(&mut self, array: &ArrayRef, press: &mut Press) -> Result<(), Why> {
        let step = match self.form {
            Form::Bytes { .. } | Form::Fixed { .. } => {
                STEP_ROWS.min(PAGE_BYTES * array.len().max(1) / super::array_bytes(array).max(1)).max(1)
            }
            _ => STEP_ROWS,
        };
        let mut start = 0;
        while start < array.len() {
            let count = (array.len() - start).min(step).min(PAGE_ROWS - self.rows);
            self.append(&array.slice(start, count))?;
            start += count;
            let (bytes, dictionary_is_full) = self.page_bytes();
            if self.rows == PAGE_ROWS || bytes >= PAGE_BYTES || dictionary_is_full {
                self.end_page(press);
            }
        }
        Ok(())
    }

    /// Bytes of the page so far, roughly, and whether the dictionary is to take no more.
    fn page_bytes(&self) -> (usize, bool) {
        match &self.values {
            Values::Int32(numbers) => numbers.page_bytes(),
            Values::Int64(numbers) => numbers.page_bytes(),
            Values::Int128(numbers) => numbers.page_bytes(),
            Values::Bytes(strings) => strings.page_bytes(),
        }
    }

    fn append(&mut self, array: &ArrayRef) -> Result<(), Why> {
        let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
        if let Some(nulls) = nulls {
            // The rows before the first null were not written down.
            self.validity.resize(self.rows, true);
            self.validity.extend(nulls.iter());
            self.nulls += nulls.null_count();
        } else if self.nulls > 0 {
            self.validity.resize(self.rows + array.len(), true);
        }
        self.rows += array.len();
        match &mut self.values {
            Values::Int32(numbers) => match array.data_type() {
                DataType::Int8 => numbers.widen::<Int8Type>(array, nulls, i32::from),
                DataType::Int16 => numbers.widen::<Int16Type>(array, nulls, i32::from),
                DataType::UInt8 => numbers.widen::<UInt8Type>(array, nulls, i32::from),
                DataType::UInt16 => numbers.widen::<UInt16Type>(array, nulls, i32::from),
                DataType::UInt32 => numbers.widen::<UInt32Type>(array, nulls, |value| value as i32),
                DataType::Int32 => numbers.take::<Int32Type>(array, nulls),
                DataType::Date32 => numbers.take::<Date32Type>(array, nulls),
                _ => numbers.take::<Time32MillisecondType>(array, nulls),
            },
            Values::Int64(numbers) => match array.data_type() {
                DataType::UInt64 => numbers.widen::<UInt64Type>(array, nulls, |value| value as i64),
                DataType::Int64 => numbers.take::<Int64Type>(array, nulls),
                DataType::Time64(TimeUnit::Microsecond) => numbers.take::<Time64MicrosecondType>(array, nulls),
                DataType::Time64(_) => numbers.take::<Time64NanosecondType>(array, nulls),
                DataType::Timestamp(TimeUnit::Millisecond, _) => numbers.take::<TimestampMillisecondType>(array, nulls),
                DataType::Timestamp(TimeUnit::Microsecond, _) => numbers.take::<TimestampMicrosecondType>(array, nulls),
                DataType::Timestamp(..) => numbers.take::<TimestampNanosecondType>(array, nulls),
                DataType::Decimal32(..) => numbers.widen::<Decimal32Type>(array, nulls, i64::from),
                DataType::Decimal64(..) => numbers.take::<Decimal64Type>(array, nulls),
                // Conversion has seen to it that each fits its bytes.
                _ => numbers.widen::<Decimal128Type>(array, nulls, |value| value as i64),
            },
            Values::Int128(numbers) => numbers.take::<Decimal128Type>(array, nulls),
            Values::Bytes(strings) => match array.data_type() {
                DataType::Binary => strings.take(array.as_binary::<i32>(), nulls),
                DataType::LargeBinary => strings.take(array.as_binary::<i64>(), nulls),
                _ => {
                    let Some(values) = array.as_fixed_size_binary_opt() else { return Err(unexpected()) };
                    for run in valid_runs(nulls, values.len()) {
                        run.for_each(|row| strings.push(values.value(row)));
                    }
                    Ok(())
                }
            },
        }
    }

    /// Compresses the page, if it has rows, and begins the next.
    fn end_page(&mut self, press: &mut Press) {
        if self.rows == 0 {
            return;
        }
        let body = press.body();
        if self.descr.max_def_level() > 0 {
            write_validity(body, &self.validity, self.rows);
        }
        let (encoding, bounds, value_bytes) = match (&mut self.values, self.form) {
            (Values::Int32(numbers), _) => numbers.end_page(body, |number, body| body.extend_from_slice(&number.to_le_bytes())),
            (Values::Int64(numbers), Form::Decimal { bytes }) => numbers.end_page(body, |number, body| big_endian(number, bytes, body)),
            (Values::Int64(numbers), _) => numbers.end_page(body, |number, body| body.extend_from_slice(&number.to_le_bytes())),
            (Values::Int128(numbers), Form::WideDecimal { bytes }) => {
                numbers.end_page(body, |number, body| body.extend_from_slice(number.to_be_bytes().split_at(16 - bytes.min(16)).1))
            }
            (Values::Int128(numbers), _) => numbers.end_page(body, |number, body| body.extend_from_slice(&number.to_be_bytes())),
            (Values::Bytes(strings), form) => strings.end_page(body, matches!(form, Form::Fixed { .. })),
        };
        let value_bytes = matches!(self.form, Form::Bytes { .. }).then_some(value_bytes);
        let start = self.pages.len();
        self.uncompressed += press.press(PageKind::Data { encoding }, self.rows, &mut self.pages);
        let (rows, nulls) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.nulls));
        self.finished.push(Page { bytes: start..self.pages.len(), rows, nulls, encoding, value_bytes, bounds });
        self.validity.clear();
    }

    /// Ends the chunk: its bytes, and what the footer says of them.
    pub(super) fn finish(mut self, press: &mut Press) -> Result<(Bytes, ColumnCloseResult), ParquetError> {
        self.end_page(press);
        let mut chunk = Vec::new();
        let entries = match (&self.values, self.form) {
            (Values::Int32(numbers), _) => numbers.dictionary_page(press, |number, body| body.extend_from_slice(&number.to_le_bytes())),
            (Values::Int64(numbers), Form::Decimal { bytes }) => {
                numbers.dictionary_page(press, |number, body| big_endian(number, bytes, body))
            }
            (Values::Int64(numbers), _) => numbers.dictionary_page(press, |number, body| body.extend_from_slice(&number.to_le_bytes())),
            (Values::Int128(numbers), Form::WideDecimal { bytes }) => {
                numbers.dictionary_page(press, |number, body| body.extend_from_slice(number.to_be_bytes().split_at(16 - bytes.min(16)).1))
            }
            (Values::Int128(numbers), _) => numbers.dictionary_page(press, |number, body| body.extend_from_slice(&number.to_be_bytes())),
            (Values::Bytes(strings), form) => strings.dictionary_page(press, matches!(form, Form::Fixed { .. })),
        };
        if let Some(entries) = entries {
            self.uncompressed += press.press(PageKind::Dictionary, entries, &mut chunk);
        }
        let dictionary_bytes = chunk.len();
        chunk.append(&mut self.pages);
        let close = self.close(dictionary_bytes, chunk.len())?;
        Ok((chunk.into(), close))
    }

    /// What the footer says of the chunk.
    fn close(&self, dictionary_bytes: usize, chunk_bytes: usize) -> Result<ColumnCloseResult, ParquetError> {
        let rows: usize = self.finished.iter().map(|page| page.rows).sum();
        let nulls: usize = self.finished.iter().map(|page| page.nulls).sum();
        let value_bytes = self.finished.iter().map(|page| page.value_bytes).sum::<Option<i64>>();
        let bounds = self.finished.iter().filter_map(|page| page.bounds.as_ref()).fold(None, |all: Option<Bounds>, one| match all {
            None => Some(one.clone()),
            Some(all) => Some(all.with(one)),
        });
        let mut statistics = Vec::new();
        if dictionary_bytes > 0 {
            statistics.push(PageEncodingStats { page_type: PageType::DICTIONARY_PAGE, encoding: Encoding::PLAIN, count: 1 });
        }
        for encoding in [Encoding::RLE_DICTIONARY, Encoding::PLAIN] {
            let count = self.finished.iter().filter(|page| page.encoding == encoding).count() as i32;
            if count > 0 {
                statistics.push(PageEncodingStats { page_type: PageType::DATA_PAGE, encoding, count });
            }
        }
        let mut encodings: Vec<Encoding> = statistics.iter().map(|stats| stats.encoding).collect();
        encodings.push(Encoding::RLE);
        let metadata = ColumnChunkMetaData::builder(self.descr.clone())
            .set_compression(Compression::SNAPPY)
            .set_encodings(encodings)
            .set_page_encoding_stats(statistics)
            .set_total_compressed_size(chunk_bytes as i64)
            .set_total_uncompressed_size(self.uncompressed as i64)
            .set_num_values(rows as i64)
            .set_data_page_offset(dictionary_bytes as i64)
            .set_dictionary_page_offset((dictionary_bytes > 0).then_some(0))
            .set_statistics(Bounds::statistics(bounds.as_ref(), &self.descr, nulls as u64))
            .set_unencoded_byte_array_data_bytes(value_bytes)
            .build()?;
        let mut offsets = OffsetIndexBuilder::new();
        for page in &self.finished {
            offsets.append_row_count(page.rows as i64);
            offsets.append_offset_and_size((dictionary_bytes + page.bytes.start) as i64, page.bytes.len() as i32);
            offsets.append_unencoded_byte_array_data_bytes(page.value_bytes);
        }
        let mut index = ColumnIndexBuilder::new(self.descr.physical_type());
        for page in &self.finished {
            let (low, high) = page.bounds.as_ref().map_or_else(Default::default, |bounds| bounds.encoded(&self.descr));
            index.append(page.bounds.is_none(), low, high, page.nulls as i64, None);
        }
        index.set_boundary_order(self.boundary_order());
        Ok(ColumnCloseResult {
            bytes_written: chunk_bytes as u64,
            rows_written: rows as u64,
            metadata,
            bloom_filter: None,
            column_index: Some(index.build()?),
            offset_index: Some(offsets.build()),
        })
    }

    /// Do the bounds of the pages rise or fall?
    fn boundary_order(&self) -> BoundaryOrder {
        let bounds: Vec<&Bounds> = self.finished.iter().filter_map(|page| page.bounds.as_ref()).collect();
        let never = |unwanted: Ordering| {
            let wanted = |pair: &[&Bounds]| matches!(pair, [one, next] if !one.compare(next).contains(&unwanted));
            bounds.windows(2).all(wanted)
        };
        if never(Ordering::Greater) {
            BoundaryOrder::ASCENDING
        } else if never(Ordering::Less) {
            BoundaryOrder::DESCENDING
        } else {
            BoundaryOrder::UNORDERED
        }
    }
}

/// Appends the lowest `bytes` (at most eight) of a number, the highest first.
#[inline(always)]
fn big_endian(number: i64, bytes: usize, body: &mut Vec<u8>) {
    body.extend_from_slice(number.to_be_bytes().split_at(8 - bytes.min(8)).1);
}

/// The runs of rows that are not null.
fn valid_runs(nulls: Option<&NullBuffer>, rows: usize) -> impl Iterator<Item = Range<usize>> + '_ {
    let all = nulls.is_none().then_some(0..rows);
    all.into_iter().chain(nulls.into_iter().flat_map(|nulls| nulls.valid_slices().map(|(start, end)| start..end)))
}

fn unexpected() -> Why {
    "the rows do not have the type of their schema".into()
}

/// Numbers of a chunk: those of the page, and the dictionary.
#[derive(Debug)]
struct Numbers<T> {
    dictionary: Option<NumberDictionary<T>>,
    /// Places in the dictionary, while it takes values; else the values themselves.
    places: Vec<u32>,
    plain: Vec<T>,
    /// Is laid over numbers to compare them: the sign bit if they are unsigned.
    flip: T,
}

impl<T: dictionary::Number> Numbers<T> {
    fn new(dictionary: bool, flip: T) -> Self {
        Self { dictionary: dictionary.then(NumberDictionary::default), places: Vec::new(), plain: Vec::new(), flip }
    }

    fn held_bytes(&self) -> usize {
        let dictionary = self.dictionary.as_ref().map_or(0, NumberDictionary::held_bytes);
        self.places.capacity() * size_of::<u32>() + self.plain.capacity() * size_of::<T>() + dictionary
    }

    fn page_bytes(&self) -> (usize, bool) {
        let full = self.dictionary.as_ref().is_some_and(|dictionary| dictionary.is_open() && dictionary.bytes() >= DICTIONARY_BYTES);
        (self.plain.len() * size_of::<T>(), full)
    }

    /// Takes an array of exactly this type.
    fn take<A: ArrowPrimitiveType<Native = T>>(&mut self, array: &ArrayRef, nulls: Option<&NullBuffer>) -> Result<(), Why> {
        let array = array.as_primitive_opt::<A>().ok_or_else(unexpected)?;
        for run in valid_runs(nulls, array.len()) {
            self.extend(array.values().get(run).unwrap_or_default().iter().copied());
        }
        Ok(())
    }

    /// Takes an array of another type.
    fn widen<A: ArrowPrimitiveType>(&mut self, array: &ArrayRef, nulls: Option<&NullBuffer>, to: impl Fn(A::Native) -> T) -> Result<(), Why> {
        let array = array.as_primitive_opt::<A>().ok_or_else(unexpected)?;
        for run in valid_runs(nulls, array.len()) {
            self.extend(array.values().get(run).unwrap_or_default().iter().map(|value| to(*value)));
        }
        Ok(())
    }

    fn extend(&mut self, values: impl ExactSizeIterator<Item = T>) {
        match self.dictionary.as_mut().filter(|dictionary| dictionary.is_open()) {
            Some(dictionary) => self.places.extend(values.map(|value| dictionary.place(value))),
            None => self.plain.extend(values),
        }
    }

    /// Appends the values of the page. Its encoding, its bounds, and nothing of interest.
    fn end_page(&mut self, body: &mut Vec<u8>, put: impl Fn(T, &mut Vec<u8>)) -> (Encoding, Option<Bounds>, i64) {
        let flip = self.flip;
        let bounds = |values: &mut dyn Iterator<Item = T>| {
            let (mut low, mut high) = (T::LARGEST, T::SMALLEST);
            let mut any = false;
            for value in values {
                let value = value.xor(flip);
                (low, high, any) = (low.min(value), high.max(value), true);
            }
            any.then(|| Bounds::Numbers { low: low.xor(flip).wide(), high: high.xor(flip).wide(), flip: flip.wide() })
        };
        match self.dictionary.as_mut().filter(|dictionary| dictionary.is_open()) {
            Some(dictionary) => {
                let used = dictionary::used(&self.places, dictionary.len());
                let bounds = bounds(&mut dictionary.values().iter().zip(&used).filter(|(_, used)| **used).map(|(value, _)| *value));
                write_hybrid(body, &self.places, dictionary.len());
                self.places.clear();
                if dictionary.bytes() >= DICTIONARY_BYTES {
                    dictionary.shut();
                }
                (Encoding::RLE_DICTIONARY, bounds, 0)
            }
            None => {
                let bounds = bounds(&mut self.plain.iter().copied());
                body.reserve(self.plain.len() * size_of::<T>());
                self.plain.iter().for_each(|value| put(*value, body));
                self.plain.clear();
                (Encoding::PLAIN, bounds, 0)
            }
        }
    }

    /// The dictionary's values in the press, and how many there are.
    fn dictionary_page(&self, press: &mut Press, put: impl Fn(T, &mut Vec<u8>)) -> Option<usize> {
        let dictionary = self.dictionary.as_ref()?;
        let body = press.body();
        dictionary.values().iter().for_each(|value| put(*value, body));
        Some(dictionary.len())
    }
}

/// Bytes of a chunk: those of the page, and the dictionary.
#[derive(Debug)]
struct Strings {
    dictionary: Option<ByteDictionary>,
    places: Vec<u32>,
    plain: Vec<u8>,
    /// Where each plain value ends.
    ends: Vec<usize>,
    value_bytes: i64,
}

impl Strings {
    fn new(dictionary: bool) -> Self {
        let dictionary = dictionary.then(ByteDictionary::default);
        Self { dictionary, places: Vec::new(), plain: Vec::new(), ends: Vec::new(), value_bytes: 0 }
    }

    fn held_bytes(&self) -> usize {
        let dictionary = self.dictionary.as_ref().map_or(0, ByteDictionary::held_bytes);
        self.places.capacity() * size_of::<u32>() + self.plain.capacity() + self.ends.capacity() * size_of::<usize>() + dictionary
    }

    fn page_bytes(&self) -> (usize, bool) {
        let full = self.dictionary.as_ref().is_some_and(|dictionary| dictionary.is_open() && dictionary.bytes() >= DICTIONARY_BYTES);
        (self.plain.len() + self.ends.len() * size_of::<u32>(), full)
    }

    fn take<A: ByteArrayType<Native = [u8]>>(&mut self, array: &GenericByteArray<A>, nulls: Option<&NullBuffer>) -> Result<(), Why> {
        let (data, offsets) = (array.value_data(), array.value_offsets());
        for run in valid_runs(nulls, array.len()) {
            let bounds = offsets.get(run.start..=run.end).unwrap_or_default();
            let [first, .., last] = bounds else { continue };
            let (first, last) = (first.as_usize(), last.as_usize());
            self.value_bytes += (last - first) as i64;
            match self.dictionary.as_mut().filter(|dictionary| dictionary.is_open()) {
                Some(dictionary) => self.places.extend(bounds.windows(2).map(|ends| match ends {
                    [start, end] => dictionary.place(data.get(start.as_usize()..end.as_usize()).unwrap_or_default()),
                    _ => 0,
                })),
                None => {
                    let base = self.plain.len();
                    self.plain.extend_from_slice(data.get(first..last).unwrap_or_default());
                    self.ends.extend(bounds.iter().skip(1).map(|end| base + end.as_usize() - first));
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, value: &[u8]) {
        self.value_bytes += value.len() as i64;
        match self.dictionary.as_mut().filter(|dictionary| dictionary.is_open()) {
            Some(dictionary) => self.places.push(dictionary.place(value)),
            None => {
                self.plain.extend_from_slice(value);
                self.ends.push(self.plain.len());
            }
        }
    }

    fn plain_values(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| self.plain.get(std::mem::replace(&mut start, *end)..*end).unwrap_or_default())
    }

    /// Appends the values of the page. Its encoding, its bounds, and the bytes of its values.
    fn end_page(&mut self, body: &mut Vec<u8>, fixed: bool) -> (Encoding, Option<Bounds>, i64) {
        let mut bounds = ByteBounds::default();
        let encoding = match self.dictionary.as_mut().filter(|dictionary| dictionary.is_open()) {
            Some(dictionary) => {
                let used = dictionary::used(&self.places, dictionary.len());
                dictionary.values().zip(&used).filter(|(_, used)| **used).for_each(|(value, _)| bounds.note(value));
                write_hybrid(body, &self.places, dictionary.len());
                if dictionary.bytes() >= DICTIONARY_BYTES {
                    dictionary.shut();
                }
                Encoding::RLE_DICTIONARY
            }
            None => {
                self.plain_values().for_each(|value| bounds.note(value));
                if fixed {
                    body.extend_from_slice(&self.plain);
                } else {
                    page::write_byte_arrays(body, self.plain_values(), self.plain.len(), self.ends.len());
                }
                Encoding::PLAIN
            }
        };
        self.places.clear();
        self.plain.clear();
        self.ends.clear();
        (encoding, bounds.into_bounds(), std::mem::take(&mut self.value_bytes))
    }

    fn dictionary_page(&self, press: &mut Press, fixed: bool) -> Option<usize> {
        let dictionary = self.dictionary.as_ref()?;
        let body = press.body();
        if fixed {
            dictionary.values().for_each(|value| body.extend_from_slice(value));
        } else {
            page::write_byte_arrays(body, dictionary.values(), dictionary.value_bytes(), dictionary.len());
        }
        Some(dictionary.len())
    }
}

/// For the dictionaries' hash tables: the hash that also chooses which columns get one.
fn hash(value: &[u8]) -> u64 {
    choice::hash(value)
}

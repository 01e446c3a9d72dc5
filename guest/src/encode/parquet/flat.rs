//! Column chunks of columns that are not nested: our own, because they are what tables are made of and what an encoder spends its time on.
//!
//! A chunk is a dictionary page, if the column has a dictionary, and data pages. A value is either looked up in the dictionary or written as
//! it is; a dictionary that has grown past [`DICTIONARY_BYTES`] takes no more, and the pages after that are plain. A page ends at
//! [`PAGE_ROWS`] or [`PAGE_BYTES`], is compressed at once, and waits as bytes for the end of its row group. Each page has its bounds, for
//! the page index.
//!
//! Booleans, floats (their order has rules of its own), nulls and nested columns are left to the `parquet` crate.

mod blocks;
mod bloom;
mod bounds;
mod dictionary;
mod page;

use super::size::array_bytes;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal32Type, Decimal64Type, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, GenericByteArray, types::ByteArrayType};
use arrow_buffer::{ArrowNativeType, NullBuffer};
use arrow_schema::{DataType, TimeUnit};
pub(super) use blocks::{Blocks, Chunk};
use bloom::Bloom;
use bounds::{Bounds, ByteBounds, Kept, PageBounds};
use dictionary::{ByteDictionary, Coded, Dictionary, Number, NumberDictionary};
pub(super) use page::PageCompressor;
use page::{PageKind, write_validity};
use parquet::basic::{BoundaryOrder, CompressionCodec, Encoding, LogicalType, PageType, Type as Physical};
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

/// Bytes of a value that gets a page of its own, which is compressed from where the value lies. Copied into a page first, two cells of 165 MiB
/// would be there four times, and the holes that the first leaves would not take the second.
const LARGE_BYTES: usize = PAGE_BYTES;

/// Memory of a page's entries in the page index, beside its bounds: place, size, rows, nulls, and where the bounds are.
const PAGE_INDEX_BYTES: usize = 96;

/// Rows taken between two looks at whether the page is full.
const STEP_ROWS: usize = 4_096;

/// Why a column cannot be written; never a value of it.
pub(super) type Reason = String;

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
    fn from_column(ty: &DataType, descr: &ColumnDescriptor) -> Option<Self> {
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
            (Physical::FIXED_LEN_BYTE_ARRAY, DataType::Decimal32(..) | DataType::Decimal64(..)) if bytes <= 8 => {
                Some(Self::Decimal { bytes })
            }
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
    bounds: PageBounds,
}

/// One column chunk in the making.
#[derive(Debug)]
pub(super) struct FlatColumn {
    descr: ColumnDescPtr,
    form: Form,
    values: Values,
    /// Of the values that no dictionary takes; those of the dictionary are added at the end.
    bloom: Option<Bloom>,
    /// Rows and nulls of the page, and where the nulls are, if there are any.
    rows: usize,
    nulls: usize,
    validity: Vec<bool>,
    pages: Blocks,
    finished: Vec<Page>,
    /// Memory of the bounds of finished pages.
    bounds_bytes: usize,
    uncompressed: usize,
}

impl FlatColumn {
    /// Is a column of this type one of these?
    pub(super) fn takes(ty: &DataType, descr: &ColumnDescriptor) -> bool {
        Form::from_column(ty, descr).is_some()
    }

    /// Begins a chunk, perhaps with a dictionary and a Bloom filter. `None` if [`FlatColumn::takes`] is false.
    pub(super) fn new(ty: &DataType, descr: ColumnDescPtr, dictionary: bool, is_filtered: bool) -> Option<Self> {
        let bloom = is_filtered.then(Bloom::default);
        let form = Form::from_column(ty, &descr)?;
        let values = match form {
            Form::Int32 { unsigned } => Values::Int32(Numbers::new(dictionary, Layout::Little, if unsigned { i32::MIN } else { 0 })),
            Form::Int64 { unsigned } => Values::Int64(Numbers::new(dictionary, Layout::Little, if unsigned { i64::MIN } else { 0 })),
            Form::Decimal { bytes } => Values::Int64(Numbers::new(dictionary, Layout::Big { bytes }, 0)),
            Form::WideDecimal { bytes } => Values::Int128(Numbers::new(dictionary, Layout::Big { bytes }, 0)),
            Form::Bytes { utf8 } => Values::Bytes(Strings::new(dictionary, Kept::Head { text: utf8 })),
            Form::Fixed { .. } => Values::Bytes(Strings::new(dictionary, Kept::Whole)),
        };
        let (pages, finished, validity) = (Blocks::default(), Vec::new(), Vec::new());
        Some(Self { descr, form, values, bloom, rows: 0, nulls: 0, validity, pages, finished, bounds_bytes: 0, uncompressed: 0 })
    }

    /// Memory that the chunk takes.
    pub(super) fn held_bytes(&self) -> usize {
        let values = match &self.values {
            Values::Int32(numbers) => numbers.held_bytes(),
            Values::Int64(numbers) => numbers.held_bytes(),
            Values::Int128(numbers) => numbers.held_bytes(),
            Values::Bytes(strings) => strings.held_bytes(),
        };
        self.pages.held_bytes()
            + self.finished.capacity() * size_of::<Page>()
            + self.bounds_bytes
            + self.validity.capacity()
            + values
            + self.filter_bytes()
    }

    /// The part of that which a Bloom filter takes, whatever the values.
    pub(super) fn filter_bytes(&self) -> usize {
        self.bloom.as_ref().map_or(0, Bloom::held_bytes)
    }

    /// Memory that the footer takes for the pages of the chunk until the file ends.
    pub(super) fn index_bytes(&self) -> usize {
        self.finished.len() * PAGE_INDEX_BYTES + self.bounds_bytes
    }

    /// Takes the rows of a converted array, which has no nulls if the column is declared to have none.
    pub(super) fn write(&mut self, array: &ArrayRef, compressor: &mut PageCompressor) -> Result<(), Reason> {
        let step = match self.form {
            Form::Bytes { .. } | Form::Fixed { .. } => step_rows(array.len(), array_bytes(array)),
            _ => STEP_ROWS,
        };
        let mut start = 0;
        while start < array.len() {
            let mut count = (array.len() - start).min(step).min(PAGE_ROWS - self.rows);
            if let Some((row, value)) = self.first_large(array, start..start + count) {
                if row == start {
                    self.write_large(value, compressor)?;
                    start += 1;
                    continue;
                }
                count = row - start;
            }
            self.append(&array.slice(start, count))?;
            start += count;
            let (bytes, dictionary_is_full) = self.page_bytes();
            if self.rows == PAGE_ROWS || bytes >= PAGE_BYTES || dictionary_is_full {
                self.end_page(compressor)?;
            }
        }
        Ok(())
    }

    /// The first of some rows whose value is large, and the value.
    fn first_large<'a>(&self, array: &'a ArrayRef, mut rows: Range<usize>) -> Option<(usize, &'a [u8])> {
        if !matches!(self.form, Form::Bytes { .. } | Form::Fixed { .. }) {
            return None;
        }
        fn value<A: ByteArrayType<Native = [u8]>>(array: &GenericByteArray<A>, row: usize) -> Option<&[u8]> {
            let ends = array.value_offsets().get(row..row + 2)?;
            let [start, end] = ends else { return None };
            (end.as_usize() - start.as_usize() >= LARGE_BYTES).then(|| array.value(row))
        }
        let value = |row: usize| match array.data_type() {
            DataType::Binary => value(array.as_binary::<i32>(), row),
            DataType::LargeBinary => value(array.as_binary::<i64>(), row),
            _ => array
                .as_fixed_size_binary_opt()
                .filter(|array| array.value_length().as_usize() >= LARGE_BYTES)
                .map(|array| array.value(row)),
        };
        rows.find_map(|row| value(row).filter(|_| array.is_valid(row)).map(|value| (row, value)))
    }

    /// Writes a large value as a page. No dictionary takes values after it.
    fn write_large(&mut self, value: &[u8], compressor: &mut PageCompressor) -> Result<(), Reason> {
        self.end_page(compressor)?;
        let Values::Bytes(strings) = &mut self.values else { return Ok(()) };
        strings.coded.shut();
        if let Some(bloom) = &mut self.bloom {
            bloom.insert(value);
        }
        let body = compressor.body();
        if self.descr.max_def_level() > 0 {
            write_validity(body, &[], 1);
        }
        if !strings.fixed {
            // A message has fewer bytes than 32 bits count.
            body.extend_from_slice(&(value.len() as u32).to_le_bytes());
        }
        strings.bounds.note(value);
        let bounds = strings.bounds.take();
        let start = self.pages.len();
        self.uncompressed += compressor.compress_with(PageKind::Data { encoding: Encoding::PLAIN }, 1, value, &mut self.pages)?;
        self.bounds_bytes += bounds.known().map_or(0, Bounds::held_bytes);
        let value_bytes = matches!(self.form, Form::Bytes { .. }).then_some(value.len() as i64);
        let bytes = start..self.pages.len();
        self.finished.push(Page { bytes, rows: 1, nulls: 0, encoding: Encoding::PLAIN, value_bytes, bounds });
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

    fn append(&mut self, array: &ArrayRef) -> Result<(), Reason> {
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
                // Conversion has checked that each fits its bytes.
                _ => numbers.widen::<Decimal128Type>(array, nulls, |value| value as i64),
            },
            Values::Int128(numbers) => numbers.take::<Decimal128Type>(array, nulls),
            Values::Bytes(strings) => match array.data_type() {
                DataType::Binary => {
                    strings.take(array.as_binary::<i32>(), nulls);
                    Ok(())
                }
                DataType::LargeBinary => {
                    strings.take(array.as_binary::<i64>(), nulls);
                    Ok(())
                }
                _ => {
                    let values = array.as_fixed_size_binary_opt().ok_or_else(unexpected)?;
                    valid_runs(nulls, values.len()).for_each(|run| strings.extend(run.map(|row| values.value(row))));
                    Ok(())
                }
            },
        }
    }

    /// Compresses the page, if it has rows, and begins the next.
    fn end_page(&mut self, compressor: &mut PageCompressor) -> Result<(), Reason> {
        if self.rows == 0 {
            return Ok(());
        }
        if let Some(bloom) = &mut self.bloom {
            match &self.values {
                Values::Int32(numbers) => numbers.show_plain(bloom),
                Values::Int64(numbers) => numbers.show_plain(bloom),
                Values::Int128(numbers) => numbers.show_plain(bloom),
                Values::Bytes(strings) => strings.show_plain(self.form, bloom),
            }
        }
        let body = compressor.body();
        if self.descr.max_def_level() > 0 {
            write_validity(body, &self.validity, self.rows);
        }
        let (encoding, bounds, value_bytes) = match &mut self.values {
            Values::Int32(numbers) => numbers.end_page(body),
            Values::Int64(numbers) => numbers.end_page(body),
            Values::Int128(numbers) => numbers.end_page(body),
            Values::Bytes(strings) => strings.end_page(body),
        };
        let value_bytes = matches!(self.form, Form::Bytes { .. }).then_some(value_bytes);
        let start = self.pages.len();
        self.uncompressed += compressor.compress(PageKind::Data { encoding }, self.rows, &mut self.pages)?;
        let (rows, nulls) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.nulls));
        self.bounds_bytes += bounds.known().map_or(0, Bounds::held_bytes);
        self.finished.push(Page { bytes: start..self.pages.len(), rows, nulls, encoding, value_bytes, bounds });
        self.validity.clear();
        Ok(())
    }

    /// Ends the chunk: its bytes, and what the footer says of them, with or without an index of its pages.
    pub(super) fn finish(mut self, compressor: &mut PageCompressor, page_index: bool) -> Result<(Chunk, ColumnCloseResult), Reason> {
        self.end_page(compressor)?;
        if let Some(bloom) = &mut self.bloom {
            match &self.values {
                Values::Int32(numbers) => numbers.show_dictionary(bloom),
                Values::Int64(numbers) => numbers.show_dictionary(bloom),
                Values::Int128(numbers) => numbers.show_dictionary(bloom),
                Values::Bytes(strings) => strings.show_dictionary(bloom),
            }
        }
        let body = compressor.body();
        let entries = match &self.values {
            Values::Int32(numbers) => numbers.dictionary_page(body),
            Values::Int64(numbers) => numbers.dictionary_page(body),
            Values::Int128(numbers) => numbers.dictionary_page(body),
            Values::Bytes(strings) => strings.dictionary_page(body),
        };
        let mut chunk = Blocks::default();
        if let Some(entries) = entries {
            self.uncompressed += compressor.compress(PageKind::Dictionary, entries, &mut chunk)?;
        }
        let dictionary_bytes = chunk.len();
        chunk.append(std::mem::take(&mut self.pages));
        let bloom_filter = self.bloom.take().map(Bloom::filter);
        let mut close = self.close(compressor.codec(), dictionary_bytes, chunk.len()).map_err(|error| error.to_string())?;
        close.bloom_filter = bloom_filter;
        if !page_index {
            (close.column_index, close.offset_index) = (None, None);
        }
        Ok((chunk.into_chunk(), close))
    }

    /// What the footer says of the chunk.
    fn close(&self, codec: CompressionCodec, dictionary_bytes: usize, chunk_bytes: usize) -> Result<ColumnCloseResult, ParquetError> {
        let rows: usize = self.finished.iter().map(|page| page.rows).sum();
        let nulls: usize = self.finished.iter().map(|page| page.nulls).sum();
        let value_bytes = self.finished.iter().map(|page| page.value_bytes).sum::<Option<i64>>();
        let are_known = self.finished.iter().all(|page| page.bounds != PageBounds::TooLong);
        let known = self.finished.iter().filter_map(|page| page.bounds.known().filter(|_| are_known));
        let bounds = known.fold(None, |all: Option<Bounds>, one| match all {
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
            .set_compression_codec(codec)
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
        let index = are_known.then(|| {
            let mut index = ColumnIndexBuilder::new(self.descr.physical_type());
            for page in &self.finished {
                let (low, high) = page.bounds.known().map_or_else(Default::default, |bounds| bounds.encoded(&self.descr));
                index.append(page.bounds == PageBounds::NoValues, low, high, page.nulls as i64, None);
            }
            index.set_boundary_order(self.boundary_order());
            index.build()
        });
        Ok(ColumnCloseResult {
            bytes_written: chunk_bytes as u64,
            rows_written: rows as u64,
            metadata,
            bloom_filter: None,
            column_index: index.transpose()?,
            offset_index: Some(offsets.build()),
        })
    }

    /// Do the bounds of the pages rise or fall?
    fn boundary_order(&self) -> BoundaryOrder {
        let bounds: Vec<&Bounds> = self.finished.iter().filter_map(|page| page.bounds.known()).collect();
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

/// Rows of so many bytes to take between two looks at whether the page is full: [`STEP_ROWS`], or as many as are about a page.
fn step_rows(rows: usize, bytes: usize) -> usize {
    // In 64 bits: the product does not fit the 32 of the sandbox, where 8,192 rows once came out as steps of one row.
    let fitting = (PAGE_BYTES as u64).saturating_mul(rows as u64) / (bytes as u64).max(1);
    usize::try_from(fitting).unwrap_or(usize::MAX).clamp(1, STEP_ROWS)
}

/// The runs of rows that are not null.
fn valid_runs(nulls: Option<&NullBuffer>, rows: usize) -> impl Iterator<Item = Range<usize>> + '_ {
    let all = nulls.is_none().then_some(0..rows);
    all.into_iter().chain(nulls.into_iter().flat_map(|nulls| nulls.valid_slices().map(|(start, end)| start..end)))
}

fn unexpected() -> Reason {
    "the rows do not have the type of their schema".into()
}

/// How the bytes of a number follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// All of them, the lowest first.
    Little,
    /// The lowest so many, the highest first.
    Big { bytes: usize },
}

/// Numbers of a chunk: those of the page, and the dictionary.
#[derive(Debug)]
struct Numbers<T> {
    coded: Coded<NumberDictionary<T>>,
    /// The values themselves, as they are written, once no dictionary takes them; and the bounds of the page.
    plain: Blocks,
    bounds: Option<(T, T)>,
    layout: Layout,
    /// Is laid over numbers to compare them: the sign bit if they are unsigned.
    flip: T,
}

impl<T: Number> Numbers<T> {
    fn new(dictionary: bool, layout: Layout, flip: T) -> Self {
        Self { coded: Coded::new(dictionary), plain: Blocks::default(), bounds: None, layout, flip }
    }

    fn held_bytes(&self) -> usize {
        self.coded.held_bytes() + self.plain.held_bytes()
    }

    fn page_bytes(&self) -> (usize, bool) {
        (self.plain.len(), self.coded.is_full())
    }

    /// Takes an array of exactly this type.
    fn take<A: ArrowPrimitiveType<Native = T>>(&mut self, array: &ArrayRef, nulls: Option<&NullBuffer>) -> Result<(), Reason> {
        let array = array.as_primitive_opt::<A>().ok_or_else(unexpected)?;
        for run in valid_runs(nulls, array.len()) {
            self.extend(array.values().get(run).unwrap_or_default(), |value| value);
        }
        Ok(())
    }

    /// Takes an array of another type.
    fn widen<A: ArrowPrimitiveType>(
        &mut self,
        array: &ArrayRef,
        nulls: Option<&NullBuffer>,
        to: impl Fn(A::Native) -> T + Copy,
    ) -> Result<(), Reason> {
        let array = array.as_primitive_opt::<A>().ok_or_else(unexpected)?;
        for run in valid_runs(nulls, array.len()) {
            self.extend(array.values().get(run).unwrap_or_default(), to);
        }
        Ok(())
    }

    fn extend<V: Copy>(&mut self, values: &[V], to: impl Fn(V) -> T + Copy) {
        if let Some((dictionary, places)) = self.coded.open() {
            places.extend(values.iter().map(|value| dictionary.place(to(*value))));
            return;
        }
        note(&mut self.bounds, values.iter().map(|value| to(*value)), self.flip);
        let mut values = values;
        while !values.is_empty() {
            let width = width::<T>(self.layout);
            let fitting = ((self.plain.at_hand().saturating_sub(T::SLACK)) / width).clamp(1, values.len());
            let (now, later) = values.split_at(fitting);
            put(self.plain.room(fitting * width + T::SLACK), self.layout, now.iter().map(|value| to(*value)));
            values = later;
        }
    }

    /// Appends the values of the page. Returns its encoding and bounds; the number is of use for byte arrays alone.
    fn end_page(&mut self, body: &mut Vec<u8>) -> (Encoding, PageBounds, i64) {
        let (bounds, flip) = (&mut self.bounds, self.flip);
        let is_coded = self.coded.end_page(body, |dictionary, used| {
            note(bounds, dictionary.values().iter().zip(used).filter(|(_, used)| **used).map(|(value, _)| *value), flip);
        });
        let encoding = encoding_of(is_coded, &mut self.plain, body);
        let flip = self.flip.wide();
        let known = |(low, high): (T, T)| PageBounds::Known(Bounds::Numbers { low: low.wide(), high: high.wide(), flip });
        (encoding, self.bounds.take().map_or(PageBounds::NoValues, known), 0)
    }

    /// Shows a filter the values of the page that are written as they are: blocks have whole ones.
    fn show_plain(&self, bloom: &mut Bloom) {
        self.plain.iter().flat_map(|block| block.chunks_exact(width::<T>(self.layout))).for_each(|value| bloom.insert(value));
    }

    /// The same with those of the dictionary.
    fn show_dictionary(&self, bloom: &mut Bloom) {
        let mut values = Vec::new();
        self.dictionary_page(&mut values);
        values.chunks_exact(width::<T>(self.layout)).for_each(|value| bloom.insert(value));
    }

    /// Appends the dictionary's values, and returns how many there are.
    fn dictionary_page(&self, body: &mut Vec<u8>) -> Option<usize> {
        let dictionary = self.coded.dictionary()?;
        body.reserve(dictionary.len() * width::<T>(self.layout) + T::SLACK);
        put(body, self.layout, dictionary.values().iter().copied());
        Some(dictionary.len())
    }
}

/// The encoding of a page; its plain values, if that is what they are, go to its body.
fn encoding_of(is_coded: bool, plain: &mut Blocks, body: &mut Vec<u8>) -> Encoding {
    if is_coded {
        return Encoding::RLE_DICTIONARY;
    }
    plain.drain_into(body);
    Encoding::PLAIN
}

/// Widens bounds by values.
#[inline(always)]
fn note<T: Number>(bounds: &mut Option<(T, T)>, mut values: impl Iterator<Item = T>, flip: T) {
    let Some(first) = values.next() else { return };
    let (low, high) = bounds.unwrap_or((first, first));
    let (mut low, mut high) = (low.xor(flip).min(first.xor(flip)), high.xor(flip).max(first.xor(flip)));
    for value in values {
        let value = value.xor(flip);
        (low, high) = (low.min(value), high.max(value));
    }
    *bounds = Some((low.xor(flip), high.xor(flip)));
}

/// Bytes of a number in the file.
fn width<T>(layout: Layout) -> usize {
    match layout {
        Layout::Little => size_of::<T>(),
        Layout::Big { bytes } => bytes.clamp(1, size_of::<T>()),
    }
}

/// Appends numbers to a buffer with room for them and [`Number::SLACK`].
fn put<T: Number>(out: &mut Vec<u8>, layout: Layout, values: impl ExactSizeIterator<Item = T>) {
    let (start, width) = (out.len(), width::<T>(layout));
    let end = start + values.len() * width;
    out.resize(end + T::SLACK, 0);
    let mut at = start;
    match layout {
        Layout::Little => values.for_each(|value| {
            value.store(out, at);
            at += width;
        }),
        // Each store is as wide as the number; what it writes too much is written over by the next.
        Layout::Big { .. } => values.for_each(|value| {
            value.highest_first(width).store(out, at);
            at += width;
        }),
    }
    out.truncate(end);
}

/// Bytes of a chunk: those of the page, and the dictionary.
#[derive(Debug)]
struct Strings {
    coded: Coded<ByteDictionary>,
    /// The values themselves, as they are written, once no dictionary takes them.
    plain: Blocks,
    bounds: ByteBounds,
    value_bytes: i64,
    /// Are they all of one length, which is then not written?
    fixed: bool,
}

impl Strings {
    fn new(dictionary: bool, kept: Kept) -> Self {
        let (plain, bounds, fixed) = (Blocks::default(), ByteBounds::new(kept), kept == Kept::Whole);
        Self { coded: Coded::new(dictionary), plain, bounds, value_bytes: 0, fixed }
    }

    fn held_bytes(&self) -> usize {
        self.coded.held_bytes() + self.plain.held_bytes()
    }

    fn page_bytes(&self) -> (usize, bool) {
        (self.plain.len(), self.coded.is_full())
    }

    fn take<A: ByteArrayType<Native = [u8]>>(&mut self, array: &GenericByteArray<A>, nulls: Option<&NullBuffer>) {
        let (data, offsets) = (array.value_data(), array.value_offsets());
        let value = |ends: &[A::Offset]| match ends {
            [start, end] => data.get(start.as_usize()..end.as_usize()).unwrap_or_default(),
            _ => &[],
        };
        for run in valid_runs(nulls, array.len()) {
            self.extend(offsets.get(run.start..=run.end).unwrap_or_default().windows(2).map(value));
        }
    }

    fn extend<'a>(&mut self, values: impl ExactSizeIterator<Item = &'a [u8]>) {
        if let Some((dictionary, places)) = self.coded.open() {
            let bytes = &mut self.value_bytes;
            places.extend(values.map(|value| {
                *bytes += value.len() as i64;
                dictionary.place(value)
            }));
            return;
        }
        let before = if self.fixed { 0 } else { page::LENGTH_BYTES };
        for value in values {
            self.bounds.note(value);
            self.value_bytes += value.len() as i64;
            let bytes = before + value.len();
            let block = self.plain.room(bytes);
            let at = block.len();
            block.resize(at + bytes, 0);
            page::write_byte_array(block, at, value, before);
        }
    }

    /// Appends the values of the page. Its encoding, its bounds, and the bytes of its values.
    fn end_page(&mut self, body: &mut Vec<u8>) -> (Encoding, PageBounds, i64) {
        let bounds = &mut self.bounds;
        let is_coded = self.coded.end_page(body, |dictionary, used| {
            dictionary.values().zip(used).filter(|(_, used)| **used).for_each(|(value, _)| bounds.note(value));
        });
        let encoding = encoding_of(is_coded, &mut self.plain, body);
        (encoding, self.bounds.take(), std::mem::take(&mut self.value_bytes))
    }

    /// Shows a filter the values of the page that are written as they are: blocks have whole ones. `form` says how long those are that have no
    /// length before them.
    fn show_plain(&self, form: Form, bloom: &mut Bloom) {
        for mut block in self.plain.iter() {
            while !block.is_empty() {
                let (length, rest) = match (form, block.split_first_chunk()) {
                    (Form::Fixed { bytes }, _) => (bytes, block),
                    (_, Some((length, rest))) => (u32::from_le_bytes(*length) as usize, rest),
                    (_, None) => break,
                };
                let (value, later) = rest.split_at(length.min(rest.len()));
                bloom.insert(value);
                block = later;
            }
        }
    }

    /// The same with those of the dictionary.
    fn show_dictionary(&self, bloom: &mut Bloom) {
        self.coded.dictionary().into_iter().flat_map(ByteDictionary::values).for_each(|value| bloom.insert(value));
    }

    /// Appends the dictionary's values, and returns how many there are.
    fn dictionary_page(&self, body: &mut Vec<u8>) -> Option<usize> {
        let dictionary = self.coded.dictionary()?;
        let before = if self.fixed { 0 } else { page::LENGTH_BYTES };
        let mut at = body.len();
        body.resize(at + dictionary.value_bytes() + before * dictionary.len(), 0);
        for value in dictionary.values() {
            page::write_byte_array(body, at, value, before);
            at += before + value.len();
        }
        Some(dictionary.len())
    }
}

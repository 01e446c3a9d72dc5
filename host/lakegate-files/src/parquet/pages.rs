//! Checks the claims in the page headers of a row group before memory is allocated, and derives from them how many rows a batch may have.
//!
//! Reading a row group needs, for each column, its dictionary and one page, decompressed, and the values of a batch. A few kilobytes may claim
//! gigabytes of each, and the footer may contradict the pages, so the pages themselves are inspected.

use super::guard::{Grown, Guarded};
use super::lengths::lengths;
use super::thrift::PageHeader;
use flate2::read::MultiGzDecoder;
use lakegate_base::MAX_MESSAGE_BYTES;
use parquet::arrow::arrow_reader::RowGroups;
use parquet::basic::{Compression, Type};
use parquet::column::page::{Page, PageIterator, PageReader};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Maximum rows of a batch.
const BATCH_ROWS: u64 = 8_192;
/// Target size of a batch, by the uncompressed size of its row group: batches of wide rows have fewer rows.
const BATCH_BYTES: u64 = 8 << 20;
/// Maximum size of a batch in memory, assuming that each row has the longest value that types and dictionaries allow, or everything in the pages that
/// its rows may come from (a single row may be larger).
const DECODED_BYTES: u64 = 64 << 20;

/// Maximum bytes of pages in memory at once: the dictionary and the largest page of each column. Or [`MOST_GROWTH`] times their compressed size, if
/// that is more: a wide table may have large pages, a small file may not.
const MAX_PAGES_BYTES: u64 = 512 << 20;
/// See [`MAX_PAGES_BYTES`].
const MOST_GROWTH: u64 = 8;

/// List values that a column chunk may have on top of eight per byte of its pages: each takes a dozen bytes while it is read, and runs of nulls take
/// almost nothing in a file.
const MAX_WEIGHTLESS_VALUES: u64 = 1 << 25;

/// Compressed bytes of a gzip page above which its decompressed size is verified, since gzip can expand a thousandfold.
const MAX_UNSEEN_GZIP_BYTES: u64 = 256 << 10;

/// Bytes of the widest number.
const WIDEST_NUMBER_BYTES: u64 = 12;

/// Bytes read for a page header; quadrupled while the header is incomplete, up to [`MAX_HEADER_BYTES`].
const HEADER_BYTES: usize = 1 << 10;
/// See [`HEADER_BYTES`]: a header contains the minimum and maximum value of its page, which some writers do not truncate.
const MAX_HEADER_BYTES: usize = 16 << 20;

/// A row group that is refused.
pub(super) enum Refused {
    /// It is corrupt.
    Corrupt(String),
    /// It would need too much memory.
    TooMuch(String),
}

impl From<ParquetError> for Refused {
    fn from(error: ParquetError) -> Self {
        Self::Corrupt(super::error::one_line(&error))
    }
}

/// One row group, for the reader of its columns.
pub(super) struct Group {
    input: Arc<File>,
    metadata: Arc<ParquetMetaData>,
    at: usize,
    /// Rows per batch.
    pub(super) batch_rows: usize,
    /// By how much pages have expanded since the batch was started.
    grown: Grown,
}

impl Group {
    /// Inspects the row group with index `at`.
    pub(super) fn look(input: Arc<File>, metadata: Arc<ParquetMetaData>, at: usize, grown: Grown) -> Result<Self, Refused> {
        let mut group = Self { input, metadata, at, batch_rows: 1, grown };
        group.batch_rows = group.judge()?;
        Ok(group)
    }

    /// Inspects only one column of a row group, which is the only one to be read.
    pub(super) fn look_at_column(input: Arc<File>, metadata: Arc<ParquetMetaData>, at: usize, column: usize) -> Result<Self, Refused> {
        let group = Self { input, metadata, at, batch_rows: 1, grown: Grown::default() };
        let chunk = group.chunk(group.group().column(column))?;
        check_memory(&[chunk])?;
        Ok(group)
    }

    fn chunk(&self, column: &ColumnChunkMetaData) -> Result<Chunk, Refused> {
        let file_bytes = self.input.metadata().map_err(ParquetError::from)?.len();
        Chunk::new(&self.input, file_bytes, column, number(self.group().num_rows()).max(1))
    }

    fn group(&self) -> &RowGroupMetaData {
        self.metadata.row_group(self.at)
    }

    /// The pages of a column, each checked as it is decompressed.
    pub(super) fn pages(&self, column: usize) -> ParquetResult<Guarded> {
        let chunk = self.group().column(column);
        let rows = usize::try_from(self.group().num_rows()).unwrap_or(usize::MAX);
        let pages = SerializedPageReader::new(self.input.clone(), chunk, rows, None)?;
        Ok(Guarded::new(pages, chunk, self.grown.clone()))
    }

    /// Refuses a row group that needs too much memory; otherwise returns the rows per batch.
    fn judge(&self) -> Result<usize, Refused> {
        let group = self.group();
        let rows = number(group.num_rows()).max(1);
        let chunks = group.columns().iter().map(|column| self.chunk(column)).collect::<Result<Vec<_>, _>>()?;
        check_memory(&chunks)?;
        let values = chunks.iter().map(Chunk::page_bytes).fold(0, u64::saturating_add);
        // At least one row is as large as the average row.
        let most = MAX_MESSAGE_BYTES as u64;
        if values / rows > most + most / 8 {
            let average = values / rows;
            return Err(Refused::TooMuch(format!("its {rows} rows have {average} bytes on average; at most {most} are accepted in a row")));
        }
        let mut longest_row = 0_u64;
        for (at, column) in group.columns().iter().enumerate() {
            let longest = match column.column_type() {
                Type::BYTE_ARRAY => self.longest_of_dictionary(at)?,
                Type::FIXED_LEN_BYTE_ARRAY => number(column.column_descr().type_length().into()),
                Type::BOOLEAN | Type::INT32 | Type::INT64 | Type::INT96 | Type::FLOAT | Type::DOUBLE => WIDEST_NUMBER_BYTES,
            };
            // In a list, a row has several values.
            longest_row = longest_row.saturating_add(longest.saturating_mul(number(column.num_values()).div_ceil(rows)));
        }
        let mut batch_rows = BATCH_ROWS.min(BATCH_BYTES / (values / rows).max(1)).min(DECODED_BYTES / longest_row.max(1)).max(1);
        // Rows differ in size: this many rows may come from pages with few large ones.
        let page_bytes = |rows: u64| chunks.iter().map(|chunk| chunk.most_bytes_of(rows)).fold(0, u64::saturating_add);
        let most = DECODED_BYTES.max(page_bytes(1).saturating_mul(2));
        while batch_rows > 1 && page_bytes(batch_rows) > most {
            batch_rows /= 2;
        }
        Ok(usize::try_from(batch_rows).unwrap_or(1))
    }

    /// Length of the longest value in a column's dictionary; 0 without one.
    fn longest_of_dictionary(&self, column: usize) -> ParquetResult<u64> {
        let mut pages = self.pages(column)?;
        if !pages.peek_next_page()?.is_some_and(|page| page.is_dict) {
            return Ok(0);
        }
        let Some(Page::DictionaryPage { buf, .. }) = pages.get_next_page()? else { return Ok(0) };
        Ok(lengths(&buf).max().unwrap_or_default().into())
    }
}

/// Refuses columns whose dictionaries and largest pages need too much memory.
fn check_memory(chunks: &[Chunk]) -> Result<(), Refused> {
    let unpacked = chunks.iter().map(Chunk::held_bytes).fold(0, u64::saturating_add);
    let packed = chunks.iter().map(|chunk| chunk.packed).fold(0, u64::saturating_add);
    let most = MAX_PAGES_BYTES.max(packed.saturating_mul(MOST_GROWTH));
    if unpacked <= most {
        return Ok(());
    }
    let column = chunks.iter().max_by_key(|chunk| chunk.held_bytes()).map_or("", |chunk| &chunk.path);
    Err(Refused::TooMuch(format!(
        "a page of each column and the dictionaries take {unpacked} bytes together, most of them in column `{column}`; at most {most} are \
         accepted; write it with smaller pages"
    )))
}

fn number(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// The claims in the page headers of a column chunk.
struct Chunk {
    path: String,
    dictionary_bytes: u64,
    largest_page: u64,
    /// Bytes of the dictionary and of the largest page in the file.
    packed: u64,
    /// For each page: the approximate number of rows, and the number of bytes.
    pages: Vec<(u64, u64)>,
}

impl Chunk {
    fn new(input: &File, file_bytes: u64, column: &ColumnChunkMetaData, group_rows: u64) -> Result<Self, Refused> {
        let path = column.column_path().string();
        let corrupt = |problem: &str| Refused::Corrupt(format!("column `{path}`: {problem}"));
        let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
        let (start, length) = u64::try_from(start).ok().zip(u64::try_from(column.compressed_size()).ok()).ok_or_else(|| {
            // Negative numbers, which would make the crate panic.
            corrupt("it lies outside of the file")
        })?;
        let end = start.checked_add(length).filter(|end| *end <= file_bytes).ok_or_else(|| corrupt("it lies outside of the file"))?;
        let values = number(column.num_values()).max(1);
        let mut chunk = Self { path: path.clone(), dictionary_bytes: 0, largest_page: 0, packed: 0, pages: Vec::new() };
        let (mut dictionary_packed, mut largest_packed, mut claimed_values, mut at) = (0, 0, 0_u64, start);
        while at < end {
            // Anything may follow the last value.
            let Some(page) = read_header(input, at, end)? else {
                if chunk.pages.is_empty() {
                    return Err(corrupt("the header of a page is broken or cut off"));
                }
                break;
            };
            let body = at.saturating_add(page.header_bytes);
            at = body.saturating_add(page.compressed);
            if at > end {
                return Err(corrupt("a page ends behind its column"));
            }
            if matches!(column.compression(), Compression::GZIP(_)) && page.compressed > MAX_UNSEEN_GZIP_BYTES && page.is_compressed {
                check_gzip(input, body, &page).map_err(|problem| corrupt(&problem))?;
            }
            if page.is_dictionary {
                let least = least_bytes(column);
                if page.values.saturating_mul(least) > page.uncompressed {
                    let (count, bytes) = (page.values, page.uncompressed);
                    return Err(corrupt(&format!("its dictionary claims {count} values, which {bytes} bytes cannot hold")));
                }
                chunk.dictionary_bytes = chunk.dictionary_bytes.max(page.uncompressed);
                dictionary_packed = dictionary_packed.max(page.compressed);
                continue;
            }
            let rows = match page.rows {
                Some(rows) => rows,
                None if column.column_descr().max_rep_level() == 0 => page.values,
                // For lists in version 1 this is not recorded, so the average is used.
                None => u64::try_from(u128::from(page.values) * u128::from(group_rows) / u128::from(values)).unwrap_or(u64::MAX),
            };
            claimed_values = claimed_values.saturating_add(page.values);
            chunk.pages.push((rows.max(1), page.uncompressed));
            chunk.largest_page = chunk.largest_page.max(page.uncompressed);
            largest_packed = largest_packed.max(page.compressed);
        }
        if column.column_descr().max_rep_level() > 0 {
            let (claimed, bytes) = (claimed_values, chunk.page_bytes());
            if claimed > MAX_WEIGHTLESS_VALUES.max(bytes.saturating_mul(8)) {
                return Err(Refused::TooMuch(format!(
                    "column `{path}` claims {claimed} values of lists in {bytes} bytes; at most {MAX_WEIGHTLESS_VALUES} are accepted in so few"
                )));
            }
        }
        chunk.packed = dictionary_packed + largest_packed;
        Ok(chunk)
    }

    /// Bytes in memory at once.
    fn held_bytes(&self) -> u64 {
        self.dictionary_bytes.saturating_add(self.largest_page)
    }

    fn page_bytes(&self) -> u64 {
        self.pages.iter().map(|(_, bytes)| *bytes).fold(0, u64::saturating_add)
    }

    /// Maximum bytes of the pages that this many consecutive rows may come from.
    fn most_bytes_of(&self, rows: u64) -> u64 {
        let (mut most, mut bytes, mut covered, mut end) = (0, 0_u64, 0_u64, 0);
        for (start, (_, page_bytes)) in self.pages.iter().enumerate() {
            // The first row is the last one of this page; `covered` counts the rows of the pages after it.
            if end <= start {
                (bytes, covered, end) = (*page_bytes, 0, start + 1);
            }
            while covered + 1 < rows
                && let Some((next_rows, next_bytes)) = self.pages.get(end)
            {
                (bytes, covered, end) = (bytes.saturating_add(*next_bytes), covered.saturating_add(*next_rows), end + 1);
            }
            most = most.max(bytes);
            // The next page becomes the first; without one, the window starts over.
            bytes = bytes.saturating_sub(*page_bytes);
            covered = covered.saturating_sub(self.pages.get(start + 1).map_or(0, |(rows, _)| *rows));
        }
        most
    }
}

/// Decompresses a page without keeping it: the crate would decompress everything before comparing it with the header's claim.
fn check_gzip(input: &File, body: u64, page: &PageHeader) -> Result<(), String> {
    let packed = usize::try_from(page.compressed.saturating_sub(page.level_bytes)).map_err(|error| error.to_string())?;
    let mut bytes = vec![0; packed];
    input.read_exact_at(&mut bytes, body + page.level_bytes).map_err(|error| error.to_string())?;
    let claimed = page.uncompressed.saturating_sub(page.level_bytes);
    let mut unpacking = MultiGzDecoder::new(bytes.as_slice()).take(claimed.saturating_add(1));
    let unpacked = std::io::copy(&mut unpacking, &mut std::io::sink()).map_err(|error| error.to_string())?;
    if unpacked > claimed { Err(format!("a page unpacks to more than the {claimed} bytes that it claims")) } else { Ok(()) }
}

/// Minimum bytes of a dictionary value.
fn least_bytes(column: &ColumnChunkMetaData) -> u64 {
    match column.column_type() {
        Type::BOOLEAN => 0,
        Type::INT32 | Type::FLOAT | Type::BYTE_ARRAY => 4,
        Type::INT64 | Type::DOUBLE => 8,
        Type::INT96 => 12,
        Type::FIXED_LEN_BYTE_ARRAY => number(column.column_descr().type_length().into()),
    }
}

/// The page header at an offset; [`None`] if there is none that ends before `end`.
fn read_header(input: &File, at: u64, end: u64) -> Result<Option<PageHeader>, Refused> {
    let rest = usize::try_from(end - at).unwrap_or(usize::MAX).min(MAX_HEADER_BYTES);
    let mut bytes = rest.min(HEADER_BYTES);
    loop {
        let mut buffer = vec![0; bytes];
        input.read_exact_at(&mut buffer, at).map_err(ParquetError::from)?;
        match PageHeader::parse(&buffer) {
            Some(page) => return Ok(Some(page)),
            None if bytes == rest => return Ok(None),
            None => bytes = rest.min(bytes * 4),
        }
    }
}

impl RowGroups for Group {
    fn num_rows(&self) -> usize {
        usize::try_from(self.group().num_rows()).unwrap_or_default()
    }

    fn column_chunks(&self, column: usize) -> ParquetResult<Box<dyn PageIterator>> {
        Ok(Box::new(Once(Some(self.pages(column)?))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.group()))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

/// The pages of the one row group.
struct Once(Option<Guarded>);

impl Iterator for Once {
    type Item = ParquetResult<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        let pages = self.0.take()?;
        Some(Ok(Box::new(pages)))
    }
}

impl PageIterator for Once {}

//! The column chunks that the crate writes: of nested columns, booleans and floats.
//!
//! The crate compresses with snappy or not at all; its other codecs are C, or have no levels. Where one of ours is asked for, its pages are made
//! without compression, kept by a [`PageStores`] of ours, and compressed after each write. What the footer says of them then is made anew.

use super::flat::{Blocks, Chunk, PageCompressor};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowLeafColumn, PageKey, PageStore, PageStoreArgs, PageStoreFactory};
use parquet::basic::{CompressionCodec, PageType};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::OffsetIndexBuilder;
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use parquet::file::writer::SerializedRowGroupWriter;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Memory of a column writer beside what it reports.
const WRITER_BYTES: usize = 4 << 10;

/// Writes the chunk of a leaf.
pub(super) struct NestedLeaf {
    writer: ArrowColumnWriter,
    /// Present if its pages are compressed here.
    pages: Option<SharedPages>,
}

impl NestedLeaf {
    pub(super) fn new(writer: ArrowColumnWriter, pages: Option<SharedPages>) -> Self {
        Self { writer, pages }
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.writer.memory_size() + WRITER_BYTES
    }

    pub(super) fn write(&mut self, leaf: &ArrowLeafColumn, compressor: &mut PageCompressor) -> Result<(), ParquetError> {
        self.writer.write(leaf)?;
        match &self.pages {
            Some(pages) => pages.lock().compress(compressor),
            None => Ok(()),
        }
    }

    /// Ends the chunk, with or without an index of its pages, and appends it to the row group.
    pub(super) fn append_to<W: Write + Send>(
        self,
        row_group: &mut SerializedRowGroupWriter<'_, W>,
        compressor: &mut PageCompressor,
        page_index: bool,
    ) -> Result<(), ParquetError> {
        let mut chunk = self.writer.close()?;
        if !page_index {
            (chunk.close_mut().column_index, chunk.close_mut().offset_index) = (None, None);
        }
        let Some(pages) = self.pages else { return chunk.append_to_row_group(row_group) };
        let close = chunk.close().clone();
        let mut pages = std::mem::take(&mut *pages.lock());
        pages.compress(compressor)?;
        let (chunk, close) = pages.chunk(close, compressor.codec())?;
        row_group.append_column(&chunk, close)
    }
}

/// The pages of a chunk, shared with the writer that makes them.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedPages(Arc<Mutex<Pages>>);

impl SharedPages {
    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`SharedPages`].
#[derive(Debug, Default)]
struct Pages {
    /// Headers and bodies in turn, as they were made; between calls of the writer there are none.
    made: Vec<bytes::Bytes>,
    keys: u64,
    /// What has been made of them.
    dictionary: Blocks,
    data: Blocks,
    /// Bytes of each data page, with its header.
    sizes: Vec<usize>,
    /// Bytes of all pages had they not been compressed.
    uncompressed: usize,
}

impl Pages {
    /// Compresses what was made since.
    fn compress(&mut self, compressor: &mut PageCompressor) -> Result<(), ParquetError> {
        for page in std::mem::take(&mut self.made).chunks(2) {
            let [header, body] = page else { return Err(ParquetError::General("a page without a body".to_owned())) };
            let is_dictionary = is_dictionary(header);
            let to = if is_dictionary { &mut self.dictionary } else { &mut self.data };
            let before = to.len();
            self.uncompressed += compressor.recompress(header, body, to).map_err(ParquetError::General)?;
            if !is_dictionary {
                self.sizes.push(to.len() - before);
            }
        }
        Ok(())
    }

    /// The chunk, and what the footer says of it: what the writer said, but for what compression has changed.
    fn chunk(self, close: ColumnCloseResult, codec: CompressionCodec) -> Result<(Chunk, ColumnCloseResult), ParquetError> {
        let Self { dictionary: mut chunk, data, sizes, uncompressed, .. } = self;
        let dictionary_bytes = chunk.len();
        chunk.append(data);
        let metadata = close.metadata.into_builder();
        let metadata = metadata
            .set_compression_codec(codec)
            .set_total_compressed_size(chunk.len() as i64)
            .set_total_uncompressed_size(uncompressed as i64)
            .set_dictionary_page_offset(None)
            .set_data_page_offset(0);
        let offset_index = close.offset_index.map(|index| places(&index, &sizes, close.rows_written)).transpose()?;
        let close = ColumnCloseResult { bytes_written: chunk.len() as u64, metadata: metadata.build()?, offset_index, ..close };
        Ok((chunk.into_chunk(), close.update_dictionary_location(dictionary_bytes)?))
    }
}

/// Is this the header of a dictionary page? Its type is its first field.
fn is_dictionary(header: &[u8]) -> bool {
    // Zigzag of a number that is not negative.
    header.get(1) == Some(&((PageType::DICTIONARY_PAGE as u8) << 1))
}

/// Where data pages of other sizes lie, the first at the start.
fn places(index: &OffsetIndexMetaData, sizes: &[usize], rows: u64) -> Result<OffsetIndexMetaData, ParquetError> {
    let places = index.page_locations();
    if places.len() != sizes.len() {
        return Err(ParquetError::General(format!("{} pages in the index, of {}", places.len(), sizes.len())));
    }
    let mut anew = OffsetIndexBuilder::new();
    let mut offset = 0;
    for (number, (place, size)) in places.iter().zip(sizes).enumerate() {
        let end = places.get(number + 1).map_or(rows as i64, |next| next.first_row_index);
        anew.append_row_count(end - place.first_row_index);
        anew.append_offset_and_size(offset, *size as i32);
        anew.append_unencoded_byte_array_data_bytes(index.unencoded_byte_array_data_bytes().and_then(|bytes| bytes.get(number).copied()));
        offset += *size as i64;
    }
    Ok(anew.build())
}

/// Makes the stores of column writers, and keeps a hold on each until it is asked for.
#[derive(Debug, Default)]
pub(super) struct PageStores(Mutex<Vec<SharedPages>>);

impl PageStores {
    /// The stores made since this was last asked, in the order of their leaves.
    pub(super) fn take(&self) -> Vec<SharedPages> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PageStoreFactory for PageStores {
    fn create(&self, _: &PageStoreArgs<'_>) -> Result<Box<dyn PageStore>, ParquetError> {
        let pages = SharedPages::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(pages.clone());
        Ok(Box::new(pages))
    }
}

impl PageStore for SharedPages {
    fn put(&mut self, value: bytes::Bytes) -> Result<PageKey, ParquetError> {
        let mut pages = self.lock();
        pages.made.push(value);
        pages.keys += 1;
        Ok(PageKey::new(pages.keys))
    }

    fn take(&mut self, _: PageKey) -> Result<bytes::Bytes, ParquetError> {
        Err(ParquetError::General("the pages of a chunk are taken all at once".to_owned()))
    }

    fn memory_size(&self) -> usize {
        let pages = self.lock();
        pages.made.iter().map(bytes::Bytes::len).sum::<usize>() + pages.dictionary.held_bytes() + pages.data.held_bytes()
    }
}

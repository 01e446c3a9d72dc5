//! Arrow IPC streams to record batches, within named bounds.
//!
//! A message is untrusted input. Nothing in it is used before it has been checked against the bytes that are there: frames and buffers by `frame`,
//! types and names by `schema`, offsets inside columns by `arrow-data` or `flat`, and by `expansion` what all of it would take once written
//! out. What fails is an [`IpcError`], never a panic and never an allocation of a size that only the message claims.
//!
//! A source sends thousands of small records with one and the same schema, so schemas are decoded once and found again by their bytes.

mod error;
pub(crate) mod expansion;
mod fingerprint;
mod flat;
mod frame;
mod schema;
#[cfg(test)]
mod tests;

pub use error::IpcError;
pub use schema::TableSchema;

use crate::bytes::same;
use crate::limits::{MAX_CACHED_SCHEMA_BYTES, MAX_DICTIONARIES, MAX_MESSAGE_BYTES, MAX_SCHEMA_BYTES, SCHEMA_CACHE_BYTES};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use arrow_ipc::{Endianness, MessageHeader, MetadataVersion};
use expansion::Budget;
use frame::{Frame, cause, check_batch, check_columns, check_dictionary, message};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// What most numbers of a column, and allocations in wasm, are aligned to: columns of a stream that starts so are used in place. Decimals
/// want twice that; where they do not have it, they alone are copied.
const STREAM_ALIGNMENT: usize = 8;

/// Messages beyond this are not copied to be aligned: one of 200 MiB, held twice, would be most of an instance's memory. Only those of
/// their columns that need it are then copied.
const MAX_ALIGNED_COPY_BYTES: usize = 16 << 20;

/// One decoded record batch.
#[derive(Debug)]
pub struct Rows {
    /// The rows, in the physical schema.
    pub batch: RecordBatch,
    /// The sum of the lengths of its IPC buffers: the size that batching counts.
    pub bytes: u64,
}

/// Decodes messages; remembers the schemas it has seen.
#[derive(Debug, Default)]
pub struct Decoder {
    /// By the bytes of the schema's frame. Ordered, not hashed, so that equal input takes equal time and gives equal order.
    schemas: BTreeMap<Rc<[u8]>, Known>,
    schema_bytes: usize,
    /// The one used last, which is most often the next.
    last: Option<(Rc<[u8]>, Known)>,
}

/// A schema that has been seen, with what else its frame says: small records spend more on the verification of a schema than on their rows.
#[derive(Debug, Clone)]
struct Known {
    schema: Rc<TableSchema>,
    body_length: i64,
    /// What the names in a row take, if all columns are flat.
    flat_row_names: Option<u64>,
}

impl Decoder {
    /// Decodes the schema of a stream; record batches in it are not looked at.
    ///
    /// # Errors
    /// [`IpcError`].
    pub fn schema(&mut self, ipc: &[u8]) -> Result<Rc<TableSchema>, IpcError> {
        check_length(ipc.len())?;
        let frame = first_frame(ipc)?;
        let header = frame.borrow_header(ipc);
        // The copy is aligned, whether or not the original was.
        Ok(self.known(&header, || Buffer::from(header.as_ref()))?.schema)
    }

    /// Decodes a whole stream: its schema, and every record batch in order.
    ///
    /// # Errors
    /// [`IpcError`]; no part of the message may be used then.
    pub fn decode(&mut self, ipc: Vec<u8>) -> Result<(Rc<TableSchema>, Vec<Rows>), IpcError> {
        check_length(ipc.len())?;
        let stream = into_aligned_buffer(ipc);
        let frame = first_frame(&stream)?;
        let header = frame.header(&stream);
        let Known { schema, body_length, flat_row_names } = self.known(&header, || header.clone())?;
        let (_, mut at) = frame.body(stream.len(), body_length)?;
        let mut decoding = Decoding {
            schema: &schema,
            stream_bytes: stream.len(),
            flat_row_names,
            dictionaries: HashMap::new(),
            dictionaries_read: 0,
            budget: Budget::default(),
            batches: Vec::new(),
        };
        while let Some(next) = Frame::at(&stream, at)? {
            at = decoding.frame(next, &stream)?;
        }
        let batches = decoding.batches;
        Ok((schema, batches))
    }

    /// The schema of this frame; `aligned` is the aligned frame, for the first time it is seen.
    fn known(&mut self, header: &[u8], aligned: impl FnOnce() -> Buffer) -> Result<Known, IpcError> {
        if let Some((_, last)) = self.last.as_ref().filter(|(of, _)| same(of, header)) {
            return Ok(last.clone());
        }
        let known = match self.schemas.get_key_value(header) {
            Some((of, known)) => (Rc::clone(of), known.clone()),
            None => self.learn(&aligned())?,
        };
        Ok(self.last.insert(known).1.clone())
    }

    /// Decodes a schema message that has not been seen, and remembers it.
    fn learn(&mut self, header: &Buffer) -> Result<(Rc<[u8]>, Known), IpcError> {
        if header.len() > MAX_SCHEMA_BYTES {
            return Err(IpcError(format!("the schema has more than {MAX_SCHEMA_BYTES} bytes")));
        }
        let message = message(header)?;
        let Some(schema) = message.header_as_schema() else {
            return Err(IpcError("the Arrow IPC stream does not begin with a schema".to_owned()));
        };
        if schema.endianness() != Endianness::Little {
            return Err(IpcError("the Arrow IPC stream is big endian; little endian is possible".to_owned()));
        }
        let logical = arrow_ipc::convert::try_fb_to_schema(schema).map_err(|error| IpcError(format!("the schema: {}", cause(&error))))?;
        let schema = Rc::new(schema::judge(logical)?);
        let flat_row_names = flat::is_flat(&schema.physical).then(|| expansion::names_of_flat_row(&schema.physical));
        let (of, known): (Rc<[u8]>, _) = (Rc::from(header.as_slice()), Known { schema, body_length: message.bodyLength(), flat_row_names });
        if of.len() <= MAX_CACHED_SCHEMA_BYTES {
            if self.schema_bytes + of.len() > SCHEMA_CACHE_BYTES {
                self.schemas.clear();
                self.schema_bytes = 0;
            }
            self.schema_bytes += of.len();
            self.schemas.insert(Rc::clone(&of), known.clone());
        }
        Ok((of, known))
    }
}

/// One message on its way: what its frames have left behind so far.
struct Decoding<'a> {
    schema: &'a TableSchema,
    stream_bytes: usize,
    flat_row_names: Option<u64>,
    dictionaries: HashMap<i64, ArrayRef>,
    dictionaries_read: usize,
    budget: Budget,
    batches: Vec<Rows>,
}

impl Decoding<'_> {
    /// Decodes a frame after the schema's; returns where the next one begins.
    fn frame(&mut self, frame: Frame, stream: &Buffer) -> Result<usize, IpcError> {
        let header = frame.header(stream);
        let message = message(&header)?;
        let (start, end) = frame.body(stream.len(), message.bodyLength())?;
        let body = stream.slice_with_length(start, end - start);
        let version = message.version();
        if !matches!(version, MetadataVersion::V4 | MetadataVersion::V5) {
            return Err(IpcError("the Arrow IPC stream has a metadata version other than 4 and 5".to_owned()));
        }
        match message.header_type() {
            MessageHeader::RecordBatch => {
                let batch = message.header_as_record_batch().ok_or_else(|| IpcError("a record batch without a header".to_owned()))?;
                self.record_batch(batch, &body, version)?;
            }
            MessageHeader::DictionaryBatch => {
                let batch = message.header_as_dictionary_batch().ok_or_else(|| IpcError("a dictionary without a header".to_owned()))?;
                self.dictionary(batch, &body, version)?;
            }
            _ => return Err(IpcError("the Arrow IPC stream has a message that is neither record batch nor dictionary".to_owned())),
        }
        Ok(end)
    }

    fn record_batch(&mut self, batch: arrow_ipc::RecordBatch<'_>, body: &Buffer, version: MetadataVersion) -> Result<(), IpcError> {
        let physical = &self.schema.physical;
        let bytes = check_batch(batch, body.len())?;
        if let Some(batch) = self.flat_batch(batch, body) {
            self.batches.push(Rows { batch, bytes });
            return Ok(());
        }
        check_columns(physical, batch, body)?;
        self.budget.take_names(physical, batch)?;
        let batch = read_record_batch(body, batch, physical.clone(), &self.dictionaries, None, &version)
            .map_err(|error| IpcError(format!("the record batch: {}", cause(&error))))?;
        self.budget.take_values(&batch, self.stream_bytes)?;
        self.batches.push(Rows { batch, bytes });
        Ok(())
    }

    /// The batch, if all its columns are flat and nothing in it is out of the ordinary. No such column names a value twice: only names count.
    fn flat_batch(&mut self, batch: arrow_ipc::RecordBatch<'_>, body: &Buffer) -> Option<RecordBatch> {
        let names = self.flat_row_names?;
        let batch = flat::read(&self.schema.physical, batch, body)?;
        self.budget.take_flat_rows(batch.num_rows(), names).ok()?;
        Some(batch)
    }

    fn dictionary(&mut self, batch: arrow_ipc::DictionaryBatch<'_>, body: &Buffer, version: MetadataVersion) -> Result<(), IpcError> {
        self.dictionaries_read += 1;
        if self.dictionaries_read > MAX_DICTIONARIES {
            return Err(IpcError(format!("the message has more than {MAX_DICTIONARIES} dictionaries")));
        }
        let values = batch.data().ok_or_else(|| IpcError("a dictionary without values".to_owned()))?;
        check_batch(values, body.len())?;
        check_dictionary(&self.schema.physical, batch.id(), values, body)?;
        if batch.isDelta()
            && let Some(existing) = self.dictionaries.get(&batch.id())
        {
            self.budget.take_copy(existing)?;
        }
        read_dictionary(body, batch, &self.schema.physical, &mut self.dictionaries, &version)
            .map_err(|error| IpcError(format!("a dictionary: {}", cause(&error))))
    }
}

fn first_frame(stream: &[u8]) -> Result<Frame, IpcError> {
    Frame::at(stream, 0)?.ok_or_else(|| IpcError("the Arrow IPC stream is empty".to_owned()))
}

fn check_length(length: usize) -> Result<(), IpcError> {
    if length <= MAX_MESSAGE_BYTES { Ok(()) } else { Err(IpcError(format!("the message has more than {MAX_MESSAGE_BYTES} bytes"))) }
}

/// The bytes as an aligned buffer: taken over if they are aligned (or are too many), else copied once, rather than column by column.
fn into_aligned_buffer(bytes: Vec<u8>) -> Buffer {
    let aligned = bytes.as_ptr().align_offset(STREAM_ALIGNMENT) == 0;
    if aligned || bytes.len() > MAX_ALIGNED_COPY_BYTES { Buffer::from_vec(bytes) } else { Buffer::from(bytes.as_slice()) }
}

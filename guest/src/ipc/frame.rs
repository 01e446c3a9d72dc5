//! The frames of an IPC stream, and the numbers in them checked against the bytes that are there.
//!
//! What is checked here is what `arrow-ipc` takes on trust (and would panic on): where a frame, a body or a buffer ends, and how many rows a
//! node claims. Offsets inside a column are validated by `arrow-data` when the column is built.

use super::IpcError;
use crate::limits::{MAX_CAUSE_BYTES, MAX_HEADER_SHARING, MAX_HEADER_TABLES, MAX_WEIGHTLESS_ROWS, MIN_HEADER_APPARENT_BYTES};
use arrow_buffer::Buffer;
use arrow_ipc::{Message, RecordBatch, root_as_message_with_opts};
use arrow_schema::{DataType, Schema};
use flatbuffers::VerifierOptions;
use std::borrow::Cow;

/// Begins every frame since Arrow 0.15.
const CONTINUATION: u32 = u32::MAX;
/// FlatBuffers are read in place, so their eight-byte numbers must be aligned.
const FLATBUFFER_ALIGNMENT: usize = 8;

/// One frame: where its header and its body lie in the stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    header_start: usize,
    header_len: usize,
}

impl Frame {
    /// The frame at `at`; none at the end of the stream.
    pub(super) fn at(stream: &[u8], at: usize) -> Result<Option<Self>, IpcError> {
        if at >= stream.len() {
            return Ok(None);
        }
        let (length, header_start) = match word(stream, at)? {
            CONTINUATION => (word(stream, at + 4)?, at + 8),
            length => (length, at + 4),
        };
        if length == 0 {
            return Ok(None);
        }
        let header_len = usize::try_from(length).unwrap_or(usize::MAX);
        if header_len > stream.len() - header_start {
            return Err(cut_short());
        }
        Ok(Some(Self { header_start, header_len }))
    }

    /// The header's bytes, copied if they are not aligned.
    pub(super) fn header(self, stream: &Buffer) -> Buffer {
        let header = stream.slice_with_length(self.header_start, self.header_len);
        if header.as_ptr().align_offset(FLATBUFFER_ALIGNMENT) == 0 { header } else { Buffer::from(header.as_slice()) }
    }

    /// As [`Frame::header`], of a stream that is only lent.
    pub(super) fn borrow_header(self, stream: &[u8]) -> Cow<'_, [u8]> {
        Cow::Borrowed(&stream[self.header_start..self.header_start + self.header_len])
    }

    /// Where the body begins, if it has `length` bytes within the stream, and where it ends.
    pub(super) fn body(self, stream_len: usize, length: i64) -> Result<(usize, usize), IpcError> {
        let start = self.header_start + self.header_len;
        let end = usize::try_from(length).ok().and_then(|it| start.checked_add(it)).filter(|it| *it <= stream_len);
        end.map(|end| (start, end)).ok_or_else(cut_short)
    }
}

/// Reads a frame's header; every offset in it is verified, and what it would take if nothing in it were shared is bounded: thousands of
/// fields may point at one long name, which then is made thousands of times.
pub(super) fn message(header: &[u8]) -> Result<Message<'_>, IpcError> {
    let options = VerifierOptions {
        max_tables: MAX_HEADER_TABLES,
        max_apparent_size: header.len().saturating_mul(MAX_HEADER_SHARING).saturating_add(MIN_HEADER_APPARENT_BYTES),
        ..VerifierOptions::default()
    };
    root_as_message_with_opts(&options, header).map_err(|error| IpcError(format!("not an Arrow IPC message: {}", cause(&error))))
}

/// Checks a batch's numbers against the length of its body, and returns the sum of its buffers' lengths.
pub(super) fn check_batch(batch: RecordBatch<'_>, body_len: usize) -> Result<u64, IpcError> {
    if batch.compression().is_some() {
        return Err(IpcError("the record batch is compressed; send it without compression".to_owned()));
    }
    let body_len = body_len as u64;
    let most_rows = body_len.saturating_mul(8).max(MAX_WEIGHTLESS_ROWS);
    let is_count = |count: i64| u64::try_from(count).is_ok_and(|it| it <= most_rows);
    let nodes = batch.nodes().into_iter().flatten();
    if !is_count(batch.length()) || nodes.into_iter().any(|it| !is_count(it.length()) || !(0..=it.length()).contains(&it.null_count())) {
        return Err(IpcError(format!("the record batch claims a number of rows that {body_len} bytes cannot hold")));
    }
    let mut bytes = 0_u64;
    for buffer in batch.buffers().into_iter().flatten() {
        let range = u64::try_from(buffer.offset()).ok().zip(u64::try_from(buffer.length()).ok());
        let Some((_, length)) = range.filter(|(offset, length)| offset.checked_add(*length).is_some_and(|end| end <= body_len)) else {
            return Err(IpcError("a buffer of the record batch lies outside of it".to_owned()));
        };
        bytes = bytes.saturating_add(length);
    }
    // Buffers that overlap would let a small message stand for a large one.
    if bytes > body_len { Err(IpcError("the buffers of the record batch overlap".to_owned())) } else { Ok(bytes) }
}

/// Checks columns for what the decoder takes for granted, and would panic on: buffers of offsets, of dictionary keys and of views are whole
/// numbers of them, and what lists of fixed size and list views count does not pass the 32 bits of the sandbox.
pub(super) fn check_columns(schema: &Schema, batch: RecordBatch<'_>, body: &[u8]) -> Result<(), IpcError> {
    let mut parts = Parts::new(batch, body);
    schema.fields().iter().try_for_each(|field| parts.check(field.data_type()).map(drop))
}

/// The same for the values of the dictionary `id`, whose buffers are those of one column.
pub(super) fn check_dictionary(schema: &Schema, id: i64, values: RecordBatch<'_>, body: &[u8]) -> Result<(), IpcError> {
    #[expect(deprecated, reason = "the decoder finds the type of a dictionary's values in this way, and there is no other")]
    let fields = schema.fields_with_dict_id(id);
    // A dictionary of no column is left to the decoder to refuse.
    let Some(DataType::Dictionary(_, of)) = fields.first().map(|it| it.data_type()) else { return Ok(()) };
    Parts::new(values, body).check(of).map(drop)
}

/// What is left of a batch's nodes and buffers, in the order of the format. Too few of them are left to the decoder to refuse.
struct Parts<'a> {
    body: &'a [u8],
    rows: Box<dyn Iterator<Item = u64> + 'a>,
    buffers: Box<dyn Iterator<Item = &'a arrow_ipc::Buffer> + 'a>,
    variadic: Box<dyn Iterator<Item = i64> + 'a>,
}

impl<'a> Parts<'a> {
    fn new(batch: RecordBatch<'a>, body: &'a [u8]) -> Self {
        Self {
            body,
            rows: Box::new(batch.nodes().into_iter().flatten().map(|node| u64::try_from(node.length()).unwrap_or_default())),
            buffers: Box::new(batch.buffers().into_iter().flatten()),
            variadic: Box::new(batch.variadicBufferCounts().into_iter().flatten()),
        }
    }

    /// Takes the parts of a column, and returns its rows.
    fn check(&mut self, data_type: &DataType) -> Result<u64, IpcError> {
        let rows = self.rows.next().unwrap_or_default();
        match data_type {
            DataType::Null => {}
            DataType::Struct(fields) => {
                self.skip(1);
                fields.iter().try_for_each(|field| self.check(field.data_type()).map(drop))?;
            }
            DataType::FixedSizeList(item, size) => {
                self.skip(1);
                let values = self.check(item.data_type())?;
                if rows.saturating_mul(u64::try_from(*size).unwrap_or_default()) > values {
                    return Err(IpcError(format!("the record batch: {rows} lists of {size} values each have only {values} values")));
                }
            }
            DataType::Binary | DataType::Utf8 => self.offsets(4, 1)?,
            DataType::LargeBinary | DataType::LargeUtf8 => self.offsets(8, 1)?,
            DataType::List(item) | DataType::Map(item, _) => {
                self.offsets(4, 0)?;
                self.check(item.data_type())?;
            }
            DataType::LargeList(item) => {
                self.offsets(8, 0)?;
                self.check(item.data_type())?;
            }
            DataType::ListView(item) => self.list_view::<4>(item.data_type(), |bytes| i32::from_le_bytes(bytes).into())?,
            DataType::LargeListView(item) => self.list_view::<8>(item.data_type(), i64::from_le_bytes)?,
            DataType::Dictionary(keys, _) => self.offsets(keys.primitive_width().unwrap_or(1), 0)?,
            DataType::BinaryView | DataType::Utf8View => {
                let texts = self.variadic.next().and_then(|it| usize::try_from(it).ok()).unwrap_or_default();
                self.offsets(VIEW_BYTES, texts)?;
            }
            _ => self.skip(2),
        }
        Ok(rows)
    }

    /// Takes validity, offsets (or keys, or views) of this width, and as many buffers after them.
    fn offsets(&mut self, width: usize, after: usize) -> Result<(), IpcError> {
        self.skip(1);
        self.whole(width)?;
        self.skip(after);
        Ok(())
    }

    fn list_view<const WIDTH: usize>(&mut self, item: &DataType, number: impl Fn([u8; WIDTH]) -> i64) -> Result<(), IpcError> {
        self.skip(1);
        let (offsets, sizes) = (self.whole(WIDTH)?, self.whole(WIDTH)?);
        let values = self.check(item)?;
        let numbers = |bytes: &'a [u8]| bytes.as_chunks::<WIDTH>().0.iter().map(|bytes| u64::try_from(number(*bytes)).ok());
        let ends_inside = |(offset, size): (u64, u64)| offset.saturating_add(size) <= values;
        let is_inside = |(offset, size): (Option<u64>, Option<u64>)| offset.zip(size).is_some_and(ends_inside);
        if numbers(offsets).zip(numbers(sizes)).all(is_inside) {
            Ok(())
        } else {
            Err(IpcError(format!("the record batch: a list view names values beyond the {values} that there are")))
        }
    }

    /// Takes a buffer, which must be a whole number of parts of this width.
    fn whole(&mut self, width: usize) -> Result<&'a [u8], IpcError> {
        let Some(buffer) = self.buffers.next() else { return Ok(&[]) };
        let (start, length) =
            (usize::try_from(buffer.offset()).unwrap_or(usize::MAX), usize::try_from(buffer.length()).unwrap_or_default());
        if !length.is_multiple_of(width) {
            return Err(IpcError(format!("a buffer of offsets, keys or views is no whole number of {width} bytes")));
        }
        // Buffers have been checked against the body; only an empty one may begin nowhere.
        Ok(self.body.get(start..).and_then(|rest| rest.get(..length)).unwrap_or_default())
    }

    fn skip(&mut self, buffers: usize) {
        self.buffers.by_ref().take(buffers).for_each(drop);
    }
}

/// A view: a length, and the bytes themselves or where they are.
const VIEW_BYTES: usize = 16;

/// A library's message, of bounded length.
pub(super) fn cause(error: &dyn std::fmt::Display) -> String {
    let mut text = error.to_string();
    if text.len() > MAX_CAUSE_BYTES {
        let end = (0..=MAX_CAUSE_BYTES).rev().find(|it| text.is_char_boundary(*it)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

fn word(stream: &[u8], at: usize) -> Result<u32, IpcError> {
    let bytes = stream.get(at..).and_then(|rest| rest.first_chunk::<4>()).ok_or_else(cut_short)?;
    Ok(u32::from_le_bytes(*bytes))
}

fn cut_short() -> IpcError {
    IpcError("the Arrow IPC stream is cut short".to_owned())
}

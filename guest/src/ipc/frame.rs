//! The frames of an IPC stream, and the numbers in them held against the bytes that are there.
//!
//! What is checked here is what `arrow-ipc` takes on trust (and would panic on): where a frame, a body or a buffer ends, and how many rows a
//! node claims. Offsets inside a column are validated by `arrow-data` when the column is built.

use super::IpcError;
use crate::limits::{MAX_CAUSE_BYTES, MAX_WEIGHTLESS_ROWS};
use arrow_buffer::Buffer;
use arrow_ipc::{Message, RecordBatch, root_as_message};
use arrow_schema::{DataType, Schema};
use std::borrow::Cow;

/// Begins every frame since Arrow 0.15.
const CONTINUATION: u32 = u32::MAX;
/// FlatBuffers are read in place, so their eight-byte numbers must lie straight.
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

    /// The header's bytes, copied if they do not lie straight.
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

/// Reads a frame's header; every offset in it is verified.
pub(super) fn message(header: &[u8]) -> Result<Message<'_>, IpcError> {
    root_as_message(header).map_err(|error| IpcError(format!("not an Arrow IPC message: {}", cause(&error))))
}

/// Holds a batch's numbers against the length of its body, and answers the sum of its buffers' lengths.
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

/// Buffers of offsets, of dictionary keys and of views must be whole numbers of them: the decoder takes that for granted, and panics.
pub(super) fn check_columns(schema: &Schema, batch: RecordBatch<'_>) -> Result<(), IpcError> {
    let mut lengths = batch.buffers().into_iter().flatten().map(arrow_ipc::Buffer::length);
    let mut variadic = batch.variadicBufferCounts().into_iter().flatten();
    schema.fields().iter().try_for_each(|field| check_column(field.data_type(), &mut lengths, &mut variadic))
}

/// Takes the lengths of a column's buffers, in the order of the format; `width` is that of an offset, a key or a view.
fn check_column(
    data_type: &DataType,
    lengths: &mut dyn Iterator<Item = i64>,
    variadic: &mut dyn Iterator<Item = i64>,
) -> Result<(), IpcError> {
    // Too few buffers are the decoder's to refuse.
    let mut skip = |count| lengths.take(count).for_each(drop);
    let width = match data_type {
        DataType::Null => return Ok(()),
        DataType::Struct(_) | DataType::FixedSizeList(..) => {
            skip(1);
            None
        }
        DataType::Binary | DataType::Utf8 | DataType::List(_) | DataType::Map(..) | DataType::ListView(_) => Some(4),
        DataType::LargeBinary | DataType::LargeUtf8 | DataType::LargeList(_) | DataType::LargeListView(_) => Some(8),
        DataType::Dictionary(keys, _) => Some(keys.primitive_width().unwrap_or(1) as i64),
        DataType::BinaryView | DataType::Utf8View => Some(VIEW_BYTES),
        _ => {
            skip(2);
            return Ok(());
        }
    };
    if let Some(width) = width {
        skip(1);
        whole(lengths.next(), width)?;
    }
    match data_type {
        DataType::Binary | DataType::Utf8 | DataType::LargeBinary | DataType::LargeUtf8 => {
            lengths.next();
        }
        DataType::BinaryView | DataType::Utf8View => {
            let texts = variadic.next().and_then(|it| usize::try_from(it).ok()).unwrap_or_default();
            lengths.take(texts).for_each(drop);
        }
        DataType::ListView(item) | DataType::LargeListView(item) => {
            whole(lengths.next(), width.unwrap_or(1))?;
            check_column(item.data_type(), lengths, variadic)?;
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) | DataType::FixedSizeList(item, _) => {
            check_column(item.data_type(), lengths, variadic)?;
        }
        DataType::Struct(fields) => {
            fields.iter().try_for_each(|field| check_column(field.data_type(), lengths, variadic))?;
        }
        _ => {}
    }
    Ok(())
}

/// The same for the values of the dictionary `id`, whose buffers are those of one column.
pub(super) fn check_dictionary(schema: &Schema, id: i64, values: RecordBatch<'_>) -> Result<(), IpcError> {
    #[expect(deprecated, reason = "the decoder finds the type of a dictionary's values in this way, and there is no other")]
    let fields = schema.fields_with_dict_id(id);
    // A dictionary of no column is the decoder's to refuse.
    let Some(DataType::Dictionary(_, of)) = fields.first().map(|it| it.data_type()) else { return Ok(()) };
    let mut lengths = values.buffers().into_iter().flatten().map(arrow_ipc::Buffer::length);
    check_column(of, &mut lengths, &mut values.variadicBufferCounts().into_iter().flatten())
}

fn whole(length: Option<i64>, width: i64) -> Result<(), IpcError> {
    if length.is_some_and(|length| length % width != 0) {
        return Err(IpcError(format!("a buffer of offsets, keys or views is no whole number of {width} bytes")));
    }
    Ok(())
}

/// A view: a length, and the bytes themselves or where they are.
const VIEW_BYTES: i64 = 16;

/// A library's words, of bounded length.
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

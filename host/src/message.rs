//! The header of an Arrow IPC stream: whose rows, and how many. The rows themselves are the guest's business.
//!
//! Everything is verified before it is believed; a garbled header is the client's error at once, a garbled body ends its table later.

use crate::limits::{MAX_CACHED_SCHEMA_BYTES, MAX_CACHED_SCHEMAS, MAX_MESSAGE_BYTES, MAX_TABLE_NAME_BYTES};
use arrow_ipc::MessageHeader;
use std::collections::HashMap;
use std::sync::Arc;

/// A message that is not a table's schema or rows: garbage in the IPC header, no table name, a bound exceeded. Nothing of it was used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidMessage(pub String);

/// What the router needs to know of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) table: Arc<str>,
    pub(crate) rows: u64,
}

/// Reads headers; remembers the tables of schemas it has seen, because a source sends the same few kilobytes before every fifty rows.
#[derive(Debug, Default)]
pub(crate) struct Inspector {
    tables: HashMap<Box<[u8]>, Arc<str>>,
}

const CONTINUATION: u32 = u32::MAX;

impl Inspector {
    /// Reads a whole stream's headers: the schema's table, and the rows of every record batch.
    pub(crate) fn inspect(&mut self, ipc: &[u8]) -> Result<Header, InvalidMessage> {
        if ipc.len() > MAX_MESSAGE_BYTES {
            return Err(invalid(format!("a message has {} bytes; at most {MAX_MESSAGE_BYTES} are accepted", ipc.len())));
        }
        let mut messages = Messages::new(ipc);
        let schema = messages.next()?.ok_or_else(|| invalid("the stream has no schema"))?;
        let table = self.table(schema)?;
        let mut rows = 0_u64;
        while let Some(metadata) = messages.next()? {
            let message = verified(metadata)?;
            match message.header_type() {
                MessageHeader::RecordBatch => {
                    let batch = message.header_as_record_batch().ok_or_else(|| invalid("a record batch has no header"))?;
                    let length = u64::try_from(batch.length()).map_err(|_| invalid("a record batch has a negative length"))?;
                    rows = rows.checked_add(length).ok_or_else(|| invalid("the record batches have too many rows"))?;
                }
                MessageHeader::DictionaryBatch => {}
                other => return Err(invalid(format!("a message of type {other:?} stands where a record batch was expected"))),
            }
            messages.body(message.bodyLength())?;
        }
        Ok(Header { table, rows })
    }

    fn table(&mut self, metadata: &[u8]) -> Result<Arc<str>, InvalidMessage> {
        if let Some(table) = self.tables.get(metadata) {
            return Ok(table.clone());
        }
        let table = table_name(metadata)?;
        if metadata.len() <= MAX_CACHED_SCHEMA_BYTES {
            if self.tables.len() >= MAX_CACHED_SCHEMAS {
                self.tables.clear();
            }
            self.tables.insert(metadata.into(), table.clone());
        }
        Ok(table)
    }
}

/// Whose schema or rows a stream holds.
pub(crate) fn table_of(ipc: &[u8]) -> Result<String, InvalidMessage> {
    let schema = Messages::new(ipc).next()?.ok_or_else(|| invalid("the stream has no schema"))?;
    table_name(schema).map(|name| name.to_string())
}

fn table_name(metadata: &[u8]) -> Result<Arc<str>, InvalidMessage> {
    let message = verified(metadata)?;
    let schema = message.header_as_schema().ok_or_else(|| invalid("the stream does not begin with a schema"))?;
    if message.bodyLength() != 0 {
        return Err(invalid("a schema has a body"));
    }
    let pairs = schema.custom_metadata().into_iter().flatten();
    let name = pairs.filter(|pair| pair.key() == Some("cq:table_name")).filter_map(|pair| pair.value()).next_back().unwrap_or_default();
    if name.is_empty() {
        return Err(invalid("missing table name"));
    }
    if name.len() > MAX_TABLE_NAME_BYTES {
        return Err(invalid(format!("a table's name has {} bytes; at most {MAX_TABLE_NAME_BYTES} are accepted", name.len())));
    }
    Ok(name.into())
}

/// The message in `metadata`, once its flatbuffer has been verified.
pub(crate) fn verified(metadata: &[u8]) -> Result<arrow_ipc::Message<'_>, InvalidMessage> {
    arrow_ipc::root_as_message(metadata).map_err(|error| invalid(format!("the Arrow IPC header is malformed: {error}")))
}

pub(crate) fn invalid(message: impl Into<String>) -> InvalidMessage {
    InvalidMessage(message.into())
}

/// The encapsulated messages of a stream.
pub(crate) struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    pub(crate) fn new(ipc: &'a [u8]) -> Self {
        Self { rest: ipc }
    }

    /// The next metadata; `None` at the end of the stream (marked or not).
    pub(crate) fn next(&mut self) -> Result<Option<&'a [u8]>, InvalidMessage> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut length = self.word()?;
        if length == CONTINUATION {
            length = self.word()?;
        }
        if length == 0 {
            return Ok(None);
        }
        self.take(length as usize).map(Some)
    }

    /// The body that belongs to the metadata read last.
    pub(crate) fn body(&mut self, length: i64) -> Result<&'a [u8], InvalidMessage> {
        let length = usize::try_from(length).map_err(|_| invalid("a record batch has a negative body length"))?;
        self.take(length)
    }

    fn word(&mut self) -> Result<u32, InvalidMessage> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], InvalidMessage> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| {
            let missing = length - self.rest.len();
            invalid(format!("the Arrow IPC stream is cut off: {missing} bytes are missing"))
        })?;
        self.rest = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Int64Array, RecordBatch};
    use arrow_ipc::writer::StreamWriter;
    use arrow_schema::{DataType, Field, Schema};

    fn stream(table: Option<&str>, batches: &[usize]) -> Vec<u8> {
        let metadata: HashMap<String, String> = table.map(|name| ("cq:table_name".to_owned(), name.to_owned())).into_iter().collect();
        let schema = Arc::new(Schema::new_with_metadata(vec![Field::new("id", DataType::Int64, false)], metadata));
        let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
        for rows in batches {
            let ids = Int64Array::from_iter_values(0..*rows as i64);
            writer.write(&RecordBatch::try_new(schema.clone(), vec![Arc::new(ids)]).unwrap()).unwrap();
        }
        writer.into_inner().unwrap()
    }

    #[track_caller]
    fn check(ipc: &[u8], expected: Result<(&str, u64), &str>) {
        let found = Inspector::default().inspect(ipc);
        match (&found, expected) {
            (Ok(header), Ok((table, rows))) => assert_eq!((&*header.table, header.rows), (table, rows)),
            (Err(error), Err(text)) => assert!(error.0.contains(text), "{error}"),
            _ => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn table_and_rows_are_read_from_the_headers() {
        check(&stream(Some("t"), &[]), Ok(("t", 0)));
        check(&stream(Some("t"), &[3]), Ok(("t", 3)));
        check(&stream(Some("t"), &[3, 0, 4]), Ok(("t", 7)));
        check(&stream(None, &[3]), Err("missing table name"));
        check(&stream(Some(""), &[3]), Err("missing table name"));
        check(&stream(Some(&"n".repeat(MAX_TABLE_NAME_BYTES)), &[]), Ok((&"n".repeat(MAX_TABLE_NAME_BYTES), 0)));
        check(&stream(Some(&"n".repeat(MAX_TABLE_NAME_BYTES + 1)), &[]), Err("at most 4096"));
        check(b"", Err("no schema"));
        check(b"garbage!", Err("cut off"));
    }

    #[test]
    fn no_cut_and_no_flipped_byte_panics() {
        let whole = stream(Some("t"), &[3, 4]);
        for end in 0..whole.len() {
            let _ = Inspector::default().inspect(&whole[..end]);
        }
        for at in 0..whole.len() {
            for flip in [0xff, 0x80, 0x01] {
                let mut copy = whole.clone();
                copy[at] ^= flip;
                let _ = Inspector::default().inspect(&copy);
            }
        }
    }

    #[test]
    fn a_seen_schema_is_not_read_again() {
        let mut inspector = Inspector::default();
        let ipc = stream(Some("t"), &[1]);
        let first = inspector.inspect(&ipc).unwrap();
        assert_eq!(inspector.tables.len(), 1);
        assert!(Arc::ptr_eq(&first.table, &inspector.inspect(&ipc).unwrap().table));
    }
}

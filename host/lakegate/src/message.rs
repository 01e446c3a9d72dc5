//! The header of an Arrow IPC stream: whose rows, and how many. The rows themselves are the guest's business.
//!
//! Everything is verified before it is believed; a garbled header is the client's error at once, a garbled body ends its table later.

use crate::limits::{
    HEADER_BYTES_A_TURN, LEAST_HEADER_VISIT_BYTES, MAX_CACHED_SCHEMA_BYTES, MAX_CACHED_SCHEMAS, MAX_CACHED_SCHEMAS_BYTES, MAX_HEADER_BYTES,
    MAX_HEADER_DEPTH, MAX_HEADER_VISITS, MAX_MESSAGE_BYTES, MAX_STREAM_BATCHES, MAX_TABLE_NAME_BYTES, TABLE_BOOK_BYTES,
};
use crate::policy::resources::MemoryHold;
use arrow_ipc::{Endianness, MessageHeader};
use arrow_schema::{Field, Schema};
use bytes::Bytes;
use flatbuffers::VerifierOptions;
use lakegate_base::caught::caught;
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
    bytes: usize,
    /// What is remembered counts for the tenant; where there is no room, nothing is.
    hold: MemoryHold,
}

const CONTINUATION: u32 = u32::MAX;

impl Inspector {
    /// One that takes its memory from `hold`.
    pub(crate) fn new(hold: MemoryHold) -> Self {
        Self { hold, ..Self::default() }
    }

    /// Reads a whole stream's headers: the schema's table, and the rows of every record batch. Gives others a turn where there is much to
    /// read.
    pub(crate) async fn inspect(&mut self, ipc: &Bytes) -> Result<Header, InvalidMessage> {
        if ipc.len() > MAX_MESSAGE_BYTES {
            return Err(invalid(format!("a message has {} bytes; at most {MAX_MESSAGE_BYTES} are accepted", ipc.len())));
        }
        let mut messages = Messages::new(ipc);
        let schema = messages.next()?.ok_or_else(|| invalid("the stream has no schema"))?;
        let table = self.table(ipc, schema).await?;
        let (mut rows, mut batches, mut read) = (0_u64, 0, schema.len());
        while let Some(metadata) = messages.next()? {
            batches += 1;
            if batches > MAX_STREAM_BATCHES {
                return Err(invalid(format!(
                    "a message has more than {MAX_STREAM_BATCHES} record batches, which is all that are accepted"
                )));
            }
            read += metadata.len();
            if read > HEADER_BYTES_A_TURN {
                read = 0;
                tokio::task::yield_now().await;
            }
            let batch = read_apart(ipc, metadata, batch).await?;
            rows = rows.checked_add(batch.rows).ok_or_else(|| invalid("the record batches have too many rows"))?;
            messages.body(batch.body)?;
        }
        Ok(Header { table, rows })
    }

    async fn table(&mut self, ipc: &Bytes, metadata: &[u8]) -> Result<Arc<str>, InvalidMessage> {
        if let Some(table) = self.tables.get(metadata) {
            return Ok(table.clone());
        }
        let table = read_apart(ipc, metadata, table_name).await?;
        if metadata.len() <= MAX_CACHED_SCHEMA_BYTES {
            self.remember(metadata, &table);
        }
        Ok(table)
    }

    fn remember(&mut self, metadata: &[u8], table: &Arc<str>) {
        if self.tables.len() >= MAX_CACHED_SCHEMAS || self.bytes + metadata.len() > MAX_CACHED_SCHEMAS_BYTES {
            self.tables.clear();
            self.hold.clear();
            self.bytes = 0;
        }
        if self.hold.grow((metadata.len() + table.len()) as u64 + TABLE_BOOK_BYTES) {
            self.bytes += metadata.len();
            self.tables.insert(metadata.into(), table.clone());
        }
    }
}

/// Reads a header of `ipc`; a long one, which takes more than a turn in one piece, where it is in nobody's way.
async fn read_apart<T: Send + 'static>(
    ipc: &Bytes,
    metadata: &[u8],
    read: fn(&[u8]) -> Result<T, InvalidMessage>,
) -> Result<T, InvalidMessage> {
    if metadata.len() <= HEADER_BYTES_A_TURN {
        return read(metadata);
    }
    let metadata = ipc.slice_ref(metadata);
    let reading = crate::cpu::scheduler::spawn_blocking(move || read(&metadata));
    reading.await.unwrap_or_else(|error| Err(invalid(format!("the Arrow IPC header cannot be read: {error}"))))
}

/// What the header of a record batch, or of a dictionary's, says: rows, and bytes that follow it.
#[derive(Debug)]
struct Batch {
    rows: u64,
    body: i64,
}

fn batch(metadata: &[u8]) -> Result<Batch, InvalidMessage> {
    let message = verified(metadata)?;
    let rows = match message.header_type() {
        MessageHeader::RecordBatch => {
            let batch = message.header_as_record_batch().ok_or_else(|| invalid("a record batch has no header"))?;
            u64::try_from(batch.length()).map_err(|_| invalid("a record batch has a negative length"))?
        }
        MessageHeader::DictionaryBatch => 0,
        other => return Err(invalid(format!("a message of type {other:?} stands where a record batch was expected"))),
    };
    Ok(Batch { rows, body: message.bodyLength() })
}

/// Whose schema or rows a stream holds.
///
/// # Errors
/// It is malformed, or names no table.
pub fn table_of(ipc: &[u8]) -> Result<String, InvalidMessage> {
    let schema = Messages::new(ipc).next()?.ok_or_else(|| invalid("the stream has no schema"))?;
    table_name(schema).map(|name| name.to_string())
}

fn table_name(metadata: &[u8]) -> Result<Arc<str>, InvalidMessage> {
    let message = verified(metadata)?;
    let schema = message.header_as_schema().ok_or_else(|| invalid("the stream does not begin with a schema"))?;
    if message.bodyLength() != 0 {
        return Err(invalid("a schema has a body"));
    }
    // Whoever reads the rows would take their numbers as they are.
    if schema.endianness() != Endianness::Little {
        return Err(invalid("the Arrow IPC stream is big endian; little endian is possible"));
    }
    let pairs = schema.custom_metadata().into_iter().flatten();
    let name = pairs.filter(|pair| pair.key() == Some("cq:table_name")).filter_map(|pair| pair.value()).next_back().unwrap_or_default();
    if name.is_empty() {
        return Err(invalid("missing table name"));
    }
    if name.len() > MAX_TABLE_NAME_BYTES {
        return Err(name_too_long(name));
    }
    Ok(name.into())
}

pub(crate) fn name_too_long(name: &str) -> InvalidMessage {
    invalid(format!("a table's name has {} bytes; at most {MAX_TABLE_NAME_BYTES} are accepted", name.len()))
}

/// The message in `metadata`, once its flatbuffer has been verified: in a time that is proportional to its bytes, however often what is in
/// it names the same bytes.
///
/// # Errors
/// It is malformed, or too large.
pub fn verified(metadata: &[u8]) -> Result<arrow_ipc::Message<'_>, InvalidMessage> {
    let bytes = metadata.len();
    if bytes > MAX_HEADER_BYTES {
        return Err(invalid(format!("an Arrow IPC header has {bytes} bytes; at most {MAX_HEADER_BYTES} are accepted")));
    }
    let options = VerifierOptions {
        max_depth: MAX_HEADER_DEPTH,
        // Each takes an offset to it and one of its own.
        max_tables: bytes / 8 + 1,
        max_apparent_size: bytes * MAX_HEADER_VISITS + LEAST_HEADER_VISIT_BYTES,
        ..VerifierOptions::default()
    };
    let read = arrow_ipc::root_as_message_with_opts(&options, metadata);
    read.map_err(|error| invalid(format!("the Arrow IPC header is malformed: {error}")))
}

/// The schema in `metadata`, decoded.
///
/// # Errors
/// It is no schema, malformed, too large, or of types that the decoder does not know.
pub fn schema(metadata: &[u8]) -> Result<Schema, InvalidMessage> {
    let message = verified(metadata)?;
    let schema = message.header_as_schema().ok_or_else(|| invalid("the stream does not begin with a schema"))?;
    if message.bodyLength() != 0 {
        return Err(invalid("a schema has a body"));
    }
    if schema.endianness() != Endianness::Little {
        return Err(invalid("the Arrow IPC stream is big endian; little endian is possible"));
    }
    // Texts may be shared in the header, but are separate copies once it is decoded.
    let bytes = schema.fields().into_iter().flatten().map(field_bytes).fold(pairs_bytes(schema.custom_metadata()), usize::saturating_add);
    if bytes > MAX_HEADER_BYTES {
        return Err(invalid(format!("the names and metadata of a schema have {bytes} bytes; at most {MAX_HEADER_BYTES} are accepted")));
    }
    caught(|| arrow_ipc::convert::try_fb_to_schema(schema))
        .ok_or_else(|| invalid("the schema is corrupt: its decoder failed"))?
        .map_err(|error| invalid(format!("the schema: {}", error.to_string().lines().next().unwrap_or_default())))
}

type Pairs<'a> = flatbuffers::Vector<'a, flatbuffers::ForwardsUOffset<arrow_ipc::KeyValue<'a>>>;

fn pairs_bytes(pairs: Option<Pairs<'_>>) -> usize {
    let text = |text: Option<&str>| text.map_or(0, str::len);
    pairs.into_iter().flatten().map(|pair| text(pair.key()) + text(pair.value())).fold(0, usize::saturating_add)
}

/// Bytes of the texts of a field and its children. The depth is that of the verified header.
fn field_bytes(field: arrow_ipc::Field<'_>) -> usize {
    let own = size_of::<Field>() + field.name().map_or(0, str::len) + pairs_bytes(field.custom_metadata());
    field.children().into_iter().flatten().map(field_bytes).fold(own, usize::saturating_add)
}

/// An error about a message, in these words.
pub fn invalid(message: impl Into<String>) -> InvalidMessage {
    InvalidMessage(message.into())
}

/// The encapsulated messages of a stream, one after the other.
#[derive(Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Those of a whole stream.
    pub fn new(ipc: &'a [u8]) -> Self {
        Self { rest: ipc }
    }

    /// The next metadata; `None` at the end of the stream (marked or not).
    ///
    /// # Errors
    /// The stream is cut off.
    #[expect(clippy::should_implement_trait, reason = "it may fail, and what follows a failure means nothing")]
    pub fn next(&mut self) -> Result<Option<&'a [u8]>, InvalidMessage> {
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
    ///
    /// # Errors
    /// The stream is cut off.
    pub fn body(&mut self, length: i64) -> Result<&'a [u8], InvalidMessage> {
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
    use crate::policy::resources::Resources;
    use arrow_array::{Int64Array, RecordBatch};
    use arrow_ipc::writer::StreamWriter;
    use arrow_ipc::{KeyValueBuilder, MessageBuilder, MetadataVersion, SchemaBuilder};
    use arrow_schema::{DataType, Field, Schema};
    use flatbuffers::FlatBufferBuilder;
    use std::num::NonZeroU32;

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

    fn inspect(inspector: &mut Inspector, ipc: &[u8]) -> Result<Header, InvalidMessage> {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(inspector.inspect(&Bytes::copy_from_slice(ipc)))
    }

    #[track_caller]
    fn check(ipc: &[u8], expected: Result<(&str, u64), &str>) {
        let found = inspect(&mut Inspector::default(), ipc);
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
        check(&lakegate_files::testing::big_endian_stream(), Err("big endian"));
    }

    #[test]
    fn no_cut_and_no_flipped_byte_panics() {
        let whole = stream(Some("t"), &[3, 4]);
        for end in 0..whole.len() {
            let _ = inspect(&mut Inspector::default(), &whole[..end]);
        }
        for at in 0..whole.len() {
            for flip in [0xff, 0x80, 0x01] {
                let mut copy = whole.clone();
                copy[at] ^= flip;
                let _ = inspect(&mut Inspector::default(), &copy);
            }
        }
    }

    #[test]
    fn a_seen_schema_is_not_read_again() {
        let mut inspector = Inspector::default();
        let ipc = stream(Some("t"), &[1]);
        let first = inspect(&mut inspector, &ipc).unwrap();
        assert_eq!(inspector.tables.len(), 1);
        assert!(Arc::ptr_eq(&first.table, &inspect(&mut inspector, &ipc).unwrap().table));
    }

    #[test]
    fn seen_schemas_are_remembered_within_bounds_and_the_budget() {
        let budget = Resources::new(NonZeroU32::MIN, Some(100_000)).budget;
        let mut inspectors = [Inspector::default(), Inspector::new(budget.hold())];
        for number in 0..150 {
            let ipc = shared(1, &format!("{number:04}-{}", "n".repeat(4_000)), true);
            for inspector in &mut inspectors {
                inspect(inspector, &ipc).unwrap();
            }
            assert!(budget.used_bytes() <= 100_000);
        }
        let [free, bound] = inspectors;
        assert_eq!((free.tables.len(), bound.tables.len()), (150, 11));
        assert!((bound.bytes as u64) < budget.used_bytes());
        drop(bound);
        assert_eq!(budget.used_bytes(), 0);
        // All together.
        let mut inspector = Inspector::default();
        for number in 0..200 {
            inspector.remember(&vec![number; MAX_CACHED_SCHEMA_BYTES], &"t".into());
            assert!(inspector.bytes <= MAX_CACHED_SCHEMAS_BYTES && inspector.tables.len() * MAX_CACHED_SCHEMA_BYTES == inspector.bytes);
        }
    }

    /// A schema whose metadata is one pair, named `pairs` times; or as many pairs, which share their words.
    fn shared(pairs: usize, value: &str, one_pair: bool) -> Vec<u8> {
        let mut it = FlatBufferBuilder::new();
        let (key, value) = (it.create_string("cq:table_name"), it.create_string(value));
        let mut pair = || {
            let mut pair = KeyValueBuilder::new(&mut it);
            pair.add_key(key);
            pair.add_value(value);
            pair.finish()
        };
        let all = if one_pair { vec![pair(); pairs] } else { (0..pairs).map(|_| pair()).collect() };
        let all = it.create_vector(&all);
        let mut schema = SchemaBuilder::new(&mut it);
        schema.add_custom_metadata(all);
        let schema = schema.finish().as_union_value();
        let mut message = MessageBuilder::new(&mut it);
        message.add_version(MetadataVersion::V5);
        message.add_header_type(MessageHeader::Schema);
        message.add_header(schema);
        let message = message.finish();
        it.finish(message, None);
        let header = it.finished_data();
        [&CONTINUATION.to_le_bytes(), &(header.len() as u32).to_le_bytes(), header].concat()
    }

    #[test]
    fn a_header_is_verified_in_proportion_to_its_bytes() {
        check(&shared(1, "t", true), Ok(("t", 0)));
        // What writers may do: words that come again and again are written once.
        check(&shared(30_000, "t", false), Ok(("t", 0)));
        check(&shared(30_000, &"n".repeat(100), false), Ok((&"n".repeat(100), 0)));
        // Two gigabytes of text in 200 KB.
        check(&shared(32_000, &"n".repeat(64 << 10), false), Err("malformed"));
        check(&shared(32_000, "t", true), Err("malformed"));
    }

    #[test]
    fn wide_and_deep_schemas_are_verified() {
        let metadata = HashMap::from([("cq:table_name".to_owned(), "t".to_owned())]);
        let wide = (0..10_000).map(|number| Field::new(format!("column_{number}"), DataType::Int64, true));
        let deep = (0..31).fold(DataType::Utf8, |inner, _| DataType::new_list(inner, true));
        let fields: Vec<Field> = wide.chain([Field::new("deep", deep, true)]).collect();
        let schema = Schema::new_with_metadata(fields, metadata);
        check(&StreamWriter::try_new(Vec::new(), &schema).unwrap().into_inner().unwrap(), Ok(("t", 0)));
    }

    #[test]
    fn record_batches_and_headers_are_bounded() {
        let one = stream(Some("t"), &[1]);
        let none = stream(Some("t"), &[]);
        let batch = &one[none.len() - 8..one.len() - 8];
        let many = |count: usize| [&none[..none.len() - 8], &batch.repeat(count)].concat();
        check(&many(MAX_STREAM_BATCHES), Ok(("t", MAX_STREAM_BATCHES as u64)));
        check(&many(MAX_STREAM_BATCHES + 1), Err("more than 65536 record batches"));
        let header = (MAX_HEADER_BYTES as u32 + 1).to_le_bytes();
        check(&[&CONTINUATION.to_le_bytes()[..], &header, &vec![0; MAX_HEADER_BYTES + 1]].concat(), Err("at most 33554432 are accepted"));
    }
}

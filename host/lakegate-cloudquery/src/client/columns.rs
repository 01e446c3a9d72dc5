//! Adds the columns of a sync (`_cq_sync_time` and so on) to schemas and records between a source and a destination, and adjusts the keys.
//!
//! Rows are not decoded. A record's header is rewritten, with the buffers of the new columns before those of the source, and the source's own buffers
//! are copied byte for byte: nothing in them can change on the way, and a source that sends millions of small records costs one copy each. Only a
//! record with dictionaries, which no CloudQuery SDK sends, goes through a decoder.
//!
//! Each record batch becomes a separate message, as the protocol requires: destinations only read the first batch of a message. A header may claim
//! any number of rows, and a message has many batches, so the bytes added to all of them together are bounded, and computed from their headers before
//! any of them is written.

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions, StreamWriter};
use arrow_ipc::{BodyCompressionBuilder, FieldNode, MessageBuilder, MessageHeader, MetadataVersion, RecordBatchBuilder};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::{BufMut, Bytes, BytesMut};
use flatbuffers::FlatBufferBuilder;
use lakegate::InvalidMessage;
use lakegate::ipc::{Messages, invalid, schema, verified};
use lakegate::limits::{MAX_CACHED_SCHEMA_BYTES, MAX_CACHED_SCHEMAS, MAX_MESSAGE_BYTES, MAX_STREAM_BATCHES, MAX_TABLE_NAME_BYTES};
use lakegate_base::caught::caught;
use lakegate_files::unpack;
use std::collections::HashMap;
use std::sync::Arc;

/// Column with the start time of the sync.
const SYNC_TIME: &str = "_cq_sync_time";
/// Column with the name of the source.
const SOURCE_NAME: &str = "_cq_source_name";
/// Column with the sync group.
const SYNC_GROUP_ID: &str = "_cq_sync_group_id";
/// The SDK's own row key.
const CQ_ID: &str = "_cq_id";

const PRIMARY_KEY: &str = "cq:extension:primary_key";
const UNIQUE: &str = "cq:extension:unique";

/// Alignment within a message, as Arrow recommends; decimals need 16.
const ALIGNMENT_BYTES: usize = 64;
/// Length prefix of a buffer in a compressed body that is stored uncompressed.
const NOT_COMPRESSED: i64 = -1;
/// Maximum bytes added to one message: the columns of the sync, and the schema before each batch. Millions of rows that are smaller than these
/// columns only occur in forged messages.
const MAX_ADDED_BYTES: usize = MAX_MESSAGE_BYTES;
/// Maximum bytes of all records made from a message with dictionaries, which are repeated for each batch: those of the message, and what is added.
const MAX_DECODED_BYTES: usize = MAX_MESSAGE_BYTES + MAX_ADDED_BYTES;
const CONTINUATION: [u8; 4] = [0xff; 4];
const END_OF_STREAM: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// How a table's primary and unique keys are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// They are removed, since rows are only added (`write_mode: append`).
    Removed,
    /// They are kept.
    Kept,
    /// `_cq_id` becomes the only primary key (`pk_mode: cq-id-only`).
    CqIdOnly,
}

/// The values of the columns that a sync adds to every row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncColumns {
    /// Microseconds since 1970, UTC: the start of the sync.
    pub sync_time_us: i64,
    /// The name of the source, with the shard if there is one.
    pub source_name: String,
    /// The group of syncs that this one belongs to.
    pub sync_group_id: Option<String>,
    /// How keys are treated.
    pub keys: Keys,
    /// Whether time and name are declared as not null (`--cq-columns-not-null`).
    pub not_null: bool,
}

/// A table, as described by its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableInfo {
    /// The table's name.
    pub name: String,
    /// The parent table.
    pub parent: Option<String>,
    /// Whether a sync only sends new rows.
    pub incremental: bool,
}

/// A schema with the columns of the sync.
#[derive(Debug, Clone)]
pub struct ExtendedSchema {
    /// An Arrow IPC stream.
    pub ipc: Bytes,
    /// The table.
    pub table: Arc<TableInfo>,
}

/// Rows with the columns of the sync.
#[derive(Debug, Clone)]
pub struct ExtendedRows {
    /// The record batches, each as an Arrow IPC stream.
    pub records: Vec<Record>,
    /// The table.
    pub table: Arc<TableInfo>,
}

/// One record batch.
#[derive(Debug, Clone)]
pub struct Record {
    /// An Arrow IPC stream.
    pub ipc: Bytes,
    /// Number of rows.
    pub rows: u64,
}

impl ExtendedRows {
    /// Rows of all batches.
    pub fn rows(&self) -> u64 {
        self.records.iter().map(|record| record.rows).fold(0, u64::saturating_add)
    }
}

/// Adds the columns. Caches the schemas it has seen, since a source sends the same few kilobytes before every fifty rows.
#[derive(Debug)]
pub struct SyncColumnWriter {
    columns: SyncColumns,
    known: HashMap<Bytes, Arc<Plan>>,
}

/// How to rewrite the records of one schema.
#[derive(Debug)]
struct Plan {
    table: Arc<TableInfo>,
    /// The new columns, in their order.
    added: Vec<Added>,
    /// The framed schema message to send.
    schema_frame: Bytes,
    /// The new schema, if its records must be decoded.
    dictionaries: Option<SchemaRef>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Added {
    SyncTime,
    SourceName,
    SyncGroupId,
}

impl SyncColumnWriter {
    /// Creates a writer for one source and one destination.
    pub fn new(columns: SyncColumns) -> Self {
        Self { columns, known: HashMap::new() }
    }

    /// Rewrites a schema.
    ///
    /// # Errors
    /// The message is not an Arrow IPC stream of a table, or too large.
    pub fn schema(&mut self, ipc: &Bytes) -> Result<ExtendedSchema, InvalidMessage> {
        let (plan, _) = self.begin(ipc)?;
        let ipc = [&plan.schema_frame, END_OF_STREAM.as_slice()].concat().into();
        Ok(ExtendedSchema { ipc, table: plan.table.clone() })
    }

    /// Rewrites the rows of a message.
    ///
    /// # Errors
    /// The message is not an Arrow IPC stream of a table, or too large.
    pub fn rows(&mut self, ipc: &Bytes) -> Result<ExtendedRows, InvalidMessage> {
        let (plan, messages) = self.begin(ipc)?;
        let batches = batches(messages, &plan)?;
        self.check_added(&batches, &plan)?;
        let records = match &plan.dictionaries {
            Some(schema) => self.through_a_decoder(ipc, &batches, &plan, schema)?,
            None => batches.iter().map(|batch| self.record(batch, &plan)).collect::<Result<_, _>>()?,
        };
        Ok(ExtendedRows { records, table: plan.table.clone() })
    }

    /// The bytes that are added to all batches of a message.
    ///
    /// # Errors
    /// They exceed [`MAX_ADDED_BYTES`].
    fn check_added(&self, batches: &[Batch<'_>], plan: &Plan) -> Result<(), InvalidMessage> {
        let rows = batches.iter().map(|batch| batch.rows).fold(0, u64::saturating_add);
        let each: usize = plan.added.iter().map(|added| added.row_bytes(&self.columns)).sum();
        let columns = rows.saturating_mul(each as u64);
        let schemas = (batches.len() as u64).saturating_mul(plan.schema_frame.len() as u64);
        if columns.saturating_add(schemas) <= MAX_ADDED_BYTES as u64 {
            return Ok(());
        }
        Err(invalid(format!(
            "a message of table {:?} claims {rows} rows in {} record batches; the columns of the sync ({each} bytes a row) and the schema before \
             each batch ({} bytes) may have {MAX_ADDED_BYTES} bytes together; smaller messages are accepted",
            plan.table.name,
            batches.len(),
            plan.schema_frame.len()
        )))
    }

    /// The plan for a message, and the messages after its schema.
    fn begin<'a>(&mut self, ipc: &'a Bytes) -> Result<(Arc<Plan>, Messages<'a>), InvalidMessage> {
        if ipc.len() > MAX_MESSAGE_BYTES {
            return Err(invalid(format!("a message has {} bytes; at most {MAX_MESSAGE_BYTES} are accepted", ipc.len())));
        }
        let mut messages = Messages::new(ipc);
        let schema = messages.next()?.ok_or_else(|| invalid("the stream has no schema"))?;
        Ok((self.plan(ipc.slice_ref(schema))?, messages))
    }

    fn plan(&mut self, metadata: Bytes) -> Result<Arc<Plan>, InvalidMessage> {
        if let Some(plan) = self.known.get(&metadata) {
            return Ok(plan.clone());
        }
        let plan = Arc::new(Plan::new(&metadata, &self.columns)?);
        if metadata.len() <= MAX_CACHED_SCHEMA_BYTES {
            if self.known.len() >= MAX_CACHED_SCHEMAS {
                self.known.clear();
            }
            // Copied, because a slice would keep the whole message alive.
            self.known.insert(Bytes::copy_from_slice(&metadata), plan.clone());
        }
        Ok(plan)
    }

    /// Writes a record batch with the new columns.
    fn record(&self, Batch { metadata, message, body, rows }: &Batch<'_>, plan: &Plan) -> Result<Record, InvalidMessage> {
        let (body, rows) = (*body, *rows);
        if message.header_type() != MessageHeader::RecordBatch {
            return Err(invalid(format!("a message of type {:?} stands where a record batch was expected", message.header_type())));
        }
        let batch = message.header_as_record_batch().ok_or_else(|| invalid("a record batch has no header"))?;
        let mut sent = BytesMut::with_capacity(plan.schema_frame.len() + metadata.len() + body.len());
        sent.put_slice(&plan.schema_frame);
        let room = MAX_MESSAGE_BYTES.saturating_sub(body.len());
        let mut block = Block::new(batch.compression().is_some(), room);
        for added in &plan.added {
            block.column(*added, rows, &self.columns)?;
        }
        let nodes: Vec<FieldNode> = block
            .nodes
            .iter()
            .copied()
            .chain(batch.nodes().iter().flatten().map(|node| FieldNode::new(node.length(), node.null_count())))
            .collect();
        let shift = i64::try_from(block.bytes.len()).map_err(|_| invalid("a record batch is too large"))?;
        let mut buffers = block.buffers;
        for buffer in batch.buffers().iter().flatten() {
            let offset = buffer.offset().checked_add(shift).ok_or_else(|| invalid("a buffer of a record batch is out of bounds"))?;
            buffers.push(arrow_ipc::Buffer::new(offset, buffer.length()));
        }
        let body_bytes = block.bytes.len() + padded(body.len());
        let header = header(message.version(), &batch, &nodes, &buffers, body_bytes);
        frame(&header, &mut sent);
        sent.reserve(body_bytes + END_OF_STREAM.len());
        sent.put_slice(&block.bytes);
        sent.put_slice(body);
        sent.put_bytes(0, padded(body.len()) - body.len());
        sent.put_slice(&END_OF_STREAM);
        Ok(Record { ipc: sent.freeze(), rows })
    }

    fn through_a_decoder(
        &self,
        ipc: &Bytes,
        batches: &[Batch<'_>],
        plan: &Plan,
        schema: &SchemaRef,
    ) -> Result<Vec<Record>, InvalidMessage> {
        let refused = |problem: String| invalid(format!("a record of table {:?} with dictionaries: {problem}", plan.table.name));
        let mut dictionaries = 0_u64;
        for Batch { message, body, .. } in batches {
            let is_dictionary = message.header_type() == MessageHeader::DictionaryBatch;
            let claim = |offset| {
                let claim = unpack::claim_in(body, offset)?;
                if is_dictionary {
                    dictionaries = dictionaries.saturating_add(u64::try_from(i64::from_le_bytes(claim)).unwrap_or(0));
                }
                Ok(claim)
            };
            unpack::check(message, MAX_MESSAGE_BYTES as u64, claim).map_err(refused)?;
            // Batches are decompressed one at a time, dictionaries stay in memory.
            if dictionaries > MAX_MESSAGE_BYTES as u64 {
                let problem = format!("its dictionaries unpack to {dictionaries} bytes; at most {MAX_MESSAGE_BYTES} are accepted");
                return Err(refused(problem));
            }
        }
        let mut room = MAX_DECODED_BYTES;
        let decode = || -> Result<Result<Vec<Record>, InvalidMessage>, arrow_schema::ArrowError> {
            let mut records = Vec::new();
            for batch in StreamReader::try_new(ipc.as_ref(), None)? {
                let batch = batch?;
                let count = batch.num_rows();
                let mut columns: Vec<ArrayRef> = plan.added.iter().map(|added| self.array(*added, count)).collect();
                columns.extend(batch.columns().iter().cloned());
                let options = RecordBatchOptions::new().with_row_count(Some(count));
                let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
                // Its dictionaries are repeated for each batch.
                let options = IpcWriteOptions::try_new(ALIGNMENT_BYTES, false, MetadataVersion::V5)?;
                let mut writer = StreamWriter::try_new_with_options(Vec::new(), schema, options)?;
                writer.write(&batch)?;
                let ipc: Bytes = writer.into_inner()?.into();
                let Some(rest) = room.checked_sub(ipc.len()) else {
                    let problem = format!("its batches, each with its dictionaries, have more than {MAX_DECODED_BYTES} bytes");
                    return Ok(Err(refused(problem)));
                };
                room = rest;
                records.push(Record { ipc, rows: count as u64 });
            }
            Ok(Ok(records))
        };
        match caught(decode) {
            Some(Ok(records)) => records,
            Some(Err(error)) => Err(refused(lakegate_files::one_line(&error))),
            None => Err(refused("corrupt: its decoder failed".to_owned())),
        }
    }

    fn array(&self, added: Added, rows: usize) -> ArrayRef {
        match added {
            Added::SyncTime => Arc::new(TimestampMicrosecondArray::from_value(self.columns.sync_time_us, rows).with_timezone("UTC")),
            Added::SourceName | Added::SyncGroupId => {
                Arc::new(StringArray::from_iter_values(std::iter::repeat_n(added.text(&self.columns), rows)))
            }
        }
    }
}

impl Added {
    fn name(self) -> &'static str {
        match self {
            Self::SyncTime => SYNC_TIME,
            Self::SourceName => SOURCE_NAME,
            Self::SyncGroupId => SYNC_GROUP_ID,
        }
    }

    fn field(self, columns: &SyncColumns) -> Field {
        let nullable = !columns.not_null;
        match self {
            Self::SyncTime => Field::new(self.name(), DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), nullable),
            Self::SourceName => Field::new(self.name(), DataType::Utf8, nullable),
            Self::SyncGroupId => {
                let key = HashMap::from([(PRIMARY_KEY.to_owned(), "true".to_owned())]);
                Field::new(self.name(), DataType::Utf8, false).with_metadata(key)
            }
        }
    }

    /// Bytes per row in this column.
    fn row_bytes(self, columns: &SyncColumns) -> usize {
        match self {
            Self::SyncTime => size_of::<i64>(),
            Self::SourceName | Self::SyncGroupId => size_of::<i32>() + self.text(columns).len(),
        }
    }

    fn text(self, columns: &SyncColumns) -> &str {
        match self {
            Self::SyncTime => "",
            Self::SourceName => &columns.source_name,
            Self::SyncGroupId => columns.sync_group_id.as_deref().unwrap_or_default(),
        }
    }
}

/// One message after the schema, its header verified.
struct Batch<'a> {
    metadata: &'a [u8],
    message: arrow_ipc::Message<'a>,
    body: &'a [u8],
    /// Number of rows according to the header; `None` for a dictionary.
    rows: u64,
}

/// The messages after the schema.
fn batches<'a>(mut messages: Messages<'a>, plan: &Plan) -> Result<Vec<Batch<'a>>, InvalidMessage> {
    let mut batches = Vec::new();
    while let Some(metadata) = messages.next()? {
        if batches.len() == MAX_STREAM_BATCHES {
            let table = &plan.table.name;
            return Err(invalid(format!(
                "a message of table {table:?} has more than {MAX_STREAM_BATCHES} record batches, which is all that are accepted"
            )));
        }
        let message = verified(metadata)?;
        let body = messages.body(message.bodyLength())?;
        let claimed = message.header_as_record_batch().map_or(0, |batch| batch.length());
        let rows = u64::try_from(claimed).map_err(|_| invalid("a record batch has a negative length"))?;
        batches.push(Batch { metadata, message, body, rows });
    }
    Ok(batches)
}

/// The schema at the beginning of a stream.
///
/// # Errors
/// There is none, or one that is unreasonable to read.
pub fn schema_of(ipc: &[u8]) -> Result<Schema, InvalidMessage> {
    let metadata = Messages::new(ipc).next()?.ok_or_else(|| invalid("the stream has no schema"))?;
    schema(metadata)
}

impl Plan {
    fn new(metadata: &[u8], columns: &SyncColumns) -> Result<Self, InvalidMessage> {
        let message = verified(metadata)?;
        let schema = schema(metadata)?;
        let table = Arc::new(table_info(&schema)?);
        let wanted = [Added::SyncTime, Added::SourceName].into_iter().chain(columns.sync_group_id.as_ref().map(|_| Added::SyncGroupId));
        let added: Vec<Added> = wanted.filter(|added| schema.field_with_name(added.name()).is_err()).collect();
        let fields = added.iter().map(|added| added.field(columns)).chain(schema.fields().iter().map(|field| field.as_ref().clone()));
        let fields: Vec<Field> = fields.map(|field| with_keys(field, columns.keys)).collect();
        let dictionaries = fields.iter().any(|field| has_dictionaries(field.data_type()));
        let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
        let options = IpcWriteOptions::try_new(ALIGNMENT_BYTES, false, message.version())
            .map_err(|_| invalid("the Arrow IPC stream has a metadata version other than 4 and 5"))?;
        let encoded =
            IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(&schema, &mut DictionaryTracker::new(false), &options);
        let mut schema_frame = BytesMut::new();
        frame(&encoded.ipc_message, &mut schema_frame);
        Ok(Self { table, added, schema_frame: schema_frame.freeze(), dictionaries: dictionaries.then_some(schema) })
    }
}

fn table_info(schema: &Schema) -> Result<TableInfo, InvalidMessage> {
    let text = |key: &str| schema.metadata().get(key).map(|value| value.to_string()).filter(|value| !value.is_empty());
    let name = text("cq:table_name").ok_or_else(|| invalid("missing table name"))?;
    if name.len() > MAX_TABLE_NAME_BYTES {
        return Err(invalid(format!("a table's name has {} bytes; at most {MAX_TABLE_NAME_BYTES} are accepted", name.len())));
    }
    let parent = text("cq:table_depends_on");
    if parent.as_ref().is_some_and(|parent| parent.len() > MAX_TABLE_NAME_BYTES) {
        return Err(invalid(format!("the parent of table {name:?} has a name of more than {MAX_TABLE_NAME_BYTES} bytes")));
    }
    let incremental = text("cq:extension:incremental").is_some_and(|value| value == "true");
    Ok(TableInfo { name, parent, incremental })
}

fn with_keys(field: Field, keys: Keys) -> Field {
    let mut metadata = field.metadata().clone();
    match keys {
        Keys::Kept => return field,
        Keys::Removed => {
            metadata.remove(PRIMARY_KEY);
            metadata.remove(UNIQUE);
        }
        Keys::CqIdOnly if field.name() == CQ_ID => {
            metadata.insert(PRIMARY_KEY, "true");
        }
        Keys::CqIdOnly => {
            metadata.remove(PRIMARY_KEY);
        }
    }
    field.with_metadata(metadata)
}

fn has_dictionaries(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(..) => true,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::Map(field, _)
        | DataType::RunEndEncoded(_, field) => has_dictionaries(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_dictionaries(field.data_type())),
        DataType::Union(fields, _) => fields.iter().any(|(_, field)| has_dictionaries(field.data_type())),
        _ => false,
    }
}

/// The new columns of one record batch, which precede the source's in header and body.
struct Block {
    nodes: Vec<FieldNode>,
    buffers: Vec<arrow_ipc::Buffer>,
    bytes: Vec<u8>,
    compressed: bool,
    /// Bytes that may still be added: a header may claim any number of rows.
    room: usize,
}

impl Block {
    fn new(compressed: bool, room: usize) -> Self {
        Self { nodes: Vec::new(), buffers: Vec::new(), bytes: Vec::new(), compressed, room }
    }

    fn column(&mut self, added: Added, rows: u64, columns: &SyncColumns) -> Result<(), InvalidMessage> {
        let too_many = || invalid(format!("a record batch claims {rows} rows; with the columns of the sync it would be too large"));
        let text = added.text(columns);
        let each = added.row_bytes(columns);
        let count = usize::try_from(rows).map_err(|_| too_many())?;
        let needed = count.checked_mul(each).and_then(|bytes| bytes.checked_add(4 * ALIGNMENT_BYTES)).ok_or_else(too_many)?;
        self.room = self.room.checked_sub(needed).ok_or_else(too_many)?;
        self.nodes.push(FieldNode::new(i64::try_from(rows).map_err(|_| too_many())?, 0));
        // No row is null, so there is no bitmap.
        self.buffer(std::iter::empty::<[u8; 0]>());
        if added == Added::SyncTime {
            self.buffer(std::iter::repeat_n(columns.sync_time_us.to_le_bytes(), count));
        } else {
            // `room` keeps the last offset far below what an `i32` holds.
            let length = i32::try_from(text.len()).map_err(|_| too_many())?;
            let last = i32::try_from(rows).map_err(|_| too_many())?;
            self.buffer((0..=last).map(|row| (row * length).to_le_bytes()));
            self.buffer(std::iter::repeat_n(text, count));
        }
        Ok(())
    }

    fn buffer(&mut self, pieces: impl Iterator<Item = impl AsRef<[u8]>>) {
        let start = self.bytes.len();
        let mut pieces = pieces.peekable();
        if self.compressed && pieces.peek().is_some() {
            self.bytes.extend_from_slice(&NOT_COMPRESSED.to_le_bytes());
        }
        pieces.for_each(|piece| self.bytes.extend_from_slice(piece.as_ref()));
        let length = self.bytes.len() - start;
        self.bytes.resize(padded(self.bytes.len()), 0);
        // Both are below the largest message.
        self.buffers.push(arrow_ipc::Buffer::new(start as i64, length as i64));
    }
}

fn header(
    version: MetadataVersion,
    batch: &arrow_ipc::RecordBatch<'_>,
    nodes: &[FieldNode],
    buffers: &[arrow_ipc::Buffer],
    body_bytes: usize,
) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let nodes = builder.create_vector(nodes);
    let buffers = builder.create_vector(buffers);
    let variadic = batch.variadicBufferCounts().map(|counts| builder.create_vector(&counts.iter().collect::<Vec<i64>>()));
    let compression = batch.compression().map(|compression| {
        let mut copy = BodyCompressionBuilder::new(&mut builder);
        copy.add_codec(compression.codec());
        copy.add_method(compression.method());
        copy.finish()
    });
    let mut record = RecordBatchBuilder::new(&mut builder);
    record.add_length(batch.length());
    record.add_nodes(nodes);
    record.add_buffers(buffers);
    if let Some(compression) = compression {
        record.add_compression(compression);
    }
    if let Some(variadic) = variadic {
        record.add_variadicBufferCounts(variadic);
    }
    let record = record.finish().as_union_value();
    let mut message = MessageBuilder::new(&mut builder);
    message.add_version(version);
    message.add_header_type(MessageHeader::RecordBatch);
    message.add_header(record);
    // Less than the largest message plus a little.
    message.add_bodyLength(body_bytes as i64);
    let message = message.finish();
    builder.finish(message, None);
    builder.finished_data().to_vec()
}

/// Writes metadata with padding, so that what follows it is aligned if what precedes it is.
fn frame(metadata: &[u8], to: &mut BytesMut) {
    let prefix = CONTINUATION.len() + size_of::<u32>();
    let length = padded(prefix + metadata.len()) - prefix;
    to.reserve(prefix + length);
    to.put_slice(&CONTINUATION);
    // Metadata is part of a message of at most 200 MiB.
    to.put_u32_le(length as u32);
    to.put_slice(metadata);
    to.put_bytes(0, length - metadata.len());
}

fn padded(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT_BYTES)
}

#[cfg(test)]
mod tests;

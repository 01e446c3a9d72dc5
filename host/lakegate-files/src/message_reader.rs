//! Inputs as a stream of messages: a thread of its own reads and encodes, a small channel hands over, so that reading overlaps with the
//! work behind it and memory holds a few messages at most.

use super::caught::caught;
use super::expand::Pieces;
use super::like::{Fit, Like};
use super::open::open_like;
use super::plain::{plain_batch, plain_schema};
use super::{Input, InputError, Opened, Position, ReadOptions, Rows, exact};
use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use bytes::Bytes;
use lakegate_base::MAX_MESSAGE_BYTES;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Rows of a message at most.
const MESSAGE_ROWS: usize = 10_000;
/// Bytes of Arrow data that a message should have at most (a single row may have more).
const MESSAGE_BYTES: usize = 16 << 20;
/// Messages read ahead.
const MESSAGES_AHEAD: usize = 2;
/// Alignment of buffers within a message: what the widest type (decimal128) needs.
const ALIGNMENT_BYTES: usize = 16;

/// A message of the reader, as Arrow IPC.
#[derive(Debug, Clone)]
pub enum Message {
    /// A table begins.
    Migrate(Bytes),
    /// Rows of the table that began last.
    Insert(Bytes),
}

/// The receiving end. Dropping it ends the reading.
#[derive(Debug)]
pub struct MessageReader {
    messages: mpsc::Receiver<Event>,
    /// Has the end been received, whether success or failure?
    ended: bool,
}

/// What the reading thread says: a message, why it ends early, or, as its last word, [`None`] once every input has been read well.
type Event = Option<Result<Message, InputError>>;

impl MessageReader {
    /// Starts reading.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(inputs: Vec<Input>, options: ReadOptions) -> std::io::Result<Self> {
        Self::spawn(move |sender| Worker { sender, options, most_bytes: MAX_MESSAGE_BYTES }.run(&inputs))
    }

    /// Runs `read` on a thread of its own.
    fn spawn(read: impl FnOnce(mpsc::Sender<Event>) -> Result<(), Stop> + Send + 'static) -> std::io::Result<Self> {
        let (sender, messages) = mpsc::channel(MESSAGES_AHEAD);
        std::thread::Builder::new().name("lakegate-read".to_owned()).spawn(move || {
            let last = match read(sender.clone()) {
                Ok(()) => None,
                Err(Stop::Failed(error)) => Some(Err(*error)),
                Err(Stop::Closed) => return,
            };
            // Nobody to tell means that nobody waits for it either.
            let _ = sender.blocking_send(last);
        })?;
        Ok(Self { messages, ended: false })
    }

    /// The schema message of every table, in order; reads no rows.
    ///
    /// # Errors
    /// An input is refused.
    pub fn schemas(inputs: &[Input], options: &ReadOptions) -> Result<Vec<Bytes>, InputError> {
        let mut schemas = Vec::new();
        for same in inputs.chunk_by(|a, b| a.table == b.table) {
            let Some(input) = same.first() else { continue };
            let file = input.location.name();
            let mut like = survey(same, options)?;
            if !like.is_known() {
                let alone = same.len() == 1;
                let (opened, plain) = opened(input, options, (!alone).then_some(&like))?;
                opened.notes.iter().for_each(|note| tracing::warn!("{note}"));
                like.add(&input.table, &file, &opened, &plain)?;
            }
            let sent = sent_schema(&*like.begin(&file)?, &input.table);
            schemas.push(encode(&sent, None).map_err(|error| unencodable(&file, &error))?);
        }
        Ok(schemas)
    }

    /// The next message; [`None`] when every input has been read well. Nothing follows an error.
    pub async fn next(&mut self) -> Option<Result<Message, InputError>> {
        if self.ended {
            return None;
        }
        // A thread that ends without a last word has panicked: what it has sent is not all there is.
        let event = self.messages.recv().await.unwrap_or(Some(Err(InputError::ReaderLost)));
        self.ended = !matches!(event, Some(Ok(_)));
        event
    }
}

/// Why reading ends early.
enum Stop {
    /// Nobody listens any more.
    Closed,
    /// An input is refused.
    Failed(Box<InputError>),
}

impl From<InputError> for Stop {
    fn from(error: InputError) -> Self {
        Self::Failed(Box::new(error))
    }
}

struct Worker {
    sender: mpsc::Sender<Event>,
    options: ReadOptions,
    /// Bytes of a message at most.
    most_bytes: usize,
}

/// A table that has begun: its columns, and the schema of the messages.
struct Table {
    name: String,
    like: Like,
    columns: SchemaRef,
    sent: SchemaRef,
}

/// What the files of a table show of its columns. What gives its bytes only once is looked at when it is read, and so is a file that has its
/// table for itself.
fn survey(same: &[Input], options: &ReadOptions) -> Result<Like, InputError> {
    let mut like = Like::unknown();
    for input in same.iter().filter(|input| same.len() > 1 && !input.location.is_stream()) {
        let (opened, plain) = opened(input, options, Some(&Like::unknown()))?;
        like.add(&input.table, &input.location.name(), &opened, &plain)?;
    }
    Ok(like)
}

/// An input, and its columns as they are sent.
fn opened(input: &Input, options: &ReadOptions, like: Option<&Like>) -> Result<(Opened, SchemaRef), InputError> {
    let file = input.location.name();
    let opened = guarded(&file, || open_like(&input.location, options, like))?;
    let plain = plain_schema(&opened.schema, &file)?;
    Ok((opened, plain))
}

impl Worker {
    /// Files of one table are compared before anything is sent.
    fn run(&self, inputs: &[Input]) -> Result<(), Stop> {
        let of_one_table = || inputs.chunk_by(|a, b| a.table == b.table);
        let surveyed: Vec<Like> = of_one_table().map(|same| survey(same, &self.options)).collect::<Result<_, _>>()?;
        for (same, like) in of_one_table().zip(surveyed) {
            let alone = same.len() == 1;
            let mut known = Some(like);
            let mut table: Option<Table> = None;
            for input in same {
                let file = input.location.name();
                let like = table.as_ref().map(|table| &table.like).or(known.as_ref());
                let (opened, plain) = opened(input, &self.options, like.filter(|_| !alone))?;
                opened.notes.iter().for_each(|note| tracing::warn!("{note}"));
                let current = match table.take() {
                    Some(table) => table,
                    None => self.begin(input, known.take().unwrap_or_default(), &opened, &plain)?,
                };
                let fit = current.like.fit(&current.name, &file, &opened, &plain)?;
                self.insert_all(opened.rows, &current, (&plain, &fit), &file)?;
                table = Some(current);
            }
        }
        Ok(())
    }

    fn begin(&self, input: &Input, mut like: Like, opened: &Opened, plain: &SchemaRef) -> Result<Table, Stop> {
        let file = input.location.name();
        if !like.is_known() {
            like.add(&input.table, &file, opened, plain)?;
        }
        let columns = like.begin(&file)?;
        let sent = sent_schema(&columns, &input.table);
        self.send(Message::Migrate(encode(&sent, None).map_err(|error| unencodable(&file, &error))?))?;
        Ok(Table { name: input.table.clone(), like, columns, sent })
    }

    /// `fit`: the columns of the file, and how they become the table's.
    fn insert_all(&self, mut rows: Rows, table: &Table, fit: (&SchemaRef, &Fit), file: &str) -> Result<(), Stop> {
        let mut sent = 0;
        while let Some(batch) = guarded(file, || rows.next().transpose())? {
            let mut pieces = guarded(file, || Pieces::new(batch, file, sent, self.most_bytes))?;
            while let Some(piece) = guarded(file, || pieces.next().transpose())? {
                sent = self.insert(&piece, table, fit, file, sent)?;
            }
        }
        Ok(())
    }

    /// Sends the rows of a piece, before which so many of the file were sent; answers how many are.
    fn insert(&self, piece: &RecordBatch, table: &Table, (plain, fit): (&SchemaRef, &Fit), file: &str, mut sent: u64) -> Result<u64, Stop> {
        let batch = guarded(file, || plain_batch(piece, plain, file))?;
        guarded(file, || exact::check(&batch, file, sent))?;
        let batch = fit.apply(batch, &table.columns).and_then(|batch| named(batch, table));
        for slice in slices(batch.map_err(|error| unencodable(file, &error))?) {
            let ipc = encode(&table.sent, Some(&slice)).map_err(|error| unencodable(file, &error))?;
            // Only a single row can be this large.
            if ipc.len() > self.most_bytes {
                let (file, row, most) = (file.to_owned(), sent + 1, self.most_bytes);
                return Err(InputError::RowTooLarge { file, row, bytes: ipc.len(), most }.into());
            }
            sent += slice.rows.num_rows() as u64;
            self.send(Message::Insert(ipc))?;
        }
        Ok(sent)
    }

    fn send(&self, message: Message) -> Result<(), Stop> {
        self.sender.blocking_send(Some(Ok(message))).map_err(|_| Stop::Closed)
    }
}

fn unencodable(file: &str, error: &ArrowError) -> InputError {
    let problem = format!("cannot be encoded: {}", super::ipc::one_line(error));
    InputError::Malformed { file: file.to_owned(), at: Position::Whole, problem }
}

/// The decoders check what they read, but a file made to harm may still find a panic in one: that is a corrupt file, not a crash.
fn guarded<T>(file: &str, read: impl FnOnce() -> Result<T, InputError>) -> Result<T, InputError> {
    caught(read).unwrap_or_else(|| {
        Err(InputError::Malformed { file: file.to_owned(), at: Position::Whole, problem: "corrupt: its decoder failed".to_owned() })
    })
}

/// The schema of a table's messages.
fn sent_schema(plain: &Schema, table: &str) -> SchemaRef {
    let metadata = HashMap::from([("cq:table_name".to_owned(), table.to_owned())]);
    Arc::new(Schema::new_with_metadata(plain.fields().clone(), metadata))
}

/// The batch under the schema that says whose it is.
fn named(batch: RecordBatch, table: &Table) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(table.sent.clone(), batch.columns().to_vec(), &options)
}

/// The rows of a message.
struct Slice {
    rows: RecordBatch,
    /// Bytes of the rows' buffers.
    bytes: usize,
}

impl Slice {
    fn new(rows: RecordBatch) -> Self {
        let bytes = rows.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum();
        Self { rows, bytes }
    }
}

/// How a batch is cut into messages.
fn slices(batch: RecordBatch) -> Vec<Slice> {
    let mut slices = Vec::new();
    let mut open = vec![batch];
    while let Some(rows) = open.pop() {
        let length = rows.num_rows();
        // The first piece takes what fits the row bound, or half of what is too heavy; the rest is looked at after it.
        let mut cut = |rows: RecordBatch, first: usize| {
            open.push(rows.slice(first, length - first));
            open.push(rows.slice(0, first));
        };
        if length > MESSAGE_ROWS {
            cut(rows, MESSAGE_ROWS);
            continue;
        }
        let slice = Slice::new(rows);
        if length > 1 && slice.bytes > MESSAGE_BYTES {
            cut(slice.rows, length / 2);
        } else if length > 0 {
            slices.push(slice);
        }
    }
    slices
}

/// Bytes of a message beside its buffers: headers, and what aligns the buffers of a column.
const HEADER_BYTES: usize = 4 << 10;
/// See [`HEADER_BYTES`].
const COLUMN_BYTES: usize = 512;

/// One IPC stream: the schema, and the rows if there are any.
fn encode(schema: &Schema, slice: Option<&Slice>) -> Result<Bytes, ArrowError> {
    let options = IpcWriteOptions::try_new(ALIGNMENT_BYTES, false, arrow_ipc::MetadataVersion::V5)?;
    // Room for all of it at once: a buffer that doubles leaves gaps behind that nothing later fits into.
    let bytes = slice.map_or(0, |slice| slice.bytes) + HEADER_BYTES + COLUMN_BYTES * schema.fields().len();
    let mut writer = StreamWriter::try_new_with_options(Vec::with_capacity(bytes), schema, options)?;
    if let Some(slice) = slice {
        writer.write(&slice.rows)?;
    }
    writer.finish()?;
    Ok(writer.into_inner()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader says, to its end.
    async fn received(mut reader: MessageReader) -> Vec<Result<Message, String>> {
        let mut received = Vec::new();
        while let Some(message) = reader.next().await {
            received.push(message.map_err(|error| error.to_string()));
        }
        received
    }

    #[tokio::test]
    async fn a_reader_that_is_lost_is_no_good_end() {
        let reader = MessageReader::spawn(|sender| {
            let _ = sender.blocking_send(Some(Ok(Message::Migrate(Bytes::new()))));
            panic!("a bug");
        });
        let received = received(reader.unwrap()).await;
        assert!(matches!(received.as_slice(), [Ok(Message::Migrate(_)), Err(problem)] if problem.contains("not all")), "{received:?}");
    }

    #[tokio::test]
    async fn a_row_that_no_message_holds_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.ndjson");
        // The types are chosen from the first 10,000 rows, which are a message; the row after them is one of its own.
        let first = "{\"a\":\"x\"}\n".repeat(super::super::SAMPLE_ROWS);
        std::fs::write(&file, format!("{first}{{\"a\":\"{}\"}}\n", "x".repeat(300_000))).unwrap();
        let inputs = vec![Input { location: crate::Location::File(file), table: "t".to_owned() }];
        let options = ReadOptions::default();
        let reader = MessageReader::spawn(move |sender| Worker { sender, options, most_bytes: 200_000 }.run(&inputs));
        let received = received(reader.unwrap()).await;
        let [Ok(Message::Migrate(_)), Ok(Message::Insert(_)), Err(problem)] = received.as_slice() else { panic!("{} messages", received.len()) };
        assert!(problem.contains("t.ndjson, row 10001: ") && problem.ends_with("at most 200000 are accepted"), "{problem}");
    }

    #[tokio::test]
    async fn a_reader_that_has_read_everything_says_so() {
        assert!(received(MessageReader::spawn(|_| Ok(())).unwrap()).await.is_empty());
    }
}

//! Reads inputs as a stream of messages. A separate thread reads and encodes, and passes messages through a small channel, so that reading overlaps
//! with the work on them and only a few messages are in memory.

use super::expand::Pieces;
use super::like::{Fit, Like};
use super::open::open_like;
use super::plain::{plain_batch, plain_schema};
use super::skipped::SkippedRows;
use super::{Input, InputError, Location, Opened, Position, ReadOptions, Rows, exact, partitions};
use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use bytes::Bytes;
use lakegate_base::MAX_MESSAGE_BYTES;
use lakegate_base::caught::caught;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Maximum rows of a message.
const MESSAGE_ROWS: usize = 10_000;
/// Target maximum of Arrow bytes of a message (a single row may be larger).
const MESSAGE_BYTES: usize = 16 << 20;
/// Messages read ahead.
const MESSAGES_AHEAD: usize = 2;
/// Alignment of buffers within a message, as required by the widest type (decimal128).
const ALIGNMENT_BYTES: usize = 16;

/// A message, as Arrow IPC.
#[derive(Debug, Clone)]
pub enum Message {
    /// A table starts, with this schema.
    Migrate(Bytes),
    /// Rows of the table that started last.
    Insert(Bytes),
}

/// The rows of a file that were left out because they are not well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedFile {
    /// The file.
    pub file: String,
    /// Number of rows.
    pub rows: u64,
    /// The line of the first.
    pub line: u64,
    /// What is wrong with the first.
    pub problem: String,
}

/// The receiving end. Dropping it stops the reader.
#[derive(Debug)]
pub struct MessageReader {
    messages: mpsc::Receiver<Event>,
    /// Has the end been received, whether success or failure?
    ended: bool,
    skipped: Vec<SkippedFile>,
}

/// What the reading thread sends: messages, an error if it ends early, and finally [`None`] once every input has been read successfully.
type Event = Option<Result<Sent, InputError>>;

/// What the reading thread sends before its end.
#[derive(Debug)]
enum Sent {
    Message(Message),
    /// Rows of a file that was read to its end.
    Skipped(SkippedFile),
}

impl MessageReader {
    /// Starts reading.
    ///
    /// # Errors
    /// The thread cannot be started.
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
            // If the receiver is gone, the result does not matter.
            let _ = sender.blocking_send(last);
        })?;
        Ok(Self { messages, ended: false, skipped: Vec::new() })
    }

    /// The schema messages of all tables, in order; no rows are sent.
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

    /// The next message; [`None`] once every input has been read successfully. Nothing follows an error.
    pub async fn next(&mut self) -> Option<Result<Message, InputError>> {
        while !self.ended {
            // A thread that ends without a final event has panicked, so not everything was sent.
            let event = self.messages.recv().await.unwrap_or(Some(Err(InputError::ReaderLost)));
            self.ended = !matches!(event, Some(Ok(_)));
            match event {
                Some(Ok(Sent::Skipped(skipped))) => self.skipped.push(skipped),
                Some(Ok(Sent::Message(message))) => return Some(Ok(message)),
                Some(Err(error)) => return Some(Err(error)),
                None => {}
            }
        }
        None
    }

    /// The files, among those that were read to their end so far, of which rows were left out.
    pub fn skipped(&self) -> &[SkippedFile] {
        &self.skipped
    }
}

/// Why reading ends early.
enum Stop {
    /// The receiver is gone.
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
    /// Maximum bytes of a message.
    most_bytes: usize,
}

/// The current table: its columns, and the schema of its messages.
struct Table {
    name: String,
    like: Like,
    columns: SchemaRef,
    sent: SchemaRef,
}

/// What the files of a table tell about its columns. Inputs that can only be read once are not opened for this, and neither is the only file of a
/// table.
fn survey(same: &[Input], options: &ReadOptions) -> Result<Like, InputError> {
    let mut like = Like::unknown(options.union_by_name);
    for input in same.iter().filter(|input| same.len() > 1 && !input.location.is_stream()) {
        let (opened, plain) = opened(input, options, Some(&Like::unknown(options.union_by_name)))?;
        like.add(&input.table, &input.location.name(), &opened, &plain)?;
    }
    Ok(like)
}

/// Opens an input; also returns its columns as they are sent.
fn opened(input: &Input, options: &ReadOptions, like: Option<&Like>) -> Result<(Opened, SchemaRef), InputError> {
    let file = input.location.name();
    let opened = guarded(&file, || open_partitioned(input, options, like))?;
    let plain = plain_schema(&opened.schema, &file)?;
    Ok((opened, plain))
}

/// Opens an input, with the columns of its path.
fn open_partitioned(input: &Input, options: &ReadOptions, like: Option<&Like>) -> Result<Opened, InputError> {
    let (Location::File(path), [_, ..]) = (&input.location, input.partitions.as_slice()) else {
        return open_like(&input.location, options, like);
    };
    let mut partitions = input.partitions.clone();
    let mut options = options.clone();
    for partition in &mut partitions {
        if let Some((_, column_type)) = options.columns.iter().rev().find(|(name, _)| *name == partition.name) {
            partition.column_type = column_type.clone();
        }
    }
    // What `--column` says of them is not said of the file.
    options.columns.retain(|(name, _)| !partitions.iter().any(|partition| partition.name == *name));
    partitions::add(&partitions, path, open_like(&input.location, &options, like)?)
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
                    None => {
                        self.begin(input, known.take().unwrap_or_else(|| Like::unknown(self.options.union_by_name)), &opened, &plain)?
                    }
                };
                let fit = current.like.fit(&current.name, &file, &opened, &plain)?;
                let rows = self.insert_all(opened.rows, &current, (&plain, &fit), &file)?;
                self.log_skipped(opened.skipped.so_far(), rows, &file)?;
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

    /// Tells what was left out of a file of which `rows` rows were sent.
    fn log_skipped(&self, skipped: SkippedRows, rows: u64, file: &str) -> Result<(), Stop> {
        let SkippedRows { rows: left_out, first: Some((line, problem)) } = skipped else { return Ok(()) };
        if rows == 0 {
            let problem = format!("none of the {left_out} rows is well-formed; of the first, {problem}");
            return Err(InputError::Malformed { file: file.to_owned(), at: Position::Line(line), problem }.into());
        }
        let skipped = SkippedFile { file: file.to_owned(), rows: left_out, line, problem };
        self.sender.blocking_send(Some(Ok(Sent::Skipped(skipped)))).map_err(|_| Stop::Closed)
    }

    /// Sends the rows of a file, and returns how many they are; `fit` describes how its columns become the table's.
    fn insert_all(&self, mut rows: Rows, table: &Table, fit: (&SchemaRef, &Fit), file: &str) -> Result<u64, Stop> {
        let mut sent = 0;
        while let Some(batch) = guarded(file, || rows.next().transpose())? {
            let mut pieces = guarded(file, || Pieces::new(batch, file, sent, self.most_bytes))?;
            while let Some(piece) = guarded(file, || pieces.next().transpose())? {
                sent = self.insert(&piece, table, fit, file, sent)?;
            }
        }
        Ok(sent)
    }

    /// Sends the rows of a piece, which follow `sent` rows of the file; returns how many they are.
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
        self.sender.blocking_send(Some(Ok(Sent::Message(message)))).map_err(|_| Stop::Closed)
    }
}

fn unencodable(file: &str, error: &ArrowError) -> InputError {
    let problem = format!("cannot be encoded: {}", super::ipc::one_line(error));
    InputError::Malformed { file: file.to_owned(), at: Position::Whole, problem }
}

/// Decoders validate their input, but a crafted file may still make one panic: that is reported as a corrupt file.
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

/// The batch with the schema that names its table.
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
        // The first piece takes as many rows as allowed, or half of a batch that is too large; the rest is processed after it.
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

/// Bytes of a message besides its buffers: headers, and padding of the buffers of a column.
const HEADER_BYTES: usize = 4 << 10;
/// Padding and header bytes per column, see [`HEADER_BYTES`].
const COLUMN_BYTES: usize = 512;

/// Encodes one IPC stream: the schema, and rows if there are any.
fn encode(schema: &Schema, slice: Option<&Slice>) -> Result<Bytes, ArrowError> {
    let options = IpcWriteOptions::try_new(ALIGNMENT_BYTES, false, arrow_ipc::MetadataVersion::V5)?;
    // Allocated in one go: a growing buffer would leave gaps in the heap that are too small for later buffers.
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

    /// All messages of a reader.
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
            let _ = sender.blocking_send(Some(Ok(Sent::Message(Message::Migrate(Bytes::new())))));
            panic!("a bug");
        });
        let received = received(reader.unwrap()).await;
        assert!(matches!(received.as_slice(), [Ok(Message::Migrate(_)), Err(problem)] if problem.contains("not all")), "{received:?}");
    }

    #[tokio::test]
    async fn a_row_that_no_message_holds_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.ndjson");
        // Types are inferred from the first 10,000 rows, which are one message; the row after them is another.
        let first = "{\"a\":\"x\"}\n".repeat(super::super::SAMPLE_ROWS);
        std::fs::write(&file, format!("{first}{{\"a\":\"{}\"}}\n", "x".repeat(300_000))).unwrap();
        let inputs = vec![Input::new(Location::File(file), "t".to_owned())];
        let options = ReadOptions::default();
        let reader = MessageReader::spawn(move |sender| Worker { sender, options, most_bytes: 200_000 }.run(&inputs));
        let received = received(reader.unwrap()).await;
        let [Ok(Message::Migrate(_)), Ok(Message::Insert(_)), Err(problem)] = received.as_slice() else {
            panic!("{} messages", received.len())
        };
        assert!(problem.contains("t.ndjson, row 10001: ") && problem.ends_with("at most 200000 are accepted"), "{problem}");
    }

    #[tokio::test]
    async fn a_reader_that_has_read_everything_says_so() {
        assert!(received(MessageReader::spawn(|_| Ok(())).unwrap()).await.is_empty());
    }
}

//! Arrow IPC reader for the file and the stream format, with or without compression. Batches are read one at a time.

use super::unpack::{self, Claim};
use super::{InputError, Position, Rows, Schema};
use arrow_array::RecordBatch;
use arrow_ipc::reader::{FileReader, StreamReader, read_footer_length};
use arrow_ipc::{Block, Endianness, Message, MessageHeader};
use arrow_schema::ArrowError;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Opens a file in the file format.
pub(crate) fn open_file(input: File, file: Arc<str>) -> Result<(Schema, Rows), InputError> {
    let refused =
        |problem: &str| malformed(&file, Position::Whole, format!("not a complete Arrow IPC file (it may be truncated): {problem}"));
    let blocks = Blocks::new(&input).map_err(|problem| refused(&problem))?;
    if blocks.big_endian {
        return Err(big_endian(&file));
    }
    // Dictionaries are decompressed immediately.
    let dictionaries = blocks.dictionaries.iter().try_fold(Claim::default(), |sum, block| blocks.claim(block).map(|claim| sum.and(claim)));
    dictionaries.and_then(Claim::check).map_err(|problem| refused(&problem))?;
    let reader = FileReader::try_new(BufReader::new(input), None).map_err(|error| refused(&one_line(&error)))?;
    let schema = reader.schema();
    let checked = Checked { reader, blocks, next: 0 };
    Ok((schema, Box::new(Batches { reader: checked, file, read: 0, bytes: None })))
}

/// The positions of a file's messages.
struct Blocks {
    file: File,
    file_bytes: u64,
    dictionaries: Vec<Block>,
    batches: Vec<Block>,
    big_endian: bool,
}

impl Blocks {
    /// Reads the footer.
    fn new(input: &File) -> Result<Self, String> {
        let unreadable = |error: io::Error| error.to_string();
        let file = input.try_clone().map_err(unreadable)?;
        let file_bytes = file.metadata().map_err(unreadable)?.len();
        let mut tail = [0; FOOTER_TAIL_BYTES as usize];
        let at = file_bytes.checked_sub(FOOTER_TAIL_BYTES).ok_or("it is too short")?;
        file.read_exact_at(&mut tail, at).map_err(unreadable)?;
        let footer_bytes = read_footer_length(tail).map_err(|error| one_line(&error))?;
        let at = at.checked_sub(footer_bytes as u64).ok_or("its footer is longer than the file")?;
        let mut footer = vec![0; footer_bytes];
        file.read_exact_at(&mut footer, at).map_err(unreadable)?;
        let footer = arrow_ipc::root_as_footer(&footer).map_err(|error| format!("its footer is malformed: {error}"))?;
        let all = |blocks: Option<flatbuffers::Vector<'_, Block>>| blocks.iter().flatten().copied().collect();
        let big_endian = footer.schema().is_some_and(|schema| schema.endianness() != Endianness::Little);
        Ok(Self { file, file_bytes, dictionaries: all(footer.dictionaries()), batches: all(footer.recordBatches()), big_endian })
    }

    /// The claimed size of a message's buffers.
    fn claim(&self, block: &Block) -> Result<Claim, String> {
        let at = u64::try_from(block.offset()).unwrap_or(u64::MAX);
        let metadata_bytes = u64::try_from(block.metaDataLength()).unwrap_or(u64::MAX);
        let body = at.saturating_add(metadata_bytes);
        // The reader allocates memory for all of it at once.
        if body.saturating_add(u64::try_from(block.bodyLength()).unwrap_or(u64::MAX)) > self.file_bytes {
            return Err("a block of the footer is out of bounds".to_owned());
        }
        // At most the size of the file.
        let mut metadata = vec![0; metadata_bytes as usize];
        self.file.read_exact_at(&mut metadata, at).map_err(|error| format!("a message is cut off: {error}"))?;
        unpack::claim(&message_in(&metadata)?, |offset| {
            let mut claim = [0; 8];
            self.file.read_exact_at(&mut claim, body.saturating_add(offset)).map(|()| claim)
        })
    }
}

/// Bytes after the footer: its length, and the magic bytes that the file also starts with.
const FOOTER_TAIL_BYTES: u64 = 10;

/// The message after its length, with or without a continuation marker.
fn message_in(framed: &[u8]) -> Result<Message<'_>, String> {
    let prefix = if framed.starts_with(&CONTINUATION) { 8 } else { 4 };
    let metadata = framed.get(prefix..).ok_or("a message is cut off")?;
    arrow_ipc::root_as_message(metadata).map_err(|error| format!("a message is malformed: {error}"))
}

const CONTINUATION: [u8; 4] = [0xff; 4];

/// The batches of a file, each checked before it is decompressed.
struct Checked {
    reader: FileReader<BufReader<File>>,
    blocks: Blocks,
    next: usize,
}

impl Iterator for Checked {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let checked = self.blocks.batches.get(self.next).map_or(Ok(()), |block| self.blocks.claim(block).and_then(Claim::check));
        self.next += 1;
        match checked {
            Ok(()) => self.reader.next(),
            Err(problem) => Some(Err(ArrowError::IpcError(problem))),
        }
    }
}

/// Opens a file in the stream format.
pub(crate) fn open_stream(input: Box<dyn Read + Send>, file: Arc<str>) -> Result<(Schema, Rows), InputError> {
    let bytes = Arc::new(AtomicU64::new(0));
    let big = Arc::new(AtomicBool::new(false));
    let input = Passing::new(Counted { input, bytes: bytes.clone() }, big.clone());
    let reader = StreamReader::try_new(input, None).map_err(|error| {
        if big.load(Ordering::Relaxed) {
            return big_endian(&file);
        }
        let at = Position::Byte(bytes.load(Ordering::Relaxed));
        malformed(&file, at, format!("not an Arrow IPC stream (it may be truncated): {}", one_line(&error)))
    })?;
    let schema = reader.schema();
    Ok((schema, Box::new(Batches { reader, file, read: 0, bytes: Some(bytes) })))
}

/// The batches of a reader, with errors that name the position.
struct Batches<R> {
    reader: R,
    file: Arc<str>,
    /// Number of batches requested so far.
    read: usize,
    /// Bytes read so far, if they are read in order.
    bytes: Option<Arc<AtomicU64>>,
}

impl<R: Iterator<Item = Result<RecordBatch, ArrowError>>> Iterator for Batches<R> {
    type Item = Result<RecordBatch, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read += 1;
        let batch = self.reader.next()?;
        Some(batch.map_err(|error| {
            let at = self.bytes.as_ref().map_or(Position::Batch(self.read), |bytes| Position::Byte(bytes.load(Ordering::Relaxed)));
            malformed(&self.file, at, batch_error(&one_line(&error)))
        }))
    }
}

/// Passes a stream to its reader, message by message, and checks compressed messages first.
struct Passing<R> {
    input: R,
    /// Checked bytes that were not passed on yet.
    seen: io::Cursor<Vec<u8>>,
    /// Remaining bytes of a body that needs no check.
    unseen: u64,
    /// Set for a big-endian schema, whose numbers the reader would misinterpret.
    big_endian: Arc<AtomicBool>,
    /// Total size of all dictionaries so far.
    dictionaries: Claim,
}

impl<R: Read> Passing<R> {
    fn new(input: R, big_endian: Arc<AtomicBool>) -> Self {
        Self { input, seen: io::Cursor::default(), unseen: 0, big_endian, dictionaries: Claim::default() }
    }

    /// Reads the next message: all of a compressed one, otherwise up to its body. At the end of the input nothing remains; of a truncated message,
    /// what there is, and the reader reports it.
    fn look(&mut self) -> io::Result<()> {
        let mut seen = std::mem::take(&mut self.seen).into_inner();
        seen.clear();
        let mut length = self.word(&mut seen)?;
        if length == Some(u32::from_le_bytes(CONTINUATION)) {
            length = self.word(&mut seen)?;
        }
        let metadata_bytes = u64::from(length.unwrap_or(0));
        let whole = self.input.by_ref().take(metadata_bytes).read_to_end(&mut seen)? as u64 == metadata_bytes;
        if whole && metadata_bytes > 0 {
            let refused = |problem: String| io::Error::new(io::ErrorKind::InvalidData, problem);
            let metadata = seen.len();
            let body = Body::new(&message_in(&seen).map_err(refused)?);
            match body {
                Body::BigEndian => {
                    self.big_endian.store(true, Ordering::Relaxed);
                    return Err(refused(BIG_ENDIAN.to_owned()));
                }
                Body::Plain(bytes) => self.unseen = bytes,
                Body::Compressed(bytes) => {
                    // Grows with the input, whatever the length claims.
                    self.input.by_ref().take(bytes).read_to_end(&mut seen)?;
                    let (metadata, body) = seen.split_at(metadata);
                    let message = message_in(metadata).map_err(refused)?;
                    let claim = unpack::claim(&message, |offset| unpack::claim_in(body, offset)).map_err(refused)?;
                    if message.header_type() == MessageHeader::DictionaryBatch {
                        self.dictionaries = self.dictionaries.and(claim);
                    }
                    claim.check().and_then(|()| self.dictionaries.check()).map_err(refused)?;
                }
            }
        }
        self.seen = io::Cursor::new(seen);
        Ok(())
    }

    /// Four more bytes; [`None`] at the end of the input.
    fn word(&mut self, seen: &mut Vec<u8>) -> io::Result<Option<u32>> {
        let read = self.input.by_ref().take(4).read_to_end(seen)?;
        Ok(seen.last_chunk().filter(|_| read == 4).copied().map(u32::from_le_bytes))
    }
}

/// The body after a message's metadata.
enum Body {
    Plain(u64),
    Compressed(u64),
    /// Not readable: the message is a big-endian schema.
    BigEndian,
}

impl Body {
    fn new(message: &Message<'_>) -> Self {
        // The reader refuses a negative length.
        let bytes = u64::try_from(message.bodyLength()).unwrap_or(0);
        match message.header_as_schema() {
            Some(schema) if schema.endianness() != Endianness::Little => Self::BigEndian,
            _ if unpack::is_compressed(message) => Self::Compressed(bytes),
            _ => Self::Plain(bytes),
        }
    }
}

const BIG_ENDIAN: &str = "its numbers are big endian; write it on, or for, a machine whose numbers are little endian";

fn big_endian(file: &Arc<str>) -> InputError {
    malformed(file, Position::Whole, BIG_ENDIAN.to_owned())
}

impl<R: Read> Read for Passing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let seen = self.seen.read(buffer)?;
        if seen > 0 || buffer.is_empty() {
            return Ok(seen);
        }
        if self.unseen > 0 {
            let read = self.input.by_ref().take(self.unseen).read(buffer)?;
            self.unseen -= read as u64;
            return Ok(read);
        }
        self.look()?;
        self.seen.read(buffer)
    }
}

/// Counts the bytes read.
struct Counted {
    input: Box<dyn Read + Send>,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

fn malformed(file: &Arc<str>, at: Position, problem: String) -> InputError {
    InputError::Malformed { file: file.to_string(), at, problem }
}

/// The error message for a batch: it is corrupt, uses an unsupported feature, or is too large.
fn batch_error(message: &str) -> String {
    if is_unsupported(message) {
        return format!("unsupported Arrow IPC: {message}");
    }
    let what = if message.contains("are accepted") { "" } else { "truncated or corrupt Arrow IPC: " };
    format!("{what}{message}")
}

/// Whether a library's message reports an unsupported feature rather than a corrupt file.
pub(super) fn is_unsupported(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["nyi", "not supported", "unsupported", "not implemented", "not yet implemented"].iter().any(|word| message.contains(word))
}

/// The first line of a library's error message, at most 300 characters.
pub fn one_line(error: &ArrowError) -> String {
    error.to_string().lines().next().unwrap_or_default().chars().take(super::MAX_MESSAGE_CHARS).collect()
}

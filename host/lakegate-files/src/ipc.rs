//! Arrow IPC, file and stream form, with or without compressed bodies. Batches are read one at a time.

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

/// Opens the file form.
pub(crate) fn open_file(input: File, file: Arc<str>) -> Result<(Schema, Rows), InputError> {
    let refused = |problem: &str| malformed(&file, Position::Whole, format!("not a complete Arrow IPC file (it may be truncated): {problem}"));
    let blocks = Blocks::new(&input).map_err(|problem| refused(&problem))?;
    if blocks.big_endian {
        return Err(big_endian(&file));
    }
    // Dictionaries are unpacked at once.
    let dictionaries = blocks.dictionaries.iter().try_fold(Claim::default(), |sum, block| blocks.claim(block).map(|claim| sum.and(claim)));
    dictionaries.and_then(Claim::check).map_err(|problem| refused(&problem))?;
    let reader = FileReader::try_new(BufReader::new(input), None).map_err(|error| refused(&one_line(&error)))?;
    let schema = reader.schema();
    let checked = Checked { reader, blocks, next: 0 };
    Ok((schema, Box::new(Batches { reader: checked, file, read: 0, bytes: None })))
}

/// Where the messages of a file are.
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

    /// What the buffers of a message claim.
    fn claim(&self, block: &Block) -> Result<Claim, String> {
        let at = u64::try_from(block.offset()).unwrap_or(u64::MAX);
        let metadata_bytes = u64::try_from(block.metaDataLength()).unwrap_or(u64::MAX);
        let body = at.saturating_add(metadata_bytes);
        // The reader asks for the memory of all of it at once.
        if body.saturating_add(u64::try_from(block.bodyLength()).unwrap_or(u64::MAX)) > self.file_bytes {
            return Err("a block of the footer is out of bounds".to_owned());
        }
        // At most as long as the file.
        let mut metadata = vec![0; metadata_bytes as usize];
        self.file.read_exact_at(&mut metadata, at).map_err(|error| format!("a message is cut off: {error}"))?;
        unpack::claim(&message_in(&metadata)?, |offset| {
            let mut claim = [0; 8];
            self.file.read_exact_at(&mut claim, body.saturating_add(offset)).map(|()| claim)
        })
    }
}

/// Behind the footer: its length, and the word that the file begins with, too.
const FOOTER_TAIL_BYTES: u64 = 10;

/// The message behind a length, with or without a continuation mark.
fn message_in(framed: &[u8]) -> Result<Message<'_>, String> {
    let prefix = if framed.starts_with(&CONTINUATION) { 8 } else { 4 };
    let metadata = framed.get(prefix..).ok_or("a message is cut off")?;
    arrow_ipc::root_as_message(metadata).map_err(|error| format!("a message is malformed: {error}"))
}

const CONTINUATION: [u8; 4] = [0xff; 4];

/// The batches of a file, each looked at before it is unpacked.
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

/// Opens the stream form.
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

/// The batches of a reader, with errors that name the place.
struct Batches<R> {
    reader: R,
    file: Arc<str>,
    /// Batches asked for so far.
    read: usize,
    /// Bytes read so far, where they are read in order.
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

/// A stream on its way to its reader, message by message; compressed ones are looked at first.
struct Passing<R> {
    input: R,
    /// What has been looked at and not yet been passed on.
    seen: io::Cursor<Vec<u8>>,
    /// Bytes of a body that need not be looked at.
    unseen: u64,
    /// Is raised for a schema whose numbers have their highest byte first: the reader would take them as they are.
    big_endian: Arc<AtomicBool>,
    /// What all dictionaries so far take.
    dictionaries: Claim,
}

impl<R: Read> Passing<R> {
    fn new(input: R, big_endian: Arc<AtomicBool>) -> Self {
        Self { input, seen: io::Cursor::default(), unseen: 0, big_endian, dictionaries: Claim::default() }
    }

    /// Reads the next message: all of a compressed one, of any other what stands before its body. Nothing is left at the end of the input,
    /// and of a message that is cut off as much as there is: that is for the reader to say.
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
                    // Grows with what arrives, whatever the length claims.
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

    /// Four bytes more; [`None`] where the input ends.
    fn word(&mut self, seen: &mut Vec<u8>) -> io::Result<Option<u32>> {
        let read = self.input.by_ref().take(4).read_to_end(seen)?;
        Ok(seen.last_chunk().filter(|_| read == 4).copied().map(u32::from_le_bytes))
    }
}

/// What follows a message's metadata.
enum Body {
    Plain(u64),
    Compressed(u64),
    /// Nothing that can be read: the message is a schema of numbers with their highest byte first.
    BigEndian,
}

impl Body {
    fn new(message: &Message<'_>) -> Self {
        // The reader refuses a length below zero.
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

/// Counts what has been read.
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

/// What is wrong with a batch: it is broken, or asks for what the reader has not, or for more than it gives.
fn batch_error(message: &str) -> String {
    if is_unsupported(message) {
        return format!("unsupported Arrow IPC: {message}");
    }
    let what = if message.contains("are accepted") { "" } else { "truncated or corrupt Arrow IPC: " };
    format!("{what}{message}")
}

/// Does a library's message say that it lacks something, rather than the file?
pub(super) fn is_unsupported(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["nyi", "not supported", "unsupported", "not implemented", "not yet implemented"].iter().any(|word| message.contains(word))
}

/// One line of what the library says of an error, of at most 300 characters.
pub fn one_line(error: &ArrowError) -> String {
    error.to_string().lines().next().unwrap_or_default().chars().take(super::MAX_MESSAGE_CHARS).collect()
}

//! Opens an input: decompresses and decodes it, detects its format (by its first bytes, then by its name) and chooses the reader.

use super::compression::{Compression, without_ending};
use super::encoding::{self, Decoded, Encoding};
use super::like::Like;
use super::magic::{self, HEAD_BYTES, Stranger};
use super::options::{InputFormat, Location, ReadOptions};
use super::sniff::Sample;
use super::{InputError, Opened, Position, Rows, Schema, csv, ipc, ndjson, parquet};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;
use std::sync::Arc;

/// Bytes per read from disk.
const READ_BYTES: usize = 256 << 10;
/// Bytes of CSV in which its encoding and its dialect are detected.
const SAMPLE_BYTES: usize = 1 << 20;

/// Opens an input: reads as much as its schema needs.
///
/// # Errors
/// It cannot be read, or is invalid.
pub fn open(location: &Location, options: &ReadOptions) -> Result<(Schema, Rows), InputError> {
    open_like(location, options, None).map(|opened| (opened.schema, opened.rows))
}

/// As [`open`], for one of several files of a table; `like` is what is known about the table.
pub(crate) fn open_like(location: &Location, options: &ReadOptions, like: Option<&Like>) -> Result<Opened, InputError> {
    let name: Arc<str> = location.name().into();
    let failed = |cause: io::Error| InputError::Io { file: name.to_string(), cause };
    let mut content = match location {
        Location::File(path) => Content::from_file(File::open(path).map_err(failed)?),
        Location::Stdin => Content::from_stdin(),
    }
    .map_err(failed)?;
    content.unpack().map_err(|(compression, cause)| unpack_failed(&name, compression, &cause))?;
    let not_read = |Stranger { what, advice }| Err(InputError::NotRead { file: name.to_string(), what, advice });
    let said_binary = matches!(options.format, Some(InputFormat::Parquet | InputFormat::Ipc));
    let is_binary = said_binary || content.binary().is_some();
    let marked = if is_binary { None } else { options.encoding.or_else(|| encoding::marked(&content.head)) };
    if let Some(encoding) = marked.filter(|encoding| !encoding.is_utf8()) {
        content = content.decode(encoding, options.encoding.is_none(), HEAD_BYTES).map_err(|cause| decode_failed(&name, &cause))?;
    }
    if let Some(stranger) = magic::stranger(&content.head, content.compression.is_some(), !said_binary) {
        return not_read(stranger);
    }
    let detected = options.format.or_else(|| content.detect(location, options.csv.first_set().is_some()));
    let is_array = options.format.is_none() && magic::is_array(&content.head, detected);
    let detected = if is_array { Some(InputFormat::Ndjson) } else { detected };
    let format = detected.ok_or_else(|| InputError::UnknownFormat { file: name.to_string() })?;
    let by_line = !magic::is_document(&content.head);
    let mut opened = match format {
        InputFormat::Csv => content.open_csv(&name, b',', options, like),
        InputFormat::Tsv => content.open_csv(&name, b'\t', options, like),
        InputFormat::Ndjson => ndjson::open(content.reader, by_line, name.clone(), options, like),
        InputFormat::Parquet => parquet::open(content.into_file(&name, "Parquet", b"PAR1", options)?, name.clone()).map(Opened::from),
        InputFormat::Ipc if content.head.starts_with(b"ARROW1") => {
            ipc::open_file(content.into_file(&name, "an Arrow IPC file", b"ARROW1", options)?, name.clone()).map(Opened::from)
        }
        InputFormat::Ipc => ipc::open_stream(content.reader, name.clone()).map(Opened::from),
    }?;
    check_columns(&opened.schema, format, &name, options)?;
    opened.notes.iter_mut().for_each(|note| *note = format!("{name}: {note}"));
    Ok(opened)
}

/// Checks that every `--column` names a text column, and that what says how CSV or text is written is only given for it.
fn check_columns(schema: &Schema, format: InputFormat, file: &str, options: &ReadOptions) -> Result<(), InputError> {
    if !options.columns_required {
        return Ok(());
    }
    let csv = matches!(format, InputFormat::Csv | InputFormat::Tsv);
    let refused = |problem: String| Err(InputError::Malformed { file: file.to_owned(), at: Position::Whole, problem });
    if let Some(option) = options.csv.first_set().filter(|_| !csv) {
        return refused(format!("{option} says how CSV is written; this file is none"));
    }
    if options.encoding.is_some() && matches!(format, InputFormat::Parquet | InputFormat::Ipc) {
        return refused("--encoding says how text is written; this file is none".to_owned());
    }
    let text = csv || format == InputFormat::Ndjson;
    let names: HashSet<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    match options.columns.iter().find(|(name, _)| !text || !names.contains(name.as_str())) {
        Some((name, _)) => Err(InputError::Column {
            file: file.to_owned(),
            column: name.clone(),
            problem: if text {
                let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                format!("--column names no column of the file; it has: {}", names.join(", "))
            } else {
                "--column sets types of CSV and NDJSON; this file brings its own".to_owned()
            },
        }),
        None => Ok(()),
    }
}

fn unpack_failed(name: &str, compression: Compression, cause: &io::Error) -> InputError {
    let problem = format!("not a complete {} file: {cause}", compression.name());
    InputError::Malformed { file: name.to_owned(), at: Position::Byte(0), problem }
}

fn decode_failed(name: &str, cause: &io::Error) -> InputError {
    InputError::Malformed { file: name.to_owned(), at: Position::Line(1), problem: format!("cannot be read: {cause}") }
}

/// The content of an input, with its first bytes.
struct Content {
    reader: Box<dyn BufRead + Send>,
    /// The file itself, unless it is decompressed.
    file: Option<File>,
    head: Vec<u8>,
    compression: Option<Compression>,
    /// What it is decoded from, and whether that was guessed.
    decoded: Option<(Encoding, bool)>,
}

impl Content {
    fn from_file(file: File) -> io::Result<Self> {
        if file.metadata()?.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
        }
        let regular = file.metadata()?.is_file();
        let reader = Box::new(BufReader::with_capacity(READ_BYTES, file.try_clone()?));
        let file = regular.then_some(file);
        Self { reader, file, head: Vec::new(), compression: None, decoded: None }.peeked(HEAD_BYTES)
    }

    fn from_stdin() -> io::Result<Self> {
        let reader = Box::new(BufReader::with_capacity(READ_BYTES, io::stdin()));
        Self { reader, file: None, head: Vec::new(), compression: None, decoded: None }.peeked(HEAD_BYTES)
    }

    /// Reads the first bytes; since a pipe may provide fewer than requested at a time, they are collected and put back.
    fn peeked(mut self, bytes: usize) -> io::Result<Self> {
        let mut head = Vec::new();
        let looked = self.reader.by_ref().take(bytes as u64).read_to_end(&mut head);
        // A truncated stream, or a byte that is no character, is reported by the reader, which knows the line.
        let broken = match looked {
            Err(error) if head.is_empty() || (self.compression.is_none() && self.decoded.is_none()) => return Err(error),
            Err(error) => Some(error),
            Ok(_) => None,
        };
        let rest: Box<dyn Read + Send> = match broken {
            Some(error) => Box::new(Broken(Some(error))),
            None => Box::new(self.reader),
        };
        let reader = Box::new(BufReader::with_capacity(READ_BYTES, io::Cursor::new(head.clone()).chain(rest)));
        Ok(Self { reader, head, ..self })
    }

    /// Decompresses it, if it is compressed.
    fn unpack(&mut self) -> Result<(), (Compression, io::Error)> {
        let Some(compression) = Compression::detect(&self.head) else { return Ok(()) };
        let outer = std::mem::replace(&mut self.reader, Box::new(io::empty()));
        let failed = |cause| (compression, cause);
        let inner = BufReader::with_capacity(READ_BYTES, compression.open(outer).map_err(failed)?);
        let content = Self { reader: Box::new(inner), file: None, head: Vec::new(), compression: Some(compression), decoded: None };
        *self = content.peeked(HEAD_BYTES).map_err(failed)?;
        Ok(())
    }

    /// Decodes it to UTF-8, and reads this many of its first bytes; `guessed` if nobody has said that it is in this encoding.
    fn decode(self, encoding: Encoding, guessed: bool, bytes: usize) -> io::Result<Self> {
        let reader = BufReader::with_capacity(READ_BYTES, Decoded::new(self.reader, encoding, guessed));
        Self { reader: Box::new(reader), file: None, decoded: Some((encoding, guessed)), ..self }.peeked(bytes)
    }

    /// The format of a binary file, which begins with its name.
    fn binary(&self) -> Option<InputFormat> {
        // `PARE` is an encrypted file, which the Parquet reader refuses.
        if self.head.starts_with(b"PAR1") || self.head.starts_with(b"PARE") {
            return Some(InputFormat::Parquet);
        }
        (self.head.starts_with(b"ARROW1") || self.head.starts_with(&[0xff; 4])).then_some(InputFormat::Ipc)
    }

    /// Detects the format; `delimited` if the user has said how CSV is written.
    fn detect(&self, location: &Location, delimited: bool) -> Option<InputFormat> {
        if let Some(format) = self.binary() {
            return Some(format);
        }
        let by_name = match location {
            Location::File(path) => by_extension(path, self.compression.is_some()),
            Location::Stdin => None,
        };
        if !delimited && magic::is_ndjson(&self.head) {
            return Some(InputFormat::Ndjson);
        }
        by_name.or_else(|| {
            let text = self.head.strip_prefix(b"\xef\xbb\xbf".as_slice()).unwrap_or(&self.head);
            match text.iter().find(|byte| !byte.is_ascii_whitespace())? {
                _ if delimited => Some(InputFormat::Csv),
                b'{' => Some(InputFormat::Ndjson),
                b'[' => None,
                _ if *location == Location::Stdin => Some(InputFormat::Csv),
                _ => None,
            }
        })
    }

    fn open_csv(mut self, name: &Arc<str>, usual: u8, options: &ReadOptions, like: Option<&Like>) -> Result<Opened, InputError> {
        let failed = |cause: io::Error| InputError::Io { file: name.to_string(), cause };
        self = self.peeked(SAMPLE_BYTES).map_err(failed)?;
        let whole = |content: &Self| content.head.len() < SAMPLE_BYTES;
        if self.decoded.is_none() && options.encoding.is_none() {
            let refused = |problem| InputError::Malformed { file: name.to_string(), at: Position::Whole, problem };
            let guess = encoding::guess(&self.head, whole(&self)).map_err(refused)?;
            if !guess.is_utf8() {
                self = self.decode(guess, true, SAMPLE_BYTES).map_err(failed)?;
            }
        }
        let sample = Sample::new(&self.head, whole(&self), name.clone());
        let sniffed = sample.sniff(usual, &options.csv)?;
        let mut unusual = sniffed.unusual;
        if let Some((encoding, true)) = self.decoded {
            unusual.push((format!("in {}", encoding.name()), "--encoding"));
        }
        let mut opened = csv::open(self.reader, name.clone(), sniffed.dialect, options, like)?;
        let notes = one_line(&unusual).into_iter().chain(sniffed.doubts);
        drop(opened.notes.splice(..0, notes));
        Ok(opened)
    }

    /// The whole content as a seekable file: the file itself, or an unnamed copy. It must start with `magic`.
    fn into_file(self, name: &str, what: &'static str, magic: &[u8], options: &ReadOptions) -> Result<File, InputError> {
        let mut file = match self.file {
            Some(file) => file,
            // Do not copy a file that is obviously something else.
            None if !self.head.starts_with(magic) => {
                let problem = format!("not {what}: it does not begin with {}", String::from_utf8_lossy(magic));
                return Err(InputError::Malformed { file: name.to_owned(), at: Position::Byte(0), problem });
            }
            None => options.spool.copy(self.reader, name, what)?,
        };
        file.rewind().map_err(|cause| InputError::Io { file: name.to_owned(), cause })?;
        Ok(file)
    }
}

/// What is unusual about a file of CSV, and how to override it.
fn one_line(unusual: &[(String, &'static str)]) -> Option<String> {
    let (said, options): (Vec<&str>, Vec<&str>) = unusual.iter().map(|(said, option)| (said.as_str(), *option)).unzip();
    let options: Vec<&str> = options.into_iter().filter(|option| !option.is_empty()).collect();
    let override_with = if options.is_empty() { String::new() } else { format!(" (set {} to override)", options.join(", ")) };
    (!said.is_empty()).then(|| format!("read as CSV {}{override_with}", said.join(", ")))
}

/// The position in a stream where reading failed.
struct Broken(Option<io::Error>);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// The format according to a file's name.
fn by_extension(path: &Path, compressed: bool) -> Option<InputFormat> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let name = if compressed { without_ending(&name) } else { &name };
    Some(match name.rsplit_once('.')?.1 {
        "parquet" | "pq" => InputFormat::Parquet,
        "csv" => InputFormat::Csv,
        "tsv" => InputFormat::Tsv,
        "ndjson" | "jsonl" | "json" => InputFormat::Ndjson,
        "arrow" | "arrows" | "ipc" | "feather" => InputFormat::Ipc,
        _ => return None,
    })
}

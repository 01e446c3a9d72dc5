//! Opens an input: detects its format (by its first bytes, then by its name) and chooses the reader.

use super::delimiter::{self, Delimiter};
use super::like::Like;
use super::magic::{self, HEAD_BYTES, Stranger};
use super::options::{InputFormat, Location, ReadOptions};
use super::{InputError, Opened, Position, Rows, Schema, csv, ipc, ndjson, parquet};
use flate2::read::MultiGzDecoder;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;
use std::sync::Arc;

/// Bytes per read from disk.
const READ_BYTES: usize = 256 << 10;

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
        Location::File(path) => Content::of_file(File::open(path).map_err(failed)?),
        Location::Stdin => Content::of_stdin(),
    }
    .map_err(failed)?;
    content.unzip().map_err(|cause| gzip_failed(&name, &cause))?;
    let not_read = |Stranger { what, advice }| Err(InputError::NotRead { file: name.to_string(), what, advice });
    let said_binary = matches!(options.format, Some(InputFormat::Parquet | InputFormat::Ipc));
    if let Some(stranger) = magic::stranger(&content.head, content.zipped, !said_binary) {
        return not_read(stranger);
    }
    let detected = options.format.or_else(|| content.detect(location, options.delimiter.is_some()));
    if let Some(array) = magic::array(&content.head, detected, options.format.is_some()) {
        return not_read(array);
    }
    let format = detected.ok_or_else(|| InputError::UnknownFormat { file: name.to_string() })?;
    let mut opened = match format {
        InputFormat::Csv => content.open_csv(&name, b',', options, like),
        InputFormat::Tsv => content.open_csv(&name, b'\t', options, like),
        InputFormat::Ndjson => ndjson::open(content.reader, name.clone(), options, like),
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

/// Checks that every `--column` names a text column, and that `--delimiter` is only given for CSV.
fn check_columns(schema: &Schema, format: InputFormat, file: &str, options: &ReadOptions) -> Result<(), InputError> {
    if !options.columns_required {
        return Ok(());
    }
    let csv = matches!(format, InputFormat::Csv | InputFormat::Tsv);
    if options.delimiter.is_some() && !csv {
        let problem = "--delimiter is what separates the columns of CSV; this file is none".to_owned();
        return Err(InputError::Malformed { file: file.to_owned(), at: Position::Whole, problem });
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

fn gzip_failed(name: &str, cause: &io::Error) -> InputError {
    InputError::Malformed { file: name.to_owned(), at: Position::Byte(0), problem: format!("not a complete gzip file: {cause}") }
}

/// The content of an input, with its first bytes.
struct Content {
    reader: Box<dyn BufRead + Send>,
    /// The file itself, unless it is decompressed.
    file: Option<File>,
    head: Vec<u8>,
    zipped: bool,
}

impl Content {
    fn of_file(file: File) -> io::Result<Self> {
        if file.metadata()?.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::IsADirectory,
                "it is a directory; name the files in it, or use a pattern such as DIR/*.csv",
            ));
        }
        let regular = file.metadata()?.is_file();
        let reader = Box::new(BufReader::with_capacity(READ_BYTES, file.try_clone()?));
        Self::peeked(reader, regular.then_some(file), false)
    }

    fn of_stdin() -> io::Result<Self> {
        Self::peeked(Box::new(BufReader::with_capacity(READ_BYTES, io::stdin())), None, false)
    }

    /// Reads the first bytes; since a pipe may provide fewer than requested at a time, they are collected and put back.
    fn peeked(mut reader: Box<dyn BufRead + Send>, file: Option<File>, zipped: bool) -> io::Result<Self> {
        let mut head = Vec::new();
        let looked = reader.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head);
        // A truncated gzip stream is reported by the reader, which knows the line.
        let broken = match looked {
            Err(error) if head.is_empty() || !zipped => return Err(error),
            Err(error) => Some(error),
            Ok(_) => None,
        };
        let rest: Box<dyn Read + Send> = match broken {
            Some(error) => Box::new(Broken(Some(error))),
            None => Box::new(reader),
        };
        let reader = Box::new(BufReader::with_capacity(READ_BYTES, io::Cursor::new(head.clone()).chain(rest)));
        Ok(Self { reader, file, head, zipped })
    }

    /// Decompresses gzip, if it is one.
    fn unzip(&mut self) -> io::Result<()> {
        if !self.head.starts_with(&[0x1f, 0x8b]) {
            return Ok(());
        }
        let outer = std::mem::replace(&mut self.reader, Box::new(io::empty()));
        let inner = BufReader::with_capacity(READ_BYTES, MultiGzDecoder::new(outer));
        *self = Self::peeked(Box::new(inner), None, true)?;
        Ok(())
    }

    /// Detects the format; `delimited` if the user has specified a delimiter.
    fn detect(&self, location: &Location, delimited: bool) -> Option<InputFormat> {
        // `PARE` is an encrypted file, which the Parquet reader refuses.
        if self.head.starts_with(b"PAR1") || self.head.starts_with(b"PARE") {
            return Some(InputFormat::Parquet);
        }
        if self.head.starts_with(b"ARROW1") || self.head.starts_with(&[0xff; 4]) {
            return Some(InputFormat::Ipc);
        }
        let by_name = match location {
            Location::File(path) => by_extension(path, self.zipped),
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

    fn open_csv(self, name: &Arc<str>, usual: u8, options: &ReadOptions, like: Option<&Like>) -> Result<Opened, InputError> {
        let detected = match options.delimiter {
            Some(Delimiter(delimiter)) => delimiter::Detected { delimiter, note: None },
            None => delimiter::detect(&self.head, self.head.len() < HEAD_BYTES, usual),
        };
        let mut opened = csv::open(self.reader, name.clone(), detected.delimiter, options, like)?;
        opened.notes.extend(detected.note);
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

/// The position in a stream where reading failed.
struct Broken(Option<io::Error>);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// The format according to a file's name.
fn by_extension(path: &Path, zipped: bool) -> Option<InputFormat> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let name = if zipped { name.strip_suffix(".gz").unwrap_or(&name) } else { &name };
    Some(match name.rsplit_once('.')?.1 {
        "parquet" | "pq" => InputFormat::Parquet,
        "csv" => InputFormat::Csv,
        "tsv" => InputFormat::Tsv,
        "ndjson" | "jsonl" | "json" => InputFormat::Ndjson,
        "arrow" | "arrows" | "ipc" | "feather" => InputFormat::Ipc,
        _ => return None,
    })
}

//! From a name to rows: what a file is (its first bytes, then its name), and the reader for it.

use super::columns::ColumnType;
use super::{InputError, Position, Rows, Schema, csv, ipc, ndjson, parquet};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a read from the disk.
const READ_BYTES: usize = 256 << 10;
/// Bytes looked at to tell what a file is.
const MAGIC_BYTES: usize = 6;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum InputFormat {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values with a header line.
    Csv,
    /// Tab-separated values with a header line.
    Tsv,
    /// One JSON object a line.
    Ndjson,
    /// Arrow IPC, file or stream form.
    Ipc,
}

/// Where an input is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

impl Location {
    /// How messages name it.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "standard input".to_owned(),
        }
    }

    /// Does it give its bytes once? Standard input does, and so does whatever is no regular file: a pipe (`<(command)`), a socket, a device.
    pub(crate) fn is_stream(&self) -> bool {
        match self {
            // Where `/dev/fd/N` is the descriptor itself, a second open goes on where the first has ended, of a regular file too.
            Self::File(path) => path.starts_with("/dev") || path.metadata().is_ok_and(|it| !it.is_file() && !it.is_dir()),
            Self::Stdin => true,
        }
    }
}

/// How inputs are read.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// What they are, if content and name are not to be asked.
    pub format: Option<InputFormat>,
    /// Types of columns of CSV and NDJSON; the last one of a name wins.
    pub columns: Vec<(String, ColumnType)>,
    /// Must every one of `columns` be in each input? (Otherwise those that are not are passed over.)
    pub columns_required: bool,
}

/// Opens an input: reads as much as its schema needs.
///
/// # Errors
/// It cannot be read, or is not what it should be.
pub fn open(location: &Location, options: &ReadOptions) -> Result<(Schema, Rows), InputError> {
    let name: Arc<str> = location.name().into();
    let failed = |cause: io::Error| InputError::Io { file: name.to_string(), cause };
    let mut content = match location {
        Location::File(path) => Content::of_file(File::open(path).map_err(failed)?),
        Location::Stdin => Content::of_stdin(),
    }
    .map_err(failed)?;
    content.unzip().map_err(|cause| gzip_failed(&name, &cause))?;
    let format = match options.format {
        Some(format) => format,
        None => content.detect(location).ok_or_else(|| InputError::UnknownFormat { file: name.to_string() })?,
    };
    let (schema, rows) = match format {
        InputFormat::Csv => csv::open(content.reader, name.clone(), b',', &options.columns),
        InputFormat::Tsv => csv::open(content.reader, name.clone(), b'\t', &options.columns),
        InputFormat::Ndjson => ndjson::open(content.reader, name.clone(), &options.columns),
        InputFormat::Parquet => parquet::open(content.into_file().map_err(failed)?, name.clone()),
        InputFormat::Ipc if content.magic.starts_with(b"ARROW1") => ipc::open_file(content.into_file().map_err(failed)?, name.clone()),
        InputFormat::Ipc => ipc::open_stream(content.reader, name.clone()),
    }?;
    check_columns(&schema, format, &name, options)?;
    Ok((schema, rows))
}

/// Every `--column` must name a column that it can set.
fn check_columns(schema: &Schema, format: InputFormat, file: &str, options: &ReadOptions) -> Result<(), InputError> {
    let text = matches!(format, InputFormat::Csv | InputFormat::Tsv | InputFormat::Ndjson);
    let unknown = options.columns.iter().find(|(name, _)| !text || schema.field_with_name(name).is_err());
    match unknown {
        Some((name, _)) if options.columns_required => Err(InputError::Column {
            file: file.to_owned(),
            column: name.clone(),
            problem: if text {
                let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                format!("--column names no column of the file; it has: {}", names.join(", "))
            } else {
                "--column sets types of CSV and NDJSON; this file brings its own".to_owned()
            },
        }),
        _ => Ok(()),
    }
}

fn gzip_failed(name: &str, cause: &io::Error) -> InputError {
    InputError::Malformed { file: name.to_owned(), at: Position::Byte(0), problem: format!("not a whole gzip file: {cause}") }
}

/// The bytes of an input, with a look at the first few.
struct Content {
    reader: Box<dyn BufRead + Send>,
    /// The file itself, as long as nothing has been decompressed.
    file: Option<File>,
    magic: Vec<u8>,
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

    /// Looks at the first bytes; a pipe may hand over fewer than asked for at a time, so they are collected and put back.
    fn peeked(mut reader: Box<dyn BufRead + Send>, file: Option<File>, zipped: bool) -> io::Result<Self> {
        let mut magic = Vec::new();
        reader.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut magic)?;
        let reader = Box::new(BufReader::with_capacity(READ_BYTES, io::Cursor::new(magic.clone()).chain(reader)));
        Ok(Self { reader, file, magic, zipped })
    }

    /// Looks inside gzip.
    fn unzip(&mut self) -> io::Result<()> {
        if !self.magic.starts_with(&[0x1f, 0x8b]) {
            return Ok(());
        }
        let outer = std::mem::replace(&mut self.reader, Box::new(io::empty()));
        let inner = BufReader::with_capacity(READ_BYTES, MultiGzDecoder::new(outer));
        *self = Self::peeked(Box::new(inner), None, true)?;
        Ok(())
    }

    fn detect(&self, location: &Location) -> Option<InputFormat> {
        // The other one is of an encrypted file, which is for its reader to refuse.
        if self.magic.starts_with(b"PAR1") || self.magic.starts_with(b"PARE") {
            return Some(InputFormat::Parquet);
        }
        if self.magic.starts_with(b"ARROW1") || self.magic.starts_with(&[0xff; 4]) {
            return Some(InputFormat::Ipc);
        }
        let by_name = match location {
            Location::File(path) => by_extension(path, self.zipped),
            Location::Stdin => None,
        };
        by_name.or_else(|| {
            let text = self.magic.strip_prefix(b"\xef\xbb\xbf".as_slice()).unwrap_or(&self.magic);
            match text.iter().find(|byte| !byte.is_ascii_whitespace())? {
                b'{' => Some(InputFormat::Ndjson),
                _ if *location == Location::Stdin => Some(InputFormat::Csv),
                _ => None,
            }
        })
    }

    /// The whole content as a file that can be read at any place: the file itself, or a copy without a name.
    fn into_file(mut self) -> io::Result<File> {
        let mut file = match self.file {
            Some(file) => file,
            None => {
                let mut spool = tempfile::tempfile()?;
                io::copy(&mut self.reader, &mut spool)?;
                spool
            }
        };
        file.rewind()?;
        Ok(file)
    }
}

/// What the name of a file says it is.
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

//! The formats: a row of facts for each ([`FORMATS`]), and their options.

use std::num::NonZeroU64;

/// What is known of a format beside how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormatFacts {
    /// As the spec names it.
    pub name: &'static str,
    /// What `{{FORMAT}}` stands for.
    pub extension: &'static str,
    /// What `{{FORMAT}}` stands for under gzip; [`None`]: the format compresses inside, and gzip around it is refused.
    pub gzip_extension: Option<&'static str>,
    /// The `Content-Type` of its objects, unless the spec names another.
    pub content_type: &'static str,
    /// Is there an object without rows that still says which columns there are?
    pub has_empty_object: bool,
}

/// Every format.
pub const FORMATS: [FormatFacts; 3] = [CSV, JSON, PARQUET];

const CSV: FormatFacts =
    FormatFacts { name: "csv", extension: "csv", gzip_extension: Some("csv.gz"), content_type: "text/csv", has_empty_object: false };

const JSON: FormatFacts = FormatFacts {
    name: "json",
    extension: "json",
    gzip_extension: Some("json.gz"),
    content_type: "application/json",
    has_empty_object: false,
};

const PARQUET: FormatFacts = FormatFacts {
    name: "parquet",
    extension: "parquet",
    gzip_extension: None,
    content_type: "application/vnd.apache.parquet",
    has_empty_object: true,
};

/// The `Content-Type` of an object under gzip, whatever its format.
const GZIP_CONTENT_TYPE: &str = "application/gzip";

impl FormatFacts {
    /// May gzip be put around it?
    pub fn is_compressible(&self) -> bool {
        self.gzip_extension.is_some()
    }

    /// What `{{FORMAT}}` stands for.
    pub fn extension(&self, compression: Compression) -> &'static str {
        match compression {
            Compression::None => self.extension,
            Compression::Gzip => self.gzip_extension.unwrap_or(self.extension),
        }
    }

    /// The `Content-Type` of its objects, unless the spec names another.
    pub fn content_type(&self, compression: Compression) -> &'static str {
        match compression {
            Compression::None => self.content_type,
            Compression::Gzip => GZIP_CONTENT_TYPE,
        }
    }
}

/// Compression around an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Compression {
    None,
    Gzip,
}

/// What is written, with the format's own options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values.
    Csv(CsvOptions),
    /// One JSON object a line.
    Json(JsonOptions),
    /// Apache Parquet.
    Parquet(ParquetOptions),
}

impl Format {
    /// Its row of [`FORMATS`].
    pub fn facts(&self) -> &'static FormatFacts {
        match self {
            Self::Csv(_) => &CSV,
            Self::Json(_) => &JSON,
            Self::Parquet(_) => &PARQUET,
        }
    }

    /// As the spec names it.
    pub fn name(&self) -> &'static str {
        self.facts().name
    }
}

/// Options of CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CsvOptions {
    /// One ASCII byte; never `"`, CR or LF.
    pub delimiter: u8,
    /// Leave the line of column names out?
    pub skip_header: bool,
    /// What stands for a null; absent: nothing.
    pub null_value: Option<NullText>,
    /// Is every value in quotes?
    pub quotes_all: bool,
    /// What ends a line.
    pub line_ending: LineEnding,
}

/// What stands for a null in CSV: a short text that needs no quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NullText {
    bytes: [u8; Self::MOST_BYTES],
    length: u8,
}

impl NullText {
    /// Its length at most.
    pub const MOST_BYTES: usize = 16;

    /// A text of 1 to 16 signs of ASCII that cannot be taken for a quote, the delimiter, or the end of the data (`\.`).
    pub fn new(text: &str, delimiter: u8) -> Option<Self> {
        let mut bytes = [0; Self::MOST_BYTES];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        let is_good = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != delimiter;
        (!text.is_empty() && text != r"\." && text.bytes().all(is_good)).then_some(Self { bytes, length: text.len() as u8 })
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

/// What ends a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LineEnding {
    /// `\n`.
    #[default]
    Lf,
    /// `\r\n`.
    CrLf,
}

impl LineEnding {
    pub(super) const ALL: [Self; 2] = [Self::Lf, Self::CrLf];

    /// As the spec names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lf => "lf",
            Self::CrLf => "crlf",
        }
    }

    /// As it is written.
    pub fn bytes(self) -> &'static [u8] {
        match self {
            Self::Lf => b"\n",
            Self::CrLf => b"\r\n",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

/// Options of JSON lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JsonOptions {
    /// Are members that are null left out? (Of a row; not those of objects in it.)
    pub omit_nulls: bool,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self { delimiter: b',', skip_header: false, null_value: None, quotes_all: false, line_ending: LineEnding::Lf }
    }
}

/// Options of Parquet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParquetOptions {
    /// The format version.
    pub version: ParquetVersion,
    /// The repetition of the root schema element.
    pub root_repetition: RootRepetition,
    /// Rows of a row group at most.
    pub max_row_group_rows: NonZeroU64,
}

impl ParquetOptions {
    /// 128 Mi rows, the reference's default: far more than any object has in practice.
    pub(super) const DEFAULT_ROW_GROUP_ROWS: u32 = 134_217_728;
}

impl Default for ParquetOptions {
    fn default() -> Self {
        const ROWS: NonZeroU64 = NonZeroU64::new(ParquetOptions::DEFAULT_ROW_GROUP_ROWS as u64).unwrap();
        Self { version: ParquetVersion::V2Latest, root_repetition: RootRepetition::Repeated, max_row_group_rows: ROWS }
    }
}

/// The Parquet format version, as the spec names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the format's")]
pub enum ParquetVersion {
    V1_0,
    V2_4,
    V2_6,
    V2Latest,
}

impl ParquetVersion {
    pub(super) const ALL: [Self; 4] = [Self::V1_0, Self::V2_4, Self::V2_6, Self::V2Latest];

    /// As the spec names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1_0 => "v1.0",
            Self::V2_4 => "v2.4",
            Self::V2_6 => "v2.6",
            Self::V2Latest => "v2Latest",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

/// The repetition of Parquet's root schema element (Snowflake and others read it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Parquet's")]
pub enum RootRepetition {
    Undefined,
    Required,
    Optional,
    Repeated,
}

impl RootRepetition {
    pub(super) const ALL: [Self; 4] = [Self::Undefined, Self::Required, Self::Optional, Self::Repeated];

    /// As the spec names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Undefined => "undefined",
            Self::Required => "required",
            Self::Optional => "optional",
            Self::Repeated => "repeated",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

//! The formats: a row of facts for each ([`FORMATS`]), and their options.

use std::num::NonZeroU64;

/// What is known of a format beside how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormatFacts {
    /// As the spec names it.
    pub name: &'static str,
    /// What `{{FORMAT}}` stands for.
    pub extension: &'static str,
    /// What `{{FORMAT}}` stands for under compression; [`None`]: the format compresses inside, and compression around it is refused.
    pub compressed: Option<CompressedExtensions>,
    /// The `Content-Type` of its objects, unless the spec names another.
    pub content_type: &'static str,
    /// Is there an object without rows that still says which columns there are?
    pub has_empty_object: bool,
}

/// What `{{FORMAT}}` stands for under each compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct CompressedExtensions {
    pub gzip: &'static str,
    pub zstd: &'static str,
}

/// Every format.
pub const FORMATS: [FormatFacts; 3] = [CSV, JSON, PARQUET];

const CSV: FormatFacts = FormatFacts {
    name: "csv",
    extension: "csv",
    compressed: Some(CompressedExtensions { gzip: "csv.gz", zstd: "csv.zst" }),
    content_type: "text/csv",
    has_empty_object: false,
};

const JSON: FormatFacts = FormatFacts {
    name: "json",
    extension: "json",
    compressed: Some(CompressedExtensions { gzip: "json.gz", zstd: "json.zst" }),
    content_type: "application/json",
    has_empty_object: false,
};

const PARQUET: FormatFacts = FormatFacts {
    name: "parquet",
    extension: "parquet",
    compressed: None,
    content_type: "application/vnd.apache.parquet",
    has_empty_object: true,
};

impl FormatFacts {
    /// May it be compressed as a whole?
    pub fn is_compressible(&self) -> bool {
        self.compressed.is_some()
    }

    /// What `{{FORMAT}}` stands for, if the key is to tell how the object is compressed.
    pub fn extension(&self, codec_in_names: Option<Codec>) -> &'static str {
        match (codec_in_names, self.compressed) {
            (Some(Codec::Gzip), Some(extensions)) => extensions.gzip,
            (Some(Codec::Zstd), Some(extensions)) => extensions.zstd,
            _ => self.extension,
        }
    }

    /// The `Content-Type` of its objects, unless the spec names another; `codec_in_names` as for [`FormatFacts::extension`].
    pub fn content_type(&self, codec_in_names: Option<Codec>) -> &'static str {
        codec_in_names.map_or(self.content_type, Codec::content_type)
    }
}

/// What compresses an object, or the pages inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Codec {
    Gzip,
    Zstd,
}

impl Codec {
    const ALL: [Self; 2] = [Self::Gzip, Self::Zstd];

    /// As the spec names it, and the `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// The `Content-Type` of an object that says no more than how it is compressed.
    fn content_type(self) -> &'static str {
        match self {
            Self::Gzip => "application/gzip",
            Self::Zstd => "application/zstd",
        }
    }

    /// The highest level. The lowest is 1.
    pub fn most(self) -> u8 {
        match self {
            Self::Gzip => 9,
            Self::Zstd => 12,
        }
    }

    /// The level where the spec names none. Of gzip the fastest whose output stays within 1.05 times that of `gzip -6` (measured on CSV of TPC-H
    /// lineitem: 1.04); of zstd its own.
    pub fn usual_level(self) -> u8 {
        match self {
            Self::Gzip => 4,
            Self::Zstd => 3,
        }
    }
}

/// A codec at a level that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    codec: Codec,
    level: u8,
}

impl Compression {
    /// The codec at its usual level.
    pub fn usual(codec: Codec) -> Self {
        Self { codec, level: codec.usual_level() }
    }

    /// The codec at this level, if it has that.
    pub fn new(codec: Codec, level: u8) -> Option<Self> {
        (1..=codec.most()).contains(&level).then_some(Self { codec, level })
    }

    /// What compresses.
    pub fn codec(self) -> Codec {
        self.codec
    }

    /// How hard it tries.
    pub fn level(self) -> u8 {
        self.level
    }
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParquetOptions {
    /// The format version.
    pub version: ParquetVersion,
    /// The repetition of the root schema element.
    pub root_repetition: RootRepetition,
    /// Rows of a row group at most.
    pub max_row_group_rows: NonZeroU64,
    /// Bytes in memory at which a row group ends; absent: as the encoder likes.
    pub row_group_bytes: Option<NonZeroU64>,
    /// What pages are compressed with.
    pub compression: PageCompression,
    /// The unit of timestamps; absent: their own, or the next that the version has.
    pub timestamp_unit: Option<TimestampUnit>,
    /// Are the fields of the schema numbered?
    pub field_ids: bool,
    /// Columns with a Bloom filter.
    pub bloom_filter_columns: Vec<String>,
    /// What the rows of a row group are sorted by.
    pub sort_by: Vec<SortColumn>,
    /// Is there an index of the pages?
    pub page_index: bool,
    /// Are the types those of Iceberg, and the ids of the fields those that their schema has? Timestamps have a unit then.
    pub iceberg: Option<IcebergTypes>,
}

/// Which of Iceberg's types columns have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcebergTypes {
    /// Are times of day and UUIDs text, as Athena wants them?
    pub athena: bool,
}

impl ParquetOptions {
    /// 128 Mi rows, the reference's default: far more than any object has in practice.
    pub(super) const DEFAULT_ROW_GROUP_ROWS: u32 = 134_217_728;
}

impl Default for ParquetOptions {
    fn default() -> Self {
        const ROWS: NonZeroU64 = NonZeroU64::new(ParquetOptions::DEFAULT_ROW_GROUP_ROWS as u64).unwrap();
        Self {
            version: ParquetVersion::V2Latest,
            root_repetition: RootRepetition::Repeated,
            max_row_group_rows: ROWS,
            row_group_bytes: None,
            compression: PageCompression::Snappy,
            timestamp_unit: None,
            field_ids: false,
            bloom_filter_columns: Vec::new(),
            sort_by: Vec::new(),
            page_index: true,
            iceberg: None,
        }
    }
}

/// What the pages of Parquet are compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageCompression {
    /// Nothing.
    None,
    /// Snappy, which has no levels.
    Snappy,
    /// A codec with levels.
    Leveled(Compression),
}

/// The unit that timestamps of Parquet have, whatever the source's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampUnit {
    /// Microseconds? Else milliseconds.
    pub microseconds: bool,
    /// Is what is finer cut off? Else it fails the table.
    pub truncates: bool,
}

impl TimestampUnit {
    const ALL: [Self; 4] = [Self::new(true, false), Self::new(false, false), Self::new(true, true), Self::new(false, true)];

    const fn new(microseconds: bool, truncates: bool) -> Self {
        Self { microseconds, truncates }
    }

    /// As the spec names it.
    pub fn name(self) -> &'static str {
        match (self.microseconds, self.truncates) {
            (true, false) => "us",
            (false, false) => "ms",
            (true, true) => "us_truncated",
            (false, true) => "ms_truncated",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

/// A column that rows are sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortColumn {
    /// Its name.
    pub name: String,
    /// From the largest value down?
    pub descending: bool,
}

impl SortColumn {
    /// Of a name, with ` asc` or ` desc` after it or neither.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, descending) = match (text.strip_suffix(" desc"), text.strip_suffix(" asc")) {
            (Some(name), _) => (name, true),
            (None, Some(name)) => (name, false),
            (None, None) => (text, false),
        };
        (!name.is_empty()).then(|| Self { name: name.to_owned(), descending })
    }

    /// As the spec writes it: with its direction, so that any name comes back.
    pub(super) fn written(&self) -> String {
        format!("{} {}", self.name, if self.descending { "desc" } else { "asc" })
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

//! The one seam of the crate: what the outside lends a session.

/// A moment of wall time, counted from 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime {
    /// Whole seconds.
    pub seconds: u64,
    /// The rest, always below 1,000,000,000.
    pub nanoseconds: u32,
}

/// How much a log line matters. `Warn`: recovered; `Error`: data at risk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// What an object holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ObjectRole {
    /// Rows of its table.
    #[default]
    Data,
    /// Rows that could not be written, with the reason.
    Quarantine,
}

/// What the guest says about an object it opens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectAttributes {
    /// The object key.
    pub key: String,
    /// The `Content-Type`.
    pub content_type: String,
    /// The `Content-Encoding`, if there is one.
    pub content_encoding: Option<&'static str>,
    /// The partition of its rows: name and value of each field of the path.
    pub partition: Vec<(String, Option<String>)>,
    /// What it holds.
    pub role: ObjectRole,
}

/// What a finished object holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectFacts {
    /// Rows.
    pub rows: u64,
    /// Where it can be split for reading: the offsets of its row groups.
    pub split_offsets: Vec<u64>,
    /// Of each column, if they are wanted and the format knows them.
    pub columns: Vec<ColumnFacts>,
}

/// What a finished object says of a column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnFacts {
    /// The names from the column down to the field, joined with dots.
    pub path: String,
    /// Values, null ones included.
    pub values: u64,
    /// Values that are null.
    pub nulls: u64,
    /// Values that are not a number, where they were counted.
    pub nans: Option<u64>,
    /// A bound that no value is below, and one that no value is above, as Iceberg writes single values.
    pub lower: Option<Vec<u8>>,
    /// See `lower`.
    pub upper: Option<Vec<u8>>,
    /// Bytes that the column takes in the object.
    pub encoded_bytes: Option<u64>,
}

/// Why the host did not take something. The text is the host's; see `wit/destination.wit`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// The grant does not allow it.
    #[error("{0}")]
    Denied(String),
    /// A limit of the host is reached.
    #[error("{0}")]
    Quota(String),
    /// The request is malformed.
    #[error("{0}")]
    Invalid(String),
    /// The store cannot be reached.
    #[error("{0}")]
    Unavailable(String),
    /// The store refused the object.
    #[error("{0}")]
    Rejected(String),
}

/// Clock, chance, log and object store, as lent by the host.
///
/// Two implementations: the component's imports, and [`crate::testing::FakeHost`].
pub trait Host {
    /// An object being written. Dropping it unfinished aborts it.
    type Upload;

    /// Reads the wall clock. Called once per object.
    fn wall_time(&self) -> WallTime;

    /// Sixteen random bytes.
    fn random(&self) -> [u8; 16];

    /// Writes a line for the operator. Never holds a value of a row.
    fn log(&self, level: Level, message: &str);

    /// Begins an object.
    ///
    /// # Errors
    /// [`PutError`], as the host decides.
    fn open(&self, attributes: &ObjectAttributes) -> Result<Self::Upload, PutError>;

    /// Appends bytes to an object; waits while too many are on their way.
    ///
    /// # Errors
    /// [`PutError`], as the host decides.
    fn write(&self, upload: &Self::Upload, chunk: &[u8]) -> Result<(), PutError>;

    /// Hands a finished object over.
    ///
    /// # Errors
    /// [`PutError`], as the host decides.
    fn finish(&self, upload: Self::Upload, facts: &ObjectFacts) -> Result<(), PutError>;
}

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

/// What the guest says about an object it opens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectAttributes {
    /// The object key.
    pub key: String,
    /// The `Content-Type`.
    pub content_type: String,
}

/// What a finished object holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectFacts {
    /// Rows.
    pub rows: u64,
    /// Where it can be split for reading: the offsets of its row groups.
    pub split_offsets: Vec<u64>,
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

//! Every bound of the crate, as a named constant with its reason.

/// Fields of a schema, nested ones included: as many columns as Lakegate takes of a table.
pub const MAX_FIELDS: usize = 10_000;

/// Types within types.
pub const MAX_DEPTH: usize = 32;

/// Bytes of the name of a column, a table, or a level of a namespace.
pub const MAX_NAME_BYTES: usize = 1_024;

/// Levels of a namespace.
pub const MAX_LEVELS: usize = 16;

/// Bytes of an answer of the catalog that says little: its configuration, a namespace, a token, a refusal.
pub const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Bytes of an answer that describes a table: its schemas, and some 600 bytes for each snapshot. A hundred thousand snapshots fit.
pub const MAX_TABLE_BYTES: usize = 64 << 20;

/// Bytes of a schema of a table: 10,000 columns with a comment each.
pub const MAX_SCHEMA_BYTES: usize = 8 << 20;

/// Bytes of a manifest list, as it lies in the store and unpacked: a manifest takes some 200 bytes unpacked.
pub const MAX_LIST_BYTES: u64 = 64 << 20;

/// Manifests of a list. Tables with more are compacted by whoever looks after them.
pub const MAX_MANIFESTS: usize = 100_000;

/// Data files of one commit.
pub const MAX_FILES: usize = 1_000_000;

/// Bytes of a manifest before compression; the files beyond it go to another. Readers plan by manifests, and Iceberg's own writers cut them here.
pub const MANIFEST_BYTES: usize = 8 << 20;

/// Bytes of a block of a container file: what a reader unpacks at once.
pub const BLOCK_BYTES: usize = 64 << 10;

/// Bytes of a bound of a column.
pub const MAX_BOUND_BYTES: usize = 64;

/// Bytes of a commit id, which stands in the snapshot's summary.
pub const MAX_COMMIT_ID_BYTES: usize = 1_024;

/// Bytes of the key of an object: S3's.
pub const MAX_KEY_BYTES: usize = 1_024;

/// Characters of what a catalog or a table is quoted with in an error.
pub const MAX_EXCERPT: usize = 300;

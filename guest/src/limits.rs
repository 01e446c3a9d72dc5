//! Every bound of the guest, as a named constant with its reason. Reaching one is an error that names it, never a trap.

/// Columns of a table, counted at the top level. The widest tables seen have some hundreds; this leaves room and keeps a plan small.
pub const MAX_COLUMNS: usize = 10_000;

/// Levels of nesting in a column's type. A column that is not nested has depth 1.
pub const MAX_DEPTH: usize = 32;

/// Fields of a schema, nested ones included.
pub const MAX_FIELDS: usize = 50_000;

/// Bytes of a table's or a column's name.
pub const MAX_NAME_BYTES: usize = 4_096;

/// Bytes of a schema's metadata, fields included.
pub const MAX_METADATA_BYTES: usize = 1 << 20;

/// Bytes of all names of a schema: 800 for each of the most columns.
pub const MAX_NAMES_BYTES: usize = 8 << 20;

/// Bytes of a schema's message. One of the most fields takes 6 MiB beside its names.
pub const MAX_SCHEMA_BYTES: usize = 16 << 20;

/// Bytes that a message's header stands for when everything is counted as often as it is pointed at, as a multiple of its length; and as
/// many more. Writers share vtables and nothing else, which at most doubles it.
pub const MAX_HEADER_SHARING: usize = 4;
/// See [`MAX_HEADER_SHARING`]: a header of a few columns is mostly what it shares.
pub const MIN_HEADER_APPARENT_BYTES: usize = 64 << 10;

/// Tables of a header's flatbuffer: six for each of the most fields (its type, a dictionary, pairs of metadata).
pub const MAX_HEADER_TABLES: usize = 6 * MAX_FIELDS;

/// Bytes of one message (an Arrow IPC stream): the limit of CloudQuery's gRPC.
pub const MAX_MESSAGE_BYTES: usize = 200 << 20;

/// Bytes an encoder gathers before it writes them out. Big enough to make a call cheap, small enough to stay in the cache.
pub const CHUNK_BYTES: usize = 1 << 20;

/// Bytes of an object key: the limit of S3.
pub const MAX_KEY_BYTES: usize = 1_024;

/// Columns of an object whose facts the world takes.
pub const MAX_FACT_COLUMNS: usize = 1_000;

/// Bytes of a bound among those facts.
pub const MAX_BOUND_BYTES: usize = 64;

/// Values of rows that a key may be made of: as many as the world takes with an object.
pub const MAX_PARTITION_FIELDS: usize = 16;

/// Bytes of a column's name in a path: with the suffix of a part the world takes it as the name of a value.
pub const MAX_PARTITION_COLUMN_BYTES: usize = 1_000;

/// Partitions of a table that may be open at once, whatever the spec says.
pub const MAX_OPEN_PARTITIONS: u32 = MAX_OPEN_OBJECTS;

/// Bytes that a session keeps to number the objects of partitions (`{{SEQ}}`): some 150,000 partitions.
pub const MAX_NUMBERING_BYTES: usize = 16 << 20;

/// Rows a batch may have beyond eight for each byte of its body. Only columns without buffers (all null, or of width 0) need none, so a few
/// bytes could otherwise ask for 2^63 lines of text.
pub const MAX_WEIGHTLESS_ROWS: u64 = 1 << 20;

/// Bytes that the values of a message's view, dictionary and list-view columns may take, each counted as often as it is named, and 8 for
/// each naming. Ten times the largest message: no source comes near it, and the encoders get through it in seconds.
pub const MAX_SHARED_BYTES: u64 = 2 << 30;

/// The same within one row, unless the message itself is larger. Parquet holds a row's values in one piece, so this is a bound on memory: a
/// few of it fit an instance.
pub const MAX_SHARED_ROW_BYTES: u64 = 8 << 20;

/// Bytes of rows that are converted at once where what they become may be far larger than they are, each value counted as often as it is
/// named, and 8 for each. A larger row goes alone.
pub const PIECE_BYTES: u64 = 32 << 20;

/// The same of rows of Parquet that are converted first: text may become three times as long, base64 a third longer.
pub const CONVERTED_PIECE_BYTES: u64 = 16 << 20;

/// Bytes that conversion for Parquet may make of such a piece, and so of a row. Beside a message they are there three times: as converted,
/// as a page, and compressed; with what encoders hold that fits an instance.
pub const MAX_CONVERTED_BYTES: u64 = 64 << 20;

/// The same of a row in one nested column of Parquet. The `parquet` crate holds a value six times while it writes it (page, compressed
/// page, bounds), and 8 bytes of levels for each value; with the message and as much in flat columns that fits an instance.
pub const MAX_NESTED_ROW_BYTES: u64 = 48 << 20;

/// Bytes of a value that Parquet's statistics name as the least or the largest, as in the reference. Values of a column of fixed width are
/// named whole, and so are long ones that begin with 64 bytes of 0xff, above which nothing shorter is.
pub const MAX_STATISTICS_BYTES: usize = 4 << 10;

/// Keys of the objects that are open at one place of a JSON value whose keys are cleaned for Athena: each takes about 80 bytes.
pub const MAX_OPEN_KEYS: usize = 1 << 20;

/// Bytes of a key that is cleaned, as it stands. Athena takes names of 255.
pub const MAX_CLEANED_KEY_BYTES: usize = 1 << 20;

/// Bytes by which such a value may grow, when keys that become equal get numbers.
pub const MAX_KEY_GROWTH_BYTES: usize = 16 << 20;

/// Bytes of a message's field names, each counted with every value of its field, and 8 for each value. JSON repeats names in every row; a
/// table of 10,000 columns and 10,000 rows takes a third of this. It also bounds columns that have rows but no bytes.
pub const MAX_NAME_TEXT_BYTES: u64 = 8 << 30;

/// Dictionaries of a message, replacements and deltas included: one for each column, and then some.
pub const MAX_DICTIONARIES: usize = 20_000;

/// Bytes of schema messages that a decoder remembers; decoded they take about five times as much. Thousands of tables fit; past it all are
/// forgotten and learned again.
pub const SCHEMA_CACHE_BYTES: usize = 16 << 20;

/// Bytes of a schema message that is remembered beside others: some 2,500 columns. A larger one is only while it comes again and again.
pub const MAX_CACHED_SCHEMA_BYTES: usize = 256 << 10;

/// Bytes of an error text that comes from a library: types nested in types can be printed without end.
pub const MAX_CAUSE_BYTES: usize = 512;

/// Objects open at once in a session, whatever the host allows.
pub const MAX_OPEN_OBJECTS: u32 = 4_096;

/// Fields of all those objects, nested ones included: schema, plan and frame of one take up to 1.5 KiB, which no other bound counts. The
/// most objects may have 40 each.
pub const MAX_OPEN_FIELDS: usize = 40 * MAX_OPEN_OBJECTS as usize;

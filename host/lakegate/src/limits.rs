//! Every bound of the host, as a named constant with its reason.

use std::time::Duration;

/// Bytes of one message from a client: the limit of CloudQuery's gRPC, both ways.
pub const MAX_MESSAGE_BYTES: usize = 200 << 20;

/// Bytes of the message of any other call than Write: a spec, of which the guest takes 1 MiB.
pub const MAX_CALL_BYTES: usize = 2 << 20;

/// Connections of a single user's plugin. The CLI opens one; a proxy may open some.
pub const MAX_CONNECTIONS: usize = 256;

/// Calls at once over one of them: what servers of HTTP/2 grant by custom.
pub const MAX_STREAMS: u32 = 100;

/// Connections of a tenant besides one for each session granted: one that asks for the schema, or comes while another is being closed.
pub const SPARE_CONNECTIONS: u64 = 4;

/// Calls at once over a tenant's connection: a Write, and a few that are short.
pub const MAX_TENANT_STREAMS: u32 = 8;

/// What a tenant's client has to greet, from the moment when it is connected: the preface of HTTP/2 and a frame, which every client sends at once.
pub const GREETING_LIMIT: Duration = Duration::from_secs(10);

/// What the message of a tenant's call may take to come, but for those of a Write: a spec is a few kilobytes.
pub const CALL_LIMIT: Duration = Duration::from_secs(60);

/// What a tenant's Write that is given up may take to end while its client is there; then nobody waits for it any more.
pub const GIVE_UP_LIMIT: Duration = Duration::from_secs(30);

/// What a store has to answer the creation of an upload that nobody wants any more: its answer has the id by which the upload is aborted. Ten times
/// what such an answer takes, and a tenth of what whoever ends a process has patience for.
pub const CREATION_LIMIT: Duration = Duration::from_secs(3);

/// Aborts at once that a tenant's sessions have left behind; more wait for their turn.
pub const LEFT_ABORTS_AT_ONCE: usize = 32;

/// Aborts that a tenant's sessions may have left behind: as many as a lane has objects. What is beyond is left to the bucket's lifecycle rule.
pub const MAX_LEFT_ABORTS: usize = 4_096;

/// What they have from when they were left.
pub const LEFT_ABORT_LIMIT: Duration = Duration::from_secs(60);

/// Bytes of the spill file of a tenant's session, unless its file says otherwise: thousands of tables' parts, and no disk.
pub const TENANT_SPILL_BYTES: u64 = 1 << 30;

/// Open objects of a lane. A sync of some thousands of tables under `no_rotate` has that many open at once.
pub const MAX_OPEN_OBJECTS: u32 = 4_096;

/// Entries of a lane's resource table: every open object, and room for those just being dropped.
pub const MAX_RESOURCES: usize = MAX_OPEN_OBJECTS as usize + 64;

/// Bytes of linear memory of a guest instance, unless set otherwise: the largest message, its decimals once more (they must be aligned),
/// what encoders hold, and room for the rest. A limit, not a reservation: ordinary messages take a tenth of it.
pub const GUEST_MEMORY_BYTES: u64 = 640 << 20;

/// Bytes that the encoders of an instance may hold, at most half of its memory. Also where an instance with nothing open is renewed, since
/// linear memory never shrinks.
pub const ENCODER_BYTES: u64 = 128 << 20;

/// Bytes of one `upload.write`. The guest writes 1 MiB at most; 16 MiB leaves room for other guests.
pub const MAX_CHUNK_BYTES: usize = 16 << 20;

/// Bytes that the arguments of one host call may hold: a chunk, and its call. More traps.
pub const HOSTCALL_FUEL: usize = MAX_CHUNK_BYTES + (1 << 20);

/// Random bytes of one call. The guest asks for 16.
pub const MAX_RANDOM_BYTES: u64 = 4_096;

/// Bytes of a line that a guest logs, before it is cut.
pub const MAX_LOG_LINE_BYTES: usize = 2_048;

/// Lines that a guest may log in a second; the rest is counted and dropped.
pub const MAX_LOG_LINES_PER_SECOND: u32 = 200;

/// How often the epoch advances: the grain of CPU accounting, and the longest a guest keeps a thread before it yields.
pub const EPOCH_TICK: Duration = Duration::from_millis(10);

/// Time a guest may compute in one call. The largest message takes seconds; this ends a loop that never would.
pub const MAX_CALL_CPU: Duration = Duration::from_secs(120);

/// Bytes of messages that wait for a lane: enough that it never waits for the router. A larger message waits alone.
pub const LANE_QUEUE_BYTES: usize = 4 << 20;

/// Bytes that a finished object takes until the store has confirmed it, besides its own: its task, its key and its place in the books. They
/// count as on their way, so that millions of tiny objects do not wait at once.
pub const JOB_BYTES: u64 = 8 << 10;

/// Requests to the store at once, per session. Each takes a socket; 64 keep a long fat line full and stay far below `ulimit -n 512`.
pub const MAX_REQUESTS: usize = 64;

/// Chunks below this are gathered, so that a million tiny writes do not become a million allocations.
pub const SMALL_CHUNK_BYTES: usize = 16 << 10;

/// Record batches of one message: a client that gathers rows sends a few, and each has a header that is to be read.
pub const MAX_STREAM_BATCHES: usize = 1 << 16;

/// Bytes of one header of an Arrow IPC stream. The widest schema has some megabytes; a record batch of it fewer.
pub const MAX_HEADER_BYTES: usize = 32 << 20;

/// Levels of tables in a header: those of a column's type, and what is around them.
pub const MAX_HEADER_DEPTH: usize = 64;

/// How often each byte of a header may be visited while it is verified: writers may share texts, but not without end.
pub const MAX_HEADER_VISITS: usize = 16;

/// Bytes that may be visited in the smallest header.
pub const LEAST_HEADER_VISIT_BYTES: usize = 1 << 10;

/// Bytes of headers that are read before others have a turn on the thread: less than a millisecond.
pub const HEADER_BYTES_A_TURN: usize = 256 << 10;

/// Bytes of a schema message that the router remembers, and how many of them.
pub const MAX_CACHED_SCHEMA_BYTES: usize = 64 << 10;
/// See [`MAX_CACHED_SCHEMA_BYTES`].
pub const MAX_CACHED_SCHEMAS: usize = 1_024;
/// Bytes of all of them: those of a thousand tables of ordinary width.
pub const MAX_CACHED_SCHEMAS_BYTES: usize = 4 << 20;

/// Bytes of a component's JSON Schema of the spec, which is kept for as long as the component is. Ours has 18 KB.
pub const MAX_SPEC_SCHEMA_BYTES: usize = 1 << 20;

/// Bytes of a table's name.
pub const MAX_TABLE_NAME_BYTES: usize = 4_096;

/// Tables of one write: the largest sources have some thousands. The books keep an account of each.
pub const MAX_TABLES: usize = 100_000;

/// Bytes of the names of all tables of a write: some hundred for each, were there as many as there may be.
pub const MAX_TABLE_NAMES_BYTES: usize = 32 << 20;

/// Bytes that a table takes in the books of a write besides its name: its account, its place in line, and that of its report.
pub const TABLE_BOOK_BYTES: u64 = 512;

/// Bytes of the words for a table's failure, before they are cut. A component may say anything.
pub const MAX_FAILURE_BYTES: usize = 4 << 10;

/// Bytes of the words of all failures of a write that are kept. A hundred thousand tables that fail for one cause need some megabytes; the
/// log has the words of those beyond.
pub const MAX_FAILURES_BYTES: u64 = 16 << 20;

/// Bytes of the receipts of a write that are kept, unless set otherwise: those of some hundred thousand objects. What is beyond is counted.
pub const RECEIPT_BYTES: u64 = 64 << 20;

/// The same where they make a manifest: some 400,000 objects of a write. A tenant's are also on its account.
pub(crate) const MANIFEST_RECEIPT_BYTES: u64 = 256 << 20;

/// Schemas of one table of a catalog whose headers are remembered. A table has one, or some when its source is changed while it runs.
pub(crate) const MAX_OPENED_SCHEMAS: usize = 4;

/// Tables of a catalog that are committed to at once.
pub(crate) const CATALOG_COMMITS: usize = 8;

/// Bytes that the host needs for an open object besides its parts: the handle, its job, and copies of its key.
pub const OPEN_OBJECT_BYTES: u64 = 4 << 10;

/// Bytes that a stretch of the spill file takes in memory: small parts that spill make many.
pub const SPILLED_PIECE_BYTES: u64 = 256;

/// Bytes that a part which the store has confirmed takes until its upload is complete, besides its ETag.
pub const PART_BYTES: u64 = 256;

/// Bytes of what remembers a table from write to write (its lane, its last key), besides the names.
pub const REMEMBERED_TABLE_BYTES: u64 = 256;

/// Bytes of the settings that a component makes of a spec, which are kept with the session. A spec has 1 MiB.
pub const MAX_SETTINGS_BYTES: usize = 4 << 20;

/// Warnings about a spec that are logged; a component may have any number.
pub const MAX_WARNINGS: usize = 50;

/// The least time between two ticks of a lane: a component that asks for the next one at once, again and again, is not to spin.
pub const LEAST_TICK: Duration = Duration::from_millis(10);

/// Bytes of a component brought from outside.
pub const MAX_COMPONENT_BYTES: usize = 16 << 20;

/// Time of computing that compiling a component from outside may take. Ours, of 6 MB, takes 9 s on one thread.
pub const COMPILE_CPU: Duration = Duration::from_secs(120);

/// Address space of the process that compiles it. Ours needs less than 300 MiB.
pub const COMPILE_MEMORY_BYTES: u64 = 2 << 30;

/// The same by the clock: twice as much, for a busy machine.
pub const COMPILE_WALL: Duration = Duration::from_secs(240);

/// Bytes of native code that a component may become. Ours becomes 17 MB.
pub const MAX_COMPILED_BYTES: usize = 256 << 20;

/// Elements of a guest's tables (function references). The component has some thousands.
pub const MAX_TABLE_ELEMENTS: usize = 100_000;

//! A table's life: rows come in, find the open object of their partition or open one, are encoded into it, and the object is finished.
//!
//! Whatever is kept of an open object (its age, its counters, its reserved key) is kept by table and partition; what fails is a table, whose
//! open objects are dropped and forgotten. The others go on. Memory that encoders hold back is bounded over all open objects: past the bound,
//! the object that can give up most does. What none can give up while it is open (footers of row groups that have left) has the same bound:
//! past it the object with most of that ends, or, where it may not, fails.

mod partition;
mod per_schema;
mod quarantine;
mod router;

use crate::athena;
use crate::batch::{Counters, Limits};
use crate::encode::{BadRow, Encode, EncodeError, Encoders, Output};
use crate::excerpt::quoted;
use crate::host::{Host, Level, ObjectAttributes, ObjectFacts, ObjectRole, PutError, WallTime};
use crate::ipc::expansion::light_rows;
use crate::ipc::{Decoder, IpcError, Rows, TableSchema};
use crate::limits::{MAX_NUMBERING_BYTES, MAX_OPEN_FIELDS, MAX_OPEN_OBJECTS, PIECE_BYTES};
use crate::path::{KeyContext, PathTemplate};
use crate::spec::{Partitioning, Rotation, SchemaChange, Settings};
use arrow_array::{RecordBatch, UInt32Array};
use arrow_schema::{DataType, Field, Schema};
use arrow_select::take::take_record_batch;
use partition::{Places, Recency, TablePartition};
use per_schema::PerSchema;
use quarantine::{NotSetAside, Quarantine, Record, Unwritable};
use router::{Divided, Routed, Router, Unkeyed, Unroutable, share};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

/// Monotonic time in nanoseconds, from an origin of the host's choice.
pub type Instant = u64;

/// Bounds of a session, set by the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Bytes that encoders may hold back over all open objects; and a quarter more, see [`LEAST_SHARE`].
    pub encoder_bytes: u64,
    /// Objects that may be open at once.
    pub open_objects: u32,
}

/// One part in so many of the bound on memory is always there for rows that wait, whatever else is held: were it less, each insert would
/// end a row group of a few rows, and each such group leaves a footer.
const LEAST_SHARE: u64 = 4;

/// Why rows were not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The rows, the schema or the table's name.
    #[error("{0}")]
    Data(String),
    /// The host did not take an object.
    #[error(transparent)]
    Store(#[from] PutError),
}

impl From<EncodeError> for WriteError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::Data(message) => Self::Data(message),
            EncodeError::Row { .. } => Self::Data(error.to_string()),
            EncodeError::Put(error) => Self::Store(error),
        }
    }
}

impl From<Unroutable> for WriteError {
    fn from(Unroutable(why): Unroutable) -> Self {
        Self::Data(why)
    }
}

impl From<NotSetAside> for WriteError {
    fn from(error: NotSetAside) -> Self {
        match error {
            NotSetAside::TooMany(message) => Self::Data(message),
            NotSetAside::Put(error) => Self::Store(error),
        }
    }
}

impl From<IpcError> for WriteError {
    fn from(error: IpcError) -> Self {
        Self::Data(error.0)
    }
}

/// What a call that concerns many tables leaves behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// When `tick` is wanted next.
    pub deadline: Option<Instant>,
    /// The tables that failed.
    pub failures: Vec<(String, WriteError)>,
}

/// One lane of a sync.
pub struct Sink<H: Host> {
    host: H,
    settings: Settings,
    limits: SessionLimits,
    batching: Limits,
    age: Option<u64>,
    decoder: Decoder,
    encoders: Encoders,
    /// Ordered, so that equal input gives equal output.
    open: BTreeMap<TablePartition, OpenObject<H>>,
    /// The open objects by age, if age ends them: when their first rows came, and which partition they are of.
    ages: BTreeSet<(Instant, TablePartition)>,
    /// Empty objects, for the first rows of their partition: the key, and the schema it was written with.
    reserved: BTreeMap<TablePartition, (String, Rc<TableSchema>)>,
    /// How many objects each partition has had, where their keys are numbered; and what that takes in memory.
    sequences: BTreeMap<TablePartition, u64>,
    sequence_bytes: usize,
    /// Finds the partitions of rows, where keys take values from them.
    router: Router,
    /// The order in which open partitions were written to, where there are any.
    recency: Recency,
    /// Rows that cannot be written, where they have a place.
    quarantine: Option<Quarantine<H>>,
    /// How many objects of each table ended because too many partitions were open.
    ended_early: BTreeMap<Rc<str>, u64>,
    /// Of the schemas seen, where anything depends on it.
    fingerprints: PerSchema<u32>,
    /// The columns that each table had first in this write, where it must have no others.
    first_columns: BTreeMap<Rc<str>, u32>,
    /// A table that lacks a column of the path was seen, and said so.
    has_warned_of_missing: bool,
    /// Tables whose failure no call could report yet.
    failed: Vec<(String, WriteError)>,
    /// Counts uses of objects, to know the one unused for longest.
    uses: u64,
    /// Over all open objects.
    held: EncoderMemory,
    open_fields: usize,
}

/// Memory of encoders: what they keep as long as they are open, and what they can give up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct EncoderMemory {
    kept: u64,
    relief: u64,
}

impl EncoderMemory {
    fn taken_by(encoder: &dyn Encode) -> Self {
        let relief = encoder.relief_bytes() as u64;
        Self { kept: (encoder.held_bytes() as u64).saturating_sub(relief), relief }
    }

    /// Puts `new` in the place of `old`.
    fn replace(&mut self, old: Self, new: Self) {
        self.kept = self.kept.saturating_sub(old.kept).saturating_add(new.kept);
        self.relief = self.relief.saturating_sub(old.relief).saturating_add(new.relief);
    }
}

/// An object being written.
struct OpenObject<H: Host> {
    schema: Rc<TableSchema>,
    fields: usize,
    encoder: Box<dyn Encode>,
    upload: H::Upload,
    counters: Counters,
    rows: u64,
    /// When its first row came.
    since: Instant,
    used: u64,
    held: EncoderMemory,
    replaced: u64,
}

/// Rows at hand: a part of a record.
struct Part<'a> {
    batch: &'a RecordBatch,
    rows: Range<usize>,
    /// As batching counts them.
    bytes: u64,
    /// Where the batch's rows are in the record.
    places: Places,
}

/// What stopped at a row that cannot be encoded.
struct Stuck {
    /// Rows before this one were taken.
    from: usize,
    why: String,
}

/// Rows that are looked at together where some cannot be encoded.
const INSPECTED_ROWS: usize = 16 << 10;

impl<H: Host> Sink<H> {
    /// Starts a session.
    pub fn open(host: H, settings: Settings, mut limits: SessionLimits) -> Self {
        limits.open_objects = limits.open_objects.min(MAX_OPEN_OBJECTS);
        let age = match settings.rotation {
            Rotation::Never => None,
            Rotation::Every { age, .. } => age.map(|age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)),
        };
        let encoders = if settings.commit.replay { Encoders::for_replay } else { Encoders::new };
        let mut encoders = encoders(settings.format.clone(), settings.compression);
        if settings.catalog_tables.is_some() || settings.commit.manifest.as_ref().is_some_and(|manifest| manifest.columns) {
            encoders.gather_column_facts();
        }
        let batching = settings.rotation.into();
        let quarantine = settings.quarantine.as_ref().map(Quarantine::new);
        if quarantine.is_some() {
            encoders.keep_rows_whole();
        }
        let router = Router::new(settings.path.partition_fields(), settings.partitioning.keep_columns, quarantine.is_some());
        Self {
            host,
            settings,
            limits,
            batching,
            age,
            decoder: Decoder::default(),
            encoders,
            open: BTreeMap::new(),
            ages: BTreeSet::new(),
            reserved: BTreeMap::new(),
            sequences: BTreeMap::new(),
            sequence_bytes: 0,
            router,
            recency: Recency::default(),
            quarantine,
            ended_early: BTreeMap::new(),
            fingerprints: PerSchema::default(),
            first_columns: BTreeMap::new(),
            has_warned_of_missing: false,
            failed: Vec::new(),
            uses: 0,
            held: EncoderMemory::default(),
            open_fields: 0,
        }
    }

    /// A table's schema. If the spec wants empty objects for empty tables, puts one, and keeps its key for the table's first rows. Columns that
    /// have changed before there were rows are put in its place.
    ///
    /// # Errors
    /// [`WriteError`]; the table has then failed.
    pub fn migrate_table(&mut self, ipc: &[u8], _now: Instant) -> Result<Option<Instant>, WriteError> {
        let schema = self.decoder.schema(ipc)?;
        let whole = self.whole_of(&schema);
        let reserved = self.reserved.get(&whole).cloned();
        let is_known = reserved.as_ref().is_some_and(|(_, written)| changed_column(&written.logical, &schema.logical).is_none());
        if self.settings.empty_objects && !self.open.contains_key(&whole) && !is_known {
            let key = match reserved {
                Some((key, _)) => key,
                None => self.render_key(&whole, &schema)?,
            };
            let encoder = self.open_encoder(&schema)?;
            let upload = self.host.open(&self.attributes(&key, &whole))?;
            encoder.finish(&mut Pipe { host: &self.host, upload: &upload })?;
            self.host.finish(upload, &ObjectFacts::default())?;
            self.reserved.insert(whole, (key, schema));
        }
        Ok(self.deadline())
    }

    /// Rows of a table.
    ///
    /// # Errors
    /// [`WriteError`]; the table has then failed.
    pub fn insert(&mut self, ipc: Vec<u8>, now: Instant) -> Result<Option<Instant>, WriteError> {
        let (schema, batches) = self.decoder.decode(ipc)?;
        if let Some(at) = self.failed.iter().position(|(table, _)| *table == schema.table) {
            return Err(self.failed.swap_remove(at).1);
        }
        let inserted = if self.router.is_off() {
            let whole = self.whole_of(&schema);
            batches.iter().try_for_each(|Rows { batch, bytes }| {
                let record = self.record(&schema, batch);
                let part = Part { batch, rows: 0..batch.num_rows(), bytes: *bytes, places: Places::default() };
                self.insert_rows(&whole, &schema, part, &record, now)
            })
        } else {
            self.insert_partitioned(&schema, &batches, now)
        };
        if let Err(error) = inserted {
            self.abandon(&schema.table);
            return Err(error);
        }
        Ok(self.deadline())
    }

    /// Rows of a table, each into the object of its partition.
    fn insert_partitioned(&mut self, schema: &Rc<TableSchema>, batches: &[Rows], now: Instant) -> Result<(), WriteError> {
        let route = self.router.route(schema)?;
        if let Some(column) = &route.missing {
            self.allow_missing(&schema.table, column)?;
        }
        let whole = self.whole_of(schema);
        let written = route.written(schema);
        for rows in batches {
            let record = self.record(schema, &rows.batch);
            route.divide(rows, |divided| match divided {
                Divided::Rows(Routed { partition, batch, rows, places, bytes }) => {
                    let partition = TablePartition { partition, ..whole.clone() };
                    self.insert_rows(&partition, written, Part { batch: &batch, rows, bytes, places }, &record, now)
                }
                Divided::Unkeyed(Unkeyed { column, reason, rows }) => {
                    self.set_aside(&record, rows.iter().map(|row| Unwritable { row: *row, column: &column, reason: &reason }))
                }
            })?;
        }
        Ok(())
    }

    /// Rows of a table as they came.
    fn record<'a>(&mut self, schema: &'a Rc<TableSchema>, batch: &'a RecordBatch) -> Record<'a> {
        let before = self.quarantine.as_mut().map_or(0, |quarantine| quarantine.count(&schema.table, batch.num_rows()));
        Record { schema, batch, before }
    }

    /// The whole of a table; of its rows with these columns, where those with others have other paths.
    fn whole_of(&mut self, schema: &Rc<TableSchema>) -> TablePartition {
        let is_told_apart = self.settings.on_schema_change == SchemaChange::NewPath;
        TablePartition { schema: is_told_apart.then(|| self.fingerprint(schema)), ..TablePartition::whole(&schema.table) }
    }

    fn fingerprint(&mut self, schema: &Rc<TableSchema>) -> u32 {
        let Ok(fingerprint) = self.fingerprints.get(schema, || Ok::<_, std::convert::Infallible>(schema.fingerprint()));
        fingerprint
    }

    /// A table lacks a column that keys take values from. One spec serves hundreds of tables, most of which may lack it: that is said once.
    fn allow_missing(&mut self, table: &str, column: &str) -> Result<(), WriteError> {
        let (table, column) = (quoted(table), quoted(column));
        if self.settings.partitioning.fails_where_missing {
            let message = format!("the table has no column {column}, which `path` takes into keys, and `partition.missing` is `fail`");
            return Err(WriteError::Data(message));
        }
        if !std::mem::replace(&mut self.has_warned_of_missing, true) {
            let null = &self.settings.partitioning.null_name;
            let line = format!(
                "table {table} has no column {column}, which `path` takes into keys: there it is {null}, as it is for every other table without it"
            );
            self.host.log(Level::Warn, &line);
        }
        Ok(())
    }

    /// Finishes the objects whose age limit has passed.
    pub fn tick(&mut self, now: Instant) -> Progress {
        let Some(age) = self.age else { return self.close(Vec::new()) };
        let due =
            self.ages.iter().take_while(|(since, _)| since.saturating_add(age) <= now).map(|(_, partition)| partition.clone()).collect();
        self.close(due)
    }

    /// The type of message changes: finishes the objects of tables that rotate.
    pub fn barrier(&mut self, _now: Instant) -> Progress {
        match self.settings.rotation {
            Rotation::Never => self.close(Vec::new()),
            Rotation::Every { .. } => self.close(self.open.keys().cloned().collect()),
        }
    }

    /// The write ends: finishes every open object. The session lives on.
    pub fn end_write(&mut self, _now: Instant) -> Progress {
        self.report_ended_early();
        self.first_columns.clear();
        let mut progress = self.close(self.open.keys().cloned().collect());
        // The tables that have failed have none.
        let failed = self.quarantine.as_mut().map(|quarantine| quarantine.end_write(&self.host)).unwrap_or_default();
        progress.failures.extend(failed.into_iter().map(|(table, error)| (table, error.into())));
        progress
    }

    /// Drops what a table has open, unfinished.
    pub fn abandon(&mut self, table: &str) {
        let open: Vec<_> = self.open.keys().filter(|partition| *partition.table == *table).cloned().collect();
        for partition in open {
            self.take_open(&partition);
        }
        self.reserved.retain(|partition, _| *partition.table != *table);
        if let Some(quarantine) = &mut self.quarantine {
            quarantine.abandon(table);
        }
        self.failed.retain(|(failed, _)| failed != table);
    }

    /// True if nothing is open, no key is reserved, and no numbers are counted that another instance would not know.
    pub fn idle(&self) -> bool {
        self.quarantine.as_ref().is_none_or(Quarantine::idle)
            && self.sequences.is_empty()
            && self.open.is_empty()
            && self.reserved.is_empty()
            && self.failed.is_empty()
    }

    /// The open object of a partition, which then is open no longer.
    fn take_open(&mut self, partition: &TablePartition) -> Option<OpenObject<H>> {
        let (partition, object) = self.open.remove_entry(partition)?;
        self.held.replace(object.held, EncoderMemory::default());
        self.open_fields -= object.fields;
        self.recency.forget(&partition, object.used);
        if self.age.is_some() {
            self.ages.remove(&(object.since, partition));
        }
        Some(object)
    }

    /// Rows of one partition. Those that cannot be written are set aside, where they have a place, and the others written as if those had not been
    /// there.
    fn insert_rows(
        &mut self,
        partition: &TablePartition,
        schema: &Rc<TableSchema>,
        Part { batch, rows, bytes, places }: Part<'_>,
        record: &Record<'_>,
        now: Instant,
    ) -> Result<(), WriteError> {
        if rows.is_empty() {
            return Ok(());
        }
        if let Some((column, reason)) = self.why_unkeyed(partition, schema) {
            let unkeyed = rows.map(|row| Unwritable { row: places.place(row), column: &column, reason: &reason });
            return self.set_aside(record, unkeyed);
        }
        let Some(stuck) = self.insert_good(partition, schema, (batch, rows.clone(), bytes), now)? else { return Ok(()) };
        let mut start = stuck.from;
        while start < rows.end {
            let count = light_rows(batch, start, (rows.end - start).min(INSPECTED_ROWS), PIECE_BYTES);
            let inspected = start..start + count;
            start += count;
            // One more than there is room for: then the table fails.
            let room = self.quarantine.as_ref().map_or(0, |quarantine| quarantine.room(&partition.table));
            let most = usize::try_from(room).unwrap_or(usize::MAX).saturating_add(1);
            let bad = self.bad_rows(schema, batch, inspected.clone(), most)?;
            self.set_aside(
                record,
                bad.iter().map(|BadRow { row, column, reason }| Unwritable { row: places.place(*row), column, reason }),
            )?;
            let mut next = bad.iter().map(|bad| bad.row).peekable();
            let good: UInt32Array = inspected.filter(|row| next.next_if_eq(row).is_none()).map(|row| row as u32).collect();
            let share = share(bytes, good.len(), rows.len());
            let left = if bad.is_empty() {
                self.insert_good(partition, schema, (batch, start - count..start, share), now)?
            } else if good.is_empty() {
                None
            } else {
                let good = take_record_batch(batch, &good).map_err(|error| WriteError::Data(error.to_string()))?;
                self.insert_good(partition, schema, (&good, 0..good.num_rows(), share), now)?
            };
            if let Some(Stuck { why, .. }) = left {
                return Err(WriteError::Data(why));
            }
        }
        Ok(())
    }

    /// Rows of one partition, up to one that cannot be encoded, if there is one and it has a place.
    fn insert_good(
        &mut self,
        partition: &TablePartition,
        schema: &Rc<TableSchema>,
        (batch, rows, bytes): (&RecordBatch, Range<usize>, u64),
        now: Instant,
    ) -> Result<Option<Stuck>, WriteError> {
        if let Some(stuck) = self.begins_badly(partition, schema, batch, rows.start)? {
            return Ok(Some(stuck));
        }
        self.fit_schema(partition, schema)?;
        let mut counters = self.open.get(partition).map(|object| object.counters).unwrap_or_default();
        let mut held = counters;
        let row_bytes = bytes.checked_div(rows.len() as u64).unwrap_or_default().max(1);
        let mut start = rows.start;
        for piece in self.batching.cut(&mut counters, rows.len() as u64, bytes) {
            let end = start + piece.rows as usize;
            if end > start {
                let stuck = match self.begins_badly(partition, schema, batch, start)? {
                    None => self.encode(partition, schema, batch, start..end, now)?,
                    stuck => stuck,
                };
                if let Some(stuck) = stuck {
                    let taken = (stuck.from - start) as u64;
                    if let Some(object) = self.open.get_mut(partition) {
                        object.counters =
                            Counters { rows: held.rows + taken, bytes: held.bytes.saturating_add(taken.saturating_mul(row_bytes)) };
                    }
                    return Ok(Some(stuck));
                }
            }
            if piece.ends {
                self.finish(partition)?;
                held = Counters::default();
            }
            start = end;
        }
        if let Some(object) = self.open.get_mut(partition) {
            object.counters = counters;
        }
        self.relieve();
        Ok(None)
    }

    /// A row that is to be the first of an object cannot be encoded: no object is opened for it, and none ends.
    fn begins_badly(
        &mut self,
        partition: &TablePartition,
        schema: &Rc<TableSchema>,
        batch: &RecordBatch,
        row: usize,
    ) -> Result<Option<Stuck>, WriteError> {
        let goes_on = self.open.get(partition).is_some_and(|object| Rc::ptr_eq(&object.schema, schema));
        if self.quarantine.is_none() || goes_on {
            return Ok(None);
        }
        let bad = self.bad_rows(schema, batch, row..row + 1, 1)?;
        Ok(bad.into_iter().next().map(|BadRow { row, column, reason }| Stuck { from: row, why: format!("column `{column}`: {reason}") }))
    }

    /// The rows of a range that cannot be encoded, up to `most` of them.
    fn bad_rows(
        &mut self,
        schema: &Rc<TableSchema>,
        batch: &RecordBatch,
        rows: Range<usize>,
        most: usize,
    ) -> Result<Vec<BadRow>, WriteError> {
        if !self.settings.athena {
            return Ok(self.encoders.bad_rows(schema, batch, rows, most)?);
        }
        let mut bad = Vec::new();
        for row in rows {
            if bad.len() >= most {
                break;
            }
            match athena::clean(schema, &batch.slice(row, 1), &mut |_| {}) {
                Ok(cleaned) => {
                    bad.extend(self.encoders.bad_rows(schema, &cleaned, 0..1, 1)?.into_iter().map(|found| BadRow { row, ..found }));
                }
                Err(EncodeError::Row { column, reason, .. }) => bad.push(BadRow { row, column, reason }),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(bad)
    }

    /// The column whose value no key of a partition can have, and why.
    fn why_unkeyed(&mut self, partition: &TablePartition, schema: &Rc<TableSchema>) -> Option<(String, String)> {
        if self.quarantine.is_none() || self.router.is_off() || self.open.contains_key(partition) {
            return None;
        }
        let fingerprint = if self.settings.path.has_schema() { self.fingerprint(schema) } else { 0 };
        let time = commit_time(&self.settings).unwrap_or_else(|| self.host.wall_time());
        let sequence = self.sequences.get(partition).map_or(1, |count| count + 1);
        let path = &self.settings.path;
        let rule_of = |values: &[Option<Rc<str>>]| {
            let context =
                KeyContext { uuid: ANY_UUID, sequence, schema: fingerprint, ..key_context(&self.settings, &partition.table, time) };
            path.render(&KeyContext { partition: values, ..context }).err().map(|error| error.rule)
        };
        let values = &partition.partition.0;
        let rule = rule_of(values)?;
        if rule_of(&vec![None; values.len()]).is_some() {
            // Without any of the values, too: it is the table's.
            return None;
        }
        let without = |at: usize| values.iter().enumerate().map(|(other, value)| value.clone().filter(|_| other != at)).collect::<Vec<_>>();
        let is_alone_to_blame = |at: &usize| rule_of(&without(*at)).is_none();
        let longest = (0..values.len()).max_by_key(|at| values.get(*at).and_then(Option::as_deref).map_or(0, str::len));
        let at = (0..values.len()).find(is_alone_to_blame).or(longest)?;
        Some((path.partition_fields().get(at)?.column.clone(), format!("`path` takes it into keys: this one {rule}")))
    }

    /// Sets rows of a record aside.
    fn set_aside<'a>(&mut self, record: &Record<'_>, rows: impl Iterator<Item = Unwritable<'a>>) -> Result<(), WriteError> {
        let (table, mut rows) = (&record.schema.table, rows.peekable());
        if rows.peek().is_none() {
            return Ok(());
        }
        let begins = self.quarantine.as_ref().is_some_and(|quarantine| !quarantine.is_open(table) && quarantine.room(table) > 0);
        if begins {
            self.check_open_objects()?;
            let attributes = ObjectAttributes {
                key: self.quarantine_key(table)?,
                content_type: quarantine::CONTENT_TYPE.to_owned(),
                content_encoding: None,
                partition: Vec::new(),
                role: ObjectRole::Quarantine,
            };
            let upload = self.host.open(&attributes)?;
            if let Some(quarantine) = &mut self.quarantine {
                quarantine.begin(table, upload);
            }
        }
        Ok(self.quarantine.as_mut().map_or(Ok(()), |quarantine| quarantine.add(&self.host, record, rows))?)
    }

    fn quarantine_key(&mut self, table: &str) -> Result<String, WriteError> {
        let (Some(rules), Some(quarantine)) = (&self.settings.quarantine, &mut self.quarantine) else { return Ok(String::new()) };
        let uuid = uuid::Builder::from_random_bytes(self.host.random()).into_uuid().to_string();
        let sequence = if rules.path.has_sequence() { quarantine.next_number(table) } else { 0 };
        let time = commit_time(&self.settings).unwrap_or_else(|| self.host.wall_time());
        let context = key_context(&self.settings, table, time);
        let context = KeyContext { uuid: &uuid, sequence, format_extension: quarantine::FORMAT, ..context };
        rules.path.render(&context).map_err(|error| WriteError::Data(format!("`quarantine.path`: {error}")))
    }

    /// Objects that are open, those of the quarantine among them.
    fn open_objects(&self) -> usize {
        self.open.len() + self.quarantine.as_ref().map_or(0, Quarantine::open_objects)
    }

    /// May one more be open?
    fn check_open_objects(&self) -> Result<(), WriteError> {
        if self.open_objects() < self.limits.open_objects as usize {
            return Ok(());
        }
        Err(too_much_is_open(&format!("{} objects are open", self.limits.open_objects)))
    }

    /// An open object with other columns ends, if the table rotates; else the table fails.
    fn fit_schema(&mut self, partition: &TablePartition, schema: &Rc<TableSchema>) -> Result<(), WriteError> {
        let Some(object) = self.open.get(partition) else { return Ok(()) };
        if Rc::ptr_eq(&object.schema, schema) {
            return Ok(());
        }
        let Some(column) = changed_column(&object.schema.logical, &schema.logical) else { return Ok(()) };
        match self.settings.rotation {
            _ if self.settings.on_schema_change == SchemaChange::Fail => Err(columns_have_changed(Some(&column))),
            Rotation::Every { .. } => self.finish(partition),
            Rotation::Never => Err(WriteError::Data(format!(
                "the column {column:?} is not what it was in the object's first rows; columns may change only where the path has {{{{UUID}}}}"
            ))),
        }
    }

    /// Rows into their partition's object, which is opened if there is none, up to one that cannot be encoded, if there is one and it has a place.
    fn encode(
        &mut self,
        partition: &TablePartition,
        schema: &Rc<TableSchema>,
        batch: &RecordBatch,
        rows: Range<usize>,
        now: Instant,
    ) -> Result<Option<Stuck>, WriteError> {
        if !self.open.contains_key(partition) {
            let fields = schema.logical.flattened_fields().len();
            self.make_room(&partition.table, fields)?;
            let object = self.open_object(partition, schema, fields, now)?;
            if self.age.is_some() {
                self.ages.insert((object.since, partition.clone()));
            }
            self.open_fields += object.fields;
            self.open.insert(partition.clone(), object);
        }
        self.uses += 1;
        let Some(object) = self.open.get_mut(partition) else { return Ok(None) };
        if !self.router.is_off() {
            self.recency.touch(partition, object.used, self.uses);
        }
        object.used = self.uses;
        let out = &mut Pipe { host: &self.host, upload: &object.upload };
        let mut written = Ok(());
        if self.settings.athena {
            let mut start = rows.start;
            while start < rows.end && written.is_ok() {
                let count = light_rows(batch, start, rows.end - start, PIECE_BYTES);
                let cleaned = athena::clean(schema, &batch.slice(start, count), &mut |line| self.host.log(Level::Warn, &line));
                let encoded = cleaned.and_then(|cleaned| object.encoder.write(&cleaned, 0..count, out));
                written = encoded.map_err(|error| error.after(start));
                start += count;
            }
        } else {
            written = object.encoder.write(batch, rows.clone(), out);
        }
        let stuck = match written {
            Ok(()) => None,
            Err(error @ EncodeError::Row { from, .. }) if self.quarantine.is_some() => Some(Stuck { from, why: error.to_string() }),
            Err(error) => return Err(error.into()),
        };
        object.rows += (stuck.as_ref().map_or(rows.end, |stuck| stuck.from) - rows.start) as u64;
        object.replaced += self.encoders.take_replaced_text();
        let held = EncoderMemory::taken_by(object.encoder.as_ref());
        self.held.replace(std::mem::replace(&mut object.held, held), held);
        Ok(stuck)
    }

    /// Ends the partition that was not written to for longest where one more would be too many: of the table, by the spec; or of all, by the
    /// bounds of a lane, unless objects must not depend on what other tables hold.
    fn make_room(&mut self, table: &Rc<str>, fields: usize) -> Result<(), WriteError> {
        let Partitioning { max_open, closes_oldest, .. } = self.settings.partitioning;
        if self.router.is_off() {
            return Ok(());
        }
        if self.recency.open_of(table) >= max_open as usize {
            let why = match self.settings.rotation {
                _ if !closes_oldest => "and `partition.overflow` is `fail`",
                Rotation::Never => "and none can end before its last row, since `path` has neither {{UUID}} nor {{SEQ}}",
                Rotation::Every { .. } => {
                    return self.recency.oldest_of(table).cloned().map_or(Ok(()), |oldest| self.end_for_room(&oldest));
                }
            };
            return Err(WriteError::Data(format!(
                "the rows are of more than {max_open} partitions at once (`partition.max_open`), {why}: sort them by partition, or raise it"
            )));
        }
        let may_end = closes_oldest && !self.settings.commit.replay && self.settings.rotation != Rotation::Never;
        while may_end && self.is_full(fields) {
            let Some(oldest) = self.recency.oldest().cloned() else { break };
            match self.end_for_room(&oldest) {
                Err(error) if oldest.table == *table => return Err(error),
                Err(error) => self.fail(&oldest.table, error),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Would an object with so many fields be one too many for the lane?
    fn is_full(&self, fields: usize) -> bool {
        self.open_objects() >= self.limits.open_objects as usize || self.open_fields + fields > MAX_OPEN_FIELDS
    }

    /// Finishes a partition's object before its limits, and counts that.
    fn end_for_room(&mut self, partition: &TablePartition) -> Result<(), WriteError> {
        *self.ended_early.entry(partition.table.clone()).or_default() += 1;
        self.finish(partition)
    }

    /// Says which tables had more partitions than can be open at once: they have small objects.
    fn report_ended_early(&mut self) {
        for (table, objects) in std::mem::take(&mut self.ended_early) {
            let line = format!(
                "table {}: {objects} objects ended before their limits, since its rows change between more partitions than can be open at once \
                 (`partition.max_open`: {}); rows sorted by partition make fewer and larger ones",
                quoted(&table),
                self.settings.partitioning.max_open
            );
            self.host.log(Level::Warn, &line);
        }
    }

    /// In a write in which columns must not change, the first object of a table says which they are.
    fn keep_columns(&mut self, partition: &TablePartition, schema: &Rc<TableSchema>) -> Result<(), WriteError> {
        if self.settings.on_schema_change != SchemaChange::Fail {
            return Ok(());
        }
        let fingerprint = self.fingerprint(schema);
        let first = *self.first_columns.entry(partition.table.clone()).or_insert(fingerprint);
        if first == fingerprint { Ok(()) } else { Err(columns_have_changed(None)) }
    }

    /// An object for rows of a schema with so many fields.
    fn open_object(
        &mut self,
        partition: &TablePartition,
        schema: &Rc<TableSchema>,
        fields: usize,
        now: Instant,
    ) -> Result<OpenObject<H>, WriteError> {
        self.keep_columns(partition, schema)?;
        self.check_open_objects()?;
        if self.open_fields + fields > MAX_OPEN_FIELDS {
            let what = format!("with this table's {fields} fields the open objects would have more than {MAX_OPEN_FIELDS}");
            return Err(too_much_is_open(&what));
        }
        // The encoder first, so that a column it cannot hold opens no upload.
        let encoder = self.open_encoder(schema)?;
        let key = match self.reserved.remove(partition) {
            Some((key, _)) => key,
            None => self.render_key(partition, schema)?,
        };
        let upload = self.host.open(&self.attributes(&key, partition))?;
        Ok(OpenObject {
            schema: schema.clone(),
            fields,
            encoder,
            upload,
            counters: Counters::default(),
            rows: 0,
            since: now,
            used: 0,
            held: EncoderMemory::default(),
            replaced: 0,
        })
    }

    fn open_encoder(&mut self, schema: &Rc<TableSchema>) -> Result<Box<dyn Encode>, EncodeError> {
        let encoder = self.encoders.open(schema);
        self.encoders.take_warnings().iter().for_each(|line| self.host.log(Level::Warn, line));
        encoder
    }

    fn render_key(&mut self, partition: &TablePartition, schema: &Rc<TableSchema>) -> Result<String, WriteError> {
        let fingerprint = if self.settings.path.has_schema() { self.fingerprint(schema) } else { 0 };
        let uuid = uuid::Builder::from_random_bytes(self.host.random()).into_uuid().to_string();
        let sequence = if self.settings.path.has_sequence() { self.next_number(partition)? } else { 0 };
        let time = commit_time(&self.settings).unwrap_or_else(|| self.host.wall_time());
        let context = KeyContext {
            uuid: &uuid,
            sequence,
            schema: fingerprint,
            partition: &partition.partition.0,
            ..key_context(&self.settings, &partition.table, time)
        };
        self.settings.path.render(&context).map_err(|error| WriteError::Data(error.to_string()))
    }

    /// The number of a partition's next object. It must outlive the object, however many partitions there are: what that takes is bounded.
    fn next_number(&mut self, partition: &TablePartition) -> Result<u64, WriteError> {
        if let Some(count) = self.sequences.get_mut(partition) {
            *count += 1;
            return Ok(*count);
        }
        self.sequence_bytes += partition.memory_bytes();
        if self.sequence_bytes > MAX_NUMBERING_BYTES {
            return Err(WriteError::Data(format!(
                "the objects of {} partitions are numbered on this lane, and no more than {MAX_NUMBERING_BYTES} bytes are there for that: use \
                 {{{{UUID}}}} in `path`, fewer partitions, or more lanes",
                self.sequences.len()
            )));
        }
        self.sequences.insert(partition.clone(), 1);
        Ok(1)
    }

    fn attributes(&self, key: &str, partition: &TablePartition) -> ObjectAttributes {
        ObjectAttributes {
            key: key.to_owned(),
            content_type: self.settings.content_type.clone(),
            content_encoding: self.settings.content_encoding(),
            partition: match self.settings.catalog_tables {
                Some(_) => self.settings.path.partition_of_fields(&partition.partition.0),
                None => self.settings.path.partition(&partition.partition.0, &self.settings.partitioning.null_name),
            },
            role: ObjectRole::Data,
        }
    }

    /// Finishes a partition's object, if it has one.
    fn finish(&mut self, partition: &TablePartition) -> Result<(), WriteError> {
        let Some(object) = self.take_open(partition) else { return Ok(()) };
        let facts = object.encoder.finish(&mut Pipe { host: &self.host, upload: &object.upload })?;
        let replaced = object.replaced + self.encoders.take_replaced_text();
        if replaced > 0 {
            let line =
                format!("table {:?}: {replaced} texts that are not UTF-8 had their invalid bytes replaced by U+FFFD", partition.table);
            self.host.log(Level::Warn, &line);
        }
        Ok(self.host.finish(object.upload, &ObjectFacts { rows: object.rows, ..facts })?)
    }

    /// Finishes objects; goes on after a failure, but for the table that has failed.
    fn close(&mut self, objects: Vec<TablePartition>) -> Progress {
        let mut failures = std::mem::take(&mut self.failed);
        for partition in objects {
            if let Err(error) = self.finish(&partition) {
                self.abandon(&partition.table);
                failures.push((partition.table.to_string(), error));
            }
        }
        Progress { deadline: self.deadline(), failures }
    }

    /// Brings what encoders hold back under its bounds, unless bytes must not depend on what other tables hold: then what is too much fails.
    fn relieve(&mut self) {
        if !self.settings.commit.replay {
            return self.relieve_largest();
        }
        while self.held.kept.saturating_add(self.held.relief) > self.limits.encoder_bytes {
            let largest = self.open.iter().max_by_key(|(_, object)| (object.held.kept + object.held.relief, Reverse(object.used)));
            let Some((partition, _)) = largest else { return };
            let table = partition.table.clone();
            let message = format!(
                "the open objects of this lane hold more than {} bytes of memory, and this one most of all; with `delivery: exactly_once` none of \
                 it can be given up, since the object would have other bytes: use more lanes, fewer tables at once, or smaller objects",
                self.limits.encoder_bytes
            );
            self.fail(&table, WriteError::Data(message));
        }
    }

    /// Brings what encoders hold back under its bounds: what the most can be given up of first, of equals the one unused for longest.
    fn relieve_largest(&mut self) {
        let most = self.limits.encoder_bytes;
        while self.held.kept > most {
            let largest = self.open.iter().max_by_key(|(_, object)| (object.held.kept, Reverse(object.used)));
            let Some((partition, _)) = largest else { return };
            self.end_early(&partition.clone());
        }
        while self.held.relief > most.saturating_sub(self.held.kept).max(most / LEAST_SHARE) {
            let largest = self.open.iter_mut().max_by_key(|(_, object)| (object.held.relief, Reverse(object.used)));
            let Some((partition, object)) = largest else { return };
            let relieved = object.encoder.relieve(&mut Pipe { host: &self.host, upload: &object.upload });
            let held = EncoderMemory::taken_by(object.encoder.as_ref());
            let before = std::mem::replace(&mut object.held, held);
            self.held.replace(before, held);
            if let Err(error) = relieved {
                let partition = partition.clone();
                self.fail(&partition.table, error.into());
            } else if held.relief >= before.relief {
                return;
            }
        }
    }

    /// Ends an object whose encoder keeps too much: a rotating table goes on with the next one, any other fails.
    fn end_early(&mut self, partition: &TablePartition) {
        let ended = match self.settings.rotation {
            Rotation::Every { .. } => self.finish(partition),
            Rotation::Never => Err(WriteError::Data(format!(
                "the open objects of this lane keep more than {} bytes of memory until they end (footers of row groups, and rows too few for one), \
                 and this one most of all; use a path with {{{{UUID}}}}, which rotates, more lanes, or fewer tables at once",
                self.limits.encoder_bytes
            ))),
        };
        if let Err(error) = ended {
            self.fail(&partition.table, error);
        }
    }

    /// Drops what a table has open, and keeps the error for the next call that can report it.
    fn fail(&mut self, table: &str, error: WriteError) {
        self.abandon(table);
        self.failed.push((table.to_owned(), error));
    }

    fn deadline(&self) -> Option<Instant> {
        if !self.failed.is_empty() {
            return Some(0);
        }
        let age = self.age?;
        self.ages.first().map(|(since, _)| since.saturating_add(age))
    }
}

/// Stands for any object's `{{UUID}}`.
const ANY_UUID: &str = "00000000-0000-0000-0000-000000000000";

fn too_much_is_open(what: &str) -> WriteError {
    WriteError::Data(format!("{what}, which is the limit of a lane; use more lanes or a rotating path"))
}

/// Columns, or the one that is known, are not what they were, and must not change.
fn columns_have_changed(column: Option<&str>) -> WriteError {
    let which = match column {
        Some(column) => format!("the column {column:?} is not what it was"),
        None => "the columns are not what they were".to_owned(),
    };
    WriteError::Data(format!("{which} in the table's first rows, and `on_schema_change` is `fail`"))
}

/// What the keys of a table are made of, but for what tells its objects apart.
fn key_context<'a>(settings: &'a Settings, table: &'a str, time: WallTime) -> KeyContext<'a> {
    KeyContext {
        table,
        format_extension: settings.format_extension(),
        uuid: "",
        sync_id: &settings.sync_id,
        time,
        commit_id: &settings.commit.id,
        sequence: 0,
        shard: settings.commit.shard,
        schema: 0,
        partition: &[],
        null_name: &settings.partitioning.null_name,
    }
}

/// What clock placeholders stand for, if it is the same for all objects.
fn commit_time(settings: &Settings) -> Option<WallTime> {
    settings.commit.time.map(|seconds| WallTime { seconds, nanoseconds: 0 })
}

/// An object that holds no rows.
fn opaque(key: String) -> ObjectAttributes {
    let content_type = "application/octet-stream".to_owned();
    ObjectAttributes { key, content_type, content_encoding: None, partition: Vec::new(), role: ObjectRole::Data }
}

/// The object that shows, before anything else, that the bucket can be written: the path with the reference's names in it.
///
/// # Errors
/// The key that the path renders is refused.
pub fn test_object(settings: &Settings, time: WallTime) -> Result<ObjectAttributes, String> {
    let time = commit_time(settings).unwrap_or(time);
    let context = KeyContext { uuid: "TEST_UUID", ..key_context(settings, "TEST_TABLE", time) };
    let key = settings.path.render(&context).map_err(|error| error.to_string())?;
    Ok(opaque(key))
}

/// The objects that show that the store creates without replacing: names that readers of tables skip, in the folder that all keys share.
pub fn probe_objects(settings: &Settings) -> Vec<ObjectAttributes> {
    let folder = settings.path.fixed_folder();
    let probe = |name| opaque(format!("{folder}_lakegate/create-only-{name}"));
    vec![probe("put"), probe("upload")]
}

/// The record of a commit that is about to be seen, in the folder that all keys share.
pub fn pending_key(settings: &Settings) -> String {
    format!("{}_lakegate/pending/{}.json", settings.path.fixed_folder(), settings.commit.id)
}

/// Where the records of a commit go that concern one table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitKeys {
    /// The manifest.
    pub manifest: Option<String>,
    /// The list of URLs: alone in its folder, as readers want it.
    pub symlink_list: Option<String>,
    /// The marker of success of the table's folder.
    pub success_marker: Option<String>,
    /// The table of the catalog: its name, and the folder of its objects.
    pub catalog_table: Option<(String, String)>,
}

/// Where the records of a commit go that concern one table.
///
/// # Errors
/// A key would be refused.
pub fn commit_keys(settings: &Settings, table: &str) -> Result<CommitKeys, String> {
    // No path of a manifest, and no folder of a table, has the time in it.
    let context = key_context(settings, table, commit_time(settings).unwrap_or_default());
    let rendered = |path: &PathTemplate| path.render(&context).map_err(|error| error.to_string());
    let catalog_table =
        settings.catalog_tables.as_ref().map(|tables| rendered(&tables.folder).map(|folder| (tables.name_of(table), folder)));
    let mut keys = CommitKeys { catalog_table: catalog_table.transpose()?, ..CommitKeys::default() };
    if let Some(manifest) = &settings.commit.manifest {
        let key = rendered(&manifest.path)?;
        keys.symlink_list = manifest.symlink_list.then(|| {
            let stem = key.rsplit_once('.').map_or(key.as_str(), |(stem, ending)| if ending.contains('/') { &key } else { stem });
            format!("{stem}.symlink/manifest")
        });
        let folder =
            manifest.success_marker.then(|| settings.path.table_folder(&context)).transpose().map_err(|error| error.to_string())?;
        keys.success_marker = folder.map(|folder| format!("{folder}_SUCCESS"));
        keys.manifest = Some(key);
    }
    Ok(keys)
}

/// An object's upload as the output of its encoder.
struct Pipe<'a, H: Host> {
    host: &'a H,
    upload: &'a H::Upload,
}

impl<H: Host> Output for Pipe<'_, H> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        self.host.write(self.upload, bytes)
    }
}

/// The first column that differs in name, type, nullability or extension; other metadata does not count.
fn changed_column(old: &Schema, new: &Schema) -> Option<String> {
    let (old, new) = (old.fields(), new.fields());
    let changed = old.iter().zip(new).find(|(old, new)| !same_field(old, new)).map(|(old, _)| old.name().clone());
    changed.or_else(|| match old.len().cmp(&new.len()) {
        std::cmp::Ordering::Less => Some(new[old.len()].name().clone()),
        std::cmp::Ordering::Greater => Some(old[new.len()].name().clone()),
        std::cmp::Ordering::Equal => None,
    })
}

fn same_field(old: &Field, new: &Field) -> bool {
    let extension = |field: &Field| ["ARROW:extension:name", "ARROW:extension:metadata"].map(|key| field.metadata().get(key).cloned());
    old.name() == new.name()
        && old.is_nullable() == new.is_nullable()
        && extension(old) == extension(new)
        && same_type(old.data_type(), new.data_type())
}

fn same_type(old: &DataType, new: &DataType) -> bool {
    match (old, new) {
        (DataType::List(old), DataType::List(new))
        | (DataType::LargeList(old), DataType::LargeList(new))
        | (DataType::ListView(old), DataType::ListView(new))
        | (DataType::LargeListView(old), DataType::LargeListView(new)) => same_field(old, new),
        (DataType::FixedSizeList(old, a), DataType::FixedSizeList(new, b)) => a == b && same_field(old, new),
        (DataType::Map(old, a), DataType::Map(new, b)) => a == b && same_field(old, new),
        (DataType::Struct(old), DataType::Struct(new)) => {
            old.len() == new.len() && old.iter().zip(new).all(|(old, new)| same_field(old, new))
        }
        (old, new) => old == new,
    }
}

#[cfg(test)]
mod partitioned_tests;
#[cfg(test)]
mod quarantine_tests;
#[cfg(test)]
mod tests;

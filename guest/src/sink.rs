//! A table's life: rows come in, find the table's open object or open one, are encoded into it, and the object is finished.
//!
//! A table that fails has its open object dropped and forgotten; the others go on. Memory that encoders hold back is bounded over all open
//! objects: past the bound, the object that holds most gives it up.

use crate::athena;
use crate::batch::{Counters, Limits};
use crate::encode::{Encode, EncodeError, Encoders, Output};
use crate::host::{Host, Level, ObjectAttributes, PutError};
use crate::ipc::swell::light_rows;
use crate::ipc::{Decoder, IpcError, Rows, TableSchema};
use crate::path::KeyContext;
use crate::spec::{Rotation, Settings};
use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

/// Monotonic time in nanoseconds, from an origin of the host's choice.
pub type Instant = u64;

/// Bounds of a session, set by the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Bytes that encoders may hold back over all open objects.
    pub encoder_bytes: u64,
    /// Objects that may be open at once.
    pub open_objects: u32,
}

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
            EncodeError::Put(error) => Self::Store(error),
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
    open: BTreeMap<String, Object<H>>,
    /// Keys of empty objects, for the first rows of their tables.
    reserved: BTreeMap<String, String>,
    /// Tables whose failure no call could report yet.
    failed: Vec<(String, WriteError)>,
    /// Counts uses of objects, to know the one unused for longest.
    uses: u64,
    held_bytes: u64,
}

/// An object being written.
struct Object<H: Host> {
    schema: Rc<TableSchema>,
    encoder: Box<dyn Encode>,
    upload: H::Upload,
    counters: Counters,
    rows: u64,
    /// When its first row came.
    since: Instant,
    used: u64,
    held_bytes: u64,
    replaced: u64,
}

impl<H: Host> Sink<H> {
    /// Starts a session.
    pub fn open(host: H, settings: Settings, limits: SessionLimits) -> Self {
        let age = match settings.rotation {
            Rotation::Never => None,
            Rotation::Every { age, .. } => age.map(|age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)),
        };
        let encoders = Encoders::new(settings.format.clone(), settings.compression);
        let batching = settings.rotation.into();
        Self {
            host,
            settings,
            limits,
            batching,
            age,
            decoder: Decoder::default(),
            encoders,
            open: BTreeMap::new(),
            reserved: BTreeMap::new(),
            failed: Vec::new(),
            uses: 0,
            held_bytes: 0,
        }
    }

    /// A table's schema. If the spec wants empty objects for empty tables, puts one, and keeps its key for the table's first rows.
    ///
    /// # Errors
    /// [`WriteError`]; the table has then failed.
    pub fn migrate_table(&mut self, ipc: &[u8], _now: Instant) -> Result<Option<Instant>, WriteError> {
        let schema = self.decoder.schema(ipc)?;
        let table = &schema.table;
        if self.settings.empty_objects && !self.open.contains_key(table) && !self.reserved.contains_key(table) {
            let key = self.render_key(table)?;
            let encoder = self.encoders.open(&schema)?;
            let upload = self.host.open(&self.attributes(&key))?;
            encoder.finish(&mut Pipe { host: &self.host, upload: &upload })?;
            self.host.finish(upload, 0)?;
            self.reserved.insert(table.clone(), key);
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
        for rows in &batches {
            if let Err(error) = self.insert_rows(&schema, rows, now) {
                self.abandon(&schema.table);
                return Err(error);
            }
        }
        Ok(self.deadline())
    }

    /// Finishes the objects whose age limit has passed.
    pub fn tick(&mut self, now: Instant) -> Progress {
        let Some(age) = self.age else { return self.close(Vec::new()) };
        let due = self.open.iter().filter(|(_, object)| object.since.saturating_add(age) <= now).map(|(table, _)| table.clone()).collect();
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
        self.close(self.open.keys().cloned().collect())
    }

    /// Drops what a table has open, unfinished.
    pub fn abandon(&mut self, table: &str) {
        if let Some(object) = self.open.remove(table) {
            self.held_bytes -= object.held_bytes;
        }
        self.reserved.remove(table);
        self.failed.retain(|(failed, _)| failed != table);
    }

    /// True if nothing is open and no key is reserved.
    pub fn idle(&self) -> bool {
        self.open.is_empty() && self.reserved.is_empty() && self.failed.is_empty()
    }

    fn insert_rows(&mut self, schema: &Rc<TableSchema>, rows: &Rows, now: Instant) -> Result<(), WriteError> {
        let count = rows.batch.num_rows();
        if count == 0 {
            return Ok(());
        }
        self.fit_schema(schema)?;
        let mut counters = self.open.get(&schema.table).map(|object| object.counters).unwrap_or_default();
        let mut start = 0;
        for piece in self.batching.cut(&mut counters, count as u64, rows.bytes) {
            let end = start + piece.rows as usize;
            if end > start {
                self.encode(schema, &rows.batch, start..end, now)?;
            }
            if piece.ends {
                self.finish(&schema.table)?;
            }
            start = end;
        }
        if let Some(object) = self.open.get_mut(&schema.table) {
            object.counters = counters;
        }
        self.relieve()
    }

    /// An open object with other columns ends, if the table rotates; else the table fails.
    fn fit_schema(&mut self, schema: &Rc<TableSchema>) -> Result<(), WriteError> {
        let Some(object) = self.open.get(&schema.table) else { return Ok(()) };
        if Rc::ptr_eq(&object.schema, schema) {
            return Ok(());
        }
        let Some(column) = changed_column(&object.schema.logical, &schema.logical) else { return Ok(()) };
        match self.settings.rotation {
            Rotation::Every { .. } => self.finish(&schema.table),
            Rotation::Never => Err(WriteError::Data(format!(
                "the column {column:?} is not what it was in the object's first rows; columns may change only where the path has {{{{UUID}}}}"
            ))),
        }
    }

    /// Rows into the table's object, which is opened if there is none.
    fn encode(&mut self, schema: &Rc<TableSchema>, batch: &RecordBatch, rows: Range<usize>, now: Instant) -> Result<(), WriteError> {
        if !self.open.contains_key(&schema.table) {
            let object = self.open_object(schema, now)?;
            self.open.insert(schema.table.clone(), object);
        }
        self.uses += 1;
        let Some(object) = self.open.get_mut(&schema.table) else { return Ok(()) };
        object.used = self.uses;
        object.rows += rows.len() as u64;
        let out = &mut Pipe { host: &self.host, upload: &object.upload };
        if self.settings.athena {
            let mut start = rows.start;
            while start < rows.end {
                let count = light_rows(batch, start, rows.end - start);
                let cleaned = athena::clean(schema, &batch.slice(start, count), &mut |line| self.host.log(Level::Warn, &line))?;
                object.encoder.write(&cleaned, 0..count, out)?;
                start += count;
            }
        } else {
            object.encoder.write(batch, rows, out)?;
        }
        object.replaced += self.encoders.take_replaced_text();
        let held = object.encoder.held_bytes() as u64;
        self.held_bytes = self.held_bytes - object.held_bytes + held;
        object.held_bytes = held;
        Ok(())
    }

    fn open_object(&mut self, schema: &Rc<TableSchema>, now: Instant) -> Result<Object<H>, WriteError> {
        if self.open.len() >= self.limits.open_objects as usize {
            let most = self.limits.open_objects;
            return Err(WriteError::Data(format!(
                "{most} objects are open, which is the limit of a lane; use more lanes or a rotating path"
            )));
        }
        // The encoder first: a column it cannot hold is to open no upload.
        let encoder = self.encoders.open(schema)?;
        let key = match self.reserved.remove(&schema.table) {
            Some(key) => key,
            None => self.render_key(&schema.table)?,
        };
        let upload = self.host.open(&self.attributes(&key))?;
        Ok(Object {
            schema: schema.clone(),
            encoder,
            upload,
            counters: Counters::default(),
            rows: 0,
            since: now,
            used: 0,
            held_bytes: 0,
            replaced: 0,
        })
    }

    fn render_key(&self, table: &str) -> Result<String, WriteError> {
        let uuid = uuid::Builder::from_random_bytes(self.host.random()).into_uuid().to_string();
        let context = KeyContext {
            table,
            format_extension: self.settings.format_extension(),
            uuid: &uuid,
            sync_id: &self.settings.sync_id,
            time: self.host.wall_time(),
        };
        self.settings.path.render(&context).map_err(|error| WriteError::Data(error.to_string()))
    }

    fn attributes(&self, key: &str) -> ObjectAttributes {
        ObjectAttributes { key: key.to_owned(), content_type: self.settings.content_type.clone() }
    }

    /// Finishes a table's object, if it has one.
    fn finish(&mut self, table: &str) -> Result<(), WriteError> {
        let Some(object) = self.open.remove(table) else { return Ok(()) };
        self.held_bytes -= object.held_bytes;
        object.encoder.finish(&mut Pipe { host: &self.host, upload: &object.upload })?;
        let replaced = object.replaced + self.encoders.take_replaced_text();
        if replaced > 0 {
            let line = format!("table {table:?}: {replaced} texts that are not UTF-8 had their invalid bytes replaced by U+FFFD");
            self.host.log(Level::Warn, &line);
        }
        Ok(self.host.finish(object.upload, object.rows)?)
    }

    /// Finishes the objects of tables; goes on after a failure.
    fn close(&mut self, tables: Vec<String>) -> Progress {
        let mut failures = std::mem::take(&mut self.failed);
        for table in tables {
            if let Err(error) = self.finish(&table) {
                failures.push((table, error));
            }
        }
        Progress { deadline: self.deadline(), failures }
    }

    /// Brings what encoders hold back under its bound: the largest first, of equals the one unused for longest.
    fn relieve(&mut self) -> Result<(), WriteError> {
        while self.held_bytes > self.limits.encoder_bytes {
            let largest = self.open.iter_mut().max_by_key(|(_, object)| (object.held_bytes, Reverse(object.used)));
            let Some((table, object)) = largest else { return Ok(()) };
            let before = object.held_bytes;
            let relieved = object.encoder.relieve(&mut Pipe { host: &self.host, upload: &object.upload });
            object.held_bytes = object.encoder.held_bytes() as u64;
            self.held_bytes = self.held_bytes - before + object.held_bytes;
            let (table, unchanged) = (table.clone(), object.held_bytes >= before);
            match relieved {
                // What is left is small change (footers): finishing objects is all that could free it.
                Ok(()) if unchanged => return Ok(()),
                Ok(()) => {}
                Err(error) => {
                    self.abandon(&table);
                    self.failed.push((table, error.into()));
                }
            }
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        if !self.failed.is_empty() {
            return Some(0);
        }
        let age = self.age?;
        self.open.values().map(|object| object.since.saturating_add(age)).min()
    }
}

/// The object that shows, before anything else, that the bucket can be written: the path with the reference's names in it.
///
/// # Errors
/// The key that the path renders is refused.
pub fn test_object(settings: &Settings, time: crate::host::WallTime) -> Result<ObjectAttributes, String> {
    let context = KeyContext {
        table: "TEST_TABLE",
        format_extension: settings.format_extension(),
        uuid: "TEST_UUID",
        sync_id: &settings.sync_id,
        time,
    };
    let key = settings.path.render(&context).map_err(|error| error.to_string())?;
    Ok(ObjectAttributes { key, content_type: "application/octet-stream".to_owned() })
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

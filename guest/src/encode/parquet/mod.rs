//! Apache Parquet: column chunks of flat columns are our own ([`flat`]), nested ones and the file around them are the `parquet` crate's.
//!
//! An object is a run of row groups and a footer. Rows are gathered as they came until they are worth the column writers' attention, then
//! converted ([`convert`]) to what the plan of their schema ([`plan`]) says, and encoded. A row group ends at the spec's number of rows, at
//! [`ROW_GROUP_BYTES`], when memory is wanted back, or with the object; it leaves at once, so that what an object holds does not grow with
//! what it has written, but for the footer's few hundred bytes a column chunk.
//!
//! What is written: data pages v1, snappy everywhere, statistics and page index, dictionaries where values repeat ([`choice`]), no Arrow
//! schema. One input always gives one output.

mod budget;
mod cells;
mod choice;
mod convert;
mod flat;
mod plan;
mod size;
#[cfg(test)]
mod tests;

use super::{Encode, EncodeError, Output};
use crate::host::PutError;
use crate::ipc::TableSchema;
use crate::ipc::expansion::{Spent, light_rows, shares, weigh};
use crate::limits::{CHUNK_BYTES, CONVERTED_PIECE_BYTES, MAX_NESTED_ROW_BYTES, PIECE_BYTES};
use crate::spec::{ParquetOptions, ParquetVersion};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_data::ArrayData;
use arrow_schema::{FieldRef, Schema, SchemaRef};
use budget::ConversionBudget;
use flat::{FlatColumn, Press};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor, Type, TypePtr};
use plan::Plan;
use size::batch_bytes;
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of encoded and buffered data at which a row group ends, whatever its rows: half of a usual row group of other writers, and
/// far below an instance's memory.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// Rows converted at once, and gathered at most. Bounds the copies that conversion makes.
const PIECE_ROWS: usize = 16 << 10;

/// Bytes gathered before column writers take them: at least this, and [`GATHER_BYTES_A_LEAF`] for each leaf. Enough rows that a writer's
/// cost a call does not show, and that a sample of them tells which columns repeat.
const GATHER_BYTES: usize = 256 << 10;

/// See [`GATHER_BYTES`]. A column writer takes 5 to 50 KiB whatever it holds, so fewer bytes than this are cheaper kept as they are.
const GATHER_BYTES_A_LEAF: usize = 8 << 10;

/// Gathered batches that are merged into one: keeps small records from holding a set of arrays each.
const MERGE_BATCHES: usize = 32;

/// Bytes of a message that rows which wait may keep alive however few they are; and about which no more is asked, since asking costs.
const SMALL_MESSAGE_BYTES: usize = 32 << 10;

/// Memory of an array beside its buffers.
const ARRAY_BYTES: usize = 200;

/// Memory of a column writer beside what it says it holds.
const WRITER_BYTES: usize = 4 << 10;

/// Memory of a column chunk's metadata and page index, kept for the footer.
const CHUNK_METADATA_BYTES: usize = 1 << 10;

/// Memory of an open file beside that: its writer's buffer above all.
const FILE_BYTES: usize = 10 << 10;

/// Leaves of the schemas whose plan is remembered: a leaf's takes some 2 KiB, and a schema is kept with its plan. A session sees one schema a
/// table, and again after a migration.
const PLANNED_LEAVES: usize = 20_000;

/// Who wrote the file, in the form that readers parse.
const CREATED_BY: &str = concat!("lakegate version ", env!("CARGO_PKG_VERSION"));

/// What the Parquet objects of a session share: options, plans, a staging buffer, and the count of replaced text.
pub struct ParquetShared {
    options: ParquetOptions,
    /// [`ROW_GROUP_BYTES`], but in tests.
    most_bytes: usize,
    plans: Vec<(Rc<TableSchema>, Rc<Shape>)>,
    staging: Spout,
    press: Rc<RefCell<Press>>,
    replaced: Rc<Cell<u64>>,
}

impl ParquetShared {
    /// Makes the shared part for a session.
    pub fn new(options: ParquetOptions) -> Self {
        Self {
            options,
            most_bytes: ROW_GROUP_BYTES,
            plans: Vec::new(),
            staging: Spout::default(),
            press: Rc::default(),
            replaced: Rc::default(),
        }
    }

    /// Begins an object for rows of this schema.
    ///
    /// # Errors
    /// [`EncodeError::Data`] if Parquet cannot hold a column.
    pub fn open(&mut self, schema: &Rc<TableSchema>) -> Result<Box<dyn Encode>, EncodeError> {
        Ok(Box::new(Parquet {
            shape: self.shape(schema)?,
            most_rows: self.options.max_row_group_rows.get(),
            most_bytes: self.most_bytes,
            staging: self.staging.clone(),
            press: self.press.clone(),
            replaced: self.replaced.clone(),
            gathered: Gathered::default(),
            group: None,
            file: None,
            footer_bytes: 0,
        }))
    }

    /// How many values had invalid UTF-8 replaced since this was last asked.
    pub fn take_replaced(&self) -> u64 {
        self.replaced.take()
    }

    fn shape(&mut self, schema: &Rc<TableSchema>) -> Result<Rc<Shape>, EncodeError> {
        if let Some((_, shape)) = self.plans.iter().find(|(known, _)| Rc::ptr_eq(known, schema)) {
            return Ok(shape.clone());
        }
        let swells = schema.physical.fields().iter().any(|field| shares(field.data_type()));
        let shape = Rc::new(Shape::new(plan::plan(schema, &self.options)?, self.options.version, swells)?);
        self.plans.push((schema.clone(), shape.clone()));
        while self.plans.iter().map(|(_, shape)| shape.leaf_count()).sum::<usize>() > PLANNED_LEAVES {
            self.plans.remove(0);
        }
        Ok(shape)
    }
}

/// A plan, and what is derived from it once.
struct Shape {
    plan: Plan,
    /// The leaves of each column.
    leaves: Vec<Vec<ColumnDescPtr>>,
    /// Of the file: version, creator, metadata.
    file_properties: WriterPropertiesPtr,
    /// The schema of the columns that the crate writes.
    nested: Nested,
    /// The maker of the last row group's column writers, with the dictionaries it was made for.
    factory: RefCell<Option<(Vec<bool>, Rc<ArrowRowGroupWriterFactory>)>>,
    gather_bytes: usize,
    /// May a column name one value many times? Rows are then not gathered: the dictionaries of two batches may not fit the keys of one.
    swells: bool,
    /// What rows that are encoded at once may take, where columns may be far larger written out than they are: by values that take another
    /// form, by values named many times, or by the levels of nested ones.
    piece_bytes: Option<u64>,
}

/// Columns that the crate writes, as a schema of their own.
struct Nested {
    /// Their places among all columns.
    places: Vec<usize>,
    parquet: TypePtr,
    arrow: SchemaRef,
}

impl Shape {
    fn new(plan: Plan, version: ParquetVersion, swells: bool) -> Result<Self, EncodeError> {
        // This is the number in the footer. Pages and encodings are those of version 1 (see `factory`), as the reference writes them.
        let version = match version {
            ParquetVersion::V1_0 => WriterVersion::PARQUET_1_0,
            ParquetVersion::V2_4 | ParquetVersion::V2_6 | ParquetVersion::V2Latest => WriterVersion::PARQUET_2_0,
        };
        let metadata = if plan.metadata.is_empty() { None } else { Some(plan.metadata.clone()) };
        let properties = WriterProperties::builder()
            .set_writer_version(version)
            .set_created_by(CREATED_BY.into())
            .set_key_value_metadata(metadata)
            .build();
        let gather_bytes = GATHER_BYTES.max(plan.arrow.flattened_fields().len() * GATHER_BYTES_A_LEAF);
        let descriptor = SchemaDescriptor::new(plan.parquet.clone());
        let mut leaves: Vec<Vec<ColumnDescPtr>> = plan.columns.iter().map(|_| Vec::new()).collect();
        for (leaf, descr) in descriptor.columns().iter().enumerate() {
            if let Some(column) = leaves.get_mut(descriptor.get_column_root_idx(leaf)) {
                column.push(descr.clone());
            }
        }
        let nested = Nested::of(&plan, &leaves)?;
        let piece_bytes = if plan.columns.iter().any(|column| column.convert.grows()) {
            Some(CONVERTED_PIECE_BYTES)
        } else {
            (swells || !nested.places.is_empty()).then_some(PIECE_BYTES)
        };
        let (file_properties, factory) = (Arc::new(properties), RefCell::default());
        Ok(Self { plan, leaves, file_properties, nested, factory, gather_bytes, swells, piece_bytes })
    }

    fn leaf_count(&self) -> usize {
        self.leaves.iter().map(Vec::len).sum()
    }

    /// Column writers for a row group that begins with these converted columns.
    fn writers(&self, columns: &[ArrayRef], row_group: usize) -> Result<Vec<ColumnWriter>, EncodeError> {
        let mut dictionaries = choice::dictionaries(columns).into_iter();
        let mut of_nested = Vec::new();
        let mut writers = Vec::with_capacity(columns.len());
        for (field, leaves) in self.plan.arrow.fields().iter().zip(&self.leaves) {
            let chosen: Vec<bool> = dictionaries.by_ref().take(leaves.len()).collect();
            let flat = match leaves.as_slice() {
                [leaf] => FlatColumn::new(field.data_type(), leaf.clone(), chosen == [true]),
                _ => None,
            };
            writers.push(match flat {
                Some(flat) => ColumnWriter::Flat(Box::new(flat)),
                None => {
                    of_nested.extend(chosen);
                    ColumnWriter::Nested(Vec::new())
                }
            });
        }
        if !of_nested.is_empty() {
            let mut made = self.factory(of_nested)?.create_column_writers(row_group).map_err(failed)?.into_iter();
            for (writer, leaves) in writers.iter_mut().zip(&self.leaves) {
                if let ColumnWriter::Nested(nested) = writer {
                    nested.extend(made.by_ref().take(leaves.len()));
                }
            }
        }
        Ok(writers)
    }

    /// The maker of the crate's column writers, with dictionaries for the leaves so chosen.
    fn factory(&self, dictionaries: Vec<bool>) -> Result<Rc<ArrowRowGroupWriterFactory>, EncodeError> {
        let known = self.factory.borrow().as_ref().filter(|(made_for, _)| *made_for == dictionaries).map(|(_, factory)| factory.clone());
        if let Some(factory) = known {
            return Ok(factory);
        }
        // A factory takes its properties from a file writer; this one writes no file.
        let model =
            |properties| SerializedFileWriter::new(std::io::sink(), self.nested.parquet.clone(), Arc::new(properties)).map_err(failed);
        let mut properties = WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_1_0)
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_dictionary_enabled(false);
        let plain = model(properties.clone().build())?;
        for (leaf, _) in plain.schema_descr().columns().iter().zip(&dictionaries).filter(|(_, chosen)| **chosen) {
            properties = properties.set_column_dictionary_enabled(leaf.path().clone(), true);
        }
        let factory = Rc::new(ArrowRowGroupWriterFactory::new(&model(properties.build())?, self.nested.arrow.clone()));
        *self.factory.borrow_mut() = Some((dictionaries, factory.clone()));
        Ok(factory)
    }
}

impl Nested {
    fn of(plan: &Plan, leaves: &[Vec<ColumnDescPtr>]) -> Result<Self, EncodeError> {
        let is_flat = |field: &FieldRef, leaves: &[ColumnDescPtr]| matches!(leaves, [leaf] if FlatColumn::takes(field.data_type(), leaf));
        let places: Vec<usize> = plan
            .arrow
            .fields()
            .iter()
            .zip(leaves)
            .enumerate()
            .filter(|(_, (field, leaves))| !is_flat(field, leaves))
            .map(|(at, _)| at)
            .collect();
        let arrow: Vec<_> = places.iter().map(|at| plan.arrow.fields()[*at].clone()).collect();
        let parquet = places.iter().map(|at| plan.parquet.get_fields()[*at].clone()).collect();
        let root = Type::group_type_builder(plan.parquet.name()).with_fields(parquet).build().map_err(failed)?;
        Ok(Self { places, parquet: Arc::new(root), arrow: Arc::new(Schema::new(arrow)) })
    }
}

/// Writes a column of a row group.
enum ColumnWriter {
    Flat(Box<FlatColumn>),
    /// A writer a leaf.
    Nested(Vec<ArrowColumnWriter>),
}

impl ColumnWriter {
    fn held_bytes(&self) -> usize {
        match self {
            Self::Flat(column) => column.held_bytes(),
            Self::Nested(leaves) => leaves.iter().map(|leaf| leaf.memory_size() + WRITER_BYTES).sum(),
        }
    }

    /// Memory that the footer takes for its pages. The crate's writers do not tell; what they keep is cut to 64 bytes a bound.
    fn index_bytes(&self) -> usize {
        match self {
            Self::Flat(column) => column.index_bytes(),
            Self::Nested(_) => 0,
        }
    }
}

/// Writes one object.
struct Parquet {
    shape: Rc<Shape>,
    most_rows: u64,
    most_bytes: usize,
    staging: Spout,
    press: Rc<RefCell<Press>>,
    replaced: Rc<Cell<u64>>,
    gathered: Gathered,
    /// The row group that has column writers.
    group: Option<Group>,
    /// Made when the first row group leaves.
    file: Option<SerializedFileWriter<Spout>>,
    /// Memory of what the footer will say of the row groups that have left.
    footer_bytes: usize,
}

/// A row group that is being encoded.
struct Group {
    writers: Vec<ColumnWriter>,
    rows: u64,
}

impl Encode for Parquet {
    fn write(&mut self, batch: &RecordBatch, rows: Range<usize>, out: &mut dyn Output) -> Result<(), EncodeError> {
        let mut start = rows.start;
        while start < rows.end {
            let room = usize::try_from(self.most_rows - self.rows()).unwrap_or(usize::MAX);
            let count = (rows.end - start).min(room).min(PIECE_ROWS);
            let count = self.shape.piece_bytes.map_or(count, |bytes| light_rows(batch, start, count, bytes));
            self.take(batch, start, count)?;
            start += count;
            if self.rows() == self.most_rows || self.group_bytes() >= self.most_bytes {
                self.cut(out)?;
            }
        }
        Ok(())
    }

    fn held_bytes(&self) -> usize {
        let file = if self.file.is_some() { FILE_BYTES } else { 0 };
        self.group_bytes() + file + self.footer_bytes
    }

    fn relief_bytes(&self) -> usize {
        let file = if self.file.is_some() { 0 } else { FILE_BYTES };
        self.group_bytes().saturating_sub(file + self.group_footer_bytes())
    }

    fn relieve(&mut self, out: &mut dyn Output) -> Result<(), EncodeError> {
        self.cut(out)
    }

    fn finish(mut self: Box<Self>, out: &mut dyn Output) -> Result<(), EncodeError> {
        self.cut(out)?;
        self.staging.clear();
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.new_file()?,
        };
        file.finish().map_err(failed)?;
        Ok(self.staging.hand_on(out)?)
    }
}

impl Parquet {
    /// Rows of the row group so far.
    fn rows(&self) -> u64 {
        self.gathered.rows as u64 + self.group.as_ref().map_or(0, |group| group.rows)
    }

    /// Memory of the row group so far.
    fn group_bytes(&self) -> usize {
        let writers = self.group.iter().flat_map(|group| &group.writers);
        self.gathered.held_bytes + writers.map(ColumnWriter::held_bytes).sum::<usize>()
    }

    /// Memory of what the footer will say of the row group so far.
    fn group_footer_bytes(&self) -> usize {
        let indices = self.group.iter().flat_map(|group| &group.writers).map(ColumnWriter::index_bytes);
        self.shape.leaf_count() * CHUNK_METADATA_BYTES + indices.sum::<usize>()
    }

    /// Gathers rows, or encodes them with all that is gathered.
    fn take(&mut self, batch: &RecordBatch, start: usize, count: usize) -> Result<(), EncodeError> {
        let piece = batch.slice(start, count);
        let bytes = batch_bytes(&piece);
        if self.shape.swells {
            return self.encode(&piece);
        }
        let weight = self.shape.piece_bytes.map_or(0, |most| weight(&piece, most));
        let fits = self.shape.piece_bytes.is_none_or(|most| self.gathered.weight + weight <= most);
        if fits && self.gathered.rows + count < PIECE_ROWS && self.gathered.bytes + bytes < self.shape.gather_bytes {
            self.gathered.weight += weight;
            return self.gathered.keep(piece, bytes, batch.num_rows());
        }
        if !fits || bytes as u64 > PIECE_BYTES {
            // One with what was gathered would be too heavy, or a copy of it.
            if let Some(rest) = self.gathered.take()? {
                self.encode(&rest)?;
            }
            return self.encode(&piece);
        }
        let whole = self.gathered.take_with(piece)?;
        self.encode(&whole)
    }

    /// Hands rows to the column writers.
    fn encode(&mut self, batch: &RecordBatch) -> Result<(), EncodeError> {
        let plan = &self.shape.plan;
        for place in &self.shape.nested.places {
            check_weight(&plan.columns[*place].name, batch.column(*place))?;
        }
        let mut budget = ConversionBudget::default();
        let columns = plan.columns.iter().zip(batch.columns());
        let columns = columns.map(|(column, array)| convert::convert(column, array, &mut budget)).collect::<Result<Vec<_>, _>>()?;
        self.replaced.set(self.replaced.get() + budget.replaced);

        let mut group = match self.group.take() {
            Some(group) => group,
            None => {
                let ordinal = self.file.as_ref().map_or(0, |file| file.flushed_row_groups().len());
                Group { writers: self.shape.writers(&columns, ordinal)?, rows: 0 }
            }
        };
        let press = &mut *self.press.borrow_mut();
        for (((writer, column), field), array) in group.writers.iter_mut().zip(&plan.columns).zip(plan.arrow.fields()).zip(&columns) {
            // No column writer asks: it would write what lies under the null, or take the rows apart.
            if !field.is_nullable() && array.null_count() > 0 {
                return Err(EncodeError::Data(format!(
                    "column {:?} is declared not null and has a null, which Parquet cannot hold",
                    column.name
                )));
            }
            let named = |error: &dyn std::fmt::Display| EncodeError::Data(format!("column {:?}: {error}", column.name));
            match writer {
                ColumnWriter::Flat(flat) => flat.write(array, press).map_err(|why| named(&why))?,
                ColumnWriter::Nested(leaves) => {
                    for (writer, leaf) in leaves.iter_mut().zip(compute_leaves(field, array).map_err(|error| named(&error))?) {
                        writer.write(&leaf).map_err(|error| named(&error))?;
                    }
                }
            }
        }
        group.rows += batch.num_rows() as u64;
        self.group = Some(group);
        Ok(())
    }

    /// Ends the row group, if there is one, and sends it off.
    fn cut(&mut self, out: &mut dyn Output) -> Result<(), EncodeError> {
        if let Some(rest) = self.gathered.take()? {
            self.encode(&rest)?;
        }
        let footer_bytes = self.group_footer_bytes();
        let Some(group) = self.group.take() else { return Ok(()) };
        self.footer_bytes += footer_bytes;
        self.staging.clear();
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.new_file()?,
        };
        let mut row_group = file.next_row_group().map_err(failed)?;
        // One column after another, so that no more than one is in memory twice.
        for writer in group.writers {
            match writer {
                ColumnWriter::Flat(column) => {
                    let (chunk, close) = column.finish(&mut self.press.borrow_mut()).map_err(failed)?;
                    row_group.append_column(&chunk, close).map_err(failed)?;
                    self.staging.hand_on_chunks(out)?;
                }
                ColumnWriter::Nested(leaves) => {
                    for leaf in leaves {
                        leaf.close().and_then(|chunk| chunk.append_to_row_group(&mut row_group)).map_err(failed)?;
                        self.staging.hand_on_chunks(out)?;
                    }
                }
            }
        }
        row_group.close().map_err(failed)?;
        file.flush().map_err(|error| failed(error.into()))?;
        self.file = Some(file);
        Ok(self.staging.hand_on(out)?)
    }

    fn new_file(&self) -> Result<SerializedFileWriter<Spout>, EncodeError> {
        let shape = &self.shape;
        SerializedFileWriter::new(self.staging.clone(), shape.plan.parquet.clone(), shape.file_properties.clone()).map_err(failed)
    }
}

/// Rows that wait to be worth encoding, as they came.
#[derive(Default)]
struct Gathered {
    batches: Vec<RecordBatch>,
    rows: usize,
    /// Of the values, and of the memory that they keep alive.
    bytes: usize,
    held_bytes: usize,
    /// What they take written out, where that is counted: see [`Shape::piece_bytes`].
    weight: u64,
}

impl Gathered {
    /// Keeps a piece of a batch of `whole_rows` rows.
    fn keep(&mut self, piece: RecordBatch, bytes: usize, whole_rows: usize) -> Result<(), EncodeError> {
        self.rows += piece.num_rows();
        let arrays = piece.num_columns() * ARRAY_BYTES;
        self.bytes += bytes + arrays;
        // A slice keeps all of its message alive. A good part of one may; a small part is copied out.
        let pinned = pinned_bytes(&piece);
        if piece.num_rows() * 2 < whole_rows || pinned > 2 * (bytes + arrays) + SMALL_MESSAGE_BYTES {
            self.batches.push(merged(&[piece.slice(0, 0), piece])?);
            self.held_bytes += bytes + arrays;
        } else {
            self.batches.push(piece);
            self.held_bytes += bytes.max(pinned) + arrays;
        }
        if self.batches.len() == MERGE_BATCHES {
            let one = merged(&self.batches)?;
            self.bytes = batch_bytes(&one) + arrays;
            self.held_bytes = self.bytes;
            self.batches = vec![one];
        }
        Ok(())
    }

    /// Takes all, if there is any.
    fn take(&mut self) -> Result<Option<RecordBatch>, EncodeError> {
        let Self { batches, .. } = std::mem::take(self);
        if batches.is_empty() { Ok(None) } else { merged(&batches).map(Some) }
    }

    /// Takes all, with one more piece after it.
    fn take_with(&mut self, piece: RecordBatch) -> Result<RecordBatch, EncodeError> {
        let Self { mut batches, .. } = std::mem::take(self);
        if batches.is_empty() {
            return Ok(piece);
        }
        batches.push(piece);
        merged(&batches)
    }
}

/// One batch of several, copied; a single one as it is.
fn merged(batches: &[RecordBatch]) -> Result<RecordBatch, EncodeError> {
    match batches {
        [one] => Ok(one.clone()),
        [first, ..] => {
            arrow_select::concat::concat_batches(first.schema_ref(), batches).map_err(|error| EncodeError::Data(error.to_string()))
        }
        [] => Err(EncodeError::Data("no rows to merge".into())),
    }
}

/// What the rows of a batch take, counted up to one more than `most`.
fn weight(batch: &RecordBatch, most: u64) -> u64 {
    let mut left = most;
    let weighed = batch.columns().iter().try_for_each(|column| weigh(column, 0..column.len(), &mut left));
    weighed.map_or(most + 1, |()| most - left)
}

/// Refuses what the `parquet` crate's column writers could not hold. Heavy rows come here one by one.
fn check_weight(column: &str, array: &ArrayRef) -> Result<(), EncodeError> {
    let mut left = MAX_NESTED_ROW_BYTES;
    weigh(array, 0..array.len(), &mut left).map_err(|Spent| {
        EncodeError::Data(format!(
            "column {column:?}: a row takes more than {MAX_NESTED_ROW_BYTES} bytes, which is all that a nested column may take in Parquet (each \
             value counts 8 beside its own); csv and json have no such bound"
        ))
    })
}

/// Memory that a batch keeps alive: that of the message its buffers lie in. Exact where that is large; else a column's buffers are taken for
/// two that each name all of it.
fn pinned_bytes(batch: &RecordBatch) -> usize {
    let named = batch.columns().iter().map(|column| column.get_buffer_memory_size()).max().unwrap_or_default();
    if named <= SMALL_MESSAGE_BYTES {
        return named / 2;
    }
    fn largest(data: &ArrayData) -> usize {
        let own = data.buffers().iter().chain(data.nulls().map(|nulls| nulls.buffer())).map(Buffer::capacity).max();
        own.unwrap_or_default().max(data.child_data().iter().map(largest).max().unwrap_or_default())
    }
    batch.columns().iter().map(|column| largest(&column.to_data())).max().unwrap_or_default()
}

fn failed(error: ParquetError) -> EncodeError {
    EncodeError::Data(format!("the Parquet writer failed: {error}"))
}

/// The staging buffer that file writers write to, shared by the objects of a session. It holds nothing between calls. In chunks, since one
/// piece that grows would for a moment be there three times.
#[derive(Clone, Default)]
struct Spout(Arc<Mutex<Vec<Vec<u8>>>>);

impl Spout {
    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what an object that failed or was dropped left behind. The room of one chunk is kept.
    fn clear(&self) {
        let mut staged = self.lock();
        staged.truncate(1);
        staged.iter_mut().for_each(Vec::clear);
    }

    /// Hands on once there is a chunk's worth.
    fn hand_on_chunks(&self, out: &mut dyn Output) -> Result<(), PutError> {
        let is_full = self.lock().first().is_some_and(|chunk| chunk.len() == CHUNK_BYTES);
        if is_full { self.hand_on(out) } else { Ok(()) }
    }

    fn hand_on(&self, out: &mut dyn Output) -> Result<(), PutError> {
        for chunk in self.lock().iter().filter(|chunk| !chunk.is_empty()) {
            out.write(chunk)?;
        }
        self.clear();
        Ok(())
    }
}

impl std::io::Write for Spout {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut staged = self.lock();
        if staged.last().is_none_or(|chunk| chunk.len() == CHUNK_BYTES) {
            staged.push(Vec::with_capacity(CHUNK_BYTES));
        }
        let Some(chunk) = staged.last_mut() else { return Ok(0) };
        let taken = bytes.len().min(CHUNK_BYTES - chunk.len());
        chunk.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

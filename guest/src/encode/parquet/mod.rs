//! Apache Parquet: column chunks of flat columns are our own ([`flat`]), nested ones and the file around them are the `parquet` crate's.
//!
//! An object is a run of row groups and a footer. Rows are buffered ([`buffered`]) until they are worth the column writers' attention, then
//! converted ([`convert`]) to what the plan of their schema ([`plan`]) says, and encoded. A row group ends at the spec's number of rows, at
//! [`ROW_GROUP_BYTES`], when memory is wanted back, or with the object; it leaves at once, so that what an object holds does not grow with
//! what it has written, but for the footer's few hundred bytes a column chunk.
//!
//! What is written: data pages v1, snappy everywhere, statistics and page index, dictionaries where values repeat ([`choice`]), no Arrow
//! schema. One input always gives one output.

mod budget;
mod buffered;
mod cells;
mod choice;
mod convert;
mod facts;
mod flat;
mod plan;
mod shape;
mod shared_buffer;
mod size;
#[cfg(test)]
mod tests;

use super::{Encode, EncodeError, Output};
use crate::host::ObjectFacts;
use crate::ipc::TableSchema;
use crate::ipc::expansion::{Spent, light_rows, shares, weigh};
use crate::limits::{MAX_NESTED_ROW_BYTES, PIECE_BYTES};
use crate::spec::ParquetOptions;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use budget::ConversionBudget;
use buffered::{BufferedRows, weight};
use flat::PageCompressor;
use parquet::arrow::arrow_writer::compute_leaves;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::writer::SerializedFileWriter;
use shape::{ColumnWriter, Shape, failed};
use shared_buffer::SharedBuffer;
use size::batch_bytes;
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

/// Bytes of encoded and buffered data at which a row group ends, whatever its rows: half of a usual row group of other writers, and
/// far below an instance's memory.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// Rows converted at once, and buffered at most. Bounds the copies that conversion makes.
const PIECE_ROWS: usize = 16 << 10;

/// Memory of a column chunk's metadata and page index, kept for the footer.
const CHUNK_METADATA_BYTES: usize = 1 << 10;

/// Memory of an open file beside that: its writer's buffer above all.
const FILE_BYTES: usize = 10 << 10;

/// Leaves of the schemas whose plan is remembered: a leaf's takes some 2 KiB, and a schema is kept with its plan. A session sees one schema a
/// table, and again after a migration.
const PLANNED_LEAVES: usize = 20_000;

/// What the Parquet objects of a session share: options, plans, a staging buffer, and the count of replaced text.
pub struct ParquetShared {
    options: ParquetOptions,
    /// Bytes at which a row group ends: [`ROW_GROUP_BYTES`], unless it is told otherwise.
    most_bytes: usize,
    /// Are facts of the columns wanted?
    has_column_facts: bool,
    plans: Vec<(Rc<TableSchema>, Rc<Shape>)>,
    staging: SharedBuffer,
    compressor: Rc<RefCell<PageCompressor>>,
    replaced: Rc<Cell<u64>>,
}

impl ParquetShared {
    /// Makes the shared part for a session.
    pub fn new(options: ParquetOptions) -> Self {
        Self {
            options,
            most_bytes: ROW_GROUP_BYTES,
            has_column_facts: false,
            plans: Vec::new(),
            staging: SharedBuffer::default(),
            compressor: Rc::default(),
            replaced: Rc::default(),
        }
    }

    /// Ends row groups at so many bytes of encoded and buffered data.
    pub fn end_row_groups_at(&mut self, bytes: usize) {
        self.most_bytes = bytes;
    }

    /// Gathers facts of the columns of each object.
    pub fn gather_column_facts(&mut self) {
        self.has_column_facts = true;
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
            compressor: self.compressor.clone(),
            replaced: self.replaced.clone(),
            buffered: BufferedRows::default(),
            group: None,
            file: None,
            footer_bytes: 0,
            nans: self.has_column_facts.then(Vec::new),
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
        let expands = schema.physical.fields().iter().any(|field| shares(field.data_type()));
        let shape = Rc::new(Shape::new(plan::plan(schema, &self.options)?, self.options.version, expands)?);
        self.plans.push((schema.clone(), shape.clone()));
        while self.plans.iter().map(|(_, shape)| shape.leaf_count()).sum::<usize>() > PLANNED_LEAVES {
            self.plans.remove(0);
        }
        Ok(shape)
    }
}

/// Row groups of an object whose offsets are told, as many as the world takes.
const MAX_SPLIT_OFFSETS: usize = 10_000;

/// Writes one object.
struct Parquet {
    shape: Rc<Shape>,
    most_rows: u64,
    most_bytes: usize,
    staging: SharedBuffer,
    compressor: Rc<RefCell<PageCompressor>>,
    replaced: Rc<Cell<u64>>,
    buffered: BufferedRows,
    /// The row group that has column writers.
    group: Option<Group>,
    /// Made when the first row group leaves.
    file: Option<SerializedFileWriter<SharedBuffer>>,
    /// Memory of what the footer will say of the row groups that have left.
    footer_bytes: usize,
    /// The NaNs of each column so far, if facts of the columns are wanted; none of what is nested.
    nans: Option<Vec<Option<u64>>>,
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

    fn finish(mut self: Box<Self>, out: &mut dyn Output) -> Result<ObjectFacts, EncodeError> {
        self.cut(out)?;
        self.staging.clear();
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.new_file()?,
        };
        let offset = |group: &RowGroupMetaData| u64::try_from(group.file_offset()?).ok();
        let groups = file.flushed_row_groups();
        let split_offsets = groups.iter().filter_map(offset).take(MAX_SPLIT_OFFSETS).collect();
        let columns = self.nans.take().map(|nans| facts::of_columns(groups, &self.shape.by_leaf(&nans))).unwrap_or_default();
        file.finish().map_err(failed)?;
        self.staging.hand_on(out)?;
        Ok(ObjectFacts { split_offsets, columns, ..ObjectFacts::default() })
    }
}

impl Parquet {
    /// Rows of the row group so far.
    fn rows(&self) -> u64 {
        self.buffered.rows as u64 + self.group.as_ref().map_or(0, |group| group.rows)
    }

    /// Memory of the row group so far.
    fn group_bytes(&self) -> usize {
        let writers = self.group.iter().flat_map(|group| &group.writers);
        self.buffered.held_bytes + writers.map(ColumnWriter::held_bytes).sum::<usize>()
    }

    /// Memory of what the footer will say of the row group so far.
    fn group_footer_bytes(&self) -> usize {
        let indices = self.group.iter().flat_map(|group| &group.writers).map(ColumnWriter::index_bytes);
        self.shape.leaf_count() * CHUNK_METADATA_BYTES + indices.sum::<usize>()
    }

    /// Buffers rows, or encodes them with all that is buffered.
    fn take(&mut self, batch: &RecordBatch, start: usize, count: usize) -> Result<(), EncodeError> {
        let piece = batch.slice(start, count);
        let bytes = batch_bytes(&piece);
        if self.shape.expands {
            return self.encode(&piece);
        }
        let weight = self.shape.piece_bytes.map_or(0, |most| weight(&piece, most));
        let fits = self.shape.piece_bytes.is_none_or(|most| self.buffered.weight + weight <= most);
        if fits && self.buffered.rows + count < PIECE_ROWS && self.buffered.bytes + bytes < self.shape.buffer_bytes {
            self.buffered.weight += weight;
            return self.buffered.keep(piece, bytes, batch.num_rows());
        }
        if !fits || bytes as u64 > PIECE_BYTES {
            // Together with what is buffered it would be too heavy, or a copy of it.
            if let Some(rest) = self.buffered.take()? {
                self.encode(&rest)?;
            }
            return self.encode(&piece);
        }
        let whole = self.buffered.take_with(piece)?;
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
        if let Some(nans) = &mut self.nans {
            nans.resize(columns.len(), Some(0));
            nans.iter_mut().zip(&columns).for_each(|(total, column)| *total = total.zip(nans_in(column)).map(|(total, more)| total + more));
        }

        let mut group = match self.group.take() {
            Some(group) => group,
            None => {
                let ordinal = self.file.as_ref().map_or(0, |file| file.flushed_row_groups().len());
                Group { writers: self.shape.writers(&columns, ordinal)?, rows: 0 }
            }
        };
        let compressor = &mut *self.compressor.borrow_mut();
        for (((writer, column), field), array) in group.writers.iter_mut().zip(&plan.columns).zip(plan.arrow.fields()).zip(&columns) {
            // No column writer checks this: it would write what lies under the null, or take the rows apart.
            if !field.is_nullable() && array.null_count() > 0 {
                return Err(EncodeError::Data(format!(
                    "column {:?} is declared not null and has a null, which Parquet cannot hold",
                    column.name
                )));
            }
            let named = |error: &dyn std::fmt::Display| EncodeError::Data(format!("column {:?}: {error}", column.name));
            match writer {
                ColumnWriter::Flat(flat) => flat.write(array, compressor).map_err(|reason| named(&reason))?,
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
        if let Some(rest) = self.buffered.take()? {
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
                    let (chunk, close) = column.finish(&mut self.compressor.borrow_mut()).map_err(failed)?;
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

    fn new_file(&self) -> Result<SerializedFileWriter<SharedBuffer>, EncodeError> {
        let shape = &self.shape;
        SerializedFileWriter::new(self.staging.clone(), shape.plan.parquet.clone(), shape.file_properties.clone()).map_err(failed)
    }
}

/// How many values of a column are not a number; [`None`] for types that have none such, and for what is nested.
fn nans_in(column: &ArrayRef) -> Option<u64> {
    let count = |nans: usize| Some(nans as u64);
    if let Some(values) = column.as_primitive_opt::<Float32Type>() {
        count(values.iter().flatten().filter(|value| value.is_nan()).count())
    } else {
        let values = column.as_primitive_opt::<Float64Type>()?;
        count(values.iter().flatten().filter(|value| value.is_nan()).count())
    }
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

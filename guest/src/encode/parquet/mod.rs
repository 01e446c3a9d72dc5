//! Apache Parquet: column chunks of flat columns are our own ([`flat`]), nested ones and the file around them are the `parquet` crate's.
//!
//! An object is a run of row groups and a footer. Rows are buffered ([`buffered`]) until they are worth the column writers' attention, then
//! converted ([`convert`]) to what the plan of their schema ([`plan`]) says, and encoded. A row group ends at the spec's number of rows, at
//! [`ROW_GROUP_BYTES`], when memory is wanted back, or with the object; it leaves at once, so that what an object holds does not grow with
//! what it has written, but for the footer's few hundred bytes a column chunk.
//!
//! What is written: data pages v1, snappy unless another codec is asked for, statistics and page index, dictionaries where values repeat
//! ([`choice`]), no Arrow schema. One input always gives one output.
//!
//! Rows that are to be sorted wait converted until their group ends ([`sort`]), which is then cut by what they take as they wait.

mod budget;
mod buffered;
mod cells;
mod check;
mod choice;
mod convert;
mod facts;
mod flat;
mod nested;
#[cfg(test)]
mod option_tests;
mod plan;
mod shape;
mod shared_buffer;
mod size;
mod sort;
#[cfg(test)]
mod tests;

use super::{BadRow, Encode, EncodeError, Output};
use crate::excerpt::quoted;
use crate::host::ObjectFacts;
use crate::ipc::TableSchema;
use crate::ipc::expansion::{light_rows, shares};
use crate::limits::PIECE_BYTES;
use crate::spec::ParquetOptions;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use budget::ConversionBudget;
use buffered::{BufferedRows, weight};
use check::{NULL, PIECE_ROWS, Refusal, check_weight};
use flat::PageCompressor;
use parquet::arrow::arrow_writer::compute_leaves;
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::writer::SerializedFileWriter;
use shape::{ColumnWriter, Shape, failed};
use shared_buffer::SharedBuffer;
use size::batch_bytes;
use sort::SortBuffer;
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

/// Bytes of encoded and buffered data at which a row group ends, whatever its rows: half of a usual row group of other writers, and
/// far below an instance's memory.
const ROW_GROUP_BYTES: usize = 64 << 20;

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
    /// Bytes at which a row group ends: [`ROW_GROUP_BYTES`] by default.
    most_bytes: usize,
    /// Are facts of the columns wanted?
    has_column_facts: bool,
    keeps_rows_whole: bool,
    plans: Vec<(Rc<TableSchema>, Rc<Shape>)>,
    staging: SharedBuffer,
    compressor: Rc<RefCell<PageCompressor>>,
    replaced: Rc<Cell<u64>>,
    /// What is to be said of columns that tables lack; none for what was said before.
    warnings: Vec<String>,
    has_warned_of_filters: bool,
    has_warned_of_order: bool,
}

impl ParquetShared {
    /// Makes the shared part for a session.
    pub fn new(options: ParquetOptions) -> Self {
        let asked = options.row_group_bytes.map(|bytes| usize::try_from(bytes.get()).unwrap_or(usize::MAX));
        Self {
            most_bytes: asked.unwrap_or(ROW_GROUP_BYTES),
            has_column_facts: false,
            keeps_rows_whole: false,
            plans: Vec::new(),
            staging: SharedBuffer::default(),
            compressor: Rc::new(RefCell::new(PageCompressor::new(options.compression))),
            replaced: Rc::default(),
            warnings: Vec::new(),
            has_warned_of_filters: false,
            has_warned_of_order: false,
            options,
        }
    }

    /// Ends row groups at so many bytes of encoded and buffered data, unless the options say at how many.
    pub fn end_row_groups_at_unless_asked(&mut self, bytes: usize) {
        if self.options.row_group_bytes.is_none() {
            self.most_bytes = bytes;
        }
    }

    /// Gathers facts of the columns of each object.
    pub fn gather_column_facts(&mut self) {
        self.has_column_facts = true;
    }

    /// See [`Encoders::keep_rows_whole`](super::Encoders::keep_rows_whole).
    pub(super) fn keep_rows_whole(&mut self) {
        self.keeps_rows_whole = true;
    }

    /// The rows that Parquet cannot hold, up to `most` of them.
    pub(super) fn bad_rows(
        &mut self,
        schema: &Rc<TableSchema>,
        batch: &RecordBatch,
        rows: Range<usize>,
        most: usize,
    ) -> Result<Vec<BadRow>, EncodeError> {
        Ok(self.shape(schema)?.bad_rows(batch, rows, most))
    }

    /// Begins an object for rows of this schema.
    ///
    /// # Errors
    /// [`EncodeError::Data`] if Parquet cannot hold a column.
    pub fn open(&mut self, schema: &Rc<TableSchema>) -> Result<Box<dyn Encode>, EncodeError> {
        let shape = self.shape(schema)?;
        self.warn(&schema.table, &shape);
        Ok(Box::new(Parquet {
            sorting: shape.sorter.is_some().then(SortBuffer::default),
            shape,
            most_rows: self.options.max_row_group_rows.get(),
            most_bytes: self.most_bytes,
            keeps_rows_whole: self.keeps_rows_whole,
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

    /// What is to be said of columns that tables lack, since this was last asked: of each option once. One spec serves hundreds of tables, most of
    /// which may lack a column.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    fn warn(&mut self, table: &str, shape: &Shape) {
        let mut warn = |has_warned: &mut bool, column: &Option<String>, option: &str, why: &str| {
            let Some(column) = column.as_ref().filter(|_| !*has_warned) else { return };
            *has_warned = true;
            let (table, column) = (quoted(table), quoted(column));
            self.warnings.push(format!(
                "table {table} lacks the column {column} of `{option}`, or has it of a type that {why}: there and in every other such table it \
                 is left out of account"
            ));
        };
        let (filters, order) = ("no Bloom filter is for", "rows are not sorted by");
        warn(&mut self.has_warned_of_filters, &shape.unfiltered, "bloom_filter_columns", filters);
        warn(&mut self.has_warned_of_order, &shape.unsorted, "sort_by", order);
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
        let shape = Rc::new(Shape::new(plan::plan(schema, &self.options)?, &self.options, expands)?);
        self.plans.push((schema.clone(), shape.clone()));
        while self.plans.iter().map(|(_, shape)| shape.leaf_count()).sum::<usize>() > PLANNED_LEAVES {
            self.plans.remove(0);
        }
        Ok(shape)
    }
}

/// Row groups of an object whose offsets are reported, as many as the world takes.
const MAX_SPLIT_OFFSETS: usize = 10_000;

/// Writes one object.
struct Parquet {
    shape: Rc<Shape>,
    most_rows: u64,
    most_bytes: usize,
    /// Are rows looked at before they are buffered? Later it is too late.
    keeps_rows_whole: bool,
    staging: SharedBuffer,
    compressor: Rc<RefCell<PageCompressor>>,
    replaced: Rc<Cell<u64>>,
    buffered: BufferedRows,
    /// The rows of the group, if they are to be sorted; then there is no group before it ends.
    sorting: Option<SortBuffer>,
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
            if self.keeps_rows_whole
                && let Err(Refusal { column, reason }) = self.shape.check(&batch.slice(start, count))
            {
                return Err(EncodeError::Row { from: start, column, reason });
            }
            self.take(batch, start, count)?;
            start += count;
            if self.rows() == self.most_rows || self.group_bytes() - self.filter_bytes() >= self.most_bytes {
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
        let columns = self.nans.take().map(|nans| facts::from_row_groups(groups, &self.shape.by_leaf(&nans))).unwrap_or_default();
        file.finish().map_err(failed)?;
        self.staging.hand_on(out)?;
        Ok(ObjectFacts { split_offsets, columns, ..ObjectFacts::default() })
    }
}

impl Parquet {
    /// Rows of the row group so far.
    fn rows(&self) -> u64 {
        let sorting = self.sorting.as_ref().map_or(0, SortBuffer::rows);
        (self.buffered.rows + sorting) as u64 + self.group.as_ref().map_or(0, |group| group.rows)
    }

    /// Memory of the row group so far.
    fn group_bytes(&self) -> usize {
        let writers = self.group.iter().flat_map(|group| &group.writers);
        let sorting = self.sorting.as_ref().map_or(0, SortBuffer::held_bytes);
        self.buffered.held_bytes + sorting + writers.map(ColumnWriter::held_bytes).sum::<usize>()
    }

    /// The part of it that Bloom filters take. It does not grow, and so ends no row group.
    fn filter_bytes(&self) -> usize {
        self.group.iter().flat_map(|group| &group.writers).map(ColumnWriter::filter_bytes).sum()
    }

    /// Memory of what the footer will say of the row group so far.
    fn group_footer_bytes(&self) -> usize {
        let indices = self.group.iter().flat_map(|group| &group.writers).map(ColumnWriter::index_bytes);
        self.shape.leaf_count() * CHUNK_METADATA_BYTES + indices.sum::<usize>()
    }

    /// Buffers rows, or encodes them with all that is buffered.
    fn take(&mut self, batch: &RecordBatch, start: usize, count: usize) -> Result<(), EncodeError> {
        let piece = batch.slice(start, count);
        if self.sorting.is_some() {
            return self.keep_for_sorting(&piece, batch.num_rows());
        }
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

    /// Keeps rows until their group ends.
    fn keep_for_sorting(&mut self, piece: &RecordBatch, whole_rows: usize) -> Result<(), EncodeError> {
        let columns = self.converted(piece)?;
        let shape = &self.shape;
        match (&mut self.sorting, &shape.sorter) {
            (Some(sorting), Some(sorter)) => sorting.keep(sorter, &shape.plan.arrow, columns, whole_rows),
            _ => self.write_columns(&columns, piece.num_rows()),
        }
    }

    /// Puts the rows of the group in order and encodes them.
    fn encode_sorted(&mut self) -> Result<(), EncodeError> {
        let Some(mut sorting) = self.sorting.take() else { return Ok(()) };
        let drained = sorting.drain(|batch| {
            let mut start = 0;
            while start < batch.num_rows() {
                let rest = batch.num_rows() - start;
                let count = self.shape.piece_bytes.map_or(rest, |bytes| light_rows(&batch, start, rest, bytes));
                let piece = batch.slice(start, count);
                self.write_columns(piece.columns(), count)?;
                start += count;
            }
            Ok(())
        });
        self.sorting = Some(sorting);
        drained
    }

    /// Hands rows to the column writers.
    fn encode(&mut self, batch: &RecordBatch) -> Result<(), EncodeError> {
        let columns = self.converted(batch)?;
        self.write_columns(&columns, batch.num_rows())
    }

    /// The columns of rows, as the plan has them.
    fn converted(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, EncodeError> {
        let plan = &self.shape.plan;
        for place in &self.shape.nested.places {
            let column = &plan.columns[*place].name;
            check_weight(batch.column(*place)).map_err(|reason| EncodeError::Data(format!("column {column:?}: {reason}")))?;
        }
        let mut budget = ConversionBudget::default();
        let columns = plan.columns.iter().zip(batch.columns());
        let columns = columns.map(|(column, array)| convert::convert(column, array, &mut budget)).collect::<Result<Vec<_>, _>>()?;
        self.replaced.set(self.replaced.get() + budget.replaced);
        for ((column, field), array) in plan.columns.iter().zip(plan.arrow.fields()).zip(&columns) {
            // No column writer checks this: it would write what lies under the null, or take the rows apart.
            if !field.is_nullable() && array.null_count() > 0 {
                return Err(EncodeError::Data(format!("column {:?} {NULL}", column.name)));
            }
        }
        Ok(columns)
    }

    /// Hands converted columns to the column writers.
    fn write_columns(&mut self, columns: &[ArrayRef], rows: usize) -> Result<(), EncodeError> {
        let plan = &self.shape.plan;
        if let Some(nans) = &mut self.nans {
            nans.resize(columns.len(), Some(0));
            nans.iter_mut().zip(columns).for_each(|(total, column)| *total = total.zip(nans_in(column)).map(|(total, more)| total + more));
        }

        let mut group = match self.group.take() {
            Some(group) => group,
            None => {
                let ordinal = self.file.as_ref().map_or(0, |file| file.flushed_row_groups().len());
                Group { writers: self.shape.writers(columns, ordinal)?, rows: 0 }
            }
        };
        let compressor = &mut *self.compressor.borrow_mut();
        for (((writer, column), field), array) in group.writers.iter_mut().zip(&plan.columns).zip(plan.arrow.fields()).zip(columns) {
            let named = |error: &dyn std::fmt::Display| EncodeError::Data(format!("column {:?}: {error}", column.name));
            match writer {
                ColumnWriter::Flat(flat) => flat.write(array, compressor).map_err(|reason| named(&reason))?,
                ColumnWriter::Nested(leaves) => {
                    for (writer, leaf) in leaves.iter_mut().zip(compute_leaves(field, array).map_err(|error| named(&error))?) {
                        writer.write(&leaf, compressor).map_err(|error| named(&error))?;
                    }
                }
            }
        }
        group.rows += rows as u64;
        self.group = Some(group);
        Ok(())
    }

    /// Ends the row group, if there is one, and sends it off.
    fn cut(&mut self, out: &mut dyn Output) -> Result<(), EncodeError> {
        if let Some(rest) = self.buffered.take()? {
            self.encode(&rest)?;
        }
        self.encode_sorted()?;
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
                    let finished = column.finish(&mut self.compressor.borrow_mut(), self.shape.page_index);
                    let (chunk, close) = finished.map_err(|reason| failed(ParquetError::General(reason)))?;
                    row_group.append_column(&chunk, close).map_err(failed)?;
                    self.staging.hand_on_chunks(out)?;
                }
                ColumnWriter::Nested(leaves) => {
                    for leaf in leaves {
                        let compressor = &mut self.compressor.borrow_mut();
                        leaf.append_to(&mut row_group, compressor, self.shape.page_index).map_err(failed)?;
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

//! Blocks of rows to output: plan, lanes, lengths, scatter, flush.

use super::bind::{ColumnReader, Values};
use super::cells::{CellSource, ColumnCells, MAX_END, RowWriter, STAGING_BYTES};
use super::check::{can_fail, problem_of};
use super::drain::ValueError;
use super::frame::{Frame, Separators};
use super::kernel;
use super::long::{self, LONG_ROW_BYTES, LongError};
use super::plan::Column;
use super::shared::{Scratch, TextShared};
use super::string::Html;
use super::value::TextFormat;
use crate::encode::{Encode, EncodeError, Output};
use crate::host::ObjectFacts;
use crate::ipc::TableSchema;
use crate::limits::CHUNK_BYTES;
use arrow_array::RecordBatch;
use std::ops::Range;
use std::rc::Rc;

/// Rows of a block at most: its cells and its output stay within the fast caches.
const MAX_BLOCK_ROWS: usize = 256;

/// Rows of a block at least, however many columns there are.
const MIN_BLOCK_ROWS: usize = 8;

/// Cells of a block, roughly: what bounds the rows of a block of a wide table.
const BLOCK_CELLS: usize = 16_384;

/// Arrow bytes of a block that are fine without a closer look; above, the block is halved until it is below or a single row.
const MAX_BLOCK_BYTES: usize = CHUNK_BYTES / 4;

/// Writes one object of CSV or JSON lines.
#[derive(Debug)]
pub(crate) struct TextEncoder {
    plan: Rc<Vec<Column>>,
    frame: Rc<Frame>,
    shared: TextShared,
    begun: bool,
    /// Does a row that has no text leave no trace?
    keeps_rows_whole: bool,
}

impl TextEncoder {
    /// Begins an object. `frame` is made from the names of the columns.
    pub(crate) fn open(
        schema: &Rc<TableSchema>,
        shared: &TextShared,
        frame: impl FnOnce(&TableSchema) -> Frame,
    ) -> Result<Self, EncodeError> {
        let plan = shared.plan(schema)?;
        Ok(Self { plan, frame: Rc::new(frame(schema)), shared: shared.clone(), begun: false, keeps_rows_whole: shared.keeps_rows_whole() })
    }
}

impl Encode for TextEncoder {
    fn write(&mut self, batch: &RecordBatch, rows: Range<usize>, out: &mut dyn Output) -> Result<(), EncodeError> {
        if rows.start > rows.end || rows.end > batch.num_rows() || batch.num_columns() != self.plan.len() {
            return Err(EncodeError::Data("the rows do not fit the table's schema".into()));
        }
        let mut readers = Vec::with_capacity(self.plan.len());
        for (column, array) in self.plan.iter().zip(batch.columns()) {
            let reader = ColumnReader::new(&column.kind, array.as_ref())
                .map_err(|mismatch| EncodeError::Data(format!("column `{}`: {}", column.name, mismatch.0)))?;
            readers.push(reader);
        }
        let scratch = &mut *self.shared.scratch();
        let keeps_rows_whole = self.keeps_rows_whole;
        let mut job = Job { plan: &self.plan, frame: &self.frame, readers: &readers, scratch, out, keeps_rows_whole };
        job.scratch.staged = 0;
        // A record without rows is a record: its object holds the names of the columns.
        if !self.begun {
            job.stage(&self.frame.header)?;
        }
        let written = if rows.is_empty() { Ok(()) } else { job.write(rows) };
        match written {
            Err(error @ EncodeError::Row { .. }) if !keeps_rows_whole => return Err(EncodeError::Data(error.to_string())),
            // What is staged is whole rows.
            Ok(()) | Err(EncodeError::Row { .. }) => job.flush()?,
            Err(_) => return written,
        }
        self.begun = true;
        written
    }

    fn held_bytes(&self) -> usize {
        0
    }

    fn relief_bytes(&self) -> usize {
        0
    }

    fn relieve(&mut self, _: &mut dyn Output) -> Result<(), EncodeError> {
        Ok(())
    }

    fn finish(self: Box<Self>, _: &mut dyn Output) -> Result<ObjectFacts, EncodeError> {
        Ok(ObjectFacts::default())
    }
}

/// One call of `write`.
struct Job<'a> {
    plan: &'a [Column],
    frame: &'a Frame,
    readers: &'a [ColumnReader<'a>],
    scratch: &'a mut Scratch,
    out: &'a mut dyn Output,
    keeps_rows_whole: bool,
}

impl Job<'_> {
    fn write(&mut self, rows: Range<usize>) -> Result<(), EncodeError> {
        let most = (BLOCK_CELLS / self.readers.len().max(1)).clamp(MIN_BLOCK_ROWS, MAX_BLOCK_ROWS);
        let whole = self.weight(rows.clone());
        let mut start = rows.start;
        while start < rows.end {
            let mut end = rows.end.min(start + most);
            while whole > MAX_BLOCK_BYTES && end - start > 1 && self.weight(start..end) > MAX_BLOCK_BYTES {
                end = start + (end - start) / 2;
            }
            if whole > LONG_ROW_BYTES && end - start == 1 && self.weight(start..end) > LONG_ROW_BYTES {
                self.long_row(start)?;
            } else {
                self.block(start..end)?;
            }
            start = end;
        }
        Ok(())
    }

    fn weight(&self, rows: Range<usize>) -> usize {
        self.readers.iter().map(|reader| reader.weight(rows.clone())).fold(0, usize::saturating_add)
    }

    fn format(&self) -> TextFormat {
        match self.frame.separators {
            Separators::Csv { .. } => TextFormat::Csv,
            Separators::Json => TextFormat::Json(Html::Raw),
        }
    }

    /// Encodes a row that is too long to be held as text.
    fn long_row(&mut self, row: usize) -> Result<(), EncodeError> {
        let (frame, readers, plan) = (self.frame, self.readers, self.plan);
        let refuse =
            |column: usize, error: ValueError| EncodeError::Row { from: row, column: plan[column].name.clone(), reason: error.to_string() };
        if self.keeps_rows_whole {
            // Once a piece has left, it is too late.
            let format = self.format();
            let mut fallible = (0..readers.len()).filter(|column| can_fail(&plan[*column].kind, format));
            if let Some((column, error)) = fallible.find_map(|column| Some((column, problem_of(&readers[column], row, format)?))) {
                return Err(refuse(column, error));
            }
        }
        let mut text = std::mem::take(&mut self.scratch.spare);
        let mut cells = Cells::new(frame);
        for (prefix, column) in &frame.pieces {
            if frame.omits_nulls && readers[*column].is_null(row) {
                continue;
            }
            for part in cells.before(prefix) {
                self.stage(part)?;
            }
            long::write_cell(&readers[*column], row, frame.separators, &mut text, &mut |bytes| self.stage(bytes)).map_err(|error| {
                match error {
                    LongError::Value(error) => refuse(*column, error),
                    LongError::Encode(error) => error,
                }
            })?;
        }
        self.scratch.spare = text;
        for part in cells.end() {
            self.stage(part)?;
        }
        Ok(())
    }

    /// Encodes a few rows: every column to its lane, every lane to its place.
    fn block(&mut self, rows: Range<usize>) -> Result<(), EncodeError> {
        let count = rows.len();
        self.scratch.lanes.resize_with(self.readers.len().max(self.scratch.lanes.len()), ColumnCells::default);
        self.scratch.at.clear();
        self.scratch.at.resize(count, 0);
        // Constant bytes of a row: what stands between cells, and quotes that every cell of a lane has.
        let mut constant = self.frame.end.len();
        let mut kept = 0;
        for (prefix, column) in &self.frame.pieces {
            let lane = &mut self.scratch.lanes[*column];
            lane.clear(&mut kept);
            // Nothing of the block has been staged.
            kernel::fill(lane, &self.readers[*column], rows.clone(), self.frame.separators, &mut self.scratch.spare).map_err(|error| {
                EncodeError::Row { from: rows.start, column: self.plan[*column].name.clone(), reason: error.to_string() }
            })?;
            lane.measure(&mut self.scratch.at);
            constant += prefix.len() + 2 * usize::from(lane.quoted);
        }
        let total = self.scratch.at.iter().fold(count * constant, |sum, length| sum.saturating_add(*length));
        if total > MAX_END || self.frame.omits_nulls {
            return self.stream(rows);
        }
        if self.scratch.staged + total > MAX_END {
            self.flush()?;
        }
        let mut start = self.scratch.staged;
        self.scratch.ends.clear();
        for at in &mut self.scratch.at {
            start += std::mem::replace(at, start) + constant;
            self.scratch.ends.push(start);
        }
        self.scatter();
        self.scratch.staged = start;
        Ok(())
    }

    /// Scatters the lanes of a block, whose rows start at `scratch.at`.
    fn scatter(&mut self) {
        let Scratch { lanes, at, ends, prefix, staging, .. } = &mut *self.scratch;
        staging.resize(STAGING_BYTES, 0);
        let Some(out) = staging.first_chunk_mut() else { unreachable!("it was just resized") };
        let mut target = RowWriter { out, at, ends };
        // The shortest that the rest of a row can be.
        let mut rest = self.frame.end.len();
        for (text, column) in &self.frame.pieces {
            rest += text.len() + lanes[*column].shortest + 2 * usize::from(lanes[*column].quoted);
        }
        let mut close = false;
        for (text, column) in &self.frame.pieces {
            let lane = &lanes[*column];
            prefix.clear();
            prefix.extend(close.then_some(b'"'));
            prefix.extend_from_slice(text);
            prefix.extend(lane.quoted.then_some(b'"'));
            rest -= prefix.len() + lane.shortest;
            target.scatter(prefix, lane, borrowed(lane, &self.readers[*column]), rest);
            close = lane.quoted;
        }
        prefix.clear();
        prefix.extend(close.then_some(b'"'));
        prefix.extend_from_slice(&self.frame.end);
        target.end_rows(prefix);
    }

    /// Writes a block that is larger than the staging buffer, or whose rows are of different cells, row by row and piece by piece.
    fn stream(&mut self, rows: Range<usize>) -> Result<(), EncodeError> {
        let lanes = std::mem::take(&mut self.scratch.lanes);
        let result = self.stream_rows(&lanes, rows);
        self.scratch.lanes = lanes;
        result
    }

    fn stream_rows(&mut self, lanes: &[ColumnCells], rows: Range<usize>) -> Result<(), EncodeError> {
        let frame = self.frame;
        for row in 0..rows.len() {
            let mut cells = Cells::new(frame);
            for (prefix, column) in &frame.pieces {
                let lane = &lanes[*column];
                if frame.omits_nulls && self.readers[*column].is_null(rows.start + row) {
                    continue;
                }
                let quote: &[u8] = if lane.has_quotes(row) { b"\"" } else { b"" };
                for part in cells.before(prefix) {
                    self.stage(part)?;
                }
                self.stage(quote)?;
                self.stage(lane.cell(row, borrowed(lane, &self.readers[*column])))?;
                self.stage(quote)?;
            }
            for part in cells.end() {
                self.stage(part)?;
            }
        }
        Ok(())
    }

    /// Appends bytes to the staging buffer, writing it out whenever it is full.
    fn stage(&mut self, mut bytes: &[u8]) -> Result<(), EncodeError> {
        self.scratch.staging.resize(STAGING_BYTES, 0);
        while !bytes.is_empty() {
            if self.scratch.staged == CHUNK_BYTES {
                self.flush()?;
            }
            let start = self.scratch.staged;
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - start));
            self.scratch.staging[start..start + now.len()].copy_from_slice(now);
            self.scratch.staged += now.len();
            bytes = later;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), EncodeError> {
        let staged = std::mem::take(&mut self.scratch.staged);
        if staged > 0 {
            self.out.write(&self.scratch.staging[..staged])?;
        }
        Ok(())
    }
}

/// The cells of a row, one after the other.
struct Cells<'a> {
    frame: &'a Frame,
    is_first: bool,
}

impl<'a> Cells<'a> {
    fn new(frame: &'a Frame) -> Self {
        Self { frame, is_first: true }
    }

    /// What stands before the next cell, in two parts: where cells are left out, another may be the first.
    fn before<'b>(&mut self, prefix: &'b [u8]) -> [&'b [u8]; 2] {
        let is_first = std::mem::take(&mut self.is_first);
        match prefix.split_first() {
            Some((_, name)) if self.frame.omits_nulls => [if is_first { b"{" } else { b"," }, name],
            _ => [prefix, b""],
        }
    }

    /// What stands after the last cell, also where there was none.
    fn end(&self) -> [&'a [u8]; 2] {
        let is_empty = self.is_first && self.frame.omits_nulls && !self.frame.pieces.is_empty();
        [if is_empty { b"{" } else { b"" }, &self.frame.end]
    }
}

/// The buffer that a lane's cells are in, if it is the column's own.
fn borrowed<'a>(lane: &ColumnCells, reader: &ColumnReader<'a>) -> &'a [u8] {
    match (&reader.values, lane.source) {
        (Values::Text(bytes), CellSource::Borrowed | CellSource::Flagged) => bytes.data().unwrap_or_default(),
        _ => &[],
    }
}

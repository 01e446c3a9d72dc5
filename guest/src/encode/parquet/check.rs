//! Which rows Parquet cannot hold. Once rows are buffered it is too late to tell: those of several calls are converted together. So where rows are to be
//! kept whole, they are looked at before, by what will be done to them: the columns alone whose type has values that Parquet does not hold.

use super::budget::{ConversionBudget, Reason};
use super::buffered::weight;
use super::convert::apply;
use super::plan::{Column, Convert};
use super::shape::Shape;
use crate::encode::BadRow;
use crate::ipc::expansion::{Spent, light_rows, weigh};
use crate::limits::{CONVERTED_PIECE_BYTES, MAX_NESTED_ROW_BYTES};
use arrow_array::{Array, ArrayRef, RecordBatch};
use std::ops::Range;

/// Rows converted at once, and buffered at most. Bounds the copies that conversion makes.
pub(super) const PIECE_ROWS: usize = 16 << 10;

/// What is wrong with a null in a column that is to have none.
pub(super) const NULL: &str = "is declared not null and has a null, which Parquet cannot hold";

/// Why rows cannot be taken: the column to blame, and what is wrong with a value of it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) column: String,
    pub(super) reason: Reason,
}

impl Shape {
    /// Can all of these rows be held? They are a piece that is encoded at once, or a part of one.
    pub(super) fn check(&self, piece: &RecordBatch) -> Result<(), Refusal> {
        // Only a row that goes alone can be too much: of a piece of several all together is less.
        let is_heavy = piece.num_rows() == 1 && self.piece_bytes.is_some() && weight(piece, CONVERTED_PIECE_BYTES) > CONVERTED_PIECE_BYTES;
        let mut budget = ConversionBudget::default();
        for (at, (column, field)) in self.plan.columns.iter().zip(self.plan.arrow.fields()).enumerate() {
            let array = piece.column(at);
            let refuse = |reason: Reason| Refusal { column: column.name.clone(), reason };
            if is_heavy && self.nested.places.contains(&at) {
                check_weight(array).map_err(refuse)?;
            }
            if is_heavy || column.convert.can_fail() || (!field.is_nullable() && may_have_nulls(column, array)) {
                let converted = apply(&column.convert, array, &mut budget).map_err(refuse)?;
                if !field.is_nullable() && converted.null_count() > 0 {
                    return Err(refuse(format!("it {NULL}")));
                }
            }
        }
        Ok(())
    }

    /// The rows of a range that cannot be held, up to `most` of them.
    pub(super) fn bad_rows(&self, batch: &RecordBatch, rows: Range<usize>, most: usize) -> Vec<BadRow> {
        let mut bad = Vec::new();
        let mut start = rows.start;
        while start < rows.end && bad.len() < most {
            let count = (rows.end - start).min(PIECE_ROWS);
            let count = self.piece_bytes.map_or(count, |bytes| light_rows(batch, start, count, bytes));
            self.search(batch, start..start + count, most, &mut bad);
            start += count;
        }
        bad
    }

    /// By halves, down to single rows.
    fn search(&self, batch: &RecordBatch, rows: Range<usize>, most: usize, bad: &mut Vec<BadRow>) {
        if bad.len() >= most {
            return;
        }
        let Err(Refusal { column, reason }) = self.check(&batch.slice(rows.start, rows.len())) else { return };
        if rows.len() <= 1 {
            return bad.push(BadRow { row: rows.start, column, reason });
        }
        let middle = rows.start + rows.len() / 2;
        self.search(batch, rows.start..middle, most, bad);
        self.search(batch, middle..rows.end, most, bad);
    }
}

/// Of a dictionary only its values can say.
fn may_have_nulls(column: &Column, array: &ArrayRef) -> bool {
    array.null_count() > 0 || matches!(column.convert, Convert::Dictionary(_))
}

/// Refuses what the `parquet` crate's column writers could not hold. Heavy rows come here one by one.
pub(super) fn check_weight(array: &ArrayRef) -> Result<(), Reason> {
    let mut left = MAX_NESTED_ROW_BYTES;
    weigh(array, 0..array.len(), &mut left).map_err(|Spent| {
        format!(
            "a row takes more than {MAX_NESTED_ROW_BYTES} bytes, which is all that a nested column may take in Parquet (each value counts 8 \
             beside its own); csv and json have no such bound"
        )
    })
}

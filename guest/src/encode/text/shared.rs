//! What the text encoders of a session share.

use super::cells::ColumnCells;
use super::check;
use super::plan::{self, Column, Zones};
use super::value::TextFormat;
use crate::encode::{BadRow, EncodeError};
use crate::ipc::TableSchema;
use arrow_array::RecordBatch;
use std::cell::{RefCell, RefMut};
use std::collections::HashMap;
use std::ops::Range;
use std::rc::{Rc, Weak};

/// Plans of schemas in use at most: as many as a lane has open objects, and then some.
const MAX_PLANS: usize = 8_192;

/// What the text encoders of a session share: plans per schema, time zones, and one scratch buffer. A clone shares it too.
#[derive(Debug, Clone, Default)]
pub struct TextShared(Rc<RefCell<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    zones: Zones,
    /// By the schema's address, which is not another's while the weak reference lives.
    plans: HashMap<*const TableSchema, (Weak<TableSchema>, Rc<Vec<Column>>)>,
    scratch: Scratch,
    keeps_rows_whole: bool,
}

impl TextShared {
    /// See [`Encoders::keep_rows_whole`](crate::encode::Encoders::keep_rows_whole).
    pub(crate) fn keep_rows_whole(&self) {
        self.0.borrow_mut().keeps_rows_whole = true;
    }

    pub(super) fn keeps_rows_whole(&self) -> bool {
        self.0.borrow().keeps_rows_whole
    }

    /// The rows that have a value without a text in this format, up to `most` of them.
    pub(crate) fn bad_rows(
        &self,
        schema: &Rc<TableSchema>,
        batch: &RecordBatch,
        rows: Range<usize>,
        format: TextFormat,
        most: usize,
    ) -> Result<Vec<BadRow>, EncodeError> {
        check::bad_rows(&self.plan(schema)?, batch, rows, format, most)
    }

    /// The plan of a schema, made at its first use.
    pub(super) fn plan(&self, schema: &Rc<TableSchema>) -> Result<Rc<Vec<Column>>, EncodeError> {
        let shared = &mut *self.0.borrow_mut();
        if let Some((_, plan)) = shared.plans.get(&Rc::as_ptr(schema)).filter(|(of, _)| of.strong_count() > 0) {
            return Ok(Rc::clone(plan));
        }
        // Wide schemas are not all remembered by the decoder: without this each message of one would leave a plan.
        shared.plans.retain(|_, (of, _)| of.strong_count() > 0);
        if shared.plans.len() >= MAX_PLANS {
            shared.plans.clear();
        }
        let plan = Rc::new(plan::plan(&schema.logical, &mut shared.zones)?);
        shared.plans.insert(Rc::as_ptr(schema), (Rc::downgrade(schema), Rc::clone(&plan)));
        Ok(plan)
    }

    /// The buffers, for one call of one encoder.
    pub(super) fn scratch(&self) -> RefMut<'_, Scratch> {
        RefMut::map(self.0.borrow_mut(), |shared| &mut shared.scratch)
    }
}

/// Buffers that every encoder of a session uses in turn.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(super) lanes: Vec<ColumnCells>,
    pub(super) at: Vec<usize>,
    pub(super) ends: Vec<usize>,
    pub(super) prefix: Vec<u8>,
    pub(super) spare: Vec<u8>,
    pub(super) staging: Vec<u8>,
    pub(super) staged: usize,
}

#[cfg(test)]
impl Scratch {
    /// Room for text that has been made.
    pub(super) fn room_bytes(&self) -> usize {
        self.lanes.iter().map(|lane| lane.text.capacity()).sum::<usize>() + self.spare.capacity()
    }
}

//! What CSV and JSON lines share: values as text, and the way whole blocks of rows become bytes.
//!
//! Rows are encoded in blocks, column by column: each column of a block becomes a lane of [`cells`], and the lanes are then scattered to
//! their places in the output. A lane is made by a [`kernel`] where the column is plain, else value by value on the general path of
//! [`value`]. Both give the same bytes. A row too long to be held as text goes out piece by piece, see [`long`].
//!
//! All that is allocated lives in [`TextShared`], once a session; an encoder holds nothing between calls.

mod address;
mod append;
mod cells;
mod digits;
pub(crate) mod json_value;
mod kernel;
mod long;
mod number;
mod plan;
mod string;
mod time;
mod value;
mod writer;
mod zone;

pub(crate) use cells::copy_exact;
pub(crate) use long::Drain;
#[cfg(test)]
pub(crate) use long::Whole;
pub(crate) use plan::{Kind, sorted_keys};
pub(crate) use string::{Html, push_csv_field, sequence_length};
pub(crate) use value::{Bound, Style, days_of_milliseconds};
pub(crate) use writer::{Frame, Separators, TextEncoder};

use crate::encode::EncodeError;
use crate::ipc::TableSchema;
use plan::{Column, Zones};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use writer::Scratch;

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
}

impl TextShared {
    /// The plan of a schema, made at its first use.
    fn plan(&self, schema: &Rc<TableSchema>) -> Result<Rc<Vec<Column>>, EncodeError> {
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
}

#[cfg(test)]
mod tests;

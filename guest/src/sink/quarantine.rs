//! Rows that cannot be written, and what is written of them: a line of JSON each, in one object for each table and write.
//!
//! Nothing is held between calls but the open objects: lines leave at the end of the call that their rows came in.

use super::per_schema::PerSchema;
use crate::encode::text::{Drain, LosslessRow, NotJson, ValueError};
use crate::encode::text::{Html, push_json_string, push_unsigned};
use crate::host::{Host, ObjectFacts, PutError};
use crate::ipc::TableSchema;
use crate::spec;
use arrow_array::RecordBatch;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::num::NonZeroU64;
use std::rc::Rc;

/// The type of the objects: that of the format `json`, which a grant may list.
pub(super) const CONTENT_TYPE: &str = "application/json";

/// `{{FORMAT}}` in their keys, whatever the rows are written as.
pub(super) const FORMAT: &str = "json";

/// Bytes of lines that are gathered before they leave.
const GATHERED_BYTES: usize = 48 << 10;

/// Rows as they came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) schema: &'a Rc<TableSchema>,
    pub(super) batch: &'a RecordBatch,
    /// How many rows of the table came before in this write.
    pub(super) before: u64,
}

/// A row that cannot be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unwritable<'a> {
    /// Its place in the record.
    pub(super) row: usize,
    /// The column to blame.
    pub(super) column: &'a str,
    pub(super) reason: &'a str,
}

/// Why a row is not set aside.
#[derive(Debug)]
pub(super) enum NotSetAside {
    /// There are too many.
    TooMany(String),
    /// The host does not take the line.
    Put(PutError),
}

impl From<PutError> for NotSetAside {
    fn from(error: PutError) -> Self {
        Self::Put(error)
    }
}

/// The quarantine of a session.
pub(super) struct Quarantine<H: Host> {
    max_rows: NonZeroU64,
    include_row: bool,
    open: BTreeMap<Rc<str>, OpenObject<H>>,
    /// Of the tables of this write.
    counts: BTreeMap<Rc<str>, Counts>,
    /// How many objects each table has had, where their keys are numbered.
    sequences: BTreeMap<Rc<str>, u64>,
    forms: PerSchema<Rc<LosslessRow>>,
    /// Lines of one table; empty between calls.
    text: Vec<u8>,
}

/// Rows of a table in a write.
#[derive(Debug, Default)]
struct Counts {
    rows: u64,
    set_aside: u64,
}

struct OpenObject<H: Host> {
    upload: H::Upload,
    rows: u64,
}

impl<H: Host> Quarantine<H> {
    pub(super) fn new(rules: &spec::Quarantine) -> Self {
        Self {
            max_rows: rules.max_rows,
            include_row: rules.include_row,
            open: BTreeMap::new(),
            counts: BTreeMap::new(),
            sequences: BTreeMap::new(),
            forms: PerSchema::default(),
            text: Vec::new(),
        }
    }

    /// Rows of a table come: how many came before in this write.
    pub(super) fn count(&mut self, table: &str, rows: usize) -> u64 {
        if !self.counts.contains_key(table) {
            self.counts.insert(table.into(), Counts::default());
        }
        let Some(counts) = self.counts.get_mut(table) else { return 0 };
        let before = counts.rows;
        counts.rows += rows as u64;
        before
    }

    /// How many rows of a table may still be set aside.
    pub(super) fn room(&self, table: &str) -> u64 {
        self.max_rows.get().saturating_sub(self.counts.get(table).map_or(0, |counts| counts.set_aside))
    }

    /// How many objects are open.
    pub(super) fn open_objects(&self) -> usize {
        self.open.len()
    }

    pub(super) fn is_open(&self, table: &str) -> bool {
        self.open.contains_key(table)
    }

    /// The number of a table's next object.
    pub(super) fn next_number(&mut self, table: &str) -> u64 {
        let number = self.sequences.entry(table.into()).or_default();
        *number += 1;
        *number
    }

    /// The object of a table is open.
    pub(super) fn begin(&mut self, table: &str, upload: H::Upload) {
        self.open.insert(table.into(), OpenObject { upload, rows: 0 });
    }

    /// Sets rows of a record aside, in the object of its table, which is open.
    ///
    /// # Errors
    /// [`NotSetAside`]; the table has then failed.
    pub(super) fn add<'a>(&mut self, host: &H, record: &Record<'_>, rows: impl Iterator<Item = Unwritable<'a>>) -> Result<(), NotSetAside> {
        let table = &*record.schema.table;
        let Ok(form) = self.forms.get(record.schema, || Ok::<_, Infallible>(Rc::new(LosslessRow::new(record.schema))));
        let mut text = std::mem::take(&mut self.text);
        for Unwritable { row, column, reason } in rows {
            let position = record.before + row as u64 + 1;
            if self.room(table) == 0 {
                let most = self.max_rows;
                let message = format!(
                    "more than {most} of its rows cannot be written, which is all that `quarantine.max_rows` has room for; row {position}: column \
                     `{column}`: {reason}"
                );
                return Err(NotSetAside::TooMany(message));
            }
            let Some(object) = self.open.get_mut(table) else { return Ok(()) };
            let mut leaving = Leaving { host, upload: &object.upload };
            push_member(&mut text, b"{\"table\":", table);
            push_member(&mut text, b",\"column\":", column);
            push_member(&mut text, b",\"reason\":", reason);
            text.extend_from_slice(b",\"position\":");
            push_unsigned(&mut text, position);
            if self.include_row {
                text.extend_from_slice(b",\"row\":");
                form.push(&mut text, record.batch, row, &mut leaving)?;
            }
            text.extend_from_slice(b"}\n");
            leaving.drain(&mut text)?;
            object.rows += 1;
            if let Some(counts) = self.counts.get_mut(table) {
                counts.set_aside += 1;
            }
        }
        if let Some(object) = self.open.get(table).filter(|_| !text.is_empty()) {
            host.write(&object.upload, &text)?;
        }
        text.clear();
        self.text = text;
        Ok(())
    }

    /// Drops what a table has open, unfinished.
    pub(super) fn abandon(&mut self, table: &str) {
        self.open.remove(table);
    }

    /// The write ends, and with it every object. Goes on after a failure.
    pub(super) fn end_write(&mut self, host: &H) -> Vec<(String, PutError)> {
        self.counts.clear();
        let finish = |(table, OpenObject { upload, rows }): (Rc<str>, OpenObject<H>)| {
            let finished = host.finish(upload, &ObjectFacts { rows, ..ObjectFacts::default() });
            finished.err().map(|error| (table.to_string(), error))
        };
        std::mem::take(&mut self.open).into_iter().filter_map(finish).collect()
    }

    /// True if nothing is open or counted that another instance would not know.
    pub(super) fn idle(&self) -> bool {
        self.open.is_empty() && self.counts.is_empty() && self.sequences.is_empty()
    }
}

fn push_member(text: &mut Vec<u8>, name: &[u8], value: &str) {
    text.extend_from_slice(name);
    push_json_string(text, value.as_bytes(), Html::Raw);
}

/// Lines on their way to an object.
struct Leaving<'a, H: Host> {
    host: &'a H,
    upload: &'a H::Upload,
}

impl<H: Host> Drain for Leaving<'_, H> {
    type Error = NotSetAside;

    const PIECE_BYTES: usize = GATHERED_BYTES;

    fn drain(&mut self, text: &mut Vec<u8>) -> Result<(), NotSetAside> {
        if text.len() >= GATHERED_BYTES {
            self.host.write(self.upload, text)?;
            text.clear();
        }
        Ok(())
    }
}

/// Every row has a line, so that these do not come.
impl From<ValueError> for NotSetAside {
    fn from(error: ValueError) -> Self {
        Self::TooMany(error.to_string())
    }
}

impl From<NotJson> for NotSetAside {
    fn from(error: NotJson) -> Self {
        ValueError::from(error).into()
    }
}

//! Which partition each row of a record goes to.
//!
//! Column by column a code is given to each row: the number of its value among those of the record, in the order in which they come. The codes of
//! all columns together are the row's group. Rows are then brought into the order of their groups with one gather for the record; where each
//! group's rows stand together already, as in sorted input, nothing is copied.

use super::partition::{Partition, Places};
use super::per_schema::PerSchema;
use crate::calendar::{CivilDay, SECONDS_PER_DAY};
use crate::encode::text::{ColumnReader, TextFormat, ValueKind};
use crate::excerpt::{beginning, quoted};
use crate::ipc::expansion::light_rows;
use crate::ipc::{Rows, TableSchema};
use crate::limits::{MAX_CAUSE_BYTES, PIECE_BYTES};
use crate::partition::{Part, PartitionField};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Date64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{Array, RecordBatch, UInt32Array};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType, TimeUnit};
use arrow_select::take::take_record_batch;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::rc::Rc;

/// Pairs of codes for which a table of groups is kept rather than a map.
const MAX_TABLE: usize = 1 << 16;

/// Why rows find no partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unroutable(pub(super) String);

/// What a record is divided into.
#[derive(Debug)]
pub(super) enum Divided {
    /// Rows of one partition.
    Rows(Routed),
    /// Rows that have none.
    Unkeyed(Unkeyed),
}

/// Rows with a value that no key can have.
#[derive(Debug)]
pub(super) struct Unkeyed {
    /// The column.
    pub(super) column: String,
    /// Why.
    pub(super) reason: String,
    /// Their places in the record.
    pub(super) rows: Vec<usize>,
}

/// What a record's partition has: its rows, in a batch that it may share with others.
#[derive(Debug)]
pub(super) struct Routed {
    pub(super) partition: Partition,
    pub(super) batch: RecordBatch,
    pub(super) rows: Range<usize>,
    /// Where the batch's rows are in the record.
    pub(super) places: Places,
    /// Its share of the record's bytes, as batching counts them.
    pub(super) bytes: u64,
}

/// How the rows of one schema find their partitions.
#[derive(Debug)]
pub(super) struct Route {
    /// Of each field of the path; absent where the table has no such column.
    columns: Vec<Option<RouteColumn>>,
    /// The first column that the table lacks.
    pub(super) missing: Option<String>,
    /// What is written of the columns, where it is not all of them.
    kept: Option<(Rc<TableSchema>, Vec<usize>)>,
    /// Are rows without a key returned? Else there is an error.
    tells_unkeyed: bool,
}

#[derive(Debug)]
struct RouteColumn {
    at: usize,
    name: String,
    part: Part,
    kind: ValueKind,
}

/// The routes of the schemas that were seen.
#[derive(Debug)]
pub(super) struct Router {
    fields: Vec<PartitionField>,
    keep_columns: bool,
    tells_unkeyed: bool,
    routes: PerSchema<Rc<Route>>,
}

impl Router {
    pub(super) fn new(fields: &[PartitionField], keep_columns: bool, tells_unkeyed: bool) -> Self {
        Self { fields: fields.to_vec(), keep_columns, tells_unkeyed, routes: PerSchema::default() }
    }

    /// True if keys take nothing from rows.
    pub(super) fn is_off(&self) -> bool {
        self.fields.is_empty()
    }

    /// The route of a schema.
    ///
    /// # Errors
    /// The name of a column that no key can be made of, and why.
    pub(super) fn route(&mut self, schema: &Rc<TableSchema>) -> Result<Rc<Route>, Unroutable> {
        let make = || {
            let route = Route::new(&self.fields, self.keep_columns, schema).map_err(Unroutable)?;
            Ok(Rc::new(Route { tells_unkeyed: self.tells_unkeyed, ..route }))
        };
        self.routes.get(schema, make)
    }
}

impl Route {
    fn new(fields: &[PartitionField], keep_columns: bool, schema: &TableSchema) -> Result<Self, String> {
        let mut route = Self { columns: Vec::new(), missing: None, kept: None, tells_unkeyed: false };
        let mut dropped = Vec::new();
        for field in fields {
            let mut named = schema.logical.fields().iter().enumerate().filter(|(_, it)| *it.name() == field.column);
            let column = named.next();
            if named.next().is_some() {
                return Err(format!("`path` takes the column {} into keys, and the table has several of that name", quoted(&field.column)));
            }
            let Some((at, column)) = column else {
                route.missing.get_or_insert_with(|| field.column.clone());
                route.columns.push(None);
                continue;
            };
            let kind = ValueKind::from_field(column)?;
            if !is_possible(&kind, field.part) {
                let possible = match field.part {
                    Part::Value => "text, integers, decimals, booleans, dates, times, timestamps, UUIDs and network addresses are possible",
                    _ => "dates and timestamps are possible",
                };
                let (name, ty) = (quoted(&field.column), column.data_type());
                return Err(format!("`path` takes the column {name} into keys, which cannot be done with its type {ty}: {possible}"));
            }
            if field.part == Part::Value && !keep_columns {
                dropped.push(at);
            }
            route.columns.push(Some(RouteColumn { at, name: field.column.clone(), part: field.part, kind }));
        }
        if !dropped.is_empty() {
            route.kept = Some(without(schema, &dropped)?);
        }
        Ok(route)
    }

    /// The schema of what is written.
    pub(super) fn written<'a>(&'a self, schema: &'a Rc<TableSchema>) -> &'a Rc<TableSchema> {
        self.kept.as_ref().map_or(schema, |(kept, _)| kept)
    }

    /// Divides a record. Each partition's rows keep their order; partitions come in the order of their first rows, piece by piece where a record is
    /// large: what is gathered of it at once is bounded.
    ///
    /// # Errors
    /// The name of a column with a value that no key can have, and why; and what `each` answers.
    pub(super) fn divide<E: From<Unroutable>>(&self, rows: &Rows, mut each: impl FnMut(Divided) -> Result<(), E>) -> Result<(), E> {
        let count = rows.batch.num_rows();
        let mut start = 0;
        while start < count {
            let most = count - start;
            let piece = if rows.bytes <= PIECE_BYTES { most } else { light_rows(&rows.batch, start, most, PIECE_BYTES) };
            let bytes = share(rows.bytes, piece, count);
            self.divide_piece(&rows.batch.slice(start, piece), bytes, Places::from(start), &mut each)?;
            start += piece;
        }
        Ok(())
    }

    fn divide_piece<E: From<Unroutable>>(
        &self,
        batch: &RecordBatch,
        bytes: u64,
        places: Places,
        each: &mut impl FnMut(Divided) -> Result<(), E>,
    ) -> Result<(), E> {
        let count = batch.num_rows();
        let mut unkeyed = Vec::new();
        let codes = self.columns.iter().map(|column| match column {
            Some(column) => column.codes(batch, &mut unkeyed),
            None => Ok(Codes::null()),
        });
        let codes = codes.collect::<Result<Vec<_>, _>>().map_err(Unroutable)?;
        if !unkeyed.is_empty() {
            return self.divide_without(unkeyed, batch, bytes, &places, each);
        }
        let written = match &self.kept {
            Some((_, columns)) => batch.project(columns).map_err(unexpected)?,
            None => batch.clone(),
        };
        let groups = Groups::from_codes(&codes, count);
        if let [_] = groups.sizes.as_slice() {
            return each(Divided::Rows(Routed { partition: groups.partition(&codes, 0), batch: written, rows: 0..count, places, bytes }));
        }
        let (written, places) = match groups.order(count).map(UInt32Array::from) {
            Some(order) => (take_record_batch(&written, &order).map_err(unexpected)?, places.taken(&order)),
            None => (written, places),
        };
        let mut start = 0;
        for (group, size) in groups.sizes.iter().enumerate() {
            let rows = start..start + *size as usize;
            start = rows.end;
            let bytes = share(bytes, rows.len(), count);
            let (partition, places) = (groups.partition(&codes, group), places.clone());
            each(Divided::Rows(Routed { partition, batch: written.clone(), rows, places, bytes }))?;
        }
        Ok(())
    }

    /// Divides the rows that have a key, and tells which have none.
    fn divide_without<E: From<Unroutable>>(
        &self,
        unkeyed: Vec<Unkeyed>,
        batch: &RecordBatch,
        bytes: u64,
        places: &Places,
        each: &mut impl FnMut(Divided) -> Result<(), E>,
    ) -> Result<(), E> {
        let count = batch.num_rows();
        let mut has_key = vec![true; count];
        for Unkeyed { column, reason, mut rows } in unkeyed {
            if !self.tells_unkeyed {
                return Err(Unroutable(format!("column {}, which `path` takes into keys: {reason}", quoted(&column))).into());
            }
            // The first column is to blame.
            rows.retain(|row| has_key.get_mut(*row).is_some_and(std::mem::take));
            rows.iter_mut().for_each(|row| *row = places.place(*row));
            each(Divided::Unkeyed(Unkeyed { column, reason: format!("`path` takes it into keys: {reason}"), rows }))?;
        }
        let keyed: UInt32Array = (0_u32..).zip(&has_key).filter(|(_, has_key)| **has_key).map(|(row, _)| row).collect();
        if keyed.is_empty() {
            return Ok(());
        }
        let rest = take_record_batch(batch, &keyed).map_err(unexpected)?;
        self.divide_piece(&rest, share(bytes, keyed.len(), count), places.taken(&keyed), each)
    }
}

/// Rows that were decoded have columns of equal lengths, which can be taken apart and put together.
fn unexpected(error: ArrowError) -> Unroutable {
    Unroutable(format!("the rows cannot be divided into partitions: {}", beginning(&error.to_string(), MAX_CAUSE_BYTES)))
}

/// The part of some bytes that so many rows of all have.
pub(super) fn share(bytes: u64, rows: usize, of: usize) -> u64 {
    u64::try_from(u128::from(bytes) * rows as u128 / (of as u128).max(1)).unwrap_or(bytes)
}

/// A schema without some of its columns.
fn without(schema: &TableSchema, dropped: &[usize]) -> Result<(Rc<TableSchema>, Vec<usize>), String> {
    let kept: Vec<usize> = (0..schema.logical.fields().len()).filter(|at| !dropped.contains(at)).collect();
    if kept.is_empty() {
        return Err("`partition.keep_columns` is false, and all columns of the table are in `path`: nothing is left to write".to_owned());
    }
    let project = |schema: &arrow_schema::Schema| schema.project(&kept).map(Into::into).map_err(|error| error.to_string());
    let (logical, physical) = (project(&schema.logical)?, project(&schema.physical)?);
    Ok((Rc::new(TableSchema { table: schema.table.clone(), logical, physical }), kept))
}

/// Can a key be made of it? Not of floats and durations, which have no one text; not of bytes, JSON and what is nested.
fn is_possible(kind: &ValueKind, part: Part) -> bool {
    use ValueKind::{Bool, Date, Decimal, Dictionary, Inet, Int, Mac, Null, Text, TimeOfDay, Timestamp, Uuid};
    match (kind, part) {
        (Null | Date | Timestamp(..), _) => true,
        (Bool | Int | Text | TimeOfDay(_) | Decimal(_) | Uuid | Inet | Mac, Part::Value) => true,
        (Dictionary(values), Part::Value) => is_possible(values, part),
        _ => false,
    }
}

/// A column's values: the number of each row's value, and the values.
struct Codes {
    /// Empty: all rows have the first value.
    of_rows: Vec<u32>,
    values: Vec<Option<Rc<str>>>,
}

impl Codes {
    /// All rows are null.
    fn null() -> Self {
        Self { of_rows: Vec::new(), values: vec![None] }
    }
}

/// Gives numbers to values in the order in which they come.
#[derive(Default)]
struct Numbering {
    values: Vec<Option<Rc<str>>>,
    by_text: HashMap<Rc<str>, u32>,
    null: Option<u32>,
}

impl Numbering {
    fn add(&mut self, value: Option<Rc<str>>) -> u32 {
        self.values.push(value);
        // There are no more values than rows, and those are counted in 32 bits.
        (self.values.len() - 1) as u32
    }

    fn null_code(&mut self) -> u32 {
        match self.null {
            Some(code) => code,
            None => {
                let code = self.add(None);
                *self.null.insert(code)
            }
        }
    }

    /// An empty text has the folder of nulls, as in Hive: no reader could tell them apart.
    fn text_code(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return self.null_code();
        }
        if let Some(code) = self.by_text.get(text) {
            return *code;
        }
        let text: Rc<str> = text.into();
        let code = self.add(Some(text.clone()));
        self.by_text.insert(text, code);
        code
    }
}

impl RouteColumn {
    /// The codes of the rows, and which rows have a value that no key can have.
    fn codes(&self, batch: &RecordBatch, unkeyed: &mut Vec<Unkeyed>) -> Result<Codes, String> {
        let array = batch.column(self.at).as_ref();
        let fail = |why: &str| format!("column {}, which `path` takes into keys: {why}", quoted(&self.name));
        match self.part {
            Part::Value => self.codes_of_values(array, unkeyed),
            _ if *array.data_type() == DataType::Null => Ok(Codes::null()),
            part => codes_of_times(array, part),
        }
        .map_err(|why| fail(&why))
    }

    /// By the text of the value; a row that is as the one before has its number.
    fn codes_of_values(&self, array: &dyn Array, unkeyed: &mut Vec<Unkeyed>) -> Result<Codes, String> {
        let reader = ColumnReader::new(&self.kind, array).map_err(|mismatch| mismatch.0)?;
        let mut numbering = Numbering::default();
        let mut of_rows = Vec::with_capacity(array.len());
        let (mut text, mut before, mut code) = (Vec::new(), Vec::new(), None);
        for row in 0..array.len() {
            if reader.is_null(row) {
                of_rows.push(numbering.null_code());
                continue;
            }
            text.clear();
            if let Err(error) = reader.push(&mut text, row, TextFormat::Csv) {
                self.has_no_key(unkeyed, row, &error.to_string());
                of_rows.push(0);
                continue;
            }
            let number = match code {
                Some(code) if text == before => code,
                _ => {
                    let Ok(valid) = std::str::from_utf8(&text) else {
                        self.has_no_key(unkeyed, row, "a value is not UTF-8");
                        of_rows.push(0);
                        continue;
                    };
                    let number = numbering.text_code(valid);
                    std::mem::swap(&mut text, &mut before);
                    *code.insert(number)
                }
            };
            of_rows.push(number);
        }
        Ok(Codes { of_rows, values: numbering.values })
    }

    #[cold]
    fn has_no_key(&self, unkeyed: &mut Vec<Unkeyed>, row: usize, reason: &str) {
        match unkeyed.iter_mut().find(|it| it.column == self.name && it.reason == reason) {
            Some(known) => known.rows.push(row),
            None => unkeyed.push(Unkeyed { column: self.name.clone(), reason: reason.to_owned(), rows: vec![row] }),
        }
    }
}

/// By a part of a time.
fn codes_of_times(array: &dyn Array, part: Part) -> Result<Codes, String> {
    const DAY: i64 = SECONDS_PER_DAY;
    let nulls = array.nulls();
    macro_rules! ticks {
        ($ty:ty, $a_minute:expr) => {{
            let ticks = array.as_primitive_opt::<$ty>().ok_or("the rows hold another type than the schema says")?.values();
            Ok(codes_of_minutes(ticks.len(), nulls, part, |row| i64::from(ticks[row]).div_euclid($a_minute)))
        }};
    }
    match array.data_type() {
        DataType::Date32 => {
            let days = array.as_primitive_opt::<Date32Type>().ok_or("the rows hold another type than the schema says")?.values();
            Ok(codes_of_minutes(days.len(), nulls, part, |row| i64::from(days[row]) * (DAY / 60)))
        }
        DataType::Date64 => ticks!(Date64Type, 60_000),
        DataType::Timestamp(TimeUnit::Second, _) => ticks!(TimestampSecondType, 60),
        DataType::Timestamp(TimeUnit::Millisecond, _) => ticks!(TimestampMillisecondType, 60_000),
        DataType::Timestamp(TimeUnit::Microsecond, _) => ticks!(TimestampMicrosecondType, 60_000_000),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => ticks!(TimestampNanosecondType, 60_000_000_000),
        other => Err(format!("its type {other} is neither a date nor a timestamp")),
    }
}

/// Minutes since 1970. All minutes that have one text share a number; those of one day, hour or minute are looked up once.
fn codes_of_minutes(count: usize, nulls: Option<&NullBuffer>, part: Part, minute: impl Fn(usize) -> i64) -> Codes {
    const MINUTES_OF_DAY: i64 = SECONDS_PER_DAY / 60;
    // Within such a span of minutes all have one text.
    let span = match part {
        Part::Minute => 1,
        Part::Hour => 60,
        Part::Value | Part::Year | Part::Month | Part::Day => MINUTES_OF_DAY,
    };
    let text = |span_number: i64| {
        let minutes = i128::from(span_number) * i128::from(span);
        let days = minutes.div_euclid(i128::from(MINUTES_OF_DAY));
        let minute_of_day = minutes.rem_euclid(i128::from(MINUTES_OF_DAY));
        let date = CivilDay::from_unix_days(i64::try_from(days).unwrap_or_default());
        match part {
            Part::Value | Part::Year => format!("{:04}", date.year),
            Part::Month => format!("{:02}", date.month),
            Part::Day => format!("{:02}", date.day),
            Part::Hour => format!("{:02}", minute_of_day / 60),
            Part::Minute => format!("{:02}", minute_of_day % 60),
        }
    };
    let mut numbering = Numbering::default();
    let mut by_span: HashMap<i64, u32> = HashMap::new();
    let mut last = None;
    let mut of_rows = Vec::with_capacity(count);
    for row in 0..count {
        if nulls.is_some_and(|nulls| nulls.is_null(row)) {
            of_rows.push(numbering.null_code());
            continue;
        }
        let span_number = minute(row).div_euclid(span);
        let code = match last {
            Some((of, code)) if of == span_number => code,
            _ => match by_span.entry(span_number) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => *new.insert(numbering.text_code(&text(span_number))),
            },
        };
        last = Some((span_number, code));
        of_rows.push(code);
    }
    Codes { of_rows, values: numbering.values }
}

/// Rows whose values are equal in every column.
struct Groups {
    /// Of each row; empty: all are in the first.
    of_rows: Vec<u32>,
    /// Rows of each.
    sizes: Vec<u32>,
    /// A row of each: its first.
    firsts: Vec<usize>,
}

impl Groups {
    fn from_codes(codes: &[Codes], count: usize) -> Self {
        let mut of_rows: Vec<u32> = Vec::new();
        let mut groups = 1;
        for column in codes.iter().filter(|column| column.values.len() > 1) {
            of_rows =
                if of_rows.is_empty() { column.of_rows.clone() } else { combined(&of_rows, groups, &column.of_rows, column.values.len()) };
            groups = of_rows.iter().max().map_or(1, |most| *most as usize + 1);
        }
        let (mut sizes, mut firsts) = (vec![0; groups], vec![0; groups]);
        if of_rows.is_empty() {
            sizes[0] = count as u32;
        }
        for (row, group) in of_rows.iter().enumerate() {
            let group = *group as usize;
            if sizes[group] == 0 {
                firsts[group] = row;
            }
            sizes[group] += 1;
        }
        Self { of_rows, sizes, firsts }
    }

    /// The values of a group.
    fn partition(&self, codes: &[Codes], group: usize) -> Partition {
        let row = self.firsts.get(group).copied().unwrap_or_default();
        let value = |column: &Codes| {
            let code = column.of_rows.get(row).map_or(0, |code| *code as usize);
            column.values.get(code).cloned().flatten()
        };
        Partition(codes.iter().map(value).collect())
    }

    /// The rows in the order of their groups; [`None`] if that is the order they have.
    fn order(&self, count: usize) -> Option<Vec<u32>> {
        if self.of_rows.is_sorted() {
            return None;
        }
        let mut next = 0;
        let place = |size: &u32| {
            next += size;
            next - size
        };
        let mut places: Vec<u32> = self.sizes.iter().map(place).collect();
        let mut order = vec![0; count];
        for (row, group) in self.of_rows.iter().enumerate() {
            let place = &mut places[*group as usize];
            order[*place as usize] = row as u32;
            *place += 1;
        }
        Some(order)
    }
}

/// Groups by two codes at once, numbered in the order in which they come.
fn combined(one: &[u32], ones: usize, other: &[u32], others: usize) -> Vec<u32> {
    let mut groups = 0;
    let mut new = || {
        groups += 1;
        groups - 1
    };
    let pairs = one.iter().zip(other);
    if ones.saturating_mul(others) <= MAX_TABLE {
        let mut table = vec![u32::MAX; ones * others];
        let group = |(one, other): (&u32, &u32)| {
            let group = &mut table[*one as usize * others + *other as usize];
            if *group == u32::MAX {
                *group = new();
            }
            *group
        };
        return pairs.map(group).collect();
    }
    let mut map: HashMap<(u32, u32), u32> = HashMap::new();
    pairs.map(|(one, other)| *map.entry((*one, *other)).or_insert_with(&mut new)).collect()
}

#[cfg(test)]
mod tests;

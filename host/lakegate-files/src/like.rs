//! The common columns of several files of one table: which columns the table has, and how a file's columns are mapped to them.
//!
//! Columns are matched by name, so their order does not matter; if a file has duplicate names, by position. A column without a value fits any type. A
//! key that a file of JSON never has counts as a column without a value. With `--union-by-name`, so does a column that any file lacks, and columns of
//! different types get one that holds the values of both.

use super::columns::ColumnType;
use super::widen::{Column, wider};
use super::{InputError, Opened, Position};
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, FieldRef, Schema, SchemaRef};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What is known of the columns of a table from its files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Like {
    /// The first file.
    first_file: String,
    fields: Vec<FieldRef>,
    places: HashMap<String, usize>,
    /// Columns without a value so far.
    undecided: HashSet<String>,
    /// Columns of which all values are text.
    text: HashSet<String>,
    /// Whether all files so far may omit columns without values.
    optional: bool,
    /// Whether all files may omit columns, and have columns of different types.
    union: bool,
    /// Whether the table has been announced, so that its columns are fixed.
    begun: bool,
}

/// The error for an NDJSON table whose rows have no keys.
pub(crate) const NO_COLUMNS: &str = "the file holds no row with a column; name the columns with --column NAME=TYPE";

/// What is known about a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// It has been announced as text because it had no value.
    Text,
    /// It has this type.
    Typed(ColumnType),
    /// It has this type, whatever the values of a file would have by themselves.
    United(ColumnType),
}

/// How rows of a file are converted to rows of its table.
#[derive(Debug)]
pub(crate) enum Fit {
    /// They are unchanged.
    Equal,
    /// The position in the file of each column of the table, whose type may be a wider one; a missing column is null.
    Chosen(Vec<Option<usize>>),
}

impl Like {
    /// A table with several files, of which nothing else is known yet. `union` if columns may be missing or of different types.
    pub(crate) fn unknown(union: bool) -> Self {
        Self { optional: true, union, ..Self::default() }
    }

    /// The names of the known columns.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name().as_str())
    }

    /// What is known about a column; [`None`] if nothing is, or if text cannot have its type.
    pub(crate) fn column_type(&self, name: &str) -> Option<Elsewhere> {
        let field = self.fields.get(*self.places.get(name)?)?;
        if self.undecided.contains(name) {
            return self.begun.then_some(Elsewhere::Text);
        }
        ColumnType::from_field(field).map(if self.union { Elsewhere::United } else { Elsewhere::Typed })
    }

    /// Whether a file has been read.
    pub(crate) fn is_known(&self) -> bool {
        !self.first_file.is_empty()
    }

    /// Fixes the columns known so far, to announce the table. `file` is the first file.
    ///
    /// # Errors
    /// There are no columns, which is only possible with files that omit columns.
    pub(crate) fn begin(&mut self, file: &str) -> Result<SchemaRef, InputError> {
        if self.fields.is_empty() && self.optional {
            return Err(InputError::Malformed { file: file.to_owned(), at: Position::Line(1), problem: NO_COLUMNS.to_owned() });
        }
        self.begun = true;
        Ok(Arc::new(Schema::new(self.fields.clone())))
    }

    /// Adds the columns of another file.
    ///
    /// # Errors
    /// They do not match those of the earlier files.
    pub(crate) fn add(&mut self, table: &str, file: &str, opened: &Opened, columns: &SchemaRef) -> Result<(), InputError> {
        let first = !self.is_known();
        if first {
            file.clone_into(&mut self.first_file);
        }
        self.fit_within(table, file, opened, columns, first)?;
        self.optional &= opened.optional;
        Ok(())
    }

    /// How rows of a file are converted to rows of the announced table.
    ///
    /// # Errors
    /// The file's columns do not match the table's.
    pub(crate) fn fit(&self, table: &str, file: &str, opened: &Opened, columns: &SchemaRef) -> Result<Fit, InputError> {
        let mut known = self.clone();
        known.fit_within(table, file, opened, columns, false)?;
        let same = |(a, b): (&FieldRef, &FieldRef)| a.name() == b.name() && a.data_type() == b.data_type();
        if known.fields.len() == columns.fields().len() && known.fields.iter().zip(columns.fields()).all(same) {
            return Ok(Fit::Equal);
        }
        let places: HashMap<&str, usize> =
            columns.fields().iter().enumerate().map(|(place, field)| (field.name().as_str(), place)).collect();
        Ok(Fit::Chosen(self.names().map(|name| places.get(name).copied()).collect()))
    }

    fn fit_within(&mut self, table: &str, file: &str, opened: &Opened, columns: &SchemaRef, first: bool) -> Result<(), InputError> {
        let differs = |like: &Self, column: &str, difference: String| {
            let [table, first, second, column] = [table, &like.first_file, file, column].map(str::to_owned);
            Err(InputError::SchemaDiffers { table, first, second, column, difference })
        };
        let places: HashMap<&str, usize> =
            columns.fields().iter().enumerate().map(|(place, field)| (field.name().as_str(), place)).collect();
        // Columns with duplicate names can only be matched by position.
        let by_place = places.len() < columns.fields().len() || self.places.len() < self.fields.len();
        for (place, new) in columns.fields().iter().enumerate() {
            let name = new.name().as_str();
            let at = if by_place { (place < self.fields.len()).then_some(place) } else { self.places.get(name).copied() };
            let Some((at, known)) = at.and_then(|at| Some((at, self.fields.get(at)?.clone()))) else {
                if first || ((self.optional || self.union) && !self.begun && !by_place) {
                    self.places.insert(name.to_owned(), self.fields.len());
                    // Another file may lack it.
                    self.fields.push(if self.union { Arc::new(new.as_ref().clone().with_nullable(true)) } else { new.clone() });
                    if opened.text {
                        self.text.insert(name.to_owned());
                    }
                    if opened.undecided.contains(name) {
                        self.undecided.insert(name.to_owned());
                    }
                    continue;
                }
                return match self.fields.get(place) {
                    Some(other) if !places.contains_key(other.name().as_str()) => {
                        differs(self, name, format!("it stands where `{}` is", other.name()))
                    }
                    _ => differs(self, name, "it is missing".to_owned()),
                };
            };
            if known.name() != new.name() {
                return differs(self, name, format!("it stands where `{}` is", known.name()));
            }
            let open = (self.undecided.contains(name), opened.undecided.contains(name));
            let may_be_null = known.is_nullable() && (new.is_nullable() || self.union);
            if may_be_null && !self.begun {
                match open {
                    (_, true) => continue,
                    (true, false) => {
                        self.fields[at] = Arc::new(new.as_ref().clone().with_nullable(true));
                        self.undecided.remove(name);
                        if !opened.text {
                            self.text.remove(name);
                        }
                        continue;
                    }
                    (false, false) => {}
                }
            }
            if self.union && !by_place {
                let text = self.text.contains(name);
                let wide = wider(Column { field: &known, text }, Column { field: new, text: opened.text });
                match wide {
                    // Once the table is announced, a file can only be narrower.
                    Some(wide) if !self.begun || wide.data_type() == known.data_type() => {
                        if !self.begun {
                            self.fields[at] = Arc::new(wide.with_nullable(true));
                            if !opened.text {
                                self.text.remove(name);
                            }
                        }
                        continue;
                    }
                    Some(_) | None => {
                        let (new, known) = (new.data_type(), known.data_type());
                        return differs(self, name, format!("its type is {new}, and no type holds exactly both that and the {known}"));
                    }
                }
            }
            if known.data_type() != new.data_type() {
                return differs(self, name, format!("its type is {} but {}", new.data_type(), known.data_type()));
            }
            if known.is_nullable() != new.is_nullable() || known.metadata() != new.metadata() {
                return differs(self, name, "its nullability or extension type is not the one".to_owned());
            }
        }
        let missing = if by_place {
            self.fields.get(columns.fields().len())
        } else {
            let optional = |known: &FieldRef| (opened.optional || self.union) && known.is_nullable();
            self.fields.iter().find(|known| !places.contains_key(known.name().as_str()) && !optional(known))
        };
        match missing {
            Some(missing) => differs(self, missing.name(), "it is missing here but present".to_owned()),
            None => Ok(()),
        }
    }
}

impl Fit {
    /// Converts a batch to the columns of the table.
    pub(crate) fn apply(&self, batch: RecordBatch, table: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        let Self::Chosen(places) = self else { return Ok(batch) };
        let column = |(place, field): (&Option<usize>, &FieldRef)| -> Result<ArrayRef, ArrowError> {
            match place.and_then(|place| batch.columns().get(place)) {
                Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
                // Only to a type that holds every value.
                Some(column) => cast_with_options(column, field.data_type(), &CastOptions { safe: false, ..CastOptions::default() }),
                None => Ok(new_null_array(field.data_type(), batch.num_rows())),
            }
        };
        let columns = places.iter().zip(table.fields()).map(column).collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(table.clone(), columns, &options)
    }
}

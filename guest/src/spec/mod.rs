//! The spec of a destination, checked. [`Spec::parse`] is the only way to make one.
//!
//! `document` reads a JSON object as Go does. `raw` is the table of the fields: what each is called, what it holds, what it is when left out;
//! `fields` is what follows from a row of it. `rules` adds the rules across fields and makes the checked spec, `format` is the table of the
//! formats, `schema` says all of it as a JSON Schema. What is checked is split in two: [`Target`] goes to the host, [`Settings`] to the session,
//! and neither holds anything of the other.

mod catalog;
mod commit;
mod document;
mod duration;
mod endpoint;
mod fields;
mod format;
mod headers;
mod names;
mod partition;
mod problem;
mod quarantine;
mod raw;
mod rules;
mod schema;
mod settings;
mod target;
#[cfg(test)]
mod tests;

pub use catalog::{Catalog, CatalogAuth, CatalogTables, SecretSource};
pub use commit::{Commit, Manifest, OnExisting, SyncContext};
pub use format::{
    Codec, CompressedExtensions, Compression, CsvOptions, FORMATS, Format, FormatFacts, IcebergTypes, JsonOptions, LineEnding, NullText,
    PageCompression, ParquetOptions, ParquetVersion, RootRepetition, SortColumn, TimestampUnit,
};
pub use partition::Partitioning;
pub use problem::SpecProblem;
pub use quarantine::Quarantine;
pub use schema::json_schema;
pub use target::{CredentialSource, Encryption, ObjectLock, Retention, Target};

use crate::path::PathTemplate;
use std::num::NonZeroU64;
use std::time::Duration;

/// A checked spec, split into what the host needs ([`Target`]) and what a session needs ([`Settings`]).
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Where the objects go; the session never sees it.
    pub target: Target,
    /// The catalog of its tables, if there is one; the session never sees it.
    pub catalog: Option<Catalog>,
    /// Put an empty object first?
    pub test_write: bool,
    /// What a session works by.
    pub settings: Settings,
    /// Unknown fields, which are ignored.
    pub warnings: Vec<SpecProblem>,
}

/// What a session works by. Made by [`Spec::parse`]; crosses to the session instance as JSON and is checked again there.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where objects go.
    pub path: PathTemplate,
    /// `{{SYNC_ID}}`.
    pub sync_id: String,
    /// What is written.
    pub format: Format,
    /// Around the objects, if anything.
    pub compression: Option<Compression>,
    /// Does `Content-Encoding` say so? Then neither key nor `Content-Type` does.
    pub is_content_encoded: bool,
    /// When an object ends.
    pub rotation: Rotation,
    /// Clean the keys inside JSON columns?
    pub athena: bool,
    /// Put an empty object for each table at its migration? (Formats that have one only.)
    pub empty_objects: bool,
    /// The `Content-Type` of every object.
    pub content_type: String,
    /// What makes the objects one commit.
    pub commit: Commit,
    /// How rows are divided, where the path takes values from them.
    pub partitioning: Partitioning,
    /// What becomes of rows whose columns are not those of the rows before.
    pub on_schema_change: SchemaChange,
    /// Where rows go that cannot be written, if they may.
    pub quarantine: Option<Quarantine>,
    /// The tables of a catalog that objects become part of.
    pub catalog_tables: Option<CatalogTables>,
}

/// What becomes of rows whose columns are not those of the table's rows before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SchemaChange {
    /// The object ends, and the next one has the new columns; without `{{UUID}}` and `{{SEQ}}` in the path the table fails.
    #[default]
    NextObject,
    /// The table fails.
    Fail,
    /// They go to another path, which `{{SCHEMA}}` tells from the first.
    NewPath,
}

impl SchemaChange {
    const ALL: [Self; 3] = [Self::NextObject, Self::Fail, Self::NewPath];

    /// As the spec names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NextObject => "next_object",
            Self::Fail => "fail",
            Self::NewPath => "new_path",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

impl Settings {
    /// True if a table's rows may go into several objects at the same time: they have different keys, objects end by themselves, and no other
    /// attempt has to make the same ones. Partitions stay on one lane: each lane more would have an object of its own for each of them. So do
    /// tables whose columns must not change: no lane sees what the others do.
    pub fn is_splittable(&self) -> bool {
        let stays = !self.path.partition_fields().is_empty() || self.on_schema_change == SchemaChange::Fail;
        self.rotation.is_splittable() && self.path.has_uuid() && !stays
    }

    /// `{{FORMAT}}`: the format's name, `.gz` or `.zst` added under compression that `Content-Encoding` does not tell.
    pub fn format_extension(&self) -> &'static str {
        self.format.facts().extension(self.compression.filter(|_| !self.is_content_encoded).map(Compression::codec))
    }

    /// The `Content-Encoding` of every object, if there is one.
    pub fn content_encoding(&self) -> Option<&'static str> {
        self.compression.filter(|_| self.is_content_encoded).map(|it| it.codec().name())
    }
}

/// When an object is finished and the next one begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// The path has neither `{{UUID}}` nor `{{SEQ}}`: one object a table, finished at the end of the write.
    Never,
    /// The path has one of them: an object ends at the first limit it reaches, at a change of message type, or at the end of the write.
    Every {
        /// Rows of an object.
        rows: Option<NonZeroU64>,
        /// Bytes of Arrow buffers of an object.
        bytes: Option<NonZeroU64>,
        /// Time since the object's first row.
        age: Option<Duration>,
    },
}

impl Rotation {
    /// Do objects end by themselves, by their size?
    fn is_splittable(&self) -> bool {
        matches!(self, Self::Every { rows, bytes, .. } if rows.is_some() || bytes.is_some())
    }
}

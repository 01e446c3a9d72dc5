//! What is derived from the schema of a table once: the plan of its file, and which columns are whose to write.

use super::choice;
use super::flat::FlatColumn;
use super::plan::Plan;
use crate::encode::EncodeError;
use crate::limits::{CONVERTED_PIECE_BYTES, PIECE_BYTES};
use crate::spec::ParquetVersion;
use arrow_array::ArrayRef;
use arrow_schema::{FieldRef, Schema, SchemaRef};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor, Type, TypePtr};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes buffered before column writers take them: at least this, and [`BUFFER_BYTES_A_LEAF`] for each leaf. Enough rows that a writer's
/// cost a call does not show, and that a sample of them shows which columns repeat.
const BUFFER_BYTES: usize = 256 << 10;

/// See [`BUFFER_BYTES`]. A column writer takes 5 to 50 KiB whatever it holds, so fewer bytes than this are cheaper kept as they are.
const BUFFER_BYTES_A_LEAF: usize = 8 << 10;

/// Memory of a column writer beside what it reports.
const WRITER_BYTES: usize = 4 << 10;

/// Who wrote the file, in the form that readers parse.
const CREATED_BY: &str = concat!("lakegate version ", env!("CARGO_PKG_VERSION"));

/// A plan, and what is derived from it once.
pub(super) struct Shape {
    pub(super) plan: Plan,
    /// The leaves of each column.
    leaves: Vec<Vec<ColumnDescPtr>>,
    /// Of the file: version, creator, metadata.
    pub(super) file_properties: WriterPropertiesPtr,
    /// The schema of the columns that the crate writes.
    pub(super) nested: Nested,
    /// The maker of the last row group's column writers, with the dictionaries it was made for.
    factory: RefCell<Option<(Vec<bool>, Rc<ArrowRowGroupWriterFactory>)>>,
    pub(super) buffer_bytes: usize,
    /// May a column name one value many times? Rows are then not buffered: the dictionaries of two batches may not fit the keys of one.
    pub(super) expands: bool,
    /// What rows that are encoded at once may take, where columns may be far larger written out than they are: by values that take another
    /// form, by values named many times, or by the levels of nested ones.
    pub(super) piece_bytes: Option<u64>,
}

/// Columns that the crate writes, as a schema of their own.
pub(super) struct Nested {
    /// Their places among all columns.
    pub(super) places: Vec<usize>,
    parquet: TypePtr,
    arrow: SchemaRef,
}

impl Shape {
    /// What is known of columns, for each of their leaves: nothing of those of a nested column.
    pub(super) fn by_leaf<T: Copy>(&self, of_columns: &[Option<T>]) -> Vec<Option<T>> {
        let leaves = self.leaves.iter().enumerate();
        let known = |at: usize, count: usize| of_columns.get(at).copied().flatten().filter(|_| count == 1);
        leaves.flat_map(|(at, leaves)| std::iter::repeat_n(known(at, leaves.len()), leaves.len())).collect()
    }

    pub(super) fn new(plan: Plan, version: ParquetVersion, expands: bool) -> Result<Self, EncodeError> {
        // This is the number in the footer. Pages and encodings are those of version 1 (see `factory`), as the reference writes them.
        let version = match version {
            ParquetVersion::V1_0 => WriterVersion::PARQUET_1_0,
            ParquetVersion::V2_4 | ParquetVersion::V2_6 | ParquetVersion::V2Latest => WriterVersion::PARQUET_2_0,
        };
        let metadata = if plan.metadata.is_empty() { None } else { Some(plan.metadata.clone()) };
        let properties = WriterProperties::builder()
            .set_writer_version(version)
            .set_created_by(CREATED_BY.into())
            .set_key_value_metadata(metadata)
            .build();
        let buffer_bytes = BUFFER_BYTES.max(plan.arrow.flattened_fields().len() * BUFFER_BYTES_A_LEAF);
        let descriptor = SchemaDescriptor::new(plan.parquet.clone());
        let mut leaves: Vec<Vec<ColumnDescPtr>> = plan.columns.iter().map(|_| Vec::new()).collect();
        for (leaf, descr) in descriptor.columns().iter().enumerate() {
            if let Some(column) = leaves.get_mut(descriptor.get_column_root_idx(leaf)) {
                column.push(descr.clone());
            }
        }
        let nested = Nested::new(&plan, &leaves)?;
        let piece_bytes = if plan.columns.iter().any(|column| column.convert.grows()) {
            Some(CONVERTED_PIECE_BYTES)
        } else {
            (expands || !nested.places.is_empty()).then_some(PIECE_BYTES)
        };
        let (file_properties, factory) = (Arc::new(properties), RefCell::default());
        Ok(Self { plan, leaves, file_properties, nested, factory, buffer_bytes, expands, piece_bytes })
    }

    pub(super) fn leaf_count(&self) -> usize {
        self.leaves.iter().map(Vec::len).sum()
    }

    /// Column writers for a row group that begins with these converted columns.
    pub(super) fn writers(&self, columns: &[ArrayRef], row_group: usize) -> Result<Vec<ColumnWriter>, EncodeError> {
        let mut dictionaries = choice::dictionaries(columns).into_iter();
        let mut of_nested = Vec::new();
        let mut writers = Vec::with_capacity(columns.len());
        for (field, leaves) in self.plan.arrow.fields().iter().zip(&self.leaves) {
            let chosen: Vec<bool> = dictionaries.by_ref().take(leaves.len()).collect();
            let flat = match leaves.as_slice() {
                [leaf] => FlatColumn::new(field.data_type(), leaf.clone(), chosen == [true]),
                _ => None,
            };
            writers.push(match flat {
                Some(flat) => ColumnWriter::Flat(Box::new(flat)),
                None => {
                    of_nested.extend(chosen);
                    ColumnWriter::Nested(Vec::new())
                }
            });
        }
        if !of_nested.is_empty() {
            let mut made = self.factory(of_nested)?.create_column_writers(row_group).map_err(failed)?.into_iter();
            for (writer, leaves) in writers.iter_mut().zip(&self.leaves) {
                if let ColumnWriter::Nested(nested) = writer {
                    nested.extend(made.by_ref().take(leaves.len()));
                }
            }
        }
        Ok(writers)
    }

    /// The maker of the crate's column writers, with dictionaries for the leaves so chosen.
    fn factory(&self, dictionaries: Vec<bool>) -> Result<Rc<ArrowRowGroupWriterFactory>, EncodeError> {
        let known = self.factory.borrow().as_ref().filter(|(made_for, _)| *made_for == dictionaries).map(|(_, factory)| factory.clone());
        if let Some(factory) = known {
            return Ok(factory);
        }
        // A factory takes its properties from a file writer; this one writes no file.
        let model =
            |properties| SerializedFileWriter::new(std::io::sink(), self.nested.parquet.clone(), Arc::new(properties)).map_err(failed);
        let mut properties = WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_1_0)
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_dictionary_enabled(false);
        let plain = model(properties.clone().build())?;
        for (leaf, _) in plain.schema_descr().columns().iter().zip(&dictionaries).filter(|(_, chosen)| **chosen) {
            properties = properties.set_column_dictionary_enabled(leaf.path().clone(), true);
        }
        let factory = Rc::new(ArrowRowGroupWriterFactory::new(&model(properties.build())?, self.nested.arrow.clone()));
        *self.factory.borrow_mut() = Some((dictionaries, factory.clone()));
        Ok(factory)
    }
}

impl Nested {
    fn new(plan: &Plan, leaves: &[Vec<ColumnDescPtr>]) -> Result<Self, EncodeError> {
        let is_flat = |field: &FieldRef, leaves: &[ColumnDescPtr]| matches!(leaves, [leaf] if FlatColumn::takes(field.data_type(), leaf));
        let places: Vec<usize> = plan
            .arrow
            .fields()
            .iter()
            .zip(leaves)
            .enumerate()
            .filter(|(_, (field, leaves))| !is_flat(field, leaves))
            .map(|(at, _)| at)
            .collect();
        let arrow: Vec<_> = places.iter().map(|at| plan.arrow.fields()[*at].clone()).collect();
        let parquet = places.iter().map(|at| plan.parquet.get_fields()[*at].clone()).collect();
        let root = Type::group_type_builder(plan.parquet.name()).with_fields(parquet).build().map_err(failed)?;
        Ok(Self { places, parquet: Arc::new(root), arrow: Arc::new(Schema::new(arrow)) })
    }
}

/// Writes a column of a row group.
pub(super) enum ColumnWriter {
    Flat(Box<FlatColumn>),
    /// A writer a leaf.
    Nested(Vec<ArrowColumnWriter>),
}

impl ColumnWriter {
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Self::Flat(column) => column.held_bytes(),
            Self::Nested(leaves) => leaves.iter().map(|leaf| leaf.memory_size() + WRITER_BYTES).sum(),
        }
    }

    /// Memory that the footer takes for its pages. The crate's writers do not tell; what they keep is cut to 64 bytes a bound.
    pub(super) fn index_bytes(&self) -> usize {
        match self {
            Self::Flat(column) => column.index_bytes(),
            Self::Nested(_) => 0,
        }
    }
}

/// The error of the crate's file writer.
pub(super) fn failed(error: ParquetError) -> EncodeError {
    EncodeError::Data(format!("the Parquet writer failed: {error}"))
}

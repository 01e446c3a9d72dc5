//! What is derived from the schema of a table once: the plan of its file, and which columns are whose to write.

use super::choice;
use super::flat::FlatColumn;
use super::nested::{NestedLeaf, PageStores};
use super::plan::Plan;
use super::sort::{Sorter, in_footer, is_sortable};
use crate::encode::EncodeError;
use crate::limits::{CONVERTED_PIECE_BYTES, PIECE_BYTES};
use crate::spec::{PageCompression, ParquetOptions, ParquetVersion};
use arrow_array::ArrayRef;
use arrow_schema::{FieldRef, Schema, SchemaRef};
use parquet::arrow::arrow_writer::ArrowRowGroupWriterFactory;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
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
    factory: RefCell<Option<(Vec<bool>, Rc<Factory>)>>,
    /// How the crate compresses the pages of its columns; [`None`]: we do.
    crate_compression: Option<Compression>,
    /// Is there an index of the pages?
    pub(super) page_index: bool,
    /// Columns with a Bloom filter.
    is_filtered: Vec<bool>,
    /// What the rows of a group are sorted by, if by anything.
    pub(super) sorter: Option<Sorter>,
    /// Names of columns that were asked for, and are not there or not of the kind.
    pub(super) unfiltered: Option<String>,
    pub(super) unsorted: Option<String>,
    pub(super) buffer_bytes: usize,
    /// May a column name one value many times? Rows are then not buffered: the dictionaries of two batches may not fit the keys of one.
    pub(super) expands: bool,
    /// What rows that are encoded at once may take, where columns may be far larger written out than they are: by values that take another
    /// form, by values named many times, or by the levels of nested ones.
    pub(super) piece_bytes: Option<u64>,
}

/// Makes column writers of the crate's.
struct Factory {
    of_writers: ArrowRowGroupWriterFactory,
    /// Present if we compress what they write.
    stores: Option<Arc<PageStores>>,
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

    pub(super) fn new(plan: Plan, options: &ParquetOptions, expands: bool) -> Result<Self, EncodeError> {
        // This is the number in the footer. Pages and encodings are those of version 1 (see `factory`), as the reference writes them.
        let version = match options.version {
            ParquetVersion::V1_0 => WriterVersion::PARQUET_1_0,
            ParquetVersion::V2_4 | ParquetVersion::V2_6 | ParquetVersion::V2Latest => WriterVersion::PARQUET_2_0,
        };
        let metadata = if plan.metadata.is_empty() { None } else { Some(plan.metadata.clone()) };
        let properties =
            WriterProperties::builder().set_writer_version(version).set_created_by(CREATED_BY.into()).set_key_value_metadata(metadata);
        let buffer_bytes = BUFFER_BYTES.max(plan.arrow.flattened_fields().len() * BUFFER_BYTES_A_LEAF);
        let descriptor = SchemaDescriptor::new(plan.parquet.clone());
        let mut leaves: Vec<Vec<ColumnDescPtr>> = plan.columns.iter().map(|_| Vec::new()).collect();
        for (leaf, descr) in descriptor.columns().iter().enumerate() {
            if let Some(column) = leaves.get_mut(descriptor.get_column_root_idx(leaf)) {
                column.push(descr.clone());
            }
        }
        let nested = Nested::new(&plan, &leaves)?;
        let (sorter, sorting, unsorted) = sorted(&plan, &leaves, options)?;
        let (is_filtered, unfiltered) = filtered(&plan, &nested, options);
        let mut properties = properties.set_sorting_columns(sorting);
        if !options.page_index {
            // Statistics of pages would bring the index back.
            properties = properties.set_statistics_enabled(EnabledStatistics::Chunk).set_offset_index_disabled(true);
        }
        let piece_bytes = if plan.columns.iter().any(|column| column.convert.grows()) {
            Some(CONVERTED_PIECE_BYTES)
        } else {
            (expands || !nested.places.is_empty()).then_some(PIECE_BYTES)
        };
        let crate_compression = match options.compression {
            PageCompression::None => Some(Compression::UNCOMPRESSED),
            PageCompression::Snappy => Some(Compression::SNAPPY),
            PageCompression::Leveled(_) => None,
        };
        Ok(Self {
            plan,
            leaves,
            file_properties: Arc::new(properties.build()),
            nested,
            factory: RefCell::default(),
            crate_compression,
            page_index: options.page_index,
            is_filtered,
            sorter,
            unfiltered,
            unsorted,
            buffer_bytes,
            expands,
            piece_bytes,
        })
    }

    pub(super) fn leaf_count(&self) -> usize {
        self.leaves.iter().map(Vec::len).sum()
    }

    /// Column writers for a row group that begins with these converted columns.
    pub(super) fn writers(&self, columns: &[ArrayRef], row_group: usize) -> Result<Vec<ColumnWriter>, EncodeError> {
        let mut dictionaries = choice::dictionaries(columns).into_iter();
        let mut of_nested = Vec::new();
        let mut writers = Vec::with_capacity(columns.len());
        for ((field, leaves), is_filtered) in self.plan.arrow.fields().iter().zip(&self.leaves).zip(&self.is_filtered) {
            let chosen: Vec<bool> = dictionaries.by_ref().take(leaves.len()).collect();
            let flat = match leaves.as_slice() {
                [leaf] => FlatColumn::new(field.data_type(), leaf.clone(), chosen == [true], *is_filtered),
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
            let factory = self.factory(of_nested)?;
            let made = factory.of_writers.create_column_writers(row_group).map_err(failed)?;
            let pages = factory.stores.as_ref().map(|stores| stores.take()).unwrap_or_default();
            let pages = pages.into_iter().map(Some).chain(std::iter::repeat(None));
            let mut made = made.into_iter().zip(pages).map(|(writer, pages)| NestedLeaf::new(writer, pages));
            for (writer, leaves) in writers.iter_mut().zip(&self.leaves) {
                if let ColumnWriter::Nested(nested) = writer {
                    nested.extend(made.by_ref().take(leaves.len()));
                }
            }
        }
        Ok(writers)
    }

    /// The maker of the crate's column writers, with dictionaries for the leaves so chosen.
    fn factory(&self, dictionaries: Vec<bool>) -> Result<Rc<Factory>, EncodeError> {
        let known = self.factory.borrow().as_ref().filter(|(made_for, _)| *made_for == dictionaries).map(|(_, factory)| factory.clone());
        if let Some(factory) = known {
            return Ok(factory);
        }
        // A factory takes its properties from a file writer; this one writes no file.
        let model =
            |properties| SerializedFileWriter::new(std::io::sink(), self.nested.parquet.clone(), Arc::new(properties)).map_err(failed);
        let mut properties = WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_1_0)
            .set_compression(self.crate_compression.unwrap_or(Compression::UNCOMPRESSED))
            .set_statistics_enabled(if self.page_index { EnabledStatistics::Page } else { EnabledStatistics::Chunk })
            .set_dictionary_enabled(false);
        let plain = model(properties.clone().build())?;
        for (leaf, _) in plain.schema_descr().columns().iter().zip(&dictionaries).filter(|(_, chosen)| **chosen) {
            properties = properties.set_column_dictionary_enabled(leaf.path().clone(), true);
        }
        let mut of_writers = ArrowRowGroupWriterFactory::new(&model(properties.build())?, self.nested.arrow.clone());
        let stores = self.crate_compression.is_none().then(Arc::<PageStores>::default);
        if let Some(stores) = &stores {
            of_writers = of_writers.with_page_store_factory(stores.clone());
        }
        let factory = Rc::new(Factory { of_writers, stores });
        *self.factory.borrow_mut() = Some((dictionaries, factory.clone()));
        Ok(factory)
    }
}

/// What rows are sorted by, as we do it and as the footer says it; and the first column of those asked for by which they are not.
type Sorted = (Option<Sorter>, Option<Vec<SortingColumn>>, Option<String>);

fn sorted(plan: &Plan, leaves: &[Vec<ColumnDescPtr>], options: &ParquetOptions) -> Result<Sorted, EncodeError> {
    let (mut by, mut in_footer_of, mut unsorted) = (Vec::new(), Vec::new(), None);
    for column in &options.sort_by {
        let found = plan.arrow.fields().iter().position(|field| *field.name() == column.name);
        match found.map(|place| (place, plan.arrow.field(place).data_type())).filter(|(_, of_type)| is_sortable(of_type)) {
            Some((place, of_type)) => {
                in_footer_of.push(in_footer(leaves.iter().take(place).map(Vec::len).sum(), column));
                by.push((place, of_type, column));
            }
            None => unsorted = unsorted.or_else(|| Some(column.name.clone())),
        }
    }
    Ok((Sorter::new(&by)?, (!in_footer_of.is_empty()).then_some(in_footer_of), unsorted))
}

/// Which columns have a Bloom filter, and the first of those asked for that has none.
fn filtered(plan: &Plan, nested: &Nested, options: &ParquetOptions) -> (Vec<bool>, Option<String>) {
    let mut is_filtered = vec![false; plan.columns.len()];
    let mut unfiltered = None;
    for name in &options.bloom_filter_columns {
        let place = plan.columns.iter().position(|column| column.name == *name).filter(|place| !nested.places.contains(place));
        match place.and_then(|place| is_filtered.get_mut(place)) {
            Some(is_filtered) => *is_filtered = true,
            None => unfiltered = unfiltered.or_else(|| Some(name.clone())),
        }
    }
    (is_filtered, unfiltered)
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
    Nested(Vec<NestedLeaf>),
}

impl ColumnWriter {
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Self::Flat(column) => column.held_bytes(),
            Self::Nested(leaves) => leaves.iter().map(NestedLeaf::held_bytes).sum(),
        }
    }

    /// The part of that which a Bloom filter takes, whatever the values.
    pub(super) fn filter_bytes(&self) -> usize {
        match self {
            Self::Flat(column) => column.filter_bytes(),
            Self::Nested(_) => 0,
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

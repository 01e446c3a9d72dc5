//! The Arrow types as which the columns of a Parquet file are read without loss.
//!
//! Parquet's types decide. An Arrow schema in the file is followed where it adds something (a time zone, a unit that Parquet cannot express), but not
//! where it contradicts Parquet, or where the `parquet` crate would lose something because of it: dictionaries are read as their values, decimals as
//! declared by Parquet. Two legacy types need more than the schema:
//!
//! - INT96 counts days and nanoseconds. As 64-bit nanoseconds since 1970, which the crate produces, it ends in 2262, while
//!   year 9999 is a popular sentinel. The finest unit that can represent all values of the column is chosen, which means reading them.
//! - INTERVAL has months, days and milliseconds, of which Arrow's older intervals only have some. It is read as bytes, see `plain`.
//!
//! Two others the crate reads as bytes, which would be written in base64: ENUM is text, and a UUID gets CloudQuery's extension type.

use super::super::InputError;
use super::super::columns::ColumnType;
use super::error::{corrupt_at, one_line, refused};
use super::pages::Group;
use arrow_array::RecordBatchReader;
use arrow_schema::{DataType, FieldRef, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};
use lakegate_base::caught::caught;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, RowGroups};
use parquet::arrow::{ARROW_SCHEMA_META_KEY, FieldLevels, ProjectionMask, parquet_to_arrow_field_levels};
use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::column::page::{PageIterator, PageReader};
use parquet::column::reader::{ColumnReader, get_column_reader};
use parquet::data_type::Int96;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type, TypePtr};
use std::fs::File;
use std::sync::Arc;

/// Size of an INTERVAL.
pub(super) const INTERVAL_BYTES: i32 = 12;

/// The Julian day of 1970-01-01.
const JULIAN_DAY_OF_EPOCH: i128 = 2_440_588;
const NANOSECONDS_OF_DAY: i128 = 86_400_000_000_000;

/// INT96 values that are inspected together.
const INT96_VALUES: usize = 8_192;

/// How a file is read, and the resulting columns.
pub(super) struct Columns {
    /// The types that the reader produces.
    pub(super) levels: FieldLevels,
    /// The resulting types, with intervals where the reader produces bytes.
    pub(super) schema: SchemaRef,
}

impl Columns {
    /// Chooses the types of a file's columns.
    pub(super) fn new(input: &Arc<File>, metadata: &Arc<ParquetMetaData>, file: &str) -> Result<Self, InputError> {
        let descr = metadata.file_metadata().schema_descr_ptr();
        let of_parquet = ArrowReaderMetadata::try_new(metadata.clone(), ArrowReaderOptions::new().with_skip_arrow_metadata(true));
        let of_parquet = of_parquet.map_err(|error| unreadable(&descr, file, &error))?.schema().fields().clone();
        let hinted = hinted(metadata);
        let marks = (0..descr.num_columns()).map(|leaf| Mark::new(descr.column(leaf).self_type())).collect();
        let mut leaves = Leaves { at: 0, signed: hinted.is_some(), units: Vec::new(), marks };
        for leaf in 0..descr.num_columns() {
            let unit =
                if descr.column(leaf).physical_type() == Physical::INT96 { Some(finest_unit(input, metadata, leaf, file)?) } else { None };
            leaves.units.push(unit);
        }
        let wanted = leaves.fields(&of_parquet, hinted.as_ref());
        let levels =
            without_intervals(&descr).and_then(|as_bytes| parquet_to_arrow_field_levels(&as_bytes, ProjectionMask::all(), Some(&wanted)));
        let levels = levels.map_err(|error| unreadable(&descr, file, &error))?;
        let read = ParquetRecordBatchReader::try_new_with_row_groups(&levels, &NoRows(metadata.clone()), 1, None);
        let read = read.map_err(|error| unreadable(&descr, file, &error))?.schema();
        let fields = with_intervals(read.fields(), &wanted);
        Ok(Self { levels, schema: Arc::new(Schema::new(fields)) })
    }
}

/// Why a file's types cannot be read: the first column without an Arrow type, or the crate's error about the whole schema.
fn unreadable(descr: &SchemaDescPtr, file: &str, error: &ParquetError) -> InputError {
    for leaf in 0..descr.num_columns() {
        let alone = parquet_to_arrow_field_levels(descr, ProjectionMask::leaves(descr, [leaf]), None);
        if let Err(error) = alone {
            let (file, column) = (file.to_owned(), descr.column(leaf).path().string());
            return InputError::Column { file, column, problem: format!("its type cannot be read: {}", one_line(&error)) };
        }
    }
    refused(file, &format!("the types of its columns cannot be read: {}", one_line(error)))
}

/// A file's columns without rows, since the resulting types are only known from a reader.
struct NoRows(Arc<ParquetMetaData>);

impl RowGroups for NoRows {
    fn num_rows(&self) -> usize {
        0
    }

    fn column_chunks(&self, _: usize) -> ParquetResult<Box<dyn PageIterator>> {
        Ok(Box::new(NoPages))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::empty())
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.0
    }
}

struct NoPages;

impl Iterator for NoPages {
    type Item = ParquetResult<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        None
    }
}

impl PageIterator for NoPages {}

/// The types, refined by the file's Arrow schema if it has a readable one.
fn hinted(metadata: &Arc<ParquetMetaData>) -> Option<Fields> {
    let pairs = metadata.file_metadata().key_value_metadata()?;
    pairs.iter().find(|pair| pair.key == ARROW_SCHEMA_META_KEY)?;
    let read = caught(|| ArrowReaderMetadata::try_new(metadata.clone(), ArrowReaderOptions::default()))?;
    Some(read.ok()?.schema().fields().clone())
}

/// Describes the leaf columns of a file, in order.
struct Leaves {
    at: usize,
    /// Whether an Arrow writer has declared the kind of interval. Its numbers are then signed, unlike Parquet's.
    signed: bool,
    /// For each INT96 leaf, the units that can represent it.
    units: Vec<Option<Units>>,
    /// What each leaf means that the crate does not tell.
    marks: Vec<Mark>,
}

/// What a leaf means that the crate does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Enum,
    Uuid,
    Other,
}

impl Mark {
    fn new(leaf: &Type) -> Self {
        let info = leaf.get_basic_info();
        match (info.logical_type_ref(), info.converted_type()) {
            (Some(LogicalType::Uuid), _) => Self::Uuid,
            (Some(LogicalType::Enum), _) | (None, ConvertedType::ENUM) => Self::Enum,
            _ => Self::Other,
        }
    }
}

impl Leaves {
    fn fields(&mut self, parquet: &Fields, hinted: Option<&Fields>) -> Fields {
        let hint = |at: usize| hinted.filter(|hinted| hinted.len() == parquet.len()).and_then(|hinted| hinted.get(at));
        parquet.iter().enumerate().map(|(at, field)| self.field(field, hint(at))).collect()
    }

    fn field(&mut self, parquet: &FieldRef, hint: Option<&FieldRef>) -> FieldRef {
        let mark = self.marks.get(self.at).copied();
        let data_type = self.data_type(parquet.data_type(), hint.map(|hint| hint.data_type()));
        let metadata = match (&data_type, mark) {
            (DataType::FixedSizeBinary(16), Some(Mark::Uuid)) => ColumnType::Uuid.field(parquet.name()).metadata().clone(),
            _ => hint.map_or_else(|| parquet.metadata().clone(), |hint| hint.metadata().clone()),
        };
        Arc::new(parquet.as_ref().clone().with_data_type(data_type).with_metadata(metadata))
    }

    fn data_type(&mut self, parquet: &DataType, hint: Option<&DataType>) -> DataType {
        match parquet {
            DataType::List(item) => DataType::List(self.field(item, hint.and_then(item_of))),
            DataType::Map(entries, sorted) => {
                let hint = hint.and_then(|hint| if let DataType::Map(entries, _) = hint { Some(entries) } else { None });
                DataType::Map(self.field(entries, hint), *sorted)
            }
            DataType::Struct(fields) => {
                let hint = hint.and_then(|hint| if let DataType::Struct(fields) = hint { Some(fields) } else { None });
                DataType::Struct(self.fields(fields, hint))
            }
            leaf => self.leaf(leaf, hint),
        }
    }

    fn leaf(&mut self, parquet: &DataType, hint: Option<&DataType>) -> DataType {
        let at = self.at;
        self.at += 1;
        let hint = match hint {
            Some(DataType::Dictionary(_, values)) => Some(values.as_ref()),
            hint => hint,
        };
        let kept = || hint.cloned().unwrap_or_else(|| parquet.clone());
        if let Some(units) = self.units.get(at).copied().flatten() {
            let (wished, zone) = match hint {
                Some(DataType::Timestamp(unit, zone)) => (Some(*unit), zone.clone()),
                _ => (None, None),
            };
            return DataType::Timestamp(units.chosen(wished), zone);
        }
        match (parquet, hint) {
            (DataType::Interval(_), Some(DataType::Interval(unit))) if self.signed && *unit != IntervalUnit::MonthDayNano => {
                DataType::Interval(*unit)
            }
            (DataType::Interval(_), _) => DataType::Interval(IntervalUnit::MonthDayNano),
            // Units that Parquet cannot express.
            (DataType::Int32, Some(DataType::Time32(_) | DataType::Timestamp(..))) => kept(),
            (DataType::Int64, Some(DataType::Time64(_) | DataType::Timestamp(..) | DataType::Duration(_) | DataType::Date64)) => kept(),
            (DataType::Binary, Some(DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)) => DataType::Utf8,
            (DataType::Binary, _) if self.marks.get(at) == Some(&Mark::Enum) => DataType::Utf8,
            // The zone in which a timestamp is shown; without one in Parquet it is a local time.
            (DataType::Timestamp(unit, Some(_)), Some(DataType::Timestamp(same, Some(_)))) if unit == same => kept(),
            _ => parquet.clone(),
        }
    }
}

fn item_of(list: &DataType) -> Option<&FieldRef> {
    match list {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => Some(item),
        _ => None,
    }
}

/// The schema of the file with INTERVALs as fixed-size bytes; unchanged if there are none.
fn without_intervals(descr: &SchemaDescPtr) -> ParquetResult<SchemaDescPtr> {
    if descr.columns().iter().all(|column| column.converted_type() != ConvertedType::INTERVAL) {
        return Ok(descr.clone());
    }
    Ok(Arc::new(SchemaDescriptor::new(without_interval(&descr.root_schema_ptr())?)))
}

fn without_interval(of: &TypePtr) -> ParquetResult<TypePtr> {
    let info = of.get_basic_info();
    let id = info.has_id().then(|| info.id());
    if of.is_primitive() {
        if info.converted_type() != ConvertedType::INTERVAL {
            return Ok(of.clone());
        }
        let bytes = Type::primitive_type_builder(of.name(), Physical::FIXED_LEN_BYTE_ARRAY).with_length(INTERVAL_BYTES);
        return Ok(Arc::new(bytes.with_repetition(info.repetition()).with_id(id).build()?));
    }
    let fields = of.get_fields().iter().map(without_interval).collect::<ParquetResult<_>>()?;
    let mut group = Type::group_type_builder(of.name()).with_fields(fields).with_id(id).with_converted_type(info.converted_type());
    group = group.with_logical_type(info.logical_type_ref().cloned());
    if info.has_repetition() {
        group = group.with_repetition(info.repetition());
    }
    Ok(Arc::new(group.build()?))
}

/// The types that are read, with intervals in place of bytes.
fn with_intervals(read: &Fields, wanted: &Fields) -> Fields {
    read.iter().zip(wanted).map(|(read, wanted)| with_interval(read, wanted)).collect()
}

fn with_interval(read: &FieldRef, wanted: &FieldRef) -> FieldRef {
    let data_type = match (read.data_type(), wanted.data_type()) {
        (DataType::FixedSizeBinary(INTERVAL_BYTES), interval @ DataType::Interval(_)) => interval.clone(),
        (DataType::List(read), DataType::List(wanted)) => DataType::List(with_interval(read, wanted)),
        (DataType::Map(read, sorted), DataType::Map(wanted, _)) => DataType::Map(with_interval(read, wanted), *sorted),
        (DataType::Struct(read), DataType::Struct(wanted)) => DataType::Struct(with_intervals(read, wanted)),
        // What it means is not the reader's.
        (DataType::FixedSizeBinary(_), _) => return Arc::new(read.as_ref().clone().with_metadata(wanted.metadata().clone())),
        _ => return read.clone(),
    };
    Arc::new(read.as_ref().clone().with_data_type(data_type))
}

/// Which units can represent every value of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Units {
    nanoseconds: bool,
    microseconds: bool,
    milliseconds: bool,
    seconds: bool,
}

impl Units {
    /// The units that can represent a point in time as a 64-bit integer.
    fn new(value: &Int96) -> Self {
        // As in the crate, both numbers are signed.
        let [low, high, day] = *value.data() else {
            return Self { nanoseconds: true, microseconds: true, milliseconds: true, seconds: true };
        };
        let nanoseconds = i128::from((u64::from(high) << 32 | u64::from(low)) as i64);
        let moment = (i128::from(day as i32) - JULIAN_DAY_OF_EPOCH) * NANOSECONDS_OF_DAY + nanoseconds;
        let holds = |unit: i128| nanoseconds % unit == 0 && i64::try_from(moment / unit).is_ok();
        Self { nanoseconds: holds(1), microseconds: holds(1_000), milliseconds: holds(1_000_000), seconds: holds(1_000_000_000) }
    }

    fn and(self, other: Self) -> Self {
        Self {
            nanoseconds: self.nanoseconds && other.nanoseconds,
            microseconds: self.microseconds && other.microseconds,
            milliseconds: self.milliseconds && other.milliseconds,
            seconds: self.seconds && other.seconds,
        }
    }

    fn hold(self, unit: TimeUnit) -> bool {
        match unit {
            TimeUnit::Nanosecond => self.nanoseconds,
            TimeUnit::Microsecond => self.microseconds,
            TimeUnit::Millisecond => self.milliseconds,
            TimeUnit::Second => self.seconds,
        }
    }

    fn finest(self) -> Option<TimeUnit> {
        [TimeUnit::Nanosecond, TimeUnit::Microsecond, TimeUnit::Millisecond, TimeUnit::Second].into_iter().find(|unit| self.hold(*unit))
    }

    /// The preferred unit if it can represent the values, otherwise the finest one that can.
    fn chosen(self, wished: Option<TimeUnit>) -> TimeUnit {
        wished.filter(|unit| self.hold(*unit)).or(self.finest()).unwrap_or(TimeUnit::Nanosecond)
    }
}

/// The units that can represent every value of an INT96 column.
fn finest_unit(input: &Arc<File>, metadata: &Arc<ParquetMetaData>, leaf: usize, file: &str) -> Result<Units, InputError> {
    let descr = metadata.file_metadata().schema_descr().column(leaf);
    let column = descr.path().string();
    let mut units = Units { nanoseconds: true, microseconds: true, milliseconds: true, seconds: true };
    let mut rows_before = 0_u64;
    for at in 0..metadata.num_row_groups() {
        let unreadable = |error: ParquetError| corrupt_at(file, at + 1, rows_before, &one_line(&error));
        let group = Group::look_at_column(input.clone(), metadata.clone(), at, leaf);
        let group = group.map_err(|refused| refused.at(file, at + 1, rows_before))?;
        let pages = group.pages(leaf).map_err(unreadable)?;
        let ColumnReader::Int96ColumnReader(mut reader) = get_column_reader(descr.clone(), Box::new(pages)) else { continue };
        let (mut definitions, mut repetitions, mut values) = (Vec::new(), Vec::new(), Vec::new());
        let mut row = rows_before;
        loop {
            definitions.clear();
            repetitions.clear();
            values.clear();
            let (records, _, levels) =
                reader.read_records(INT96_VALUES, Some(&mut definitions), Some(&mut repetitions), &mut values).map_err(unreadable)?;
            if records == 0 && levels == 0 {
                break;
            }
            let mut found = values.iter();
            for level in 0..levels {
                if repetitions.get(level).is_none_or(|repetition| *repetition == 0) {
                    row += 1;
                }
                if definitions.get(level).is_some_and(|definition| *definition < descr.max_def_level()) {
                    continue;
                }
                let Some(value) = found.next() else { continue };
                units = units.and(Units::new(value));
                if units.finest().is_none() {
                    let problem = "with it the moments of this column of INT96 fit no unit of 64 bits: it lies outside of 1677 to 2262, which is \
                                   what nanoseconds reach, or has nanoseconds where others lie outside";
                    return Err(InputError::Value { file: file.to_owned(), row, column, problem: problem.to_owned() });
                }
            }
        }
        rows_before = rows_before.saturating_add(u64::try_from(metadata.row_group(at).num_rows()).unwrap_or_default());
    }
    Ok(units)
}

//! From a table's schema to a Parquet schema, and to what must be done to its arrays on the way.
//!
//! A [`Plan`] is made once per schema. Its Parquet schema is the contract with readers; its Arrow schema describes the arrays after
//! conversion, as the column writers want them; both list the same leaves in the same order.

use super::super::EncodeError;
use crate::ipc::TableSchema;
use crate::spec::{IcebergTypes, ParquetOptions, ParquetVersion, RootRepetition, TimestampUnit};
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use parquet::basic::{LogicalType, Repetition, TimeUnit as ParquetUnit, Type as Physical};
use parquet::file::metadata::KeyValue;
use parquet::schema::types::{Type, TypePtr};
use std::cell::Cell;
use std::sync::Arc;

/// The name of the root schema element and the two inner groups, as the reference writes them.
const ROOT: &str = "schema";
const LIST_GROUP: &str = "list";
const LIST_ELEMENT: &str = "element";
const MAP_GROUP: &str = "key_value";
const MAP_KEY: &str = "key";
const MAP_VALUE: &str = "value";

/// How one table becomes Parquet.
#[derive(Debug)]
pub(super) struct Plan {
    /// The schema in the footer.
    pub(super) parquet: TypePtr,
    /// The schema of converted batches.
    pub(super) arrow: SchemaRef,
    /// What to do to each column.
    pub(super) columns: Vec<Column>,
    /// The footer's key-value metadata: the metadata of the table's schema, sorted by key.
    pub(super) metadata: Vec<KeyValue>,
}

/// A column's name, for errors, and its conversion.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) convert: Convert,
}

/// What must be done to an array before the column writers take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Convert {
    /// Nothing.
    Keep,
    /// Bytes that a reader takes for text: invalid UTF-8 is replaced.
    Utf8,
    /// Values that Parquet has no type for become the text they have in CSV.
    Text(Text),
    /// Milliseconds since the epoch become days.
    DateMilliseconds,
    /// Seconds of the day become milliseconds.
    TimeSeconds,
    /// Seconds since the epoch become milliseconds.
    TimestampSeconds,
    /// Nanoseconds since the epoch become microseconds, truncated toward zero.
    TimestampNanos,
    /// Any unit since the epoch becomes the one that was asked for.
    TimestampUnit(TimeUnit, TimestampUnit),
    /// Decimals, which must fit so many bytes.
    Decimal(usize),
    /// Numbers become numbers of a type that Iceberg has.
    Widen(Widen),
    /// Any unit of the day becomes microseconds; what is finer is cut off, or fails the table.
    TimeMicroseconds {
        /// The unit.
        from: TimeUnit,
        /// Is it cut off?
        truncates: bool,
    },
    /// Values are looked up, then converted.
    Dictionary(Box<Convert>),
    /// Any of the three list types.
    List(FieldRef, Box<Convert>),
    /// Each child by itself.
    Struct(Fields, Vec<Convert>),
    /// Entries as a struct of key and value.
    Map(FieldRef, Box<Convert>),
}

impl Convert {
    /// Are there values that it cannot be done to, however few they are?
    pub(super) fn can_fail(&self) -> bool {
        match self {
            Self::Keep | Self::Utf8 | Self::TimestampNanos | Self::Widen(_) => false,
            Self::Text(text) => *text == Text::Inet,
            Self::DateMilliseconds | Self::TimeSeconds | Self::TimestampSeconds | Self::TimestampUnit(..) | Self::Decimal(_) => true,
            Self::TimeMicroseconds { from, truncates } => *from == TimeUnit::Nanosecond && !truncates,
            Self::Dictionary(child) | Self::List(_, child) | Self::Map(_, child) => child.can_fail(),
            Self::Struct(fields, children) => fields.iter().any(|field| !field.is_nullable()) || children.iter().any(Self::can_fail),
        }
    }

    /// May the values become larger than they are?
    pub(super) fn grows(&self) -> bool {
        match self {
            Self::Keep
            | Self::DateMilliseconds
            | Self::TimeSeconds
            | Self::TimestampSeconds
            | Self::TimestampNanos
            | Self::TimestampUnit(..)
            | Self::Decimal(_) => false,
            Self::Utf8 | Self::Text(_) | Self::Dictionary(_) | Self::Widen(_) | Self::TimeMicroseconds { .. } => true,
            Self::List(_, child) | Self::Map(_, child) => child.grows(),
            Self::Struct(_, children) => children.iter().any(Self::grows),
        }
    }
}

/// Numbers of types that Iceberg lacks, and what they become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Widen {
    /// 32 bits without a sign: 64 bits.
    UInt32,
    /// 64 bits without a sign: decimals of twenty digits.
    UInt64,
    /// Floats of 16 bits: of 32.
    Float16,
}

/// Digits of the largest number of 64 bits.
pub(super) const UINT64_DIGITS: u8 = 20;

/// The types that Parquet holds as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    Duration(TimeUnit),
    TimeOfDay(TimeUnit),
    Interval,
    Uuid,
    Inet,
    Mac,
    Base64,
}

/// Plans a table.
///
/// # Errors
/// [`EncodeError::Data`], naming the first column that Parquet cannot hold, and its type.
pub(super) fn plan(schema: &TableSchema, options: &ParquetOptions) -> Result<Plan, EncodeError> {
    let planner = Planner {
        nanoseconds: matches!(options.version, ParquetVersion::V2_6 | ParquetVersion::V2Latest),
        timestamp_unit: options.timestamp_unit,
        ids: match (options.iceberg, options.field_ids) {
            (Some(_), _) => Ids::Given,
            (None, true) => Ids::Numbered(Cell::new(1)),
            (None, false) => Ids::None,
        },
        iceberg: options.iceberg,
    };
    if schema.logical.fields().is_empty() {
        return Err(EncodeError::Data(format!("table {:?} has no columns; Parquet wants at least one", schema.table)));
    }
    let (mut types, mut fields, mut columns) = (Vec::new(), Vec::new(), Vec::new());
    for (logical, physical) in schema.logical.fields().iter().zip(schema.physical.fields()) {
        let node = planner.node(logical, physical, logical.name(), logical.is_nullable(), logical.name())?;
        types.push(Arc::new(node.parquet));
        fields.push(node.arrow);
        columns.push(Column { name: logical.name().clone(), convert: node.convert });
    }
    let root = Type::group_type_builder(ROOT).with_fields(types);
    let root = match options.root_repetition {
        RootRepetition::Undefined => root,
        RootRepetition::Required => root.with_repetition(Repetition::REQUIRED),
        RootRepetition::Optional => root.with_repetition(Repetition::OPTIONAL),
        RootRepetition::Repeated => root.with_repetition(Repetition::REPEATED),
    };
    let mut metadata: Vec<_> = schema.logical.metadata().iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
    metadata.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(Plan {
        parquet: Arc::new(root.build().map_err(|error| EncodeError::Data(error.to_string()))?),
        arrow: Arc::new(Schema::new(fields)),
        columns,
        metadata,
    })
}

/// One planned field.
struct Node {
    parquet: Type,
    arrow: Field,
    convert: Convert,
}

/// What the planning of every field depends on.
struct Planner {
    /// May timestamps be in nanoseconds? Versions before 2.6 know none.
    nanoseconds: bool,
    /// The unit that they have in any case.
    timestamp_unit: Option<TimestampUnit>,
    ids: Ids,
    /// Are the types those of Iceberg?
    iceberg: Option<IcebergTypes>,
}

/// The ids of fields: those of the table, and inside them elements, keys, values and members; not the groups that Parquet puts around them.
enum Ids {
    None,
    /// This is the next one.
    Numbered(Cell<i32>),
    /// They stand in the metadata of the fields.
    Given,
}

/// Where the id of a field stands.
const FIELD_ID: &str = "PARQUET:field_id";

impl Ids {
    fn next(&self, field: &Field) -> Result<Option<i32>, &'static str> {
        match self {
            Self::None => Ok(None),
            Self::Numbered(next) => Ok(Some(next.replace(next.get() + 1))),
            Self::Given => match field.metadata().get(FIELD_ID).and_then(|id| id.parse().ok()).filter(|id| *id > 0) {
                Some(id) => Ok(Some(id)),
                None => Err("the host has given it no id, and the tables of a catalog have one for each column"),
            },
        }
    }
}

impl Planner {
    /// Plans a field as `name` with the given nullability. `path` names it in errors.
    fn node(&self, logical: &Field, physical: &Field, path: &str, nullable: bool, name: &str) -> Result<Node, EncodeError> {
        if let DataType::Dictionary(_, value) = logical.data_type() {
            // The field is that of its values.
            let DataType::Dictionary(_, inner) = physical.data_type() else {
                return Err(EncodeError::Data(format!("column {path:?} of type {}: its decoded type does not fit", logical.data_type())));
            };
            // The metadata goes along: an extension may stand on the dictionary's field.
            let value = logical.clone().with_data_type(value.as_ref().clone());
            let inner = physical.clone().with_data_type(inner.as_ref().clone());
            let node = self.node(&value, &inner, path, nullable, name)?;
            return Ok(Node { convert: Convert::Dictionary(Box::new(node.convert)), ..node });
        }
        let refuse = |reason: &str| EncodeError::Data(format!("column {path:?} of type {}: {reason}", logical.data_type()));
        let id = self.ids.next(logical).map_err(refuse)?;
        let mismatch = || refuse("its decoded type does not fit");
        let leaf = |physical_type, logical_type: Option<LogicalType>, arrow: DataType, convert| {
            Leaf { id, physical_type, logical_type, length: -1, decimal: None }
                .build(name, nullable)
                .map(|parquet| Node { parquet, arrow: Field::new(name, arrow, nullable), convert })
                .map_err(|error| refuse(&error))
        };
        let keep = |physical_type, logical_type| leaf(physical_type, logical_type, physical.data_type().clone(), Convert::Keep);
        let int = |physical_type, bits, signed| keep(physical_type, Some(LogicalType::integer(bits, signed)));
        let text = |text| leaf(Physical::BYTE_ARRAY, Some(LogicalType::String), DataType::Binary, Convert::Text(text));
        let utf8 = || leaf(Physical::BYTE_ARRAY, Some(LogicalType::String), physical.data_type().clone(), Convert::Utf8);
        let fixed = |length: i32, logical_type, decimal| {
            Leaf { id, physical_type: Physical::FIXED_LEN_BYTE_ARRAY, logical_type, length, decimal }
                .build(name, nullable)
                .map(|parquet| Node { parquet, arrow: Field::new(name, physical.data_type().clone(), nullable), convert: Convert::Keep })
                .map_err(|error| refuse(&error))
        };

        let micros = |from, truncates| {
            let convert = Convert::TimeMicroseconds { from, truncates };
            leaf(Physical::INT64, Some(LogicalType::time(false, ParquetUnit::MICROS)), DataType::Time64(TimeUnit::Microsecond), convert)
        };
        if let Some(types) = self.iceberg {
            match (Extension::from_field(logical), logical.data_type()) {
                (Some(Extension::Uuid), DataType::FixedSizeBinary(16)) if !types.athena => return fixed(16, Some(LogicalType::Uuid), None),
                (_, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16) => {
                    return keep(Physical::INT32, None);
                }
                (_, DataType::Int64) => return keep(Physical::INT64, None),
                (_, DataType::UInt32) => return leaf(Physical::INT64, None, DataType::Int64, Convert::Widen(Widen::UInt32)),
                (_, DataType::UInt64) => {
                    let (precision, scale) = (i32::from(UINT64_DIGITS), 0);
                    let length = decimal_bytes(precision);
                    let node = fixed(length, Some(LogicalType::decimal(scale, precision)), Some((precision, scale)))?;
                    let arrow = node.arrow.with_data_type(DataType::Decimal128(UINT64_DIGITS, 0));
                    return Ok(Node { arrow, convert: Convert::Widen(Widen::UInt64), ..node });
                }
                (_, DataType::Float16) => return leaf(Physical::FLOAT, None, DataType::Float32, Convert::Widen(Widen::Float16)),
                (_, DataType::Time32(unit) | DataType::Time64(unit)) if types.athena => return text(Text::TimeOfDay(*unit)),
                (
                    _,
                    DataType::Time32(unit @ (TimeUnit::Second | TimeUnit::Millisecond)) | DataType::Time64(unit @ TimeUnit::Nanosecond),
                ) => {
                    return micros(*unit, self.timestamp_unit.is_some_and(|unit| unit.truncates));
                }
                _ => {}
            }
        }
        match (Extension::from_field(logical), logical.data_type()) {
            (Some(Extension::Uuid), DataType::FixedSizeBinary(16)) => return text(Text::Uuid),
            (Some(Extension::Json), DataType::Binary) => return utf8(),
            (Some(Extension::Inet), DataType::Binary) => return text(Text::Inet),
            (Some(Extension::Mac), DataType::Binary) => return text(Text::Mac),
            // Another storage, or no extension of CloudQuery's: the storage type decides.
            _ => {}
        }
        match logical.data_type() {
            DataType::Null if nullable => keep(Physical::INT32, Some(LogicalType::Unknown)),
            DataType::Null => Err(refuse("Parquet holds a null column only if it is nullable")),
            DataType::Boolean => keep(Physical::BOOLEAN, None),
            DataType::Int8 => int(Physical::INT32, 8, true),
            DataType::Int16 => int(Physical::INT32, 16, true),
            DataType::Int32 => int(Physical::INT32, 32, true),
            DataType::Int64 => int(Physical::INT64, 64, true),
            DataType::UInt8 => int(Physical::INT32, 8, false),
            DataType::UInt16 => int(Physical::INT32, 16, false),
            DataType::UInt32 => int(Physical::INT32, 32, false),
            DataType::UInt64 => int(Physical::INT64, 64, false),
            DataType::Float16 => fixed(2, Some(LogicalType::Float16), None),
            DataType::Float32 => keep(Physical::FLOAT, None),
            DataType::Float64 => keep(Physical::DOUBLE, None),
            DataType::Utf8 | DataType::LargeUtf8 => utf8(),
            DataType::Binary => keep(Physical::BYTE_ARRAY, None),
            DataType::LargeBinary => text(Text::Base64),
            DataType::FixedSizeBinary(0) => Err(refuse("Parquet holds fixed-size values of at least one byte")),
            DataType::FixedSizeBinary(bytes) => fixed(*bytes, None, None),
            DataType::Date32 => keep(Physical::INT32, Some(LogicalType::Date)),
            DataType::Date64 => leaf(Physical::INT32, Some(LogicalType::Date), DataType::Date32, Convert::DateMilliseconds),
            DataType::Time32(TimeUnit::Second) => {
                let millis = LogicalType::time(false, ParquetUnit::MILLIS);
                leaf(Physical::INT32, Some(millis), DataType::Time32(TimeUnit::Millisecond), Convert::TimeSeconds)
            }
            DataType::Time32(TimeUnit::Millisecond) => keep(Physical::INT32, Some(LogicalType::time(false, ParquetUnit::MILLIS))),
            DataType::Time64(TimeUnit::Microsecond) => keep(Physical::INT64, Some(LogicalType::time(false, ParquetUnit::MICROS))),
            DataType::Time64(TimeUnit::Nanosecond) => keep(Physical::INT64, Some(LogicalType::time(false, ParquetUnit::NANOS))),
            DataType::Time32(_) | DataType::Time64(_) => Err(refuse("no such unit of time of day")),
            DataType::Timestamp(unit, zone) => {
                let adjusted = zone.as_ref().is_some_and(|zone| !zone.is_empty());
                let stamp = |to: ParquetUnit| Some(LogicalType::timestamp(adjusted, to));
                let arrow = |to: TimeUnit| DataType::Timestamp(to, None);
                if let Some(asked) = self.timestamp_unit {
                    let (to, parquet) = match asked.microseconds {
                        true => (TimeUnit::Microsecond, ParquetUnit::MICROS),
                        false => (TimeUnit::Millisecond, ParquetUnit::MILLIS),
                    };
                    return match *unit == to {
                        true => keep(Physical::INT64, stamp(parquet)),
                        false => leaf(Physical::INT64, stamp(parquet), arrow(to), Convert::TimestampUnit(*unit, asked)),
                    };
                }
                match unit {
                    TimeUnit::Second => {
                        leaf(Physical::INT64, stamp(ParquetUnit::MILLIS), arrow(TimeUnit::Millisecond), Convert::TimestampSeconds)
                    }
                    TimeUnit::Millisecond => keep(Physical::INT64, stamp(ParquetUnit::MILLIS)),
                    TimeUnit::Microsecond => keep(Physical::INT64, stamp(ParquetUnit::MICROS)),
                    TimeUnit::Nanosecond if self.nanoseconds => keep(Physical::INT64, stamp(ParquetUnit::NANOS)),
                    TimeUnit::Nanosecond => {
                        leaf(Physical::INT64, stamp(ParquetUnit::MICROS), arrow(TimeUnit::Microsecond), Convert::TimestampNanos)
                    }
                }
            }
            DataType::Duration(unit) => text(Text::Duration(*unit)),
            DataType::Interval(_) => text(Text::Interval),
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale)
            | DataType::Decimal256(precision, scale) => {
                // The crate would panic on some of these, the reference does on others.
                if *precision == 0 || *scale < 0 || i32::from(*scale) > i32::from(*precision) {
                    return Err(refuse("Parquet holds decimals whose scale is at least 0 and at most the precision"));
                }
                let (precision, scale) = (i32::from(*precision), i32::from(*scale));
                let length = decimal_bytes(precision);
                let node = fixed(length, Some(LogicalType::decimal(scale, precision)), Some((precision, scale)))?;
                Ok(Node { convert: Convert::Decimal(length.unsigned_abs() as usize), ..node })
            }
            DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
                let inner = element_of(physical.data_type()).ok_or_else(mismatch)?;
                let node = self.node(element, inner, &format!("{path}.{}", element.name()), true, LIST_ELEMENT)?;
                let group = repeated(LIST_GROUP, vec![node.parquet]).map_err(|error| refuse(&error))?;
                let item: FieldRef = Arc::new(node.arrow);
                let arrow = match logical.data_type() {
                    DataType::LargeList(_) => DataType::LargeList(item.clone()),
                    DataType::FixedSizeList(_, length) => DataType::FixedSizeList(item.clone(), *length),
                    _ => DataType::List(item.clone()),
                };
                Ok(Node {
                    parquet: outer(name, id, nullable, LogicalType::List, group).map_err(|error| refuse(&error))?,
                    arrow: Field::new(name, arrow, nullable),
                    convert: Convert::List(item, Box::new(node.convert)),
                })
            }
            DataType::Map(entries, sorted) => {
                let DataType::Map(inner, _) = physical.data_type() else { return Err(mismatch()) };
                let (DataType::Struct(pair), DataType::Struct(inner)) = (entries.data_type(), inner.data_type()) else {
                    return Err(mismatch());
                };
                let ([key, value], [inner_key, inner_value]) = (&pair[..], &inner[..]) else { return Err(mismatch()) };
                let key = self.node(key, inner_key, &format!("{path}.{MAP_KEY}"), false, MAP_KEY)?;
                let value = self.node(value, inner_value, &format!("{path}.{MAP_VALUE}"), true, MAP_VALUE)?;
                let group = repeated(MAP_GROUP, vec![key.parquet, value.parquet]).map_err(|error| refuse(&error))?;
                let fields = Fields::from(vec![key.arrow, value.arrow]);
                let entry: FieldRef = Arc::new(Field::new(MAP_GROUP, DataType::Struct(fields.clone()), false));
                Ok(Node {
                    parquet: outer(name, id, nullable, LogicalType::Map, group).map_err(|error| refuse(&error))?,
                    arrow: Field::new(name, DataType::Map(entry.clone(), *sorted), nullable),
                    convert: Convert::Map(entry, Box::new(Convert::Struct(fields, vec![key.convert, value.convert]))),
                })
            }
            DataType::Struct(children) => {
                let DataType::Struct(inner) = physical.data_type() else { return Err(mismatch()) };
                if children.is_empty() {
                    return Err(refuse("Parquet holds structs of at least one field"));
                }
                let (mut types, mut fields, mut converts) = (Vec::new(), Vec::new(), Vec::new());
                for (child, inner) in children.iter().zip(inner) {
                    let node = self.node(child, inner, &format!("{path}.{}", child.name()), child.is_nullable(), child.name())?;
                    types.push(Arc::new(node.parquet));
                    fields.push(node.arrow);
                    converts.push(node.convert);
                }
                let fields = Fields::from(fields);
                let group = Type::group_type_builder(name).with_id(id).with_repetition(repetition(nullable)).with_fields(types).build();
                Ok(Node {
                    parquet: group.map_err(|error| refuse(&error.to_string()))?,
                    arrow: Field::new(name, DataType::Struct(fields.clone()), nullable),
                    convert: Convert::Struct(fields, converts),
                })
            }
            // Dictionaries are those of their values, above.
            DataType::Dictionary(..)
            | DataType::BinaryView
            | DataType::Utf8View
            | DataType::ListView(_)
            | DataType::LargeListView(_)
            | DataType::RunEndEncoded(_, _)
            | DataType::Union(_, _) => Err(refuse("Parquet output does not support this type")),
        }
    }
}

/// CloudQuery's extension types.
enum Extension {
    Uuid,
    Json,
    Inet,
    Mac,
}

impl Extension {
    fn from_field(field: &Field) -> Option<Self> {
        match field.extension_type_name()? {
            "uuid" => Some(Self::Uuid),
            "json" => Some(Self::Json),
            "inet" => Some(Self::Inet),
            "mac" => Some(Self::Mac),
            _ => None,
        }
    }
}

/// A leaf of the Parquet schema.
struct Leaf {
    id: Option<i32>,
    physical_type: Physical,
    logical_type: Option<LogicalType>,
    /// Of a fixed-length value; -1 for any other.
    length: i32,
    /// Precision and scale, which the older annotation of decimals repeats.
    decimal: Option<(i32, i32)>,
}

impl Leaf {
    fn build(self, name: &str, nullable: bool) -> Result<Type, String> {
        let mut builder = Type::primitive_type_builder(name, self.physical_type)
            .with_id(self.id)
            .with_repetition(repetition(nullable))
            .with_logical_type(self.logical_type)
            .with_length(self.length);
        if let Some((precision, scale)) = self.decimal {
            builder = builder.with_precision(precision).with_scale(scale);
        }
        builder.build().map_err(|error| error.to_string())
    }
}

fn repetition(nullable: bool) -> Repetition {
    if nullable { Repetition::OPTIONAL } else { Repetition::REQUIRED }
}

fn repeated(name: &str, fields: Vec<Type>) -> Result<Type, String> {
    let fields = fields.into_iter().map(Arc::new).collect();
    let group = Type::group_type_builder(name).with_repetition(Repetition::REPEATED).with_fields(fields);
    group.build().map_err(|error| error.to_string())
}

fn outer(name: &str, id: Option<i32>, nullable: bool, logical_type: LogicalType, group: Type) -> Result<Type, String> {
    Type::group_type_builder(name)
        .with_id(id)
        .with_repetition(repetition(nullable))
        .with_logical_type(Some(logical_type))
        .with_fields(vec![Arc::new(group)])
        .build()
        .map_err(|error| error.to_string())
}

fn element_of(list: &DataType) -> Option<&FieldRef> {
    match list {
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => Some(element),
        _ => None,
    }
}

/// The fewest bytes whose signed range holds every number of `precision` digits.
fn decimal_bytes(precision: i32) -> i32 {
    // log2(10), and one bit for the sign.
    ((f64::from(precision) * std::f64::consts::LOG2_10 + 1.0) / 8.0).ceil() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_take_the_fewest_bytes_that_hold_them() {
        for precision in 1..=76_u32 {
            let bytes = decimal_bytes(precision as i32) as u32;
            // 10^p - 1 against 2^(8b-1) - 1, in digits of two: compare by big integers kept as f64 exponents.
            let bits = f64::from(precision) * std::f64::consts::LOG2_10;
            assert!(f64::from(8 * bytes - 1) >= bits, "{precision} digits fit {bytes} bytes");
            assert!(f64::from(8 * (bytes - 1)) - 1.0 < bits, "{precision} digits do not fit one byte less than {bytes}");
        }
        assert_eq!((decimal_bytes(5), decimal_bytes(9), decimal_bytes(19), decimal_bytes(38), decimal_bytes(50)), (3, 4, 9, 16, 21));
    }
}

//! What a table's columns are, decided once per schema: the logical type of each, its extension, its zone, the order of its keys.

use super::number::DecimalType;
use super::string::{Html, push_json_string};
use super::zone::Zone;
use crate::encode::EncodeError;
use crate::limits::MAX_DEPTH;
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use std::collections::HashMap;
use std::rc::Rc;

/// The key of a field's metadata that names its extension type.
const EXTENSION_NAME: &str = "ARROW:extension:name";

/// The key of a field's metadata that an extension type checks.
const EXTENSION_METADATA: &str = "ARROW:extension:metadata";

/// A field: what its values are.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: ValueKind,
}

/// What a value is, and so how it is written. One for each logical type; the array says how it is stored.
#[derive(Debug)]
pub(crate) enum ValueKind {
    Null,
    Bool,
    Int,
    Float,
    Text,
    Binary,
    FixedBinary,
    Date,
    TimeOfDay(TimeUnit),
    Timestamp(TimeUnit, Rc<Zone>),
    Duration(TimeUnit),
    Interval,
    Decimal(DecimalType),
    Uuid,
    Inet,
    Mac,
    Json,
    List(Box<ValueKind>),
    Struct(StructPlan),
    Map(Box<(ValueKind, ValueKind)>),
    Dictionary(Box<ValueKind>),
}

/// A struct's children and the orders in which they are written.
#[derive(Debug)]
pub(crate) struct StructPlan {
    /// In the order of the schema.
    pub(crate) children: Vec<ValueKind>,
    /// Sorted by the encoded key, for keys with raw HTML.
    pub(crate) raw: Vec<Key>,
    /// Sorted by the encoded key, for keys with escaped HTML.
    pub(crate) escaped: Vec<Key>,
}

/// A key of a JSON object and the child it belongs to.
#[derive(Debug)]
pub(crate) struct Key {
    /// `"key":`, encoded.
    pub(crate) text: Vec<u8>,
    pub(crate) child: usize,
}

/// Keys sorted by their encoded form with quotes; of fields of one name the last is kept, as in a map.
pub(crate) fn sorted_keys<'a>(names: impl Iterator<Item = &'a str>, html: Html) -> Vec<Key> {
    let mut last: HashMap<&str, usize> = HashMap::new();
    for (child, name) in names.enumerate() {
        last.insert(name, child);
    }
    let mut keys: Vec<Key> = last
        .into_iter()
        .map(|(name, child)| {
            let mut text = Vec::with_capacity(name.len() + 3);
            push_json_string(&mut text, name.as_bytes(), html);
            Key { text, child }
        })
        .collect();
    keys.sort_by(|a, b| a.text.cmp(&b.text));
    for key in &mut keys {
        key.text.push(b':');
    }
    keys
}

/// Zones by name, so that columns and tables share what a zone remembers.
pub(crate) type Zones = HashMap<String, Rc<Zone>>;

/// Plans every column of a schema.
///
/// # Errors
/// [`EncodeError::Data`], which names the column and its type.
pub(crate) fn plan(schema: &Schema, zones: &mut Zones) -> Result<Vec<Column>, EncodeError> {
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let kind = kind_of_field(field, zones, 1).map_err(|problem| EncodeError::Data(format!("column `{}`: {problem}", field.name())))?;
        columns.push(Column { name: field.name().clone(), kind });
    }
    Ok(columns)
}

impl ValueKind {
    /// What the values of a field are.
    ///
    /// # Errors
    /// Why they are none that can be written, with the name of the column.
    pub(crate) fn from_field(field: &Field) -> Result<Self, String> {
        kind_of_field(field, &mut Zones::new(), 1).map_err(|problem| format!("column `{}`: {problem}", field.name()))
    }
}

fn kind_of_field(field: &Field, zones: &mut Zones, depth: usize) -> Result<ValueKind, String> {
    if depth > MAX_DEPTH {
        return Err(format!("the type is nested deeper than {MAX_DEPTH} levels"));
    }
    match extension(field)? {
        Some(kind) => Ok(kind),
        None => kind_of_type(field.data_type(), zones, depth),
    }
}

/// The extension types that CloudQuery and the reference know; others are their storage.
fn extension(field: &Field) -> Result<Option<ValueKind>, String> {
    let Some(name) = field.metadata().get(EXTENSION_NAME) else { return Ok(None) };
    let (kind, storage_fits) = match name.as_str() {
        "uuid" => (ValueKind::Uuid, field.data_type() == &DataType::FixedSizeBinary(16)),
        "json" => (ValueKind::Json, field.data_type() == &DataType::Binary),
        "inet" => (ValueKind::Inet, field.data_type() == &DataType::Binary),
        "mac" => (ValueKind::Mac, field.data_type() == &DataType::Binary),
        _ => return Ok(None),
    };
    if !storage_fits {
        return Err(format!("extension type `{name}` cannot be stored as {}", field.data_type()));
    }
    let metadata = field.metadata().get(EXTENSION_METADATA).map_or("", String::as_str);
    if metadata.strip_suffix("-serialized") != Some(name) {
        return Err(format!("extension type `{name}` wants `{EXTENSION_METADATA}` to be `{name}-serialized`"));
    }
    Ok(Some(kind))
}

fn kind_of_type(ty: &DataType, zones: &mut Zones, depth: usize) -> Result<ValueKind, String> {
    Ok(match ty {
        DataType::Null => ValueKind::Null,
        DataType::Boolean => ValueKind::Bool,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => ValueKind::Int,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => ValueKind::Int,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => ValueKind::Float,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ValueKind::Text,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => ValueKind::Binary,
        DataType::FixedSizeBinary(_) => ValueKind::FixedBinary,
        DataType::Date32 | DataType::Date64 => ValueKind::Date,
        DataType::Time32(unit) | DataType::Time64(unit) => ValueKind::TimeOfDay(*unit),
        DataType::Timestamp(unit, zone) => ValueKind::Timestamp(*unit, shared_zone(zone.as_deref(), zones)?),
        DataType::Duration(unit) => ValueKind::Duration(*unit),
        DataType::Interval(_) => ValueKind::Interval,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => ValueKind::Decimal(DecimalType { precision: *precision, scale: *scale }),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => ValueKind::List(Box::new(kind_of_field(item, zones, depth + 1)?)),
        DataType::Struct(fields) => {
            let children = fields.iter().map(|field| kind_of_field(field, zones, depth + 1)).collect::<Result<_, _>>()?;
            let names = || fields.iter().map(|field| field.name().as_str());
            ValueKind::Struct(StructPlan { children, raw: sorted_keys(names(), Html::Raw), escaped: sorted_keys(names(), Html::Escaped) })
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                ValueKind::Map(Box::new((kind_of_field(&pair[0], zones, depth + 1)?, kind_of_field(&pair[1], zones, depth + 1)?)))
            }
            other => return Err(format!("a map's entries must be a struct of two fields, not {other}")),
        },
        DataType::Dictionary(_, value) => {
            if depth >= MAX_DEPTH {
                return Err(format!("the type is nested deeper than {MAX_DEPTH} levels"));
            }
            ValueKind::Dictionary(Box::new(kind_of_type(value, zones, depth + 1)?))
        }
        DataType::Union(..) | DataType::RunEndEncoded(..) => return Err(format!("type {ty} has no text form")),
    })
}

fn shared_zone(name: Option<&str>, zones: &mut Zones) -> Result<Rc<Zone>, String> {
    let key = name.unwrap_or_default();
    if let Some(zone) = zones.get(key) {
        return Ok(Rc::clone(zone));
    }
    let zone = Zone::parse(name)
        .ok_or_else(|| format!("time zone {key:?} is unknown; accepted are names of the IANA database and offsets such as `+02:30`"))?;
    let zone = Rc::new(zone);
    zones.insert(key.to_owned(), Rc::clone(&zone));
    Ok(zone)
}

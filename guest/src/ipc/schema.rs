//! A schema, checked: within the bounds, of types that can be decoded, extension types stored as they must be. And its physical twin.

use super::{IpcError, fingerprint};
use crate::excerpt::quoted;
use crate::limits::{MAX_COLUMNS, MAX_DEPTH, MAX_FIELDS, MAX_METADATA_BYTES, MAX_NAME_BYTES, MAX_NAMES_BYTES};
use arrow_schema::Metadata;
use arrow_schema::{DECIMAL32_MAX_PRECISION, DECIMAL64_MAX_PRECISION, DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION};
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use std::sync::Arc;

/// Where a schema names its table.
const TABLE_NAME: &str = "cq:table_name";
const EXTENSION_NAME: &str = "ARROW:extension:name";
const EXTENSION_METADATA: &str = "ARROW:extension:metadata";
const UUID_BYTES: i32 = 16;
/// A table's schema, decoded and checked once and shared by all that see it again.
#[derive(Debug)]
pub struct TableSchema {
    /// The table: `cq:table_name` of the schema's metadata.
    pub table: String,
    /// The schema as it was sent, metadata included.
    pub logical: SchemaRef,
    /// The schema of the decoded batches: as `logical`, but without the fields' metadata (a nested field's is part of a type, and may differ
    /// from record to record of an object), text types (`Utf8`, `LargeUtf8`, `Utf8View`, at any depth) are their binary
    /// twins, because text on the wire may be invalid UTF-8 and must come out as the reference writes it; and every field but a map's
    /// entries and keys may be null, because what a source declares and what it sends are two things. Which nulls can be held depends on
    /// the format.
    pub physical: SchemaRef,
}

impl TableSchema {
    /// A short name of its columns: names, types, nullability, extension types. Equal in every version.
    pub fn fingerprint(&self) -> u32 {
        fingerprint::of_schema(&self.logical)
    }
}

/// Checks a schema and makes its physical twin.
pub(super) fn judge(logical: Schema) -> Result<TableSchema, IpcError> {
    let table = match logical.metadata().get(TABLE_NAME) {
        Some(name) if !name.is_empty() => name.clone(),
        _ => return Err(IpcError("missing table name".to_owned())),
    };
    bound("the table's name", table.len(), MAX_NAME_BYTES, "bytes")?;
    bound("the table", logical.fields().len(), MAX_COLUMNS, "columns")?;
    let mut census = Census::default();
    census.count_metadata(logical.metadata())?;
    let fields = logical.fields().iter().map(|it| census.physical_field(it, 1, it.name())).collect::<Result<Vec<_>, _>>()?;
    let physical = Arc::new(Schema::new_with_metadata(fields, logical.metadata().clone()));
    Ok(TableSchema { table, logical: Arc::new(logical), physical })
}

/// What has been counted of a schema so far.
#[derive(Debug, Default)]
struct Census {
    fields: usize,
    names_bytes: usize,
    metadata_bytes: usize,
    /// The way to the field at hand, from its column on: what is inside of a list has a name that no user chose.
    path: String,
}

/// How the way to an item of a list goes on.
const ITEM: &str = "[]";

impl Census {
    fn count_metadata(&mut self, metadata: &Metadata) -> Result<(), IpcError> {
        self.metadata_bytes += metadata.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        bound("the schema's metadata", self.metadata_bytes, MAX_METADATA_BYTES, "bytes")
    }

    /// `step` leads to the field from the one around it.
    fn physical_field(&mut self, field: &Field, depth: usize, step: &str) -> Result<FieldRef, IpcError> {
        self.fields += 1;
        bound("the schema", self.fields, MAX_FIELDS, "fields")?;
        bound("a column's name", field.name().len(), MAX_NAME_BYTES, "bytes")?;
        self.names_bytes += field.name().len();
        bound("the sum of the columns' names", self.names_bytes, MAX_NAMES_BYTES, "bytes")?;
        let outer = self.path.len();
        self.path.push_str(step);
        if depth > MAX_DEPTH {
            bound(&format!("column {}", quoted(&self.path)), depth, MAX_DEPTH, "levels of nesting")?;
        }
        self.count_metadata(field.metadata())?;
        check_extension(field, &self.path)?;
        let data_type = self.physical_type(field.data_type(), depth)?;
        self.path.truncate(outer);
        Ok(Arc::new(field.clone().with_data_type(data_type).with_nullable(true).with_metadata(Metadata::default())))
    }

    /// A map's entries. Arrow wants them and their keys without nulls, whoever declared them.
    fn physical_entries(&mut self, entries: &Field, pair: &Fields, depth: usize) -> Result<FieldRef, IpcError> {
        let decoded = self.physical_field(entries, depth, "")?;
        let DataType::Struct(fields) = decoded.data_type() else { return Ok(decoded) };
        let keys = pair.first().map(|key| key.is_nullable());
        let fields = fields.iter().enumerate().map(|(at, field)| match (at, keys) {
            (0, Some(nullable)) => Arc::new(field.as_ref().clone().with_nullable(nullable)),
            _ => field.clone(),
        });
        let data_type = DataType::Struct(fields.collect());
        Ok(Arc::new(decoded.as_ref().clone().with_data_type(data_type).with_nullable(false)))
    }

    /// The type as it is decoded; an error for a type that is not well formed or not supported.
    fn physical_type(&mut self, data_type: &DataType, depth: usize) -> Result<DataType, IpcError> {
        let path = self.path.clone();
        let refuse = |reason: &str| Err(IpcError(format!("column {}: {reason}", quoted(&path))));
        let precision = |precision: u8, most: u8| {
            if (1..=most).contains(&precision) {
                Ok(data_type.clone())
            } else {
                refuse(&format!("a decimal of precision {precision}; 1 to {most} is possible"))
            }
        };
        match data_type {
            DataType::Utf8 => Ok(DataType::Binary),
            DataType::LargeUtf8 => Ok(DataType::LargeBinary),
            DataType::Utf8View => Ok(DataType::BinaryView),
            DataType::List(item) => Ok(DataType::List(self.physical_field(item, depth + 1, ITEM)?)),
            DataType::LargeList(item) => Ok(DataType::LargeList(self.physical_field(item, depth + 1, ITEM)?)),
            DataType::ListView(item) => Ok(DataType::ListView(self.physical_field(item, depth + 1, ITEM)?)),
            DataType::LargeListView(item) => Ok(DataType::LargeListView(self.physical_field(item, depth + 1, ITEM)?)),
            DataType::FixedSizeList(_, size) if *size < 0 => refuse("a list of negative size"),
            DataType::FixedSizeList(item, size) => Ok(DataType::FixedSizeList(self.physical_field(item, depth + 1, ITEM)?, *size)),
            DataType::FixedSizeBinary(width) if *width < 0 => refuse("binary of negative width"),
            DataType::Struct(fields) => {
                let fields = fields
                    .iter()
                    .map(|it| self.physical_field(it, depth + 1, &format!(".{}", it.name())))
                    .collect::<Result<Vec<_>, _>>()?;
                Ok(DataType::Struct(fields.into()))
            }
            DataType::Map(entries, sorted) => match entries.data_type() {
                DataType::Struct(fields) if fields.len() == 2 && !entries.is_nullable() => {
                    Ok(DataType::Map(self.physical_entries(entries, fields, depth + 1)?, *sorted))
                }
                _ => refuse("the entries of a map are to be a non-null struct of a key and a value"),
            },
            // Values that hold dictionaries or lists again would let a few bytes of indices stand for text without end.
            DataType::Dictionary(_, values) if values.is_nested() || matches!(**values, DataType::Dictionary(..)) => {
                refuse("a dictionary of nested values; a dictionary of plain values is possible")
            }
            DataType::Dictionary(keys, values) => Ok(DataType::Dictionary(keys.clone(), Box::new(self.physical_type(values, depth)?))),
            DataType::Union(..) => refuse("type union is not supported"),
            DataType::RunEndEncoded(..) => refuse("type run_end_encoded is not supported"),
            DataType::Decimal32(it, _) => precision(*it, DECIMAL32_MAX_PRECISION),
            DataType::Decimal64(it, _) => precision(*it, DECIMAL64_MAX_PRECISION),
            DataType::Decimal128(it, _) => precision(*it, DECIMAL128_MAX_PRECISION),
            DataType::Decimal256(it, _) => precision(*it, DECIMAL256_MAX_PRECISION),
            plain => Ok(plain.clone()),
        }
    }
}

/// CloudQuery's extension types have one storage and one metadata each; unknown ones are their storage.
fn check_extension(field: &Field, path: &str) -> Result<(), IpcError> {
    let Some(name) = field.metadata().get(EXTENSION_NAME) else { return Ok(()) };
    let (storage, metadata) = match name.as_str() {
        "uuid" => (DataType::FixedSizeBinary(UUID_BYTES), "uuid-serialized"),
        "json" => (DataType::Binary, "json-serialized"),
        "inet" => (DataType::Binary, "inet-serialized"),
        "mac" => (DataType::Binary, "mac-serialized"),
        _ => return Ok(()),
    };
    if *field.data_type() != storage {
        return Err(IpcError(format!("column {}: extension type {name} is to be stored as {storage}", quoted(path))));
    }
    if field.metadata().get(EXTENSION_METADATA).map(String::as_str) != Some(metadata) {
        return Err(IpcError(format!("column {}: extension type {name} is to have the metadata {metadata:?}", quoted(path))));
    }
    Ok(())
}

fn bound(what: &str, found: usize, most: usize, unit: &str) -> Result<(), IpcError> {
    if found <= most { Ok(()) } else { Err(IpcError(format!("{what} has more than {most} {unit}"))) }
}

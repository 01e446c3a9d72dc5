//! From an Arrow schema to Iceberg's: which type a column has in the table, and where its id stands in the file.
//!
//! The types are those that files have to have, too: Iceberg reads no unsigned numbers, no seconds, milliseconds or nanoseconds. What Lakegate's
//! Parquet encoder writes as text (network addresses, JSON, durations, intervals, large binary values in base64) is text here.

use crate::error::Error;
use crate::limits::{MAX_DEPTH, MAX_FIELDS, MAX_NAME_BYTES};
use crate::types::{Field, MAX_PRECISION, Type, assign_ids};
use arrow_schema::{DataType, Field as ArrowField, FieldRef, Schema};
use std::collections::HashSet;
use std::sync::Arc;

/// The key of a field's id in the metadata of Arrow's fields, which Parquet writers know.
pub const FIELD_ID: &str = "PARQUET:field_id";

/// Choices between two types that Iceberg has for a column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TypeProfile {
    /// Only types that Athena reads: UUIDs and times of day are text.
    pub athena: bool,
}

/// The columns of a table for rows of this schema, with ids as a catalog would give them to a new table.
///
/// | Arrow | Iceberg |
/// |---|---|
/// | bool | boolean |
/// | int8, int16, int32, uint8, uint16 | int |
/// | int64, uint32 | long |
/// | uint64 | decimal(20, 0) |
/// | float16, float32 · float64 | float · double |
/// | decimals of at most 38 digits | decimal |
/// | date32, date64 | date |
/// | time32, time64 | time (µs) |
/// | timestamp without, with a zone | timestamp, timestamptz (µs) |
/// | utf8, large_utf8 | string |
/// | binary | binary |
/// | large_binary (base64), duration, interval | string |
/// | fixed_size_binary | fixed |
/// | extensions uuid · json, inet, mac | uuid · string |
/// | list, large_list, fixed_size_list · map · struct | list · map · struct |
/// | dictionary | as its values |
///
/// # Errors
/// `Invalid`, naming every column that no table can have: null, decimals of more digits, views, unions, run-end encoded columns, structs without
/// fields, names that are empty, too long or used twice.
pub fn table_fields(schema: &Schema, profile: TypeProfile) -> Result<Vec<Field>, Error> {
    let mut mapper = Mapper { profile, fields: 0, problems: Vec::new() };
    let mut fields = mapper.fields_of(schema.fields(), "", 0);
    if schema.fields().is_empty() {
        mapper.problems.push("there are no columns; a table has at least one".to_owned());
    }
    if !mapper.problems.is_empty() {
        return Err(Error::invalid(mapper.problems.join("; ")));
    }
    assign_ids(fields.iter_mut(), &mut 1);
    Ok(fields)
}

/// Problems that are listed; a schema has as many as columns.
const MAX_PROBLEMS: usize = 20;

struct Mapper {
    profile: TypeProfile,
    fields: usize,
    problems: Vec<String>,
}

impl Mapper {
    fn problem(&mut self, path: &str, why: &str) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(format!("column {path:?}: {why}"));
        }
    }

    fn fields_of<'a>(&mut self, fields: impl IntoIterator<Item = &'a FieldRef>, parent: &str, depth: usize) -> Vec<Field> {
        let mut names = HashSet::new();
        let mut mapped = Vec::new();
        for field in fields {
            let path = if parent.is_empty() { field.name().clone() } else { format!("{parent}.{}", field.name()) };
            if field.name().is_empty() || field.name().len() > MAX_NAME_BYTES {
                self.problem(&path, &format!("a name has 1 to {MAX_NAME_BYTES} bytes"));
            } else if !names.insert(field.name()) {
                self.problem(&path, "the name is used twice");
            } else if let Some(kind) = self.kind(field, field.data_type(), &path, depth) {
                mapped.push(Field { id: 0, name: field.name().clone(), required: !field.is_nullable(), kind });
            }
        }
        mapped
    }

    /// An element, a key or a value. As in the files, elements and values may be null whatever the schema says.
    fn part(&mut self, field: &ArrowField, name: &str, parent: &str, depth: usize) -> Option<Box<Field>> {
        let kind = self.kind(field, field.data_type(), &format!("{parent}.{name}"), depth + 1)?;
        Some(Box::new(Field { id: 0, name: name.to_owned(), required: name == "key", kind }))
    }

    fn kind(&mut self, field: &ArrowField, data_type: &DataType, path: &str, depth: usize) -> Option<Type> {
        self.fields += 1;
        if self.fields > MAX_FIELDS {
            self.problem(path, &format!("a table has at most {MAX_FIELDS} fields"));
            return None;
        }
        if depth > MAX_DEPTH {
            self.problem(path, &format!("types are at most {MAX_DEPTH} deep within each other"));
            return None;
        }
        let text_for_athena = |kind: Type| Some(if self.profile.athena { Type::String } else { kind });
        match (field.extension_type_name(), data_type) {
            (Some("uuid"), DataType::FixedSizeBinary(16)) => return text_for_athena(Type::Uuid),
            (Some("json" | "inet" | "mac"), DataType::Binary) => return Some(Type::String),
            _ => {}
        }
        match data_type {
            DataType::Boolean => Some(Type::Boolean),
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => Some(Type::Int),
            DataType::Int64 | DataType::UInt32 => Some(Type::Long),
            DataType::UInt64 => Some(Type::Decimal { precision: 20, scale: 0 }),
            DataType::Float16 | DataType::Float32 => Some(Type::Float),
            DataType::Float64 => Some(Type::Double),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::LargeBinary | DataType::Duration(_) | DataType::Interval(_) => {
                Some(Type::String)
            }
            DataType::Binary => Some(Type::Binary),
            DataType::FixedSizeBinary(bytes) => match u32::try_from(*bytes) {
                Ok(bytes @ 1..) => Some(Type::Fixed(bytes)),
                _ => {
                    self.problem(path, "values of a fixed size have at least one byte");
                    None
                }
            },
            DataType::Date32 | DataType::Date64 => Some(Type::Date),
            DataType::Time32(_) | DataType::Time64(_) => text_for_athena(Type::Time),
            DataType::Timestamp(_, zone) => {
                let adjusted = zone.as_ref().is_some_and(|zone| !zone.is_empty());
                Some(if adjusted { Type::Timestamptz } else { Type::Timestamp })
            }
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale)
            | DataType::Decimal256(precision, scale) => match u8::try_from(*scale) {
                Ok(scale) if (1..=MAX_PRECISION).contains(precision) && scale <= *precision => {
                    Some(Type::Decimal { precision: *precision, scale })
                }
                _ => {
                    let why = format!(
                        "{data_type} has no type in Iceberg: decimals of 1 to {MAX_PRECISION} digits are accepted, with a scale from 0 to them"
                    );
                    self.problem(path, &why);
                    None
                }
            },
            DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
                self.part(element, "element", path, depth).map(Type::List)
            }
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(pair) if pair.len() == 2 => {
                    let (key, value) = (pair.first()?, pair.get(1)?);
                    let (key, value) = (self.part(key, "key", path, depth), self.part(value, "value", path, depth));
                    Some(Type::Map(key?, value?))
                }
                _ => {
                    self.problem(path, "a map has entries of a key and a value");
                    None
                }
            },
            DataType::Struct(children) if !children.is_empty() => Some(Type::Struct(self.fields_of(children, path, depth + 1))),
            DataType::Dictionary(_, value) => self.kind(field, value, path, depth + 1),
            other => {
                self.problem(path, &format!("{other} has no type in Iceberg"));
                None
            }
        }
    }
}

/// The schema with the ids of these columns in the metadata of its fields, as Parquet writers take them.
///
/// # Errors
/// `Invalid`: a column of the schema is not among the fields.
pub fn with_field_ids(schema: &Schema, fields: &[Field]) -> Result<Schema, Error> {
    let children = all_with_ids(schema.fields(), fields, "")?;
    Ok(Schema::new_with_metadata(children, schema.metadata().clone()))
}

fn all_with_ids<'a>(arrow: impl IntoIterator<Item = &'a FieldRef>, fields: &[Field], parent: &str) -> Result<Vec<ArrowField>, Error> {
    let one = |arrow: &FieldRef| {
        let field = fields.iter().find(|field| field.name == *arrow.name());
        let field = field.ok_or_else(|| Error::invalid(format!("column {parent}{:?} is not one of the table's", arrow.name())))?;
        one_with_id(arrow, field, &format!("{parent}{}.", arrow.name()))
    };
    arrow.into_iter().map(one).collect()
}

fn one_with_id(arrow: &ArrowField, field: &Field, path: &str) -> Result<ArrowField, Error> {
    let mut metadata = arrow.metadata().clone();
    metadata.insert(FIELD_ID.to_owned(), field.id.to_string());
    let part = |arrow: &FieldRef, field: &Field| one_with_id(arrow, field, path).map(Arc::new);
    let data_type = match (arrow.data_type(), &field.kind) {
        (DataType::Struct(children), Type::Struct(fields)) => DataType::Struct(all_with_ids(children, fields, path)?.into()),
        (DataType::List(element), Type::List(field)) => DataType::List(part(element, field)?),
        (DataType::LargeList(element), Type::List(field)) => DataType::LargeList(part(element, field)?),
        (DataType::FixedSizeList(element, length), Type::List(field)) => DataType::FixedSizeList(part(element, field)?, *length),
        (DataType::Map(entries, sorted), Type::Map(key, value)) => {
            let DataType::Struct(pair) = entries.data_type() else { return Ok(arrow.clone()) };
            let pair: Vec<_> = pair.iter().zip([key, value]).map(|(arrow, field)| part(arrow, field)).collect::<Result<_, _>>()?;
            DataType::Map(Arc::new(entries.as_ref().clone().with_data_type(DataType::Struct(pair.into()))), *sorted)
        }
        (other, _) => other.clone(),
    };
    Ok(arrow.clone().with_data_type(data_type).with_metadata(metadata))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_schema::{IntervalUnit, TimeUnit};
    use std::collections::HashMap;

    fn mapped(data_type: DataType) -> Result<String, String> {
        let schema = Schema::new(vec![ArrowField::new("c", data_type, true)]);
        table_fields(&schema, TypeProfile::default()).map(|fields| fields[0].kind.to_string()).map_err(|error| error.to_string())
    }

    fn extension(name: &str, data_type: DataType) -> ArrowField {
        ArrowField::new("c", data_type, true).with_metadata(HashMap::from([("ARROW:extension:name".to_owned(), name.to_owned())]))
    }

    #[test]
    fn every_type_that_is_written_maps_or_is_refused_by_name() {
        use DataType::*;
        let item = |data_type| Arc::new(ArrowField::new("item", data_type, true));
        let entries = |key, value| {
            Arc::new(ArrowField::new(
                "entries",
                Struct(vec![ArrowField::new("k", key, false), ArrowField::new("v", value, true)].into()),
                false,
            ))
        };
        for (data_type, expected) in [
            (Boolean, "boolean"),
            (Int8, "int"),
            (Int16, "int"),
            (Int32, "int"),
            (UInt8, "int"),
            (UInt16, "int"),
            (UInt32, "long"),
            (Int64, "long"),
            (UInt64, "decimal(20, 0)"),
            (Float16, "float"),
            (Float32, "float"),
            (Float64, "double"),
            (Utf8, "string"),
            (LargeUtf8, "string"),
            (Binary, "binary"),
            (LargeBinary, "string"),
            (FixedSizeBinary(16), "fixed[16]"),
            (Date32, "date"),
            (Date64, "date"),
            (Time32(TimeUnit::Second), "time"),
            (Time64(TimeUnit::Nanosecond), "time"),
            (Timestamp(TimeUnit::Second, None), "timestamp"),
            (Timestamp(TimeUnit::Nanosecond, Some("".into())), "timestamp"),
            (Timestamp(TimeUnit::Nanosecond, Some("Asia/Tokyo".into())), "timestamptz"),
            (Duration(TimeUnit::Second), "string"),
            (Interval(IntervalUnit::MonthDayNano), "string"),
            (Decimal32(9, 2), "decimal(9, 2)"),
            (Decimal128(38, 38), "decimal(38, 38)"),
            (Decimal256(38, 0), "decimal(38, 0)"),
            (List(item(Int32)), "list<int>"),
            (LargeList(item(Utf8)), "list<string>"),
            (FixedSizeList(item(UInt64), 3), "list<decimal(20, 0)>"),
            (Map(entries(Utf8, List(item(Date32))), false), "map<string, list<date>>"),
            (Struct(vec![ArrowField::new("a", Int8, true)].into()), "struct"),
            (Dictionary(Box::new(Int8), Box::new(Utf8)), "string"),
        ] {
            assert_eq!(mapped(data_type.clone()).as_deref(), Ok(expected), "{data_type}");
        }
        for data_type in [
            Null,
            Decimal256(39, 0),
            Decimal128(10, -2),
            Decimal128(3, 4),
            FixedSizeBinary(0),
            Utf8View,
            BinaryView,
            ListView(item(Int8)),
            Struct(Vec::<ArrowField>::new().into()),
            List(item(Null)),
            Map(entries(Null, Int8), false),
        ] {
            let error = mapped(data_type.clone()).expect_err("refused");
            assert!(error.starts_with("column \"c"), "{data_type}: {error}");
        }
        for (name, data_type, athena, expected) in [
            ("uuid", FixedSizeBinary(16), false, "uuid"),
            ("uuid", FixedSizeBinary(16), true, "string"),
            ("json", Binary, false, "string"),
            ("inet", Binary, false, "string"),
            ("mac", Binary, false, "string"),
            ("other", Binary, false, "binary"),
        ] {
            let schema = Schema::new(vec![extension(name, data_type)]);
            assert_eq!(table_fields(&schema, TypeProfile { athena }).unwrap()[0].kind.to_string(), expected, "{name}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let bad = ArrowField::new("bad", DataType::Null, true);
        let twice = [ArrowField::new("a", DataType::Int8, true), ArrowField::new("a", DataType::Int8, true)];
        let nested = ArrowField::new("s", DataType::Struct(vec![bad.clone()].into()), true);
        let schema = Schema::new([vec![bad, nested, ArrowField::new("", DataType::Int8, true)], twice.to_vec()].concat());
        let error = table_fields(&schema, TypeProfile::default()).unwrap_err().to_string();
        for expected in ["\"bad\"", "\"s.bad\"", "\"\": a name", "\"a\": the name is used twice"] {
            assert!(error.contains(expected), "{error}");
        }
        assert!(table_fields(&Schema::empty(), TypeProfile::default()).is_err());
        let deep = (0..40).fold(DataType::Int8, |inner, _| DataType::List(Arc::new(ArrowField::new("item", inner, true))));
        assert!(mapped(deep).unwrap_err().contains("at most 32 deep"));
    }

    #[test]
    fn ids_stand_where_parquet_writers_look_for_them() {
        let pair = vec![ArrowField::new("k", DataType::Utf8, false), ArrowField::new("v", DataType::Int8, true)];
        let entries = Arc::new(ArrowField::new("entries", DataType::Struct(pair.into()), false));
        let list = DataType::List(Arc::new(ArrowField::new(
            "item",
            DataType::Struct(vec![ArrowField::new("x", DataType::Int8, true)].into()),
            true,
        )));
        let schema = Schema::new(vec![ArrowField::new("l", list, true), ArrowField::new("m", DataType::Map(entries, false), true)]);
        let fields = table_fields(&schema, TypeProfile::default()).unwrap();
        let with_ids = with_field_ids(&schema, &fields).unwrap();
        let id = |field: &ArrowField| field.metadata().get(FIELD_ID).cloned().unwrap_or_default();
        let [list, map] = with_ids.fields() as &[FieldRef] else { panic!() };
        let DataType::List(item) = list.data_type() else { panic!() };
        let DataType::Struct(inner) = item.data_type() else { panic!() };
        let DataType::Map(entries, _) = map.data_type() else { panic!() };
        let DataType::Struct(pair) = entries.data_type() else { panic!() };
        let all = [id(list), id(map), id(item), id(&inner[0]), id(&pair[0]), id(&pair[1])];
        assert_eq!(all, ["1", "2", "3", "4", "5", "6"]);
        assert!(with_field_ids(&schema, &fields[..1]).unwrap_err().to_string().contains("\"m\""));
    }
}

//! A short name of what columns a table has, for keys of objects.
//!
//! It stands in keys, so it must not change from one version to the next: it is made of texts that are written here, not of those of a library.

use arrow_schema::{DataType, Field, IntervalUnit, Schema, TimeUnit};
use std::fmt::Write as _;

/// The CRC32 of the columns' names, types, nullability and extension types, in their order. Other metadata does not count.
pub(super) fn of_schema(schema: &Schema) -> u32 {
    let mut text = String::new();
    push_fields(&mut text, schema.fields().iter().map(AsRef::as_ref));
    crc32fast::hash(text.as_bytes())
}

fn push_fields<'a>(text: &mut String, fields: impl Iterator<Item = &'a Field>) {
    text.push('(');
    for field in fields {
        // Names have a length in front, so that no two lists of them have one text.
        let _ = write!(text, "{}:{}", field.name().len(), field.name());
        text.push(if field.is_nullable() { '?' } else { '!' });
        for key in ["ARROW:extension:name", "ARROW:extension:metadata"] {
            let value = field.metadata().get(key).map_or("", String::as_str);
            let _ = write!(text, "{}:{value}", value.len());
        }
        push_type(text, field.data_type());
    }
    text.push(')');
}

fn push_type(text: &mut String, data_type: &DataType) {
    let name = match data_type {
        DataType::Null => "null",
        DataType::Boolean => "bool",
        DataType::Int8 => "i8",
        DataType::Int16 => "i16",
        DataType::Int32 => "i32",
        DataType::Int64 => "i64",
        DataType::UInt8 => "u8",
        DataType::UInt16 => "u16",
        DataType::UInt32 => "u32",
        DataType::UInt64 => "u64",
        DataType::Float16 => "f16",
        DataType::Float32 => "f32",
        DataType::Float64 => "f64",
        DataType::Utf8 => "utf8",
        DataType::LargeUtf8 => "large_utf8",
        DataType::Utf8View => "utf8_view",
        DataType::Binary => "binary",
        DataType::LargeBinary => "large_binary",
        DataType::BinaryView => "binary_view",
        DataType::FixedSizeBinary(_) => "fixed_binary",
        DataType::Date32 => "date32",
        DataType::Date64 => "date64",
        DataType::Time32(_) => "time32",
        DataType::Time64(_) => "time64",
        DataType::Timestamp(..) => "timestamp",
        DataType::Duration(_) => "duration",
        DataType::Interval(_) => "interval",
        DataType::Decimal32(..) => "decimal32",
        DataType::Decimal64(..) => "decimal64",
        DataType::Decimal128(..) => "decimal128",
        DataType::Decimal256(..) => "decimal256",
        DataType::List(_) => "list",
        DataType::LargeList(_) => "large_list",
        DataType::ListView(_) => "list_view",
        DataType::LargeListView(_) => "large_list_view",
        DataType::FixedSizeList(..) => "fixed_list",
        DataType::Struct(_) => "struct",
        DataType::Map(..) => "map",
        DataType::Dictionary(..) => "dictionary",
        // The decoder takes neither.
        DataType::Union(..) => "union",
        DataType::RunEndEncoded(..) => "run_end_encoded",
    };
    text.push_str(name);
    let unit = |unit: &TimeUnit| match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    };
    match data_type {
        DataType::FixedSizeBinary(width) => drop(write!(text, "{width}")),
        DataType::Time32(of) | DataType::Time64(of) | DataType::Duration(of) => text.push_str(unit(of)),
        DataType::Timestamp(of, zone) => {
            let zone = zone.as_deref().unwrap_or_default();
            let _ = write!(text, "{}{}:{zone}", unit(of), zone.len());
        }
        DataType::Interval(of) => text.push_str(match of {
            IntervalUnit::YearMonth => "months",
            IntervalUnit::DayTime => "days",
            IntervalUnit::MonthDayNano => "all",
        }),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => drop(write!(text, "{precision},{scale}")),
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) | DataType::LargeListView(item) => {
            push_fields(text, std::iter::once(item.as_ref()));
        }
        DataType::FixedSizeList(item, size) => {
            let _ = write!(text, "{size}");
            push_fields(text, std::iter::once(item.as_ref()));
        }
        DataType::Struct(fields) => push_fields(text, fields.iter().map(AsRef::as_ref)),
        DataType::Map(entries, _) => push_fields(text, std::iter::once(entries.as_ref())),
        DataType::Dictionary(keys, values) => {
            push_type(text, keys);
            push_type(text, values);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeSet, HashMap};

    #[test]
    fn columns_that_differ_have_another_fingerprint_and_metadata_does_not_count() {
        let schema = |fields: Vec<Field>| Schema::new(fields);
        let plain = || Field::new("a", DataType::Int64, true);
        let json = HashMap::from([("ARROW:extension:name".to_owned(), "json".to_owned())]);
        let decimal = |scale| DataType::Decimal128(9, scale);
        let all = [
            schema(vec![]),
            schema(vec![plain()]),
            schema(vec![plain().with_name("b")]),
            schema(vec![plain().with_nullable(false)]),
            schema(vec![plain().with_data_type(DataType::Int32)]),
            schema(vec![plain().with_metadata(json)]),
            schema(vec![plain(), plain()]),
            schema(vec![plain(), plain().with_name("b")]),
            schema(vec![plain().with_name("b"), plain()]),
            schema(vec![plain().with_data_type(decimal(1))]),
            schema(vec![plain().with_data_type(decimal(2))]),
            schema(vec![plain().with_data_type(DataType::Timestamp(TimeUnit::Second, None))]),
            schema(vec![plain().with_data_type(DataType::Timestamp(TimeUnit::Second, Some("UTC".into())))]),
            schema(vec![plain().with_data_type(DataType::Struct(vec![plain()].into()))]),
            schema(vec![plain().with_data_type(DataType::new_list(DataType::Int64, true))]),
        ];
        assert_eq!(all.iter().map(of_schema).collect::<BTreeSet<_>>().len(), all.len());
        let noted = plain().with_metadata(HashMap::from([("note".to_owned(), "x".to_owned())]));
        assert_eq!(of_schema(&schema(vec![noted])), of_schema(&all[1]));
        // In keys that exist: it must not change.
        assert_eq!(format!("{:08x}", of_schema(&all[1])), "9588937f");
    }
}

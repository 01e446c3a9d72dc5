//! The types that a CSV or NDJSON column can have, with the names that `--column NAME=TYPE` accepts.

use arrow_schema::{DataType, Field, TimeUnit};
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

/// The accepted names, for messages and help.
pub const TYPE_NAMES: &str = "bool, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float32, float64, decimal(P,S), utf8, binary, \
                              date, time, timestamp, timestamp_s, timestamp_ms, timestamp_us, timestamp_ns, datetime, datetime_ns, json, uuid";

/// Maximum digits of a decimal, the limit of decimal128.
const MAX_DECIMAL_DIGITS: u8 = 38;

/// The type of a text column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnType {
    /// `true` or `false`, in any case.
    Bool,
    /// A signed or unsigned integer, without a plus sign or leading zeros.
    Integer(DataType),
    /// A floating-point number, without a plus sign or leading zeros: the nearest representable value, unless that would be infinite or zero. Also
    /// `NaN` and `inf`.
    Float(DataType),
    /// A decimal number with a precision and a scale; without a plus sign, leading zeros or an exponent.
    Decimal(u8, i8),
    /// Any text.
    Utf8,
    /// Base64.
    Binary,
    /// `2006-01-02`.
    Date,
    /// `15:04:05.999999`.
    Time,
    /// `2006-01-02T15:04:05Z`: a point in time, with a time of day. With `--column`, text without a zone is UTC.
    Timestamp(TimeUnit),
    /// `2006-01-02 15:04:05`: date and time without a zone.
    DateTime(TimeUnit),
    /// Any JSON value.
    Json,
    /// A UUID.
    Uuid,
}

impl ColumnType {
    /// The corresponding Arrow type.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Integer(data_type) | Self::Float(data_type) => data_type.clone(),
            Self::Decimal(precision, scale) => DataType::Decimal128(*precision, *scale),
            Self::Utf8 => DataType::Utf8,
            Self::Binary | Self::Json => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp(unit) => DataType::Timestamp(*unit, Some("UTC".into())),
            Self::DateTime(unit) => DataType::Timestamp(*unit, None),
            Self::Uuid => DataType::FixedSizeBinary(16),
        }
    }

    /// The column type of an Arrow field; [`None`] if text cannot have that type.
    pub(crate) fn from_field(field: &Field) -> Option<Self> {
        let described = match field.data_type() {
            DataType::Boolean => Self::Bool,
            // A float32 rounds nearly all numbers, which was not requested here.
            DataType::Float64 => Self::Float(DataType::Float64),
            DataType::Decimal128(precision, scale) => Self::Decimal(*precision, *scale),
            DataType::Utf8 => Self::Utf8,
            DataType::Binary if field.metadata().is_empty() => Self::Binary,
            DataType::Binary => Self::Json,
            DataType::Date32 => Self::Date,
            DataType::Time64(TimeUnit::Microsecond) => Self::Time,
            DataType::Timestamp(unit, Some(_)) => Self::Timestamp(*unit),
            DataType::Timestamp(unit, None) => Self::DateTime(*unit),
            DataType::FixedSizeBinary(_) => Self::Uuid,
            other if other.is_integer() => Self::Integer(other.clone()),
            _ => return None,
        };
        // Other zones, extensions and widths are not supported.
        let ours = described.field(field.name());
        (ours.data_type() == field.data_type() && ours.metadata() == field.metadata() && described.is_accepted()).then_some(described)
    }

    /// Whether `--column` accepts the type's parameters.
    fn is_accepted(&self) -> bool {
        match self {
            Self::Decimal(precision, scale) => u8::try_from(*scale).is_ok_and(|scale| scale <= *precision),
            _ => true,
        }
    }

    /// The column as an Arrow field; JSON and UUID carry CloudQuery's extension metadata.
    pub fn field(&self, name: &str) -> Field {
        let field = Field::new(name, self.data_type(), true);
        let extension = match self {
            Self::Json => ("json", "json-serialized"),
            Self::Uuid => ("uuid", "uuid-serialized"),
            _ => return field,
        };
        field.with_metadata(HashMap::from([
            ("ARROW:extension:name".to_owned(), extension.0.to_owned()),
            ("ARROW:extension:metadata".to_owned(), extension.1.to_owned()),
        ]))
    }
}

/// Lower-case names of the integer types.
fn integer(name: &str) -> Option<DataType> {
    Some(match name {
        "int8" => DataType::Int8,
        "int16" => DataType::Int16,
        "int32" => DataType::Int32,
        "int64" => DataType::Int64,
        "uint8" => DataType::UInt8,
        "uint16" => DataType::UInt16,
        "uint32" => DataType::UInt32,
        "uint64" => DataType::UInt64,
        _ => return None,
    })
}

/// Parses `decimal(P,S)`.
fn decimal(name: &str) -> Option<ColumnType> {
    let (precision, scale) = name.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
    let precision: u8 = precision.trim().parse().ok()?;
    let scale: u8 = scale.trim().parse().ok()?;
    let fits = (1..=MAX_DECIMAL_DIGITS).contains(&precision) && scale <= precision;
    fits.then(|| ColumnType::Decimal(precision, scale.cast_signed()))
}

impl FromStr for ColumnType {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let name = name.trim().to_ascii_lowercase();
        Ok(match name.as_str() {
            "bool" | "boolean" => Self::Bool,
            "float32" => Self::Float(DataType::Float32),
            "float64" => Self::Float(DataType::Float64),
            "utf8" | "string" | "text" => Self::Utf8,
            "binary" => Self::Binary,
            "date" => Self::Date,
            "time" => Self::Time,
            "timestamp" | "timestamp_us" => Self::Timestamp(TimeUnit::Microsecond),
            "timestamp_s" => Self::Timestamp(TimeUnit::Second),
            "timestamp_ms" => Self::Timestamp(TimeUnit::Millisecond),
            "timestamp_ns" => Self::Timestamp(TimeUnit::Nanosecond),
            "datetime" => Self::DateTime(TimeUnit::Microsecond),
            "datetime_ns" => Self::DateTime(TimeUnit::Nanosecond),
            "json" => Self::Json,
            "uuid" => Self::Uuid,
            other => {
                let known = integer(other).map(Self::Integer).or_else(|| decimal(other));
                return known.ok_or_else(|| format!("{other:?} is not a type; accepted are {TYPE_NAMES} (P at most {MAX_DECIMAL_DIGITS})"));
            }
        })
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool (true or false)"),
            Self::Integer(data_type) | Self::Float(data_type) => f.write_str(&format!("{data_type:?}").to_ascii_lowercase()),
            Self::Decimal(precision, scale) => write!(f, "decimal({precision},{scale})"),
            Self::Utf8 => f.write_str("utf8"),
            Self::Binary => f.write_str("binary (base64)"),
            Self::Date => f.write_str("date (YYYY-MM-DD)"),
            Self::Time => f.write_str("time (HH:MM:SS, at most 6 decimals)"),
            Self::Timestamp(unit) => {
                write!(
                    f,
                    "timestamp_{0} (YYYY-MM-DDTHH:MM:SSZ or with an offset such as +02:00, at most {1} decimals)",
                    unit_name(unit),
                    decimals(unit)
                )
            }
            Self::DateTime(unit) => write!(f, "datetime (YYYY-MM-DD HH:MM:SS without a zone, at most {} decimals)", decimals(unit)),
            Self::Json => f.write_str("json (no key twice in one object, no half of a surrogate pair)"),
            Self::Uuid => f.write_str("uuid"),
        }
    }
}

/// Decimals of a second in a unit.
pub(crate) fn decimals(unit: &TimeUnit) -> usize {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

fn unit_name(unit: &TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

/// Parses `NAME=TYPE`. The name may contain `=`, the type cannot.
///
/// # Errors
/// There is no `=` or no name, or the type is unknown.
pub fn parse_override(text: &str) -> Result<(String, ColumnType), String> {
    let (name, type_name) = text.rsplit_once('=').ok_or_else(|| format!("{text:?} is not NAME=TYPE"))?;
    if name.is_empty() {
        return Err(format!("{text:?} names no column; NAME=TYPE is expected"));
    }
    Ok((name.to_owned(), type_name.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(&str, DataType)>) {
        let parsed = parse_override(text).ok().map(|(name, column)| (name, column.data_type()));
        assert_eq!(parsed, expected.map(|(name, data_type)| (name.to_owned(), data_type)), "{text}");
    }

    #[test]
    fn overrides() {
        check("id=int64", Some(("id", DataType::Int64)));
        check("a=b=utf8", Some(("a=b", DataType::Utf8)));
        check("x=UInt8", Some(("x", DataType::UInt8)));
        check("x=decimal(10, 2)", Some(("x", DataType::Decimal128(10, 2))));
        check("x=decimal(38,38)", Some(("x", DataType::Decimal128(38, 38))));
        check("x=decimal(39,2)", None);
        check("x=decimal(2,3)", None);
        check("x=timestamp", Some(("x", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))));
        check("x=datetime_ns", Some(("x", DataType::Timestamp(TimeUnit::Nanosecond, None))));
        check("x=uuid", Some(("x", DataType::FixedSizeBinary(16))));
        check("x=integer", None);
        check("=int64", None);
        check("int64", None);
    }

    #[test]
    fn a_type_is_known_by_its_field() {
        for name in TYPE_NAMES.replace("P,S", "7;2").split(", ").filter(|name| *name != "float32") {
            let column_type: ColumnType = name.replace(';', ",").parse().unwrap();
            assert_eq!(ColumnType::from_field(&column_type.field("x")), Some(column_type), "{name}");
        }
        let other = Field::new("x", DataType::Timestamp(TimeUnit::Second, Some("Europe/Zurich".into())), true);
        assert_eq!(ColumnType::from_field(&other), None);
        assert_eq!(ColumnType::from_field(&Field::new("x", DataType::LargeUtf8, true)), None);
    }

    #[test]
    fn an_unknown_type_is_answered_with_the_known_ones() {
        let error = parse_override("x=varchar").unwrap_err();
        assert!(error.contains("varchar") && error.contains("int64") && error.contains("decimal(P,S)"), "{error}");
    }

    #[test]
    fn json_and_uuid_are_extension_types() {
        assert_eq!(ColumnType::Json.field("j").metadata()["ARROW:extension:name"], "json");
        assert_eq!(ColumnType::Uuid.field("u").metadata()["ARROW:extension:metadata"], "uuid-serialized");
        assert!(ColumnType::Binary.field("b").metadata().is_empty());
    }
}

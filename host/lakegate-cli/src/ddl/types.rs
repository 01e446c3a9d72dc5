//! From the type of a column to what an engine calls it: as the format holds it, in the table; and as the source had it, in a view.
//!
//! What a format holds is what the component writes: [`parquet`], [`json`] and [`csv`] say it row by row. A type that an engine cannot read at all is
//! left out of its table, with the reason.

use super::sql::{Dialect, is_plain, unusable};
use super::written::{CsvText, Engine};
use arrow_schema::{DataType, Field, IntervalUnit, TimeUnit};
use std::collections::HashSet;

/// The most digits of a decimal, in either engine.
const MAX_DECIMAL_DIGITS: u8 = 38;

/// A column in an engine's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    /// Its type there.
    pub(super) ty: String,
    /// What it is in the view, if that is not the column itself.
    pub(super) typed: Option<Expression>,
    /// What a reader has to know.
    pub(super) note: Option<&'static str>,
}

/// A column, or the reason why the table has none.
pub(super) type Holds = Result<Held, &'static str>;

/// An expression over one column, whose place [`COLUMN`] marks. It is made of our own words alone: a column's name is put in once, at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expression(String);

/// Where the column stands in an expression.
const COLUMN: &str = "{c}";

impl Expression {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The expression over a column.
    pub(super) fn over(&self, column: &str) -> String {
        self.0.split(COLUMN).collect::<Vec<_>>().join(column)
    }

    /// The same over another expression in place of the column.
    fn applied_to(&self, inner: &str) -> Self {
        Self(self.over(inner))
    }
}

impl Held {
    fn plain(ty: impl Into<String>) -> Self {
        Self { ty: ty.into(), typed: None, note: None }
    }

    fn typed(ty: &str, expression: impl Into<String>) -> Self {
        Self { typed: Some(Expression::new(expression)), ..Self::plain(ty) }
    }

    fn noted(self, note: &'static str) -> Self {
        Self { note: Some(note), ..self }
    }
}

/// CloudQuery's types, as the component tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extension {
    Text,
    Json,
}

fn extension(field: &Field) -> Option<Extension> {
    match (field.extension_type_name()?, field.data_type()) {
        ("json", DataType::Binary) => Some(Extension::Json),
        ("uuid", DataType::FixedSizeBinary(16)) | ("inet" | "mac", DataType::Binary) => Some(Extension::Text),
        _ => None,
    }
}

const NANOSECONDS: &str = "the engine has no timestamps in nanoseconds, so the table has their number since 1970, and the view the time; with \
                           `format_spec.version: v2.4` the files have microseconds";
const NANOSECONDS_NESTED: &str = "the engine has no timestamps in nanoseconds, so those inside it are their number since 1970; with \
                                  `format_spec.version: v2.4` the files have microseconds";
const TIME_OF_DAY: &str = "the engine has no time of day, so the table has the number that the file has (milliseconds, microseconds or \
                           nanoseconds since midnight)";
const WIDE: &str =
    "the engine reads numbers without a sign as if they had one, so large ones are negative in the table; the view has them right";
const WIDE_NESTED: &str = "the engine reads numbers without a sign as if they had one, so large ones inside it are negative";
const NO_TIME: &str = "the engine reads no time of day in milliseconds";
const NO_FLOAT16: &str = "the engine has no floats of 16 bits";
const NO_DECIMAL: &str = "the engine has decimals of at most 38 digits";
const NO_VALUES: &str = "its type is null, so it has no values";
const NO_TYPE: &str = "the engine has no such type";
const NO_FIELDS: &str = "it has no field that the engine could read";
const PARTIAL: &str = "fields inside it that the engine has no type or no name for are left out";

/// A column of Parquet. `nanoseconds`: timestamps may have them (versions 2.6 and later).
pub(super) fn parquet(field: &Field, engine: Engine, nanoseconds: bool) -> Holds {
    let athena = engine == Engine::Athena;
    if extension(field).is_some() {
        return Ok(Held::plain("string"));
    }
    Ok(match field.data_type() {
        DataType::Dictionary(_, values) => {
            return parquet(&field.clone().with_data_type(values.as_ref().clone()), engine, nanoseconds);
        }
        DataType::UInt32 if athena => Held::typed("bigint", "bitwise_and({c}, 4294967295)"),
        DataType::UInt64 if athena => {
            Held::typed("bigint", "CAST({c} AS decimal(20, 0)) + IF({c} < 0, DECIMAL '18446744073709551616', DECIMAL '0')").noted(WIDE)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) if nanoseconds => match engine {
            Engine::Athena => Held::typed("bigint", "CAST(from_unixtime_nanos({c}) AT TIME ZONE 'UTC' AS timestamp(9))").noted(NANOSECONDS),
            // Rounded down, before 1970 too.
            Engine::Spark => Held::typed("bigint", "timestamp_micros(({c} - pmod({c}, 1000)) div 1000)").noted(NANOSECONDS),
        },
        other => {
            let mut notes = Notes::default();
            let ty = parquet_type(other, engine, nanoseconds, &mut notes)?;
            Held { note: notes.first, ..Held::plain(ty) }
        }
    })
}

/// What was met inside a type.
#[derive(Debug, Default)]
struct Notes {
    first: Option<&'static str>,
}

impl Notes {
    fn add(&mut self, note: &'static str) {
        self.first.get_or_insert(note);
    }
}

fn parquet_inside(field: &Field, engine: Engine, nanoseconds: bool, notes: &mut Notes) -> Result<String, &'static str> {
    if extension(field).is_some() { Ok("string".to_owned()) } else { parquet_type(field.data_type(), engine, nanoseconds, notes) }
}

fn parquet_type(data_type: &DataType, engine: Engine, nanoseconds: bool, notes: &mut Notes) -> Result<String, &'static str> {
    let athena = engine == Engine::Athena;
    let inside = |field: &Field, notes: &mut Notes| parquet_inside(field, engine, nanoseconds, notes);
    Ok(match data_type {
        DataType::Null => return Err(NO_VALUES),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 => "tinyint".to_owned(),
        DataType::Int16 | DataType::UInt8 => "smallint".to_owned(),
        DataType::Int32 | DataType::UInt16 => "int".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::UInt32 => {
            if athena {
                notes.add(WIDE_NESTED);
            }
            "bigint".to_owned()
        }
        DataType::UInt64 if athena => {
            notes.add(WIDE_NESTED);
            "bigint".to_owned()
        }
        DataType::UInt64 => "decimal(20,0)".to_owned(),
        DataType::Float16 => return Err(NO_FLOAT16),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".to_owned(),
        // Large bytes are text in the file.
        DataType::LargeBinary | DataType::Duration(_) | DataType::Interval(_) => "string".to_owned(),
        DataType::Binary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "binary".to_owned(),
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Time32(_) if athena => return Err(NO_TIME),
        DataType::Time32(_) => {
            notes.add(TIME_OF_DAY);
            "int".to_owned()
        }
        DataType::Time64(_) => {
            notes.add(TIME_OF_DAY);
            "bigint".to_owned()
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) if nanoseconds => {
            notes.add(NANOSECONDS_NESTED);
            "bigint".to_owned()
        }
        DataType::Timestamp(..) => "timestamp".to_owned(),
        DataType::Decimal32(digits, scale)
        | DataType::Decimal64(digits, scale)
        | DataType::Decimal128(digits, scale)
        | DataType::Decimal256(digits, scale) => decimal(*digits, *scale).ok_or(NO_DECIMAL)?,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => format!("array<{}>", inside(item, notes)?),
        DataType::Map(entries, _) => {
            let (key, value) = entry(entries).ok_or(NO_TYPE)?;
            format!("map<{},{}>", inside(key, notes)?, inside(value, notes)?)
        }
        DataType::Struct(fields) => {
            let mut known = Vec::new();
            for field in fields {
                match (struct_name(field.name(), engine), inside(field, notes)) {
                    (Some(name), Ok(ty)) => known.push((name, ty)),
                    _ => notes.add(PARTIAL),
                }
            }
            struct_of(&known).ok_or(NO_FIELDS)?
        }
        DataType::Dictionary(_, values) => parquet_type(values, engine, nanoseconds, notes)?,
        DataType::Union(..) | DataType::ListView(_) | DataType::LargeListView(_) | DataType::RunEndEncoded(..) => return Err(NO_TYPE),
    })
}

fn decimal(digits: u8, scale: i8) -> Option<String> {
    let fits = (1..=MAX_DECIMAL_DIGITS).contains(&digits) && u8::try_from(scale).is_ok_and(|scale| scale <= digits);
    fits.then(|| format!("decimal({digits},{scale})"))
}

fn entry(entries: &Field) -> Option<(&Field, &Field)> {
    match entries.data_type() {
        DataType::Struct(pair) => match &pair[..] {
            [key, value] => Some((key, value)),
            _ => None,
        },
        _ => None,
    }
}

/// The name of a field inside a struct. Quotes are only for the statement: in a catalog, Athena's types are a text in which nothing is quoted.
fn struct_name(name: &str, engine: Engine) -> Option<String> {
    match engine {
        Engine::Athena => is_plain(name).then(|| Dialect::Hive.name(&name.to_ascii_lowercase())),
        Engine::Spark => unusable(name).is_none().then(|| Dialect::Hive.name(name)),
    }
}

/// [`None`]: there is no field, or two have one name.
fn struct_of(fields: &[(String, String)]) -> Option<String> {
    let mut seen = HashSet::new();
    let known: Vec<String> =
        fields.iter().map(|(name, ty)| seen.insert(name.to_lowercase()).then(|| format!("{name}:{ty}"))).collect::<Option<_>>()?;
    (!known.is_empty()).then(|| format!("struct<{}>", known.join(",")))
}

/// A column of JSON lines. What is no number, boolean or nested value is a text there.
pub(super) fn json(field: &Field, engine: Engine) -> Held {
    if let Some(typed) = typed_text(field, engine) {
        return Held { typed: Some(typed), ..Held::plain("string") };
    }
    // What cannot be said of a nested value is read as its JSON text.
    Held::plain(json_type(field, engine).unwrap_or_else(|| "string".to_owned()))
}

fn json_type(field: &Field, engine: Engine) -> Option<String> {
    let name = |name: &str| struct_name(name, engine);
    Some(match field.data_type() {
        _ if extension(field).is_some() => "string".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 => "tinyint".to_owned(),
        DataType::Int16 | DataType::UInt8 => "smallint".to_owned(),
        DataType::Int32 | DataType::UInt16 => "int".to_owned(),
        DataType::Int64 | DataType::UInt32 => "bigint".to_owned(),
        DataType::UInt64 => "decimal(20,0)".to_owned(),
        DataType::Float16 | DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Interval(unit) => interval(*unit, engine)?,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("array<{}>", json_type(item, engine)?)
        }
        DataType::Map(entries, _) => {
            let (key, value) = entry(entries)?;
            let fields = [(name("key")?, json_type(key, engine)?), (name("value")?, json_type(value, engine)?)];
            format!("array<{}>", struct_of(&fields)?)
        }
        DataType::Struct(fields) => {
            let fields: Vec<(String, String)> =
                fields.iter().map(|field| Some((name(field.name())?, json_type(field, engine)?))).collect::<Option<_>>()?;
            struct_of(&fields)?
        }
        DataType::Dictionary(_, values) => json_type(&field.clone().with_data_type(values.as_ref().clone()), engine)?,
        _ => "string".to_owned(),
    })
}

/// As the component writes them.
fn interval(unit: IntervalUnit, engine: Engine) -> Option<String> {
    let fields: &[(&str, &str)] = match unit {
        IntervalUnit::YearMonth => &[("months", "int")],
        IntervalUnit::DayTime => &[("days", "int"), ("milliseconds", "int")],
        IntervalUnit::MonthDayNano => &[("months", "int"), ("days", "int"), ("nanoseconds", "bigint")],
    };
    let fields: Vec<(String, String)> =
        fields.iter().map(|(name, ty)| Some((struct_name(name, engine)?, (*ty).to_owned()))).collect::<Option<_>>()?;
    struct_of(&fields)
}

/// What becomes of a text that stands for a value of another type, in either text format. [`None`]: it is what it is.
fn typed_text(field: &Field, engine: Engine) -> Option<Expression> {
    if extension(field).is_some() {
        return None;
    }
    let cast = |ty: &str| Some(Expression::new(format!("CAST({COLUMN} AS {ty})")));
    match field.data_type() {
        DataType::Date32 | DataType::Date64 => cast("date"),
        // In UTC, whatever zone the text is in.
        DataType::Timestamp(unit, _) => Some(Expression::new(match (engine, unit) {
            (Engine::Spark, _) => "CAST({c} AS timestamp)",
            (Engine::Athena, TimeUnit::Nanosecond) => "CAST(from_iso8601_timestamp_nanos({c}) AT TIME ZONE 'UTC' AS timestamp(9))",
            (Engine::Athena, _) => "CAST(from_iso8601_timestamp_nanos({c}) AT TIME ZONE 'UTC' AS timestamp(6))",
        })),
        DataType::Decimal32(digits, scale)
        | DataType::Decimal64(digits, scale)
        | DataType::Decimal128(digits, scale)
        | DataType::Decimal256(digits, scale) => decimal(*digits, *scale).and_then(|ty| cast(&ty)),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            Some(Expression::new(match engine {
                Engine::Spark => "unbase64({c})",
                Engine::Athena => "from_base64({c})",
            }))
        }
        DataType::Dictionary(_, values) => typed_text(&field.clone().with_data_type(values.as_ref().clone()), engine),
        _ => None,
    }
}

/// A column of CSV: a text, and its value in the view. `nulls`: the reader of the table tells nulls from texts.
pub(super) fn csv(field: &Field, engine: Engine, text: &CsvText, nulls: bool) -> Held {
    // Where the reader does not know nulls, what stands for them is one before it is anything else.
    let null = text.null.as_deref().unwrap_or_default();
    let present = if nulls { COLUMN.to_owned() } else { format!("NULLIF({COLUMN}, {})", Dialect::Trino.text(null)) };
    let typed = match csv_value(field, engine) {
        Some(value) => Some(value.applied_to(&present)),
        None => (!nulls).then(|| Expression::new(present)),
    };
    Held { typed, ..Held::plain("string") }
}

fn csv_value(field: &Field, engine: Engine) -> Option<Expression> {
    if extension(field).is_some() {
        return None;
    }
    let cast = |ty: &str| Some(Expression::new(format!("CAST({COLUMN} AS {ty})")));
    // Trino does not read the infinities as they are written; Spark does.
    let float = |ty: &str| match engine {
        Engine::Spark => cast(ty),
        Engine::Athena => Some(Expression::new(format!(
            "CASE {COLUMN} WHEN '+Inf' THEN CAST(infinity() AS {ty}) WHEN '-Inf' THEN CAST(-infinity() AS {ty}) ELSE CAST({COLUMN} AS {ty}) END"
        ))),
    };
    match field.data_type() {
        // What stands in the field is no value.
        DataType::Null => Some(Expression::new(match engine {
            Engine::Spark => "CAST(NULL AS string)",
            Engine::Athena => "CAST(NULL AS varchar)",
        })),
        DataType::Boolean => cast("boolean"),
        DataType::Int8 => cast("tinyint"),
        DataType::Int16 | DataType::UInt8 => cast("smallint"),
        DataType::Int32 | DataType::UInt16 => cast("int"),
        DataType::Int64 | DataType::UInt32 => cast("bigint"),
        DataType::UInt64 => cast("decimal(20,0)"),
        DataType::Float16 | DataType::Float32 => float(if engine == Engine::Spark { "float" } else { "real" }),
        DataType::Float64 => float("double"),
        DataType::Dictionary(_, values) => csv_value(&field.clone().with_data_type(values.as_ref().clone()), engine),
        _ => typed_text(field, engine),
    }
}

/// Can a value's text in CSV need quotes? As the component decides it.
pub(super) fn may_be_quoted(field: &Field) -> bool {
    match (extension(field), field.data_type()) {
        (Some(Extension::Text), _) => false,
        (Some(Extension::Json), _) => true,
        (None, DataType::Dictionary(..)) => true,
        (None, data_type) => {
            let is_text = matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Interval(_));
            is_text || data_type.is_nested()
        }
    }
}

/// Can a value's text in CSV have a line break in it?
pub(super) fn may_have_lines(field: &Field) -> bool {
    let is_text = |data_type: &DataType| matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    match (extension(field), field.data_type()) {
        // What a source calls JSON is written as it is. Nested values and intervals are our own JSON, in which line breaks are escaped.
        (Some(extension), _) => extension == Extension::Json,
        (None, DataType::Dictionary(_, values)) => is_text(values),
        (None, data_type) => is_text(data_type),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::sync::Arc;

    fn field(data_type: DataType) -> Field {
        Field::new("c", data_type, true)
    }

    fn extended(name: &str, data_type: DataType) -> Field {
        field(data_type).with_metadata(HashMap::from([("ARROW:extension:name".to_owned(), name.to_owned())]))
    }

    fn list(item: Field) -> Field {
        field(DataType::List(Arc::new(item)))
    }

    fn row(fields: Vec<Field>) -> Field {
        field(DataType::Struct(fields.into()))
    }

    fn map(key: DataType, value: Field) -> Field {
        let pair = vec![Field::new("key", key, false), value.with_name("value")];
        field(DataType::Map(Arc::new(Field::new("entries", DataType::Struct(pair.into()), false)), false))
    }

    fn zoned(unit: TimeUnit) -> DataType {
        DataType::Timestamp(unit, Some("UTC".into()))
    }

    /// The type in the table, and what is in the view in its place (`c` is the column). `-`: left out.
    fn shown(holds: Holds) -> String {
        match holds {
            Err(_) => "-".to_owned(),
            Ok(Held { ty, typed: None, .. }) => ty,
            Ok(Held { ty, typed: Some(typed), .. }) => format!("{ty} → {}", typed.over("c")),
        }
    }

    #[test]
    fn parquet_has_these_types() {
        use DataType::*;
        const WIDE: &str = "bigint → CAST(c AS decimal(20, 0)) + IF(c < 0, DECIMAL '18446744073709551616', DECIMAL '0')";
        const NANOS: &str = "bigint → CAST(from_unixtime_nanos(c) AT TIME ZONE 'UTC' AS timestamp(9))";
        let cases: Vec<(Field, &str, &str)> = vec![
            (field(Null), "-", "-"),
            (field(Boolean), "boolean", "boolean"),
            (field(Int8), "tinyint", "tinyint"),
            (field(Int16), "smallint", "smallint"),
            (field(Int32), "int", "int"),
            (field(Int64), "bigint", "bigint"),
            (field(UInt8), "smallint", "smallint"),
            (field(UInt16), "int", "int"),
            (field(UInt32), "bigint → bitwise_and(c, 4294967295)", "bigint"),
            (field(UInt64), WIDE, "decimal(20,0)"),
            (field(Float16), "-", "-"),
            (field(Float32), "float", "float"),
            (field(Float64), "double", "double"),
            (field(Utf8), "string", "string"),
            (field(LargeUtf8), "string", "string"),
            (field(Binary), "binary", "binary"),
            (field(LargeBinary), "string", "string"),
            (field(FixedSizeBinary(4)), "binary", "binary"),
            (extended("uuid", FixedSizeBinary(16)), "string", "string"),
            (extended("uuid", FixedSizeBinary(4)), "binary", "binary"),
            (extended("json", Binary), "string", "string"),
            (extended("inet", Binary), "string", "string"),
            (extended("mac", Binary), "string", "string"),
            (field(Date32), "date", "date"),
            (field(Date64), "date", "date"),
            (field(Time32(TimeUnit::Second)), "-", "int"),
            (field(Time64(TimeUnit::Microsecond)), "bigint", "bigint"),
            (field(Timestamp(TimeUnit::Second, None)), "timestamp", "timestamp"),
            (field(zoned(TimeUnit::Millisecond)), "timestamp", "timestamp"),
            (field(zoned(TimeUnit::Microsecond)), "timestamp", "timestamp"),
            (field(zoned(TimeUnit::Nanosecond)), NANOS, "bigint → timestamp_micros((c - pmod(c, 1000)) div 1000)"),
            (field(Duration(TimeUnit::Second)), "string", "string"),
            (field(Interval(IntervalUnit::DayTime)), "string", "string"),
            (field(Decimal128(10, 2)), "decimal(10,2)", "decimal(10,2)"),
            (field(Decimal256(38, 0)), "decimal(38,0)", "decimal(38,0)"),
            (field(Decimal256(39, 0)), "-", "-"),
            (field(Decimal128(5, -2)), "-", "-"),
            (list(field(Int64)), "array<bigint>", "array<bigint>"),
            (list(extended("uuid", FixedSizeBinary(16))), "array<string>", "array<string>"),
            (list(field(UInt64)), "array<bigint>", "array<decimal(20,0)>"),
            (list(field(Float16)), "-", "-"),
            (list(field(zoned(TimeUnit::Nanosecond))), "array<bigint>", "array<bigint>"),
            (map(Utf8, field(Int8)), "map<string,tinyint>", "map<string,tinyint>"),
            (map(Utf8, field(Float16)), "-", "-"),
            (row(vec![Field::new("A", Int8, true), Field::new("b", Float16, true)]), "struct<`a`:tinyint>", "struct<`A`:tinyint>"),
            (row(vec![Field::new("a b", Int8, true)]), "-", "struct<`a b`:tinyint>"),
            (row(vec![Field::new("x`>, y:int", Int8, true)]), "-", "struct<`x``>, y:int`:tinyint>"),
            (row(vec![Field::new("a", Int8, true), Field::new("A", Int8, true)]), "-", "-"),
            (row(vec![]), "-", "-"),
            (field(Dictionary(Box::new(Int8), Box::new(Utf8))), "string", "string"),
        ];
        for (field, athena, spark) in cases {
            let found = [Engine::Athena, Engine::Spark].map(|engine| shown(parquet(&field, engine, true)));
            assert_eq!(found, [athena, spark], "{field:?}");
        }
        let nanos = field(zoned(TimeUnit::Nanosecond));
        for engine in [Engine::Athena, Engine::Spark] {
            assert_eq!(shown(parquet(&nanos, engine, false)), "timestamp");
            assert!(parquet(&nanos, engine, true).is_ok_and(|held| held.note.is_some()), "a reader is told");
            assert_eq!(parquet(&list(nanos.clone()), engine, true).unwrap().note, Some(NANOSECONDS_NESTED));
        }
        assert_eq!(parquet(&list(field(UInt64)), Engine::Athena, true).unwrap().note, Some(WIDE_NESTED));
        let partial = row(vec![Field::new("a", Int8, true), Field::new("b", Null, true)]);
        assert_eq!(parquet(&partial, Engine::Spark, true).unwrap().note, Some(PARTIAL));
    }

    #[test]
    fn json_has_these_types() {
        use DataType::*;
        let days = "struct<`days`:int,`milliseconds`:int>";
        let time = "string → CAST(from_iso8601_timestamp_nanos(c) AT TIME ZONE 'UTC' AS timestamp(6))";
        let entries = "array<struct<`key`:string,`value`:tinyint>>";
        let mixed = row(vec![Field::new("A", Int8, true), Field::new("b", Float16, true)]);
        let cases: Vec<(Field, &str, &str)> = vec![
            (field(Null), "string", "string"),
            (field(Boolean), "boolean", "boolean"),
            (field(Int8), "tinyint", "tinyint"),
            (field(UInt8), "smallint", "smallint"),
            (field(UInt32), "bigint", "bigint"),
            (field(UInt64), "decimal(20,0)", "decimal(20,0)"),
            (field(Float16), "float", "float"),
            (field(Float64), "double", "double"),
            (field(Utf8), "string", "string"),
            (extended("json", Binary), "string", "string"),
            (extended("inet", Binary), "string", "string"),
            (field(Binary), "string → from_base64(c)", "string → unbase64(c)"),
            (field(Date32), "string → CAST(c AS date)", "string → CAST(c AS date)"),
            (field(Time64(TimeUnit::Nanosecond)), "string", "string"),
            (field(zoned(TimeUnit::Second)), time, "string → CAST(c AS timestamp)"),
            (field(Duration(TimeUnit::Second)), "string", "string"),
            (field(Interval(IntervalUnit::YearMonth)), "struct<`months`:int>", "struct<`months`:int>"),
            (field(Interval(IntervalUnit::DayTime)), days, days),
            (field(Decimal128(10, 2)), "string → CAST(c AS decimal(10,2))", "string → CAST(c AS decimal(10,2))"),
            (field(Decimal256(50, 2)), "string", "string"),
            (list(field(Date32)), "array<string>", "array<string>"),
            (list(field(Int8)), "array<tinyint>", "array<tinyint>"),
            (map(Utf8, field(Int8)), entries, entries),
            (mixed, "struct<`a`:tinyint,`b`:float>", "struct<`A`:tinyint,`b`:float>"),
            // Its text has all of it.
            (row(vec![Field::new("a b", Int8, true)]), "string", "struct<`a b`:tinyint>"),
            (list(row(vec![Field::new("a", Int8, true), Field::new("A", Int8, true)])), "string", "string"),
        ];
        for (field, athena, spark) in cases {
            let found = [Engine::Athena, Engine::Spark].map(|engine| shown(Ok(json(&field, engine))));
            assert_eq!(found, [athena, spark], "{field:?}");
        }
    }

    #[test]
    fn csv_has_texts_and_the_view_their_values() {
        use DataType::*;
        let plain = CsvText::default();
        let real = "CASE NULLIF(c, '') WHEN '+Inf' THEN CAST(infinity() AS real) WHEN '-Inf' THEN CAST(-infinity() AS real) \
                    ELSE CAST(NULLIF(c, '') AS real) END";
        let time = "CAST(from_iso8601_timestamp_nanos(NULLIF(c, '')) AT TIME ZONE 'UTC' AS timestamp(9))";
        let cases: Vec<(Field, &str, Option<&str>)> = vec![
            (field(Null), "CAST(NULL AS varchar)", Some("CAST(NULL AS string)")),
            (field(Boolean), "CAST(NULLIF(c, '') AS boolean)", Some("CAST(c AS boolean)")),
            (field(Int8), "CAST(NULLIF(c, '') AS tinyint)", Some("CAST(c AS tinyint)")),
            (field(UInt32), "CAST(NULLIF(c, '') AS bigint)", Some("CAST(c AS bigint)")),
            (field(UInt64), "CAST(NULLIF(c, '') AS decimal(20,0))", Some("CAST(c AS decimal(20,0))")),
            (field(Float32), real, Some("CAST(c AS float)")),
            (field(Utf8), "NULLIF(c, '')", None),
            (extended("json", Binary), "NULLIF(c, '')", None),
            (field(Binary), "from_base64(NULLIF(c, ''))", Some("unbase64(c)")),
            (field(Date64), "CAST(NULLIF(c, '') AS date)", Some("CAST(c AS date)")),
            (field(Time32(TimeUnit::Second)), "NULLIF(c, '')", None),
            (field(zoned(TimeUnit::Nanosecond)), time, Some("CAST(c AS timestamp)")),
            (field(Decimal128(10, 2)), "CAST(NULLIF(c, '') AS decimal(10,2))", Some("CAST(c AS decimal(10,2))")),
            (list(field(Int8)), "NULLIF(c, '')", None),
            (field(Dictionary(Box::new(Int8), Box::new(Int8))), "CAST(NULLIF(c, '') AS tinyint)", Some("CAST(c AS tinyint)")),
        ];
        for (field, athena, spark) in cases {
            let held = csv(&field, Engine::Athena, &plain, false);
            assert_eq!((held.ty.as_str(), held.typed.unwrap().over("c").as_str()), ("string", athena), "{field:?}");
            let held = csv(&field, Engine::Spark, &plain, true);
            assert_eq!((held.ty.as_str(), held.typed.map(|typed| typed.over("c")).as_deref()), ("string", spark), "{field:?}");
        }
        let marked = CsvText { null: Some("\\N'".to_owned()), ..CsvText::default() };
        assert_eq!(csv(&field(Utf8), Engine::Athena, &marked, false).typed.unwrap().over("c"), "NULLIF(c, '\\N''')");
        assert_eq!(csv(&field(Utf8), Engine::Athena, &marked, true).typed, None);
    }

    #[test]
    fn a_column_is_put_into_an_expression_once() {
        let held = csv(&field(DataType::Float64), Engine::Athena, &CsvText::default(), false);
        let over = held.typed.unwrap().over("\"{c}\"");
        assert_eq!(over.matches("\"{c}\"").count(), 2, "{over}");
    }

    #[test]
    fn some_texts_may_need_quotes_and_some_may_break_lines() {
        use DataType::*;
        for (field, quoted, lines) in [
            (field(Int8), false, false),
            (field(zoned(TimeUnit::Second)), false, false),
            (field(Binary), false, false),
            (extended("uuid", FixedSizeBinary(16)), false, false),
            (extended("json", Binary), true, true),
            (field(Utf8), true, true),
            (field(Interval(IntervalUnit::DayTime)), true, false),
            (list(field(Utf8)), true, false),
            (field(Dictionary(Box::new(Int8), Box::new(Utf8))), true, true),
        ] {
            assert_eq!((may_be_quoted(&field), may_have_lines(&field)), (quoted, lines), "{field:?}");
        }
    }
}

//! How a table is divided: the partition spec that follows from the placeholders of a path, and the values of a file's partition.

use crate::error::{Error, excerpt};
use crate::types::{Field, Type};
use crate::value::{Value, days_of, two_digits, year_and_month, year_of};
use serde_json::{Value as Json, json};

/// What a path takes from the rows: a column, or a part of its time in UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholder {
    /// The column.
    pub column: String,
    /// What of its values.
    pub part: Part,
}

/// A part of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Part {
    Value,
    Year,
    Month,
    Day,
    Hour,
    Minute,
}

/// How a partition's value is made from a column's. Of Iceberg's transforms those that a path can express.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub enum Transform {
    Identity,
    Year,
    Month,
    Day,
    Hour,
    /// A field that was taken off the spec: its value is always null.
    Void,
}

/// The transforms by their names.
const TRANSFORMS: [(&str, Transform); 6] = [
    ("identity", Transform::Identity),
    ("year", Transform::Year),
    ("month", Transform::Month),
    ("day", Transform::Day),
    ("hour", Transform::Hour),
    ("void", Transform::Void),
];

/// The parts of a time, from the coarsest on.
const TIMES: [(Part, Transform); 4] =
    [(Part::Year, Transform::Year), (Part::Month, Transform::Month), (Part::Day, Transform::Day), (Part::Hour, Transform::Hour)];

impl Transform {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        TRANSFORMS.iter().find(|(_, transform)| *transform == self).map_or("", |(name, _)| name)
    }

    fn result(self, source: &Type) -> Type {
        match self {
            Self::Identity | Self::Void => source.clone(),
            Self::Day => Type::Date,
            Self::Year | Self::Month | Self::Hour => Type::Int,
        }
    }

    /// Whether columns of this type can be divided by it.
    fn takes(self, source: &Type) -> bool {
        match self {
            Self::Identity => {
                matches!(source, Type::Boolean | Type::Int | Type::Long | Type::Decimal { .. } | Type::Date | Type::String | Type::Uuid)
            }
            Self::Year | Self::Month | Self::Day => matches!(source, Type::Date | Type::Timestamp | Type::Timestamptz),
            Self::Hour => matches!(source, Type::Timestamp | Type::Timestamptz),
            Self::Void => true,
        }
    }

    /// The value of a partition from its text: `2024`, `2024-05`, `2024-05-17`, `2024-05-17-08`, or the column's value.
    fn parse(self, source: &Type, text: &str) -> Option<Value> {
        if self == Self::Identity {
            return Value::parse(source, text);
        }
        // A year may begin with a minus.
        let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
        let parts: Vec<&str> = digits.split('-').collect();
        let year = year_of(&format!("{sign}{}", parts.first()?))?;
        let number = |at: usize| two_digits(parts.get(at)?);
        let value = match (self, parts.len()) {
            (Self::Year, 1) => year.checked_sub(1970)?,
            (Self::Month, 2) => {
                let month = i32::try_from(number(1)?).ok().filter(|month| (1..=12).contains(month))?;
                year.checked_sub(1970)?.checked_mul(12)?.checked_add(month - 1)?
            }
            (Self::Day, 3) => days_of(year, number(1)?, number(2)?)?,
            (Self::Hour, 4) => {
                let hour = i32::try_from(number(3)?).ok().filter(|hour| *hour < 24)?;
                days_of(year, number(1)?, number(2)?)?.checked_mul(24)?.checked_add(hour)?
            }
            _ => return None,
        };
        Some(Value::Int(value))
    }

    /// The value of the partition that a bound of its column lies in, where that can be told.
    fn bound_value(self, source: &Type, bound: &[u8], nudge: i64) -> Option<Value> {
        if self == Self::Identity {
            return match source {
                Type::Boolean => bound.first().map(|byte| Value::Boolean(*byte != 0)),
                Type::Int | Type::Date => bound.try_into().ok().map(|it| Value::Int(i32::from_le_bytes(it))),
                Type::Long => bound.try_into().ok().map(|it| Value::Long(i64::from_le_bytes(it))),
                Type::String => String::from_utf8(bound.to_vec()).ok().map(Value::Text),
                Type::Uuid => bound.try_into().ok().map(Value::Uuid),
                _ => None,
            };
        }
        const HOUR: i64 = 3_600_000_000;
        let (days, hours) = match source {
            Type::Date => (i64::from(i32::from_le_bytes(bound.try_into().ok()?)), None),
            _ => {
                let micros = i64::from_le_bytes(bound.try_into().ok()?).checked_add(nudge)?;
                (micros.div_euclid(24 * HOUR), Some(micros.div_euclid(HOUR)))
            }
        };
        let (year, month) = year_and_month(days);
        let value = match self {
            Self::Year => year - 1970,
            Self::Month => (year - 1970) * 12 + month - 1,
            Self::Day => days,
            Self::Hour => hours?,
            Self::Identity | Self::Void => return None,
        };
        i32::try_from(value).ok().map(Value::Int)
    }
}

/// A field of a partition spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionField {
    /// The id of the field.
    pub id: i32,
    /// The column's id.
    pub source_id: i32,
    /// The name of the column, for errors.
    pub column: String,
    /// The name of the field.
    pub name: String,
    /// How values are made.
    pub transform: Transform,
    /// The type of the column.
    pub source: Type,
}

impl PartitionField {
    /// The type of its values.
    pub(crate) fn result(&self) -> Type {
        self.transform.result(&self.source)
    }

    /// Reads the text of a value.
    ///
    /// # Errors
    /// `Invalid`: it is none.
    pub(crate) fn value(&self, text: Option<&str>) -> Result<Option<Value>, Error> {
        let Some(text) = text else { return Ok(None) };
        if self.transform == Transform::Void {
            return Ok(None);
        }
        let value = self.transform.parse(&self.source, text);
        value.map(Some).ok_or_else(|| {
            let (name, transform, source) = (self.transform.name(), &self.column, &self.source);
            Error::invalid(format!("the partition {:?} is no {name} of the column {transform:?} ({source})", excerpt(text)))
        })
    }

    /// Whether all values from one bound to the other lie in the partition of this value. True where that cannot be told.
    pub(crate) fn holds(&self, value: &Value, lower: &[u8], upper: &[u8]) -> bool {
        // A bound of nanoseconds has been rounded away from the values, at most to the first microsecond of the next partition.
        let lies_in = |bound: &[u8], nudge: i64| {
            let value_with = |nudge| self.transform.bound_value(&self.source, bound, nudge);
            value_with(0).is_none_or(|found| found == *value) || value_with(nudge).is_some_and(|found| found == *value)
        };
        lies_in(lower, 1) && lies_in(upper, -1)
    }
}

/// The fields by which a table is divided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionSpec {
    /// The id of the spec in the table.
    pub id: i32,
    /// Its fields, in order.
    pub fields: Vec<PartitionField>,
}

/// The division that placeholders ask for: the column, and the finest part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked<'a> {
    column: &'a str,
    transform: Transform,
    /// The placeholders that make its value.
    sources: Vec<usize>,
}

/// `{{YEAR:t}}`, `{{MONTH:t}}` and `{{DAY:t}}` are one division by day.
fn asked(placeholders: &[Placeholder]) -> Result<Vec<Asked<'_>>, Error> {
    let mut found: Vec<Asked<'_>> = Vec::new();
    for placeholder in placeholders {
        let column = placeholder.column.as_str();
        if placeholder.part == Part::Value {
            if !found.iter().any(|it| it.column == column && it.transform == Transform::Identity) {
                let source = placeholders.iter().position(|it| it == placeholder).into_iter().collect();
                found.push(Asked { column, transform: Transform::Identity, sources: source });
            }
            continue;
        }
        if found.iter().any(|it| it.column == column && it.transform != Transform::Identity) {
            continue;
        }
        let at = |part: Part| placeholders.iter().position(|it| it.column == column && it.part == part);
        if at(Part::Minute).is_some() {
            return Err(Error::invalid(format!(
                "the path divides by the minute of {column:?}, and Iceberg has no such partitions: year, month, day and hour are accepted"
            )));
        }
        let sources: Vec<Option<usize>> = TIMES.iter().map(|(part, _)| at(*part)).collect();
        let finest = sources.iter().rposition(Option::is_some).unwrap_or_default();
        let sources: Option<Vec<usize>> = sources.into_iter().take(finest + 1).collect();
        let (Some(sources), Some((_, transform))) = (sources, TIMES.get(finest)) else {
            return Err(Error::invalid(format!(
                "the path divides by a part of {column:?} without the larger ones, and Iceberg has no such partitions: a month needs the year, a day \
                 the month, an hour the day"
            )));
        };
        found.push(Asked { column, transform: *transform, sources });
    }
    Ok(found)
}

/// The JSON of the spec that a table is created with.
///
/// # Errors
/// `Invalid`: a column is missing, or cannot be divided so.
pub(crate) fn spec_json(placeholders: &[Placeholder], columns: &[Field]) -> Result<Json, Error> {
    let mut fields = Vec::new();
    for (number, asked) in asked(placeholders)?.iter().enumerate() {
        let column = source_of(asked, columns)?;
        let name = match asked.transform {
            Transform::Identity => asked.column.to_owned(),
            other => format!("{}_{}", asked.column, other.name()),
        };
        fields.push(json!({"source-id": column.id, "field-id": 1_000 + number, "name": name, "transform": asked.transform.name()}));
    }
    Ok(json!({"spec-id": 0, "fields": fields}))
}

fn source_of<'a>(asked: &Asked<'_>, columns: &'a [Field]) -> Result<&'a Field, Error> {
    let column = columns.iter().find(|field| field.name == asked.column);
    let column =
        column.ok_or_else(|| Error::invalid(format!("the path divides by {:?}, which is no column of the table", asked.column)))?;
    if !asked.transform.takes(&column.kind) {
        let (name, kind) = (asked.transform.name(), &column.kind);
        return Err(Error::invalid(format!(
            "the column {:?} is {kind}, by which the path cannot divide an Iceberg table ({name})",
            asked.column
        )));
    }
    Ok(column)
}

impl PartitionSpec {
    /// Reads the spec of a table.
    ///
    /// # Errors
    /// `Incompatible`: it divides by what a path cannot express. `Rejected`: it is no spec.
    pub(crate) fn from_table(id: i32, fields: &[RawField], columns: &[Field]) -> Result<Self, Error> {
        let field = |raw: &RawField| {
            let name = excerpt(&raw.name);
            let known = TRANSFORMS.iter().find(|(name, _)| *name == raw.transform);
            let column = columns.iter().find(|field| field.id == raw.source_id);
            match (known, column) {
                // A column that was dropped leaves a field behind, which is always null.
                (Some((_, Transform::Void)), column) => Ok(PartitionField {
                    id: raw.field_id,
                    source_id: raw.source_id,
                    column: name,
                    name: raw.name.clone(),
                    transform: Transform::Void,
                    source: column.filter(|it| it.kind.is_primitive()).map_or(Type::String, |it| it.kind.clone()),
                }),
                (Some((_, transform)), Some(column)) if transform.takes(&column.kind) => Ok(PartitionField {
                    id: raw.field_id,
                    source_id: raw.source_id,
                    column: column.name.clone(),
                    name: raw.name.clone(),
                    transform: *transform,
                    source: column.kind.clone(),
                }),
                _ => Err(Error::incompatible(format!(
                    "the table is divided by {name:?} ({}), which a path cannot express: columns, and years, months, days and hours of top-level \
                     columns are accepted",
                    excerpt(&raw.transform)
                ))),
            }
        };
        Ok(Self { id, fields: fields.iter().map(field).collect::<Result<_, _>>()? })
    }

    /// Whether the placeholders of a path divide rows as the table is divided.
    ///
    /// # Errors
    /// `Incompatible`: they do not. `Invalid`: no table could be divided so.
    pub(crate) fn matches(&self, placeholders: &[Placeholder], columns: &[Field]) -> Result<(), Error> {
        let asked = asked(placeholders)?;
        for one in &asked {
            source_of(one, columns)?;
        }
        let list = |all: Vec<(&str, Transform)>| {
            let all: Vec<String> = all.iter().map(|(column, transform)| format!("{}({column})", transform.name())).collect();
            if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
        };
        let own = self.fields.iter().filter(|field| field.transform != Transform::Void);
        let own: Vec<_> = own.map(|field| (field.column.as_str(), field.transform)).collect();
        let asked: Vec<_> = asked.iter().map(|one| (one.column, one.transform)).collect();
        if own.len() != asked.len() || own.iter().any(|one| !asked.contains(one)) {
            return Err(Error::incompatible(format!(
                "the table is divided by {}, and the path divides by {}: they have to be the same",
                list(own),
                list(asked)
            )));
        }
        Ok(())
    }

    /// The texts of a partition, one for each field, from those of the path's placeholders in their order.
    ///
    /// A date of several placeholders is null if any of them is.
    ///
    /// # Errors
    /// `Invalid`: there are more or fewer of them than placeholders.
    pub fn values(&self, placeholders: &[Placeholder], texts: &[Option<&str>]) -> Result<Vec<Option<String>>, Error> {
        if placeholders.len() != texts.len() {
            return Err(Error::invalid(format!("{} values for {} placeholders", texts.len(), placeholders.len())));
        }
        let asked = asked(placeholders)?;
        let text = |field: &PartitionField| {
            let one = asked.iter().find(|it| it.column == field.column && it.transform == field.transform)?;
            let parts: Option<Vec<&str>> = one.sources.iter().map(|at| texts.get(*at).copied().flatten()).collect();
            parts.map(|parts| parts.join("-"))
        };
        Ok(self.fields.iter().map(text).collect())
    }
}

/// A field of a spec as the catalog says it.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RawField {
    pub(crate) source_id: i32,
    pub(crate) field_id: i32,
    pub(crate) name: String,
    pub(crate) transform: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::tests::field;

    fn at(column: &str, part: Part) -> Placeholder {
        Placeholder { column: column.into(), part }
    }

    fn columns() -> Vec<Field> {
        let mut columns = vec![
            field("country", Type::String),
            field("at", Type::Timestamptz),
            field("on", Type::Date),
            field("x", Type::Double),
            field("n", Type::Long),
        ];
        crate::types::assign_ids(columns.iter_mut(), &mut 1);
        columns
    }

    fn spec(placeholders: &[Placeholder]) -> PartitionSpec {
        let json = spec_json(placeholders, &columns()).unwrap();
        let fields: Vec<RawField> = serde_json::from_value(json["fields"].clone()).unwrap();
        PartitionSpec::from_table(3, &fields, &columns()).unwrap()
    }

    #[test]
    fn a_path_becomes_a_spec_and_its_values_those_of_the_spec() {
        use Part::*;
        for (placeholders, texts, names, values) in [
            (vec![], vec![], vec![], vec![]),
            (vec![at("country", Value)], vec![Some("DE")], vec!["country"], vec![Some("DE")]),
            (vec![at("at", Year)], vec![Some("2024")], vec!["at_year"], vec![Some("2024")]),
            (
                vec![at("at", Month), at("country", Value), at("at", Year)],
                vec![Some("05"), None, Some("2024")],
                vec!["at_month", "country"],
                vec![Some("2024-05"), None],
            ),
            (
                vec![at("at", Year), at("at", Month), at("at", Day), at("at", Hour)],
                vec![Some("2024"), Some("05"), Some("17"), Some("08")],
                vec!["at_hour"],
                vec![Some("2024-05-17-08")],
            ),
            (vec![at("on", Year), at("on", Month), at("on", Day)], vec![None, None, None], vec!["on_day"], vec![None]),
            (vec![at("n", Value), at("n", Value)], vec![Some("7"), Some("7")], vec!["n"], vec![Some("7")]),
        ] {
            let spec = spec(&placeholders);
            assert_eq!(spec.fields.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), names, "{placeholders:?}");
            let found = spec.values(&placeholders, &texts).unwrap();
            assert_eq!(found.iter().map(|it| it.as_deref()).collect::<Vec<_>>(), values, "{placeholders:?}");
            spec.matches(&placeholders, &columns()).unwrap();
        }
    }

    #[test]
    fn what_iceberg_cannot_divide_by_is_refused_by_name() {
        use Part::*;
        for (placeholders, expected) in [
            (vec![at("at", Year), at("at", Minute)], "the minute of \"at\""),
            (vec![at("at", Month)], "without the larger ones"),
            (vec![at("at", Year), at("at", Day)], "without the larger ones"),
            (vec![at("none", Value)], "\"none\", which is no column"),
            (vec![at("x", Value)], "\"x\" is double"),
            (vec![at("at", Value)], "\"at\" is timestamptz"),
            (vec![at("on", Year), at("on", Month), at("on", Day), at("on", Hour)], "\"on\" is date"),
            (vec![at("country", Year)], "\"country\" is string"),
        ] {
            let error = spec_json(&placeholders, &columns()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let by_country = spec(&[at("country", Value)]);
        let error = by_country.matches(&[at("at", Year)], &columns()).unwrap_err();
        assert_eq!(error.message, "the table is divided by identity(country), and the path divides by year(at): they have to be the same");
        let raw = |transform: &str, source_id| RawField { source_id, field_id: 1_000, name: "f".into(), transform: transform.into() };
        for (transform, source, good) in [("bucket[16]", 1, false), ("identity", 99, false), ("void", 99, true), ("day", 2, true)] {
            assert_eq!(PartitionSpec::from_table(0, &[raw(transform, source)], &columns()).is_ok(), good, "{transform}");
        }
    }

    #[test]
    fn values_are_those_of_the_transforms() {
        for (transform, source, text, expected) in [
            (Transform::Year, Type::Date, "1969", Some(-1)),
            (Transform::Year, Type::Date, "-0001", Some(-1_971)),
            (Transform::Month, Type::Date, "1970-02", Some(1)),
            (Transform::Month, Type::Date, "1969-12", Some(-1)),
            (Transform::Month, Type::Date, "1970-13", None),
            (Transform::Day, Type::Timestamp, "1970-01-02", Some(1)),
            (Transform::Day, Type::Timestamp, "1970-01", None),
            (Transform::Hour, Type::Timestamp, "1969-12-31-23", Some(-1)),
            (Transform::Hour, Type::Timestamp, "1970-01-01-24", None),
            (Transform::Hour, Type::Timestamp, "2024", None),
        ] {
            assert_eq!(transform.parse(&source, text), expected.map(Value::Int), "{transform:?} {text}");
        }
    }

    #[test]
    fn a_partition_holds_the_values_of_its_file_or_is_found_out() {
        let micros = |days: i64, micros: i64| (days * 86_400_000_000 + micros).to_le_bytes().to_vec();
        let field = |transform, source| PartitionField { id: 1_000, source_id: 1, column: "c".into(), name: "c".into(), transform, source };
        let day = field(Transform::Day, Type::Timestamp);
        for (lower, upper, expected) in [
            (micros(5, 0), micros(5, 1), true),
            // Rounded away from the values.
            (micros(5, -1), micros(6, 0), true),
            (micros(4, 0), micros(5, 0), false),
            (micros(5, 0), micros(6, 1), false),
        ] {
            assert_eq!(day.holds(&Value::Int(5), &lower, &upper), expected, "{lower:?} {upper:?}");
        }
        let text = field(Transform::Identity, Type::String);
        assert!(text.holds(&Value::Text("a".into()), b"a", b"a"));
        assert!(!text.holds(&Value::Text("a".into()), b"a", b"b"));
        let month = field(Transform::Month, Type::Date);
        assert!(month.holds(&Value::Int(1), &31_i32.to_le_bytes(), &58_i32.to_le_bytes()));
        assert!(!month.holds(&Value::Int(1), &31_i32.to_le_bytes(), &59_i32.to_le_bytes()));
    }
}

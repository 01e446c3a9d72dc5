//! From one of Hive's folders to a column of the table, and to the properties by which Athena need not list folders (partition projection).
//!
//! A projection names prefixes, and what lies beside them is not seen: so it is made of what is known to hold for every value, and where a null may lie
//! beside it, a warning says so.

use super::layout::{Folder, Piece, Unit, Values};
use super::written::HIVE_NULL;
use arrow_schema::{DataType, Schema};
use chrono::{Datelike, Days, NaiveDate, NaiveDateTime, Timelike};
use std::collections::BTreeSet;
use std::str::FromStr;

/// Values of an `enum`: Athena's documentation asks for a few dozen at most.
const MAX_ENUM_VALUES: usize = 50;

/// The range of dates, unless the user or a manifest knows better.
const DEFAULT_RANGE: &str = "NOW-10YEARS,NOW";

/// The end of a range of times.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Moment {
    /// Relative to the query, in Athena's words.
    Now(String),
    /// A time in UTC.
    At(NaiveDateTime),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(offset) = text.strip_prefix("NOW") {
            const UNITS: [&str; 6] = ["YEARS", "MONTHS", "WEEKS", "DAYS", "HOURS", "MINUTES"];
            let number = offset.strip_prefix(['+', '-']).and_then(|offset| UNITS.iter().find_map(|unit| offset.strip_suffix(unit)));
            if offset.is_empty()
                || number.is_some_and(|number| (1..=9).contains(&number.len()) && number.bytes().all(|it| it.is_ascii_digit()))
            {
                return Ok(Self::Now(text.to_owned()));
            }
        }
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").map(NaiveDateTime::from);
        let at = day.or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M"));
        at.ok()
            .filter(|at| (0..=9_999).contains(&at.year()))
            .map(Self::At)
            .ok_or_else(|| format!("{text:?} is no time; write one such as 2026-01-31, 2026-01-31T15:00, NOW, NOW-3YEARS or NOW+1DAYS"))
    }
}

/// A range of times, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DateRange(Moment, Moment);

impl FromStr for DateRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = text
            .split_once(',')
            .ok_or_else(|| format!("{text:?} is no range; write two times with a comma between them, such as {DEFAULT_RANGE}"))?;
        let range = Self(from.parse()?, to.parse()?);
        match &range {
            Self(Moment::At(from), Moment::At(to)) if from > to => Err(format!("{text:?} ends before it begins")),
            _ => Ok(range),
        }
    }
}

impl DateRange {
    fn default_range() -> Self {
        Self(Moment::Now("NOW-10YEARS".to_owned()), Moment::Now("NOW".to_owned()))
    }
}

/// The text of a time in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DateFormat(Vec<DatePart>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum DatePart {
    Text(String),
    Unit(Unit),
}

impl DateFormat {
    /// [`None`]: the pieces are no time, or one that could not be put in order.
    fn parse(pieces: &[Piece]) -> Option<Self> {
        let mut source = None;
        let mut next = Some(Unit::Year);
        let parts = pieces.iter().map(|piece| match piece {
            Piece::Text(text) => Some(DatePart::Text(text.clone())),
            Piece::Time(column, unit) => {
                let same = *source.get_or_insert(column) == column && next == Some(*unit);
                next = following(*unit);
                same.then_some(DatePart::Unit(*unit))
            }
            Piece::Column(_) | Piece::Varying(_) => None,
        });
        let format = Self(parts.collect::<Option<_>>()?);
        source.is_some().then_some(format)
    }

    fn days() -> Self {
        let dash = || DatePart::Text("-".to_owned());
        Self(vec![DatePart::Unit(Unit::Year), dash(), DatePart::Unit(Unit::Month), dash(), DatePart::Unit(Unit::Day)])
    }

    fn is_days(&self) -> bool {
        *self == Self::days()
    }

    /// As Java has it. Letters would be fields.
    fn pattern(&self) -> String {
        let part = |part: &DatePart| match part {
            DatePart::Text(text) if text.chars().all(|it| "-_. ,".contains(it)) => text.clone(),
            DatePart::Text(text) => format!("'{}'", text.replace('\'', "''")),
            DatePart::Unit(unit) => match unit {
                Unit::Year => "yyyy",
                Unit::Month => "MM",
                Unit::Day => "dd",
                Unit::Hour => "HH",
                Unit::Minute => "mm",
            }
            .to_owned(),
        };
        self.0.iter().map(part).collect()
    }

    fn render(&self, moment: &Moment) -> String {
        let at = match moment {
            Moment::Now(text) => return text.clone(),
            Moment::At(at) => at,
        };
        let part = |part: &DatePart| match part {
            DatePart::Text(text) => text.clone(),
            DatePart::Unit(Unit::Year) => format!("{:04}", at.year()),
            DatePart::Unit(Unit::Month) => format!("{:02}", at.month()),
            DatePart::Unit(Unit::Day) => format!("{:02}", at.day()),
            DatePart::Unit(Unit::Hour) => format!("{:02}", at.hour()),
            DatePart::Unit(Unit::Minute) => format!("{:02}", at.minute()),
        };
        self.0.iter().map(part).collect()
    }

    fn smallest(&self) -> &'static str {
        let unit = self.0.iter().rev().find_map(|part| if let DatePart::Unit(unit) = part { Some(*unit) } else { None });
        match unit {
            None | Some(Unit::Year) => "YEARS",
            Some(Unit::Month) => "MONTHS",
            Some(Unit::Day) => "DAYS",
            Some(Unit::Hour) => "HOURS",
            Some(Unit::Minute) => "MINUTES",
        }
    }
}

fn following(unit: Unit) -> Option<Unit> {
    match unit {
        Unit::Year => Some(Unit::Month),
        Unit::Month => Some(Unit::Day),
        Unit::Day => Some(Unit::Hour),
        Unit::Hour => Some(Unit::Minute),
        Unit::Minute => None,
    }
}

/// Which prefixes Athena looks into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Projection {
    Date {
        format: String,
        from: String,
        to: String,
        unit: &'static str,
    },
    Integer {
        from: i64,
        to: i64,
        digits: Option<usize>,
    },
    Enum(Vec<String>),
    /// Those that the query names.
    Injected,
}

impl Projection {
    /// The properties of a table for its column `name`, in their order.
    pub(super) fn properties(&self, name: &str) -> Vec<(String, String)> {
        let property = |key: &str, value: String| (format!("projection.{name}.{key}"), value);
        match self {
            Self::Date { format, from, to, unit } => vec![
                property("type", "date".to_owned()),
                property("format", format.clone()),
                property("range", format!("{from},{to}")),
                property("interval", "1".to_owned()),
                property("interval.unit", (*unit).to_owned()),
            ],
            Self::Integer { from, to, digits } => {
                let mut properties = vec![property("type", "integer".to_owned()), property("range", format!("{from},{to}"))];
                properties.extend(digits.map(|digits| property("digits", digits.to_string())));
                properties
            }
            Self::Enum(values) => vec![property("type", "enum".to_owned()), property("values", values.join(","))],
            Self::Injected => vec![property("type", "injected".to_owned())],
        }
    }
}

/// A column that is a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartitionColumn {
    /// As in keys.
    pub(super) folder: String,
    pub(super) ty: &'static str,
    pub(super) projection: Option<Projection>,
}

/// What the values of a folder are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Date(DateFormat),
    /// Of a month, day, hour or minute.
    TwoDigits(i64, i64),
    Integer(&'static str),
    Text,
}

/// What a column depends on, beside its folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    /// The table's columns; absent: they are not known.
    pub(super) schema: Option<&'a Schema>,
    pub(super) null_name: &'a str,
    /// As the user has it.
    pub(super) range: Option<&'a DateRange>,
    /// Athena projects.
    pub(super) is_projected: bool,
}

/// The column of a folder, and what a reader has to know of it.
pub(super) fn column(folder: &Folder, facts: &Facts<'_>, warnings: &mut Vec<String>) -> PartitionColumn {
    let (ty, projection) = match &folder.values {
        Values::Made(pieces) => made(&folder.name, pieces, facts, warnings),
        Values::Known(values) => known(&folder.name, values, facts, warnings),
    };
    PartitionColumn { folder: folder.name.clone(), ty, projection }
}

fn made(name: &str, pieces: &[Piece], facts: &Facts<'_>, warnings: &mut Vec<String>) -> (&'static str, Option<Projection>) {
    let kind = kind(pieces, facts.schema);
    let may_be_null = pieces.iter().any(|piece| may_be_null(piece, facts.schema));
    let mut warn = |text: String| warnings.push(text);
    if may_be_null && facts.null_name != HIVE_NULL {
        warn(format!("rows without a value are in `{name}={}`, and no engine takes that for a null (`partition.null`)", facts.null_name));
    }
    if !facts.is_projected {
        let ty = match kind {
            Kind::Date(format) if format.is_days() => "date",
            Kind::Date(format) if format.0 == [DatePart::Unit(Unit::Year)] => "int",
            Kind::TwoDigits(..) => "int",
            Kind::Integer(ty) => ty,
            Kind::Date(_) | Kind::Text => "string",
        };
        return (ty, None);
    }
    let (ty, projection) = match (kind, fixed(pieces)) {
        (_, Some(value)) if !value.contains(',') => ("string", Projection::Enum(vec![value])),
        (Kind::Date(format), _) => {
            let range = facts.range.cloned().unwrap_or_else(DateRange::default_range);
            ("string", dates(&format, &range))
        }
        (Kind::TwoDigits(from, to), _) => ("int", Projection::Integer { from, to, digits: Some(2) }),
        (Kind::Integer(_) | Kind::Text, _) => ("string", Projection::Injected),
    };
    if may_be_null {
        warn(format!(
            "rows without a value are in `{name}={}`, which the projection does not reach: no query sees them. With --no-projection, or from a \
             manifest with few values, they are seen",
            facts.null_name
        ));
    }
    if projection == Projection::Injected {
        warn(format!("every query has to name a value of `{name}` (`WHERE {name} = '…'`), since its values are not known"));
    }
    (ty, Some(projection))
}

fn dates(format: &DateFormat, DateRange(from, to): &DateRange) -> Projection {
    Projection::Date { format: format.pattern(), from: format.render(from), to: format.render(to), unit: format.smallest() }
}

/// The value, if there is but one.
fn fixed(pieces: &[Piece]) -> Option<String> {
    let text = |piece: &Piece| if let Piece::Text(text) = piece { Some(text.clone()) } else { None };
    pieces.iter().map(text).collect()
}

fn kind(pieces: &[Piece], schema: Option<&Schema>) -> Kind {
    if let Some(format) = DateFormat::parse(pieces) {
        return Kind::Date(format);
    }
    match pieces {
        [Piece::Time(_, Unit::Month)] => Kind::TwoDigits(1, 12),
        [Piece::Time(_, Unit::Day)] => Kind::TwoDigits(1, 31),
        [Piece::Time(_, Unit::Hour)] => Kind::TwoDigits(0, 23),
        [Piece::Time(_, Unit::Minute)] => Kind::TwoDigits(0, 59),
        [Piece::Column(name)] => match schema.and_then(|schema| schema.field_with_name(name).ok()).map(|field| field.data_type()) {
            Some(DataType::Date32 | DataType::Date64) => Kind::Date(DateFormat::days()),
            Some(DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16) => Kind::Integer("int"),
            Some(DataType::Int64 | DataType::UInt32) => Kind::Integer("bigint"),
            _ => Kind::Text,
        },
        _ => Kind::Text,
    }
}

/// An empty text is a null in a key.
fn may_be_null(piece: &Piece, schema: Option<&Schema>) -> bool {
    let column = match piece {
        Piece::Column(column) | Piece::Time(Some(column), _) => column,
        Piece::Text(_) | Piece::Time(None, _) | Piece::Varying(_) => return false,
    };
    let field = schema.and_then(|schema| schema.field_with_name(column).ok());
    field.is_none_or(|field| field.is_nullable() || matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8))
}

fn known(name: &str, values: &BTreeSet<String>, facts: &Facts<'_>, warnings: &mut Vec<String>) -> (&'static str, Option<Projection>) {
    let has_null = values.contains(facts.null_name);
    let others: Vec<&str> = values.iter().map(String::as_str).filter(|value| *value != facts.null_name).collect();
    let days: Option<Vec<NaiveDate>> = others.iter().map(|value| day(value)).collect();
    let numbers: Option<Vec<i64>> = others.iter().map(|value| number(value)).collect();
    let days = days.filter(|days| !days.is_empty());
    let numbers = numbers.filter(|numbers| !numbers.is_empty());
    if !facts.is_projected {
        let ty = if days.is_some() {
            "date"
        } else if numbers.is_some() {
            "bigint"
        } else {
            "string"
        };
        return (ty, None);
    }
    let mut warn = |text: String| warnings.push(text);
    let is_few = values.len() <= MAX_ENUM_VALUES && !values.iter().any(|value| value.contains(','));
    let ends = |days: &[NaiveDate]| Some((*days.iter().min()?, *days.iter().max()?));
    if let Some((from, to)) = days.as_deref().and_then(ends)
        && !has_null
        && (facts.range.is_some() || !is_few || (to - from).num_days() + 1 == values.len() as i64)
    {
        let range = match facts.range {
            Some(range) => range.clone(),
            None => DateRange(Moment::At(from.into()), Moment::At(to.into())),
        };
        if let DateRange(_, Moment::At(_)) = range {
            warn(format!("the projection ends with `{name}={to}`, the last value of the manifest; --date-range {from},NOW goes on"));
        }
        return ("string", Some(dates(&DateFormat::days(), &range)));
    }
    if let Some(numbers) = numbers
        && let (Some(from), Some(to)) = (numbers.iter().min(), numbers.iter().max())
        && !has_null
        && to.checked_sub(*from).and_then(|span| usize::try_from(span).ok()).is_some_and(|span| span + 1 == numbers.len())
    {
        return ("bigint", Some(Projection::Integer { from: *from, to: *to, digits: None }));
    }
    if !is_few {
        let seen = if has_null { format!("; rows without a value are in `{name}={}`", facts.null_name) } else { String::new() };
        warn(format!(
            "every query has to name a value of `{name}` (`WHERE {name} = '…'`), since it has too many of them to list, or one with a comma{seen}"
        ));
        return ("string", Some(Projection::Injected));
    }
    if has_null {
        warn(format!("a null of `{name}` is read as the text {:?}", facts.null_name));
    }
    ("string", Some(Projection::Enum(values.iter().cloned().collect())))
}

/// A day that has no other text.
fn day(value: &str) -> Option<NaiveDate> {
    let day = NaiveDate::parse_from_str(value, "%Y-%m-%d").ok()?;
    (value.len() == 10 && day.to_string() == value && day.checked_add_days(Days::new(1)).is_some()).then_some(day)
}

/// A whole number that has no other text.
fn number(value: &str) -> Option<i64> {
    let number: i64 = value.parse().ok()?;
    (number.to_string() == value).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_schema::{Field, TimeUnit};

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new("at", DataType::Timestamp(TimeUnit::Second, None), false),
            Field::new("late", DataType::Timestamp(TimeUnit::Second, None), true),
            Field::new("day", DataType::Date32, false),
            Field::new("n", DataType::Int16, false),
            Field::new("id", DataType::Int64, false),
            Field::new("text", DataType::Utf8, false),
            Field::new("flag", DataType::Boolean, false),
        ])
    }

    fn found(values: Values, range: Option<&str>, is_projected: bool, null_name: &str) -> (PartitionColumn, Vec<String>) {
        let (schema, range) = (schema(), range.map(|range| range.parse::<DateRange>().unwrap()));
        let facts = Facts { schema: Some(&schema), null_name, range: range.as_ref(), is_projected };
        let mut warnings = Vec::new();
        let column = column(&Folder { name: "p".to_owned(), values }, &facts, &mut warnings);
        (column, warnings)
    }

    fn properties(column: &PartitionColumn) -> String {
        let properties = column.projection.iter().flat_map(|projection| projection.properties("p"));
        properties.map(|(key, value)| format!("{}={value}", key.strip_prefix("projection.p.").unwrap())).collect::<Vec<_>>().join(" ")
    }

    fn time(column: &str, unit: Unit) -> Piece {
        Piece::Time(Some(column.to_owned()), unit)
    }

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    fn whole(column: &str) -> Piece {
        Piece::Column(column.to_owned())
    }

    /// What a folder is made of; its type without a projection and with one; the projection; a part of each warning.
    #[test]
    fn what_a_folder_is_made_of_decides() {
        use Unit::*;
        const INJECTED: &[&str] = &["has to name a value"];
        const LOST: &[&str] = &["does not reach"];
        const BOTH: &[&str] = &["does not reach", "has to name a value"];
        let day = "type=date format=yyyy-MM-dd range=NOW-10YEARS,NOW interval=1 interval.unit=DAYS";
        /// Pieces of a folder's value, and what is said of it.
        type Case<'a> = (Vec<Piece>, &'a str, &'a str, &'a str, &'a [&'a str]);
        let cases: Vec<Case<'_>> = vec![
            (vec![time("at", Year), text("-"), time("at", Month), text("-"), time("at", Day)], "date", "string", day, &[]),
            (vec![whole("day")], "date", "string", day, &[]),
            (vec![time("at", Year)], "int", "string", "type=date format=yyyy range=NOW-10YEARS,NOW interval=1 interval.unit=YEARS", &[]),
            (
                vec![Piece::Time(None, Year)],
                "int",
                "string",
                "type=date format=yyyy range=NOW-10YEARS,NOW interval=1 interval.unit=YEARS",
                &[],
            ),
            (vec![time("at", Month)], "int", "int", "type=integer range=1,12 digits=2", &[]),
            (vec![time("at", Day)], "int", "int", "type=integer range=1,31 digits=2", &[]),
            (vec![Piece::Time(None, Hour)], "int", "int", "type=integer range=0,23 digits=2", &[]),
            (vec![time("at", Minute)], "int", "int", "type=integer range=0,59 digits=2", &[]),
            (vec![time("late", Month)], "int", "int", "type=integer range=1,12 digits=2", LOST),
            (
                vec![time("at", Year), time("at", Month), text("T'"), time("at", Day)],
                "string",
                "string",
                "type=date format=yyyyMM'T'''dd range=NOW-10YEARS,NOW interval=1 interval.unit=DAYS",
                &[],
            ),
            // Of two columns, out of order, or with a gap: a text.
            (vec![time("at", Year), time("day", Month)], "string", "string", "type=injected", INJECTED),
            (vec![time("at", Month), time("at", Year)], "string", "string", "type=injected", INJECTED),
            (vec![time("at", Year), time("at", Day)], "string", "string", "type=injected", INJECTED),
            (vec![whole("n")], "int", "string", "type=injected", INJECTED),
            (vec![whole("id")], "bigint", "string", "type=injected", INJECTED),
            (vec![whole("flag")], "string", "string", "type=injected", INJECTED),
            (vec![whole("text")], "string", "string", "type=injected", BOTH),
            (vec![whole("missing")], "string", "string", "type=injected", BOTH),
            (vec![Piece::Varying("{{COMMIT_ID}}")], "string", "string", "type=injected", INJECTED),
            (vec![text("a")], "string", "string", "type=enum values=a", &[]),
        ];
        for (pieces, bare, ty, projection, expected) in cases {
            let (column, warnings) = found(Values::Made(pieces.clone()), None, false, HIVE_NULL);
            assert_eq!((column.ty, column.projection, warnings), (bare, None, vec![]), "{pieces:?}");
            let (column, warnings) = found(Values::Made(pieces.clone()), None, true, HIVE_NULL);
            assert_eq!((column.ty, properties(&column).as_str()), (ty, projection), "{pieces:?}");
            assert_eq!(warnings.len(), expected.len(), "{pieces:?}: {warnings:?}");
            assert!(warnings.iter().zip(expected).all(|(warning, part)| warning.contains(part)), "{pieces:?}: {warnings:?}");
        }
        let (_, warnings) = found(Values::Made(vec![whole("text")]), None, false, "none");
        assert!(warnings[0].contains("`p=none`") && warnings.len() == 1, "{warnings:?}");
    }

    #[test]
    fn a_range_takes_the_form_of_the_folder() {
        use Unit::*;
        let hours = vec![time("at", Year), time("at", Month), time("at", Day), text("-"), time("at", Hour)];
        for (pieces, range, expected) in [
            (hours.clone(), "2024-02-28,2024-03-01T15:30", "range=20240228-00,20240301-15 "),
            (hours, "2024-02-28,NOW+1DAYS", "range=20240228-00,NOW+1DAYS "),
            (vec![time("at", Year)], "2024-02-28,NOW", "range=2024,NOW "),
            (vec![time("at", Month)], "2024-02-28,NOW", "range=1,12 "),
        ] {
            let (column, _) = found(Values::Made(pieces), Some(range), true, HIVE_NULL);
            assert!(properties(&column).contains(expected), "{range}: {}", properties(&column));
        }
        for good in ["NOW-3YEARS,NOW", "NOW,NOW+12HOURS", "2024-01-01,2024-01-01", " 2024-01-01 , NOW "] {
            good.parse::<DateRange>().unwrap_or_else(|error| panic!("{good}: {error}"));
        }
        for bad in [
            "",
            "NOW",
            "2024-01-01",
            "2024-02-30,NOW",
            "NOW-YEARS,NOW",
            "NOW-1,NOW",
            "now,NOW",
            "NOW-3YEARS;,NOW",
            "2024-01-02,2024-01-01",
            "NOW-3YEARS',NOW",
        ] {
            assert!(bad.parse::<DateRange>().is_err(), "{bad}");
        }
    }

    /// Values, the range of the user; type and projection; a part of each warning; the type without a projection.
    #[test]
    fn values_that_are_known_decide() {
        let many: Vec<String> = (0..51).map(|number| format!("v{number:02}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let days = "type=date format=yyyy-MM-dd range=2024-02-28,2024-03-01 interval=1 interval.unit=DAYS";
        let on = "type=date format=yyyy-MM-dd range=2024-02-28,NOW interval=1 interval.unit=DAYS";
        /// Values of a folder in a manifest, and what is said of it.
        type Case<'a> = (Vec<&'a str>, Option<&'a str>, &'a str, &'a str, &'a [&'a str], &'a str);
        let cases: Vec<Case<'_>> = vec![
            (vec!["DE", "FR"], None, "string", "type=enum values=DE,FR", &[], "string"),
            (vec!["DE", HIVE_NULL], None, "string", "type=enum values=DE,__HIVE_DEFAULT_PARTITION__", &["is read as the text"], "string"),
            (vec!["a,b"], None, "string", "type=injected", &["with a comma"], "string"),
            (many.clone(), None, "string", "type=injected", &["too many"], "string"),
            (vec!["2024-02-28", "2024-02-29", "2024-03-01"], None, "string", days, &["--date-range 2024-02-28,NOW goes on"], "date"),
            (vec!["2024-02-28", "2024-03-01"], None, "string", "type=enum values=2024-02-28,2024-03-01", &[], "date"),
            (vec!["2024-02-28", "2024-03-01"], Some("2024-02-28,NOW"), "string", on, &[], "date"),
            (
                vec!["2024-02-28", HIVE_NULL],
                None,
                "string",
                "type=enum values=2024-02-28,__HIVE_DEFAULT_PARTITION__",
                &["as the text"],
                "date",
            ),
            (vec!["2024-02-30"], None, "string", "type=enum values=2024-02-30", &[], "string"),
            (vec!["8", "9", "10"], None, "bigint", "type=integer range=8,10", &[], "bigint"),
            (vec!["-1", "0", "1"], None, "bigint", "type=integer range=-1,1", &[], "bigint"),
            (vec!["1", "3"], None, "string", "type=enum values=1,3", &[], "bigint"),
            (vec!["01", "02"], None, "string", "type=enum values=01,02", &[], "string"),
            (
                vec!["-9223372036854775808", "9223372036854775807"],
                None,
                "string",
                "type=enum values=-9223372036854775808,9223372036854775807",
                &[],
                "bigint",
            ),
            (vec![HIVE_NULL], None, "string", "type=enum values=__HIVE_DEFAULT_PARTITION__", &["as the text"], "string"),
        ];
        for (values, range, ty, projection, expected, bare) in cases {
            let of = || Values::Known(values.iter().map(|value| (*value).to_owned()).collect());
            let (column, warnings) = found(of(), range, true, HIVE_NULL);
            assert_eq!((column.ty, properties(&column).as_str()), (ty, projection), "{values:?}");
            assert!(
                warnings.len() == expected.len() && warnings.iter().zip(expected).all(|(it, part)| it.contains(part)),
                "{values:?}: {warnings:?}"
            );
            assert_eq!(found(of(), range, false, HIVE_NULL).0.ty, bare, "{values:?}");
        }
    }
}

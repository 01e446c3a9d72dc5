//! Properties of all CSV and NDJSON values, at and beyond the bounds of every type: a value is read exactly or refused, and treated the same among
//! the first rows and after them.

use super::columns::{ColumnType, TYPE_NAMES};
use super::tests::cell;
use super::text::{Dialect, TextRows};
use super::{InputError, parse_override};
use arrow_array::{Array, RecordBatch};
use lakegate_base::hex::to_hex;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof};
use proptest::{prop_assert, prop_assert_eq, proptest};

/// Values at and beyond bounds. In NDJSON each stands as a text, and as itself where it is JSON.
const VALUES: &[&str] = &[
    // Whole numbers, and what is read as one by those who are not strict.
    "0",
    "1",
    "-7",
    "5",
    "02134",
    "00",
    "-0",
    "+5",
    "+41791234567",
    "-00",
    "1_000",
    "1,000",
    "0x10",
    "0b1",
    "1.",
    "1.0",
    "1e0",
    "1e3",
    "9007199254740991",
    "9007199254740992",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999",
    " 5",
    "5 ",
    "\t5",
    "٣",
    // Numbers with a fraction or an exponent.
    "1.5",
    "01.5",
    "+1.5",
    ".5",
    "-.5",
    "1.50",
    "-0.0",
    "0.1",
    "0.10000000000000001",
    "12345678901234567.89",
    "1e400",
    "-1e400",
    "1e-400",
    "5e-324",
    "4e-324",
    "1.7976931348623157e308",
    "1.7976931348623159e308",
    "1E5",
    "1e+5",
    "1e5e5",
    "1.5.5",
    "NaN",
    "nan",
    "-nan",
    "inf",
    "-inf",
    "+inf",
    "Infinity",
    "-Infinity",
    "1f",
    "1.5d",
    "0x1p3",
    "1e",
    "e5",
    "-",
    ".",
    "",
    // What stands for true and false.
    "true",
    "false",
    "TRUE",
    "False",
    "t",
    "f",
    "T",
    "yes",
    "no",
    "y",
    "n",
    "on",
    "off",
    "1",
    "0",
    "tru",
    " true",
    // Dates and times.
    "2024-01-02",
    "2024-02-29",
    "2023-02-29",
    "2024-02-30",
    "0000-00-00",
    "0000-01-01",
    "0001-01-01",
    "9999-12-31",
    "10000-01-01",
    "2024-1-2",
    "20240102",
    "2024/01/02",
    "2024-13-01",
    "2024-01-02T",
    "2024-01-02T03:04",
    "2024-01-02T03:04:05",
    "2024-01-02 03:04:05",
    "2024-01-02T03:04:05Z",
    "2024-01-02t03:04:05z",
    "2024-01-02T03:04:05+00:00",
    "2024-01-02T03:04:05-00:00",
    "2024-01-02T03:04:05+02:00",
    "2024-01-02T03:04:05+0200",
    "2024-01-02T03:04:05+02",
    "2024-01-02T03:04:05+14:00",
    "2024-01-02T03:04:05+24:00",
    "2024-01-02T03:04:05+01:60",
    "2024-01-02T03:04:60Z",
    "2024-01-02T23:59:60Z",
    "2024-01-02T24:00:00Z",
    "2024-01-02T03:60:00Z",
    "2024-01-02T03:04:05.1Z",
    "2024-01-02T03:04:05.123456Z",
    "2024-01-02T03:04:05.1234567Z",
    "2024-01-02T03:04:05.123456789Z",
    "2024-01-02T03:04:05.1234567891Z",
    "2024-01-02T03:04:05.1234560000000Z",
    "2024-01-02T03:04:05.Z",
    "2024-01-02T03:04:05.123456789",
    "1677-09-21T00:12:43.145224193Z",
    "1677-09-21T00:12:43.145224192Z",
    "1677-09-21T00:12:43.145224191Z",
    "2262-04-11T23:47:16.854775807Z",
    "2262-04-11T23:47:16.854775808Z",
    "3024-01-02T03:04:05Z",
    "3024-01-02T03:04:05.123456789Z",
    "1969-12-31T23:59:59.999999Z",
    "1969-12-31T23:59:59.999999999Z",
    "0000-01-01T00:00:00Z",
    "0000-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59-23:59",
    "2024-01-02T03:04:05Z ",
    "2024-01-02T03:04:05 Z",
    "2024-01-02  03:04:05",
    "2024-01-02T03:04:05UTC",
    "2024-01-02T03:04:05 Europe/Zurich",
    "23:59:59",
    "23:59:60",
    "24:00:00",
    "00:00:00.123456",
    "00:00:00.1234567",
    // Others.
    "x",
    "null",
    "NULL",
    "None",
    "AQI=",
    "A",
    "00000000-0000-0000-0000-00000000000A",
    "é",
    "\u{feff}",
    "\u{0}",
];

/// Values of NDJSON that are not strings.
const JSON_VALUES: &[&str] = &[
    "0",
    "1",
    "-0",
    "-0.0",
    "1.0",
    "1.5",
    "1e3",
    "1E+3",
    "1e400",
    "1e-400",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "12345678901234567.89",
    "0.10000000000000001",
    "true",
    "false",
    "[]",
    "[1, 2]",
    "{}",
    "{\"a\":1e400}",
    "[\"2024-01-02\"]",
];

/// One column of one row, read as the only one.
fn rows(dialect: Dialect) -> TextRows {
    TextRows::new("t".into(), dialect, vec!["v".into()])
}

/// The type that is chosen from these, and the rows.
fn sampled(dialect: Dialect, values: &[&str]) -> (ColumnType, TextRows) {
    let mut rows = rows(dialect);
    for value in values {
        rows.put(0, value);
        rows.end_row(1);
    }
    let (schema, _) = rows.choose_types(&[], None);
    (ColumnType::from_field(schema.field(0)).unwrap(), rows)
}

fn shown(batch: &RecordBatch) -> String {
    cell(batch.column(0), batch.num_rows() - 1)
}

/// What a value after the first rows becomes.
fn late(rows: &mut TextRows, value: &str) -> Result<String, InputError> {
    rows.take().unwrap().unwrap();
    rows.put(0, value);
    rows.end_row(2);
    rows.take().map(|batch| shown(&batch.unwrap()))
}

/// A number as its sign, its digits that count and the power of ten of the first.
fn number(text: &str) -> Option<(bool, String, i64)> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let Some(first) = digits.find(|digit| digit != '0') else { return Some((negative, String::new(), 0)) };
    let power: i64 = power.parse().ok()?;
    let place = i64::try_from(whole.len()).ok()? - i64::try_from(first).ok()?;
    Some((negative, digits.get(first..)?.trim_end_matches('0').to_owned(), power + place))
}

/// The instant that a text means; one without a zone is UTC.
fn instant(text: &str) -> Option<(i64, u32)> {
    let mut text = text.to_ascii_uppercase().replacen(' ', "T", 1);
    if !text.ends_with('Z') && !text.get(19..).is_some_and(|rest| rest.contains(['+', '-'])) {
        text.push('Z');
    }
    let zone = text.len() - 5;
    if matches!(text.as_bytes().get(zone), Some(b'+' | b'-')) {
        text.insert(zone + 3, ':');
    }
    // A second more than a clock has is not the next minute.
    (text.get(17..19)? != "60").then_some(())?;
    let read = chrono::DateTime::parse_from_rfc3339(&text).ok()?;
    Some((read.timestamp(), read.timestamp_subsec_nanos()))
}

/// Is this what was written? `nearest`: a float may be the nearest one.
fn same(column_type: &ColumnType, written: &str, shown: &str, nearest: bool) -> bool {
    match column_type {
        ColumnType::Bool => written.eq_ignore_ascii_case(shown),
        ColumnType::Float(_) if number(written).is_none() => {
            let (written, shown) = (written.trim_start_matches('+').to_lowercase(), shown.to_lowercase());
            // Not-a-number has no sign that counts; infinity has a long form.
            shown == "nan" && written.ends_with("nan") || written.replace("infinity", "inf") == shown
        }
        ColumnType::Float(arrow_schema::DataType::Float32) => {
            written.parse::<f32>().unwrap().to_bits() == shown.parse::<f32>().unwrap().to_bits()
        }
        ColumnType::Float(_) if nearest => written.parse::<f64>().unwrap().to_bits() == shown.parse::<f64>().unwrap().to_bits(),
        ColumnType::Float(_) | ColumnType::Decimal(..) => number(written) == number(shown),
        ColumnType::Timestamp(_) | ColumnType::DateTime(_) => instant(written).is_some() && instant(written) == instant(shown),
        ColumnType::Time => instant(&format!("2000-01-01T{written}")) == instant(&format!("2000-01-01T{shown}")),
        ColumnType::Json => to_hex(written.as_bytes()) == shown,
        ColumnType::Binary => {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD.decode(written).is_ok_and(|bytes| to_hex(&bytes) == shown)
        }
        ColumnType::Uuid => written.to_ascii_lowercase().replace('-', "") == shown,
        ColumnType::Integer(_) | ColumnType::Date | ColumnType::Utf8 => written == shown,
    }
}

/// `a` is all that a file begins with, `b` comes after it, or with it.
fn judged_alike(dialect: Dialect, a: &str, b: &str) -> Result<(), String> {
    let (alone, mut rows) = sampled(dialect, &[a]);
    let (together, mut both) = sampled(dialect, &[a, b]);
    let among = shown(&both.take().unwrap().unwrap());
    let plain = |raw: &str| if raw.starts_with('"') { serde_json::from_str(raw).unwrap() } else { raw.to_owned() };
    let text = if dialect == Dialect::Json && together != ColumnType::Json { plain(b) } else { b.to_owned() };
    if !same(&together, &text, &among, false) {
        return Err(format!("{b:?} among the first rows became {among:?} ({together})"));
    }
    match late(&mut rows, b) {
        Ok(after) if alone != together || after != among => {
            Err(format!("{b:?} after {a:?} ({alone}) became {after:?}, with it {among:?} ({together})"))
        }
        Err(error) if alone == together => Err(format!("{b:?} after {a:?} is refused, with it it is {alone}: {error}")),
        Err(error) if !error.to_string().contains("t, line 2, column `v`: ") => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn json_values() -> Vec<String> {
    let texts = VALUES.iter().map(|value| serde_json::to_string(value).unwrap());
    texts.chain(JSON_VALUES.iter().map(|value| (*value).to_owned())).collect()
}

#[test]
fn a_value_is_judged_alike_before_and_after_the_first_rows_have_chosen_the_type() {
    let json = json_values();
    let json: Vec<&str> = json.iter().map(String::as_str).collect();
    for (dialect, values) in [(Dialect::Plain, VALUES), (Dialect::Json, &json)] {
        // The first rows of each type that is ever chosen: all values would be as many again for nothing.
        let mut known = Vec::new();
        for a in values {
            let (alone, _) = sampled(dialect, &[a]);
            if known.iter().filter(|known| **known == alone).count() >= 3 {
                continue;
            }
            known.push(alone);
            for b in values {
                judged_alike(dialect, a, b).unwrap_or_else(|problem| panic!("{dialect:?}: {problem}"));
            }
        }
    }
}

/// What a type that `--column` names makes of a value.
fn asked(dialect: Dialect, type_name: &str, value: &str) -> (ColumnType, Result<String, InputError>) {
    let mut rows = rows(dialect);
    let column = parse_override(&format!("v={type_name}")).unwrap();
    let column_type = column.1.clone();
    rows.choose_types(&[column], None);
    rows.put(0, value);
    rows.end_row(7);
    (column_type, rows.take().map(|batch| shown(&batch.unwrap())))
}

#[test]
fn a_type_that_is_asked_for_holds_a_value_as_it_is_written_or_refuses_it() {
    let names: Vec<String> = TYPE_NAMES.split(", ").filter(|name| !name.contains("P,S")).map(str::to_owned).collect();
    for name in names.iter().map(String::as_str).chain(["decimal(5,2)", "decimal(38,0)", "decimal(38,38)"]) {
        let mut taken = 0;
        for value in VALUES {
            let (column_type, outcome) = asked(Dialect::Plain, name, value);
            match outcome {
                Ok(shown) => {
                    assert!(same(&column_type, value, &shown, true), "{name} of {value:?} became {shown:?}");
                    taken += 1;
                }
                Err(error) => {
                    let error = error.to_string();
                    assert!(error.contains("t, line 7, column `v`: ") && error.contains("--column v=string"), "{error}");
                }
            }
        }
        assert!(taken > 0 && (taken < VALUES.len() || name == "utf8"), "{name}: {taken} taken");
    }
    // A number beyond the room of a float is neither infinite nor zero.
    for (name, value) in [
        ("float64", "1e400"),
        ("float64", "1e-400"),
        ("float32", "1e39"),
        ("float32", "1e-50"),
        ("bool", "1"),
        ("int64", "007"),
        ("timestamp", "2024-01-02"),
    ] {
        assert!(asked(Dialect::Plain, name, value).1.is_err(), "{name} of {value}");
    }
    for (name, value) in [
        ("float64", "0.1000000000000000000001"),
        ("float64", ".5"),
        ("float64", "-inf"),
        ("timestamp", "2024-01-02 03:04:05"),
        ("decimal(5,2)", "123.450"),
    ] {
        assert!(asked(Dialect::Plain, name, value).1.is_ok(), "{name} of {value}");
    }
}

/// Text that is nearly a value of some type.
fn nearly() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(VALUES).prop_map(str::to_owned),
        "[-+]?[0-9]{1,22}",
        "[-+]?[0-9]{0,18}\\.?[0-9]{0,18}([eE][-+]?[0-9]{1,3})?",
        any::<f64>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        "[0-9]{4}-[01][0-9]-[0-3][0-9]",
        "[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,10})?(Z|z|[-+][0-2][0-9]:?[0-6][0-9])?",
        "(true|false|TRUE|[tfyn]|\\PC{0,3})",
        Just("0".repeat(400)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_two_values_are_judged_alike(a in nearly(), b in nearly(), as_json in any::<bool>()) {
        if as_json {
            let quoted = |text: &str| serde_json::to_string(text).unwrap();
            prop_assert_eq!(judged_alike(Dialect::Json, &quoted(&a), &quoted(&b)), Ok(()));
            let bare = |text: &str| serde_json::from_str::<serde_json::Number>(text).map_or_else(|_| quoted(text), |_| text.to_owned());
            prop_assert_eq!(judged_alike(Dialect::Json, &bare(&a), &bare(&b)), Ok(()));
        } else {
            prop_assert_eq!(judged_alike(Dialect::Plain, &a, &b), Ok(()));
        }
    }

    #[test]
    fn any_value_is_held_as_asked_or_refused(value in nearly(), name in proptest::sample::select(TYPE_NAMES.split(", ").filter(|name| !name.contains("P,S")).collect::<Vec<_>>())) {
        let (column_type, outcome) = asked(Dialect::Plain, name, &value);
        if let Ok(shown) = outcome {
            prop_assert!(same(&column_type, &value, &shown, true), "{} of {:?} became {:?}", name, value, shown);
        }
    }

    /// Values that few columns of many have come out where they were put.
    #[test]
    fn a_wide_table_of_few_values_is_what_it_was(cells in proptest::collection::vec((0..6_usize, "[a-z]{0,3}"), 0..40), cut in 1..9_usize) {
        let names: Vec<String> = (0..6).map(|column| format!("c{column}")).collect();
        let mut rows = TextRows::new("t".into(), Dialect::Plain, names);
        rows.choose_types(&[], None);
        let mut expected: Vec<[Option<String>; 6]> = Vec::new();
        let mut read: Vec<[Option<String>; 6]> = Vec::new();
        let mut take = |rows: &mut TextRows| {
            while let Some(batch) = rows.take().unwrap() {
                for row in 0..batch.num_rows() {
                    let value = |column: usize| batch.column(column).is_valid(row).then(|| cell(batch.column(column), row));
                    read.push([0, 1, 2, 3, 4, 5].map(value));
                }
            }
        };
        for row in cells.chunks(cut) {
            let mut wanted: [Option<String>; 6] = Default::default();
            for (column, text) in row {
                if !rows.has(*column) {
                    wanted[*column] = Some(text.clone());
                    rows.put(*column, text);
                }
            }
            rows.end_row(1);
            expected.push(wanted);
            if expected.len().is_multiple_of(4) {
                take(&mut rows);
            }
        }
        take(&mut rows);
        prop_assert_eq!(read, expected);
    }
}

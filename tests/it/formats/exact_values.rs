//! A property of the readers of binary files: values come out as text that parses back to them, or the load is refused.
//!
//! Each type is tested with values at and beyond the bounds of its unit, one value per file, with every reader of a binary format. The texts are
//! parsed by independent code.

use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, FixedSizeListArray, ListArray, MapArray, PrimitiveArray, RecordBatch, StringArray, StructArray};
use arrow_buffer::{OffsetBuffer, i256};
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::{DataType, Field, Fields, TimeUnit};
use bytes::Bytes;
use lakegate_files::{HivePartitioning, Message, MessageReader, ReadOptions, resolve};
use lakegate_guest::encode::{EncodeError, Encoders};
use lakegate_guest::ipc::Decoder;
use lakegate_guest::spec::{CsvOptions, Format, JsonOptions};
use lakegate_tests::output::CollectedOutput;
use parquet::arrow::ArrowWriter;
use std::sync::Arc;

const DAY_SECONDS: i128 = 86_400;

/// A value, by the number that its column holds.
struct Case {
    array: ArrayRef,
    number: i128,
    /// Must it be taken? Beyond the bounds of its type it may be refused.
    taken: bool,
}

fn case<T: ArrowPrimitiveType>(data_type: DataType, number: T::Native, taken: bool) -> Case
where
    T::Native: Into<i128>,
{
    let array = PrimitiveArray::<T>::from_iter_values([number]).with_data_type(data_type);
    Case { array: Arc::new(array), number: number.into(), taken }
}

/// Values of a unit of a day: its bounds, and those of its integer.
fn cases() -> Vec<Case> {
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    let mut cases = Vec::new();
    for (unit, of_second) in [(Second, 1), (Millisecond, 1_000)] {
        for number in [0, 1, DAY_SECONDS as i32 * of_second - 1, DAY_SECONDS as i32 * of_second, -1, i32::MIN, i32::MAX] {
            let taken = (0..DAY_SECONDS as i32 * of_second).contains(&number);
            let data_type = DataType::Time32(unit);
            cases.push(if unit == Second {
                case::<Time32SecondType>(data_type, number, taken)
            } else {
                case::<Time32MillisecondType>(data_type, number, taken)
            });
        }
    }
    for (unit, of_second) in [(Microsecond, 1_000_000), (Nanosecond, 1_000_000_000)] {
        let day = DAY_SECONDS as i64 * of_second;
        for number in [0, 1, day - 1, day, 2 * day, -1, i64::MIN, i64::MAX, i64::MAX / 1_000, i64::MAX / 1_000 + 1] {
            let taken = (0..day).contains(&number);
            let data_type = DataType::Time64(unit);
            let case = if unit == Microsecond { case::<Time64MicrosecondType> } else { case::<Time64NanosecondType> };
            cases.push(case(data_type, number, taken));
        }
    }
    for number in [0, -1, 1, -719_162, 2_932_896, 2_932_897, -719_529, i32::MIN, i32::MAX] {
        cases.push(case::<Date32Type>(DataType::Date32, number, true));
    }
    for number in
        [0, 86_400_000, -86_400_000, 253_402_214_400_000, 1, -1, 86_399_999, i64::MIN, i64::MAX, i64::MAX / 86_400_000 * 86_400_000]
    {
        cases.push(case::<Date64Type>(DataType::Date64, number, number % 86_400_000 == 0));
    }
    for zone in [None, Some("UTC"), Some("+02:30")] {
        let data_type = |unit| DataType::Timestamp(unit, zone.map(Into::into));
        for number in [
            0,
            -1,
            1,
            253_402_300_799,
            253_402_300_800,
            -62_135_596_800,
            -62_167_219_201,
            i64::MIN / 1_000_000_000,
            i64::MAX / 1_000_000_000,
        ] {
            cases.push(case::<TimestampSecondType>(data_type(Second), number, true));
            cases.push(case::<TimestampMillisecondType>(data_type(Millisecond), number.saturating_mul(1_000) + 7, true));
            cases.push(case::<TimestampMicrosecondType>(data_type(Microsecond), number.saturating_mul(1_000_000) - 7, true));
        }
        for number in [0, -1, i64::MIN, i64::MAX, i64::MAX / 1_000] {
            cases.push(case::<TimestampNanosecondType>(data_type(Nanosecond), number, true));
            cases.push(case::<TimestampMicrosecondType>(data_type(Microsecond), number, true));
            cases.push(case::<TimestampMillisecondType>(data_type(Millisecond), number, true));
            cases.push(case::<TimestampSecondType>(data_type(Second), number, number.unsigned_abs() < i64::MAX as u64 / 2));
        }
    }
    for number in [0, -1, i64::MIN, i64::MAX] {
        cases.push(case::<DurationSecondType>(DataType::Duration(Second), number, true));
        cases.push(case::<DurationMillisecondType>(DataType::Duration(Millisecond), number, true));
        cases.push(case::<DurationMicrosecondType>(DataType::Duration(Microsecond), number, true));
        cases.push(case::<DurationNanosecondType>(DataType::Duration(Nanosecond), number, true));
        cases.push(case::<Int64Type>(DataType::Int64, number, true));
    }
    for number in [0, u64::MAX] {
        cases.push(case::<UInt64Type>(DataType::UInt64, number, true));
    }
    for (precision, scale) in [(1, 0), (3, 2), (3, 5), (9, 9), (18, 0), (38, 0), (38, 38), (5, -3)] {
        let bound = 10_i128.pow(u32::from(precision));
        for number in [0, 1, -1, bound - 1, 1 - bound, bound, -bound, bound + bound / 4] {
            let taken = number.abs() < bound;
            cases.push(case::<Decimal128Type>(DataType::Decimal128(precision, scale), number, taken));
            let wide = PrimitiveArray::<Decimal256Type>::from_iter_values([i256::from_i128(number)]);
            let wide = Arc::new(wide.with_data_type(DataType::Decimal256(precision, scale)));
            cases.push(Case { array: wide, number, taken });
            if precision <= 9 {
                cases.push(case::<Decimal32Type>(DataType::Decimal32(precision, scale), number as i32, taken));
            }
            if precision <= 18 {
                cases.push(case::<Decimal64Type>(DataType::Decimal64(precision, scale), number as i64, taken));
            }
        }
    }
    cases
}

/// A file that holds an array as its column `v`; [`None`] if its writer does not take it.
fn files(array: &ArrayRef) -> Vec<(&'static str, Vec<u8>)> {
    let field = Field::new("v", array.data_type().clone(), true);
    let batch = RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(vec![field])), vec![array.clone()]).expect("one column");
    let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema()).expect("a stream");
    stream.write(&batch).expect("memory");
    let mut file = FileWriter::try_new(Vec::new(), &batch.schema()).expect("a file");
    file.write(&batch).expect("memory");
    file.finish().expect("memory");
    let mut files = vec![("stream.arrows", stream.into_inner().expect("memory")), ("file.arrow", file.into_inner().expect("memory"))];
    let parquet = || -> Option<Vec<u8>> {
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).ok()?;
        writer.write(&batch).ok()?;
        writer.into_inner().ok()
    };
    files.extend(parquet().map(|parquet| ("file.parquet", parquet)));
    files
}

/// What a load of the file would write in a format, or why it is refused.
fn loaded(name: &str, content: &[u8], format: &Format) -> Result<String, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    std::fs::write(&path, content).expect("the folder can be written");
    let inputs = resolve(&[path.display().to_string()], Some("t"), HivePartitioning::Off).map_err(|error| error.to_string())?;
    let mut feed = MessageReader::start(inputs, ReadOptions::default()).expect("a thread");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut out = CollectedOutput::default();
    let mut encoder = None;
    while let Some(message) = runtime.block_on(feed.next()) {
        let message: Bytes = match message.map_err(|error| error.to_string())? {
            Message::Migrate(ipc) | Message::Insert(ipc) => ipc,
        };
        let (schema, batches) = Decoder::default().decode(message.to_vec()).map_err(|error| error.to_string())?;
        for rows in batches {
            let encoder = match &mut encoder {
                Some(encoder) => encoder,
                None => encoder.insert(Encoders::new(format.clone(), None).open(&schema).map_err(refusal)?),
            };
            encoder.write(&rows.batch, 0..rows.batch.num_rows(), &mut out).map_err(refusal)?;
        }
    }
    encoder.into_iter().try_for_each(|encoder| encoder.finish(&mut out).map(drop)).map_err(refusal)?;
    Ok(String::from_utf8(out.0).expect("text"))
}

fn refusal(error: EncodeError) -> String {
    error.to_string()
}

/// The number that a text stands for in a column of this type.
fn number(data_type: &DataType, text: &str) -> Option<i128> {
    match data_type {
        DataType::Time32(unit) | DataType::Time64(unit) => clock(text, of_second(*unit)),
        DataType::Date32 => days(text),
        DataType::Date64 => Some(days(text)? * DAY_SECONDS * 1_000),
        DataType::Timestamp(unit, _) => {
            let (date, rest) = text.split_once('T')?;
            let zone = rest.find(['Z', '+', '-'])?;
            let (time, zone) = rest.split_at(zone);
            let offset = match zone {
                "Z" => 0,
                zone => {
                    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
                    let size = hours.parse::<i128>().ok()? * 3_600 + minutes.parse::<i128>().ok()? * 60;
                    if zone.starts_with('-') { -size } else { size }
                }
            };
            Some((days(date)? * DAY_SECONDS - offset) * of_second(*unit) + clock(time, of_second(*unit))?)
        }
        DataType::Duration(_) => text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic()).parse().ok(),
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => {
            let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
            let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
            let power = exponent.parse::<i32>().ok()? - i32::try_from(fraction.len()).ok()? + i32::from(*scale);
            let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
            let zeros = 10_i128.checked_pow(power.unsigned_abs())?;
            if power >= 0 { digits.checked_mul(zeros) } else { (digits % zeros == 0).then(|| digits / zeros) }
        }
        _ => text.parse().ok(),
    }
}

fn of_second(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// `15:04:05.999` in parts of a second.
fn clock(text: &str, of_second: i128) -> Option<i128> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let parts: Vec<i128> = clock.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hours, minutes, seconds] = parts.as_slice() else { return None };
    let nanoseconds: i128 = format!("{fraction:0<9}").parse().ok()?;
    let part = nanoseconds * of_second;
    (part % 1_000_000_000 == 0).then(|| (hours * 3_600 + minutes * 60 + seconds) * of_second + part / 1_000_000_000)
}

/// `2006-01-02` in days since 1970, in the proleptic calendar.
fn days(text: &str) -> Option<i128> {
    let (sign, unsigned) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let parts: Vec<i128> = unsigned.split('-').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [year, month, day] = *parts.as_slice() else { return None };
    let year = sign * year - i128::from(month <= 2);
    let (cycle, year) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(cycle * 146_097 + year * 365 + year / 4 - year / 100 + day_of_year - 719_468)
}

/// The field of the one row of an object in a format.
fn value<'a>(format: &Format, text: &'a str) -> Option<&'a str> {
    match format {
        Format::Json(_) => text.trim_end().strip_prefix("{\"v\":")?.strip_suffix('}').map(|value| value.trim_matches('"')),
        _ => text.trim_end().strip_prefix("v\n"),
    }
}

fn formats() -> [Format; 2] {
    [Format::Csv(CsvOptions::default()), Format::Json(JsonOptions::default())]
}

#[test]
fn every_value_comes_out_as_it_went_in_or_the_load_is_refused() {
    let (mut taken, mut refused) = (0, 0);
    for case in cases() {
        let data_type = case.array.data_type();
        for (name, content) in files(&case.array) {
            for format in formats() {
                let what = format!(
                    "{} of {data_type} in {name} as {}",
                    case.number,
                    if matches!(format, Format::Json(_)) { "json" } else { "csv" }
                );
                match loaded(name, &content, &format) {
                    Ok(text) => {
                        let found = value(&format, &text).and_then(|value| number(data_type, value));
                        assert_eq!(found, Some(case.number), "{what}: {text:?}");
                        taken += 1;
                    }
                    Err(message) => {
                        // The writer of Parquet has a bound of its own, in which the value is another one.
                        assert!(!case.taken, "{what} is refused: {message}");
                        assert!(message.contains("row 1, column `v`: ") && message.contains(name), "{what}: {message}");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(taken > 1_000 && refused > 300, "{taken} taken, {refused} refused");
}

/// A time of day that is none, inside of other values and below a null.
#[test]
fn what_is_nested_is_refused_by_its_row_and_its_way() {
    let times = Arc::new(PrimitiveArray::<Time32SecondType>::from(vec![0, 1, 86_400, 3])) as ArrayRef;
    let item = Arc::new(Field::new("element", times.data_type().clone(), true));
    let list = |nulls| Arc::new(ListArray::new(item.clone(), OffsetBuffer::from_lengths([1, 2, 1]), times.clone(), nulls)) as ArrayRef;
    let fields = Fields::from(vec![Field::new("a", times.data_type().clone(), true)]);
    let record = Arc::new(StructArray::new(fields.clone(), vec![times.clone()], None)) as ArrayRef;
    let pair = Fields::from(vec![Field::new("keys", DataType::Utf8, false), Field::new("values", times.data_type().clone(), true)]);
    let names = Arc::new(StringArray::from(vec!["a", "b", "c", "d"])) as ArrayRef;
    let entries = StructArray::new(pair.clone(), vec![names, times.clone()], None);
    let map = MapArray::new(
        Arc::new(Field::new("entries", DataType::Struct(pair), false)),
        OffsetBuffer::from_lengths([1, 3]),
        entries,
        None,
        false,
    );
    let fixed = FixedSizeListArray::new(item.clone(), 2, times.clone(), None);
    for (array, place) in [
        (list(None), "row 2, column `v[]`: "),
        (record, "row 3, column `v.a`: "),
        (Arc::new(map) as ArrayRef, "row 2, column `v.value`: "),
        (Arc::new(fixed) as ArrayRef, "row 2, column `v[]`: "),
    ] {
        for (name, content) in files(&array).into_iter().take(2) {
            let message = loaded(name, &content, &Format::Json(JsonOptions::default())).expect_err("a value is no time of day");
            assert!(message.contains(place), "{name}: {message}");
        }
    }
    let hidden = list(Some(vec![true, false, true].into()));
    for (name, content) in files(&hidden).into_iter().take(2) {
        let text = loaded(name, &content, &Format::Json(JsonOptions::default())).expect("what lies below a null is nothing");
        assert_eq!(text, "{\"v\":[\"00:00:00\"]}\n{\"v\":null}\n{\"v\":[\"00:00:03\"]}\n", "{name}");
    }
}

/// Columns and fields of one name, of which JSON would keep one.
#[test]
fn equal_names_are_refused_at_every_level() {
    let ints = Arc::new(PrimitiveArray::<Int64Type>::from(vec![1])) as ArrayRef;
    let duplicate = Fields::from(vec![Field::new("a", DataType::Int64, true), Field::new("a", DataType::Int64, true)]);
    let record = Arc::new(StructArray::new(duplicate.clone(), vec![ints.clone(), ints.clone()], None)) as ArrayRef;
    let item = Arc::new(Field::new("item", record.data_type().clone(), true));
    let list = Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([1]), record.clone(), None)) as ArrayRef;
    for format in formats() {
        for array in [&record, &list] {
            for (name, content) in files(array) {
                let message = loaded(name, &content, &format).expect_err("a field is there twice");
                assert!(message.contains("column `v`: its struct names the field `a` twice"), "{name}: {message}");
            }
        }
        let batch = RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(duplicate.clone())), vec![ints.clone(), ints.clone()])
            .expect("a batch");
        let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema()).expect("a stream");
        stream.write(&batch).expect("memory");
        let message = loaded("t.arrows", &stream.into_inner().expect("memory"), &format).expect_err("a column is there twice");
        assert!(message.contains("t.arrows, column `a`: two columns have this name"), "{message}");
    }
}

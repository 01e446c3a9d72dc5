//! Converts Arrow types to those that CloudQuery's writers accept: views, dictionaries and run-end encodings become plain columns, also inside nested
//! types.

use super::InputError;
use super::exact::Interval;
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal32Type, Decimal64Type, Int16Type, Int32Type, Int64Type, RunEndIndexType};
use arrow_array::{
    Array, ArrayRef, Decimal128Array, FixedSizeListArray, GenericListArray, IntervalDayTimeArray, IntervalMonthDayNanoArray,
    IntervalYearMonthArray, MapArray, OffsetSizeTrait, RecordBatch, RecordBatchOptions, RunArray, StructArray, UInt64Array,
};
use arrow_buffer::{ArrowNativeType, IntervalDayTime, IntervalMonthDayNano, OffsetBuffer, ScalarBuffer};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Fields, IntervalUnit, Schema, SchemaRef};
use arrow_select::take::take;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Maximum nesting; the destination has its own, lower limit.
const MAX_DEPTH: usize = 64;

/// The type that a column is sent as; an error describes what cannot be sent.
pub(crate) fn plain_type(data_type: &DataType, depth: usize) -> Result<DataType, String> {
    if depth > MAX_DEPTH {
        return Err(format!("it is nested more than {MAX_DEPTH} deep"));
    }
    let child = |field: &Arc<Field>| -> Result<Arc<Field>, String> {
        let inner = plain_type(field.data_type(), depth + 1)?;
        Ok(Arc::new(field.as_ref().clone().with_data_type(inner)))
    };
    Ok(match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => plain_type(values, depth + 1)?,
        DataType::RunEndEncoded(_, values) => plain_type(values.data_type(), depth + 1)?,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => DataType::Decimal128(*precision, *scale),
        DataType::List(field) | DataType::ListView(field) => DataType::List(child(field)?),
        DataType::LargeList(field) | DataType::LargeListView(field) => DataType::LargeList(child(field)?),
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(child(field)?, *size),
        DataType::Struct(fields) => {
            if let Some(name) = named_twice(fields) {
                return Err(format!(
                    "its struct names the field `{name}` twice, of which JSON and most readers keep one; rename one of them"
                ));
            }
            DataType::Struct(fields.iter().map(child).collect::<Result<_, _>>()?)
        }
        DataType::Map(entries, sorted) => DataType::Map(plain_entries(entries, depth)?, *sorted),
        DataType::Union(..) => return Err("union types cannot be sent; turn it into a struct or into text first".to_owned()),
        other => other.clone(),
    })
}

/// The entries of a map, whose two fields are identified by position, whatever their names are.
fn plain_entries(entries: &FieldRef, depth: usize) -> Result<FieldRef, String> {
    let DataType::Struct(pair) = entries.data_type() else { return Err("its map has no entries of a key and a value".to_owned()) };
    let pair = pair.iter().map(|side| -> Result<_, String> {
        let inner = plain_type(side.data_type(), depth + 2)?;
        Ok(Arc::new(side.as_ref().clone().with_data_type(inner)))
    });
    let pair: Fields = pair.collect::<Result<_, _>>()?;
    Ok(Arc::new(entries.as_ref().clone().with_data_type(DataType::Struct(pair))))
}

/// A duplicate field name.
fn named_twice(fields: &Fields) -> Option<&str> {
    let mut seen = HashSet::with_capacity(fields.len());
    fields.iter().map(|field| field.name().as_str()).find(|name| !seen.insert(*name))
}

/// The schema with which batches of `schema` are sent: plain types, and only the metadata of Arrow's extension types and CloudQuery's keys.
pub(crate) fn plain_schema(schema: &Schema, file: &str) -> Result<SchemaRef, InputError> {
    if let Some(name) = named_twice(schema.fields()) {
        return Err(InputError::Column {
            file: file.to_owned(),
            column: name.to_owned(),
            problem: "two columns have this name, of which JSON and most readers keep one; rename one of them".to_owned(),
        });
    }
    let mut fields = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let data_type = plain_type(field.data_type(), 0).map_err(|problem| InputError::Column {
            file: file.to_owned(),
            column: field.name().clone(),
            problem,
        })?;
        let kept = |key: &str| key.starts_with("ARROW:extension:") || key.starts_with("cq:");
        let metadata: HashMap<_, _> = field.metadata().iter().filter(|(key, _)| kept(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
        fields.push(Field::new(field.name(), data_type, field.is_nullable()).with_metadata(metadata));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Converts a batch to the plain types of `schema`.
pub(crate) fn plain_batch(batch: &RecordBatch, schema: &SchemaRef, file: &str) -> Result<RecordBatch, InputError> {
    let problem = |column: &str, problem: String| InputError::Column { file: file.to_owned(), column: column.to_owned(), problem };
    if batch.num_columns() != schema.fields().len() {
        return Err(problem("", format!("a batch has {} columns, the schema {}", batch.num_columns(), schema.fields().len())));
    }
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    for (column, field) in batch.columns().iter().zip(schema.fields()) {
        columns.push(if column.data_type() == field.data_type() {
            column.clone()
        } else {
            plain_array(column, field.data_type()).map_err(|error| problem(field.name(), super::ipc::one_line(&error)))?
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|error| problem("", super::ipc::one_line(&error)))
}

/// Converts an array to the plain type `to`. Only values referenced by its rows are looked up, since shared data may be far larger.
fn plain_array(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    match (array.data_type(), to) {
        (from, to) if from == to => Ok(array.clone()),
        (DataType::Dictionary(..), _) => {
            let dictionary = array.as_any_dictionary();
            plain_array(&take(dictionary.values(), dictionary.keys(), None)?, to)
        }
        (DataType::RunEndEncoded(ends, _), _) => {
            let values = match ends.data_type() {
                DataType::Int16 => values_of_runs::<Int16Type>(array),
                DataType::Int32 => values_of_runs::<Int32Type>(array),
                _ => values_of_runs::<Int64Type>(array),
            };
            plain_array(&values?, to)
        }
        (DataType::List(_), DataType::List(item)) => plain_list::<i32>(array, item),
        (DataType::LargeList(_), DataType::LargeList(item)) => plain_list::<i64>(array, item),
        (DataType::ListView(_), DataType::List(item)) => list_of_views::<i32>(array, item),
        (DataType::LargeListView(_), DataType::LargeList(item)) => list_of_views::<i64>(array, item),
        (DataType::FixedSizeList(..), DataType::FixedSizeList(item, size)) => {
            let list = array.as_fixed_size_list();
            let values = plain_array(list.values(), item.data_type())?;
            let plain = FixedSizeListArray::try_new_with_length(item.clone(), *size, values, list.nulls().cloned(), list.len())?;
            Ok(Arc::new(plain))
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let array = array.as_struct();
            let columns = array.columns().iter().zip(fields).map(|(column, field)| plain_array(column, field.data_type()));
            Ok(Arc::new(StructArray::try_new(fields.clone(), columns.collect::<Result<_, _>>()?, array.nulls().cloned())?))
        }
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            let map = array.as_map();
            let (offsets, start, length) = rebased(map.offsets());
            let inner: ArrayRef = Arc::new(map.entries().slice(start, length));
            let inner = plain_array(&inner, entries.data_type())?.as_struct().clone();
            Ok(Arc::new(MapArray::try_new(entries.clone(), offsets, inner, map.nulls().cloned(), *sorted)?))
        }
        (DataType::FixedSizeBinary(_), DataType::Interval(unit)) => intervals(array, *unit),
        // A wider type with the same scale, so that all digits are kept.
        (DataType::Decimal32(..), DataType::Decimal128(..)) => {
            let wide: Decimal128Array = array.as_primitive::<Decimal32Type>().unary(i128::from);
            Ok(Arc::new(wide.with_data_type(to.clone())))
        }
        (DataType::Decimal64(..), DataType::Decimal128(..)) => {
            let wide: Decimal128Array = array.as_primitive::<Decimal64Type>().unary(i128::from);
            Ok(Arc::new(wide.with_data_type(to.clone())))
        }
        // A value that does not fit is an error, not null.
        _ => cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() }),
    }
}

/// Converts Parquet's bytes to intervals; `exact` has checked that each fits.
fn intervals(array: &ArrayRef, unit: IntervalUnit) -> Result<ArrayRef, ArrowError> {
    /// Nanoseconds per millisecond.
    const MILLION: i64 = 1_000_000;
    let bytes = array.as_fixed_size_binary();
    let each = bytes.iter().map(|value| value.and_then(Interval::parse));
    Ok(match unit {
        IntervalUnit::YearMonth => {
            let months = each.map(|it| it.map(|it| it.months as i32));
            Arc::new(months.collect::<IntervalYearMonthArray>())
        }
        IntervalUnit::DayTime => {
            let times = each.map(|it| it.map(|it| IntervalDayTime::new(it.days as i32, it.milliseconds as i32)));
            Arc::new(times.collect::<IntervalDayTimeArray>())
        }
        IntervalUnit::MonthDayNano => {
            let all = |it: Interval| IntervalMonthDayNano::new(it.months as i32, it.days as i32, i64::from(it.milliseconds) * MILLION);
            Arc::new(each.map(|it| it.map(all)).collect::<IntervalMonthDayNanoArray>())
        }
    })
}

fn plain_list<O: OffsetSizeTrait>(array: &ArrayRef, item: &FieldRef) -> Result<ArrayRef, ArrowError> {
    let list = array.as_list::<O>();
    let (offsets, start, length) = rebased(list.offsets());
    let values = plain_array(&list.values().slice(start, length), item.data_type())?;
    Ok(Arc::new(GenericListArray::try_new(item.clone(), offsets, values, list.nulls().cloned())?))
}

/// Offsets rebased to zero, and the range of the child that they refer to.
fn rebased<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> (OffsetBuffer<O>, usize, usize) {
    let (first, last) = (offsets.first(), offsets.last());
    let (start, length) = (first.as_usize(), last.as_usize() - first.as_usize());
    if start == 0 {
        return (offsets.clone(), start, length);
    }
    let moved: Vec<O> = offsets.iter().map(|offset| *offset - first).collect();
    (OffsetBuffer::new(ScalarBuffer::from(moved)), start, length)
}

fn list_of_views<O: OffsetSizeTrait>(array: &ArrayRef, item: &FieldRef) -> Result<ArrayRef, ArrowError> {
    let list = array.as_list_view::<O>();
    let (mut places, mut lengths) = (Vec::new(), Vec::with_capacity(list.len()));
    for row in 0..list.len() {
        let range = match (list.is_valid(row), list.value_offsets().get(row), list.value_sizes().get(row)) {
            (true, Some(offset), Some(size)) => offset.as_usize()..offset.as_usize() + size.as_usize(),
            _ => 0..0,
        };
        lengths.push(range.len());
        places.extend(range.map(|place| place as u64));
    }
    if O::from_usize(places.len()).is_none() {
        return Err(ArrowError::InvalidArgumentError("its rows have more items than the offsets of a list can count".to_owned()));
    }
    let values = take(list.values(), &UInt64Array::from(places), None)?;
    let values = plain_array(&values, item.data_type())?;
    Ok(Arc::new(GenericListArray::<O>::try_new(item.clone(), OffsetBuffer::from_lengths(lengths), values, list.nulls().cloned())?))
}

fn values_of_runs<R: RunEndIndexType>(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let unlike = || ArrowError::InvalidArgumentError("its runs do not end where its type says".to_owned());
    let runs = array.as_any().downcast_ref::<RunArray<R>>().ok_or_else(unlike)?;
    let (ends, first) = (runs.run_ends().values(), runs.offset());
    let mut run = ends.partition_point(|end| end.as_usize() <= first);
    let mut places = Vec::with_capacity(runs.len());
    for row in first..first + runs.len() {
        while ends.get(run).is_some_and(|end| end.as_usize() <= row) {
            run += 1;
        }
        places.push(run as u64);
    }
    take(runs.values(), &UInt64Array::from(places), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_and_dictionaries_become_plain_also_inside() {
        let view = Arc::new(Field::new("item", DataType::Utf8View, true));
        let list = DataType::ListView(view);
        assert_eq!(plain_type(&list, 0).unwrap(), DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))));
        let dictionary = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::BinaryView));
        assert_eq!(plain_type(&dictionary, 0).unwrap(), DataType::Binary);
        assert_eq!(plain_type(&DataType::Decimal64(10, 2), 0).unwrap(), DataType::Decimal128(10, 2));
    }

    #[test]
    fn a_dictionary_column_is_sent_as_its_values() {
        let values: arrow_array::DictionaryArray<arrow_array::types::Int8Type> = vec![Some("a"), None, Some("a")].into_iter().collect();
        let schema = Schema::new(vec![Field::new("d", values.data_type().clone(), true)]);
        let batch = RecordBatch::try_new(Arc::new(schema.clone()), vec![Arc::new(values)]).unwrap();
        let plain = plain_batch(&batch, &plain_schema(&schema, "f").unwrap(), "f").unwrap();
        assert_eq!(plain.column(0).as_ref(), &arrow_array::StringArray::from(vec![Some("a"), None, Some("a")]) as &dyn arrow_array::Array);
    }
}

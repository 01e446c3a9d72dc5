//! Arrow types as CloudQuery's writers take them: views, dictionaries and run-end encodings become plain columns, also inside nested types.

use super::InputError;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use std::collections::HashMap;
use std::sync::Arc;

/// Deepest nesting that is followed; the destination has its own, tighter bound.
const MAX_DEPTH: usize = 64;

/// The type that a column of this type is sent as; an error says what cannot be sent.
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
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(child).collect::<Result<_, _>>()?),
        DataType::Map(field, sorted) => DataType::Map(child(field)?, *sorted),
        DataType::Union(..) => return Err("union types cannot be sent; turn it into a struct or into text first".to_owned()),
        other => other.clone(),
    })
}

/// The schema that batches of `schema` are sent with: plain types, and of the metadata only Arrow's extension types and CloudQuery's keys.
pub(crate) fn plain_schema(schema: &Schema, file: &str) -> Result<SchemaRef, InputError> {
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

/// A batch with the plain types of `schema`.
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
            cast(column, field.data_type()).map_err(|error| problem(field.name(), super::ipc::words(&error)))?
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|error| problem("", super::ipc::words(&error)))
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

    use arrow_array::Array;
}

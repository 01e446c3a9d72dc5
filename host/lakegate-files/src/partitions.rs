//! Hive's folders: `country=DE/` in the path of a file is the value of a column in all of its rows.
//!
//! Names and values are decoded (`%2F`), `__HIVE_DEFAULT_PARTITION__` is null, and the types are those that CSV would get from the values of all files of
//! the table. A column that the file has itself is left as it is there.

use super::columns::ColumnType;
use super::infer::Seen;
use super::text;
use super::{InputError, Opened};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_schema::{ArrowError, FieldRef, Schema, SchemaRef};
use arrow_select::take::take;
use percent_encoding::percent_decode_str;
use std::path::{Component, Path};
use std::sync::Arc;

/// What stands for null in a path.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// Whether Hive's folders are columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HivePartitioning {
    /// Those below a folder or the fixed beginning of a pattern are, if all files of the table have the same ones.
    #[default]
    Auto,
    /// All of a path are; files of one table that have different ones are refused.
    On,
    /// None is.
    Off,
}

/// A column whose value is in the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The column.
    pub name: String,
    /// The value; [`None`] is null.
    pub value: Option<String>,
    /// The type of the column in all files of the table.
    pub column_type: ColumnType,
}

/// The columns in the folders of a path, and the name of the folder above the first of them.
pub(crate) fn from_path(path: &Path) -> Result<(Vec<Partition>, Option<String>), InputError> {
    let folders: Vec<&str> = path.parent().into_iter().flat_map(Path::components).filter_map(normal).collect();
    let mut found: Vec<Partition> = Vec::new();
    let mut above = None;
    for (at, folder) in folders.iter().enumerate() {
        let Some((name, value)) = folder.split_once('=').filter(|(name, _)| !name.is_empty()) else { continue };
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned);
        let (Ok(name), Ok(value)) = (decoded(name), decoded(value)) else {
            return Err(not_columns(path, format!("the folder `{folder}` is not UTF-8 once its escapes are decoded")));
        };
        if found.iter().any(|other| other.name == name) {
            return Err(not_columns(path, format!("the column `{name}` is in two folders")));
        }
        if found.is_empty() {
            above = at.checked_sub(1).and_then(|at| folders.get(at)).map(|name| (*name).to_owned());
        }
        // An escaped text is never null.
        let value = (!folder.ends_with(&format!("={NULL}")) && !value.is_empty()).then_some(value);
        found.push(Partition { name, value, column_type: ColumnType::Utf8 });
    }
    Ok((found, above))
}

fn normal(component: Component<'_>) -> Option<&str> {
    if let Component::Normal(name) = component { name.to_str() } else { None }
}

/// The error of a path whose folders cannot be columns.
pub(crate) fn not_columns(path: &Path, problem: String) -> InputError {
    let problem = format!("{problem}; set --hive-partitioning off to read the file without the columns of its folders");
    InputError::Malformed { file: path.display().to_string(), at: super::Position::Whole, problem }
}

/// Chooses the types of the columns of all files of a table, which have the same ones.
pub(crate) fn choose_types(files: &mut [&mut Vec<Partition>]) {
    let width = files.first().map_or(0, |partitions| partitions.len());
    for index in 0..width {
        let values = || files.iter().filter_map(|partitions| partitions.get(index)?.value.as_deref());
        let seen = values().map(Seen::from_text).fold(Seen::Nothing, Seen::merge);
        let chosen = seen.column_type();
        let fits = values().all(|value| text::constant(&chosen, Some(value)).is_some());
        let chosen = if fits { chosen } else { ColumnType::Utf8 };
        for partition in files.iter_mut().filter_map(|partitions| partitions.get_mut(index)) {
            partition.column_type = chosen.clone();
        }
    }
}

/// Adds the columns to the rows of a file.
pub(crate) fn add(partitions: &[Partition], file: &Path, opened: Opened) -> Result<Opened, InputError> {
    let own = opened.schema.clone();
    let mut fields: Vec<FieldRef> = own.fields().to_vec();
    let mut values: Vec<ArrayRef> = Vec::new();
    let mut undecided = opened.undecided;
    for Partition { name, value, column_type } in partitions.iter().filter(|partition| own.field_with_name(&partition.name).is_err()) {
        let Some(constant) = text::constant(column_type, value.as_deref()) else {
            return Err(not_columns(file, format!("the value of `{name}` in the path is not {column_type}")));
        };
        if value.is_none() && *column_type == ColumnType::Utf8 {
            undecided.insert(name.clone());
        }
        fields.push(Arc::new(column_type.field(name)));
        values.push(constant);
    }
    let schema: SchemaRef = Arc::new(Schema::new_with_metadata(fields, own.metadata().clone()));
    let (extended, name) = (schema.clone(), file.display().to_string());
    let rows = opened.rows.map(move |batch| {
        extend(&batch?, &values, &extended).map_err(|error| InputError::Malformed {
            file: name.clone(),
            at: super::Position::Whole,
            problem: super::ipc::one_line(&error),
        })
    });
    Ok(Opened { schema, rows: Box::new(rows), undecided, ..opened })
}

/// The batch with these values in each row.
fn extend(batch: &RecordBatch, values: &[ArrayRef], schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let first = UInt32Array::from(vec![0; batch.num_rows()]);
    let mut columns = batch.columns().to_vec();
    for value in values {
        columns.push(take(value, &first, None)?);
    }
    RecordBatch::try_new_with_options(schema.clone(), columns, &RecordBatchOptions::new().with_row_count(Some(batch.num_rows())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_are_columns() {
        let of = |path: &str| {
            let (partitions, above) = from_path(Path::new(path))?;
            let columns: Vec<String> =
                partitions.iter().map(|it| format!("{}:{}", it.name, it.value.as_deref().unwrap_or("NULL"))).collect();
            Ok::<_, InputError>((columns.join(" "), above.unwrap_or_default()))
        };
        for (path, columns, above) in [
            ("lake/orders/country=DE/day=2024-01-02/1.parquet", "country:DE day:2024-01-02", "orders"),
            ("country=DE/1.parquet", "country:DE", ""),
            ("orders/k=v.csv", "", ""),
            ("t/k=a%2Fb%20%C3%A9/1.csv", "k:a/b é", "t"),
            ("t/a%3Db=c=d/1.csv", "a=b:c=d", "t"),
            ("t/k=__HIVE_DEFAULT_PARTITION__/1.csv", "k:NULL", "t"),
            ("t/k=%5F_HIVE_DEFAULT_PARTITION__/1.csv", "k:__HIVE_DEFAULT_PARTITION__", "t"),
            ("t/k=/1.csv", "k:NULL", "t"),
            ("t/=v/1.csv", "", ""),
            ("t/k=100%/1.csv", "k:100%", "t"),
        ] {
            assert_eq!(of(path).unwrap(), (columns.to_owned(), above.to_owned()), "{path}");
        }
        for (path, problem) in [("t/k=%FF/1.csv", "not UTF-8"), ("t/k=1/k=2/1.csv", "the column `k` is in two folders")] {
            let error = of(path).unwrap_err().to_string();
            assert!(error.starts_with(path) && error.contains(problem) && error.contains("--hive-partitioning off"), "{error}");
        }
    }

    #[test]
    fn types_are_those_of_all_values() {
        for (values, expected) in [
            (vec!["1", "20"], "int64"),
            (vec!["01", "20"], "utf8"),
            (vec!["2024-01-02", "2024-02-29"], "date"),
            (vec!["2024-01-02", "x"], "utf8"),
            (vec![], "utf8"),
        ] {
            let partition =
                |value: Option<&str>| vec![Partition { name: "k".into(), value: value.map(str::to_owned), column_type: ColumnType::Utf8 }];
            let mut files: Vec<Vec<Partition>> = values.iter().copied().map(Some).chain([None]).map(partition).collect();
            choose_types(&mut files.iter_mut().collect::<Vec<_>>());
            let expected: ColumnType = expected.parse().unwrap();
            assert!(files.iter().all(|file| file[0].column_type == expected), "{values:?}");
        }
    }
}

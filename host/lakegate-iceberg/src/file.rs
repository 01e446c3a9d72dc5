//! A data file as whoever wrote it describes it, checked against the table.

use crate::error::{Error, excerpt};
use crate::limits::MAX_BOUND_BYTES;
use crate::location::Location;
use crate::partition::{PartitionSpec, Transform};
use crate::types::{Field, Type};
use crate::value::{Value, widened};
use std::collections::HashMap;

/// A Parquet file that is in the bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DataFile {
    /// Where: `s3://BUCKET/KEY`, in the table's location.
    pub location: String,
    /// Its size.
    pub bytes: u64,
    /// Rows in it.
    pub rows: u64,
    /// What is known of its columns. A column of which nothing is said is read by every query.
    pub columns: Vec<ColumnFacts>,
    /// The text of its partition's value for each field of the table's [`PartitionSpec`], in order: of a column its value as CSV has it; of a
    /// time `2024`, `2024-05`, `2024-05-17` or `2024-05-17-08`. [`PartitionSpec::values`] makes them from a path's placeholders.
    ///
    /// Readers take the value of a column from here, for all rows of the file: an empty text is not null.
    pub partition: Vec<Option<String>>,
    /// Offsets at which it can be split for reading, rising.
    pub split_offsets: Vec<u64>,
}

/// What is known of a column of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnFacts {
    /// The names down to it in the file, joined with dots: `tags.list.element`, `map.key_value.key`.
    pub path: String,
    /// Values, null ones included.
    pub values: u64,
    /// Values that are null.
    pub nulls: u64,
    /// Values that are not a number.
    pub nans: Option<u64>,
    /// A bound that no value is below, in Iceberg's form of single values. At most 64 bytes, as the other one.
    pub lower: Option<Vec<u8>>,
    /// A bound that no value is above.
    pub upper: Option<Vec<u8>>,
    /// Bytes that the column takes in the file.
    pub encoded_bytes: Option<u64>,
}

/// A data file that fits its table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CheckedFile {
    pub(crate) location: String,
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    pub(crate) partition: Vec<Option<Value>>,
    pub(crate) column_sizes: Vec<(i32, u64)>,
    pub(crate) value_counts: Vec<(i32, u64)>,
    pub(crate) null_counts: Vec<(i32, u64)>,
    pub(crate) nan_counts: Vec<(i32, u64)>,
    pub(crate) lower: Vec<(i32, Vec<u8>)>,
    pub(crate) upper: Vec<(i32, Vec<u8>)>,
    pub(crate) split_offsets: Vec<u64>,
}

/// A column of a file that has no fields, in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Leaf {
    id: i32,
    kind: Type,
    /// In a list or a map: its values are not one for each row, and have no bounds.
    is_repeated: bool,
}

/// Checks files against a table.
#[derive(Debug, Clone)]
pub(crate) struct Checker {
    /// By the path in the file; [`None`] where a name with a dot makes two of them one.
    leaves: HashMap<String, Option<Leaf>>,
    location: Location,
    spec: PartitionSpec,
}

impl Checker {
    pub(crate) fn new(columns: &[Field], location: Location, spec: PartitionSpec) -> Self {
        let mut leaves = HashMap::new();
        for column in columns {
            add_leaves(&mut leaves, &column.name, column, false);
        }
        Self { leaves, location, spec }
    }

    /// # Errors
    /// `Invalid`, naming the file: it lies elsewhere, its facts contradict each other or the table, or its partition does.
    pub(crate) fn check(&self, file: &DataFile) -> Result<CheckedFile, Error> {
        let refuse = |why: String| Error::invalid(format!("the data file {:?} {why}", excerpt(&file.location)));
        let location = Location::parse(&file.location).map_err(|error| Error::invalid(error.message))?;
        if !location.is_within(&self.location) || location.key() == self.location.key() {
            return Err(refuse(format!("does not lie in the table's location {}", self.location)));
        }
        if !file.split_offsets.is_sorted() {
            return Err(refuse("has split offsets that do not rise".into()));
        }
        let mut checked = CheckedFile {
            location: location.as_str().to_owned(),
            bytes: file.bytes,
            rows: file.rows,
            split_offsets: file.split_offsets.clone(),
            ..CheckedFile::default()
        };
        for facts in &file.columns {
            if facts.nulls.saturating_add(facts.nans.unwrap_or_default()) > facts.values {
                return Err(refuse(format!("has more nulls and NaNs than values in the column {:?}", excerpt(&facts.path))));
            }
            let Some(Some(leaf)) = self.leaves.get(&facts.path) else { continue };
            if !leaf.is_repeated && facts.values != file.rows {
                let path = excerpt(&facts.path);
                return Err(refuse(format!("has {} rows, and {} values in the column {path:?}", file.rows, facts.values)));
            }
            checked.value_counts.push((leaf.id, facts.values));
            checked.null_counts.push((leaf.id, facts.nulls));
            checked.column_sizes.extend(facts.encoded_bytes.map(|bytes| (leaf.id, bytes)));
            checked.nan_counts.extend(facts.nans.map(|nans| (leaf.id, nans)));
            if leaf.is_repeated {
                continue;
            }
            let bound = |bound: &Option<Vec<u8>>| match bound {
                None => Ok(None),
                Some(bytes) if bytes.len() > MAX_BOUND_BYTES => Err(format!("at most {MAX_BOUND_BYTES} bytes")),
                Some(bytes) => widened(&leaf.kind, bytes),
            };
            let bounds = [bound(&facts.lower), bound(&facts.upper)].map(|bound| {
                bound.map_err(|wanted| {
                    refuse(format!("has a bound of the column {:?} ({}) that is none: it has {wanted}", excerpt(&facts.path), leaf.kind))
                })
            });
            let [lower, upper] = bounds;
            checked.lower.extend(lower?.map(|bound| (leaf.id, bound)));
            checked.upper.extend(upper?.map(|bound| (leaf.id, bound)));
        }
        checked.partition = self.partition(file, &checked).map_err(|error| refuse(format!("is not in its partition: {error}")))?;
        Ok(checked)
    }

    fn partition(&self, file: &DataFile, checked: &CheckedFile) -> Result<Vec<Option<Value>>, String> {
        if file.partition.len() != self.spec.fields.len() {
            return Err(format!("it has {} values, and the table is divided by {}", file.partition.len(), self.spec.fields.len()));
        }
        let mut values = Vec::new();
        for (field, text) in self.spec.fields.iter().zip(&file.partition) {
            let value = field.value(text.as_deref()).map_err(|error| error.message)?;
            let count = |counts: &[(i32, u64)]| counts.iter().find(|(id, _)| *id == field.source_id).map(|(_, count)| *count);
            if let (Some(nulls), true) = (count(&checked.null_counts), field.transform != Transform::Void) {
                let all = if value.is_none() { file.rows } else { 0 };
                if nulls != all {
                    let name = excerpt(&field.column);
                    return Err(format!("{nulls} of {} values of the column {name:?} are null, and its partition has {all}", file.rows));
                }
            }
            let bound = |bounds: &[(i32, Vec<u8>)]| bounds.iter().find(|(id, _)| *id == field.source_id).map(|(_, bound)| bound.clone());
            if let (Some(value), Some(lower), Some(upper)) = (&value, bound(&checked.lower), bound(&checked.upper)) {
                // A text that was cut is no value.
                let is_cut = matches!(value, Value::Text(text) if text.len() > MAX_BOUND_BYTES);
                if !is_cut && !field.holds(value, &lower, &upper) {
                    return Err(format!("it has values of the column {:?} beyond the partition", excerpt(&field.column)));
                }
            }
            values.push(value);
        }
        Ok(values)
    }
}

fn add_leaves(leaves: &mut HashMap<String, Option<Leaf>>, path: &str, field: &Field, is_repeated: bool) {
    match &field.kind {
        Type::Struct(children) => {
            for child in children {
                add_leaves(leaves, &format!("{path}.{}", child.name), child, is_repeated);
            }
        }
        // As the Parquet specification names the groups.
        Type::List(element) => add_leaves(leaves, &format!("{path}.list.element"), element, true),
        Type::Map(key, value) => {
            add_leaves(leaves, &format!("{path}.key_value.key"), key, true);
            add_leaves(leaves, &format!("{path}.key_value.value"), value, true);
        }
        kind => {
            let leaf = Some(Leaf { id: field.id, kind: kind.clone(), is_repeated });
            leaves.entry(path.to_owned()).and_modify(|two| *two = None).or_insert(leaf);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::partition::PartitionField;
    use crate::types::assign_ids;
    use crate::types::tests::field;

    pub(crate) fn columns() -> Vec<Field> {
        let mut columns = vec![
            field("id", Type::Long),
            field("country", Type::String),
            field("tags", Type::List(Box::new(field("element", Type::String)))),
            field("a.b", Type::Int),
            field("a", Type::Struct(vec![field("b", Type::Int), field("c", Type::Int)])),
        ];
        assign_ids(columns.iter_mut(), &mut 1);
        columns
    }

    pub(crate) fn by_country() -> PartitionSpec {
        let field = PartitionField {
            id: 1_000,
            source_id: 2,
            column: "country".into(),
            name: "country".into(),
            transform: Transform::Identity,
            source: Type::String,
        };
        PartitionSpec { id: 0, fields: vec![field] }
    }

    pub(crate) fn facts(path: &str, values: u64, bounds: Option<(&[u8], &[u8])>) -> ColumnFacts {
        let (lower, upper) = bounds.map(|(lower, upper)| (lower.to_vec(), upper.to_vec())).unzip();
        ColumnFacts { path: path.into(), values, nulls: 0, nans: None, lower, upper, encoded_bytes: Some(10) }
    }

    pub(crate) fn file() -> DataFile {
        DataFile {
            location: "s3://lake/t/data/1.parquet".into(),
            bytes: 100,
            rows: 3,
            columns: vec![
                facts("id", 3, Some((&[1, 0, 0, 0], &[3, 0, 0, 0]))),
                facts("country", 3, Some((b"DE", b"DE"))),
                facts("tags.list.element", 7, Some((b"a", b"b"))),
                facts("a.b", 3, None),
                facts("a.c", 3, None),
                facts("elsewhere", 9, None),
            ],
            partition: vec![Some("DE".into())],
            split_offsets: vec![4, 50],
        }
    }

    pub(crate) fn checker() -> Checker {
        Checker::new(&columns(), Location::parse("s3://lake/t").unwrap(), by_country())
    }

    #[test]
    fn facts_become_metrics_by_id_where_their_column_is_certain() {
        let checked = checker().check(&file()).unwrap();
        let ids = |counts: &[(i32, u64)]| counts.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        assert_eq!(ids(&checked.value_counts), [1, 2, 6, 8], "{checked:?}");
        assert_eq!(checked.lower, [(1, 1_i64.to_le_bytes().to_vec()), (2, b"DE".to_vec())]);
        assert_eq!(checked.partition, [Some(Value::Text("DE".into()))]);
    }

    #[test]
    fn a_file_that_does_not_fit_is_refused_by_name() {
        let changed = |change: fn(&mut DataFile)| {
            let mut file = file();
            change(&mut file);
            checker().check(&file).unwrap_err()
        };
        type Change = fn(&mut DataFile);
        let cases: [(Change, &str); 13] = [
            (|it| it.location = "s3://lake/other/1.parquet".into(), "does not lie in the table's location s3://lake/t"),
            (|it| it.location = "s3://lake/t".into(), "does not lie"),
            (|it| it.location = "s3://lake/t/../u/1.parquet".into(), "`..`"),
            (|it| it.split_offsets = vec![5, 4], "do not rise"),
            (|it| it.columns[0].nulls = 4, "more nulls"),
            (|it| it.columns[0].values = 4, "has 3 rows, and 4 values in the column \"id\""),
            (|it| it.columns[0].upper = Some(vec![1]), "\"id\" (long) that is none: it has 8 bytes"),
            (|it| it.columns[1].upper = Some(vec![b'x'; 65]), "at most 64 bytes"),
            (|it| it.partition = vec![], "has 0 values, and the table is divided by 1"),
            (|it| it.partition = vec![None], "0 of 3 values of the column \"country\" are null, and its partition has 3"),
            (|it| it.columns[1].nulls = 1, "1 of 3 values"),
            (|it| it.partition = vec![Some("FR".into())], "beyond the partition"),
            (|it| it.columns[1].upper = Some(b"FR".to_vec()), "beyond the partition"),
        ];
        for (change, expected) in cases {
            let error = changed(change);
            assert!(error.message.contains(expected), "{error}: {expected}");
        }
    }
}

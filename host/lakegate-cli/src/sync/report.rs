//! The summary of a sync: a line in the summary file, and a row with the same content in a table of the destination.

use super::super::exit::{CliError, Exit};
use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, Field, Schema};
use bytes::Bytes;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

/// Name of the summary table.
const TABLE: &str = "cloudquery_sync_summaries";

/// The summary of one source and one destination. The fields are in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct SyncSummary {
    pub(super) cli_version: String,
    pub(super) destination_errors: u64,
    pub(super) destination_name: String,
    pub(super) destination_path: String,
    pub(super) destination_version: String,
    pub(super) destination_warnings: u64,
    /// Number of rows.
    pub(super) resources: u64,
    pub(super) source_errors: u64,
    pub(super) source_name: String,
    pub(super) source_path: String,
    pub(super) source_version: String,
    pub(super) source_warnings: u64,
    /// Names of the tables selected by the configuration.
    pub(super) source_tables: Vec<String>,
    pub(super) sync_id: String,
    /// Start of the sync, in RFC 3339.
    pub(super) sync_time: String,
    pub(super) sync_duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sync_group_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) shard_num: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) shard_total: Option<i32>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) resources_per_table: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) errors_per_table: BTreeMap<String, u64>,
}

impl SyncSummary {
    /// Appends the line to a file; creates its folder if needed.
    pub(super) fn append_to(&self, file: &Path) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        open(file)?.write_all(&line)
    }

    /// The table's schema as a message.
    pub(crate) fn schema_message() -> Result<Bytes, CliError> {
        let batch = Self::default().batch().map_err(unexpected)?;
        message(&batch.schema(), None).map_err(unexpected)
    }

    /// The row as a message.
    pub(super) fn record_message(&self) -> Result<Bytes, CliError> {
        let batch = self.batch().map_err(unexpected)?;
        message(&batch.schema(), Some(&batch)).map_err(unexpected)
    }

    fn batch(&self) -> Result<RecordBatch, ArrowError> {
        let mut columns: Vec<(Field, ArrayRef)> = Vec::new();
        let mut put = |name: &str, array: ArrayRef| columns.push((Field::new(name, array.data_type().clone(), true), array));
        put("cli_version", text(&self.cli_version));
        put("destination_errors", number(Some(self.destination_errors)));
        put("destination_name", text(&self.destination_name));
        put("destination_path", text(&self.destination_path));
        put("destination_version", text(&self.destination_version));
        put("destination_warnings", number(Some(self.destination_warnings)));
        put("resources", number(Some(self.resources)));
        put("source_errors", number(Some(self.source_errors)));
        put("source_name", text(&self.source_name));
        put("source_path", text(&self.source_path));
        put("source_version", text(&self.source_version));
        put("source_warnings", number(Some(self.source_warnings)));
        put("source_tables", texts(&self.source_tables));
        put("sync_id", text(&self.sync_id));
        put("sync_duration_ms", number(Some(self.sync_duration_ms)));
        put("shard_num", number(self.shard_num.and_then(|number| number.try_into().ok())));
        put("shard_total", number(self.shard_total.and_then(|number| number.try_into().ok())));
        put("resources_per_table", json(Some(&self.resources_per_table))?);
        put("errors_per_table", json(Some(&self.errors_per_table))?);
        // Only the source knows this, and it is only available by telemetry.
        put("durations_per_table_ms", json(None)?);
        let is_json = |name: &str| name.ends_with("_per_table") || name.ends_with("_per_table_ms");
        let fields: Vec<Field> =
            columns.iter().map(|(field, _)| if is_json(field.name()) { as_json(field.clone()) } else { field.clone() }).collect();
        let metadata = [
            ("cq:table_name", TABLE),
            ("cq:table_title", "CloudQuery Sync Summary"),
            ("cq:table_description", "A row for each source and destination of a sync"),
            ("cq:extension:constraint_name", ""),
        ];
        let metadata: HashMap<String, String> = metadata.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
        RecordBatch::try_new(schema, columns.into_iter().map(|(_, array)| array).collect())
    }
}

/// Checks, before anything is synced, that lines can be appended to the file. A file that did not exist is not left behind.
pub(super) fn try_file(file: &Path) -> Result<(), CliError> {
    let new = !file.exists();
    let opened = open(file).and_then(|_| if new { std::fs::remove_file(file) } else { Ok(()) });
    opened.map_err(|error| CliError::new(Exit::Usage, format!("--summary-location {}: cannot be written: {error}", file.display())))
}

fn open(file: &Path) -> std::io::Result<std::fs::File> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Do not block on a pipe that nobody reads.
    std::fs::OpenOptions::new().create(true).append(true).custom_flags(libc::O_NONBLOCK).open(file)
}

fn text(value: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![value]))
}

fn number(value: Option<u64>) -> ArrayRef {
    Arc::new(Int64Array::from(vec![value.and_then(|value| i64::try_from(value).ok())]))
}

fn texts(values: &[String]) -> ArrayRef {
    let mut list = ListBuilder::new(StringBuilder::new());
    list.append_value(values.iter().map(Some));
    Arc::new(list.finish())
}

/// A column of CloudQuery's JSON type: text as bytes.
fn json(value: Option<&BTreeMap<String, u64>>) -> Result<ArrayRef, ArrowError> {
    let text = value.map(serde_json::to_vec).transpose().map_err(|error| ArrowError::ExternalError(Box::new(error)))?;
    Ok(Arc::new(BinaryArray::from(vec![text.as_deref()])))
}

fn as_json(field: Field) -> Field {
    let keys = [("ARROW:extension:name", "json"), ("ARROW:extension:metadata", "json-serialized")];
    field.with_metadata(keys.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<HashMap<_, _>>())
}

fn message(schema: &Schema, batch: Option<&RecordBatch>) -> Result<Bytes, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    if let Some(batch) = batch {
        writer.write(batch)?;
    }
    Ok(writer.into_inner()?.into())
}

fn unexpected(error: ArrowError) -> CliError {
    CliError::new(Exit::Unexpected, format!("the summary cannot be encoded: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_ipc::reader::StreamReader;

    fn summary() -> SyncSummary {
        SyncSummary {
            cli_version: "1".into(),
            source_tables: vec!["*".into()],
            resources: 3,
            sync_time: "2026-01-02T03:04:05Z".into(),
            shard_num: Some(1),
            resources_per_table: BTreeMap::from([("t".to_owned(), 3)]),
            ..SyncSummary::default()
        }
    }

    #[test]
    fn a_line_of_the_file_leaves_out_what_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("made/for/it.jsonl");
        summary().append_to(&file).unwrap();
        summary().append_to(&file).unwrap();
        let written = std::fs::read_to_string(&file).unwrap();
        let expected = r#"{"cli_version":"1","destination_errors":0,"destination_name":"","destination_path":"","destination_version":"","destination_warnings":0,"resources":3,"source_errors":0,"source_name":"","source_path":"","source_version":"","source_warnings":0,"source_tables":["*"],"sync_id":"","sync_time":"2026-01-02T03:04:05Z","sync_duration_ms":0,"shard_num":1,"resources_per_table":{"t":3}}"#;
        assert_eq!(written.lines().collect::<Vec<_>>(), [expected, expected]);
    }

    #[test]
    fn a_file_is_tried_without_a_trace() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("made/s.jsonl");
        try_file(&file).unwrap();
        assert!(!file.exists());
        summary().append_to(&file).unwrap();
        try_file(&file).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 1);
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(try_file(&pipe).unwrap_err().exit, Exit::Usage, "nobody reads it");
        let error = try_file(&file.join("below a file")).unwrap_err();
        assert!(error.exit == Exit::Usage && error.message.starts_with("--summary-location "), "{error}");
    }

    #[test]
    fn the_row_has_every_column() {
        let ipc = summary().record_message().unwrap();
        let mut reader = StreamReader::try_new(ipc.as_ref(), None).unwrap();
        let names: Vec<String> = reader.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!((names.len(), names[0].as_str(), names[19].as_str()), (20, "cli_version", "durations_per_table_ms"));
        let batch = reader.next().unwrap().unwrap();
        let nulls: Vec<&str> = names.iter().zip(batch.columns()).filter(|(_, it)| it.is_null(0)).map(|(name, _)| name.as_str()).collect();
        assert_eq!(nulls, ["shard_total", "durations_per_table_ms"]);
        let schema = SyncSummary::schema_message().unwrap();
        assert_eq!(StreamReader::try_new(schema.as_ref(), None).unwrap().schema(), reader.schema());
    }
}

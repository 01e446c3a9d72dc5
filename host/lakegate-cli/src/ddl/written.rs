//! How objects are written, as far as a table over them has to say it.

use super::super::plan::spec::field;
use serde_json::{Map, Value};

/// The engines that statements are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// Amazon Athena; the tables are Hive's, too.
    Athena,
    /// Apache Spark, with Hive's catalog.
    Spark,
}

/// What is in an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Format {
    Csv(CsvText),
    Json,
    Parquet {
        /// Timestamps may be in nanoseconds.
        nanoseconds: bool,
    },
}

/// The text of CSV.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CsvText {
    pub(super) delimiter: char,
    /// The first line has the names of the columns.
    pub(super) has_header: bool,
    /// What stands for a null; absent: nothing, as for an empty text.
    pub(super) null: Option<String>,
    /// All values are in quotes.
    pub(super) quotes_all: bool,
    pub(super) crlf: bool,
}

impl Default for CsvText {
    fn default() -> Self {
        Self { delimiter: ',', has_header: true, null: None, quotes_all: false, crlf: false }
    }
}

/// What a spec says of its objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) bucket: String,
    pub(super) format: Format,
    /// `{{FORMAT}}`, and how the names of compressed objects end by which readers know that they are.
    pub(super) extension: String,
    pub(super) is_compressed: bool,
    /// What stands in a key for a null.
    pub(super) null_name: String,
    /// Columns that `{{COLUMN:name}}` takes into the key are in the objects, too.
    pub(super) keep_columns: bool,
}

/// Hive's name for nulls.
pub(super) const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

impl Written {
    /// Of a spec that the component has accepted.
    pub(super) fn new(spec: &Map<String, Value>) -> Self {
        let text = |fields: &Map<String, Value>, name: &str| {
            field(fields, name).and_then(Value::as_str).filter(|it| !it.is_empty()).map(str::to_owned)
        };
        let flag = |fields: &Map<String, Value>, name: &str| field(fields, name).and_then(Value::as_bool);
        let object = |name: &str| field(spec, name).and_then(Value::as_object).cloned().unwrap_or_default();
        let (options, partition) = (object("format_spec"), object("partition"));
        let name = text(spec, "format").unwrap_or_default();
        let format = match name.as_str() {
            "csv" => Format::Csv(CsvText {
                delimiter: text(&options, "delimiter").and_then(|it| it.chars().next()).unwrap_or(','),
                has_header: flag(&options, "skip_header") != Some(true),
                null: text(&options, "null_value"),
                quotes_all: text(&options, "quote").as_deref() == Some("all"),
                crlf: text(&options, "line_ending").as_deref() == Some("crlf"),
            }),
            "json" => Format::Json,
            _ => Format::Parquet { nanoseconds: !matches!(text(&options, "version").as_deref(), Some("v1.0" | "v2.4")) },
        };
        let compression = text(spec, "compression").filter(|_| !matches!(format, Format::Parquet { .. }));
        let extension = match compression.as_deref() {
            Some("gzip") => format!("{name}.gz"),
            _ => name,
        };
        Self {
            bucket: text(spec, "bucket").unwrap_or_default(),
            format,
            extension,
            is_compressed: compression.is_some(),
            null_name: text(&partition, "null").unwrap_or_else(|| HIVE_NULL.to_owned()),
            keep_columns: flag(&partition, "keep_columns") != Some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(spec: Value) -> Written {
        Written::new(spec.as_object().unwrap())
    }

    #[test]
    fn a_spec_says_how_objects_are_written() {
        let plain = written(json!({"bucket": "b", "format": "csv"}));
        let format = Format::Csv(CsvText::default());
        let expected = Written {
            bucket: "b".to_owned(),
            format,
            extension: "csv".to_owned(),
            is_compressed: false,
            null_name: HIVE_NULL.to_owned(),
            keep_columns: true,
        };
        assert_eq!(plain, expected);
        let options = json!({"delimiter": ";", "skip_header": true, "null_value": "\\N", "quote": "all", "line_ending": "crlf"});
        let odd = written(
            json!({"Format": "csv", "format_spec": options, "compression": "gzip", "partition": {"null": "none", "Keep_Columns": false}}),
        );
        let text = CsvText { delimiter: ';', has_header: false, null: Some("\\N".to_owned()), quotes_all: true, crlf: true };
        assert_eq!(odd.format, Format::Csv(text));
        assert_eq!((odd.extension.as_str(), odd.is_compressed, odd.null_name.as_str(), odd.keep_columns), ("csv.gz", true, "none", false));
        for (version, nanoseconds) in
            [(None, true), (Some("v2.6"), true), (Some("v2Latest"), true), (Some("v2.4"), false), (Some("v1.0"), false)]
        {
            let parquet = written(json!({"format": "parquet", "format_spec": {"version": version}}));
            assert_eq!((parquet.format, parquet.extension.as_str()), (Format::Parquet { nanoseconds }, "parquet"), "{version:?}");
        }
    }
}

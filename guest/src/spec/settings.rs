//! [`Settings`] as JSON: how they get from the instance that checked the spec to the one that works by it.
//!
//! The text passes through the host, so it is checked again on arrival: whatever is read here keeps the promises of the types.

use super::rules::{check_content_type, is_delimiter};
use super::{
    CatalogTables, Codec, Commit, Compression, CsvOptions, Format, IcebergTypes, JsonOptions, LineEnding, Manifest, NullText, OnExisting,
    PageCompression, ParquetOptions, ParquetVersion, Partitioning, Quarantine, RootRepetition, Rotation, SchemaChange, Settings,
    SortColumn, TimestampUnit,
};
use crate::path::PathTemplate;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    path: String,
    sync_id: String,
    format: WireFormat,
    compression: Option<WireCompression>,
    is_content_encoded: bool,
    rows: Option<NonZeroU64>,
    bytes: Option<NonZeroU64>,
    age_nanoseconds: Option<NonZeroU64>,
    athena: bool,
    empty_objects: bool,
    content_type: String,
    commit: WireCommit,
    partitioning: WirePartitioning,
    on_schema_change: String,
    quarantine: Option<WireQuarantine>,
    catalog_table: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireCompression {
    codec: String,
    level: u8,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireCommit {
    id: String,
    time: Option<u64>,
    shard: u32,
    create_only: Option<String>,
    deferred: bool,
    replay: bool,
    manifest: Option<WireManifest>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePartitioning {
    max_open: u32,
    closes_oldest: bool,
    fails_where_missing: bool,
    null_name: String,
    keep_columns: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireQuarantine {
    path: String,
    max_rows: NonZeroU64,
    include_row: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireManifest {
    path: String,
    extra: bool,
    columns: bool,
    symlink_list: bool,
    success_marker: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
enum WireFormat {
    Csv { delimiter: u8, skip_header: bool, null_value: Option<String>, quotes_all: bool, line_ending: String },
    Json { omit_nulls: bool },
    Parquet(WireParquet),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireParquet {
    version: String,
    root_repetition: String,
    max_row_group_rows: NonZeroU64,
    row_group_bytes: Option<NonZeroU64>,
    compression: WirePages,
    timestamp_unit: Option<String>,
    field_ids: bool,
    bloom_filter_columns: Vec<String>,
    sort_by: Vec<String>,
    page_index: bool,
    /// Are Iceberg's types those of Athena, if they are Iceberg's?
    iceberg: Option<bool>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WirePages {
    None,
    Snappy,
    Leveled(WireCompression),
}

impl From<Compression> for WireCompression {
    fn from(compression: Compression) -> Self {
        Self { codec: compression.codec().name().to_owned(), level: compression.level() }
    }
}

impl WireCompression {
    fn check(self) -> Result<Compression, String> {
        let codec = Codec::parse(&self.codec).ok_or("an unknown compression")?;
        Compression::new(codec, self.level).ok_or_else(|| format!("level {} of {}", self.level, self.codec))
    }
}

impl Settings {
    /// For the way from the instance that checked the spec to the one that works by it.
    ///
    /// Cannot fail: a struct of texts and numbers has no key that is not a text.
    pub fn to_json(&self) -> String {
        let (rows, bytes, age) = match self.rotation {
            Rotation::Never => (None, None, None),
            Rotation::Every { rows, bytes, age } => (rows, bytes, age),
        };
        let wire = Wire {
            path: self.path.as_str().to_owned(),
            sync_id: self.sync_id.clone(),
            format: match &self.format {
                Format::Csv(it) => WireFormat::Csv {
                    delimiter: it.delimiter,
                    skip_header: it.skip_header,
                    null_value: it.null_value.map(|null| String::from_utf8_lossy(null.as_bytes()).into_owned()),
                    quotes_all: it.quotes_all,
                    line_ending: it.line_ending.name().to_owned(),
                },
                Format::Json(it) => WireFormat::Json { omit_nulls: it.omit_nulls },
                Format::Parquet(it) => WireFormat::Parquet(it.into()),
            },
            compression: self.compression.map(Into::into),
            is_content_encoded: self.is_content_encoded,
            rows,
            bytes,
            // Ages come from a signed 64-bit count of nanoseconds, so none is cut here.
            age_nanoseconds: age.and_then(|it| NonZeroU64::new(u64::try_from(it.as_nanos()).unwrap_or(u64::MAX))),
            athena: self.athena,
            empty_objects: self.empty_objects,
            content_type: self.content_type.clone(),
            commit: WireCommit {
                id: self.commit.id.clone(),
                time: self.commit.time,
                shard: self.commit.shard,
                create_only: self.commit.create_only.map(|it| it.name().to_owned()),
                deferred: self.commit.deferred,
                replay: self.commit.replay,
                manifest: self.commit.manifest.as_ref().map(|it| WireManifest {
                    path: it.path.as_str().to_owned(),
                    extra: it.extra,
                    columns: it.columns,
                    symlink_list: it.symlink_list,
                    success_marker: it.success_marker,
                }),
            },
            partitioning: WirePartitioning {
                max_open: self.partitioning.max_open,
                closes_oldest: self.partitioning.closes_oldest,
                fails_where_missing: self.partitioning.fails_where_missing,
                null_name: self.partitioning.null_name.clone(),
                keep_columns: self.partitioning.keep_columns,
            },
            on_schema_change: self.on_schema_change.name().to_owned(),
            quarantine: self.quarantine.as_ref().map(|it| WireQuarantine {
                path: it.path.as_str().to_owned(),
                max_rows: it.max_rows,
                include_row: it.include_row,
            }),
            catalog_table: self.catalog_tables.as_ref().map(|it| it.name.clone()),
        };
        serde_json::to_string(&wire).unwrap_or_default()
    }

    /// Reads what [`Settings::to_json`] wrote, and checks it again.
    ///
    /// # Errors
    /// What is wrong, if it is not something that [`Spec::parse`](super::Spec::parse) makes.
    pub fn from_json(json: &str) -> Result<Self, String> {
        let wire: Wire = serde_json::from_str(json).map_err(|error| format!("the session settings cannot be read: {error}"))?;
        wire.check().map_err(|reason| format!("the session settings are not ones that `configure` makes: {reason}"))
    }
}

impl Wire {
    fn check(self) -> Result<Settings, String> {
        let path = template(&self.path)?;
        let commit = self.commit.check()?;
        if commit.id.is_empty() && (path.has_commit_id() || commit.manifest.as_ref().is_some_and(|it| it.path.has_commit_id())) {
            return Err("a path has {{COMMIT_ID}} and there is no commit id".to_owned());
        }
        if path.has_sync_id() && self.sync_id.is_empty() {
            return Err("the path has {{SYNC_ID}} and there is no sync id".to_owned());
        }
        check_content_type(&self.content_type)?;
        let format = self.format.check()?;
        let facts = format.facts();
        let compression = self.compression.map(WireCompression::check).transpose()?;
        if compression.is_some() && !facts.is_compressible() {
            return Err(format!("compression around {}", facts.name));
        }
        if compression.is_none() && self.is_content_encoded {
            return Err("a content encoding of what is not compressed".to_owned());
        }
        if self.empty_objects && !facts.has_empty_object {
            return Err(format!("empty objects of {}", facts.name));
        }
        if self.empty_objects && !path.partition_fields().is_empty() {
            return Err("empty objects of partitions".to_owned());
        }
        let WirePartitioning { max_open, closes_oldest, fails_where_missing, null_name, keep_columns } = self.partitioning;
        let partitioning = Partitioning { max_open, closes_oldest, fails_where_missing, null_name, keep_columns }.check()?;
        let on_schema_change = SchemaChange::parse(&self.on_schema_change).ok_or("an unknown way with columns that change")?;
        if on_schema_change == SchemaChange::NewPath && !path.has_schema() {
            return Err("columns that change make a new path, and there is no {{SCHEMA}} in it".to_owned());
        }
        let may_split = path.has_uuid();
        let quarantine = self.quarantine.map(|WireQuarantine { path, max_rows, include_row }| {
            Quarantine { path: template(&path)?, max_rows, include_row }.check(commit.replay, may_split)
        });
        let quarantine = quarantine.transpose()?;
        let of_quarantine = |question: fn(&PathTemplate) -> bool| quarantine.as_ref().is_some_and(|it| question(&it.path));
        if of_quarantine(PathTemplate::has_sync_id) && self.sync_id.is_empty()
            || of_quarantine(PathTemplate::has_commit_id) && commit.id.is_empty()
        {
            return Err("the path of the quarantine has {{SYNC_ID}} or {{COMMIT_ID}}, and there is none".to_owned());
        }
        let rotation = if path.tells_objects_apart() {
            Rotation::Every { rows: self.rows, bytes: self.bytes, age: self.age_nanoseconds.map(|it| Duration::from_nanos(it.get())) }
        } else if (self.rows, self.bytes, self.age_nanoseconds) == (None, None, None) {
            Rotation::Never
        } else {
            return Err("limits of an object, and no {{UUID}} or {{SEQ}} in the path".to_owned());
        };
        let catalog_tables = self.catalog_table.map(|name| CatalogTables::new(name, &path)).transpose()?;
        if catalog_tables.is_some()
            != matches!(&format, Format::Parquet(options) if options.iceberg.is_some() && options.timestamp_unit.is_some())
        {
            return Err("tables of a catalog without its types, or the other way round".to_owned());
        }
        Ok(Settings {
            path,
            sync_id: self.sync_id,
            format,
            compression,
            is_content_encoded: self.is_content_encoded,
            rotation,
            athena: self.athena,
            empty_objects: self.empty_objects,
            content_type: self.content_type,
            commit,
            partitioning,
            on_schema_change,
            quarantine,
            catalog_tables,
        })
    }
}

impl WireCommit {
    fn check(self) -> Result<Commit, String> {
        let create_only =
            self.create_only.map(|name| OnExisting::parse(&name).ok_or("an unknown way with existing objects")).transpose()?;
        if self.replay && create_only.is_none() {
            return Err("a replay whose objects may replace others".to_owned());
        }
        let manifest = self.manifest.map(|it| {
            let WireManifest { path, extra, columns, symlink_list, success_marker } = it;
            template(&path).map(|path| Manifest { path, extra, columns, symlink_list, success_marker })
        });
        Ok(Commit {
            id: self.id,
            time: self.time,
            shard: self.shard,
            create_only,
            deferred: self.deferred,
            replay: self.replay,
            manifest: manifest.transpose()?,
        })
    }
}

fn template(path: &str) -> Result<PathTemplate, String> {
    PathTemplate::parse(path).map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

impl WireFormat {
    fn check(self) -> Result<Format, String> {
        match self {
            Self::Csv { delimiter, skip_header, null_value, quotes_all, line_ending } if is_delimiter(delimiter) => {
                let null = |text: String| NullText::new(&text, delimiter).ok_or("a null that would need quotes");
                Ok(Format::Csv(CsvOptions {
                    delimiter,
                    skip_header,
                    null_value: null_value.map(null).transpose()?,
                    quotes_all,
                    line_ending: LineEnding::parse(&line_ending).ok_or("an unknown end of lines")?,
                }))
            }
            Self::Csv { delimiter, .. } => Err(format!("byte {delimiter} as a delimiter")),
            Self::Json { omit_nulls } => Ok(Format::Json(JsonOptions { omit_nulls })),
            Self::Parquet(options) => options.check().map(Format::Parquet),
        }
    }
}

impl From<&ParquetOptions> for WireParquet {
    fn from(it: &ParquetOptions) -> Self {
        Self {
            version: it.version.name().to_owned(),
            root_repetition: it.root_repetition.name().to_owned(),
            max_row_group_rows: it.max_row_group_rows,
            row_group_bytes: it.row_group_bytes,
            compression: match it.compression {
                PageCompression::None => WirePages::None,
                PageCompression::Snappy => WirePages::Snappy,
                PageCompression::Leveled(compression) => WirePages::Leveled(compression.into()),
            },
            timestamp_unit: it.timestamp_unit.map(|unit| unit.name().to_owned()),
            field_ids: it.field_ids,
            bloom_filter_columns: it.bloom_filter_columns.clone(),
            sort_by: it.sort_by.iter().map(SortColumn::written).collect(),
            page_index: it.page_index,
            iceberg: it.iceberg.map(|types| types.athena),
        }
    }
}

impl WireParquet {
    fn check(self) -> Result<ParquetOptions, String> {
        let unit = |name: String| TimestampUnit::parse(&name).ok_or("an unknown unit of timestamps");
        let column = |text: String| SortColumn::parse(&text).ok_or("a column to sort by without a name");
        Ok(ParquetOptions {
            version: ParquetVersion::parse(&self.version).ok_or("an unknown parquet version")?,
            root_repetition: RootRepetition::parse(&self.root_repetition).ok_or("an unknown root repetition")?,
            max_row_group_rows: self.max_row_group_rows,
            row_group_bytes: self.row_group_bytes,
            compression: match self.compression {
                WirePages::None => PageCompression::None,
                WirePages::Snappy => PageCompression::Snappy,
                WirePages::Leveled(compression) => PageCompression::Leveled(compression.check()?),
            },
            timestamp_unit: self.timestamp_unit.map(unit).transpose()?,
            field_ids: self.field_ids,
            bloom_filter_columns: self.bloom_filter_columns,
            sort_by: self.sort_by.into_iter().map(column).collect::<Result<_, _>>()?,
            page_index: self.page_index,
            iceberg: self.iceberg.map(|athena| IcebergTypes { athena }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Spec;

    use super::*;

    fn settings(spec: &str) -> Settings {
        Spec::parse(spec, "sync-1").unwrap_or_else(|problems| panic!("{spec}: {problems:?}")).settings
    }

    #[test]
    fn come_back_as_they_were() {
        for spec in [
            r#"{"bucket":"b","region":"r","path":"{{TABLE}}/{{UUID}}","format":"csv"}"#,
            r#"{"bucket":"b","region":"r","path":"{{TABLE}}/C={{COLUMN:C}}/{{DAY:t}}/{{UUID}}","format":"csv","on_schema_change":"fail","partition":{"max_open":7,"overflow":"fail","missing":"fail","null":"none","keep_columns":false}}"#,
            r#"{"bucket":"b","region":"r","path":"{{UUID}}","format":"csv","commit":{"id":"c"},"quarantine":{"path":"q/{{TABLE}}/{{COMMIT_ID}}/{{UUID}}","max_rows":7,"include_row":false}}"#,
            r#"{"bucket":"b","region":"r","path":"{{SCHEMA}}/{{UUID}}","format":"csv","on_schema_change":"new_path"}"#,
            r#"{"bucket":"b","region":"r","path":"x","format":"csv","no_rotate":true,"compression":"gzip","format_spec":{"delimiter":"\t","skip_header":true,"null_value":"\\N","quote":"all","line_ending":"crlf"}}"#,
            r#"{"bucket":"b","region":"r","path":"{{UUID}}","format":"json","format_spec":{"omit_nulls":true}}"#,
            r#"{"bucket":"b","region":"r","path":"{{SYNC_ID}}/{{UUID}}","format":"json","athena":true,"batch_size":1,"batch_size_bytes":0,"batch_timeout":"1ns"}"#,
            r#"{"bucket":"b","region":"r","path":"{{UUID}}","format":"parquet","write_empty_objects_for_empty_tables":true,"content_type":"x/y","format_spec":{"version":"v1.0","root_repetition":"undefined","max_row_group_length":7}}"#,
            r#"{"bucket":"b","region":"r","path":"{{UUID}}","format":"parquet","format_spec":{"compression":"zstd","compression_level":9,"row_group_bytes":1048576,"timestamp_unit":"ms_truncated","field_ids":true,"bloom_filter_columns":["a b"],"sort_by":["x desc","y","z desc asc"],"page_index":false}}"#,
            r#"{"bucket":"b","region":"r","path":"{{UUID}}","format":"parquet","format_spec":{"compression":"none"}}"#,
            r#"{"bucket":"b","region":"r","path":"w/{{TABLE}}/d={{DAY:t}}/{{UUID}}","format":"parquet","athena":true,"table_format":"iceberg","iceberg":{"uri":"http://c","namespace":"n","table":"t_{{TABLE}}"}}"#,
            r#"{"bucket":"b","region":"r","path":"{{UUID}}","format":"csv","compression":"zstd","compression_level":12,"content_encoding":"zstd"}"#,
            r#"{"bucket":"b","region":"r","path":"{{TABLE}}","format":"json","batch_size":0,"batch_size_bytes":0,"batch_timeout":"0"}"#,
            r#"{"bucket":"b","region":"r","path":"{{UUID}}","format":"json","batch_size":9223372036854775807,"batch_size_bytes":9223372036854775807,"batch_timeout":"2562047h"}"#,
        ] {
            let settings = settings(spec);
            assert_eq!(Settings::from_json(&settings.to_json()), Ok(settings), "{spec}");
        }
    }

    #[test]
    fn hold_nothing_of_the_target() {
        let spec = r#"{"bucket":"canary-bucket","region":"canary-region","path":"{{TABLE}}/{{UUID}}","format":"parquet","endpoint":"http://canary-host",
            "table_format":"iceberg","iceberg":{"uri":"http://canary-catalog","namespace":"canary","auth":"bearer","credential_env":"canary"},
            "acl":"private","local_profile":"canary-profile","server_side_encryption_configuration":{"server_side_encryption":"aws:kms","sse_kms_key_id":"canary-key"}}"#;
        let json = settings(spec).to_json();
        assert!(!json.contains("canary"), "{json}");
    }

    #[test]
    fn are_checked_again() {
        let good = settings(r#"{"bucket":"b","region":"r","path":"{{TABLE}}/{{UUID}}","format":"csv"}"#).to_json();
        let check = |from: &str, to: &str, expected: &str| {
            assert!(good.contains(from), "{good} has no {from}");
            let error = Settings::from_json(&good.replace(from, to)).expect_err(to);
            assert!(error.contains(expected), "{error}");
        };
        check("{{TABLE}}/", "../", "relative paths");
        check("{{TABLE}}/{{UUID}}", "", "`path` is required");
        check("{{TABLE}}/{{UUID}}", "{{TABLE}}", "no {{UUID}}");
        check("\"delimiter\":44", "\"delimiter\":34", "byte 34 as a delimiter");
        check("\"delimiter\":44", "\"delimiter\":200", "byte 200 as a delimiter");
        check("text/csv", "text/\\u0000csv", "`content_type`");
        check("\"empty_objects\":false", "\"empty_objects\":true", "empty objects");
        check("\"rows\":10000", "\"rows\":0", "cannot be read");
        check("next_object", "new_path", "no {{SCHEMA}} in it");
        check("next_object", "guess", "an unknown way");
        check("\"max_open\":100", "\"max_open\":0", "0 open partitions");
        check("__HIVE_DEFAULT_PARTITION__", "..", "`partition.null`");
        check("\"athena\":", "\"thing\":1,\"athena\":", "unknown field `thing`");
        check("\"compression\":null", "\"compression\":{\"codec\":\"lz4\",\"level\":1}", "an unknown compression");
        check("\"compression\":null", "\"compression\":{\"codec\":\"gzip\",\"level\":10}", "level 10 of gzip");
        check("\"is_content_encoded\":false", "\"is_content_encoded\":true", "not compressed");
        let parquet = r#"{"parquet":{"version":"v9","root_repetition":"repeated","max_row_group_rows":1,"row_group_bytes":null,"compression":"none","timestamp_unit":null,"field_ids":false,"bloom_filter_columns":[],"sort_by":[],"page_index":true,"iceberg":null}}"#;
        check(
            r#"{"csv":{"delimiter":44,"skip_header":false,"null_value":null,"quotes_all":false,"line_ending":"lf"}}"#,
            parquet,
            "unknown parquet version",
        );
        assert!(Settings::from_json("").is_err() && Settings::from_json("null").is_err() && Settings::from_json("[]").is_err());
    }
}

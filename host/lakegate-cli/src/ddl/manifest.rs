//! The tables of manifests: what objects there are, in which folders, and what the objects themselves say of their columns.
//!
//! A manifest has no types. Parquet has them in its footers; of text, the names of the columns are taken from an object, and the columns are texts.

use super::super::bucket::{Bucket, store_failed};
use super::super::exit::{CliError, Exit};
use super::super::manifest::{Entry, Manifest, footer};
use super::args::DdlArgs;
use super::layout::Layout;
use super::statement::{Columns, Table};
use super::written::{CsvText, Format, HIVE_NULL};
use arrow_schema::{FieldRef, Schema};
use lakegate::store::read_whole;
use lakegate_base::file::read_plain;
use lakegate_cloudquery::client::columns::schema_of;
use lakegate_files::{CsvOptions, Input, InputFormat, Location, MessageReader, ReadOptions, parquet_footer};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

/// Bytes of a manifest in a file.
const MAX_MANIFEST_BYTES: u64 = 256 << 20;

/// Bytes of an object of text, which is read for the names of its columns.
const MAX_OBJECT_BYTES: u64 = 256 << 20;

/// What tells a manifest from a configuration.
#[derive(Deserialize)]
struct Mark {
    #[expect(dead_code, reason = "that it is there is enough")]
    entries: IgnoredAny,
}

/// Whether an argument is a manifest.
pub(super) fn is_one(input: &str) -> bool {
    if input.starts_with("s3://") {
        return true;
    }
    read_plain(Path::new(input), MAX_MANIFEST_BYTES)
        .is_ok_and(|bytes| bytes.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<Mark>(&bytes).is_ok())
}

/// The objects of a table.
#[derive(Debug, Default)]
struct Objects {
    format: Option<String>,
    urls: Vec<String>,
}

/// The tables of the manifests among the arguments.
pub(super) async fn tables(args: &DdlArgs) -> Result<Vec<Table>, CliError> {
    let mut tables: BTreeMap<String, Objects> = BTreeMap::new();
    let mut buckets: BTreeMap<String, Bucket> = BTreeMap::new();
    for input in &args.inputs {
        let manifest = read(input, args, &mut buckets).await?;
        let extra = manifest.lakegate.as_ref();
        let name = extra.and_then(|extra| extra.table.clone()).or_else(|| args.table.clone());
        let name = name.ok_or_else(|| CliError::new(Exit::Usage, format!("{input} does not name its table; --table NAME does")))?;
        let format = extra.and_then(|extra| extra.format.clone());
        let parts = extra.map(|extra| extra.parts.clone()).unwrap_or_default();
        let objects = tables.entry(name).or_default();
        if objects.format.is_some() && format.is_some() && objects.format != format {
            return Err(CliError::new(
                Exit::Input,
                format!("{input} has objects of another format than a manifest of the same table before it"),
            ));
        }
        objects.format = format.or(objects.format.take());
        objects.urls.extend(manifest.entries.into_iter().map(|entry: Entry| entry.url));
        for part in parts {
            let part = read(&part, args, &mut buckets).await?;
            objects.urls.extend(part.entries.into_iter().map(|entry| entry.url));
        }
    }
    let mut made = Vec::new();
    for (name, objects) in tables {
        made.push(table(name, objects, args, &mut buckets).await?);
    }
    Ok(made)
}

/// Reads a manifest from a file or a bucket.
async fn read(input: &str, args: &DdlArgs, buckets: &mut BTreeMap<String, Bucket>) -> Result<Manifest, CliError> {
    if input.starts_with("s3://") {
        return bucket(input, args, buckets).await?.manifest(input).await;
    }
    let unreadable = |error: String| CliError::new(Exit::Input, format!("{input}: {error}"));
    let bytes = read_plain(Path::new(input), MAX_MANIFEST_BYTES).map_err(|error| unreadable(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| unreadable(format!("it is no manifest: {error}")))
}

/// The bucket of a URL, connected to once.
async fn bucket<'a>(url: &str, args: &DdlArgs, buckets: &'a mut BTreeMap<String, Bucket>) -> Result<&'a Bucket, CliError> {
    let name = split(url)?.0.to_owned();
    if !buckets.contains_key(&name) {
        let connected = Bucket::connect(url, &args.target.store, &args.machine).await?;
        buckets.insert(name.clone(), connected);
    }
    buckets.get(&name).ok_or_else(|| CliError::new(Exit::Unexpected, "a bucket is lost"))
}

/// Bucket and key.
fn split(url: &str) -> Result<(&str, &str), CliError> {
    let parts =
        url.strip_prefix("s3://").and_then(|rest| rest.split_once('/')).filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty());
    parts.ok_or_else(|| CliError::new(Exit::Input, format!("{url:?} is not s3://BUCKET/KEY")))
}

async fn table(name: String, objects: Objects, args: &DdlArgs, buckets: &mut BTreeMap<String, Bucket>) -> Result<Table, CliError> {
    let refused = |problem: String| CliError::new(Exit::Input, format!("table {name:?}: {problem}"));
    let (Some(first), Some(last)) = (objects.urls.first(), objects.urls.last()) else {
        return Err(refused("its manifest has no objects, so nothing is known of its columns; give its files".to_owned()));
    };
    let split_urls = objects.urls.iter().map(|url| split(url)).collect::<Result<Vec<_>, _>>()?;
    let of_bucket = split(first)?.0;
    if let Some((other, _)) = split_urls.iter().find(|(bucket, _)| *bucket != of_bucket) {
        return Err(refused(format!("its objects are in two buckets, {of_bucket:?} and {other:?}")));
    }
    let layout = Layout::from_keys(split_urls.iter().map(|(_, key)| *key)).map_err(refused)?;
    let ending = ["csv", "json", "parquet"].into_iter().find(|it| first.trim_end_matches(".gz").ends_with(&format!(".{it}")));
    let (columns, format) = match objects.format.as_deref().or(ending) {
        Some("parquet") => {
            let schemas = [schema(first, args, buckets).await?, schema(last, args, buckets).await?];
            (Columns::Typed(united(&name, &schemas)?), Format::Parquet { nanoseconds: true })
        }
        Some("csv") => {
            let delimiter = args.delimiter.map_or(',', |delimiter| char::from(delimiter.byte()));
            (names(first, InputFormat::Csv, args, buckets).await?, Format::Csv(CsvText { delimiter, ..CsvText::default() }))
        }
        Some("json") => (names(first, InputFormat::Ndjson, args, buckets).await?, Format::Json),
        other => {
            let found = other.map_or_else(|| "no format".to_owned(), |format| format!("the format {format:?}"));
            return Err(refused(format!("its manifest names {found}; csv, json and parquet are known")));
        }
    };
    let bucket = of_bucket.to_owned();
    let null_name = HIVE_NULL.to_owned();
    Ok(Table { name, columns, bucket, layout, format, hides_compression: false, null_name, dropped: Vec::new() })
}

/// The columns of a Parquet file in a bucket.
async fn schema(url: &str, args: &DdlArgs, buckets: &mut BTreeMap<String, Bucket>) -> Result<Schema, CliError> {
    let bucket = bucket(url, args, buckets).await?;
    let key = bucket.key(url).map_err(|problem| CliError::new(Exit::Input, problem))?;
    let info = bucket.store.head(&key).await.map_err(store_failed)?;
    let info = info.ok_or_else(|| CliError::new(Exit::Storage, format!("{url} is not there")))?;
    let bytes = info.bytes.unwrap_or_default();
    let read = footer(bucket, &key, &info, bytes, parquet_footer::schema).await?;
    read.map_err(|problem| CliError::new(Exit::Storage, format!("{url}: {problem}")))
}

/// The columns of all: readers find them by their names.
fn united(table: &str, schemas: &[Schema]) -> Result<Schema, CliError> {
    let mut fields: Vec<FieldRef> = Vec::new();
    for field in schemas.iter().flat_map(Schema::fields) {
        match fields.iter().find(|known| known.name() == field.name()) {
            None => fields.push(field.clone()),
            Some(known) if known.data_type() == field.data_type() => {}
            Some(known) => {
                let problem = format!(
                    "table {table:?}: column {:?} has the type {} in one object and {} in another, and a table has one; objects of one schema can \
                     have a folder of their own by {{{{SCHEMA}}}}",
                    field.name(),
                    known.data_type(),
                    field.data_type()
                );
                return Err(CliError::new(Exit::Input, problem));
            }
        }
    }
    Ok(Schema::new(fields))
}

/// The names of the columns of an object of text.
async fn names(url: &str, format: InputFormat, args: &DdlArgs, buckets: &mut BTreeMap<String, Bucket>) -> Result<Columns, CliError> {
    let bucket = bucket(url, args, buckets).await?;
    let key = bucket.key(url).map_err(|problem| CliError::new(Exit::Input, problem))?;
    let bytes = read_whole(&*bucket.store, &key, MAX_OBJECT_BYTES).await.map_err(store_failed)?;
    let bytes = bytes.ok_or_else(|| CliError::new(Exit::Storage, format!("{url} is not there")))?;
    let csv = CsvOptions { delimiter: args.delimiter, ..CsvOptions::default() };
    let options = ReadOptions { format: Some(format), csv, spool: args.machine.spool(), ..ReadOptions::default() };
    let read = tokio::task::spawn_blocking(move || {
        let failed = |error: std::io::Error| CliError::new(Exit::Unexpected, format!("a temporary file: {error}"));
        let mut file = tempfile::NamedTempFile::new().map_err(failed)?;
        file.write_all(&bytes).map_err(failed)?;
        let input = Input { location: Location::File(file.path().to_owned()), table: "object".to_owned(), partitions: Vec::new() };
        Ok(MessageReader::schemas(&[input], &options)?)
    });
    let schemas = read.await.unwrap_or_else(|error| Err(CliError::new(Exit::Unexpected, error.to_string())));
    let schemas = schemas.map_err(|error| CliError::new(error.exit, format!("{url}: {}", error.message)))?;
    let ipc = schemas.first().ok_or_else(|| CliError::new(Exit::Unexpected, "an object without a schema"))?;
    let schema = schema_of(ipc)?;
    Ok(Columns::Texts(schema.fields().iter().map(|field: &FieldRef| field.name().clone()).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_schema::{DataType, Field};

    #[test]
    fn a_manifest_is_told_from_a_configuration() {
        let dir = tempfile::tempdir().unwrap();
        for (content, expected) in [
            (r#"{"entries": []}"#, true),
            ("\n {\"entries\": [{\"url\": \"s3://b/k\"}]}", true),
            (r#"{"kind": "source", "spec": {}}"#, false),
            ("kind: source\nentries: []\n", false),
            (r#"{"entries": ["#, false),
            ("", false),
        ] {
            let file = dir.path().join("m");
            std::fs::write(&file, content).unwrap();
            assert_eq!(is_one(&file.display().to_string()), expected, "{content}");
        }
        assert!(is_one("s3://b/k") && !is_one("missing.json") && !is_one(&dir.path().display().to_string()));
    }

    #[test]
    fn columns_of_objects_are_united_by_name() {
        let schema = |fields: &[(&str, DataType)]| {
            Schema::new(fields.iter().map(|(name, ty)| Field::new(*name, ty.clone(), true)).collect::<Vec<_>>())
        };
        let one = schema(&[("a", DataType::Int8), ("b", DataType::Utf8)]);
        let other = schema(&[("c", DataType::Int8), ("b", DataType::Utf8)]);
        let names = united("t", &[one.clone(), other]).unwrap();
        assert_eq!(names.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        let error = united("t", &[one, schema(&[("a", DataType::Int16)])]).unwrap_err();
        assert!(
            error.exit == Exit::Input && error.message.contains("\"a\" has the type Int8 in one object and Int16 in another"),
            "{error}"
        );
    }
}

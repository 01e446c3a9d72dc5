//! `lakegate manifest`: holds what a manifest says against what is in the bucket.

use super::args::ResourceArgs;
use super::bucket::{Bucket, store_failed};
use super::console::{data, error_line};
use super::exit::{CliError, Exit};
use super::interrupt;
use super::target::StoreArgs;
use lakegate::store::{Authorized, ChecksumAlgorithm, ObjectInfo, ObjectKey, read_range, read_whole};
use lakegate_files::parquet_footer;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Bytes of a file of a manifest: 100,000 objects with long keys and many partitions fit.
const MAX_MANIFEST_BYTES: u64 = 256 << 20;

/// Problems that are printed; the others are counted.
const MAX_PROBLEMS: usize = 100;

/// Bytes at the end of a Parquet file that are read first: the footers of most files fit.
const FOOTER_BYTES: u64 = 64 << 10;

/// The arguments of `manifest`.
#[derive(Debug, Clone, clap::Args)]
pub struct ManifestArgs {
    /// The subcommand.
    #[command(subcommand)]
    pub command: ManifestCommand,
}

/// The subcommands of `manifest`.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum ManifestCommand {
    /// Check that every object of a manifest is there as the manifest says: size, checksum where the store shows it, and the rows in the footers of
    /// Parquet files.
    Verify(VerifyArgs),
}

/// The arguments of `manifest verify`.
#[derive(Debug, Clone, clap::Args)]
pub struct VerifyArgs {
    /// The manifest.
    #[arg(value_name = "s3://BUCKET/KEY")]
    pub manifest: String,
    /// Which store, and as whom.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Use of the machine.
    #[command(flatten)]
    pub machine: ResourceArgs,
    /// Print the result as one line of JSON on stdout.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// The manifest cannot be read, or does not hold.
pub(crate) async fn run(args: ManifestArgs) -> Result<Exit, CliError> {
    let ManifestCommand::Verify(args) = args.command;
    let interrupted = interrupt::listen()?;
    let json = args.json;
    let found = interrupt::unless(&interrupted, verify(args)).await?;
    let problems = found.problems.len() as u64 + found.more_problems;
    let exit = if problems == 0 { Exit::Done } else { Exit::Storage };
    let summary = format!(
        "{} objects with {} rows and {} bytes; {} checksums and {} footers were compared.",
        found.objects, found.rows, found.bytes, found.checksums, found.footers
    );
    if json {
        data(&json!({
            "ok": problems == 0, "exit_code": exit.code(), "objects": found.objects, "rows": found.rows, "bytes": found.bytes,
            "checksums": found.checksums, "footers": found.footers, "problems": found.problems, "problems_left_out": found.more_problems,
        }).to_string())?;
    }
    found.problems.iter().for_each(|problem| error_line(problem));
    if problems > 0 {
        return Err(CliError::new(exit, format!("the manifest does not hold in {problems} points: {summary}")));
    }
    if !json {
        data(&summary)?;
    }
    Ok(exit)
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    objects: u64,
    rows: u64,
    bytes: u64,
    /// Objects whose checksum was compared.
    checksums: u64,
    /// Objects whose footer was read.
    footers: u64,
    problems: Vec<String>,
    more_problems: u64,
}

impl Found {
    fn problem(&mut self, problem: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
        }
    }
}

/// A file of a manifest.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    #[serde(default)]
    pub(crate) entries: Vec<Entry>,
    meta: Option<Meta>,
    pub(crate) lakegate: Option<Extra>,
}

/// An object of a manifest.
#[derive(Debug, Deserialize)]
pub(crate) struct Entry {
    pub(crate) url: String,
    meta: Meta,
    lakegate: Option<EntryExtra>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Meta {
    content_length: u64,
    #[serde(default)]
    record_count: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct EntryExtra {
    /// Checksums by the names of their algorithms, among others.
    #[serde(flatten)]
    fields: BTreeMap<String, Value>,
}

impl EntryExtra {
    fn checksum(&self, algorithm: ChecksumAlgorithm) -> Option<&str> {
        self.fields.get(algorithm.name())?.as_str()
    }
}

/// What is ours of a manifest.
#[derive(Debug, Deserialize)]
pub(crate) struct Extra {
    pub(crate) table: Option<String>,
    pub(crate) format: Option<String>,
    #[serde(default)]
    pub(crate) parts: Vec<String>,
}

impl Bucket {
    /// Reads a file of a manifest.
    ///
    /// # Errors
    /// It is not there, or is none.
    pub(crate) async fn manifest(&self, url: &str) -> Result<Manifest, CliError> {
        let key = self.key(url).map_err(|problem| CliError::new(Exit::Usage, problem))?;
        let bytes = read_whole(&*self.store, &key, MAX_MANIFEST_BYTES).await.map_err(store_failed)?;
        let bytes = bytes.ok_or_else(|| CliError::new(Exit::Storage, format!("{url} is not there")))?;
        serde_json::from_slice(&bytes).map_err(|error| CliError::new(Exit::Storage, format!("{url} is no manifest: {error}")))
    }
}

async fn verify(args: VerifyArgs) -> Result<Found, CliError> {
    let bucket = Bucket::connect(&args.manifest, &args.store, &args.machine).await?;
    let index = bucket.manifest(&args.manifest).await?;
    let mut found = Found::default();
    let is_parquet = |manifest: &Manifest, url: &str| match manifest.lakegate.as_ref().and_then(|extra| extra.format.as_deref()) {
        Some(format) => format == "parquet",
        None => url.ends_with(".parquet"),
    };
    for part in index.lakegate.iter().flat_map(|extra| &extra.parts) {
        let part = bucket.manifest(part).await?;
        for entry in &part.entries {
            check(&bucket, entry, is_parquet(&part, &entry.url), &mut found).await?;
        }
    }
    for entry in &index.entries {
        check(&bucket, entry, is_parquet(&index, &entry.url), &mut found).await?;
    }
    if let Some(Meta { content_length, record_count }) = index.meta
        && (content_length, record_count.unwrap_or(found.rows)) != (found.bytes, found.rows)
    {
        let (rows, bytes) = (found.rows, found.bytes);
        found.problem(format!(
            "the manifest's total is {record_count:?} rows and {content_length} bytes, and its entries add up to {rows} and {bytes}"
        ));
    }
    Ok(found)
}

/// One object. Only a store that cannot be asked ends the command.
async fn check(bucket: &Bucket, entry: &Entry, is_parquet: bool, found: &mut Found) -> Result<(), CliError> {
    let Entry { url, meta, lakegate } = entry;
    found.objects += 1;
    found.bytes = found.bytes.saturating_add(meta.content_length);
    found.rows = found.rows.saturating_add(meta.record_count.unwrap_or_default());
    let key = match bucket.key(url) {
        Ok(key) => key,
        Err(problem) => {
            found.problem(problem);
            return Ok(());
        }
    };
    let Some(info) = bucket.store.head(&key).await.map_err(store_failed)? else {
        found.problem(format!("{url} is not there"));
        return Ok(());
    };
    if info.bytes != Some(meta.content_length) {
        found.problem(format!("{url} has {} bytes instead of {}", info.bytes.unwrap_or_default(), meta.content_length));
        return Ok(());
    }
    for (algorithm, shown) in &info.checksums {
        if let Some(expected) = lakegate.as_ref().and_then(|extra| extra.checksum(*algorithm)) {
            found.checksums += 1;
            if expected != shown {
                found.problem(format!("{url} has the {} {shown} instead of {expected}", algorithm.name().to_uppercase()));
            }
        }
    }
    if is_parquet && let Some(rows) = meta.record_count {
        found.footers += 1;
        match footer_rows(bucket, &key, &info, meta.content_length).await? {
            Ok(in_file) if in_file == rows => {}
            Ok(in_file) => found.problem(format!("{url} has {in_file} rows instead of {rows}")),
            Err(problem) => found.problem(format!("{url}: {problem}")),
        }
    }
    Ok(())
}

/// The rows that a Parquet file says it has.
async fn footer_rows(bucket: &Bucket, key: &Authorized<ObjectKey>, info: &ObjectInfo, bytes: u64) -> Result<Result<u64, String>, CliError> {
    footer(bucket, key, info, bytes, parquet_footer::rows).await
}

/// What the footer of a Parquet file of so many bytes says.
///
/// # Errors
/// The store cannot be asked. The inner error: the file has no such footer.
pub(crate) async fn footer<T>(
    bucket: &Bucket,
    key: &Authorized<ObjectKey>,
    info: &ObjectInfo,
    bytes: u64,
    read: fn(&[u8]) -> Result<T, parquet_footer::Unreadable>,
) -> Result<Result<T, String>, CliError> {
    let mut wanted = FOOTER_BYTES;
    loop {
        let from = bytes.saturating_sub(wanted);
        let tail = read_range(&*bucket.store, key, info, from..bytes).await.map_err(store_failed)?;
        match read(&tail) {
            Err(parquet_footer::Unreadable::TooShort { needed }) if needed > wanted && needed <= bytes.min(MAX_MANIFEST_BYTES) => {
                wanted = needed
            }
            found => return Ok(found.map_err(|error| error.to_string())),
        }
    }
}

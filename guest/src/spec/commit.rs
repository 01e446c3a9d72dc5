//! How the objects of a sync become one commit: what the spec says of it, and the rules across its fields.

use super::document::preview;
use super::fields::refuse;
use super::headers;
use super::problem::SpecProblem;
use super::raw::{EXACTLY_ONCE, ICEBERG, ON_COMMIT, RawCommit, RawManifest, RawSpec};
use crate::path::PathTemplate;

/// What a sync is an attempt at, as its client says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncContext {
    /// The identity of the sync; empty if the client gave none.
    pub sync_id: String,
    /// The name of the commit; empty if the client has none for it.
    pub commit_id: String,
    /// What clock placeholders stand for in every attempt, in seconds since 1970.
    pub commit_time: Option<u64>,
    /// Would another attempt bring the same rows in the same order?
    pub repeatable: bool,
    /// Which part of the sync this is, of how many, from 1.
    pub shard: Option<(u32, u32)>,
}

impl From<&String> for SyncContext {
    fn from(sync_id: &String) -> Self {
        Self::from(sync_id.as_str())
    }
}

impl From<&str> for SyncContext {
    fn from(sync_id: &str) -> Self {
        Self { sync_id: sync_id.to_owned(), ..Self::default() }
    }
}

/// What a session works by that makes its objects one commit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Commit {
    /// `{{COMMIT_ID}}`; empty where nothing depends on it.
    pub id: String,
    /// What clock placeholders stand for, in seconds since 1970; absent: the time of each object.
    pub time: Option<u64>,
    /// `{{SHARD}}`.
    pub shard: u32,
    /// Are objects created and never replaced, and which count as written where there is one already?
    pub create_only: Option<OnExisting>,
    /// Is nothing to be seen before every table has succeeded?
    pub deferred: bool,
    /// Must keys and bytes be the same in every attempt?
    pub replay: bool,
    /// Where manifests go, and what goes beside them.
    pub manifest: Option<Manifest>,
}

/// What counts as written where a key has an object already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExisting {
    /// An object with the same bytes.
    Verify,
    /// Any object.
    Trust,
    /// None but the attempt's own.
    Fail,
}

/// The records of a commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The manifest of each table.
    pub path: PathTemplate,
    /// May it say more than Redshift's COPY asks for?
    pub extra: bool,
    /// Does it say what the columns of each object hold?
    pub columns: bool,
    /// A list of the objects' URLs beside it?
    pub symlink_list: bool,
    /// A marker of success in the folder of each table?
    pub success_marker: bool,
}

impl OnExisting {
    pub(super) const ALL: [Self; 3] = [Self::Verify, Self::Trust, Self::Fail];

    /// As the spec names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Trust => "trust",
            Self::Fail => "fail",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

/// The placeholder of the name of a commit.
const COMMIT_ID: &str = "{{COMMIT_ID}}";

/// The format that knows what columns hold.
const PARQUET: &str = "parquet";

/// Bytes of a commit's name. It stands in keys.
const MAX_COMMIT_ID_BYTES: usize = 200;

/// Seconds since 1970 that a commit's time may be: up to the year 9998.
const MAX_SECONDS: i64 = 253_370_764_799;

impl Commit {
    /// Checks the fields and takes them over.
    pub(super) fn from_raw(raw: &RawSpec, path: Option<&PathTemplate>, sync: &SyncContext, problems: &mut Vec<SpecProblem>) -> Self {
        let is_exact = raw.delivery.filled() == Some(EXACTLY_ONCE);
        let written = raw.commit.given();
        let id = id(written, sync);
        let time = time(written, problems).or(sync.commit_time);
        let on_existing = written.and_then(|it| it.on_existing.filled()).and_then(OnExisting::parse).unwrap_or(OnExisting::Verify);
        let manifest = raw.manifest.given().and_then(|it| manifest(it, raw.format.filled(), problems));
        let mut commit = Self {
            id,
            time,
            shard: sync.shard.map_or(1, |(number, _)| number),
            create_only: is_exact.then_some(on_existing),
            deferred: raw.visibility.filled() == Some(ON_COMMIT),
            replay: is_exact && sync.repeatable,
            manifest,
        };
        let depends_on_id = commit.depends_on_id(raw, path);
        if depends_on_id && !commit.id.is_empty() && !is_commit_id(&commit.id) {
            let rule = format!("1 to {MAX_COMMIT_ID_BYTES} letters and digits of ASCII and - _ . : + @ = ~ ,");
            refuse(problems, "commit.id", format!("`commit.id` must be {rule}, not {:?}", preview(&commit.id)));
        }
        commit.check(raw, path, sync, problems);
        if !depends_on_id {
            commit.id.clear();
        }
        commit
    }

    /// Does anything depend on the name of the commit? The id of a sync may be anything else.
    fn depends_on_id(&self, raw: &RawSpec, path: Option<&PathTemplate>) -> bool {
        let is_in_path = path.is_some_and(PathTemplate::has_commit_id) || is_in_quarantine(raw);
        let is_written = raw.commit.given().is_some_and(|written| written.id.filled().is_some());
        let is_in_header = headers::field_with(raw, COMMIT_ID).is_some();
        let is_in_table = raw.table_format.filled() == Some(ICEBERG);
        self.create_only.is_some() || self.deferred || self.manifest.is_some() || is_in_path || is_in_header || is_in_table || is_written
    }

    /// The rules across fields.
    fn check(&self, raw: &RawSpec, path: Option<&PathTemplate>, sync: &SyncContext, problems: &mut Vec<SpecProblem>) {
        let path_has = |question: fn(&PathTemplate) -> bool| path.is_some_and(question);
        let manifest = self.manifest.as_ref().map(|manifest| &manifest.path);
        let id_is_wanted =
            path_has(PathTemplate::has_commit_id) || manifest.is_some_and(PathTemplate::has_commit_id) || is_in_quarantine(raw);
        let who = match (self.create_only, self.deferred) {
            (Some(_), _) => Some("`delivery: exactly_once`"),
            (None, true) => Some("`visibility: on_commit`"),
            (None, false) if id_is_wanted => Some("{{COMMIT_ID}} in a path"),
            (None, false) => headers::field_with(raw, COMMIT_ID).map(|_| "{{COMMIT_ID}} in `tags` or `metadata`"),
        };
        if let Some(who) = who.filter(|_| self.id.is_empty()) {
            refuse(problems, "commit.id", format!("`commit.id` is required with {who}: it is the same in every attempt at a commit"));
        }
        if manifest.is_some_and(PathTemplate::has_sync_id) && sync.sync_id.is_empty() {
            refuse(problems, "manifest.path", "`manifest.path` contains {{SYNC_ID}}, and this sync has no id");
        }
        if self.deferred && raw.write_empty_objects_for_empty_tables.is_true() {
            let message = "`write_empty_objects_for_empty_tables` cannot be used with `visibility: on_commit`";
            refuse(problems, "write_empty_objects_for_empty_tables", message);
        } else if self.create_only.is_some() && raw.write_empty_objects_for_empty_tables.is_true() {
            let message = "`write_empty_objects_for_empty_tables` cannot be used with `delivery: exactly_once`: the empty object of a table is \
                           replaced by its first rows, and nothing is replaced";
            refuse(problems, "write_empty_objects_for_empty_tables", message);
        }
        if !self.replay {
            return;
        }
        if path_has(PathTemplate::has_uuid) {
            let message =
                "`path` should contain {{SEQ}} instead of {{UUID}} with `delivery: exactly_once`: another attempt must have the same keys";
            refuse(problems, "path", message);
        }
        if path_has(PathTemplate::has_clock) && self.time.is_none() {
            let message = "`commit.time` is required with `delivery: exactly_once` and a clock placeholder in `path`: another attempt must have \
                           the same keys";
            refuse(problems, "commit.time", message);
        }
        if raw.batch_timeout.filled().is_some_and(|text| super::duration::parse(text).is_ok_and(|nanoseconds| nanoseconds > 0)) {
            let message = "`batch_timeout` cannot be used with `delivery: exactly_once`: another attempt must have the same objects";
            refuse(problems, "batch_timeout", message);
        }
    }
}

/// Does the path of the quarantine have the name of the commit in it?
fn is_in_quarantine(raw: &RawSpec) -> bool {
    raw.quarantine.given().and_then(|it| it.path.filled()).is_some_and(|path| path.contains(COMMIT_ID))
}

/// The name of the commit: the spec's, the client's, or, where another attempt has another sync id, that of the sync.
fn id(written: Option<&RawCommit>, sync: &SyncContext) -> String {
    let of_sync = || if sync.repeatable { String::new() } else { sync.sync_id.clone() };
    let of_client = || Some(sync.commit_id.clone()).filter(|id| !id.is_empty());
    written.and_then(|it| it.id.filled()).map(str::to_owned).or_else(of_client).unwrap_or_else(of_sync)
}

/// A text that can stand in a key, in a header and in a line of a log as it is.
fn is_commit_id(id: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:+@=~,".contains(&byte);
    (1..=MAX_COMMIT_ID_BYTES).contains(&id.len()) && id.bytes().all(is_good) && !id.bytes().all(|byte| byte == b'.')
}

fn time(written: Option<&RawCommit>, problems: &mut Vec<SpecProblem>) -> Option<u64> {
    let text = written?.time.filled()?;
    let seconds =
        text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second).filter(|seconds| (0..=MAX_SECONDS).contains(seconds));
    if seconds.is_none() {
        let message = format!("`commit.time` must be a time such as 2026-11-29T12:00:00Z, not {:?}", preview(text));
        refuse(problems, "commit.time", message);
    }
    seconds.and_then(|seconds| u64::try_from(seconds).ok())
}

fn manifest(raw: &RawManifest, format: Option<&str>, problems: &mut Vec<SpecProblem>) -> Option<Manifest> {
    const FIELD: &str = "manifest.path";
    let path = match PathTemplate::parse(raw.path.filled()?) {
        Ok(path) => path,
        Err(found) => {
            found.iter().for_each(|problem| refuse(problems, FIELD, problem.to_string().replace("`path`", "`manifest.path`")));
            return None;
        }
    };
    if !path.has_table() && !path.has_table_hyphen() {
        refuse(problems, FIELD, "`manifest.path` should contain {{TABLE}}: each table has a manifest of its own");
    }
    if !path.has_commit_id() && !path.has_sync_id() {
        refuse(problems, FIELD, "`manifest.path` should contain {{COMMIT_ID}}: each commit has manifests of its own");
    }
    if path.has_uuid() || path.has_sequence() || path.has_clock() || path.has_schema() || !path.partition_fields().is_empty() {
        refuse(
            problems,
            FIELD,
            "`manifest.path` should not contain {{UUID}}, {{SEQ}}, {{SCHEMA}}, the time or values of columns: a commit has one manifest for each table",
        );
    }
    let lists: &[String] = raw.lists.given().map_or(&[], Vec::as_slice);
    if raw.columns.is_true() && !raw.extra.is_true() {
        refuse(problems, "manifest.columns", "`manifest.columns` cannot be used with `manifest.extra: false`, which leaves them out");
    }
    if raw.columns.is_true() && format.is_some_and(|format| format != PARQUET) {
        refuse(problems, "manifest.columns", "`manifest.columns` can only be used with `parquet` format");
    }
    Some(Manifest {
        path,
        extra: raw.extra.is_true(),
        columns: raw.columns.is_true(),
        symlink_list: !lists.is_empty(),
        success_marker: raw.success_marker.is_true(),
    })
}

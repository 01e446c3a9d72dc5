//! Tables: opened or created for rows of a schema, and committed to.

use crate::arrow::{TypeProfile, table_fields, with_field_ids};
use crate::attempt::{Action, Attempt, End, Event, Limits};
use crate::compare::{Addition, Comparison, compare};
use crate::error::{Error, ErrorKind, excerpt};
use crate::file::{CheckedFile, Checker, DataFile};
use crate::limits::{MAX_COMMIT_ID_BYTES, MAX_FILES, MAX_LIST_BYTES};
use crate::location::Location;
use crate::manifest::{ManifestEntry, ManifestTable, manifests, read_list, write_list};
use crate::metadata::{Added, MAIN, Metadata, Snapshot, Summary};
use crate::objects::Objects;
use crate::partition::{PartitionSpec, Placeholder, spec_json};
use crate::rest::{Catalog, CommitAnswer, TableName};
use crate::types::{Field, assign_ids, schema_json};
use arrow_schema::Schema;
use bytes::Bytes;
use lakegate_base::clock;
use lakegate_base::hex::to_hex;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// What becomes of columns that the rows have and the table lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnSchemaChange {
    /// The table is not opened, and the error names them.
    #[default]
    Fail,
    /// They are added to the table; in rows that are there they are null.
    AddColumns,
}

/// How often things are tried, and how long is waited between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// Commits that are sent before one is given up: each that another writer was faster than counts.
    pub commits: u32,
    /// Times in a row that a request may fail that can be sent again at no risk.
    pub requests: u32,
    /// The first wait; each is twice as long as the one before, times a number between a half and one by chance.
    pub backoff: Duration,
    /// The longest wait.
    pub max_backoff: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self { commits: 40, requests: 8, backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(10) }
    }
}

impl Retries {
    async fn wait(&self, times: u32) {
        let doubled = self.backoff.saturating_mul(1_u32.checked_shl(times.saturating_sub(1).min(31)).unwrap_or(u32::MAX));
        let longest = doubled.min(self.max_backoff);
        // Without randomness all writers wait alike, which is slow and not wrong.
        let chance = f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX);
        tokio::time::sleep(longest.mul_f64(0.5 + chance / 2.0)).await;
    }
}

/// A catalog, and the bucket in which its tables lie.
#[derive(Debug, Clone)]
pub struct Iceberg {
    catalog: Arc<Catalog>,
    objects: Arc<dyn Objects>,
    retries: Retries,
}

/// What a table is to be.
#[derive(Debug, Clone)]
pub struct TableRequest {
    /// Its name.
    pub name: TableName,
    /// The columns of the rows.
    pub columns: Schema,
    /// Choices of types.
    pub profile: TypeProfile,
    /// What the path takes from the rows, by which the table is divided.
    pub partition: Vec<Placeholder>,
    /// Whether a table that is not there is created, with its namespace.
    pub create: bool,
    /// What becomes of columns that the table lacks.
    pub on_schema_change: OnSchemaChange,
    /// The folder in which the table has to lie, `s3://BUCKET/PREFIX`: a catalog that names another place is not believed.
    pub within: String,
    /// Where a table that is created lies. [`None`]: where the catalog puts it.
    pub location: Option<String>,
    /// The commit that is to come, to learn at once whether the table has it ([`Table::committed_before`]).
    pub commit_id: Option<String>,
}

impl Iceberg {
    /// Tables of this catalog, whose metadata files are put through `objects`.
    pub fn new(catalog: Catalog, objects: Arc<dyn Objects>, retries: Retries) -> Self {
        Self::with_catalog(Arc::new(catalog), objects, retries)
    }

    /// The same with a catalog that others use, too.
    pub fn with_catalog(catalog: Arc<Catalog>, objects: Arc<dyn Objects>, retries: Retries) -> Self {
        Self { catalog, objects, retries }
    }

    /// The catalog.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Opens a table for rows of a schema, or creates it.
    ///
    /// # Errors
    /// `Invalid`: no table could be so. `Incompatible`: the table has other columns, partitions or another format version; every column is
    /// named. `Rejected`: there is no table and none is to be created, or the catalog says what cannot be used: a table elsewhere than asked for.
    /// `Denied`, `Unavailable`: as the catalog says.
    pub async fn open(&self, request: TableRequest) -> Result<Table, Error> {
        request.name.check()?;
        let within = Location::parse(&request.within).map_err(|error| Error::invalid(error.message))?;
        let incoming = table_fields(&request.columns, request.profile)?;
        let mut metadata = match self.load(&request.name).await? {
            Some(metadata) => metadata,
            None => self.create(&request, &incoming, &within).await?,
        };
        let mut comparison = compare(&incoming, &metadata.columns);
        let mut tries = 0;
        loop {
            if !metadata.location.is_within(&within) {
                return Err(Error::rejected(format!(
                    "the catalog says that the table {} lies at {}, which is not in {within}",
                    request.name, metadata.location
                )));
            }
            check(&request, &comparison)?;
            if comparison.added.is_empty() {
                break;
            }
            tries += 1;
            if tries > self.retries.commits {
                let why = "others change it all the time";
                return Err(Error::new(ErrorKind::Unavailable, format!("the columns of the table {} were not added: {why}", request.name)));
            }
            metadata = self.add_columns(&request.name, &metadata, &comparison.added, tries).await?;
            comparison = compare(&incoming, &metadata.columns);
        }
        let spec = metadata.spec()?;
        spec.matches(&request.partition, &metadata.columns)?;
        let arrow = with_field_ids(&request.columns, &comparison.fields)?;
        let committed_before = request.commit_id.as_deref().and_then(|id| metadata.find_commit(id));
        Ok(Table {
            iceberg: self.clone(),
            checker: Checker::new(&metadata.columns, metadata.location.clone(), spec.clone()),
            name: request.name,
            within,
            uuid: metadata.uuid,
            location: metadata.location,
            columns: comparison.fields,
            arrow,
            spec,
            committed_before,
        })
    }

    /// Loads a table, again if the catalog is not well.
    async fn load(&self, name: &TableName) -> Result<Option<Metadata>, Error> {
        self.again(|| self.catalog.load_table(name)).await
    }

    /// Does what does no harm when it is done twice.
    async fn again<T, F: Future<Output = Result<T, Error>>>(&self, request: impl Fn() -> F) -> Result<T, Error> {
        let mut times = 0;
        loop {
            match request().await {
                Err(error) if error.kind == ErrorKind::Unavailable && times + 1 < self.retries.requests => {
                    times += 1;
                    self.retries.wait(times).await;
                }
                done => return done,
            }
        }
    }

    async fn create(&self, request: &TableRequest, incoming: &[Field], within: &Location) -> Result<Metadata, Error> {
        let name = &request.name;
        if !request.create {
            return Err(Error::rejected(format!("there is no table {name}, and none is to be created")));
        }
        let mut body = json!({
            "name": name.name,
            "schema": schema_json(incoming),
            "partition-spec": spec_json(&request.partition, incoming)?,
            "stage-create": false,
            "properties": {"format-version": "2"},
        });
        if let Some(location) = &request.location {
            let place = Location::parse(location).map_err(|error| Error::invalid(error.message))?;
            if !place.is_within(within) {
                return Err(Error::invalid(format!("the table {name} cannot lie at {place}, which is not in {within}")));
            }
            body["location"] = json!(place.as_str());
        }
        self.again(|| self.catalog.ensure_namespace(&name.namespace)).await?;
        // A table that an answer was lost of is there when it is asked for again.
        match self.again(|| self.catalog.create_table(name, &body)).await? {
            Some(metadata) => Ok(metadata),
            None => self.load(name).await?.ok_or_else(|| {
                Error::rejected(format!("the catalog says that the table {name} is there when it is created, and is not when it is loaded"))
            }),
        }
    }

    /// Adds columns to a table as it was. The table as it is afterwards, which may lack them if another was faster.
    async fn add_columns(&self, name: &TableName, metadata: &Metadata, added: &[Addition], tries: u32) -> Result<Metadata, Error> {
        let mut schema: Json =
            serde_json::from_str(&metadata.schema).map_err(|error| Error::rejected(format!("the table's schema: {error}")))?;
        let mut next = metadata.last_column_id.saturating_add(1);
        for addition in added {
            let mut field = addition.field.clone();
            assign_ids(std::iter::once(&mut field), &mut next);
            let fields = fields_within(&mut schema, addition.parent, None);
            let fields =
                fields.ok_or_else(|| Error::rejected(format!("the table's schema has no place for {:?}", excerpt(&addition.path))))?;
            fields.push(field.to_json());
        }
        let body = json!({
            "identifier": {"namespace": name.namespace, "name": name.name},
            "requirements": [
                {"type": "assert-table-uuid", "uuid": metadata.uuid},
                {"type": "assert-current-schema-id", "current-schema-id": metadata.schema_id},
                {"type": "assert-last-assigned-field-id", "last-assigned-field-id": metadata.last_column_id},
            ],
            "updates": [
                {"action": "add-schema", "schema": schema, "last-column-id": next - 1},
                {"action": "set-current-schema", "schema-id": -1},
            ],
        });
        match self.catalog.commit(name, &Bytes::from(body.to_string()), None).await {
            CommitAnswer::Taken(metadata) => return Ok(*metadata),
            CommitAnswer::Refused(error) => return Err(error),
            // Whether it was taken is seen by the columns.
            CommitAnswer::NotTaken(_) | CommitAnswer::Unknown(_) => self.retries.wait(tries).await,
        }
        let now = self.load(name).await?.filter(|now| now.uuid == metadata.uuid);
        now.ok_or_else(|| Error::rejected(format!("the table {name} is not there any more")))
    }
}

/// Does the table take the rows, but for columns that are to be added?
fn check(request: &TableRequest, comparison: &Comparison) -> Result<(), Error> {
    if !comparison.problems.is_empty() {
        return Err(Error::incompatible(format!("the table {} cannot take the rows: {}", request.name, comparison.problems.join("; "))));
    }
    if request.on_schema_change == OnSchemaChange::Fail && !comparison.added.is_empty() {
        let names: Vec<String> = comparison.added.iter().map(|it| format!("{:?}", excerpt(&it.path))).collect();
        return Err(Error::incompatible(format!("the table {} lacks columns of the rows: {}", request.name, names.join(", "))));
    }
    Ok(())
}

/// The fields of the struct of this id in the JSON of a schema; [`None`]: of the schema itself.
fn fields_within(json: &mut Json, wanted: Option<i32>, id: Option<i64>) -> Option<&mut Vec<Json>> {
    let object = json.as_object_mut()?;
    let id_of = |object: &serde_json::Map<String, Json>, name: &str| object.get(name).and_then(Json::as_i64);
    match object.get("type").and_then(Json::as_str)? {
        "struct" if id == wanted.map(i64::from) => object.get_mut("fields")?.as_array_mut(),
        "struct" => object.get_mut("fields")?.as_array_mut()?.iter_mut().find_map(|field| {
            let id = field.get("id").and_then(Json::as_i64);
            fields_within(field.get_mut("type")?, wanted, id)
        }),
        "list" => {
            let id = id_of(object, "element-id");
            fields_within(object.get_mut("element")?, wanted, id)
        }
        "map" => {
            let id = id_of(object, "value-id");
            fields_within(object.get_mut("value")?, wanted, id)
        }
        _ => None,
    }
}

/// A table that takes rows of a schema.
#[derive(Debug, Clone)]
pub struct Table {
    iceberg: Iceberg,
    name: TableName,
    within: Location,
    uuid: String,
    location: Location,
    columns: Vec<Field>,
    arrow: Schema,
    spec: PartitionSpec,
    committed_before: Option<i64>,
    checker: Checker,
}

/// A commit that is in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its snapshot; [`None`]: there were no files, and nothing was written.
    pub snapshot_id: Option<i64>,
    /// The table had the commit before anything was sent. The files of this call were not looked at: either they are those of the commit, or
    /// nothing refers to them.
    pub already: bool,
    /// Whether the files of this call are in the table: the catalog has taken its commit, or the snapshot is of metadata that it has written. If not,
    /// another attempt has made the commit, with files of its own, which may be the same.
    pub is_own: bool,
    /// Commits that were sent.
    pub attempts: u32,
    /// Metadata files of this call to which nothing refers.
    pub orphans: Vec<String>,
    /// Metadata files of this call that an earlier call's commit may refer to.
    pub unsettled: Vec<String>,
}

/// A commit that is not in the table, or of which that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct CommitError {
    /// What went wrong last. `Unknown`: the commit may be in the table, or come yet.
    pub error: Error,
    /// Commits that were sent.
    pub attempts: u32,
    /// Data files and metadata files to which nothing refers: those of the call, unless the outcome is unknown. They are not deleted; who
    /// does that makes sure that no other process is at the same commit.
    pub orphans: Vec<String>,
    /// Files that may belong to the table, and must not be deleted. The same commit, tried again, finds out.
    pub unsettled: Vec<String>,
}

impl Table {
    /// Its name.
    pub fn name(&self) -> &TableName {
        &self.name
    }

    /// Where its files lie, without a slash at the end.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The columns of the rows, with the ids that they have in the table.
    pub fn columns(&self) -> &[Field] {
        &self.columns
    }

    /// The schema of the rows, with the ids in the metadata of its fields ([`FIELD_ID`](crate::FIELD_ID)).
    pub fn arrow_schema(&self) -> &Schema {
        &self.arrow
    }

    /// The snapshot of the commit that the table was opened for, if it had it then.
    pub fn committed_before(&self) -> Option<i64> {
        self.committed_before
    }

    /// How it is divided.
    pub fn partition_spec(&self) -> &PartitionSpec {
        &self.spec
    }

    /// Appends files to the table, once for each commit id, however often it is called and whatever became of earlier calls.
    ///
    /// The id has to be stable: that of the job, not of the attempt. It stands in the summary of the snapshot, and is found as long as the
    /// snapshot is among the table's: whoever expires snapshots within hours should not repeat commits after days.
    ///
    /// # Errors
    /// [`CommitError`]: whether the commit may be in the table, and which files are left over.
    pub async fn commit(&self, commit_id: &str, files: &[DataFile]) -> Result<Commit, CommitError> {
        let all = || files.iter().map(|file| file.location.clone()).collect();
        let checked =
            self.check(commit_id, files).map_err(|error| CommitError { error, attempts: 0, orphans: all(), unsettled: Vec::new() })?;
        if checked.is_empty() {
            return Ok(Commit {
                snapshot_id: None,
                already: false,
                is_own: false,
                attempts: 0,
                orphans: Vec::new(),
                unsettled: Vec::new(),
            });
        }
        let mut run = Run {
            table: self,
            commit_id,
            files: checked,
            now: None,
            manifests: None,
            prepared: None,
            manifest_files: Vec::new(),
            lists: Vec::new(),
            is_taken: false,
            cause: Error::new(ErrorKind::Unavailable, "nothing was tried"),
        };
        let (end, attempts) = run.finish().await;
        match end {
            End::Committed { snapshot, already } => {
                let (orphans, unsettled) = run.left_over(snapshot);
                Ok(Commit { snapshot_id: Some(snapshot), already, is_own: run.is_own(snapshot), attempts, orphans, unsettled })
            }
            End::Failed => {
                let orphans = files.iter().map(|file| file.location.clone()).chain(run.written()).collect();
                Err(CommitError { error: run.cause, attempts, orphans, unsettled: Vec::new() })
            }
            End::Unknown => {
                let unsettled = files.iter().map(|file| file.location.clone()).chain(run.written()).collect();
                let message = format!(
                    "whether the commit {commit_id:?} is in the table {} is not known; the same commit, tried again, finds out, and no file of it may \
                     be deleted before: {}",
                    self.name, run.cause.message
                );
                Err(CommitError { error: Error::new(ErrorKind::Unknown, message), attempts, orphans: Vec::new(), unsettled })
            }
        }
    }

    fn check(&self, commit_id: &str, files: &[DataFile]) -> Result<Vec<CheckedFile>, Error> {
        if !(1..=MAX_COMMIT_ID_BYTES).contains(&commit_id.len()) || commit_id.chars().any(char::is_control) {
            return Err(Error::invalid(format!(
                "the commit id {:?} cannot be used: 1 to {MAX_COMMIT_ID_BYTES} bytes without control characters can",
                excerpt(commit_id)
            )));
        }
        if files.len() > MAX_FILES {
            return Err(Error::invalid(format!("a commit of {} files; at most {MAX_FILES} are accepted", files.len())));
        }
        let mut seen = HashSet::new();
        if let Some(twice) = files.iter().find(|file| !seen.insert(&file.location)) {
            return Err(Error::invalid(format!("the data file {:?} is named twice", excerpt(&twice.location))));
        }
        files.iter().map(|file| self.checker.check(file)).collect()
    }
}

/// A commit that is ready to be sent.
#[derive(Debug, Clone)]
struct Prepared {
    body: Bytes,
    /// Of this body, so that a catalog that keeps keys does not carry it out twice.
    key: String,
}

/// One call of [`Table::commit`].
struct Run<'a> {
    table: &'a Table,
    commit_id: &'a str,
    files: Vec<CheckedFile>,
    /// The table as it was loaded last.
    now: Option<Box<Metadata>>,
    /// Our manifests, once they are written: they are the same for every parent.
    manifests: Option<Vec<ManifestEntry>>,
    prepared: Option<Prepared>,
    /// The manifests and the manifest lists that were put.
    manifest_files: Vec<String>,
    lists: Vec<String>,
    /// Has the catalog said that it took the commit?
    is_taken: bool,
    cause: Error,
}

impl Run<'_> {
    async fn finish(&mut self) -> (End, u32) {
        let retries = self.table.iceberg.retries;
        let limits = Limits { commits: retries.commits, loads: retries.requests };
        let (mut attempt, mut action) = Attempt::new();
        loop {
            let event = match action {
                Action::Load => self.load().await,
                Action::Write(_) => self.write().await,
                Action::Commit => self.send().await,
                Action::Wait(times) => {
                    retries.wait(times).await;
                    action = attempt.waited();
                    continue;
                }
                Action::End(end) => return (end, attempt.sent()),
            };
            action = attempt.next(limits, event);
        }
    }

    async fn load(&mut self) -> Event {
        let Table { iceberg, name, .. } = self.table;
        let loaded = iceberg.catalog.load_table(name).await;
        let loaded = loaded.and_then(|it| it.ok_or_else(|| Error::rejected(format!("the table {name} is not there any more"))));
        let checked = loaded.and_then(|metadata| self.is_still_the_same(&metadata).map(|()| metadata));
        match checked {
            Ok(metadata) => {
                let event = Event::Loaded { main: metadata.main, found: metadata.find_commit(self.commit_id) };
                self.now = Some(Box::new(metadata));
                event
            }
            Err(error) => {
                let again = error.kind == ErrorKind::Unavailable;
                self.cause = error;
                Event::NotLoaded { again }
            }
        }
    }

    fn is_still_the_same(&self, metadata: &Metadata) -> Result<(), Error> {
        let Table { name, uuid, location, spec, .. } = self.table;
        if metadata.uuid != *uuid {
            return Err(Error::incompatible(format!("the table {name} is another one than when it was opened")));
        }
        if metadata.location != *location {
            return Err(Error::incompatible(format!("the table {name} lies at {} now, and its files at {location}", metadata.location)));
        }
        if !metadata.has_spec(spec.id) {
            return Err(Error::incompatible(format!(
                "the table {name} has lost the partition spec {} by which its files are divided",
                spec.id
            )));
        }
        Ok(())
    }

    async fn write(&mut self) -> Event {
        match self.prepare().await {
            Ok(prepared) => {
                self.prepared = Some(prepared);
                Event::Written
            }
            Err(error) => {
                self.cause = error;
                Event::NotWritten
            }
        }
    }

    /// Writes the manifest list for the table as it was loaded last, and before the first list the manifests.
    async fn prepare(&mut self) -> Result<Prepared, Error> {
        let now = self.now.take().ok_or_else(|| Error::rejected("the table was not loaded"))?;
        let prepared = self.prepare_for(&now).await;
        self.now = Some(now);
        prepared
    }

    async fn prepare_for(&mut self, now: &Metadata) -> Result<Prepared, Error> {
        let Table { name, uuid, spec, .. } = self.table;
        let ours = match self.manifests.take() {
            Some(manifests) => manifests,
            None => self.write_manifests(now).await?,
        };
        let before = match now.current() {
            Some(snapshot) => self.read_list(snapshot).await,
            None => Ok(Vec::new()),
        };
        let mut entries = ours.clone();
        self.manifests = Some(ours);
        let snapshot_id = snapshot_id(uuid, self.commit_id, now);
        let sequence_number = now.last_sequence_number.saturating_add(1);
        for entry in &mut entries {
            (entry.snapshot_id, entry.sequence_number, entry.min_sequence_number) = (snapshot_id, sequence_number, sequence_number);
        }
        entries.extend(before?);
        let list = write_list(&entries, snapshot_id, now.main, sequence_number);
        let list = self.put(&format!("snap-{snapshot_id}-{}.avro", digest(&list)), list).await?;

        let added = Added {
            files: self.files.len() as u64,
            rows: self.files.iter().map(|file| file.rows).sum(),
            bytes: self.files.iter().map(|file| file.bytes).sum(),
            partitions: (!spec.fields.is_empty()).then(|| {
                let values =
                    self.files.iter().map(|file| file.partition.iter().map(|it| it.as_ref().map(|it| it.to_bytes())).collect::<Vec<_>>());
                values.collect::<HashSet<_>>().len() as u64
            }),
        };
        let summary = match now.current() {
            Some(snapshot) => snapshot.summary.append(self.commit_id, added),
            None => Summary::empty().append(self.commit_id, added),
        };
        let time = clock::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        // Catalogs refuse a snapshot that is older than the table.
        let time = i64::try_from(time).unwrap_or(i64::MAX).max(now.last_updated_ms);
        let mut snapshot = json!({
            "snapshot-id": snapshot_id, "sequence-number": sequence_number, "timestamp-ms": time, "manifest-list": list.as_str(), "summary": summary,
            "schema-id": now.schema_id,
        });
        if let Some(parent) = now.main {
            snapshot["parent-snapshot-id"] = json!(parent);
        }
        self.lists.push(list.as_str().to_owned());
        let body = json!({
            "identifier": {"namespace": name.namespace, "name": name.name},
            "requirements": [
                {"type": "assert-table-uuid", "uuid": uuid},
                {"type": "assert-ref-snapshot-id", "ref": MAIN, "snapshot-id": now.main},
            ],
            "updates": [
                {"action": "add-snapshot", "snapshot": snapshot},
                {"action": "set-snapshot-ref", "ref-name": MAIN, "type": "branch", "snapshot-id": snapshot_id},
            ],
        });
        Ok(Prepared { body: Bytes::from(body.to_string()), key: idempotency_key()? })
    }

    async fn write_manifests(&mut self, now: &Metadata) -> Result<Vec<ManifestEntry>, Error> {
        let Table { spec, .. } = self.table;
        let table = ManifestTable { schema: &now.schema, schema_id: now.schema_id, spec };
        let mut entries = Vec::new();
        for (number, manifest) in manifests(&table, &self.files).into_iter().enumerate() {
            let length = i64::try_from(manifest.bytes.len()).unwrap_or(i64::MAX);
            let location = self.put(&format!("{}-m{number}.avro", digest(&manifest.bytes)), manifest.bytes).await?;
            self.manifest_files.push(location.as_str().to_owned());
            entries.push(ManifestEntry {
                path: location.as_str().to_owned(),
                length,
                spec_id: spec.id.into(),
                added_files: i64::try_from(manifest.files).unwrap_or(i64::MAX),
                added_rows: i64::try_from(manifest.rows).unwrap_or(i64::MAX),
                partitions: Some(manifest.partitions),
                ..ManifestEntry::default()
            });
        }
        Ok(entries)
    }

    async fn read_list(&self, snapshot: &Snapshot) -> Result<Vec<ManifestEntry>, Error> {
        let Table { iceberg, within, name, .. } = self.table;
        let unusable = |why: &str| Error::rejected(format!("the newest manifest list of the table {name} {why}"));
        let list = snapshot.manifest_list.as_ref().ok_or_else(|| unusable("is not named by the catalog"))?;
        let location = Location::parse(list)?;
        if !location.is_within(within) {
            return Err(unusable(&format!("lies at {location}, which is not in {within}")));
        }
        let read = iceberg.again(|| iceberg.objects.read(&location, MAX_LIST_BYTES)).await?;
        let bytes = read.ok_or_else(|| unusable(&format!("is not where the catalog says, at {location}")))?;
        read_list(&bytes).map_err(|why| unusable(&format!("({location}) {why}")))
    }

    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<Location, Error> {
        let Table { iceberg, location, .. } = self.table;
        let (location, bytes) = (location.join(&format!("metadata/{name}"))?, Bytes::from(bytes));
        iceberg.again(|| iceberg.objects.create(&location, bytes.clone())).await?;
        Ok(location)
    }

    async fn send(&mut self) -> Event {
        let Table { iceberg, name, .. } = self.table;
        let Some(prepared) = &self.prepared else { return Event::Refused };
        let (event, cause) = match iceberg.catalog.commit(name, &prepared.body, Some(&prepared.key)).await {
            CommitAnswer::Taken(metadata) => match metadata.find_commit(self.commit_id).filter(|_| metadata.uuid == self.table.uuid) {
                Some(snapshot) => {
                    (self.now, self.is_taken) = (Some(metadata), true);
                    return Event::Committed { snapshot };
                }
                None => (
                    Event::NoAnswer,
                    Error::rejected(format!("the catalog says that it took a commit to {name}, and shows a table without it")),
                ),
            },
            CommitAnswer::NotTaken(error) => (Event::NotTaken, error),
            CommitAnswer::Refused(error) => (Event::Refused, error),
            CommitAnswer::Unknown(error) => (Event::NoAnswer, error),
        };
        self.cause = cause;
        event
    }

    /// Metadata files of this call.
    fn written(&self) -> impl Iterator<Item = String> {
        self.manifest_files.iter().chain(&self.lists).cloned()
    }

    /// Whether the commit of this snapshot is that of this call.
    fn is_own(&self, snapshot: i64) -> bool {
        let list = self.now.as_ref().and_then(|now| now.manifest_list(snapshot));
        self.is_taken || list.is_some_and(|list| self.lists.iter().any(|it| it == list))
    }

    /// Of a commit that is in the table: files to which nothing refers, and those of which that is not known.
    fn left_over(&self, snapshot: i64) -> (Vec<String>, Vec<String>) {
        let list = self.now.as_ref().and_then(|now| now.manifest_list(snapshot));
        if list.is_some_and(|list| self.lists.iter().any(|it| it == list)) {
            return (self.lists.iter().filter(|it| Some(it.as_str()) != list).cloned().collect(), Vec::new());
        }
        // Of an earlier call, which may have had the same files.
        (self.lists.clone(), self.manifest_files.clone())
    }
}

/// The id of the commit's snapshot: the same whoever tries it, unless the table has one that is not among the ancestors any more.
fn snapshot_id(uuid: &str, commit_id: &str, table: &Metadata) -> i64 {
    let mut number = 0_u64;
    loop {
        let digest =
            Sha256::new().chain_update(uuid).chain_update([0]).chain_update(commit_id).chain_update([0]).chain_update(number.to_le_bytes());
        let bytes = digest.finalize();
        let id = bytes.iter().take(8).fold(0_i64, |id, byte| (id << 8) | i64::from(*byte)) & i64::MAX;
        if id != 0 && !table.has_snapshot(id) {
            return id;
        }
        number += 1;
    }
}

/// What names a file by its content.
fn digest(bytes: &[u8]) -> String {
    to_hex(Sha256::digest(bytes).get(..16).unwrap_or_default())
}

/// A UUID of version 7, as the specification wants them.
fn idempotency_key() -> Result<String, Error> {
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|error| Error::new(ErrorKind::Unavailable, format!("the system gives no randomness: {error}")))?;
    let millis = clock::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let millis = u64::try_from(millis).unwrap_or_default();
    Ok(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().to_string())
}

#[cfg(test)]
mod tests;

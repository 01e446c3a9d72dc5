//! The component: the generated bindings of `wit/destination.wit`, and nothing else that names them.
#![expect(unsafe_code, reason = "the bindings' own glue")]

mod bindings {
    #![allow(
        missing_docs,
        unreachable_pub,
        unsafe_code,
        unsafe_op_in_unsafe_fn,
        clippy::all,
        clippy::allow_attributes,
        reason = "generated"
    )]
    use super::Component;
    wit_bindgen::generate!({ path: "../wit", world: "destination", generate_all });
    export!(Component);
}

use crate::host::{self, Host, Level, WallTime};
use crate::partition::Part;
use crate::sink::{self, Sink};
use crate::spec::{Catalog, CatalogAuth, OnExisting, SecretSource, Settings, Spec, SyncContext, json_schema};
use bindings::exports::lakegate::destination::sink as exports;
use bindings::lakegate::destination::{log, object_store};
use bindings::wasi::{clocks::wall_clock, random::random};
use std::cell::RefCell;
use std::sync::Once;

struct Component;

/// A panic logs its cause before it traps.
fn install_panic_hook() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| std::panic::set_hook(Box::new(|info| log::write(log::Level::Error, &info.to_string()))));
}

impl exports::Guest for Component {
    type Session = Session;

    fn spec_schema() -> String {
        install_panic_hook();
        json_schema()
    }

    fn commit_keys_of(settings: String, tables: Vec<String>) -> Vec<Result<exports::CommitKeys, String>> {
        install_panic_hook();
        let settings = Settings::from_json(&settings);
        let keys = |table: String| {
            let settings = settings.as_ref().map_err(Clone::clone)?;
            let sink::CommitKeys { manifest, symlink_list, success_marker, catalog_table } = sink::commit_keys(settings, &table)?;
            let catalog_table = catalog_table.map(|(name, folder)| exports::CatalogTable { name, folder });
            Ok(exports::CommitKeys { manifest, symlink_list, success_marker, catalog_table })
        };
        tables.into_iter().map(keys).collect()
    }

    fn configure(spec: String, context: exports::SyncContext) -> Result<exports::Configuration, Vec<exports::SpecProblem>> {
        install_panic_hook();
        let sync = SyncContext {
            sync_id: context.sync_id,
            commit_id: context.commit_id,
            commit_time: context.commit_time,
            repeatable: context.repeatable,
            shard: context.shard.map(|shard| (shard.number, shard.count)),
        };
        Spec::parse(&spec, sync).and_then(configuration).map_err(problems)
    }
}

fn problems(problems: Vec<crate::spec::SpecProblem>) -> Vec<exports::SpecProblem> {
    problems.into_iter().map(|problem| exports::SpecProblem { field: problem.field, message: problem.message }).collect()
}

fn configuration(spec: Spec) -> Result<exports::Configuration, Vec<crate::spec::SpecProblem>> {
    let Spec { target, catalog, test_write, settings, warnings } = spec;
    let test_object = test_write.then(|| sink::test_object(&settings, Imports.wall_time())).transpose();
    let test_object = test_object.map_err(|message| vec![crate::spec::SpecProblem { field: "path".into(), message }])?;
    Ok(exports::Configuration {
        test_object: test_object.map(attributes),
        format: settings.format.name().to_owned(),
        content_type: settings.content_type.clone(),
        content_encoding: settings.content_encoding().map(str::to_owned),
        splittable: settings.is_splittable(),
        commit: commit_plan(&settings),
        catalog: catalog.map(|catalog| catalog_plan(catalog, &settings)),
        quarantine_rows: settings.quarantine.as_ref().map(|quarantine| quarantine.max_rows.get()),
        settings: settings.to_json(),
        warnings: problems(warnings),
        target: crate::storage_target!(target, exports),
    })
}

fn commit_plan(settings: &Settings) -> exports::CommitPlan {
    let commit = &settings.commit;
    let create_only = commit.create_only.map(|on_existing| match on_existing {
        OnExisting::Verify => exports::OnExisting::Verify,
        OnExisting::Trust => exports::OnExisting::Trust,
        OnExisting::Fail => exports::OnExisting::Fail,
    });
    let probes = if create_only.is_some() || commit.deferred { sink::probe_objects(settings) } else { Vec::new() };
    exports::CommitPlan {
        id: commit.id.clone(),
        create_only,
        pending: commit.deferred.then(|| sink::pending_key(settings)),
        manifest: commit.manifest.as_ref().map(|manifest| exports::ManifestPlan { extra: manifest.extra }),
        probes: probes.into_iter().map(attributes).collect(),
    }
}

fn catalog_plan(catalog: Catalog, settings: &Settings) -> exports::CatalogPlan {
    let secret = |source| match source {
        SecretSource::Environment(name) => exports::SecretSource::Environment(name),
        SecretSource::File(path) => exports::SecretSource::File(path),
    };
    let partition = settings.path.partition_fields().iter().map(|field| exports::PartitionSource {
        column: field.column.clone(),
        part: match field.part {
            Part::Value => exports::PartitionPart::Value,
            Part::Year => exports::PartitionPart::Year,
            Part::Month => exports::PartitionPart::Month,
            Part::Day => exports::PartitionPart::Day,
            Part::Hour => exports::PartitionPart::Hour,
            Part::Minute => exports::PartitionPart::Minute,
        },
    });
    exports::CatalogPlan {
        uri: catalog.uri,
        warehouse: catalog.warehouse,
        namespace: catalog.namespace,
        auth: match catalog.auth {
            CatalogAuth::None => exports::CatalogAuth::None,
            CatalogAuth::Bearer(token) => exports::CatalogAuth::Bearer(secret(token)),
            CatalogAuth::OAuth2 { credential, token_uri, scope } => {
                exports::CatalogAuth::Oauth2(exports::Oauth2Client { credential: secret(credential), token_uri, scope })
            }
            CatalogAuth::SigV4(service) => exports::CatalogAuth::Sigv4(service),
        },
        create: catalog.create,
        add_columns: catalog.adds_columns,
        athena: settings.athena,
        partition: partition.collect(),
    }
}

/// A session behind the handle: the calls of one lane come one at a time.
struct Session(RefCell<Sink<Imports>>);

impl exports::GuestSession for Session {
    fn open(settings: String, limits: exports::SessionLimits) -> Result<exports::Session, String> {
        install_panic_hook();
        let settings = Settings::from_json(&settings)?;
        let limits = sink::SessionLimits { encoder_bytes: limits.encoder_bytes, open_objects: limits.open_objects };
        Ok(exports::Session::new(Self(RefCell::new(Sink::open(Imports, settings, limits)))))
    }

    fn migrate_table(&self, ipc: Vec<u8>, now: u64) -> Result<Option<u64>, exports::WriteError> {
        self.0.borrow_mut().migrate_table(&ipc, now).map_err(write_error)
    }

    fn insert(&self, ipc: Vec<u8>, now: u64) -> Result<Option<u64>, exports::WriteError> {
        self.0.borrow_mut().insert(ipc, now).map_err(write_error)
    }

    fn tick(&self, now: u64) -> exports::Progress {
        progress(self.0.borrow_mut().tick(now))
    }

    fn barrier(&self, now: u64) -> exports::Progress {
        progress(self.0.borrow_mut().barrier(now))
    }

    fn end_write(&self, now: u64) -> exports::Progress {
        progress(self.0.borrow_mut().end_write(now))
    }

    fn abandon(&self, table: String) {
        self.0.borrow_mut().abandon(&table);
    }

    fn idle(&self) -> bool {
        self.0.borrow().idle()
    }
}

fn progress(progress: sink::Progress) -> exports::Progress {
    let failures = progress.failures.into_iter().map(|(table, error)| exports::TableFailure { table, error: write_error(error) });
    exports::Progress { deadline: progress.deadline, failures: failures.collect() }
}

fn write_error(error: sink::WriteError) -> exports::WriteError {
    match error {
        sink::WriteError::Data(message) => exports::WriteError::Data(message),
        sink::WriteError::Store(error) => exports::WriteError::Store(match error {
            host::PutError::Denied(text) => object_store::PutError::Denied(text),
            host::PutError::Quota(text) => object_store::PutError::Quota(text),
            host::PutError::Invalid(text) => object_store::PutError::Invalid(text),
            host::PutError::Unavailable(text) => object_store::PutError::Unavailable(text),
            host::PutError::Rejected(text) => object_store::PutError::Rejected(text),
        }),
    }
}

fn put_error(error: object_store::PutError) -> host::PutError {
    match error {
        object_store::PutError::Denied(text) => host::PutError::Denied(text),
        object_store::PutError::Quota(text) => host::PutError::Quota(text),
        object_store::PutError::Invalid(text) => host::PutError::Invalid(text),
        object_store::PutError::Unavailable(text) => host::PutError::Unavailable(text),
        object_store::PutError::Rejected(text) => host::PutError::Rejected(text),
    }
}

fn attributes(attributes: host::ObjectAttributes) -> object_store::ObjectAttributes {
    let partition = attributes.partition.into_iter().map(|(name, value)| object_store::PartitionValue { name, value });
    object_store::ObjectAttributes {
        key: attributes.key,
        content_type: attributes.content_type,
        content_encoding: attributes.content_encoding.map(str::to_owned),
        partition: partition.collect(),
        role: match attributes.role {
            host::ObjectRole::Data => object_store::ObjectRole::Data,
            host::ObjectRole::Quarantine => object_store::ObjectRole::Quarantine,
        },
    }
}

/// The host, as the component's imports lend it.
struct Imports;

impl Host for Imports {
    type Upload = object_store::Upload;

    fn wall_time(&self) -> WallTime {
        let now = wall_clock::now();
        WallTime { seconds: now.seconds, nanoseconds: now.nanoseconds }
    }

    fn random(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for (byte, random) in bytes.iter_mut().zip(random::get_random_bytes(16)) {
            *byte = random;
        }
        bytes
    }

    fn log(&self, level: Level, message: &str) {
        let level = match level {
            Level::Trace => log::Level::Trace,
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
            Level::Error => log::Level::Error,
        };
        log::write(level, message);
    }

    fn open(&self, object: &host::ObjectAttributes) -> Result<Self::Upload, host::PutError> {
        object_store::Upload::open(&attributes(object.clone())).map_err(put_error)
    }

    fn write(&self, upload: &Self::Upload, chunk: &[u8]) -> Result<(), host::PutError> {
        upload.write(chunk).map_err(put_error)
    }

    fn finish(&self, upload: Self::Upload, facts: &host::ObjectFacts) -> Result<(), host::PutError> {
        let columns = facts.columns.iter().cloned().map(|column| {
            let host::ColumnFacts { path, values, nulls, nans, lower, upper, encoded_bytes } = column;
            object_store::ColumnFacts { path, values, nulls, nans, lower, upper, encoded_bytes }
        });
        let facts = object_store::ObjectFacts { rows: facts.rows, columns: columns.collect(), split_offsets: facts.split_offsets.clone() };
        object_store::Upload::finish(upload, &facts).map_err(put_error)
    }
}

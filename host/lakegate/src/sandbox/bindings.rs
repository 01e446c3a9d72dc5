//! The generated bindings of `wit/destination.wit`, and the way from its records to the host's own types.
#![allow(unsafe_code, clippy::allow_attributes, reason = "generated")]

use crate::storage::{object, target};

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "destination",
    imports: {
        "wasi:clocks/wall-clock": trappable,
        "wasi:random/random": trappable,
        "lakegate:destination/log": trappable,
        default: async | trappable,
    },
    exports: { default: async },
    with: { "lakegate:destination/object-store.upload": crate::delivery::upload::Upload },
});

pub(crate) use self::exports::lakegate::destination::sink::{
    CatalogAuth, CatalogPlan, CatalogTable, CommitKeys, CommitPlan, Configuration, OnExisting, PartitionPart, PartitionSource, Progress,
    SecretSource, SessionLimits, Shard, SpecProblem, StorageTarget, SyncContext, WriteError,
};
pub(crate) use self::lakegate::destination::object_store::{ColumnFacts, ObjectAttributes, ObjectFacts, ObjectRole, PutError};

impl From<Configuration> for target::Configuration {
    fn from(it: Configuration) -> Self {
        let Configuration {
            target,
            test_object,
            format,
            content_type,
            content_encoding,
            splittable,
            commit,
            catalog,
            quarantine_rows,
            settings,
            warnings,
        } = it;
        Self {
            target: target.into(),
            test_object: test_object.map(Into::into),
            format,
            content_type,
            content_encoding,
            splittable,
            commit: commit.into(),
            catalog: catalog.map(Into::into),
            quarantine_rows,
            settings,
            warnings: warnings.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<StorageTarget> for target::StorageTarget {
    fn from(record: StorageTarget) -> Self {
        target::from_record!(record)
    }
}

impl From<CommitPlan> for target::CommitPlan {
    fn from(CommitPlan { id, create_only, pending, manifest, probes }: CommitPlan) -> Self {
        Self {
            id,
            create_only: create_only.map(|on_existing| match on_existing {
                OnExisting::Verify => object::OnExisting::Verify,
                OnExisting::Trust => object::OnExisting::Trust,
                OnExisting::Fail => object::OnExisting::Fail,
            }),
            pending,
            manifest: manifest.map(|plan| target::ManifestPlan { extra: plan.extra }),
            probes: probes.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<CommitKeys> for target::CommitKeys {
    fn from(CommitKeys { manifest, symlink_list, success_marker, catalog_table }: CommitKeys) -> Self {
        let catalog_table = catalog_table.map(|CatalogTable { name, folder }| target::CatalogTable { name, folder });
        Self { manifest, symlink_list, success_marker, catalog_table }
    }
}

impl From<CatalogPlan> for target::CatalogPlan {
    fn from(CatalogPlan { uri, warehouse, namespace, auth, create, add_columns, athena, partition }: CatalogPlan) -> Self {
        let auth = match auth {
            CatalogAuth::None => target::CatalogAuth::None,
            CatalogAuth::Bearer(token) => target::CatalogAuth::Bearer(token.into()),
            CatalogAuth::Oauth2(client) => {
                target::CatalogAuth::OAuth2 { credential: client.credential.into(), token_uri: client.token_uri, scope: client.scope }
            }
            CatalogAuth::Sigv4(service) => target::CatalogAuth::SigV4(service),
        };
        let partition = partition.into_iter().map(Into::into).collect();
        Self { uri, warehouse, namespace, auth, create, adds_columns: add_columns, athena, partition }
    }
}

impl From<SecretSource> for target::SecretSource {
    fn from(source: SecretSource) -> Self {
        match source {
            SecretSource::Environment(name) => Self::Environment(name),
            SecretSource::File(path) => Self::File(path),
        }
    }
}

impl From<PartitionSource> for target::PartitionSource {
    fn from(PartitionSource { column, part }: PartitionSource) -> Self {
        let part = match part {
            PartitionPart::Value => target::PartitionPart::Value,
            PartitionPart::Year => target::PartitionPart::Year,
            PartitionPart::Month => target::PartitionPart::Month,
            PartitionPart::Day => target::PartitionPart::Day,
            PartitionPart::Hour => target::PartitionPart::Hour,
            PartitionPart::Minute => target::PartitionPart::Minute,
        };
        Self { column, part }
    }
}

impl SyncContext {
    /// What a component hears of a sync.
    pub(crate) fn new(sync: &target::SyncContext, attempt: &str) -> Self {
        Self {
            sync_id: sync.sync_id.clone(),
            commit_id: sync.commit_id.clone(),
            commit_time: sync.commit_time,
            attempt: attempt.to_owned(),
            repeatable: sync.repeatable,
            shard: sync.shard.map(|(number, count)| Shard { number, count }),
        }
    }
}

impl From<ObjectAttributes> for target::ObjectAttributes {
    fn from(ObjectAttributes { key, content_type, content_encoding, partition, role }: ObjectAttributes) -> Self {
        let partition = partition.into_iter().map(|it| (it.name, it.value)).collect();
        Self { key, content_type, content_encoding, partition, is_quarantine: role == ObjectRole::Quarantine }
    }
}

impl From<ObjectFacts> for target::ObjectFacts {
    fn from(ObjectFacts { rows, columns, split_offsets }: ObjectFacts) -> Self {
        Self { rows, columns: columns.into_iter().map(Into::into).collect(), split_offsets }
    }
}

impl From<ColumnFacts> for target::ColumnFacts {
    fn from(ColumnFacts { path, values, nulls, nans, lower, upper, encoded_bytes }: ColumnFacts) -> Self {
        Self { path, values, nulls, nans, lower, upper, encoded_bytes }
    }
}

impl From<SpecProblem> for target::SpecProblem {
    fn from(SpecProblem { field, message }: SpecProblem) -> Self {
        Self { field, message }
    }
}

impl From<target::PutError> for PutError {
    fn from(it: target::PutError) -> Self {
        match it {
            target::PutError::Denied(text) => Self::Denied(text),
            target::PutError::Quota(text) => Self::Quota(text),
            target::PutError::Invalid(text) => Self::Invalid(text),
            target::PutError::Unavailable(text) => Self::Unavailable(text),
            target::PutError::Rejected(text) => Self::Rejected(text),
        }
    }
}

impl From<PutError> for target::PutError {
    fn from(it: PutError) -> Self {
        match it {
            PutError::Denied(text) => Self::Denied(text),
            PutError::Quota(text) => Self::Quota(text),
            PutError::Invalid(text) => Self::Invalid(text),
            PutError::Unavailable(text) => Self::Unavailable(text),
            PutError::Rejected(text) => Self::Rejected(text),
        }
    }
}

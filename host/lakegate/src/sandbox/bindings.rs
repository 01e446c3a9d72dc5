//! The generated bindings of `wit/destination.wit`, and the way from its records to the host's own types.
#![allow(unsafe_code, clippy::allow_attributes, reason = "generated")]

use crate::storage::target;

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
    Configuration, Progress, SessionLimits, SpecProblem, StorageTarget, SyncContext, WriteError,
};
pub(crate) use self::lakegate::destination::object_store::{ObjectAttributes, PutError};

impl From<Configuration> for target::Configuration {
    fn from(it: Configuration) -> Self {
        let Configuration { target, test_object, format, content_type, splittable, settings, warnings } = it;
        Self {
            target: target.into(),
            test_object: test_object.map(Into::into),
            format,
            content_type,
            splittable,
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

impl From<ObjectAttributes> for target::ObjectAttributes {
    fn from(ObjectAttributes { key, content_type }: ObjectAttributes) -> Self {
        Self { key, content_type }
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

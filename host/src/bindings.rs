//! The generated bindings of `wit/destination.wit`, and the plain types of it that the host speaks.
#![expect(missing_docs, reason = "generated; documented in the WIT")]
#![allow(unsafe_code, clippy::allow_attributes, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "destination",
    imports: {
        "wasi:clocks/wall-clock": trappable,
        "wasi:random/random": trappable,
        "lakegate:destination/log": trappable,
        default: async | trappable,
    },
    exports: { default: async },
    with: { "lakegate:destination/object-store.upload": crate::upload::Upload },
});

pub use self::exports::lakegate::destination::sink::{
    Configuration, CredentialSource, Encryption, Progress, SessionLimits, SpecProblem, StorageTarget, SyncContext, TableFailure, WriteError,
};
pub use self::lakegate::destination::object_store::{ObjectAttributes, PutError};

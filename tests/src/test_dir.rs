//! A temporary folder of a test, in which the program is run.

use crate::run::{self, Limit, Run};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A temporary folder, with the program and the keys that it signs with. Removed when it is dropped.
#[derive(Debug)]
pub struct TestDir {
    folder: tempfile::TempDir,
    program: &'static str,
    keys: (&'static str, &'static str),
}

impl TestDir {
    /// An empty folder for `program`, which gets these keys (ID and secret).
    ///
    /// # Panics
    /// There is no temporary folder.
    #[must_use]
    pub fn new(program: &'static str, keys: (&'static str, &'static str)) -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder"), program, keys }
    }

    /// The path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, and returns its path.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).expect("the folder can be written");
        path
    }

    /// Writes a file of any content, and returns the folder again.
    ///
    /// # Panics
    /// As [`TestDir::file`].
    pub fn with_file(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        std::fs::write(self.path().join(name), content).expect("the folder can be written");
        self
    }

    /// Writes an executable shell script, and returns its path.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn script(&self, name: &str, content: &str) -> PathBuf {
        let path = self.file(name, &format!("#!/bin/sh\n{content}\n"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its own file");
        path
    }

    /// The program with the arguments in `line`, in the folder, with the keys and nothing of the user's environment.
    #[must_use]
    pub fn command(&self, line: &str) -> Command {
        let mut command = run::command(self.program, line, self.keys);
        command.current_dir(self.path());
        command
    }

    /// Runs the program to its end.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn run(&self, line: &str) -> Run {
        self.command(line).output().expect("the program starts").into()
    }

    /// Runs the program to its end without blocking the test's other tasks.
    ///
    /// # Panics
    /// It does not start.
    pub async fn run_async(&self, line: &str) -> Run {
        run::to_end(self.command(line)).await
    }

    /// As [`TestDir::run_async`], with limited memory.
    ///
    /// # Panics
    /// As [`TestDir::run_async`].
    pub async fn run_within(&self, mebibytes: u64, line: &str) -> Run {
        run::to_end(run::within(&Limit::Data { mebibytes }, &self.command(line))).await
    }
}

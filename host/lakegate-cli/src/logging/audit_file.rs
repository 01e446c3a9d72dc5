//! The separate audit log file: one line of JSON, with its time, is appended for each decision.
//!
//! The operator may rotate the file: it is renamed, and the next SIGHUP opens a new one under the old name. A line that cannot be written (because
//! the disk is full) is retried until it can be; meanwhile tenants wait for space, as they do for a log that is not read, and the process log reports
//! it.

use super::writer::{Order, Queue};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Mode of a new file: readable for its owner, and for the group that collects logs.
const MODE: u32 = 0o640;
/// Delay between two attempts to write a line.
const RETRY: Duration = Duration::from_millis(500);
/// How often a write failure is reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// The open audit log file.
pub(super) struct AuditFile {
    path: PathBuf,
    file: File,
    reopen: Arc<AtomicBool>,
    reported: Option<Instant>,
}

impl AuditFile {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// It cannot be appended to, or is not a regular file (opening a pipe would block).
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: open(path)?, reopen: Arc::default(), reported: None })
    }

    /// A flag that makes the file be reopened before the next line.
    pub(super) fn reopen_flag(&self) -> Arc<AtomicBool> {
        self.reopen.clone()
    }

    /// Writes lines until all senders are gone.
    pub(super) fn write(mut self, queue: Queue) {
        queue.each(|order| match order {
            Order::Line(mut line, _room) => {
                line.push('\n');
                self.append(line.as_bytes());
            }
            Order::Flush(done) => drop(done.send(())),
        });
    }

    /// Appends a line, retrying until it succeeds.
    fn append(&mut self, line: &[u8]) {
        let mut rest = line;
        while !rest.is_empty() {
            if self.reopen.swap(false, Ordering::AcqRel) {
                match open(&self.path) {
                    // The new file gets the whole line.
                    Ok(file) => (self.file, rest) = (file, line),
                    Err(error) => self.report(&error, "The audit log cannot be reopened; lines still go to the old file."),
                }
            }
            match self.file.write(rest) {
                Ok(written) if written > 0 => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                failed => {
                    let error = failed.err().unwrap_or_else(|| io::ErrorKind::WriteZero.into());
                    self.report(&error, "The audit log cannot be written; tenants wait until it can.");
                    std::thread::sleep(RETRY);
                }
            }
        }
    }

    fn report(&mut self, error: &io::Error, what: &str) {
        if self.reported.is_none_or(|reported| reported.elapsed() >= REPORT_INTERVAL) {
            self.reported = Some(Instant::now());
            tracing::error!(file = %self.path.display(), %error, "{what}");
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it exists and is not a regular file"));
    }
    let mut file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
    if ends_torn(path) {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// Whether the file ends with an incomplete line, as after a full disk or a power failure.
fn ends_torn(path: &Path) -> bool {
    let last = || {
        let mut file = File::open(path)?;
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        Ok::<_, io::Error>(last)
    };
    // An empty file has no last byte; a file that cannot be read is left as it is.
    last().is_ok_and(|last| last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::super::writer;
    use super::*;

    #[test]
    fn lines_are_appended_and_a_renamed_file_is_left_at_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("audit.log"), folder.path().join("audit.log.1"));
        std::fs::write(&path, "of before\nhalf a li").unwrap();
        let file = AuditFile::open(&path).unwrap();
        let (reopen, (writer, queue)) = (file.reopen_flag(), writer::queue());
        let writing = std::thread::spawn(move || file.write(queue));
        writer.line("one".into());
        writer.flush();
        std::fs::rename(&path, &old).unwrap();
        writer.line("two".into());
        writer.flush();
        reopen.store(true, Ordering::Release);
        writer.line("three".into());
        writer.flush();
        drop(writer);
        writing.join().unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "of before\nhalf a li\none\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn a_disk_that_is_full_loses_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut file = AuditFile::open(&path).unwrap();
        // It accepts nothing until it is reopened.
        file.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (reopen, (writer, queue)) = (file.reopen_flag(), writer::queue());
        let writing = std::thread::spawn(move || file.write(queue));
        writer.line("kept".into());
        std::thread::sleep(RETRY / 5);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
        reopen.store(true, Ordering::Release);
        drop(writer);
        writing.join().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept\n");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path(), Path::new("/dev/null"), &folder.path().join("missing/audit.log")] {
            assert!(AuditFile::open(path).is_err(), "{}", path.display());
        }
    }
}

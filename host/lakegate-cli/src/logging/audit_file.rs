//! The audit log in a file of its own: one line of JSON with its time for each decision, appended.
//!
//! The file is the operator's to rotate: it is renamed, and opened anew under its name at the next SIGHUP. A line that cannot be written (a
//! full disk) is tried again until it can, and so its tenants wait for room as they do for a log that nobody reads; the process log says so.

use super::writer::{Order, Queue};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Who may read a file that is made here: its owner, and the group that collects logs.
const MODE: u32 = 0o640;
/// Between two tries to write a line.
const RETRY: Duration = Duration::from_millis(500);
/// How often it is said that a line cannot be written.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// The file, open.
pub(super) struct AuditFile {
    path: PathBuf,
    file: File,
    reopen: Arc<AtomicBool>,
    reported: Option<Instant>,
}

impl AuditFile {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// It cannot be appended to, or is no file: a pipe would wait for its reader.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: open(path)?, reopen: Arc::default(), reported: None })
    }

    /// Set, it has the file opened anew before the next line.
    pub(super) fn reopen_flag(&self) -> Arc<AtomicBool> {
        self.reopen.clone()
    }

    /// Writes until nobody hands anything over any more.
    pub(super) fn write(mut self, queue: Queue) {
        queue.each(|order| match order {
            Order::Line(mut line, _room) => {
                line.push('\n');
                self.append(line.as_bytes());
            }
            Order::Flush(done) => drop(done.send(())),
        });
    }

    /// Appends a line, however often that takes.
    fn append(&mut self, line: &[u8]) {
        let mut rest = line;
        while !rest.is_empty() {
            if self.reopen.swap(false, Ordering::AcqRel) {
                match open(&self.path) {
                    // No file has half of a line.
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

/// Whether the file ends in half of a line, as after a full disk or a power cut.
fn ends_torn(path: &Path) -> bool {
    let last = || {
        let mut file = File::open(path)?;
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        Ok::<_, io::Error>(last)
    };
    // An empty file has no last byte; one that may not be read is left as it is.
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
        // It takes nothing until it is opened anew.
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

//! One opener of the folder among several: its place for temporary files, which tells the others that it is alive, and what is done about
//! those that are not.
//!
//! ```text
//! DIR/.lakegate/tmp/<session>/                       what one opener has on its way in; locked for as long as it lives
//! DIR/.lakegate/tmp/<session>/<bucket>@<id>.put      the record of an object while its file is put in its place
//! ```
//!
//! The system gives up a lock when its process ends, however it ends. A folder that can be locked by somebody else is therefore a dead
//! opener's. Whoever opens the store next deletes it, and the multipart uploads that were begun by its process: nobody else knows their ids. An
//! object whose file was in its place and whose record was not is taken back, since its put was never answered. On a file system without
//! such locks nothing is ever swept.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::receive::{TempFile, random_name};

/// Ends the name of a record whose object is being put in its place.
pub(super) const PUT_ENDING: &str = ".put";

/// Tries to begin before giving up. One fails only if another opener sweeps in the moment between making the folder and locking it.
const ATTEMPTS: usize = 100;

/// An opener. Dropping it deletes its temporary files.
#[derive(Debug)]
pub(super) struct Session {
    name: String,
    folder: PathBuf,
    /// Held as long as this is; [`None`] where the file system has no locks.
    _alive: Option<File>,
}

impl Session {
    /// Begins one below `temp`, which is there.
    pub(super) fn begin(temp: &Path) -> io::Result<Self> {
        for _ in 0..ATTEMPTS {
            let name = random_name()?;
            let folder = temp.join(&name);
            fs::create_dir(&folder)?;
            let alive = match hold(&folder) {
                Ok(Hold::Mine(file)) => Some(file),
                Ok(Hold::Unsupported) => None,
                Ok(Hold::Anothers) => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // Swept before it was locked: the lock is of a folder that is gone.
            if folder.exists() {
                return Ok(Self { name, folder, _alive: alive });
            }
        }
        Err(io::Error::other("no folder for temporary files can be kept: other processes delete it"))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A place for the record of an object of `bucket` while the object's file is put in its place.
    pub(super) fn note(&self, bucket: &str) -> io::Result<TempFile> {
        Ok(TempFile::at(self.folder.join(format!("{bucket}@{}{PUT_ENDING}", random_name()?))))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What cannot be deleted now is swept later.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Whose a session's folder is.
pub(super) enum Hold {
    /// Nobody had it; it is held as long as the file is open.
    Mine(File),
    Anothers,
    Unsupported,
}

/// Takes the lock of a session's folder, if nobody has it.
pub(super) fn hold(folder: &Path) -> io::Result<Hold> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(folder)?;
    Ok(match file.try_lock() {
        Ok(()) => Hold::Mine(file),
        Err(TryLockError::WouldBlock) => Hold::Anothers,
        Err(TryLockError::Error(error)) => {
            tracing::debug!(%error, "The file system of the embedded store has no locks.");
            Hold::Unsupported
        }
    })
}

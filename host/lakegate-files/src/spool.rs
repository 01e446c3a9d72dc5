//! Unnamed copies on disk of inputs that have to be read at any position but come from a pipe or from gzip.

use super::InputError;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

/// Bytes copied between two checks of the free space.
const PIECE_BYTES: u64 = 4 << 20;
/// The share of a folder's free space that one copy may use, since others write there, too, and a full disk stops them all.
const FREE_PART: u64 = 2;

/// Where copies may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spool {
    /// In this folder: at most half of what is free there.
    Dir(PathBuf),
    /// Copies are not allowed.
    None,
}

impl Default for Spool {
    fn default() -> Self {
        Self::Dir(std::env::temp_dir())
    }
}

impl Spool {
    /// Copies all of `content`. `what` describes it in messages.
    pub(crate) fn copy(&self, mut content: impl Read, file: &str, what: &'static str) -> Result<File, InputError> {
        let refused = |problem: String| InputError::NoSpool { file: file.to_owned(), what, problem };
        let Self::Dir(folder) = self else {
            return Err(refused("--spill-dir is `none`; name a folder, or the file itself, decompressed".to_owned()));
        };
        let shown = folder.display();
        let failed = |error: &io::Error| {
            refused(format!(
                "it cannot be written in {shown}: {error}; name another folder with --spill-dir, or the file itself, decompressed"
            ))
        };
        let mut copy = tempfile::tempfile_in(folder).map_err(|error| failed(&error))?;
        let most = free_bytes(&copy).map_or(u64::MAX, |free| free / FREE_PART);
        let mut bytes = 0_u64;
        let mut piece = Vec::new();
        loop {
            piece.clear();
            // A read error is not an error of the copy.
            let read = content.by_ref().take(PIECE_BYTES).read_to_end(&mut piece);
            read.map_err(|cause| InputError::Io { file: file.to_owned(), cause })?;
            if piece.is_empty() {
                return Ok(copy);
            }
            bytes += piece.len() as u64;
            if bytes > most {
                return Err(refused(format!(
                    "it would take more than {most} bytes, half of what is free in {shown}; name a folder with more room with --spill-dir, or \
                     the file itself, decompressed"
                )));
            }
            copy.write_all(&piece).map_err(|error| failed(&error))?;
        }
    }
}

/// Free bytes on a file's disk.
fn free_bytes(file: &File) -> Option<u64> {
    let system = rustix::fs::fstatvfs(file).ok()?;
    system.f_bavail.checked_mul(system.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_where_it_is_asked_for_or_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let copy = Spool::Dir(dir.path().to_owned()).copy(b"abc".as_slice(), "f", "Parquet").unwrap();
        assert_eq!(copy.metadata().unwrap().len(), 3);
        let error = Spool::None.copy(b"abc".as_slice(), "f", "Parquet").unwrap_err().to_string();
        assert!(error.starts_with("f: it is Parquet") && error.contains("--spill-dir is `none`"), "{error}");
        let missing = Spool::Dir(dir.path().join("missing")).copy(b"abc".as_slice(), "f", "Parquet").unwrap_err().to_string();
        assert!(missing.contains("missing") && missing.contains("--spill-dir"), "{missing}");
    }
}

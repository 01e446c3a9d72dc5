//! Copies on disk, without a name: of what has to be read at any place but comes from a pipe or out of gzip.

use super::InputError;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

/// Bytes copied between two looks at what is left.
const PIECE_BYTES: u64 = 4 << 20;
/// The part of a folder's free room that one copy may take: others write there, too, and a disk that is full stops them all.
const FREE_PART: u64 = 2;

/// Where copies may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spool {
    /// In this folder: at most half of what is free there.
    Dir(PathBuf),
    /// Nowhere.
    None,
}

impl Default for Spool {
    fn default() -> Self {
        Self::Dir(std::env::temp_dir())
    }
}

impl Spool {
    /// A copy of all of `content`. `what`: what it is, for messages.
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
            // What cannot be read is no fault of the copy's.
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

/// Bytes that are free where a file is.
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

//! Files that are plain files. A path that others can reach may have become a link, a pipe or a device: a pipe is waited for without end, a
//! device gives bytes without end, and a link leads wherever its owner wants.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Opens a plain file to be read; nothing waits for the other end of a pipe. Links are followed to a plain file.
///
/// # Errors
/// It cannot be opened, or is something else.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    checked(OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?)
}

/// The content of a plain file of at most so many bytes.
///
/// # Errors
/// As [`open`]; it has more.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(path)?.take(most.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most} bytes")));
    }
    Ok(content)
}

/// As [`open`], and not through a link in its last place.
///
/// # Errors
/// As [`open`]; it is a link.
pub(crate) fn open_itself(path: &Path) -> io::Result<File> {
    checked(OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path)?)
}

fn checked(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file (but a folder, pipe, socket or device)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_plain_file_is_opened_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "words").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (path, follows, itself) in [
            (at("file"), true, true),
            (at("link"), true, false),
            (at("pipe"), false, false),
            (at("socket"), false, false),
            (at("missing"), false, false),
            (folder.path().to_owned(), false, false),
            ("/dev/zero".into(), false, false),
        ] {
            assert_eq!((open(&path).is_ok(), open_itself(&path).is_ok()), (follows, itself), "{}", path.display());
        }
        assert_eq!(read(&at("link"), 5).unwrap(), b"words");
        assert_eq!(read(&at("link"), 4).unwrap_err().to_string(), "it has more than 4 bytes");
    }
}

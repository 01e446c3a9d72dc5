//! Opening and reading files whose names may come from an untrusted source, without blocking and without filling the memory.
//!
//! *Plain* files ([`open`], [`read_plain`]) are for paths that others can modify: one may have become a link, a pipe or a device. *Small* files
//! ([`read_small`], [`read_argument`]) are for configuration, certificates, tokens and files that a configuration refers to: such a path may name a
//! device, a pipe or a disk image, by mistake or on purpose.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Maximum size of a configuration file, and of a file that it refers to. Real ones have a few kilobytes.
pub const MAX_SMALL_BYTES: u64 = 16 << 20;

/// Opens a plain file for reading, without waiting for the other end of a pipe. Links to plain files are followed.
///
/// # Errors
/// It cannot be opened, or is not a plain file.
pub fn open(path: &Path) -> io::Result<File> {
    checked(OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?)
}

/// Reads a plain file of at most `most` bytes.
///
/// # Errors
/// As [`open`], or the file is larger.
pub fn read_plain(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(path)?.take(most.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {most} bytes")));
    }
    Ok(content)
}

/// As [`open`], but refuses a path whose last component is a link.
///
/// # Errors
/// As [`open`], or it is a link.
pub fn open_itself(path: &Path) -> io::Result<File> {
    checked(OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path)?)
}

fn checked(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file (but a folder, pipe, socket or device)"))
    }
}

/// Reads a file of at most [`MAX_SMALL_BYTES`] that a configuration refers to, without waiting for the other end of a pipe. The file is opened first
/// and then inspected, so that it cannot be exchanged in between.
///
/// # Errors
/// It cannot be read, is larger, or is a folder, a pipe, a socket, a disk, a terminal or an endless device.
pub fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    // A socket cannot be opened at all.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let kind = file.as_ref().map_or_else(|_| path.metadata(), File::metadata)?.file_type();
    let refused = if kind.is_dir() {
        "it is a directory"
    } else if kind.is_fifo() || kind.is_socket() {
        "it is a pipe or a socket"
    } else if kind.is_block_device() {
        "it is a disk"
    } else {
        let file = file?;
        if !file.is_terminal() {
            return bounded(file);
        }
        "it is a terminal"
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{refused}; a file is needed")))
}

/// As [`read_small`], for UTF-8 text.
///
/// # Errors
/// As [`read_small`], or it is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    text(read_small(path)?)
}

/// Reads a file named on a command line, where pipes (`<(…)`, `/dev/stdin`) are allowed, too.
///
/// # Errors
/// It cannot be read, is larger than [`MAX_SMALL_BYTES`], or is not UTF-8.
pub fn read_argument(path: &Path) -> io::Result<String> {
    text(bounded(File::open(path)?)?)
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("not UTF-8 text (byte {})", error.utf8_error().valid_up_to())))
}

fn bounded(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_SMALL_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_SMALL_BYTES {
        let why = format!("the file is larger than {MAX_SMALL_BYTES} bytes, the limit for configuration files");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
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
        assert_eq!(read_plain(&at("link"), 5).unwrap(), b"words");
        assert_eq!(read_plain(&at("link"), 4).unwrap_err().to_string(), "it is larger than 4 bytes");
    }

    #[test]
    fn only_small_files_are_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("small"), "words").expect("writable");
        std::os::unix::fs::symlink(path("small"), path("link")).expect("a link");
        File::create(path("large")).and_then(|file| file.set_len(MAX_SMALL_BYTES + 1)).expect("a file");
        File::create(path("largest")).and_then(|file| file.set_len(MAX_SMALL_BYTES)).expect("a file");
        let made = std::process::Command::new("mkfifo").arg(path("pipe")).status().expect("mkfifo");
        assert!(made.success());
        let _listener = std::os::unix::net::UnixListener::bind(path("socket")).expect("a socket");
        assert_eq!(read_text(&path("small")).expect("text"), "words");
        assert_eq!(read_text(&path("link")).expect("text"), "words");
        assert_eq!(read_small(&path("largest")).expect("just small enough").len() as u64, MAX_SMALL_BYTES);
        assert_eq!(read_small(Path::new("/dev/null")).expect("nothing"), b"");
        let check = |path: &Path, words: &str| {
            let error = read_small(path).expect_err(words).to_string();
            assert!(error.contains(words), "{}: {error}", path.display());
        };
        check(&path("absent"), "No such file");
        check(dir.path(), "it is a directory");
        check(&path("pipe"), "it is a pipe");
        check(&path("socket"), "a socket");
        check(&path("large"), "larger than 16777216 bytes");
        check(Path::new("/dev/zero"), "larger than 16777216 bytes");
        assert!(read_argument(Path::new("/dev/zero")).is_err());
    }
}

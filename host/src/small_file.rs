//! Files that are read whole because they are small: configuration, certificates, tokens, and what a configuration refers to. Whoever names
//! one may name a device, a pipe or a disk's image by mistake or on purpose; none of them fills the memory or is waited for.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt as _};
use std::path::Path;

/// Bytes of a file of configuration, and of one that it refers to. Real ones have some kilobytes.
pub(crate) const MAX_BYTES: u64 = 16 << 20;

/// Reads a file of at most [`MAX_BYTES`]. Folders, pipes, sockets, disks, terminals, and devices without an end are refused. Nothing waits for
/// the other end of a pipe: it is opened first and looked at then, so that nobody can put one there in between.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
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

/// The same as text.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    text(read(path)?)
}

/// Reads a file that a command line names: a pipe (`<(…)`, `/dev/stdin`) is as good as a file there.
pub(crate) fn read_argument(path: &Path) -> io::Result<String> {
    text(bounded(File::open(path)?)?)
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("not UTF-8 text (byte {})", error.utf8_error().valid_up_to())))
}

fn bounded(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        let why = format!("the file is larger than {MAX_BYTES} bytes, which no configuration is");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_small_files_are_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("small"), "words").expect("writable");
        std::os::unix::fs::symlink(path("small"), path("link")).expect("a link");
        File::create(path("large")).and_then(|file| file.set_len(MAX_BYTES + 1)).expect("a file");
        File::create(path("largest")).and_then(|file| file.set_len(MAX_BYTES)).expect("a file");
        let made = std::process::Command::new("mkfifo").arg(path("pipe")).status().expect("mkfifo");
        assert!(made.success());
        let _listener = std::os::unix::net::UnixListener::bind(path("socket")).expect("a socket");
        assert_eq!(read_text(&path("small")).expect("text"), "words");
        assert_eq!(read_text(&path("link")).expect("text"), "words");
        assert_eq!(read(&path("largest")).expect("just small enough").len() as u64, MAX_BYTES);
        assert_eq!(read(Path::new("/dev/null")).expect("nothing"), b"");
        let check = |path: &Path, words: &str| {
            let error = read(path).expect_err(words).to_string();
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

//! Compiled components, kept between processes.
//!
//! A compiled component is native code, so what is loaded must be what this user wrote: the folder is made with mode 0700 and refused if it
//! belongs to another or others may write to it (what is in it is no secret); a file's name has the digests of the component and of the engine's settings, this crate's version
//! and the digest of the file's content. Files are mapped, so that only code that runs takes memory, and processes share it. Without a usable
//! folder the component is compiled each time.

use super::component_file::{ComponentError, one_line};
use super::embedded::{COMPONENT_DIGEST, component_bytes};
use crate::limits::MAX_COMPILED_BYTES;
use lakegate_base::file;
use lakegate_base::hex::to_hex;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use wasmtime::Engine;
use wasmtime::component::Component;

/// What the names of the files end with.
const SUFFIX: &str = ".cwasm";

/// What the names of files begin with that are being written.
const UNFINISHED: &str = ".tmp-";
/// Nobody writes as long as this.
const UNFINISHED_AGE: Duration = Duration::from_hours(1);

/// Of a file that is read to be compared with its digest, or written. What is written at once may lie in one piece of the system's cache, and
/// Linux since 6.18 counts the whole piece for a process that runs one page of it.
const PIECE_BYTES: usize = 64 << 10;

/// Loads the compiled form of `wasm`, or has it made by `compile` and keeps the result.
///
/// `compile` is this program, in this process or in one of its own: what it answers is run.
///
/// # Errors
/// Those of `compile`, or this machine cannot load what it made.
pub(super) fn load_or_compile(
    engine: &Engine,
    wasm: &[u8],
    compile: impl FnOnce() -> Result<Vec<u8>, ComponentError>,
) -> Result<Component, ComponentError> {
    let folder = private_folder();
    let stem = stem(engine, wasm);
    if let Some(component) = folder.as_ref().and_then(|folder| load(engine, folder, &stem)) {
        return Ok(component);
    }
    let code = compile()?;
    let kept = folder.map(|folder| keep(&folder, &stem, &code));
    match &kept {
        None => tracing::debug!("No private cache directory; the component is compiled afresh each time."),
        Some(Ok(_)) => tracing::debug!("The compiled component was kept."),
        Some(Err(error)) => tracing::debug!(%error, "The compiled component could not be kept."),
    }
    let mapped = kept.and_then(Result::ok).and_then(|path| map(engine, &path).ok());
    let made = mapped.map_or_else(|| revive(engine, &code), Ok);
    made.map_err(|error| ComponentError::Machine(one_line(&format!("{error:#}"))))
}

/// `$LAKEGATE_CACHE_DIR`, else the user's cache directory; `None` if others may write to it.
fn private_folder() -> Option<PathBuf> {
    let folder = match std::env::var_os("LAKEGATE_CACHE_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => directories::ProjectDirs::from("", "", "lakegate")?.cache_dir().to_owned(),
    };
    make_private(&folder).inspect_err(|error| tracing::debug!(%error, "The cache directory is not used.")).ok()?;
    Some(folder)
}

#[cfg(unix)]
fn make_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let (found, own) = (std::fs::symlink_metadata(folder)?, tempfile::tempfile_in(folder)?.metadata()?.uid());
    if !found.is_dir() || found.uid() != own || found.mode() & 0o022 != 0 {
        return Err(io::Error::other("the cache directory belongs to another user or is writable by others"));
    }
    Ok(())
}

#[cfg(not(unix))]
fn make_private(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)
}

/// What the names of a component's files begin with.
fn stem(engine: &Engine, wasm: &[u8]) -> String {
    let mut settings = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut settings);
    format!("{}-{:016x}-{}-", name_of(wasm), settings.finish(), env!("CARGO_PKG_VERSION"))
}

/// The digest of a component. That of the embedded one was taken when it was built: to read it brings all of it into memory.
fn name_of(wasm: &[u8]) -> String {
    if std::ptr::eq(wasm, component_bytes()) { COMPONENT_DIGEST.to_owned() } else { to_hex(&Sha256::digest(wasm)) }
}

/// The first of the component's files that is whole and accepted.
fn load(engine: &Engine, folder: &Path, stem: &str) -> Option<Component> {
    std::fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let (name, path) = (entry.file_name().into_string().ok()?, entry.path());
        let digest = name.strip_prefix(stem)?.strip_suffix(SUFFIX)?;
        // Neither a pipe, which would be waited for, nor more than can have been kept.
        let file = file::open(&path).ok().filter(|file| file.metadata().is_ok_and(|it| it.len() <= MAX_COMPILED_BYTES as u64))?;
        if to_hex(&digest_of(file).ok()?) != digest {
            tracing::warn!(path = %path.display(), "A damaged compiled component was set aside.");
            return None;
        }
        // A file system whose code may not be run can still be read.
        let component = map(engine, &path).or_else(|_| revive(engine, &std::fs::read(&path)?));
        component.inspect_err(|error| tracing::debug!(%error, "A compiled component was not accepted.")).ok()
    })
}

fn digest_of(mut file: File) -> io::Result<Vec<u8>> {
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; PIECE_BYTES]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digest.finalize().to_vec()),
            length => digest.update(&buffer[..length]),
        }
    }
}

/// Maps a file of [`keep`]'s.
fn map(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the code comes from this program's compiler. Only this user may write to the folder, and the digest in the file's name shows that it is
    // whole; whoever could forge both could as well replace this program. Files here are replaced by renaming and never written to, so that
    // what is mapped does not change. The engine refuses code made by another version or with other settings.
    #[expect(unsafe_code, reason = "loading compiled code that this user's own process made")]
    unsafe {
        Component::deserialize_file(engine, path)
    }
}

fn revive(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: as in `map`; the bytes are this process's own.
    #[expect(unsafe_code, reason = "loading compiled code that this user's own process made")]
    unsafe {
        Component::deserialize(engine, code)
    }
}

/// Whole or not at all: written beside, then renamed.
fn keep(folder: &Path, stem: &str, code: &[u8]) -> io::Result<PathBuf> {
    sweep(folder);
    let path = folder.join(format!("{stem}{}{SUFFIX}", to_hex(&Sha256::digest(code))));
    let mut file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(folder)?;
    code.chunks(PIECE_BYTES).try_for_each(|piece| file.write_all(piece))?;
    file.persist(&path).map_err(|error| error.error)?;
    Ok(path)
}

/// Deletes what processes that were killed in the middle of [`keep`] have left.
fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let unfinished = entry.file_name().to_str().is_some_and(|name| name.starts_with(UNFINISHED));
        let age = entry.metadata().and_then(|found| found.modified()).map(|time| SystemTime::now().duration_since(time));
        if unfinished && matches!(age, Ok(Ok(age)) if age > UNFINISHED_AGE) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_was_writing_is_swept_once_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        for (name, age) in [(".tmp-old", UNFINISHED_AGE * 2), (".tmp-new", Duration::ZERO), ("other", UNFINISHED_AGE * 2)] {
            File::create(folder.path().join(name)).unwrap().set_modified(SystemTime::now() - age).unwrap();
        }
        keep(folder.path(), "stem-", b"code").unwrap();
        let mut left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left[..2], [".tmp-new", "other"]);
        assert_eq!(left.len(), 3, "{left:?}");
    }

    #[test]
    fn a_pipe_in_the_folder_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::new(&super::super::settings::config()).unwrap();
        let pipe = folder.path().join(format!("stem-{}{SUFFIX}", to_hex(&Sha256::digest(b""))));
        assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
        assert!(load(&engine, folder.path(), "stem-").is_none());
    }

    #[test]
    fn the_embedded_component_is_known_by_its_digest() {
        let copy = component_bytes().to_vec();
        assert_eq!(name_of(component_bytes()), name_of(&copy));
    }
}

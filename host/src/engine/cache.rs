//! Compiled components, kept between processes.
//!
//! A compiled component is native code, so what is loaded must be what this user wrote: the folder is made with mode 0700 and refused if it
//! belongs to another or is open to others; the file carries a digest of its content, and its name the digests of the component, of the
//! engine's settings and this crate's version. Without a usable folder the component is compiled each time.

use super::outside::{ComponentError, words};
use sha2::{Digest, Sha256};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use wasmtime::Engine;
use wasmtime::component::Component;

const DIGEST_BYTES: usize = 32;

/// Loads the compiled form of `wasm`, or has it made by `compile` and keeps the result.
///
/// `compile` is this program, in this process or in one of its own: what it answers is run.
///
/// # Errors
/// Those of `compile`, or this machine cannot load what it made.
pub fn load_or_compile(
    engine: &Engine,
    wasm: &[u8],
    compile: impl FnOnce() -> Result<Vec<u8>, ComponentError>,
) -> Result<Component, ComponentError> {
    let folder = private_folder();
    let path = folder.as_ref().map(|folder| folder.join(file_name(engine, wasm)));
    if let Some(component) = path.as_ref().and_then(|path| load(engine, path)) {
        return Ok(component);
    }
    let code = compile()?;
    let component = revive(engine, &code).map_err(|error| ComponentError::Machine(words(&format!("{error:#}"))))?;
    match folder.zip(path).map(|(folder, path)| keep(&folder, &path, &code)) {
        None => tracing::debug!("No private cache directory; the component is compiled afresh each time."),
        Some(Ok(())) => tracing::debug!("The compiled component was kept."),
        Some(Err(error)) => tracing::debug!(%error, "The compiled component could not be kept."),
    }
    Ok(component)
}

/// `$LAKEGATE_CACHE_DIR`, else the user's cache directory; `None` if it is not this user's alone.
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

fn file_name(engine: &Engine, wasm: &[u8]) -> String {
    let mut settings = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut settings);
    format!("{}-{:016x}-{}.cwasm", hex(&Sha256::digest(wasm)), settings.finish(), env!("CARGO_PKG_VERSION"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn load(engine: &Engine, path: &Path) -> Option<Component> {
    let bytes = std::fs::read(path).ok()?;
    let (digest, code) = bytes.split_at_checked(DIGEST_BYTES)?;
    if Sha256::digest(code).as_slice() != digest {
        tracing::warn!(path = %path.display(), "A damaged compiled component was set aside.");
        return None;
    }
    revive(engine, code).inspect_err(|error| tracing::debug!(%error, "A compiled component was not accepted.")).ok()
}

fn revive(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the code comes from this program's compiler, just now or by way of the cache. There, the folder is this user's alone, and the
    // digest shows that the file is whole; whoever could forge both could as well replace this program. The engine refuses code made by
    // another version or with other settings.
    #[expect(unsafe_code, reason = "loading compiled code that this user's own process made")]
    unsafe {
        Component::deserialize(engine, code)
    }
}

/// Whole or not at all: written beside, then renamed.
fn keep(folder: &Path, path: &Path, code: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&Sha256::digest(code))?;
    file.write_all(code)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

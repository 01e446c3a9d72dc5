//! A component brought from outside: how its file is read, and every reason to refuse it.
//!
//! What is taken is WebAssembly and nothing else. Compiled code is native code, which runs with all rights of this process the moment it is
//! loaded; it is loaded only from the cache that this user's own process wrote (see [`super::cache`]).

use super::embedded::allowed_imports;
use crate::limits;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

/// Characters of another's words (a compiler's, a world's) that an error repeats.
const MAX_WORDS: usize = 400;

/// Why a component is refused. Each is one line.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// The file.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// The size.
    #[error("has more than the {limit} bytes that a component may have")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// The first bytes are those of compiled code.
    #[error("is compiled native code, which is never accepted; give the WebAssembly component, it is compiled here")]
    Precompiled,
    /// The first bytes are those of a core module.
    #[error("is a core module; what is needed is a component (made with `wasm-tools component new`, say)")]
    CoreModule,
    /// The first bytes are those of something else.
    #[error("is not a WebAssembly component")]
    NotAComponent,
    /// The validator's or the compiler's words.
    #[error("is not accepted by the compiler: {0}")]
    Invalid(String),
    /// An interface that is not on the list.
    #[error("imports `{name}`, which it may not; allowed are: {}", allowed_imports().collect::<Vec<_>>().join(", "))]
    Import {
        /// Its name.
        name: String,
    },
    /// Imports or exports of the wrong shape, or missing.
    #[error("is not of the world `lakegate:destination/destination`: {0}")]
    World(String),
    /// Compiling it needs too much memory.
    #[error("needs more than {bytes} bytes of memory to be compiled")]
    CompileMemory {
        /// The bound.
        bytes: u64,
    },
    /// Compiling it needs too much computing.
    #[error("needs more than {} s of computing to be compiled", cpu.as_secs())]
    CompileCpu {
        /// The bound.
        cpu: Duration,
    },
    /// Compiling it takes too long.
    #[error("is not compiled after {} s", wall.as_secs_f64())]
    CompileTime {
        /// The bound.
        wall: Duration,
    },
    /// Its native code is too large.
    #[error("becomes more than {limit} bytes of native code")]
    CompiledTooLarge {
        /// The bound.
        limit: usize,
    },
    /// The process that compiles did not do its work, whatever the component is.
    #[error("is not compiled: {0}")]
    Compiler(String),
    /// This machine cannot run any component.
    #[error("cannot be run on this machine: {0}")]
    Machine(String),
}

/// Reads a component's file, at most [`limits::MAX_COMPONENT_BYTES`] of it.
///
/// # Errors
/// It cannot be read, is too large, or is not WebAssembly.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ComponentError> {
    let file = File::open(path).map_err(ComponentError::Unreadable)?;
    // Asked first, so that a large file costs nothing; and again by what is read, since a file can grow, and a device has no size.
    let bytes = file.metadata().map_err(ComponentError::Unreadable)?.len();
    check_size(usize::try_from(bytes).unwrap_or(usize::MAX))?;
    let mut wasm = Vec::new();
    file.take(limits::MAX_COMPONENT_BYTES as u64 + 1).read_to_end(&mut wasm).map_err(ComponentError::Unreadable)?;
    check(&wasm)?;
    Ok(wasm)
}

/// Size and first bytes.
///
/// # Errors
/// Too large, or not WebAssembly.
pub(super) fn check(wasm: &[u8]) -> Result<(), ComponentError> {
    check_size(wasm.len())?;
    match wasm {
        // Magic, version, layer.
        [b'\0', b'a', b's', b'm', _, _, 1, 0, ..] => Ok(()),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(ComponentError::CoreModule),
        // wasmtime's compiled code is an ELF file.
        [0x7f, b'E', b'L', b'F', ..] => Err(ComponentError::Precompiled),
        _ => Err(ComponentError::NotAComponent),
    }
}

fn check_size(bytes: usize) -> Result<(), ComponentError> {
    let limit = limits::MAX_COMPONENT_BYTES;
    if bytes > limit { Err(ComponentError::TooLarge { limit }) } else { Ok(()) }
}

/// Another's words on one line, cut, without control characters: they may quote names out of the component.
pub(super) fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    let mut line = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((at, _)) = line.char_indices().nth(MAX_WORDS) {
        line.truncate(at);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_what_it_is() {
        let refused = |bytes: &[u8]| check(bytes).expect_err("refused");
        assert!(check(b"\0asm\x0d\0\x01\0").is_ok());
        assert!(matches!(refused(b"\0asm\x01\0\0\0"), ComponentError::CoreModule));
        assert!(matches!(refused(b"\x7fELF\x02\x01\x01"), ComponentError::Precompiled));
        for other in [&b""[..], b"\0asm", b"(component)", b"\0asm\x0d\0\x02\0"] {
            assert!(matches!(refused(other), ComponentError::NotAComponent), "{other:?}");
        }
    }

    #[test]
    fn a_file_is_bounded_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large.wasm");
        let file = File::create(&path).unwrap();
        for (bytes, whole) in [(limits::MAX_COMPONENT_BYTES, true), (limits::MAX_COMPONENT_BYTES + 1, false)] {
            file.set_len(bytes as u64).unwrap();
            // Of zeros: within the bound its content is looked at, beyond it is not.
            let error = read(&path).expect_err("zeros");
            assert_eq!(matches!(error, ComponentError::NotAComponent), whole, "{bytes}: {error}");
            assert_eq!(matches!(error, ComponentError::TooLarge { .. }), !whole, "{bytes}: {error}");
        }
        // No size, and no end.
        #[cfg(target_os = "linux")]
        assert!(matches!(read(Path::new("/dev/zero")), Err(ComponentError::TooLarge { .. })));
        assert!(matches!(read(&folder.path().join("missing")), Err(ComponentError::Unreadable(_))));
        assert!(matches!(read(folder.path()), Err(ComponentError::Unreadable(_))));
    }

    #[test]
    fn words_of_others_are_one_short_line() {
        assert_eq!(one_line("a\n  b\u{1b}[31m\0c"), "a b [31m c");
        assert_eq!(one_line(&"é".repeat(MAX_WORDS)), "é".repeat(MAX_WORDS));
        assert_eq!(one_line(&"é".repeat(MAX_WORDS + 1)).chars().count(), MAX_WORDS + 1);
    }
}

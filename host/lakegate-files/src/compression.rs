//! Decompresses files, which are recognised by their first bytes: gzip, Zstandard, bzip2 and xz.
//!
//! Memory is bounded by the window of each format: 32 KiB for gzip, 128 MiB for Zstandard and xz (a file that needs more is refused before it is
//! allocated), 900 kB for bzip2. What comes out is a stream: a file that decompresses to far more than its size takes no more memory, only time.

use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;
use std::io::{self, BufRead, Read};

/// The largest window of Zstandard, as a power of two: what its own tool accepts without being asked for more.
const ZSTD_WINDOW_LOG: u32 = 27;
/// The most memory of an xz decoder in KiB, twice what `xz -9` needs.
const XZ_MEMORY_KIB: u32 = (128 << 10) + 1_024;

/// A compressed form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

/// File extensions of compressed files.
const ENDINGS: [&str; 5] = [".gz", ".zst", ".zstd", ".bz2", ".xz"];

/// The lower-case name of a file without the extension of a compressed form.
pub(crate) fn without_ending(name: &str) -> &str {
    ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name)
}

impl Compression {
    /// The form of a file that begins like this.
    pub(crate) fn detect(head: &[u8]) -> Option<Self> {
        let block = head.get(4..10).unwrap_or_default();
        match head {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // Its frames, and those that decoders skip, which some programs write first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            // A block, or the end of an empty file.
            [b'B', b'Z', b'h', ..]
                if [[0x31, 0x41, 0x59, 0x26, 0x53, 0x59], [0x17, 0x72, 0x45, 0x38, 0x50, 0x90]].iter().any(|it| it == block) =>
            {
                Some(Self::Bzip2)
            }
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        }
    }

    /// What is compressed in `reader`. Several members, frames or streams one after another are one content.
    ///
    /// # Errors
    /// The decoder cannot be made.
    pub(crate) fn open(self, reader: Box<dyn BufRead + Send>) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(reader)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
            Self::Bzip2 => Box::new(MultiBzDecoder::new(reader)),
            Self::Xz => Box::new(XzReader::new_mem_limit(reader, true, XZ_MEMORY_KIB)),
        })
    }
}

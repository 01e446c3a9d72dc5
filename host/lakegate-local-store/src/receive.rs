//! Bytes on their way in: a request body streamed into a temporary file while its digests are taken.
//!
//! A temporary file that is not renamed to its place is deleted when its guard is dropped, so that a client that goes away, a wrong digest
//! or a full disk leaves nothing behind.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use futures::TryStreamExt as _;
use lakegate_base::hex::to_hex;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::dto::StreamingBlob;
use s3s::{S3Result, s3_error};
use tokio::io::AsyncWriteExt as _;

use super::error::io_error;

/// A hash of one of S3's checksum algorithms, named as its headers spell them (`x-amz-checksum-crc32`).
pub(super) enum Hasher {
    Crc32(Crc32),
    Crc32c(Crc32c),
    Crc64Nvme(Crc64Nvme),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    /// `algorithm` in any letter case; `None` for a name that S3 does not have.
    pub(super) fn new(algorithm: &str) -> Option<Self> {
        Some(match algorithm.to_ascii_lowercase().as_str() {
            "crc32" => Self::Crc32(Crc32::new()),
            "crc32c" => Self::Crc32c(Crc32c::new()),
            "crc64nvme" => Self::Crc64Nvme(Crc64Nvme::new()),
            "sha1" => Self::Sha1(Sha1::new()),
            "sha256" => Self::Sha256(Sha256::new()),
            _ => return None,
        })
    }

    pub(super) fn update(&mut self, data: &[u8]) {
        match self {
            Self::Crc32(h) => h.update(data),
            Self::Crc32c(h) => h.update(data),
            Self::Crc64Nvme(h) => h.update(data),
            Self::Sha1(h) => h.update(data),
            Self::Sha256(h) => h.update(data),
        }
    }

    pub(super) fn finish(self) -> String {
        match self {
            Self::Crc32(h) => BASE64_STANDARD.encode(h.finalize()),
            Self::Crc32c(h) => BASE64_STANDARD.encode(h.finalize()),
            Self::Crc64Nvme(h) => BASE64_STANDARD.encode(h.finalize()),
            Self::Sha1(h) => BASE64_STANDARD.encode(h.finalize()),
            Self::Sha256(h) => BASE64_STANDARD.encode(h.finalize()),
        }
    }
}

/// What a client claims of a body, to be held against what arrives.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) content_md5: Option<String>,
    pub(super) length: Option<u64>,
    /// Checksums in base64 by algorithm, as far as they stand in the headers.
    pub(super) checksums: BTreeMap<&'static str, String>,
    /// The algorithm of a checksum that follows the body as a trailer, or that the client asks the store to take.
    pub(super) announced: Option<String>,
}

/// A body that has arrived whole and agrees with all that was claimed of it.
pub(super) struct Received {
    pub(super) file: TempFile,
    pub(super) size: u64,
    pub(super) md5: [u8; 16],
    pub(super) checksums: BTreeMap<String, String>,
}

impl Received {
    /// Streams `body` into a new file of `folder`. `trailer` gives the checksum that came after the body, once it has been read.
    pub(super) async fn read(
        folder: &Path,
        body: Option<StreamingBlob>,
        claims: Claims,
        trailer: impl Fn(&str) -> Option<String>,
    ) -> S3Result<Self> {
        let file = TempFile::new(folder)?;
        let mut out = tokio::fs::File::create_new(file.path()).await.map_err(io_error)?;
        let mut md5 = Md5::new();
        let mut hashers: Vec<(String, Hasher)> = Vec::new();
        for algorithm in claims.checksums.keys().copied().chain(claims.announced.as_deref()) {
            let algorithm = algorithm.to_ascii_lowercase();
            if hashers.iter().any(|(name, _)| *name == algorithm) {
                continue;
            }
            let hasher = Hasher::new(&algorithm).ok_or_else(|| {
                s3_error!(InvalidRequest, "The checksum algorithm is not one of CRC32, CRC32C, CRC64NVME, SHA1 and SHA256.")
            })?;
            hashers.push((algorithm, hasher));
        }
        let mut size = 0_u64;
        if let Some(mut body) = body {
            while let Some(chunk) = body.try_next().await.map_err(body_error)? {
                md5.update(&chunk);
                hashers.iter_mut().for_each(|(_, hasher)| hasher.update(&chunk));
                size += chunk.len() as u64;
                out.write_all(&chunk).await.map_err(io_error)?;
            }
        }
        // tokio's files write behind; without the flush the last error would be lost.
        out.flush().await.map_err(io_error)?;
        if claims.length.is_some_and(|length| length != size) {
            return Err(s3_error!(IncompleteBody));
        }
        let md5 = md5.finalize();
        if let Some(claimed) = &claims.content_md5 {
            let claimed = BASE64_STANDARD.decode(claimed).map_err(|_| s3_error!(InvalidDigest))?;
            if claimed.len() != md5.len() {
                return Err(s3_error!(InvalidDigest));
            }
            if claimed != md5 {
                return Err(s3_error!(BadDigest));
            }
        }
        let mut checksums = BTreeMap::new();
        for (algorithm, hasher) in hashers {
            let computed = hasher.finish();
            let claimed = claims.checksums.get(algorithm.as_str()).cloned().or_else(|| trailer(&algorithm_header(&algorithm)));
            if claimed.is_some_and(|claimed| claimed != computed) {
                return Err(s3_error!(BadDigest, "The {algorithm} checksum of the request is not that of its body."));
            }
            checksums.insert(algorithm, computed);
        }
        Ok(Self { file, size, md5, checksums })
    }
}

/// The header (or trailer) that carries a checksum of `algorithm`.
fn algorithm_header(algorithm: &str) -> String {
    format!("x-amz-checksum-{algorithm}")
}

/// A body that ends early or breaks the rules of its framing is the client's doing: it may send it again.
fn body_error(error: s3s::StdError) -> s3s::S3Error {
    tracing::debug!(%error, "A request body broke off.");
    s3_error!(IncompleteBody)
}

/// A path in the folder for temporary files; what lies there is deleted when this is dropped.
#[derive(Debug)]
pub(super) struct TempFile {
    path: PathBuf,
}

impl TempFile {
    pub(super) fn new(folder: &Path) -> S3Result<Self> {
        Ok(Self { path: folder.join(random_name().map_err(io_error)?) })
    }

    /// At a path of the caller's choice.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the file to `place`, over whatever is there, making the folders on the way.
    pub(super) fn persist(self, place: &Path) -> io::Result<()> {
        let parent = place.parent().unwrap_or(Path::new("."));
        loop {
            std::fs::create_dir_all(parent)?;
            match std::fs::rename(&self.path, place) {
                // A delete beside us may have removed the folder, empty as it was, between the two calls.
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.path.exists() && !parent.exists() => {}
                other => return other,
            }
        }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // Gone already when it was persisted or never made.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// 128 bits from the operating system as 32 hex digits.
pub(super) fn random_name() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(to_hex(&bytes))
}

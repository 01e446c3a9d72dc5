//! The checksums that S3 knows and we send: their names, and the sums of bytes and of objects made of parts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc_fast::{CrcAlgorithm, checksum_combine};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A checksum that bytes are sent with, and that stores show of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChecksumAlgorithm {
    /// CRC-32, of gzip and Ethernet.
    Crc32,
    /// CRC-32C, of Castagnoli.
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-256.
    Sha256,
}

/// A checksum of some bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// Which.
    pub algorithm: ChecksumAlgorithm,
    /// In base64, as in a header. That of an object made of parts may end in the number of its parts (`…-3`): it is one of their sums.
    pub value: String,
}

impl ChecksumAlgorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha256];

    /// As a spec names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "crc32",
            Self::Crc32c => "crc32c",
            Self::Crc64Nvme => "crc64nvme",
            Self::Sha256 => "sha256",
        }
    }

    /// The one with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

impl Checksum {
    /// Of an object made of parts, of which each has this checksum and so many bytes, as S3 makes it by default: CRC-64 as that
    /// of the whole, the others as the checksum of the parts' checksums. [`None`] if one has none.
    pub(crate) fn of_parts<'a>(parts: impl IntoIterator<Item = (Option<&'a Self>, u64)>) -> Option<Self> {
        let parts = parts.into_iter().map(|(sum, bytes)| Some((sum?, bytes))).collect::<Option<Vec<_>>>()?;
        let algorithm = parts.first()?.0.algorithm;
        let sums = parts.iter().map(|(sum, _)| STANDARD.decode(&sum.value).ok().filter(|_| sum.algorithm == algorithm));
        let sums = sums.collect::<Option<Vec<_>>>()?;
        if algorithm != ChecksumAlgorithm::Crc64Nvme {
            let mut hasher = Hasher::new(algorithm);
            sums.iter().for_each(|sum| hasher.update(sum));
            let Self { value, .. } = hasher.finish();
            return Some(Self { algorithm, value: format!("{value}-{}", sums.len()) });
        }
        let mut whole = None;
        for (sum, (_, bytes)) in sums.into_iter().zip(&parts) {
            let sum = u64::from_be_bytes(sum.try_into().ok()?);
            whole = Some(whole.map_or(sum, |before| checksum_combine(CrcAlgorithm::Crc64Nvme, before, sum, *bytes)));
        }
        Some(Self { algorithm, value: STANDARD.encode(whole?.to_be_bytes()) })
    }
}

/// A checksum in the making.
pub(crate) enum Hasher {
    Crc32(crc32fast::Hasher),
    Crc32c(crc_fast::Digest),
    Crc64Nvme(crc_fast::Digest),
    Sha256(Sha256),
}

impl Hasher {
    pub(crate) fn new(algorithm: ChecksumAlgorithm) -> Self {
        match algorithm {
            ChecksumAlgorithm::Crc32 => Self::Crc32(crc32fast::Hasher::new()),
            ChecksumAlgorithm::Crc32c => Self::Crc32c(crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi)),
            ChecksumAlgorithm::Crc64Nvme => Self::Crc64Nvme(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme)),
            ChecksumAlgorithm::Sha256 => Self::Sha256(Sha256::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc32(hasher) => hasher.update(bytes),
            Self::Crc32c(hasher) | Self::Crc64Nvme(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Checksum {
        let (algorithm, value) = match self {
            Self::Crc32(hasher) => (ChecksumAlgorithm::Crc32, STANDARD.encode(hasher.finalize().to_be_bytes())),
            // The lower half has the sum.
            Self::Crc32c(hasher) => (ChecksumAlgorithm::Crc32c, STANDARD.encode((hasher.finalize() as u32).to_be_bytes())),
            Self::Crc64Nvme(hasher) => (ChecksumAlgorithm::Crc64Nvme, STANDARD.encode(hasher.finalize().to_be_bytes())),
            Self::Sha256(hasher) => (ChecksumAlgorithm::Sha256, STANDARD.encode(hasher.finalize())),
        };
        Checksum { algorithm, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Checksum {
        let mut hasher = Hasher::new(algorithm);
        bytes.chunks(3).for_each(|chunk| hasher.update(chunk));
        hasher.finish()
    }

    /// The check values of the CRC catalogue and of FIPS 180, for `123456789`.
    #[test]
    fn the_sums_are_those_of_the_standards() {
        for (algorithm, hex) in [
            (ChecksumAlgorithm::Crc32, "cbf43926"),
            (ChecksumAlgorithm::Crc32c, "e3069283"),
            (ChecksumAlgorithm::Crc64Nvme, "ae8b14860a799888"),
            (ChecksumAlgorithm::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
        ] {
            let expected = STANDARD.encode(lakegate_base::hex::from_hex(hex).unwrap());
            assert_eq!(of(algorithm, b"123456789"), Checksum { algorithm, value: expected }, "{}", algorithm.name());
            assert_eq!(ChecksumAlgorithm::parse(algorithm.name()), Some(algorithm));
        }
        assert_eq!(ChecksumAlgorithm::parse("CRC32"), None);
    }

    #[test]
    fn parts_have_the_sum_of_their_sums_or_that_of_the_whole() {
        let bytes = b"123456789";
        for algorithm in ChecksumAlgorithm::ALL {
            let parts = [&bytes[..4], &bytes[4..7], &bytes[7..]].map(|part| (of(algorithm, part), part.len() as u64));
            let whole = Checksum::of_parts(parts.iter().map(|(sum, bytes)| (Some(sum), *bytes))).unwrap();
            let sums: Vec<u8> = parts.iter().flat_map(|(sum, _)| STANDARD.decode(&sum.value).unwrap()).collect();
            let expected = match algorithm {
                ChecksumAlgorithm::Crc64Nvme => of(algorithm, bytes).value,
                _ => format!("{}-3", of(algorithm, &sums).value),
            };
            assert_eq!(whole, Checksum { algorithm, value: expected });
            assert_eq!(Checksum::of_parts([(Some(&parts[0].0), 4), (None, 5)]), None);
        }
        let mixed = [of(ChecksumAlgorithm::Crc32, b"a"), of(ChecksumAlgorithm::Sha256, b"b")];
        assert_eq!(Checksum::of_parts(mixed.iter().map(|sum| (Some(sum), 1))), None);
        assert_eq!(Checksum::of_parts([]), None);
    }
}

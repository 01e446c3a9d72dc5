//! What bytes are sent with, so that damage on their way is seen, and what the store's answer says of them.
//!
//! The SDK has a method for each algorithm, on builders and answers that have no trait in common: hence macros.

use crate::storage::checksum::{Checksum, ChecksumAlgorithm};
use aws_sdk_s3::types;

/// What a body is sent with.
#[derive(Debug, Clone)]
pub(super) enum Digest {
    /// In a header of its algorithm.
    Checksum(Checksum),
    /// As Content-MD5, in base64.
    Md5(String),
}

impl Digest {
    pub(super) fn checksum(&self) -> Option<&Checksum> {
        if let Self::Checksum(checksum) = self { Some(checksum) } else { None }
    }

    pub(super) fn md5(&self) -> Option<&String> {
        if let Self::Md5(md5) = self { Some(md5) } else { None }
    }
}

/// A checksum, if it is of this algorithm.
pub(super) fn value_of(checksum: Option<&Checksum>, algorithm: ChecksumAlgorithm) -> Option<String> {
    checksum.filter(|checksum| checksum.algorithm == algorithm).map(|checksum| checksum.value.clone())
}

/// The SDK's name of an algorithm.
pub(super) fn announced(algorithm: ChecksumAlgorithm) -> types::ChecksumAlgorithm {
    match algorithm {
        ChecksumAlgorithm::Crc32 => types::ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32c => types::ChecksumAlgorithm::Crc32C,
        ChecksumAlgorithm::Crc64Nvme => types::ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha256 => types::ChecksumAlgorithm::Sha256,
    }
}

/// A request or a part of one with a checksum, an `Option<&Checksum>`.
macro_rules! with_checksum {
    ($builder:expr, $checksum:expr) => {{
        let of = |algorithm| $crate::s3::digest::value_of($checksum, algorithm);
        $builder
            .set_checksum_crc32(of($crate::storage::checksum::ChecksumAlgorithm::Crc32))
            .set_checksum_crc32_c(of($crate::storage::checksum::ChecksumAlgorithm::Crc32c))
            .set_checksum_crc64_nvme(of($crate::storage::checksum::ChecksumAlgorithm::Crc64Nvme))
            .set_checksum_sha256(of($crate::storage::checksum::ChecksumAlgorithm::Sha256))
    }};
}
pub(super) use with_checksum;

/// What an answer shows of an algorithm.
macro_rules! shown_checksum {
    ($answer:expr, $algorithm:expr) => {
        match $algorithm {
            $crate::storage::checksum::ChecksumAlgorithm::Crc32 => $answer.checksum_crc32(),
            $crate::storage::checksum::ChecksumAlgorithm::Crc32c => $answer.checksum_crc32_c(),
            $crate::storage::checksum::ChecksumAlgorithm::Crc64Nvme => $answer.checksum_crc64_nvme(),
            $crate::storage::checksum::ChecksumAlgorithm::Sha256 => $answer.checksum_sha256(),
        }
    };
}
pub(super) use shown_checksum;

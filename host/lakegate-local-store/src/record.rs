//! What the store keeps beside an object's bytes: one small JSON file, readable by people, and what it takes from a request.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use lakegate_base::file;
use s3s::S3Result;
use serde::{Deserialize, Serialize};

use super::error::io_error;

/// All that is known of one object apart from its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRecord {
    /// The object's key.
    pub key: String,
    /// Length in bytes.
    pub size: u64,
    /// The ETag without its quotes: MD5 in hex, for a multipart object followed by `-` and the number of parts.
    pub etag: String,
    /// When the object became visible, in nanoseconds since 1970.
    pub modified_unix_nanos: u64,
    /// What the client said of the object.
    #[serde(flatten)]
    pub attributes: Attributes,
    /// Checksums in base64, by algorithm as S3 spells it in a header (`crc32`, `sha256`, …).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checksums: BTreeMap<String, String>,
}

/// What a client says of an object when it puts it or begins its upload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// `Content-Type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `Content-Encoding`, without `aws-chunked`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// The canned ACL (`x-amz-acl`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<String>,
    /// `x-amz-server-side-encryption`. Recorded and answered; the file is not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_side_encryption: Option<String>,
    /// `x-amz-server-side-encryption-aws-kms-key-id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    /// `x-amz-storage-class`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// `x-amz-meta-*`, without the prefix.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The headers of the request that made the object, those of [`RECORDED_HEADERS`] that it had.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub request_headers: BTreeMap<String, String>,
}

/// The request headers that are written down: what says something of the object. No credential, signature or session token is among them.
pub const RECORDED_HEADERS: &[&str] = &[
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "expires",
    "if-none-match",
    "user-agent",
    "x-amz-acl",
    "x-amz-checksum-algorithm",
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
    "x-amz-checksum-type",
    "x-amz-decoded-content-length",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
    "x-amz-server-side-encryption-context",
    "x-amz-storage-class",
    "x-amz-tagging",
    "x-amz-trailer",
];

/// The headers of `headers` that are kept, as text.
pub(super) fn recorded_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    RECORDED_HEADERS
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), String::from_utf8_lossy(headers.get(*name)?.as_bytes()).into_owned())))
        .collect()
}

/// One part of an upload that is not yet an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartRecord {
    pub(super) number: u32,
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) modified_unix_nanos: u64,
    pub(super) checksums: BTreeMap<String, String>,
}

/// An upload that was begun and neither completed nor aborted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UploadRecord {
    pub(super) key: String,
    pub(super) initiated_unix_nanos: u64,
    /// The session of the process that began it; [`None`] for a client over HTTP, which may come back for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<String>,
    /// Of `x-amz-checksum-algorithm`, as the client wrote it.
    pub(super) checksum_algorithm: Option<String>,
    /// `FULL_OBJECT` or `COMPOSITE`.
    pub(super) checksum_type: Option<String>,
    #[serde(flatten)]
    pub(super) attributes: Attributes,
}

/// `time` as kept in records. Times before 1970 count as 1970, those after 2554 as that year.
pub(super) fn unix_nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The time of a record.
pub(super) fn from_unix_nanos(nanos: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanos)
}

/// The content of a small file; never of a link, and no pipe is waited for.
pub(super) fn read_plain(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file::open_itself(path)?.read_to_end(&mut content)?;
    Ok(content)
}

pub(super) fn read_record<T: serde::de::DeserializeOwned>(path: &Path) -> S3Result<Option<T>> {
    match read_plain(path) {
        Ok(json) => serde_json::from_slice(&json).map(Some).map_err(io::Error::other).map_err(io_error),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(error)),
    }
}

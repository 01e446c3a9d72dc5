//! Multipart uploads: parts in a folder of their own until they become one object or are thrown away.
//!
//! ```text
//! .lakegate/uploads/<bucket>/<id>/upload.json      what Create said
//! .lakegate/uploads/<bucket>/<id>/00001            a part's bytes
//! .lakegate/uploads/<bucket>/<id>/00001.json       its record
//! ```
//!
//! A part counts when its record is there; sent again, it replaces the former. Complete checks the whole list before it touches a byte,
//! makes the object in one step and then forgets the upload, so that the id answers `NoSuchUpload` from then on.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use s3s::crypto::{Checksum as _, Md5};
use s3s::{S3Error, S3Result, s3_error};

use super::disk::{COPY_BYTES, Disk, Overwrite, check_key};
use super::error::io_error;
use super::receive::{Hasher, Received, TempFile, random_name};
use super::record::{ObjectRecord, PartRecord, UploadRecord, read_record, unix_nanos};
use lakegate_base::file;
use lakegate_base::hex::{from_hex, to_hex};

/// The most parts an object may have.
pub(super) const MAX_PARTS: u32 = 10_000;

/// What a client says of one part when it completes an upload.
#[derive(Debug, Default)]
pub(super) struct CompletedPart {
    pub(super) number: u32,
    pub(super) etag: String,
    pub(super) checksums: BTreeMap<&'static str, String>,
}

/// What a client says of the whole when it completes an upload.
#[derive(Debug)]
pub(super) struct Completion {
    pub(super) parts: Vec<CompletedPart>,
    /// `x-amz-mp-object-size`
    pub(super) size: Option<u64>,
    /// Checksums of the whole object, in base64, or of its parts' checksums, then with `-` and their number.
    pub(super) checksums: BTreeMap<&'static str, String>,
    pub(super) overwrite: Overwrite,
}

/// An upload that is not finished, as a listing shows it.
#[derive(Debug)]
pub(super) struct ListedUpload {
    pub(super) id: String,
    pub(super) record: UploadRecord,
}

impl Disk {
    pub(super) fn create_upload(&self, bucket: &str, record: &UploadRecord) -> S3Result<String> {
        self.require_bucket(bucket)?;
        check_key(&record.key)?;
        let id = random_name().map_err(io_error)?;
        let folder = self.uploads_folder(bucket);
        self.guard().way(&folder).map_err(io_error)?;
        // Made aside and moved: an upload is there with its record or not at all.
        let draft = self.temp_folder().join(&id);
        let made = fs::create_dir(&draft)
            .and_then(|()| fs::write(draft.join("upload.json"), serde_json::to_vec_pretty(record)?))
            .and_then(|()| fs::create_dir_all(&folder))
            .and_then(|()| fs::rename(&draft, folder.join(&id)));
        match made {
            Ok(()) => Ok(id),
            Err(error) => {
                // What cannot be deleted now goes with the session.
                let _ = fs::remove_dir_all(draft);
                Err(io_error(error))
            }
        }
    }

    pub(super) fn upload(&self, bucket: &str, key: &str, id: &str) -> S3Result<UploadRecord> {
        self.require_bucket(bucket)?;
        let record: UploadRecord = read_record(&self.upload_folder(bucket, id)?.join("upload.json"))?.ok_or_else(no_such_upload)?;
        if record.key == key { Ok(record) } else { Err(no_such_upload()) }
    }

    pub(super) fn put_part(&self, bucket: &str, key: &str, id: &str, number: u32, part: Received) -> S3Result<PartRecord> {
        // A part sent twice at once: bytes and record are to be of the same one.
        let _turn = self.lock(bucket, key);
        self.upload(bucket, key, id)?;
        let record = PartRecord {
            number,
            size: part.size,
            etag: to_hex(&part.md5),
            modified_unix_nanos: unix_nanos(lakegate_base::clock::now()),
            checksums: part.checksums,
        };
        let folder = self.upload_folder(bucket, id)?;
        // Not `persist`, which would make the folder of an upload anew that was aborted a moment ago.
        rename_into(part.file.path(), &part_path(&folder, number))?;
        self.write_record(&record, &part_record_path(&folder, number))?;
        Ok(record)
    }

    /// The parts that have arrived, by number.
    pub(super) fn parts(&self, bucket: &str, key: &str, id: &str) -> S3Result<BTreeMap<u32, PartRecord>> {
        self.upload(bucket, key, id)?;
        let mut parts = BTreeMap::new();
        for entry in fs::read_dir(self.upload_folder(bucket, id)?).map_err(io_error)? {
            let name = entry.map_err(io_error)?.file_name();
            let Some(number) = name.to_str().and_then(|name| name.strip_suffix(".json")?.parse::<u32>().ok()) else { continue };
            if let Some(record) = read_record::<PartRecord>(&part_record_path(&self.upload_folder(bucket, id)?, number))? {
                parts.insert(number, record);
            }
        }
        Ok(parts)
    }

    pub(super) fn abort_upload(&self, bucket: &str, key: &str, id: &str) -> S3Result<()> {
        self.upload(bucket, key, id)?;
        self.forget_upload(bucket, id)
    }

    /// Makes the object of an upload. `min_part_bytes` holds for every part but the last.
    pub(super) fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        completion: &Completion,
        min_part_bytes: u64,
    ) -> S3Result<ObjectRecord> {
        let upload = self.upload(bucket, key, id)?;
        let have = self.parts(bucket, key, id)?;
        let parts = check_parts(completion, &have, min_part_bytes)?;
        let folder = self.upload_folder(bucket, id)?;
        let full_object = upload.checksum_type.as_deref() == Some("FULL_OBJECT");
        let algorithm = upload.checksum_algorithm.as_deref().map(str::to_ascii_lowercase);
        let (whole, size, full) = self.join_parts(&folder, &parts, algorithm.as_deref().filter(|_| full_object), completion)?;
        let mut checksums = BTreeMap::new();
        if let Some(algorithm) = algorithm {
            let sum = if full_object { full.get(&algorithm).cloned() } else { composite(&algorithm, &parts)? };
            checksums.extend(sum.map(|sum| (algorithm, sum)));
        }
        for (algorithm, claimed) in &completion.checksums {
            let computed = if claimed.contains('-') { composite(algorithm, &parts)? } else { full.get(*algorithm).cloned() };
            if computed.as_deref() != Some(claimed) {
                return Err(s3_error!(BadDigest, "The {algorithm} checksum of the request is not that of the parts."));
            }
        }
        if completion.size.is_some_and(|claimed| claimed != size) {
            return Err(s3_error!(InvalidRequest, "The object size of the request is not the sum of its parts."));
        }
        let mut md5 = Md5::new();
        for part in &parts {
            md5.update(&unhex(&part.etag)?);
        }
        let record = ObjectRecord {
            key: key.to_owned(),
            size,
            etag: format!("{}-{}", to_hex(&md5.finalize()), parts.len()),
            modified_unix_nanos: 0,
            attributes: upload.attributes,
            checksums,
        };
        let record = self.put(bucket, whole, record, completion.overwrite)?;
        self.forget_upload(bucket, id)?;
        Ok(record)
    }

    /// All unfinished uploads whose keys begin with `prefix`, ordered as S3 lists them.
    pub(super) fn uploads(&self, bucket: &str, prefix: &str) -> S3Result<Vec<ListedUpload>> {
        self.guard().way(&self.uploads_folder(bucket)).map_err(io_error)?;
        let entries = match fs::read_dir(self.uploads_folder(bucket)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error(error)),
        };
        let mut uploads = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io_error)?;
            let Ok(id) = entry.file_name().into_string() else { continue };
            if let Some(record) = read_record::<UploadRecord>(&entry.path().join("upload.json"))?.filter(|r| r.key.starts_with(prefix)) {
                uploads.push(ListedUpload { id, record });
            }
        }
        uploads.sort_by(|a, b| (&a.record.key, &a.id).cmp(&(&b.record.key, &b.id)));
        Ok(uploads)
    }

    /// Puts the parts together, with the checksum of the whole by every algorithm that is asked for.
    fn join_parts(
        &self,
        folder: &Path,
        parts: &[&PartRecord],
        algorithm: Option<&str>,
        completion: &Completion,
    ) -> S3Result<(TempFile, u64, BTreeMap<String, String>)> {
        let whole = TempFile::new(self.temp_folder())?;
        let mut out = fs::File::create_new(whole.path()).map_err(io_error)?;
        let wanted = completion.checksums.iter().filter(|(_, claimed)| !claimed.contains('-')).map(|(algorithm, _)| *algorithm);
        let mut hashers: BTreeMap<String, Hasher> =
            wanted.chain(algorithm).filter_map(|algorithm| Some((algorithm.to_owned(), Hasher::new(algorithm)?))).collect();
        let mut buffer = vec![0; COPY_BYTES];
        let mut size = 0;
        for part in parts {
            let mut file = file::open_itself(&part_path(folder, part.number)).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => no_such_upload(),
                _ => io_error(error),
            })?;
            loop {
                let read = file.read(&mut buffer).map_err(io_error)?;
                let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else { break };
                hashers.values_mut().for_each(|hasher| hasher.update(chunk));
                out.write_all(chunk).map_err(io_error)?;
                size += chunk.len() as u64;
            }
        }
        Ok((whole, size, hashers.into_iter().map(|(algorithm, hasher)| (algorithm, hasher.finish())).collect()))
    }

    fn upload_folder(&self, bucket: &str, id: &str) -> S3Result<PathBuf> {
        // An id is a stranger's text until it has the shape of ours.
        if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f')) {
            return Err(no_such_upload());
        }
        let folder = self.uploads_folder(bucket).join(id);
        self.guard().way(&folder).map_err(io_error)?;
        Ok(folder)
    }

    fn forget_upload(&self, bucket: &str, id: &str) -> S3Result<()> {
        self.discard(&self.upload_folder(bucket, id)?)
    }

    /// Deletes the folder of an upload.
    pub(super) fn discard(&self, folder: &Path) -> S3Result<()> {
        // Out of sight in one step, then deleted: a part that arrives meanwhile finds no upload.
        let hidden = self.temp_folder().join(random_name().map_err(io_error)?);
        rename_into(folder, &hidden)?;
        fs::remove_dir_all(hidden).map_err(io_error)
    }

    fn write_record(&self, record: &impl serde::Serialize, place: &Path) -> S3Result<()> {
        let note = TempFile::new(self.temp_folder())?;
        let json = serde_json::to_vec_pretty(record).map_err(io::Error::other).map_err(io_error)?;
        fs::write(note.path(), json).map_err(io_error)?;
        rename_into(note.path(), place)
    }
}

/// The parts of a completion, each held against the one that arrived.
fn check_parts<'a>(completion: &Completion, have: &'a BTreeMap<u32, PartRecord>, min_part_bytes: u64) -> S3Result<Vec<&'a PartRecord>> {
    if completion.parts.is_empty() {
        return Err(s3_error!(MalformedXML, "A multipart upload is completed with at least one part."));
    }
    let mut parts: Vec<&PartRecord> = Vec::with_capacity(completion.parts.len());
    for claimed in &completion.parts {
        if parts.last().is_some_and(|former| former.number >= claimed.number) {
            return Err(s3_error!(InvalidPartOrder, "The list of parts was not in ascending order."));
        }
        let part = have.get(&claimed.number).filter(|part| part.etag == claimed.etag).ok_or_else(|| {
            s3_error!(InvalidPart, "Part {} was not found, or its ETag is another than the one it arrived with.", claimed.number)
        })?;
        if claimed.checksums.iter().any(|(algorithm, sum)| part.checksums.get(*algorithm).is_some_and(|ours| ours != sum)) {
            return Err(s3_error!(InvalidPart, "The checksum of part {} is another than the one it arrived with.", claimed.number));
        }
        parts.push(part);
    }
    if let Some(small) = parts.iter().rev().skip(1).find(|part| part.size < min_part_bytes) {
        return Err(s3_error!(
            EntityTooSmall,
            "Part {} has {} bytes; every part but the last must have at least {min_part_bytes}.",
            small.number,
            small.size
        ));
    }
    Ok(parts)
}

/// The checksum of the parts' checksums; `None` when a part has none of this algorithm.
fn composite(algorithm: &str, parts: &[&PartRecord]) -> S3Result<Option<String>> {
    let Some(mut hasher) = Hasher::new(algorithm) else { return Ok(None) };
    for part in parts {
        let Some(sum) = part.checksums.get(algorithm) else { return Ok(None) };
        hasher.update(&BASE64_STANDARD.decode(sum).map_err(io::Error::other).map_err(io_error)?);
    }
    Ok(Some(format!("{}-{}", hasher.finish(), parts.len())))
}

fn unhex(etag: &str) -> S3Result<Vec<u8>> {
    from_hex(etag).ok_or_else(|| s3_error!(InternalError, "The record of a part is damaged."))
}

fn no_such_upload() -> S3Error {
    s3_error!(
        NoSuchUpload,
        "The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."
    )
}

fn part_path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:05}"))
}

fn part_record_path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:05}.json"))
}

/// A rename whose folder may have gone with its upload.
fn rename_into(from: &Path, to: &Path) -> S3Result<()> {
    fs::rename(from, to).map_err(|error| if error.kind() == io::ErrorKind::NotFound { no_such_upload() } else { io_error(error) })
}

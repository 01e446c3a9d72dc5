//! The folder: buckets, objects and their records, looked up and changed one key at a time.
//!
//! ```text
//! DIR/<bucket>/<key>                               an object's bytes, a plain file
//! DIR/.lakegate/objects/<bucket>/<key>.json        its record
//! DIR/.lakegate/uploads/<bucket>/<id>/             one unfinished multipart upload
//! DIR/.lakegate/tmp/                               bytes on their way in
//! ```
//!
//! An object exists when both its file and its record do. The file is renamed into place before the record, so an object whose put was
//! never answered may be absent, but none is ever there in part. A crash between the two renames of an overwrite leaves the new bytes
//! under the old record; the size or time then differ, and the record is made anew from the bytes. The disk is the only truth: nothing is
//! cached, so a restart forgets nothing. Writers of one key wait for each other within this process.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use s3s::crypto::{Checksum as _, Md5};
use s3s::{S3Result, s3_error};

use super::error::io_error;
use super::layout::{MAX_KEY_BYTES, key_to_path, path_to_key};
use super::receive::{TempFile, hex};
use super::record::{Attributes, ObjectRecord, from_unix_nanos, unix_nanos};

/// The folder for all that is not an object. No bucket's name begins with a dot.
const PRIVATE_FOLDER: &str = ".lakegate";

/// Ends the name of a record's file.
const RECORD_ENDING: &str = ".json";

/// Locks that keys share: more of them only mean fewer chance meetings.
const KEY_LOCKS: usize = 64;

/// How much of a file is hashed or copied at a time.
pub(super) const COPY_BYTES: usize = 256 * 1024;

/// Whether a put may replace an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overwrite {
    Allowed,
    /// `If-None-Match: *`
    Refused,
}

/// The folder of a store.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    locks: Vec<Mutex<()>>,
}

impl Disk {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let disk = Self { root: root.to_owned(), locks: (0..KEY_LOCKS).map(|_| Mutex::new(())).collect() };
        fs::create_dir_all(disk.temp_folder())?;
        Ok(disk)
    }

    pub(super) fn temp_folder(&self) -> PathBuf {
        self.root.join(PRIVATE_FOLDER).join("tmp")
    }

    pub(super) fn uploads_folder(&self, bucket: &str) -> PathBuf {
        self.root.join(PRIVATE_FOLDER).join("uploads").join(bucket)
    }

    fn records_folder(&self, bucket: &str) -> PathBuf {
        self.root.join(PRIVATE_FOLDER).join("objects").join(bucket)
    }

    pub(super) fn bucket_folder(&self, bucket: &str) -> PathBuf {
        self.root.join(bucket)
    }

    pub(super) fn object_path(&self, bucket: &str, key: &str) -> PathBuf {
        self.bucket_folder(bucket).join(key_to_path(key))
    }

    fn record_path(&self, bucket: &str, key: &str) -> PathBuf {
        let mut path = self.records_folder(bucket).join(key_to_path(key)).into_os_string();
        path.push(RECORD_ENDING);
        path.into()
    }

    // ---- buckets ----

    /// `NoSuchBucket` unless `bucket` is there. Every request asks this first, so that no other name reaches a path.
    pub(super) fn require_bucket(&self, bucket: &str) -> S3Result<()> {
        if s3s::path::check_bucket_name(bucket) && self.bucket_folder(bucket).is_dir() { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
    }

    /// `false` when the bucket was there already.
    pub(super) fn create_bucket(&self, bucket: &str) -> io::Result<bool> {
        if !s3s::path::check_bucket_name(bucket) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a bucket's name has 3 to 63 lower-case letters, digits, dots and hyphens, and begins and ends with a letter or digit",
            ));
        }
        match fs::create_dir(self.bucket_folder(bucket)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.bucket_folder(bucket).is_dir() => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn delete_bucket(&self, bucket: &str) -> S3Result<()> {
        self.require_bucket(bucket)?;
        if !self.list(bucket, &Page { limit: 1, ..Page::default() })?.is_empty() {
            return Err(s3_error!(BucketNotEmpty));
        }
        // The bucket first: a file of a stranger in it makes this fail before anything is lost.
        fs::remove_dir(self.bucket_folder(bucket)).map_err(|_| s3_error!(BucketNotEmpty))?;
        for folder in [self.records_folder(bucket), self.uploads_folder(bucket)] {
            match fs::remove_dir_all(folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(error)),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn buckets(&self) -> io::Result<Vec<(String, SystemTime)>> {
        let mut buckets = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if s3s::path::check_bucket_name(&name) && entry.file_type()?.is_dir() {
                buckets.push((name, entry.metadata()?.modified()?));
            }
        }
        buckets.sort();
        Ok(buckets)
    }

    // ---- objects ----

    /// Makes `bytes` the object `key`.
    pub(super) fn put(&self, bucket: &str, bytes: TempFile, mut record: ObjectRecord, overwrite: Overwrite) -> S3Result<ObjectRecord> {
        check_key(&record.key)?;
        let key = record.key.clone();
        let _turn = self.lock(bucket, &key);
        self.require_bucket(bucket)?;
        if overwrite == Overwrite::Refused && self.record(bucket, &key)?.is_some() {
            return Err(s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold"));
        }
        let metadata = fs::metadata(bytes.path()).map_err(io_error)?;
        record.modified_unix_nanos = unix_nanos(metadata.modified().map_err(io_error)?);
        record.size = metadata.len();
        let note = TempFile::new(&self.temp_folder())?;
        let json = serde_json::to_vec_pretty(&record).map_err(io::Error::other).map_err(io_error)?;
        fs::write(note.path(), json).map_err(io_error)?;
        bytes.persist(&self.object_path(bucket, &key)).map_err(io_error)?;
        note.persist(&self.record_path(bucket, &key)).map_err(io_error)?;
        Ok(record)
    }

    /// What is known of the object `key`; `None` when there is none.
    pub(super) fn head(&self, bucket: &str, key: &str) -> S3Result<Option<ObjectRecord>> {
        let _turn = self.lock(bucket, key);
        self.record(bucket, key)
    }

    /// The object `key`, opened: what is read is one object even when another takes its place meanwhile.
    pub(super) fn open_object(&self, bucket: &str, key: &str) -> S3Result<Option<(ObjectRecord, fs::File)>> {
        let _turn = self.lock(bucket, key);
        let Some(record) = self.record(bucket, key)? else { return Ok(None) };
        Ok(Some((record, fs::File::open(self.object_path(bucket, key)).map_err(io_error)?)))
    }

    /// Deletes the object `key`, if there is one, and the folders that it leaves empty.
    pub(super) fn delete(&self, bucket: &str, key: &str) -> S3Result<()> {
        let _turn = self.lock(bucket, key);
        // The record first: without it the bytes are no object.
        for (path, top) in
            [(self.record_path(bucket, key), self.records_folder(bucket)), (self.object_path(bucket, key), self.bucket_folder(bucket))]
        {
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(io_error(error)),
            }
            let folders = path.ancestors().skip(1).take_while(|folder| *folder != top);
            // Stops at the first folder that is not empty.
            let _ = folders.map(fs::remove_dir).find(Result::is_err);
        }
        Ok(())
    }

    /// One page of a listing, in the order of the keys. Holds no more than a page, however many objects there are.
    pub(super) fn list(&self, bucket: &str, page: &Page<'_>) -> S3Result<Vec<Listed>> {
        let top = self.records_folder(bucket);
        let mut found: BTreeMap<String, Item> = BTreeMap::new();
        let mut folders = vec![narrowed(&top, page.prefix)];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
                Err(error) => return Err(io_error(error)),
            };
            for entry in entries {
                let entry = entry.map_err(io_error)?;
                if entry.file_type().map_err(io_error)?.is_dir() {
                    folders.push(entry.path());
                } else if let Some((name, item)) = record_key(&top, &entry.path()).and_then(|key| page.item(key)) {
                    found.insert(name, item);
                    if found.len() > page.limit {
                        found.pop_last();
                    }
                }
            }
        }
        let mut listed = Vec::with_capacity(found.len());
        for (name, item) in found {
            match item {
                Item::Prefix => listed.push(Listed::Prefix(name)),
                // Deleted since it was seen: then it is not listed.
                Item::Object => listed.extend(self.head(bucket, &name)?.map(|record| Listed::Object(Box::new(record)))),
            }
        }
        Ok(listed)
    }

    /// The record of `key`, held against the file it speaks of. The caller has the key's lock.
    fn record(&self, bucket: &str, key: &str) -> S3Result<Option<ObjectRecord>> {
        let path = self.object_path(bucket, key);
        let (json, metadata) = match fs::read(self.record_path(bucket, key)).and_then(|json| Ok((json, fs::metadata(&path)?))) {
            Ok(found) => found,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(io_error(error)),
        };
        let modified_unix_nanos = unix_nanos(metadata.modified().map_err(io_error)?);
        match serde_json::from_slice::<ObjectRecord>(&json) {
            Ok(record) if record.size == metadata.len() && record.modified_unix_nanos == modified_unix_nanos => Ok(Some(record)),
            _ => Ok(Some(ObjectRecord {
                key: key.to_owned(),
                size: metadata.len(),
                etag: hex(&md5_of(&path).map_err(io_error)?),
                modified_unix_nanos,
                attributes: Attributes::default(),
                checksums: BTreeMap::new(),
            })),
        }
    }

    /// The turn of one writer of `key`; not to be asked for twice by one.
    pub(super) fn lock(&self, bucket: &str, key: &str) -> MutexGuard<'_, ()> {
        let hash = bucket.bytes().chain(key.bytes()).fold(0_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(usize::from(byte)));
        // The lock guards files, not memory: a panic elsewhere leaves nothing half done that is not seen as such.
        self.locks[hash % KEY_LOCKS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a listing is asked for.
#[derive(Debug, Default)]
pub(super) struct Page<'a> {
    pub(super) prefix: &'a str,
    /// Keys that go on past this, after the prefix, are listed as one prefix; empty: none are.
    pub(super) delimiter: &'a str,
    /// Only keys after this one.
    pub(super) start_after: &'a str,
    /// Only what comes after this key or prefix, the last one of the page before.
    pub(super) token: &'a str,
    pub(super) limit: usize,
}

/// One line of a listing.
#[derive(Debug)]
pub(super) enum Listed {
    Object(Box<ObjectRecord>),
    /// All keys that begin so.
    Prefix(String),
}

enum Item {
    Object,
    Prefix,
}

impl Page<'_> {
    fn item(&self, key: String) -> Option<(String, Item)> {
        let rest = key.strip_prefix(self.prefix)?;
        if key.as_str() <= self.start_after {
            return None;
        }
        let item = match rest.split_once(self.delimiter).filter(|_| !self.delimiter.is_empty()) {
            Some((folder, _)) => (format!("{}{folder}{}", self.prefix, self.delimiter), Item::Prefix),
            None => (key, Item::Object),
        };
        (item.0.as_str() > self.token).then_some(item)
    }
}

/// The folder below which every key with `prefix` has its record. Only whole segments narrow it.
fn narrowed(top: &Path, prefix: &str) -> PathBuf {
    let Some((segments, _)) = prefix.rsplit_once('/') else { return top.to_owned() };
    let mut path = top.join(key_to_path(&format!("{segments}/x")));
    path.pop();
    path
}

/// Refuses what S3 refuses of a key.
pub(super) fn check_key(key: &str) -> S3Result<()> {
    if key.len() > MAX_KEY_BYTES {
        return Err(s3_error!(KeyTooLongError, "Your key is too long"));
    }
    Ok(())
}

/// When the object of `record` became visible.
pub(super) fn modified(record: &ObjectRecord) -> SystemTime {
    from_unix_nanos(record.modified_unix_nanos)
}

fn record_key(top: &Path, path: &Path) -> Option<String> {
    let relative = path.strip_prefix(top).ok()?.to_str()?.strip_suffix(RECORD_ENDING)?;
    path_to_key(Path::new(relative))
}

fn md5_of(path: &Path) -> io::Result<[u8; 16]> {
    let mut file = fs::File::open(path)?;
    let mut md5 = Md5::new();
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else { return Ok(md5.finalize()) };
        md5.update(chunk);
    }
}

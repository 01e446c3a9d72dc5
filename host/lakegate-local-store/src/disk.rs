//! The folder: buckets, objects and their records, looked up and changed one key at a time.
//!
//! ```text
//! DIR/<bucket>/<key>                               an object's bytes, a plain file
//! DIR/.lakegate/objects/<bucket>/<key>.json        its record
//! DIR/.lakegate/uploads/<bucket>/<id>/             one unfinished multipart upload
//! DIR/.lakegate/tmp/<session>/                     bytes on their way in, see `session`
//! DIR/.lakegate/locks/<number>                     the turns of writers
//! ```
//!
//! An object exists when both its file and its record do. The file is renamed into place before the record, so an object whose put was
//! never answered may be absent, but none is ever there in part. If the record cannot follow, the file is taken back, and what it
//! replaced is put back. A kill between the two renames leaves a note of what was going on, by which the next opener takes the file back
//! (or, where it has replaced another, gives it its record). The disk is the only truth: nothing is cached, so a restart forgets nothing.
//! Writers of one key wait for each other, also in other processes if the file system has locks.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use s3s::crypto::{Checksum as _, Md5};
use s3s::{S3Result, s3_error};

use super::error::io_error;
use super::guard::Guard;
use super::layout::{MAX_KEY_BYTES, key_to_path, path_to_key};
use super::receive::TempFile;
use super::record::{Attributes, ObjectRecord, from_unix_nanos, read_plain, unix_nanos};
use super::session::Session;
use lakegate_base::file;
use lakegate_base::hex::to_hex;

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
    guard: Guard,
    session: Session,
    /// With the lock that other processes see, once it was needed.
    locks: Vec<Mutex<Option<fs::File>>>,
}

/// The turn of one writer; ends when it is dropped.
pub(super) struct Turn<'a> {
    file: MutexGuard<'a, Option<fs::File>>,
    /// Do other processes see it?
    is_shared: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.file.as_ref() {
            // It cannot fail where locking has not; if it did, the file would have to go.
            let _ = file.unlock();
        }
    }
}

impl Disk {
    /// Opens the folder, and begins a session in it.
    pub(super) fn begin(root: &Path) -> io::Result<Self> {
        let guard = Guard::open(root)?;
        let private = root.join(PRIVATE_FOLDER);
        for name in ["tmp", "uploads", "objects", "locks"] {
            guard.way(&private.join(name))?;
        }
        let temp = private.join("tmp");
        fs::create_dir_all(&temp)?;
        Ok(Self { guard, session: Session::begin(&temp)?, locks: (0..KEY_LOCKS).map(|_| Mutex::default()).collect() })
    }

    pub(super) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Where all openers have their temporary files.
    pub(super) fn sessions_folder(&self) -> PathBuf {
        self.private_folder().join("tmp")
    }

    /// Where this one has them.
    pub(super) fn temp_folder(&self) -> &Path {
        self.session.folder()
    }

    /// What the uploads of this process are known by.
    pub(super) fn session_name(&self) -> &str {
        self.session.name()
    }

    fn private_folder(&self) -> PathBuf {
        self.guard.root().join(PRIVATE_FOLDER)
    }

    pub(super) fn uploads_folder(&self, bucket: &str) -> PathBuf {
        self.private_folder().join("uploads").join(bucket)
    }

    fn records_folder(&self, bucket: &str) -> PathBuf {
        self.private_folder().join("objects").join(bucket)
    }

    pub(super) fn bucket_folder(&self, bucket: &str) -> PathBuf {
        self.guard.root().join(bucket)
    }

    pub(super) fn object_path(&self, bucket: &str, key: &str) -> PathBuf {
        self.bucket_folder(bucket).join(key_to_path(key))
    }

    pub(super) fn record_path(&self, bucket: &str, key: &str) -> PathBuf {
        let mut path = self.records_folder(bucket).join(key_to_path(key)).into_os_string();
        path.push(RECORD_ENDING);
        path.into()
    }

    // ---- buckets ----

    /// `NoSuchBucket` unless `bucket` is there. Every request asks this first, so that no other name reaches a path.
    pub(super) fn require_bucket(&self, bucket: &str) -> S3Result<()> {
        let there = s3s::path::check_bucket_name(bucket) && self.guard.has_folder(&self.bucket_folder(bucket)).map_err(io_error)?;
        if there { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
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
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if self.guard.has_folder(&self.bucket_folder(bucket))? {
                    Ok(false)
                } else {
                    Err(error)
                }
            }
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
            self.guard.way(&folder).map_err(io_error)?;
            match fs::remove_dir_all(folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(error)),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn buckets(&self) -> io::Result<Vec<(String, SystemTime)>> {
        let mut buckets = Vec::new();
        for entry in fs::read_dir(self.guard.root())? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if s3s::path::check_bucket_name(&name) && entry.file_type()?.is_dir() {
                // Through what a record can hold: calendars end earlier than the times of files.
                buckets.push((name, from_unix_nanos(unix_nanos(entry.metadata()?.modified()?))));
            }
        }
        buckets.sort();
        Ok(buckets)
    }

    // ---- objects ----

    /// Makes `bytes` the object `key`. If it fails, everything is as it was.
    pub(super) fn put(&self, bucket: &str, bytes: TempFile, mut record: ObjectRecord, overwrite: Overwrite) -> S3Result<ObjectRecord> {
        check_key(&record.key)?;
        let key = record.key.clone();
        let turn = self.lock(bucket, &key);
        self.require_bucket(bucket)?;
        if overwrite == Overwrite::Refused {
            if !turn.is_shared {
                return Err(s3_error!(
                    NotImplemented,
                    "The file system of this folder has no locks, so that two processes could both create an object"
                ));
            }
            if self.record(bucket, &key)?.is_some() {
                return Err(s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold"));
            }
        }
        let metadata = fs::metadata(bytes.path()).map_err(io_error)?;
        record.modified_unix_nanos = unix_nanos(metadata.modified().map_err(io_error)?);
        record.size = metadata.len();
        let note = self.session.note(bucket).map_err(io_error)?;
        let json = serde_json::to_vec_pretty(&record).map_err(io::Error::other).map_err(io_error)?;
        fs::write(note.path(), json).map_err(io_error)?;
        self.put_both(bucket, &key, bytes, note).map_err(io_error)?;
        Ok(record)
    }

    /// Puts an object's file and then its record in their places, or neither. The caller has the key's turn.
    fn put_both(&self, bucket: &str, key: &str, bytes: TempFile, note: TempFile) -> io::Result<()> {
        let (place, record_place) = (self.object_path(bucket, key), self.record_path(bucket, key));
        self.guard.way(&place)?;
        self.guard.way(&record_place)?;
        let former = self.former(&place)?;
        if let Err(error) = bytes.persist(&place) {
            remove_empty_folders(&place, &self.bucket_folder(bucket));
            return Err(error);
        }
        let Err(error) = note.persist(&record_place) else { return Ok(()) };
        let undone = match former {
            Former::None => self.remove_with_folders(&place, &self.bucket_folder(bucket)),
            Former::Kept(former) => former.persist(&place),
            // The bytes get a record of their own as soon as somebody asks for them.
            Former::Lost => Ok(()),
        };
        if let Err(error) = undone {
            tracing::warn!(%error, "An object whose record could not be written could not be taken back.");
        }
        remove_empty_folders(&record_place, &self.records_folder(bucket));
        Err(error)
    }

    /// A second name for the file that is about to be replaced.
    fn former(&self, place: &Path) -> io::Result<Former> {
        let second = TempFile::at(self.temp_folder().join(super::receive::random_name()?));
        Ok(match fs::hard_link(place, second.path()) {
            Ok(()) => Former::Kept(second),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Former::None,
            // A file system without second names.
            Err(_) => Former::Lost,
        })
    }

    /// Deletes a file and the folders that it leaves empty, up to `top`.
    pub(super) fn remove_with_folders(&self, path: &Path, top: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Ok(()) => remove_empty_folders(path, top),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(())
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
        Ok(Some((record, file::open_itself(&self.object_path(bucket, key)).map_err(io_error)?)))
    }

    /// Deletes the object `key`, if there is one, and the folders that it leaves empty.
    pub(super) fn delete(&self, bucket: &str, key: &str) -> S3Result<()> {
        let _turn = self.lock(bucket, key);
        // The record first: without it the bytes are no object.
        for (path, top) in
            [(self.record_path(bucket, key), self.records_folder(bucket)), (self.object_path(bucket, key), self.bucket_folder(bucket))]
        {
            self.guard.way(&path).map_err(io_error)?;
            self.remove_with_folders(&path, &top).map_err(io_error)?;
        }
        Ok(())
    }

    /// One page of a listing, in the order of the keys. Holds no more than a page, however many objects there are.
    pub(super) fn list(&self, bucket: &str, page: &Page<'_>) -> S3Result<Vec<Listed>> {
        let top = self.records_folder(bucket);
        let mut found: BTreeMap<String, Item> = BTreeMap::new();
        let mut folders = vec![narrowed(&top, page.prefix)];
        folders.iter().try_for_each(|folder| self.guard.way(folder)).map_err(io_error)?;
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

    /// The record of `key`, held against the file it speaks of. The caller has the key's turn.
    fn record(&self, bucket: &str, key: &str) -> S3Result<Option<ObjectRecord>> {
        let (path, record_path) = (self.object_path(bucket, key), self.record_path(bucket, key));
        self.guard.way(&record_path).map_err(io_error)?;
        let Some(parent) = path.parent() else { return Ok(None) };
        self.guard.way(parent).map_err(io_error)?;
        let (json, metadata) = match read_plain(&record_path).and_then(|json| Ok((json, fs::symlink_metadata(&path)?))) {
            Ok(found) => found,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(io_error(error)),
        };
        // A link or a pipe that somebody has put there.
        if !metadata.is_file() {
            return Ok(None);
        }
        let modified_unix_nanos = unix_nanos(metadata.modified().map_err(io_error)?);
        match serde_json::from_slice::<ObjectRecord>(&json) {
            Ok(record) if record.size == metadata.len() && record.modified_unix_nanos == modified_unix_nanos => Ok(Some(record)),
            _ => Ok(Some(ObjectRecord {
                key: key.to_owned(),
                size: metadata.len(),
                etag: to_hex(&md5_of(&path).map_err(io_error)?),
                modified_unix_nanos,
                attributes: Attributes::default(),
                checksums: BTreeMap::new(),
            })),
        }
    }

    /// The turn of one writer of `key`; not to be asked for twice by one. Other processes wait, too, if the file system has locks.
    pub(super) fn lock(&self, bucket: &str, key: &str) -> Turn<'_> {
        let hash = bucket.bytes().chain(key.bytes()).fold(0_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(usize::from(byte)));
        let number = hash % KEY_LOCKS;
        // The lock guards files, not memory: a panic elsewhere leaves nothing half done that is not seen as such.
        let mut turn = self.locks[number].lock().unwrap_or_else(PoisonError::into_inner);
        if turn.is_none() {
            *turn = self.lock_file(number).inspect_err(|error| tracing::debug!(%error, "No lock is seen by other processes.")).ok();
        }
        let mut is_shared = false;
        if let Some(file) = turn.as_ref() {
            // What fails is a file system without locks: then the turn is one among the writers of this process.
            let locked = loop {
                match file.lock() {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    locked => break locked,
                }
            };
            is_shared = locked.is_ok();
        }
        Turn { file: turn, is_shared }
    }

    fn lock_file(&self, number: usize) -> io::Result<fs::File> {
        let folder = self.private_folder().join("locks");
        fs::create_dir_all(&folder)?;
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        fs::OpenOptions::new().create(true).truncate(false).write(true).custom_flags(flags).open(folder.join(format!("{number:02}")))
    }
}

/// What was in the place of a new object's file.
enum Former {
    None,
    /// Under a second name.
    Kept(TempFile),
    /// It cannot be kept.
    Lost,
}

/// Deletes the folders on the way to `path`, from the last one up to `top`, that are empty.
fn remove_empty_folders(path: &Path, top: &Path) {
    let folders = path.ancestors().skip(1).take_while(|folder| *folder != top);
    // Stops at the first folder that is not empty.
    let _ = folders.map(fs::remove_dir).find(Result::is_err);
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
    let mut file = file::open_itself(path)?;
    let mut md5 = Md5::new();
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else { return Ok(md5.finalize()) };
        md5.update(chunk);
    }
}

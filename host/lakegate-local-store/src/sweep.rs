//! What is done about openers of the folder that are dead: see `session.rs` for how one is known.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::disk::Disk;
use super::receive::TempFile;
use super::record::{ObjectRecord, UploadRecord, read_record, unix_nanos};
use super::session::{Hold, PUT_ENDING, hold};

/// A file that lies among the sessions is an earlier version's, which wrote there itself. No put takes this long.
const STRAY_AGE: Duration = Duration::from_hours(24);

impl Disk {
    /// Opens the folder, and deletes what dead openers have left in it.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let disk = Self::begin(root)?;
        disk.sweep();
        Ok(disk)
    }

    /// Deletes what dead openers have left. What fails is left for the next one.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(self.sessions_folder()) else { return };
        let mut dead = Vec::new();
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                if let (Ok(Hold::Mine(lock)), Ok(name)) = (hold(&entry.path()), entry.file_name().into_string()) {
                    dead.push((name, entry.path(), lock));
                }
            } else if is_stray(&entry) {
                let _ = fs::remove_file(entry.path());
            }
        }
        if dead.is_empty() {
            return;
        }
        dead.iter().for_each(|(_, folder, _)| self.take_back(folder));
        let names: BTreeSet<&str> = dead.iter().map(|(name, _, _)| name.as_str()).collect();
        self.forget_uploads_of(&names);
        // Last, so that a sweep that is cut short is begun again.
        for (_, folder, _lock) in &dead {
            if let Err(error) = fs::remove_dir_all(folder) {
                tracing::debug!(%error, "Temporary files of a process that has ended could not be deleted.");
            }
        }
        tracing::debug!(processes = dead.len(), "What processes that were killed had left in the embedded store was deleted.");
    }

    /// Objects whose files were put in their places and whose records were not.
    fn take_back(&self, folder: &Path) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Some((bucket, _)) = name.strip_suffix(PUT_ENDING).and_then(|name| name.split_once('@')) else { continue };
            let Ok(Some(record)) = read_record::<ObjectRecord>(&entry.path()) else { continue };
            if let Err(error) = self.take_back_one(bucket, &record, TempFile::at(entry.path())) {
                tracing::debug!(%error, "An object whose put was cut short could not be taken back.");
            }
        }
    }

    fn take_back_one(&self, bucket: &str, record: &ObjectRecord, note: TempFile) -> io::Result<()> {
        if self.require_bucket(bucket).is_err() {
            return Ok(());
        }
        let _turn = self.lock(bucket, &record.key);
        let (place, record_place) = (self.object_path(bucket, &record.key), self.record_path(bucket, &record.key));
        self.guard().way(&place)?;
        self.guard().way(&record_place)?;
        let found = match fs::symlink_metadata(&place) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        // Its file is there if size and time say so: the time is that of the last byte, to the nanosecond.
        if !found.is_file() || found.len() != record.size || unix_nanos(found.modified()?) != record.modified_unix_nanos {
            return Ok(());
        }
        if fs::symlink_metadata(&record_place).is_ok() {
            // Another object stood there, whose bytes are gone: what there is now gets its own record.
            return note.persist(&record_place);
        }
        self.remove_with_folders(&place, &self.bucket_folder(bucket))
    }

    fn forget_uploads_of(&self, names: &BTreeSet<&str>) {
        let Ok(buckets) = self.buckets() else { return };
        for (bucket, _) in buckets {
            let folder = self.uploads_folder(&bucket);
            if self.guard().way(&folder).is_err() {
                continue;
            }
            let Ok(entries) = fs::read_dir(folder) else { continue };
            for upload in entries.flatten() {
                let record = read_record::<UploadRecord>(&upload.path().join("upload.json"));
                let owner = record.ok().flatten().and_then(|record| record.owner);
                if owner.is_some_and(|owner| names.contains(owner.as_str())) {
                    let _ = self.discard(&upload.path());
                }
            }
        }
    }
}

fn is_stray(entry: &fs::DirEntry) -> bool {
    let age = entry.metadata().and_then(|found| found.modified()).map(|time| SystemTime::now().duration_since(time));
    matches!(age, Ok(Ok(age)) if age > STRAY_AGE)
}

#[cfg(test)]
mod tests {
    use super::super::disk::Overwrite;
    use super::super::receive::random_name;
    use super::super::record::Attributes;
    use super::*;
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::path::PathBuf;

    fn record(key: &str) -> ObjectRecord {
        let (attributes, checksums) = (Attributes::default(), BTreeMap::new());
        ObjectRecord { key: key.to_owned(), size: 0, etag: "e".to_owned(), modified_unix_nanos: 0, attributes, checksums }
    }

    fn bytes(disk: &Disk, text: &str) -> TempFile {
        let file = TempFile::new(disk.temp_folder()).unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    fn put(disk: &Disk, key: &str, text: &str) -> bool {
        disk.put("bucket", bytes(disk, text), record(key), Overwrite::Allowed).is_ok()
    }

    fn store(dir: &Path) -> Disk {
        let disk = Disk::open(dir).unwrap();
        disk.create_bucket("bucket").unwrap();
        disk
    }

    /// As after a kill: the folder stays, the lock goes.
    fn kill(disk: Disk) {
        let spared = disk.sessions_folder().join("spared");
        fs::rename(disk.temp_folder(), &spared).unwrap();
        let folder = disk.temp_folder().to_owned();
        drop(disk);
        fs::rename(spared, folder).unwrap();
    }

    fn sessions(dir: &Path) -> usize {
        fs::read_dir(dir.join(".lakegate/tmp")).unwrap().count()
    }

    fn upload(owner: Option<&str>) -> UploadRecord {
        UploadRecord {
            key: "u.csv".to_owned(),
            initiated_unix_nanos: 0,
            owner: owner.map(str::to_owned),
            checksum_algorithm: None,
            checksum_type: None,
            attributes: Attributes::default(),
        }
    }

    #[test]
    fn what_a_dead_process_left_is_swept_and_what_a_living_one_has_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (dead, alive) = (store(dir.path()), store(dir.path()));
        for disk in [&dead, &alive] {
            fs::write(disk.temp_folder().join("half"), "of an object").unwrap();
            disk.create_upload("bucket", &upload(Some(disk.session_name()))).unwrap();
        }
        dead.create_upload("bucket", &upload(None)).unwrap();
        kill(dead);
        assert_eq!((sessions(dir.path()), alive.uploads("bucket", "").unwrap().len()), (2, 3));
        let next = store(dir.path());
        assert_eq!(sessions(dir.path()), 2, "the living one's and the next one's");
        let owners: BTreeSet<Option<String>> = next.uploads("bucket", "").unwrap().into_iter().map(|upload| upload.record.owner).collect();
        assert_eq!(owners, BTreeSet::from([None, Some(alive.session_name().to_owned())]), "a client over HTTP knows its id still");
        assert!(alive.temp_folder().join("half").exists());
        drop((alive, next));
        assert_eq!(sessions(dir.path()), 0);
    }

    #[test]
    fn a_put_that_was_cut_short_is_taken_back_or_made_whole() {
        let dir = tempfile::tempdir().unwrap();
        let disk = store(dir.path());
        assert!(put(&disk, "a/old.csv", "before") && put(&disk, "a/kept.csv", "kept"));
        for key in ["a/b/new.csv", "a/old.csv"] {
            // As `put` does, up to the rename of the record.
            let file = bytes(&disk, &format!("of {key}"));
            let found = fs::metadata(file.path()).unwrap();
            let record = ObjectRecord { size: found.len(), modified_unix_nanos: unix_nanos(found.modified().unwrap()), ..record(key) };
            let note = disk.temp_folder().join(format!("bucket@{}{PUT_ENDING}", random_name().unwrap()));
            fs::write(note, serde_json::to_vec(&record).unwrap()).unwrap();
            file.persist(&disk.object_path("bucket", key)).unwrap();
        }
        kill(disk);
        let next = store(dir.path());
        assert!(!next.object_path("bucket", "a/b/new.csv").exists(), "it never was an object");
        assert!(!dir.path().join("bucket/a/b").exists(), "nor is its folder left");
        let old = next.head("bucket", "a/old.csv").unwrap().expect("an object");
        assert_eq!((old.size, old.etag.as_str()), (12, "e"), "the record of the bytes that are there");
        assert_eq!(next.head("bucket", "a/kept.csv").unwrap().expect("an object").size, 4);
    }

    #[test]
    fn a_put_whose_record_cannot_be_written_leaves_everything_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let disk = store(dir.path());
        assert!(put(&disk, "a/old.csv", "before"));
        // A folder in the place of the record: the rename fails.
        let block = |key: &str| {
            let place = disk.record_path("bucket", key);
            let _ = fs::remove_file(&place);
            fs::create_dir_all(place.join("x")).unwrap();
            place
        };
        let (new, old) = (block("n/new.csv"), disk.record_path("bucket", "a/old.csv"));
        let former = fs::read(&old).unwrap();
        block("a/old.csv");
        assert!(!put(&disk, "n/new.csv", "new") && !put(&disk, "a/old.csv", "after"));
        assert!(!disk.object_path("bucket", "n/new.csv").exists() && !dir.path().join("bucket/n").exists());
        assert_eq!(fs::read(disk.object_path("bucket", "a/old.csv")).unwrap(), b"before");
        assert_eq!(fs::read_dir(disk.temp_folder()).unwrap().count(), 0, "no temporary file");
        fs::remove_dir_all(new).unwrap();
        fs::remove_dir_all(&old).unwrap();
        fs::write(&old, former).unwrap();
        assert_eq!(disk.head("bucket", "a/old.csv").unwrap().expect("an object").size, 6);
    }

    #[test]
    fn an_upload_that_cannot_be_begun_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let disk = store(dir.path());
        fs::create_dir_all(disk.uploads_folder("bucket").parent().unwrap()).unwrap();
        fs::write(disk.uploads_folder("bucket"), "in the way").unwrap();
        assert!(disk.create_upload("bucket", &upload(None)).is_err());
        assert_eq!(fs::read_dir(disk.temp_folder()).unwrap().count(), 0);
    }

    #[test]
    fn one_of_several_openers_makes_what_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let disks: Vec<Disk> = (0..4).map(|_| store(dir.path())).collect();
        for round in 0..50 {
            let key = &format!("{round}.csv");
            let won: usize = std::thread::scope(|scope| {
                let puts: Vec<_> = disks
                    .iter()
                    .enumerate()
                    .map(|(number, disk)| {
                        scope.spawn(move || disk.put("bucket", bytes(disk, &"x".repeat(number)), record(key), Overwrite::Refused).is_ok())
                    })
                    .collect();
                puts.into_iter().map(|put| usize::from(put.join().unwrap())).sum()
            });
            assert_eq!(won, 1);
            // The record is the bytes' own.
            assert_eq!(disks[0].head("bucket", key).unwrap().expect("an object").etag, "e");
        }
    }

    #[test]
    fn old_files_among_the_sessions_are_an_earlier_versions() {
        let dir = tempfile::tempdir().unwrap();
        drop(store(dir.path()));
        let temp = dir.path().join(".lakegate/tmp");
        for (name, age) in [("new", Duration::ZERO), ("old", STRAY_AGE * 2)] {
            File::create(temp.join(name)).unwrap().set_modified(SystemTime::now() - age).unwrap();
        }
        drop(store(dir.path()));
        assert!(temp.join("new").exists() && !temp.join("old").exists());
    }

    #[test]
    fn links_pipes_and_times_of_any_kind_are_no_objects_and_no_panics() {
        let dir = tempfile::tempdir().unwrap();
        let disk = store(dir.path());
        let outside = tempfile::NamedTempFile::new().unwrap();
        fs::write(outside.path(), "precious").unwrap();
        assert!(["a.csv", "b.csv", "c.csv", "d/e.csv"].into_iter().all(|key| put(&disk, key, key)));
        for key in ["a.csv", "b.csv"] {
            fs::remove_file(disk.object_path("bucket", key)).unwrap();
        }
        std::os::unix::fs::symlink(outside.path(), disk.object_path("bucket", "a.csv")).unwrap();
        let pipe = |path: PathBuf| assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        pipe(disk.object_path("bucket", "b.csv"));
        fs::remove_file(disk.record_path("bucket", "c.csv")).unwrap();
        pipe(disk.record_path("bucket", "c.csv"));
        for key in ["a.csv", "b.csv", "c.csv"] {
            assert!(!matches!(disk.head("bucket", key), Ok(Some(_))), "{key}");
            assert!(!matches!(disk.open_object("bucket", key), Ok(Some(_))), "{key}");
        }
        assert!(!put(&disk, "a.csv", "over"), "a link is not written over");
        assert_eq!(fs::read(outside.path()).unwrap(), b"precious");
        // A folder that became a link.
        fs::rename(dir.path().join("bucket/d"), dir.path().join("bucket/moved")).unwrap();
        std::os::unix::fs::symlink("moved", dir.path().join("bucket/d")).unwrap();
        assert!(!put(&disk, "d/e.csv", "over") && disk.head("bucket", "d/e.csv").is_err() && disk.delete("bucket", "d/e.csv").is_err());
        assert_eq!(fs::read(dir.path().join("bucket/moved/e.csv")).unwrap(), b"d/e.csv");
        std::os::unix::fs::symlink("bucket", dir.path().join("linked")).unwrap();
        assert!(disk.require_bucket("linked").is_err() && disk.create_bucket("linked").is_err());

        // Before 1970, and beyond what calendars hold.
        assert!(put(&disk, "t.csv", "t"));
        let day = Duration::from_hours(24);
        let times = [SystemTime::UNIX_EPOCH - day, SystemTime::UNIX_EPOCH - day * 10_000_000, SystemTime::UNIX_EPOCH + day * 10_000_000];
        for time in times {
            for path in [disk.object_path("bucket", "t.csv"), dir.path().join("bucket")] {
                // Not every file system has such times.
                let _ = File::open(path).unwrap().set_modified(time);
            }
            let head = disk.head("bucket", "t.csv").unwrap().expect("an object");
            let shown: s3s::dto::Timestamp = super::super::disk::modified(&head).into();
            let mut text = Vec::new();
            shown.format(s3s::dto::TimestampFormat::DateTime, &mut text).unwrap();
            let mut bucket = Vec::new();
            let made: s3s::dto::Timestamp = disk.buckets().unwrap()[0].1.into();
            made.format(s3s::dto::TimestampFormat::DateTime, &mut bucket).unwrap();
        }
    }
}

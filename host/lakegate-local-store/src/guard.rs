//! Whose folder it is, and that nothing in it leads elsewhere.
//!
//! Whoever else may put a link into the folder would have this program write over files of its user. So the folder must belong to the user
//! who runs the program, as the folder of compiled components must; others may not write to it; what lies in it on the way to a file may
//! neither be a link nor a folder of another user. With that, nobody else can change the way between the look and the use. A group may
//! share the folder: that is its owner's decision.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The permission of everyone to write.
const OTHERS_WRITE: u32 = 0o002;

/// What is not gone through, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(String);

fn refused(why: String) -> io::Error {
    io::Error::other(Refused(why))
}

/// The folder of a store, and its owner.
#[derive(Debug)]
pub(super) struct Guard {
    root: PathBuf,
    owner: u32,
}

impl Guard {
    /// Takes the folder, or makes it.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        // Who we are to this file system: on some of them root is somebody else. The file has no name, so nothing is left in a stranger's folder.
        let owner = tempfile::tempfile_in(root)?.metadata()?.uid();
        let guard = Self { root: root.to_owned(), owner };
        guard.check_root()?;
        Ok(guard)
    }

    fn check_root(&self) -> io::Result<()> {
        let (itself, folder) = (fs::symlink_metadata(&self.root)?, fs::metadata(&self.root)?);
        // The user's own link, or one of the system's, leads where it is meant to.
        if itself.is_symlink() && itself.uid() != self.owner && itself.uid() != 0 {
            return Err(refused(format!(
                "the folder is a symbolic link of another user (uid {}); name a folder of your own",
                itself.uid()
            )));
        }
        if folder.uid() != self.owner {
            return Err(refused(format!("the folder belongs to another user (uid {}); name a folder of your own", folder.uid())));
        }
        if folder.mode() & OTHERS_WRITE != 0 {
            let mode = folder.mode() & 0o7777;
            return Err(refused(format!("every user may write to the folder (mode {mode:o}); name another one, or `chmod o-w` it")));
        }
        Ok(())
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Looks along the way from the root to `path`, the end included: no link, no folder of another user. What is not there may be made.
    ///
    /// # Errors
    /// The way is not to be gone; names the place on it.
    pub(super) fn way(&self, path: &Path) -> io::Result<()> {
        let below = path.strip_prefix(&self.root).map_err(|_| refused("a path leads out of the folder".to_owned()))?;
        let mut at = self.root.clone();
        for name in below.iter() {
            at.push(name);
            let found = match fs::symlink_metadata(&at) {
                Ok(found) => found,
                // A file in the place of a folder is found out by whoever goes on.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
                Err(error) => return Err(error),
            };
            let said = || at.strip_prefix(&self.root).unwrap_or(&at).display().to_string();
            if found.is_symlink() {
                return Err(refused(format!("{} is a symbolic link, and the embedded store follows none", said())));
            }
            if found.is_dir() && found.uid() != self.owner {
                return Err(refused(format!("{} is a folder of another user (uid {})", said(), found.uid())));
            }
        }
        Ok(())
    }

    /// Is there a folder at `path`, and may it be gone into?
    pub(super) fn has_folder(&self, path: &Path) -> io::Result<bool> {
        self.way(path)?;
        match fs::symlink_metadata(path) {
            Ok(found) => Ok(found.is_dir()),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn why(result: io::Result<impl Sized>) -> String {
        result.map(drop).expect_err("a refusal").to_string()
    }

    #[test]
    fn a_folder_that_everyone_may_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        for (bits, accepted) in [(0o700, true), (0o755, true), (0o775, true), (0o757, false), (0o777, false), (0o1777, false)] {
            mode(bits);
            assert_eq!(Guard::open(dir.path()).is_ok(), accepted, "{bits:o}");
        }
        mode(0o1777);
        assert!(why(Guard::open(dir.path())).contains("mode 1777"));
    }

    #[test]
    fn the_users_own_link_to_the_folder_is_followed_and_none_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, link) = (dir.path().join("folder"), dir.path().join("link"));
        fs::create_dir(&folder).unwrap();
        symlink(&folder, &link).unwrap();
        let guard = Guard::open(&link).unwrap();
        fs::create_dir_all(folder.join("bucket/plain")).unwrap();
        for (place, target) in
            [("other", dir.path()), ("bucket/inside", &folder.join("bucket/plain")), ("bucket/x.csv", Path::new("/nowhere"))]
        {
            symlink(target, folder.join(place)).unwrap();
        }
        for (path, accepted) in [
            ("bucket/plain/x.csv", true),
            ("not/there/x.csv", true),
            ("other", false),
            ("other/x.csv", false),
            ("bucket/inside/x.csv", false),
            ("bucket/x.csv", false),
        ] {
            assert_eq!(guard.way(&link.join(path)).is_ok(), accepted, "{path}");
        }
        assert_eq!(why(guard.way(&link.join("bucket/x.csv"))), "bucket/x.csv is a symbolic link, and the embedded store follows none");
        assert!(guard.way(dir.path()).is_err(), "outside");
    }

    /// Only root can give a folder away.
    #[test]
    fn a_folder_of_another_user_is_refused_wherever_it_is() {
        const NOBODY: u32 = 65_534;
        let dir = tempfile::tempdir().unwrap();
        let given = dir.path().join("given");
        fs::create_dir(&given).unwrap();
        if std::os::unix::fs::chown(&given, Some(NOBODY), None).is_err() {
            return;
        }
        assert!(why(Guard::open(&given)).starts_with("the folder belongs to another user (uid 65534)"));
        assert!(fs::read_dir(&given).unwrap().next().is_none(), "nothing is left in it");
        let guard = Guard::open(dir.path()).unwrap();
        assert_eq!(why(guard.way(&given.join("x.csv"))), "given is a folder of another user (uid 65534)");
        let (own, link) = (dir.path().join("own"), dir.path().join("link"));
        fs::create_dir(&own).unwrap();
        symlink(&own, &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(NOBODY), None).unwrap();
        assert!(why(Guard::open(&link)).starts_with("the folder is a symbolic link of another user (uid 65534)"));
    }
}

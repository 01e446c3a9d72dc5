//! A seal around a tenants file, which tells a complete file from one that was truncated or changed.
//!
//! The first line says that there is a seal, and the last one has a digest of all bytes before it. So a truncated sealed file is refused, and so is
//! one that was changed since. A file without a seal is accepted as it is: nothing in it tells where it should end.

use lakegate_base::hex::to_hex;
use sha2::{Digest, Sha256};
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// The first line of a sealed file.
const HEAD: &str =
    "# lakegate: sealed; if this file is changed or truncated, it is refused: check and seal it again with `lakegate policy check --seal`";
/// The prefix by which the first line of a seal is recognised.
const HEAD_MARK: &str = "# lakegate: sealed";
/// The last line, up to the digest.
const FOOT: &str = "# lakegate: seal sha256:";

/// Whether a file is known to be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seal {
    /// It has a valid seal.
    Whole,
    /// It has no seal.
    Absent,
}

/// Checks the seal of a text.
///
/// # Errors
/// There is a seal or part of one, and it does not match the text.
pub(super) fn check(text: &str) -> Result<Seal, &'static str> {
    let foot = text.trim_end().rfind('\n').map_or(0, |at| at + 1);
    let (sealed, last) = text.split_at_checked(foot).unwrap_or((text, ""));
    match (text.starts_with(HEAD_MARK), last.trim_end().strip_prefix(FOOT)) {
        (false, None) => Ok(Seal::Absent),
        (true, Some(claimed)) if claimed == digest(sealed) => Ok(Seal::Whole),
        (true, None) => Err("it begins with a seal but does not end with one: it is truncated, or still being written"),
        _ => Err("it has changed since it was sealed: check it, and seal it again (`lakegate policy check --seal FILE`)"),
    }
}

/// The text with a new seal, replacing any existing one.
pub(super) fn applied(text: &str) -> String {
    let is_seal = |line: &str| line.starts_with(HEAD_MARK) || line.starts_with(FOOT);
    let mut sealed = format!("{HEAD}\n");
    for line in text.lines().filter(|line| !is_seal(line)) {
        sealed.push_str(line);
        sealed.push('\n');
    }
    let digest = digest(&sealed);
    format!("{sealed}{FOOT}{digest}\n")
}

/// Replaces the file, whose content was `before`, by `sealed`: writes a temporary file next to it and renames it, so that a half-written file is
/// never read.
///
/// # Errors
/// It cannot be written, or the file has changed in the meantime.
pub(super) fn replace(file: &Path, before: &str, sealed: &str) -> std::io::Result<()> {
    // Replace the target of a link, not the link.
    let file = std::fs::canonicalize(file)?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    let found = std::fs::metadata(&file)?;
    let mut temporary = tempfile::Builder::new().prefix(".lakegate-").tempfile_in(folder)?;
    temporary.write_all(sealed.as_bytes())?;
    temporary.as_file().set_permissions(Permissions::from_mode(found.mode() & 0o7777))?;
    std::os::unix::fs::fchown(temporary.as_file(), Some(found.uid()), Some(found.gid()))?;
    temporary.as_file().sync_all()?;
    if std::fs::read_to_string(&file)? != before {
        return Err(std::io::Error::other("it has changed meanwhile"));
    }
    temporary.persist(&file)?;
    std::fs::File::open(folder)?.sync_all()
}

fn digest(text: &str) -> String {
    to_hex(&Sha256::digest(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# mine\n[tenants.acme]\nlisten = { socket = \"é\" }\n\n[tenants.beta]\nx = 1\n";

    #[test]
    fn every_beginning_of_a_sealed_file_is_refused_and_so_is_every_change() {
        let sealed = applied(TEXT);
        assert_eq!(check(&sealed), Ok(Seal::Whole));
        // Without the final newline, the sealed text is still complete.
        let whole = sealed.len() - 1;
        for cut in (HEAD_MARK.len()..whole).filter_map(|end| sealed.get(..end)) {
            assert!(check(cut).is_err(), "{cut:?}");
        }
        assert_eq!(check(sealed.trim_end()), Ok(Seal::Whole));
        for (from, to) in [("x = 1", "x = 2"), ("# mine\n", ""), ("# lakegate: sealed;", "# lakegate: sealed,"), ("beta]\n", "beta]\r\n")] {
            assert!(check(&sealed.replacen(from, to, 1)).is_err(), "{from:?}");
        }
        assert!(check(sealed.trim_start_matches(HEAD)).is_err(), "without its first line");
        assert!(check(&format!("{sealed}more = 1\n")).is_err());
    }

    #[test]
    fn what_is_not_sealed_says_so() {
        for text in ["", "\n", TEXT, TEXT.trim_end(), "# lakegate", "# lakegate: a comment\n"] {
            assert_eq!(check(text), Ok(Seal::Absent), "{text:?}");
        }
    }

    #[test]
    fn a_seal_takes_the_place_of_another_and_leaves_the_rest_as_it_is() {
        let sealed = applied(TEXT);
        assert_eq!(applied(&sealed), sealed);
        assert!(sealed.contains(TEXT));
        let changed = sealed.replacen("x = 1", "x = 2", 1);
        assert_eq!(check(&applied(&changed)), Ok(Seal::Whole));
    }

    #[test]
    fn a_file_is_replaced_whole_with_its_mode_unless_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("t.toml"), folder.path().join("link"));
        std::fs::write(&file, TEXT).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace(&link, TEXT, "sealed").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "sealed");
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(replace(&file, TEXT, "again").is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "sealed");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside it");
    }
}

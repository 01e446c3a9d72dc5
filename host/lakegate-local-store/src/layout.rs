//! Where an object lies: object keys as paths below a folder, and back.
//!
//! The mapping is a pure function of the key, one to one, and no key leaves its folder:
//!
//! - an ordinary key is its own path: `orders/2026/part.csv` is the file `orders/2026/part.csv`;
//! - bytes that a file system may refuse or misread (controls, `%`, `\`, `:` and the other names of Windows, `.` and `..`) become `%XX`;
//! - a folder whose name has a dot ends in `%d` and a file whose name has none ends in `%f`, so that the keys `t` and `t/f`, or `a.csv`
//!   and `a.csv/b.csv`, can lie beside each other: no file ever has the name of a folder;
//! - a segment longer than [`MAX_PIECE_BYTES`] goes on in the next level, marked `%+`; an empty segment is a bare mark.
//!
//! A bare `%` never stands before two hex digits at a segment's end, so that marks and escapes cannot be confused. File systems that take
//! `A` and `a` for one name also take the keys `A` and `a` for one object.

use std::path::{Path, PathBuf};

/// The longest object key S3 accepts.
pub(super) const MAX_KEY_BYTES: usize = 1024;

/// The longest name of one path level. Common file systems stop at 255 bytes; the rest is room for a mark and the sidecar's ending.
const MAX_PIECE_BYTES: usize = 200;

/// Ends a folder whose name looks like a file's.
const FOLDER_MARK: &str = "%d";
/// Ends a file whose name looks like a folder's.
const FILE_MARK: &str = "%f";
/// Ends a piece of a long segment that goes on one level below.
const CONTINUED_MARK: &str = "%+";

/// The path of `key`, relative to the folder of its bucket.
pub(super) fn key_to_path(key: &str) -> PathBuf {
    let mut path = PathBuf::new();
    let mut segments = key.split('/').peekable();
    while let Some(segment) = segments.next() {
        let escaped = escape(segment);
        let mut rest = escaped.as_str();
        while rest.len() > MAX_PIECE_BYTES {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(MAX_PIECE_BYTES));
            path.push(format!("{piece}{CONTINUED_MARK}"));
            rest = after;
        }
        path.push(if segments.peek().is_some() { folder_name(rest) } else { file_name(rest) });
    }
    path
}

/// The key that lies at `path` (relative to the folder of its bucket); `None` when no key does.
pub(super) fn path_to_key(path: &Path) -> Option<String> {
    let names: Vec<&str> = path.iter().map(|name| name.to_str()).collect::<Option<_>>()?;
    let (file, folders) = names.split_last()?;
    let mut key = String::new();
    let mut begun = String::new();
    for folder in folders {
        if let Some(piece) = folder.strip_suffix(CONTINUED_MARK) {
            begun.push_str(piece);
        } else {
            begun.push_str(folder.strip_suffix(FOLDER_MARK).unwrap_or(folder));
            key.push_str(&unescape(&std::mem::take(&mut begun))?);
            key.push('/');
        }
    }
    begun.push_str(file.strip_suffix(FILE_MARK).unwrap_or(file));
    key.push_str(&unescape(&begun)?);
    // A stranger's file may unescape to some key without being the place of that key.
    (key_to_path(&key) == path).then_some(key)
}

fn folder_name(escaped: &str) -> String {
    if escaped.is_empty() || escaped.contains('.') { format!("{escaped}{FOLDER_MARK}") } else { escaped.to_owned() }
}

fn file_name(escaped: &str) -> String {
    if escaped.contains('.') { escaped.to_owned() } else { format!("{escaped}{FILE_MARK}") }
}

fn escape(segment: &str) -> String {
    if segment == "." || segment == ".." {
        return "%2E".repeat(segment.len());
    }
    let mut escaped = String::with_capacity(segment.len());
    let last = segment.len().saturating_sub(1);
    for (at, c) in segment.char_indices() {
        // A dot or a space at the end of a name is dropped by Windows.
        let trailing = at == last && matches!(c, '.' | ' ');
        if trailing || c.is_ascii_control() || matches!(c, '%' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|') {
            escaped.push_str(&format!("%{:02X}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

fn unescape(escaped: &str) -> Option<String> {
    percent_encoding::percent_decode_str(escaped).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, path: &str) {
        assert_eq!(key_to_path(key), Path::new(path), "place of {key:?}");
        assert_eq!(path_to_key(Path::new(path)).as_deref(), Some(key), "key at {path:?}");
    }

    #[test]
    fn ordinary_keys_are_plain_files() {
        check("orders/part.csv", "orders/part.csv");
        check("a/b c/d=1/é.json.gz", "a/b c/d=1/é.json.gz");
    }

    #[test]
    fn a_file_never_has_a_folders_name() {
        check("t", "t%f");
        check("t/f", "t/f%f");
        check("a.csv", "a.csv");
        check("a.csv/b.csv", "a.csv%d/b.csv");
    }

    #[test]
    fn odd_segments_stay_inside_and_apart() {
        check("../up.csv", "%2E%2E/up.csv");
        check(".", "%2E%f");
        check("/lead.csv", "%d/lead.csv");
        check("a//b.csv", "a/%d/b.csv");
        check("a/", "a/%f");
        check("50%.csv", "50%25.csv");
        check("t%f", "t%25f%f");
        check("nul\0.csv", "nul%00.csv");
        check("back\\slash.csv", "back%5Cslash.csv");
    }

    #[test]
    fn long_segments_are_split() {
        let long = "x".repeat(1024);
        let path = key_to_path(&long);
        assert_eq!(path.iter().count(), 6);
        assert!(path.iter().all(|name| name.len() <= MAX_PIECE_BYTES + 2));
        assert_eq!(path_to_key(&path), Some(long));
    }

    #[test]
    fn a_strangers_file_is_no_key() {
        for path in ["t", "a.csv/b.csv", "%zz%d/x.csv", "a/%2E.csv/..", "%41.csv"] {
            let key = path_to_key(Path::new(path));
            assert!(key.is_none(), "{path} read as {key:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_key_has_one_place_inside(key in "[a./%\\\\\u{0}-\u{7f}é\u{1F600}]{1,300}", other in "[a./%d+f]{1,8}") {
            let path = key_to_path(&key);
            proptest::prop_assert!(path.is_relative());
            proptest::prop_assert!(path.components().all(|c| matches!(c, std::path::Component::Normal(n) if n.len() <= 255)));
            proptest::prop_assert_eq!(path_to_key(&path), Some(key.clone()));
            if key != other {
                proptest::prop_assert!(!key_to_path(&other).starts_with(&path), "a file would have to be a folder");
            }
        }
    }
}

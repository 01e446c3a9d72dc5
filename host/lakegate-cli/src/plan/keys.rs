//! Keys as a plan shows them: random parts as the placeholders that they stand for; and what all keys of a path have in common.

/// Bytes of a UUID as text.
const UUID_BYTES: usize = 36;

/// What is random in a key of a plan, and what only looks so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Randomness<'a> {
    /// The ID of the sync, which a plan makes up.
    pub(super) sync_id: &'a str,
    /// The path of the spec and the name of the commit, which are in keys as they are.
    pub(super) known: [&'a str; 2],
}

impl Randomness<'_> {
    /// The key of an object of a table.
    pub(super) fn shown(&self, key: &str, table: &str) -> String {
        let is_known = |uuid: &str| table.contains(uuid) || self.known.iter().any(|text| text.contains(uuid));
        let key = if self.sync_id.is_empty() || is_known(self.sync_id) { key.to_owned() } else { key.replace(self.sync_id, "{{SYNC_ID}}") };
        let mut shown = String::with_capacity(key.len());
        let mut rest = key.as_str();
        while let Some(first) = rest.chars().next() {
            match rest.get(..UUID_BYTES).filter(|text| is_random_uuid(text) && !is_known(text)) {
                Some(uuid) => {
                    shown.push_str("{{UUID}}");
                    rest = rest.strip_prefix(uuid).unwrap_or_default();
                }
                None => {
                    shown.push(first);
                    rest = rest.strip_prefix(first).unwrap_or_default();
                }
            }
        }
        shown
    }
}

/// A UUID of version 4 in lower case.
fn is_random_uuid(text: &str) -> bool {
    let is_good = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        14 => byte == b'4',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    text.len() == UUID_BYTES && text.bytes().enumerate().all(is_good)
}

/// The folder that all keys of a path share, whatever its placeholders stand for: empty, or with a slash at its end. What follows the first braces
/// is left out, even if they are no placeholder.
pub(super) fn fixed_folder(path: &str) -> &str {
    let fixed = path.split_once("{{").map_or(path, |(beginning, _)| beginning);
    fixed.get(..fixed.rfind('/').map_or(0, |slash| slash + 1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_random_is_shown_as_its_placeholder() {
        const SYNC: &str = "6f1c2f3e-1111-4222-8333-444455556666";
        const OBJECT: &str = "01234567-89ab-4def-8123-456789abcdef";
        let check = |key: &str, table: &str, known: [&str; 2], expected: &str| {
            assert_eq!(Randomness { sync_id: SYNC, known }.shown(key, table), expected, "{key}");
        };
        check("raw/ä/000001.csv", "t", ["", ""], "raw/ä/000001.csv");
        check(&format!("raw/{OBJECT}.csv"), "t", ["", ""], "raw/{{UUID}}.csv");
        check(&format!("{SYNC}/x-{OBJECT}{OBJECT}"), "t", ["", ""], "{{SYNC_ID}}/x-{{UUID}}{{UUID}}");
        check(&format!("{OBJECT}/1"), OBJECT, ["", ""], &format!("{OBJECT}/1"));
        check(&format!("{OBJECT}/1"), "t", ["", OBJECT], &format!("{OBJECT}/1"));
        check(&format!("{SYNC}/1"), "t", [&format!("{SYNC}/{{{{SEQ}}}}"), ""], &format!("{SYNC}/1"));
        let first_version = OBJECT.replace("-4", "-1");
        check(&first_version, "t", ["", ""], &first_version);
        check(&OBJECT.to_uppercase(), "t", ["", ""], &OBJECT.to_uppercase());
    }

    #[test]
    fn the_folder_of_a_path_is_the_one_before_any_placeholder() {
        for (path, folder) in [
            ("raw/{{TABLE}}/{{UUID}}.csv", "raw/"),
            ("raw/orders-{{TABLE}}.csv", "raw/"),
            ("a/b/{{YEAR}}/{{TABLE}}", "a/b/"),
            ("{{TABLE}}/x", ""),
            ("x.csv", ""),
            ("a/{{NONE}}/{{TABLE}}", "a/"),
        ] {
            assert_eq!(fixed_folder(path), folder, "{path}");
        }
    }
}

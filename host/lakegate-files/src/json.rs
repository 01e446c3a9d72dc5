//! Checks well-formed JSON for things that parsers treat differently: duplicate keys in an object, unpaired surrogates, and excessive nesting.
//!
//! Invariants: no recursion; memory is a few bytes per key of the open objects.

use memchr::{memchr, memchr2};
use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

/// Maximum nesting: the limit of Go's decoder, with which the reference reads JSON.
const MAX_DEPTH: usize = 10_000;
/// Objects with up to this many keys are checked by comparing all pairs.
const FEW_KEYS: usize = 8;

/// A problem with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// An object has a duplicate key: parsers keep the first, the last, or neither.
    Twice,
    /// `\ud800` to `\udfff` without its counterpart is not a character, and UTF-8 cannot represent it.
    Half,
    /// More than [`MAX_DEPTH`] levels.
    Deep,
}

impl Problem {
    /// A description for messages, which does not contain the value.
    pub(crate) fn description(self) -> String {
        match self {
            Self::Twice => "holds an object with a key twice; keys that differ are accepted".to_owned(),
            Self::Half => "holds half of a surrogate pair (an escape from \\ud800 to \\udfff that stands alone), which is no character; \
                           whole characters are accepted"
                .to_owned(),
            Self::Deep => format!("is nested more than {MAX_DEPTH} deep"),
        }
    }
}

/// An open object or array.
struct Level {
    object: bool,
    /// Number of keys before its own.
    keys: usize,
}

struct Key {
    hash: u64,
    /// The text between the quotes.
    text: Range<usize>,
}

/// Checks a value whose syntax is already known to be valid.
///
/// # Errors
/// It contains something that parsers treat differently.
pub(crate) fn check(value: &str) -> Result<(), Problem> {
    let bytes = value.as_bytes();
    if !matches!(bytes.first(), Some(b'{' | b'[')) && memchr(b'\\', bytes).is_none() {
        return Ok(());
    }
    let hasher = RandomState::new();
    let (mut levels, mut keys): (Vec<Level>, Vec<Key>) = (Vec::new(), Vec::new());
    // Whether the next string is a key.
    let mut key = false;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => {
                let start = at;
                at = end_of_text(bytes, start)?;
                if key {
                    let text = start..at.saturating_sub(1);
                    keys.push(Key { hash: hasher.hash_one(decoded(value, &text).as_ref()), text });
                }
            }
            b'{' | b'[' => {
                key = *byte == b'{';
                levels.push(Level { object: key, keys: keys.len() });
                if levels.len() > MAX_DEPTH {
                    return Err(Problem::Deep);
                }
            }
            b'}' | b']' => {
                key = false;
                let first = levels.pop().map_or(0, |level| level.keys);
                if let Some(own) = keys.get_mut(first..)
                    && has_twice(value, own)
                {
                    return Err(Problem::Twice);
                }
                keys.truncate(first);
            }
            b',' => key = levels.last().is_some_and(|level| level.object),
            b':' => key = false,
            _ => {}
        }
    }
    Ok(())
}

/// Skips from after an opening quote to after the closing one.
fn end_of_text(bytes: &[u8], mut at: usize) -> Result<usize, Problem> {
    while let Some(length) = memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        at += length;
        if bytes.get(at) == Some(&b'"') {
            return Ok(at + 1);
        }
        at += match escaped(bytes, at) {
            Some(0xd800..=0xdbff) if matches!(escaped(bytes, at + 6), Some(0xdc00..=0xdfff)) => 12,
            Some(0xd800..=0xdfff) => return Err(Problem::Half),
            Some(_) => 6,
            None => 2,
        };
    }
    Ok(bytes.len())
}

/// The code unit of `\uXXXX`.
fn escaped(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn decoded<'a>(value: &'a str, text: &Range<usize>) -> Cow<'a, str> {
    let raw = value.get(text.clone()).unwrap_or_default();
    if memchr(b'\\', raw.as_bytes()).is_none() {
        return Cow::Borrowed(raw);
    }
    serde_json::from_str(&format!("\"{raw}\"")).map_or(Cow::Borrowed(raw), Cow::Owned)
}

fn has_twice(value: &str, keys: &mut [Key]) -> bool {
    let equal = |a: &Key, b: &Key| a.hash == b.hash && decoded(value, &a.text) == decoded(value, &b.text);
    let twice_in = |keys: &[Key]| keys.iter().enumerate().any(|(at, a)| keys[at + 1..].iter().any(|b| equal(a, b)));
    if keys.len() <= FEW_KEYS {
        return twice_in(keys);
    }
    keys.sort_unstable_by_key(|key| key.hash);
    // Hashes with a random key: two different texts hardly ever have equal hashes.
    keys.chunk_by(|a, b| a.hash == b.hash).any(twice_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_all(values: &[&str], expected: Result<(), Problem>) {
        for value in values {
            assert!(serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok(), "{value} is JSON");
            assert_eq!(check(value), expected, "{value}");
        }
    }

    #[test]
    fn a_key_twice_in_one_object_is_found_at_any_depth() {
        let many = |last: &str| format!("{{{}\"{last}\":0}}", (0..100).map(|at| format!("\"k{at}\":0,")).collect::<String>());
        check_all(
            &[
                r#"{"a":1,"a":2}"#,
                r#"{"a":1,"\u0061":2}"#,
                r#"[{"b":{"a":[],"c":"x","a":{}}}]"#,
                r#"{"":1,"":2}"#,
                r#"{"x":{"a":1},"x":{"a":1}}"#,
                r#"{"\"":1,"\u0022":2}"#,
                &many("k7"),
            ],
            Err(Problem::Twice),
        );
        check_all(
            &[
                "{}",
                "[]",
                r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}"#,
                r#"{"a":"a","b":"a"}"#,
                r#"["a","a"]"#,
                r#"{"a":["a","a",{"a":1}],"A":1}"#,
                r#"{"a,\"a":"{\"a\":1,\"a\":2}"}"#,
                &many("k100"),
                "12",
                "\"a\"",
            ],
            Ok(()),
        );
    }

    #[test]
    fn half_a_surrogate_pair_is_found_wherever_it_stands() {
        check_all(
            &[
                r#""\ud800""#,
                r#""\udc00""#,
                r#""\ud800\ud800""#,
                r#""\ud800x\udc00""#,
                r#"["\uDBFF\n"]"#,
                r#"{"\udfff":1}"#,
                r#"{"a":"\ud83d\ude00\ud83d"}"#,
            ],
            Err(Problem::Half),
        );
        check_all(&[r#""\ud83d\ude00""#, r#"{"a":"\\ud800"}"#, r#"["\ue000\ud7ff\uFFFF\u0000"]"#], Ok(()));
    }

    #[test]
    fn nesting_has_an_end() {
        assert_eq!(check(&("[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH))), Ok(()));
        assert_eq!(check(&("[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1))), Err(Problem::Deep));
    }

    proptest::proptest! {
        /// A value that passes can be decoded by serde_json without loss, and one with duplicate keys has fewer members once it is parsed.
        #[test]
        fn as_a_reader_of_values_finds_it(text in r#"(\{|\}|\[|\]|,|:|"a"|"\\u0061"|"b"|"\\ud800"|1){1,12}"#) {
            if serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok() {
                let parsed = serde_json::from_str::<serde_json::Value>(&text);
                match check(&text) {
                    Err(Problem::Half) => proptest::prop_assert!(parsed.is_err(), "{}", text),
                    Err(_) => {}
                    Ok(()) => {
                        // Nothing is lost: the number of members and characters is the same, except for how `a` is written.
                        let written = serde_json::to_string(&parsed.unwrap()).unwrap();
                        proptest::prop_assert_eq!(written.len(), text.replace("\\u0061", "a").len(), "{}", text);
                    }
                }
            }
        }
    }
}

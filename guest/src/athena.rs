//! Keys that Athena can read: inside top-level JSON columns every character of a key outside `[0-9A-Za-z_]` becomes one `_`.
//!
//! Order, values and the text of numbers are kept; white space between tokens goes. Where two keys of an object become one, the later takes
//! the first free of `_2`, `_3`, … behind its name, and a warning says so. The walk is a loop, so depth is no danger.

use crate::encode::EncodeError;
use crate::encode::text::json_value::{Keys, push_with_keys};
use crate::encode::text::{Html, sequence_length};
use crate::ipc::TableSchema;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BinaryArray, RecordBatch};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Cleans the keys of every top-level column of the extension type `json`; other columns are as they were.
///
/// # Errors
/// [`EncodeError::Data`], which names the column, if a value is not JSON.
pub fn clean(schema: &TableSchema, batch: &RecordBatch, warn: &mut dyn FnMut(String)) -> Result<RecordBatch, EncodeError> {
    let mut columns = batch.columns().to_vec();
    for (field, column) in schema.logical.fields().iter().zip(&mut columns) {
        let is_json = field.metadata().get("ARROW:extension:name").is_some_and(|name| name == "json");
        let Some(values) = column.as_binary_opt::<i32>().filter(|_| is_json) else { continue };
        let (cleaned, renamed) =
            clean_column(values).map_err(|problem| EncodeError::Data(format!("column `{}`: {problem}", field.name())))?;
        if renamed > 0 {
            warn(format!("column `{}`: {renamed} keys became equal to another key of their object and got a number", field.name()));
        }
        *column = cleaned;
    }
    RecordBatch::try_new(batch.schema(), columns).map_err(|_| EncodeError::Data("the rows do not fit the table's schema".into()))
}

/// The column anew, and how many keys got a number.
fn clean_column(values: &BinaryArray) -> Result<(ArrayRef, u64), &'static str> {
    let mut text = Vec::with_capacity(values.value_data().len());
    let mut offsets = Vec::with_capacity(values.len() + 1);
    offsets.push(0i32);
    let mut keys = Cleaned::default();
    for row in 0..values.len() {
        if values.is_valid(row) {
            keys.begin();
            push_with_keys(&mut text, values.value(row), Html::Raw, &mut keys).map_err(|_| "a value is not valid JSON")?;
        }
        offsets.push(i32::try_from(text.len()).map_err(|_| "the values take more than 2 GiB in one record")?);
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let cleaned = BinaryArray::try_new(offsets, Buffer::from_vec(text), values.nulls().cloned()).map_err(|_| "the values do not fit")?;
    Ok((Arc::new(cleaned), keys.renamed))
}

/// The cleaned keys of one value.
#[derive(Debug, Default)]
struct Cleaned {
    /// Numbers of the objects that are open, innermost last.
    open: Vec<u32>,
    objects: u32,
    /// Keys taken, by their object and hash, with the number that the next such key tries first. One flat table: a set for each object
    /// would cost many times the text of a deep value.
    taken: HashMap<(u32, u64), u32>,
    name: Vec<u8>,
    renamed: u64,
}

impl Cleaned {
    fn begin(&mut self) {
        self.open.clear();
        self.objects = 0;
        self.taken.clear();
    }

    fn slot(&self, name: &[u8]) -> (u32, u64) {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        (self.open.last().copied().unwrap_or_default(), hasher.finish())
    }
}

impl Keys for Cleaned {
    fn open(&mut self) {
        self.objects = self.objects.wrapping_add(1);
        self.open.push(self.objects);
    }

    fn close(&mut self) {
        self.open.pop();
    }

    fn push(&mut self, out: &mut Vec<u8>, key: &[u8]) {
        let mut name = std::mem::take(&mut self.name);
        name.clear();
        push_clean(&mut name, key.get(1..key.len() - 1).unwrap_or_default());
        let first = self.slot(&name);
        if let Some(&next) = self.taken.get(&first) {
            let length = name.len();
            let mut number = next;
            loop {
                name.truncate(length);
                name.push(b'_');
                name.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
                number += 1;
                if !self.taken.contains_key(&self.slot(&name)) {
                    break;
                }
            }
            self.taken.insert(first, number);
            self.renamed += 1;
        }
        self.taken.insert(self.slot(&name), FIRST_NUMBER);
        out.push(b'"');
        out.extend_from_slice(&name);
        out.push(b'"');
        self.name = name;
    }
}

/// The number that the second key of a name gets.
const FIRST_NUMBER: u32 = 2;

/// Appends the inside of a string, unescaped, each character that is not of a word as `_`.
fn push_clean(out: &mut Vec<u8>, inside: &[u8]) {
    let mut at = 0;
    while let Some(&byte) = inside.get(at) {
        let (character, width) = match byte {
            b'\\' => match inside.get(at + 1) {
                Some(b'u') => unescape(&inside[at..]),
                // No other escape stands for a character of a word.
                _ => (u32::from(b'\\'), 2),
            },
            0x80.. => (u32::from(byte), sequence_length(&inside[at..]).unwrap_or(1)),
            _ => (u32::from(byte), 1),
        };
        let word = u8::try_from(character).ok().filter(|byte| byte.is_ascii_alphanumeric());
        out.push(word.unwrap_or(b'_'));
        at += width;
    }
}

/// The character that `\uXXXX` begins, and the length of its text: a pair of surrogates is one character.
fn unescape(text: &[u8]) -> (u32, usize) {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?;
        let escaped = digits.starts_with(b"\\u").then_some(&digits[2..])?;
        u32::from_str_radix(std::str::from_utf8(escaped).ok()?, 16).ok()
    };
    let first = unit(0).unwrap_or(u32::from(char::REPLACEMENT_CHARACTER));
    let paired = (0xd800..0xdc00).contains(&first) && unit(6).is_some_and(|second| (0xdc00..0xe000).contains(&second));
    (first, if paired { 12 } else { 6 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str, renamed: u64) {
        let values = BinaryArray::from_vec(vec![text.as_bytes()]);
        let (cleaned, count) = clean_column(&values).expect("JSON");
        assert_eq!((String::from_utf8_lossy(cleaned.as_binary::<i32>().value(0)).as_ref(), count), (expected, renamed));
    }

    #[test]
    fn keys_are_words_and_all_else_stays() {
        check(r#"{"a.b": 1, "n/m": [{"x y": 9007199254740993}]}"#, r#"{"a_b":1,"n_m":[{"x_y":9007199254740993}]}"#, 0);
        check(r#"{"z":1.50,"a":"a.b"}"#, r#"{"z":1.50,"a":"a.b"}"#, 0);
        check(r#"{"é":1,"日本":2,"\u00e9\u0061":3,"\ud83d\ude00":4,"a\"b":5}"#, r#"{"_":1,"__":2,"_a":3,"__2":4,"a_b":5}"#, 1);
        check(r#""a.b""#, r#""a.b""#, 0);
        check(r#"{"":1}"#, r#"{"":1}"#, 0);
    }

    #[test]
    fn keys_that_become_one_are_numbered() {
        check(r#"{"a b":1,"a_b":2,"a.b":3}"#, r#"{"a_b":1,"a_b_2":2,"a_b_3":3}"#, 2);
        check(r#"{"a_b_2":0,"a b":1,"a_b":2}"#, r#"{"a_b_2":0,"a_b":1,"a_b_3":2}"#, 1);
        check(r#"[{"a.b":1},{"a.b":{"a.b":2}}]"#, r#"[{"a_b":1},{"a_b":{"a_b":2}}]"#, 0);
    }

    #[test]
    fn depth_is_no_danger_and_what_is_not_json_is_refused() {
        let depth = 100_000;
        let text = "{\"a.b\":".repeat(depth) + "1" + &"}".repeat(depth);
        check(&text, &text.replace('.', "_"), 0);
        for text in ["", "{", "{\"a\"}"] {
            assert!(clean_column(&BinaryArray::from_vec(vec![text.as_bytes()])).is_err());
        }
    }
}

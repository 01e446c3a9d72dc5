//! Keys that Athena can read: inside top-level JSON columns every character of a key outside `[0-9A-Za-z_]` becomes one `_`.
//!
//! Order, values and the text of numbers are kept; white space between tokens goes. Where two keys of an object become one, the later takes
//! the first free of `_2`, `_3`, … behind its name, and a warning says so. The walk is a loop that remembers the keys of open objects, up to
//! [`MAX_OPEN_KEYS`] of them.

use crate::encode::EncodeError;
use crate::encode::text::json_value::{Keys, push_with_keys};
use crate::encode::text::{Drain, Html, push_unsigned, sequence_length};
use crate::ipc::TableSchema;
use crate::limits::{MAX_CLEANED_KEY_BYTES, MAX_KEY_GROWTH_BYTES, MAX_OPEN_KEYS};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BinaryArray, RecordBatch};
use arrow_buffer::{ArrowNativeType, Buffer, OffsetBuffer, ScalarBuffer};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Cleans the keys of every top-level column of the extension type `json`; other columns are as they were.
///
/// # Errors
/// [`EncodeError::Row`], which names the column, if a value is not JSON or passes a bound: none of the rows is taken then.
pub fn clean(schema: &TableSchema, batch: &RecordBatch, warn: &mut dyn FnMut(String)) -> Result<RecordBatch, EncodeError> {
    let mut columns = batch.columns().to_vec();
    for (field, column) in schema.logical.fields().iter().zip(&mut columns) {
        let is_json = field.metadata().get("ARROW:extension:name").is_some_and(|name| name == "json");
        let Some(values) = column.as_binary_opt::<i32>().filter(|_| is_json) else { continue };
        let (cleaned, renamed) =
            clean_column(values, &BOUNDS).map_err(|reason| EncodeError::Row { from: 0, column: field.name().clone(), reason })?;
        if renamed > 0 {
            warn(format!("column `{}`: {renamed} keys became equal to another key of their object and got a number", field.name()));
        }
        *column = cleaned;
    }
    RecordBatch::try_new(batch.schema(), columns).map_err(|_| EncodeError::Data("the rows do not fit the table's schema".into()))
}

/// What a value may take.
#[derive(Debug)]
struct Bounds {
    open_keys: usize,
    key_bytes: usize,
    growth_bytes: usize,
}

const BOUNDS: Bounds = Bounds { open_keys: MAX_OPEN_KEYS, key_bytes: MAX_CLEANED_KEY_BYTES, growth_bytes: MAX_KEY_GROWTH_BYTES };

/// The column anew, and how many keys got a number.
fn clean_column(values: &BinaryArray, bounds: &Bounds) -> Result<(ArrayRef, u64), String> {
    let (first, last) = values.value_offsets().first().zip(values.value_offsets().last()).unwrap_or((&0, &0));
    let bytes = (last - first).as_usize();
    // Room for all of a large value at once: text that doubles would for a moment be there three times.
    let mut text = Vec::with_capacity(bytes + bytes.min(bounds.growth_bytes));
    let mut offsets = Vec::with_capacity(values.len() + 1);
    offsets.push(0i32);
    let mut keys = Cleaned::new(bounds);
    for row in 0..values.len() {
        if values.is_valid(row) {
            keys.begin();
            push_with_keys(&mut text, values.value(row), Html::Raw, &mut keys).map_err(|_| "a value is not valid JSON")?;
            keys.check()?;
        }
        offsets.push(i32::try_from(text.len()).map_err(|_| "the values take more than 2 GiB in one record")?);
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let cleaned = BinaryArray::try_new(offsets, Buffer::from_vec(text), values.nulls().cloned()).map_err(|_| "the values do not fit")?;
    Ok((Arc::new(cleaned), keys.renamed))
}

/// The cleaned keys of one value.
#[derive(Debug)]
struct Cleaned<'a> {
    bounds: &'a Bounds,
    /// The objects that are open, innermost last: their numbers, and where their keys begin in `slots`.
    open: Vec<(u32, usize)>,
    objects: u32,
    /// Keys taken in open objects, with the number that the next such key tries first. One flat table: a set for each object would cost
    /// many times the text of a deep value.
    taken: HashMap<Slot, u32>,
    /// What is in `taken`, in the order of coming.
    slots: Vec<Slot>,
    name: Vec<u8>,
    renamed: u64,
    /// Bytes that numbers have added to the value.
    grown: usize,
    /// Bytes of its longest key, quotes included.
    longest: usize,
}

/// A key's object and hash.
type Slot = (u32, u64);

impl<'a> Cleaned<'a> {
    fn new(bounds: &'a Bounds) -> Self {
        Self {
            bounds,
            open: Vec::new(),
            objects: 0,
            taken: HashMap::new(),
            slots: Vec::new(),
            name: Vec::new(),
            renamed: 0,
            grown: 0,
            longest: 0,
        }
    }

    fn begin(&mut self) {
        self.open.clear();
        self.objects = 0;
        self.taken.clear();
        self.slots.clear();
        (self.grown, self.longest) = (0, 0);
    }

    /// Was a bound reached? Past it the value's keys are no longer looked at.
    fn check(&self) -> Result<(), String> {
        let Bounds { open_keys, key_bytes, growth_bytes } = self.bounds;
        if self.slots.len() > *open_keys {
            return Err(format!("a value has more than {open_keys} keys in the objects that are open at one place"));
        }
        if self.longest > *key_bytes {
            return Err(format!("a value has a key of more than {key_bytes} bytes"));
        }
        if self.grown > *growth_bytes {
            return Err(format!("a value has so many equal keys that their numbers take more than {growth_bytes} bytes"));
        }
        Ok(())
    }

    fn slot(&self, name: &[u8]) -> Slot {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        (self.open.last().map(|(object, _)| *object).unwrap_or_default(), hasher.finish())
    }

    fn set(&mut self, slot: Slot, next: u32) {
        if self.taken.insert(slot, next).is_none() {
            self.slots.push(slot);
        }
    }
}

impl Keys for Cleaned<'_> {
    fn open(&mut self) {
        // Past a bound nothing is remembered.
        if self.check().is_err() {
            return;
        }
        self.objects = self.objects.wrapping_add(1);
        self.open.push((self.objects, self.slots.len()));
    }

    fn close(&mut self) {
        let Some((_, first)) = self.open.pop() else { return };
        // What has passed a bound stays, to be seen.
        if self.check().is_ok() {
            for slot in self.slots.drain(first..) {
                self.taken.remove(&slot);
            }
        }
    }

    fn push<D: Drain>(&mut self, out: &mut Vec<u8>, key: &[u8], _: &mut D) -> Result<(), D::Error> {
        self.longest = self.longest.max(key.len());
        if self.check().is_err() {
            return Ok(());
        }
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
                push_unsigned(&mut name, number.into());
                number += 1;
                if !self.taken.contains_key(&self.slot(&name)) {
                    break;
                }
            }
            self.set(first, number);
            self.renamed += 1;
            self.grown += name.len() - length;
        }
        self.set(self.slot(&name), FIRST_NUMBER);
        out.push(b'"');
        out.extend_from_slice(&name);
        out.push(b'"');
        self.name = name;
        Ok(())
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
    use crate::encode::text::Whole;

    const FEW: Bounds = Bounds { open_keys: 100, key_bytes: 50, growth_bytes: 1_000 };

    #[track_caller]
    fn check(text: &str, expected: &str, renamed: u64) {
        let values = BinaryArray::from_vec(vec![text.as_bytes()]);
        let (cleaned, count) = clean_column(&values, &FEW).expect("JSON");
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

    fn refusal(text: &str) -> String {
        clean_column(&BinaryArray::from_vec(vec![text.as_bytes()]), &FEW).expect_err("a bound")
    }

    #[test]
    fn keys_are_remembered_while_their_object_is_open_and_only_so_many() {
        let object = |keys: usize| format!("{{{}}}", (0..keys).map(|key| format!("\"{key}\":0")).collect::<Vec<_>>().join(","));
        // Together more than may be open at once.
        let closed = format!("[{}]", vec![object(100); 5].join(","));
        check(&closed, &closed, 0);
        let deep = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        check(&deep(100), &deep(100), 0);
        let said = "a value has more than 100 keys in the objects that are open at one place";
        for text in [object(101), deep(101)] {
            assert_eq!(refusal(&text), said);
        }
    }

    #[test]
    fn equal_keys_may_make_a_value_only_so_much_longer() {
        // `_2` and `_3`: four bytes more.
        let (object, numbered) = (r#"{"":0,"":0,"":0}"#, r#"{"":0,"_2":0,"_3":0}"#);
        let list = |of: &str, times: usize| format!("[{}]", vec![of; times].join(","));
        check(&list(object, 250), &list(numbered, 250), 500);
        let said = "a value has so many equal keys that their numbers take more than 1000 bytes";
        assert_eq!(refusal(&list(object, 251)), said);
    }

    #[test]
    fn keys_are_cleaned_up_to_a_length() {
        let object = |bytes: usize| format!(r#"{{"{}":0,"a":1}}"#, "x".repeat(bytes - 2));
        check(&object(50), &object(50), 0);
        assert_eq!(refusal(&object(51)), "a value has a key of more than 50 bytes");
        // The next value is judged by itself.
        let values = BinaryArray::from_vec(vec![b"{}", br#"{"a.b":1}"#]);
        assert!(clean_column(&values, &FEW).is_ok());
    }

    /// Past the bound a value is read to its end, and nothing more of it is remembered.
    #[test]
    fn what_is_open_is_remembered_up_to_the_bound() {
        let mut keys = Cleaned::new(&FEW);
        keys.begin();
        for _ in 0..1_000 {
            keys.open();
            keys.push(&mut Vec::new(), b"\"a\"", &mut Whole).expect("room");
        }
        assert!(keys.check().is_err() && keys.open.len() <= 101 && keys.slots.len() <= 101);
    }

    #[test]
    fn depth_is_no_danger_and_what_is_not_json_is_refused() {
        let depth = 100_000;
        let text = "{\"a.b\":".repeat(depth) + "1" + &"}".repeat(depth);
        let values = BinaryArray::from_vec(vec![text.as_bytes()]);
        let (cleaned, _) = clean_column(&values, &BOUNDS).expect("JSON");
        assert!(cleaned.as_binary::<i32>().value(0) == text.replace('.', "_").as_bytes());
        for text in ["", "{", "{\"a\"}"] {
            assert_eq!(refusal(text), "a value is not valid JSON");
        }
    }
}

//! JSON text inside a column: checked, and copied without the white space between its tokens.
//!
//! Order of keys, duplicate keys and the text of numbers are kept. The walk is a loop with a stack of its own, one bit a level, so that no
//! depth of nesting can overflow anything.

use super::append::{below, find, push_text, splat, zeros};
use super::drain::{Drain, NotJson, Whole, between_characters, push_in_pieces};
use super::string::{Html, is_line_separator, push_line_separator, push_u00};

/// Kinds of container that are open, innermost last; one bit each.
#[derive(Debug, Default)]
struct Open {
    /// The innermost levels, as many as `depth` has beyond whole words; so values of ordinary depth need no allocation.
    innermost: u64,
    /// The levels around them, 64 a word.
    outer: Vec<u64>,
    depth: usize,
}

impl Open {
    fn push(&mut self, object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.innermost);
        }
        self.innermost = self.innermost << 1 | u64::from(object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.innermost >>= 1;
        if self.depth.is_multiple_of(64) {
            self.innermost = self.outer.pop().unwrap_or_default();
        }
    }

    /// Is the innermost container an object? `None` outside of all.
    fn innermost_is_object(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.innermost & 1 == 1)
    }
}

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
}

/// What is done with the keys of objects on the way.
pub(crate) trait Keys {
    /// An object begins.
    fn open(&mut self);
    /// The innermost object ends.
    fn close(&mut self);
    /// Appends a key of the innermost object. `key` is a string as it stands, quotes included.
    fn push<D: Drain>(&mut self, out: &mut Vec<u8>, key: &[u8], drain: &mut D) -> Result<(), D::Error>;
}

/// Keys are kept.
struct Kept(Html);

impl Keys for Kept {
    fn open(&mut self) {}

    fn close(&mut self) {}

    fn push<D: Drain>(&mut self, out: &mut Vec<u8>, key: &[u8], drain: &mut D) -> Result<(), D::Error> {
        push_in_pieces(out, key, drain, between_characters, |out, piece| push_string(out, piece, self.0))
    }
}

/// Appends the value compactly.
///
/// # Errors
/// [`NotJson`]; part of the value may have been appended.
#[cfg(test)]
pub(crate) fn push_compact(out: &mut Vec<u8>, text: &[u8], html: Html) -> Result<(), NotJson> {
    push_with_keys(out, text, html, &mut Kept(html))
}

/// Appends the value compactly, and offers the text to `drain` on the way.
///
/// # Errors
/// [`NotJson`], or the drain's; part of the value may have been appended.
pub(crate) fn push_compact_draining<D: Drain>(out: &mut Vec<u8>, text: &[u8], html: Html, drain: &mut D) -> Result<(), D::Error> {
    push(out, text, html, &mut Kept(html), drain)
}

/// Appends the value compactly, its keys as `keys` has them.
///
/// # Errors
/// [`NotJson`]; part of the value may have been appended.
pub(crate) fn push_with_keys(out: &mut Vec<u8>, text: &[u8], html: Html, keys: &mut impl Keys) -> Result<(), NotJson> {
    push(out, text, html, keys, &mut Whole).map_err(|_| NotJson)
}

fn push<D: Drain>(out: &mut Vec<u8>, text: &[u8], html: Html, keys: &mut impl Keys, drain: &mut D) -> Result<(), D::Error> {
    let mut open = Open::default();
    let mut expect = Expect::Value;
    let mut at = 0;
    loop {
        at += text[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        let Some(&byte) = text.get(at) else {
            return if expect == Expect::CommaOrEnd && open.depth == 0 { Ok(()) } else { Err(NotJson.into()) };
        };
        let start = at;
        (expect, at) = match (expect, byte) {
            (Expect::Key | Expect::KeyOrEnd, b'"') => {
                let end = string_end(text, at)?;
                keys.push(out, &text[at..end], drain)?;
                (Expect::Colon, end)
            }
            (Expect::Value | Expect::ValueOrEnd, b'"') => {
                let end = string_end(text, at)?;
                push_in_pieces(out, &text[at..end], drain, between_characters, |out, piece| push_string(out, piece, html))?;
                (Expect::CommaOrEnd, end)
            }
            (Expect::Value | Expect::ValueOrEnd, b'{') => {
                open.push(true);
                keys.open();
                (Expect::KeyOrEnd, at + 1)
            }
            (Expect::Value | Expect::ValueOrEnd, b'[') => {
                open.push(false);
                (Expect::ValueOrEnd, at + 1)
            }
            (Expect::Value | Expect::ValueOrEnd, b'-' | b'0'..=b'9') => (Expect::CommaOrEnd, number_end(text, at)?),
            (Expect::Value | Expect::ValueOrEnd, _) if at + 4 <= text.len() && matches!(&text[at..at + 4], b"true" | b"null") => {
                (Expect::CommaOrEnd, at + 4)
            }
            (Expect::Value | Expect::ValueOrEnd, _) if text[at..].starts_with(b"false") => (Expect::CommaOrEnd, at + 5),
            (Expect::Colon, b':') => (Expect::Value, at + 1),
            (Expect::CommaOrEnd, b',') => match open.innermost_is_object() {
                Some(true) => (Expect::Key, at + 1),
                Some(false) => (Expect::Value, at + 1),
                None => return Err(NotJson.into()),
            },
            (Expect::CommaOrEnd | Expect::KeyOrEnd, b'}') if open.innermost_is_object() == Some(true) => {
                open.pop();
                keys.close();
                (Expect::CommaOrEnd, at + 1)
            }
            (Expect::CommaOrEnd | Expect::ValueOrEnd, b']') if open.innermost_is_object() == Some(false) => {
                open.pop();
                (Expect::CommaOrEnd, at + 1)
            }
            _ => return Err(NotJson.into()),
        };
        match at - start {
            _ if byte == b'"' => {}
            1 => out.push(byte),
            _ => push_text(out, &text[start..at]),
        }
        drain.drain(out)?;
    }
}

/// Where the string that begins here ends (after its closing quote). Its bytes need not be UTF-8.
fn string_end(text: &[u8], start: usize) -> Result<usize, NotJson> {
    let marks = |word: u64| below(word, 0x20) | zeros(word ^ splat(b'"')) | zeros(word ^ splat(b'\\'));
    let mut at = start + 1;
    loop {
        at += find(&text[at..], marks).ok_or(NotJson)?;
        match text[at] {
            b'"' => return Ok(at + 1),
            b'\\' => match text.get(at + 1) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => at += 2,
                Some(b'u') if text.get(at + 2..at + 6).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) => at += 6,
                _ => return Err(NotJson),
            },
            _ => return Err(NotJson),
        }
    }
}

/// Where the number that begins here ends.
fn number_end(text: &[u8], start: usize) -> Result<usize, NotJson> {
    let digits = |from: usize| text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = start + usize::from(text[start] == b'-');
    at += match text.get(at) {
        Some(b'0') => 1,
        Some(b'1'..=b'9') => digits(at),
        _ => return Err(NotJson),
    };
    if text.get(at) == Some(&b'.') {
        let count = digits(at + 1);
        if count == 0 {
            return Err(NotJson);
        }
        at += 1 + count;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let count = digits(at);
        if count == 0 {
            return Err(NotJson);
        }
        at += count;
    }
    Ok(at)
}

/// Appends a string as it stands, or with HTML and the two line separators escaped.
fn push_string(out: &mut Vec<u8>, mut string: &[u8], html: Html) {
    if html == Html::Raw {
        return push_text(out, string);
    }
    // `<` and `>` differ in one bit; 0xe2 begins the line separators.
    let marks = |word: u64| zeros((word | splat(2)) ^ splat(b'>')) | zeros(word ^ splat(b'&')) | zeros(word ^ splat(0xe2));
    while let Some(at) = find(string, marks) {
        push_text(out, &string[..at]);
        let width = match string[at] {
            0xe2 if is_line_separator(&string[at..]) => {
                push_line_separator(out, string[at + 2]);
                3
            }
            0xe2 => {
                out.push(0xe2);
                1
            }
            byte => {
                push_u00(out, byte);
                1
            }
        };
        string = &string[at + width..];
    }
    push_text(out, string);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compact(text: &str, html: Html) -> Result<String, NotJson> {
        let mut out = Vec::new();
        push_compact(&mut out, text.as_bytes(), html)?;
        Ok(String::from_utf8(out).expect("text stays text"))
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(compact(text, Html::Raw).as_deref(), Ok(expected));
    }

    #[test]
    fn white_space_goes_and_all_else_stays() {
        check(r#"{"b": 1, "a": [1, 2.50, 1e3]}"#, r#"{"b":1,"a":[1,2.50,1e3]}"#);
        check(" \t\r\n null \n", "null");
        check(r#"{"dup":1, "dup":2}"#, r#"{"dup":1,"dup":2}"#);
        check(r#"[ ] "#, "[]");
        check(r#"{ }"#, "{}");
        check(r#"[[[ ]], {"a":{ }}]"#, r#"[[[]],{"a":{}}]"#);
        check(r#""a \" b \u00e9 <&>""#, r#""a \" b \u00e9 <&>""#);
        check("-0.0E-1", "-0.0E-1");
        check("12345678901234567890", "12345678901234567890");
        check("1e400", "1e400");
        check("\"\u{2028}\"", "\"\u{2028}\"");
        check("[true,false,null]", "[true,false,null]");
    }

    #[test]
    fn nested_values_escape_html() {
        assert_eq!(compact("{\"<k>\": \"a&b\u{2028}\"}", Html::Escaped).as_deref(), Ok(r#"{"\u003ck\u003e":"a\u0026b\u2028"}"#));
    }

    #[test]
    fn what_is_not_one_value_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "[",
            "]",
            "}",
            "{]",
            "[}",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{\"a\":}",
            "{1:2}",
            "{,}",
            "[,]",
            "01",
            "-",
            "1.",
            ".5",
            "+1",
            "1e",
            "nul",
            "tru",
            "True",
            "\"",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\n\"",
            "1 2",
            "{}{}",
            "nullx",
            "[1 2]",
            "{\"a\" 1}",
            "falsee",
        ] {
            assert_eq!(compact(text, Html::Raw), Err(NotJson), "{text:?}");
        }
    }

    #[test]
    fn depth_is_no_danger() {
        let depth = 300_000;
        let text = "[".repeat(depth) + &"]".repeat(depth);
        check(&text, &text);
    }
}

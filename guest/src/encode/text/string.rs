//! Strings: escaped for JSON, quoted for CSV. Input is bytes, because text on the wire may be invalid UTF-8.

use super::append::{HIGHS, all_zeros, below, find, first_mark, push_constant, push_text, splat, zeros};

/// Are `<`, `>` and `&` escaped in JSON? At the top level and in structs there they are not; in lists, maps and all nested CSV text they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Html {
    /// Left as they are.
    Raw,
    /// Written as `\u003c`, `\u003e`, `\u0026`.
    Escaped,
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Marks what cannot stand in a JSON string as it is: controls, quotes, backslashes; and what is not ASCII, which needs a closer look.
#[inline(always)]
fn json_marks(word: u64) -> u64 {
    below(word, 0x20) | zeros(word ^ splat(b'"')) | zeros(word ^ splat(b'\\')) | (word & HIGHS)
}

/// The same, and `<`, `>`, `&`.
#[inline(always)]
fn html_marks(word: u64) -> u64 {
    // `<` and `>` differ in one bit.
    json_marks(word) | zeros((word | splat(2)) ^ splat(b'>')) | zeros(word ^ splat(b'&'))
}

/// Appends a JSON string, quotes included. A byte that is not UTF-8 becomes `\ufffd`.
pub(crate) fn push_json_string(out: &mut Vec<u8>, text: &[u8], html: Html) {
    out.push(b'"');
    push_json_escaped(out, text, html);
    out.push(b'"');
}

/// Appends the inside of a JSON string: runs of plain bytes, and what stands between them.
pub(crate) fn push_json_escaped(out: &mut Vec<u8>, mut text: &[u8], html: Html) {
    loop {
        let run = match html {
            Html::Raw => find(text, json_marks),
            Html::Escaped => find(text, html_marks),
        };
        let Some(run) = run else { return push_text(out, text) };
        let (plain, special) = text.split_at(run);
        push_text(out, plain);
        text = push_special(out, special);
    }
}

/// Appends what a text begins with that is not plain, and answers the rest.
fn push_special<'a>(out: &mut Vec<u8>, text: &'a [u8]) -> &'a [u8] {
    let width = match text.first() {
        None => return text,
        Some(0x80..) => return push_not_ascii(out, text),
        Some(b'"') => push_escape(out, b'"'),
        Some(b'\\') => push_escape(out, b'\\'),
        Some(b'\n') => push_escape(out, b'n'),
        Some(b'\r') => push_escape(out, b'r'),
        Some(b'\t') => push_escape(out, b't'),
        Some(&byte) => {
            push_u00(out, byte);
            1
        }
    };
    &text[width..]
}

fn push_escape(out: &mut Vec<u8>, letter: u8) -> usize {
    out.extend_from_slice(&[b'\\', letter]);
    1
}

/// Appends the characters beyond ASCII that a text begins with, and answers the rest.
fn push_not_ascii<'a>(out: &mut Vec<u8>, mut text: &'a [u8]) -> &'a [u8] {
    while text.first().is_some_and(|&byte| byte >= 0x80) {
        let width = match sequence_length(text) {
            Some(3) if is_line_separator(text) => {
                push_line_separator(out, text[2]);
                3
            }
            Some(width) => {
                push_text(out, &text[..width]);
                width
            }
            None => {
                push_constant(out, b"\\ufffd");
                1
            }
        };
        text = &text[width..];
    }
    text
}

/// Appends `\u00XX`.
pub(crate) fn push_u00(out: &mut Vec<u8>, byte: u8) {
    push_constant(out, &[b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

/// Is this U+2028 or U+2029, which JavaScript takes for line ends?
pub(crate) fn is_line_separator(text: &[u8]) -> bool {
    matches!(text, [0xe2, 0x80, 0xa8 | 0xa9, ..])
}

/// Appends the escape of U+2028 or U+2029, told apart by the last byte of their UTF-8.
pub(crate) fn push_line_separator(out: &mut Vec<u8>, last: u8) {
    push_constant(out, if last == 0xa8 { b"\\u2028" } else { b"\\u2029" });
}

/// Length of the UTF-8 sequence that the text begins with; `None` if it is not one.
pub(crate) fn sequence_length(text: &[u8]) -> Option<usize> {
    match text {
        [0..=0x7f, ..] => Some(1),
        [0xc2..=0xdf, 0x80..=0xbf, ..] => Some(2),
        [0xe0, 0xa0..=0xbf, 0x80..=0xbf, ..]
        | [0xe1..=0xec | 0xee | 0xef, 0x80..=0xbf, 0x80..=0xbf, ..]
        | [0xed, 0x80..=0x9f, 0x80..=0xbf, ..] => Some(3),
        [0xf0, 0x90..=0xbf, 0x80..=0xbf, 0x80..=0xbf, ..]
        | [0xf1..=0xf3, 0x80..=0xbf, 0x80..=0xbf, 0x80..=0xbf, ..]
        | [0xf4, 0x80..=0x8f, 0x80..=0xbf, 0x80..=0xbf, ..] => Some(4),
        _ => None,
    }
}

/// Can the text go into a JSON string as it is? (It may say no to text that can.)
pub(crate) fn is_plain_json(text: &[u8]) -> bool {
    !any(text, |byte| (byte < 0x20) | (byte == b'"') | (byte == b'\\') | (byte >= 0x80))
}

/// Does no byte of the text ask for quotes in CSV, wherever it stands? The first byte of a field needs a look of its own.
pub(crate) fn is_plain_csv(text: &[u8], delimiter: u8) -> bool {
    !any(text, |byte| is_csv_special(byte, delimiter))
}

/// Can the text stand in CSV, perhaps between quotes, without a change? (It may say no to text that can.)
pub(crate) fn needs_no_csv_escape(text: &[u8]) -> bool {
    !any(text, |byte| (byte == b'"') | (byte == b'\\'))
}

fn is_csv_special(byte: u8, delimiter: u8) -> bool {
    (byte == delimiter) | (byte == b'"') | (byte == b'\r') | (byte == b'\n')
}

/// Finds the place of every byte that needs quotes in CSV, in order.
#[inline(always)]
pub(crate) fn mark_csv_specials(text: &[u8], delimiter: u8, mut mark: impl FnMut(usize)) {
    let (blocks, rest) = text.as_chunks::<64>();
    for (at, block) in blocks.iter().enumerate() {
        if !any_of(block, |byte| is_csv_special(byte, delimiter)) {
            continue;
        }
        for (word_at, word) in block.as_chunks::<8>().0.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            let equal = |byte| all_zeros(word ^ splat(byte));
            let mut marks = equal(delimiter) | equal(b'"') | equal(b'\r') | equal(b'\n');
            while marks != 0 {
                mark(at * 64 + word_at * 8 + first_mark(marks));
                marks &= marks - 1;
            }
        }
    }
    let start = blocks.len() * 64;
    (start..).zip(rest).filter(|(_, byte)| is_csv_special(**byte, delimiter)).for_each(|(at, _)| mark(at));
}

/// Does a test hold for any byte?
#[inline(always)]
fn any(text: &[u8], test: impl Fn(u8) -> bool) -> bool {
    let (blocks, rest) = text.as_chunks::<64>();
    let (parts, rest) = rest.as_chunks::<16>();
    blocks.iter().any(|block| any_of(block, &test)) || parts.iter().any(|part| any_of(part, &test)) || rest.iter().any(|&byte| test(byte))
}

/// The same of so few bytes that counting cannot overflow. They are counted because the compiler makes vector compares of that; of an "or",
/// which asks for less, it makes a branch for every byte.
#[inline(always)]
fn any_of<const N: usize>(bytes: &[u8; N], test: impl Fn(u8) -> bool) -> bool {
    const { assert!(N < 256, "the count is a byte") };
    bytes.iter().fold(0u8, |hits, &byte| hits.wrapping_add(u8::from(test(byte)))) != 0
}

/// Is this white space of ASCII?
#[inline(always)]
pub(crate) fn is_ascii_space(byte: u8) -> bool {
    (byte == b' ') | (byte.wrapping_sub(b'\t') < 5)
}

/// Might a field that begins with this byte begin with white space?
fn may_begin_with_space(first: u8) -> bool {
    first <= b' ' || first >= 0x80
}

/// Does a field need quotes?
pub(crate) fn csv_needs_quotes(field: &[u8], delimiter: u8) -> bool {
    let Some(&first) = field.first() else { return false };
    let marks =
        |word: u64| zeros(word ^ splat(delimiter)) | zeros(word ^ splat(b'"')) | zeros(word ^ splat(b'\r')) | zeros(word ^ splat(b'\n'));
    find(field, marks).is_some() || field == b"\\." || (may_begin_with_space(first) && begins_with_space(field))
}

/// Does the text begin with a character of Unicode's White_Space?
pub(crate) fn begins_with_space(text: &[u8]) -> bool {
    match sequence_length(text) {
        Some(length) => std::str::from_utf8(&text[..length]).is_ok_and(|first| first.starts_with(char::is_whitespace)),
        None => false,
    }
}

/// Can the delimiter be a character of a number, a date, an address or base64?
pub(crate) fn is_odd(delimiter: u8) -> bool {
    delimiter.is_ascii_alphanumeric() || b"+-.:/=()".contains(&delimiter)
}

/// Appends a field, quoted if it needs to be.
pub(crate) fn push_csv_field(out: &mut Vec<u8>, field: &[u8], delimiter: u8) {
    if csv_needs_quotes(field, delimiter) { push_csv_quoted(out, field) } else { push_text(out, field) }
}

/// Appends a field in quotes, the quotes in it doubled.
pub(crate) fn push_csv_quoted(out: &mut Vec<u8>, field: &[u8]) {
    out.push(b'"');
    push_csv_doubled(out, field);
    out.push(b'"');
}

/// Appends a text or a piece of one, the quotes in it doubled.
pub(crate) fn push_csv_doubled(out: &mut Vec<u8>, mut field: &[u8]) {
    // Nested values have a quote every few bytes: so eight are copied, and cut back to the first quote among them.
    while let Some((word, _)) = field.split_first_chunk::<8>() {
        let marks = zeros(u64::from_le_bytes(*word) ^ splat(b'"'));
        let start = out.len();
        out.extend_from_slice(word);
        let taken = if marks == 0 {
            8
        } else {
            let quote = first_mark(marks);
            out.truncate(start + quote + 1);
            out.push(b'"');
            quote + 1
        };
        field = &field[taken..];
    }
    for &byte in field {
        out.push(byte);
        if byte == b'"' {
            out.push(b'"');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_json(text: &[u8], raw: &str, escaped: &str) {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        push_json_string(&mut a, text, Html::Raw);
        push_json_string(&mut b, text, Html::Escaped);
        assert_eq!((String::from_utf8_lossy(&a).as_ref(), String::from_utf8_lossy(&b).as_ref()), (raw, escaped));
    }

    #[test]
    fn json_strings_escape_what_the_reference_escapes() {
        check_json(b"", r#""""#, r#""""#);
        check_json(b"a\"b\\c\n\r\t", r#""a\"b\\c\n\r\t""#, r#""a\"b\\c\n\r\t""#);
        check_json(b"\x00\x08\x0c\x1f\x7f", "\"\\u0000\\u0008\\u000c\\u001f\x7f\"", "\"\\u0000\\u0008\\u000c\\u001f\x7f\"");
        check_json(b"<a&b>", r#""<a&b>""#, r#""\u003ca\u0026b\u003e""#);
        check_json("\u{2028}é\u{2029}日".as_bytes(), "\"\\u2028é\\u2029日\"", "\"\\u2028é\\u2029日\"");
        check_json(
            b"\xff\xe2\x82x\xed\xa0\x80",
            r#""\ufffd\ufffd\ufffdx\ufffd\ufffd\ufffd""#,
            r#""\ufffd\ufffd\ufffdx\ufffd\ufffd\ufffd""#,
        );
    }

    #[test]
    fn white_space_of_ascii_is_unicodes() {
        for byte in 0..0x80 {
            assert_eq!(is_ascii_space(byte), begins_with_space(&[byte]), "{byte:#x}");
        }
    }

    #[test]
    fn a_byte_is_found_wherever_it_stands() {
        for length in 0..200 {
            let mut text = vec![b'a'; length];
            assert!(is_plain_json(&text) && is_plain_csv(&text, b','));
            for at in 0..length {
                text[at] = b'"';
                assert!(!is_plain_json(&text) && !is_plain_csv(&text, b',') && !needs_no_csv_escape(&text), "{at} of {length}");
                text[at] = b'a';
            }
        }
    }

    #[track_caller]
    fn check_csv(field: &[u8], expected: &[u8]) {
        let mut out = Vec::new();
        push_csv_field(&mut out, field, b',');
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(expected));
    }

    #[test]
    fn csv_fields_are_quoted_only_where_they_must_be() {
        check_csv(b"", b"");
        check_csv(b"plain text", b"plain text");
        check_csv(b"a,b", b"\"a,b\"");
        check_csv(b"a;b", b"a;b");
        check_csv(b"say \"hi\"", b"\"say \"\"hi\"\"\"");
        check_csv(b"\"", b"\"\"\"\"");
        check_csv(b"line\r\nbreak", b"\"line\r\nbreak\"");
        check_csv(b"\\.", b"\"\\.\"");
        check_csv(b"\\N", b"\\N");
        check_csv(b" lead", b"\" lead\"");
        check_csv("\u{a0}lead".as_bytes(), "\"\u{a0}lead\"".as_bytes());
        check_csv("\u{200b}lead".as_bytes(), "\u{200b}lead".as_bytes());
        check_csv(b"\xff,", b"\"\xff,\"");
        check_csv(b"\x85", b"\x85");
    }
}

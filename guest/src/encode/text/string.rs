//! Strings: escaped for JSON, quoted for CSV. Input is bytes, because text on the wire may be invalid UTF-8.

/// Are `<`, `>` and `&` escaped in JSON? At the top level and in structs there they are not; in lists, maps and all nested CSV text they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Html {
    /// Left as they are.
    Raw,
    /// Written as `\u003c`, `\u003e`, `\u0026`.
    Escaped,
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// What a byte needs inside a JSON string: 0 nothing, 1 an escape, 2 an escape where HTML is escaped, 3 a look at what follows (UTF-8).
const NEEDS: [u8; 256] = {
    let mut table = [0u8; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            0..=0x1f | b'"' | b'\\' => 1,
            b'<' | b'>' | b'&' => 2,
            0x80.. => 3,
            _ => 0,
        };
        byte += 1;
    }
    table
};

/// Appends a JSON string, quotes included. A byte that is not UTF-8 becomes `\ufffd`.
pub(crate) fn push_json_string(out: &mut Vec<u8>, text: &[u8], html: Html) {
    out.push(b'"');
    push_json_escaped(out, text, html);
    out.push(b'"');
}

/// Appends the inside of a JSON string.
pub(crate) fn push_json_escaped(out: &mut Vec<u8>, text: &[u8], html: Html) {
    let mut copied = 0;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let width = match (NEEDS[usize::from(byte)], html) {
            (0, _) | (2, Html::Raw) => {
                at += 1;
                continue;
            }
            (3, _) => match sequence_length(&text[at..]) {
                Some(length) if !is_line_separator(&text[at..]) => {
                    at += length;
                    continue;
                }
                Some(length) => length,
                None => 1,
            },
            _ => 1,
        };
        out.extend_from_slice(&text[copied..at]);
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x80.. if width == 3 => push_line_separator(out, text[at + 2]),
            0x80.. => out.extend_from_slice(b"\\ufffd"),
            _ => push_u00(out, byte),
        }
        at += width;
        copied = at;
    }
    out.extend_from_slice(&text[copied..]);
}

/// Appends `\u00XX`.
pub(crate) fn push_u00(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

/// Is this U+2028 or U+2029, which JavaScript takes for line ends?
pub(crate) fn is_line_separator(text: &[u8]) -> bool {
    matches!(text, [0xe2, 0x80, 0xa8 | 0xa9, ..])
}

/// Appends the escape of U+2028 or U+2029, told apart by the last byte of their UTF-8.
pub(crate) fn push_line_separator(out: &mut Vec<u8>, last: u8) {
    out.extend_from_slice(if last == 0xa8 { b"\\u2028" } else { b"\\u2029" });
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
    !any(text, |byte| (byte == delimiter) | (byte == b'"') | (byte == b'\r') | (byte == b'\n') | (byte == b'\\'))
}

/// Does a test hold for any byte? In blocks without a branch, so that the compiler can use vector compares.
fn any(text: &[u8], test: impl Fn(u8) -> bool) -> bool {
    let (blocks, rest) = text.as_chunks::<64>();
    blocks.iter().any(|block| block.iter().fold(false, |hit, &byte| hit | test(byte))) || rest.iter().any(|&byte| test(byte))
}

/// Might a field that begins with this byte begin with white space?
pub(crate) fn may_begin_with_space(first: u8) -> bool {
    first <= b' ' || first >= 0x80
}

/// Does a field need quotes?
pub(crate) fn csv_needs_quotes(field: &[u8], delimiter: u8) -> bool {
    let Some(&first) = field.first() else { return false };
    let special = |byte: u8| (byte == delimiter) | (byte == b'"') | (byte == b'\r') | (byte == b'\n');
    any(field, special) || field == b"\\." || (may_begin_with_space(first) && begins_with_space(field))
}

/// Does the text begin with a character of Unicode's White_Space?
fn begins_with_space(text: &[u8]) -> bool {
    match sequence_length(text) {
        Some(length) => std::str::from_utf8(&text[..length]).is_ok_and(|first| first.starts_with(char::is_whitespace)),
        None => false,
    }
}

/// Appends a field, quoted if it needs to be.
pub(crate) fn push_csv_field(out: &mut Vec<u8>, field: &[u8], delimiter: u8) {
    if csv_needs_quotes(field, delimiter) { push_csv_quoted(out, field) } else { out.extend_from_slice(field) }
}

fn push_csv_quoted(out: &mut Vec<u8>, field: &[u8]) {
    out.push(b'"');
    let mut copied = 0;
    for quote in memchr::memchr_iter(b'"', field) {
        out.extend_from_slice(&field[copied..=quote]);
        copied = quote;
    }
    out.extend_from_slice(&field[copied..]);
    out.push(b'"');
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

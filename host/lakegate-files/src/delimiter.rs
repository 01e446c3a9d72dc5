//! The delimiter of a CSV file: given by `--delimiter`, or detected from the beginning of the file.
//!
//! The format's usual delimiter (a comma, or a tab for `.tsv`) is used if the header contains it and every record has as many fields as the header,
//! or if no other delimiter fits better. Another one of `,` `;` `|` and tab is used if it splits the header and every record into the same number of
//! fields, at least two. A note is returned if an unusual delimiter is used, and also if the header contains another delimiter that does not split
//! the records.

use memchr::memchr;
use std::str::FromStr;

/// The delimiters that are detected.
const KNOWN: [u8; 4] = [b',', b';', b'\t', b'|'];
/// Number of records that are inspected.
const RECORDS: usize = 1_000;

/// A delimiter of CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delimiter(pub(crate) u8);

impl Delimiter {
    /// The character, which is one of ASCII.
    pub fn byte(self) -> u8 {
        self.0
    }
}

impl FromStr for Delimiter {
    type Err = String;

    /// Parses one character, or its name.
    fn from_str(text: &str) -> Result<Self, String> {
        let byte = match (text, text.as_bytes()) {
            ("tab" | "\\t", _) => b'\t',
            ("comma", _) => b',',
            ("semicolon", _) => b';',
            ("pipe", _) => b'|',
            ("space", _) => b' ',
            (_, [byte]) => *byte,
            _ => 0,
        };
        let accepted = byte == b'\t' || byte == b' ' || (byte.is_ascii_punctuation() && byte != b'"');
        accepted.then_some(Self(byte)).ok_or_else(|| {
            format!("{text:?} is not a delimiter; one character of ASCII punctuation (but no quote), `tab`, `comma`, `semicolon`, `pipe` or `space` is accepted")
        })
    }
}

/// A detected delimiter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Detected {
    pub(crate) delimiter: u8,
    /// A note for the user.
    pub(crate) note: Option<String>,
}

/// Detects the delimiter from the beginning of a file; `whole` if that is the entire file.
pub(crate) fn detect(head: &[u8], whole: bool, usual: u8) -> Detected {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let shape = |delimiter| Shape::new(head, whole, delimiter);
    let own = shape(usual);
    if own.header > 1 && own.even {
        return Detected { delimiter: usual, note: None };
    }
    let others = || KNOWN.into_iter().filter(|delimiter| *delimiter != usual).map(|delimiter| (delimiter, shape(delimiter)));
    if let Some((delimiter, shape)) = others().filter(|(_, shape)| shape.header > 1 && shape.even).max_by_key(|(_, shape)| shape.header) {
        let note = format!(
            "the columns are separated by {}, not by {}: read as {} columns (set --delimiter to override)",
            name(delimiter),
            name(usual),
            shape.header
        );
        return Detected { delimiter, note: Some(note) };
    }
    let doubtful = (own.header == 1).then(|| others().find(|(_, shape)| shape.header > 1)).flatten();
    let note = doubtful.map(|(delimiter, _)| {
        let (other, usual) = (name(delimiter), name(usual));
        format!("the header holds {other}, but the rows do not split by it evenly: separated by {usual}, it is one column (set --delimiter to override)")
    });
    Detected { delimiter: usual, note }
}

fn name(delimiter: u8) -> &'static str {
    match delimiter {
        b';' => "a semicolon",
        b'\t' => "a tab",
        b'|' => "a pipe (|)",
        _ => "a comma",
    }
}

/// How a delimiter splits the records.
struct Shape {
    /// Number of fields in the first record.
    header: usize,
    /// Whether all records have the same number.
    even: bool,
}

impl Shape {
    fn new(head: &[u8], whole: bool, delimiter: u8) -> Self {
        let mut fields = Records { rest: head, whole, delimiter };
        let header = fields.next().unwrap_or_else(|| {
            // Not even the first record is complete: count what there is.
            Records { rest: head, whole: true, delimiter }.next().unwrap_or(1)
        });
        // The reader skips blank lines.
        let even = fields.filter(|fields| *fields > 0).take(RECORDS).all(|fields| fields == header);
        Self { header, even }
    }
}

/// The number of fields of each record; 0 for a blank line.
struct Records<'a> {
    rest: &'a [u8],
    whole: bool,
    delimiter: u8,
}

impl Iterator for Records<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.rest.is_empty() {
            return None;
        }
        let (mut fields, mut at) = (1, 0);
        let mut begins = true;
        loop {
            let Some(byte) = self.rest.get(at).copied() else {
                // Truncated: unless the file ends here, the record continues.
                self.rest = &[];
                return self.whole.then_some(fields);
            };
            at += 1;
            match byte {
                b'"' if begins => {
                    // Skip past the closing quote; a doubled quote starts over.
                    at += memchr(b'"', self.rest.get(at..).unwrap_or_default()).map_or(usize::MAX / 2, |length| length + 1);
                    begins = self.rest.get(at) == Some(&b'"');
                    continue;
                }
                b'\n' => break,
                byte if byte == self.delimiter => {
                    fields += 1;
                    begins = true;
                    continue;
                }
                _ => {}
            }
            begins = false;
        }
        let (record, rest) = self.rest.split_at_checked(at)?;
        self.rest = rest;
        Some(if matches!(record, b"\n" | b"\r\n") { 0 } else { fields })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `note` is the expected note, or empty.
    #[track_caller]
    fn check(content: &str, usual: u8, delimiter: char, note: &str) {
        let detected = detect(content.as_bytes(), true, usual);
        assert_eq!(char::from(detected.delimiter), delimiter, "{content:?}");
        let said = detected.note.unwrap_or_default();
        assert!(said.is_empty() == note.is_empty() && said.contains(note), "{content:?}: {said}");
    }

    #[test]
    fn the_usual_delimiter_is_kept_where_it_fits() {
        for content in ["a,b\n1,2\n", "a;b,c\n1;2,3\n", "a\n1\n", "a\n1;2\n", "", "a,b\n1;1,2;2\n", "\"a;b\"\n1\n", "a,b\r\n\r\n1,2\r\n"] {
            check(content, b',', ',', "");
        }
        check("a\tb\n1\t2\n", b'\t', '\t', "");
    }

    #[test]
    fn another_one_is_noticed() {
        check("city;people\nBern;133000\n", b',', ';', "a semicolon, not by a comma: read as 2 columns");
        check("a;b\n1,5;2,5\n", b',', ';', "semicolon");
        check("a|b|c\n1|2|3", b',', '|', "pipe");
        check("a\tb\n1\t2\n", b',', '\t', "tab");
        check("a,b\n1,2\n", b'\t', ',', "a comma, not by a tab");
        check("a;b\n", b',', ';', "semicolon");
        check("\u{feff}\"a;x\";b\r\n\"1\n;\"\"2\";3\r\n", b',', ';', "2 columns");
        // Commas in the text of one row, semicolons in all rows.
        check("a,x;b\n1;2\n3;4\n", b',', ';', "semicolon");
        check("a;b;c\n1;2|3;4\n", b',', ';', "3 columns");
    }

    #[test]
    fn a_header_that_may_be_a_list_is_told() {
        check("note; remark\nhello\n", b',', ',', "but the rows do not split by it evenly");
        check("a|b\n1|2|3\n", b',', ',', "the header holds a pipe");
    }

    #[test]
    fn what_is_cut_off_does_not_count() {
        assert_eq!(detect(b"a;b\n1;2\n3", false, b',').delimiter, b';');
        assert_eq!(detect(b"a;b;c", false, b',').delimiter, b';');
        assert_eq!(detect(b"a;b\n1;\"", false, b',').delimiter, b';');
    }

    #[test]
    fn words_for_delimiters() {
        for (text, byte) in
            [("tab", b'\t'), ("\\t", b'\t'), ("\t", b'\t'), (";", b';'), ("pipe", b'|'), ("|", b'|'), ("space", b' '), ("^", b'^')]
        {
            assert_eq!(text.parse(), Ok(Delimiter(byte)), "{text}");
        }
        for text in ["", ";;", "\"", "a", "1", "é", "\n", "\0"] {
            assert!(text.parse::<Delimiter>().unwrap_err().contains("ASCII punctuation"), "{text:?}");
        }
    }
}

//! How a CSV file is written: its delimiter, its quote, the end of its lines, and whether the first one has names.

use super::lines::trim_end;
use std::str::FromStr;

/// The dialect of a CSV file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CsvDialect {
    pub(crate) delimiter: u8,
    /// What encloses fields, if anything does. Within a field it is doubled.
    pub(crate) quote: Option<u8>,
    /// The last byte of a line: `\n`, before which there may be a `\r`, or a `\r` alone.
    pub(crate) line_end: u8,
    /// Whether the first record has the names of the columns.
    pub(crate) header: bool,
}

impl CsvDialect {
    /// A line without its end.
    pub(crate) fn trim_end(self, line: &[u8]) -> &[u8] {
        if self.line_end == b'\r' {
            return line.strip_suffix(b"\r").unwrap_or(line);
        }
        trim_end(line)
    }

    /// What the number of fields is known from.
    pub(crate) fn first_record(self) -> &'static str {
        if self.header { "the header" } else { "the first record" }
    }

    /// The byte that ends lines of other files, which must not stand alone outside quotes.
    pub(crate) fn stray(self) -> u8 {
        if self.line_end == b'\r' { b'\n' } else { b'\r' }
    }
}

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

/// What encloses the fields of CSV, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote(pub(crate) Option<u8>);

impl FromStr for Quote {
    type Err = String;

    /// Parses one character, or its name.
    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.as_bytes()) {
            ("none", _) => Ok(Self(None)),
            ("double", _) => Ok(Self(Some(b'"'))),
            ("single", _) => Ok(Self(Some(b'\''))),
            (_, [byte]) if byte.is_ascii_punctuation() => Ok(Self(Some(*byte))),
            _ => Err(format!(
                "{text:?} is not a quote; one character of ASCII punctuation, `double` (\"), `single` (') or `none` is accepted"
            )),
        }
    }
}

/// The name of a delimiter, for messages.
pub(crate) fn name(delimiter: u8) -> String {
    match delimiter {
        b',' => "commas".to_owned(),
        b';' => "semicolons".to_owned(),
        b'\t' => "tabs".to_owned(),
        b'|' => "pipes (|)".to_owned(),
        b' ' => "spaces".to_owned(),
        other => format!("`{}`", char::from(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_delimiters_and_quotes() {
        for (text, byte) in
            [("tab", b'\t'), ("\\t", b'\t'), ("\t", b'\t'), (";", b';'), ("pipe", b'|'), ("|", b'|'), ("space", b' '), ("^", b'^')]
        {
            assert_eq!(text.parse(), Ok(Delimiter(byte)), "{text}");
        }
        for text in ["", ";;", "\"", "a", "1", "é", "\n", "\0"] {
            assert!(text.parse::<Delimiter>().unwrap_err().contains("ASCII punctuation"), "{text:?}");
        }
        for (text, byte) in
            [("\"", Some(b'"')), ("double", Some(b'"')), ("'", Some(b'\'')), ("single", Some(b'\'')), ("|", Some(b'|')), ("none", None)]
        {
            assert_eq!(text.parse(), Ok(Quote(byte)), "{text}");
        }
        for text in ["", "\"\"", "a", "é", "\n", "\t", " "] {
            assert!(text.parse::<Quote>().unwrap_err().contains("`none`"), "{text:?}");
        }
    }
}

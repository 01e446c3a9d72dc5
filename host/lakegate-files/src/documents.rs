//! Splits JSON that is not one object per line into its objects: an array of objects, or objects one after another, each of any number of lines.
//!
//! Only where an object begins and ends is found here, by its braces; whether it is well-formed is judged by its reader. Memory is one object.

use super::lines::MAX_RECORD_BYTES;
use super::{InputError, Position};
use memchr::{memchr_iter, memchr2};
use std::io::{BufRead, ErrorKind};
use std::sync::Arc;

/// Where the reader is between two objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first object, if it is one.
    Start,
    /// Among objects that follow each other.
    Sequence,
    /// Behind `[`.
    ArrayStart,
    /// Behind an object of an array.
    AfterItem,
    /// Behind the `,` of an array.
    AfterComma,
    /// Behind `]`.
    End,
}

/// The splitter.
pub(crate) struct Documents {
    reader: Box<dyn BufRead + Send>,
    file: Arc<str>,
    /// The current line, from 1.
    line: u64,
    place: Place,
}

impl Documents {
    pub(crate) fn new(reader: Box<dyn BufRead + Send>, file: Arc<str>) -> Self {
        Self { reader, file, line: 1, place: Place::Start }
    }

    pub(crate) fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// An error on a line.
    pub(crate) fn malformed(&self, line: u64, problem: impl Into<String>) -> InputError {
        InputError::Malformed { file: self.file.to_string(), at: Position::Line(line), problem: problem.into() }
    }

    /// Puts the next object into `object`, and returns the line on which it begins; [`None`] at the end.
    pub(crate) fn next(&mut self, object: &mut Vec<u8>) -> Result<Option<u64>, InputError> {
        object.clear();
        loop {
            let byte = self.next_byte()?;
            self.place = match (self.place, byte) {
                (Place::Start | Place::Sequence | Place::End, None) => return Ok(None),
                (_, None) => return Err(self.malformed(self.line, "the file ends within an array of JSON; it may be truncated")),
                (Place::Start, Some(b'[')) => Place::ArrayStart,
                (Place::ArrayStart | Place::AfterItem, Some(b']')) => Place::End,
                (Place::AfterItem, Some(b',')) => Place::AfterComma,
                (Place::AfterItem, Some(_)) => {
                    return Err(self.malformed(self.line, "not JSON: `,` or `]` is expected behind an object of an array"));
                }
                (Place::End, Some(_)) => return Err(self.malformed(self.line, "something follows the array of JSON; nothing is expected")),
                (place, Some(b'{')) => {
                    let line = self.line;
                    self.place = if matches!(place, Place::Start | Place::Sequence) { Place::Sequence } else { Place::AfterItem };
                    self.object(object)?;
                    return Ok(Some(line));
                }
                (Place::Start | Place::Sequence, Some(_)) => {
                    return Err(
                        self.malformed(self.line, "not a JSON object; objects one after another, or an array of them, are expected")
                    );
                }
                (_, Some(_)) => {
                    return Err(self.malformed(self.line, "the array of JSON holds something that is no object; objects are expected"));
                }
            };
            self.reader.consume(1);
        }
    }

    /// The next byte behind white space, which is not consumed; [`None`] at the end.
    fn next_byte(&mut self) -> Result<Option<u8>, InputError> {
        loop {
            let mark: &[u8] = if self.place == Place::Start { b"\xef\xbb\xbf" } else { b"" };
            let (line, chunk) = self.chunk()?;
            if chunk.is_empty() {
                return Ok(None);
            }
            // A byte order mark is no white space, and may stand first; its bytes begin nothing else.
            let blank = chunk.iter().take_while(|byte| byte.is_ascii_whitespace() || mark.contains(byte)).count();
            let blanks = chunk.get(..blank).unwrap_or_default();
            let lines = memchr_iter(b'\n', blanks).count() as u64;
            let found = chunk.get(blank).copied();
            self.line = line + lines;
            self.reader.consume(blank);
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// Reads an object, from its opening brace to the closing one.
    fn object(&mut self, object: &mut Vec<u8>) -> Result<(), InputError> {
        let begins = self.line;
        let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
        loop {
            let (_, chunk) = self.chunk()?;
            if chunk.is_empty() {
                return Err(self.malformed(begins, "the file ends within the JSON object that begins here; it may be truncated"));
            }
            let mut at = 0;
            let mut closed = false;
            while let Some(byte) = chunk.get(at) {
                at += 1;
                if escaped {
                    escaped = false;
                } else if in_text {
                    match byte {
                        b'"' => in_text = false,
                        b'\\' => escaped = true,
                        _ => {
                            let rest = chunk.get(at..).unwrap_or_default();
                            at += memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                        }
                    }
                } else {
                    match byte {
                        b'"' => in_text = true,
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        _ => {}
                    }
                    if depth == 0 {
                        closed = true;
                        break;
                    }
                }
            }
            let piece = chunk.get(..at).unwrap_or(chunk);
            let lines = memchr_iter(b'\n', piece).count() as u64;
            let fits = object.len() + at <= MAX_RECORD_BYTES;
            if fits {
                object.extend_from_slice(piece);
            }
            self.line += lines;
            self.reader.consume(at);
            if !fits {
                return Err(
                    self.malformed(begins, format!("the JSON object that begins here is longer than {} MiB", MAX_RECORD_BYTES >> 20))
                );
            }
            if closed {
                return Ok(());
            }
        }
    }

    /// The current line, and the bytes that are next: none at the end of the file.
    fn chunk(&mut self) -> Result<(u64, &[u8]), InputError> {
        loop {
            match self.reader.fill_buf() {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.malformed(self.line, format!("cannot be read: {error}"))),
            }
        }
        let (line, file) = (self.line, &self.file);
        let chunk = self.reader.fill_buf().map_err(|error| InputError::Malformed {
            file: file.to_string(),
            at: Position::Line(line),
            problem: format!("cannot be read: {error}"),
        })?;
        Ok((line, chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Cursor};

    fn split(text: &str, piece: usize) -> Result<Vec<(u64, String)>, String> {
        let reader = Box::new(BufReader::with_capacity(piece, Cursor::new(text.as_bytes().to_vec())));
        let mut documents = Documents::new(reader, "t".into());
        let (mut all, mut object) = (Vec::new(), Vec::new());
        while let Some(line) = documents.next(&mut object).map_err(|error| error.to_string())? {
            all.push((line, String::from_utf8(object.clone()).unwrap()));
        }
        Ok(all)
    }

    #[test]
    fn objects_are_found_wherever_a_buffer_ends() {
        let nested = "{\"a\":\"}\\\"]\",\n\"b\":[{\"c\":{}}]}";
        for (text, expected) in [
            ("[]", vec![]),
            (" [ \n ] \n", vec![]),
            ("", vec![]),
            ("[{\"a\":1},{\"a\":2}]", vec![(1, "{\"a\":1}"), (1, "{\"a\":2}")]),
            ("\u{feff}[\n{\"a\":1}\n,\n{}\n]\n", vec![(2, "{\"a\":1}"), (4, "{}")]),
            ("{\n}{}\n\n{\"a\":\"\\\\\"}", vec![(1, "{\n}"), (2, "{}"), (4, "{\"a\":\"\\\\\"}")]),
            (&format!("\n{nested}\n{nested}"), vec![(2, nested), (4, nested)]),
        ] {
            let expected: Vec<(u64, String)> = expected.into_iter().map(|(line, text)| (line, text.to_owned())).collect();
            for piece in [1, 2, 3, 7, 4096] {
                assert_eq!(split(text, piece).as_ref(), Ok(&expected), "{text:?} by {piece}");
            }
        }
    }

    #[test]
    fn what_is_no_object_is_named_by_its_line() {
        for (text, problem) in [
            ("[\n1]", "line 2: the array of JSON holds something that is no object"),
            ("[{}\n{}]", "line 2: not JSON: `,` or `]` is expected"),
            ("[{},\n]", "line 2: the array of JSON holds something that is no object"),
            ("[{}]\n{}", "line 2: something follows the array"),
            ("[{},", "line 1: the file ends within an array"),
            ("[\n{\"a\":[", "line 2: the file ends within the JSON object"),
            ("{}\n[{}]", "line 2: not a JSON object"),
            ("{}\n]", "line 2: not a JSON object"),
        ] {
            for piece in [1, 4096] {
                let error = split(text, piece).unwrap_err();
                assert!(error.starts_with("t, ") && error.contains(problem), "{text:?}: {error}");
            }
        }
    }
}

//! The encoding of a text file: given by `--encoding`, or detected from its beginning, and decoded to UTF-8 as it is read.
//!
//! UTF-8 is assumed unless a byte order mark, or zeros in every other byte, say UTF-16; CSV whose beginning is not UTF-8 may be Windows-1252. A guess
//! is held to the whole file: a byte that the encoding has no character for ends the load with its line, and so does one that Windows-1252 leaves
//! undefined. What the beginning makes look like another encoding is not guessed but named.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Decoder, DecoderResult, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use std::io::{self, Read};
use std::str::FromStr;

/// Bytes that are decoded at a time.
const PIECE_BYTES: usize = 64 << 10;
/// Bytes in which zeros are counted.
const COUNTED_BYTES: usize = 1_024;
/// The bytes that Windows-1252 leaves undefined. Browsers read them as control characters; in a file they mean that the encoding is another.
const UNDEFINED: [u8; 5] = [0x81, 0x8d, 0x8f, 0x90, 0x9d];

/// The encoding of a text file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding(&'static encoding_rs::Encoding);

impl Encoding {
    /// Its name in messages, as `--encoding` accepts it.
    pub(crate) fn name(self) -> String {
        self.0.name().to_ascii_lowercase()
    }

    /// Whether files need no decoding.
    pub(crate) fn is_utf8(self) -> bool {
        self.0 == UTF_8
    }
}

impl FromStr for Encoding {
    type Err = String;

    /// Parses a name of the WHATWG's list, such as `utf-16le` or `windows-1252`.
    fn from_str(text: &str) -> Result<Self, String> {
        // `latin1` and `ascii` are Windows-1252 there, as in browsers. `replacement` decodes nothing.
        let found = encoding_rs::Encoding::for_label_no_replacement(text.as_bytes());
        found.map(Self).ok_or_else(|| {
            format!("{text:?} is not an encoding; utf-8, utf-16le, utf-16be, windows-1252, iso-8859-15, shift_jis, gb18030 and the others of the WHATWG's list are accepted")
        })
    }
}

/// The encoding that the first bytes of a text file tell by themselves.
pub(crate) fn marked(head: &[u8]) -> Option<Encoding> {
    if head.starts_with(b"\xff\xfe") && !head.starts_with(b"\xff\xfe\0\0") {
        return Some(Encoding(UTF_16LE));
    }
    if head.starts_with(b"\xfe\xff") {
        return Some(Encoding(UTF_16BE));
    }
    // Without a mark: text that is mostly ASCII has a zero in every other byte, and none in the rest.
    let head = head.get(..COUNTED_BYTES).unwrap_or(head);
    let zeros = |first: usize| head.iter().skip(first).step_by(2).filter(|byte| **byte == 0).count();
    let most = |zeros: usize| head.len() >= 4 && zeros * 10 >= (head.len() / 2) * 7;
    match (zeros(0), zeros(1)) {
        (0, odd) if most(odd) => Some(Encoding(UTF_16LE)),
        (even, 0) if most(even) => Some(Encoding(UTF_16BE)),
        _ => None,
    }
}

/// The encoding of text without a mark, from its beginning; `whole` if that is the entire file. An error says what it looks like instead.
pub(crate) fn guess(sample: &[u8], whole: bool) -> Result<Encoding, String> {
    let broken = match std::str::from_utf8(sample) {
        Ok(_) => return Ok(Encoding(UTF_8)),
        Err(error) if error.error_len().is_none() && !whole => return Ok(Encoding(UTF_8)),
        Err(error) => error.valid_up_to(),
    };
    let line = 1 + memchr::memchr_iter(b'\n', sample.get(..broken).unwrap_or_default()).count();
    let ways = "set --encoding NAME, such as windows-1252";
    if sample.starts_with(b"\xef\xbb\xbf") {
        return Err(format!("line {line} is not UTF-8, which the file's byte order mark says it is; {ways}"));
    }
    if sample.contains(&0) {
        return Err(format!("line {line} is not UTF-8, and the file holds NUL bytes, so it may not be text; {ways}"));
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(sample, whole);
    let guess = detector.guess(None, Utf8Detection::Deny);
    let undefined = sample.iter().any(|byte| UNDEFINED.contains(byte));
    if guess == WINDOWS_1252 && !undefined {
        return Ok(Encoding(WINDOWS_1252));
    }
    let like = if guess == WINDOWS_1252 { String::new() } else { format!(" and looks like {}", guess.name().to_ascii_lowercase()) };
    Err(format!("line {line} is not UTF-8{like}; {ways}"))
}

/// Text in another encoding, as UTF-8. Reading fails behind the last character before bytes that are none.
pub(crate) struct Decoded<R> {
    inner: R,
    decoder: Decoder,
    encoding: Encoding,
    /// Whether the encoding was guessed.
    guessed: bool,
    raw: Vec<u8>,
    /// What of `raw` was not decoded yet starts here.
    at: usize,
    text: Vec<u8>,
    /// What of `text` was not read yet starts here.
    read: usize,
    ended: bool,
    /// What reading ends with once the text before it was read.
    failure: Option<io::Error>,
}

impl<R: Read> Decoded<R> {
    pub(crate) fn new(inner: R, encoding: Encoding, guessed: bool) -> Self {
        let decoder = encoding.0.new_decoder_without_bom_handling();
        let (raw, text) = (Vec::new(), Vec::new());
        Self { inner, decoder, encoding, guessed, raw, at: 0, text, read: 0, ended: false, failure: None }
    }

    /// Decodes until there is text, or the end.
    fn fill(&mut self) -> io::Result<()> {
        self.text.clear();
        self.read = 0;
        while self.text.is_empty() && !self.ended {
            if let Some(failure) = self.failure.take() {
                self.ended = true;
                return Err(failure);
            }
            if self.at == self.raw.len() {
                self.raw.clear();
                self.at = 0;
                if let Err(error) = self.inner.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut self.raw) {
                    // What was read before the failure comes first.
                    self.failure = Some(error);
                    if self.raw.is_empty() {
                        continue;
                    }
                }
            }
            self.decode();
        }
        Ok(())
    }

    fn decode(&mut self) {
        let rest = self.raw.get(self.at..).unwrap_or_default();
        let undefined =
            if self.guessed && self.encoding.0 == WINDOWS_1252 { rest.iter().position(|byte| UNDEFINED.contains(byte)) } else { None };
        let undefined_byte = undefined.and_then(|at| rest.get(at)).copied();
        let good = rest.get(..undefined.unwrap_or(rest.len())).unwrap_or(rest);
        let last = self.raw.is_empty() && self.failure.is_none();
        let room = self.decoder.max_utf8_buffer_length_without_replacement(good.len());
        self.text.resize(room.unwrap_or(good.len()), 0);
        let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(good, &mut self.text, last);
        self.text.truncate(written);
        self.at += read;
        match result {
            DecoderResult::InputEmpty => {
                self.ended = last;
                if let Some(byte) = undefined_byte {
                    let name = self.encoding.name();
                    self.fail(format!(
                        "byte 0x{byte:02x} stands for no character in {name}, which the beginning of the file looks like; set --encoding NAME"
                    ));
                }
            }
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(..) => {
                let name = self.encoding.name();
                self.fail(format!("bytes that are no character in {name} follow; set --encoding NAME if the file's is another"));
            }
        }
    }

    /// Ends the text here.
    fn fail(&mut self, problem: String) {
        self.failure = Some(io::Error::new(io::ErrorKind::InvalidData, problem));
        self.at = self.raw.len();
    }
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.text.len() {
            self.fill()?;
        }
        let rest = self.text.get(self.read..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.read += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8], name: &str, guessed: bool) -> (String, Option<String>) {
        let mut reader = Decoded::new(bytes, name.parse().unwrap(), guessed);
        let (mut text, mut buffer) = (Vec::new(), [0; 7]);
        let failure = loop {
            match reader.read(&mut buffer) {
                Ok(0) => break None,
                Ok(count) => text.extend_from_slice(&buffer[..count]),
                Err(error) => break Some(error.to_string()),
            }
        };
        (String::from_utf8(text).unwrap(), failure)
    }

    #[test]
    fn text_is_decoded_to_the_first_byte_that_is_none() {
        for (name, bytes, text) in [
            ("utf-16le", b"\xff\xfea\0\xe9\0\x3d\xd8\x00\xde".as_slice(), "\u{feff}aé\u{1f600}"),
            ("utf-16be", b"\0a\0\xe9", "aé"),
            ("windows-1252", b"a\x80\xe9\xff", "a€éÿ"),
            ("shift_jis", b"\x93\xfa\x96\x7b", "日本"),
            ("utf-16le", b"", ""),
        ] {
            assert_eq!(decoded(bytes, name, true), (text.to_owned(), None), "{name}");
        }
        // Asked for, an undefined byte is what browsers make of it; guessed, it says that the guess was wrong.
        assert_eq!(decoded(b"a\x81b", "windows-1252", false), ("a\u{81}b".to_owned(), None));
        for (name, bytes, text, problem) in [
            ("windows-1252", b"ab\x81c".as_slice(), "ab", "byte 0x81 stands for no character in windows-1252"),
            ("utf-16le", b"a\0b\0\x3d\xd8", "ab", "no character in utf-16le"),
            ("utf-16le", b"a\0\x3d\xd8b\0", "a", "no character in utf-16le"),
            ("utf-16be", b"\0a\0", "a", "no character in utf-16be"),
            ("shift_jis", b"ab\x93", "ab", "no character in shift_jis"),
        ] {
            let (read, failure) = decoded(bytes, name, true);
            assert!(read == text && failure.as_ref().is_some_and(|failure| failure.contains(problem)), "{name}: {read:?} {failure:?}");
        }
        let long: String = "äß€x".repeat(100_000);
        let bytes: Vec<u8> = long.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(decoded(&bytes, "utf-16le", true), (long, None));
    }

    #[test]
    fn what_the_beginning_tells() {
        let utf16 = |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        let name = |head: &[u8]| marked(head).map(Encoding::name).unwrap_or_default();
        assert_eq!(name(b"\xff\xfea\0"), "utf-16le");
        assert_eq!(name(b"\xfe\xff\0a"), "utf-16be");
        assert_eq!(name(&utf16("id,name\n1,Zürich\n", u16::to_le_bytes)), "utf-16le");
        assert_eq!(name(&utf16("id,name\n1,日本\n", u16::to_be_bytes)), "utf-16be");
        for head in [b"id,name\n".as_slice(), b"", b"a", b"\xff\xfe\0\0a\0\0\0", b"\0\0\0\0\0\0", b"a\0\0\0b\0\0\0", b"a\0b,c\n1,2"] {
            assert_eq!(name(head), "", "{head:?}");
        }
        let guessed = |sample: &[u8], whole| guess(sample, whole).map(Encoding::name);
        assert_eq!(guessed("a,é".as_bytes(), true), Ok("utf-8".to_owned()));
        assert_eq!(guessed(b"a,\xc3", false), Ok("utf-8".to_owned()));
        for text in [b"name,city\nM\xfcller,Z\xfcrich\n".as_slice(), b"ville\nOrl\xe9ans\nN\xeemes\n", b"price\n5 \x80\n", b"x\nni\xf1o\n"]
        {
            assert_eq!(guessed(text, true), Ok("windows-1252".to_owned()), "{text:?}");
        }
        for (text, problem) in [
            (b"\xef\xbb\xbfa,b\n\xe9,1\n".as_slice(), "line 2 is not UTF-8, which the file's byte order mark says it is"),
            (b"a,b\n\xe9\0,1\n", "NUL"),
            // Russian in Windows-1251, Japanese in Shift_JIS.
            (
                b"\xe3\xee\xf0\xee\xe4\n\xcc\xee\xf1\xea\xe2\xe0\n\xd1\xe0\xed\xea\xf2-\xcf\xe5\xf2\xe5\xf0\xe1\xf3\xf0\xe3\n",
                "line 1 is not UTF-8 and looks like windows-1251",
            ),
            (b"\x93\xfa\x96\x7b\n\x93\x8c\x8b\x9e\x82\xcc\x93\x56\x8b\x43\n", "line 1 is not UTF-8 and looks like shift_jis"),
        ] {
            let error = guessed(text, true).unwrap_err();
            assert!(error.contains(problem) && error.contains("--encoding"), "{error}");
        }
    }

    #[test]
    fn names_are_those_of_the_web() {
        for (text, name) in [
            ("UTF-8", "utf-8"),
            ("utf8", "utf-8"),
            ("latin1", "windows-1252"),
            ("cp1252", "windows-1252"),
            ("UTF-16", "utf-16le"),
            ("sjis", "shift_jis"),
        ] {
            assert_eq!(text.parse().map(Encoding::name), Ok(name.to_owned()), "{text}");
        }
        for text in ["", "utf-32", "klingon", "replacement"] {
            assert!(text.parse::<Encoding>().unwrap_err().contains("windows-1252"), "{text}");
        }
    }
}

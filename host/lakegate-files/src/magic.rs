//! Recognises files by their first bytes: unsupported ones (archives, other compressions, spreadsheets, documents), each with a name and advice on how
//! to make it readable; and JSON.

use super::InputFormat;
use super::compression::Compression;

/// Bytes inspected to detect a file's format and its delimiter.
pub(crate) const HEAD_BYTES: usize = 64 << 10;

/// The supported formats, for advice.
const FORMATS: &str = "parquet, csv, tsv, json and ipc (Arrow) are read, each also compressed with gzip, zstd, bzip2 or xz";

/// An unsupported format, and what the user can do.
pub(crate) struct Stranger {
    pub(crate) what: String,
    pub(crate) advice: String,
}

fn compressed(what: &str, command: &str) -> Stranger {
    Stranger {
        what: format!("compressed with {what}, which is not read"),
        advice: format!("decompress it first, as in `{command} FILE | lakegate load - …`; {FORMATS}"),
    }
}

fn other(what: &str, advice: &str) -> Stranger {
    Stranger { what: what.to_owned(), advice: format!("{advice}; {FORMATS}") }
}

/// The format of an unsupported file, whatever its name says. `unpacked` if this was compressed; `maybe_text` unless the user has specified a binary
/// format. Text is in UTF-8 here, whatever the file has.
pub(crate) fn stranger(head: &[u8], unpacked: bool, maybe_text: bool) -> Option<Stranger> {
    let begins = |magic: &[u8]| head.starts_with(magic);
    let is_binary = || head.get(..512).unwrap_or(head).contains(&0);
    let table = [
        (begins(&[0x04, 0x22, 0x4d, 0x18]) || begins(&[0x02, 0x21, 0x4c, 0x18]), "lz4 (.lz4)", "lz4 -dc"),
        (begins(b"LZIP\x01"), "lzip (.lz)", "lzip -dc"),
        (begins(&[0x1f, 0x9d]), "compress (.Z)", "gzip -dc"),
        (begins(b"\xff\x06\0\0sNaPpY"), "snappy", "snzip -dc"),
    ];
    if let Some((_, what, command)) = table.iter().find(|(is, ..)| *is) {
        return Some(compressed(what, command));
    }
    if let (true, Some(inner)) = (unpacked, Compression::detect(head)) {
        return Some(other(&format!("compressed twice: there is {} in it", inner.name()), "decompress it once first"));
    }
    if begins(b"PK\x03\x04") || begins(b"PK\x05\x06") || begins(b"PK\x07\x08") {
        return Some(zip(head));
    }
    let sheet = "save its sheets as CSV (UTF-8) first";
    let unpack = "unpack it first";
    let table = [
        (begins(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "a document of older Microsoft Office (.xls)", sheet),
        (begins(b"7z\xbc\xaf\x27\x1c"), "a 7z archive", unpack),
        (begins(b"Rar!\x1a\x07"), "a RAR archive", unpack),
        (
            head.get(257..262) == Some(b"ustar"),
            "a tar archive",
            "unpack it first, as in `tar -xOf FILE | lakegate load - …` for one file of it",
        ),
        (begins(b"%PDF-"), "a PDF document", "export the table as CSV (UTF-8) first"),
        (
            begins(b"SQLite format 3\0"),
            "an SQLite database",
            "export its tables first, as in `sqlite3 -csv -header FILE 'select * from …'`",
        ),
        (begins(b"Obj\x01"), "an Avro file", "convert it first"),
        (begins(b"ORC") && is_binary(), "an ORC file", "convert it first"),
        (begins(b"PARE"), "an encrypted Parquet file", "decrypt it first"),
        (begins(b"FEA1"), "a Feather file of version 1", "write it anew as Arrow IPC first"),
    ];
    if let Some((_, what, advice)) = table.iter().find(|(is, ..)| *is) {
        return Some(other(what, advice));
    }
    if begins(b"\xff\xfe\0\0") || begins(b"\0\0\xfe\xff") {
        return Some(other("text in UTF-32", "convert it first, as in `iconv -f UTF-32 -t UTF-8`"));
    }
    match text(head) {
        _ if !maybe_text => None,
        [0, ..] | [b'\t'..=b'~', 0, ..] => Some(other("not text: it begins with NUL bytes", "convert it first")),
        text if is_markup(text) => {
            Some(other("HTML or XML", "export the table as CSV (UTF-8) first; a download may have answered with a page"))
        }
        _ => None,
    }
}

fn zip(head: &[u8]) -> Stranger {
    let holds = |name: &[u8]| memchr::memmem::find(head, name).is_some();
    let sheet = "save its sheets as CSV (UTF-8) first";
    if holds(b"application/vnd.oasis.opendocument") {
        other("an OpenDocument file (.ods)", sheet)
    } else if holds(b"[Content_Types].xml") || holds(b"xl/") || holds(b"_rels/") {
        other("a document of Microsoft Office (.xlsx)", sheet)
    } else {
        other("a zip archive", "unpack it first, as in `unzip -p FILE | lakegate load - …` for one file of it")
    }
}

/// The beginning of a text, after a byte order mark and white space.
fn text(head: &[u8]) -> &[u8] {
    head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start()
}

fn is_markup(text: &[u8]) -> bool {
    let begins = |word: &str| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()));
    ["<!doctype", "<html", "<?xml", "<table", "<head"].into_iter().any(begins)
}

/// Whether it is an array of JSON. `format` is what the name or the user specifies; a header of CSV such as `[id],[name]` is none.
pub(crate) fn is_array(head: &[u8], format: Option<InputFormat>) -> bool {
    let [b'[', rest @ ..] = text(head) else { return false };
    match (format, rest.trim_ascii_start()) {
        (Some(InputFormat::Ndjson), _) => true,
        (Some(InputFormat::Csv | InputFormat::Tsv), rest) => matches!(rest, [b'{', ..] | [b']'] | []),
        (Some(InputFormat::Parquet | InputFormat::Ipc), _) => false,
        (None, rest) => matches!(rest, [b'{' | b'[' | b'"' | b']' | b'-' | b'0'..=b'9', ..] | []),
    }
}

/// Whether it is JSON that is not one object per line: an array, or an object of several lines.
pub(crate) fn is_document(head: &[u8]) -> bool {
    matches!(text(head), [b'{' | b'[', ..]) && !is_ndjson(head)
}

/// Whether the first line is a JSON object, whatever the file's name says.
pub(crate) fn is_ndjson(head: &[u8]) -> bool {
    let text = text(head);
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or(text);
    text.starts_with(b"{") && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &[u8], expected: &str) {
        let what = stranger(head, true, true).map(|it| format!("{}; {}", it.what, it.advice)).unwrap_or_default();
        assert!(what.is_empty() == expected.is_empty() && what.contains(expected), "{:?}: {what}", String::from_utf8_lossy(head));
    }

    #[test]
    fn strangers_are_named() {
        for (head, expected) in [
            (b"\x28\xb5\x2f\xfd\x20\x0c\x61\0\0id,name\n".as_slice(), "compressed twice: there is zstd in it"),
            (b"\x50\x2a\x4d\x18\0\0\0\0", "zstd"),
            (b"BZh91AY&SY\x01\x02", "bzip2"),
            (b"\xfd7zXZ\0\0\x04", "xz"),
            (b"\x04\x22\x4d\x18\x64", "lz4"),
            (b"\x1f\x9d\x90a", "compress"),
            (b"\x1f\x8b\x08\0", "compressed twice"),
            (b"LZIP\x01", "lzip"),
            (b"PK\x03\x04\x14\0\0\0a.csv", "a zip archive"),
            (b"PK\x03\x04\x14\0\0\0[Content_Types].xml", ".xlsx"),
            (b"PK\x03\x04\x14\0\0\0mimetypeapplication/vnd.oasis.opendocument.spreadsheet", ".ods"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", ".xls"),
            (b"7z\xbc\xaf\x27\x1c\0", "7z"),
            (b"Rar!\x1a\x07\x01\0", "RAR"),
            (b"%PDF-1.7\n", "PDF"),
            (b"SQLite format 3\0", "SQLite"),
            (b"Obj\x01\x04", "Avro"),
            (b"ORC\x11\0\0\n\x03", "ORC"),
            (b"\xff\xfe\0\0a\0\0\0", "UTF-32"),
            (b"\0\0\xfe\xff\0\0\0a", "UTF-32"),
            (b"a\0\0\0b\0\0\0", "NUL bytes"),
            (b"\0a\0,\0b", "NUL bytes"),
            (b"\xef\xbb\xbf \n<!DOCTYPE html><html>", "HTML"),
            (b"<?xml version=\"1.0\"?>", "XML"),
            (&[&[b'a'; 257][..], b"ustar\0"].concat(), "a tar archive"),
        ] {
            check(head, expected);
        }
    }

    #[test]
    fn what_only_looks_like_one_is_read() {
        for head in [
            b"".as_slice(),
            b"a,b\n1,2\n",
            b"ORC,b\n1,2\n",
            b"BZh9,x\n",
            b"PK,id\n",
            b"<id>,b\n",
            b"Obj,1\n",
            b"{\"a\":1}\n",
            b"PAR1",
            b"\xff\xff\xff\xff",
        ] {
            check(head, "");
        }
    }

    #[test]
    fn an_array_is_told_from_a_header_of_csv() {
        for head in [b"[{\"id\":1}]".as_slice(), b" [\n  {", b"[", b"\xef\xbb\xbf[]"] {
            for format in [None, Some(InputFormat::Csv), Some(InputFormat::Ndjson)] {
                assert!(is_array(head, format) && is_document(head), "{head:?} {format:?}");
            }
        }
        for (head, format, array) in [
            (b"[id],[name]\n".as_slice(), None, false),
            (b"[id],[name]\n", Some(InputFormat::Csv), false),
            (b"[1],[2]\n", Some(InputFormat::Csv), false),
            (b"[1,2]\n", None, true),
            (b"[id]\n", Some(InputFormat::Ndjson), true),
            (b"id,[name]\n", None, false),
        ] {
            assert_eq!(is_array(head, format), array, "{head:?} {format:?}");
        }
        assert!(is_ndjson(b" {\"a\":1}\n{") && !is_ndjson(b"{\"a\",b\n1,2\n") && !is_ndjson(b"{x},b\n"));
        assert!(is_document(b"{\n \"a\": 1\n}") && !is_document(b"{\"a\":1}\n{") && !is_document(b"a,b\n"));
    }
}

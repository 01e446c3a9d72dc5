//! Properties of CSV in any dialect: a table that was written is read back as it was, or refused by file and line.

use super::tests::{Files, cell};
use super::{CsvOptions, InputError, Location, ReadOptions, open, parse_override};
use arrow_array::Array;
use proptest::prelude::{ProptestConfig, Strategy, any};
use proptest::{prop_assert, prop_assert_eq, proptest};

/// A table, and how it is written.
#[derive(Debug, Clone)]
struct Written {
    names: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
    delimiter: char,
    quote: char,
    line_end: &'static str,
    /// Whether every value is quoted.
    all: bool,
    encoding: &'static str,
    mark: bool,
}

impl Written {
    fn text(&self) -> String {
        let quote = self.quote;
        let field = |text: &str| {
            let plain = !self.all && !text.is_empty() && !text.contains([self.delimiter, quote, '\n', '\r']);
            if plain { text.to_owned() } else { format!("{quote}{}{quote}", text.replace(quote, &format!("{quote}{quote}"))) }
        };
        let line = |fields: Vec<String>| fields.join(&self.delimiter.to_string()) + self.line_end;
        let header = line(self.names.iter().map(|name| field(name)).collect());
        header
            + &self
                .rows
                .iter()
                .map(|row| line(row.iter().map(|cell| cell.as_deref().map(field).unwrap_or_default()).collect()))
                .collect::<String>()
    }

    /// The file; [`None`] if the encoding lacks a character.
    fn bytes(&self) -> Option<Vec<u8>> {
        let text = if self.mark && self.encoding != "windows-1252" { format!("\u{feff}{}", self.text()) } else { self.text() };
        Some(match self.encoding {
            "utf-16le" => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            "utf-16be" => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            "windows-1252" => {
                let (bytes, _, lacks) = encoding_rs::WINDOWS_1252.encode(&text);
                (!lacks).then(|| bytes.into_owned())?
            }
            _ => text.into_bytes(),
        })
    }
}

fn written() -> impl Strategy<Value = Written> {
    let cell = proptest::option::of("[a-z0-9 ,;|\t\"'\n\r#éüß€日\u{1f600}]{0,6}|[0-9]{1,3}|[0-9]\\.[0-9]|true|2024-01-0[1-9]");
    let table = (2..5_usize).prop_flat_map(move |width| {
        let rows = proptest::collection::vec(proptest::collection::vec(cell.clone(), width), 0..12);
        (proptest::collection::btree_set("[a-z]{1,4}x", width), rows)
    });
    let form = (
        proptest::sample::select(vec![',', ';', '\t', '|']),
        proptest::sample::select(vec!['"', '\'']),
        proptest::sample::select(vec!["\n", "\r\n", "\r"]),
        proptest::sample::select(vec!["utf-8", "utf-16le", "utf-16be", "windows-1252"]),
        any::<(bool, bool)>(),
    );
    (table, form).prop_map(|((names, rows), (delimiter, quote, line_end, encoding, (all, mark)))| Written {
        names: names.into_iter().collect(),
        rows,
        delimiter,
        quote,
        line_end,
        all,
        encoding,
        mark,
    })
}

/// The names and the rows of a file, all as text.
type Texts = (Vec<String>, Vec<Vec<Option<String>>>);

fn read(bytes: &[u8], names: &[String], options: ReadOptions) -> Result<Texts, InputError> {
    let files = Files::new();
    let columns = names.iter().map(|name| parse_override(&format!("{name}=string")).unwrap()).collect();
    let (schema, rows) = open(&Location::File(files.file("t.csv", bytes)), &ReadOptions { columns, ..options })?;
    let names = schema.fields().iter().map(|field| field.name().clone()).collect();
    let mut all = Vec::new();
    for batch in rows {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            let cell = |column: &std::sync::Arc<dyn Array>| column.is_valid(row).then(|| cell(column, row));
            all.push(batch.columns().iter().map(cell).collect());
        }
    }
    Ok((names, all))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whoever says how a file is written gets what was written.
    #[test]
    fn what_is_written_in_a_dialect_that_is_said_is_read_back(written in written()) {
        let Some(bytes) = written.bytes() else { return Ok(()) };
        let csv = CsvOptions {
            delimiter: Some(written.delimiter.to_string().parse().unwrap()),
            quote: Some(written.quote.to_string().parse().unwrap()),
            header: Some(true),
            nulls: Vec::new(),
        };
        let options = ReadOptions { csv, encoding: Some(written.encoding.parse().unwrap()), ..ReadOptions::default() };
        let texts = read(&bytes, &written.names, options);
        prop_assert_eq!(texts.map_err(|error| error.to_string()), Ok((written.names.clone(), written.rows.clone())), "{:?}", written.text());
    }

    /// Detected, it is what was written, or the file is refused. (Single quotes are text where the file is a table without them.)
    #[test]
    fn what_is_written_in_any_dialect_is_read_back_or_refused(written in written()) {
        let written = Written { quote: '"', ..written };
        let Some(bytes) = written.bytes() else { return Ok(()) };
        // `ß€` in Windows-1252 is a letter in UTF-8, and nothing tells which is meant.
        if written.encoding == "windows-1252" && !bytes.is_ascii() && std::str::from_utf8(&bytes).is_ok() {
            return Ok(());
        }
        match read(&bytes, &written.names, ReadOptions::default()) {
            Ok(texts) => prop_assert_eq!(texts, (written.names.clone(), written.rows.clone()), "{:?}", written.text()),
            Err(error) => {
                let error = error.to_string();
                prop_assert!(error.contains("t.csv"), "{}", error);
                // Only an encoding may be in doubt here.
                prop_assert!(written.encoding != "utf-8" && error.contains("--encoding") || error.contains("NUL bytes"), "{}: {:?}", error, written.text());
            }
        }
    }

    /// A byte in its place or out of it: rows or an error that names the file.
    #[test]
    fn a_dialect_that_is_torn_is_read_or_refused(written in written(), at in any::<proptest::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let Some(mut bytes) = written.bytes() else { return Ok(()) };
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Err(error) = read(&bytes, &[], ReadOptions::default()) {
            prop_assert!(error.to_string().contains("t.csv"), "{}", error);
        }
    }
}

//! Detects the dialect of a CSV file from its beginning. What is detected is held to all of the file by its reader.
//!
//! - Line ends: `\r` if no `\n` is outside quotes.
//! - Delimiter: the format's usual one (a comma, or a tab for `.tsv`) if the first record contains it and every record has as many fields; or else
//!   that of `,` `;` tab and `|` which splits all records into the same number of fields, at least two; or else one that does so with most of them,
//!   so that the reader names the others. Where only the first record has no delimiter, the file is refused: it is no table of one column.
//! - Quote: `"`, or `'` where only that makes the records even.
//! - Header: the first record has names, unless it fits the types of all columns below it that are not text. (Years above other numbers are names.)

use super::dialect::{self, CsvDialect, Quote};
use super::infer::Seen;
use super::lines::Lines;
use super::options::CsvOptions;
use super::records::{Next, Record};
use super::{InputError, Position};
use std::io::Cursor;
use std::sync::Arc;

/// The delimiters that are detected.
const KNOWN: [u8; 4] = [b',', b';', b'\t', b'|'];
/// Number of records that are split.
const RECORDS: usize = 1_000;
/// Number of records in which types are looked for.
const TYPED_RECORDS: usize = 200;
/// Bytes of fields in which types are looked for.
const TYPED_BYTES: usize = 4 << 20;
/// Whole numbers that may be years.
const YEARS: std::ops::RangeInclusive<i64> = 1_000..=2_999;

/// The beginning of a file.
pub(crate) struct Sample {
    bytes: Arc<[u8]>,
    /// Whether that is all of it.
    whole: bool,
    file: Arc<str>,
}

/// A detected dialect.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sniffed {
    pub(crate) dialect: CsvDialect,
    /// What is unusual about it, each with the option that overrides it.
    pub(crate) unusual: Vec<(String, &'static str)>,
    /// Notes about what may be meant differently.
    pub(crate) doubts: Vec<String>,
}

impl Sample {
    pub(crate) fn new(bytes: &[u8], whole: bool, file: Arc<str>) -> Self {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).into();
        Self { bytes, whole, file }
    }

    /// Detects what `options` leave open; `usual` is the delimiter of the format.
    ///
    /// # Errors
    /// The options contradict each other, or only the first record has no delimiter.
    pub(crate) fn sniff(&self, usual: u8, options: &CsvOptions) -> Result<Sniffed, InputError> {
        let quote = options.quote.map_or(Some(b'"'), |Quote(quote)| quote);
        let line_end = if self.has_line_feed(quote) { b'\n' } else { b'\r' };
        let header = options.header.unwrap_or(true);
        let with = |delimiter| CsvDialect { delimiter, quote, line_end, header };
        let mut unusual = Vec::new();
        let mut doubts = Vec::new();
        let (dialect, fields) = match options.delimiter {
            Some(delimiter) => (with(delimiter.0), None),
            None => {
                let (dialect, fields, doubt) = self.delimiter(usual, with, options.quote.is_none())?;
                doubts.extend(doubt);
                (dialect, Some(fields))
            }
        };
        if dialect.quote == Some(dialect.delimiter) {
            let problem = "--quote and --delimiter are the same character".to_owned();
            return Err(InputError::Malformed { file: self.file.to_string(), at: Position::Whole, problem });
        }
        if let (true, Some(fields)) = (dialect.delimiter != usual, fields) {
            unusual.push((format!("with {} between {fields} columns", dialect::name(dialect.delimiter)), "--delimiter"));
        }
        if dialect.quote != quote {
            unusual.push(("with quotes '".to_owned(), "--quote"));
        }
        if line_end == b'\r' && memchr::memchr(b'\r', &self.bytes).is_some() {
            unusual.push(("with lines that end with \\r".to_owned(), ""));
        }
        let Some((first, below)) = self.head(dialect, &options.nulls) else { return Ok(Sniffed { dialect, unusual, doubts }) };
        let header = match (options.header, names_or_values(&first, &below)) {
            (Some(said), _) => said,
            (None, First::Names) => true,
            (None, First::NamesPerhaps) => {
                doubts.push(
                    "the first line is taken for the names of the columns, though it looks like values (set --no-header if it is a row)"
                        .to_owned(),
                );
                true
            }
            (None, First::Values) => {
                let columns = if first.len() == 1 { "column_1".to_owned() } else { format!("column_1 to column_{}", first.len()) };
                unusual.push((format!("without a header line, since the first looks like those below it: {columns}"), "--header"));
                false
            }
        };
        Ok(Sniffed { dialect: CsvDialect { header, ..dialect }, unusual, doubts })
    }

    /// The delimiter (and the quote, if that is open), the number of columns, and a note if it is in doubt.
    fn delimiter(
        &self,
        usual: u8,
        with: impl Fn(u8) -> CsvDialect,
        any_quote: bool,
    ) -> Result<(CsvDialect, usize, Option<String>), InputError> {
        let own = self.shape(with(usual));
        if own.is_even() {
            return Ok((with(usual), own.fields, None));
        }
        let others: Vec<(CsvDialect, Shape)> = KNOWN
            .into_iter()
            .filter(|delimiter| *delimiter != usual && with(usual).quote != Some(*delimiter))
            .map(|delimiter| (with(delimiter), self.shape(with(delimiter))))
            .collect();
        if let Some((dialect, shape)) = others.iter().filter(|(_, shape)| shape.is_even()).max_by_key(|(_, shape)| shape.fields) {
            return Ok((*dialect, shape.fields, None));
        }
        if any_quote && !self.bytes.contains(&b'"') && self.bytes.contains(&b'\'') {
            let single = |delimiter| CsvDialect { quote: Some(b'\''), ..with(delimiter) };
            let shapes = [usual].into_iter().chain(KNOWN).map(|delimiter| (single(delimiter), self.shape(single(delimiter))));
            if let Some((dialect, shape)) =
                shapes.filter(|(_, shape)| shape.is_even() && shape.quoted).max_by_key(|(_, shape)| shape.fields)
            {
                return Ok((dialect, shape.fields, None));
            }
        }
        // Uneven: the reader names the record that is.
        if own.fields > 1 && own.is_mostly_even() {
            return Ok((with(usual), own.fields, None));
        }
        if let Some((dialect, shape)) = others.iter().filter(|(_, shape)| shape.is_mostly_even()).max_by_key(|(_, shape)| shape.fitting) {
            return Ok((*dialect, shape.fields, None));
        }
        if own.fields <= 1
            && let Some((dialect, shape)) = others
                .iter()
                .chain([&(with(usual), own)])
                .find(|(_, shape)| shape.fields <= 1 && shape.common.is_some() && shape.records > 1)
        {
            let delimiter = dialect::name(dialect.delimiter);
            let problem = format!(
                "the first line has no delimiter, and most lines below it are {} columns between {delimiter}; take away what is above the header, or \
                 set --delimiter",
                shape.common.unwrap_or_default()
            );
            return Err(InputError::Malformed { file: self.file.to_string(), at: Position::Line(1), problem });
        }
        let doubtful = (own.fields == 1).then(|| others.iter().find(|(_, shape)| shape.fields > 1 || shape.common.is_some())).flatten();
        let note = doubtful.map(|(dialect, shape)| {
            let (other, usual) = (dialect::name(dialect.delimiter), dialect::name(usual));
            let seen = match shape.fields {
                2.. => format!("the header holds {other}, but the rows do not split by them evenly"),
                _ => format!("the row below the header holds {other}, the header does not"),
            };
            format!("{seen}: with {usual}, it is one column (set --delimiter to override)")
        });
        Ok((with(usual), own.fields, note))
    }

    /// Whether `\n` ends a line: a file of one line has no other end.
    fn has_line_feed(&self, quote: Option<u8>) -> bool {
        let (mut quoted, mut returns) = (false, false);
        for (at, byte) in self.bytes.iter().enumerate() {
            match byte {
                byte if Some(*byte) == quote => quoted = !quoted,
                b'\n' if !quoted => return true,
                // At the end of the sample, a `\n` may follow.
                b'\r' if !quoted => returns |= at + 1 < self.bytes.len() || self.whole,
                _ => {}
            }
        }
        !returns
    }

    /// The complete records of the sample.
    fn records(&self, dialect: CsvDialect, mut each: impl FnMut(Sampled<'_>) -> bool) {
        let cut = memchr::memrchr(dialect.line_end, &self.bytes).filter(|_| !self.whole);
        let bytes = cut.map_or_else(|| self.bytes.clone(), |at| self.bytes.get(..=at).unwrap_or_default().into());
        let mut lines = Lines::new(Box::new(Cursor::new(bytes)), self.file.clone()).ending_with(dialect.line_end);
        let mut record = Record::new(dialect);
        loop {
            let sampled = match record.read(&mut lines) {
                Ok(Next::End) => return,
                // A quote that is open at the end of the sample may be closed behind it.
                Err(_) if !self.whole => return,
                Err(_) => {
                    each(Sampled::Broken);
                    return;
                }
                Ok(Next::Broken(_)) => Sampled::Broken,
                Ok(Next::Record) if record.is_blank() => continue,
                Ok(Next::Record) => Sampled::Record(&record),
            };
            if !each(sampled) {
                return;
            }
        }
    }

    fn shape(&self, dialect: CsvDialect) -> Shape {
        let (mut counts, mut broken, mut quoted) = (Vec::new(), 0, false);
        self.records(dialect, |sampled| {
            match sampled {
                Sampled::Record(record) => {
                    counts.push(record.found());
                    quoted |= (0..record.kept()).any(|index| record.is_quoted(index));
                }
                Sampled::Broken => broken += 1,
            }
            counts.len() + broken < RECORDS
        });
        let fields = counts.first().copied().unwrap_or_default();
        let below = counts.get(1..).unwrap_or_default();
        let fitting = below.iter().filter(|count| **count == fields).count();
        let records = below.len() + broken;
        // The number of fields that most records have, if it is more than one.
        let mut sorted = below.to_vec();
        sorted.sort_unstable();
        let common = sorted.chunk_by(|a, b| a == b).max_by_key(|same| same.len()).filter(|same| same.len() * 2 > records);
        let common = common.and_then(|same| same.first()).copied().filter(|count| *count > 1);
        Shape { fields, records, fitting, quoted, common }
    }

    /// The first record, and those below it that are like it. Fields that are null are left out.
    fn head(&self, dialect: CsvDialect, nulls: &[String]) -> Option<(Texts, Vec<Texts>)> {
        let (mut records, mut bytes): (Vec<Texts>, usize) = (Vec::new(), 0);
        let mut width = 0;
        self.records(dialect, |sampled| {
            let Sampled::Record(record) = sampled else { return true };
            if records.is_empty() {
                width = record.found();
            }
            if record.found() == width && record.kept() == width {
                let text = |index| {
                    let text = record.field(index)?;
                    let is_null = !record.is_quoted(index) && (text.is_empty() || nulls.iter().any(|null| null == text));
                    (!is_null).then(|| text.to_owned())
                };
                let texts: Texts = (0..width).map(text).collect();
                bytes += width * size_of::<Option<String>>() + texts.iter().flatten().map(String::len).sum::<usize>();
                records.push(texts);
            }
            records.len() <= TYPED_RECORDS && bytes < TYPED_BYTES
        });
        let below = records.split_off(records.len().min(1));
        records.pop().map(|first| (first, below))
    }
}

/// The fields of a record.
type Texts = Vec<Option<String>>;

/// What is in a sample.
enum Sampled<'a> {
    Record(&'a Record),
    Broken,
}

/// How a dialect splits the records.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// Number of fields in the first record.
    fields: usize,
    /// Number of records below it.
    records: usize,
    /// How many of them have as many fields.
    fitting: usize,
    /// Whether a field is quoted.
    quoted: bool,
    /// The number of fields of most records below the first, if it is more than one.
    common: Option<usize>,
}

impl Shape {
    /// Whether all records have the same number of fields, at least two.
    fn is_even(&self) -> bool {
        self.fields > 1 && self.fitting == self.records
    }

    /// Whether most of them do.
    fn is_mostly_even(&self) -> bool {
        self.fields > 1 && self.fitting * 2 > self.records
    }
}

/// What the first record has.
#[derive(Debug, PartialEq, Eq)]
enum First {
    Names,
    /// Names, though some of them look like the values below.
    NamesPerhaps,
    Values,
}

fn names_or_values(first: &[Option<String>], below: &[Texts]) -> First {
    let (mut fitting, mut others, mut years, mut values_are_years) = (0, 0, 0, true);
    for (index, name) in first.iter().enumerate() {
        let Some(name) = name else { continue };
        let values = || below.iter().filter_map(|row| row.get(index)?.as_deref());
        let seen = values().map(Seen::from_text).fold(Seen::Nothing, Seen::merge);
        if matches!(seen, Seen::Nothing | Seen::Text | Seen::Json) {
            continue;
        }
        let of_name = Seen::from_text(name);
        if seen.merge(of_name) == Seen::Text {
            others += 1;
            continue;
        }
        fitting += 1;
        if is_year(name) {
            years += 1;
            values_are_years &= values().all(is_year);
        }
    }
    match (fitting, others) {
        (0, _) => First::Names,
        (_, 1..) => First::NamesPerhaps,
        _ if years == fitting && !values_are_years => First::NamesPerhaps,
        _ => First::Values,
    }
}

fn is_year(text: &str) -> bool {
    text.len() == 4 && text.parse().is_ok_and(|number| YEARS.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sniffed(content: &[u8], whole: bool, usual: u8) -> Result<Sniffed, String> {
        let sample = Sample::new(content, whole, "t.csv".into());
        sample.sniff(usual, &CsvOptions::default()).map_err(|error| error.to_string())
    }

    /// `said` is what is unusual, or in doubt.
    #[track_caller]
    fn check(content: &str, usual: u8, delimiter: char, said: &str) {
        let sniffed = sniffed(content.as_bytes(), true, usual).unwrap();
        assert_eq!(char::from(sniffed.dialect.delimiter), delimiter, "{content:?}");
        let all: Vec<String> = sniffed.unusual.into_iter().map(|(said, _)| said).chain(sniffed.doubts).collect();
        assert!(all.is_empty() == said.is_empty() && all.iter().any(|one| one.contains(said)) != said.is_empty(), "{content:?}: {all:?}");
    }

    #[test]
    fn the_usual_delimiter_is_kept_where_it_fits() {
        for content in
            ["a,b\n1,2\n", "a;b,c\n1;2,3\n", "a\n1\n", "", "a,b\nx;1,2;2\n", "\"a;b\"\n1\n", "a,b\r\n\r\n1,2\r\n", "\n\na,b\n1,2\n"]
        {
            check(content, b',', ',', "");
        }
        check("a\tb\n1\t2\n", b'\t', '\t', "");
    }

    #[test]
    fn another_one_is_noticed() {
        check("city;people\nBern;133000\n", b',', ';', "with semicolons between 2 columns");
        check("a;b\n1,5;2,5\n", b',', ';', "semicolons");
        check("a|b|c\n1|2|3", b',', '|', "pipes");
        check("a\tb\n1\t2\n", b',', '\t', "tabs");
        check("a,b\n1,2\n", b'\t', ',', "commas between 2");
        check("a;b\n", b',', ';', "semicolons");
        check("\u{feff}\"a;x\";b\r\n\"1\n;\"\"2\";3\r\n", b',', ';', "2 columns");
        // Commas in the text of one row, semicolons in all rows.
        check("a,x;b\n1;2\n3;4\n", b',', ';', "semicolons");
        check("a;b;c\n1;2|3;4\n", b',', ';', "3 columns");
        // One record is ragged, which the reader names.
        check("a;b;c\n1;2;3\n1;2\n4;5;6\n7;8;9\n", b',', ';', "3 columns");
        check("a,b,c\n1,2,3\n1,2\n4,5,6\n", b',', ',', "");
    }

    #[test]
    fn a_header_that_may_be_a_list_is_told() {
        check("note; remark\nhello\n", b',', ',', "but the rows do not split by them evenly");
        check("a|b\n1|2|3\n", b',', ',', "the header holds pipes");
        check("a\n1;2\n", b',', ',', "the row below the header holds semicolons");
    }

    #[test]
    fn a_title_above_the_header_is_no_table_of_one_column() {
        for content in ["Sales\na;b;c\n1;2;3\n4;5;6\n", "Sales\n\na,b\n1,2\n3,4\n"] {
            let error = sniffed(content.as_bytes(), true, b',').unwrap_err();
            assert!(error.starts_with("t.csv, line 1: the first line has no delimiter") && error.contains("--delimiter"), "{error}");
        }
    }

    #[test]
    fn what_is_cut_off_does_not_count() {
        for content in ["a;b\n1;2\n3", "a;b\n1;\"", "a;b;c\nx;y;z\n"] {
            assert_eq!(sniffed(content.as_bytes(), false, b',').unwrap().dialect.delimiter, b';', "{content:?}");
        }
    }

    #[test]
    fn line_ends_quotes_and_headers() {
        let dialect = |content: &str| sniffed(content.as_bytes(), true, b',').unwrap().dialect;
        for (content, line_end) in [
            ("a,b\n1,2\n", b'\n'),
            ("a,b\r\n1,2\r\n", b'\n'),
            ("a,b\r1,2\r", b'\r'),
            ("\"a\nx\",b\r1,2\r", b'\r'),
            ("\"a\rx\",b\n1,2\n", b'\n'),
            ("a,b\r1,2\n", b'\n'),
            ("a", b'\n'),
        ] {
            assert_eq!(dialect(content).line_end, line_end, "{content:?}");
        }
        for (content, quote) in [
            ("a,b\n'x,y',2\n", b'\''),
            ("a;b\n'x;y';'2'\n", b'\''),
            // It is text where it is not needed.
            ("a,b\n'x',2\n", b'"'),
            ("a,b\n'tis,it's\n", b'"'),
            ("a,b\n\"x,'y\",2\n", b'"'),
        ] {
            assert_eq!(dialect(content).quote, Some(quote), "{content:?}");
        }
        for (content, first) in [
            ("a,b\n1,2\n", First::Names),
            ("a,b\nx,y\n", First::Names),
            ("1,2\n3,4\n", First::Values),
            ("x,2\ny,4\n", First::Values),
            ("x,2.5\ny,4\n", First::Values),
            ("x,2,n/a\ny,4,5\n", First::NamesPerhaps),
            ("x,2\ny,4.5\n", First::Values),
            ("2024-01-02,x\n2024-01-03,y\n", First::Values),
            ("2024-01-02T03:04:05Z\n2024-01-02T03:04:05.1234567Z\n", First::Values),
            ("1\n2\n", First::Values),
            ("1,2\n", First::Names),
            ("country,2019,2020\nCH,5,6\n", First::NamesPerhaps),
            ("country,2019,2020\nCH,5.5,6.5\n", First::NamesPerhaps),
            ("Ann,1985\nBob,1990\n", First::Values),
            (",a\n0,1\n", First::Names),
            (",5\n0,1\n", First::Values),
            ("true,x\nfalse,y\n", First::Values),
        ] {
            let sample = Sample::new(content.as_bytes(), true, "t".into());
            let (top, below) = sample.head(dialect(content), &[]).unwrap();
            assert_eq!(names_or_values(&top, &below), first, "{content:?}");
        }
    }
}

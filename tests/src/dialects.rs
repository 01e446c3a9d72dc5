//! Files of CSV as people have them, in many dialects and encodings, with the table that each of them is.

use std::fmt;

/// A file, and what it holds.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name, which is that of its table.
    pub name: String,
    /// What it shows; several cases may show the same.
    pub group: &'static str,
    /// The content.
    pub bytes: Vec<u8>,
    /// The encoding, as Python and DuckDB call it.
    pub encoding: &'static str,
    /// The table, or what a refusal says.
    pub holds: Result<Table, &'static str>,
}

/// Names of columns, and rows in which a null is [`None`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The names.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Option<String>>>,
}

impl Table {
    /// A table whose nulls are written `~`.
    #[must_use]
    pub fn new(columns: &[&str], rows: &[&[&str]]) -> Self {
        let cell = |text: &&str| (*text != "~").then(|| (*text).to_owned());
        Self {
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
            rows: rows.iter().map(|row| row.iter().map(cell).collect()).collect(),
        }
    }
}

/// How a table is written.
#[derive(Debug, Clone, Copy)]
struct Form {
    delimiter: char,
    quote: char,
    line_end: &'static str,
    encoding: Encoding,
}

#[derive(Debug, Clone, Copy)]
enum Encoding {
    Utf8,
    Utf8Mark,
    Utf16Le,
    Utf16LeMark,
    Utf16BeMark,
    Windows1252,
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Utf8 => "utf8",
            Self::Utf8Mark => "utf8_mark",
            Self::Utf16Le => "utf16le",
            Self::Utf16LeMark => "utf16le_mark",
            Self::Utf16BeMark => "utf16be_mark",
            Self::Windows1252 => "windows1252",
        })
    }
}

impl Encoding {
    const ALL: [Self; 6] = [Self::Utf8, Self::Utf8Mark, Self::Utf16Le, Self::Utf16LeMark, Self::Utf16BeMark, Self::Windows1252];

    fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Utf8Mark => "utf-8-sig",
            Self::Utf16Le => "utf-16-le",
            Self::Utf16LeMark | Self::Utf16BeMark => "utf-16",
            Self::Windows1252 => "cp1252",
        }
    }

    fn encode(self, text: &str) -> Vec<u8> {
        let utf16 = |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect();
        match self {
            Self::Utf8 => text.as_bytes().to_vec(),
            Self::Utf8Mark => format!("\u{feff}{text}").into_bytes(),
            Self::Utf16Le => utf16(text, u16::to_le_bytes),
            Self::Utf16LeMark => utf16(&format!("\u{feff}{text}"), u16::to_le_bytes),
            Self::Utf16BeMark => utf16(&format!("\u{feff}{text}"), u16::to_be_bytes),
            // The characters of the cases: those of Latin-1, and the euro sign.
            Self::Windows1252 => {
                text.chars().map(|letter| if letter == '€' { 0x80 } else { u8::try_from(u32::from(letter)).unwrap_or(b'?') }).collect()
            }
        }
    }
}

impl Form {
    /// The text of a table: fields are quoted where they have to be.
    fn write(self, table: &Table) -> String {
        let quote = self.quote;
        let field = |text: &str| {
            let is_plain = !text.is_empty() && !text.contains([self.delimiter, quote, '\n', '\r']);
            if is_plain { text.to_owned() } else { format!("{quote}{}{quote}", text.replace(quote, &format!("{quote}{quote}"))) }
        };
        let delimiter = self.delimiter.to_string();
        let line = |fields: Vec<String>| fields.join(&delimiter) + self.line_end;
        let header = line(table.columns.iter().map(|name| field(name)).collect());
        let row = |row: &Vec<Option<String>>| line(row.iter().map(|cell| cell.as_deref().map(field).unwrap_or_default()).collect());
        header + &table.rows.iter().map(row).collect::<String>()
    }
}

/// A table with what dialects have to tell apart.
fn orders() -> Table {
    Table::new(
        &["id", "city", "price", "note"],
        &[
            &["1", "Zürich", "5,50 €", "x"],
            &["2", "Orléans", "1;2|3", "~"],
            &["3", "Köln", "~", "two\nlines, \"quoted\""],
            &["4", "Malmö", "it's", "a\tb"],
        ],
    )
}

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = matrix();
    cases.extend(headers());
    cases.extend(values());
    cases.extend(shapes());
    cases.extend(refused());
    cases
}

/// The orders in each delimiter, line end and encoding.
fn matrix() -> Vec<Case> {
    let mut cases = Vec::new();
    for (delimiter, word) in [(',', "comma"), (';', "semicolon"), ('\t', "tab"), ('|', "pipe")] {
        for (line_end, end) in [("\n", "lf"), ("\r\n", "crlf"), ("\r", "cr")] {
            for encoding in Encoding::ALL {
                let table = orders();
                let form = Form { delimiter, quote: '"', line_end, encoding };
                let group = match (encoding, end) {
                    (Encoding::Utf8 | Encoding::Utf8Mark, "cr") => "UTF-8, lines that end with CR",
                    (Encoding::Utf8 | Encoding::Utf8Mark, _) => "UTF-8",
                    (Encoding::Windows1252, "cr") => "Windows-1252, lines that end with CR",
                    (Encoding::Windows1252, _) => "Windows-1252",
                    (_, "cr") => "UTF-16, lines that end with CR",
                    (_, _) => "UTF-16",
                };
                let bytes = encoding.encode(&form.write(&table));
                cases.push(Case { name: format!("{word}_{end}_{encoding}"), group, bytes, encoding: encoding.name(), holds: Ok(table) });
            }
        }
    }
    cases
}

fn case(name: &str, group: &'static str, text: &str, holds: Result<Table, &'static str>) -> Case {
    Case { name: name.to_owned(), group, bytes: text.as_bytes().to_vec(), encoding: "utf-8", holds }
}

/// Columns with and without names.
fn headers() -> Vec<Case> {
    let two = |rows: &[&[&str]]| Ok(Table::new(&["column_1", "column_2"], rows));
    let group = "no header line";
    vec![
        case("bare_numbers", group, "1,2\n3,4\n", two(&[&["1", "2"], &["3", "4"]])),
        case("bare_mixed", group, "a,2\nb,4\n", two(&[&["a", "2"], &["b", "4"]])),
        case("bare_dates", group, "2024-01-02;x\n2024-01-03;y\n", two(&[&["2024-01-02", "x"], &["2024-01-03", "y"]])),
        case("bare_nulls", group, "a,2\nb,\nc,5\n", two(&[&["a", "2"], &["b", "~"], &["c", "5"]])),
        case("years", "years as names", "country,2019,2020\nCH,5,6\n", Ok(Table::new(&["country", "2019", "2020"], &[&["CH", "5", "6"]]))),
        case(
            "index",
            "columns without a name",
            ",city\n0,Bern\n1,Thun\n",
            Ok(Table::new(&["column_1", "city"], &[&["0", "Bern"], &["1", "Thun"]])),
        ),
        case(
            "unnamed_last",
            "columns without a name",
            "a,b,\n1,2,\n3,4,\n",
            Ok(Table::new(&["a", "b", "column_3"], &[&["1", "2", "~"], &["3", "4", "~"]])),
        ),
        case("twice", "columns of one name", "a,a,b\n1,2,3\n", Ok(Table::new(&["a", "a_1", "b"], &[&["1", "2", "3"]]))),
        case("twice_taken", "columns of one name", "a,a,a_1\n1,2,3\n", Ok(Table::new(&["a", "a_2", "a_1"], &[&["1", "2", "3"]]))),
        case("header_alone", "a header alone", "a,b\n", Ok(Table::new(&["a", "b"], &[]))),
        case("quoted_names", "names in quotes", "\"a b\",\"c,d\"\n1,2\n", Ok(Table::new(&["a b", "c,d"], &[&["1", "2"]]))),
        case("names_with_spaces", "names with spaces", " a,b \n1,2\n", Ok(Table::new(&[" a", "b "], &[&["1", "2"]]))),
    ]
}

/// Values that must stay as they are.
fn values() -> Vec<Case> {
    let two = |rows: &[&[&str]]| Ok(Table::new(&["a", "b"], rows));
    vec![
        case("zeros", "leading zeros and signs", "a,b\n007,+5\n08,-0\n", two(&[&["007", "+5"], &["08", "-0"]])),
        case("points", "numbers without a zero", "a,b\n.5,5.\n.25,6.\n", two(&[&[".5", "5."], &[".25", "6."]])),
        case("percents", "percent and thousands", "a,b\n5%,\"1,234\"\n6%,\"2,345\"\n", two(&[&["5%", "1,234"], &["6%", "2,345"]])),
        case("words", "words for nothing", "a,b\nNA,null\nnan,None\n", two(&[&["NA", "null"], &["nan", "None"]])),
        case(
            "large",
            "large numbers",
            "a,b\n12345678901234567890,0.1\n1,0.10000000000000001\n",
            two(&[&["12345678901234567890", "0.1"], &["1", "0.10000000000000001"]]),
        ),
        case("empties", "empty text and null", "a,b\n\"\",\n,\"\"\nx,y\n", two(&[&["", "~"], &["~", ""], &["x", "y"]])),
        case("spaces", "spaces around values", "a,b\n x, y \n z , w\n", two(&[&[" x", " y "], &[" z ", " w"]])),
        case("hashes", "lines that begin with #", "a,b\n#1,2\n#3,4\n", two(&[&["#1", "2"], &["#3", "4"]])),
        case(
            "dates",
            "dates of a country",
            "a,b\n01.02.2024,1/2/2024\n13.02.2024,31/12/2024\n",
            two(&[&["01.02.2024", "1/2/2024"], &["13.02.2024", "31/12/2024"]]),
        ),
        case("backslashes", "backslashes", "a,b\nC:\\x,\\N\n\"y\\\",z\n", two(&[&["C:\\x", "\\N"], &["y\\", "z"]])),
    ]
}

/// Quotes, line ends and lines.
fn shapes() -> Vec<Case> {
    let two = |rows: &[&[&str]]| Ok(Table::new(&["a", "b"], rows));
    let simple = || two(&[&["1", "2"], &["3", "4"]]);
    let latin = |text: &str| Encoding::Windows1252.encode(text);
    vec![
        case("no_last_end", "no end of the last line", "a,b\n1,2\n3,4", simple()),
        case("blank_lines", "blank lines", "\n\na,b\n\n1,2\n\n3,4\n\n", simple()),
        case("mixed_ends", "LF and CRLF in one file", "a,b\r\n1,2\n3,4\r\n", simple()),
        case("single_quotes", "single quotes", "a;b\n'x;y';'it''s'\n1;2\n", two(&[&["x;y", "it's"], &["1", "2"]])),
        case("apostrophes", "apostrophes", "a,b\n'tis,it's\nx,'y'\n", two(&[&["'tis", "it's"], &["x", "'y'"]])),
        case("inches", "a quote within a field", "a,b\n5\" pipe,1\nsix,2\n", two(&[&["5\" pipe", "1"], &["six", "2"]])),
        case("doubled", "doubled quotes", "a,b\n\"say \"\"x\"\"\",1\n\"\"\"\",2\n", two(&[&["say \"x\"", "1"], &["\"", "2"]])),
        case("return_in_quotes", "line ends in quotes", "a,b\n\"x\ry\",1\n\"x\r\ny\",2\n", two(&[&["x\ry", "1"], &["x\r\ny", "2"]])),
        case("one_column", "one column", "a\nx\ny\n", Ok(Table::new(&["a"], &[&["x"], &["y"]]))),
        case("one_column_null", "one column with a blank line", "a\nx\n\ny\n", Ok(Table::new(&["a"], &[&["x"], &["~"], &["y"]]))),
        case("list", "one column of lists", "tags\na;b\nc\nd;e;f\n", Ok(Table::new(&["tags"], &[&["a;b"], &["c"], &["d;e;f"]]))),
        case("commas_in_text", "commas in the text of `;`", "a;b\nx, y;1,5\nz;2,5\n", two(&[&["x, y", "1,5"], &["z", "2,5"]])),
        case("zero_byte", "a NUL in a value", "a,b\nx\0y,1\nz,2\n", two(&[&["x\0y", "1"], &["z", "2"]])),
        Case {
            name: "late_latin".into(),
            group: "Windows-1252 far from the beginning",
            bytes: latin(&format!("a,b\n{}é,2\n", "x,1\n".repeat(20_000))),
            encoding: "cp1252",
            holds: late(),
        },
    ]
}

fn late() -> Result<Table, &'static str> {
    let mut table = Table::new(&["a", "b"], &[]);
    let cell = |text: &str| Some(text.to_owned());
    table.rows = vec![vec![cell("x"), cell("1")]; 20_000];
    table.rows.push(vec![cell("é"), cell("2")]);
    Ok(table)
}

/// Files that are refused by name.
fn refused() -> Vec<Case> {
    let bytes = |name: &str, group: &'static str, bytes: &[u8], encoding: &'static str, said: &'static str| Case {
        name: name.to_owned(),
        group,
        bytes: bytes.to_vec(),
        encoding,
        holds: Err(said),
    };
    let ragged = "rows with more or fewer fields";
    vec![
        case("short", ragged, "a,b,c\n1,2,3\n4,5\n6,7,8\n", Err("line 3: the record has 2 fields, the header has 3")),
        case("long", ragged, "a,b\n1,2\n4,5,6\n6,7\n", Err("line 3: the record has 3 fields, the header has 2")),
        case("short_semicolons", ragged, "a;b;c\n1;2;3\n4;5\n6;7;8\n", Err("line 3: the record has 2 fields, the header has 3")),
        case("trailing", ragged, "a,b\n1,2,\n3,4,\n", Err("line 2: the record has 3 fields, the header has 2")),
        case("title", "a title above the header", "Sales of 2024\n\na;b\n1;2\n3;4\n", Err("line 1: the first line has no delimiter")),
        case("unclosed", "a quote that is never closed", "a,b\n1,\"2\n3,4\n", Err("line 2: a quote is opened here and never closed")),
        case("after_quote", "text behind a closing quote", "a,b\n\"x\"y,1\n", Err("line 2: field 1 continues after its closing quote")),
        case("space_quote", "a quote behind a space", "a,b\n1, \"x, y\"\n", Err("line 2: field 2 begins with spaces and a quote")),
        case(
            "escaped",
            "quotes escaped by backslashes",
            "a,b\n\"x \\\"y\\\"\",1\n",
            Err("line 2: field 1 continues after its closing quote"),
        ),
        case("empty", "an empty file", "", Err("line 1: the file is empty")),
        bytes(
            "shift_jis",
            "other encodings",
            b"a,b\n\x93\xfa\x96\x7b,\x93\x8c\x8b\x9e\n\x82\xcc\x93\x56\x8b\x43,1\n",
            "shift_jis",
            "looks like shift_jis",
        ),
        bytes(
            "windows_1251",
            "other encodings",
            b"\xe3\xee\xf0\xee\xe4,b\n\xcc\xee\xf1\xea\xe2\xe0,1\n\xd1\xe0\xed\xea\xf2-\xcf\xe5\xf2\xe5\xf0\xe1\xf3\xf0\xe3,2\n",
            "cp1251",
            "looks like windows-1251",
        ),
        bytes("utf32", "other encodings", b"\xff\xfe\0\0a\0\0\0\n\0\0\0x\0\0\0\n\0\0\0", "utf-32", "UTF-32"),
        bytes(
            "broken_utf16",
            "text that ends within a character",
            b"\xff\xfea\0,\0b\0\n\0x\0,\0\x3d",
            "utf-16",
            "line 2: cannot be read: bytes that are no character in utf-16le",
        ),
        bytes(
            "mark_that_lies",
            "a byte order mark above other text",
            b"\xef\xbb\xbfa,b\n\xe9t\xe9,1\n",
            "utf-8-sig",
            "line 2 is not UTF-8, which the file's byte order mark says it is",
        ),
    ]
}

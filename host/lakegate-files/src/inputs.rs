//! Resolves the arguments of a command line (files, patterns, `-`) to inputs with table names.

use super::{InputError, Location};
use std::path::{Path, PathBuf};

/// One input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Its location.
    pub location: Location,
    /// The table its rows belong to.
    pub table: String,
}

/// File extensions that denote a format and are not part of the table's name.
const ENDINGS: [&str; 11] = [".csv", ".tsv", ".ndjson", ".jsonl", ".json", ".parquet", ".pq", ".arrow", ".arrows", ".ipc", ".feather"];

/// Resolves files, patterns and `-`. An argument that names an existing file is that file, whatever characters it contains; others are patterns (`*`,
/// `?`, `[...]`, `**`), whose matches are sorted. Inputs of one table are adjacent, in the order in which the tables first appear.
///
/// # Errors
/// A pattern matches nothing or is malformed, or no table name can be derived from a file's name.
pub fn resolve(arguments: &[String], table: Option<&str>) -> Result<Vec<Input>, InputError> {
    let mut inputs: Vec<Input> = Vec::new();
    for argument in arguments {
        for location in locations(argument)? {
            let table = match table {
                Some(table) => table.to_owned(),
                None => table_name(&location).ok_or_else(|| InputError::NoTable { file: location.name() })?,
            };
            let after = inputs.iter().rposition(|input| input.table == table).map_or(inputs.len(), |last| last + 1);
            inputs.insert(after, Input { location, table });
        }
    }
    Ok(inputs)
}

fn locations(argument: &str) -> Result<Vec<Location>, InputError> {
    if argument == "-" {
        return Ok(vec![Location::Stdin]);
    }
    let is_pattern = argument.contains(['*', '?', '[']);
    if !is_pattern || Path::new(argument).exists() {
        return Ok(vec![Location::File(PathBuf::from(argument))]);
    }
    let bad = |problem: String| InputError::BadPattern { pattern: argument.to_owned(), problem };
    let mut found = Vec::new();
    for entry in glob::glob(argument).map_err(|error| bad(error.msg.to_owned()))? {
        let path = entry.map_err(|error| InputError::Io { file: error.path().display().to_string(), cause: error.into() })?;
        if path.is_file() {
            found.push(Location::File(path));
        }
    }
    if found.is_empty() { Err(InputError::NoMatch { pattern: argument.to_owned() }) } else { Ok(found) }
}

/// The table of a file: its name without folder, `.gz` and the format's extension.
fn table_name(location: &Location) -> Option<String> {
    let Location::File(path) = location else { return None };
    let name = path.file_name()?.to_str()?;
    let lower = name.to_ascii_lowercase();
    let rest = lower.strip_suffix(".gz").unwrap_or(&lower);
    let rest = ENDINGS.iter().find_map(|ending| rest.strip_suffix(ending)).unwrap_or(rest);
    let stem = name.get(..rest.len())?;
    (!stem.is_empty()).then(|| stem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(file: &str, table: Option<&str>) {
        assert_eq!(table_name(&Location::File(file.into())).as_deref(), table, "{file}");
    }

    #[test]
    fn table_names() {
        check("data/orders.csv", Some("orders"));
        check("orders.csv.gz", Some("orders"));
        check("orders.2024.parquet", Some("orders.2024"));
        check("ORDERS.CSV", Some("ORDERS"));
        check("ORDERS.CSV.GZ", Some("ORDERS"));
        check("orders", Some("orders"));
        check("orders.part", Some("orders.part"));
        check(".csv", None);
        assert_eq!(table_name(&Location::Stdin), None);
    }

    #[test]
    fn files_patterns_and_standard_input() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        for name in ["b.csv", "a.csv", "odd[1].csv"] {
            std::fs::write(dir.path().join(name), "x\n1\n").unwrap();
        }
        let tables =
            |arguments: &[String], table| resolve(arguments, table).unwrap().into_iter().map(|input| input.table).collect::<Vec<_>>();
        assert_eq!(tables(&[path("*.csv")], None), ["a", "b", "odd[1]"]);
        assert_eq!(tables(&[path("odd[1].csv")], None), ["odd[1]"]);
        assert_eq!(tables(&["-".to_owned()], Some("t")), ["t"]);
        assert!(matches!(resolve(&["-".to_owned()], None), Err(InputError::NoTable { .. })));
        assert!(matches!(resolve(&[path("*.json")], None), Err(InputError::NoMatch { .. })));
        assert!(matches!(resolve(&[path("[*.json")], None), Err(InputError::BadPattern { .. })));
    }

    #[test]
    fn inputs_of_one_table_stand_together() {
        let arguments = ["x/a.csv", "x/b.csv", "y/a.csv"].map(str::to_owned);
        let order: Vec<String> = resolve(&arguments, None).unwrap().iter().map(|input| input.location.name()).collect();
        assert_eq!(order, ["x/a.csv", "y/a.csv", "x/b.csv"]);
    }
}

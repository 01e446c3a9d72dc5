//! Resolves the arguments of a command line (files, folders, patterns, `-`) to inputs with table names.

use super::compression::without_ending;
use super::partitions::{self, HivePartitioning, Partition};
use super::{InputError, Location};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// One input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Its location.
    pub location: Location,
    /// The table its rows belong to.
    pub table: String,
    /// The columns whose values are in its path.
    pub partitions: Vec<Partition>,
}

impl Input {
    /// An input whose path has no columns.
    pub fn new(location: Location, table: String) -> Self {
        Self { location, table, partitions: Vec::new() }
    }
}

/// File extensions that denote a format and are not part of the table's name.
const ENDINGS: [&str; 11] = [".csv", ".tsv", ".ndjson", ".jsonl", ".json", ".parquet", ".pq", ".arrow", ".arrows", ".ipc", ".feather"];

/// Resolves files, folders, patterns and `-`. An argument that names an existing file is that file, whatever characters it contains, and a folder is
/// the files in it and in the folders in it, but for names that begin with `.` or `_`, which programs hide; others are patterns (`*`, `?`, `[...]`,
/// `**`), whose matches are sorted. Inputs of one table are adjacent, in the order in which the tables first appear.
///
/// A table is named after its file, or after the folder above those that are columns.
///
/// # Errors
/// A pattern matches nothing or is malformed, a folder holds nothing or cannot be read, no table name can be derived from a file's name, or folders that
/// are to be columns cannot be.
pub fn resolve(arguments: &[String], table: Option<&str>, hive: HivePartitioning) -> Result<Vec<Input>, InputError> {
    let mut inputs: Vec<Input> = Vec::new();
    for argument in arguments {
        let (fixed, locations) = locations(argument)?;
        let mut found = Vec::with_capacity(locations.len());
        for location in locations {
            let (partitions, above) = match (&location, hive) {
                (Location::File(path), HivePartitioning::On) => partitions::from_path(path)?,
                (Location::File(path), HivePartitioning::Auto) => {
                    let below = path.strip_prefix(&fixed).unwrap_or(path);
                    let (partitions, above) = partitions::from_path(below)?;
                    (partitions, above.or_else(|| fixed.file_name()?.to_str().map(str::to_owned)))
                }
                _ => (Vec::new(), None),
            };
            let above = above.filter(|_| !partitions.is_empty());
            let table = match table {
                Some(table) => table.to_owned(),
                None => above.or_else(|| table_name(&location)).ok_or_else(|| InputError::NoTable { file: location.name() })?,
            };
            found.push(Input { location, table, partitions });
        }
        for input in once(found) {
            let after = inputs.iter().rposition(|other| other.table == input.table).map_or(inputs.len(), |last| last + 1);
            inputs.insert(after, input);
        }
    }
    for same in inputs.chunk_by_mut(|a, b| a.table == b.table) {
        settle(same, hive)?;
    }
    Ok(inputs)
}

/// Leaves out the files of a table that an argument finds once more behind links: their rows would be written twice. The shortest path stays.
fn once(inputs: Vec<Input>) -> Vec<Input> {
    let file = |input: &Input| match &input.location {
        Location::File(path) => Some(((input.table.clone(), path.canonicalize().ok()?), path.components().count())),
        Location::Stdin => None,
    };
    let files: Vec<_> = inputs.iter().map(file).collect();
    let mut shortest: HashMap<&(String, PathBuf), (usize, usize)> = HashMap::new();
    for (at, (file, length)) in files.iter().enumerate().filter_map(|(at, file)| Some((at, file.as_ref()?))) {
        let known = shortest.entry(file).or_insert((*length, at));
        *known = (*known).min((*length, at));
    }
    let stays =
        |at: usize| files.get(at).and_then(Option::as_ref).is_none_or(|(file, _)| shortest.get(file).is_none_or(|(_, first)| *first == at));
    let stays: Vec<bool> = (0..inputs.len()).map(stays).collect();
    let (left, out): (Vec<_>, Vec<_>) = inputs.into_iter().zip(stays).partition(|(_, stays)| *stays);
    for (input, _) in out {
        tracing::warn!("{} is a file of {} that is read already, behind a link; it is left out", input.location.name(), input.table);
    }
    left.into_iter().map(|(input, _)| input).collect()
}

/// Settles which folders are columns of a table, and of which types.
fn settle(same: &mut [Input], hive: HivePartitioning) -> Result<(), InputError> {
    let names = |input: &Input| input.partitions.iter().map(|partition| partition.name.clone()).collect::<Vec<_>>();
    let Some(first) = same.first().map(names) else { return Ok(()) };
    if let Some(other) = same.iter().find(|input| names(input) != first) {
        let problem =
            format!("the columns in its folders are not those of {}", same.first().map_or_else(String::new, |first| first.location.name()));
        if hive == HivePartitioning::On {
            let Location::File(path) = &other.location else { return Ok(()) };
            return Err(partitions::not_columns(path, problem));
        }
        tracing::warn!("{}: {problem}, so that no folder is a column of {}", other.location.name(), other.table);
        same.iter_mut().for_each(|input| input.partitions.clear());
        return Ok(());
    }
    partitions::choose_types(&mut same.iter_mut().map(|input| &mut input.partitions).collect::<Vec<_>>());
    Ok(())
}

/// What an argument stands for, and the folder that is fixed in it.
fn locations(argument: &str) -> Result<(PathBuf, Vec<Location>), InputError> {
    if argument == "-" {
        return Ok((PathBuf::new(), vec![Location::Stdin]));
    }
    let path = Path::new(argument);
    if path.is_dir() {
        let mut found = Vec::new();
        files_within(path, 0, &mut found)?;
        return if found.is_empty() { Err(InputError::NoMatch { pattern: argument.to_owned() }) } else { Ok((path.to_owned(), found)) };
    }
    let is_pattern = argument.contains(['*', '?', '[']);
    if !is_pattern || path.exists() {
        let folder = path.parent().unwrap_or(path).to_owned();
        return Ok((folder, vec![Location::File(PathBuf::from(argument))]));
    }
    let bad = |problem: String| InputError::BadPattern { pattern: argument.to_owned(), problem };
    let mut found = Vec::new();
    for entry in glob::glob(argument).map_err(|error| bad(error.msg.to_owned()))? {
        let path = entry.map_err(|error| InputError::Io { file: error.path().display().to_string(), cause: error.into() })?;
        if path.is_file() {
            found.push(Location::File(path));
        }
    }
    let is_fixed = |component: &std::path::Component<'_>| !component.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let fixed: PathBuf = path.components().take_while(is_fixed).collect();
    if found.is_empty() { Err(InputError::NoMatch { pattern: argument.to_owned() }) } else { Ok((fixed, found)) }
}

/// How deep folders may lie in each other.
const MAX_DEPTH: usize = 64;

/// Adds the files of a folder, sorted. Folders behind links are not entered, since they may lead back.
fn files_within(folder: &Path, depth: usize, found: &mut Vec<Location>) -> Result<(), InputError> {
    let failed = |cause: std::io::Error| InputError::Io { file: folder.display().to_string(), cause };
    if depth > MAX_DEPTH {
        return Err(failed(std::io::Error::other(format!("it lies more than {MAX_DEPTH} folders deep"))));
    }
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") && !entry.file_name().as_encoded_bytes().starts_with(b"_") {
            entries.push((entry.path(), entry.file_type().map_err(failed)?.is_dir()));
        }
    }
    entries.sort();
    for (path, is_folder) in entries {
        if is_folder {
            files_within(&path, depth + 1, found)?;
        } else if path.is_file() {
            found.push(Location::File(path));
        }
    }
    Ok(())
}

/// The table of a file: its name without folder, the extension of a compressed form, and the format's.
fn table_name(location: &Location) -> Option<String> {
    let Location::File(path) = location else { return None };
    let name = path.file_name()?.to_str()?;
    let lower = name.to_ascii_lowercase();
    let rest = without_ending(&lower);
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
        check("orders.csv.zst", Some("orders"));
        check("orders.json.bz2", Some("orders"));
        check("orders.xz", Some("orders"));
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
        let tables = |arguments: &[String], table| {
            resolve(arguments, table, HivePartitioning::Auto).unwrap().into_iter().map(|input| input.table).collect::<Vec<_>>()
        };
        assert_eq!(tables(&[path("*.csv")], None), ["a", "b", "odd[1]"]);
        assert_eq!(tables(&[path("odd[1].csv")], None), ["odd[1]"]);
        assert_eq!(tables(&["-".to_owned()], Some("t")), ["t"]);
        assert!(matches!(resolve(&["-".to_owned()], None, HivePartitioning::Auto), Err(InputError::NoTable { .. })));
        assert!(matches!(resolve(&[path("*.json")], None, HivePartitioning::Auto), Err(InputError::NoMatch { .. })));
        assert!(matches!(resolve(&[path("[*.json")], None, HivePartitioning::Auto), Err(InputError::BadPattern { .. })));
    }

    #[test]
    fn a_folder_is_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let inside = |name: &str| dir.path().join(name);
        let found = |argument: &Path| {
            let inputs = resolve(&[argument.display().to_string()], None, HivePartitioning::Auto)?;
            Ok(inputs.into_iter().map(|input| (input.table, input.location.name())).collect::<Vec<_>>())
        };
        assert!(matches!(found(dir.path()), Err(InputError::NoMatch { .. })));
        for name in ["b.csv", "a/c.csv", "a/_SUCCESS", ".hidden.csv", "_delta_log/0.json", "a/d/e.json.gz"] {
            std::fs::create_dir_all(inside(name).parent().unwrap()).unwrap();
            std::fs::write(inside(name), "x\n1\n").unwrap();
        }
        assert_eq!(found(&inside("**/*.csv")).unwrap().len(), 3, "a pattern sees what is hidden behind a dot");
        #[cfg(unix)]
        std::os::unix::fs::symlink(dir.path(), inside("a/loop")).unwrap();
        let name = |name: &str| inside(name).display().to_string();
        let expected = [("c", "a/c.csv"), ("e", "a/d/e.json.gz"), ("b", "b.csv")].map(|(table, file)| (table.to_owned(), name(file)));
        assert_eq!(found(dir.path()).unwrap(), expected);
        assert_eq!(found(&inside("a/d")).unwrap(), expected[1..2]);
        // A pattern enters the loop, and finds each file forty times.
        let by_pattern = found(&inside("**/[bc].csv")).unwrap();
        assert_eq!(by_pattern, [("c", "a/c.csv"), ("b", "b.csv")].map(|(table, file)| (table.to_owned(), name(file))));
        #[cfg(unix)]
        std::os::unix::fs::symlink(inside("b.csv"), inside("a/latest.csv")).unwrap();
        assert_eq!(found(&inside("**/*b*.csv")).unwrap().len(), 1);
        assert_eq!(found(&inside("a/latest.csv")).unwrap().len(), 1, "a link by itself is a file");
        assert!(found(dir.path()).unwrap().iter().any(|(table, _)| table == "latest"), "and a table of its own by its name");
        let deep = (0..70).fold(inside("deep"), |path, _| path.join("d"));
        std::fs::create_dir_all(&deep).unwrap();
        assert!(found(&inside("deep")).unwrap_err().to_string().contains("more than 64 folders deep"));
    }

    #[test]
    fn folders_of_hive_are_columns_below_what_is_fixed() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("x=1/orders");
        for name in ["day=1/country=DE/a.csv", "day=20/country=FR/a.csv", "day=20/country=FR/b.csv"] {
            std::fs::create_dir_all(base.join(name).parent().unwrap()).unwrap();
            std::fs::write(base.join(name), "v\n1\n").unwrap();
        }
        let found = |argument: PathBuf, hive| {
            let inputs = resolve(&[argument.display().to_string()], None, hive).unwrap();
            let column = |it: &Partition| format!("{}={}", it.name, it.value.clone().unwrap_or_default());
            let shown = |input: Input| format!("{}: {}", input.table, input.partitions.iter().map(column).collect::<Vec<_>>().join(" "));
            inputs.into_iter().map(shown).collect::<Vec<_>>()
        };
        let expected = ["orders: day=1 country=DE", "orders: day=20 country=FR", "orders: day=20 country=FR"];
        assert_eq!(found(base.clone(), HivePartitioning::Auto), expected);
        assert_eq!(found(base.join("**/*.csv"), HivePartitioning::Auto), expected);
        assert_eq!(found(base.join("day=20"), HivePartitioning::Auto), ["day=20: country=FR", "day=20: country=FR"]);
        assert_eq!(found(base.join("day=1/country=DE/a.csv"), HivePartitioning::Auto), ["a: "]);
        assert_eq!(found(base.join("day=1/country=DE/a.csv"), HivePartitioning::On).len(), 1);
        assert!(found(base.clone(), HivePartitioning::On)[0].ends_with(": x=1 day=1 country=DE"));
        assert_eq!(found(base.clone(), HivePartitioning::Off), ["a: ", "a: ", "b: "]);
        // Not all files have the same folders.
        std::fs::write(base.join("day=1/c.csv"), "v\n1\n").unwrap();
        let all = found(base.clone(), HivePartitioning::Auto);
        assert!(all.len() == 4 && all.iter().all(|input| input == "orders: "), "{all:?}");
        let error = resolve(&[base.display().to_string()], None, HivePartitioning::On).unwrap_err().to_string();
        assert!(error.contains("the columns in its folders are not those of") && error.contains("--hive-partitioning off"), "{error}");
    }

    #[test]
    fn inputs_of_one_table_stand_together() {
        let arguments = ["x/a.csv", "x/b.csv", "y/a.csv"].map(str::to_owned);
        let order: Vec<String> =
            resolve(&arguments, None, HivePartitioning::Auto).unwrap().iter().map(|input| input.location.name()).collect();
        assert_eq!(order, ["x/a.csv", "y/a.csv", "x/b.csv"]);
    }
}

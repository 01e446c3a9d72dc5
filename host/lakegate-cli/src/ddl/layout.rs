//! Where the objects of a table are: the folder that all of them share, and below it Hive's folders (`name=value/`), each a column of the table.
//!
//! A layout comes from the path of a spec, or from the keys of a manifest. What a folder's value can be is said by its [`Value`]s in the first case, and
//! by the values themselves in the second.

use std::collections::BTreeSet;

/// A placeholder's part of a time, from the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unit {
    Year,
    Month,
    Day,
    Hour,
    Minute,
}

/// A piece of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    /// `{{COLUMN:name}}`.
    Column(String),
    /// `{{YEAR:name}}` and its like, or without a column the time of the write.
    Time(Option<String>, Unit),
    /// What differs between syncs, commits or objects.
    Varying(&'static str),
}

/// One of Hive's folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folder {
    /// As it is in keys.
    pub(super) name: String,
    pub(super) values: Values,
}

/// What is known of the values of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Values {
    /// What they are made of.
    Made(Vec<Piece>),
    /// All of them, as they are in keys.
    Known(BTreeSet<String>),
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// The folder of the table: empty, or with a slash at its end.
    pub(super) folder: String,
    pub(super) folders: Vec<Folder>,
    /// Below them there are folders that are no columns.
    pub(super) is_nested: bool,
    /// The folder is named by the table, so that it has no other's objects.
    pub(super) is_own: bool,
}

/// Placeholders that are the same text for all objects of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) table: &'a str,
    pub(super) extension: &'a str,
}

/// As in a spec: placeholders that differ within a table.
const VARYING: [&str; 6] = ["{{UUID}}", "{{SYNC_ID}}", "{{COMMIT_ID}}", "{{SEQ}}", "{{SHARD}}", "{{SCHEMA}}"];

/// Those of a time. With a colon for the braces, a column's name follows.
const TIMES: [(&str, Unit); 5] =
    [("{{YEAR", Unit::Year), ("{{MONTH", Unit::Month), ("{{DAY", Unit::Day), ("{{HOUR", Unit::Hour), ("{{MINUTE", Unit::Minute)];

/// The longest name of a column in a path.
const MAX_COLUMN_BYTES: usize = 255;

/// A column's name and `}}`, after the beginning of a placeholder.
fn column(text: &str) -> Option<(String, &str)> {
    let (name, rest) = text.split_once("}}")?;
    ((1..=MAX_COLUMN_BYTES).contains(&name.len()) && !name.contains(['{', '}'])).then(|| (name.to_owned(), rest))
}

/// The placeholder that a text begins with, and what follows it. A table's name is fixed text; a part of it is `is_table`.
fn placeholder<'a>(text: &'a str, names: &Names<'_>) -> Option<(Piece, bool, &'a str)> {
    let fixed = [
        ("{{TABLE}}", names.table.to_owned()),
        ("{{TABLE_HYPHEN}}", names.table.replace('_', "-")),
        ("{{FORMAT}}", names.extension.to_owned()),
    ];
    for (at, (written, value)) in fixed.into_iter().enumerate() {
        if let Some(rest) = text.strip_prefix(written) {
            return Some((Piece::Text(value), at < 2, rest));
        }
    }
    if let Some((varying, rest)) = VARYING.iter().find_map(|it| Some((*it, text.strip_prefix(it)?))) {
        return Some((Piece::Varying(varying), false, rest));
    }
    if let Some((name, rest)) = text.strip_prefix("{{COLUMN:").and_then(column) {
        return Some((Piece::Column(name), false, rest));
    }
    let (unit, rest) = TIMES.iter().find_map(|(beginning, unit)| Some((*unit, text.strip_prefix(beginning)?)))?;
    if let Some(rest) = rest.strip_prefix("}}") {
        return Some((Piece::Time(None, unit), false, rest));
    }
    let (name, rest) = column(rest.strip_prefix(':')?)?;
    Some((Piece::Time(Some(name), unit), false, rest))
}

/// A folder of a path, or the name of its objects.
#[derive(Debug, Default)]
struct Segment {
    pieces: Vec<Piece>,
    has_table: bool,
}

impl Segment {
    fn push(&mut self, text: &str) {
        match self.pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ if text.is_empty() => {}
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    /// Its text, if it is the same in all keys.
    fn fixed(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// As one of Hive's folders.
    fn folder(&self) -> Option<Folder> {
        let (Some(Piece::Text(first)), rest) = (self.pieces.first(), self.pieces.get(1..).unwrap_or_default()) else { return None };
        let (name, text) = first.split_once('=').filter(|(name, _)| !name.is_empty())?;
        let mut value = Vec::new();
        value.extend((!text.is_empty()).then(|| Piece::Text(text.to_owned())));
        value.extend_from_slice(rest);
        // The component writes names in small letters where the value begins with one of the rows', and is made of them and of text alone.
        let of_rows = |piece: &Piece| matches!(piece, Piece::Column(_) | Piece::Time(Some(_), _));
        let is_lowered = value.first().is_some_and(of_rows) && value.iter().all(|piece| of_rows(piece) || matches!(piece, Piece::Text(_)));
        Some(Folder { name: if is_lowered { name.to_lowercase() } else { name.to_owned() }, values: Values::Made(value) })
    }
}

fn segments(path: &str, names: &Names<'_>) -> Vec<Segment> {
    let mut segments = vec![Segment::default()];
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let (piece, is_table, after) = match placeholder(rest, names) {
            Some(found) => found,
            None => (Piece::Text(first.to_string()), false, rest.strip_prefix(first).unwrap_or_default()),
        };
        rest = after;
        let Some(last) = segments.last_mut() else { break };
        match piece {
            Piece::Text(text) => {
                // A table's name may have slashes.
                for (at, part) in text.split('/').enumerate() {
                    if at > 0 {
                        segments.push(Segment::default());
                    }
                    if let Some(last) = segments.last_mut() {
                        last.push(part);
                        last.has_table |= is_table;
                    }
                }
            }
            other => last.pieces.push(other),
        }
    }
    segments
}

impl Layout {
    /// Of a complete path.
    ///
    /// # Errors
    /// One of Hive's folders stands below one that varies and is none: no engine finds it there.
    pub(super) fn from_path(path: &str, names: &Names<'_>) -> Result<Self, String> {
        let mut segments = segments(path, names);
        // The objects' own name.
        segments.pop();
        let fixed = segments.iter().take_while(|segment| segment.fixed().is_some()).count();
        let below = segments.split_off(fixed);
        let folder: String = segments.iter().filter_map(Segment::fixed).map(|text| format!("{text}/")).collect();
        let mut folders = Vec::new();
        let mut is_nested = false;
        for segment in &below {
            match segment.folder() {
                None => is_nested = true,
                Some(folder) if is_nested => {
                    return Err(format!(
                        "the folder `{}=…` of `path` stands below a folder that is no column of the table; put Hive's folders (`name=value`) first",
                        folder.name
                    ));
                }
                Some(folder) => folders.push(folder),
            }
        }
        let is_own = segments.iter().any(|segment| segment.has_table);
        let mut names = BTreeSet::new();
        if let Some(twice) = folders.iter().find(|folder| !names.insert(folder.name.to_lowercase())) {
            return Err(format!("`path` has two folders `{}=…`, and a table has one column of that name", twice.name));
        }
        Ok(Self { folder, folders, is_nested, is_own })
    }

    /// Of the keys of a table's objects, at least one.
    ///
    /// # Errors
    /// They are not in the same folders.
    pub(super) fn from_keys<'a>(keys: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut known: Option<Self> = None;
        for key in keys {
            let key_folders = key.rsplit_once('/').map_or("", |(folders, _)| folders);
            let segments: Vec<&str> = if key_folders.is_empty() { Vec::new() } else { key_folders.split('/').collect() };
            let hive = |segment: &&str| segment.split_once('=').is_some_and(|(name, _)| !name.is_empty());
            let first = segments.iter().position(&hive).unwrap_or(segments.len());
            let (before, after) = segments.split_at(first);
            let of_table: Vec<&str> = after.iter().copied().take_while(&hive).collect();
            let nested = after.len() > of_table.len();
            if after.iter().skip(of_table.len()).any(&hive) {
                return Err(format!("{key:?} has one of Hive's folders below one that is none"));
            }
            let folder: String = before.iter().map(|segment| format!("{segment}/")).collect();
            let pairs = of_table.iter().filter_map(|segment| segment.split_once('='));
            let column = |(name, _): (&str, &str)| Folder { name: name.to_owned(), values: Values::Known(BTreeSet::new()) };
            let layout = known.get_or_insert_with(|| Self {
                folder: folder.clone(),
                folders: pairs.clone().map(column).collect(),
                is_nested: false,
                is_own: true,
            });
            if layout.folders.is_empty() && of_table.is_empty() {
                let shared = shared_folder(&layout.folder, &folder).to_owned();
                layout.is_nested |= shared.len() < folder.len() || shared.len() < layout.folder.len();
                layout.folder = shared;
                continue;
            }
            let is_same =
                layout.folder == folder && layout.folders.iter().map(|folder| folder.name.as_str()).eq(pairs.clone().map(|(name, _)| name));
            if !is_same {
                return Err(format!("{key:?} is in other folders than the objects before it, so they are no one table"));
            }
            layout.is_nested |= nested;
            for (folder, (_, value)) in layout.folders.iter_mut().zip(pairs) {
                if let Values::Known(values) = &mut folder.values {
                    values.insert(value.to_owned());
                }
            }
        }
        known.ok_or_else(|| "there is no object".to_owned())
    }

    /// The columns that are taken into keys whole.
    pub(super) fn columns_in_keys(path: &str) -> Vec<String> {
        let names = Names { table: "", extension: "" };
        let pieces = segments(path, &names).into_iter().flat_map(|segment| segment.pieces);
        pieces.filter_map(|piece| if let Piece::Column(name) = piece { Some(name) } else { None }).collect()
    }
}

/// The folder that two folders are in.
fn shared_folder<'a>(one: &'a str, other: &str) -> &'a str {
    let same = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    let end = one.as_bytes().get(..same).and_then(|same| same.iter().rposition(|byte| *byte == b'/')).map_or(0, |slash| slash + 1);
    one.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_path(path: &str) -> Result<Layout, String> {
        Layout::from_path(path, &Names { table: "aws_ec2", extension: "csv.gz" })
    }

    /// Folder, names of Hive's folders, whether there are others below, whether the folder is the table's own.
    fn shown(layout: Result<Layout, String>) -> Result<(String, Vec<String>, bool, bool), String> {
        layout.map(|it| (it.folder, it.folders.into_iter().map(|folder| folder.name).collect(), it.is_nested, it.is_own))
    }

    #[test]
    fn a_path_is_a_folder_and_columns_below_it() {
        for (path, folder, names, nested, own) in [
            ("raw/{{TABLE}}/{{UUID}}.{{FORMAT}}", "raw/aws_ec2/", vec![], false, true),
            ("raw/{{TABLE_HYPHEN}}/{{FORMAT}}/{{UUID}}", "raw/aws-ec2/csv.gz/", vec![], false, true),
            ("raw/{{TABLE}}.csv", "raw/", vec![], false, false),
            ("{{TABLE}}", "", vec![], false, false),
            ("raw/{{TABLE}}/{{YEAR}}/{{UUID}}", "raw/aws_ec2/", vec![], true, true),
            ("raw/{{YEAR}}/{{TABLE}}/{{UUID}}", "raw/", vec![], true, false),
            ("{{TABLE}}/Country={{COLUMN:c}}/Day={{YEAR:at}}-{{MONTH:at}}/{{SEQ}}", "aws_ec2/", vec!["country", "day"], false, true),
            ("{{TABLE}}/Day={{YEAR}}/{{SEQ}}", "aws_ec2/", vec!["Day"], false, true),
            ("{{TABLE}}/Day=d{{YEAR:at}}/{{SEQ}}", "aws_ec2/", vec!["Day"], false, true),
            ("kind=a/{{TABLE}}/c={{COLUMN:c}}/kind=b/{{COMMIT_ID}}/{{SEQ}}", "kind=a/aws_ec2/", vec!["c", "kind"], true, true),
            ("{{TABLE}}/c={{COLUMN:c}}", "aws_ec2/", vec![], false, true),
            ("{{TABLE}}/{{COLUMN:}}/x", "aws_ec2/{{COLUMN:}}/", vec![], false, true),
        ] {
            let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
            assert_eq!(shown(from_path(path)), Ok((folder.to_owned(), names, nested, own)), "{path}");
        }
        for (path, problem) in [
            ("{{TABLE}}/{{COMMIT_ID}}/c={{COLUMN:c}}/x", "`c=…` of `path` stands below a folder that is no column"),
            ("{{TABLE}}/c={{COLUMN:c}}/C={{YEAR}}/x", "two folders `C=…`"),
        ] {
            assert!(from_path(path).is_err_and(|found| found.contains(problem)), "{path}: {:?}", from_path(path));
        }
        let pieces = vec![
            Piece::Time(Some("at".to_owned()), Unit::Year),
            Piece::Text("-".to_owned()),
            Piece::Column("c d".to_owned()),
            Piece::Text("aws_ec2".to_owned()),
        ];
        assert_eq!(from_path("x/d={{YEAR:at}}-{{COLUMN:c d}}{{TABLE}}/x").unwrap().folders[0].values, Values::Made(pieces));
        assert_eq!(Layout::columns_in_keys("a={{COLUMN:a}}/{{YEAR:b}}/{{COLUMN:c}}-{{UUID}}"), ["a", "c"]);
    }

    #[test]
    fn keys_are_in_a_folder_and_have_values() {
        let layout_of = |keys: &[&str]| Layout::from_keys(keys.iter().copied());
        let values = |layout: &Layout| {
            let of = |folder: &Folder| match &folder.values {
                Values::Known(values) => values.iter().cloned().collect::<Vec<_>>().join(","),
                Values::Made(_) => panic!("{folder:?}"),
            };
            layout.folders.iter().map(|folder| format!("{}={}", folder.name, of(folder))).collect::<Vec<_>>()
        };
        for (keys, folder, expected, nested) in [
            (vec!["a/b/1.csv"], "a/b/", vec![], false),
            (vec!["1.csv"], "", vec![], false),
            (vec!["a/b/1.csv", "a/b/2.csv"], "a/b/", vec![], false),
            (vec!["a/b/1.csv", "a/bc/2.csv", "a/b/3.csv"], "a/", vec![], true),
            (vec!["t/c=x/d=1/1", "t/c=y/d=1/1", "t/c=x/d=2/1"], "t/", vec!["c=x,y", "d=1,2"], false),
            (vec!["t/c=x/z/1"], "t/", vec!["c=x"], true),
            (vec!["c=a=b/1"], "", vec!["c=a=b"], false),
        ] {
            let layout = layout_of(&keys).unwrap();
            assert_eq!(
                (layout.folder.as_str(), values(&layout), layout.is_nested),
                (folder, expected.iter().map(|it| (*it).to_owned()).collect(), nested),
                "{keys:?}"
            );
        }
        for keys in [vec![], vec!["t/c=x/1", "t/1"], vec!["t/1", "t/c=x/u/1", "t/d=x/1"], vec!["t/c=x/1", "u/c=x/1"], vec!["t/c=x/y/d=z/1"]]
        {
            layout_of(&keys).expect_err("no one table");
        }
    }
}

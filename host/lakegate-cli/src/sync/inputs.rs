//! The inputs of the file source, and the selection of tables by a configuration.

use super::super::config::{Source, SourcePlugin};
use super::super::exit::{CliError, Exit};
use super::shard::Shard;
use bytes::Bytes;
use lakegate_cloudquery::client::Selection;
use lakegate_files::{HivePartitioning, Input, MessageReader, ReadOptions, Spool, resolve};

/// The inputs of a shard: whole files are distributed in turn.
pub(super) fn share(inputs: Vec<Input>, shard: Option<Shard>) -> Vec<Input> {
    let Some(Shard { number, total }) = shard else { return inputs };
    // Shards are numbered from 1 to `total`.
    let (Ok(number), Ok(total)) = (usize::try_from(number - 1), usize::try_from(total)) else { return inputs };
    inputs.into_iter().skip(number).step_by(total).collect()
}

/// The inputs of a file source; none for other sources. Blocks.
///
/// # Errors
/// A file or file pattern is refused; a table pattern matches nothing (which sources on the CloudQuery SDKs refuse, too); or no table is left.
pub(in super::super) fn chosen(source: &Source) -> Result<Vec<Input>, CliError> {
    let SourcePlugin::Files { paths } = &source.plugin else { return Ok(Vec::new()) };
    let refused = |problem: String| CliError::new(Exit::Source, format!("source {:?}: {problem}", source.name));
    let mut inputs = resolve(paths, None, HivePartitioning::Off).map_err(|error| refused(error.to_string()))?;
    for (field, patterns) in [("tables", &source.tables), ("skip_tables", &source.skip_tables)] {
        if let Some(unused) = patterns.iter().find(|pattern| !inputs.iter().any(|input| matches(pattern, &input.table))) {
            let mut names: Vec<&str> = inputs.iter().map(|input| input.table.as_str()).collect();
            names.dedup();
            return Err(refused(format!("{field} include a pattern {unused} with no matches; the files are the tables {}", shown(&names))));
        }
    }
    let any = |patterns: &[String], table: &str| patterns.iter().any(|pattern| matches(pattern, table));
    inputs.retain(|input| any(&source.tables, &input.table) && !any(&source.skip_tables, &input.table));
    if inputs.is_empty() {
        return Err(refused("`tables` and `skip_tables` leave no table".to_owned()));
    }
    Ok(inputs)
}

/// How many table names an error lists.
const NAMES_SHOWN: usize = 20;

/// Formats the first of a list of names.
fn shown(names: &[&str]) -> String {
    let first = names.iter().take(NAMES_SHOWN).copied().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(NAMES_SHOWN) {
        Some(more @ 1..) => format!("{first} and {more} more"),
        _ => first,
    }
}
/// Whether a table pattern matches a name. As in CloudQuery's SDK, `*` matches any text, and every other character itself.
fn matches(pattern: &str, table: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = table.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        // The first match leaves the most text for the parts that follow.
        let Some((_, after)) = rest.split_once(piece) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// The table schemas of a file source. Runs on a blocking thread, since reading may block.
pub(in super::super) async fn file_tables(source: &Source, spool: Spool) -> Result<Vec<Bytes>, CliError> {
    let source = source.clone();
    let options = ReadOptions { spool, ..ReadOptions::default() };
    let read = tokio::task::spawn_blocking(move || Ok(MessageReader::schemas(&chosen(&source)?, &options)?));
    read.await.unwrap_or_else(|error| Err(CliError::new(Exit::Unexpected, error.to_string())))
}

/// The table selection of a configuration.
pub(in super::super) fn selection(source: &Source) -> Selection {
    Selection {
        tables: source.tables.clone(),
        skip_tables: source.skip_tables.clone(),
        skip_dependent_tables: source.skip_dependent_tables,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lakegate_files::Location;

    #[test]
    fn patterns_of_tables_are_the_sdks() {
        for (pattern, table, fits) in [
            ("*", "a", true),
            ("*", "", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("*a", "ba", true),
            ("a*a", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("**", "a", true),
            ("a?", "ab", false),
            ("a?", "a?", true),
            ("odd[1]", "odd[1]", true),
            ("[ab]", "a", false),
            ("A", "a", false),
            ("*é*", "né1", true),
        ] {
            assert_eq!(matches(pattern, table), fits, "{pattern} {table}");
        }
    }

    #[test]
    fn a_pattern_that_matches_no_file_is_refused_in_the_words_of_the_sdk() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["orders.csv", "cards.csv", "cards_old.ndjson"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let tables = |tables: &[&str], skip_tables: &[&str]| {
            let plugin = SourcePlugin::Files { paths: vec![folder.path().join("*").display().to_string()] };
            let (tables, skip_tables) = (texts(tables), texts(skip_tables));
            let source = Source { plugin, tables, skip_tables, ..Source::from_files("rows") };
            chosen(&source).map(|inputs| inputs.into_iter().map(|input| input.table).collect::<Vec<_>>()).map_err(|error| {
                assert_eq!(error.exit, Exit::Source);
                error.message
            })
        };
        assert_eq!(tables(&["*"], &[]), Ok(texts(&["cards", "cards_old", "orders"])));
        assert_eq!(tables(&["*"], &["cards*"]), Ok(texts(&["orders"])));
        assert_eq!(tables(&["orders", "cards"], &["cards"]), Ok(texts(&["orders"])));
        let known = "; the files are the tables cards, cards_old, orders";
        for (wanted, skipped, problem) in [
            (&["*"][..], &["card"][..], "skip_tables include a pattern card with no matches"),
            (&["*"], &["cards", "Orders"], "skip_tables include a pattern Orders with no matches"),
            (&["order"], &[], "tables include a pattern order with no matches"),
            (&["*", "x_*"], &[], "tables include a pattern x_* with no matches"),
            (&["order?"], &[], "tables include a pattern order? with no matches"),
        ] {
            assert_eq!(tables(wanted, skipped), Err(format!("source \"rows\": {problem}{known}")), "{wanted:?} {skipped:?}");
        }
        assert_eq!(tables(&["cards"], &["cards*"]), Err("source \"rows\": `tables` and `skip_tables` leave no table".to_owned()));
        let many: Vec<String> = (0..30).map(|number| format!("t{number}")).collect();
        assert!(shown(&many.iter().map(String::as_str).collect::<Vec<_>>()).ends_with("t19 and 10 more"));
    }

    #[test]
    fn shards_have_every_file_once() {
        let input = |name: &str| Input::new(Location::File(name.into()), "t".to_owned());
        let all: Vec<Input> = ["a", "b", "c", "d", "e"].map(input).into();
        for total in 1..=7 {
            let shard = |number| share(all.clone(), Some(Shard { number, total }));
            let shares: Vec<Vec<Input>> = (1..=total).map(shard).collect();
            let mut together = shares.concat();
            together.sort_by_key(|input| input.location.name());
            assert_eq!(together, all, "{total}");
            assert!(shares.iter().all(|share| share.len() <= all.len().div_ceil(total as usize)), "{total}");
        }
        assert_eq!(share(all.clone(), None), all);
    }
}

//! What a user may not expect of a plan: each a row of one table.

use super::spec::{Limits, SpecText};
use indicatif::{HumanBytes, HumanCount};
use lakegate::spec::Configuration;
use lakegate::{TableReport, WriteReport};
use serde::Serialize;

/// Objects of a table from which on small ones matter.
const MANY_OBJECTS: u64 = 10;

/// The average size below which objects are small: readers of tables want some ten times as much.
const SMALL_BYTES: u64 = 8 << 20;

/// What the rows of the table depend on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) configuration: &'a Configuration,
    /// What the spec says that the host does not.
    pub(super) spec: &'a SpecText,
    /// What would be written; [`None`] where only the source knows its rows.
    pub(super) report: Option<&'a WriteReport>,
    /// Whether `{{YEAR}}` to `{{MINUTE}}` stand for a time of the commit.
    pub(super) has_commit_time: bool,
    /// Encoders that work in parallel.
    pub(super) lanes: usize,
}

/// A warning that applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Warning {
    /// The name of its row.
    pub(super) name: &'static str,
    pub(super) text: String,
}

/// When a row applies, and what it says then.
type Rule = fn(&Facts<'_>) -> Option<String>;

/// The table.
const RULES: [(&str, Rule); 10] = [
    ("test_object", test_object),
    ("probes", probes),
    ("table_appended", table_appended),
    ("overwrites", overwrites),
    ("time_of_the_plan", time_of_the_plan),
    ("small_objects", small_objects),
    ("slow_source", slow_source),
    ("unfinished_uploads", unfinished_uploads),
    ("whole_bucket", whole_bucket),
    ("role", role),
];

/// The warnings of a plan.
pub(super) fn warnings(facts: &Facts<'_>) -> Vec<Warning> {
    RULES.iter().filter_map(|(name, rule)| Some(Warning { name, text: rule(facts)? })).collect()
}

fn test_object(facts: &Facts<'_>) -> Option<String> {
    let object = facts.configuration.test_object.as_ref()?;
    Some(format!("`test_write` puts an empty object that stays in the bucket: {}", object.key))
}

fn probes(facts: &Facts<'_>) -> Option<String> {
    let keys: Vec<&str> = facts.configuration.commit.probes.iter().map(|probe| probe.key.as_str()).collect();
    (!keys.is_empty())
        .then(|| format!("whether the store creates without replacing is seen by objects that stay in the bucket: {}", keys.join(", ")))
}

fn table_appended(facts: &Facts<'_>) -> Option<String> {
    let appended = facts.spec.appended.as_ref()?;
    Some(format!("`path` has no {{{{TABLE}}}}, so {appended} is appended to it"))
}

fn overwrites(facts: &Facts<'_>) -> Option<String> {
    const UNITS: [(&str, &str); 5] =
        [("{{MINUTE}}", "minute"), ("{{HOUR}}", "hour"), ("{{DAY}}", "day"), ("{{MONTH}}", "month"), ("{{YEAR}}", "year")];
    let key = facts.spec.key.as_str();
    let is_named = ["{{UUID}}", "{{SYNC_ID}}", "{{COMMIT_ID}}"].iter().any(|placeholder| key.contains(placeholder));
    if key.is_empty() || is_named || facts.configuration.commit.create_only.is_some() {
        return None;
    }
    let unit = UNITS.iter().find(|(placeholder, _)| key.contains(placeholder)).filter(|_| !facts.has_commit_time);
    let when = unit.map_or_else(|| "another run".to_owned(), |(_, unit)| format!("another run in the same {unit}"));
    let left = if key.contains("{{SEQ}}") { ", and leaves those that it has no more rows for" } else { "" };
    Some(format!("{when} replaces the objects of this one{left}: neither {{{{UUID}}}} nor {{{{COMMIT_ID}}}} is in `path`"))
}

fn time_of_the_plan(facts: &Facts<'_>) -> Option<String> {
    let has_clock = ["{{YEAR}}", "{{MONTH}}", "{{DAY}}", "{{HOUR}}", "{{MINUTE}}"].iter().any(|it| facts.spec.key.contains(it));
    (has_clock && !facts.has_commit_time && facts.report.is_some())
        .then(|| "the time in the keys is that of the plan; a run has the time at which it opens each object".to_owned())
}

fn small_objects(facts: &Facts<'_>) -> Option<String> {
    let is_small = |table: &&TableReport| table.objects >= MANY_OBJECTS && table.bytes / table.objects < SMALL_BYTES;
    let small: Vec<&TableReport> = facts.report?.tables.iter().filter(is_small).collect();
    let worst = small.iter().max_by_key(|table| table.objects)?;
    let Limits { rows, bytes, age } = &facts.spec.limits;
    let full = worst.receipts.iter().filter(|receipt| *rows > 0 && receipt.rows == *rows).count();
    let cause = if full * 2 > worst.receipts.len() {
        format!("`batch_size` ends them at {} rows", HumanCount(*rows))
    } else if facts.configuration.splittable && facts.lanes > 1 {
        format!("{} lanes write objects of one table at once (`--lanes`)", facts.lanes)
    } else {
        format!("`batch_size` ({rows}), `batch_size_bytes` ({bytes}) and `batch_timeout` ({age}) end them")
    };
    let others = if small.len() > 1 { format!(" ({} tables are like that)", small.len()) } else { String::new() };
    Some(format!(
        "table {} has {} objects of {} on average{others}, and many small objects are slow to read: {cause}",
        worst.table,
        HumanCount(worst.objects),
        HumanBytes(worst.bytes / worst.objects)
    ))
}

fn slow_source(facts: &Facts<'_>) -> Option<String> {
    let age = &facts.spec.limits.age;
    let rotates = ["{{UUID}}", "{{SEQ}}"].iter().any(|placeholder| facts.spec.key.contains(placeholder));
    // The source of files is not slow.
    (facts.report.is_none() && rotates && !is_zero(age))
        .then(|| format!("an object ends {age} after its first row (`batch_timeout`): a slow source makes many small ones"))
}

/// Whether a duration is zero or less: then there is no limit.
fn is_zero(duration: &str) -> bool {
    duration.starts_with('-') || !duration.contains(|character: char| matches!(character, '1'..='9'))
}

fn unfinished_uploads(facts: &Facts<'_>) -> Option<String> {
    let record = facts.configuration.commit.pending.as_ref()?;
    Some(format!(
        "every object is an unfinished upload until all tables have succeeded: a lifecycle rule with AbortIncompleteMultipartUpload must leave \
         uploads for longer than that takes; `lakegate commit --resume` also needs s3:GetObject on {record}"
    ))
}

fn whole_bucket(facts: &Facts<'_>) -> Option<String> {
    facts.spec.folder.is_empty().then(|| "keys have no folder in common, so the policy lets them be put anywhere in the bucket".to_owned())
}

fn role(facts: &Facts<'_>) -> Option<String> {
    let role = facts.configuration.target.credentials.role_arn.as_ref()?;
    Some(format!("in the policy, `sts:AssumeRole` is for the identity that assumes {role}, and everything else for the role itself"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lakegate::Receipt;
    use lakegate::spec::{CommitPlan, CredentialSource, ObjectAttributes, ObjectFacts, StorageTarget};
    use lakegate::store::{ObjectKey, OnExisting};

    fn spec(key: &str) -> SpecText {
        let limits = Limits { rows: 10_000, bytes: 50 << 20, age: "30s".to_owned() };
        SpecText { key: key.to_owned(), appended: None, folder: "raw/".to_owned(), manifest_folder: None, quarantine: None, limits }
    }

    const UUID: &str = "raw/{{TABLE}}/{{UUID}}";
    const SEQ: &str = "raw/{{TABLE}}/{{SEQ}}";

    /// A table with objects of these rows, of so many bytes each.
    fn report(rows: &[u64], bytes: u64) -> WriteReport {
        let receipt = |rows: &u64| Receipt {
            table: "t".into(),
            key: ObjectKey::parse("k").unwrap(),
            bytes,
            rows: *rows,
            etag: String::new(),
            checksum: None,
            was_there: false,
            partition: Vec::new(),
            facts: ObjectFacts::default(),
        };
        let receipts: Vec<Receipt> = rows.iter().map(receipt).collect();
        let objects = receipts.len() as u64;
        WriteReport { tables: vec![TableReport { table: "t".into(), objects, bytes: objects * bytes, receipts, ..TableReport::default() }] }
    }

    fn object(key: &str) -> ObjectAttributes {
        ObjectAttributes { key: key.to_owned(), ..ObjectAttributes::default() }
    }

    fn committing(commit: CommitPlan) -> Configuration {
        Configuration { commit, ..Configuration::default() }
    }

    fn exact() -> Configuration {
        committing(CommitPlan { create_only: Some(OnExisting::Verify), ..CommitPlan::default() })
    }

    /// A row's name, what it depends on, and a part of what it says, if anything.
    type Row<'a> = (&'a str, &'a Configuration, SpecText, Option<&'a WriteReport>, Option<&'a str>);

    #[test]
    fn each_row_says_so_where_it_applies_and_nothing_elsewhere() {
        let plain = Configuration::default();
        let tested = Configuration { test_object: Some(object("raw/TEST_TABLE")), ..Configuration::default() };
        let probed = committing(CommitPlan { probes: vec![object("raw/a"), object("raw/b")], ..CommitPlan::default() });
        let pending = committing(CommitPlan { pending: Some("raw/p.json".into()), ..CommitPlan::default() });
        let credentials = CredentialSource { role_arn: Some("arn:r".into()), ..CredentialSource::default() };
        let target = StorageTarget { credentials, ..StorageTarget::default() };
        let assumed = Configuration { target, ..Configuration::default() };
        let split = Configuration { splittable: true, ..Configuration::default() };
        let appended = SpecText { appended: Some("/{{TABLE}}.csv".into()), ..spec(UUID) };
        let no_age = |age: &str| SpecText { limits: Limits { rows: 10, bytes: 10, age: age.to_owned() }, ..spec(UUID) };
        let nowhere = SpecText { folder: String::new(), ..spec(UUID) };
        let some = report(&[1], 1);
        let (few, many) = (report(&[10_000; 9], 1_000), report(&[10_000; 20], 1_000));
        let (large, uneven) = (report(&[10_000; 20], 9 << 20), report(&[5, 6, 7, 8, 9, 5, 6, 7, 8, 9], 1_000));
        let exact = exact();
        let rows: Vec<Row<'_>> = vec![
            ("test_object", &plain, spec(UUID), None, None),
            ("test_object", &tested, spec(UUID), None, Some("stays in the bucket: raw/TEST_TABLE")),
            ("probes", &plain, spec(UUID), None, None),
            ("probes", &probed, spec(UUID), None, Some("raw/a, raw/b")),
            ("table_appended", &plain, spec(UUID), None, None),
            ("table_appended", &plain, appended, None, Some("`path` has no {{TABLE}}, so /{{TABLE}}.csv is appended")),
            ("overwrites", &plain, spec(UUID), None, None),
            ("overwrites", &plain, spec("raw/{{COMMIT_ID}}/{{TABLE}}"), None, None),
            ("overwrites", &plain, spec("raw/{{SYNC_ID}}/{{TABLE}}"), None, None),
            ("overwrites", &exact, spec(SEQ), None, None),
            // The keys of another component are its own.
            ("overwrites", &plain, spec(""), None, None),
            ("overwrites", &plain, spec("raw/{{TABLE}}"), None, Some("another run replaces the objects of this one: ")),
            ("overwrites", &plain, spec(SEQ), None, Some("of this one, and leaves those that it has no more rows for: ")),
            ("overwrites", &plain, spec("{{YEAR}}/{{MONTH}}/{{DAY}}/{{TABLE}}"), None, Some("another run in the same day replaces")),
            ("overwrites", &plain, spec("{{HOUR}}/{{MINUTE}}/{{TABLE}}"), None, Some("another run in the same minute replaces")),
            ("time_of_the_plan", &plain, spec(UUID), Some(&some), None),
            ("time_of_the_plan", &plain, spec("{{YEAR}}/{{UUID}}"), None, None),
            ("time_of_the_plan", &plain, spec("{{YEAR}}/{{UUID}}"), Some(&some), Some("the time in the keys is that of the plan")),
            ("small_objects", &plain, spec(UUID), None, None),
            ("small_objects", &plain, spec(UUID), Some(&few), None),
            ("small_objects", &plain, spec(UUID), Some(&large), None),
            ("small_objects", &plain, spec(UUID), Some(&many), Some("table t has 20 objects of 1000 B on average")),
            ("small_objects", &split, spec(UUID), Some(&many), Some("`batch_size` ends them at 10,000 rows")),
            ("small_objects", &split, spec(UUID), Some(&uneven), Some("4 lanes write objects of one table at once")),
            ("small_objects", &plain, spec(UUID), Some(&uneven), Some("`batch_timeout` (30s) end them")),
            ("slow_source", &plain, spec(UUID), Some(&some), None),
            ("slow_source", &plain, spec("raw/{{TABLE}}"), None, None),
            ("slow_source", &plain, no_age("0s"), None, None),
            ("slow_source", &plain, no_age("-1s"), None, None),
            ("slow_source", &plain, spec(SEQ), None, Some("an object ends 30s after its first row (`batch_timeout`)")),
            ("unfinished_uploads", &plain, spec(UUID), None, None),
            ("unfinished_uploads", &pending, spec(UUID), None, Some("AbortIncompleteMultipartUpload")),
            ("whole_bucket", &plain, spec(UUID), None, None),
            ("role", &plain, spec(UUID), None, None),
            ("whole_bucket", &plain, nowhere, None, Some("anywhere in the bucket")),
            ("role", &assumed, spec(UUID), None, Some("the identity that assumes arn:r")),
        ];
        for (name, configuration, spec, report, expected) in &rows {
            let facts = Facts { configuration, spec, report: *report, has_commit_time: false, lanes: 4 };
            let found = warnings(&facts).into_iter().find(|warning| warning.name == *name).map(|warning| warning.text);
            match (expected, &found) {
                (None, None) => {}
                (Some(expected), Some(text)) if text.contains(expected) => {}
                _ => panic!("{name} with {spec:?}: {found:?}, expected {expected:?}"),
            }
        }
        for (name, _) in RULES {
            assert!(rows.iter().any(|row| row.0 == name && row.4.is_some()), "{name} is never seen to apply");
        }
    }

    #[test]
    fn a_time_of_the_commit_is_the_same_in_every_run() {
        let (configuration, spec) = (Configuration::default(), spec("raw/{{YEAR}}/{{TABLE}}"));
        let some = report(&[1], 1);
        let facts = Facts { configuration: &configuration, spec: &spec, report: Some(&some), has_commit_time: true, lanes: 1 };
        let found: Vec<Warning> = warnings(&facts);
        assert_eq!(found.iter().map(|warning| warning.name).collect::<Vec<_>>(), ["overwrites"]);
        assert!(found[0].text.starts_with("another run replaces"), "{found:?}");
    }
}

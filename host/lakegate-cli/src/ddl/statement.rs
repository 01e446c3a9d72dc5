//! The statements for one table: the table, its partitions where they have to be registered, and a view where the table's types are not the source's.

use super::super::exit::{CliError, Exit};
use super::layout::Layout;
use super::partition::{DateRange, Facts, PartitionColumn, column};
use super::sql::{Dialect, is_plain, table_name, unusable};
use super::types::{self, Held};
use super::written::{CsvText, Engine, Format};
use arrow_schema::{Field, Schema};
use std::collections::{BTreeMap, HashSet};

/// What differs by engine, whatever the table is.
#[derive(Debug, Clone)]
pub(super) struct Dressing<'a> {
    pub(super) engine: Engine,
    pub(super) projection: bool,
    pub(super) database: Option<&'a str>,
    pub(super) prefix: &'a str,
    /// What stands in front of keys, with a slash at its end, where that is not the bucket.
    pub(super) location: Option<&'a str>,
    pub(super) range: Option<&'a DateRange>,
}

/// The columns of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Columns {
    /// With the types of their source.
    Typed(Schema),
    /// Names alone: what they hold is read as text.
    Texts(Vec<String>),
}

/// A table, and where and how its objects are written.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Columns,
    pub(super) bucket: String,
    pub(super) layout: Layout,
    pub(super) format: Format,
    /// The objects are compressed, and their keys do not end as readers expect then.
    pub(super) hides_compression: bool,
    pub(super) null_name: String,
    /// Columns of the source that are not in the objects.
    pub(super) dropped: Vec<String>,
}

/// What is printed for a table, and said beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Statements {
    /// The names that it makes.
    pub(super) names: Vec<String>,
    pub(super) text: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// The end of a view's name.
const VIEW: &str = "_typed";

/// Columns that a warning names.
const NAMES_SHOWN: usize = 10;

/// A column of the statement.
struct Column {
    name: String,
    held: Held,
}

/// Makes the statements.
///
/// # Errors
/// The engine cannot have such a table; the message says what would help.
pub(super) fn statements(table: &Table, dressing: &Dressing<'_>) -> Result<Statements, CliError> {
    Builder { table, dressing, warnings: Vec::new() }.build()
}

struct Builder<'a> {
    table: &'a Table,
    dressing: &'a Dressing<'a>,
    warnings: Vec<String>,
}

impl Builder<'_> {
    fn build(mut self) -> Result<Statements, CliError> {
        let name = format!("{}{}", self.dressing.prefix, table_name(&self.table.name));
        if name != self.table.name {
            let names = format!("catalogs take small letters, digits and underscores, so it is `{name}` there");
            if self.dressing.prefix.is_empty() {
                self.warn(&names);
            }
        }
        let location = self.location()?;
        let is_projected = self.is_projected(&location);
        let partitions = self.partitions(is_projected);
        let columns = self.columns(&partitions)?;
        self.warn_of_files(&partitions);
        let table = Dialect::Hive.table(self.dressing.database, &name);
        let mut text = vec![match self.dressing.engine {
            Engine::Athena => self.athena(&table, &columns, &partitions, &location),
            Engine::Spark => self.spark(&table, &columns, &partitions, &location),
        }];
        if !partitions.is_empty() && !is_projected {
            text.push(repair(&table, &partitions, &location));
        }
        let mut names = vec![name.clone()];
        if columns.iter().any(|column| column.held.typed.is_some()) {
            let view = format!("{name}{VIEW}");
            text.push(self.view(&name, &view, &columns, &partitions));
            names.push(view);
        }
        Ok(Statements { names, text, warnings: self.warnings })
    }

    fn warn(&mut self, warning: &str) {
        self.warnings.push(format!("table {:?}: {warning}", self.table.name));
    }

    fn refuse(&self, exit: Exit, problem: &str) -> CliError {
        CliError::new(exit, format!("table {:?}: {problem}", self.table.name))
    }

    fn location(&self) -> Result<String, CliError> {
        let Table { bucket, layout, .. } = self.table;
        match self.dressing.location {
            Some(location) => Ok(format!("{location}{}", layout.folder)),
            None if bucket.contains(':') => Err(self.refuse(
                Exit::Spec,
                &format!("no engine reads from {bucket:?}; name the bucket, or the alias of its access point, with --location s3://NAME/"),
            )),
            None => Ok(match self.dressing.engine {
                Engine::Athena => format!("s3://{bucket}/{}", layout.folder),
                Engine::Spark => format!("s3a://{bucket}/{}", layout.folder),
            }),
        }
    }

    /// Whether Athena projects the partitions.
    fn is_projected(&mut self, location: &str) -> bool {
        let folders = &self.table.layout.folders;
        if folders.is_empty() || !self.dressing.projection || self.dressing.engine != Engine::Athena {
            return false;
        }
        let odd = folders.iter().find(|folder| !is_plain(&folder.name)).map(|folder| folder.name.clone());
        if let Some(name) = odd {
            self.warn(&format!("a projection has no columns with names such as {name:?}, so partitions have to be registered"));
            return false;
        }
        if location.contains('$') {
            self.warn("a projection has no folders with `$` in their name, so partitions have to be registered");
            return false;
        }
        true
    }

    fn partitions(&mut self, is_projected: bool) -> Vec<PartitionColumn> {
        let schema = if let Columns::Typed(schema) = &self.table.columns { Some(schema) } else { None };
        let facts = Facts { schema, null_name: &self.table.null_name, range: self.dressing.range, is_projected };
        let mut warnings = Vec::new();
        let columns = self.table.layout.folders.iter().map(|folder| column(folder, &facts, &mut warnings)).collect();
        warnings.iter().for_each(|warning: &String| self.warn(warning));
        columns
    }

    /// The columns in the objects that are columns of the table.
    fn columns(&mut self, partitions: &[PartitionColumn]) -> Result<Vec<Column>, CliError> {
        let fields: Vec<Field> = match &self.table.columns {
            Columns::Typed(schema) => schema.fields().iter().map(|field| field.as_ref().clone()).collect(),
            Columns::Texts(names) => names.iter().map(|name| Field::new(name, arrow_schema::DataType::Utf8, true)).collect(),
        };
        let fields: Vec<Field> = fields.into_iter().filter(|field| !self.table.dropped.contains(field.name())).collect();
        let nulls = self.csv().is_some_and(|text| self.knows_nulls(text, &fields));
        let mut seen: HashSet<String> = HashSet::new();
        let (mut columns, mut odd, mut also, mut noted) = (Vec::new(), Vec::new(), Vec::new(), BTreeMap::<_, Vec<String>>::new());
        for field in &fields {
            let name = field.name();
            if let Some(reason) = unusable(name) {
                return Err(self.refuse(Exit::Input, &format!("column {name:?} can be no column of a table: {reason}; rename it")));
            }
            let lower = name.to_lowercase();
            if let Some(partition) = partitions.iter().find(|partition| partition.folder.to_lowercase() == lower) {
                if self.csv().is_some() {
                    let folder = &partition.folder;
                    return Err(self.refuse(Exit::Spec, &format!(
                        "`{name}` would be a column of the objects and, by the folder `{folder}=…`, one of the partitions, and the engine refuses \
                         a name that is both; leave it out of the objects (`partition.keep_columns: false`, --omit-partition-columns), or give the \
                         folder another name"
                    )));
                }
                also.push(name.clone());
                continue;
            }
            if !seen.insert(lower) {
                return Err(self.refuse(
                    Exit::Input,
                    &format!(
                        "two columns are called {name:?} but for capital letters, which the engine does not tell apart; rename one of them"
                    ),
                ));
            }
            if !is_plain(name) {
                odd.push(name.clone());
            }
            match self.held(field, nulls) {
                Ok(held) => {
                    if let Some(note) = held.note {
                        noted.entry(note).or_default().push(name.clone());
                    }
                    columns.push(Column { name: self.name_of(name), held });
                }
                Err(reason) => noted.entry(reason).or_default().push(format!("{name} (left out)")),
            }
        }
        if !also.is_empty() {
            self.warn(&format!("as a partition, a column is read from its folder and not from the objects: {}", shown(&also)));
        }
        for (note, names) in noted {
            self.warn(&format!("{note}: {}", shown(&names)));
        }
        if !odd.is_empty() && self.dressing.engine == Engine::Athena {
            self.warn(&format!("Athena documents letters, digits and underscores alone in names of columns, not: {}", shown(&odd)));
        }
        if columns.is_empty() {
            return Err(self.refuse(Exit::Input, "no column is left that the engine could read"));
        }
        Ok(columns)
    }

    /// Hive's catalog has small letters alone; Spark keeps names beside it as they are, and finds JSON's by them.
    fn name_of(&self, name: &str) -> String {
        match self.dressing.engine {
            Engine::Athena => name.to_lowercase(),
            Engine::Spark => name.to_owned(),
        }
    }

    fn csv(&self) -> Option<&CsvText> {
        if let Format::Csv(text) = &self.table.format { Some(text) } else { None }
    }

    fn held(&self, field: &Field, nulls: bool) -> types::Holds {
        let engine = self.dressing.engine;
        match (&self.table.columns, &self.table.format) {
            (Columns::Texts(_), _) => Ok(Held { ty: "string".to_owned(), typed: None, note: None }),
            (Columns::Typed(_), Format::Parquet { nanoseconds }) => types::parquet(field, engine, *nanoseconds),
            (Columns::Typed(_), Format::Json) => Ok(types::json(field, engine)),
            (Columns::Typed(_), Format::Csv(text)) => Ok(types::csv(field, engine, text, nulls)),
        }
    }

    /// Whether the reader of CSV tells nulls from texts: Spark's does, and Hive's where nothing is in quotes.
    fn knows_nulls(&self, text: &CsvText, fields: &[Field]) -> bool {
        self.dressing.engine == Engine::Spark || self.is_bare(text, fields)
    }

    /// Whether no value of CSV can be in quotes.
    fn is_bare(&self, text: &CsvText, fields: &[Field]) -> bool {
        let is_odd = text.delimiter.is_ascii_alphanumeric() || "+-.:/=()".contains(text.delimiter);
        let is_typed = matches!(self.table.columns, Columns::Typed(_));
        is_typed && !text.quotes_all && !is_odd && text.null.is_none() && !fields.iter().any(types::may_be_quoted)
    }

    fn fields_in_objects(&self) -> Vec<Field> {
        match &self.table.columns {
            Columns::Typed(schema) => schema
                .fields()
                .iter()
                .filter(|field| !self.table.dropped.contains(field.name()))
                .map(|field| field.as_ref().clone())
                .collect(),
            Columns::Texts(_) => Vec::new(),
        }
    }

    fn warn_of_files(&mut self, partitions: &[PartitionColumn]) {
        let layout = &self.table.layout;
        if !layout.is_own {
            self.warn(&format!(
                "objects of other tables may be in its folder {:?}, and are then read as its own; name the folder by {{{{TABLE}}}}",
                layout.folder
            ));
        }
        if layout.is_nested && !partitions.is_empty() && self.dressing.engine == Engine::Spark {
            self.warn("below its partitions are further folders, into which Spark does not look");
        }
        if self.table.hides_compression {
            self.warn(
                "its objects are compressed, which engines see by the end of a key: end `path` with {{FORMAT}}, without `content_encoding`",
            );
        }
        let athena = self.dressing.engine == Engine::Athena;
        if let Some(name) = partitions.iter().map(|it| &it.folder).find(|name| athena && **name != name.to_lowercase()).cloned()
            && !self.dressing.projection
        {
            self.warn(&format!("MSCK finds no folder with capital letters in its name (`{name}=…`): add its partitions one by one"));
        }
        let fields = self.fields_in_objects();
        if let Some(text) = self.csv().cloned()
            && athena
            && !self.is_bare(&text, &fields)
        {
            let lines: Vec<String> = fields.iter().filter(|field| types::may_have_lines(field)).map(|field| field.name().clone()).collect();
            if !lines.is_empty() {
                self.warn(&format!("Athena reads a row of CSV wrong where a text has a line break; these may: {}", shown(&lines)));
            }
            let empty = text.null.as_deref().unwrap_or_default();
            self.warn(&format!("Athena does not tell a text {empty:?} of CSV from a null: the view has null for both"));
        }
    }

    fn athena(&self, table: &str, columns: &[Column], partitions: &[PartitionColumn], location: &str) -> String {
        let mut lines = vec![format!("CREATE EXTERNAL TABLE IF NOT EXISTS {table} (")];
        lines.push(listed(columns.iter().map(|column| format!("{} {}", Dialect::Hive.name(&column.name), column.held.ty))));
        lines.push(")".to_owned());
        if !partitions.is_empty() {
            lines.push("PARTITIONED BY (".to_owned());
            lines.push(listed(partitions.iter().map(|it| format!("{} {}", Dialect::Hive.name(&it.folder.to_lowercase()), it.ty))));
            lines.push(")".to_owned());
        }
        let mut properties: Vec<(String, String)> = Vec::new();
        match &self.table.format {
            Format::Parquet { .. } => lines.push("STORED AS PARQUET".to_owned()),
            Format::Json => {
                lines.push(serde("org.openx.data.jsonserde.JsonSerDe", &[("case.insensitive", "TRUE".to_owned())]));
                lines.push("STORED AS TEXTFILE".to_owned());
            }
            Format::Csv(text) => {
                let fields = self.fields_in_objects();
                lines.push(if self.is_bare(text, &fields) {
                    let options = [("field.delim", text.delimiter.to_string()), ("serialization.null.format", String::new())];
                    serde("org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe", &options)
                } else {
                    // Nothing is escaped, so what would escape is a character that no text has: one that Unicode keeps from being any.
                    let options = [
                        ("separatorChar", text.delimiter.to_string()),
                        ("quoteChar", "\"".to_owned()),
                        ("escapeChar", "\u{fdd0}".to_owned()),
                    ];
                    serde("org.apache.hadoop.hive.serde2.OpenCSVSerde", &options)
                });
                lines.push("STORED AS TEXTFILE".to_owned());
                properties.extend(text.has_header.then(|| ("skip.header.line.count".to_owned(), "1".to_owned())));
            }
        }
        lines.push(format!("LOCATION {}", Dialect::Hive.text(location)));
        if partitions.iter().any(|partition| partition.projection.is_some()) {
            properties.push(("projection.enabled".to_owned(), "true".to_owned()));
            for partition in partitions {
                let of_column = partition.projection.iter().flat_map(|it| it.properties(&partition.folder.to_lowercase()));
                properties.extend(of_column);
            }
            let folders = partitions.iter().map(|it| format!("{}=${{{}}}/", it.folder, it.folder.to_lowercase()));
            properties.push(("storage.location.template".to_owned(), format!("{location}{}", folders.collect::<String>())));
        }
        if !properties.is_empty() {
            lines.push("TBLPROPERTIES (".to_owned());
            lines.push(listed(properties.iter().map(property)));
            lines.push(")".to_owned());
        }
        format!("{};", lines.join("\n"))
    }

    fn spark(&self, table: &str, columns: &[Column], partitions: &[PartitionColumn], location: &str) -> String {
        let mut lines = vec![format!("CREATE TABLE IF NOT EXISTS {table} (")];
        let of_objects = columns.iter().map(|column| format!("{} {}", Dialect::Hive.name(&column.name), column.held.ty));
        let of_folders = partitions.iter().map(|it| format!("{} {}", Dialect::Hive.name(&it.folder), it.ty));
        lines.push(listed(of_objects.chain(of_folders)));
        lines.push(")".to_owned());
        let mut options: Vec<(String, String)> = Vec::new();
        let mut option = |name: &str, value: &str| options.push((name.to_owned(), value.to_owned()));
        lines.push(match &self.table.format {
            Format::Parquet { .. } => "USING parquet".to_owned(),
            Format::Json => "USING json".to_owned(),
            Format::Csv(text) => {
                option("header", if text.has_header { "true" } else { "false" });
                option("sep", &text.delimiter.to_string());
                option("quote", "\"");
                option("escape", "\"");
                option("multiLine", "true");
                if !text.crlf {
                    option("lineSep", "\n");
                }
                option("nullValue", text.null.as_deref().unwrap_or_default());
                option("emptyValue", "");
                "USING csv".to_owned()
            }
        });
        if self.table.layout.is_nested && partitions.is_empty() {
            option("recursiveFileLookup", "true");
        }
        if !options.is_empty() {
            lines.push("OPTIONS (".to_owned());
            lines.push(listed(options.iter().map(property)));
            lines.push(")".to_owned());
        }
        if !partitions.is_empty() {
            let names: Vec<String> = partitions.iter().map(|it| Dialect::Hive.name(&it.folder)).collect();
            lines.push(format!("PARTITIONED BY ({})", names.join(", ")));
        }
        lines.push(format!("LOCATION {}", Dialect::Hive.text(location)));
        format!("{};", lines.join("\n"))
    }

    fn view(&self, table: &str, view: &str, columns: &[Column], partitions: &[PartitionColumn]) -> String {
        let dialect = match self.dressing.engine {
            Engine::Athena => Dialect::Trino,
            Engine::Spark => Dialect::Hive,
        };
        let of_objects = columns.iter().map(|column| {
            let name = dialect.name(&column.name);
            match &column.held.typed {
                Some(typed) => format!("{} AS {name}", typed.over(&name)),
                None => name,
            }
        });
        let of_folders = partitions.iter().map(|it| dialect.name(&self.name_of(&it.folder)));
        let database = self.dressing.database;
        format!(
            "CREATE OR REPLACE VIEW {} AS\nSELECT\n{}\nFROM {};",
            dialect.table(database, view),
            listed(of_objects.chain(of_folders)),
            dialect.table(database, table)
        )
    }
}

fn repair(table: &str, partitions: &[PartitionColumn], location: &str) -> String {
    let values: Vec<String> = partitions.iter().map(|it| format!("{} = '…'", Dialect::Hive.name(&it.folder.to_lowercase()))).collect();
    let folders: String = partitions.iter().map(|it| format!("{}=…/", it.folder)).collect();
    let place = Dialect::Hive.text(&format!("{location}{folders}"));
    format!(
        "-- Finds all partitions; again after each write. Or one at a time, without listing the bucket:\n\
         -- ALTER TABLE {table} ADD IF NOT EXISTS PARTITION ({}) LOCATION {place}\n\
         MSCK REPAIR TABLE {table};",
        values.join(", ")
    )
}

fn serde(class: &str, options: &[(&str, String)]) -> String {
    let options = options.iter().map(|(name, value)| property(&((*name).to_owned(), value.clone())));
    format!("ROW FORMAT SERDE {}\nWITH SERDEPROPERTIES (\n{}\n)", Dialect::Hive.text(class), listed(options))
}

fn property((name, value): &(String, String)) -> String {
    format!("{} = {}", Dialect::Hive.text(name), Dialect::Hive.text(value))
}

fn listed(items: impl Iterator<Item = String>) -> String {
    items.map(|item| format!("  {item}")).collect::<Vec<_>>().join(",\n")
}

fn shown(names: &[String]) -> String {
    let first: Vec<String> = names.iter().take(NAMES_SHOWN).map(|name| name.escape_debug().to_string()).collect();
    match names.len().checked_sub(NAMES_SHOWN) {
        Some(more @ 1..) => format!("{} and {more} more", first.join(", ")),
        _ => first.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::Names;
    use super::super::written::HIVE_NULL;
    use super::*;
    use arrow_schema::{DataType, TimeUnit};

    const ATHENA: Dressing<'static> =
        Dressing { engine: Engine::Athena, projection: true, database: None, prefix: "", location: None, range: None };
    const SPARK: Dressing<'static> = Dressing { engine: Engine::Spark, ..ATHENA };

    const PARQUET: Format = Format::Parquet { nanoseconds: true };

    fn csv() -> Format {
        Format::Csv(CsvText::default())
    }

    fn table(path: &str, format: Format, columns: &[(&str, DataType)]) -> Table {
        let fields: Vec<Field> = columns.iter().map(|(name, ty)| Field::new(*name, ty.clone(), false)).collect();
        Table {
            name: "orders".to_owned(),
            columns: Columns::Typed(Schema::new(fields)),
            bucket: "lake".to_owned(),
            layout: Layout::from_path(path, &Names { table: "orders", extension: "x" }).unwrap(),
            format,
            hides_compression: false,
            null_name: HIVE_NULL.to_owned(),
            dropped: Vec::new(),
        }
    }

    fn made(table: &Table, dressing: &Dressing<'_>) -> String {
        statements(table, dressing).unwrap().text.join("\n\n")
    }

    const OWN: &str = "raw/{{TABLE}}/{{UUID}}";
    const DAYS: &str = "raw/{{TABLE}}/day={{COLUMN:day}}/{{UUID}}";

    #[test]
    fn athenas_parquet() {
        let columns = [("id", DataType::Int64), ("Select", DataType::Utf8)];
        assert_eq!(
            made(&table(OWN, PARQUET, &columns), &ATHENA),
            "CREATE EXTERNAL TABLE IF NOT EXISTS `orders` (\n  `id` bigint,\n  `select` string\n)\nSTORED AS PARQUET\nLOCATION 's3://lake/raw/orders/';"
        );
        let days = Table { dropped: vec!["day".to_owned()], ..table(DAYS, PARQUET, &[("id", DataType::Int64), ("day", DataType::Date32)]) };
        assert_eq!(
            made(&days, &Dressing { database: Some("raw"), prefix: "p_", ..ATHENA }),
            "CREATE EXTERNAL TABLE IF NOT EXISTS `raw`.`p_orders` (\n  `id` bigint\n)\nPARTITIONED BY (\n  `day` string\n)\nSTORED AS PARQUET\n\
             LOCATION 's3://lake/raw/orders/'\nTBLPROPERTIES (\n  'projection.enabled' = 'true',\n  'projection.day.type' = 'date',\n  \
             'projection.day.format' = 'yyyy-MM-dd',\n  'projection.day.range' = 'NOW-10YEARS,NOW',\n  'projection.day.interval' = '1',\n  \
             'projection.day.interval.unit' = 'DAYS',\n  'storage.location.template' = 's3://lake/raw/orders/day=${day}/'\n);"
        );
        assert_eq!(
            made(&days, &Dressing { projection: false, location: Some("s3://other/x/"), ..ATHENA }),
            "CREATE EXTERNAL TABLE IF NOT EXISTS `orders` (\n  `id` bigint\n)\nPARTITIONED BY (\n  `day` date\n)\nSTORED AS PARQUET\n\
             LOCATION 's3://other/x/raw/orders/';\n\n\
             -- Finds all partitions; again after each write. Or one at a time, without listing the bucket:\n\
             -- ALTER TABLE `orders` ADD IF NOT EXISTS PARTITION (`day` = '…') LOCATION 's3://other/x/raw/orders/day=…/'\n\
             MSCK REPAIR TABLE `orders`;"
        );
    }

    #[test]
    fn athenas_texts() {
        let columns = [("id", DataType::Int64), ("at", DataType::Timestamp(TimeUnit::Second, None)), ("name", DataType::Utf8)];
        assert_eq!(
            made(&table(OWN, Format::Json, &columns), &ATHENA),
            "CREATE EXTERNAL TABLE IF NOT EXISTS `orders` (\n  `id` bigint,\n  `at` string,\n  `name` string\n)\n\
             ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'\nWITH SERDEPROPERTIES (\n  'case.insensitive' = 'TRUE'\n)\nSTORED AS TEXTFILE\n\
             LOCATION 's3://lake/raw/orders/';\n\nCREATE OR REPLACE VIEW \"orders_typed\" AS\nSELECT\n  \"id\",\n  \
             CAST(from_iso8601_timestamp_nanos(\"at\") AT TIME ZONE 'UTC' AS timestamp(6)) AS \"at\",\n  \"name\"\nFROM \"orders\";"
        );
        let text = CsvText { delimiter: '\t', null: Some("\\N".to_owned()), has_header: false, ..CsvText::default() };
        assert_eq!(
            made(&table(OWN, Format::Csv(text), &columns[2..]), &Dressing { database: Some("raw"), ..ATHENA }),
            "CREATE EXTERNAL TABLE IF NOT EXISTS `raw`.`orders` (\n  `name` string\n)\n\
             ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.OpenCSVSerde'\nWITH SERDEPROPERTIES (\n  'separatorChar' = '\\t',\n  \
             'quoteChar' = '\"',\n  'escapeChar' = '\\uFDD0'\n)\nSTORED AS TEXTFILE\nLOCATION 's3://lake/raw/orders/';\n\n\
             CREATE OR REPLACE VIEW \"raw\".\"orders_typed\" AS\nSELECT\n  NULLIF(\"name\", '\\N') AS \"name\"\nFROM \"raw\".\"orders\";"
        );
        // Nothing of it can be in quotes, so that nulls are known.
        let bare = made(&table(OWN, csv(), &columns[..1]), &ATHENA);
        assert!(
            bare.contains("lazy.LazySimpleSerDe'\nWITH SERDEPROPERTIES (\n  'field.delim' = ',',\n  'serialization.null.format' = ''\n)"),
            "{bare}"
        );
        assert!(bare.contains("'skip.header.line.count' = '1'") && bare.contains("CAST(\"id\" AS bigint) AS \"id\""), "{bare}");
        for text in [
            CsvText { quotes_all: true, ..CsvText::default() },
            CsvText { delimiter: '-', ..CsvText::default() },
            CsvText { null: Some("\\N".to_owned()), ..CsvText::default() },
        ] {
            assert!(made(&table(OWN, Format::Csv(text.clone()), &columns[..1]), &ATHENA).contains("OpenCSVSerde"), "{text:?}");
        }
    }

    #[test]
    fn sparks_tables() {
        let columns = [("Id", DataType::Int64), ("day", DataType::Date32)];
        let days = Table { dropped: vec!["day".to_owned()], ..table(DAYS, PARQUET, &columns) };
        assert_eq!(
            made(&days, &SPARK),
            "CREATE TABLE IF NOT EXISTS `orders` (\n  `Id` bigint,\n  `day` date\n)\nUSING parquet\nPARTITIONED BY (`day`)\n\
             LOCATION 's3a://lake/raw/orders/';\n\n\
             -- Finds all partitions; again after each write. Or one at a time, without listing the bucket:\n\
             -- ALTER TABLE `orders` ADD IF NOT EXISTS PARTITION (`day` = '…') LOCATION 's3a://lake/raw/orders/day=…/'\n\
             MSCK REPAIR TABLE `orders`;"
        );
        assert_eq!(
            made(&table("raw/{{TABLE}}/{{COMMIT_ID}}/{{SEQ}}", csv(), &columns), &Dressing { database: Some("raw"), ..SPARK }),
            "CREATE TABLE IF NOT EXISTS `raw`.`orders` (\n  `Id` string,\n  `day` string\n)\nUSING csv\nOPTIONS (\n  'header' = 'true',\n  'sep' = ',',\n  \
             'quote' = '\"',\n  'escape' = '\"',\n  'multiLine' = 'true',\n  'lineSep' = '\\n',\n  'nullValue' = '',\n  'emptyValue' = '',\n  \
             'recursiveFileLookup' = 'true'\n)\nLOCATION 's3a://lake/raw/orders/';\n\nCREATE OR REPLACE VIEW `raw`.`orders_typed` AS\nSELECT\n  \
             CAST(`Id` AS bigint) AS `Id`,\n  CAST(`day` AS date) AS `day`\nFROM `raw`.`orders`;"
        );
        assert!(made(&table(OWN, Format::Json, &columns), &SPARK).contains(")\nUSING json\nLOCATION"));
        let crlf = Format::Csv(CsvText { crlf: true, ..CsvText::default() });
        assert!(!made(&table(OWN, crlf, &columns), &SPARK).contains("lineSep"));
    }

    #[test]
    fn names_of_strangers_stay_names() {
        let columns = [("x` int) LOCATION 's3://evil/'; --", DataType::Int64), ("a\"b';{c}", DataType::UInt32), ("é", DataType::Utf8)];
        for (dressing, format) in [(&ATHENA, PARQUET), (&SPARK, PARQUET), (&ATHENA, csv()), (&SPARK, csv()), (&ATHENA, Format::Json)] {
            let text = made(&table(OWN, format, &columns), dressing);
            // Every name is in quotes whose like in it are doubled, so what is left without them has nothing of it.
            let (mut outside, mut quote, mut at) = (String::new(), None, text.chars().peekable());
            while let Some(character) = at.next() {
                match quote {
                    None if "`\"'".contains(character) => quote = Some(character),
                    None => outside.push(character),
                    Some('\'') if character == '\\' => drop(at.next()),
                    Some(open) if character == open && at.peek() == Some(&open) => drop(at.next()),
                    Some(open) if character == open => quote = None,
                    Some(_) => {}
                }
            }
            assert!(quote.is_none() && !outside.contains("evil") && !outside.contains("--") && !outside.contains('é'), "{outside}\n{text}");
        }
        let bad = table(OWN, PARQUET, &[("a\n-- b", DataType::Int64)]);
        let error = statements(&bad, &ATHENA).unwrap_err();
        assert!(error.exit == Exit::Input && error.message.contains(r#""a\n-- b""#) && !error.message.contains('\n'), "{error}");
    }

    #[test]
    fn what_no_engine_can_have_is_refused_with_what_helps() {
        let both = [("Day", DataType::Date32), ("id", DataType::Int64)];
        let twice = [("id", DataType::Int64), ("ID", DataType::Int64)];
        let nothing = [("n", DataType::Null)];
        let arn = Table { bucket: "arn:aws:s3:eu-west-1:1:accesspoint/a".to_owned(), ..table(OWN, PARQUET, &both) };
        for (table, exit, part) in [
            (table(DAYS, csv(), &both), Exit::Spec, "`Day` would be a column of the objects and, by the folder `day=…`"),
            (table(DAYS, csv(), &both), Exit::Spec, "--omit-partition-columns"),
            (table(OWN, PARQUET, &twice), Exit::Input, "two columns are called \"ID\" but for capital letters"),
            (table(OWN, PARQUET, &nothing), Exit::Input, "no column is left"),
            (table(OWN, PARQUET, &[("", DataType::Int8)]), Exit::Input, "it has no name"),
            (arn, Exit::Spec, "--location s3://NAME/"),
        ] {
            for dressing in [&ATHENA, &SPARK] {
                let error = statements(&table, dressing).unwrap_err();
                assert!(error.exit == exit && error.message.contains(part), "{error}");
            }
        }
        // Where the objects leave the column out, or are read by name, it is a partition.
        let left_out = Table { dropped: vec!["Day".to_owned()], ..table(DAYS, csv(), &both) };
        assert!(!made(&left_out, &ATHENA).contains("`day` string,"));
        let found = statements(&table(DAYS, PARQUET, &both), &ATHENA).unwrap();
        assert!(found.text[0].starts_with("CREATE EXTERNAL TABLE IF NOT EXISTS `orders` (\n  `id` bigint\n)"), "{found:?}");
        assert!(found.warnings.iter().any(|it| it.contains("read from its folder and not from the objects: Day")), "{found:?}");
    }

    #[test]
    fn a_reader_is_warned() {
        let warned = |table: &Table, dressing: &Dressing<'_>, part: &str| {
            let warnings = statements(table, dressing).unwrap().warnings;
            warnings.iter().any(|warning| warning.starts_with("table \"") && warning.contains(part))
        };
        let id = [("id", DataType::Int64)];
        let plain = table(OWN, PARQUET, &id);
        assert_eq!(statements(&plain, &ATHENA).unwrap().warnings, Vec::<String>::new());
        assert_eq!(statements(&plain, &SPARK).unwrap().warnings, Vec::<String>::new());
        let nested = table("{{TABLE}}/day={{YEAR}}/{{COMMIT_ID}}/{{SEQ}}", PARQUET, &id);
        let capital = table("{{TABLE}}/Day={{YEAR}}/{{SEQ}}", PARQUET, &id);
        let odd = table("{{TABLE}}/a b={{YEAR}}/{{SEQ}}", PARQUET, &id);
        let bare = Dressing { projection: false, ..ATHENA };
        for (table, dressing, part) in [
            (&table("raw/{{TABLE}}.x", PARQUET, &id), &ATHENA, "objects of other tables"),
            (&nested, &SPARK, "into which Spark does not look"),
            (&capital, &bare, "MSCK finds no folder with capital letters"),
            (&odd, &ATHENA, "partitions have to be registered"),
            (&table("a${b}/{{TABLE}}/d={{YEAR}}/{{SEQ}}", PARQUET, &id), &ATHENA, "partitions have to be registered"),
            (&Table { hides_compression: true, ..plain.clone() }, &SPARK, "its objects are compressed"),
            (&Table { name: "Orders-1".to_owned(), ..plain.clone() }, &SPARK, "it is `orders_1` there"),
            (&table(OWN, csv(), &[("t", DataType::Utf8)]), &ATHENA, "where a text has a line break; these may: t"),
            (&table(OWN, csv(), &[("t", DataType::Utf8)]), &ATHENA, "does not tell a text \"\" of CSV from a null"),
            (
                &table(OWN, PARQUET, &[("a b", DataType::Utf8)]),
                &ATHENA,
                "letters, digits and underscores alone in names of columns, not: a b",
            ),
            (&table(OWN, PARQUET, &[("id", DataType::Int8), ("f", DataType::Float16)]), &SPARK, "no floats of 16 bits: f (left out)"),
        ] {
            assert!(warned(table, dressing, part), "{part}: {:?}", statements(table, dressing).unwrap().warnings);
        }
        // Registered, an odd name is a partition as any other.
        assert!(made(&odd, &ATHENA).contains("MSCK REPAIR TABLE") && !made(&odd, &ATHENA).contains("projection"));
        for (table, part) in [(&nested, "does not look"), (&capital, "MSCK"), (&table(OWN, csv(), &[("t", DataType::Utf8)]), "of CSV")] {
            let other = if table.layout.is_nested { &ATHENA } else { &SPARK };
            assert!(!warned(table, other, part), "{part} where it does not apply");
        }
    }
}

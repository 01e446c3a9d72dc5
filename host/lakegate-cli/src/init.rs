//! `lakegate init`: writes a commented configuration for `lakegate sync`, from options or answers.

use super::args::ResourceArgs;
use super::console::{data, error_line};
use super::exit::{CliError, Exit};
use super::interrupt;
use super::sync_id::sync_id;
use super::target::{StoreArgs, Target};
use lakegate::OpenError;
use serde_json::{Map, Value};
use std::fs::OpenOptions;
use std::io::{self, BufRead, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

/// The arguments of `init`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct InitArgs {
    /// The file to write; `-` is standard output.
    #[arg(value_name = "FILE", default_value = "lakegate.yml")]
    pub file: PathBuf,
    /// Files that the sync reads: paths, folders, globs; may be repeated.
    #[arg(long = "input", value_name = "PATH")]
    pub inputs: Vec<String>,
    /// Replace a file that is there.
    #[arg(long)]
    pub force: bool,
    /// Where rows go.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Resource limits of the process.
    #[command(flatten)]
    pub machine: ResourceArgs,
}

/// The part of a destination that a first configuration has. Everything else is in the README's table of fields.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Destination")]
pub struct TargetArgs {
    /// Bucket and path, such as `s3://bucket/raw/{{TABLE}}/{{UUID}}.{{FORMAT}}`.
    #[arg(long, value_name = "s3://BUCKET/PATH")]
    pub to: Option<String>,
    /// Format of the objects: csv, json or parquet.
    #[arg(long)]
    pub format: Option<String>,
    /// Which store, and as whom.
    #[command(flatten)]
    pub store: StoreArgs,
}

const EXAMPLES: &str = "\
Examples:
  lakegate init
  lakegate init my.yml --input orders.csv --to 's3://bucket/{{TABLE}}/{{UUID}}' --format csv

What options do not say is asked, if this is a terminal.";

/// The path that is proposed.
const PATH: &str = "raw/{{TABLE}}/{{UUID}}.{{FORMAT}}";

/// Writes the configuration.
///
/// # Errors
/// Something is missing and nobody can be asked, the spec is refused, or the file is there or cannot be written.
pub async fn run(args: InitArgs) -> Result<Exit, CliError> {
    let InitArgs { file, mut inputs, force, mut target, machine } = args;
    let is_stdout = file.as_os_str() == "-";
    if !is_stdout && !force && file.exists() {
        return Err(CliError::new(Exit::Usage, format!("{} is there already; --force replaces it", file.display())));
    }
    if inputs.is_empty() || target.to.is_none() || target.format.is_none() {
        if !io::stdin().is_terminal() {
            let message = "give --input, --to and --format; without a terminal nothing can be asked";
            return Err(CliError::new(Exit::Usage, message));
        }
        let asking = tokio::task::spawn_blocking(move || {
            let asked = ask(&mut inputs, &mut target, &mut io::stdin().lock(), &mut io::stderr());
            asked.map(|()| (inputs, target))
        });
        (inputs, target) = asking.await.map_err(anyhow::Error::from)?.map_err(|error| CliError::new(Exit::Usage, error.to_string()))?;
    }
    let spec = spec(&target)?;
    let json = Value::Object(spec.clone()).to_string();
    let checked = async move {
        let destination = machine.destination(None).await?;
        match destination.configure(&json, &sync_id()?).await {
            Ok(_) => Ok(()),
            Err(OpenError::Spec(problems)) => {
                let messages: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
                Err(CliError::new(Exit::Spec, messages.join("\n")))
            }
            Err(error) => Err(error.into()),
        }
    };
    interrupt::unless(&interrupt::listen()?, checked).await?;
    let text = configuration(&inputs, &spec)?;
    if is_stdout {
        return data(text.trim_end()).map(|()| Exit::Done);
    }
    write(&file, &text, force).map_err(|error| CliError::new(Exit::Usage, format!("{}: {error}", file.display())))?;
    let name = file.display();
    error_line(&format!("Wrote {name}. Next:"));
    for (command, what) in [
        (format!("lakegate plan {name}"), "shows what would be written, and the permissions that it needs"),
        (format!("lakegate test-connection {name}"), "puts an empty object, to see that the bucket can be written"),
        (format!("lakegate sync {name}"), "writes the rows"),
    ] {
        error_line(&format!("  {command:<width$}  {what}", width = 34 + name.to_string().len().saturating_sub(10)));
    }
    Ok(Exit::Done)
}

/// Asks for what is missing. An empty answer is what stands in brackets.
fn ask(inputs: &mut Vec<String>, target: &mut TargetArgs, answers: &mut impl BufRead, questions: &mut impl Write) -> io::Result<()> {
    let mut question = |text: &str, usual: &str| -> io::Result<String> {
        write!(questions, "{text}{}: ", if usual.is_empty() { String::new() } else { format!(" [{usual}]") })?;
        questions.flush()?;
        let mut line = String::new();
        if answers.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answers have ended"));
        }
        Ok(Some(line.trim()).filter(|answer| !answer.is_empty()).unwrap_or(usual).to_owned())
    };
    if inputs.is_empty() {
        inputs.push(question("Files to read (a path, a folder or a glob)", "*.csv")?);
    }
    if target.to.is_none() {
        let answer = question("Bucket, or bucket and path, to write to", "")?;
        let answer = answer.strip_prefix("s3://").unwrap_or(&answer);
        let (bucket, path) = answer.split_once('/').unwrap_or((answer, ""));
        target.to = Some(format!("s3://{bucket}/{}", if path.is_empty() { PATH } else { path }));
    }
    if target.format.is_none() {
        target.format = Some(question("Format: csv, json or parquet", "parquet")?);
    }
    if target.store.endpoint.is_none() {
        target.store.endpoint = Some(question("URL of the store, if it is not AWS", "")?).filter(|url| !url.is_empty());
        target.store.path_style |= target.store.endpoint.is_some();
    }
    if target.store.region.is_none() {
        let usual = target.store.region(|name| std::env::var(name).ok());
        let usual = usual.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.message))?;
        target.store.region = Some(question("Region of the bucket", &usual)?);
    }
    Ok(())
}

/// The spec of the destination, as `load` would compose it.
fn spec(target: &TargetArgs) -> Result<Map<String, Value>, CliError> {
    let TargetArgs { to, format, store } = target.clone();
    let composed = Target { to, format, store, ..Target::default() };
    let json = composed.spec_json(true, |name| std::env::var(name).ok())?;
    let mut spec: Map<String, Value> = serde_json::from_str(&json).map_err(anyhow::Error::from)?;
    // As it is anyway.
    spec.remove("test_write");
    Ok(spec)
}

/// What is said of the fields of a first spec.
const COMMENTS: [(&str, &str); 7] = [
    ("bucket", "The bucket has to exist."),
    ("path", "{{TABLE}} is the table, {{UUID}} tells its objects apart. {{COLUMN:name}} and {{DAY:name}} divide rows into folders."),
    ("region", ""),
    ("format", "csv, json (one object a line) or parquet."),
    ("endpoint", "Where requests go instead of AWS."),
    ("use_path_style", "MinIO and most other stores need it."),
    ("no_rotate", "One object a table; without it an object ends after 10,000 rows, 50 MiB or 30 s, and the path has {{UUID}}."),
];

/// The configuration. Values are in JSON's form, which is YAML's, too.
fn configuration(inputs: &[String], spec: &Map<String, Value>) -> Result<String, CliError> {
    let quoted = |value: &Value| serde_json::to_string(value).map_err(|error| CliError::from(anyhow::Error::from(error)));
    let mut text = String::from(
        "# A sync of files into a bucket: `lakegate sync` runs it, `lakegate plan` shows what it would do.\n\
         kind: source\n\
         spec:\n\
         \x20 name: files\n\
         \x20 registry: builtin\n\
         \x20 path: files\n\
         \x20 # A table is named after its file; the pattern chooses among them.\n\
         \x20 tables: [\"*\"]\n\
         \x20 destinations: [s3]\n\
         \x20 spec:\n\
         \x20   # CSV, JSON, Parquet and Arrow IPC files, also compressed; folders and globs.\n\
         \x20   paths:\n",
    );
    for input in inputs {
        text.push_str(&format!("      - {}\n", quoted(&Value::from(input.as_str()))?));
    }
    text.push_str(
        "---\n\
         kind: destination\n\
         spec:\n\
         \x20 name: s3\n\
         \x20 registry: builtin\n\
         \x20 path: s3\n\
         \x20 write_mode: append\n\
         \x20 # `lakegate schema` prints every field. Credentials are those of the AWS CLI.\n\
         \x20 spec:\n",
    );
    // In the order of the comments, then whatever else there is.
    let known = COMMENTS.iter().filter_map(|(name, comment)| Some((*name, *comment, spec.get(*name)?)));
    let others =
        spec.iter().filter(|(name, _)| COMMENTS.iter().all(|(known, _)| known != name)).map(|(name, value)| (name.as_str(), "", value));
    for (name, comment, value) in known.chain(others) {
        if !comment.is_empty() {
            text.push_str(&format!("    # {comment}\n"));
        }
        text.push_str(&format!("    {name}: {}\n", quoted(value)?));
    }
    text.push_str(
        "    # Rows land once, however often the sync is repeated: `delivery: exactly_once` with `commit: {id: …}`.\n\
         \x20   # A table in a catalog: `table_format: iceberg` with `iceberg: {uri: …, namespace: …}`.\n",
    );
    Ok(text)
}

/// Writes a file; nothing is replaced unasked.
fn write(file: &Path, text: &str, replaces: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    if replaces {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    options.write(true).open(file)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn what_is_missing_is_asked_for() {
        let (mut inputs, mut target, mut said) = (Vec::new(), TargetArgs::default(), Vec::new());
        ask(&mut inputs, &mut target, &mut Cursor::new("\ns3://lake\n\nhttp://localhost:9000\neu-central-1\n"), &mut said).unwrap();
        assert_eq!((inputs, target.to.as_deref()), (vec!["*.csv".to_owned()], Some("s3://lake/raw/{{TABLE}}/{{UUID}}.{{FORMAT}}")));
        assert_eq!((target.format.as_deref(), target.store.region.as_deref()), (Some("parquet"), Some("eu-central-1")));
        assert!(target.store.path_style && target.store.endpoint.is_some());
        assert_eq!(String::from_utf8(said).unwrap().matches(": ").count(), 6, "five questions, one of them with a list");

        let (mut inputs, mut target) = (vec!["a.csv".to_owned()], TargetArgs { to: Some("s3://b/x".into()), ..TargetArgs::default() });
        let ended = ask(&mut inputs, &mut target, &mut Cursor::new("csv\n"), &mut Vec::new()).unwrap_err();
        assert_eq!((ended.kind(), target.format.as_deref()), (io::ErrorKind::UnexpectedEof, Some("csv")));
    }

    #[test]
    fn values_are_quoted_whatever_they_are() {
        let spec = spec(&TargetArgs {
            to: Some("s3://b/a: #b\"c/{{TABLE}}".into()),
            format: Some("csv".into()),
            store: StoreArgs { region: Some("r".into()), ..StoreArgs::default() },
        });
        let text = configuration(&["it's: [a] # b".to_owned()], &spec.unwrap()).unwrap();
        assert!(text.contains("      - \"it's: [a] # b\"\n") && text.contains("    path: \"a: #b\\\"c/{{TABLE}}\"\n"), "{text}");
        assert!(text.contains("    no_rotate: true\n") && !text.contains("test_write"), "{text}");
    }
}

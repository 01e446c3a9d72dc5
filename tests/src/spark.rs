//! Spark, as a reader of what was written: one session for all tests of the process, in a process of its own, since it takes long to start.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::process::on_path;
use crate::python;
use crate::tiers::{Unavailable, repository};

/// Its jobs, by name.
const SCRIPT: &str = include_str!("../peers/spark.py");

/// What Spark's package lacks: of the releases that it brings the rest of, Hadoop's S3A committers and Hive's SerDe of JSON; Iceberg's tables, and
/// the AWS SDK that reads them, which is the catalog's.
const JARS: [&str; 4] = [
    "target/tools/jars/hadoop-aws-3.3.4.jar",
    "target/tools/jars/hive-hcatalog-core-2.3.9.jar",
    "target/tools/jars/iceberg-spark-runtime-3.5_2.12-1.11.0.jar",
    "target/tools/iceberg-rest/lib/iceberg-aws-bundle-1.11.0.jar",
];

static SESSION: OnceLock<Result<Spark, String>> = OnceLock::new();

/// A session of Spark. It ends when its input does: with the process of the tests.
#[derive(Debug)]
pub struct Spark(Mutex<Process>);

#[derive(Debug)]
struct Process {
    jobs: ChildStdin,
    answers: BufReader<ChildStdout>,
    _child: Child,
}

impl Spark {
    /// The session of the tests, which the first call starts.
    ///
    /// # Errors
    /// There is no Java, or no Spark in the Python environment: `tests/setup.sh` installs the latter.
    pub fn session() -> Result<&'static Self, Unavailable> {
        SESSION.get_or_init(|| Self::start().map_err(|why| why.0)).as_ref().map_err(|why| Unavailable(why.clone()))
    }

    fn start() -> Result<Self, Unavailable> {
        let python = python::tool("python")?;
        // The programs of the package lie beside it.
        python::tool("spark-submit")?;
        on_path("java").ok_or_else(|| Unavailable("no `java` on the PATH".to_owned()))?;
        let jars: Vec<PathBuf> = JARS.iter().map(|jar| repository().join(jar)).collect();
        if let Some((missing, _)) = JARS.iter().zip(&jars).find(|(_, jar)| !jar.is_file()) {
            return Err(Unavailable(format!("no {missing} (tests/setup.sh fetches it)")));
        }
        let failed = |error: std::io::Error| Unavailable(format!("Spark does not start: {error}"));
        let log = std::fs::File::create(repository().join("target/spark.log")).map_err(failed)?;
        let mut command = Command::new(&python);
        command.arg("-c").arg(SCRIPT).args(jars).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(failed)?;
        let (Some(jobs), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Unavailable("Spark has no pipes".to_owned()));
        };
        Ok(Self(Mutex::new(Process { jobs, answers: BufReader::new(answers), _child: child })))
    }

    /// Gives it a job, `{"job": NAME, …}`, and waits for the answer.
    ///
    /// # Errors
    /// The job failed; `target/spark.log` says more.
    pub fn run(&self, job: &Value) -> anyhow::Result<Value> {
        let mut process = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(process.jobs, "{job}").context("Spark has ended (target/spark.log)")?;
        let mut line = String::new();
        process.answers.read_line(&mut line)?;
        let mut answer: Value = serde_json::from_str(&line).with_context(|| format!("Spark's answer is {line:?} (target/spark.log)"))?;
        match answer.get("error") {
            Some(error) => bail!("{job}: {}", error.as_str().unwrap_or_default()),
            None => Ok(answer["answer"].take()),
        }
    }
}

//! `lakegate commit`: finishes a commit that was interrupted after it had become certain.

use super::args::ResourceArgs;
use super::bucket::{Bucket, store_failed};
use super::console::{Console, data, error_line};
use super::exit::{CliError, Exit};
use super::interrupt;
use super::output_args::{OUTPUT, OutputArgs};
use super::summary::Summary;
use super::target::StoreArgs;
use lakegate::{ResumeError, WriteReport, resume_commit};
use std::time::Instant;

/// The arguments of `commit`.
#[derive(Debug, Clone, clap::Args)]
pub struct CommitArgs {
    /// The record of the commit, which an interrupted sync with `visibility: on_commit` has left: its uploads are completed, and its manifests
    /// written. May be repeated.
    #[arg(long, value_name = "s3://BUCKET/KEY")]
    pub resume: String,
    /// Which store, and as whom.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Use of the machine.
    #[command(flatten)]
    pub machine: ResourceArgs,
    /// Print a summary as one line of JSON on stdout.
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
    /// Output and logging.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Runs the command.
///
/// # Errors
/// The record cannot be read.
pub(crate) async fn run(args: CommitArgs) -> Result<Exit, CliError> {
    let console = Console::start(&args.output);
    let started = Instant::now();
    let interrupted = interrupt::listen()?;
    let json = args.json;
    let report = interrupt::unless(&interrupted, resume(args)).await?;
    let summary = Summary::new(&report, started.elapsed());
    summary.failures().iter().for_each(|line| error_line(line));
    console.say(&summary.line());
    if json {
        data(&summary.json()?)?;
    }
    Ok(Exit::from_report(&report))
}

async fn resume(args: CommitArgs) -> Result<WriteReport, CliError> {
    let bucket = Bucket::connect(&args.resume, &args.store, &args.machine).await?;
    let key = bucket.key(&args.resume).map_err(|problem| CliError::new(Exit::Usage, problem))?;
    resume_commit(bucket.store, key.get().clone()).await.map_err(|error| match error {
        ResumeError::Store(error) => store_failed(error),
        ResumeError::Record(problem) => CliError::new(Exit::Storage, problem),
    })
}

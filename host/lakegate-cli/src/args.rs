//! Options that several commands share, and how they are resolved.

use super::exit::{CliError, Exit};
use super::output_args::OutputArgs;
use lakegate::observe::Observer;
use lakegate::{Compiler, Destination, Options, Runtime, Spill, limits};
use lakegate::{InProcessStore, MakeBucket};
use lakegate_base::log_level::LogLevel;
use lakegate_cloudquery::client::LaunchOptions;
use lakegate_files::Spool;
use lakegate_iceberg::RestCatalogs;
use lakegate_local_store::LocalStore;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// A size in bytes, as written on a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    /// Parses `67108864`, `64MiB` or `64 MB`.
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is not a size; write bytes, or a whole number with KiB, MiB, GiB, KB, MB or GB");
        let at = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(at).ok_or_else(refused)?;
        let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kib" => 1 << 10,
            "mib" => 1 << 20,
            "gib" => 1 << 30,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            _ => return Err(refused()),
        };
        let number: u64 = number.parse().map_err(|_| refused())?;
        number.checked_mul(factor).filter(|bytes| *bytes > 0).map(Self).ok_or_else(refused)
    }
}

/// The value of `--spill-dir`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpillArg {
    /// Spill into this folder.
    Dir(PathBuf),
    /// `none`: do not spill.
    None,
}

impl FromStr for SpillArg {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "none" { Self::None } else { Self::Dir(text.into()) })
    }
}

/// Resource limits, and the choice of store and component.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Resources")]
pub struct ResourceArgs {
    /// Write to an S3 store in this folder instead of the network; the folder is created if it is missing.
    #[arg(long, value_name = "DIR")]
    pub local: Option<PathBuf>,
    /// Number of encoders that work in parallel [default: the number of cores].
    #[arg(long, value_name = "N")]
    pub lanes: Option<NonZeroUsize>,
    /// Memory for parts that are not full yet, such as 256MiB; parts that exceed it go to the spill file [default: 64MiB].
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Size>,
    /// Maximum bytes in flight to the store, such as 64MiB [default: 32MiB].
    #[arg(long, value_name = "SIZE")]
    pub in_flight: Option<Size>,
    /// Folder for the spill file, and for copies of Parquet files that come from a pipe or are compressed. With `none`, a table fails once
    /// --memory is used up, and such files are refused [default: the folder for temporary files].
    #[arg(long, value_name = "DIR|none")]
    pub spill_dir: Option<SpillArg>,
    /// Use this WebAssembly component (at most 16 MiB, for the same world) instead of the embedded one. It is compiled in a separate process under
    /// resource limits, and cached.
    #[arg(long, value_name = "FILE.wasm")]
    pub component: Option<PathBuf>,
}

/// The embedded store as an in-process store of the library. Buckets are not created.
pub fn in_process(store: &LocalStore) -> InProcessStore {
    InProcessStore {
        client: store.connector(),
        endpoint: lakegate_local_store::ENDPOINT.to_owned(),
        credentials: LocalStore::credentials(),
        make_bucket: None,
    }
}

impl ResourceArgs {
    /// Resolves the options of a destination.
    ///
    /// # Errors
    /// The folder of the spill file or of the embedded store cannot be used.
    pub fn options(&self) -> Result<Options, CliError> {
        let mut options = Options { catalogs: Some(Arc::new(RestCatalogs::default())), ..Options::default() };
        if let Some(lanes) = self.lanes {
            options.lanes = lanes;
        }
        if let Some(Size(bytes)) = self.memory {
            options.memory_bytes = bytes;
        }
        if let Some(Size(bytes)) = self.in_flight {
            options.in_flight_bytes = bytes;
        }
        match &self.spill_dir {
            Some(SpillArg::Dir(dir)) => {
                // Checked now, so that the error does not come in the middle of a load.
                tempfile::tempfile_in(dir).map_err(|error| {
                    let problem =
                        format!("--spill-dir {}: no file can be created there: {error}; name another folder, or `none`", dir.display());
                    CliError::new(Exit::Usage, problem)
                })?;
                options.spill = Spill::Dir(dir.clone());
            }
            Some(SpillArg::None) => options.spill = Spill::None,
            None => {}
        }
        if let Some(dir) = &self.local {
            let store =
                LocalStore::open(dir).map_err(|error| CliError::new(Exit::Storage, format!("--local {}: {error}", dir.display())))?;
            let reached = in_process(&store);
            // With a local folder, missing buckets are created.
            let make_bucket: MakeBucket = Arc::new(move |bucket| store.create_bucket(bucket).map(drop));
            options.connect.in_process = Some(InProcessStore { make_bucket: Some(make_bucket), ..reached });
        }
        Ok(options)
    }

    /// Where an input may be copied to, if necessary.
    pub(crate) fn spool(&self) -> Spool {
        match &self.spill_dir {
            Some(SpillArg::Dir(dir)) => Spool::Dir(dir.clone()),
            Some(SpillArg::None) => Spool::None,
            None => Spool::default(),
        }
    }

    /// The engine with the component, which is compiled or loaded from the cache. Blocks.
    ///
    /// # Errors
    /// The component is refused, or this machine cannot run it.
    pub fn runtime(&self) -> Result<Arc<Runtime>, CliError> {
        let Some(file) = &self.component else { return Ok(Runtime::new()?) };
        let made = Compiler::for_this_program().and_then(|compiler| Runtime::from_file(file, limits::MAX_CALL_CPU, &compiler));
        made.map_err(|error| CliError::new((&error).into(), format!("--component {}: {error}", file.display())))
    }

    /// Creates the destination.
    ///
    /// # Errors
    /// As [`ResourceArgs::options`] and [`ResourceArgs::runtime`].
    pub async fn destination(&self, seed: Option<u64>) -> Result<Destination, CliError> {
        self.observed_destination(seed, None).await
    }

    /// Creates the destination, whose writes `observer` hears of.
    ///
    /// # Errors
    /// As [`ResourceArgs::options`] and [`ResourceArgs::runtime`].
    pub(crate) async fn observed_destination(
        &self,
        seed: Option<u64>,
        observer: Option<Arc<dyn Observer>>,
    ) -> Result<Destination, CliError> {
        let options = Options { seed, observer, ..self.options()? };
        let machine = self.clone();
        let runtime = tokio::task::spawn_blocking(move || machine.runtime()).await;
        Ok(Destination::new(runtime.map_err(|error| CliError::new(Exit::Unexpected, error.to_string()))??, options))
    }
}

/// Options for running plugins.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = "Plugins")]
pub struct PluginArgs {
    /// Seconds a plugin may take to start and answer.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub plugin_start_limit: u64,
}

impl PluginArgs {
    /// The options plugins are started with. They log at least warnings, which the summary counts.
    pub(crate) fn options(&self, output: &OutputArgs) -> LaunchOptions {
        let log_level = if output.level() == LogLevel::Error { LogLevel::Warn } else { output.level() };
        LaunchOptions { say: super::console::error_line, log_level, start_limit: Duration::from_secs(self.plugin_start_limit), otel: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, bytes: Option<u64>) {
        assert_eq!(text.parse::<Size>().ok().map(|size| size.0), bytes, "{text}");
    }

    #[test]
    fn sizes() {
        check("1", Some(1));
        check("64MiB", Some(64 << 20));
        check("64 mib", Some(64 << 20));
        check("2GB", Some(2_000_000_000));
        check("0", None);
        check("", None);
        check("MiB", None);
        check("1.5GiB", None);
        check("-1", None);
        check("64M", None);
        check("99999999999GiB", None);
    }

    #[test]
    fn the_spill_folder_may_be_none() {
        assert_eq!("none".parse(), Ok(SpillArg::None));
        assert_eq!("/tmp".parse(), Ok(SpillArg::Dir("/tmp".into())));
    }

    #[test]
    fn what_is_not_said_stays_as_it_is() {
        let machine = ResourceArgs { memory: Some(Size(7)), spill_dir: Some(SpillArg::None), ..ResourceArgs::default() };
        let options = machine.options().unwrap();
        assert_eq!((options.memory_bytes, options.in_flight_bytes), (7, Options::default().in_flight_bytes));
        assert_eq!(options.spill, Spill::None);
    }

    #[test]
    fn a_spill_folder_is_tried() {
        let dir = tempfile::tempdir().unwrap();
        let options = |dir: PathBuf| ResourceArgs { spill_dir: Some(SpillArg::Dir(dir)), ..ResourceArgs::default() }.options();
        assert_eq!(options(dir.path().to_owned()).unwrap().spill, Spill::Dir(dir.path().to_owned()));
        let error = options(dir.path().join("missing")).unwrap_err();
        assert!(error.exit == Exit::Usage && error.message.starts_with("--spill-dir ") && error.message.contains("missing"), "{error}");
    }
}

//! The output streams of a command: data goes to stdout; messages, logs and the progress bar go to stderr.

use super::exit::{CliError, Exit};
use super::logging::writer::{self, Writer};
use super::logging::{self, LogFormat};
use super::output_args::OutputArgs;
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use lakegate::Totals;
use lakegate::serving::TABLES;
use lakegate_base::log_level::LogLevel;
use std::cell::Cell;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// How often the progress bar is redrawn.
const TICK: Duration = Duration::from_millis(100);
/// Third-party crates are logged from this level on: below it they may log headers and queries.
const OTHERS: LevelFilter = LevelFilter::WARN;

/// How long a command waits at its end for a terminal that accepts no output.
const TERMINAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Lines for stderr. A separate thread writes them, so that a stopped terminal or a missing reader blocks nothing else. [`None`] if the thread could
/// not be started.
static LINES: OnceLock<Option<Writer>> = OnceLock::new();

fn lines() -> Option<Writer> {
    let (writer, queue) = writer::queue();
    let write =
        move || queue.write(StderrAroundBar, |lost| format!("{lost} lines were left out: stderr is read more slowly than it is written."));
    std::thread::Builder::new().name("lakegate-stderr".into()).spawn(write).ok().map(|_| writer)
}

/// The progress bar, which other output must not overwrite.
static BAR: OnceLock<ProgressBar> = OnceLock::new();

/// Warnings of ours, whether or not the log level shows them.
static WARNINGS: AtomicU64 = AtomicU64::new(0);

/// The number of warnings so far in this process.
pub(crate) fn warnings() -> u64 {
    WARNINGS.load(Ordering::Relaxed)
}

/// Counts our warnings.
struct WarningCounter;

impl<S: Subscriber> Layer<S> for WarningCounter {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::WARN {
            WARNINGS.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The console of a command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Console {
    quiet: bool,
    bar: bool,
}

impl Console {
    /// Starts the log and returns the console.
    pub(crate) fn start(output: &OutputArgs) -> Self {
        start_log(output.level(), output.log_format);
        Self { quiet: output.quiet, bar: !output.quiet }
    }

    /// Prints a line for people, unless `--quiet` is given.
    pub(crate) fn say(self, line: &str) {
        if !self.quiet {
            error_line(line);
        }
    }

    /// The console of a command that shows its log: without a progress bar.
    pub(crate) fn without_bar(self) -> Self {
        Self { bar: false, ..self }
    }

    /// A progress bar; only drawn on a terminal.
    pub(crate) fn progress(self, what: &str) -> Progress {
        let target = if self.bar { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style =
            ProgressStyle::with_template("{spinner} {prefix} {msg} ({elapsed})").unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::with_draw_target(None, target).with_style(style).with_prefix(what.to_owned());
        bar.enable_steady_tick(TICK);
        let bar = BAR.get_or_init(|| bar.clone()).clone();
        Progress::paint(bar)
    }
}

/// Prints an error line on stderr, whatever the options are. A closed stream is not an error.
pub(crate) fn error_line(line: &str) {
    match LINES.get_or_init(lines) {
        // A plugin with much output waits for stderr, as long as lines are being written at all.
        Some(lines) => lines.line_patiently(line.to_owned()),
        None => {
            let _gone = writeln!(io::stderr().lock(), "{line}");
        }
    }
}

/// Waits, up to a limit, until all lines are on stderr; called before the process exits.
pub(crate) fn flush() {
    if let Some(Some(lines)) = LINES.get() {
        lines.flush();
    }
}

/// Prints data on stdout, followed by a newline.
pub(crate) fn data(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    written.map_err(|error| CliError::new(Exit::Unexpected, format!("stdout: {error}")))
}

/// A progress bar that shows the totals of a write. A separate thread draws it, so that a stopped terminal does not block the write.
#[derive(Debug)]
pub(crate) struct Progress {
    begun: Instant,
    /// When the totals were last updated.
    shown: Cell<Option<Instant>>,
    /// The message to show next.
    latest: Arc<Mutex<Option<String>>>,
    /// Dropping it ends the thread, which then signals `ended`.
    stop: Option<Sender<()>>,
    ended: Receiver<()>,
}

impl Progress {
    fn paint(bar: ProgressBar) -> Self {
        let latest = Arc::<Mutex<Option<String>>>::default();
        let ((stop, stopped), (end, ended)) = (mpsc::channel::<()>(), mpsc::channel());
        let painted = latest.clone();
        std::thread::spawn(move || {
            // A second source reuses the bar of the first.
            bar.reset();
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                let message = painted.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(message) = message {
                    bar.set_message(message);
                }
            }
            bar.finish_and_clear();
            let _nobody_waits = end.send(());
        });
        Self { begun: Instant::now(), shown: Cell::new(None), latest, stop: Some(stop), ended }
    }

    /// Shows the totals, unless that has just been done: a source may send a million messages.
    pub(crate) fn show(&self, totals: impl FnOnce() -> Totals) {
        if self.shown.get().is_some_and(|shown| shown.elapsed() < TICK) {
            return;
        }
        self.shown.set(Some(Instant::now()));
        let totals = totals();
        let seconds = self.begun.elapsed().as_secs_f64().max(0.001);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a rate for display")]
        let rate = (totals.rows as f64 / seconds) as u64;
        let mut message = format!("{} rows, {} rows/s", HumanCount(totals.rows), HumanCount(rate));
        // Plugins do not report objects and bytes.
        if totals.objects > 0 {
            message.push_str(&format!(", {} in {} objects", HumanBytes(totals.bytes), HumanCount(totals.objects)));
        }
        if totals.failed_tables > 0 {
            message.push_str(&format!(", {} tables failed", HumanCount(totals.failed_tables)));
        }
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _terminal_is_held = self.ended.recv_timeout(TERMINAL_TIMEOUT);
    }
}

/// Passes log lines to the thread that writes stderr.
struct LogLine;

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Each event arrives in one piece.
        error_line(String::from_utf8_lossy(bytes).trim_end_matches('\n'));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes lines while the progress bar is suspended.
struct StderrAroundBar;

impl Write for StderrAroundBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match BAR.get() {
            Some(bar) => bar.suspend(|| io::stderr().lock().write(bytes)),
            None => io::stderr().lock().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

fn start_log(level: LogLevel, format: LogFormat) {
    let ours = logging::up_to(level);
    // The summary lists failed tables, and the bar counts them, so by default the log does not repeat them.
    let tables = if ours > LevelFilter::WARN { ours } else { LevelFilter::OFF };
    let filter = Targets::new().with_default(ours.min(OTHERS)).with_target("lakegate", ours).with_target(TABLES, tables);
    let warnings_counted = WarningCounter.with_filter(Targets::new().with_target("lakegate", LevelFilter::WARN));
    let lines = tracing_subscriber::fmt::layer().with_writer(|| LogLine).with_ansi(false).with_target(false);
    let started = match format {
        LogFormat::Text => tracing_subscriber::registry().with(warnings_counted).with(lines.with_filter(filter)).try_init(),
        LogFormat::Json => {
            tracing_subscriber::registry().with(warnings_counted).with(lines.json().flatten_event(true).with_filter(filter)).try_init()
        }
    };
    // An embedding program may have set up its own log.
    drop(started);
}

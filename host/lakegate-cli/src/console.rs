//! The streams of a command: data to stdout, words, logs and progress to stderr.

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

/// How often the bar is drawn anew.
const TICK: Duration = Duration::from_millis(100);
/// Other people's crates are heard from this level on only: below it they may log headers and queries.
const OTHERS: LevelFilter = LevelFilter::WARN;

/// How long the end of a command waits for a terminal that takes nothing.
const TERMINAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Lines for stderr. A thread of its own writes them: a terminal that is held, or a reader that is gone, holds up nothing else. [`None`] if
/// there is no thread to be had.
static LINES: OnceLock<Option<Writer>> = OnceLock::new();

fn lines() -> Option<Writer> {
    let (writer, queue) = writer::queue();
    let write = move || queue.write(StderrAroundBar, |lost| format!("{lost} lines were left out: stderr is read more slowly than it is written."));
    std::thread::Builder::new().name("lakegate-stderr".into()).spawn(write).ok().map(|_| writer)
}

/// The bar being drawn, which words must not be written across.
static BAR: OnceLock<ProgressBar> = OnceLock::new();

/// Warnings of ours that went to the log, or would have at another level.
static WARNINGS: AtomicU64 = AtomicU64::new(0);

/// How many warnings there were so far in this process.
pub(crate) fn warnings() -> u64 {
    WARNINGS.load(Ordering::Relaxed)
}

/// Counts warnings.
struct WarningCounter;

impl<S: Subscriber> Layer<S> for WarningCounter {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::WARN {
            WARNINGS.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Speaks for a command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Console {
    quiet: bool,
    bar: bool,
}

impl Console {
    /// Starts the log and answers the console.
    pub(crate) fn start(output: &OutputArgs) -> Self {
        start_log(output.level(), output.log_format);
        Self { quiet: output.quiet, bar: !output.quiet }
    }

    /// A line for people; left out with `--quiet`.
    pub(crate) fn say(self, line: &str) {
        if !self.quiet {
            error_line(line);
        }
    }

    /// The console of a command whose log is watched: nothing is drawn over it.
    pub(crate) fn without_bar(self) -> Self {
        Self { bar: false, ..self }
    }

    /// A progress bar; drawn on a terminal only.
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

/// A line on stderr, whatever the options: what went wrong. A stream that is gone is no reason to fail.
pub(crate) fn error_line(line: &str) {
    match LINES.get_or_init(lines) {
        // A plugin that says much waits for stderr as long as that takes lines at all.
        Some(lines) => lines.line_patiently(line.to_owned()),
        None => {
            let _gone = writeln!(io::stderr().lock(), "{line}");
        }
    }
}

/// Waits until all lines are on stderr, but not without end: before this process is no more.
pub(crate) fn flush() {
    if let Some(Some(lines)) = LINES.get() {
        lines.flush();
    }
}

/// Data on stdout: this text and the end of its last line.
pub(crate) fn data(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    written.map_err(|error| CliError::new(Exit::Unexpected, format!("stdout: {error}")))
}

/// A bar that shows the totals of a write. A thread of its own paints it: a terminal that is held does not hold the write.
#[derive(Debug)]
pub(crate) struct Progress {
    begun: Instant,
    /// When it was last told.
    shown: Cell<Option<Instant>>,
    /// What is to be shown next.
    latest: Arc<Mutex<Option<String>>>,
    /// Dropped, it ends the thread, which then says that it has.
    stop: Option<Sender<()>>,
    ended: Receiver<()>,
}

impl Progress {
    fn paint(bar: ProgressBar) -> Self {
        let latest = Arc::<Mutex<Option<String>>>::default();
        let ((stop, stopped), (end, ended)) = (mpsc::channel::<()>(), mpsc::channel());
        let painted = latest.clone();
        std::thread::spawn(move || {
            // A second source takes the bar of the first.
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

    /// Shows the totals, unless it has just done so: a source may send a million messages.
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
        // A plugin keeps to itself what it makes of the rows.
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

/// Hands a log line to the thread that writes.
struct LogLine;

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An event comes in one piece.
        error_line(String::from_utf8_lossy(bytes).trim_end_matches('\n'));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes lines beside the bar.
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
    // The summary tells every failed table, and the bar how many there are: who has not asked for more need not hear it twice.
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
    // An embedder may have a log of its own already.
    drop(started);
}

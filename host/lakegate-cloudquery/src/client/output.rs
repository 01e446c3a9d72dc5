//! Handling the output of a plugin. Its standard output has log lines, one JSON object each, which go into our log; anything else it prints there is
//! logged as text. Its standard error is for people, and passed on while the plugin is at work. What it prints there before it listens and after it
//! was told to stop (mostly tracebacks) only matters if it exited by itself.

use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use super::Kind;

/// Maximum bytes kept of a line, since a plugin may print megabytes without a newline.
const MAX_LINE_BYTES: usize = 64 << 10;
/// Lines kept for the case that the plugin exits before it listens.
const LAST_LINES: usize = 10;

/// Counts of a plugin's log lines, and its last lines.
#[derive(Debug, Default)]
pub struct LogCounts {
    warnings: AtomicU64,
    errors: AtomicU64,
    last: Mutex<VecDeque<String>>,
    at_work: AtomicBool,
}

impl LogCounts {
    /// Number of warnings logged.
    pub fn warnings(&self) -> u64 {
        self.warnings.load(Ordering::Relaxed)
    }

    /// Number of errors logged.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// The last lines, oldest first.
    pub(super) fn last(&self) -> Vec<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Marks whether the plugin is at work: from when it listens until it is told to stop.
    pub(super) fn set_at_work(&self, at_work: bool) {
        self.at_work.store(at_work, Ordering::Relaxed);
    }

    /// Clears the last lines for a new attempt.
    pub(super) fn forget_last(&self) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn count(&self, level: Level) {
        match level {
            Level::Warn => _ = self.warnings.fetch_add(1, Ordering::Relaxed),
            Level::Error => _ = self.errors.fetch_add(1, Ordering::Relaxed),
            Level::Trace | Level::Debug | Level::Info | Level::Unknown => {}
        }
    }

    fn keep(&self, text: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(text.to_owned());
    }
}

/// Relays every line until the plugin has closed its output.
pub(super) async fn relay(output: impl AsyncRead + Unpin, kind: Kind, name: String, log_counts: Arc<LogCounts>) {
    let mut lines = Lines { output: BufReader::new(output) };
    while let Some(line) = lines.next().await {
        let Some(Line { level, text }) = read(&String::from_utf8_lossy(&line)) else { continue };
        log_counts.count(level);
        log_counts.keep(&text);
        log(level, kind, &name, &text);
    }
}

/// Passes on every line until the plugin has closed its standard error.
pub(super) async fn relay_stderr(output: impl AsyncRead + Unpin, kind: Kind, name: String, log_counts: Arc<LogCounts>, say: fn(&str)) {
    let mut lines = Lines { output: BufReader::new(output) };
    while let Some(line) = lines.next().await {
        let text = super::error::clip(&String::from_utf8_lossy(&line));
        log_counts.keep(&text);
        if log_counts.at_work.load(Ordering::Relaxed) {
            say(&text);
        } else {
            log(Level::Debug, kind, &name, &text);
        }
    }
}

/// Lines of bounded length.
struct Lines<R> {
    output: BufReader<R>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    async fn next(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        let mut begun = false;
        loop {
            // A broken pipe counts as its end.
            let bytes = self.output.fill_buf().await.unwrap_or_default();
            if bytes.is_empty() {
                return begun.then_some(line);
            }
            begun = true;
            let end = memchr::memchr(b'\n', bytes);
            let piece = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
            let room = MAX_LINE_BYTES - line.len();
            line.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
            let used = end.map_or(bytes.len(), |end| end + 1);
            self.output.consume(used);
            if end.is_some() {
                return Some(line);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    /// An unknown level. Such a line is logged, but not counted.
    Unknown,
}

#[derive(Debug, PartialEq, Eq)]
struct Line {
    level: Level,
    text: String,
}

/// Fields that our own log already has, or that are part of the text.
const OWN_FIELDS: [&str; 6] = ["level", "time", "timestamp", "message", "event", "msg"];

/// A line's level and text; [`None`] for an empty one.
fn read(line: &str) -> Option<Line> {
    let line = line.trim();
    if line.is_empty() {
        return None;
    }
    Some(match serde_json::from_str::<Map<String, Value>>(line) {
        Ok(fields) => Line { level: level(&fields), text: super::error::clip(&text(&fields)) },
        // A traceback, a banner, something printed by mistake.
        Err(_) => Line { level: Level::Info, text: super::error::clip(line) },
    })
}

fn level(fields: &Map<String, Value>) -> Level {
    match fields.get("level").and_then(Value::as_str).unwrap_or_default() {
        "trace" => Level::Trace,
        "debug" => Level::Debug,
        "info" => Level::Info,
        "warn" | "warning" => Level::Warn,
        "error" => Level::Error,
        _ => Level::Unknown,
    }
}

/// The message, followed by the other fields.
fn text(fields: &Map<String, Value>) -> String {
    let message = ["message", "event", "msg"].iter().find_map(|name| fields.get(*name)?.as_str()).unwrap_or_default();
    let mut text = message.to_owned();
    for (name, value) in fields.iter().filter(|(name, _)| !OWN_FIELDS.contains(&name.as_str())) {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(name);
        text.push('=');
        text.push_str(&value.to_string());
    }
    text
}

fn log(level: Level, kind: Kind, name: &str, text: &str) {
    match level {
        Level::Trace => tracing::trace!(%kind, plugin = name, "{text}"),
        Level::Debug => tracing::debug!(%kind, plugin = name, "{text}"),
        Level::Info => tracing::info!(%kind, plugin = name, "{text}"),
        Level::Warn => tracing::warn!(%kind, plugin = name, "{text}"),
        Level::Error | Level::Unknown => tracing::error!(%kind, plugin = name, "{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, level: Level, text: &str) {
        assert_eq!(read(line), Some(Line { level, text: text.to_owned() }), "{line}");
    }

    #[test]
    fn lines_of_every_sdk() {
        let go = r#"{"level":"info","module":"aws-src","message":"Plugin server listening","address":"/tmp/a"}"#;
        check(go, Level::Info, r#"Plugin server listening address="/tmp/a" module="aws-src""#);
        let python = r#"{"event": "table resolver started", "level": "debug", "timestamp": "2026-01-01T00:00:00Z", "depth": 0}"#;
        check(python, Level::Debug, "table resolver started depth=0");
        check(r#"{"level":"warning","msg":"slow"}"#, Level::Warn, "slow");
        check(r#"{"level":"error","message":"m"}"#, Level::Error, "m");
        check(r#"{"level":"fatal","message":"m"}"#, Level::Unknown, "m");
        check(r#"{"message":"no level"}"#, Level::Unknown, "no level");
        check("Traceback (most recent call last):", Level::Info, "Traceback (most recent call last):");
        check("[1, 2]", Level::Info, "[1, 2]");
        check("{\"level\":", Level::Info, "{\"level\":");
        assert_eq!(read("  "), None);
    }

    #[tokio::test]
    async fn lines_are_split_and_bounded() {
        let long = "x".repeat(MAX_LINE_BYTES + 100);
        let text = format!("a\n\n{long}\n\u{fffd}b");
        let mut lines = Lines { output: BufReader::with_capacity(7, text.as_bytes()) };
        let mut found = Vec::new();
        while let Some(line) = lines.next().await {
            found.push(line.len());
        }
        assert_eq!(found, [1, 0, MAX_LINE_BYTES, 4]);
    }

    #[tokio::test]
    async fn warnings_and_errors_are_counted_and_the_last_lines_kept() {
        let said = "{\"level\":\"fatal\"}\n{\"level\":\"warn\",\"message\":\"w\"}\n{\"level\":\"error\",\"message\":\"e\"}\n1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let log_counts = Arc::new(LogCounts::default());
        relay(said.as_bytes(), Kind::Source, "s".to_owned(), log_counts.clone()).await;
        assert_eq!((log_counts.warnings(), log_counts.errors()), (1, 1));
        assert_eq!(log_counts.last(), ["e", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    }
}

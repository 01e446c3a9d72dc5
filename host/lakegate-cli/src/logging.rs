//! Log lines in the format of plugins on the Go SDK, on stdout, where the CloudQuery CLI reads them. It discards lines of 4,096 bytes and more.
//!
//! A line is one JSON object (`level`, `module`, the event's fields, `message`) or one line of text. If a line would be too long, its longest values
//! are truncated; its structure stays intact. Values are untrusted: none can start a new line, move a terminal's cursor, or look like a field that it
//! is not.

mod audit_file;
pub(super) mod writer;

use audit_file::AuditFile;
use lakegate::serving::{AUDIT, audit};
use lakegate_base::log_level::LogLevel;
use lakegate_base::log_limit::{Admission, LogLimiter};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use writer::Writer;

/// The longest line, without its newline.
const MAX_LINE_BYTES: usize = 4_094;
/// The end of a truncated value.
const ELLIPSIS: &str = "...";
/// The `module` field: plugin name and kind, joined as in the SDK.
const MODULE: &str = "s3-dest";
/// Third-party crates may log headers and bodies below this level, which contain secrets and rows.
const OTHERS: LevelFilter = LevelFilter::WARN;
/// Lines of third-party crates per second: a client can cause any number of warnings there.
const MAX_OTHERS_LINES: u32 = 10;
/// Prefix of the targets of our own events.
const OURS: &str = "lakegate";

/// The field of a span whose lines all carry it, as those of plugins on the Go SDK do after Init.
const INVOCATION: &str = "invocation_id";

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Plain text, for people.
    Text,
    /// JSON, for programs.
    Json,
}

/// The log of this process. Dropping it waits, up to a limit, until all lines are written.
#[derive(Debug)]
pub struct Log {
    lines: Writer,
    audit: Option<(Writer, Arc<AtomicBool>)>,
}

impl Log {
    /// Reopens the audit log file, if there is one, since it may have been renamed.
    pub fn reopen_audit(&self) {
        if let Some((_, reopen)) = &self.audit {
            reopen.store(true, Ordering::Release);
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some((audit, _)) = &self.audit {
            audit.flush();
        }
        self.lines.flush();
    }
}

/// Starts logging to stdout. Audit lines are logged at every level.
///
/// # Errors
/// A log has already been set up.
pub fn start(level: LogLevel, format: LogFormat) -> Result<Log, TryInitError> {
    start_with(level, format, None)
}

/// Starts logging to stdout, with audit lines in a separate file.
///
/// # Errors
/// A log has already been set up, or the file cannot be appended to.
pub fn start_with_audit(level: LogLevel, format: LogFormat, file: &Path) -> io::Result<Log> {
    start_with(level, format, Some(AuditFile::open(file)?)).map_err(io::Error::other)
}

/// The filter of a log level.
pub(super) fn up_to(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    }
}

fn start_with(level: LogLevel, format: LogFormat, audit: Option<AuditFile>) -> Result<Log, TryInitError> {
    let ours = up_to(level);
    let (writer, queue) = writer::queue();
    let audit = audit.map(|file| (file.reopen_flag(), writer::queue(), file));
    let audit_writer = audit.as_ref().map(|(_, (writer, _), _)| writer.clone());
    let lines = SdkLines { format, writer: writer.clone(), audit: audit_writer, others: Mutex::new(LogLimiter::new(MAX_OTHERS_LINES)) };
    tracing_subscriber::registry().with(lines.with_filter(filter(ours))).try_init()?;
    std::thread::spawn(move || {
        queue.write(io::stdout(), |lost| {
            let message = "Lines were left out: the log is read more slowly than it is written.".to_owned();
            line(format, Level::WARN, Fields { message, others: vec![("left_out", lost.into())] })
        });
    });
    let audit = audit.map(|(reopen, (writer, queue), file)| {
        std::thread::spawn(move || file.write(queue));
        (writer, reopen)
    });
    Ok(Log { lines: writer, audit })
}

/// Logs failures as warnings with all of the SDK's structs; our error says the same in one line.
const CREDENTIALS_CHAIN: &str = "aws_config::meta::credentials::chain";

fn filter(ours: LevelFilter) -> Targets {
    Targets::new()
        .with_default(ours.min(OTHERS))
        .with_target(OURS, ours)
        .with_target(AUDIT, ours.max(LevelFilter::INFO))
        .with_target(CREDENTIALS_CHAIN, LevelFilter::OFF)
}

/// The layer that formats events and passes the lines to the writers.
#[derive(Debug)]
struct SdkLines {
    format: LogFormat,
    writer: Writer,
    /// The writer of the separate audit log, if there is one.
    audit: Option<Writer>,
    others: Mutex<LogLimiter>,
}

/// The invocation that a span's lines belong to.
#[derive(Debug)]
struct Invocation(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for SdkLines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let invocation = fields.others.into_iter().find(|(name, _)| *name == INVOCATION);
        if let (Some((_, Value::String(id))), Some(span)) = (invocation, context.span(id)) {
            span.extensions_mut().insert(Invocation(id));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let (target, level) = (event.metadata().target(), *event.metadata().level());
        let mut fields = Fields::default();
        if !target.starts_with(OURS) {
            match self.others.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now()) {
                Admission::Held => return,
                Admission::Passes(0) => {}
                Admission::Passes(more) => fields.others.push(("left_out", more.into())),
            }
        }
        if target == AUDIT {
            fields.others.push(("target", AUDIT.into()));
        }
        event.record(&mut fields);
        let invocation = context.event_scope(event).and_then(|mut scope| {
            scope.find_map(|span| span.extensions().get::<Invocation>().map(|Invocation(id)| Value::from(id.as_str())))
        });
        fields.others.extend(invocation.map(|id| (INVOCATION, id)));
        if target != AUDIT {
            return self.writer.line(line(self.format, level, fields));
        }
        let (writer, line) = match &self.audit {
            Some(audit) => {
                fields.others.insert(0, ("time", chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true).into()));
                (audit, line(LogFormat::Json, level, fields))
            }
            None => (&self.writer, line(self.format, level, fields)),
        };
        match audit::take(line.len()) {
            Some(room) => writer.line_in(room, line),
            // An audit line without a tenant has no reserved space.
            None => writer.line(line),
        }
    }
}

/// The message and fields of an event.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            ("message", value) => self.message = value.to_string(),
            (name, value) => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }
}

fn line(format: LogFormat, level: Level, fields: Fields) -> String {
    let mut values: Vec<(&str, Value)> = vec![("level", level.as_str().to_ascii_lowercase().into()), ("module", MODULE.into())];
    values.extend(fields.others);
    values.push(("message", fields.message.into()));
    loop {
        let line = match format {
            LogFormat::Json => json_line(&values),
            LogFormat::Text => text_line(&values),
        };
        let Some(excess) = line.len().checked_sub(MAX_LINE_BYTES + 1) else { return line };
        if !shorten(&mut values, excess + 1) {
            return format!(r#"{{"level":"error","module":"{MODULE}","message":"a log line had too many fields"}}"#);
        }
    }
}

/// Truncates the longest value, as far as needed or by half; `false` if no value is long enough.
fn shorten(values: &mut [(&str, Value)], excess: usize) -> bool {
    let texts = values.iter_mut().filter_map(|(_, value)| if let Value::String(text) = value { Some(text) } else { None });
    let Some(longest) = texts.max_by_key(|text| text.len()) else { return false };
    let keep = longest.len().saturating_sub(excess + ELLIPSIS.len()).max(longest.len() / 2);
    if longest.len() <= 2 * ELLIPSIS.len() {
        return false;
    }
    let cut = longest.floor_char_boundary(keep.min(longest.len() - ELLIPSIS.len() - 1));
    longest.truncate(cut);
    longest.push_str(ELLIPSIS);
    true
}

fn json_line(values: &[(&str, Value)]) -> String {
    let pairs: Vec<String> = values.iter().map(|(name, value)| format!("{}:{value}", Value::from(*name))).collect();
    shown(&format!("{{{}}}", pairs.join(","))).into_owned()
}

/// Escapes characters in a JSON text that a terminal would act upon; they can only occur in strings.
fn shown(json: &str) -> Cow<'_, str> {
    if !json.chars().any(is_unseen) {
        return json.into();
    }
    let mut out = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if is_unseen(character) {
            // All of these have four digits.
            let _never = write!(out, "\\u{:04x}", u32::from(character));
        } else {
            out.push(character);
        }
    }
    out.into()
}

/// Control characters, line separators, and characters that change the writing direction.
fn is_unseen(character: char) -> bool {
    character.is_control() || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn text_line(values: &[(&str, Value)]) -> String {
    let mut line = lakegate_base::clock::utc().format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let found: Map<String, Value> = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let text = |name: &str| found.get(name).and_then(Value::as_str).unwrap_or_default();
    let level = match text("level") {
        "trace" => "TRC",
        "debug" => "DBG",
        "info" => "INF",
        "warn" => "WRN",
        _ => "ERR",
    };
    // Writing to a `String` cannot fail. A message must not contain a newline or look like fields.
    let (message, quote) = (text("message"), if text("message").contains('=') { "\"" } else { "" });
    let _never = write!(line, " {level} {quote}{}{quote}", message.escape_debug());
    for (name, value) in values.iter().filter(|(name, _)| !matches!(*name, "level" | "message")) {
        let _never = match value {
            Value::String(text) if !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && c != '"') => {
                write!(line, " {name}={text}")
            }
            value => write!(line, " {name}={}", shown(&value.to_string())),
        };
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(message: &str, others: &[(&'static str, Value)]) -> Fields {
        Fields { message: message.to_owned(), others: others.to_vec() }
    }

    #[test]
    fn a_json_line_is_what_the_sdk_writes() {
        let found = line(
            LogFormat::Json,
            Level::INFO,
            fields("Plugin server listening", &[("address", "127.0.0.1:7777".into()), ("rows", 3.into())]),
        );
        let expected = r#"{"level":"info","module":"s3-dest","address":"127.0.0.1:7777","rows":3,"message":"Plugin server listening"}"#;
        assert_eq!(found, expected);
    }

    #[test]
    fn a_text_line_is_one_line() {
        let found = line(LogFormat::Text, Level::WARN, fields("a\nb", &[("table", "two words".into())]));
        assert!(found.ends_with(r#" WRN a\nb module=s3-dest table="two words""#), "{found}");
    }

    #[test]
    fn no_value_passes_for_a_field_or_moves_the_cursor() {
        let forged = "x tenant=beta decision=stored";
        let found = line(LogFormat::Text, Level::WARN, fields(forged, &[("line", forged.into()), ("tenant", "acme".into())]));
        let quoted = r#""x tenant=beta decision=stored""#;
        assert!(found.ends_with(&format!(" WRN {quoted} module=s3-dest line={quoted} tenant=acme")), "{found}");
        let forged = "x\" tenant=\"beta";
        let found = line(LogFormat::Text, Level::WARN, fields(forged, &[("line", forged.into())]));
        assert!(found.ends_with(r#" WRN "x\" tenant=\"beta" module=s3-dest line="x\" tenant=\"beta""#), "{found}");

        let moves = "\u{1b}[2J\u{9b}2J\u{7f}\u{202e}\u{2028}\r\n";
        for format in [LogFormat::Text, LogFormat::Json] {
            let found = line(format, Level::WARN, fields(moves, &[("line", moves.into())]));
            assert!(!found.contains(is_unseen), "{found:?}");
            if format == LogFormat::Json {
                let read: Value = serde_json::from_str(&found).expect("JSON");
                assert_eq!((&read["message"], &read["line"]), (&Value::from(moves), &Value::from(moves)));
            }
        }
    }

    #[test]
    fn audit_lines_are_there_at_every_level() {
        for ours in [LevelFilter::ERROR, LevelFilter::WARN, LevelFilter::INFO] {
            assert!(filter(ours).would_enable(AUDIT, &Level::INFO), "{ours}");
            assert_eq!(filter(ours).would_enable("lakegate::upload", &Level::INFO), ours == LevelFilter::INFO);
            assert!(!filter(ours).would_enable("h2", &Level::INFO));
        }
    }

    #[test]
    fn a_long_message_keeps_the_other_fields() {
        let found = line(LogFormat::Json, Level::ERROR, fields(&"\"".repeat(10_000), &[("table", "t".into())]));
        let read: Value = serde_json::from_str(&found).expect("JSON");
        assert_eq!(read["table"], "t");
        assert!(read["message"].as_str().is_some_and(|text| text.starts_with("\"\"") && text.ends_with(ELLIPSIS)));
        assert!(found.len() <= MAX_LINE_BYTES && found.len() > MAX_LINE_BYTES / 3, "{}", found.len());
    }

    #[test]
    fn others_are_heard_in_part_and_audit_lines_always() {
        let (writer, queue) = writer::queue();
        let lines = SdkLines { format: LogFormat::Json, writer, audit: None, others: Mutex::new(LogLimiter::new(MAX_OTHERS_LINES)) };
        let log = tracing_subscriber::registry().with(lines.with_filter(filter(LevelFilter::ERROR)));
        tracing::subscriber::with_default(log, || {
            (0..100).for_each(|_| tracing::error!(target: "h2", "a ping too many"));
            tracing::info!(target: "lakegate::upload", "not at this level");
            (0..100).for_each(|_| tracing::info!(target: AUDIT, decision = "stored", "An object has landed."));
        });
        let mut written = Vec::new();
        queue.write(&mut written, |_| String::new());
        let text = String::from_utf8(written).expect("UTF-8");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let others = lines.iter().filter(|line| line["message"] == "a ping too many").count();
        // The one-second window may end once in between.
        assert!((10..=20).contains(&others), "{others}");
        assert_eq!(lines.iter().filter(|line| line["target"] == AUDIT).count(), 100);
        assert_eq!(lines.len(), others + 100);
    }

    #[test]
    fn lines_of_an_invocation_carry_its_id_on_every_thread() {
        let (writer, queue) = writer::queue();
        let lines = SdkLines { format: LogFormat::Json, writer, audit: None, others: Mutex::new(LogLimiter::new(MAX_OTHERS_LINES)) };
        let log = tracing_subscriber::registry().with(lines.with_filter(filter(LevelFilter::ERROR)));
        let log = tracing::Dispatch::new(log);
        tracing::dispatcher::with_default(&log, || {
            let span = tracing::error_span!(target: "lakegate_cloudquery::server", "session", invocation_id = "one");
            let inner = span.in_scope(|| tracing::error_span!(target: "lakegate::upload", "inner", other = 3));
            tracing::error!(target: "lakegate", "before");
            inner.in_scope(|| tracing::error!(target: "lakegate", table = "t", "in it"));
            let log = log.clone();
            let elsewhere =
                move || tracing::dispatcher::with_default(&log, || span.in_scope(|| tracing::info!(target: AUDIT, "elsewhere")));
            std::thread::spawn(elsewhere).join().expect("no panic");
        });
        drop(log);
        let mut written = Vec::new();
        queue.write(&mut written, |_| String::new());
        let text = String::from_utf8(written).expect("UTF-8");
        let expected = [
            r#"{"level":"error","module":"s3-dest","message":"before"}"#,
            r#"{"level":"error","module":"s3-dest","table":"t","invocation_id":"one","message":"in it"}"#,
            r#"{"level":"info","module":"s3-dest","target":"lakegate::audit","invocation_id":"one","message":"elsewhere"}"#,
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    proptest! {
        #[test]
        fn every_line_fits(message in "\\PC{0,6000}", other in "(.|\\n){0,6000}", json: bool) {
            let format = if json { LogFormat::Json } else { LogFormat::Text };
            let found = line(format, Level::ERROR, fields(&message, &[("other", other.into())]));
            prop_assert!(found.len() <= MAX_LINE_BYTES);
            prop_assert!(!found.contains('\n'));
            if json {
                prop_assert!(serde_json::from_str::<Value>(&found).is_ok());
            }
        }
    }
}

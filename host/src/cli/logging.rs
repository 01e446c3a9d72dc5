//! Log lines as plugins of the Go SDK write them, on stdout: the CLI reads them there, and throws away those of 4,096 bytes and more.
//!
//! A line is one JSON object (`level`, `module`, the event's fields, `message`) or one line of text. A line that would be too long loses
//! the ends of its longest values, never its shape.

use serde_json::{Map, Value};
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// The longest line, without its newline.
const MAX_LINE_BYTES: usize = 4_094;
/// What a cut value ends in.
const ELLIPSIS: &str = "...";
/// Who speaks: plugin and kind, as the SDK joins them.
const MODULE: &str = "s3-dest";
/// Others' crates may log headers and bodies below this level, and those hold secrets and rows.
const OTHERS: LevelFilter = LevelFilter::WARN;

/// How much is logged, in the SDK's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// For those who look for a fault.
    Debug,
    /// What happens.
    Info,
    /// What went wrong and was mended.
    Warn,
    /// What went wrong.
    Error,
}

impl LogLevel {
    /// The word of the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// What a log line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Sends this process's log to stdout.
///
/// # Errors
/// There is a log already.
pub fn start(level: LogLevel, format: LogFormat) -> Result<(), TryInitError> {
    let ours = match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let filter = Targets::new().with_default(ours.min(OTHERS)).with_target("lakegate", ours);
    tracing_subscriber::registry().with(SdkLines { format }.with_filter(filter)).try_init()
}

/// A layer that writes the lines.
#[derive(Debug, Clone, Copy)]
struct SdkLines {
    format: LogFormat,
}

impl<S: Subscriber> Layer<S> for SdkLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = line(self.format, *event.metadata().level(), fields);
        line.push('\n');
        // A log that nobody reads any more is no reason to stop.
        let _unread = io::stdout().lock().write_all(line.as_bytes());
    }
}

/// What an event says.
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

/// Takes the end off the longest value, enough of it or half; `false` when nothing worth it is left.
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
    format!("{{{}}}", pairs.join(","))
}

fn text_line(values: &[(&str, Value)]) -> String {
    let mut line = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let found: Map<String, Value> = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let text = |name: &str| found.get(name).and_then(Value::as_str).unwrap_or_default();
    let level = match text("level") {
        "trace" => "TRC",
        "debug" => "DBG",
        "info" => "INF",
        "warn" => "WRN",
        _ => "ERR",
    };
    // Written to a `String`, which cannot fail. A newline in a value must not begin a line of its own.
    let _never = write!(line, " {level} {}", text("message").escape_debug());
    for (name, value) in values.iter().filter(|(name, _)| !matches!(*name, "level" | "message")) {
        let _never = match value {
            Value::String(text) if !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && c != '"') => {
                write!(line, " {name}={text}")
            }
            value => write!(line, " {name}={value}"),
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
    fn a_long_message_keeps_the_other_fields() {
        let found = line(LogFormat::Json, Level::ERROR, fields(&"\"".repeat(10_000), &[("table", "t".into())]));
        let read: Value = serde_json::from_str(&found).expect("JSON");
        assert_eq!(read["table"], "t");
        assert!(read["message"].as_str().is_some_and(|text| text.starts_with("\"\"") && text.ends_with(ELLIPSIS)));
        assert!(found.len() <= MAX_LINE_BYTES && found.len() > MAX_LINE_BYTES / 3, "{}", found.len());
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

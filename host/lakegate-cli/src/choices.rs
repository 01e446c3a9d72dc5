//! Parsers for options whose value is one of a fixed set of names. The types come from crates that do not depend on clap.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use lakegate_base::log_level::LogLevel;
use lakegate_cloudquery::server::listen::Network;
use lakegate_files::{BadRows, HivePartitioning, InputFormat};

/// A value, its name, and its help text.
type Choice<T> = (T, &'static str, &'static str);

const LOG_LEVELS: &[Choice<LogLevel>] = &[
    (LogLevel::Trace, "trace", "Everything"),
    (LogLevel::Debug, "debug", "Details for debugging"),
    (LogLevel::Info, "info", "Normal operation"),
    (LogLevel::Warn, "warn", "Problems that were handled"),
    (LogLevel::Error, "error", "Errors"),
];

const NETWORKS: &[Choice<Network>] = &[
    (Network::Tcp, "tcp", "IPv4 or IPv6"),
    (Network::Tcp4, "tcp4", "IPv4"),
    (Network::Tcp6, "tcp6", "IPv6"),
    (Network::Unix, "unix", "A unix socket, by path"),
    (Network::Unixpacket, "unixpacket", "As `unix`; not offered, since HTTP/2 needs a stream"),
];

const INPUT_FORMATS: &[Choice<InputFormat>] = &[
    (InputFormat::Parquet, "parquet", "Apache Parquet"),
    (InputFormat::Csv, "csv", "Comma-separated values"),
    (InputFormat::Tsv, "tsv", "Tab-separated values"),
    (InputFormat::Ndjson, "json", "JSON objects: an array of them, or one after another"),
    (InputFormat::Ndjson, "ndjson", "The same: one object per line is the usual form"),
    (InputFormat::Ipc, "ipc", "Arrow IPC, file or stream format"),
];

const BAD_ROWS: &[Choice<BadRows>] =
    &[(BadRows::Fail, "fail", "The load ends, naming file and line"), (BadRows::Skip, "skip", "They are left out and counted")];

const HIVE_PARTITIONING: &[Choice<HivePartitioning>] = &[
    (HivePartitioning::Auto, "auto", "Below a folder or a pattern, if all files of the table have the same ones"),
    (HivePartitioning::On, "on", "All of a path"),
    (HivePartitioning::Off, "off", "None"),
];

/// Parses a log level.
pub(crate) fn log_level() -> impl TypedValueParser<Value = LogLevel> {
    one_of(LOG_LEVELS)
}

/// Parses a network type.
pub(crate) fn network() -> impl TypedValueParser<Value = Network> {
    one_of(NETWORKS)
}

/// Parses a file format.
pub(crate) fn input_format() -> impl TypedValueParser<Value = InputFormat> {
    one_of(INPUT_FORMATS)
}

/// Parses what becomes of rows that are not well-formed.
pub(crate) fn bad_rows() -> impl TypedValueParser<Value = BadRows> {
    one_of(BAD_ROWS)
}

/// Parses whether folders are columns.
pub(crate) fn hive_partitioning() -> impl TypedValueParser<Value = HivePartitioning> {
    one_of(HIVE_PARTITIONING)
}

fn one_of<T: Copy + Send + Sync + 'static>(choices: &'static [Choice<T>]) -> impl TypedValueParser<Value = T> {
    let values = choices.iter().map(|(_, name, help)| PossibleValue::new(*name).help(*help));
    PossibleValuesParser::new(values)
        .try_map(|given| choices.iter().find(|(_, name, _)| *name == given).map(|(value, ..)| *value).ok_or("it is not one of them"))
}

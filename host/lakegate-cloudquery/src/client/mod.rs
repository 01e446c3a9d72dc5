//! A client for third-party plugins: sources, and destinations other than ours.
//!
//! [`Plugin`] represents one plugin, started by [`process`] or reached by [`dial`], with the calls it supports. Its standard output is turned into
//! our log in [`output`]. A source's rows arrive through a [`SourceStream`] of bounded size; a destination's are sent through a [`PluginWrite`],
//! which only completes when told to. [`columns`] adds what a sync adds to every row.
//!
//! Invariants: however a client ends, it stops the process it started, with SIGINT first; a plugin that is missing, dies, hangs or violates the
//! protocol is a [`PluginError`] with a clear message, never an unbounded wait before its first answer and never a panic.

pub mod columns;
mod dial;
mod error;
mod launch;
mod output;
mod plugin;
mod plugin_write;
pub mod process;
mod source_stream;

pub use error::PluginError;
pub use launch::{Kind, Launch, LaunchOptions, Otel};
pub use output::LogCounts;
pub use plugin::{Plugin, Selection, TestOutcome};
pub use plugin_write::PluginWrite;
pub use source_stream::{SourceMessage, SourceStream};

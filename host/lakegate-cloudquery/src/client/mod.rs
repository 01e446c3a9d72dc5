//! Other people's plugins, seen as their client: sources, and destinations that are not ours.
//!
//! [`Plugin`] is one of them, started by [`process`] or reached by [`dial`], and the calls it answers. What it says on its standard output
//! becomes our log in [`output`]. A source's rows come through an [`SourceStream`], which holds only so many bytes; a destination's go through a
//! [`PluginWrite`], which ends well only when told to. [`columns`] puts in what a sync adds to every row.
//!
//! Invariants: whatever ends a client ends the process it started, with SIGINT first; a plugin that is missing, dies, hangs or talks
//! nonsense is a [`PluginError`] that says so, never a wait without end before its first answer and never a panic.

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

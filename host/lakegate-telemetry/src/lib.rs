//! Traces and metrics of writes, for an OpenTelemetry collector.
//!
//! [`Telemetry`] hears of a destination's writes as a [`lakegate::observe::Observer`] and sends what it hears by OTLP over HTTP, in protobuf. It never
//! stands in a write's way: spans wait in a queue of [`limits::MAX_SPANS`] and [`limits::MAX_SPAN_BYTES`], and those without room are dropped and counted;
//! metrics are a fixed number of counters for each tenant. The end of a process waits for a collector as long as its caller says, and no longer.
//!
//! The messages are written by the crate's own small description of the protocol (`proto/otlp.proto`) rather than by `opentelemetry-proto`, which brings
//! OpenTelemetry's API, its SDK and a second `rand`: eight crates for sixteen messages.

mod client;
mod counters;
mod export;
mod heard;
pub mod limits;
mod queue;
mod recorder;
mod settings;
mod span;

/// The messages of OTLP.
pub mod proto {
    #![expect(missing_docs, reason = "generated; documented in proto/")]
    include!(concat!(env!("OUT_DIR"), "/otlp.rs"));
}

pub use export::Telemetry;
pub use settings::{Problem, Settings};

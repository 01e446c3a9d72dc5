//! Bounds of what waits to be sent, and of how long it is tried.

use std::time::Duration;

/// Spans that wait to be sent: those of a sync of as many objects during a pause of the collector.
pub const MAX_SPANS: usize = 16_384;

/// Bytes of the spans that wait.
pub const MAX_SPAN_BYTES: usize = 16 << 20;

/// Bytes of one text in a span; a longer one is cut. Keys of objects are never longer.
pub const MAX_TEXT_BYTES: usize = 1_024;

/// Spans of one request.
pub const MAX_BATCH: usize = 512;

/// How long spans wait for others to fill a request.
pub const BATCH_TIME: Duration = Duration::from_secs(1);

/// How often counters are sent.
pub const METRICS_TIME: Duration = Duration::from_secs(10);

/// How long a collector may take for a request, as in OpenTelemetry's SDKs.
pub const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Pauses after a request that failed: the first, and the longest.
pub const RETRY_PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// Attempts at a request once the process ends.
pub const LAST_ATTEMPTS: u32 = 3;

/// How long a command waits at its end until everything is sent.
pub const FLUSH_TIME: Duration = Duration::from_secs(5);

/// Bytes of a collector's answer that are read.
pub const MAX_ANSWER_BYTES: usize = 64 << 10;

//! What is heard of writes, and not yet sent.

use crate::counters::AllCounters;
use crate::queue::Queue;
use lakegate_base::clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is heard of writes, and not yet sent.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) queue: Queue,
    pub(crate) counters: AllCounters,
    /// Spans that the collector has not taken.
    pub(crate) refused: AtomicU64,
    /// Spans that are being sent.
    pub(crate) in_hand: AtomicU64,
    /// Whether the collector has the latest counters.
    pub(crate) counters_sent: AtomicBool,
}

impl Heard {
    pub(crate) fn new() -> Arc<Self> {
        let counters = AllCounters::new(clock::now());
        let (refused, in_hand, counters_sent) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Self { queue: Queue::default(), counters, refused, in_hand, counters_sent })
    }

    /// Spans that are lost so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.queue.no_room() + self.refused.load(Ordering::Relaxed)
    }
}

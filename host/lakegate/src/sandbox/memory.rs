//! The bound on an instance's linear memory, and what all instances of this process have had at most.

use crate::limits::MAX_TABLE_ELEMENTS;
use crate::policy::resources::MemoryHold;
use std::sync::atomic::{AtomicU64, Ordering};
use wasmtime::ResourceLimiter;

/// Bounds the sum of an instance's memories, and its tables.
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    pub(super) limit_bytes: u64,
    used_bytes: u64,
    /// The same bytes in the budget of the tenant.
    pub(super) hold: MemoryHold,
    pub(super) refused: Refused,
}

/// Which bound was in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Nothing,
    Own,
    Budget,
}

impl MemoryLimiter {
    pub(super) fn new(limit_bytes: u64, hold: MemoryHold) -> Self {
        Self { limit_bytes, used_bytes: 0, hold, refused: Refused::Nothing }
    }

    /// Bytes of linear memory in use; it never shrinks.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }
}

/// The highest memory of any instance of this process, for the summary and the metrics.
static HIGH_WATER_BYTES: AtomicU64 = AtomicU64::new(0);

/// The most linear memory that any guest of this process has had, in bytes.
pub fn guest_high_water_bytes() -> u64 {
    HIGH_WATER_BYTES.load(Ordering::Relaxed)
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current) as u64;
        let after = self.used_bytes + more;
        if after > self.limit_bytes {
            self.refused = Refused::Own;
            return Ok(false);
        }
        if !self.hold.grow(more) {
            self.refused = Refused::Budget;
            return Ok(false);
        }
        self.used_bytes = after;
        HIGH_WATER_BYTES.fetch_max(after, Ordering::Relaxed);
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        // wit-component makes a main module, a shim and a fixup.
        8
    }

    fn memories(&self) -> usize {
        2
    }

    fn tables(&self) -> usize {
        8
    }
}

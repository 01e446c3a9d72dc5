//! What the host lends a guest: one module an import, and the state of a store that they work on.

pub mod clock;
pub mod log;
pub mod object_store;
pub mod random;

use crate::ledger::{Call, Ledger};
use crate::policy::Tenant;
use crate::policy::resources::{MemoryHold, Resources};
use crate::scheduler::GuestSlot;
use crate::upload::Outlet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Trap};

/// Which lane of which session a store belongs to.
#[derive(Debug, Clone, Default)]
pub struct LaneContext {
    /// The session's way out; `None` for an instance that only checks a spec.
    pub outlet: Option<Arc<Outlet>>,
    /// The lane's number.
    pub lane: usize,
    /// Makes randomness reproducible.
    pub seed: Option<u64>,
    /// Instances that the lane had before this one, so that a fresh one does not repeat their randomness.
    pub instance: u64,
    /// Whose it is; [`None`] for a single user's.
    pub tenant: Option<Arc<Tenant>>,
    /// What the instance may use of the machine.
    pub share: Arc<Resources>,
}

impl LaneContext {
    /// Of an instance without a session.
    pub fn detached(tenant: Option<Arc<Tenant>>, share: Arc<Resources>) -> Self {
        Self { tenant, share, ..Self::default() }
    }
}

/// A `migrate-table` or `insert` that is running.
#[derive(Debug)]
pub(crate) struct TableCall {
    pub(crate) table: Arc<str>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) call: Call,
}

/// The data of a store: what the imports of one instance work on.
#[derive(Debug)]
pub struct State {
    pub(crate) context: LaneContext,
    pub(crate) limiter: MemoryLimiter,
    /// Where it computes; empty while it waits.
    pub(crate) slot: GuestSlot,
    /// Epoch ticks of the running call.
    pub(crate) cpu_ticks: u32,
    pub(crate) resources: ResourceTable,
    pub(crate) open_objects: u32,
    /// The table of the `migrate-table` or `insert` that is running, and the books of its write.
    pub(crate) call: Option<TableCall>,
    pub(crate) random: random::Random,
    pub(crate) log: log::Gate,
}

impl State {
    pub(crate) fn new(context: LaneContext, slot: GuestSlot, memory_bytes: u64) -> Self {
        let mut resources = ResourceTable::new();
        resources.set_max_capacity(crate::limits::MAX_RESOURCES);
        let random = random::Random::new(context.seed, context.lane as u64, context.instance);
        Self {
            limiter: MemoryLimiter::new(memory_bytes, context.share.budget.hold()),
            context,
            slot,
            cpu_ticks: 0,
            resources,
            open_objects: 0,
            call: None,
            random,
            log: log::Gate::default(),
        }
    }

    /// Begins a call of the guest: its CPU time counts from zero.
    pub(crate) fn begin_call(&mut self, call: Option<TableCall>) {
        self.cpu_ticks = 0;
        self.call = call;
    }

    /// The cause of a trap in words: which limit, or what the guest said in its panic.
    pub(crate) fn explain(&self, trap: &wasmtime::Error) -> anyhow::Error {
        let cause = match trap.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => {
                format!("the component computed for more than {:?} in one call", crate::limits::EPOCH_TICK * (self.cpu_ticks - 1))
            }
            Some(_) if self.limiter.refused == Refused::Own => {
                format!("the component needs more than its {} bytes of memory", self.limiter.limit_bytes)
            }
            Some(_) if self.limiter.refused == Refused::Budget => format!(
                "the component needs more memory than is left of the {} bytes that the tenant has for all sessions (`budget_bytes`)",
                self.limiter.hold.limit_bytes()
            ),
            Some(Trap::UnreachableCodeReached) if self.log.last_error().is_some() => {
                format!("the component panicked: {}", self.log.last_error().unwrap_or_default())
            }
            Some(trap) => format!("the component trapped: {trap}"),
            None => format!("the component was stopped: {}", trap.root_cause()),
        };
        anyhow::anyhow!(cause)
    }
}

/// Bounds the sum of an instance's memories, and its tables.
#[derive(Debug)]
pub struct MemoryLimiter {
    limit_bytes: u64,
    used_bytes: u64,
    /// The same bytes in the budget of the tenant.
    hold: MemoryHold,
    refused: Refused,
}

/// Which bound was in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    Nothing,
    Own,
    Budget,
}

impl MemoryLimiter {
    fn new(limit_bytes: u64, hold: MemoryHold) -> Self {
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
        Ok(desired <= crate::limits::MAX_TABLE_ELEMENTS)
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

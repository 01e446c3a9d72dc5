//! What one wasm store holds: the limits of its instance, and one view for each import.
//!
//! An import sees its own view and nothing else: the clock holds nothing at all, and only the object store can reach the session's uploads.

use super::imports::log::GuestLogger;
use super::imports::object_store::ObjectStore;
use super::imports::random::Random;
use super::memory::{MemoryLimiter, Refused};
use crate::cpu::scheduler::GuestSlot;
use crate::delivery::context::UploadContext;
use crate::delivery::upload::TableCall;
use crate::delivery::watch::Rotation;
use crate::limits::EPOCH_TICK;
use crate::policy::resources::Resources;
use crate::policy::tenant::Tenant;
use std::sync::Arc;
use wasmtime::Trap;

/// Which lane of which session a store belongs to.
#[derive(Debug, Clone, Default)]
pub struct LaneContext {
    /// The session's way out; `None` for an instance that only checks a spec.
    pub uploads: Option<Arc<UploadContext>>,
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

/// The data of a wasm store.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) limiter: MemoryLimiter,
    /// Where it computes; empty while it waits.
    pub(crate) slot: GuestSlot,
    /// Epoch ticks of the running call.
    pub(crate) cpu_ticks: u32,
    pub(super) random: Random,
    pub(super) log: GuestLogger,
    pub(crate) objects: ObjectStore,
}

impl State {
    pub(crate) fn new(context: LaneContext, slot: GuestSlot, memory_bytes: u64) -> Self {
        let LaneContext { uploads, lane, seed, instance, tenant, share } = context;
        Self {
            limiter: MemoryLimiter::new(memory_bytes, share.budget.hold()),
            cpu_ticks: 0,
            random: Random::new(seed, lane as u64, instance),
            log: GuestLogger::new(lane, tenant),
            objects: ObjectStore::new(uploads, lane, slot.clone()),
            slot,
        }
    }

    /// Begins a call of the guest: its CPU time counts from zero.
    pub(crate) fn begin_call(&mut self, call: Option<TableCall>, ends: Option<Rotation>) {
        self.cpu_ticks = 0;
        self.objects.begin_call(call, ends);
    }

    /// The cause of a trap in words: which limit, or what the guest said in its panic.
    pub(crate) fn explain(&self, trap: &wasmtime::Error) -> anyhow::Error {
        let cause = match trap.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => {
                format!("the component computed for more than {:?} in one call", EPOCH_TICK * (self.cpu_ticks - 1))
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

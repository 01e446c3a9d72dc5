//! How a destination uses the machine.

use crate::catalog::ConnectCatalog;
use crate::delivery::watch::Observer;
use crate::limits::{GUEST_MEMORY_BYTES, LANE_QUEUE_BYTES, MAX_MESSAGE_BYTES, RECEIPT_BYTES};
use crate::payload::spill::Spill;
use crate::policy::tenant::Tenant;
use crate::s3::options::ConnectOptions;
use crate::store::traits::Connect;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// How a destination uses the machine.
#[derive(Debug, Clone)]
pub struct Options {
    /// Guest instances of a session. Default: the cores of the machine.
    pub lanes: NonZeroUsize,
    /// Bytes of parts not yet full, held in memory; past it the largest go to the spill file.
    pub memory_bytes: u64,
    /// Bytes on their way to the store and not yet confirmed.
    pub in_flight_bytes: u64,
    /// Bytes of linear memory of a guest instance.
    pub guest_memory_bytes: u64,
    /// Where parts spill to.
    pub spill: Spill,
    /// Bytes of a session's spill file; [`None`] is no bound but the disk's.
    pub spill_bytes: Option<u64>,
    /// Bytes of receipts that a write keeps for its report; objects beyond are counted. They are the one thing of this size that no budget
    /// counts, so a server, which reads none, keeps none.
    pub receipt_bytes: u64,
    /// Makes object keys reproducible, for tests and `load --seed`.
    pub seed: Option<u64>,
    /// Whose sessions these are, and under which grant; [`None`] for a user's own.
    pub tenant: Option<Arc<Tenant>>,
    /// How S3 is reached.
    pub connect: ConnectOptions,
    /// Stores of another kind, instead of S3: [`MemoryStore`](crate::MemoryStore), or one of an embedder's own.
    pub store: Option<Arc<dyn Connect>>,
    /// Reaches the catalogs that specs ask for; [`None`]: such a spec is refused.
    pub catalogs: Option<Arc<dyn ConnectCatalog>>,
    /// Hears of every write, for traces and metrics.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Options {
    /// The largest message of a session, in bytes.
    pub fn max_message_bytes(&self) -> u64 {
        self.tenant.as_ref().map_or(MAX_MESSAGE_BYTES as u64, |tenant| tenant.grant.message_bytes())
    }

    /// Bytes that the host may hold for one session: parts, what is on its way, the queues of the lanes, and the message that is being read.
    pub fn host_bytes(&self) -> u64 {
        let message = self.max_message_bytes();
        let queues = message.max(LANE_QUEUE_BYTES as u64).saturating_mul(self.lanes.get() as u64);
        [self.memory_bytes, self.in_flight_bytes, queues, message].into_iter().fold(0, u64::saturating_add)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lanes: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            memory_bytes: 64 << 20,
            in_flight_bytes: 32 << 20,
            guest_memory_bytes: GUEST_MEMORY_BYTES,
            spill: Spill::Dir(std::env::temp_dir()),
            spill_bytes: None,
            receipt_bytes: RECEIPT_BYTES,
            seed: None,
            tenant: None,
            connect: ConnectOptions::default(),
            store: None,
            catalogs: None,
            observer: None,
        }
    }
}

//! What a tenant has done and what it was denied, in numbers: for metrics and the status page.

use super::denied::Denied;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Denials that are remembered with their words.
const LAST_DENIALS: usize = 20;

/// The numbers of one tenant since the process began.
#[derive(Debug, Default)]
pub struct TenantMetrics {
    objects: AtomicU64,
    bytes: AtomicU64,
    rows: AtomicU64,
    quarantined_rows: AtomicU64,
    traps: AtomicU64,
    sessions: AtomicU64,
    guest_memory_bytes: AtomicU64,
    queued: AtomicU64,
    puts: Histogram,
    throttled: Mutex<BTreeMap<&'static str, u64>>,
    denials: Mutex<Denials>,
    /// Requests to the store that were tried again.
    pub retries: Arc<RetryCounts>,
}

/// Requests that were tried again, by what was in the way.
#[derive(Debug, Default)]
pub struct RetryCounts([AtomicU64; 3]);

/// What was in the way of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RetryCause {
    /// The store asked for less.
    Throttled,
    /// A failure that passes.
    Transient,
    /// No connection.
    Unreachable,
}

impl RetryCounts {
    pub(crate) fn count(&self, cause: RetryCause) {
        self.0[cause as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The numbers now, by cause.
    pub fn read(&self) -> [(&'static str, u64); 3] {
        let [throttled, transient, unreachable] = self.0.each_ref().map(|counter| counter.load(Ordering::Relaxed));
        [("throttled", throttled), ("transient", transient), ("unreachable", unreachable)]
    }
}

/// Upper bounds of the histogram of puts, in seconds.
pub const PUT_SECONDS: [f64; 11] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// How long requests took.
#[derive(Debug, Default)]
struct Histogram {
    /// By bound; the last are those beyond every bound.
    counts: [AtomicU64; PUT_SECONDS.len() + 1],
    nanos: AtomicU64,
}

#[derive(Debug, Default)]
struct Denials {
    by_rule: BTreeMap<&'static str, u64>,
    last: VecDeque<Denial>,
}

/// A denial that is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// When.
    pub at: SystemTime,
    /// The rule of the grant.
    pub rule: &'static str,
    /// In words.
    pub message: String,
}

/// The numbers at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Objects that have landed.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their rows.
    pub rows: u64,
    /// Those in quarantine among them.
    pub quarantined_rows: u64,
    /// Traps of guest instances.
    pub traps: u64,
    /// Sessions that are open.
    pub sessions: u64,
    /// The most linear memory that one guest instance has had, in bytes.
    pub guest_memory_bytes: u64,
    /// Messages that wait for a guest.
    pub queued: u64,
    /// Puts by [`PUT_SECONDS`], each with those below it; the last are all.
    pub puts: [u64; PUT_SECONDS.len() + 1],
    /// How long all puts took together.
    pub put_time: Duration,
    /// Waits for a rate, by rule.
    pub throttled: BTreeMap<&'static str, u64>,
    /// Requests that were tried again, by class.
    pub retries: [(&'static str, u64); 3],
    /// Denials by rule.
    pub denials: BTreeMap<&'static str, u64>,
    /// The last of them, the youngest first.
    pub last_denials: Vec<Denial>,
}

impl TenantMetrics {
    fn denials(&self) -> MutexGuard<'_, Denials> {
        self.denials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn landed(&self, bytes: u64, rows: u64) {
        self.objects.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// So many rows of an object that has landed could not be written.
    pub(crate) fn set_aside(&self, rows: u64) {
        self.quarantined_rows.fetch_add(rows, Ordering::Relaxed);
    }

    pub(super) fn denied(&self, denied: &Denied) {
        let mut denials = self.denials();
        *denials.by_rule.entry(denied.rule).or_default() += 1;
        denials.last.push_front(Denial { at: lakegate_base::clock::now(), rule: denied.rule, message: denied.message.clone() });
        denials.last.truncate(LAST_DENIALS);
    }

    pub(super) fn trapped(&self) {
        self.traps.fetch_add(1, Ordering::Relaxed);
    }

    /// A guest instance has so much memory.
    pub(crate) fn guest_memory(&self, bytes: u64) {
        self.guest_memory_bytes.fetch_max(bytes, Ordering::Relaxed);
    }

    /// A session is open until the answer is dropped; none if `most` are.
    pub(super) fn session(self: &Arc<Self>, most: u64) -> Option<OpenSession> {
        let more = |open: u64| (open < most).then_some(open + 1);
        self.sessions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok().then(|| OpenSession(self.clone()))
    }

    /// A message waits until the answer is dropped.
    pub(crate) fn queued(self: &Arc<Self>) -> Queued {
        self.queued.fetch_add(1, Ordering::Relaxed);
        Queued(self.clone())
    }

    /// A tenant had to wait for a rate.
    pub(super) fn throttled(&self, rule: &'static str) {
        *self.throttled.lock().unwrap_or_else(PoisonError::into_inner).entry(rule).or_default() += 1;
    }

    /// The store has confirmed an object or a part.
    pub fn put(&self, took: Duration) {
        let at = PUT_SECONDS.iter().position(|bound| took.as_secs_f64() <= *bound).unwrap_or(PUT_SECONDS.len());
        self.puts.counts[at].fetch_add(1, Ordering::Relaxed);
        self.puts.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The numbers now.
    pub fn read(&self) -> Snapshot {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut below = 0;
        let puts = self.puts.counts.each_ref().map(|count| {
            below += of(count);
            below
        });
        let denials = self.denials();
        Snapshot {
            objects: of(&self.objects),
            bytes: of(&self.bytes),
            rows: of(&self.rows),
            quarantined_rows: of(&self.quarantined_rows),
            traps: of(&self.traps),
            sessions: of(&self.sessions),
            guest_memory_bytes: of(&self.guest_memory_bytes),
            queued: of(&self.queued),
            puts,
            put_time: Duration::from_nanos(of(&self.puts.nanos)),
            throttled: self.throttled.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            retries: self.retries.read(),
            denials: denials.by_rule.clone(),
            last_denials: denials.last.iter().cloned().collect(),
        }
    }
}

/// Counts a message for as long as it waits.
#[derive(Debug)]
pub(crate) struct Queued(Arc<TenantMetrics>);

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts a session for as long as it lives.
#[derive(Debug)]
pub(crate) struct OpenSession(Arc<TenantMetrics>);

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_add_up_and_only_the_last_words_are_kept() {
        let metrics = Arc::new(TenantMetrics::default());
        metrics.landed(10, 2);
        metrics.landed(5, 1);
        metrics.set_aside(1);
        metrics.trapped();
        metrics.guest_memory(7);
        metrics.guest_memory(3);
        let session = metrics.session(1);
        assert!(session.is_some() && metrics.session(1).is_none());
        let queued = metrics.queued();
        for millis in [5, 10, 11, 60_000] {
            metrics.put(Duration::from_millis(millis));
        }
        metrics.throttled("bytes_per_second");
        for number in 0..LAST_DENIALS + 5 {
            metrics.denied(&Denied::new(if number % 2 == 0 { "even" } else { "odd" }, number.to_string()));
        }
        let reading = metrics.read();
        assert_eq!((reading.objects, reading.bytes, reading.rows, reading.quarantined_rows, reading.traps), (2, 15, 3, 1, 1));
        assert_eq!((reading.sessions, reading.guest_memory_bytes), (1, 7));
        assert_eq!(
            (reading.queued, reading.puts, reading.put_time),
            (1, [2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4], Duration::from_millis(60_026))
        );
        assert_eq!(reading.throttled, BTreeMap::from([("bytes_per_second", 1)]));
        assert_eq!(reading.denials, BTreeMap::from([("even", 13), ("odd", 12)]));
        assert_eq!((reading.last_denials.len(), reading.last_denials[0].message.as_str()), (LAST_DENIALS, "24"));
        drop((session, queued));
        assert_eq!((metrics.read().sessions, metrics.read().queued), (0, 0));
    }
}

//! What a tenant has done and what it was denied, in numbers: for metrics and the status page.

use super::grant::Denied;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Denials that are remembered with their words.
const LAST_DENIALS: usize = 20;

/// The numbers of one tenant since the process began.
#[derive(Debug, Default)]
pub struct Tally {
    objects: AtomicU64,
    bytes: AtomicU64,
    rows: AtomicU64,
    traps: AtomicU64,
    sessions: AtomicU64,
    guest_memory_bytes: AtomicU64,
    denials: Mutex<Denials>,
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
pub struct Reading {
    /// Objects that have landed.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their rows.
    pub rows: u64,
    /// Traps of guest instances.
    pub traps: u64,
    /// Sessions that are open.
    pub sessions: u64,
    /// The most linear memory that one guest instance has had, in bytes.
    pub guest_memory_bytes: u64,
    /// Denials by rule.
    pub denials: BTreeMap<&'static str, u64>,
    /// The last of them, the youngest first.
    pub last_denials: Vec<Denial>,
}

impl Tally {
    fn denials(&self) -> MutexGuard<'_, Denials> {
        self.denials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn landed(&self, bytes: u64, rows: u64) {
        self.objects.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    pub(super) fn denied(&self, denied: &Denied) {
        let mut denials = self.denials();
        *denials.by_rule.entry(denied.rule).or_default() += 1;
        denials.last.push_front(Denial { at: SystemTime::now(), rule: denied.rule, message: denied.message.clone() });
        denials.last.truncate(LAST_DENIALS);
    }

    pub(super) fn trapped(&self) {
        self.traps.fetch_add(1, Ordering::Relaxed);
    }

    /// A guest instance has so much memory.
    pub(crate) fn guest_memory(&self, bytes: u64) {
        self.guest_memory_bytes.fetch_max(bytes, Ordering::Relaxed);
    }

    /// A session is open until the answer is dropped.
    pub(crate) fn session(self: &Arc<Self>) -> OpenSession {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        OpenSession(self.clone())
    }

    /// The numbers now.
    pub fn read(&self) -> Reading {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let denials = self.denials();
        Reading {
            objects: of(&self.objects),
            bytes: of(&self.bytes),
            rows: of(&self.rows),
            traps: of(&self.traps),
            sessions: of(&self.sessions),
            guest_memory_bytes: of(&self.guest_memory_bytes),
            denials: denials.by_rule.clone(),
            last_denials: denials.last.iter().cloned().collect(),
        }
    }
}

/// Counts a session for as long as it lives.
#[derive(Debug)]
pub(crate) struct OpenSession(Arc<Tally>);

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
        let tally = Arc::new(Tally::default());
        tally.landed(10, 2);
        tally.landed(5, 1);
        tally.trapped();
        tally.guest_memory(7);
        tally.guest_memory(3);
        let session = tally.session();
        for number in 0..LAST_DENIALS + 5 {
            tally.denied(&Denied::new(if number % 2 == 0 { "even" } else { "odd" }, number.to_string()));
        }
        let reading = tally.read();
        assert_eq!((reading.objects, reading.bytes, reading.rows, reading.traps), (2, 15, 3, 1));
        assert_eq!((reading.sessions, reading.guest_memory_bytes), (1, 7));
        assert_eq!(reading.denials, BTreeMap::from([("even", 13), ("odd", 12)]));
        assert_eq!((reading.last_denials.len(), reading.last_denials[0].message.as_str()), (LAST_DENIALS, "24"));
        drop(session);
        assert_eq!(tally.read().sessions, 0);
    }
}

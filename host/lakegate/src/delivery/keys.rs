//! The keys of a session: each has one writer at a time, and its objects land in the order in which they were begun.

use crate::limits::{MAX_TABLE_NAMES_BYTES, MAX_TABLES, REMEMBERED_TABLE_BYTES};
use crate::policy::resources::MemoryHold;
use crate::storage::object::ObjectKey;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// Whether a key may come again within a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repetition {
    /// None does: each has a UUID. Nothing is remembered.
    Never,
    /// It may, and the object is replaced: who does so is warned.
    Replaces,
    /// It must not, since nothing is replaced: at the store, an object of ours would look like one of an earlier attempt.
    Refused,
}

/// Why a key cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyTaken {
    #[error("is being written by the table {0:?}")]
    Open(Arc<str>),
    #[error("was written before in this sync, and nothing is replaced: tables, or the objects of one, need keys of their own")]
    Written,
    #[error("cannot be remembered: {0}")]
    NoMemory(String),
}

/// The keys of a session: which are being written, and which uploads are not settled.
#[derive(Debug)]
pub(super) struct Keys {
    repetition: Repetition,
    states: Mutex<HashMap<ObjectKey, KeyState>>,
    /// The last key that each table's rows were confirmed under, where keys may come again. Others are forgotten: what tells a table's keys
    /// apart is time, which does not come again, or a UUID, and of these there is no end.
    last: Mutex<LastKeys>,
    /// The digests of all keys so far, where none may come again.
    written: Mutex<Written>,
}

/// See [`Repetition::Refused`]. By 128 bits of each key: a meeting of two would fail a table that need not, and is not to be expected.
#[derive(Debug, Default)]
struct Written {
    digests: HashSet<u128>,
    hold: MemoryHold,
}

/// Memory of a key that must not come again.
const WRITTEN_KEY_BYTES: u64 = 32;

/// See [`Keys`].
#[derive(Debug, Default)]
struct LastKeys {
    of_table: HashMap<Arc<str>, ObjectKey>,
    /// Bytes of the names and keys.
    bytes: usize,
    hold: MemoryHold,
}

impl LastKeys {
    /// Room for one more that takes so many bytes.
    fn make_room(&mut self, bytes: usize) -> bool {
        self.of_table.len() < MAX_TABLES
            && self.bytes + bytes <= MAX_TABLE_NAMES_BYTES
            && self.hold.grow(bytes as u64 + REMEMBERED_TABLE_BYTES)
    }
}

#[derive(Debug, Default)]
struct KeyState {
    /// The table whose handle is open.
    open: Option<Arc<str>>,
    /// Uploads that are not settled, and the token of the youngest.
    unsettled: usize,
    last: Option<CancellationToken>,
    /// Rows of the last confirmed object.
    confirmed: Option<u64>,
    /// Tables whose last key it is.
    tables: usize,
}

/// The guest is writing this key. Dropping it says that it no longer is.
#[derive(Debug)]
pub(super) struct OpenKey {
    keys: Arc<Keys>,
    key: ObjectKey,
}

/// One upload's place in the order of its key. Dropping it settles it.
#[derive(Debug)]
pub(super) struct KeyTurn {
    keys: Arc<Keys>,
    key: ObjectKey,
    before: Option<CancellationToken>,
    settled: CancellationToken,
}

impl Keys {
    pub(super) fn new(repetition: Repetition, hold: MemoryHold) -> Self {
        let written = Written { hold: hold.another(), ..Written::default() };
        let last = LastKeys { hold, ..LastKeys::default() };
        Self { repetition, states: Mutex::default(), last: Mutex::new(last), written: Mutex::new(written) }
    }

    /// Remembers a key that must not come again.
    fn write_once(&self, key: &ObjectKey) -> Result<(), KeyTaken> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let [low, high] = [0_u8, 1].map(|half| {
            let mut hasher = DefaultHasher::new();
            (half, key).hash(&mut hasher);
            u128::from(hasher.finish())
        });
        if !written.digests.insert(high << 64 | low) {
            return Err(KeyTaken::Written);
        }
        written.hold.grow_for("another key of the sync", WRITTEN_KEY_BYTES).map_err(|denied| KeyTaken::NoMemory(denied.message))
    }

    /// The table's rows are under this key now.
    fn remember(&self, table: &Arc<str>, key: &ObjectKey) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.of_table.get(table) == Some(key) {
            return;
        }
        if let Some(earlier) = last.of_table.remove(table) {
            let bytes = table.len() + earlier.as_str().len();
            last.bytes -= bytes;
            last.hold.shrink(bytes as u64 + REMEMBERED_TABLE_BYTES);
            self.update(&earlier, |state| state.tables -= 1);
        }
        let bytes = table.len() + key.as_str().len();
        if !last.make_room(bytes) {
            // What is lost are warnings.
            last.of_table.drain().for_each(|(_, key)| self.update(&key, |state| state.tables -= 1));
            last.hold.clear();
            last.bytes = 0;
            if !last.make_room(bytes) {
                return;
            }
        }
        last.bytes += bytes;
        self.update(key, |state| state.tables += 1);
        last.of_table.insert(table.clone(), key.clone());
    }

    fn states(&self) -> MutexGuard<'_, HashMap<ObjectKey, KeyState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place.
    ///
    /// # Errors
    /// Another has it, or has had it and the key must not come again.
    pub(super) fn open(self: &Arc<Self>, key: &ObjectKey, table: &Arc<str>) -> Result<(OpenKey, KeyTurn), KeyTaken> {
        let mut states = self.states();
        let state = states.entry(key.clone()).or_default();
        if let Some(other) = &state.open {
            return Err(KeyTaken::Open(other.clone()));
        }
        if self.repetition == Repetition::Refused
            && let Err(taken) = self.write_once(key)
        {
            if state.unsettled == 0 {
                states.remove(key);
            }
            return Err(taken);
        }
        state.open = Some(table.clone());
        state.unsettled += 1;
        let settled = CancellationToken::new();
        let before = state.last.replace(settled.clone());
        let open = OpenKey { keys: self.clone(), key: key.clone() };
        Ok((open, KeyTurn { keys: self.clone(), key: key.clone(), before, settled }))
    }

    fn update(&self, key: &ObjectKey, change: impl FnOnce(&mut KeyState)) {
        let mut states = self.states();
        let Some(state) = states.get_mut(key) else { return };
        change(state);
        if state.unsettled == 0 {
            state.last = None;
            if state.open.is_none() && state.tables == 0 {
                states.remove(key);
            }
        }
    }
}

impl Drop for OpenKey {
    fn drop(&mut self) {
        self.keys.update(&self.key, |state| state.open = None);
    }
}

impl KeyTurn {
    /// Waits until the upload before this one is settled.
    pub(super) async fn wait(&self) {
        if let Some(before) = &self.before {
            before.cancelled().await;
        }
    }

    /// The object is there. Answers how many rows the one it replaced had.
    pub(super) fn confirmed(&self, table: &Arc<str>, rows: u64) -> Option<u64> {
        let replaced = self.keys.states().get_mut(&self.key)?.confirmed.replace(rows);
        if self.keys.repetition == Repetition::Replaces {
            self.keys.remember(table, &self.key);
        }
        replaced
    }
}

impl Drop for KeyTurn {
    fn drop(&mut self) {
        self.settled.cancel();
        self.keys.update(&self.key, |state| state.unsettled -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::resources::Resources;
    use std::num::NonZeroU32;

    fn keys(repetition: Repetition) -> (Arc<Keys>, ObjectKey, Arc<str>) {
        (Arc::new(Keys::new(repetition, MemoryHold::default())), ObjectKey::parse("k").unwrap(), "t".into())
    }

    #[test]
    fn a_key_has_one_writer_at_a_time() {
        let (keys, key, table) = keys(Repetition::Replaces);
        let (open, turn) = keys.open(&key, &table).unwrap();
        assert_eq!(keys.open(&key, &"u".into()).unwrap_err(), KeyTaken::Open("t".into()));
        drop(open);
        assert!(keys.open(&key, &"u".into()).is_ok(), "handed over, though not settled");
        drop(turn);
    }

    #[test]
    fn where_nothing_is_replaced_a_key_comes_once() {
        let (keys, key, table) = keys(Repetition::Refused);
        drop(keys.open(&key, &table).unwrap());
        assert_eq!(keys.open(&key, &table).unwrap_err(), KeyTaken::Written);
        assert!(keys.open(&ObjectKey::parse("other").unwrap(), &table).is_ok());
    }

    #[tokio::test]
    async fn an_upload_waits_for_the_one_before() {
        let (keys, key, table) = keys(Repetition::Replaces);
        let (open, first) = keys.open(&key, &table).unwrap();
        drop(open);
        let (_open, second) = keys.open(&key, &table).unwrap();
        let waiting = tokio::spawn(async move {
            second.wait().await;
            second
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        assert_eq!(first.confirmed(&table, 3), None);
        drop(first);
        assert_eq!(waiting.await.unwrap().confirmed(&table, 4), Some(3), "the replaced object's rows");
    }

    #[test]
    fn keys_are_forgotten_unless_they_may_repeat() {
        for (repetition, remembered) in [(Repetition::Never, 0), (Repetition::Refused, 0), (Repetition::Replaces, 1)] {
            let (keys, key, table) = keys(repetition);
            let (open, turn) = keys.open(&key, &table).unwrap();
            drop(open);
            turn.confirmed(&table, 1);
            drop(turn);
            assert_eq!(keys.states().len(), remembered, "{repetition:?}");
        }
    }

    #[test]
    fn keys_are_remembered_as_far_as_there_is_memory() {
        let budget = Resources::new(NonZeroU32::MIN, Some(2_000)).budget;
        let keys = Arc::new(Keys::new(Repetition::Replaces, budget.hold()));
        let confirm = |table: &str, key: &str| {
            let (open, turn) = keys.open(&ObjectKey::parse(key).unwrap(), &table.into()).unwrap();
            drop(open);
            turn.confirmed(&table.into(), 1)
        };
        for table in 0..1_000 {
            confirm(&format!("table{table}"), &format!("key{table}"));
            assert!(budget.used_bytes() <= 2_000 && keys.states().len() <= 7);
        }
        assert_eq!(confirm("table999", "key999"), Some(1), "the last is known");
        // Another key of one table takes no more.
        let before = budget.used_bytes();
        for number in 0..100 {
            assert_eq!(confirm("table999", &format!("key{number:03}")), None);
        }
        assert_eq!(budget.used_bytes(), before);
        // One that there is never room for is forgotten, with all others.
        assert_eq!(confirm("table999", &"k".repeat(1_023)), None);
        confirm(&"t".repeat(1_900), "key");
        assert_eq!((budget.used_bytes(), keys.states().len()), (0, 0));
    }

    /// Without a limit of rows a key with a UUID looks like one that may come again.
    #[test]
    fn one_key_a_table_is_remembered() {
        let (keys, key, table) = keys(Repetition::Replaces);
        let confirm = |key: &ObjectKey, table: &Arc<str>| {
            let (open, turn) = keys.open(key, table).unwrap();
            drop(open);
            turn.confirmed(table, 1)
        };
        for number in 0..100 {
            assert_eq!(confirm(&ObjectKey::parse(&format!("t/{number}")).unwrap(), &table), None);
        }
        assert_eq!(keys.states().len(), 1);
        // Two tables may share a key; it is known for as long as it is the last of one.
        let other: Arc<str> = "u".into();
        assert_eq!((confirm(&key, &table), confirm(&key, &other)), (None, Some(1)));
        assert_eq!((confirm(&ObjectKey::parse("t/100").unwrap(), &table), confirm(&key, &other)), (None, Some(1)));
        assert_eq!(keys.states().len(), 2);
        for number in 0..MAX_TABLES {
            confirm(&key, &format!("t{number}").into());
        }
        assert!(keys.states().len() <= 2 && keys.last.lock().unwrap().of_table.len() <= MAX_TABLES);
    }
}

//! Bytes that wait, in two accounts.
//!
//! *Staging* holds parts that are not yet full. It never blocks a guest: past its budget the largest staged parts move to one unlinked
//! spill file. *In flight* is every byte cut as a part, or finished as an object, and not yet confirmed, in memory or spilled. It drains
//! without the guest, so a guest may wait for it without end.

use crate::limits::{SMALL_CHUNK_BYTES, SPILLED_PIECE_BYTES};
use crate::payload::{Payload, Piece};
use crate::policy::resources::MemoryHold;
use crate::session::Spill;
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Notify;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why staged bytes cannot be kept.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct NoRoom(pub String, Why);

/// Whose words those of a [`NoRoom`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Ours: a bound is reached.
    Bound,
    /// The system's, which name its folders.
    System,
}

impl NoRoom {
    /// True if the words are the system's: they are for whoever runs this program, not for its tenants.
    pub(crate) fn is_of_the_system(&self) -> bool {
        self.1 == Why::System
    }
}

/// The staging account of a session.
#[derive(Debug)]
pub struct Staging {
    budget_bytes: u64,
    memory_bytes: AtomicU64,
    next: AtomicU64,
    parts: Mutex<HashMap<u64, Weak<Part>>>,
    spill: Spill,
    spill_bytes: u64,
    file: Mutex<Option<Arc<SpillFile>>>,
    /// What knows of stretches of the file takes memory, too: never grown itself.
    books: MemoryHold,
    /// One balancing at a time, so that two lanes do not spill twice what one would.
    balancing: tokio::sync::Mutex<()>,
}

impl Staging {
    /// An account of so many bytes in memory, and in the spill file at most so many.
    pub fn new(budget_bytes: u64, spill: Spill, spill_bytes: Option<u64>) -> Arc<Self> {
        Self::within(budget_bytes, spill, spill_bytes, MemoryHold::default())
    }

    /// The same, where what the spill file needs of memory counts for the budget of `books`.
    pub(crate) fn within(budget_bytes: u64, spill: Spill, spill_bytes: Option<u64>, books: MemoryHold) -> Arc<Self> {
        Arc::new(Self {
            books,
            budget_bytes,
            spill_bytes: spill_bytes.unwrap_or(u64::MAX),
            memory_bytes: AtomicU64::new(0),
            next: AtomicU64::new(0),
            parts: Mutex::default(),
            spill,
            file: Mutex::default(),
            balancing: tokio::sync::Mutex::default(),
        })
    }

    /// A part with nothing in it yet.
    pub fn part(self: &Arc<Self>) -> StagedPart {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let part = Arc::new(Part { id, staging: self.clone(), buffer: Mutex::default() });
        lock(&self.parts).insert(id, Arc::downgrade(&part));
        StagedPart(part)
    }

    /// Bytes held in memory.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the spill file, free stretches included.
    pub fn spill_file_bytes(&self) -> u64 {
        lock(&self.file).as_ref().map_or(0, |file| lock(&file.space).end)
    }

    /// Whether [`Staging::balance`] has anything to do.
    pub(crate) fn is_over(&self) -> bool {
        self.memory_bytes() > self.budget_bytes
    }

    /// Brings the memory back under the budget: the largest parts move to the spill file, until a quarter of the budget is free, so that
    /// the next chunk does not have to spill again.
    ///
    /// # Errors
    /// [`NoRoom`] if there is no spill file, or its disk is full.
    pub async fn balance(self: &Arc<Self>) -> Result<(), NoRoom> {
        if !self.is_over() {
            return Ok(());
        }
        let _turn = self.balancing.lock().await;
        if !self.is_over() {
            return Ok(());
        }
        let Spill::Dir(folder) = &self.spill else {
            return Err(NoRoom(
                format!("the {} bytes for unfinished parts are used up, and spilling is off", self.budget_bytes),
                Why::Bound,
            ));
        };
        let file = self.spill_file(folder)?;
        let this = self.clone();
        crate::scheduler::spawn_blocking(move || this.spill_largest(&file))
            .await
            .map_err(|error| NoRoom(format!("the spill file: {error}"), Why::System))?
    }

    fn spill_file(&self, folder: &std::path::Path) -> Result<Arc<SpillFile>, NoRoom> {
        let mut slot = lock(&self.file);
        if let Some(file) = &*slot {
            return Ok(file.clone());
        }
        let made = tempfile::tempfile_in(folder)
            .map_err(|error| NoRoom(format!("cannot make a spill file in {}: {error}", folder.display()), Why::System))?;
        Ok(slot.insert(Arc::new(SpillFile { file: Arc::new(made), space: Mutex::default() })).clone())
    }

    fn spill_largest(&self, file: &Arc<SpillFile>) -> Result<(), NoRoom> {
        let mut parts: Vec<(u64, Arc<Part>)> = {
            let parts = lock(&self.parts);
            parts.values().filter_map(Weak::upgrade).map(|part| (part.memory_bytes(), part)).collect()
        };
        parts.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for (_, part) in parts {
            if self.memory_bytes() <= self.budget_bytes / 4 * 3 {
                break;
            }
            part.spill(file)?;
        }
        Ok(())
    }
}

/// A part not yet full. Dropping it gives its bytes back.
#[derive(Debug)]
pub struct StagedPart(Arc<Part>);

#[derive(Debug)]
struct Part {
    id: u64,
    staging: Arc<Staging>,
    buffer: Mutex<Buffer>,
}

/// Spilled pieces come before those in memory, and those before the tail.
#[derive(Debug, Default)]
struct Buffer {
    spilled: Vec<Piece>,
    memory: Vec<Bytes>,
    tail: BytesMut,
    memory_bytes: u64,
    bytes: u64,
}

impl StagedPart {
    /// Appends bytes. Follow it by [`Staging::balance`].
    pub fn append(&self, chunk: Bytes) {
        let length = chunk.len() as u64;
        let mut buffer = lock(&self.0.buffer);
        if chunk.len() < SMALL_CHUNK_BYTES {
            buffer.tail.extend_from_slice(&chunk);
            if buffer.tail.len() >= 4 * SMALL_CHUNK_BYTES {
                buffer.freeze_tail();
            }
        } else {
            buffer.freeze_tail();
            buffer.memory.push(chunk);
        }
        buffer.memory_bytes += length;
        buffer.bytes += length;
        self.0.staging.memory_bytes.fetch_add(length, Ordering::Relaxed);
    }

    /// Bytes in the part.
    pub fn bytes(&self) -> u64 {
        lock(&self.0.buffer).bytes
    }

    /// Takes everything out, leaving the part empty.
    pub fn take(&self) -> Payload {
        let mut buffer = std::mem::take(&mut *lock(&self.0.buffer));
        buffer.freeze_tail();
        self.0.staging.memory_bytes.fetch_sub(buffer.memory_bytes, Ordering::Relaxed);
        buffer.spilled.extend(buffer.memory.into_iter().map(Piece::Memory));
        Payload::new(buffer.spilled)
    }
}

impl Buffer {
    fn freeze_tail(&mut self) {
        if !self.tail.is_empty() {
            self.memory.push(self.tail.split().freeze());
        }
    }
}

impl Part {
    fn memory_bytes(&self) -> u64 {
        lock(&self.buffer).memory_bytes
    }

    fn spill(&self, file: &Arc<SpillFile>) -> Result<(), NoRoom> {
        let mut buffer = lock(&self.buffer);
        if buffer.memory_bytes == 0 {
            return Ok(());
        }
        buffer.freeze_tail();
        let most = self.staging.spill_bytes;
        let mut books = self.staging.books.another();
        books.grow_for("another stretch of the spill file", SPILLED_PIECE_BYTES).map_err(|denied| NoRoom(denied.message, Why::Bound))?;
        let extent = file.allocate(buffer.memory_bytes, most, books);
        let extent = extent.ok_or_else(|| NoRoom(format!("the {most} bytes that the spill file may have are used up"), Why::Bound))?;
        let extent = Arc::new(extent);
        let mut at = extent.offset;
        for chunk in &buffer.memory {
            file.file.write_all_at(chunk, at).map_err(|error| NoRoom(format!("cannot write the spill file: {error}"), Why::System))?;
            at += chunk.len() as u64;
        }
        let piece = Piece::Spilled { file: file.file.clone(), offset: extent.offset, length: extent.length, extent };
        buffer.spilled.push(piece);
        buffer.memory.clear();
        buffer.tail = BytesMut::new();
        self.staging.memory_bytes.fetch_sub(std::mem::take(&mut buffer.memory_bytes), Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        lock(&self.staging.parts).remove(&self.id);
        let held = lock(&self.buffer).memory_bytes;
        self.staging.memory_bytes.fetch_sub(held, Ordering::Relaxed);
    }
}

/// One unlinked file a session, and which stretches of it are free.
#[derive(Debug)]
struct SpillFile {
    file: Arc<File>,
    space: Mutex<Space>,
}

#[derive(Debug, Default)]
struct Space {
    end: u64,
    /// Free stretches, offset to length; neighbours are merged.
    free: BTreeMap<u64, u64>,
}

impl SpillFile {
    fn allocate(self: &Arc<Self>, length: u64, most: u64, books: MemoryHold) -> Option<Extent> {
        let offset = lock(&self.space).allocate(length, most)?;
        Some(Extent { file: self.clone(), offset, length, _books: books })
    }
}

impl Space {
    /// The first free stretch that is long enough, else the end of the file, unless that would then be beyond `most`.
    fn allocate(&mut self, length: u64, most: u64) -> Option<u64> {
        let found = self.free.iter().find(|(_, free)| **free >= length).map(|(offset, free)| (*offset, *free));
        let Some((offset, free)) = found else {
            let offset = self.end;
            self.end = offset.checked_add(length).filter(|end| *end <= most)?;
            return Some(offset);
        };
        self.free.remove(&offset);
        if free > length {
            self.free.insert(offset + length, free - length);
        }
        Some(offset)
    }

    fn release(&mut self, mut offset: u64, mut length: u64) {
        if let Some((&before, &bytes)) = self.free.range(..offset).next_back()
            && before + bytes == offset
        {
            self.free.remove(&before);
            (offset, length) = (before, bytes + length);
        }
        if let Some(bytes) = self.free.remove(&(offset + length)) {
            length += bytes;
        }
        if offset + length == self.end {
            self.end = offset;
        } else {
            self.free.insert(offset, length);
        }
    }
}

/// A stretch of the spill file; given back when dropped.
#[derive(Debug)]
pub struct Extent {
    file: Arc<SpillFile>,
    offset: u64,
    length: u64,
    _books: MemoryHold,
}

impl Drop for Extent {
    fn drop(&mut self) {
        lock(&self.file.space).release(self.offset, self.length);
    }
}

/// The in-flight account of a session.
#[derive(Debug)]
pub struct InFlight {
    budget_bytes: u64,
    bytes: AtomicU64,
    change: Notify,
}

impl InFlight {
    /// An account of so many bytes.
    pub fn new(budget_bytes: u64) -> Arc<Self> {
        Arc::new(Self { budget_bytes, bytes: AtomicU64::new(0), change: Notify::new() })
    }

    /// Bytes on their way.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Takes bytes on. Never waits: who hands bytes over waits afterwards, with [`InFlight::room`], so that a piece larger than the budget
    /// goes alone and not never.
    pub fn take(self: &Arc<Self>, bytes: u64) -> InFlightBytes {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        InFlightBytes { account: self.clone(), bytes }
    }

    /// Waits while the account is over its budget. The requests that hold the room have time limits; this wait has none.
    pub async fn room(&self) {
        loop {
            let change = self.change.notified();
            if self.bytes() <= self.budget_bytes {
                return;
            }
            change.await;
        }
    }
}

/// Bytes on their way; given back when dropped.
#[derive(Debug)]
pub struct InFlightBytes {
    account: Arc<InFlight>,
    bytes: u64,
}

impl Drop for InFlightBytes {
    fn drop(&mut self) {
        self.account.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.account.change.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::resources::Resources;
    use std::num::NonZeroU32;

    fn content(payload: &Payload) -> Vec<u8> {
        payload.pieces().iter().flat_map(|piece| piece.read(0, piece.length() as usize).unwrap()).collect()
    }

    fn spilling(budget: u64) -> (Arc<Staging>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (Staging::new(budget, Spill::Dir(folder.path().to_owned()), None), folder)
    }

    #[tokio::test]
    async fn bytes_keep_their_order_through_the_spill_file() {
        let (staging, _folder) = spilling(40_000);
        let (one, two) = (staging.part(), staging.part());
        let mut expected = [Vec::new(), Vec::new()];
        for step in 0..200_u32 {
            let chunk = vec![step as u8; (step as usize * 97) % 30_000 + 1];
            let (part, copy) = if step % 3 == 0 { (&one, &mut expected[0]) } else { (&two, &mut expected[1]) };
            copy.extend_from_slice(&chunk);
            part.append(chunk.into());
            staging.balance().await.unwrap();
            assert!(staging.memory_bytes() <= 40_000);
        }
        assert!(staging.spill_file_bytes() > 0);
        assert_eq!(one.bytes(), expected[0].len() as u64);
        assert_eq!(content(&one.take()), expected[0]);
        assert_eq!(content(&two.take()), expected[1]);
        assert_eq!(staging.memory_bytes(), 0);
        assert_eq!(staging.spill_file_bytes(), 0, "every extent is given back");
    }

    #[tokio::test]
    async fn the_largest_part_spills_first() {
        let (staging, _folder) = spilling(100_000);
        let (small, large) = (staging.part(), staging.part());
        small.append(vec![1; 30_000].into());
        large.append(vec![2; 80_000].into());
        staging.balance().await.unwrap();
        assert!(small.take().pieces().iter().all(|piece| matches!(piece, Piece::Memory(_))));
        assert!(large.take().pieces().iter().all(|piece| matches!(piece, Piece::Spilled { .. })));
    }

    #[tokio::test]
    async fn without_a_spill_file_the_budget_is_an_error_that_names_it() {
        let staging = Staging::new(1_000, Spill::None, None);
        let part = staging.part();
        part.append(vec![0; 1_000].into());
        staging.balance().await.unwrap();
        part.append(vec![0; 1].into());
        assert_eq!(staging.balance().await.unwrap_err().0, "the 1000 bytes for unfinished parts are used up, and spilling is off");
        drop(part);
        assert_eq!(staging.memory_bytes(), 0);
    }

    #[tokio::test]
    async fn a_spill_file_that_is_bounded_is_an_error_that_names_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::new(1_000, Spill::Dir(folder.path().to_owned()), Some(3_000));
        let (first, second) = (staging.part(), staging.part());
        first.append(vec![0; 3_000].into());
        staging.balance().await.unwrap();
        second.append(vec![0; 1_001].into());
        assert_eq!(staging.balance().await.unwrap_err().0, "the 3000 bytes that the spill file may have are used up");
        assert_eq!((staging.memory_bytes(), staging.spill_file_bytes()), (1_001, 3_000));
        drop(first);
        staging.balance().await.unwrap();
        assert_eq!((staging.memory_bytes(), staging.spill_file_bytes(), second.bytes()), (0, 1_001, 1_001));
    }

    #[tokio::test]
    async fn stretches_of_the_spill_file_take_memory_of_the_budget_and_give_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let budget = Resources::new(NonZeroU32::MIN, Some(3 * SPILLED_PIECE_BYTES)).budget;
        let staging = Staging::within(0, Spill::Dir(folder.path().to_owned()), None, budget.hold());
        let parts: Vec<StagedPart> = (0..4).map(|_| staging.part()).collect();
        for part in &parts[..3] {
            part.append(vec![0; 10].into());
            staging.balance().await.unwrap();
        }
        parts[3].append(vec![0; 10].into());
        let full = staging.balance().await.unwrap_err();
        assert!(full.0.starts_with("another stretch of the spill file needs 256 bytes; the 768 ") && !full.is_of_the_system(), "{full}");
        drop(parts);
        assert_eq!((budget.used_bytes(), staging.spill_file_bytes()), (0, 0));
    }

    #[test]
    fn free_stretches_are_merged_and_used_again() {
        let mut space = Space::default();
        let offsets: Vec<u64> = (0..4).filter_map(|_| space.allocate(10, 40)).collect();
        assert_eq!(offsets, [0, 10, 20, 30]);
        assert_eq!((space.allocate(1, 40), space.end), (None, 40));
        space.release(10, 10);
        space.release(0, 10);
        assert_eq!(space.free, BTreeMap::from([(0, 20)]));
        assert_eq!(space.allocate(15, 40), Some(0));
        assert_eq!(space.free, BTreeMap::from([(15, 5)]));
        space.release(30, 10);
        space.release(20, 10);
        assert_eq!((space.end, &space.free), (15, &BTreeMap::new()), "a free end shortens the file");
    }

    #[tokio::test]
    async fn room_waits_for_shares_and_a_large_piece_goes_alone() {
        let account = InFlight::new(100);
        let share = account.take(1_000);
        let waiting = tokio::spawn({
            let account = account.clone();
            async move { account.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(share);
        waiting.await.unwrap();
        assert_eq!(account.bytes(), 0);
    }
}

//! Bytes of parts that are not yet full. They never block a guest: past the budget the largest parts move to one unlinked spill file.

use crate::limits::{SMALL_CHUNK_BYTES, SPILLED_PIECE_BYTES};
use crate::payload::body::{Payload, Piece};
use crate::payload::spill::{Spill, SpillFile};
use crate::policy::resources::MemoryHold;
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why staged bytes cannot be kept.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoRoom(pub String, Why);

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
pub(crate) struct Staging {
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
    /// An account of so many bytes in memory, and in the spill file at most so many, that counts for no budget.
    #[cfg(test)]
    pub(crate) fn new(budget_bytes: u64, spill: Spill, spill_bytes: Option<u64>) -> Arc<Self> {
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
    pub(crate) fn part(self: &Arc<Self>) -> StagedPart {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let part = Arc::new(Part { id, staging: self.clone(), buffer: Mutex::default() });
        lock(&self.parts).insert(id, Arc::downgrade(&part));
        StagedPart(part)
    }

    /// Bytes held in memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the spill file, free stretches included.
    pub(crate) fn spill_file_bytes(&self) -> u64 {
        lock(&self.file).as_ref().map_or(0, |file| file.bytes())
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
    pub(crate) async fn balance(self: &Arc<Self>) -> Result<(), NoRoom> {
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
        crate::cpu::scheduler::spawn_blocking(move || this.spill_largest(&file))
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
        Ok(slot.insert(SpillFile::new(made)).clone())
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
pub(crate) struct StagedPart(Arc<Part>);

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
    pub(crate) fn append(&self, chunk: Bytes) {
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
    pub(crate) fn bytes(&self) -> u64 {
        lock(&self.0.buffer).bytes
    }

    /// Takes everything out, leaving the part empty.
    pub(crate) fn take(&self) -> Payload {
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
        let piece = file.write(&buffer.memory, buffer.memory_bytes, most, books).map_err(|error| NoRoom(error.to_string(), Why::System))?;
        let piece = piece.ok_or_else(|| NoRoom(format!("the {most} bytes that the spill file may have are used up"), Why::Bound))?;
        buffer.spilled.push(Piece::Spilled(piece));
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
        assert!(large.take().pieces().iter().all(|piece| matches!(piece, Piece::Spilled(_))));
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
}

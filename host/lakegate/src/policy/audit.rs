//! Room for the audit lines of a tenant that wait to be written.
//!
//! A line of an object that has landed may not be lost, however slowly the log is read; so whoever has one waits for room first, on the
//! tenant's own account and on no thread. Where there is no time to wait (a denial, the end of the process) a line without room is left out
//! and counted. [`Room::log`] lends the room to the line; the subscriber that writes it takes it from [`take`], and gives it back by
//! dropping it once the line is written. A subscriber that takes none has no queue to bound.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The target of audit lines: one for each decision that denies, one for each object that lands.
pub const AUDIT: &str = "lakegate::audit";

/// Bytes of a tenant's audit lines that wait to be written: some hundred lines, the work of a moment for a log that is read.
pub const MAX_WAITING_BYTES: usize = 256 << 10;

/// The longest line.
pub const MAX_LINE_BYTES: usize = 4 << 10;

thread_local! {
    static LENT: RefCell<Option<Room>> = const { RefCell::new(None) };
}

/// The audit lines of a tenant that wait to be written.
#[derive(Debug)]
pub struct Waiting {
    room: Arc<Semaphore>,
    /// Left out and not yet reported.
    left_out: AtomicU64,
    /// Left out since the process began.
    all_left_out: AtomicU64,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(MAX_WAITING_BYTES)), left_out: AtomicU64::new(0), all_left_out: AtomicU64::new(0) }
    }
}

/// Room for one line.
#[derive(Debug)]
pub struct Room(OwnedSemaphorePermit);

impl Waiting {
    /// Waits for room for a line.
    pub async fn room(&self) -> Option<Room> {
        // The semaphore is never closed.
        self.room.clone().acquire_many_owned(MAX_LINE_BYTES as u32).await.ok().map(Room)
    }

    /// Room for a line, if there is some now.
    pub fn room_now(&self) -> Option<Room> {
        self.room.clone().try_acquire_many_owned(MAX_LINE_BYTES as u32).ok().map(Room)
    }

    /// Waits until there is room for a line, and takes none.
    pub async fn has_room(&self) {
        drop(self.room().await);
    }

    /// A line is left out.
    pub fn leave_out(&self) {
        self.left_out.fetch_add(1, Ordering::Relaxed);
        self.all_left_out.fetch_add(1, Ordering::Relaxed);
    }

    /// How many lines were left out since the last that was written, which now tells of them.
    pub fn take_left_out(&self) -> Option<u64> {
        Some(self.left_out.swap(0, Ordering::Relaxed)).filter(|left_out| *left_out > 0)
    }

    /// Lines left out since the process began.
    pub fn all_left_out(&self) -> u64 {
        self.all_left_out.load(Ordering::Relaxed)
    }
}

impl Room {
    /// Logs something within this room.
    pub fn log(self, log: impl FnOnce()) {
        LENT.set(Some(self));
        log();
        // Nobody took it.
        drop(LENT.take());
    }
}

/// The room of the line that is being written on this thread, as much as its bytes need; none if it is no audit line of a tenant.
pub fn take(bytes: usize) -> Option<Room> {
    let mut room = LENT.take()?;
    let more = MAX_LINE_BYTES.saturating_sub(bytes);
    drop(room.0.split(more));
    Some(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_what_the_lines_take_and_comes_back_with_them() {
        let waiting = Waiting::default();
        let mut lines = Vec::new();
        while let Some(room) = waiting.room_now() {
            room.log(|| lines.extend(take(1 << 10)));
        }
        // The last three quarters of a longest line have no room for one.
        assert_eq!(lines.len(), (MAX_WAITING_BYTES - MAX_LINE_BYTES) / (1 << 10) + 1);
        let mut next = Box::pin(waiting.room());
        assert!(futures::poll!(next.as_mut()).is_pending());
        lines.truncate(lines.len() - 1);
        assert!(futures::poll!(next.as_mut()).is_ready());
        assert!(take(1).is_none(), "no line is being told");
        lines.clear();
        waiting.room_now().expect("room").log(|| {});
        assert_eq!(waiting.room.available_permits(), MAX_WAITING_BYTES, "a line that nobody took takes nothing");
    }

    #[test]
    fn what_is_left_out_is_told_once_and_counted_for_good() {
        let waiting = Waiting::default();
        assert_eq!(waiting.take_left_out(), None);
        (0..3).for_each(|_| waiting.leave_out());
        assert_eq!((waiting.take_left_out(), waiting.take_left_out(), waiting.all_left_out()), (Some(3), None, 3));
    }
}

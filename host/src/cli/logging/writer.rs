//! A thread that writes lines: whoever logs hands a line over and goes on, however slowly the log is read.
//!
//! Where the reader does not keep up lines are left out and counted, and the count is a line; those that may not be lost wait instead.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::time::{Duration, Instant};

/// Lines that wait to be written; each has at most 4 KiB.
const MAX_LINES: usize = 4_096;
/// How long the end of a process waits for lines that nobody reads.
const LAST_LINES: Duration = Duration::from_secs(2);
/// Between two tries to get into a full queue at the end.
const POLL: Duration = Duration::from_millis(5);

enum Order {
    Line(String),
    /// All lines before it are written: say so.
    Flush(Sender<()>),
}

/// Takes lines.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    orders: SyncSender<Order>,
    lost: Arc<AtomicU64>,
}

/// What waits to be written.
pub(super) struct Queue {
    orders: Receiver<Order>,
    lost: Arc<AtomicU64>,
}

/// A writer and what it feeds.
pub(super) fn queue() -> (Writer, Queue) {
    let (sender, orders) = sync_channel(MAX_LINES);
    let lost = Arc::new(AtomicU64::new(0));
    (Writer { orders: sender, lost: lost.clone() }, Queue { orders, lost })
}

impl Writer {
    /// Hands a line over, or counts it as lost if there is no room.
    pub(super) fn line(&self, line: String) {
        if let Err(TrySendError::Full(_)) = self.orders.try_send(Order::Line(line)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Hands over a line that may not be lost: waits for room.
    pub(super) fn line_for_sure(&self, line: String) {
        // A writer that is gone has nobody to write for.
        let _gone = self.orders.send(Order::Line(line));
    }

    /// Waits until all is written, though not without end.
    pub(super) fn flush(&self) {
        let until = Instant::now() + LAST_LINES;
        let (done, written) = channel();
        let mut order = Order::Flush(done);
        while let Err(TrySendError::Full(back)) = self.orders.try_send(order) {
            if Instant::now() >= until {
                return;
            }
            order = back;
            std::thread::sleep(POLL);
        }
        let _too_late = written.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

impl Queue {
    /// Writes until nobody hands anything over any more. `tell_lost` makes a line of a number of lines.
    pub(super) fn write(self, mut to: impl Write, tell_lost: impl Fn(u64) -> String) {
        // A log that nobody reads any more is no reason to stop.
        let mut put = |line: &str| drop(to.write_all(line.as_bytes()).and_then(|()| to.write_all(b"\n")).and_then(|()| to.flush()));
        for order in self.orders {
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                put(&tell_lost(lost));
            }
            match order {
                Order::Line(line) => put(&line),
                Order::Flush(done) => drop(done.send(())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, PoisonError};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_queue_holds_nobody_up_and_what_is_lost_is_told() {
        let (writer, queue) = queue();
        // Nobody reads yet.
        for number in 0..MAX_LINES + 3 {
            writer.line(number.to_string());
        }
        let written = Written::default();
        let writing = std::thread::spawn({
            let written = written.clone();
            move || queue.write(written, |lost| format!("{lost} are lost"))
        });
        // There is room by and by.
        writer.line_for_sure("for sure".to_owned());
        writer.flush();
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[1], lines.len()), ("3 are lost", "0", MAX_LINES + 2), "{lines:?}");
        assert_eq!(lines.last(), Some(&"for sure"));
        drop(writer);
        writing.join().unwrap();
    }
}

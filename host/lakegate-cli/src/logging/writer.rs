//! A thread that writes lines, so that logging never waits for a slow reader of the log.
//!
//! If the reader does not keep up, lines are dropped and counted, and the count is logged. An audit line comes with reserved space (see
//! [`lakegate::serving::audit`]), which its sender has waited for, so it is always accepted; the space is released once the line is written.

use lakegate::serving::Room;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Maximum number of queued lines of at most 4 KiB each, not counting lines with reserved space.
const MAX_LINES: usize = 4_096;
/// How long a line that may wait does so; after a timeout, no line waits again before another one was written.
const PATIENCE: Duration = Duration::from_secs(1);
/// Delay between two checks for space.
const POLL: Duration = Duration::from_millis(2);
/// How long the process waits at its end for lines that nobody reads.
const LAST_LINES: Duration = Duration::from_secs(2);

/// A request to the thread.
pub(crate) enum Order {
    /// Write a line, with its reserved space if it has some.
    Line(String, Option<Room>),
    /// Signal once all earlier lines are written.
    Flush(Sender<()>),
}

/// State shared by writer and thread.
#[derive(Debug, Default)]
struct Shared {
    waiting: AtomicUsize,
    lost: AtomicU64,
    /// A line has waited in vain, and nothing has been written since.
    stuck: AtomicBool,
}

/// The sending end.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    orders: Sender<Order>,
    shared: Arc<Shared>,
}

/// The receiving end, with the queued lines.
pub(crate) struct Queue {
    orders: Receiver<Order>,
    shared: Arc<Shared>,
}

/// Creates a writer and its queue.
pub(crate) fn queue() -> (Writer, Queue) {
    let (sender, orders) = channel();
    let shared = Arc::new(Shared::default());
    (Writer { orders: sender, shared: shared.clone() }, Queue { orders, shared })
}

impl Writer {
    /// Queues a line, or counts it as lost if the queue is full.
    pub(crate) fn line(&self, line: String) {
        if self.shared.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_LINES {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // If the thread is gone, the process is ending.
        let _gone = self.orders.send(Order::Line(line, None));
    }

    /// Queues a line, and waits for space as long as lines are being written.
    pub(crate) fn line_patiently(&self, line: String) {
        let until = Instant::now() + PATIENCE;
        while self.shared.waiting.load(Ordering::Relaxed) >= MAX_LINES && !self.shared.stuck.load(Ordering::Relaxed) {
            if Instant::now() >= until {
                self.shared.stuck.store(true, Ordering::Relaxed);
            }
            std::thread::sleep(POLL);
        }
        self.line(line);
    }

    /// Queues a line with reserved space.
    pub(crate) fn line_in(&self, room: Room, line: String) {
        let _gone = self.orders.send(Order::Line(line, Some(room)));
    }

    /// Waits, up to a limit, until all lines are written.
    pub(crate) fn flush(&self) {
        let (done, written) = channel();
        let _gone = self.orders.send(Order::Flush(done));
        let _too_late = written.recv_timeout(LAST_LINES);
    }
}

impl Queue {
    /// Writes lines until all senders are gone. `lost_message` formats a number of lost lines.
    pub(crate) fn write(self, mut to: impl Write, lost_message: impl Fn(u64) -> String) {
        let shared = self.shared.clone();
        // A broken log is no reason to stop: lines that it does not accept are lost, which is reported if it accepts lines again.
        let mut put = |line: &str| to.write_all(format!("{line}\n").as_bytes()).and_then(|()| to.flush()).is_ok();
        self.each(|order| {
            let lost = shared.lost.swap(0, Ordering::Relaxed);
            if lost > 0 && !put(&lost_message(lost)) {
                shared.lost.fetch_add(lost, Ordering::Relaxed);
            }
            match order {
                Order::Line(line, _room) => {
                    if !put(&line) {
                        shared.lost.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Order::Flush(done) => drop(done.send(())),
            }
        });
    }

    /// Processes requests in order until all senders are gone.
    pub(crate) fn each(self, mut answer: impl FnMut(Order)) {
        for order in self.orders {
            let counted = matches!(order, Order::Line(_, None));
            answer(order);
            self.shared.stuck.store(false, Ordering::Relaxed);
            if counted {
                self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lakegate::serving::Waiting;
    use std::io;
    use std::sync::{Mutex, PoisonError};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_queue_holds_nobody_up_and_what_is_lost_is_told() {
        let (writer, queue) = queue();
        // Nothing is read yet.
        for number in 0..MAX_LINES + 3 {
            writer.line(number.to_string());
        }
        writer.line_in(Waiting::default().room_now().expect("room"), "with room".to_owned());
        let written = Written::default();
        let writing = std::thread::spawn({
            let written = written.clone();
            move || queue.write(written, |lost| format!("{lost} are lost"))
        });
        writer.flush();
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[1], lines.len()), ("3 are lost", "0", MAX_LINES + 2), "{lines:?}");
        assert_eq!(lines.last(), Some(&"with room"));
        // There is space again.
        writer.line("again".to_owned());
        writer.flush();
        assert!(written.0.lock().unwrap().ends_with(b"\nagain\n"));
        drop(writer);
        writing.join().unwrap();
    }

    #[test]
    fn a_line_gives_its_room_back_when_it_is_written() {
        let ((writer, queue), waiting) = (queue(), Waiting::default());
        while let Some(room) = waiting.room_now() {
            writer.line_in(room, "l".to_owned());
        }
        let writing = std::thread::spawn(move || queue.write(Written::default(), |_| String::new()));
        writer.flush();
        assert!(waiting.room_now().is_some());
        drop(writer);
        writing.join().unwrap();
    }

    #[test]
    fn a_line_waits_for_a_slow_reader_and_not_for_one_that_is_gone() {
        let (writer, queue) = queue();
        let fill = || (0..MAX_LINES + 10).for_each(|number| writer.line_patiently(number.to_string()));
        let begun = Instant::now();
        fill();
        assert!((PATIENCE..PATIENCE * 3).contains(&begun.elapsed()), "one has waited: {:?}", begun.elapsed());
        let written = Written::default();
        let writing = std::thread::spawn({
            let written = written.clone();
            move || queue.write(written, |lost| format!("{lost} are lost"))
        });
        writer.flush();
        fill();
        writer.flush();
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with("10 are lost\n0\n"), "{:?}", text.lines().next());
        assert_eq!(text.lines().count(), 1 + MAX_LINES + MAX_LINES + 10, "none of the second round is lost");
        drop(writer);
        writing.join().unwrap();
    }

    #[test]
    fn the_end_waits_for_no_reader() {
        let (writer, _nobody_reads) = queue();
        writer.line("l".to_owned());
        let begun = std::time::Instant::now();
        writer.flush();
        assert!(begun.elapsed() < LAST_LINES * 2);
    }

    /// Refuses a number of writes, then accepts all.
    struct Closed(Written, u32);

    impl Write for Closed {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 = self.1.saturating_sub(1);
            if self.1 > 0 { Err(io::ErrorKind::StorageFull.into()) } else { self.0.write(bytes) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_log_does_not_take_is_told_once_it_takes_lines_again() {
        let ((writer, queue), written) = (queue(), Written::default());
        ["a", "b", "c"].into_iter().for_each(|line| writer.line(line.to_owned()));
        drop(writer);
        // Refused: a, the report that it is lost, and b. The following writes succeed.
        queue.write(Closed(written.clone(), 4), |lost| format!("{lost} are lost"));
        assert_eq!(String::from_utf8_lossy(&written.0.lock().unwrap()), "2 are lost\nc\n");
    }
}

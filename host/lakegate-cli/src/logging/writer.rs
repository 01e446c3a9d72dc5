//! A thread that writes lines: whoever logs hands a line over and goes on, however slowly the log is read.
//!
//! Where the reader does not keep up, lines are left out and counted, and the count is a line. An audit line brings its own room (see
//! [`lakegate::serving::audit`]): whoever has one has waited for it, so it is always taken, and its room is free once it is written.

use lakegate::serving::Room;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Lines that wait to be written, besides those with room of their own; each has at most 4 KiB.
const MAX_LINES: usize = 4_096;
/// How long a line waits for room where it may wait; nobody does again before another line was written.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks for room.
const POLL: Duration = Duration::from_millis(2);
/// How long the end of a process waits for lines that nobody reads.
const LAST_LINES: Duration = Duration::from_secs(2);

/// What the thread is asked for.
pub(crate) enum Order {
    /// A line, and the room of one that has its own.
    Line(String, Option<Room>),
    /// All lines before it are written: say so.
    Flush(Sender<()>),
}

/// What the two ends share.
#[derive(Debug, Default)]
struct Shared {
    waiting: AtomicUsize,
    lost: AtomicU64,
    /// Somebody has waited for room in vain, and nothing was written since.
    stuck: AtomicBool,
}

/// Takes lines.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    orders: Sender<Order>,
    shared: Arc<Shared>,
}

/// What waits to be written.
pub(crate) struct Queue {
    orders: Receiver<Order>,
    shared: Arc<Shared>,
}

/// A writer and what it feeds.
pub(crate) fn queue() -> (Writer, Queue) {
    let (sender, orders) = channel();
    let shared = Arc::new(Shared::default());
    (Writer { orders: sender, shared: shared.clone() }, Queue { orders, shared })
}

impl Writer {
    /// Hands a line over, or counts it as lost if there is no room.
    pub(crate) fn line(&self, line: String) {
        if self.shared.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_LINES {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // A writer that is gone has nobody to write for.
        let _gone = self.orders.send(Order::Line(line, None));
    }

    /// Hands a line over, and waits for room if lines are being written.
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

    /// Hands over a line that has room of its own.
    pub(crate) fn line_in(&self, room: Room, line: String) {
        let _gone = self.orders.send(Order::Line(line, Some(room)));
    }

    /// Waits until all is written, though not without end.
    pub(crate) fn flush(&self) {
        let (done, written) = channel();
        let _gone = self.orders.send(Order::Flush(done));
        let _too_late = written.recv_timeout(LAST_LINES);
    }
}

impl Queue {
    /// Writes until nobody hands anything over any more. `lost_message` makes a line of a number of lines.
    pub(crate) fn write(self, mut to: impl Write, lost_message: impl Fn(u64) -> String) {
        let shared = self.shared.clone();
        // A log that nobody reads any more is no reason to stop; what it does not take is lost, and told of should it take lines again.
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

    /// Answers orders, one after the other, until there will be no more.
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
        // Nobody reads yet.
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
        // There is room again.
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

    /// Refuses so many writes, then takes all.
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
        // Refused: a; that one is lost, and b. Then there is room.
        queue.write(Closed(written.clone(), 4), |lost| format!("{lost} are lost"));
        assert_eq!(String::from_utf8_lossy(&written.0.lock().unwrap()), "2 are lost\nc\n");
    }
}

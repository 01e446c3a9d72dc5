//! Spans that wait to be sent. Who adds one never waits.

use crate::limits::{MAX_BATCH, MAX_SPAN_BYTES, MAX_SPANS};
use crate::proto::Span;
use prost::Message;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Spans that wait.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    /// There are enough of them for a request.
    full: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    spans: VecDeque<Span>,
    bytes: usize,
    no_room: u64,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a span, or drops and counts it if there is no room.
    pub(crate) fn add(&self, span: Span) {
        let bytes = span.encoded_len();
        let mut waiting = self.waiting();
        if waiting.spans.len() >= MAX_SPANS || waiting.bytes + bytes > MAX_SPAN_BYTES {
            waiting.no_room += 1;
            return;
        }
        waiting.bytes += bytes;
        waiting.spans.push_back(span);
        if waiting.spans.len() >= MAX_BATCH {
            self.full.notify_one();
        }
    }

    /// Takes the spans of a request, the oldest first.
    pub(crate) fn take(&self) -> Vec<Span> {
        let mut waiting = self.waiting();
        let count = waiting.spans.len().min(MAX_BATCH);
        let spans: Vec<Span> = waiting.spans.drain(..count).collect();
        waiting.bytes -= spans.iter().map(Message::encoded_len).sum::<usize>();
        spans
    }

    /// Waits until there are enough for a request. Waking up for less than that is no harm.
    pub(crate) async fn filled(&self) {
        self.full.notified().await;
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting().spans.len()
    }

    /// How many there was no room for.
    pub(crate) fn no_room(&self) -> u64 {
        self.waiting().no_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(name: usize) -> Span {
        Span { name: "n".repeat(name), ..Span::default() }
    }

    #[test]
    fn there_are_so_many_spans_and_the_rest_is_counted() {
        let queue = Queue::default();
        (0..MAX_SPANS + 7).for_each(|_| queue.add(span(1)));
        assert_eq!((queue.len(), queue.no_room()), (MAX_SPANS, 7));
        assert_eq!(queue.take().len(), MAX_BATCH);
        (0..MAX_BATCH + 1).for_each(|_| queue.add(span(1)));
        assert_eq!((queue.len(), queue.no_room()), (MAX_SPANS, 8));
    }

    #[test]
    fn there_are_so_many_bytes_and_they_come_back() {
        let queue = Queue::default();
        let long = || span(1 << 20);
        (0..20).for_each(|_| queue.add(long()));
        assert_eq!((queue.len(), queue.no_room()), (15, 5));
        assert_eq!((queue.take().len(), queue.len()), (15, 0));
        (0..15).for_each(|_| queue.add(long()));
        assert_eq!((queue.len(), queue.no_room()), (15, 5));
    }
}

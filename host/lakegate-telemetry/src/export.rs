//! Sends what waits, until the process ends.

use crate::client::{Answer, Client};
use crate::heard::Heard;
use crate::limits::{BATCH_TIME, LAST_ATTEMPTS, METRICS_TIME, RETRY_PAUSES};
use crate::proto::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse, ExportTraceServiceRequest, ExportTraceServiceResponse, InstrumentationScope,
    PartialSuccess, Resource, ResourceMetrics, ResourceSpans, ScopeMetrics, ScopeSpans, Span,
};
use crate::recorder::{CommandSpan, Recorder};
use crate::settings::Settings;
use crate::span::text;
use http::Uri;
use lakegate::observe::Observer;
use lakegate_base::clock;
use prost::Message;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Telemetry of this process. It is on its way until [`Telemetry::finish`].
#[derive(Debug)]
pub struct Telemetry {
    heard: Arc<Heard>,
    command: Option<CommandSpan>,
    recorder: Arc<Recorder>,
    closing: CancellationToken,
    sending: JoinHandle<()>,
    place: String,
}

impl Telemetry {
    /// Begins to send, on the run time of the caller. `command` is the name of the span that all writes are below, for a process that does one thing;
    /// without it, each write is a trace of its own.
    ///
    /// # Errors
    /// Words, if TLS cannot be had.
    pub fn start(settings: Settings, command: Option<&'static str>) -> Result<Self, String> {
        settings.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let (heard, closing) = (Heard::new(), CancellationToken::new());
        let parent = settings.parent.filter(|_| command.is_some());
        let sampled = parent.is_none_or(|parent| parent.sampled);
        let command = command.map(|name| CommandSpan::begin(name, parent.map(|parent| parent.place)));
        let recorder = Recorder::new(heard.clone(), command.as_ref().map(|command| command.place), sampled);
        let place = settings.place.clone();
        let exporter = Exporter { client: Client::new(&settings)?, settings, heard: heard.clone(), warned: false };
        let sending = tokio::spawn(exporter.run(closing.clone()));
        Ok(Self { heard, command: command.filter(|_| sampled), recorder, closing, sending, place })
    }

    /// What hears of the writes of a destination.
    pub fn observer(&self) -> Arc<dyn Observer> {
        self.recorder.clone()
    }

    /// Sends what is left, as far as that is possible within `limit`, and says what was lost. `exit_code` is that of the command.
    pub async fn finish(self, exit_code: u8, limit: Duration) {
        let Self { heard, command, closing, sending, place, .. } = self;
        if let Some(command) = command {
            heard.queue.add(command.end(exit_code));
        }
        closing.cancel();
        let stop = sending.abort_handle();
        if timeout(limit, sending).await.is_err() {
            stop.abort();
        }
        let unsent = heard.queue.len() as u64 + heard.in_hand.load(Ordering::Relaxed);
        let (no_room, refused) = (heard.queue.no_room(), heard.refused.load(Ordering::Relaxed));
        let counters_sent = heard.counters_sent.load(Ordering::Relaxed);
        if no_room + refused + unsent > 0 || !counters_sent {
            let spans = no_room + refused + unsent;
            tracing::warn!(
                collector = place,
                spans,
                no_room,
                refused,
                unsent,
                counters_sent,
                "Telemetry was lost; nothing else is affected."
            );
        }
    }
}

/// What has become of an export.
#[derive(Debug)]
enum Sent {
    /// The collector has it, but for so many items.
    But(u64),
    Refused,
    Later,
}

struct Exporter {
    settings: Settings,
    client: Client,
    heard: Arc<Heard>,
    /// Whether it has been said that something went wrong.
    warned: bool,
}

impl Exporter {
    async fn run(mut self, closing: CancellationToken) {
        let mut counters_due = Instant::now() + METRICS_TIME;
        loop {
            let last = closing.is_cancelled();
            while !self.send_spans(&closing).await {}
            if last || counters_due <= Instant::now() {
                counters_due = Instant::now() + METRICS_TIME;
                self.send_counters(&closing).await;
            }
            if last {
                return;
            }
            tokio::select! {
                () = closing.cancelled() => {}
                () = self.heard.queue.filled() => {}
                () = sleep(BATCH_TIME) => {}
            }
        }
    }

    /// Sends the spans of one request. True if none is left.
    async fn send_spans(&mut self, closing: &CancellationToken) -> bool {
        let spans = self.heard.queue.take();
        if spans.is_empty() {
            return true;
        }
        let count = spans.len() as u64;
        self.heard.in_hand.store(count, Ordering::Relaxed);
        let message = self.spans(spans).encode_to_vec();
        let to = self.settings.traces.clone();
        let lost =
            match self.send(&to, &message, closing, |answer| ExportTraceServiceResponse::decode(answer).map(|it| it.partial_success)).await
            {
                Sent::But(rejected) => rejected.min(count),
                Sent::Refused | Sent::Later => count,
            };
        self.heard.refused.fetch_add(lost, Ordering::Relaxed);
        self.heard.in_hand.store(0, Ordering::Relaxed);
        false
    }

    async fn send_counters(&mut self, closing: &CancellationToken) {
        let message = self.counters().encode_to_vec();
        let to = self.settings.metrics.clone();
        let sent =
            self.send(&to, &message, closing, |answer| ExportMetricsServiceResponse::decode(answer).map(|it| it.partial_success)).await;
        self.heard.counters_sent.store(matches!(sent, Sent::But(0)), Ordering::Relaxed);
    }

    /// Sends a message, again and again while the collector may take it later; as the process ends, a few times.
    async fn send(
        &mut self,
        to: &Uri,
        message: &[u8],
        closing: &CancellationToken,
        read: impl Fn(&[u8]) -> Result<Option<PartialSuccess>, prost::DecodeError>,
    ) -> Sent {
        let (mut pause, longest) = RETRY_PAUSES;
        let mut last_attempts = 0;
        loop {
            let ending = closing.is_cancelled();
            match self.client.send(to, message.to_vec()).await {
                Answer::Taken(answer) => match read(&answer) {
                    Ok(partial) => {
                        let partial = partial.unwrap_or_default();
                        let rejected = u64::try_from(partial.rejected).unwrap_or_default();
                        if rejected > 0 {
                            // What a collector says is for its operator.
                            self.warn_once("it rejected a part of what it was sent");
                        }
                        return Sent::But(rejected);
                    }
                    Err(_) => {
                        self.warn_once("its answer is not one of OTLP over HTTP");
                        return Sent::Refused;
                    }
                },
                Answer::Refused(why) => {
                    self.warn_once(&why);
                    return Sent::Refused;
                }
                Answer::Later(why) => self.warn_once(&why),
            }
            last_attempts += u32::from(ending);
            if last_attempts >= LAST_ATTEMPTS {
                return Sent::Later;
            }
            if ending {
                sleep(RETRY_PAUSES.0).await;
            } else {
                tokio::select! {
                    () = closing.cancelled() => {}
                    () = sleep(pause) => {}
                }
                pause = (pause * 2).min(longest);
            }
        }
    }

    /// Says once that something went wrong.
    fn warn_once(&mut self, why: &str) {
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                collector = self.settings.place,
                error = why,
                "The collector does not take telemetry; nothing else is affected."
            );
        }
    }

    fn resource(&self) -> Resource {
        Resource { attributes: self.settings.resource.iter().map(|(key, value)| text(key, value)).collect() }
    }

    fn spans(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans }];
        ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { resource: Some(self.resource()), scope_spans }] }
    }

    fn counters(&self) -> ExportMetricsServiceRequest {
        let metrics = self.heard.counters.metrics(clock::now(), self.heard.dropped());
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics }];
        ExportMetricsServiceRequest { resource_metrics: vec![ResourceMetrics { resource: Some(self.resource()), scope_metrics }] }
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "lakegate".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// How a collector answers.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Collector {
        /// Nobody listens.
        Down,
        /// It never answers.
        Stalls,
        /// It sends bytes for as long as they are read.
        Endless,
        /// It answers these bytes.
        Says(&'static str),
        /// It hangs up.
        HangsUp,
    }

    const TAKEN: Collector = Collector::Says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");

    async fn listen(collector: Collector) -> io::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        if collector == Collector::Down {
            return Ok(address);
        }
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut buffer = vec![0; 1 << 16];
                    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                        let answer = match collector {
                            Collector::HangsUp => return,
                            Collector::Down | Collector::Stalls => continue,
                            Collector::Says(answer) => answer,
                            Collector::Endless => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                        };
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                        let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
                        while collector == Collector::Endless && stream.write_all(chunk.as_bytes()).await.is_ok() {}
                    }
                });
            }
        });
        Ok(address)
    }

    async fn telemetry(collector: Collector) -> Telemetry {
        let address = listen(collector).await.expect("a free port");
        let settings = Settings::new(Some(&address), true, |_| None).expect("an endpoint").expect("wanted");
        Telemetry::start(settings, None).expect("a client")
    }

    /// For each collector: how many of two spans were refused, how many are left, and whether the counters arrived; and that the end comes.
    #[tokio::test]
    async fn whatever_a_collector_does_the_end_comes_and_what_is_lost_is_counted() {
        let limit = Duration::from_secs(2);
        for (collector, expected) in [
            (TAKEN, (0, 0, true)),
            (Collector::Down, (2, 0, false)),
            (Collector::HangsUp, (2, 0, false)),
            (Collector::Stalls, (0, 2, false)),
            (Collector::Endless, (2, 0, false)),
            (Collector::Says("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"), (2, 0, false)),
            (Collector::Says("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"), (2, 0, false)),
            (Collector::Says("HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"), (2, 0, false)),
            (Collector::Says("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"), (2, 0, false)),
            (Collector::Says("garbage\r\n\r\n"), (2, 0, false)),
            // A partial success: field 1, a message with the field 1 (rejected) of 1, and of so many that they are no longer true.
            (Collector::Says("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\x0a\x02\x08\x01"), (1, 0, false)),
            (Collector::Says("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\x0a\x02\x08\x7f"), (2, 0, false)),
        ] {
            let telemetry = telemetry(collector).await;
            let heard = telemetry.heard.clone();
            (0..2).for_each(|_| heard.queue.add(Span::default()));
            let begun = Instant::now();
            telemetry.finish(0, limit).await;
            assert!(begun.elapsed() < limit + Duration::from_secs(1), "{collector:?}: {:?}", begun.elapsed());
            let left = heard.queue.len() as u64 + heard.in_hand.load(Ordering::Relaxed);
            let found = (heard.refused.load(Ordering::Relaxed), left, heard.counters_sent.load(Ordering::Relaxed));
            assert_eq!(found, expected, "{collector:?}");
        }
    }

    #[tokio::test]
    async fn who_adds_spans_never_waits() {
        let telemetry = telemetry(Collector::Stalls).await;
        let heard = telemetry.heard.clone();
        let begun = Instant::now();
        (0..100_000).for_each(|_| heard.queue.add(Span::default()));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        telemetry.finish(0, Duration::from_millis(10)).await;
        let (no_room, left) = (heard.queue.no_room(), heard.queue.len() as u64 + heard.in_hand.load(Ordering::Relaxed));
        assert_eq!(no_room + left, 100_000);
        assert!(no_room > 80_000, "{no_room}");
    }
}

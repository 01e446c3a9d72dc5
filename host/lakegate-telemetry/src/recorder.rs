//! Makes spans and counts of what is heard of writes.
//!
//! A write's span is above those of its tables, and a table's above those of its objects. An object's is made before that of its table, whose place
//! follows from its name; so nothing is kept for each table.

use crate::counters::{Counters, Kind};
use crate::heard::Heard;
use crate::span::{Place, cut, number, span, text, truth};
use lakegate::observe::{ObjectEnded, ObjectOutcome, Observer, TableEnded, WriteBegun, WriteEnd, WriteObserver};
use lakegate_base::clock;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// The attributes that several spans have. Those of S3 are OpenTelemetry's.
const BUCKET: &str = "aws.s3.bucket";
const KEY: &str = "aws.s3.key";
const ERROR_TYPE: &str = "error.type";
const TENANT: &str = "lakegate.tenant";
const TABLE: &str = "lakegate.table";
const ROWS_RECEIVED: &str = "lakegate.rows.received";
const ROWS_CONFIRMED: &str = "lakegate.rows.confirmed";
const BYTES_RECEIVED: &str = "lakegate.bytes.received";
const BYTES_CONFIRMED: &str = "lakegate.bytes.confirmed";
const OBJECTS_CONFIRMED: &str = "lakegate.objects.confirmed";

/// The span of a command, above its writes.
#[derive(Debug)]
pub(crate) struct CommandSpan {
    name: &'static str,
    pub(crate) place: Place,
    parent: Option<Place>,
    begun: SystemTime,
}

impl CommandSpan {
    pub(crate) fn begin(name: &'static str, parent: Option<Place>) -> Self {
        Self { name, place: Place::below(parent), parent, begun: clock::now() }
    }

    pub(crate) fn end(self, exit_code: u8) -> crate::proto::Span {
        let error = (exit_code != 0).then(|| format!("exit code {exit_code}"));
        let attributes = vec![number("process.exit.code", exit_code.into())];
        span(self.name, self.place, self.parent, (self.begun, clock::now()), attributes, error.as_deref())
    }
}

/// Hears of the writes of a process.
#[derive(Debug)]
pub(crate) struct Recorder {
    heard: Arc<Heard>,
    parent: Option<Place>,
    /// Whether spans are wanted; numbers always are.
    sampled: bool,
}

impl Recorder {
    pub(crate) fn new(heard: Arc<Heard>, parent: Option<Place>, sampled: bool) -> Arc<Self> {
        Arc::new(Self { heard, parent, sampled })
    }
}

impl Observer for Recorder {
    fn begin(&self, write: &WriteBegun<'_>) -> Arc<dyn WriteObserver> {
        Arc::new(WriteRecorder {
            heard: self.heard.clone(),
            counters: self.heard.counters.for_tenant(write.tenant),
            sampled: self.sampled,
            place: Place::below(self.parent),
            parent: self.parent,
            begun: clock::now(),
            sync_id: cut(write.sync_id),
            bucket: write.bucket.to_owned(),
            format: write.format.to_owned(),
            tenant: write.tenant.map(str::to_owned),
            totals: Mutex::default(),
        })
    }
}

/// Hears of one write.
#[derive(Debug)]
struct WriteRecorder {
    heard: Arc<Heard>,
    counters: Arc<Counters>,
    sampled: bool,
    place: Place,
    parent: Option<Place>,
    begun: SystemTime,
    sync_id: String,
    bucket: String,
    format: String,
    tenant: Option<String>,
    totals: Mutex<Totals>,
}

/// What a write comes to.
#[derive(Debug, Default)]
struct Totals {
    tables: u64,
    failed: u64,
    rows_in: u64,
    rows_confirmed: u64,
    bytes_in: u64,
    bytes: u64,
    objects: u64,
    retries: [(&'static str, u64); 3],
}

impl WriteRecorder {
    fn totals(&self, change: impl FnOnce(&mut Totals)) {
        change(&mut self.totals.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What every span of the write says.
    fn common(&self) -> Vec<crate::proto::KeyValue> {
        let tenant = self.tenant.iter().map(|tenant| text(TENANT, tenant));
        tenant.chain([text(BUCKET, &self.bucket)]).collect()
    }
}

impl WriteObserver for WriteRecorder {
    fn object(&self, object: &ObjectEnded<'_>) {
        self.counters.add_retries(&object.retries);
        self.totals(|totals| {
            for (total, retries) in totals.retries.iter_mut().zip(object.retries) {
                *total = (retries.0, total.1 + retries.1);
            }
        });
        match object.outcome {
            ObjectOutcome::Stored { rows, bytes, .. } => {
                self.counters.add(Kind::ObjectsConfirmed, 1);
                self.counters.add(Kind::RowsConfirmed, rows);
                self.counters.add(Kind::BytesConfirmed, bytes);
            }
            ObjectOutcome::Quarantined { rows } => self.counters.add(Kind::RowsQuarantined, rows),
            ObjectOutcome::Failed(_) => self.counters.add(Kind::ObjectsFailed, 1),
            ObjectOutcome::GivenUp => self.counters.add(Kind::ObjectsGivenUp, 1),
        }
        if !self.sampled {
            return;
        }
        let mut attributes = self.common();
        attributes.extend([text(KEY, object.key), text(TABLE, object.table)]);
        attributes.extend(object.rotation.map(|why| text("lakegate.rotation.reason", why.name())));
        attributes.extend(object.retries.iter().map(|(class, count)| number(&format!("lakegate.retries.{class}"), *count)));
        let error = match object.outcome {
            ObjectOutcome::Stored { rows, bytes, etag, was_there } => {
                attributes.extend([number(ROWS_CONFIRMED, rows), number(BYTES_CONFIRMED, bytes), text("lakegate.object.etag", etag)]);
                attributes.push(truth("lakegate.object.was_there", was_there));
                None
            }
            ObjectOutcome::Quarantined { rows } => {
                attributes.push(number("lakegate.rows.quarantined", rows));
                None
            }
            ObjectOutcome::Failed(words) => {
                attributes.push(text(ERROR_TYPE, "storage"));
                Some(words)
            }
            ObjectOutcome::GivenUp => {
                attributes.push(text(ERROR_TYPE, "given_up"));
                Some("the object was given up: its table or its write has failed")
            }
        };
        let table = self.place.named(object.table);
        let times = (object.opened, clock::now());
        self.heard.queue.add(span("lakegate.object", Place::below(Some(table)), Some(table), times, attributes, error));
    }

    fn table(&self, table: &TableEnded<'_>) {
        self.counters.add(Kind::RowsReceived, table.rows_in);
        self.counters.add(Kind::BytesReceived, table.bytes_in);
        self.counters.add(if table.failure.is_some() { Kind::TablesFailed } else { Kind::TablesWritten }, 1);
        self.totals(|totals| {
            totals.tables += 1;
            totals.failed += u64::from(table.failure.is_some());
            totals.rows_in = totals.rows_in.saturating_add(table.rows_in);
            totals.rows_confirmed += table.rows_confirmed;
            totals.bytes_in = totals.bytes_in.saturating_add(table.bytes_in);
            totals.bytes += table.bytes;
            totals.objects += table.objects;
        });
        if !self.sampled {
            return;
        }
        let mut attributes = self.common();
        attributes.extend([
            text(TABLE, table.table),
            number(ROWS_RECEIVED, table.rows_in),
            number(ROWS_CONFIRMED, table.rows_confirmed),
            number(BYTES_RECEIVED, table.bytes_in),
            number(BYTES_CONFIRMED, table.bytes),
            number(OBJECTS_CONFIRMED, table.objects),
        ]);
        attributes.extend(table.failure.map(|(class, _)| text(ERROR_TYPE, class)));
        let times = table.times.unwrap_or((self.begun, self.begun));
        let error = table.failure.map(|(_, words)| words);
        self.heard.queue.add(span("lakegate.table", self.place.named(table.table), Some(self.place), times, attributes, error));
    }

    fn end(&self, how: WriteEnd) {
        self.counters.add(how.into(), 1);
        if !self.sampled {
            return;
        }
        let totals = std::mem::take(&mut *self.totals.lock().unwrap_or_else(PoisonError::into_inner));
        let mut attributes = self.common();
        attributes.extend([
            text("lakegate.sync.id", &self.sync_id),
            text("lakegate.format", &self.format),
            number("lakegate.tables", totals.tables),
            number("lakegate.tables.failed", totals.failed),
            number(ROWS_RECEIVED, totals.rows_in),
            number(ROWS_CONFIRMED, totals.rows_confirmed),
            number(BYTES_RECEIVED, totals.bytes_in),
            number(BYTES_CONFIRMED, totals.bytes),
            number(OBJECTS_CONFIRMED, totals.objects),
        ]);
        let retries = totals.retries.iter().filter(|(class, _)| !class.is_empty());
        attributes.extend(retries.map(|(class, count)| number(&format!("lakegate.retries.{class}"), *count)));
        let error = match (how, totals.failed) {
            (WriteEnd::Finished, 0) => None,
            (WriteEnd::Finished, failed) => Some(format!("{failed} of {} tables failed", totals.tables)),
            (WriteEnd::GivenUp, _) => Some("the write was given up".to_owned()),
        };
        attributes.extend(error.is_some().then(|| text(ERROR_TYPE, if how == WriteEnd::GivenUp { "given_up" } else { "tables" })));
        let times = (self.begun, clock::now());
        self.heard.queue.add(span("lakegate.write", self.place, self.parent, times, attributes, error.as_deref()));
    }
}

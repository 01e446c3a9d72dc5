//! What was written since the process began, in numbers that only grow: for the process, or for each of its tenants.

use crate::proto::{AggregationTemporality, KeyValue, Metric, NumberDataPoint, Sum, number_data_point};
use crate::span::{nanos, text};
use lakegate::observe::WriteEnd;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// One counter: its name, its unit, and what it counts.
type Description = (&'static str, &'static str, &'static str);

/// Counters by their place in [`Counters`].
const DESCRIPTIONS: [Description; KINDS] = [
    ("lakegate.rows.received", "{row}", "Rows that came in, of writes that have ended."),
    ("lakegate.rows.confirmed", "{row}", "Rows in objects that the store has confirmed."),
    ("lakegate.rows.quarantined", "{row}", "Rows in confirmed objects of the quarantine."),
    ("lakegate.bytes.received", "By", "Arrow IPC messages that rows and schemas came in, of writes that have ended."),
    ("lakegate.bytes.confirmed", "By", "Objects that the store has confirmed, encoded and compressed."),
    ("lakegate.objects.confirmed", "{object}", "Objects that the store has confirmed."),
    ("lakegate.objects.failed", "{object}", "Objects that the store has not taken."),
    ("lakegate.objects.given_up", "{object}", "Objects that were given up, because their table or their write failed."),
    ("lakegate.tables.written", "{table}", "Tables of writes that have ended, without those that failed."),
    ("lakegate.tables.failed", "{table}", "Tables that failed."),
    ("lakegate.writes.finished", "{write}", "Writes whose input ended well."),
    ("lakegate.writes.given_up", "{write}", "Writes that were given up."),
];

/// Counters without those of retries.
const KINDS: usize = 12;

/// What a counter counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    RowsReceived,
    RowsConfirmed,
    RowsQuarantined,
    BytesReceived,
    BytesConfirmed,
    ObjectsConfirmed,
    ObjectsFailed,
    ObjectsGivenUp,
    TablesWritten,
    TablesFailed,
    WritesFinished,
    WritesGivenUp,
}

impl From<WriteEnd> for Kind {
    fn from(how: WriteEnd) -> Self {
        match how {
            WriteEnd::Finished => Self::WritesFinished,
            WriteEnd::GivenUp => Self::WritesGivenUp,
        }
    }
}

/// The classes of requests that were tried again.
const CLASSES: [&str; 3] = ["throttled", "transient", "unreachable"];

/// The numbers of the process, or of one tenant.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    kinds: [AtomicU64; KINDS],
    retries: [AtomicU64; CLASSES.len()],
}

impl Counters {
    pub(crate) fn add(&self, kind: Kind, amount: u64) {
        self.kinds[kind as usize].fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn add_retries(&self, retries: &[(&'static str, u64); 3]) {
        for (class, counter) in CLASSES.iter().zip(&self.retries) {
            let count = retries.iter().find(|(name, _)| name == class).map_or(0, |(_, count)| *count);
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// The numbers of everyone.
#[derive(Debug)]
pub(crate) struct AllCounters {
    since: SystemTime,
    of: Mutex<BTreeMap<Option<String>, Arc<Counters>>>,
}

impl AllCounters {
    pub(crate) fn new(since: SystemTime) -> Self {
        Self { since, of: Mutex::default() }
    }

    /// Those of a tenant, or of a process without tenants.
    pub(crate) fn for_tenant(&self, tenant: Option<&str>) -> Arc<Counters> {
        let mut all = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(tenant.map(str::to_owned)).or_default().clone()
    }

    /// All of them now. `dropped` is how many spans were not sent.
    pub(crate) fn metrics(&self, now: SystemTime, dropped: u64) -> Vec<Metric> {
        let all = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let tenant = |name: &Option<String>| -> Vec<KeyValue> { name.iter().map(|name| text("lakegate.tenant", name)).collect() };
        let point = |value: u64, attributes: Vec<KeyValue>| NumberDataPoint {
            start_time_unix_nano: nanos(self.since),
            time_unix_nano: nanos(now),
            attributes,
            value: Some(number_data_point::Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX))),
        };
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let sums = DESCRIPTIONS.iter().enumerate().map(|(at, description)| {
            let points = all.iter().map(|(name, counters)| point(read(&counters.kinds[at]), tenant(name)));
            metric(*description, points.collect())
        });
        let retries = all.iter().flat_map(|(name, counters)| {
            CLASSES.iter().zip(&counters.retries).map(move |(class, counter)| {
                let mut attributes = tenant(name);
                attributes.push(text("lakegate.retry.class", class));
                point(read(counter), attributes)
            })
        });
        let retried = ("lakegate.requests.retried", "{request}", "Requests of objects that were tried again.");
        let spans = ("lakegate.spans.dropped", "{span}", "Spans that were not sent.");
        sums.chain([metric(retried, retries.collect()), metric(spans, vec![point(dropped, Vec::new())])]).collect()
    }
}

fn metric((name, unit, description): Description, data_points: Vec<NumberDataPoint>) -> Metric {
    let sum = Sum { data_points, aggregation_temporality: AggregationTemporality::Cumulative.into(), is_monotonic: true };
    Metric { name: name.to_owned(), description: description.to_owned(), unit: unit.to_owned(), sum: Some(sum) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn value(metrics: &[Metric], name: &str) -> Vec<i64> {
        let metric = metrics.iter().find(|metric| metric.name == name).expect("known");
        let points = &metric.sum.as_ref().expect("a sum").data_points;
        points.iter().map(|point| point.value.as_ref().map_or(-1, |number_data_point::Value::AsInt(value)| *value)).collect()
    }

    #[test]
    fn the_page_has_every_counter() {
        let page = include_str!("../../../docs/telemetry.md");
        for metric in AllCounters::new(SystemTime::UNIX_EPOCH).metrics(SystemTime::UNIX_EPOCH, 0) {
            let (family, kind) = metric.name.rsplit_once('.').expect("a family");
            let row = page.lines().find(|line| line.starts_with(&format!("| `{family}.")) && line.contains(&format!(".{kind}`")));
            assert!(row.is_some_and(|row| row.contains(&format!("| `{}` |", metric.unit))), "{}: {row:?}", metric.name);
        }
    }

    #[test]
    fn every_kind_has_a_name_of_its_own_and_a_point_for_each_tenant() {
        let all = AllCounters::new(SystemTime::UNIX_EPOCH);
        for (tenant, times) in [("acme", 1), ("beta", 2)] {
            let counters = all.for_tenant(Some(tenant));
            for kind in [Kind::RowsReceived, Kind::BytesConfirmed, WriteEnd::GivenUp.into()] {
                counters.add(kind, times);
            }
            all.for_tenant(Some(tenant)).add_retries(&[("throttled", 0), ("transient", times), ("unreachable", 9)]);
        }
        let metrics = all.metrics(SystemTime::UNIX_EPOCH + Duration::from_secs(1), 5);
        let mut names: Vec<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
        names.dedup();
        assert_eq!((names.len(), metrics.len()), (KINDS + 2, KINDS + 2));
        assert_eq!(value(&metrics, "lakegate.rows.received"), [1, 2]);
        assert_eq!(value(&metrics, "lakegate.bytes.confirmed"), [1, 2]);
        assert_eq!(value(&metrics, "lakegate.writes.given_up"), [1, 2]);
        assert_eq!(value(&metrics, "lakegate.rows.confirmed"), [0, 0]);
        assert_eq!(value(&metrics, "lakegate.requests.retried"), [0, 1, 9, 0, 2, 9]);
        assert_eq!(value(&metrics, "lakegate.spans.dropped"), [5]);
    }
}

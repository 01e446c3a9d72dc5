//! Uploads, their jobs and aborts, halting, and the order of one key, against a store in memory whose calls go wrong: every call that a small
//! object makes, with every fault, and every way for a guest to end.

use super::context::{ObjectRules, UploadContext};
use super::in_flight::InFlight;
use super::keys::Repetition;
use super::ledger::{Call, Ledger, WriteReport};
use super::staging::Staging;
use super::upload::{TableCall, Upload};
use super::watch::testing::Notes;
use super::watch::{Rotation, WriteEnd};
use crate::payload::spill::Spill;
use crate::policy::authorize::Policy;
use crate::policy::resources::MemoryHold;
use crate::storage::headers::TableHeaders;
use crate::storage::object::IfExists;
use crate::storage::target::{ObjectAttributes, ObjectFacts, PutError, StorageTarget};
use crate::store::answer::StoreErrorKind;
use crate::store::faulty::{Fault, FaultyStore, Operation};
use crate::store::memory::MemoryStore;
use crate::store::traits::Connect;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::time::timeout;

const BUCKET: &str = "b";
const PART_BYTES: usize = 4;
const ROWS: u64 = 3;
/// Longer than anything takes but what waits for ever: time stands still while there is something to do.
const FOR_EVER: Duration = Duration::from_secs(3_600);

/// How late an answer is that comes late: sooner than a creation is given up.
const LATE: Duration = Duration::from_secs(1);

const OPERATIONS: [Operation; 5] = [Operation::Put, Operation::Create, Operation::PutPart, Operation::Complete, Operation::Abort];
const FAULTS: [Fault; 7] = [
    Fault::Fails(StoreErrorKind::Unavailable),
    Fault::Fails(StoreErrorKind::Denied),
    Fault::Fails(StoreErrorKind::Unknown),
    Fault::Stalls,
    Fault::LosesAnswer,
    Fault::AnswersLate(LATE),
    Fault::Panics,
];

/// How a guest, or the host, ends an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Finished,
    /// The handle is dropped before everything is written.
    Dropped,
    /// Finished, and the process ends at once.
    Halted,
    /// Finished, and the client has gone.
    Left,
}

const ENDS: [End; 4] = [End::Finished, End::Dropped, End::Halted, End::Left];

struct World {
    store: MemoryStore,
    faulty: FaultyStore,
    uploads: Arc<UploadContext>,
    staging: Arc<Staging>,
    in_flight: Arc<InFlight>,
    ledger: Arc<Ledger>,
    notes: Notes,
}

impl World {
    async fn new() -> Self {
        let store = MemoryStore::with_part_bytes(PART_BYTES as u64);
        let faulty = FaultyStore::new(store.clone());
        let target = StorageTarget { bucket: BUCKET.into(), ..StorageTarget::default() };
        let bucket = faulty.connect(&target).await.expect("a bucket");
        let (staging, in_flight) = (Staging::new(1 << 20, Spill::None, None), InFlight::new(1 << 20));
        let hold = MemoryHold::default;
        let rules = ObjectRules {
            repetition: Repetition::Replaces,
            if_exists: IfExists::Replace,
            deferred: false,
            headers: TableHeaders::default(),
        };
        let uploads = UploadContext::new(bucket, Policy::for_user(), staging.clone(), in_flight.clone(), rules, hold(), Handle::current());
        let notes = Notes::default();
        let ledger = Arc::new(Ledger::new(None, hold(), u64::MAX).watched(notes.watch()));
        Self { store, faulty, uploads, staging, in_flight, ledger, notes }
    }

    /// Opens an object and writes `content` in pieces of three bytes, or as many of them as the host takes.
    async fn upload(&self, table: &str, key: &str, content: &[u8]) -> Result<Upload, PutError> {
        let table: Arc<str> = table.into();
        assert_eq!(self.ledger.admit(&table, ROWS), Ok(true));
        let call = TableCall { table, ledger: self.ledger.clone(), call: Call::Insert };
        let attributes = ObjectAttributes { key: key.into(), content_type: "text/plain".into(), ..ObjectAttributes::default() };
        let mut upload = Upload::open(&self.uploads, &attributes, &call, 0)?;
        for chunk in content.chunks(3) {
            upload.write(chunk.to_vec().into()).await?;
            settle().await;
        }
        Ok(upload)
    }

    /// Waits for the books to close; where the store never answers, ends as a process that stops, and as one whose client has gone.
    async fn report(&self) -> WriteReport {
        let end: [fn(&UploadContext); 3] = [|_| {}, UploadContext::halt, UploadContext::leave];
        for end in end {
            end(&self.uploads);
            if timeout(FOR_EVER, self.ledger.settled()).await.is_ok() {
                settle().await;
                return self.ledger.audit();
            }
        }
        panic!("an upload is neither confirmed nor given up");
    }

    /// What holds whatever went wrong, and whatever is left behind.
    fn assert_nothing_is_held(&self, case: &dyn std::fmt::Debug) {
        assert_eq!((self.in_flight.bytes(), self.staging.memory_bytes()), (0, 0), "{case:?}");
    }
}

/// Whether an object may be there that nobody has heard of.
fn loses_an_object(operation: Operation, fault: Fault) -> bool {
    matches!(fault, Fault::LosesAnswer | Fault::AnswersLate(_)) && matches!(operation, Operation::Put | Operation::Complete)
}

/// Lets everything run that can.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// A fresh run time whose clock stands still, for every case.
fn in_virtual_time<T>(work: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a run time").block_on(work)
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| b'a' + (at % 26) as u8).collect()
}

#[test]
#[expect(clippy::print_stdout, reason = "the figure of cases")]
fn whatever_goes_wrong_with_one_object_there_is_a_receipt_for_what_is_there_and_a_failure_for_the_rest() {
    let mut cases = 0;
    for bytes in [0, 3, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES] {
        for operation in OPERATIONS {
            for nth in 1..=4 {
                for fault in FAULTS {
                    for end in ENDS {
                        in_virtual_time(one_object(bytes, operation, nth, fault, end));
                        cases += 1;
                    }
                }
            }
        }
    }
    println!("{cases} cases, 0 skipped");
    assert_eq!(cases, 2_800);
}

async fn one_object(bytes: usize, operation: Operation, nth: u32, fault: Fault, end: End) {
    let case = (bytes, operation, nth, fault, end);
    let world = World::new().await;
    world.faulty.inject(operation, nth, fault);
    let content = content(bytes);
    // What the guest hears is for the guest: the books have the cause.
    if let Ok(upload) = world.upload("t", "k", &content).await {
        match end {
            End::Dropped => drop(upload),
            End::Finished => drop(upload.finish(ObjectFacts { rows: ROWS, ..ObjectFacts::default() })),
            End::Halted => {
                let _ = upload.finish(ObjectFacts { rows: ROWS, ..ObjectFacts::default() });
                world.uploads.halt();
            }
            End::Left => {
                let _ = upload.finish(ObjectFacts { rows: ROWS, ..ObjectFacts::default() });
                world.uploads.leave();
            }
        }
    }
    let report = world.report().await;
    let [table] = report.tables.as_slice() else { panic!("{case:?}: {report:?}") };
    let objects = world.store.objects(BUCKET);
    // A receipt or a failure, never both and never neither.
    assert_ne!(table.receipts.is_empty(), table.failure.is_none(), "{case:?}: {table:?}");
    if let [receipt] = table.receipts.as_slice() {
        assert_eq!((receipt.rows, receipt.bytes), (ROWS, bytes as u64), "{case:?}");
        assert_eq!(objects.iter().map(|object| &object.bytes[..]).collect::<Vec<_>>(), [&content[..]], "{case:?}");
    }
    // An object without a receipt is one whose answer was lost.
    if !objects.is_empty() && table.receipts.is_empty() {
        assert!(loses_an_object(operation, fault), "{case:?}: an object that nobody knows of");
        assert_eq!(&objects[0].bytes[..], &content[..], "{case:?}: and it is whole");
    }
    // What nobody waits for goes on by itself.
    tokio::time::sleep(LATE * 2).await;
    settle().await;
    // An upload is left where its id is not known, or where aborting it failed.
    let left = world.store.uploads(BUCKET).len();
    let may_be_left = match (operation, fault) {
        (Operation::Create, Fault::LosesAnswer) => 1,
        (Operation::Abort, Fault::Fails(_) | Fault::Panics) => 1,
        // Nobody waits for the abort, so nobody asks for it again.
        (Operation::Abort, Fault::Stalls) if end == End::Left => 1,
        _ => 0,
    };
    assert!(left <= may_be_left, "{case:?}: {left} uploads are left");
    world.assert_nothing_is_held(&case);
    // The object is reported once, before its table, and as the books have it.
    world.ledger.report_end(Some(&report), WriteEnd::Finished);
    let notes = world.notes.read();
    let [_, object, of_table, _] = notes.as_slice() else { panic!("{case:?}: {notes:?}") };
    assert!(object.starts_with("t k: ") && of_table.starts_with("t: 3 rows in "), "{case:?}: {notes:?}");
    assert_eq!(object.contains(": stored "), !table.receipts.is_empty(), "{case:?}: {notes:?}");
}

#[test]
fn what_is_told_of_a_write_is_what_its_books_say() {
    in_virtual_time(async {
        let world = World::new().await;
        world.faulty.inject(Operation::Put, 2, Fault::Fails(StoreErrorKind::Denied));
        for (table, why) in [("a", Some(Rotation::Age)), ("b", None), ("a", Some(Rotation::EndOfWrite))] {
            let upload = world.upload(table, &format!("{table}-{}", why.map_or("none", Rotation::name)), b"abc").await.expect("taken");
            upload.ends(why);
            upload.finish(ObjectFacts { rows: ROWS, ..ObjectFacts::default() }).expect("taken");
            settle().await;
        }
        assert_eq!(world.ledger.admit_message(&"a".into(), 0, 77), Ok(true));
        drop(world.upload("c", "c", b"abc").await.expect("taken"));
        settle().await;
        // With the books open, as when a write is given up, and closed.
        world.ledger.report_end(None, WriteEnd::GivenUp);
        let report = world.report().await;
        world.ledger.report_end(Some(&report), WriteEnd::Finished);
        let (b, c) = (r#"b: 3 rows in 0 bytes, 0 in 0 in 0, Some("storage")"#, "c: 3 rows in 0 bytes, 0 in 0 in 0");
        let expected = [
            "s to b as csv",
            r#"a a-age: stored 3 rows, 3 bytes, Some("age")"#,
            "b b-none: failed, None",
            r#"a a-end_of_write: stored 3 rows, 3 bytes, Some("end_of_write")"#,
            "c c: given up, None",
            "a: 6 rows in 77 bytes, 6 in 6 in 2, None",
            b,
            &format!(r#"{c}, Some("given_up")"#),
            "GivenUp",
            "a: 6 rows in 77 bytes, 6 in 6 in 2, None",
            b,
            &format!(r#"{c}, Some("unexpected")"#),
            "Finished",
        ];
        assert_eq!(world.notes.read(), expected);
    });
}

#[test]
fn without_a_fault_every_object_is_there() {
    for bytes in 0..=5 * PART_BYTES {
        in_virtual_time(async {
            let world = World::new().await;
            let upload = world.upload("t", "k", &content(bytes)).await.expect("taken");
            upload.finish(ObjectFacts { rows: ROWS, ..ObjectFacts::default() }).expect("taken");
            let report = world.report().await;
            assert_eq!(report.tables[0].failure, None, "{bytes}");
            assert_eq!(&world.store.objects(BUCKET)[0].bytes[..], &content(bytes)[..]);
            assert_eq!(world.store.uploads(BUCKET), Vec::<String>::new());
            world.assert_nothing_is_held(&bytes);
        });
    }
}

/// Two objects of one key, the second begun while the first is on its way: what is there at the end is the second, unless it failed.
#[test]
#[expect(clippy::print_stdout, reason = "the figure of cases")]
fn objects_of_one_key_land_in_the_order_in_which_they_were_begun() {
    let mut cases = 0;
    for (first, second) in [(3, 2), (3, 9), (9, 3), (9, 10)] {
        for operation in OPERATIONS {
            for nth in 1..=6 {
                for fault in FAULTS {
                    in_virtual_time(two_objects(first, second, operation, nth, fault));
                    cases += 1;
                }
            }
        }
    }
    println!("{cases} cases, 0 skipped");
    assert_eq!(cases, 840);
}

async fn two_objects(first: usize, second: usize, operation: Operation, nth: u32, fault: Fault) {
    let case = (first, second, operation, nth, fault);
    let world = World::new().await;
    world.faulty.inject(operation, nth, fault);
    for (table, bytes) in [("t1", first), ("t2", second)] {
        if let Ok(upload) = world.upload(table, "k", &content(bytes)).await {
            let _ = upload.finish(ObjectFacts { rows: ROWS, ..ObjectFacts::default() });
        }
    }
    let report = world.report().await;
    let confirmed: Vec<u64> = report.tables.iter().flat_map(|table| &table.receipts).map(|receipt| receipt.bytes).collect();
    assert_eq!(report.tables.iter().filter(|table| table.failure.is_none()).count(), confirmed.len(), "{case:?}");
    let there = world.store.objects(BUCKET);
    match there.as_slice() {
        [] => assert!(confirmed.is_empty(), "{case:?}"),
        [object] => {
            let last = confirmed.iter().copied().max_by_key(|bytes| *bytes == second as u64);
            assert!(last == Some(object.bytes.len() as u64) || loses_an_object(operation, fault), "{case:?}: {confirmed:?}");
            assert!([first, second].contains(&object.bytes.len()), "{case:?}: an object is whole");
        }
        more => panic!("{case:?}: {} objects", more.len()),
    }
    world.assert_nothing_is_held(&case);
}

#[test]
fn a_key_that_is_being_written_is_refused_to_another_table() {
    in_virtual_time(async {
        let world = World::new().await;
        let upload = world.upload("t", "k", b"abc").await.expect("taken");
        let refused = world.upload("u", "k", b"abc").await.expect_err("two writers of one key");
        assert_eq!(refused, PutError::Invalid(r#"the key "k" is being written by the table "t""#.into()));
        upload.finish(ObjectFacts { rows: ROWS, ..ObjectFacts::default() }).expect("taken");
        let failed: Vec<bool> = world.report().await.tables.iter().map(|table| table.failure.is_some()).collect();
        assert_eq!(failed, [false, true]);
    });
}

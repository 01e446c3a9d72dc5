use super::*;
use crate::auth::Auth;
use crate::file::tests::facts;
use crate::objects::MemoryObjects;
use crate::rest::CatalogOptions;
use crate::testing::{Fault, ModelCatalog};
use crate::{COMMIT_ID, FIELD_ID, Part};
use arrow_schema::{DataType, Field as ArrowField};
use async_trait::async_trait;

const RETRIES: Retries = Retries { commits: 8, requests: 3, backoff: Duration::from_millis(1), max_backoff: Duration::from_millis(5) };

fn columns(more: &[ArrowField]) -> Schema {
    let fixed = vec![ArrowField::new("id", DataType::Int64, false), ArrowField::new("country", DataType::Utf8, true)];
    Schema::new([fixed, more.to_vec()].concat())
}

fn request() -> TableRequest {
    TableRequest {
        name: TableName { namespace: vec!["sales".into()], name: "orders".into() },
        columns: columns(&[]),
        profile: TypeProfile::default(),
        partition: vec![Placeholder { column: "country".into(), part: Part::Value }],
        create: true,
        on_schema_change: OnSchemaChange::Fail,
        within: "s3://lake/warehouse".into(),
        location: None,
        commit_id: None,
    }
}

async fn iceberg(catalog: &ModelCatalog, objects: Arc<dyn Objects>) -> Iceberg {
    let options =
        CatalogOptions { uri: "https://catalog.example".into(), warehouse: None, auth: Auth::None, transport: Arc::new(catalog.clone()) };
    Iceberg::new(Catalog::connect(options).await.unwrap(), objects, RETRIES)
}

async fn opened(catalog: &ModelCatalog) -> (Table, Arc<MemoryObjects>) {
    let objects = Arc::new(MemoryObjects::default());
    (iceberg(catalog, objects.clone()).await.open(request()).await.unwrap(), objects)
}

fn file(table: &Table, number: usize) -> DataFile {
    DataFile {
        location: format!("{}/data/{number}.parquet", table.location()),
        bytes: 100,
        rows: 3,
        columns: vec![facts("id", 3, None), facts("country", 3, Some((b"DE", b"DE")))],
        partition: vec![Some("DE".into())],
        split_offsets: vec![4],
    }
}

/// The entries of the newest manifest list: number of files and rows that each added.
async fn manifests_of(catalog: &ModelCatalog, objects: &dyn Objects) -> Vec<(i64, i64, i64)> {
    let list = catalog.with(|model| {
        let table = &model.tables["orders"];
        let newest = table["refs"]["main"]["snapshot-id"].as_i64().unwrap();
        let snapshot = table["snapshots"].as_array().unwrap().iter().find(|it| it["snapshot-id"] == newest).unwrap();
        snapshot["manifest-list"].as_str().unwrap().to_owned()
    });
    let bytes = objects.read(&Location::parse(&list).unwrap(), 1 << 20).await.unwrap().unwrap();
    read_list(&bytes).unwrap().iter().map(|it| (it.added_files, it.added_rows, it.sequence_number)).collect()
}

#[tokio::test]
async fn a_table_is_created_and_committed_to_and_found_again() {
    let catalog = ModelCatalog::new();
    let (table, objects) = opened(&catalog).await;
    assert_eq!(table.location().as_str(), "s3://lake/warehouse/sales/orders");
    assert_eq!(table.arrow_schema().field(1).metadata()[FIELD_ID], "2");
    let first = table.commit("one", &[file(&table, 1), file(&table, 2)]).await.unwrap();
    assert_eq!((first.already, first.attempts, first.orphans.len(), first.unsettled.len()), (false, 1, 0, 0));
    let second = table.commit("two", &[file(&table, 3)]).await.unwrap();
    assert_eq!(manifests_of(&catalog, &*objects).await, [(1, 3, 2), (2, 6, 1)]);
    assert_eq!(catalog.history("orders"), ["two", "one"]);
    let written = objects.locations();
    // Of another process.
    let (again, others) = opened(&catalog).await;
    let found = again.commit("one", &[file(&table, 9)]).await.unwrap();
    assert_eq!(found, Commit { already: true, is_own: false, attempts: 0, ..first });
    assert_eq!((others.locations(), objects.locations()), (vec![], written));
    assert_ne!(second.snapshot_id, found.snapshot_id);
    let summary = catalog.with(|model| model.tables["orders"]["snapshots"][1]["summary"].clone());
    for (name, expected) in [
        ("operation", "append"),
        (COMMIT_ID, "two"),
        ("added-data-files", "1"),
        ("added-records", "3"),
        ("total-records", "9"),
        ("total-data-files", "3"),
        ("changed-partition-count", "1"),
    ] {
        assert_eq!(summary[name], expected, "{summary}");
    }
}

#[tokio::test]
async fn nothing_is_written_for_no_files_and_for_files_that_do_not_fit() {
    let catalog = ModelCatalog::new();
    let (table, objects) = opened(&catalog).await;
    assert_eq!(table.commit("none", &[]).await.unwrap().snapshot_id, None);
    let one = file(&table, 1);
    for (id, files, expected) in [
        ("", vec![one.clone()], "the commit id \"\""),
        ("a\nb", vec![one.clone()], "the commit id"),
        ("a", vec![one.clone(), one.clone()], "named twice"),
        ("a", vec![DataFile { location: "s3://other/x".into(), ..one.clone() }], "does not lie in"),
    ] {
        let error = table.commit(id, &files).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!((error.orphans.len(), error.attempts), (files.len(), 0));
    }
    assert!(objects.locations().is_empty() && catalog.history("orders").is_empty());
}

#[tokio::test(start_paused = true)]
async fn whatever_becomes_of_a_commit_is_told_as_it_is() {
    use Fault::*;
    const SAID: &str = r#"{"error": {"message": "no"}}"#;
    // What goes wrong, whether the commit succeeds, the kind of its error, how often it is in the table, commits sent.
    for (faults, success, in_table, sent) in [
        (vec![], Ok(()), 1, 1),
        (vec![NotSent, Status(429, ""), Status(409, SAID)], Ok(()), 1, 4),
        (vec![Lost, Status(503, "")], Ok(()), 1, 3),
        (vec![AnswerLost], Ok(()), 1, 1),
        (vec![AnswersAfter(500, "")], Ok(()), 1, 1),
        (vec![AnswersAfter(200, "<html>")], Ok(()), 1, 1),
        (vec![AnswersAfter(200, "{}")], Ok(()), 1, 1),
        // Taken all the same.
        (vec![AnswersAfter(504, ""), Status(403, SAID)], Ok(()), 1, 1),
        (vec![Status(403, SAID)], Err(ErrorKind::Denied), 0, 1),
        (vec![Status(400, SAID)], Err(ErrorKind::Rejected), 0, 1),
        (vec![Status(307, "")], Err(ErrorKind::Rejected), 0, 1),
        (vec![Lost, Status(403, SAID)], Err(ErrorKind::Unknown), 0, 2),
        (vec![Lost; 8], Err(ErrorKind::Unknown), 0, 8),
        (vec![Status(409, SAID); 8], Err(ErrorKind::Unavailable), 0, 8),
    ] {
        let catalog = ModelCatalog::new();
        let (table, objects) = opened(&catalog).await;
        catalog.with(|model| model.commit_faults = faults.clone().into());
        let done = table.commit("c", &[file(&table, 1)]).await;
        assert_eq!(catalog.history("orders").len(), in_table, "{faults:?}");
        match (done, success) {
            (Ok(commit), Ok(())) => assert_eq!((commit.attempts, commit.already, commit.orphans), (sent, false, vec![]), "{faults:?}"),
            (Err(error), Err(kind)) => {
                assert_eq!((error.error.kind, error.attempts), (kind, sent), "{faults:?}: {error}");
                let all = [vec![file(&table, 1).location], objects.locations()].concat();
                let named = |files: &[String]| all.iter().all(|file| files.contains(file)) && files.len() == all.len();
                let unknown = kind == ErrorKind::Unknown;
                assert!(if unknown { named(&error.unsettled) } else { named(&error.orphans) }, "{error:?}");
                assert!(if unknown { error.orphans.is_empty() } else { error.unsettled.is_empty() }, "{error:?}");
            }
            (done, _) => panic!("{faults:?}: {done:?}"),
        }
        // The same commit, tried again, ends well in any case.
        catalog.with(|model| model.commit_faults.clear());
        table.commit("c", &[file(&table, 1)]).await.unwrap();
        assert_eq!(catalog.history("orders"), ["c"], "{faults:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_writer_costs_a_list_and_no_manifest() {
    let catalog = ModelCatalog::new();
    let (table, objects) = opened(&catalog).await;
    let other = table.clone();
    // The first is lost; then the other may come before it.
    catalog.with(|model| model.commit_faults = [Fault::Lost].into());
    let (of_one, of_other) = ([file(&table, 1)], [file(&other, 2)]);
    let (first, second) = tokio::join!(table.commit("a", &of_one), other.commit("b", &of_other));
    let (first, second) = (first.unwrap(), second.unwrap());
    let manifests = objects.locations().iter().filter(|it| it.ends_with("-m0.avro")).count();
    assert_eq!(manifests, 2);
    let orphans = first.orphans.len() + second.orphans.len();
    assert_eq!(objects.locations().len(), 2 + 2 + orphans);
    assert_eq!(catalog.history("orders").len(), 2);
    assert_eq!(manifests_of(&catalog, &*objects).await.len(), 2);
}

/// Eight writers, each with commits of its own, of which half of the answers are lost, and processes that die and begin again.
#[tokio::test(start_paused = true)]
async fn of_many_writers_every_commit_is_there_once() {
    const WRITERS: usize = 8;
    const COMMITS: usize = 25;
    let catalog = ModelCatalog::new();
    let objects = Arc::new(MemoryObjects::default());
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let mut iceberg = iceberg(&catalog, objects.clone()).await;
        iceberg.retries.commits = 100;
        let catalog = catalog.clone();
        tasks.push(tokio::spawn(async move {
            let table = iceberg.open(request()).await.unwrap();
            for commit in 0..COMMITS {
                let fault = [Fault::AnswerLost, Fault::None, Fault::Lost, Fault::AnswersAfter(502, "")][(writer + commit) % 4].clone();
                catalog.with(|model| model.commit_faults.push_back(fault));
                let (id, files) = (format!("{writer}-{commit}"), [file(&table, writer * 1_000 + commit)]);
                // Dies at some moment, and is started again with the same id.
                let first = tokio::time::timeout(Duration::from_millis(3), table.commit(&id, &files)).await;
                if !matches!(first, Ok(Ok(_))) {
                    table.commit(&id, &files).await.unwrap();
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let history = catalog.history("orders");
    let ids: HashSet<&String> = history.iter().collect();
    assert_eq!((history.len(), ids.len()), (WRITERS * COMMITS, WRITERS * COMMITS));
    let manifests = manifests_of(&catalog, &*objects).await;
    let sequence: HashSet<i64> = manifests.iter().map(|it| it.2).collect();
    assert_eq!((manifests.len(), sequence.len()), (WRITERS * COMMITS, WRITERS * COMMITS));
    assert_eq!(manifests.iter().map(|it| it.1).sum::<i64>(), 3 * 200);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_that_of_one_request_as_it_is() {
    let catalog = ModelCatalog::new();
    catalog.with(|model| model.config = json!({"idempotency-key-lifetime": "PT30M"}));
    let (table, _) = opened(&catalog).await;
    catalog.with(|model| model.commit_faults = [Fault::Lost, Fault::Lost].into());
    table.commit("a", &[file(&table, 1)]).await.unwrap();
    table.commit("b", &[file(&table, 2)]).await.unwrap();
    let keys: Vec<String> = catalog.with(|model| model.seen.iter().map(|it| it[3].clone()).filter(|it| !it.is_empty()).collect());
    assert_eq!(keys.len(), 4);
    assert!(keys[0] == keys[1] && keys[1] == keys[2] && keys[2] != keys[3], "{keys:?}");
    assert_eq!(uuid::Uuid::parse_str(&keys[0]).unwrap().get_version_num(), 7);
}

#[tokio::test(start_paused = true)]
async fn columns_are_added_where_that_is_asked_for() {
    let catalog = ModelCatalog::new();
    let (table, objects) = opened(&catalog).await;
    table.commit("a", &[file(&table, 1)]).await.unwrap();
    let inner = DataType::Struct(vec![ArrowField::new("x", DataType::Int32, true)].into());
    let wider =
        TableRequest { columns: columns(&[ArrowField::new("s", inner, false), ArrowField::new("n", DataType::Date32, true)]), ..request() };
    let iceberg = iceberg(&catalog, objects).await;
    let error = iceberg.open(wider.clone()).await.unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::Incompatible, "the table sales.orders lacks columns of the rows: \"s\", \"n\"")
    );
    // The first answer is lost.
    catalog.with(|model| model.commit_faults = [Fault::AnswerLost].into());
    let wider = TableRequest { on_schema_change: OnSchemaChange::AddColumns, ..wider };
    let opened = iceberg.open(wider.clone()).await.unwrap();
    let ids: Vec<(i32, bool)> = opened.columns().iter().map(|it| (it.id, it.required)).collect();
    assert_eq!(ids, [(1, true), (2, false), (3, true), (5, false)]);
    assert_eq!(catalog.with(|model| model.tables["orders"]["schemas"].as_array().unwrap().len()), 2);
    // A field of a struct that is there.
    let inner = DataType::Struct(vec![ArrowField::new("x", DataType::Int32, true), ArrowField::new("y", DataType::Utf8, true)].into());
    let deeper = TableRequest { columns: columns(&[ArrowField::new("s", inner, false)]), ..wider };
    let opened = iceberg.open(deeper).await.unwrap();
    let crate::Type::Struct(fields) = &opened.columns()[2].kind else { panic!() };
    assert_eq!(fields.iter().map(|it| it.id).collect::<Vec<_>>(), [4, 6]);
    // Who opened it before still commits to it.
    table.commit("b", &[file(&table, 2)]).await.unwrap();
    assert_eq!(catalog.history("orders"), ["b", "a"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_catalog_says_is_not_believed_without_a_look() {
    let catalog = ModelCatalog::new();
    let iceberg = iceberg(&catalog, Arc::new(MemoryObjects::default())).await;
    for (change, expected) in [
        (TableRequest { create: false, ..request() }, "there is no table sales.orders, and none is to be created"),
        (TableRequest { location: Some("s3://other/t".into()), ..request() }, "cannot lie at s3://other/t"),
        (TableRequest { within: "lake".into(), ..request() }, "is not one of S3"),
        (TableRequest { name: TableName { namespace: vec![], name: "t".into() }, ..request() }, "1 to 16 levels"),
        (TableRequest { name: TableName { namespace: vec!["a".into()], name: "a\nb".into() }, ..request() }, "cannot name a table"),
        (
            TableRequest { columns: columns(&[ArrowField::new("bad", DataType::Null, true)]), ..request() },
            "column \"bad\": Null has no type in Iceberg",
        ),
    ] {
        let error = iceberg.open(change).await.unwrap_err();
        assert!(error.message.contains(expected), "{error}");
    }
    catalog.with(|model| model.warehouse = "s3://other/warehouse".into());
    let error = iceberg.open(request()).await.unwrap_err();
    assert!(error.message.contains("lies at s3://other/warehouse/sales/orders, which is not in s3://lake/warehouse"), "{error}");
    // The same with its newest manifest list, and with a table that is another one by now.
    type Change = fn(&mut Json);
    let changes: [(Change, &str); 6] = [
        (|it| it["snapshots"][0]["manifest-list"] = json!("s3://other/l.avro"), "which is not in s3://lake/warehouse"),
        (|it| it["snapshots"][0]["manifest-list"] = json!("s3://lake/warehouse/none.avro"), "is not where the catalog says"),
        (|it| drop(it["snapshots"][0].as_object_mut().unwrap().remove("manifest-list")), "is not named by the catalog"),
        (|it| it["table-uuid"] = json!("another"), "is another one than when it was opened"),
        (|it| it["location"] = json!("s3://lake/warehouse/moved"), "lies at s3://lake/warehouse/moved now"),
        (|it| it["partition-specs"][0]["spec-id"] = json!(7), "has lost the partition spec 0"),
    ];
    for (change, expected) in changes {
        let catalog = ModelCatalog::new();
        let (table, _) = opened(&catalog).await;
        table.commit("a", &[file(&table, 1)]).await.unwrap();
        catalog.with(|model| change(model.tables.get_mut("orders").unwrap()));
        let error = table.commit("b", &[file(&table, 2)]).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        // Where the table as it is cannot be looked at, an earlier call may have made the commit.
        let unknown = error.error.kind == ErrorKind::Unknown;
        assert_eq!((error.unsettled.is_empty(), error.orphans.is_empty()), (!unknown, unknown), "{error:?}");
    }
    // An answer without an end.
    let catalog = ModelCatalog::new();
    let (table, _) = opened(&catalog).await;
    catalog.with(|model| {
        let long = "x".repeat(crate::limits::MAX_TABLE_BYTES);
        model.tables.get_mut("orders").unwrap()["properties"] = json!({"long": long});
    });
    let error = table.commit("a", &[file(&table, 1)]).await.unwrap_err();
    assert_eq!(error.error.kind, ErrorKind::Unknown);
    assert!(error.to_string().contains("its answer has more than"), "{error}");
}

/// A store that fails at first.
#[derive(Debug, Default)]
struct Failing {
    objects: MemoryObjects,
    failures: std::sync::Mutex<Vec<ErrorKind>>,
}

#[async_trait]
impl Objects for Failing {
    async fn create(&self, location: &Location, bytes: Bytes) -> Result<(), Error> {
        let failure = self.failures.lock().unwrap().pop();
        match failure {
            Some(kind) => Err(Error::new(kind, "the store")),
            None => self.objects.create(location, bytes).await,
        }
    }

    async fn read(&self, location: &Location, most_bytes: u64) -> Result<Option<Bytes>, Error> {
        self.objects.read(location, most_bytes).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_asked_again_where_that_may_help() {
    use ErrorKind::{Denied, Unavailable};
    for (failures, good) in [(vec![Unavailable, Unavailable], true), (vec![Unavailable; 3], false), (vec![Denied], false)] {
        let catalog = ModelCatalog::new();
        let objects = Arc::new(Failing { failures: std::sync::Mutex::new(failures), ..Failing::default() });
        let table = iceberg(&catalog, objects).await.open(request()).await.unwrap();
        let done = table.commit("a", &[file(&table, 1)]).await;
        assert_eq!((done.is_ok(), catalog.history("orders").len()), (good, usize::from(good)), "{done:?}");
    }
}

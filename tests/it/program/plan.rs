//! `lakegate plan`: it says what a load or a sync then does, connects to nothing, and prints a policy that is enough and no more than that.

use crate::fixtures::proxied_store::{BUCKET, KEY, PLUGIN, SECRET};
use lakegate_local_store::LocalStore;
use lakegate_tests::run::{self, Run};
use lakegate_tests::test_dir::TestDir;
use lakegate_tests::tiers::{self, Unavailable};
use lakegate_tests::{generate::Dice, minio};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;

fn dir() -> TestDir {
    let dir = TestDir::new(PLUGIN, (KEY, SECRET));
    for (name, rows) in [("orders", 2_500), ("items", 700), ("nothing", 0)] {
        let mut text = String::from("id,name\n");
        for row in 0..rows {
            let _ = writeln!(text, "{row},\"name {}\"", row % 97);
        }
        dir.file(&format!("{name}.csv"), &text);
    }
    dir
}

/// The keys and sizes of the embedded store in a folder.
fn stored(folder: &Path, bucket: &str) -> BTreeMap<String, u64> {
    let records = LocalStore::open(folder).expect("a store").records(bucket, "").expect("it can be read");
    records.into_iter().map(|record| (record.key, record.size)).collect()
}

/// The keys and sizes of the rows in a plan.
fn planned(plan: &Value) -> BTreeMap<String, u64> {
    let size = |object: &Value| (object["key"].as_str().expect("a key").to_owned(), object["bytes"].as_u64().expect("a size"));
    let tables = plan["written"]["tables"].as_array().expect("tables").iter();
    tables.flat_map(|table| table["keys"].as_array().expect("keys")).map(size).collect()
}

/// The keys beside them: of records, and of what is put before any row.
fn besides(plan: &Value) -> BTreeSet<String> {
    let texts = |value: &Value| value.as_array().into_iter().flatten().map(|it| it.as_str().expect("a key").to_owned()).collect::<Vec<_>>();
    let test = plan["test_object"].as_str().map(str::to_owned);
    texts(&plan["written"]["records"]).into_iter().chain(texts(&plan["probes"])).chain(test).collect()
}

/// Takes from a store what stands beside the rows, all of which has to be there.
fn without_besides(mut stored: BTreeMap<String, u64>, plan: &Value) -> BTreeMap<String, u64> {
    for key in besides(plan) {
        assert!(stored.remove(&key).is_some(), "{key} is planned and not in the bucket");
    }
    stored
}

fn only_plan(run: &Run) -> Value {
    run.json()["plans"].as_array().and_then(|plans| <[Value; 1]>::try_from(plans.clone()).ok()).map(|[plan]| plan).expect("one plan")
}

#[test]
fn a_load_puts_what_its_plan_says() {
    let dir = dir();
    let seq = "s3://served/raw/{{TABLE}}/{{SEQ}}.{{FORMAT}} --batch-size 400";
    let exact = "s3://served/raw/{{TABLE}}/{{COMMIT_ID}}/{{SEQ}}.{{FORMAT}} --batch-size 400 --delivery exactly_once --commit-id c-1 \
                 --manifest _manifests/{{TABLE}}/{{COMMIT_ID}}.json --success-marker --symlink-list";
    let lines = [
        format!("{seq} --format csv"),
        format!("{seq} --format json"),
        format!("{seq} --format json --compression gzip"),
        format!("{seq} --format parquet"),
        "s3://served/whole/{{TABLE}}.csv --format csv --test-write".to_owned(),
        "s3://served/whole --format csv".to_owned(),
        "s3://served/{{YEAR}}/{{TABLE}}.csv --format csv --commit-id c --commit-time 2026-11-29T12:00:00Z".to_owned(),
        format!("{exact} --format parquet"),
        format!("{exact} --format csv --visibility on_commit"),
    ];
    for (number, line) in lines.iter().enumerate() {
        for lanes in [1, 4] {
            let arguments = format!("*.csv --lanes {lanes} --json --to {line}");
            let plan = only_plan(dir.run(&format!("plan {arguments}")).ended(0, &[]));
            let folder = format!("store-{number}-{lanes}");
            let loaded = dir.run(&format!("load {arguments} --local {folder}")).ended(0, &[]).json();
            let stored = without_besides(stored(&dir.path().join(folder), BUCKET), &plan);
            assert_eq!(planned(&plan), stored, "{line} with {lanes} lanes");
            let written = &plan["written"];
            for total in ["rows", "objects", "bytes"] {
                assert_eq!(written[total], loaded[total], "{line}: {total}");
            }
        }
    }
}

#[test]
fn what_is_random_in_keys_is_shown_as_its_placeholder() {
    let dir = dir();
    let to = "s3://served/{{SYNC_ID}}/{{TABLE}}/{{UUID}}.csv --format csv --batch-size 1000 --lanes 1";
    let plan = only_plan(dir.run(&format!("plan orders.csv --to {to} --json")).ended(0, &[]));
    let keys: Vec<&str> = plan["written"]["tables"][0]["keys"].as_array().unwrap().iter().map(|it| it["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["{{SYNC_ID}}/orders/{{UUID}}.csv"; 3]);
    let text = dir.run(&format!("plan orders.csv --to {to}"));
    text.ended(0, &[]);
    assert!(text.stdout.contains("    {{SYNC_ID}}/orders/{{UUID}}.csv × 3 (2,500 rows, "), "{}", text.stdout);
    assert!(text.stdout.contains("2,500 rows of 1 table in 3 objects"), "{}", text.stdout);
}

/// A spec, and parts of its plan as JSON pointers with their values.
#[test]
fn the_parts_of_a_plan_follow_from_the_spec() {
    let dir = dir();
    let put = |places: &[&str]| json!({"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": places});
    let allow = |action: &str, place: &str| json!({"Effect": "Allow", "Action": [action], "Resource": [place]});
    let raw = "arn:aws:s3:::lake/raw/*";
    let cases = [
        (
            json!({}),
            vec![
                ("/headers/content-type", json!("text/csv")),
                ("/headers/x-amz-checksum-crc32", Value::Null),
                ("/path", json!("raw/{{TABLE}}/{{UUID}}.csv")),
                ("/written", Value::Null),
                ("/policy/Statement", json!([put(&[raw]), allow("s3:AbortMultipartUpload", raw)])),
                ("/warnings/0/name", json!("slow_source")),
            ],
        ),
        (
            json!({"test_write": true, "content_type": "text/x", "checksum_algorithm": "none", "batch_timeout": "0s"}),
            // `load` puts a test object only if it is told to, whatever a spec says.
            vec![("/test_object", Value::Null), ("/headers/content-type", json!("text/x")), ("/headers/content-md5", Value::Null)],
        ),
        (
            json!({"acl": "bucket-owner-full-control", "region": "cn-north-1"}),
            vec![
                ("/headers/x-amz-acl", json!("bucket-owner-full-control")),
                ("/policy/Statement/2/Action/0", json!("s3:PutObjectAcl")),
                ("/policy/Statement/2/Resource/0", json!("arn:aws-cn:s3:::lake/raw/*")),
                ("/policy/Statement/2/Condition/StringEquals/s3:x-amz-acl", json!("bucket-owner-full-control")),
            ],
        ),
        (
            json!({"server_side_encryption_configuration": {"server_side_encryption": "aws:kms", "sse_kms_key_id": "1234"}}),
            vec![
                ("/headers/x-amz-server-side-encryption", json!("aws:kms")),
                ("/headers/x-amz-server-side-encryption-aws-kms-key-id", json!("1234")),
                ("/policy/Statement/2/Action", json!(["kms:GenerateDataKey", "kms:Decrypt"])),
                ("/policy/Statement/2/Resource/0", json!("arn:aws:kms:us-east-1:*:key/1234")),
            ],
        ),
        (
            json!({
                "delivery": "exactly_once", "path": "raw/{{TABLE}}/{{COMMIT_ID}}/{{SEQ}}", "commit": {"id": "c"},
                "manifest": {"path": "_m/{{TABLE}}/{{COMMIT_ID}}.json"},
            }),
            vec![
                ("/headers/if-none-match", json!("*")),
                ("/headers/x-amz-meta-lakegate-upload", Value::Null),
                ("/probes", json!(["raw/_lakegate/create-only-put", "raw/_lakegate/create-only-upload"])),
                ("/policy/Statement/0", put(&["arn:aws:s3:::lake/_m/*", raw])),
                ("/policy/Statement/2/Action/0", json!("s3:GetObject")),
            ],
        ),
        (
            json!({"visibility": "on_commit", "commit": {"id": "c"}, "credentials": {"role_arn": "arn:aws:iam::1:role/r"}}),
            vec![
                ("/policy/Statement/2", allow("sts:AssumeRole", "arn:aws:iam::1:role/r")),
                ("/headers/if-none-match", Value::Null),
                ("/warnings/2/name", json!("unfinished_uploads")),
            ],
        ),
        (
            json!({"path": "raw/x", "no_rotate": true}),
            vec![("/path", json!("raw/x/{{TABLE}}.csv")), ("/policy/Statement/0", put(&["arn:aws:s3:::lake/raw/x/*"]))],
        ),
    ];
    for (extra, parts) in cases {
        let spec = json!({"bucket": "lake", "region": "us-east-1", "format": "csv", "path": "raw/{{TABLE}}/{{UUID}}.csv"});
        dir.file("spec.json", &crate::fixtures::proxied_store::laid_over(spec, extra.clone()).to_string());
        let plan = only_plan(dir.run("plan --spec spec.json --json").ended(0, &[]));
        for (pointer, expected) in parts {
            assert_eq!(plan.pointer(pointer).unwrap_or(&Value::Null), &expected, "{extra}: {pointer} of {plan:#}");
            // What has a value of its own for each object is there all the same.
            if let Some(header) = pointer.strip_prefix("/headers/").filter(|header| expected.is_null() && *header != "if-none-match") {
                assert!(plan["headers"].as_object().unwrap().contains_key(header), "{extra}: {header} of {plan:#}");
            }
        }
    }
}

#[test]
fn a_plan_ends_with_the_code_of_what_it_found() {
    let dir = dir();
    dir.file("bad.csv", "id\n1\n");
    dir.file("sync.yml", SYNC);
    let to = "--to s3://served/raw/{{TABLE}}.csv --format csv";
    dir.run(&format!("plan orders.csv {to}")).ended(0, &[]);
    dir.run("plan").ended(2, &["--spec <FILE>"]);
    dir.run("plan sync.yml --region r").ended(2, &["--to <s3://BUCKET/PATH>"]);
    dir.run("plan orders.csv --to s3://served/raw/{{TABLE}}.xml --format xml").ended(3, &["unknown format xml"]);
    dir.run("plan missing.yml").ended(3, &["missing.yml"]);
    dir.run("plan orders.csv --to s3://Served/raw/{{TABLE}}.csv --format csv").ended(3, &["`bucket`"]);
    dir.run(&format!("plan bad.csv {to} --column id=bool")).ended(6, &["bad.csv"]);
    let failed = dir.run(&format!("plan bad.csv {to} --column id=bool --json"));
    assert_eq!((&failed.ended(6, &[]).json()["ok"], &failed.json()["exit_code"]), (&json!(false), &json!(6)));
    // A table whose key is refused fails as in a load.
    dir.run(&format!("plan orders.csv --table .. {}", to.replace("{{TABLE}}.csv", "{{TABLE}}"))).ended(6, &["Table .. failed: "]);
}

const SYNC: &str = r#"
kind: source
spec:
  name: rows
  registry: builtin
  path: files
  tables: ["*"]
  skip_tables: ["nothing"]
  destinations: [s3]
  spec: {paths: ["*.csv"]}
---
kind: source
spec:
  name: cloud
  registry: local
  path: ./plugin
  tables: ["*"]
  destinations: [s3]
---
kind: destination
spec:
  name: s3
  registry: builtin
  path: s3
  write_mode: append
  send_sync_summary: true
  spec: {bucket: served, region: us-east-1, path: "sync/{{TABLE}}.json", format: json, no_rotate: true}
"#;

#[test]
fn a_sync_puts_what_its_plan_says_and_no_plugin_is_started() {
    let dir = dir();
    dir.script("plugin", "touch started; exit 1");
    dir.file("both.yml", SYNC);
    let both = dir.run("plan both.yml --json").ended(0, &[]).json();
    let [rows, cloud] = <[Value; 2]>::try_from(both["plans"].as_array().unwrap().clone()).expect("two plans");
    assert_eq!((&rows["source"], &cloud["source"], &cloud["destination"]), (&json!("rows"), &json!("cloud"), &json!("s3")));
    assert_eq!((&cloud["written"], &cloud["path"]), (&Value::Null, &json!("sync/{{TABLE}}.json")));
    assert_eq!(both["policy"]["Statement"].as_array().unwrap().len(), 2, "both need the same: {both:#}");
    let text = dir.run("plan both.yml");
    assert!(text.stdout.contains("Tables and rows are known only to the source."), "{}", text.stdout);
    assert!(!dir.path().join("started").exists(), "the plugin was started");
    dir.run("sync both.yml --local store").ended(7, &[]);
    assert!(dir.path().join("started").exists(), "the plugin can be started");

    let (_, one) = SYNC.split_once("---\nkind: source").expect("two sources");
    let (_, destination) = one.split_once("---").expect("a destination");
    let (source, _) = SYNC.split_once("---").expect("a source");
    dir.file("one.yml", &format!("{source}---{destination}"));
    let synced = dir.run("sync one.yml --local store --json").ended(0, &[]).json();
    assert!(rows["test_object"].is_string(), "a sync puts a test object unless it is told otherwise");
    // Rows of a sync have its time in them, which has more or fewer digits from one to the next.
    let stored = without_besides(stored(&dir.path().join("store"), BUCKET), &rows);
    assert_eq!(planned(&rows).keys().collect::<Vec<_>>(), stored.keys().collect::<Vec<_>>());
    let summary = &synced["syncs"][0]["destinations"][0]["summary"];
    assert_eq!((&rows["written"]["rows"], &rows["written"]["objects"]), (&summary["rows"], &summary["objects"]));
}

/// What shows a connection: without a network, whatever tries one fails.
fn without_network(command: &Command) -> Command {
    let mut alone = Command::new("unshare");
    alone.arg("--net").arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    alone.current_dir(command.get_current_dir().expect("a folder"));
    clean(&mut alone);
    alone
}

/// Without credentials, or anything else of the user's.
fn clean(command: &mut Command) {
    command.env_clear();
    for name in ["PATH", "HOME", "LAKEGATE_CACHE_DIR", "XDG_CACHE_HOME"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
}

const OFFLINE: [&str; 5] = [
    "*.csv --to s3://served/raw/{{TABLE}}/{{UUID}}.csv --format csv",
    "*.csv --to s3://served/raw/{{TABLE}}/{{COMMIT_ID}}/{{SEQ}}.csv --format csv --delivery exactly_once --commit-id c --role-arn arn:aws:iam::1:role/r",
    "*.csv --to s3://served/raw/{{TABLE}}.csv --format csv --endpoint https://store.example --skip-tls-verify",
    "--policy --to s3://served/raw/{{TABLE}}.csv --format csv orders.csv",
    "one.yml",
];

fn one_source(dir: &TestDir) {
    let (source, rest) = SYNC.split_once("---").expect("two documents");
    let (_, destination) = rest.split_once("---").expect("three documents");
    dir.file("one.yml", &format!("{source}---{destination}"));
}

#[test]
fn a_plan_needs_no_network_and_no_credentials() {
    let permitted = Command::new("unshare").args(["--net", "true"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    let permitted = if permitted { Ok(()) } else { Err(Unavailable("`unshare --net` is not permitted".to_owned())) };
    let Some(()) = tiers::live("a plan without a network", permitted) else { return };
    let dir = dir();
    one_source(&dir);
    for line in OFFLINE {
        let run: Run = without_network(&dir.command(&format!("plan {line}"))).output().expect("it starts").into();
        run.ended(0, &[]);
        assert!(run.stdout.contains("s3:PutObject"), "{}", run.stdout);
    }
    let mut load = without_network(&dir.command(&format!("load {} --endpoint http://127.0.0.1:9 --path-style", OFFLINE[0])));
    let load: Run = load.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET).output().expect("it starts").into();
    load.ended(5, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_opens_no_connection_even_where_it_could() {
    let dir = dir();
    one_source(&dir);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its number");
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let environment = |command: &mut Command| {
        clean(command);
        let url = format!("http://{address}");
        for name in
            ["HTTPS_PROXY", "HTTP_PROXY", "AWS_ENDPOINT_URL", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_EC2_METADATA_SERVICE_ENDPOINT"]
        {
            command.env(name, &url);
        }
    };
    for line in OFFLINE {
        let mut command = dir.command(&format!("plan {line}"));
        environment(&mut command);
        run::to_end(command).await.ended(0, &[]);
    }
    assert_eq!(connections.load(Ordering::Relaxed), 0);
    // A load would be seen.
    let mut command = dir.command(&format!("load {}", OFFLINE[0]));
    environment(&mut command);
    run::to_end(command).await.ended(5, &[]);
    assert!(connections.load(Ordering::Relaxed) > 0);
}

/// What no load at a MinIO can show to be needed, and why. The rest is seen to be.
const NOT_ENFORCED: [(&str, &str); 4] = [
    ("s3:PutObjectAcl", "MinIO refuses policies that name it, so it is for AWS only; a load with an ACL is seen to do without"),
    ("sts:AssumeRole", "every user of a MinIO may assume a role of its own"),
    ("kms:GenerateDataKey", "keys of AWS are named only for stores at AWS"),
    ("kms:Decrypt", "the same"),
];

/// A load whose policy is tried, in a bucket of its own.
struct Tried {
    line: &'static str,
    /// How it ends.
    code: i32,
    /// Whether it can be repeated.
    twice: bool,
    /// The key of an upload that stays behind where uploads cannot be aborted.
    left: Option<&'static str>,
}

const TRIED: [Tried; 5] = [
    Tried { line: "small.csv --to s3://lake/raw/{{TABLE}}.csv --format csv", code: 0, twice: true, left: None },
    // Its last row is refused when the upload has begun.
    Tried {
        line: "broken.csv --to s3://lake/raw/{{TABLE}}.csv --format csv --part-size 5MiB",
        code: 6,
        twice: false,
        left: Some("raw/broken.csv"),
    },
    Tried {
        line: "small.csv --to s3://lake/raw/{{TABLE}}/{{COMMIT_ID}}/{{SEQ}}.parquet --format parquet --commit-id c --delivery exactly_once \
               --manifest _manifests/{{TABLE}}/{{COMMIT_ID}}.json --success-marker --symlink-list",
        code: 0,
        twice: true,
        left: Some("raw/_lakegate/create-only-upload"),
    },
    Tried {
        line: "large.csv --to s3://lake/raw/{{TABLE}}/{{COMMIT_ID}}.parquet --format parquet --commit-id c --visibility on_commit \
               --part-size 5MiB",
        code: 0,
        twice: false,
        left: Some("raw/_lakegate/create-only-upload"),
    },
    Tried { line: "small.csv --spec lake.json", code: 0, twice: true, left: None },
];

/// A policy, whole or with something taken from it.
struct Cut<'a> {
    tried: &'a Tried,
    /// The action that was taken, everywhere or at one place.
    action: Option<String>,
    policy: String,
}

/// A policy whole, without each of its actions, and without each of its places.
fn cuts<'a>(tried: &'a Tried, policy: &Value) -> Vec<Cut<'a>> {
    let mut cuts = vec![Cut { tried, action: None, policy: policy.to_string() }];
    for (number, statement) in policy["Statement"].as_array().expect("statements").iter().enumerate() {
        let [action] = statement["Action"].as_array().expect("actions").as_slice() else { panic!("{statement}") };
        let action = action.as_str().expect("a text");
        // An object of one put begins no upload, and a load that its rows end shows nothing but the abort: the others have the same policy.
        let is_abort = action == "s3:AbortMultipartUpload";
        if is_abort && tried.left.is_none() || !is_abort && tried.code != 0 {
            continue;
        }
        let mut take = |change: &dyn Fn(&mut Value)| {
            let mut without = policy.clone();
            change(&mut without);
            cuts.push(Cut { tried, action: Some(action.to_owned()), policy: without.to_string() });
        };
        take(&|policy| drop(policy["Statement"].as_array_mut().expect("statements").remove(number)));
        let places = statement["Resource"].as_array().expect("places").len();
        for place in (0..places).filter(|_| places > 1) {
            take(&|policy| drop(policy["Statement"][number]["Resource"].as_array_mut().expect("places").remove(place)));
        }
    }
    cuts
}

/// Rows of which the last may be refused: some seven megabytes that hardly compress.
fn many_rows(last: &str) -> String {
    let mut dice = Dice::new(11);
    let mut text = String::from("id,text\n");
    for row in 0..100_000 {
        let _ = writeln!(text, "{row},{:016x}{:016x}{:016x}{:016x}", dice.bits(), dice.bits(), dice.bits(), dice.bits());
    }
    text + last
}

/// Where a spec with an ACL goes.
fn acl_spec(bucket: &str, endpoint: &str) -> String {
    json!({
        "bucket": bucket, "region": "us-east-1", "endpoint": endpoint, "use_path_style": true, "format": "csv", "path": "raw/{{TABLE}}.csv",
        "no_rotate": true, "acl": "private",
    })
    .to_string()
}

/// The line of a load or a plan at a store.
fn at(store: &str, tried: &Tried, bucket: &str) -> String {
    let line = tried.line.replace("s3://lake/", &format!("s3://{bucket}/")).replace("lake.json", &format!("{bucket}.json"));
    if line.contains("--spec") { line } else { format!("{line} --endpoint {store} --path-style") }
}

fn actions(policy: &Value) -> BTreeSet<String> {
    let of = |statement: &Value| statement["Action"].as_array().expect("actions").clone();
    policy["Statement"].as_array().expect("statements").iter().flat_map(of).map(|it| it.as_str().expect("a text").to_owned()).collect()
}

/// At a MinIO whose users may do what a policy says: all of it is enough, and without any of it something fails or stays behind.
#[tokio::test(flavor = "multi_thread")]
async fn the_policy_is_enough_and_nothing_of_it_can_be_left_out() {
    const NOWHERE: &str = "http://127.0.0.1:9";
    let dir = TestDir::new(PLUGIN, (KEY, SECRET));
    dir.file("large.csv", &many_rows(""));
    dir.file("broken.csv", &many_rows("none,a\n"));
    dir.file("small.csv", "id,text\n1,a\n2,b\n");
    dir.file("lake.json", &acl_spec("lake", NOWHERE));
    let mut all = Vec::new();
    for tried in &TRIED {
        let policy = dir.run_async(&format!("plan {} --policy", at(NOWHERE, tried, "lake"))).await.ended(0, &[]).json();
        all.extend(cuts(tried, &policy));
    }
    let bucket = |number: usize| format!("lake-{number}");
    let of_bucket = |(number, cut): (usize, &Cut<'_>)| cut.policy.replace(":::lake/", &format!(":::{}/", bucket(number)));
    let policies: Vec<String> = all.iter().enumerate().map(of_bucket).collect();
    let Some((store, users)) = tiers::live("policies of plans at a MinIO", minio::with_policies(&policies).await) else { return };
    let mut seen = BTreeSet::new();
    for (number, (cut, [user, secret])) in all.iter().zip(&users).enumerate() {
        let (tried, bucket) = (cut.tried, bucket(number));
        store.client().create_bucket().bucket(&bucket).send().await.expect("a bucket");
        dir.file(&format!("{bucket}.json"), &acl_spec(&bucket, &store.endpoint));
        let mut codes = Vec::new();
        for _ in 0..if tried.twice { 2 } else { 1 } {
            let mut load = dir.command(&format!("load {}", at(&store.endpoint, tried, &bucket)));
            load.env("AWS_ACCESS_KEY_ID", user).env("AWS_SECRET_ACCESS_KEY", secret);
            codes.push(run::to_end(load).await.code.expect("it ends by itself"));
        }
        // MinIO lists uploads by their whole key.
        let uploads = store.client().list_multipart_uploads().bucket(&bucket).set_prefix(tried.left.map(str::to_owned)).send().await;
        let left = uploads.expect("a listing").uploads().len();
        let whole = vec![tried.code; codes.len()];
        let what = format!("{} with {}", tried.line, cut.policy);
        match cut.action.as_deref() {
            None => assert_eq!((codes, left), (whole, 0), "{what}"),
            Some("s3:PutObject") => assert!(codes.iter().all(|code| *code == 5), "{codes:?}: {what}"),
            // What is there is looked at by who finds it.
            Some("s3:GetObject") => assert_eq!(codes, [0, 5], "{what}"),
            Some("s3:AbortMultipartUpload") => assert!(codes == whole && left > 0, "{codes:?}, {left} uploads: {what}"),
            Some(other) => panic!("{other} is in no table: {what}"),
        }
        seen.extend(cut.action.clone());
    }
    // Nothing that a policy may hold is in neither table.
    let spec = json!({
        "bucket": "lake", "region": "us-east-1", "format": "csv", "path": "raw/{{TABLE}}/{{COMMIT_ID}}/{{SEQ}}", "acl": "private",
        "delivery": "exactly_once", "commit": {"id": "c"}, "credentials": {"role_arn": "arn:aws:iam::1:role/r"},
        "server_side_encryption_configuration": {"server_side_encryption": "aws:kms", "sse_kms_key_id": "1234"},
    });
    dir.file("all.json", &spec.to_string());
    let every = actions(&dir.run_async("plan --spec all.json --policy").await.ended(0, &[]).json());
    seen.extend(NOT_ENFORCED.map(|(action, _)| action.to_owned()));
    assert_eq!(every, seen);
}

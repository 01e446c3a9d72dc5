//! User-supplied components: used in place of the embedded one, refused with one line where they are invalid, and compiled in a process with enforced
//! limits.

use crate::fixtures::proxied_store::PLUGIN;
use crate::tenancy::hostile::message;
use anyhow::{Context, Result};
use lakegate::{CompileLimits, Compiler, ComponentError, Destination, Runtime, component_bytes};
use lakegate_local_store::LocalStore;
use lakegate_tests::plugin::{Launch, Message, Network};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// A folder with the hostile component, a table that orders it to write two rows, and a separate cache.
struct HostileDir(tempfile::TempDir);

/// The exit code of a run, and the output of both streams.
type Run = (Option<i32>, String);

impl HostileDir {
    fn new() -> Result<Self> {
        let dir = Self(tempfile::tempdir()?);
        std::fs::copy(env!("LAKEGATE_HOSTILE_COMPONENT"), dir.path("hostile.wasm"))?;
        // The guest looks for its orders anywhere in a message, so a column's name in the schema works.
        std::fs::write(dir.path("orders.csv"), "\"behave=ok;on=insert;rows=2;name=t;\"\n1\n2\n")?;
        Ok(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    async fn run(&self, line: &str) -> Result<Run> {
        let mut command = Command::new(PLUGIN);
        command.args(line.split(' ')).current_dir(self.0.path()).env("LAKEGATE_CACHE_DIR", self.path("cache")).stdin(Stdio::null());
        let output = command.output().await?;
        let said = format!("{}{}", String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        assert!(!said.contains("panicked at host"), "{said}");
        Ok((output.status.code(), said))
    }

    /// The objects of the hostile component's bucket.
    fn objects(&self) -> Result<Vec<(String, String)>> {
        let store = LocalStore::open(&self.path("store"))?;
        store.create_bucket("hostile")?;
        let read = |key: String| Ok((key.clone(), std::fs::read_to_string(store.object_path("hostile", &key))?));
        store.records("hostile", "")?.into_iter().map(|record| read(record.key)).collect()
    }

    /// The only compiled component in the cache.
    fn compiled(&self) -> Result<PathBuf> {
        let files = std::fs::read_dir(self.path("cache"))?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        let [file] = files.as_slice() else { anyhow::bail!("{files:?}") };
        Ok(file.clone())
    }
}

/// What `orders.csv` makes it write: bucket, keys and bytes are chosen by the component.
fn written() -> [(String, String); 1] {
    [("t/1".to_owned(), "2 rows of t".to_owned())]
}

const LOAD: &str = "load orders.csv --to s3://other/x.csv --format csv --local store --quiet --component";

#[tokio::test(flavor = "multi_thread")]
async fn it_writes_in_the_embedded_ones_place() -> Result<()> {
    let dir = HostileDir::new()?;
    assert_eq!(dir.run(&format!("{LOAD} hostile.wasm")).await?, (Some(0), String::new()));
    assert_eq!(dir.objects()?, written());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_takes_one() -> Result<()> {
    let dir = HostileDir::new()?;
    // A spec that the embedded component refuses, and that the hostile one ignores.
    std::fs::write(dir.path("s.yml"), "bucket: ''\n")?;
    std::fs::write(dir.path("panic.csv"), "\"behave=panic;rows=0;name=t;\"\n")?;
    let sync = include_str!("../../../examples/quickstart/sync.yml");
    for file in ["orders.csv", "panic.csv"] {
        std::fs::write(dir.path(&format!("{file}.yml")), sync.replace("examples/quickstart/*.csv", file))?;
    }
    for (line, code, expected) in [
        ("schema", 0, "asked for a schema it answers"),
        ("validate-config s.yml", 0, "The spec is valid."),
        ("test-connection s.yml --local store", 0, "Success"),
        ("sync orders.csv.yml --local store", 0, ""),
        ("migrate panic.csv.yml --local store", 1, "asked to panic"),
    ] {
        let (ended, said) = dir.run(&format!("{line} --component hostile.wasm")).await?;
        assert!(ended == Some(code) && said.contains(expected), "{line}: {ended:?} {said}");
    }
    assert_eq!(dir.objects()?, written());
    assert_eq!(dir.run("validate-config s.yml").await?.0, Some(3), "the embedded one takes the spec: the table shows nothing");
    Ok(())
}

/// A tenant's spec is validated by the component that would serve it.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_explained_with_the_tenants_own() -> Result<()> {
    const TENANTS: &str = r#"
        [tenants.own]
        component = "hostile.wasm"
        listen = { socket = "own.sock" }
        grant = { buckets = ["lake"], key_prefixes = ["own/"], region = "r", formats = ["csv"], content_types = ["text/csv"] }
        [tenants.common]
        listen = { socket = "common.sock" }
        grant = { buckets = ["lake"], key_prefixes = ["common/"], region = "r", formats = ["csv"], content_types = ["text/csv"] }
    "#;
    let dir = HostileDir::new()?;
    std::fs::write(dir.path("tenants.toml"), TENANTS)?;
    let embedded = "bucket: lake\nregion: r\nformat: csv\npath: ";
    for (tenant, spec, code, expected) in [
        // Refused by the embedded component, as the table above shows; the tenant's own turns it into another bucket.
        ("own", "bucket: ''\n".to_owned(), 4, "denied by buckets: \"hostile\" is not granted"),
        ("common", "bucket: ''\n".to_owned(), 3, "`bucket` is required"),
        ("common", format!("{embedded}'common/{{{{TABLE}}}}/{{{{UUID}}}}'\n"), 0, "all of them begin with \"common/\""),
        ("common", format!("{embedded}'{{{{TABLE}}}}/{{{{UUID}}}}'\n"), 0, "one by one"),
        ("common", format!("{embedded}'else/{{{{TABLE}}}}/{{{{UUID}}}}'\n"), 4, "denied by key_prefixes: "),
    ] {
        std::fs::write(dir.path("s.yml"), &spec)?;
        let (ended, said) = dir.run(&format!("policy explain tenants.toml --tenant {tenant} --spec s.yml")).await?;
        assert!(ended == Some(code) && said.contains(expected), "{tenant}, {spec}: {ended:?} {said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plugin_serves_one() -> Result<()> {
    let dir = HostileDir::new()?;
    let (component, cache) = (dir.path("hostile.wasm"), dir.path("cache"));
    let launch = Launch::new(Path::new(PLUGIN), Network::Unix).local(&dir.path("store"));
    let launch =
        launch.environment("LAKEGATE_CACHE_DIR", &cache.display().to_string()).with("--component").with(&component.display().to_string());
    let plugin = launch.start().await?;
    plugin.connect().await?.round(&serde_json::json!({}), [Message::Insert(message("t", "ok", 3, None))]).await?;
    plugin.stop().await?.well();
    assert_eq!(dir.objects()?, [("t/1".to_owned(), "3 rows of t".to_owned())]);
    Ok(())
}

/// The embedded component, exported and used as a file, writes the same bytes as when embedded.
#[tokio::test(flavor = "multi_thread")]
async fn our_own_comes_back_unchanged() -> Result<()> {
    let dir = HostileDir::new()?;
    assert_eq!(dir.run("component --output own.wasm").await?.0, Some(0));
    assert_eq!(std::fs::read(dir.path("own.wasm"))?, component_bytes());
    let mut bytes = Vec::new();
    for (store, more) in [("within", ""), ("back", " --component own.wasm")] {
        let line = format!("load orders.csv --to s3://own/{{{{TABLE}}}}.parquet --format parquet --seed 7 --quiet --local {store}{more}");
        assert_eq!(dir.run(&line).await?, (Some(0), String::new()));
        bytes.push(std::fs::read(LocalStore::open(&dir.path(store))?.object_path("own", "orders.parquet"))?);
    }
    assert_eq!(bytes[0], bytes[1]);
    Ok(())
}

/// Components in binary form: the magic bytes, then sections with a number and content.
fn component(sections: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    for (number, content) in sections {
        bytes.extend([*number, u8::try_from(content.len()).expect("short")]);
        bytes.extend(*content);
    }
    bytes
}

/// An import of an instance without exports.
fn importing(name: &str) -> Vec<u8> {
    let import = [&[1, 0, u8::try_from(name.len()).expect("short")], name.as_bytes(), &[5, 0]].concat();
    component(&[(7, &[1, 0x42, 0]), (10, &import)])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_one_is_one_line_and_code_3() -> Result<()> {
    let dir = HostileDir::new()?;
    let world = "is not of the world `lakegate:destination/destination`: ";
    let mut torn = std::fs::read(dir.path("hostile.wasm"))?;
    torn.truncate(torn.len() / 2);
    for (name, bytes, expected) in [
        ("empty.wasm", vec![], "is not a WebAssembly component"),
        ("text.wasm", b"(component)".to_vec(), "is not a WebAssembly component"),
        ("module.wasm", b"\0asm\x01\0\0\0".to_vec(), "is a core module; what is needed is a component"),
        ("large.wasm", vec![0; (16 << 20) + 1], "has more than the 16777216 bytes that a component may have"),
        ("torn.wasm", torn, "is not accepted by the compiler: "),
        ("files.wasm", importing("wasi:filesystem/types@0.2.6"), "imports `wasi:filesystem/types@0.2.6`, which it may not; allowed are: "),
        ("bare.wasm", component(&[]), world),
        // The right name, but without its content.
        ("hollow.wasm", importing("wasi:random/random@0.2.6"), world),
    ] {
        std::fs::write(dir.path(name), bytes)?;
        let (code, said) = dir.run(&format!("{LOAD} {name}")).await?;
        assert_eq!((code, said.lines().count()), (Some(3), 1), "{name}: {said}");
        assert!(said.starts_with(&format!("Error: --component {name}: {expected}")), "{name}: {said}");
    }
    let (code, said) = dir.run(&format!("{LOAD} missing.wasm")).await?;
    assert_eq!(
        (code, said.as_str()),
        (Some(3), "Error: --component missing.wasm: cannot be read: No such file or directory (os error 2)\n")
    );
    // A plugin that waits for its component exits, too.
    let (code, said) = dir.run("serve --network tcp --address 127.0.0.1:0 --log-level error --component bare.wasm").await?;
    assert!(code == Some(3) && said.contains(&format!("Error: --component bare.wasm: {world}")), "{said}");
    assert_eq!(dir.objects()?, []);
    Ok(())
}

/// Native code is only loaded from the cache, and only if it is unchanged.
#[tokio::test(flavor = "multi_thread")]
async fn compiled_code_is_neither_accepted_nor_trusted_when_damaged() -> Result<()> {
    let dir = HostileDir::new()?;
    let well = (Some(0), String::new());
    assert_eq!(dir.run(&format!("{LOAD} hostile.wasm")).await?, well);
    let cached = dir.compiled()?;
    let whole = std::fs::read(&cached)?;
    std::fs::write(dir.path("code.wasm"), &whole)?;
    let (code, said) = dir.run(&format!("{LOAD} code.wasm")).await?;
    let expected = "is compiled native code, which is never accepted; give the WebAssembly component, it is compiled here";
    assert_eq!((code, said), (Some(3), format!("Error: --component code.wasm: {expected}\n")));
    let error = Runtime::with_component(&std::fs::read(dir.path("code.wasm"))?, Duration::from_secs(1)).expect_err("nor here");
    assert!(format!("{error:#}").contains(expected), "{error:#}");

    for damage in [0, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[damage] ^= 1;
        std::fs::write(&cached, &damaged)?;
        let (code, said) = dir.run(&format!("{LOAD} hostile.wasm")).await?;
        assert!(code == Some(0) && said.contains("A damaged compiled component was set aside."), "{damage}: {code:?} {said}");
        assert_ne!(std::fs::read(&cached)?, damaged, "{damage}: it was not compiled anew");
        assert_eq!(dir.run(&format!("{LOAD} hostile.wasm")).await?, well, "{damage}");
    }
    Ok(())
}

/// The embedded component with a custom section, so that it is in no cache.
fn unknown() -> Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(component_bytes())?;
    file.write_all(&[0, 18, 1, b'u'])?;
    file.write_all(&unlike_any().to_be_bytes())?;
    Ok(file)
}

fn unlike_any() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    (u128::from(RandomState::new().hash_one(1)) << 64) | u128::from(RandomState::new().hash_one(2))
}

fn brought(limits: CompileLimits) -> Result<Result<(), ComponentError>> {
    let file = unknown()?;
    Ok(Runtime::from_file(file.path(), Duration::from_secs(1), &Compiler::new(PLUGIN, limits)).map(|_| ()))
}

/// Each limit too low, and all of them sufficient.
#[tokio::test(flavor = "multi_thread")]
async fn the_limits_of_compiling_hold() -> Result<()> {
    let whole = CompileLimits::default();
    for (limits, expected) in [
        (CompileLimits { cpu: Duration::from_secs(1), ..whole }, "needs more than 1 s of computing to be compiled"),
        (CompileLimits { memory_bytes: 200 << 20, ..whole }, "needs more than 209715200 bytes of memory to be compiled"),
        (CompileLimits { wall: Duration::from_millis(500), ..whole }, "is not compiled after 0.5 s"),
    ] {
        let ended = tokio::task::spawn_blocking(move || brought(limits)).await??;
        assert_eq!(ended.expect_err("too little").to_string(), expected);
    }
    tokio::task::spawn_blocking(move || brought(whole)).await??.expect("enough");
    Ok(())
}

/// The compiler process sets its limits before it reads: here it waits for a first byte that never comes.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn the_limits_are_set_before_a_byte_is_read() -> Result<()> {
    let mut command = Command::new(PLUGIN);
    command.args(["compile-component", "--cpu-seconds=7", "--memory-bytes=2147483648"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let child = command.kill_on_drop(true).spawn()?;
    let limits = format!("/proc/{}/limits", child.id().context("it runs")?);
    let wanted = [
        ["Max cpu time", "7", "8"],
        ["Max file size", "0", "0"],
        ["Max core file size", "0", "0"],
        ["Max open files", "16", "16"],
        ["Max address space", "2147483648", "2147483648"],
    ];
    crate::fixtures::proxied_store::eventually("the limits are set", || {
        let now = std::fs::read_to_string(&limits).unwrap_or_default();
        wanted.iter().all(|[name, soft, hard]| {
            let line = now.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().take(2).eq([*soft, *hard])
        })
    })
    .await;
    // It got no input, and reports that when the pipe is closed.
    let output = child.wait_with_output().await?;
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), &b"is not a WebAssembly component"[..]));
    Ok(())
}

/// A session of an embedding program, on a component compiled by our program.
#[tokio::test(flavor = "multi_thread")]
async fn an_embedder_brings_one_too() -> Result<()> {
    let test_store = crate::fixtures::support::test_store("hostile");
    let make = || {
        Runtime::from_file(
            env!("LAKEGATE_HOSTILE_COMPONENT").as_ref(),
            Duration::from_secs(5),
            &Compiler::new(PLUGIN, CompileLimits::default()),
        )
    };
    let runtime = tokio::task::spawn_blocking(make).await??;
    let session = Destination::new(runtime, test_store.options()).open("{}", "sync").await?;
    let mut write = session.write()?;
    write.insert(message("t", "ok", 3, None)).await?;
    assert_eq!(write.finish().await.failures().count(), 0);
    assert_eq!(test_store.body("t/1"), b"3 rows of t");
    Ok(())
}

//! A hostile guest component that attacks its host on request.
//!
//! It decodes no rows. The bytes of a message contain the orders: `behave=WORD;rows=N;` anywhere in it (the tests put this into the schema's
//! metadata); with `on=insert;` they only apply to messages with rows. `ok` writes an object and finishes it; `hold` keeps it open until the write
//! ends, `keep` even longer; the other words are attacks. Its response to `spec-schema`, which has no input, is compiled in.
#![cfg(target_arch = "wasm32")]

mod bindings {
    #![allow(
        missing_docs,
        unsafe_code,
        unreachable_pub,
        unsafe_op_in_unsafe_fn,
        clippy::all,
        clippy::allow_attributes,
        reason = "generated"
    )]
    wit_bindgen::generate!({ path: "../../wit", world: "destination", generate_all });
    use super::Hostile;
    export!(Hostile);
}

use bindings::exports::lakegate::destination::sink::{
    CommitKeys, CommitPlan, Configuration, CredentialSource, Guest, GuestSession, Progress, Session, SessionLimits, SpecProblem,
    StorageTarget, SyncContext, TableFailure, WriteError,
};
use bindings::lakegate::destination::log;
use bindings::lakegate::destination::object_store::{ObjectAttributes, ObjectFacts, ObjectRole, PutError, Upload};
use std::cell::{Cell, RefCell};

struct Hostile;

/// The schema of its spec.
static SCHEMA: &str = r#"{"title":"asked for a schema it answers."}"#;

struct Held {
    table: String,
    upload: Upload,
    rows: u64,
    for_good: bool,
}

#[derive(Default)]
struct State {
    held: RefCell<Vec<Held>>,
    objects: RefCell<u64>,
    ticks: Cell<u64>,
    /// The spec as given: `spin-in-EXPORT.` makes that export loop forever.
    settings: String,
}

/// The text between `key=` and `;`.
fn word(ipc: &[u8], key: &str) -> Option<String> {
    let key = format!("{key}=");
    let start = ipc.windows(key.len()).position(|window| window == key.as_bytes())? + key.len();
    let length = ipc[start..].iter().position(|byte| *byte == b';')?;
    String::from_utf8(ipc[start..start + length].to_vec()).ok()
}

fn attributes(key: String) -> ObjectAttributes {
    let (partition, role) = (Vec::new(), ObjectRole::Data);
    ObjectAttributes { key, content_type: "text/plain".into(), content_encoding: None, partition, role }
}

fn finish(upload: Upload, rows: u64) -> Result<(), PutError> {
    Upload::finish(upload, &ObjectFacts { rows, columns: Vec::new(), split_offsets: Vec::new() })
}

#[expect(unconditional_recursion, reason = "the attack")]
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    std::hint::black_box([depth; 64]).iter().sum::<u64>() + recurse(depth + 1)
}

/// A valid address.
fn somewhere() -> *const u8 {
    std::hint::black_box(SCHEMA.as_ptr())
}

fn spin() -> ! {
    let mut count = 0_u64;
    loop {
        count = std::hint::black_box(count.wrapping_add(1));
    }
}

impl State {
    fn asks(&self, export: &str) -> bool {
        self.settings.contains(&format!("spin-in-{export}."))
    }

    fn pass(&self, export: &str) {
        if self.asks(export) {
            spin();
        }
    }

    fn obey(&self, ipc: &[u8]) -> Result<(), PutError> {
        let table = word(ipc, "name").unwrap_or_default();
        let rows = word(ipc, "rows").and_then(|rows| rows.parse().ok()).unwrap_or(0);
        let number = {
            let mut objects = self.objects.borrow_mut();
            *objects += 1;
            *objects
        };
        let key = word(ipc, "key").unwrap_or_else(|| format!("{table}/{number}"));
        match word(ipc, "behave").as_deref() {
            Some("ok") => {
                let upload = Upload::open(&attributes(key))?;
                upload.write(format!("{rows} rows of {table}").as_bytes())?;
                finish(upload, rows)
            }
            Some("quarantine") => {
                let upload = Upload::open(&ObjectAttributes { role: ObjectRole::Quarantine, ..attributes(key) })?;
                upload.write(b"whatever it is")?;
                finish(upload, rows)
            }
            Some("stale") => {
                let upload = Upload::open(&attributes(key))?;
                let handle = upload.handle();
                finish(upload, rows)?;
                // SAFETY: a number for the host to judge; nothing of this guest is touched by it.
                #[expect(unsafe_code, reason = "the attack: the handle was given away")]
                let stale = core::mem::ManuallyDrop::new(unsafe { Upload::from_handle(handle) });
                stale.write(b"after the end")
            }
            behaviour @ Some("hold" | "keep") => {
                let for_good = behaviour == Some("keep");
                let upload = Upload::open(&attributes(key))?;
                upload.write(&vec![b'h'; 6 << 20])?;
                upload.write(b"and more")?;
                self.held.borrow_mut().push(Held { table, upload, rows, for_good });
                Ok(())
            }
            Some("panic") => panic!("asked to panic"),
            Some("trap") => core::arch::wasm32::unreachable(),
            Some("spin") => spin(),
            Some("allocate") => {
                let mut all = Vec::new();
                loop {
                    all.push(std::hint::black_box(vec![1_u8; 16 << 20]));
                }
            }
            Some("recurse") => {
                std::hint::black_box(recurse(0));
                Ok(())
            }
            Some("handles") => {
                let mut all = Vec::new();
                for copy in 0_u32.. {
                    all.push(Upload::open(&attributes(format!("{key}/{copy}")))?);
                }
                Ok(())
            }
            Some("tiny") => {
                let upload = Upload::open(&attributes(key))?;
                for _ in 0..1_000_000 {
                    upload.write(b"x")?;
                }
                finish(upload, rows)
            }
            Some("huge") => {
                let upload = Upload::open(&attributes(key))?;
                upload.write(&vec![0; (16 << 20) + 1])?;
                finish(upload, rows)
            }
            Some("beyond") => {
                let upload = Upload::open(&attributes(key))?;
                // SAFETY: none; the host is to see that there is no such memory.
                #[expect(unsafe_code, reason = "the attack: nearly 2 GiB, of which most are not there")]
                let bytes = unsafe { core::slice::from_raw_parts(somewhere(), i32::MAX as usize) };
                upload.write(bytes)?;
                finish(upload, rows)
            }
            Some("fuel") => {
                let upload = Upload::open(&attributes(key))?;
                upload.write(&vec![0; 20 << 20])?;
                finish(upload, rows)
            }
            Some("lie") => {
                let upload = Upload::open(&attributes(key))?;
                upload.write(b"lies")?;
                finish(upload, rows + 1)
            }
            Some("swallow") => Ok(()),
            Some("insist") => {
                // Once refused, nothing more of the table is taken.
                let refused = Upload::open(&attributes("/refused".into())).map(drop);
                let upload = Upload::open(&attributes(key))?;
                upload.write(b"all the same")?;
                finish(upload, rows).and(refused)
            }
            Some("shout") => {
                for line in 0..100_000 {
                    log::write(log::Level::Info, &format!("line {line} {}", "x".repeat(4_000)));
                }
                let upload = Upload::open(&attributes(key))?;
                upload.write(b"hoarse")?;
                finish(upload, rows)
            }
            other => panic!("unknown behaviour {other:?}"),
        }
    }
}

impl Guest for Hostile {
    type Session = State;

    fn spec_schema() -> String {
        // Not known to the compiler, since the tests patch in other orders.
        let text = std::hint::black_box(SCHEMA);
        if text.contains("does-spin") {
            spin();
        }
        if text.contains("does-shout") {
            return "x".repeat((1 << 20) + 1);
        }
        text.into()
    }

    fn commit_keys_of(_settings: String, tables: Vec<String>) -> Vec<Result<CommitKeys, String>> {
        tables
            .into_iter()
            .map(|_| Ok(CommitKeys { manifest: None, symlink_list: None, success_marker: None, catalog_table: None }))
            .collect()
    }

    fn configure(spec: String, _context: SyncContext) -> Result<Configuration, Vec<SpecProblem>> {
        std::panic::set_hook(Box::new(|info| log::write(log::Level::Error, &info.to_string())));
        if spec.contains("spin-in-configure.") {
            spin();
        }
        Ok(Configuration {
            target: StorageTarget {
                bucket: "hostile".into(),
                region: "us-east-1".into(),
                endpoint: None,
                skip_tls_verify: false,
                path_style: true,
                acl: None,
                encryption: None,
                storage_class: None,
                tags: Vec::new(),
                metadata: Vec::new(),
                object_lock: None,
                expected_bucket_owner: None,
                requester_pays: false,
                credentials: CredentialSource { profile: None, role_arn: None, role_session_name: None, external_id: None },
                max_retries: Some(0),
                max_backoff_seconds: 1,
                part_size_bytes: None,
                checksum_algorithm: None,
                log_requests: false,
            },
            test_object: None,
            format: "csv".into(),
            content_type: "text/plain".into(),
            content_encoding: None,
            splittable: false,
            commit: CommitPlan { id: String::new(), create_only: None, pending: None, manifest: None, probes: Vec::new() },
            catalog: None,
            quarantine_rows: None,
            warnings: if spec.contains("warn.") {
                vec![SpecProblem { field: "f".repeat(3_000), message: "m".repeat(10_000) }; 1_000]
            } else {
                Vec::new()
            },
            settings: spec,
        })
    }
}

fn progress() -> Progress {
    Progress { deadline: None, failures: Vec::new() }
}

impl GuestSession for State {
    fn open(settings: String, _limits: SessionLimits) -> Result<Session, String> {
        std::panic::set_hook(Box::new(|info| log::write(log::Level::Error, &info.to_string())));
        let state = Self { settings, ..Self::default() };
        state.pass("open");
        Ok(Session::new(state))
    }

    fn migrate_table(&self, ipc: Vec<u8>, _now: u64) -> Result<Option<u64>, WriteError> {
        self.pass("migrate-table");
        if word(&ipc, "on").as_deref() == Some("insert") {
            return Ok(None);
        }
        self.insert(ipc, 0)
    }

    fn insert(&self, ipc: Vec<u8>, now: u64) -> Result<Option<u64>, WriteError> {
        self.pass("insert");
        if self.asks("idle") {
            // Only an instance that has grown is asked whether it could go.
            std::mem::forget(std::hint::black_box(vec![1_u8; 40 << 20]));
        }
        match word(&ipc, "behave").as_deref() {
            Some("babble") => return Err(WriteError::Data("é".repeat(4 << 20))),
            Some("hurry") => return Ok(Some(0)),
            Some("ticks") => {
                let upload = Upload::open(&attributes(format!("{}-ticks", self.ticks.get()))).map_err(WriteError::Store)?;
                return finish(upload, word(&ipc, "rows").and_then(|rows| rows.parse().ok()).unwrap_or(0))
                    .map(|()| None)
                    .map_err(WriteError::Store);
            }
            _ => {}
        }
        self.obey(&ipc).map(|()| self.asks("tick").then_some(now)).map_err(WriteError::Store)
    }

    fn tick(&self, _now: u64) -> Progress {
        self.pass("tick");
        self.ticks.set(self.ticks.get() + 1);
        if self.settings.contains("hurry.") { Progress { deadline: Some(0), failures: Vec::new() } } else { progress() }
    }

    fn barrier(&self, _now: u64) -> Progress {
        self.pass("barrier");
        progress()
    }

    fn end_write(&self, _now: u64) -> Progress {
        self.pass("end-write");
        for held in self.held.borrow_mut().extract_if(.., |held| !held.for_good) {
            // The host reports a failure by itself.
            let _ = finish(held.upload, held.rows);
        }
        let failed = |table: String| TableFailure { table, error: WriteError::Data("slander".into()) };
        let strangers = if self.settings.contains("slander.") {
            (0..1_000).map(|number| failed(format!("stranger {number}"))).collect()
        } else {
            Vec::new()
        };
        Progress { deadline: None, failures: strangers }
    }

    fn abandon(&self, table: String) {
        self.pass("abandon");
        self.held.borrow_mut().retain(|held| held.table != table);
    }

    fn idle(&self) -> bool {
        self.pass("idle");
        self.held.borrow().is_empty()
    }
}

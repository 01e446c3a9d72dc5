//! The component in a plain wasmtime, with an object store that only counts bytes, as another runner would use it.

use super::LIMITS;
use anyhow::{Result, anyhow, ensure};
use lakegate_tests::bench::thread_seconds;
use wasmtime::component::{Component, HasSelf, Linker, Resource};
use wasmtime::{Engine, Store, UpdateDeadline};

mod bindings {
    #![allow(unsafe_code, unreachable_pub, clippy::all, clippy::allow_attributes, reason = "generated")]
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "destination",
        imports: { default: trappable },
        exports: { default: async },
        with: { "lakegate:destination/object-store.upload": super::Open },
    });
}
use bindings::exports::lakegate::destination::sink::SessionLimits;
use bindings::lakegate::destination::{log, object_store};
use bindings::wasi::{clocks::wall_clock, random::random};
use bindings::{Destination, DestinationPre};

/// An upload, without state.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the bindings re-export it")]
pub struct Open;

#[derive(Default)]
struct State {
    bytes_out: u64,
    guest_bytes: u64,
}

impl wasmtime::ResourceLimiter for State {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.guest_bytes = self.guest_bytes.max(desired as u64);
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(true)
    }
}

impl wall_clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime { seconds: 1_600_000_000, nanoseconds: 0 })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        self.now()
    }
}

impl random::Host for State {
    fn get_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        Ok(vec![7; length as usize])
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(7)
    }
}

impl log::Host for State {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        if matches!(level, log::Level::Warn | log::Level::Error) {
            eprintln!("{message}");
        }
        Ok(())
    }
}

impl object_store::Host for State {}

impl object_store::HostUpload for State {
    fn open(&mut self, _: object_store::ObjectAttributes) -> wasmtime::Result<Result<Resource<Open>, object_store::PutError>> {
        Ok(Ok(Resource::new_own(1)))
    }

    fn write(&mut self, _: Resource<Open>, chunk: Vec<u8>) -> wasmtime::Result<Result<(), object_store::PutError>> {
        self.bytes_out += chunk.len() as u64;
        Ok(Ok(()))
    }

    fn finish(&mut self, _: Resource<Open>, _: object_store::ObjectFacts) -> wasmtime::Result<Result<(), object_store::PutError>> {
        Ok(Ok(()))
    }

    fn drop(&mut self, _: Resource<Open>) -> wasmtime::Result<()> {
        Ok(())
    }
}

/// The compiled component.
pub(super) struct Sandbox {
    engine: Engine,
    pre: DestinationPre<State>,
    threads: tokio::runtime::Runtime,
}

/// The cost of a run.
pub(super) struct Run {
    pub(super) seconds: f64,
    pub(super) bytes_out: u64,
    pub(super) guest_bytes: u64,
}

impl Sandbox {
    pub(super) fn new() -> Result<Self> {
        let engine = Engine::new(&lakegate::compiling::config())?;
        let component = Component::new(&engine, lakegate::component_bytes())?;
        let mut linker = Linker::new(&engine);
        Destination::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
        let pre = DestinationPre::new(linker.instantiate_pre(&component)?)?;
        let weak = engine.weak();
        std::thread::spawn(move || {
            while let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
                std::thread::sleep(lakegate::limits::EPOCH_TICK);
            }
        });
        Ok(Self { engine, pre, threads: tokio::runtime::Builder::new_current_thread().build()? })
    }

    /// Writes messages as a session with these settings would.
    pub(super) fn run(&self, settings: &str, messages: impl IntoIterator<Item = Result<impl AsRef<[u8]>>>) -> Result<Run> {
        self.threads.block_on(async {
            let mut store = Store::new(&self.engine, State::default());
            store.limiter(|state| state);
            store.set_hostcall_fuel(lakegate::limits::HOSTCALL_FUEL);
            store.set_epoch_deadline(1);
            store.epoch_deadline_callback(|_| Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))));
            let guest = self.pre.instantiate_async(&mut store).await?;
            let sink = guest.lakegate_destination_sink().session();
            let limits = SessionLimits { encoder_bytes: LIMITS.encoder_bytes, open_objects: LIMITS.open_objects };
            let session = sink.call_open(&mut store, settings, limits).await?.map_err(|error| anyhow!(error))?;
            // Creating the messages is not measured.
            let mut seconds = 0.0;
            for (number, message) in messages.into_iter().enumerate() {
                let (message, start) = (message?, thread_seconds());
                sink.call_insert(&mut store, session, message.as_ref(), number as u64).await?.map_err(|error| anyhow!("{error:?}"))?;
                seconds += thread_seconds() - start;
            }
            let start = thread_seconds();
            let progress = sink.call_end_write(&mut store, session, u64::MAX).await?;
            ensure!(progress.failures.is_empty(), "{:?}", progress.failures);
            seconds += thread_seconds() - start;
            Ok(Run { seconds, bytes_out: store.data().bytes_out, guest_bytes: store.data().guest_bytes })
        })
    }
}

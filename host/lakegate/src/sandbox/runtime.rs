//! One wasmtime engine a process, the compiled component, and the threads guests run on.
//!
//! The component is checked when it is built and again here: it may import nothing that is not on [`allowed_imports`](super::embedded::allowed_imports). Compiling takes
//! seconds, so the result is kept in a cache directory of the user; see `cache.rs`.

use super::bindings::lakegate::destination::{log, object_store};
use super::bindings::wasi::clocks::wall_clock;
use super::bindings::wasi::random::random;
use super::bindings::{Destination, DestinationPre, SyncContext};
use super::cache;
use super::compile::{self, Compiler};
use super::component_file::{self, ComponentError, one_line};
use super::embedded::{WORLD_VERSION, component_bytes, is_allowed, other_version};
use super::imports::clock::WallClock;
use super::imports::log::GuestLogger;
use super::imports::object_store::ObjectStore;
use super::imports::random::Random;
use super::settings::config;
use super::state::{LaneContext, State};
use crate::cpu::scheduler::{GuestSlot, Scheduler};
use crate::limits;
use crate::storage::target::{CommitKeys, Configuration, SpecProblem};
use anyhow::{Context, Result};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Engine, Store, UpdateDeadline};

/// What every session of a component shares.
pub struct Runtime {
    shared: Arc<EngineShared>,
    pre: DestinationPre<State>,
    call_cpu: Duration,
    /// The JSON Schema of the spec, once it was asked for: no argument can change it.
    schema: OnceLock<Arc<str>>,
}

/// What components side by side share: the engine, the threads guests run on, and whose guest computes next.
struct EngineShared {
    engine: Engine,
    guests: Option<tokio::runtime::Runtime>,
    scheduler: Scheduler,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").finish_non_exhaustive()
    }
}

impl EngineShared {
    fn new() -> Result<Arc<Self>, ComponentError> {
        let engine = Engine::new(&config()).map_err(|error| machine(&error))?;
        let guests = tokio::runtime::Builder::new_multi_thread().thread_name("lakegate-guest").enable_time().build();
        let guests = guests.map_err(|error| machine(&error))?;
        start_ticker(&engine).map_err(|error| machine(&error))?;
        Ok(Arc::new(Self { engine, guests: Some(guests), scheduler: Scheduler::for_process() }))
    }
}

fn machine(error: &dyn fmt::Display) -> ComponentError {
    ComponentError::Machine(one_line(&format!("{error:#}")))
}

impl Drop for EngineShared {
    fn drop(&mut self) {
        // Dropping a runtime inside another one would block its thread; guests hold nothing that must be waited for here.
        if let Some(guests) = self.guests.take() {
            guests.shutdown_background();
        }
    }
}

impl Runtime {
    /// Makes the engine and compiles (or loads from the user's cache) the embedded component. Takes seconds the first time.
    ///
    /// # Errors
    /// The component is refused, or the machine cannot run it.
    pub fn new() -> Result<Arc<Self>> {
        Self::with_component(component_bytes(), limits::MAX_CALL_CPU)
    }

    /// The same with another component of the same world, and another bound on the time a guest may compute in one call.
    ///
    /// It is compiled in this process, without limits on what that takes: for a component of one's own. A stranger's is for
    /// [`Runtime::from_file`].
    ///
    /// # Errors
    /// The component is no component, too large, imports what is not on the list, or is not of the world.
    pub fn with_component(wasm: &[u8], call_cpu: Duration) -> Result<Arc<Self>> {
        component_file::check(wasm).context(THE_COMPONENT)?;
        let made =
            EngineShared::new().and_then(|shared| Self::assemble(shared, wasm, call_cpu, |engine| compile::in_process(engine, wasm)));
        made.context(THE_COMPONENT)
    }

    /// The same with a stranger's component, a file, which `compiler` compiles in a process of its own. Blocks while it does; a component
    /// that was compiled before is taken from the user's cache. Compiled code is never accepted.
    ///
    /// # Errors
    /// As [`Runtime::with_component`]; the file cannot be read; or compiling takes more than the limits.
    pub fn from_file(path: &Path, call_cpu: Duration, compiler: &Compiler) -> Result<Arc<Self>, ComponentError> {
        let wasm = component_file::read(path)?;
        Self::assemble(EngineShared::new()?, &wasm, call_cpu, |_| compiler.compile(&wasm))
    }

    /// Another stranger's component beside this one, on the same threads, which their guests share fairly.
    ///
    /// # Errors
    /// As [`Runtime::from_file`].
    pub fn beside(&self, path: &Path, compiler: &Compiler) -> Result<Arc<Self>, ComponentError> {
        let wasm = component_file::read(path)?;
        Self::assemble(self.shared.clone(), &wasm, self.call_cpu, |_| compiler.compile(&wasm))
    }

    fn assemble(
        shared: Arc<EngineShared>,
        wasm: &[u8],
        call_cpu: Duration,
        compile: impl FnOnce(&Engine) -> Result<Vec<u8>, ComponentError>,
    ) -> Result<Arc<Self>, ComponentError> {
        let world = |error: wasmtime::Error| ComponentError::World(one_line(&format!("{error:#}")));
        let engine = &shared.engine;
        let component = cache::load_or_compile(engine, wasm, || compile(engine))?;
        let imports = imports(engine, &component);
        if let Some(version) = imports.iter().find_map(|name| other_version(name)) {
            let reason = format!("it is made for version {version} of that world, and this program runs {WORLD_VERSION}");
            return Err(ComponentError::World(one_line(&reason)));
        }
        if let Some(name) = imports.into_iter().find(|name| !is_allowed(name)) {
            return Err(ComponentError::Import { name: one_line(&name) });
        }
        let mut linker = Linker::new(engine);
        link(&mut linker).map_err(|error| machine(&error))?;
        let pre = linker.instantiate_pre(&component).and_then(DestinationPre::new).map_err(world)?;
        Ok(Arc::new(Self { shared, pre, call_cpu, schema: OnceLock::new() }))
    }

    /// What the component imports.
    ///
    /// # Errors
    /// The bytes are no component.
    pub fn imports_of(wasm: &[u8]) -> Result<Vec<String>> {
        let engine = Engine::new(&config())?;
        let component = cache::load_or_compile(&engine, wasm, || compile::in_process(&engine, wasm)).context(THE_COMPONENT)?;
        Ok(imports(&engine, &component))
    }

    /// Where guests run: threads of their own, so that encoding never delays a socket.
    pub(crate) fn guests(&self) -> &tokio::runtime::Handle {
        self.shared.guests.as_ref().expect("the guest threads live as long as the runtime").handle()
    }

    /// A store with every limit set, and an instance in it. It holds a permit to compute, which the caller gives back.
    pub(crate) async fn instantiate(&self, lane: LaneContext, memory_bytes: u64) -> Result<(Store<State>, Destination)> {
        let slot = GuestSlot::new(&self.shared.scheduler, lane.share.account.clone());
        slot.enter().await;
        let mut store = Store::new(&self.shared.engine, State::new(lane, slot, memory_bytes));
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(limits::HOSTCALL_FUEL);
        store.set_max_component_handles(limits::MAX_RESOURCES);
        store.set_epoch_deadline(1);
        let call_cpu = self.call_cpu;
        store.epoch_deadline_callback(move |mut context| {
            let state = context.data_mut();
            state.cpu_ticks += 1;
            let is_left = state.objects.is_left();
            if is_left || limits::EPOCH_TICK * state.cpu_ticks > call_cpu {
                return Ok(UpdateDeadline::Interrupt);
            }
            let slot = state.slot.clone();
            Ok(UpdateDeadline::YieldCustom(
                1,
                Box::pin(async move {
                    // The threads are also for those who only pass.
                    tokio::task::yield_now().await;
                    slot.yield_permit().await;
                }),
            ))
        });
        let instance = self.pre.instantiate_async(&mut store).await.map_err(anyhow::Error::from).context("cannot start a guest")?;
        Ok((store, instance))
    }

    /// The JSON Schema of the spec, asked of a throw-away instance and kept. Those who ask before it is there each ask an instance of their
    /// own: nobody waits for another's share of the processor.
    ///
    /// # Errors
    /// The guest failed, or says too much; who asks next has it tried again.
    pub async fn spec_schema(self: &Arc<Self>, context: LaneContext) -> Result<Arc<str>> {
        if let Some(known) = self.schema.get() {
            return Ok(known.clone());
        }
        let this = self.clone();
        let ask = async move {
            let (mut store, guest) = this.instantiate(context, CONFIGURE_MEMORY_BYTES).await?;
            let said = guest.lakegate_destination_sink().call_spec_schema(&mut store).await;
            let schema = said.map_err(|trap| store.data().explain(&trap))?;
            let (bytes, most) = (schema.len(), limits::MAX_SPEC_SCHEMA_BYTES);
            anyhow::ensure!(bytes <= most, "the component's schema of the spec has {bytes} bytes; up to {most} are accepted");
            Ok(Arc::<str>::from(schema))
        };
        let schema = self.on_a_guest_thread(ask).await?;
        Ok(self.schema.get_or_init(|| schema).clone())
    }

    /// Runs what needs no session, for as long as somebody waits for it.
    async fn on_a_guest_thread<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        AbortOnDropHandle::new(self.guests().spawn(work)).await?
    }

    /// Checks a spec in a throw-away instance, so that nothing of it stays in the memory of a session.
    ///
    /// # Errors
    /// The outer: the guest failed. The inner: every problem of the spec.
    pub async fn configure(
        self: &Arc<Self>,
        spec: &str,
        context: SyncContext,
        lane: LaneContext,
    ) -> Result<Result<Configuration, Vec<SpecProblem>>> {
        let (this, spec) = (self.clone(), spec.to_owned());
        self.on_a_guest_thread(async move {
            let (mut store, guest) = this.instantiate(lane, CONFIGURE_MEMORY_BYTES).await?;
            let sink = guest.lakegate_destination_sink();
            let checked = sink.call_configure(&mut store, &spec, &context).await.map_err(|trap| store.data().explain(&trap))?;
            Ok(checked.map(Configuration::from).map_err(|problems| problems.into_iter().map(SpecProblem::from).collect()))
        })
        .await
    }

    /// Where the records of a commit go, of each table in turn, as a throw-away instance says.
    ///
    /// # Errors
    /// The guest failed, or answers for more or fewer tables.
    pub async fn commit_keys(
        self: &Arc<Self>,
        settings: &str,
        tables: Vec<String>,
        lane: LaneContext,
    ) -> Result<Vec<Result<CommitKeys, String>>> {
        let (this, settings) = (self.clone(), settings.to_owned());
        self.on_a_guest_thread(async move {
            let (mut store, guest) = this.instantiate(lane, CONFIGURE_MEMORY_BYTES).await?;
            let sink = guest.lakegate_destination_sink();
            let keys = sink.call_commit_keys_of(&mut store, &settings, &tables).await.map_err(|trap| store.data().explain(&trap))?;
            let (wanted, said) = (tables.len(), keys.len());
            anyhow::ensure!(wanted == said, "the component names the records of {said} tables, and was asked for {wanted}");
            Ok(keys.into_iter().map(|keys| keys.map(CommitKeys::from)).collect())
        })
        .await
    }
}

/// What a [`ComponentError`] is said of.
const THE_COMPONENT: &str = "the component";

/// Memory of an instance that only checks a spec.
const CONFIGURE_MEMORY_BYTES: u64 = 64 << 20;

/// Gives each import its own view of a store's data, and nothing else.
fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wall_clock::add_to_linker::<_, WallClock>(linker, |_| WallClock)?;
    random::add_to_linker::<_, HasSelf<Random>>(linker, |state| &mut state.random)?;
    log::add_to_linker::<_, HasSelf<GuestLogger>>(linker, |state| &mut state.log)?;
    object_store::add_to_linker::<_, HasSelf<ObjectStore>>(linker, |state| &mut state.objects)
}

fn imports(engine: &Engine, component: &Component) -> Vec<String> {
    component.component_type().imports(engine).map(|(name, _)| name.to_owned()).collect()
}

/// Advances the epoch until the engine is gone.
fn start_ticker(engine: &Engine) -> std::io::Result<()> {
    let weak = engine.weak();
    std::thread::Builder::new().name("lakegate-epoch".into()).spawn(move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(limits::EPOCH_TICK);
        }
    })?;
    Ok(())
}

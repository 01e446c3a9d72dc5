//! `lakegate serve --tenants FILE`: serves every tenant at its own address under its own grant, until SIGINT or SIGTERM.
//!
//! SIGHUP reads the file again. A tenant whose entry is unchanged continues with its sessions (its certificates are reloaded). One whose entry has
//! changed is stopped first, since the new grant may allow less, and then served again, with its usage of the day carried over. One that is gone is
//! stopped. Nothing changes if the file has an error, or if variables or certificates are missing or addresses cannot be bound: everything needed is
//! prepared before any tenant is stopped.

use super::{ServeArgs, Signals, TenantsArgs, finish, raise_open_files, unless_signalled, warn_of_flags, wind_down};
use crate::args::ResourceArgs;
use crate::console::error_line;
use crate::exit::{CliError, Exit};
use crate::logging;
use crate::status_page::{self, StatusPage};
use crate::tenants::{self, Prepared, TenantEntry};
use futures::FutureExt;
use futures::future::join_all;
use lakegate::{Compiler, Destination, Options, Runtime, Tenant};
use lakegate_cloudquery::server::listen::Listener;
use lakegate_cloudquery::server::service::{self, Made, PLUGIN_NAME, Server};
use lakegate_cloudquery::server::tls::TlsAcceptorHandle;
use lakegate_telemetry::Telemetry;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, PoisonError};
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Serves the tenants of `file`. `machine` has the defaults for all of them.
///
/// # Errors
/// The file is refused, a tenant's address cannot be bound, or its credentials are missing.
pub async fn run(args: ServeArgs, unknown: &[String], servers: TenantsArgs, machine: ResourceArgs) -> Result<Exit, CliError> {
    // Installed first: without a handler, the signal kills the process.
    let mut hangup = signal(SignalKind::hangup()).map_err(anyhow::Error::from)?;
    let TenantsArgs { tenants: file, status, audit_log, allow_removal } = servers;
    let file = file.ok_or_else(|| CliError::new(Exit::Usage, "--tenants: a file is required"))?;
    let shared = machine.clone();
    // The protocol reports failures to clients, but no objects.
    let options = unless_signalled(move || Ok(Options { receipt_bytes: 0, ..shared.options()? }));
    let Some(options) = options.await? else { return Ok(Exit::Done) };
    let tenants = tenants::settled(&file).await?.tenants;
    let own_log = match &audit_log {
        Some(path) => {
            let refuse = |error| CliError::new(Exit::Usage, format!("--audit-log {}: cannot be appended to: {error}", path.display()));
            Some(logging::start_with_audit(args.log_level, args.log_format, path).map_err(refuse)?)
        }
        // An embedding program may have set up its own log.
        None => logging::start(args.log_level, args.log_format).ok(),
    };
    raise_open_files();
    let mut signals = Signals::new()?;
    let telemetry = args.telemetry.start(None)?;
    let options = Options { observer: telemetry.as_ref().map(Telemetry::observer), ..options };
    // One component for all tenants without their own.
    let runtime = service::compiling(move || Ok(machine.runtime()?));
    // A shared future only runs while something polls it, and the status page needs to see when it is done.
    tokio::spawn(runtime.clone());
    let mut servers = TenantServers {
        file,
        allow_removal,
        options,
        runtime,
        served: BTreeMap::new(),
        known: BTreeMap::new(),
        watched: Arc::default(),
        compiling: Arc::new(Semaphore::new(1)),
    };
    let _watch = match status {
        Some(address) => Some(servers.watch(address).await?),
        None => None,
    };
    for ready in servers.prepare(tenants).await? {
        servers.serve(ready).await?;
    }
    warn_of_flags(unknown);
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                own_log.iter().for_each(logging::Log::reopen_audit);
                servers.reload().await;
            }
            _ = signals.interrupt.recv() => break,
            _ = signals.terminate.recv() => break,
        }
    }
    tracing::info!("Stopping: aborting open uploads.");
    let signalled = Instant::now();
    servers.stop(|_| true).await;
    finish(telemetry, signalled).await;
    Ok(Exit::Done)
}

/// Ignores `AWS_ENDPOINT_URL*`, which would send tenants' objects and credential requests elsewhere: the SDK reads them whenever it calls a service.
/// If one is set, this program re-executes itself without it, under the same process ID. Returns if none is set.
///
/// # Errors
/// This program cannot be re-executed.
pub fn ignore_redirects() -> Result<(), CliError> {
    let redirects = |name: &OsString| name.to_string_lossy().starts_with("AWS_ENDPOINT_URL");
    let names: Vec<OsString> = std::env::vars_os().map(|(name, _)| name).filter(redirects).collect();
    if names.is_empty() {
        return Ok(());
    }
    let mut again = std::env::current_exe().map(Command::new).map_err(anyhow::Error::from)?;
    let mut arguments = std::env::args_os();
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    again.args(arguments);
    for name in &names {
        error_line(&format!("Warning: {} is ignored: the grant of a tenant decides where its objects go", name.display()));
        again.env_remove(name);
    }
    // Output is written by a thread, which would be lost with this process image.
    crate::console::flush();
    Err(anyhow::Error::from(again.exec()).context("this program cannot be started again without the variables").into())
}

fn not_open(entry: &TenantEntry, error: &anyhow::Error) -> CliError {
    CliError::new(Exit::Source, format!("tenant {:?}: cannot listen on {}: {error:#}", entry.tenant.name, entry.place))
}

/// The served tenants and their shared state.
struct TenantServers {
    file: PathBuf,
    /// Whether an unsealed file may remove tenants and limits.
    allow_removal: bool,
    options: Options,
    runtime: Made<Arc<Runtime>>,
    served: BTreeMap<Arc<str>, ServedTenant>,
    /// All tenants so far: one that comes back keeps its usage of the day.
    known: BTreeMap<Arc<str>, Arc<Tenant>>,
    watched: status_page::Tenants,
    /// Limits compiling of tenants' components to one at a time.
    compiling: Arc<Semaphore>,
}

/// A tenant that is ready to be served, with everything validated.
struct ReadyTenant {
    entry: TenantEntry,
    options: Options,
    place: PlaceState,
}

/// The state of its listening address.
enum PlaceState {
    Done(Listener),
    /// The address is still used by another tenant, or by the same one under its earlier grant.
    Waits(Prepared),
}

/// A tenant that is being served.
struct ServedTenant {
    entry: TenantEntry,
    server: Server,
    acceptor: Option<TlsAcceptorHandle>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl TenantServers {
    /// Starts the status page, which stops when the returned handle is dropped.
    async fn watch(&self, address: SocketAddr) -> Result<AbortOnDropHandle<()>, CliError> {
        if !address.ip().is_loopback() {
            return Err(CliError::new(
                Exit::Usage,
                format!("--status {address}: not a loopback address; the status page is only offered on the loopback interface"),
            ));
        }
        let refuse = |error| CliError::new(Exit::Source, format!("--status: cannot listen on {address}: {error}"));
        let listener = TcpListener::bind(address).await.map_err(refuse)?;
        tracing::info!(address = %listener.local_addr().map_err(refuse)?, "Status page listening");
        let runtime = self.runtime.clone();
        let ready = Arc::new(move || runtime.peek().is_some_and(Result::is_ok));
        Ok(AbortOnDropHandle::new(tokio::spawn(StatusPage::new(self.watched.clone(), ready).serve(listener))))
    }

    /// Prepares everything needed to serve these tenants, without stopping any.
    async fn prepare(&self, wanted: Vec<TenantEntry>) -> Result<Vec<ReadyTenant>, CliError> {
        let mut all = Vec::new();
        for mut entry in wanted {
            let name = entry.tenant.name.clone();
            if let Some(earlier) = self.known.get(&name) {
                entry.carry_over(earlier);
            }
            let options = entry.options(&self.options)?;
            let prepared = entry.place.prepare().map_err(|error| not_open(&entry, &error))?;
            let taken = self.served.values().any(|served| tenants::same_place(&served.entry.place, &entry.place));
            let place = if taken {
                PlaceState::Waits(prepared)
            } else {
                PlaceState::Done(prepared.bind().await.map_err(|error| not_open(&entry, &error.into()))?)
            };
            all.push(ReadyTenant { entry, options, place });
        }
        Ok(all)
    }

    /// Starts serving a tenant.
    async fn serve(&mut self, ReadyTenant { entry, options, place }: ReadyTenant) -> Result<(), CliError> {
        let name = entry.tenant.name.clone();
        let listener = match place {
            PlaceState::Done(listener) => listener,
            PlaceState::Waits(prepared) => prepared.bind().await.map_err(|error| not_open(&entry, &error.into()))?,
        };
        tracing::info!(tenant = &*name, address = listener.address(), plugin = PLUGIN_NAME, "Plugin server listening");
        let (runtime, acceptor, stop) = (self.runtime_of(&entry), listener.acceptor(), CancellationToken::new());
        let destination = async move { Ok(Destination::new(runtime.await?, options)) }.boxed().shared();
        let server = Server::for_tenant(destination, stop.clone(), entry.tenant.clone());
        let serving = tokio::spawn({
            let (server, stop) = (server.clone(), stop.clone());
            async move { listener.serve(&server, stop).await }
        });
        self.known.insert(name.clone(), entry.tenant.clone());
        self.served.insert(name, ServedTenant { entry, server, acceptor, stop, serving });
        self.update_status_page();
        Ok(())
    }

    /// The runtime of the tenant's guests: the common component, or its own in the same engine.
    fn runtime_of(&self, entry: &TenantEntry) -> Made<Arc<Runtime>> {
        let Some(file) = entry.component().map(Path::to_owned) else { return self.runtime.clone() };
        let (common, name, compiling) = (self.runtime.clone(), entry.tenant.name.clone(), self.compiling.clone());
        let made = async move {
            let common = common.await?;
            let _permit = compiling.acquire_owned().await;
            let own = {
                let file = file.clone();
                tokio::task::spawn_blocking(move || Compiler::for_this_program().and_then(|compiler| common.beside(&file, &compiler)))
            };
            let refused = |message: String| {
                tracing::error!(tenant = &*name, "The tenant's component is refused: {}: {message}", file.display());
                Arc::from(message)
            };
            own.await.map_err(|error| refused(error.to_string()))?.map_err(|error| refused(error.to_string()))
        };
        let made = made.boxed().shared();
        // Compile now, not when the first client waits for it.
        tokio::spawn(made.clone());
        made
    }

    /// Stops the tenants selected by `which`, in parallel.
    async fn stop(&mut self, which: impl Fn(&TenantEntry) -> bool) -> usize {
        let names: Vec<Arc<str>> = self.served.iter().filter(|(_, served)| which(&served.entry)).map(|(name, _)| name.clone()).collect();
        let stopped: Vec<ServedTenant> = names.iter().filter_map(|name| self.served.remove(name)).collect();
        stopped.iter().for_each(|served| served.stop.cancel());
        self.update_status_page();
        let (servers, serving): (Vec<Server>, Vec<JoinHandle<()>>) =
            stopped.into_iter().map(|served| (served.server, served.serving)).unzip();
        let ended: Vec<_> = serving.iter().map(JoinHandle::abort_handle).collect();
        wind_down(&servers, join_all(serving)).await;
        // Clients that do not disconnect are cut off.
        ended.iter().for_each(tokio::task::AbortHandle::abort);
        names.len()
    }

    /// Whether the tenant is already served under an identical entry.
    fn serves(&self, entry: &TenantEntry) -> bool {
        self.served.get(&entry.tenant.name).is_some_and(|served| served.entry.is_as(entry))
    }

    /// Reloads the file.
    async fn reload(&mut self) {
        let wanted = match tenants::settled(&self.file).await {
            Ok(wanted) => wanted,
            Err(error) => return tracing::error!("Tenants stay as they were: {error}"),
        };
        let losses = wanted.losses(self.served.values().map(|served| &served.entry));
        let wanted = wanted.tenants;
        let (same, other): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|entry| self.serves(entry));
        let made = match self.prepare(other).await {
            Ok(made) => made,
            Err(error) => return tracing::error!("Tenants stay as they were: {error}"),
        };
        // Errors are reported first: an invalid file need not be checked for completeness.
        if !losses.is_empty() && !self.allow_removal {
            return tracing::error!(
                file = %self.file.display(),
                missing = losses.join("; "),
                "Tenants stay as they were: the file lacks tenants or fields that are being served, and may be truncated. If it is complete, \
                 seal it (`lakegate policy check --seal`) and send SIGHUP again, or serve with --allow-removal."
            );
        }
        for missing in losses {
            tracing::warn!(missing, "No longer in the tenants file.");
        }
        let stays = |served: &TenantEntry| same.iter().any(|entry| entry.is_as(served));
        for served in self.served.values().filter(|served| stays(&served.entry)) {
            if let Err(error) = served.entry.place.renew(served.acceptor.as_ref()) {
                tracing::error!(tenant = &*served.entry.tenant.name, "The certificates stay as they were: {error:#}");
            }
        }
        let stopped = self.stop(|served| !stays(served)).await;
        let (kept, mut begun) = (self.served.len(), 0);
        for ready in made {
            match self.serve(ready).await {
                Ok(()) => begun += 1,
                Err(error) => tracing::error!("A tenant is not served: {error}"),
            }
        }
        tracing::info!(kept, stopped, begun, "The tenants file was read again.");
    }

    /// Updates the status page's list of tenants.
    fn update_status_page(&self) {
        let served = self.served.values().map(|served| served.entry.tenant.clone()).collect();
        *self.watched.write().unwrap_or_else(PoisonError::into_inner) = served;
    }
}

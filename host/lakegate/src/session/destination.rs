//! A destination, which opens sessions: the spec is checked, the grant asked, the store found, the test object put, and the lanes started.

use super::lane::{self, Lane, LaneShared};
use super::options::Options;
use super::write::{Room, Session};
use crate::cpu::scheduler::HostMeter;
use crate::delivery::context::{STORE_FAILED, UploadContext};
use crate::delivery::in_flight::InFlight;
use crate::delivery::staging::Staging;
use crate::limits::{MAX_SETTINGS_BYTES, MAX_WARNINGS};
use crate::payload::body::Payload;
use crate::payload::spill::Spill;
use crate::policy::authorize::Policy;
use crate::policy::denied::Denied;
use crate::policy::resources::Resources;
use crate::policy::tenant::{RateKind, Tenant};
use crate::policy::tenant_log::Line;
use crate::s3::options::ConnectOptions;
use crate::sandbox::imports::log::cut;
use crate::sandbox::runtime::Runtime;
use crate::sandbox::state::LaneContext;
use crate::storage::object::PutObject;
use crate::storage::target::{Configuration, SpecProblem, StorageTarget};
use crate::store::answer::StoreError;
use crate::store::traits::{Connect, Store};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Why a destination cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The spec is refused; every problem, in the reference's order. Displays their messages one a line.
    #[error("{}", .0.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("\n"))]
    Spec(Vec<SpecProblem>),
    /// The policy does not allow what the spec asks for.
    #[error("{0}")]
    Denied(String),
    /// Credentials or connection.
    #[error(transparent)]
    Connect(StoreError),
    /// The test object could not be put.
    #[error("failed to write test file to S3: {0}")]
    TestWrite(StoreError),
    /// A bug of ours, or of the component.
    #[error("{0}")]
    Unexpected(String),
}

/// A destination that can be opened any number of times. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Destination {
    runtime: Arc<Runtime>,
    options: Options,
}

impl Destination {
    /// A destination on this runtime.
    pub fn new(runtime: Arc<Runtime>, options: Options) -> Self {
        Self { runtime, options }
    }

    /// The JSON Schema of the spec.
    ///
    /// # Errors
    /// The component failed, or a tenant's component may not run now.
    pub async fn spec_schema(&self) -> anyhow::Result<Arc<str>> {
        if let Some(tenant) = &self.options.tenant {
            let audited = |denied: &Denied| Policy::of_tenant(tenant.clone()).audit_denial(denied, None);
            tenant.may_run().inspect_err(audited)?;
        }
        self.runtime.spec_schema(self.detached(self.share())).await.inspect_err(|_| self.trapped())
    }

    /// Checks a spec (JSON), sends nothing.
    ///
    /// # Errors
    /// [`OpenError::Spec`], or [`OpenError::Unexpected`].
    pub async fn configure(&self, spec: &str, sync_id: &str) -> Result<Configuration, OpenError> {
        self.configure_within(spec, sync_id, self.share()).await
    }

    /// Checks a spec, and as far as that is possible without a request the place that it names: on this machine, in this environment.
    ///
    /// # Errors
    /// As [`Self::configure`], or [`OpenError::Connect`].
    pub async fn check(&self, spec: &str, sync_id: &str) -> Result<Configuration, OpenError> {
        let configuration = self.configure(spec, sync_id).await?;
        self.stores().check(&configuration.target).await.map_err(OpenError::Connect)?;
        Ok(configuration)
    }

    async fn configure_within(&self, spec: &str, sync_id: &str, share: Arc<Resources>) -> Result<Configuration, OpenError> {
        let checked = self.runtime.configure(spec, sync_id, self.detached(share)).await.map_err(|error| {
            self.trapped();
            OpenError::Unexpected(format!("{error:#}"))
        })?;
        checked.map_err(OpenError::Spec)
    }

    /// An instance without a session has failed.
    fn trapped(&self) {
        if let Some(tenant) = &self.options.tenant {
            tenant.trapped();
        }
    }

    /// What an instance without a session belongs to.
    fn detached(&self, share: Arc<Resources>) -> LaneContext {
        LaneContext::detached(self.options.tenant.clone(), share)
    }

    /// The tenant's share of the machine; a single user's session has one of its own.
    fn share(&self) -> Arc<Resources> {
        self.options.tenant.as_ref().map(|tenant| tenant.share.clone()).unwrap_or_default()
    }

    /// Checks the spec, resolves credentials, puts the test object, and starts the lanes.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(&self, spec: &str, sync_id: &str) -> Result<Session, OpenError> {
        let connected = self.connect(spec, sync_id).await?;
        log_warnings(&connected.configuration.warnings, self.options.tenant.as_deref());
        self.start(connected).await.map_err(|error| OpenError::Unexpected(format!("{error:#}")))
    }

    /// Does everything `open` does up to and including the test object, with a sync id of its own. Answers the key of the object, if one was
    /// put: it stays in the bucket.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn test_connection(&self, spec: &str) -> Result<Option<String>, OpenError> {
        let sync_id =
            uuid::Builder::from_random_bytes(random_bytes().map_err(|error| OpenError::Unexpected(error.to_string()))?).into_uuid();
        let connected = self.connect(spec, &sync_id.to_string()).await?;
        Ok(connected.configuration.test_object.map(|object| object.key))
    }

    async fn connect(&self, spec: &str, sync_id: &str) -> Result<Connected, OpenError> {
        let policy = self.options.tenant.clone().map_or_else(Policy::of_user, Policy::of_tenant);
        let share = self.share();
        policy.audit_has_room().await;
        let mut room = self.enter(&share).map_err(|denied| deny(&policy, &[denied], None))?;
        let configuration = self.configure_within(spec, sync_id, share.clone()).await?;
        let settings = configuration.settings.len();
        if settings > MAX_SETTINGS_BYTES {
            let text = format!("the component's settings have {settings} bytes; up to {MAX_SETTINGS_BYTES} are accepted");
            return Err(OpenError::Unexpected(text));
        }
        room.memory.grow_for("what the component makes of the spec", settings as u64).map_err(|denied| deny(&policy, &[denied], None))?;
        let target = self.admit(&configuration).map_err(|denials| deny(&policy, &denials, None))?;
        let store = self.stores().connect(&target).await.map_err(|error| self.not_connected(error))?;
        if let Some(object) = &configuration.test_object {
            let request = PutObject::parse(&object.key, &object.content_type).map_err(|error| OpenError::Unexpected(error.0))?;
            let deny = |denied| deny(&policy, &[denied], Some(&object.key));
            let put = policy.authorize(request).map_err(deny)?;
            let reservation = policy.tenant().map(|tenant| tenant.quota.reserve()).transpose().map_err(deny)?;
            if let Some(tenant) = policy.tenant() {
                tenant.pace(RateKind::Objects, 1).await;
            }
            let begun = Instant::now();
            store.put(&put, Payload::default()).await.map_err(|error| OpenError::TestWrite(self.said_of_store(error)))?;
            if let Some((tenant, reservation)) = policy.tenant().zip(reservation) {
                reservation.landed();
                tenant.metrics.put(begun.elapsed());
            }
            policy.audit_object(&object.key, 0, 0, std::future::pending()).await;
        }
        Ok(Connected { configuration, store, policy, share, room })
    }

    /// Where stores come from: S3, unless the options have others.
    fn stores(&self) -> Arc<dyn Connect> {
        self.options.store.clone().unwrap_or_else(|| Arc::new(self.connect_options()))
    }

    /// What a user has to mend himself, a tenant's operator has: names of profiles, files and roles are for the log.
    fn not_connected(&self, error: StoreError) -> OpenError {
        OpenError::Connect(match &self.options.tenant {
            None => error,
            Some(tenant) => StoreError {
                kind: error.kind,
                message: tenant.refer(NO_CREDENTIALS, "A tenant's credentials cannot be had.", &error.message),
            },
        })
    }

    /// A store names the operator's account, role and keys in what it says: a tenant hears the host's words.
    fn said_of_store(&self, error: StoreError) -> StoreError {
        match &self.options.tenant {
            None => error,
            Some(tenant) => StoreError { kind: error.kind, message: tenant.refer(error.kind.words(), STORE_FAILED, &error.message) },
        }
    }

    /// A tenant's room for one session more, before its guest or the store is asked anything.
    fn enter(&self, share: &Resources) -> Result<Room, Denied> {
        let session = self.options.tenant.as_ref().map(|tenant| tenant.enter()).transpose()?;
        Ok(Room { _session: session, memory: share.budget.reserve(self.options.host_bytes())? })
    }

    /// Where the session's requests go.
    fn admit(&self, configuration: &Configuration) -> Result<StorageTarget, Vec<Denied>> {
        match &self.options.tenant {
            Some(tenant) => tenant.admit(configuration),
            None => Ok(configuration.target.clone()),
        }
    }

    /// Without a spill file all parts lie in memory: a part that grows by itself stays at half of what there is. A tenant's role is assumed
    /// with the policy of its grant, and its grant alone says where its objects go.
    fn connect_options(&self) -> ConnectOptions {
        let mut options = self.options.connect.clone();
        if let Some(tenant) = &self.options.tenant {
            options.session_policy = Some(tenant.grant.session_policy());
            options.configured_endpoints = false;
            options.retries = tenant.metrics.retries.clone();
            options.meter = Some(HostMeter::new(tenant.share.account.clone()));
        }
        if self.options.spill == Spill::None {
            options.max_part_bytes = options.max_part_bytes.min(self.options.memory_bytes / 2);
        }
        options
    }

    async fn start(&self, connected: Connected) -> anyhow::Result<Session> {
        let Connected { configuration, store, policy, share, room } = connected;
        let options = &self.options;
        let books = || share.budget.hold();
        let staging = Staging::within(options.memory_bytes, options.spill.clone(), options.spill_bytes, books());
        let in_flight = InFlight::new(options.in_flight_bytes);
        let io = tokio::runtime::Handle::current();
        let uploads = UploadContext::new(store, policy, staging, in_flight, !configuration.splittable, books(), io);
        let shared = Arc::new(LaneShared {
            runtime: self.runtime.clone(),
            settings: configuration.settings,
            guest_memory_bytes: options.guest_memory_bytes,
            origin: Instant::now(),
            lanes: OnceLock::new(),
        });
        let contexts = (0..options.lanes.get()).map(|lane| LaneContext {
            uploads: Some(uploads.clone()),
            lane,
            seed: options.seed,
            instance: 0,
            tenant: self.options.tenant.clone(),
            share: share.clone(),
        });
        let lanes = futures::future::try_join_all(contexts.map(|context| lane::start(shared.clone(), context))).await?;
        let _ = shared.lanes.set(lanes.iter().map(Lane::peer).collect());
        Ok(Session::new(lanes, configuration.splittable, uploads, options.receipt_bytes, room))
    }
}

/// What a tenant hears of its operator's credentials.
const NO_CREDENTIALS: &str = "the credentials of this tenant cannot be had";

/// Warnings, so many of them, and each cut: a component may have any. A tenant can open as many sessions as it likes, one after the other.
fn log_warnings(warnings: &[SpecProblem], tenant: Option<&Tenant>) {
    for SpecProblem { field, message } in warnings.iter().take(MAX_WARNINGS) {
        if let Some(Line { tenant, more }) = Line::of(tenant) {
            tracing::warn!(tenant, more, field = cut(field), "{}", cut(message));
        }
    }
    if let Some(others) = warnings.len().checked_sub(MAX_WARNINGS).filter(|others| *others > 0)
        && let Some(Line { tenant, more }) = Line::of(tenant)
    {
        tracing::warn!(tenant, more, "There are {others} warnings more.");
    }
}

/// What an Init has found out and taken.
struct Connected {
    configuration: Configuration,
    store: Arc<dyn Store>,
    policy: Policy,
    share: Arc<Resources>,
    room: Room,
}

/// Writes denials down, and makes one answer of them.
fn deny(policy: &Policy, denials: &[Denied], key: Option<&str>) -> OpenError {
    denials.iter().for_each(|denied| policy.audit_denial(denied, key));
    OpenError::Denied(denials.iter().map(|denied| denied.message.as_str()).collect::<Vec<_>>().join("\n"))
}

fn random_bytes() -> Result<[u8; 16], getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

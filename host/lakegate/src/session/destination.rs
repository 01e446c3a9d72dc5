//! A destination, which opens sessions: the spec is checked, the grant asked, the store found, the test object put, and the lanes started.

use super::catalog::SessionCatalog;
use super::commit::SessionCommit;
use super::lane::{self, Lane, LaneShared};
use super::options::Options;
use super::write::{Room, Session};
use crate::catalog::{Catalog, CatalogRequest};
use crate::commit::stage::CommitStage;
use crate::cpu::scheduler::HostMeter;
use crate::delivery::context::{ObjectRules, STORE_FAILED, UploadContext};
use crate::delivery::in_flight::InFlight;
use crate::delivery::keys::Repetition;
use crate::delivery::ledger::Failure;
use crate::delivery::staging::Staging;
use crate::delivery::watch::SessionWatch;
use crate::limits::{MANIFEST_RECEIPT_BYTES, MAX_SETTINGS_BYTES, MAX_WARNINGS};
use crate::payload::body::{Payload, Piece};
use crate::payload::spill::Spill;
use crate::policy::authorize::Policy;
use crate::policy::denied::Denied;
use crate::policy::resources::Resources;
use crate::policy::tenant::{RateKind, Tenant};
use crate::policy::tenant_log::Line;
use crate::s3::connect::credentials_of;
use crate::s3::options::ConnectOptions;
use crate::sandbox::bindings as world;
use crate::sandbox::imports::log::cut;
use crate::sandbox::runtime::Runtime;
use crate::sandbox::state::LaneContext;
use crate::storage::headers::TableHeaders;
use crate::storage::object::{IfExists, OnExisting, Purpose, PutObject};
use crate::storage::target::{CatalogAuth, CommitPlan, Configuration, ObjectAttributes, SpecProblem, StorageTarget, SyncContext};
use crate::store::answer::{StoreError, StoreErrorKind, Stored};
use crate::store::traits::{Connect, Store};
use bytes::Bytes;
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
    /// The catalog.
    #[error("the catalog: {0}")]
    Catalog(Failure),
    /// The store could not be seen to create without replacing.
    #[error("the store was asked whether it creates objects without replacing any: {0}")]
    Probe(StoreError),
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
            let audited = |denied: &Denied| Policy::for_tenant(tenant.clone()).audit_denial(denied, None);
            tenant.may_run().inspect_err(audited)?;
        }
        self.runtime.spec_schema(self.detached(self.share())).await.inspect_err(|_| self.trapped())
    }

    /// Checks a spec (JSON), sends nothing.
    ///
    /// # Errors
    /// [`OpenError::Spec`], or [`OpenError::Unexpected`].
    pub async fn configure(&self, spec: &str, sync: impl Into<SyncContext>) -> Result<Configuration, OpenError> {
        self.configure_within(spec, world::SyncContext::new(&sync.into(), ""), self.share()).await
    }

    /// Checks a spec, and as far as that is possible without a request the place that it names: on this machine, in this environment.
    ///
    /// # Errors
    /// As [`Self::configure`], or [`OpenError::Connect`].
    pub async fn check(&self, spec: &str, sync: impl Into<SyncContext>) -> Result<Configuration, OpenError> {
        let configuration = self.configure(spec, sync).await?;
        self.stores().check(&configuration.target).await.map_err(OpenError::Connect)?;
        Ok(configuration)
    }

    async fn configure_within(&self, spec: &str, context: world::SyncContext, share: Arc<Resources>) -> Result<Configuration, OpenError> {
        let checked = self.runtime.configure(spec, context, self.detached(share)).await.map_err(|error| {
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

    /// Checks the spec, resolves credentials, sees what the store can do where that matters, puts the test object, and starts the lanes. `sync`
    /// is a sync's id, or all that there is to say of it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(&self, spec: &str, sync: impl Into<SyncContext>) -> Result<Session, OpenError> {
        let connected = self.connect(spec, sync.into()).await?;
        log_warnings(&connected.configuration.warnings, self.options.tenant.as_deref());
        self.start(connected).await.map_err(|error| OpenError::Unexpected(format!("{error:#}")))
    }

    /// Does everything `open` does up to and including the test object, with a sync id of its own. Answers the key of the object, if one was
    /// put: it stays in the bucket.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn test_connection(&self, spec: &str) -> Result<Option<String>, OpenError> {
        let connected = self.connect(spec, SyncContext { sync_id: random_uuid()?, ..SyncContext::default() }).await?;
        Ok(connected.configuration.test_object.map(|object| object.key))
    }

    /// Has so many writers create one object at once, by puts and then by uploads: how many of each did. One each is what a store promises that
    /// creates without replacing. The two objects stay in the bucket.
    ///
    /// # Errors
    /// [`OpenError`]; also if the spec does not depend on that promise.
    pub async fn race(&self, spec: &str, writers: usize) -> Result<[usize; 2], OpenError> {
        let connected = self.connect(spec, SyncContext { sync_id: random_uuid()?, ..SyncContext::default() }).await?;
        let Some(probe) = connected.configuration.commit.probes.first() else {
            let message =
                "conditional writes matter to `delivery: exactly_once` and `visibility: on_commit`, and the spec asks for neither";
            return Err(OpenError::Spec(vec![SpecProblem { field: "delivery".to_owned(), message: message.to_owned() }]));
        };
        let name = random_uuid()?;
        let put = |kind: &str| {
            let key = format!("{}-race-{kind}-{name}", probe.key);
            let put = PutObject::parse(&key, &probe.content_type).map_err(|error| OpenError::Unexpected(error.0))?;
            let put = connected.policy.authorize_record(put.with_purpose(Purpose::Probe).keeping(OnExisting::Fail));
            put.map_err(|denied| deny(&connected.policy, &[denied], Some(&key)))
        };
        let (by_put, by_upload) = (put("put")?, put("upload")?);
        let store = &connected.store;
        let body = || Payload::new(vec![Piece::Memory(Bytes::from_static(b"\n"))]);
        let puts = (0..writers).map(|_| store.put(&by_put, body()));
        let puts = futures::future::join_all(puts).await;
        let uploads = (0..writers).map(|_| async {
            let upload = store.create(&by_upload).await?;
            let part = upload.put_part(1, body()).await?;
            Ok::<_, StoreError>((upload, part))
        });
        let uploads = futures::future::try_join_all(uploads).await.map_err(|error| OpenError::Probe(self.said_of_store(error)))?;
        let completions = uploads.into_iter().map(|(upload, part)| async move {
            let completed = upload.complete(vec![part], 1).await;
            if completed.is_err() {
                // What cannot be aborted is left to the bucket's lifecycle rule.
                let _ = upload.abort().await;
            }
            completed
        });
        let completions = futures::future::join_all(completions).await;
        let created = |answers: Vec<Result<Stored, StoreError>>| {
            answers.into_iter().try_fold(0, |created, answer| match answer {
                Ok(stored) => Ok(created + usize::from(!stored.was_there)),
                Err(error) if error.kind == StoreErrorKind::Exists => Ok(created),
                Err(error) => Err(OpenError::Probe(self.said_of_store(error))),
            })
        };
        Ok([created(puts)?, created(completions)?])
    }

    async fn connect(&self, spec: &str, sync: SyncContext) -> Result<Connected, OpenError> {
        let attempt = random_uuid()?;
        let policy = self.options.tenant.clone().map_or_else(Policy::for_user, Policy::for_tenant);
        let share = self.share();
        policy.audit_has_room().await;
        let mut room = self.enter(&share).map_err(|denied| deny(&policy, &[denied], None))?;
        let configuration = self.configure_within(spec, world::SyncContext::new(&sync, &attempt), share.clone()).await?;
        let settings = configuration.settings.len();
        if settings > MAX_SETTINGS_BYTES {
            let text = format!("the component's settings have {settings} bytes; up to {MAX_SETTINGS_BYTES} are accepted");
            return Err(OpenError::Unexpected(text));
        }
        room.memory.grow_for("what the component makes of the spec", settings as u64).map_err(|denied| deny(&policy, &[denied], None))?;
        let target = self.admit(&configuration).map_err(|denials| deny(&policy, &denials, None))?;
        let store = self.stores().connect(&target).await.map_err(|error| self.not_connected(error))?;
        self.probe(&configuration, &policy, &*store).await?;
        if let Some(object) = &configuration.test_object {
            let request = PutObject::parse(&object.key, &object.content_type).map_err(|error| OpenError::Unexpected(error.0))?;
            let deny = |denied| deny(&policy, &[denied], Some(&object.key));
            let put = policy.authorize(request.with_purpose(Purpose::Probe)).map_err(deny)?;
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
        let catalog = self.reach_catalog(&configuration, &target).await?;
        Ok(Connected { configuration, sync, attempt, target, store, catalog, policy, share, room })
    }

    /// Reaches the catalog that the spec asks for.
    async fn reach_catalog(&self, configuration: &Configuration, target: &StorageTarget) -> Result<Option<Arc<dyn Catalog>>, OpenError> {
        let plan = match (&configuration.catalog, &self.options.tenant) {
            (None, _) => return Ok(None),
            (Some(plan), None) => plan.clone(),
            // Admitted before; the address and the credentials are the operator's.
            (Some(plan), Some(tenant)) => {
                tenant.catalog(plan).ok_or_else(|| OpenError::Denied("`table_format: iceberg` is not granted".to_owned()))?
            }
        };
        let Some(catalogs) = &self.options.catalogs else {
            let message = "`table_format: iceberg` needs a program that reaches catalogs, and this one does not".to_owned();
            return Err(OpenError::Spec(vec![SpecProblem { field: "table_format".to_owned(), message }]));
        };
        let credentials = match plan.auth {
            CatalogAuth::SigV4(_) => {
                let found = credentials_of(target, &self.connect_options()).await;
                Some(found.map_err(|error| self.not_connected(error))?)
            }
            CatalogAuth::None | CatalogAuth::Bearer(_) | CatalogAuth::OAuth2 { .. } => None,
        };
        let request = CatalogRequest { plan, bucket: target.bucket.clone(), region: target.region.clone(), credentials };
        let said = |failure: Failure| match &self.options.tenant {
            None => failure,
            Some(tenant) => {
                let words = tenant.refer("it cannot be reached", "A tenant's catalog cannot be reached.", &failure.message);
                Failure::new(failure.class, words)
            }
        };
        catalogs.connect(request).await.map(Some).map_err(|failure| OpenError::Catalog(said(failure)))
    }

    /// Sees whether the store creates without replacing, where the spec depends on it.
    async fn probe(&self, configuration: &Configuration, policy: &Policy, store: &dyn Store) -> Result<(), OpenError> {
        let CommitPlan { create_only, pending, probes, .. } = &configuration.commit;
        if create_only.is_none() && pending.is_none() {
            return Ok(());
        }
        let [by_put, by_upload] = probes.as_slice() else {
            let text = format!("the component names {} objects to probe the store with, and two are needed", probes.len());
            return Err(OpenError::Unexpected(text));
        };
        let authorized = |object: &ObjectAttributes| {
            let request = PutObject::parse(&object.key, &object.content_type).map_err(|error| OpenError::Unexpected(error.0))?;
            let request = request.with_purpose(Purpose::Probe).keeping(OnExisting::Trust);
            policy.authorize_record(request).map_err(|denied| deny(policy, &[denied], Some(&object.key)))
        };
        let (by_put, by_upload) = (authorized(by_put)?, authorized(by_upload)?);
        store.probe_create_only(&by_put, &by_upload).await.map_err(|error| OpenError::Probe(self.said_of_store(error)))
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
            Some(tenant) => StoreError { kind: error.kind, message: tenant.refer(error.kind.message(), STORE_FAILED, &error.message) },
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
        let Connected { configuration, sync, attempt, target, store, catalog, policy, share, room } = connected;
        let options = &self.options;
        let books = || share.budget.hold();
        let staging = Staging::within(options.memory_bytes, options.spill.clone(), options.spill_bytes, books());
        let in_flight = InFlight::new(options.in_flight_bytes);
        let io = tokio::runtime::Handle::current();
        let plan = configuration.commit;
        let (if_exists, repetition) = match plan.create_only {
            Some(on_existing) => (IfExists::Keep(on_existing), Repetition::Refused),
            None => (IfExists::Replace, if configuration.splittable { Repetition::Never } else { Repetition::Replaces }),
        };
        let headers = TableHeaders::new(&target.tags, &target.metadata);
        let rules = ObjectRules { repetition, if_exists, deferred: plan.pending.is_some(), headers };
        let uploads = UploadContext::new(store, policy, staging, in_flight, rules, books(), io);
        let keeps_receipts = plan.manifest.is_some() || plan.pending.is_some() || catalog.is_some();
        let receipt_bytes = if keeps_receipts { MANIFEST_RECEIPT_BYTES } else { options.receipt_bytes };
        let watch = SessionWatch {
            sync_id: cut(&sync.sync_id).to_owned(),
            bucket: target.bucket.clone(),
            format: configuration.format.clone(),
            tenant: options.tenant.clone(),
            observer: options.observer.clone(),
        };
        let catalog = catalog.map(|catalog| SessionCatalog {
            runtime: self.runtime.clone(),
            settings: configuration.settings.clone(),
            context: self.detached(share.clone()),
            catalog,
            commit_id: catalog_commit_id(&plan.id, &attempt, sync.shard),
            objects_repeat: plan.create_only.is_some() && sync.repeatable,
            uploads: uploads.clone(),
        });
        let commit = (plan.manifest.is_some() || plan.pending.is_some()).then(|| SessionCommit {
            runtime: self.runtime.clone(),
            settings: configuration.settings.clone(),
            context: self.detached(share.clone()),
            stage: CommitStage::new(plan, sync, attempt, (target.bucket, configuration.format), uploads.clone()),
        });
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
        let bounds = (receipt_bytes, configuration.quarantine_rows.unwrap_or_default());
        Ok(Session::new(lanes, configuration.splittable, uploads, bounds, (commit, catalog), watch, room))
    }
}

/// What a commit to a catalog is called: as the sync's, if that has a name, so that another attempt finds it; else as this attempt. Each shard makes
/// a commit of its own.
fn catalog_commit_id(commit_id: &str, attempt: &str, shard: Option<(u32, u32)>) -> String {
    let id = if commit_id.is_empty() { attempt } else { commit_id };
    shard.map_or_else(|| id.to_owned(), |(number, count)| format!("{id}/{number}-of-{count}"))
}

/// What a tenant hears of its operator's credentials.
const NO_CREDENTIALS: &str = "the credentials of this tenant cannot be had";

/// Warnings, so many of them, and each cut: a component may have any. A tenant can open as many sessions as it likes, one after the other.
fn log_warnings(warnings: &[SpecProblem], tenant: Option<&Tenant>) {
    for SpecProblem { field, message } in warnings.iter().take(MAX_WARNINGS) {
        if let Some(Line { tenant, more }) = Line::notable(tenant) {
            tracing::warn!(tenant, more, field = cut(field), "{}", cut(message));
        }
    }
    if let Some(others) = warnings.len().checked_sub(MAX_WARNINGS).filter(|others| *others > 0)
        && let Some(Line { tenant, more }) = Line::notable(tenant)
    {
        tracing::warn!(tenant, more, "There are {others} warnings more.");
    }
}

/// What an Init has found out and taken.
struct Connected {
    configuration: Configuration,
    sync: SyncContext,
    attempt: String,
    target: StorageTarget,
    store: Arc<dyn Store>,
    catalog: Option<Arc<dyn Catalog>>,
    policy: Policy,
    share: Arc<Resources>,
    room: Room,
}

/// Writes denials down, and makes one answer of them.
fn deny(policy: &Policy, denials: &[Denied], key: Option<&str>) -> OpenError {
    denials.iter().for_each(|denied| policy.audit_denial(denied, key));
    OpenError::Denied(denials.iter().map(|denied| denied.message.as_str()).collect::<Vec<_>>().join("\n"))
}

fn random_uuid() -> Result<String, OpenError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| OpenError::Unexpected(error.to_string()))?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
}

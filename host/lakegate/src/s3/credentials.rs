//! Credentials that are asked for anew when the store no longer takes them.
//!
//! The SDK's cache asks a provider only as credentials near the end that they name. A store may end them sooner: a login is revoked, a
//! role's session cut short, a key replaced. Then the provider is asked once, and the request is sent again if it gives others.

use crate::store::answer::StoreError;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_s3::config::IdentityCache;
use aws_smithy_runtime_api::client::identity::{IdentityFuture, ResolveCachedIdentity, SharedIdentityCache, SharedIdentityResolver};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use futures::future::BoxFuture;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Credentials are renewed at least five minutes before they expire, so that none expires on its way. The SDK shortens the time it is told
/// by up to half, at random, so that many processes do not renew at once: hence twice that.
const RENEW_EARLY: Duration = Duration::from_secs(2 * 300);

/// Time to find credentials: the instance metadata service alone may take some seconds, an SSO portal or a credential process more.
pub(super) const FIND_CREDENTIALS: Duration = Duration::from_secs(30);

/// A provider that has just given what it gave before is not asked again by every other request that has failed as well.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Makes the provider anew, so that files are read again that a provider reads once.
type Remake = Box<dyn Fn() -> BoxFuture<'static, Result<SharedCredentialsProvider, StoreError>> + Send + Sync>;

/// The credentials of one client.
#[derive(Clone)]
pub(super) struct Renewable(Arc<Inner>);

struct Inner {
    remake: Remake,
    state: Mutex<State>,
    /// Held by whoever asks: the others wait for what it gets.
    asking: tokio::sync::Mutex<Option<(u64, Instant)>>,
}

struct State {
    provider: SharedCredentialsProvider,
    /// What the next who asks gets.
    first: Option<Credentials>,
    /// The youngest that are known.
    last: Credentials,
    cache: SharedIdentityCache,
    /// How many times there have been others before their time.
    generation: u64,
}

/// What asking again has brought.
#[derive(Debug)]
pub(super) enum Renewal {
    /// Others: they sign from here on.
    Others,
    /// The same.
    Same,
    /// None.
    Failed(CredentialsError),
}

impl fmt::Debug for Renewable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewable").field("generation", &self.generation()).finish_non_exhaustive()
    }
}

impl Renewable {
    /// Asks `provider`, so that a mistake shows before any row is read; `remake` makes it anew.
    ///
    /// # Errors
    /// The provider's, or that it took too long.
    pub(super) async fn ask(provider: SharedCredentialsProvider, remake: Remake) -> Result<Self, CredentialsError> {
        let first = ask(&provider).await?;
        let state = State { provider, first: Some(first.clone()), last: first, cache: cache(), generation: 0 };
        Ok(Self(Arc::new(Inner { remake, state: Mutex::new(state), asking: tokio::sync::Mutex::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which credentials are in use.
    pub(super) fn generation(&self) -> u64 {
        self.state().generation
    }

    /// The store has refused those of `generation`: are there others?
    pub(super) async fn renew(&self, generation: u64) -> Renewal {
        let mut asked = self.0.asking.lock().await;
        if self.generation() != generation {
            return Renewal::Others;
        }
        if asked.is_some_and(|(of, at)| of == generation && at.elapsed() < ASK_AGAIN) {
            return Renewal::Same;
        }
        *asked = Some((generation, Instant::now()));
        let provider = (self.0.remake)().await.unwrap_or_else(|_| self.state().provider.clone());
        match ask(&provider).await {
            Err(error) => Renewal::Failed(error),
            Ok(new) => {
                let mut state = self.state();
                if same(&new, &state.last) {
                    return Renewal::Same;
                }
                let generation = state.generation + 1;
                *state = State { provider, first: Some(new.clone()), last: new, cache: cache(), generation };
                Renewal::Others
            }
        }
    }

    async fn provide(&self) -> provider::Result {
        let (first, provider, generation) = {
            let mut state = self.state();
            (state.first.take(), state.provider.clone(), state.generation)
        };
        if let Some(first) = first {
            return Ok(first);
        }
        let given = provider.provide_credentials().await?;
        let mut state = self.state();
        if state.generation == generation {
            state.last = given.clone();
        }
        Ok(given)
    }
}

async fn ask(provider: &SharedCredentialsProvider) -> provider::Result {
    match tokio::time::timeout(FIND_CREDENTIALS, provider.provide_credentials()).await {
        Ok(answer) => answer,
        Err(_) => Err(CredentialsError::provider_timed_out(FIND_CREDENTIALS)),
    }
}

fn same(one: &Credentials, other: &Credentials) -> bool {
    let signing =
        |it: &Credentials| (it.access_key_id().to_owned(), it.secret_access_key().to_owned(), it.session_token().map(str::to_owned));
    signing(one) == signing(other)
}

fn cache() -> SharedIdentityCache {
    IdentityCache::lazy().buffer_time(RENEW_EARLY).load_timeout(FIND_CREDENTIALS).build()
}

impl ProvideCredentials for Renewable {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.provide())
    }
}

/// The SDK's cache, a new one for each generation.
impl ResolveCachedIdentity for Renewable {
    fn resolve_cached_identity<'a>(
        &'a self,
        resolver: SharedIdentityResolver,
        components: &'a RuntimeComponents,
        config: &'a ConfigBag,
    ) -> IdentityFuture<'a> {
        let cache = self.state().cache.clone();
        IdentityFuture::new(async move { cache.resolve_cached_identity(resolver, components, config).await })
    }
}

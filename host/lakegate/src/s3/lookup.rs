//! Names of hosts to addresses, as the system resolves them: on threads of which the whole process has a few hundred.
//!
//! A name server that does not answer holds such a thread for as long as the system waits for it, whoever has given up meanwhile. So the
//! lookups of one session are bounded, those that were given up included: others find threads.

use hyper_util::client::legacy::connect::dns::Name;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::Semaphore;
use tower_service::Service;

/// Lookups under way at once: a pool that is warm needs none, and the requests of a cold one ask for the same name.
const MAX_LOOKUPS: usize = 8;

/// The system's resolver.
type Resolve = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// Looks names up.
#[derive(Debug, Clone)]
pub(super) struct Lookups {
    places: Arc<Semaphore>,
    resolve: Resolve,
}

impl Lookups {
    pub(super) fn new() -> Self {
        Self::by(|name| Ok((name, 0).to_socket_addrs()?.collect()))
    }

    fn by(resolve: Resolve) -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_LOOKUPS)), resolve }
    }

    async fn find(self, name: String) -> io::Result<std::vec::IntoIter<SocketAddr>> {
        let place = self.places.acquire_owned().await.map_err(io::Error::other)?;
        let resolve = self.resolve;
        let found = tokio::task::spawn_blocking(move || {
            let found = resolve(&name);
            // Not before: whoever has asked may have given up, and the thread has not.
            drop(place);
            found
        });
        Ok(found.await.map_err(io::Error::other)??.into_iter())
    }
}

impl Service<Name> for Lookups {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(self.clone().find(name.as_str().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    /// Lookups that are at work, and the most there were at once.
    static NOW: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);

    fn slowly(_: &str) -> io::Result<Vec<SocketAddr>> {
        MOST.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(300));
        NOW.fetch_sub(1, Ordering::SeqCst);
        Ok(vec![([127, 0, 0, 1], 0).into()])
    }

    #[tokio::test]
    async fn lookups_that_were_given_up_are_counted_until_they_end() {
        let mut lookups = Lookups::by(slowly);
        for _ in 0..3 * MAX_LOOKUPS {
            // Longer than it takes to begin, and shorter than it takes to end.
            let asked = lookups.call("store.example".parse().expect("a name"));
            assert!(tokio::time::timeout(Duration::from_millis(10), asked).await.is_err(), "it was to be given up");
        }
        let found = lookups.call("store.example".parse().expect("a name")).await.expect("there is a place again");
        assert_eq!(found.collect::<Vec<_>>(), [SocketAddr::from(([127, 0, 0, 1], 0))]);
        assert_eq!(MOST.load(Ordering::SeqCst), MAX_LOOKUPS);
    }

    #[tokio::test]
    async fn names_are_found_as_the_system_finds_them() {
        let found = Lookups::new().call("localhost".parse().expect("a name")).await.expect("every machine has it");
        assert!(found.collect::<Vec<_>>().iter().all(|address| address.ip().is_loopback()));
    }
}

//! Where the requests of one client go.

use super::secrets::Secrets;

/// Where requests go, for the hints.
#[derive(Debug, Clone)]
pub(super) struct StoreLocation {
    pub(super) bucket: String,
    pub(super) region: String,
    /// The endpoint's host, or words for the default one.
    pub(super) host: String,
    /// True if target, environment or shared files name an endpoint.
    pub(super) is_endpoint: bool,
    /// What a put may be refused for beside its key, in the words of a hint; empty if nothing.
    pub(super) needs: String,
    /// What the store knows of us and may repeat.
    pub(super) secrets: Secrets,
}

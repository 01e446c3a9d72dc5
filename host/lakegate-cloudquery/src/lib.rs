//! The CloudQuery plugin protocol, version 3: server and client.
//!
//! [`server`] is the S3 destination as a plugin for the CloudQuery CLI; [`client`] starts and calls third-party plugins.

pub mod client;
pub mod server;

/// The messages and the services of the protocol.
pub mod proto {
    #![expect(missing_docs, clippy::allow_attributes, clippy::allow_attributes_without_reason, reason = "generated; documented in proto/")]

    /// `cloudquery.plugin.v3`.
    pub mod plugin {
        tonic::include_proto!("cloudquery.plugin.v3");
    }
    /// `cloudquery.discovery.v1`.
    pub mod discovery {
        tonic::include_proto!("cloudquery.discovery.v1");
    }
}

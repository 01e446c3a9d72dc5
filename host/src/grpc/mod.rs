//! The CloudQuery plugin protocol, version 3: what the CLI and its sources speak to a destination.
//!
//! [`server`] answers the calls, [`status`] is the only file that knows gRPC's status, [`listen`] opens the port, [`authority`] repairs a
//! header that clients on a unix socket send and this stack would refuse, [`unpack`] unpacks messages piece by piece, and [`half_close`] sees
//! whether a client has ended its call or left it.

pub mod authority;
mod connection;
mod dated;
mod half_close;
pub mod listen;
pub mod server;
mod status;
pub mod tls;
mod unpack;

/// The messages and the service of `cloudquery.plugin.v3`, and of discovery.
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

/// The largest message either way: what the protocol's other clients and servers allow.
pub const MAX_MESSAGE_BYTES: usize = 200 << 20;

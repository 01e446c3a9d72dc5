//! The S3 destination as a plugin: what the CLI and its sources speak to it.
//!
//! [`service`] answers the calls, [`status`] is the only file that knows gRPC's status, [`listen`] opens the port, [`authority`] repairs a
//! header that clients on a unix socket send and this stack would refuse, [`unpack`] unpacks messages piece by piece, and [`half_close`] sees
//! whether a client has ended its call or left it.

pub mod accept;
pub mod authority;
mod connection;
mod dated;
mod half_close;
pub mod listen;
pub mod service;
mod session_slot;
mod status;
pub mod tls;
mod unpack;

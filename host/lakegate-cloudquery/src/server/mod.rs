//! The S3 destination as a plugin server for the CloudQuery CLI and sources.
//!
//! [`service`] implements the calls, [`status`] is the only file that knows gRPC status codes, [`listen`] opens listeners, [`authority`] repairs a
//! header that clients on a unix socket send and that our HTTP stack would refuse, [`unpack`] decompresses messages piece by piece, and
//! [`half_close`] detects whether a client has ended its call or aborted it.

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

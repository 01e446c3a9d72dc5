//! The host half of Lakegate: it lends a sandboxed destination a clock, randomness, a log and one way out, and sends what comes out to S3.
//!
//! The way of a row: [`session`] reads the table's name from the IPC header and routes the message to a lane; [`lane`] owns one store and
//! one guest instance; the guest's bytes come back through `imports::object_store`, are cut into parts by [`upload`], counted by
//! [`staging`], authorised by [`policy`], sent by [`s3`], and written down in the [`ledger`].

pub mod bindings;
pub mod cli;
pub(crate) mod clock;
pub(crate) mod endpoint;
pub mod engine;
pub mod grpc;
pub mod imports;
pub(crate) mod lane;
pub mod ledger;
pub mod limits;
pub mod local_store;
pub(crate) mod log_limit;
pub(crate) mod message;
pub mod object;
pub mod payload;
pub(crate) mod plain_file;
pub mod plugin;
pub mod policy;
pub mod s3;
pub mod scheduler;
pub mod session;
pub(crate) mod small_file;
pub mod source;
pub mod staging;
pub(crate) mod thread_clock;
pub mod upload;

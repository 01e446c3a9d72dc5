//! From a guest's bytes to a receipt: staging, uploads and their jobs, the order of keys, and the ledger that all of it has to add up in.

pub(crate) mod context;
pub(crate) mod deferred;
pub(crate) mod in_flight;
mod job;
pub(crate) mod keys;
pub(crate) mod ledger;
pub(crate) mod staging;
#[cfg(test)]
mod tests;
pub(crate) mod upload;
pub(crate) mod watch;

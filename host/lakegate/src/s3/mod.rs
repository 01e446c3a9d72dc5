//! A bucket of S3, or of a store that speaks its protocol: one put, or multipart. Takes only what the policy has authorised; never hears of
//! tenants or wasm.
//!
//! Invariants: a [`Stored`](crate::store::answer::Stored) exists only for an object that the store has confirmed: with an ETag, or with the checksum
//! of the bytes sent, or by showing an object of that size and with our token. A checksum that the store names is that of the bytes sent. What
//! cannot be settled is `Unknown`, never a guess. No message holds a secret.

mod answer;
mod bucket;
pub(crate) mod client;
pub(crate) mod clock;
mod codes;
pub(crate) mod connect;
mod create_only;
mod credentials;
mod digest;
mod every_request;
mod exchange;
mod failure;
mod inputs;
mod lookup;
mod multipart;
mod object_options;
pub(crate) mod options;
mod place;
mod probe;
mod profiles;
mod proxy;
mod redirect;
mod request_log;
mod retry;
mod role;
mod sample;
mod secrets;
pub(crate) mod sizes;
#[cfg(test)]
mod tests;
mod transport;

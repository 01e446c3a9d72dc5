//! A destination at work: configured once, written to in rounds.
//!
//! [`Destination::open`](destination::Destination::open) is CloudQuery's Init, [`Session::write`](write::Session::write) begins a Write,
//! [`Write::finish`](write::Write::finish) is its half-close, [`Session::close`](write::Session::close) is Close.

mod catalog;
mod commit;
pub(crate) mod destination;
mod lane;
pub(crate) mod options;
pub(crate) mod write;

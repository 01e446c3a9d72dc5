//! To be written.

pub mod config;
pub mod logging;
pub mod serve;

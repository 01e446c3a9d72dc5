//! To be written.

pub mod logging;
pub mod serve;

//! What a session needs of a store: a bucket that takes objects whole or in parts. [`crate::s3`] is one, [`memory`] another; [`faulty`] makes
//! any of them fail.

pub(crate) mod answer;
pub(crate) mod faulty;
pub(crate) mod memory;
pub(crate) mod traits;

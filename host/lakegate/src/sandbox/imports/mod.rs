//! What the host lends a guest: one module and one view for each import.

pub(crate) mod clock;
pub(crate) mod log;
pub(crate) mod object_store;
pub(crate) mod random;

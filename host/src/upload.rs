//! One object on its way: collects the guest's bytes, cuts parts, and hands them to the store.

/// The host's side of the guest's `upload` resource.
#[derive(Debug)]
pub struct Upload {}

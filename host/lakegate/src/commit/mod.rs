//! The end of a sync, where objects become one commit: a manifest for each table that has succeeded, lists for readers, and last the marker of
//! success.
//!
//! Runs after the ledger has closed and before anyone hears of success. It knows stores and receipts, never formats or tenants; where records
//! go is decided by the component, and whether they may by the policy. A manifest is created and never replaced: of all attempts at one commit
//! one wins, and who reads by manifest sees each commit once.

pub(crate) mod manifest;
pub(crate) mod pending;
pub(crate) mod stage;

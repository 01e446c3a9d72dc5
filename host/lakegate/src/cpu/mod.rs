//! Processor time: who computes next, and what host work costs whom.

pub(crate) mod scheduler;
mod thread_clock;

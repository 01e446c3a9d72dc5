//! `wasi:clocks/wall-clock`: the time of day, to the millisecond (finer time is of no use to an object key, and of some to a side channel).

use crate::sandbox::bindings::wasi::clocks::wall_clock::{Datetime, Host};
use std::time::{SystemTime, UNIX_EPOCH};
use wasmtime::component::HasData;

/// The view of the clock: nothing.
#[derive(Debug)]
pub(crate) struct WallClock;

impl HasData for WallClock {
    type Data<'a> = Self;
}

impl Host for WallClock {
    fn now(&mut self) -> wasmtime::Result<Datetime> {
        // A clock before 1970 is a broken clock; the epoch is as good an answer as any.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Datetime { seconds: since.as_secs(), nanoseconds: since.subsec_millis() * 1_000_000 })
    }

    fn resolution(&mut self) -> wasmtime::Result<Datetime> {
        Ok(Datetime { seconds: 0, nanoseconds: 1_000_000 })
    }
}

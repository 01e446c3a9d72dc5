//! The processor time of the calling thread: what a piece of work has cost, however often the thread was interrupted meanwhile.

#![expect(unsafe_code, reason = "the clock is a system call that the standard library does not offer")]

/// Nanoseconds that this thread has computed. Only differences mean anything.
pub(crate) fn nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec that lives through the call, which writes nothing else.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    if failed != 0 {
        // No system that this runs on lacks the clock; there, work would cost nothing.
        return 0;
    }
    let (seconds, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computing_takes_time_and_sleeping_does_not() {
        let begun = nanos();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let slept = nanos() - begun;
        let mut rounds = 0_u64;
        while nanos() - begun <= slept {
            rounds = std::hint::black_box(rounds + 1);
        }
        assert!(slept < 20_000_000, "{slept} ns while it slept");
    }
}

//! Whose guest computes next.
//!
//! There are as many permits as guest threads. A guest takes one before it computes, gives it back while it waits for the store, and at each
//! tick of the epoch offers it to those who wait: the permit goes to the account that has computed least, measured by its weight. So a guest
//! that spins takes its own share and no one else's, however many lanes it spins on; and where nobody waits, nobody is held back.
//!
//! This is fair queueing by a virtual time, which advances with the service that is given, and faster the fewer there are who want it. An
//! account that is new, or comes back from idleness, starts at it: saved-up idleness shuts nobody out, and neither does an endless row of new
//! accounts, since each of them begins later than the one before.

use crate::limits::EPOCH_TICK;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How far an account that is at work may lag behind the virtual time, in nanoseconds: some ticks, since permits side by side do not end
/// together. Whoever wants less than its share saves up no more than this.
const MAX_LAG_NANOS: u64 = 5 * EPOCH_TICK.as_nanos() as u64;

/// What one tenant, or one session of a single user, has computed.
#[derive(Debug)]
pub struct CpuAccount {
    weight: NonZeroU32,
    /// Nanoseconds computed, divided by the weight, and never far behind the virtual time. Changes under the lock of the scheduler.
    clock: AtomicU64,
    /// Its guests that wait for a permit or have one. Changes under the same lock.
    guests: AtomicU64,
    computed_nanos: AtomicU64,
}

impl Default for CpuAccount {
    fn default() -> Self {
        Self::new(NonZeroU32::MIN)
    }
}

impl CpuAccount {
    /// An account that gets `weight` times the share of one with the weight 1.
    pub fn new(weight: NonZeroU32) -> Self {
        Self { weight, clock: AtomicU64::new(0), guests: AtomicU64::new(0), computed_nanos: AtomicU64::new(0) }
    }

    /// Time its guests have computed, summed over threads.
    pub fn computed(&self) -> Duration {
        Duration::from_nanos(self.computed_nanos.load(Ordering::Relaxed))
    }

    fn clock(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn weight(&self) -> u64 {
        u64::from(self.weight.get())
    }
}

/// Gives out the permits of a process.
#[derive(Debug, Clone)]
pub(crate) struct Scheduler(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    waiting: VecDeque<Waiting>,
    /// The virtual time.
    now: u64,
    /// The weights of all accounts with a guest that waits or computes.
    wanted: u64,
}

#[derive(Debug)]
struct Waiting {
    account: Arc<CpuAccount>,
    permit: oneshot::Sender<Permit>,
}

impl State {
    /// A guest of the account wants a permit.
    fn arrive(&mut self, account: &CpuAccount) {
        let earliest = if account.guests.fetch_add(1, Ordering::Relaxed) == 0 {
            self.wanted += account.weight();
            self.now
        } else {
            self.now.saturating_sub(MAX_LAG_NANOS)
        };
        account.clock.fetch_max(earliest, Ordering::Relaxed);
    }

    /// It has computed for so long. Rounded up, so that no weight makes computing free.
    fn charge(&mut self, account: &CpuAccount, nanos: u64) {
        account.clock.fetch_add(nanos.div_ceil(account.weight()), Ordering::Relaxed);
        self.now += nanos.div_ceil(self.wanted.max(1));
    }

    /// It wants no permit any more.
    fn depart(&mut self, account: &CpuAccount) {
        if account.guests.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.wanted -= account.weight();
        }
    }
}

impl Scheduler {
    /// So many at once.
    pub(crate) fn new(permits: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: permits, waiting: VecDeque::new(), now: 0, wanted: 0 })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a permit, which may come at once.
    fn ask(&self, account: &Arc<CpuAccount>) -> oneshot::Receiver<Permit> {
        let (sender, permit) = oneshot::channel();
        let mut state = self.state();
        state.arrive(account);
        state.waiting.push_back(Waiting { account: account.clone(), permit: sender });
        if state.free > 0 {
            state.free -= 1;
            self.pass_on(&mut state);
        }
        permit
    }

    /// A permit is free: the next gets it.
    fn pass_on(&self, state: &mut State) {
        // The first of equals: `min_by_key` keeps it.
        while let Some((at, _)) = state.waiting.iter().enumerate().min_by_key(|(_, waiting)| waiting.account.clock()) {
            let Some(Waiting { account, permit }) = state.waiting.remove(at) else { break };
            match permit.send(Permit::new(self, &account)) {
                Ok(()) => {
                    // Where nobody had to wait an account may be ahead; who comes now is not to be let before it for that.
                    state.now = state.now.max(account.clock());
                    return;
                }
                // Nobody waits there any more.
                Err(mut permit) => permit.permits = None,
            }
            state.depart(&account);
        }
        state.free += 1;
    }
}

/// The permit that was asked for. The sender stays in the queue until it has sent.
async fn come(permit: oneshot::Receiver<Permit>) -> Permit {
    permit.await.expect("a place in the queue is kept until its permit")
}

/// The right to compute, until it is dropped.
#[derive(Debug)]
struct Permit {
    /// [`None`] if nobody got it.
    permits: Option<Scheduler>,
    account: Arc<CpuAccount>,
    begun: Instant,
}

impl Permit {
    fn new(permits: &Scheduler, account: &Arc<CpuAccount>) -> Self {
        Self { permits: Some(permits.clone()), account: account.clone(), begun: Instant::now() }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(permits) = self.permits.take() else { return };
        let nanos = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.account.computed_nanos.fetch_add(nanos, Ordering::Relaxed);
        let mut state = permits.state();
        state.charge(&self.account, nanos);
        state.depart(&self.account);
        permits.pass_on(&mut state);
    }
}

/// Where one guest instance sits while it has a permit.
#[derive(Debug, Clone)]
pub(crate) struct GuestSlot {
    permits: Scheduler,
    account: Arc<CpuAccount>,
    permit: Arc<Mutex<Option<Permit>>>,
}

impl GuestSlot {
    /// An empty slot of `account`.
    pub(crate) fn new(permits: &Scheduler, account: Arc<CpuAccount>) -> Self {
        Self { permits: permits.clone(), account, permit: Arc::default() }
    }

    fn permit(&self) -> MutexGuard<'_, Option<Permit>> {
        self.permit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a permit, unless it is there.
    pub(crate) async fn enter(&self) {
        if self.permit().is_none() {
            let permit = come(self.permits.ask(&self.account)).await;
            *self.permit() = Some(permit);
        }
    }

    /// Gives the permit back.
    pub(crate) fn leave(&self) {
        // Not dropped under the lock of the slot.
        let permit = self.permit().take();
        drop(permit);
    }

    /// Offers the permit to those who wait, and waits for the next.
    pub(crate) async fn offer(self) {
        // Asked for before the other is given back: who is still the next keeps computing.
        let next = self.permits.ask(&self.account);
        self.leave();
        let permit = come(next).await;
        *self.permit() = Some(permit);
    }

    /// Awaits what may take long, without a permit meanwhile.
    pub(crate) async fn aside<T>(&self, wait: impl Future<Output = T>) -> T {
        tokio::pin!(wait);
        // Mostly there is nothing to wait for.
        if let Some(done) = futures::FutureExt::now_or_never(wait.as_mut()) {
            return done;
        }
        self.leave();
        let done = wait.await;
        self.enter().await;
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::sleep;

    const TICK: Duration = Duration::from_millis(2);

    /// A guest that never stops by itself.
    async fn spin(slot: GuestSlot, ticks: usize) {
        for _ in 0..ticks {
            slot.enter().await;
            sleep(TICK);
            tokio::task::yield_now().await;
            slot.clone().offer().await;
        }
        slot.leave();
    }

    fn account(weight: u32) -> Arc<CpuAccount> {
        Arc::new(CpuAccount::new(NonZeroU32::new(weight).expect("not nothing")))
    }

    /// Spins so many lanes for each account for a while; what each has computed, in seconds.
    async fn share(permits: usize, accounts: &[(Arc<CpuAccount>, usize)]) -> Vec<f64> {
        let permits = Scheduler::new(permits);
        let lanes: Vec<_> = accounts
            .iter()
            .flat_map(|(account, lanes)| (0..*lanes).map(|_| tokio::spawn(spin(GuestSlot::new(&permits, account.clone()), 100_000))))
            .collect();
        tokio::time::sleep(Duration::from_millis(600)).await;
        lanes.iter().for_each(tokio::task::JoinHandle::abort);
        accounts.iter().map(|(account, _)| account.computed().as_secs_f64()).collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_lanes_are_no_larger_share() {
        let (honest, greedy) = (account(1), account(1));
        let computed = share(1, &[(honest, 1), (greedy, 8)]).await;
        assert!((0.7..1.4).contains(&(computed[0] / computed[1])), "{computed:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn weights_are_shares() {
        let (one, three) = (account(1), account(3));
        let computed = share(1, &[(one, 2), (three, 2)]).await;
        assert!((2.0..4.0).contains(&(computed[1] / computed[0])), "{computed:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn nobody_waits_where_there_is_room() {
        let computed = share(2, &[(account(1), 1), (account(1_000), 1)]).await;
        assert!(computed.iter().all(|seconds| *seconds > 0.3), "{computed:?}");
    }

    /// One lane each: what a lane could not get while it stood outside the queue would be lost to it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn weights_are_shares_of_single_lanes_too() {
        let (one, three) = (account(1), account(3));
        let computed = share(1, &[(one, 1), (three, 1)]).await;
        assert!((2.0..4.0).contains(&(computed[1] / computed[0])), "{computed:?}");
    }

    /// What one permit of `nanos` comes to, whatever the clock of the machine says.
    fn served(permits: &Scheduler, waiting: &mut Vec<(Arc<CpuAccount>, oneshot::Receiver<Permit>)>, nanos: u64) -> Arc<CpuAccount> {
        let at = waiting.iter_mut().position(|(_, permit)| permit.try_recv().is_ok_and(|mut permit| permit.permits.take().is_some()));
        let (account, _) = waiting.swap_remove(at.expect("somebody has the permit"));
        let mut state = permits.state();
        state.charge(&account, nanos);
        state.depart(&account);
        permits.pass_on(&mut state);
        account
    }

    #[test]
    fn a_flood_of_new_accounts_leaves_an_old_one_its_share() {
        const TICK_NANOS: u64 = 10_000_000;
        let (permits, old) = (Scheduler::new(1), account(1));
        let mut waiting = vec![(old.clone(), permits.ask(&old))];
        let mut got = 0;
        for _ in 0..1_000 {
            // Whenever a permit ends there are two who have never had one.
            while waiting.iter().filter(|(account, _)| !Arc::ptr_eq(account, &old)).count() < 2 {
                let new = account(1);
                waiting.push((new.clone(), permits.ask(&new)));
            }
            let account = served(&permits, &mut waiting, TICK_NANOS);
            if Arc::ptr_eq(&account, &old) {
                got += 1;
                waiting.push((old.clone(), permits.ask(&old)));
            }
        }
        // One of three.
        assert!((250..=400).contains(&got), "{got} of 1000 permits");
        assert_eq!(permits.state().wanted, waiting.len() as u64, "those who are gone are not counted");
    }

    #[tokio::test]
    async fn idleness_is_not_saved_up() {
        let permits = Scheduler::new(1);
        let (busy, late) = (account(1), account(1));
        let slot = GuestSlot::new(&permits, busy.clone());
        slot.enter().await;
        sleep(Duration::from_millis(50));
        slot.clone().offer().await;
        let other = GuestSlot::new(&permits, late.clone());
        let waiting = tokio::spawn(async move { other.enter().await });
        tokio::task::yield_now().await;
        assert_eq!(late.clock(), busy.clock(), "it starts where the other is");
        slot.leave();
        waiting.await.expect("its permit has come");
    }

    #[tokio::test]
    async fn a_turn_is_not_lost_with_who_waits_for_it() {
        let permits = Scheduler::new(1);
        let slots: Vec<GuestSlot> = (0..3).map(|_| GuestSlot::new(&permits, account(1))).collect();
        slots[0].enter().await;
        // One gives up in the queue, one with the permit in its hand.
        let mut waits: Vec<_> = slots.iter().skip(1).map(|slot| Box::pin(slot.enter())).collect();
        for wait in &mut waits {
            assert!(futures::poll!(wait.as_mut()).is_pending());
        }
        drop(waits.remove(0));
        slots[0].leave();
        waits.clear();
        assert_eq!(permits.state().free, 1);
        tokio::time::timeout(Duration::from_secs(5), slots[0].enter()).await.expect("free");
    }

    #[tokio::test]
    async fn who_waits_for_the_store_keeps_no_turn() {
        let permits = Scheduler::new(1);
        let slot = GuestSlot::new(&permits, account(1));
        slot.enter().await;
        assert_eq!(slot.aside(async { 7 }).await, 7);
        assert_eq!(permits.state().free, 0, "nothing to wait for: kept");
        let free = slot.aside(async {
            tokio::task::yield_now().await;
            permits.state().free
        });
        assert_eq!(free.await, 1);
        assert_eq!(permits.state().free, 0);
    }
}

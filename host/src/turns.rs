//! Whose guest computes next.
//!
//! There are as many turns as guest threads. A guest takes one before it computes, gives it back while it waits for the store, and at each
//! tick of the epoch offers it to those who wait: the turn goes to the account that has computed least, measured by its weight. So a guest
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

/// How far an account that is at work may lag behind the virtual time, in nanoseconds: some ticks, since turns side by side do not end
/// together. Whoever wants less than its share saves up no more than this.
const MAX_LAG_NANOS: u64 = 5 * EPOCH_TICK.as_nanos() as u64;

/// What one tenant, or one session of a single user, has computed.
#[derive(Debug)]
pub struct Account {
    weight: NonZeroU32,
    /// Nanoseconds computed, divided by the weight, and never far behind the virtual time. Changes under the lock of the turns.
    clock: AtomicU64,
    /// Its guests that wait for a turn or have one. Changes under the same lock.
    guests: AtomicU64,
    computed_nanos: AtomicU64,
}

impl Default for Account {
    fn default() -> Self {
        Self::new(NonZeroU32::MIN)
    }
}

impl Account {
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

/// The turns of a process.
#[derive(Debug, Clone)]
pub(crate) struct Turns(Arc<Mutex<State>>);

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
    account: Arc<Account>,
    turn: oneshot::Sender<Turn>,
}

impl State {
    /// A guest of the account wants a turn.
    fn arrive(&mut self, account: &Account) {
        let earliest = if account.guests.fetch_add(1, Ordering::Relaxed) == 0 {
            self.wanted += account.weight();
            self.now
        } else {
            self.now.saturating_sub(MAX_LAG_NANOS)
        };
        account.clock.fetch_max(earliest, Ordering::Relaxed);
    }

    /// It has computed for so long. Rounded up, so that no weight makes computing free.
    fn charge(&mut self, account: &Account, nanos: u64) {
        account.clock.fetch_add(nanos.div_ceil(account.weight()), Ordering::Relaxed);
        self.now += nanos.div_ceil(self.wanted.max(1));
    }

    /// It wants no turn any more.
    fn depart(&mut self, account: &Account) {
        if account.guests.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.wanted -= account.weight();
        }
    }
}

impl Turns {
    /// So many at once.
    pub(crate) fn new(turns: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: turns, waiting: VecDeque::new(), now: 0, wanted: 0 })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a turn, which may come at once.
    fn ask(&self, account: &Arc<Account>) -> oneshot::Receiver<Turn> {
        let (sender, turn) = oneshot::channel();
        let mut state = self.state();
        state.arrive(account);
        state.waiting.push_back(Waiting { account: account.clone(), turn: sender });
        if state.free > 0 {
            state.free -= 1;
            self.pass_on(&mut state);
        }
        turn
    }

    /// A turn is free: the next gets it.
    fn pass_on(&self, state: &mut State) {
        // The first of equals: `min_by_key` keeps it.
        while let Some((at, _)) = state.waiting.iter().enumerate().min_by_key(|(_, waiting)| waiting.account.clock()) {
            let Some(Waiting { account, turn }) = state.waiting.remove(at) else { break };
            match turn.send(Turn::new(self, &account)) {
                Ok(()) => {
                    // Where nobody had to wait an account may be ahead; who comes now is not to be let before it for that.
                    state.now = state.now.max(account.clock());
                    return;
                }
                // Nobody waits there any more.
                Err(mut turn) => turn.turns = None,
            }
            state.depart(&account);
        }
        state.free += 1;
    }
}

/// The turn that was asked for. The sender stays in the queue until it has sent.
async fn come(turn: oneshot::Receiver<Turn>) -> Turn {
    turn.await.expect("a place in the queue is kept until its turn")
}

/// The right to compute, until it is dropped.
#[derive(Debug)]
struct Turn {
    /// [`None`] if nobody got it.
    turns: Option<Turns>,
    account: Arc<Account>,
    begun: Instant,
}

impl Turn {
    fn new(turns: &Turns, account: &Arc<Account>) -> Self {
        Self { turns: Some(turns.clone()), account: account.clone(), begun: Instant::now() }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.turns.take() else { return };
        let nanos = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.account.computed_nanos.fetch_add(nanos, Ordering::Relaxed);
        let mut state = turns.state();
        state.charge(&self.account, nanos);
        state.depart(&self.account);
        turns.pass_on(&mut state);
    }
}

/// Where one guest instance sits while it has a turn.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    turns: Turns,
    account: Arc<Account>,
    turn: Arc<Mutex<Option<Turn>>>,
}

impl Seat {
    /// An empty seat of `account`.
    pub(crate) fn new(turns: &Turns, account: Arc<Account>) -> Self {
        Self { turns: turns.clone(), account, turn: Arc::default() }
    }

    fn turn(&self) -> MutexGuard<'_, Option<Turn>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn, unless it is there.
    pub(crate) async fn enter(&self) {
        if self.turn().is_none() {
            let turn = come(self.turns.ask(&self.account)).await;
            *self.turn() = Some(turn);
        }
    }

    /// Gives the turn back.
    pub(crate) fn leave(&self) {
        // Not dropped under the lock of the seat.
        let turn = self.turn().take();
        drop(turn);
    }

    /// Offers the turn to those who wait, and waits for the next.
    pub(crate) async fn offer(self) {
        // Asked for before the other is given back: who is still the next keeps computing.
        let next = self.turns.ask(&self.account);
        self.leave();
        let turn = come(next).await;
        *self.turn() = Some(turn);
    }

    /// Awaits what may take long, without a turn meanwhile.
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
    async fn spin(seat: Seat, ticks: usize) {
        for _ in 0..ticks {
            seat.enter().await;
            sleep(TICK);
            tokio::task::yield_now().await;
            seat.clone().offer().await;
        }
        seat.leave();
    }

    fn account(weight: u32) -> Arc<Account> {
        Arc::new(Account::new(NonZeroU32::new(weight).expect("not nothing")))
    }

    /// Spins so many lanes for each account for a while; what each has computed, in seconds.
    async fn share(turns: usize, accounts: &[(Arc<Account>, usize)]) -> Vec<f64> {
        let turns = Turns::new(turns);
        let lanes: Vec<_> = accounts
            .iter()
            .flat_map(|(account, lanes)| (0..*lanes).map(|_| tokio::spawn(spin(Seat::new(&turns, account.clone()), 100_000))))
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

    /// What one turn of `nanos` comes to, whatever the clock of the machine says.
    fn served(turns: &Turns, waiting: &mut Vec<(Arc<Account>, oneshot::Receiver<Turn>)>, nanos: u64) -> Arc<Account> {
        let at = waiting.iter_mut().position(|(_, turn)| turn.try_recv().is_ok_and(|mut turn| turn.turns.take().is_some()));
        let (account, _) = waiting.swap_remove(at.expect("somebody has the turn"));
        let mut state = turns.state();
        state.charge(&account, nanos);
        state.depart(&account);
        turns.pass_on(&mut state);
        account
    }

    #[test]
    fn a_flood_of_new_accounts_leaves_an_old_one_its_share() {
        const TICK_NANOS: u64 = 10_000_000;
        let (turns, old) = (Turns::new(1), account(1));
        let mut waiting = vec![(old.clone(), turns.ask(&old))];
        let mut got = 0;
        for _ in 0..1_000 {
            // Whenever a turn ends there are two who have never had one.
            while waiting.iter().filter(|(account, _)| !Arc::ptr_eq(account, &old)).count() < 2 {
                let new = account(1);
                waiting.push((new.clone(), turns.ask(&new)));
            }
            let account = served(&turns, &mut waiting, TICK_NANOS);
            if Arc::ptr_eq(&account, &old) {
                got += 1;
                waiting.push((old.clone(), turns.ask(&old)));
            }
        }
        // One of three.
        assert!((250..=400).contains(&got), "{got} of 1000 turns");
        assert_eq!(turns.state().wanted, waiting.len() as u64, "those who are gone are not counted");
    }

    #[tokio::test]
    async fn idleness_is_not_saved_up() {
        let turns = Turns::new(1);
        let (busy, late) = (account(1), account(1));
        let seat = Seat::new(&turns, busy.clone());
        seat.enter().await;
        sleep(Duration::from_millis(50));
        seat.clone().offer().await;
        let other = Seat::new(&turns, late.clone());
        let waiting = tokio::spawn(async move { other.enter().await });
        tokio::task::yield_now().await;
        assert_eq!(late.clock(), busy.clock(), "it starts where the other is");
        seat.leave();
        waiting.await.expect("its turn has come");
    }

    #[tokio::test]
    async fn a_turn_is_not_lost_with_who_waits_for_it() {
        let turns = Turns::new(1);
        let seats: Vec<Seat> = (0..3).map(|_| Seat::new(&turns, account(1))).collect();
        seats[0].enter().await;
        // One gives up in the queue, one with the turn in its hand.
        let mut waits: Vec<_> = seats.iter().skip(1).map(|seat| Box::pin(seat.enter())).collect();
        for wait in &mut waits {
            assert!(futures::poll!(wait.as_mut()).is_pending());
        }
        drop(waits.remove(0));
        seats[0].leave();
        waits.clear();
        assert_eq!(turns.state().free, 1);
        tokio::time::timeout(Duration::from_secs(5), seats[0].enter()).await.expect("free");
    }

    #[tokio::test]
    async fn who_waits_for_the_store_keeps_no_turn() {
        let turns = Turns::new(1);
        let seat = Seat::new(&turns, account(1));
        seat.enter().await;
        assert_eq!(seat.aside(async { 7 }).await, 7);
        assert_eq!(turns.state().free, 0, "nothing to wait for: kept");
        let free = seat.aside(async {
            tokio::task::yield_now().await;
            turns.state().free
        });
        assert_eq!(free.await, 1);
        assert_eq!(turns.state().free, 0);
    }
}

//! Whose work is done next: a guest's computing, and what the host does for a tenant.
//!
//! There are as many permits as cores. A guest takes one before it computes, gives it back while it waits for the store, and at each
//! tick of the epoch offers it to those who wait: the permit goes to the account that has computed least, measured by its weight. So a guest
//! that spins takes its own share and no one else's, however many lanes it spins on; and where nobody waits, nobody is held back.
//!
//! The host's work for a tenant (TLS, HTTP/2 frames, unpacking, headers, requests to the store) runs on the I/O threads as futures that are
//! [`Metered`]: each poll is a piece of work, whose time is charged to the tenant's account. It takes a permit if one is free, and
//! goes without one while the account is not ahead of its share. Else it waits for its turn as a guest does. So a client that sends without
//! end takes what its tenant's guests would have taken, and nothing of the neighbours'.
//!
//! This is fair queueing by a virtual time, which advances with the service that is given, and faster the fewer there are who want it. An
//! account that is new, or comes back from idleness, starts at it: saved-up idleness shuts nobody out, and neither does an endless row of new
//! accounts, since each of them begins later than the one before.

use crate::cpu::thread_clock;
use crate::limits::EPOCH_TICK;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tracing::Instrument;

/// How far an account that is at work may lag behind the virtual time, in nanoseconds: some ticks, since permits side by side do not end
/// together. Whoever wants less than its share saves up no more than this.
const MAX_LAG_NANOS: u64 = 5 * EPOCH_TICK.as_nanos() as u64;

/// How far an account may be ahead of the virtual time and still have the host work for it without a permit, in nanoseconds of computing:
/// half of what a guest takes at a time, so that a tenant that keeps to its share has its messages read without waiting.
const MAX_HOST_LEAD_NANOS: u64 = EPOCH_TICK.as_nanos() as u64 / 2;

/// What one tenant, or one session of a single user, has computed.
#[derive(Debug)]
pub struct CpuAccount {
    weight: NonZeroU32,
    /// Nanoseconds computed, divided by the weight, and never far behind the virtual time. Changes under the lock of the scheduler.
    clock: AtomicU64,
    /// Its guests that wait for a permit or have one, and the host's work for it likewise. Changes under the same lock.
    active: AtomicU64,
    guest_nanos: AtomicU64,
    host_nanos: AtomicU64,
}

impl Default for CpuAccount {
    fn default() -> Self {
        Self::new(NonZeroU32::MIN)
    }
}

impl CpuAccount {
    /// An account that gets `weight` times the share of one with the weight 1.
    pub fn new(weight: NonZeroU32) -> Self {
        Self { weight, clock: AtomicU64::new(0), active: AtomicU64::new(0), guest_nanos: AtomicU64::new(0), host_nanos: AtomicU64::new(0) }
    }

    /// Time its guests have computed, summed over threads.
    pub fn computed(&self) -> Duration {
        Duration::from_nanos(self.guest_nanos.load(Ordering::Relaxed))
    }

    /// Processor time that the host has worked for it: connections, messages, requests to the store.
    pub fn host_worked(&self) -> Duration {
        Duration::from_nanos(self.host_nanos.load(Ordering::Relaxed))
    }

    fn clock(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn weight(&self) -> u64 {
        u64::from(self.weight.get())
    }

    fn nanos(&self, work: Work) -> &AtomicU64 {
        match work {
            Work::Host => &self.host_nanos,
            Work::Guest => &self.guest_nanos,
        }
    }
}

/// Gives out the permits of a process.
#[derive(Debug, Clone)]
pub(crate) struct Scheduler(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// The accounts with work that waits, each once, in the order in which they began to wait.
    waiting: Vec<Queue>,
    /// The virtual time.
    now: u64,
    /// The weights of all accounts with work that waits or is done.
    wanted: u64,
}

/// What waits of one account.
#[derive(Debug)]
struct Queue {
    account: Arc<CpuAccount>,
    /// Before the guests: it is short, and a guest may have nothing to do before a message is read.
    host: VecDeque<oneshot::Sender<Permit>>,
    guests: VecDeque<oneshot::Sender<Permit>>,
}

impl Queue {
    fn waiting(&mut self, work: Work) -> &mut VecDeque<oneshot::Sender<Permit>> {
        match work {
            Work::Host => &mut self.host,
            Work::Guest => &mut self.guests,
        }
    }

    fn pop(&mut self) -> Option<(Work, oneshot::Sender<Permit>)> {
        let host = self.host.pop_front().map(|permit| (Work::Host, permit));
        host.or_else(|| self.guests.pop_front().map(|permit| (Work::Guest, permit)))
    }

    fn is_empty(&self) -> bool {
        self.host.is_empty() && self.guests.is_empty()
    }
}

/// Who works on the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Guest,
    Host,
}

impl State {
    /// Somebody wants to work on the account.
    fn arrive(&mut self, account: &CpuAccount) {
        let earliest = if account.active.fetch_add(1, Ordering::Relaxed) == 0 {
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
        if account.active.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.wanted -= account.weight();
        }
    }

    fn enqueue(&mut self, account: &Arc<CpuAccount>, work: Work, permit: oneshot::Sender<Permit>) {
        let at = self.waiting.iter().position(|queue| Arc::ptr_eq(&queue.account, account)).unwrap_or_else(|| {
            self.waiting.push(Queue { account: account.clone(), host: VecDeque::new(), guests: VecDeque::new() });
            self.waiting.len() - 1
        });
        if let Some(queue) = self.waiting.get_mut(at) {
            queue.waiting(work).push_back(permit);
        }
    }

    /// The next to get a permit. Those who have waited longest are first among equals: `min_by_key` keeps the first.
    fn next(&mut self) -> Option<(Arc<CpuAccount>, Work, oneshot::Sender<Permit>)> {
        let (at, queue) = self.waiting.iter_mut().enumerate().min_by_key(|(_, queue)| queue.account.clock())?;
        let account = queue.account.clone();
        let next = queue.pop();
        if queue.is_empty() {
            self.waiting.remove(at);
        }
        next.map(|(work, permit)| (account, work, permit))
    }

    /// The account has been given a permit. Where nobody had to wait an account may be ahead; who comes now is not to be let before it for
    /// that.
    fn begin(&mut self, account: &CpuAccount) {
        self.now = self.now.max(account.clock());
    }
}

impl Scheduler {
    /// So many at once.
    fn new(permits: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: permits, waiting: Vec::new(), now: 0, wanted: 0 })))
    }

    /// The one of this process, with a permit for each core: a machine has no more of them for having several run times.
    pub(crate) fn for_process() -> Self {
        static PROCESS: LazyLock<Scheduler> =
            LazyLock::new(|| Scheduler::new(std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)));
        PROCESS.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a guest's permit, which may come at once.
    fn ask(&self, account: &Arc<CpuAccount>) -> oneshot::Receiver<Permit> {
        let (sender, permit) = oneshot::channel();
        let mut state = self.state();
        state.arrive(account);
        state.enqueue(account, Work::Guest, sender);
        if state.free > 0 {
            state.free -= 1;
            self.pass_on(&mut state);
        }
        permit
    }

    /// Asks for a piece of the host's work on an account.
    fn ask_for_host(&self, account: &Arc<CpuAccount>) -> Turn {
        let mut state = self.state();
        state.arrive(account);
        if state.free > 0 {
            state.free -= 1;
            state.begin(account);
            return Turn::Now(Permit::new(self, account, Work::Host));
        }
        if account.clock() <= state.now + MAX_HOST_LEAD_NANOS / account.weight() {
            let mut beyond = Permit::new(self, account, Work::Host);
            beyond.counted = false;
            return Turn::Now(beyond);
        }
        let (sender, permit) = oneshot::channel();
        state.enqueue(account, Work::Host, sender);
        Turn::Later(permit)
    }

    /// A permit is free: the next gets it.
    fn pass_on(&self, state: &mut State) {
        while let Some((account, work, permit)) = state.next() {
            match permit.send(Permit::new(self, &account, work)) {
                Ok(()) => return state.begin(&account),
                // Nobody waits there any more.
                Err(mut permit) => permit.permits = None,
            }
            state.depart(&account);
        }
        state.free += 1;
    }
}

/// When a piece of the host's work may be done.
#[derive(Debug)]
enum Turn {
    Now(Permit),
    Later(oneshot::Receiver<Permit>),
}

/// The permit that was asked for. The sender stays in the queue until it has sent.
async fn await_permit(permit: oneshot::Receiver<Permit>) -> Permit {
    permit.await.expect(KEPT)
}

const KEPT: &str = "a place in the queue is kept until its permit";

/// The right to compute, until it is dropped.
#[derive(Debug)]
struct Permit {
    /// [`None`] if nobody got it.
    permits: Option<Scheduler>,
    account: Arc<CpuAccount>,
    work: Work,
    /// Whether it is one of the process's; the host may do a piece of work without.
    counted: bool,
    begun: Instant,
    /// The processor time that the host has worked under it. The account's clock goes by the time that a permit was held all the same, for
    /// guests and host alike: where others have the processor, too, the two are not the same.
    worked: Option<u64>,
    /// In tests: how long it was held.
    #[cfg(test)]
    held: Option<u64>,
}

impl Permit {
    fn new(permits: &Scheduler, account: &Arc<CpuAccount>, work: Work) -> Self {
        Self {
            permits: Some(permits.clone()),
            account: account.clone(),
            work,
            counted: true,
            begun: Instant::now(),
            worked: None,
            #[cfg(test)]
            held: None,
        }
    }

    /// For how long, in nanoseconds.
    fn held(&self) -> u64 {
        #[cfg(test)]
        if let Some(held) = self.held {
            return held;
        }
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(permits) = self.permits.take() else { return };
        let held = self.held();
        self.account.nanos(self.work).fetch_add(self.worked.unwrap_or(held), Ordering::Relaxed);
        let mut state = permits.state();
        state.charge(&self.account, held);
        state.depart(&self.account);
        if self.counted {
            permits.pass_on(&mut state);
        }
    }
}

/// On whose account the host works: everything that is done for a tenant goes through one of these.
#[derive(Debug, Clone)]
pub struct HostMeter {
    permits: Scheduler,
    account: Arc<CpuAccount>,
}

thread_local! {
    /// The meter of the piece of work that this thread is doing.
    static CURRENT: RefCell<Option<HostMeter>> = const { RefCell::new(None) };
}

impl HostMeter {
    /// A meter of `account`.
    pub fn new(account: Arc<CpuAccount>) -> Self {
        Self { permits: Scheduler::for_process(), account }
    }

    /// The same work, done piece by piece on the account.
    pub fn metered<F: Future>(&self, work: F) -> Metered<F> {
        Metered { meter: self.clone(), turn: None, work: Box::pin(work) }
    }

    /// Charges what has been computed elsewhere, on a thread that may block.
    fn charge(&self, nanos: u64) {
        self.account.host_nanos.fetch_add(nanos, Ordering::Relaxed);
        let mut state = self.permits.state();
        state.arrive(&self.account);
        state.charge(&self.account, nanos);
        state.depart(&self.account);
    }
}

/// Spawns `work`, on its account if it has one.
pub fn spawn_metered<F>(io: &tokio::runtime::Handle, meter: Option<&HostMeter>, work: F) -> tokio::task::AbortHandle
where
    F: Future<Output = ()> + Send + 'static,
{
    match meter {
        Some(meter) => io.spawn(meter.metered(work).in_current_span()).abort_handle(),
        None => io.spawn(work.in_current_span()).abort_handle(),
    }
}

/// Does `work`, which may block, on a thread for such; it is charged to the account of the piece of work that asks for it.
pub(crate) fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> tokio::task::JoinHandle<T> {
    let meter = CURRENT.with_borrow(Clone::clone);
    tokio::task::spawn_blocking(move || {
        let begun = thread_clock::nanos();
        let done = work();
        if let Some(meter) = meter {
            meter.charge(thread_clock::nanos().saturating_sub(begun));
        }
        done
    })
}

/// A future whose every poll is a piece of the host's work on an account; see [`HostMeter::metered`].
#[derive(Debug)]
pub struct Metered<F> {
    meter: HostMeter,
    /// The turn that is waited for.
    turn: Option<oneshot::Receiver<Permit>>,
    work: Pin<Box<F>>,
}

impl<F: Future> Metered<F> {
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Permit> {
        let mut waiting = match self.turn.take() {
            Some(waiting) => waiting,
            None => match self.meter.permits.ask_for_host(&self.meter.account) {
                Turn::Now(permit) => return Poll::Ready(permit),
                Turn::Later(waiting) => waiting,
            },
        };
        match Pin::new(&mut waiting).poll(cx) {
            Poll::Ready(permit) => Poll::Ready(permit.expect(KEPT)),
            Poll::Pending => {
                self.turn = Some(waiting);
                Poll::Pending
            }
        }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let mut permit = ready!(this.poll_turn(cx));
        let earlier = CURRENT.replace(Some(this.meter.clone()));
        let begun = thread_clock::nanos();
        let done = this.work.as_mut().poll(cx);
        permit.worked = Some(thread_clock::nanos().saturating_sub(begun));
        CURRENT.set(earlier);
        done
    }
}

/// An executor for hyper, which spawns what belongs to a connection: on an account if there is one.
#[derive(Debug, Clone)]
pub struct Executor(pub Option<HostMeter>);

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, work: F) {
        match &self.0 {
            Some(meter) => drop(tokio::spawn(meter.metered(work))),
            None => drop(tokio::spawn(work)),
        }
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
            let permit = await_permit(self.permits.ask(&self.account)).await;
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
    pub(crate) async fn yield_permit(self) {
        // Asked for before the other is given back: who is still the next keeps computing.
        let next = self.permits.ask(&self.account);
        self.leave();
        let permit = await_permit(next).await;
        *self.permit() = Some(permit);
    }

    /// Awaits what may take long, without a permit meanwhile.
    pub(crate) async fn without_permit<T>(&self, wait: impl Future<Output = T>) -> T {
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

    const TICK_NANOS: u64 = EPOCH_TICK.as_nanos() as u64;

    fn account(weight: u32) -> Arc<CpuAccount> {
        Arc::new(CpuAccount::new(NonZeroU32::new(weight).expect("not nothing")))
    }

    /// What is done under a permit, and its end.
    fn spend(mut permit: Permit, nanos: u64) {
        permit.held = Some(nanos);
    }

    /// A machine whose time passes when it is told to: nothing here waits for a clock, so nothing depends on how busy the real one is.
    struct Machine {
        permits: Scheduler,
        lanes: Vec<Lane>,
    }

    /// Something that always wants to compute.
    struct Lane {
        account: Arc<CpuAccount>,
        wants: Option<oneshot::Receiver<Permit>>,
        has: Option<Permit>,
        work: Work,
    }

    impl Machine {
        fn new(permits: usize) -> Self {
            Self { permits: Scheduler::new(permits), lanes: Vec::new() }
        }

        fn lanes(mut self, account: &Arc<CpuAccount>, count: usize, work: Work) -> Self {
            self.lanes.extend((0..count).map(|_| Lane { account: account.clone(), wants: None, has: None, work }));
            self
        }

        fn ask(&mut self) {
            for lane in &mut self.lanes {
                if lane.has.is_none() && lane.wants.is_none() {
                    match (lane.work, &self.permits) {
                        (Work::Guest, permits) => lane.wants = Some(permits.ask(&lane.account)),
                        (Work::Host, permits) => match permits.ask_for_host(&lane.account) {
                            Turn::Now(permit) => lane.has = Some(permit),
                            Turn::Later(waiting) => lane.wants = Some(waiting),
                        },
                    }
                }
                if let Some(permit) = lane.wants.as_mut().and_then(|wants| wants.try_recv().ok()) {
                    (lane.wants, lane.has) = (None, Some(permit));
                }
            }
        }

        /// Lets so much time pass: whoever has a permit computes for a tick at a time, and offers it at each, as guests do.
        fn run(&mut self, ticks: usize) {
            for _ in 0..ticks {
                self.ask();
                for lane in &mut self.lanes {
                    let Some(permit) = lane.has.take() else { continue };
                    if lane.work == Work::Guest {
                        lane.wants = Some(self.permits.ask(&lane.account));
                    }
                    spend(permit, TICK_NANOS);
                }
            }
        }
    }

    /// What each has computed when so many lanes of each have computed for a while, in ticks.
    fn share(permits: usize, accounts: &[(&Arc<CpuAccount>, usize)]) -> Vec<f64> {
        let machine = Machine::new(permits);
        let mut machine = accounts.iter().fold(machine, |machine, (account, lanes)| machine.lanes(account, *lanes, Work::Guest));
        machine.run(1_000);
        accounts.iter().map(|(account, _)| account.computed().as_nanos() as f64 / TICK_NANOS as f64).collect()
    }

    #[test]
    fn many_lanes_are_no_larger_share() {
        let computed = share(1, &[(&account(1), 1), (&account(1), 8)]);
        assert!((0.98..1.02).contains(&(computed[0] / computed[1])), "{computed:?}");
    }

    #[test]
    fn weights_are_shares() {
        for lanes in [2, 1] {
            // One lane each, too: what a lane could not get while it stood outside the queue would be lost to it.
            let computed = share(1, &[(&account(1), lanes), (&account(3), lanes)]);
            assert!((2.9..3.1).contains(&(computed[1] / computed[0])), "{lanes} lanes: {computed:?}");
        }
    }

    #[test]
    fn nobody_waits_where_there_is_room() {
        assert_eq!(share(2, &[(&account(1), 1), (&account(1_000), 1)]), [1_000.0, 1_000.0]);
    }

    #[test]
    fn the_hosts_work_is_done_on_its_account() {
        // Any number of connections of a tenant that only sends, beside one that computes; both sides of the weights.
        for (permits, flood, weights) in [(1, 1, (1, 1)), (2, 8, (1, 1)), (2, 8, (1, 100)), (2, 2, (4, 1)), (2, 8, (4, 1))] {
            let (sends, computes) = (account(weights.0), account(weights.1));
            let mut machine = Machine::new(permits).lanes(&sends, flood, Work::Host).lanes(&computes, permits, Work::Guest);
            machine.run(4_000);
            let [host, guest] = [sends.host_worked(), computes.computed()].map(|time| time.as_secs_f64());
            let (taken, share) = (host / (host + guest), f64::from(weights.0) / f64::from(weights.0 + weights.1));
            assert!((share / 2.0..share * 1.1).contains(&taken), "{permits} permits, {flood} connections, {weights:?}: {taken} of all");
            assert_eq!(sends.computed() + computes.host_worked(), Duration::ZERO);
        }
    }

    #[test]
    fn the_host_is_not_held_back_where_there_is_room_or_within_its_share() {
        let (alone, busy, quiet) = (account(1), account(1), account(1));
        let mut machine = Machine::new(2).lanes(&alone, 2, Work::Host);
        machine.run(1_000);
        assert_eq!(alone.host_worked(), EPOCH_TICK * 2_000);
        // Every permit is taken; somebody who has wanted nothing so far is served at once all the same.
        let mut machine = Machine::new(2).lanes(&busy, 4, Work::Guest);
        machine.run(100);
        machine.ask();
        let Turn::Now(permit) = machine.permits.ask_for_host(&quiet) else { panic!("it waits") };
        assert!(!permit.counted);
        assert!(matches!(machine.permits.ask_for_host(&busy), Turn::Now(_)), "it has its share, and not more");
        spend(permit, 10 * TICK_NANOS);
        assert!(matches!(machine.permits.ask_for_host(&quiet), Turn::Later(_)), "that was more");
    }

    #[test]
    fn the_hosts_work_goes_before_the_guests_of_the_same_account() {
        let (permits, account, other) = (Scheduler::new(1), account(1), account(1));
        let held = permits.ask(&other).try_recv().expect("free");
        let mut guest = permits.ask(&account);
        account.clock.fetch_add(TICK_NANOS, Ordering::Relaxed);
        let Turn::Later(mut host) = permits.ask_for_host(&account) else { panic!("it is ahead of its share") };
        drop(held);
        let permit = host.try_recv().expect("its turn");
        assert!(guest.try_recv().is_err());
        drop(permit);
        assert!(guest.try_recv().is_ok());
    }

    #[test]
    fn a_flood_of_new_accounts_leaves_an_old_one_its_share() {
        let (permits, old) = (Scheduler::new(1), account(1));
        let mut waiting = vec![(old.clone(), permits.ask(&old))];
        let mut got = 0;
        for _ in 0..1_000 {
            // Whenever a permit ends there are two who have never had one.
            while waiting.iter().filter(|(account, _)| !Arc::ptr_eq(account, &old)).count() < 2 {
                let new = account(1);
                waiting.push((new.clone(), permits.ask(&new)));
            }
            let (at, permit) = waiting
                .iter_mut()
                .enumerate()
                .find_map(|(at, (_, permit))| Some((at, permit.try_recv().ok()?)))
                .expect("somebody has the permit");
            let (account, _) = waiting.swap_remove(at);
            spend(permit, TICK_NANOS);
            if Arc::ptr_eq(&account, &old) {
                got += 1;
                waiting.push((old.clone(), permits.ask(&old)));
            }
        }
        // One of three.
        assert!((250..=400).contains(&got), "{got} of 1000 permits");
        assert_eq!(permits.state().wanted, waiting.len() as u64, "those who are gone are not counted");
    }

    #[test]
    fn idleness_is_not_saved_up() {
        let (permits, busy, late) = (Scheduler::new(1), account(1), account(1));
        let permit = permits.ask(&busy).try_recv().expect("free");
        let _next = permits.ask(&busy);
        spend(permit, 5 * TICK_NANOS);
        let _waiting = permits.ask(&late);
        assert_eq!(late.clock(), busy.clock(), "it starts where the other is");
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
    async fn metered_work_that_is_given_up_keeps_no_turn() {
        let meter = HostMeter { permits: Scheduler::new(1), account: account(1) };
        let other = account(1);
        let held = meter.permits.ask(&other).try_recv().expect("free");
        meter.account.clock.fetch_add(TICK_NANOS, Ordering::Relaxed);
        let mut work = Box::pin(meter.metered(async { 7 }));
        assert!(futures::poll!(work.as_mut()).is_pending());
        drop(work);
        let mut work = Box::pin(meter.metered(async { 8 }));
        assert!(futures::poll!(work.as_mut()).is_pending());
        drop(held);
        assert_eq!(work.await, 8);
        let state = meter.permits.state();
        assert_eq!((state.free, state.wanted), (1, 0));
    }

    #[tokio::test]
    async fn who_waits_for_the_store_keeps_no_turn() {
        let permits = Scheduler::new(1);
        let slot = GuestSlot::new(&permits, account(1));
        slot.enter().await;
        assert_eq!(slot.without_permit(async { 7 }).await, 7);
        assert_eq!(permits.state().free, 0, "nothing to wait for: kept");
        let free = slot.without_permit(async {
            tokio::task::yield_now().await;
            permits.state().free
        });
        assert_eq!(free.await, 1);
        assert_eq!(permits.state().free, 0);
    }
}

//! Trying again: which attempts, how long between them, and when an attempt is given up.
//!
//! The SDK's own retries are off. Their budget is shared by the whole process, so that one dead store would end the retries of every
//! client; and they know neither a 200 without ETag nor a limit in time.

use super::clock::StoreClock;
use super::credentials::{Renewable, Renewal};
use super::failure::{Failure, RetryClass, credentials_failure};
use super::options::Timeouts;
use super::redirect::{self, MAX_REDIRECTS};
use crate::payload::body::Progress;
use crate::policy::metrics::{RetryCause, RetryCounts};
use crate::store::answer::StoreError;
use crate::store::retries;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// The first pause is at most this long; each later one at most twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The same where the store asked for less.
const FIRST_THROTTLED_PAUSE: Duration = Duration::from_millis(500);

/// The same where an attempt that goes unanswered leaves something behind: few attempts are to outlast a short outage.
const FIRST_LOST_PAUSE: Duration = Duration::from_secs(1);

/// Attempts at what may be a store's way and no accident: an answer without an ETag, bytes that arrive changed.
const DOUBTFUL_ATTEMPTS: u32 = 4;

/// Attempts that a transient failure gets whatever the clock says: a single stall may use the whole time up.
const LEAST_ATTEMPTS: u32 = 3;

/// A client sending 16 KiB/s is slow, one below that is broken: the pace that an attempt as a whole must keep.
const LEAST_BYTES_A_SECOND: u64 = 16 << 10;

/// When to stop trying.
#[derive(Debug, Clone, Copy)]
pub(super) enum Budget {
    /// So many attempts in all.
    Attempts(u32),
    /// For so long.
    Time(Duration),
}

/// How one client tries again.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) budget: Budget,
    pub(super) max_pause: Duration,
    pub(super) timeouts: Timeouts,
    /// True once the store has answered anything: from then on an outage is worth waiting for.
    pub(super) answered: AtomicBool,
    pub(super) counts: Arc<RetryCounts>,
    /// What can be asked for others when the store refuses those in use.
    pub(super) credentials: Option<Renewable>,
    pub(super) clock: StoreClock,
    /// True once a place that the endpoint redirects to has answered.
    pub(super) sent_on: AtomicBool,
}

/// One attempt of a request.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// From 1.
    pub(super) number: u32,
    /// Where the attempt before was sent, if not to the endpoint.
    pub(super) redirect: Option<String>,
}

impl Attempt {
    /// The first of a request, or the only one.
    pub(super) fn first() -> Self {
        Self { number: 1, redirect: None }
    }
}

impl Retry {
    /// Tries until it works, cannot work, or the budget is spent.
    pub(super) async fn run<T, F>(&self, operation: &str, mut attempt: impl FnMut(Attempt) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut course = self.course();
        loop {
            match attempt(course.attempt()).await {
                Ok(done) => {
                    self.answered.store(true, Ordering::Relaxed);
                    self.sent_on.fetch_or(course.redirect.is_some(), Ordering::Relaxed);
                    return Ok(done);
                }
                Err(failure) => course.pause(operation, failure).await?,
            }
        }
    }

    /// The course of one request.
    pub(super) fn course(&self) -> RetryState<'_> {
        RetryState {
            retry: self,
            begun: Instant::now(),
            attempts: 0,
            redirect: None,
            redirects: 0,
            renewed: false,
            set: false,
            generation: self.generation(),
        }
    }

    fn generation(&self) -> u64 {
        self.credentials.as_ref().map_or(0, Renewable::generation)
    }

    fn budget(&self, class: &RetryClass) -> Budget {
        match self.budget {
            Budget::Time(_) if *class == RetryClass::Unreachable && !self.answered.load(Ordering::Relaxed) => {
                Budget::Time(self.timeouts.first_contact)
            }
            budget => budget,
        }
    }
}

/// The course of one request: what has been tried.
#[derive(Debug)]
pub(super) struct RetryState<'a> {
    retry: &'a Retry,
    begun: Instant,
    pub(super) attempts: u32,
    /// Where the next attempt goes, if not to the endpoint; how many times the request has been sent on.
    redirect: Option<String>,
    redirects: u32,
    /// True once other credentials have been asked for, or the clock was set: neither helps twice.
    renewed: bool,
    set: bool,
    /// The credentials of the next attempt, or older ones.
    generation: u64,
}

impl RetryState<'_> {
    /// The next attempt.
    pub(super) fn attempt(&self) -> Attempt {
        Attempt { number: self.attempts + 1, redirect: self.redirect.clone() }
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// The failure, if there is to be no other.
    pub(super) async fn pause(&mut self, operation: &str, mut failure: Failure) -> Result<(), StoreError> {
        self.attempts += 1;
        if failure.status.is_some() {
            self.retry.answered.store(true, Ordering::Relaxed);
        }
        // Whatever comes next begins at the endpoint again, unless it is sent on again.
        let sent_on = self.redirect.take();
        if let RetryClass::Redirected(to) = &failure.class
            && self.redirects < MAX_REDIRECTS
        {
            self.redirects += 1;
            self.redirect = Some(to.clone());
            return Ok(());
        }
        if let Some(origin) = sent_on.and_then(|to| redirect::origin(&to.parse().ok()?)) {
            failure.note(&format!("the endpoint had redirected the request to {origin}"));
            let answers = failure.status.is_some();
            if !self.retry.sent_on.fetch_or(answers, Ordering::Relaxed) && !answers {
                // Nobody has ever answered there: most likely the redirect is for browsers, and wrong.
                failure.class = RetryClass::Final;
            }
        }
        if self.mended(&mut failure).await {
            self.generation = self.retry.generation();
            return Ok(());
        }
        let (first, cause) = match &failure.class {
            RetryClass::Final | RetryClass::Credentials | RetryClass::Clock(_) | RetryClass::Redirected(_) => {
                return Err(failure.into_error(operation, self.attempts));
            }
            RetryClass::Doubtful if self.attempts >= DOUBTFUL_ATTEMPTS => return Err(failure.into_error(operation, self.attempts)),
            RetryClass::Throttled => (FIRST_THROTTLED_PAUSE, RetryCause::Throttled),
            RetryClass::Transient | RetryClass::Doubtful => (FIRST_PAUSE, RetryCause::Transient),
            RetryClass::Lost => (FIRST_LOST_PAUSE, RetryCause::Transient),
            RetryClass::Unreachable => (FIRST_PAUSE, RetryCause::Unreachable),
        };
        // A backoff of none would be a loop without any pause.
        let longest = first.saturating_mul(1 << (self.attempts - 1).min(16)).min(self.retry.max_pause.max(first));
        let pause = longest.mul_f64(0.25 + 0.75 * random_fraction());
        let more = match self.retry.budget(&failure.class) {
            Budget::Attempts(attempts) => self.attempts < attempts,
            Budget::Time(time) => self.attempts < LEAST_ATTEMPTS || self.begun.elapsed() + pause < time,
        };
        if !more {
            return Err(failure.into_error(operation, self.attempts));
        }
        self.retry.counts.count(cause);
        retries::count(cause);
        tokio::time::sleep(pause).await;
        self.generation = self.retry.generation();
        Ok(())
    }

    /// True if the cause of the failure is gone: there are other credentials, or the store's time is known. Each is tried once, so that a
    /// store that refuses everything does not lead in circles.
    async fn mended(&mut self, failure: &mut Failure) -> bool {
        match (&failure.class, &self.retry.credentials) {
            (RetryClass::Clock(theirs), _) if !self.set => {
                self.set = true;
                if let Some(theirs) = theirs {
                    self.retry.clock.follow(*theirs);
                }
                true
            }
            (RetryClass::Credentials, Some(credentials)) if !self.renewed => {
                self.renewed = true;
                match credentials.renew(self.generation).await {
                    Renewal::Others => return true,
                    Renewal::Same => failure.note("asked again, their source gives the same"),
                    Renewal::Failed(error) => {
                        // Not for a tenant's ears: it names files and profiles of the operator.
                        tracing::warn!(error = credentials_failure(&error).text(), "Other credentials were asked for, in vain.");
                        failure.note("asked again, their source gives none");
                    }
                }
                false
            }
            _ => false,
        }
    }
}

/// Between 0 and 1. Without entropy every client pauses equally, which is only less kind to the store.
fn random_fraction() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

/// Gives an attempt up when its body of `bytes` stalls, when no answer follows the body, or when it is hopelessly slow.
pub(super) async fn watched<T>(
    attempt: impl Future<Output = Result<T, Failure>>,
    progress: &Progress,
    bytes: u64,
    stall: Duration,
    answer: Duration,
) -> Result<T, Failure> {
    tokio::pin!(attempt);
    let whole = Duration::from_secs(bytes / LEAST_BYTES_A_SECOND).saturating_add(stall).saturating_add(answer);
    let (begun, mut moved, mut seen) = (Instant::now(), Instant::now(), progress.bytes());
    // The whole body counts as taken when it lies in the socket's buffer, so the answer's limit is never below a stall's.
    loop {
        let limit = if seen >= bytes { answer.max(stall) } else { stall };
        let deadline = (moved + limit).min(begun + whole);
        match tokio::time::timeout_at(deadline, attempt.as_mut()).await {
            Ok(done) => return done,
            Err(_) if begun.elapsed() >= whole => {
                return Err(Failure::transient(format!("request send failed: not done within {whole:?}")));
            }
            Err(_) => {
                let now = progress.bytes();
                if now == seen {
                    return Err(Failure::transient(format!("request send failed: stalled for {limit:?}")));
                }
                (seen, moved) = (now, Instant::now());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::answer::StoreErrorKind;

    fn retry(budget: Budget) -> Retry {
        Retry {
            budget,
            max_pause: Duration::from_millis(4),
            timeouts: Timeouts::default(),
            answered: AtomicBool::new(true),
            counts: Arc::default(),
            credentials: None,
            clock: StoreClock::default(),
            sent_on: AtomicBool::new(false),
        }
    }

    fn of_class(class: RetryClass) -> Failure {
        let mut failure = Failure::transient("odd");
        failure.class = class;
        failure
    }

    async fn attempts(retry: &Retry, failure: impl Fn() -> Failure, failures: u32) -> (Result<(), StoreError>, u32) {
        let mut made = 0;
        let result = retry
            .run("PutObject", |attempt| {
                let number = attempt.number;
                made = number;
                let answer = if number > failures { Ok(()) } else { Err(failure()) };
                async move { answer }
            })
            .await;
        (result, made)
    }

    #[tokio::test(start_paused = true)]
    async fn a_backoff_of_none_still_pauses() {
        let none = || Retry { max_pause: Duration::ZERO, ..retry(Budget::Attempts(100)) };
        for (class, first) in [(RetryClass::Transient, FIRST_PAUSE), (RetryClass::Throttled, FIRST_THROTTLED_PAUSE)] {
            let begun = Instant::now();
            attempts(&none(), || of_class(class.clone()), 99).await.0.expect("the last one works");
            assert!((first / 4 * 99..=first * 99).contains(&begun.elapsed()), "{class:?}: {:?}", begun.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retries_that_are_set_are_counted() {
        let transient = || Failure::transient("gone");
        let three = retry(Budget::Attempts(3));
        let (result, made) = attempts(&three, transient, 9).await;
        assert_eq!(made, 3);
        assert_eq!(three.counts.read(), [("throttled", 0), ("transient", 2), ("unreachable", 0)]);
        assert_eq!(result.expect_err("all failed").message, "operation error S3: PutObject, gone (after 3 attempts)");
        let (result, made) = attempts(&retry(Budget::Attempts(3)), transient, 2).await;
        assert!(result.is_ok() && made == 3);
        let (result, made) = attempts(&retry(Budget::Attempts(1)), transient, 1).await;
        assert!(result.is_err() && made == 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_budget_allows_many_attempts_and_ends() {
        let transient = || Failure::transient("gone");
        let (result, made) = attempts(&retry(Budget::Time(Duration::from_secs(60))), transient, 50).await;
        assert!(result.is_ok() && made == 51);
        let (result, made) = attempts(&retry(Budget::Time(Duration::ZERO)), transient, 50).await;
        assert!(result.is_err());
        assert_eq!(made, LEAST_ATTEMPTS);
    }

    #[tokio::test]
    async fn a_lasting_failure_is_not_retried() {
        let (result, made) =
            attempts(&retry(Budget::Time(Duration::from_secs(60))), || Failure::lasting(StoreErrorKind::Denied, "no"), 9).await;
        assert_eq!(made, 1);
        assert_eq!(result.expect_err("refused").kind, StoreErrorKind::Denied);
    }

    /// What each class gets, whatever is set: the first number is how many attempts are made of a request that never works.
    #[tokio::test(start_paused = true)]
    async fn attempts_end_where_they_cannot_help() {
        for budget in [Budget::Time(Duration::from_secs(600)), Budget::Attempts(100)] {
            let check = async |class: RetryClass, expected| {
                let (result, made) = attempts(&retry(budget), || of_class(class.clone()), u32::MAX).await;
                assert_eq!((result.is_err(), made), (true, expected), "{class:?}");
            };
            check(RetryClass::Final, 1).await;
            check(RetryClass::Doubtful, DOUBTFUL_ATTEMPTS).await;
            check(RetryClass::Credentials, 1).await;
            check(RetryClass::Clock(None), 2).await;
            check(RetryClass::Redirected("http://store.example/b/k".into()), MAX_REDIRECTS + 1).await;
        }
    }

    #[tokio::test]
    async fn a_redirect_is_followed_once_and_then_the_endpoint_is_asked_again() {
        let (retry, to) = (retry(Budget::Attempts(1)), "https://store.example/b/k".to_owned());
        let mut course = retry.course();
        course.pause("PutObject", of_class(RetryClass::Redirected(to.clone()))).await.expect("followed, though nothing is retried");
        assert_eq!(course.attempt().redirect, Some(to));
        let error = course.pause("PutObject", of_class(RetryClass::Transient)).await.expect_err("no retries");
        assert!(error.message.contains("the endpoint had redirected the request to https://store.example ("), "{error}");
        assert_eq!(course.attempt().redirect, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_attempt_is_given_up_and_a_slow_one_is_not() {
        let (stall, answer) = (Duration::from_secs(20), Duration::from_secs(30));
        let progress = Progress::default();
        let never = std::future::pending::<Result<(), Failure>>();
        let begun = Instant::now();
        assert!(watched(never, &progress, 10, stall, answer).await.is_err());
        assert_eq!(begun.elapsed(), stall);
        let slow = async {
            tokio::time::sleep(Duration::from_secs(29)).await;
            Ok(())
        };
        assert!(watched(slow, &progress, 0, stall, answer).await.is_ok());
    }
}

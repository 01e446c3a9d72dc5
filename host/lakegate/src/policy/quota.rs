//! What a tenant has used of its day, and what it has open: reserved before bytes are taken, given back when an object does not land.

use super::day::{CountedDay, Moment};
use super::denied::Denied;
use super::grant::Grant;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts objects and bytes by UTC day, and open objects, over all sessions of a tenant.
#[derive(Debug, Default)]
pub struct Quota {
    daily_objects: Option<u64>,
    daily_bytes: Option<u64>,
    open_objects: Option<u64>,
    used: Arc<Mutex<Used>>,
}

#[derive(Debug, Default)]
struct Used {
    day: CountedDay,
    /// How many days there were: two of one number are not the same where the clock was set.
    number: u64,
    objects: u64,
    bytes: u64,
    open: u64,
}

fn lock(used: &Mutex<Used>) -> MutexGuard<'_, Used> {
    used.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An object is being written, until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenObject(Arc<Mutex<Used>>);

impl Drop for OpenObject {
    fn drop(&mut self) {
        lock(&self.0).open -= 1;
    }
}

impl Quota {
    /// A quota with the grant's bounds.
    pub fn new(grant: &Grant) -> Self {
        Self::default().under(grant)
    }

    /// The same quota under another grant's bounds.
    #[must_use]
    pub fn under(&self, grant: &Grant) -> Self {
        let Grant { daily_objects, daily_bytes, max_open_objects, .. } = *grant;
        Self { daily_objects, daily_bytes, open_objects: max_open_objects, used: self.used.clone() }
    }

    /// What is used of the day: an earlier one's is forgotten.
    fn of_day(&self, now: Moment) -> MutexGuard<'_, Used> {
        let mut used = lock(&self.used);
        if used.day.turns(now) {
            used.number += 1;
            (used.objects, used.bytes) = (0, 0);
        }
        used
    }

    /// Room for one object that is being written.
    ///
    /// # Errors
    /// `max_open_objects` is reached.
    pub(crate) fn open(&self) -> Result<OpenObject, Denied> {
        let mut used = lock(&self.used);
        if let Some(most) = self.open_objects
            && used.open >= most
        {
            return Err(Denied::new(
                "max_open_objects",
                format!("objects open at once: {most} granted (`max_open_objects`), and all are open"),
            ));
        }
        used.open += 1;
        Ok(OpenObject(self.used.clone()))
    }

    /// Room for one object of today.
    ///
    /// # Errors
    /// `daily_objects` is reached.
    pub(crate) fn reserve(self: &Arc<Self>) -> Result<Reservation, Denied> {
        self.reserve_at(Moment::now())
    }

    fn reserve_at(self: &Arc<Self>, now: Moment) -> Result<Reservation, Denied> {
        let mut used = self.of_day(now);
        if let Some(most) = self.daily_objects
            && used.objects >= most
        {
            return Err(Denied::new("daily_objects", format!("{most} objects a day are granted, and all are used")));
        }
        used.objects += 1;
        let held = Held { day: used.number, objects: 1, bytes: 0 };
        Ok(Reservation { quota: self.clone(), held: Mutex::new(held), landed: AtomicBool::new(false) })
    }
}

/// Room for one object. Dropped before the object has landed, it is given back.
#[derive(Debug)]
pub(crate) struct Reservation {
    quota: Arc<Quota>,
    held: Mutex<Held>,
    landed: AtomicBool,
}

/// What a reservation has taken of a day.
#[derive(Debug, Clone, Copy)]
struct Held {
    day: u64,
    objects: u64,
    bytes: u64,
}

impl Reservation {
    /// Room for more bytes of the object.
    ///
    /// # Errors
    /// `daily_bytes` is reached.
    pub(crate) fn grow(&self, bytes: u64) -> Result<(), Denied> {
        self.grow_at(bytes, Moment::now())
    }

    /// Bytes count on the day on which they are written; those of an earlier day, and the object, have been counted there.
    fn grow_at(&self, bytes: u64, now: Moment) -> Result<(), Denied> {
        let mut used = self.quota.of_day(now);
        if let Some(most) = self.quota.daily_bytes
            && used.bytes.saturating_add(bytes) > most
        {
            let text = format!("{most} bytes a day are granted; {} are used, and {bytes} more are to be written", used.bytes);
            return Err(Denied::new("daily_bytes", text));
        }
        used.bytes = used.bytes.saturating_add(bytes);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.day != used.number {
            *held = Held { day: used.number, objects: 0, bytes: 0 };
        }
        held.bytes = held.bytes.saturating_add(bytes);
        Ok(())
    }

    /// The object is there: what it took stays taken.
    pub(crate) fn landed(&self) {
        self.landed.store(true, Ordering::Relaxed);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let held = *self.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut used = lock(&self.quota.used);
        if used.number == held.day && !*self.landed.get_mut() {
            used.objects = used.objects.saturating_sub(held.objects);
            used.bytes = used.bytes.saturating_sub(held.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn quota(daily_objects: Option<u64>, daily_bytes: Option<u64>) -> Arc<Quota> {
        Arc::new(Quota::new(&Grant { daily_objects, daily_bytes, ..Grant::default() }))
    }

    /// At a day, at once: no time passes by the other clock.
    fn on(day: i64) -> Moment {
        Moment { day, steady: Instant::now() }
    }

    impl Quota {
        fn reserve_on(self: &Arc<Self>, day: i64) -> Result<Reservation, Denied> {
            self.reserve_at(on(day))
        }
    }

    impl Reservation {
        fn grow_on(&self, bytes: u64, day: i64) -> Result<(), Denied> {
            self.grow_at(bytes, on(day))
        }
    }

    /// Objects and bytes of the day.
    fn used(quota: &Quota, day: i64) -> (u64, u64) {
        let used = quota.of_day(on(day));
        (used.objects, used.bytes)
    }

    #[test]
    fn open_objects_are_bounded_and_no_new_day_closes_them() {
        let quota = Quota::new(&Grant { max_open_objects: Some(1), ..Grant::default() });
        let open = quota.open().unwrap();
        assert_eq!(quota.of_day(on(7)).open, 1);
        let denied = quota.open().unwrap_err();
        let text = "objects open at once: 1 granted (`max_open_objects`), and all are open";
        assert_eq!((denied.rule, denied.message.as_str()), ("max_open_objects", text));
        drop(open);
        assert!(quota.open().is_ok());
    }

    #[test]
    fn another_grant_goes_on_with_the_same_day() {
        let earlier = quota(Some(2), None);
        earlier.reserve_on(1).unwrap().landed();
        let later = Arc::new(earlier.under(&Grant { daily_objects: Some(1), ..Grant::default() }));
        assert_eq!(later.reserve_on(1).unwrap_err().rule, "daily_objects");
        assert!(earlier.reserve_on(1).is_ok());
    }

    #[test]
    fn objects_and_bytes_are_bounded_and_given_back() {
        let quota = quota(Some(2), Some(100));
        let first = quota.reserve_on(1).unwrap();
        first.grow_on(60, 1).unwrap();
        assert_eq!(first.grow_on(41, 1).unwrap_err().rule, "daily_bytes");
        first.grow_on(40, 1).unwrap();
        let second = quota.reserve_on(1).unwrap();
        assert_eq!(quota.reserve_on(1).unwrap_err().message, "2 objects a day are granted, and all are used");
        drop(second);
        drop(first);
        let third = quota.reserve_on(1).unwrap();
        third.grow_on(100, 1).unwrap();
        third.landed();
        drop(third);
        let fourth = quota.reserve_on(1).unwrap();
        let text = "100 bytes a day are granted; 100 are used, and 1 more are to be written";
        assert_eq!(fourth.grow_on(1, 1).unwrap_err().message, text);
    }

    #[test]
    fn a_new_day_begins_at_nothing_and_yesterdays_objects_give_nothing_back() {
        let quota = quota(Some(1), Some(10));
        let yesterday = quota.reserve_on(1).unwrap();
        yesterday.grow_on(10, 1).unwrap();
        let today = quota.reserve_on(2).unwrap();
        today.grow_on(10, 2).unwrap();
        drop(yesterday);
        assert_eq!(quota.reserve_on(2).unwrap_err().rule, "daily_objects");
        assert_eq!(today.grow_on(1, 2).unwrap_err().rule, "daily_bytes");
    }

    #[test]
    fn an_object_that_is_written_over_midnight_takes_of_both_days() {
        let quota = quota(Some(1), Some(10));
        let over = quota.reserve_on(1).unwrap();
        over.grow_on(10, 1).unwrap();
        assert_eq!(over.grow_on(1, 1).unwrap_err().rule, "daily_bytes");
        over.grow_on(9, 2).unwrap();
        let text = "10 bytes a day are granted; 9 are used, and 2 more are to be written";
        assert_eq!(over.grow_on(2, 2).unwrap_err().message, text);
        // The object was counted yesterday: today's is another, and only bytes are given back.
        let second = quota.reserve_on(2).unwrap();
        drop(over);
        assert_eq!(used(&quota, 2), (1, 0));
        drop(second);
        assert_eq!(used(&quota, 2), (0, 0));
    }

    #[test]
    fn a_clock_that_is_set_back_opens_no_day_again() {
        let quota = quota(Some(1), Some(10));
        let first = quota.reserve_on(2).unwrap();
        first.grow_on(10, 1).unwrap();
        assert_eq!(first.grow_on(1, 1).unwrap_err().rule, "daily_bytes");
        first.landed();
        drop(first);
        assert_eq!(quota.reserve_on(1).unwrap_err().rule, "daily_objects");
        assert_eq!(quota.reserve_on(2).unwrap_err().rule, "daily_objects");
        drop(quota.reserve_on(3).unwrap());
        assert_eq!(used(&quota, 3), (0, 0));
    }
}

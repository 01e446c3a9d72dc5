//! Every course of events up to a depth: what the catalog does with a request, which answers come, when the process dies, and what others commit
//! in between. A catalog of a few lines keeps the books.

use super::*;
use std::collections::HashSet;

const LIMITS: Limits = Limits { commits: 3, loads: 2 };

/// What may still go wrong on a course.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Faults {
    crashes: u8,
    foreign: u8,
    lost_answers: u8,
    refusals: u8,
    failed_loads: u8,
    failed_writes: u8,
    rollbacks: u8,
}

/// A request that is on its way while its client has given it up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Delayed {
    parent: Parent,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    /// The snapshots of `main` from the oldest on: true for ours.
    chain: Vec<(i64, bool)>,
    next_id: i64,
    delayed: Vec<Delayed>,
    /// The newest that the attempt has seen.
    seen: Parent,
    faults: Faults,
    attempt: Attempt,
    action: Action,
    restarts: u8,
    rolled_back: bool,
}

#[derive(Debug, Default)]
struct Explored {
    states: HashSet<World>,
    courses: u64,
    committed: u64,
    failed: u64,
    unknown: u64,
    already: u64,
}

impl World {
    fn new(faults: Faults) -> Self {
        let (attempt, action) = Attempt::new();
        Self { chain: Vec::new(), next_id: 1, delayed: Vec::new(), seen: None, faults, attempt, action, restarts: 0, rolled_back: false }
    }

    fn main(&self) -> Parent {
        self.chain.last().map(|(id, _)| *id)
    }

    fn found(&self) -> Option<i64> {
        self.chain.iter().find(|(_, ours)| *ours).map(|(id, _)| *id)
    }

    fn ours(&self) -> usize {
        self.chain.iter().filter(|(_, ours)| *ours).count()
    }

    /// The catalog takes a commit if its parent is the newest.
    fn apply(&mut self, parent: Parent, ours: bool) -> bool {
        let takes = parent == self.main();
        if takes {
            self.chain.push((self.next_id, ours));
            self.next_id += 1;
        }
        takes
    }

    fn after(mut self, event: Event) -> Self {
        self.action = self.attempt.next(LIMITS, event);
        self
    }

    /// All that may come next from here, before the process does another step.
    fn others(&self) -> Vec<Self> {
        let mut worlds = Vec::new();
        let mut add = |change: &mut dyn FnMut(&mut Self)| {
            let mut world = self.clone();
            change(&mut world);
            worlds.push(world);
        };
        if self.faults.foreign > 0 {
            add(&mut |world| {
                world.faults.foreign -= 1;
                let main = world.main();
                world.apply(main, false);
            });
        }
        if self.faults.rollbacks > 0 && self.chain.last().is_some_and(|(_, ours)| !ours) {
            add(&mut |world| {
                world.faults.rollbacks -= 1;
                world.chain.pop();
                world.rolled_back = true;
            });
        }
        for at in 0..self.delayed.len() {
            add(&mut |world| {
                let request = world.delayed.remove(at);
                world.apply(request.parent, true);
            });
        }
        if self.faults.crashes > 0 {
            add(&mut |world| {
                world.faults.crashes -= 1;
                world.restarts += 1;
                (world.attempt, world.action) = Attempt::new();
            });
        }
        worlds
    }

    /// All that may become of the step that the process does now.
    fn steps(&self) -> Vec<Self> {
        let mut worlds = Vec::new();
        match self.action {
            Action::Load => {
                let (main, found) = (self.main(), self.found());
                worlds.push(Self { seen: main, ..self.clone() }.after(Event::Loaded { main, found }));
                if self.faults.failed_loads > 0 {
                    let faults = Faults { failed_loads: self.faults.failed_loads - 1, ..self.faults };
                    let world = Self { faults, ..self.clone() };
                    worlds.push(world.clone().after(Event::NotLoaded { again: true }));
                    worlds.push(world.after(Event::NotLoaded { again: false }));
                }
            }
            Action::Write(parent) => {
                assert_eq!(parent, self.seen, "a list is written for what was seen last");
                worlds.push(self.clone().after(Event::Written));
                if self.faults.failed_writes > 0 {
                    let faults = Faults { failed_writes: self.faults.failed_writes - 1, ..self.faults };
                    worlds.push(Self { faults, ..self.clone() }.after(Event::NotWritten));
                }
            }
            Action::Commit => {
                let parent = self.attempt.written.expect("a list was written");
                let mut world = self.clone();
                let taken = world.apply(parent, true);
                let snapshot = world.next_id - 1;
                worlds.push(world.clone().after(if taken { Event::Committed { snapshot } } else { Event::NotTaken }));
                // Also where the catalog is busy.
                worlds.push(self.clone().after(Event::NotTaken));
                if self.faults.lost_answers > 0 {
                    let faults = Faults { lost_answers: self.faults.lost_answers - 1, ..self.faults };
                    // The request has done its work, never arrives, or arrives later.
                    worlds.push(Self { faults, ..world }.after(Event::NoAnswer));
                    worlds.push(Self { faults, ..self.clone() }.after(Event::NoAnswer));
                    let delayed = [self.delayed.clone(), vec![Delayed { parent }]].concat();
                    worlds.push(Self { faults, delayed, ..self.clone() }.after(Event::NoAnswer));
                    // The process dies while the request is on its way.
                    if self.faults.crashes > 0 {
                        let faults = Faults { crashes: faults.crashes - 1, ..faults };
                        let (attempt, action) = Attempt::new();
                        let delayed = [self.delayed.clone(), vec![Delayed { parent }]].concat();
                        worlds.push(Self { faults, delayed, attempt, action, restarts: self.restarts + 1, ..self.clone() });
                    }
                }
                if self.faults.refusals > 0 {
                    let faults = Faults { refusals: self.faults.refusals - 1, ..self.faults };
                    worlds.push(Self { faults, ..self.clone() }.after(Event::Refused));
                }
            }
            Action::Wait(_) => worlds.push(Self { action: self.attempt.waited(), ..self.clone() }),
            Action::End(_) => {}
        }
        worlds
    }

    /// The same commit once more, in a quiet world, in which all that was on its way has arrived.
    fn settled(mut self) -> Self {
        for request in std::mem::take(&mut self.delayed) {
            self.apply(request.parent, true);
        }
        (self.attempt, self.action) = Attempt::new();
        self.faults = NO_FAULTS;
        while !matches!(self.action, Action::End(_)) {
            // The first is that in which nothing goes wrong.
            self = self.steps().swap_remove(0);
        }
        self
    }
}

const NO_FAULTS: Faults = Faults { crashes: 0, foreign: 0, lost_answers: 0, refusals: 0, failed_loads: 0, failed_writes: 0, rollbacks: 0 };

fn explore(world: World, explored: &mut Explored) {
    assert!(world.ours() <= 1, "doubled: {world:#?}");
    if !explored.states.insert(world.clone()) {
        return;
    }
    if let Action::End(end) = world.action {
        explored.courses += 1;
        let possible = || world.delayed.iter().any(|request| request.parent == world.main());
        match end {
            End::Committed { already, .. } => {
                assert_eq!(world.ours(), 1, "lost: {world:#?}");
                explored.committed += 1;
                explored.already += u64::from(already);
            }
            // A process that died may have left a request behind, of which this one knows nothing.
            End::Failed => {
                assert!(world.ours() == 0 && (!possible() || world.restarts > 0 || world.rolled_back), "{world:#?}");
                explored.failed += 1;
            }
            End::Unknown => {
                explored.unknown += 1;
            }
        }
        let settled = world.settled();
        assert!(matches!(settled.action, Action::End(End::Committed { .. })), "{settled:#?}");
        assert_eq!(settled.ours(), 1, "{settled:#?}");
        return;
    }
    for next in world.steps().into_iter().chain(world.others()) {
        explore(next, explored);
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the counts are what a reader of the log looks for")]
fn no_course_of_events_doubles_or_loses_a_commit() {
    let mut explored = Explored::default();
    for faults in [
        Faults { crashes: 2, foreign: 2, lost_answers: 3, refusals: 1, failed_loads: 1, failed_writes: 1, rollbacks: 0 },
        Faults { crashes: 1, foreign: 2, lost_answers: 2, refusals: 0, failed_loads: 2, failed_writes: 0, rollbacks: 1 },
    ] {
        explore(World::new(faults), &mut explored);
    }
    let Explored { states, courses, committed, failed, unknown, already } = &explored;
    println!(
        "{} states, {courses} ends: {committed} committed ({already} before), {failed} failed, {unknown} unknown; 0 doubled, 0 lost",
        states.len()
    );
    assert!(states.len() > 10_000 && [committed, failed, unknown, already].into_iter().all(|count| *count > 0), "{explored:?}");
}

/// The check above finds what it looks for: without the look among the ancestors, commits are doubled.
#[test]
#[should_panic(expected = "doubled")]
fn a_loop_that_does_not_look_among_the_ancestors_is_found_out() {
    let mut world = World::new(Faults { lost_answers: 1, ..NO_FAULTS });
    loop {
        let mut steps = world.steps();
        world = match world.action {
            Action::Load => {
                let main = world.main();
                World { seen: main, ..world }.after(Event::Loaded { main, found: None })
            }
            // The request has done its work, and its answer is lost.
            Action::Commit if world.faults.lost_answers > 0 => steps.swap_remove(2),
            Action::End(_) => panic!("not found: {world:#?}"),
            _ => steps.swap_remove(0),
        };
        assert!(world.ours() <= 1, "doubled");
    }
}

#[test]
fn the_machine_does_what_its_table_says() {
    let sent = |events: &[Event]| {
        let (mut attempt, mut action) = Attempt::new();
        for event in events {
            if let Action::Wait(_) = action {
                assert_eq!(attempt.waited(), Action::Load);
            }
            action = attempt.next(LIMITS, *event);
        }
        action
    };
    let empty = Event::Loaded { main: None, found: None };
    let at = |main| Event::Loaded { main: Some(main), found: None };
    let found = Event::Loaded { main: Some(9), found: Some(7) };
    let lost = [empty, Event::Written, Event::NoAnswer];
    let then = |more: &[Event]| sent(&[&lost[..], more].concat());
    for (found, expected) in [
        (sent(&[found]), Action::End(End::Committed { snapshot: 7, already: true })),
        (sent(&[empty]), Action::Write(None)),
        (sent(&[empty, Event::Written]), Action::Commit),
        (sent(&[empty, Event::Written, Event::NotTaken, at(5)]), Action::Write(Some(5))),
        (sent(&[empty, Event::NotWritten]), Action::Load),
        (sent(&[empty, Event::NotWritten, empty]), Action::End(End::Failed)),
        (sent(&[empty, Event::Written, Event::Refused]), Action::Load),
        (sent(&[empty, Event::Written, Event::Refused, empty]), Action::End(End::Failed)),
        // Of an earlier call.
        (sent(&[empty, Event::Written, Event::Refused, found]), Action::End(End::Committed { snapshot: 7, already: false })),
        (sent(&[Event::NotLoaded { again: false }]), Action::End(End::Unknown)),
        (sent(&[Event::NotLoaded { again: true }, Event::NotLoaded { again: true }]), Action::End(End::Unknown)),
        (then(&[found]), Action::End(End::Committed { snapshot: 7, already: false })),
        // The same parent: the same list once more.
        (then(&[empty]), Action::Commit),
        (then(&[empty, Event::Refused]), Action::Load),
        (then(&[empty, Event::Refused, empty]), Action::End(End::Unknown)),
        // Another parent: what was on its way is not taken any more.
        (then(&[empty, Event::Refused, at(5)]), Action::End(End::Failed)),
        (then(&[Event::NotLoaded { again: false }]), Action::End(End::Unknown)),
        (then(&[at(5), Event::NotWritten, at(5)]), Action::End(End::Failed)),
        (then(&[empty, Event::NotTaken, empty, Event::NotTaken, empty]), Action::End(End::Unknown)),
    ] {
        assert_eq!(found, expected);
    }
}

//! Every interleaving of attempts, answers, crashes and a rival, against a model of a store.

use super::{Answer, Cause, CreateOnly, Outcome, Seen, Step};
use crate::storage::object::OnExisting;

/// Requests of one put at most; after that its retries are used up.
const MOST_SENT: u32 = 3;

/// Looks of one put at most.
const MOST_LOOKS: u32 = 3;

/// How often a process may die and its work be begun anew: with two it takes minutes, and finds no more.
const MOST_CRASHES: u32 = 1;

/// What our source gives, and what the rival's gives.
const OUR_BYTES: u8 = 1;
const OTHER_BYTES: u8 = 2;

/// The token of the rival. Ours are counted from 1.
const RIVAL: u32 = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Object {
    bytes: u8,
    token: u32,
}

/// The store, and all that may still happen.
#[derive(Debug, Clone, Copy)]
struct World {
    object: Option<Object>,
    /// How many objects were ever created under the key.
    created: u32,
    /// What the rival would write, while it has not.
    rival: Option<u8>,
    crashes: u32,
    /// A request of a process that died, which arrives late: it creates with this token if it can.
    late: Option<u32>,
    /// The token of the process that is at work.
    token: u32,
}

/// One process with its put.
#[derive(Debug, Clone, Copy)]
struct Process {
    put: CreateOnly,
    sent: u32,
    looks: u32,
    /// Only of a completion: the store has the upload.
    has_upload: bool,
}

struct Explorer {
    on_existing: OnExisting,
    is_completion: bool,
    /// False: every request is answered in the end, so that a put without a rival must succeed.
    is_lossy: bool,
    ended: u64,
    outcomes: std::collections::BTreeMap<String, u64>,
}

impl Explorer {
    fn process(&self) -> Process {
        let put = if self.is_completion { CreateOnly::completion(self.on_existing) } else { CreateOnly::put(self.on_existing) };
        Process { put, sent: 0, looks: 0, has_upload: true }
    }

    /// All that may happen before the process goes on with `step`.
    fn explore(&mut self, world: World, process: Process, step: Step) {
        if let Some(bytes) = world.rival {
            let mut after = World { rival: None, ..world };
            after.create(bytes, RIVAL);
            self.explore(after, process, step);
        }
        if let Some(token) = world.late {
            let mut after = World { late: None, ..world };
            after.create(OUR_BYTES, token);
            self.explore(after, process, step);
        }
        let working = matches!(step, Step::Send | Step::Look);
        if working && world.crashes < MOST_CRASHES {
            // The next process begins with a token of its own.
            let after = World { crashes: world.crashes + 1, token: world.token + 1, ..world };
            self.explore(after, self.process(), Step::Send);
        }
        match step {
            Step::Send => self.send(world, process),
            Step::Look => self.look(world, process),
            Step::Done(outcome) => self.done(world, outcome),
            Step::Fail(cause) => self.failed(world, process, cause),
        }
    }

    fn send(&mut self, world: World, mut process: Process) {
        process.sent += 1;
        let again = process.sent < MOST_SENT;
        let go = |explorer: &mut Self, world: World, mut process: Process, answer: Answer| {
            let step = process.put.answered(answer, again);
            explorer.explore(world, process, step);
        };
        let mut took_effect = world;
        let answer = if self.is_completion && !process.has_upload {
            Answer::NoSuchUpload
        } else if took_effect.create(OUR_BYTES, world.token) {
            Answer::Created
        } else {
            Answer::Exists
        };
        let mut afterwards = process;
        afterwards.has_upload &= answer != Answer::Created;
        go(self, took_effect, afterwards, answer);
        if answer == Answer::NoSuchUpload {
            // There are stores that answer the repeated completion as they answered the first, without a look at the key.
            go(self, world, process, Answer::Created);
        }
        if self.is_lossy {
            // The answer is lost, or the request, or the request is late.
            go(self, took_effect, afterwards, Answer::Unclear);
            go(self, world, process, Answer::Unclear);
            if answer == Answer::Created && !self.is_completion && world.late.is_none() {
                go(self, World { late: Some(world.token), ..world }, process, Answer::Unclear);
            }
            go(self, world, process, Answer::Refused);
        }
        if again {
            go(self, world, process, Answer::Postponed);
        }
    }

    fn look(&mut self, world: World, mut process: Process) {
        process.looks += 1;
        let again = process.looks < MOST_LOOKS && process.sent < MOST_SENT;
        let truth = match world.object {
            None => Seen::Nothing,
            Some(object) if object.token == world.token => Seen::Ours,
            Some(object) if object.bytes == OUR_BYTES => Seen::Equal,
            Some(_) => Seen::Different,
        };
        let hidden = [Seen::Unclear, Seen::Forbidden, Seen::Incomparable];
        let is_lossy = self.is_lossy;
        let hidden = hidden.into_iter().filter(|seen| is_lossy && (*seen != Seen::Incomparable || truth == Seen::Equal));
        for seen in std::iter::once(truth).chain(hidden) {
            let mut process = process;
            let step = process.put.looked(seen, again);
            self.explore(world, process, step);
        }
    }

    fn done(&mut self, world: World, outcome: Outcome) {
        self.end(format!("{outcome:?}"));
        let object = world.object.expect("what is done is there");
        match (outcome, self.on_existing) {
            (Outcome::Created, _) => assert_eq!(object, Object { bytes: OUR_BYTES, token: world.token }, "another's object counts as ours"),
            (Outcome::WasThere, OnExisting::Verify) => assert_eq!(object.bytes, OUR_BYTES, "other bytes count as ours"),
            (Outcome::WasThere, OnExisting::Trust) => {}
            (Outcome::WasThere, OnExisting::Fail) => panic!("an object of before is accepted"),
        }
    }

    fn failed(&mut self, world: World, process: Process, cause: Cause) {
        self.end(format!("{cause:?}"));
        match cause {
            Cause::Different => assert_eq!(world.object.map(|object| object.bytes), Some(OTHER_BYTES)),
            Cause::Taken | Cause::Incomparable => assert!(world.object.is_some_and(|object| object.token != world.token)),
            Cause::Forbidden | Cause::Unknown => assert!(self.is_lossy),
            // It may be late and still arrive; it is not there by an answer of ours that we did not hear.
            Cause::LastAnswer => assert!(self.is_lossy || process.sent >= MOST_SENT || world.rival.is_none(), "{world:?} {process:?}"),
        }
        if !self.is_lossy {
            assert!(
                world.object.is_some_and(|object| object.token == RIVAL) || self.on_existing == OnExisting::Fail,
                "nobody else was there, every request was answered, and yet it failed: {cause:?} {world:?} {process:?}"
            );
        }
    }

    fn end(&mut self, how: String) {
        self.ended += 1;
        *self.outcomes.entry(how).or_default() += 1;
    }
}

impl World {
    /// A create-only request arrives. True if it creates.
    fn create(&mut self, bytes: u8, token: u32) -> bool {
        if self.object.is_some() {
            return false;
        }
        self.object = Some(Object { bytes, token });
        self.created += 1;
        assert_eq!(self.created, 1, "the model never replaces");
        true
    }
}

fn explore(on_existing: OnExisting, is_completion: bool, is_lossy: bool, rival: Option<u8>) -> Explorer {
    let mut explorer = Explorer { on_existing, is_completion, is_lossy, ended: 0, outcomes: std::collections::BTreeMap::new() };
    let world = World { object: None, created: 0, rival, crashes: 0, late: None, token: 1 };
    let process = explorer.process();
    explorer.explore(world, process, Step::Send);
    explorer
}

#[test]
#[expect(clippy::print_stdout, reason = "a figure")]
fn no_interleaving_replaces_doubles_or_mistakes_an_object() {
    let mut ended = 0;
    for on_existing in [OnExisting::Verify, OnExisting::Trust, OnExisting::Fail] {
        for is_completion in [false, true] {
            for is_lossy in [false, true] {
                for rival in [None, Some(OUR_BYTES), Some(OTHER_BYTES)] {
                    let explorer = explore(on_existing, is_completion, is_lossy, rival);
                    assert!(explorer.outcomes.contains_key("Created"), "{:?}", explorer.outcomes);
                    ended += explorer.ended;
                }
            }
        }
    }
    println!("{ended} interleavings of puts and completions explored");
    assert!(ended > 100_000, "{ended}");
}

/// What a process of today does that takes every 412 for another's object: the lost answer of its own put becomes a failure, or worse.
#[test]
fn the_model_finds_the_fault_that_peers_had() {
    let mut put = CreateOnly::put(OnExisting::Verify);
    assert_eq!(put.answered(Answer::Unclear, true), Step::Send);
    assert_eq!(put.answered(Answer::Exists, true), Step::Look, "it may be ours");
    assert_eq!(put.looked(Seen::Ours, true), Step::Done(Outcome::Created));
}

#[test]
fn a_conflict_says_nothing_of_an_object() {
    let mut put = CreateOnly::put(OnExisting::Verify);
    assert_eq!(put.answered(Answer::Postponed, true), Step::Send);
    assert_eq!(put.answered(Answer::Postponed, false), Step::Fail(Cause::LastAnswer));
}

#[test]
fn a_success_is_believed_but_for_a_repeated_completion() {
    let repeated = |mut put: CreateOnly| [put.answered(Answer::Unclear, true), put.answered(Answer::Created, true)];
    assert_eq!(repeated(CreateOnly::put(OnExisting::Verify)), [Step::Send, Step::Done(Outcome::Created)]);
    assert_eq!(repeated(CreateOnly::completion(OnExisting::Verify)), [Step::Send, Step::Look]);
    assert_eq!(CreateOnly::completion(OnExisting::Verify).answered(Answer::Created, true), Step::Done(Outcome::Created));
}

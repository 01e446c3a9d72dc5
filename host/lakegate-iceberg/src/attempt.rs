//! The commit loop, as a machine without requests: it is told what happened, and says what to do next.
//!
//! What makes it exact: a commit names the parent that it replaces as the newest snapshot, and the catalog takes it only while that is so. So of
//! all attempts on one parent at most one takes effect, whenever their requests arrive. An attempt whose answer did not come is looked for
//! among the ancestors of what is newest then; another parent is tried only after it was not found there.

/// How often, and how long between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Commits that are sent.
    pub(crate) commits: u32,
    /// Times in a row that the table cannot be loaded.
    pub(crate) loads: u32,
}

/// A snapshot's id; [`None`]: there is none yet.
pub(crate) type Parent = Option<i64>;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Load the table.
    Load,
    /// Write the manifest list for this parent.
    Write(Parent),
    /// Send the commit that was written last.
    Commit,
    /// Wait, the longer the more attempts there were, and ask for the action after it.
    Wait(u32),
    /// Stop.
    End(End),
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum End {
    /// The commit is among the ancestors. `already`: before any request of ours.
    Committed { snapshot: i64, already: bool },
    /// It was not there when it was looked for last, and no request of ours that could bring it is on its way.
    Failed,
    /// It was not there when it was looked for last, or could not be looked for; a request that could bring it may be on its way.
    Unknown,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// The table was loaded: its newest snapshot, and that of our commit, if it is among the ancestors.
    Loaded { main: Parent, found: Option<i64> },
    /// It was not. `again`: the next time may be better.
    NotLoaded { again: bool },
    /// The manifest list is written.
    Written,
    /// It cannot be.
    NotWritten,
    /// The catalog has answered with a table that has our commit.
    Committed { snapshot: i64 },
    /// The catalog has not taken the commit: it was not the parent's turn, or the catalog was not reached or too busy.
    NotTaken,
    /// The catalog will never take it.
    Refused,
    /// No answer, or one that does not say what became of the commit.
    NoAnswer,
}

/// Where a commit is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Attempt {
    /// Commits that were sent.
    sent: u32,
    /// Times in a row that the table could not be loaded.
    failed_loads: u32,
    /// The parent that the list was written for last.
    written: Option<Parent>,
    /// The parent of requests whose answers did not come.
    open: Option<Parent>,
    /// The commit will not be sent again.
    over: bool,
    /// What follows a wait.
    after_wait: Action,
}

impl Attempt {
    pub(crate) fn new() -> (Self, Action) {
        let attempt = Self { sent: 0, failed_loads: 0, written: None, open: None, over: false, after_wait: Action::Load };
        (attempt, Action::Load)
    }

    /// Commits that were sent.
    pub(crate) fn sent(&self) -> u32 {
        self.sent
    }

    /// Goes on after [`Action::Wait`].
    pub(crate) fn waited(&self) -> Action {
        self.after_wait
    }

    pub(crate) fn next(&mut self, limits: Limits, event: Event) -> Action {
        match event {
            Event::Loaded { found: Some(snapshot), .. } => Action::End(End::Committed { snapshot, already: self.sent == 0 }),
            Event::Loaded { main, found: None } => {
                self.failed_loads = 0;
                // What is on its way for another parent is not taken any more.
                self.open = self.open.filter(|parent| *parent == main);
                if self.over || self.sent >= limits.commits {
                    return Action::End(if self.open.is_some() { End::Unknown } else { End::Failed });
                }
                if self.written == Some(main) { self.commit() } else { self.write(main) }
            }
            Event::NotLoaded { again } => {
                self.failed_loads += 1;
                if !again || self.failed_loads >= limits.loads {
                    // An earlier call may have made the commit, or be making it.
                    return Action::End(End::Unknown);
                }
                self.wait(self.failed_loads)
            }
            Event::Written => self.commit(),
            Event::Committed { snapshot } => Action::End(End::Committed { snapshot, already: false }),
            Event::NotTaken => self.wait(self.sent),
            Event::NoAnswer => {
                self.open = self.written;
                self.wait(self.sent)
            }
            Event::NotWritten | Event::Refused => {
                self.over = true;
                // An earlier request, of this call or of one before, may have been taken all the same.
                Action::Load
            }
        }
    }

    fn write(&mut self, parent: Parent) -> Action {
        self.written = Some(parent);
        Action::Write(parent)
    }

    fn commit(&mut self) -> Action {
        self.sent += 1;
        Action::Commit
    }

    fn wait(&mut self, times: u32) -> Action {
        self.after_wait = Action::Load;
        Action::Wait(times)
    }
}

#[cfg(test)]
mod tests;

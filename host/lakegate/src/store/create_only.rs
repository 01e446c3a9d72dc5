//! Creating an object and never replacing one: the decisions, without the requests.
//!
//! A store refuses a request with `If-None-Match: *` (412) if the key has an object. That answer does not say whose object it is: an earlier
//! attempt of ours may have taken effect and its answer been lost. So every object carries a token of its attempt in its metadata, and after
//! a 412 the object that is there is looked at. Nor does a success say everything: some stores answer the repeated completion of an upload with
//! 200 whatever has the key. What is looked at is decided here; `s3` sends the requests, and the tests send them to a model of a store.
//!
//! An upload is never completed after it was aborted: at some stores that answers 200 with another writer's object under the key.

#[cfg(test)]
mod tests;

use crate::storage::object::OnExisting;

/// What an answer says about a create-only put, or about the completion of a create-only upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Success.
    Created,
    /// 412: the key has an object.
    Exists,
    /// Nothing happened, and the request may be sent again: another one for the key was under way (409), the store was not reached, or the
    /// credentials have been renewed.
    Postponed,
    /// Refused for another reason. Nothing happened.
    Refused,
    /// The store does not know the upload, or no longer.
    NoSuchUpload,
    /// No answer, or one that leaves open whether the request took effect.
    Unclear,
}

/// What the store shows of the object that has the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Our token.
    Ours,
    /// Another token, and the same bytes as far as size and checksum tell.
    Equal,
    /// Other bytes.
    Different,
    /// The same size, and nothing else that could be compared.
    Incomparable,
    /// There is no object.
    Nothing,
    /// We may not look. Some stores say so of keys without an object, too.
    Forbidden,
    /// No answer.
    Unclear,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send the request, or send it again.
    Send,
    /// Look at the object.
    Look,
    /// The object is there.
    Done(Outcome),
    /// It cannot be created.
    Fail(Cause),
}

/// How an object came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// By this put.
    Created,
    /// It was there before.
    WasThere,
}

/// Why an object cannot be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The key has an object, and the spec accepts none.
    Taken,
    /// The key has an object with other bytes.
    Different,
    /// The key has an object of which the store does not say enough to compare it.
    Incomparable,
    /// The key has an object that we may not look at.
    Forbidden,
    /// As the last answer says. Nothing happened.
    LastAnswer,
    /// The object may be there or not.
    Unknown,
}

/// One create-only put, or one completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CreateOnly {
    on_existing: OnExisting,
    is_completion: bool,
    /// How often the request was sent.
    sent: u32,
    /// An attempt may have taken effect without our knowing.
    unclear: bool,
    /// The store has said that the key has an object.
    exists: bool,
    /// The upload is gone: the request cannot be sent again.
    gone: bool,
}

impl CreateOnly {
    /// A put of a whole object.
    pub(crate) fn put(on_existing: OnExisting) -> Self {
        Self { on_existing, is_completion: false, sent: 0, unclear: false, exists: false, gone: false }
    }

    /// The completion of an upload.
    pub(crate) fn completion(on_existing: OnExisting) -> Self {
        Self { is_completion: true, ..Self::put(on_existing) }
    }

    /// The completion of an upload that another process may have completed.
    pub(crate) fn resumed(on_existing: OnExisting) -> Self {
        Self { unclear: true, sent: 1, ..Self::completion(on_existing) }
    }

    /// The request was answered so. `again`: it may be sent once more.
    pub(crate) fn answered(&mut self, answer: Answer, again: bool) -> Step {
        let repeated = self.sent > 0;
        self.sent += 1;
        match answer {
            // Some stores say so of an upload that is long complete, whatever has the key by now.
            Answer::Created if self.is_completion && repeated => Step::Look,
            Answer::Created => Step::Done(Outcome::Created),
            Answer::Exists => {
                self.exists = true;
                match self.on_existing {
                    OnExisting::Trust => Step::Done(Outcome::WasThere),
                    OnExisting::Fail if !self.unclear => Step::Fail(Cause::Taken),
                    OnExisting::Fail | OnExisting::Verify => Step::Look,
                }
            }
            Answer::Unclear => {
                self.unclear = true;
                if again { Step::Send } else { Step::Look }
            }
            Answer::Postponed if again => Step::Send,
            Answer::NoSuchUpload => {
                self.gone = true;
                self.unless_unclear()
            }
            Answer::Postponed | Answer::Refused => self.unless_unclear(),
        }
    }

    /// The object was looked at. `again`: there may be one more request.
    pub(crate) fn looked(&mut self, seen: Seen, again: bool) -> Step {
        let trusts = self.on_existing == OnExisting::Trust;
        match seen {
            Seen::Ours => Step::Done(Outcome::Created),
            Seen::Equal | Seen::Different | Seen::Incomparable if trusts => Step::Done(Outcome::WasThere),
            Seen::Equal if self.on_existing == OnExisting::Verify => Step::Done(Outcome::WasThere),
            Seen::Equal => Step::Fail(Cause::Taken),
            Seen::Different => Step::Fail(Cause::Different),
            Seen::Incomparable => Step::Fail(Cause::Incomparable),
            // What the store has said is no longer so, or an attempt took no effect.
            Seen::Nothing => {
                self.exists = false;
                if again && !self.gone { Step::Send } else { Step::Fail(Cause::LastAnswer) }
            }
            Seen::Forbidden if self.exists => Step::Fail(Cause::Forbidden),
            Seen::Unclear if again => Step::Look,
            Seen::Forbidden | Seen::Unclear => Step::Fail(Cause::Unknown),
        }
    }

    fn unless_unclear(&self) -> Step {
        if self.unclear { Step::Look } else { Step::Fail(Cause::LastAnswer) }
    }
}

impl Cause {
    /// What it means for the user, and what helps.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Taken => "the key has an object already, and `commit.on_existing: fail` accepts none",
            Self::Different => {
                "the key has an object with other bytes: the source has not given the same rows as before, or the key does not name its commit"
            }
            Self::Incomparable => {
                "the key has an object of the same size, of which the store shows no checksum that could be compared: \
                 set `commit.on_existing: trust` to accept it"
            }
            Self::Forbidden => {
                "the key has an object that may not be looked at: HeadObject needs the permission s3:GetObject; \
                 grant it, or set `commit.on_existing: trust`"
            }
            Self::LastAnswer => "the object was not created",
            Self::Unknown => "a request went unanswered and the outcome is unknown: the object may or may not be there",
        }
    }
}

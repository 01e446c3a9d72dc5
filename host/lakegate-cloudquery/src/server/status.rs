//! Errors as gRPC statuses. The texts are those of the reference plugin, since clients print them as they are.

use super::half_close::GIVEN_UP;
use lakegate::{Failure, OpenError, WriteReport};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use std::collections::HashSet;
use std::sync::Arc;
use tonic::{Code, Status};

/// Limit of a status message after percent-encoding, since it is sent as a header. C-core clients drop headers larger than 8 KiB, some proxies larger
/// than 4 KiB.
const MAX_ENCODED_BYTES: usize = 3_500;
/// Reserved for the text that says how many failures were left out.
const OMISSION_BYTES: usize = 100;
/// The characters that gRPC percent-encodes in a status message, besides non-ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'`').add(b'?').add(b'{').add(b'}');

/// Why a call was refused or failed.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The spec, the credentials or the connection.
    Init(OpenError),
    /// The component could not be compiled.
    NotReady(String),
    /// Another Init, Write or Close is running.
    InitInUse,
    WriteInUse,
    CloseInUse,
    /// The first message of a Write without Init.
    MessageBeforeInit,
    /// A Write without Init, and without a message.
    WriteBeforeInit,
    /// Init was told not to connect.
    NoSpec,
    /// A table's schema that cannot be read.
    Schema(String),
    /// Rows that cannot be read.
    Record(String),
    /// A Write message without content.
    EmptyMessage,
    /// A message that cannot be read, and the tables that had failed before it came.
    AfterFailures(Box<Refusal>, Vec<(Arc<str>, Failure)>),
    /// The request stream broke.
    Receive(Status),
    /// The process was told to end.
    Stopping,
    /// A bug of ours.
    Unexpected(String),
    /// A destination has no tables to list.
    GetTables,
    /// A call this plugin does not offer, and why.
    NotOffered(&'static str),
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let init = "failed to init plugin";
        let (code, text) = match refusal {
            Refusal::Init(error) => (Code::Internal, format!("{init}: failed to initialize client: {error}")),
            Refusal::NotReady(error) => (Code::Internal, format!("the plugin cannot run its component: {error}")),
            Refusal::InitInUse => (Code::Internal, format!("{init}: plugin already in use")),
            Refusal::WriteInUse => (Code::Internal, "write failed: plugin already in use".to_owned()),
            Refusal::CloseInUse => (Code::Unknown, "plugin already in use".to_owned()),
            Refusal::MessageBeforeInit => (Code::Cancelled, "plugin returned error: plugin is not initialized. call Init first".to_owned()),
            Refusal::WriteBeforeInit => (Code::Internal, "write failed: plugin is not initialized. call Init first".to_owned()),
            Refusal::NoSpec => (Code::FailedPrecondition, "write failed: plugin is not initialized with a spec".to_owned()),
            Refusal::Schema(error) if error.contains("missing table name") => {
                (Code::InvalidArgument, format!("failed to create table from schema: {error}"))
            }
            Refusal::Schema(error) => (Code::InvalidArgument, format!("failed to create schema from bytes: {error}")),
            Refusal::Record(error) => (Code::InvalidArgument, format!("failed to create record: {error}")),
            Refusal::EmptyMessage => (
                Code::InvalidArgument,
                "failed to convert message: it has no content; want migrate_table, insert, delete or delete_record".to_owned(),
            ),
            Refusal::Receive(status) if matches!(status.code(), Code::Cancelled | GIVEN_UP) => {
                (Code::Cancelled, format!("context done: {}", status.message()))
            }
            Refusal::Receive(status) => (Code::Internal, format!("failed to receive msg: {}", status.message())),
            Refusal::AfterFailures(refusal, failures) => {
                let received = !matches!(*refusal, Refusal::Receive(_));
                let message = Self::from(*refusal);
                let failures: Vec<(&str, &str)> = failures.iter().map(|(table, failure)| (&**table, failure.message.as_str())).collect();
                let failures = failure_text(&failures);
                if received {
                    (Code::Internal, format!("failed to convert message: {} and {failures}", go_text(&message)))
                } else {
                    (message.code(), format!("{} and {failures}", message.message()))
                }
            }
            Refusal::Unexpected(error) => (Code::Internal, format!("write failed: {error}")),
            Refusal::Stopping => (Code::Unavailable, "the plugin is stopping; nothing more of this call was written".to_owned()),
            Refusal::GetTables => (Code::Internal, "failed to get tables: failed to get tables: not implemented".to_owned()),
            Refusal::NotOffered(why) => (Code::Unimplemented, why.to_owned()),
        };
        Self::new(code, cut(&text, MAX_ENCODED_BYTES))
    }
}

/// A status as Go prints it inside another message.
fn go_text(status: &Status) -> String {
    let code = match status.code() {
        Code::InvalidArgument => "InvalidArgument",
        _ => "Unknown",
    };
    format!("rpc error: code = {code} desc = {}", status.message())
}

/// The status of a Write: OK, or all failed tables.
pub(super) fn outcome(report: &WriteReport) -> Result<(), Status> {
    let failures: Vec<(&str, &str)> = report.failures().map(|(table, failure)| (table, failure.message.as_str())).collect();
    if failures.is_empty() { Ok(()) } else { Err(Status::internal(failure_text(&failures))) }
}

/// One table's failure, worded as in the reference.
fn failure_line(table: &str, message: &str) -> String {
    format!("handler failed on {table}: {message}")
}

/// All failures if they fit; otherwise the first one of each cause, as many as fit, and the number of others.
fn failure_text(failures: &[(&str, &str)]) -> String {
    const PREFIX: &str = "write failed: ";
    // Line by line, and only as far as there is space: a hundred thousand failures would need hundreds of megabytes.
    let lines = failures.iter().map(|(table, message)| failure_line(table, message));
    if let Some(all) = joined(PREFIX, lines, MAX_ENCODED_BYTES) {
        return all;
    }
    let mut causes = HashSet::new();
    let firsts = failures.iter().filter(|(_, message)| causes.insert(*message));
    let room = MAX_ENCODED_BYTES - OMISSION_BYTES;
    let (mut text, mut shown) = (PREFIX.to_owned(), 0);
    for line in firsts.map(|(table, message)| failure_line(table, message)) {
        let separator = if shown == 0 { "" } else { "\n" };
        if shown > 0 && encoded_bytes(&text) + encoded_bytes(separator) + encoded_bytes(&line) > room {
            break;
        }
        text.push_str(separator);
        text.push_str(&line);
        shown += 1;
    }
    let text = cut(&text, room);
    match failures.len() - shown {
        0 => text,
        more => format!("{text}\nand {more} more; the log has each"),
    }
}

/// All lines after `prefix`, if they fit.
fn joined(prefix: &str, lines: impl Iterator<Item = String>, max_encoded_bytes: usize) -> Option<String> {
    let (mut text, mut bytes) = (prefix.to_owned(), encoded_bytes(prefix));
    for (number, line) in lines.enumerate() {
        let separator = if number == 0 { "" } else { "\n" };
        bytes += encoded_bytes(separator) + encoded_bytes(&line);
        if bytes > max_encoded_bytes {
            return None;
        }
        text.push_str(separator);
        text.push_str(&line);
    }
    Some(text)
}

/// The longest prefix that fits, ending at a character boundary.
fn cut(text: &str, max_encoded_bytes: usize) -> String {
    const ELLIPSIS: &str = "...";
    if encoded_bytes(text) <= max_encoded_bytes {
        return text.to_owned();
    }
    let room = max_encoded_bytes.saturating_sub(ELLIPSIS.len());
    let mut used = 0;
    let fitting = text.chars().take_while(|character| {
        used += encoded_bytes(character.encode_utf8(&mut [0; 4]));
        used <= room
    });
    fitting.collect::<String>() + ELLIPSIS
}

fn encoded_bytes(text: &str) -> usize {
    utf8_percent_encode(text, ENCODED).map(str::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_failure_reads_as_the_reference_says_it() {
        assert_eq!(
            failure_text(&[("t", "DeleteStale: not implemented")]),
            "write failed: handler failed on t: DeleteStale: not implemented"
        );
    }

    #[test]
    fn what_fits_is_all_there() {
        assert_eq!(failure_text(&[("a", "x"), ("b", "x")]), "write failed: handler failed on a: x\nhandler failed on b: x");
    }

    #[test]
    fn of_many_the_first_of_each_cause_is_shown() {
        let names: Vec<String> = (0..2_000).map(|at| format!("table_{at}")).collect();
        let failures: Vec<(&str, &str)> =
            names.iter().map(|name| (name.as_str(), if name == "table_7" { "denied" } else { "gone" })).collect();
        let expected = "write failed: handler failed on table_0: gone\nhandler failed on table_7: denied\nand 1998 more; the log has each";
        assert_eq!(failure_text(&failures), expected);
    }

    #[test]
    fn before_init_is_told_apart() {
        let check = |refusal: Refusal, code, text: &str| {
            let status = Status::from(refusal);
            assert_eq!((status.code(), status.message()), (code, text));
        };
        check(Refusal::NoSpec, Code::FailedPrecondition, "write failed: plugin is not initialized with a spec");
        check(Refusal::WriteBeforeInit, Code::Internal, "write failed: plugin is not initialized. call Init first");
        check(Refusal::MessageBeforeInit, Code::Cancelled, "plugin returned error: plugin is not initialized. call Init first");
        check(Refusal::InitInUse, Code::Internal, "failed to init plugin: plugin already in use");
        check(
            Refusal::Schema("missing table name".into()),
            Code::InvalidArgument,
            "failed to create table from schema: missing table name",
        );
    }

    #[test]
    fn a_bad_message_after_a_failure_tells_of_both() {
        let failures = vec![(Arc::from("t"), Failure::new(lakegate::FailureClass::Data, "no"))];
        let status = Status::from(Refusal::AfterFailures(Box::new(Refusal::Record("bad".into())), failures));
        let text = "failed to convert message: rpc error: code = InvalidArgument desc = failed to create record: bad and write failed: \
                    handler failed on t: no";
        assert_eq!((status.code(), status.message()), (Code::Internal, text));
    }

    #[test]
    fn a_stream_that_breaks_after_a_failure_tells_of_both() {
        for (code, expected, text) in [
            (Code::Internal, Code::Internal, "failed to receive msg: broken and write failed: handler failed on t: no"),
            (GIVEN_UP, Code::Cancelled, "context done: broken and write failed: handler failed on t: no"),
        ] {
            let failures = vec![(Arc::from("t"), Failure::new(lakegate::FailureClass::Data, "no"))];
            let refusal = Refusal::Receive(Status::new(code, "broken"));
            let status = Status::from(Refusal::AfterFailures(Box::new(refusal), failures));
            assert_eq!((status.code(), status.message()), (expected, text));
        }
    }

    proptest! {
        #[test]
        fn a_cut_text_fits_and_begins_alike(text in "\\PC{0,2000}", max in 10_usize..400) {
            let short = cut(&text, max);
            prop_assert!(encoded_bytes(&short) <= max);
            prop_assert!(short == text || text.starts_with(short.strip_suffix("...").unwrap_or("?")));
        }

        #[test]
        fn a_report_of_any_failures_fits(failures in proptest::collection::vec(("\\PC{0,300}", "\\PC{0,300}"), 1..60)) {
            let failures: Vec<(&str, &str)> = failures.iter().map(|(table, message)| (table.as_str(), message.as_str())).collect();
            prop_assert!(encoded_bytes(&failure_text(&failures)) <= MAX_ENCODED_BYTES);
        }
    }
}

//! Errors of the file system as answers of S3.

use crate::log_limit::LogLimiter;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use http::StatusCode;
use s3s::{S3Error, s3_error};

/// Failures in a second that are told of: on a full disk each request is one.
const MAX_LINES: u32 = 20;

static LINES: Mutex<LogLimiter> = Mutex::new(LogLimiter::new(MAX_LINES));

/// `error` as the answer to a request. The path and the cause go to the log; the client learns whether trying again can help.
pub(super) fn io_error(error: io::Error) -> S3Error {
    let told = LINES.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now());
    if let Some(more) = told.passes() {
        let more = (more > 0).then_some(more);
        tracing::warn!(%error, more, "The embedded store could not read or write its folder.");
    }
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let mut full = s3_error!(InternalError, "The folder of the embedded store is full: {}.", system_words(&error));
            full.set_status_code(StatusCode::INSUFFICIENT_STORAGE);
            full
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            s3_error!(AccessDenied, "The folder of the embedded store cannot be written: {}.", error.kind())
        }
        _ => s3_error!(InternalError, "The embedded store could not read or write its folder: {}.", error.kind()),
    }
}

/// What the system says, without the path that an error may name.
fn system_words(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.kind().to_string(), |number| io::Error::from_raw_os_error(number).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_whether_trying_again_can_help() {
        let check = |error: io::Error, status, code: &str, words: &str| {
            let answer = io_error(error);
            assert_eq!((answer.status_code().map(|status| status.as_u16()), answer.code().as_str()), (Some(status), code));
            assert!(answer.message().is_some_and(|message| message.contains(words)), "{answer:?}");
        };
        check(io::Error::from_raw_os_error(libc::ENOSPC), 507, "InternalError", "No space left on device");
        check(io::ErrorKind::QuotaExceeded.into(), 507, "InternalError", "quota exceeded");
        check(io::ErrorKind::PermissionDenied.into(), 403, "AccessDenied", "cannot be written");
        check(io::ErrorKind::Interrupted.into(), 500, "InternalError", "could not read or write");
    }
}

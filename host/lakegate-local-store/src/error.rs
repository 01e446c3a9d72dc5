//! Errors of the file system as answers of S3.

use lakegate_base::log_limit::LogLimiter;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use http::StatusCode;
use s3s::{S3Error, S3ErrorCode, s3_error};

use super::guard::Refused;

/// Failures logged in a second: on a full disk each request is one.
const MAX_LINES: u32 = 20;

static LINES: Mutex<LogLimiter> = Mutex::new(LogLimiter::new(MAX_LINES));

/// `error` as the answer to a request. The path and the cause go to the log; the client learns whether trying again can help.
///
/// What may pass is an `InternalError`, which clients try again. Everything else stays as it is until somebody changes it: that is 507, with a
/// code that says what.
pub(super) fn io_error(error: io::Error) -> S3Error {
    let admitted = LINES.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now());
    if let Some(more) = admitted.passes() {
        let more = (more > 0).then_some(more);
        tracing::warn!(%error, more, "The embedded store could not read or write its folder.");
    }
    if let Some(refused) = error.get_ref().and_then(|inner| inner.downcast_ref::<Refused>()) {
        return lasting("StorageRefused", format!("The folder of the embedded store cannot be used: {refused}."));
    }
    let words = system_message(&error);
    let (code, what) = match error.kind() {
        io::ErrorKind::StorageFull => ("StorageFull", "The folder of the embedded store is full"),
        io::ErrorKind::QuotaExceeded => ("StorageQuotaExceeded", "The disk quota for the folder of the embedded store is used up"),
        io::ErrorKind::FileTooLarge => {
            ("StorageFileTooLarge", "A file of the embedded store cannot grow further: its file system or `ulimit -f` sets a limit")
        }
        io::ErrorKind::ReadOnlyFilesystem => ("StorageReadOnly", "The file system with the folder of the embedded store is read-only"),
        io::ErrorKind::PermissionDenied => ("StorageNotWritable", "The permissions of the folder of the embedded store forbid it"),
        _ if may_pass(&error) => {
            return s3_error!(InternalError, "The embedded store could not read or write its folder: {words}.");
        }
        _ => ("StorageFailed", "The embedded store could not read or write its folder"),
    };
    lasting(code, format!("{what}: {words}."))
}

fn lasting(code: &'static str, message: String) -> S3Error {
    let mut answer = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
    answer.set_status_code(StatusCode::INSUFFICIENT_STORAGE);
    answer
}

/// On a disk of one's own little passes by itself: what other processes have taken and give back.
fn may_pass(error: &io::Error) -> bool {
    let kinds = [
        io::ErrorKind::Interrupted,
        io::ErrorKind::WouldBlock,
        io::ErrorKind::TimedOut,
        io::ErrorKind::OutOfMemory,
        io::ErrorKind::ResourceBusy,
        io::ErrorKind::StaleNetworkFileHandle,
    ];
    // Open files, of the process and of the system: the kinds have no name for them.
    kinds.contains(&error.kind()) || matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// What the system says, without the path that an error may name.
fn system_message(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.kind().to_string(), |number| io::Error::from_raw_os_error(number).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_what_is_wrong_and_whether_trying_again_can_help() {
        let check = |error: io::Error, status, code: &str, words: &str| {
            let answer = io_error(error);
            assert_eq!((answer.status_code().map(|status| status.as_u16()), answer.code().as_str()), (Some(status), code));
            assert!(answer.message().is_some_and(|message| message.contains(words)), "{answer:?}");
        };
        let of = io::Error::from_raw_os_error;
        check(of(libc::ENOSPC), 507, "StorageFull", "is full: No space left on device");
        // What a file of tokio's remembers of an error.
        check(io::ErrorKind::StorageFull.into(), 507, "StorageFull", "is full: no storage space");
        check(of(libc::EDQUOT), 507, "StorageQuotaExceeded", "quota");
        check(of(libc::EFBIG), 507, "StorageFileTooLarge", "ulimit -f");
        check(of(libc::EROFS), 507, "StorageReadOnly", "read-only");
        check(of(libc::EACCES), 507, "StorageNotWritable", "permissions");
        check(of(libc::EPERM), 507, "StorageNotWritable", "permissions");
        check(of(libc::EIO), 507, "StorageFailed", "could not read or write its folder: Input/output error");
        check(of(libc::ENOTDIR), 507, "StorageFailed", "could not read or write its folder");
        check(of(libc::ENOENT), 507, "StorageFailed", "could not read or write its folder");
        check(io::Error::other("odd"), 507, "StorageFailed", "could not read or write its folder: other error");
        for passing in [libc::EINTR, libc::EAGAIN, libc::ENOMEM, libc::EBUSY, libc::EMFILE, libc::ENFILE, libc::ESTALE] {
            check(of(passing), 500, "InternalError", "could not read or write its folder");
        }
    }

    #[test]
    fn the_path_of_an_error_is_not_told() {
        let missing = std::fs::File::open("/no/such/canary").expect_err("no file");
        assert!(!format!("{:?}", io_error(missing)).contains("canary"));
    }
}

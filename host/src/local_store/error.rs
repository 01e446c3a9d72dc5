//! Errors of the file system as answers of S3.

use std::io;

use s3s::{S3Error, s3_error};

/// `error` as the answer to a request. The path and the cause go to the log; the client learns whether trying again can help.
pub(super) fn io_error(error: io::Error) -> S3Error {
    tracing::warn!(%error, "The embedded store could not read or write its folder.");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            s3_error!(AccessDenied, "The folder of the embedded store cannot be written: {}.", error.kind())
        }
        _ => s3_error!(InternalError, "The embedded store could not read or write its folder: {}.", error.kind()),
    }
}

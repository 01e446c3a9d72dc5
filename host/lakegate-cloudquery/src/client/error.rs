//! Errors of plugins, with messages for the user.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;
use tonic::{Code, Status};

/// How many characters of a plugin's message are quoted.
const MAX_TEXT_CHARS: usize = 4_000;

/// A failure of a plugin.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// `path` does not name a file.
    #[error("there is no program {}; `path` names the plugin's executable file, without arguments", .0.display())]
    Missing(PathBuf),
    /// The program cannot be started.
    #[error("{} cannot be started: {why}", path.display())]
    NotStarted {
        /// Path of the program.
        path: PathBuf,
        /// The error of the operating system.
        why: String,
    },
    /// It exited before it listened.
    #[error("the plugin exited before it listened ({status}); its last output is in the log")]
    EndedAtStart {
        /// Its exit status.
        status: ExitStatus,
    },
    /// It runs but does not listen.
    #[error("the plugin did not listen within {} s; it was killed (raise --plugin-start-limit to wait longer)", limit.as_secs())]
    NotListening {
        /// The time limit.
        limit: Duration,
    },
    /// It listens but does not answer.
    #[error("the plugin did not answer within {} s (raise --plugin-start-limit to wait longer)", limit.as_secs())]
    Silent {
        /// The time limit.
        limit: Duration,
    },
    /// The address is malformed.
    #[error("{address:?} is not an address; expected HOST:PORT or unix:///PATH")]
    Address {
        /// The address as written.
        address: String,
    },
    /// There is no answer from the address.
    #[error("no answer from {address} within {} s: {why}", limit.as_secs())]
    Unreachable {
        /// The address as written.
        address: String,
        /// The time limit.
        limit: Duration,
        /// The error of the transport.
        why: String,
    },
    /// It does not support this version of the protocol.
    #[error("the plugin does not speak version 3 of the protocol{}; use a newer version of it", offers(.offered))]
    Versions {
        /// The versions it supports.
        offered: Vec<i32>,
    },
    /// A call failed because the process has exited.
    #[error("the plugin ended during {call} ({status})")]
    Ended {
        /// Name of the call.
        call: &'static str,
        /// Its exit status.
        status: ExitStatus,
    },
    /// A call failed.
    #[error("rpc error: code = {code} desc = {message}")]
    Call {
        /// Name of the call.
        call: &'static str,
        /// The gRPC status code.
        code: String,
        /// The plugin's error message.
        message: String,
    },
    /// A message of an unknown kind.
    #[error("the plugin sent a message of a kind that this version does not know")]
    UnknownMessage,
}

impl PluginError {
    pub(super) fn call(call: &'static str, status: &Status, ended: Option<ExitStatus>) -> Self {
        match ended {
            Some(status) => Self::Ended { call, status },
            None => Self::Call { call, code: go_code(status.code()), message: clip(status.message()) },
        }
    }
}

/// A status code as Go clients print it; only one is spelled differently.
fn go_code(code: Code) -> String {
    if code == Code::Cancelled { "Canceled".to_owned() } else { format!("{code:?}") }
}

fn offers(versions: &[i32]) -> String {
    if versions.is_empty() { String::new() } else { format!(" (it offers {versions:?})") }
}

/// The beginning of an untrusted text, without terminal control characters.
pub(super) fn clip(text: &str) -> String {
    let shown = |character: char| character == '\n' || character == '\t' || !character.is_control();
    let mut characters = text.chars().map(|character| if shown(character) { character } else { char::REPLACEMENT_CHARACTER });
    let mut clipped: String = characters.by_ref().take(MAX_TEXT_CHARS).collect();
    if characters.next().is_some() {
        clipped.push('…');
    }
    clipped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_words_are_bounded_and_harmless() {
        assert_eq!(clip("two\nlines"), "two\nlines");
        assert_eq!(clip("\u{1b}[2Jgone"), "\u{fffd}[2Jgone");
        assert_eq!(clip(&"x".repeat(MAX_TEXT_CHARS)).chars().count(), MAX_TEXT_CHARS);
        assert_eq!(clip(&"x".repeat(MAX_TEXT_CHARS + 1)).chars().last(), Some('…'));
    }

    #[test]
    fn errors_say_what_happened() {
        let status = Status::internal("failed to init plugin: no");
        assert_eq!(PluginError::call("Init", &status, None).to_string(), "rpc error: code = Internal desc = failed to init plugin: no");
        let status = Status::cancelled("gone");
        assert_eq!(PluginError::call("Sync", &status, None).to_string(), "rpc error: code = Canceled desc = gone");
        let versions = PluginError::Versions { offered: vec![0, 1] }.to_string();
        assert_eq!(versions, "the plugin does not speak version 3 of the protocol (it offers [0, 1]); use a newer version of it");
    }
}

//! The program, run to its end as a user runs it: which code it ended with, and what it said.

use serde_json::Value;
use std::process::{Command, Output, Stdio};

/// Variables of the user's own that say where requests go and who signs them.
const USERS_OWN: [&str; 7] =
    ["AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy"];

/// How a run ended.
#[derive(Debug)]
pub struct Run {
    /// The exit code; none after a signal.
    pub code: Option<i32>,
    /// Data.
    pub stdout: String,
    /// Words.
    pub stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program prints UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Run {
    /// Ended with `code`, and said each of `words` on stderr.
    ///
    /// # Panics
    /// It did not.
    #[track_caller]
    pub fn ended(&self, code: i32, words: &[&str]) -> &Self {
        assert_eq!(self.code, Some(code), "stderr: {}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in: {}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// What it printed.
    ///
    /// # Panics
    /// It is not JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {} / {}", self.stdout, self.stderr))
    }

    /// Both streams, one after the other.
    #[must_use]
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// The same command under the system's limit of data (`RLIMIT_DATA`): what asks for more is ended by it.
#[must_use]
pub fn within(mebibytes: u64, program: &Command) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(format!("--data={}", mebibytes << 20)).arg(program.get_program()).args(program.get_args()).stdin(Stdio::null());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(folder) = program.get_current_dir() {
        command.current_dir(folder);
    }
    command
}

/// A command without input, with these keys and nothing of the user's.
#[must_use]
pub fn command(program: &str, line: &str, (key, secret): (&str, &str)) -> Command {
    let mut command = Command::new(program);
    command.args(line.split(' ')).stdin(Stdio::null());
    for name in USERS_OWN {
        command.env_remove(name);
    }
    command.env("AWS_ACCESS_KEY_ID", key).env("AWS_SECRET_ACCESS_KEY", secret);
    command
}

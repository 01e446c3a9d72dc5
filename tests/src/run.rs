//! Runs the program to its end as a user would, and checks its exit code and output.

use serde_json::Value;
use std::process::{Command, Output, Stdio};

/// Environment variables of the user that would change where requests go and how they are signed.
const USERS_OWN: [&str; 7] =
    ["AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy"];

/// The result of a run.
#[derive(Debug)]
pub struct Run {
    /// The exit code; none after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program prints UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Run {
    /// Asserts that it ended with `code`, and that stderr contains each of `expected`.
    ///
    /// # Panics
    /// It ended otherwise.
    #[track_caller]
    pub fn ended(&self, code: i32, expected: &[&str]) -> &Self {
        assert_eq!(self.code, Some(code), "stderr: {}", self.stderr);
        for text in expected {
            assert!(self.stderr.contains(text), "{text:?} is not in: {}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// Its standard output as JSON.
    ///
    /// # Panics
    /// It is not JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {} / {}", self.stdout, self.stderr))
    }

    /// Standard output followed by standard error.
    #[must_use]
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// A limit that the system enforces.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// Data (`RLIMIT_DATA`), in MiB.
    Data {
        /// The limit.
        mebibytes: u64,
    },
    /// Address space (`RLIMIT_AS`), in bytes.
    AddressSpace {
        /// The limit.
        bytes: u64,
    },
}

/// The same command without input under a limit of the system: an allocation beyond it ends the process.
#[must_use]
pub fn within(limit: &Limit, program: &Command) -> Command {
    let mut command = Command::new("prlimit");
    let limit = match limit {
        Limit::Data { mebibytes } => format!("--data={}", mebibytes << 20),
        Limit::AddressSpace { bytes } => format!("--as={bytes}"),
    };
    command.arg(limit).arg(program.get_program()).args(program.get_args()).stdin(Stdio::null());
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

/// Runs a command to its end on a blocking thread.
///
/// # Panics
/// It does not start.
pub async fn to_end(mut command: Command) -> Run {
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it runs").expect("the program starts");
    output.into()
}

/// A command without input, with these keys and nothing of the user's environment.
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

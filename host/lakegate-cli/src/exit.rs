//! Exit codes, and the conversion of all errors into them.

use super::config::ConfigErrors;
use lakegate::{ComponentError, FailureClass, InUse, InvalidMessage, OpenError, StoreError, StoreErrorKind, WriteReport};
use lakegate_files::InputError;
use std::process::ExitCode;

/// Exit codes, as documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Success.
    Done = 0,
    /// A bug of ours, or a machine that cannot run this.
    Unexpected = 1,
    /// Wrong usage of the command line.
    Usage = 2,
    /// The spec, the configuration or the component is refused.
    Spec = 3,
    /// Denied by policy.
    Denied = 4,
    /// The store failed.
    Storage = 5,
    /// Input data was refused.
    Input = 6,
    /// A source or plugin failed.
    Source = 7,
    /// SIGINT or SIGTERM: the command ended cleanly.
    Interrupted = 130,
}

impl Exit {
    /// The exit code as a number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The exit code of a write: success, or the highest code of its tables.
    pub fn from_report(report: &WriteReport) -> Self {
        report.failures().map(|(_, failure)| Self::from(failure.class)).max().unwrap_or(Self::Done)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<FailureClass> for Exit {
    fn from(class: FailureClass) -> Self {
        match class {
            FailureClass::Unexpected => Self::Unexpected,
            FailureClass::Denied => Self::Denied,
            FailureClass::Storage => Self::Storage,
            FailureClass::Data => Self::Input,
            FailureClass::Source => Self::Source,
        }
    }
}

impl From<StoreErrorKind> for Exit {
    fn from(kind: StoreErrorKind) -> Self {
        match kind {
            // A key denied by the store is a storage failure; code 4 is for our own policy.
            StoreErrorKind::Denied
            | StoreErrorKind::Unavailable
            | StoreErrorKind::Rejected
            | StoreErrorKind::Unknown
            | StoreErrorKind::Exists
            | StoreErrorKind::Quota => Self::Storage,
            // The spec asks for what this store cannot do.
            StoreErrorKind::Unsupported => Self::Spec,
        }
    }
}

impl From<&ComponentError> for Exit {
    fn from(error: &ComponentError) -> Self {
        match error {
            ComponentError::Unreadable(_)
            | ComponentError::TooLarge { .. }
            | ComponentError::Precompiled
            | ComponentError::CoreModule
            | ComponentError::NotAComponent
            | ComponentError::Invalid(_)
            | ComponentError::Import { .. }
            | ComponentError::World(_)
            | ComponentError::CompileMemory { .. }
            | ComponentError::CompileCpu { .. }
            | ComponentError::CompileTime { .. }
            | ComponentError::CompiledTooLarge { .. } => Self::Spec,
            ComponentError::Compiler(_) | ComponentError::Machine(_) => Self::Unexpected,
        }
    }
}

/// A failed command: an exit code and a message.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    /// The exit code.
    pub exit: Exit,
    /// The message for the user.
    pub message: String,
}

impl CliError {
    /// An error with this exit code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

impl From<OpenError> for CliError {
    fn from(error: OpenError) -> Self {
        let exit = match &error {
            OpenError::Spec(_) => Exit::Spec,
            OpenError::Denied(_) => Exit::Denied,
            OpenError::Connect(StoreError { kind, .. })
            | OpenError::Probe(StoreError { kind, .. })
            | OpenError::TestWrite(StoreError { kind, .. }) => (*kind).into(),
            OpenError::Catalog(failure) => failure.class.into(),
            OpenError::Unexpected(_) => Exit::Unexpected,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<InputError> for CliError {
    fn from(error: InputError) -> Self {
        let exit = if matches!(error, InputError::ReaderLost) { Exit::Unexpected } else { Exit::Input };
        Self::new(exit, error.to_string())
    }
}

impl From<InvalidMessage> for CliError {
    fn from(error: InvalidMessage) -> Self {
        Self::new(Exit::Input, error.to_string())
    }
}

impl From<InUse> for CliError {
    fn from(error: InUse) -> Self {
        Self::new(Exit::Unexpected, error.to_string())
    }
}

impl From<ConfigErrors> for CliError {
    fn from(errors: ConfigErrors) -> Self {
        Self::new(Exit::Spec, errors.to_string())
    }
}

impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Unexpected, format!("{error:#}"))
    }
}

/// The result of a command whose output on stdout was or was not `printed`: a failed print is only reported if nothing worse happened.
pub(crate) fn exit_code_after(ended: Result<Exit, CliError>, printed: Result<(), CliError>) -> Result<Exit, CliError> {
    match ended {
        Ok(Exit::Done) => printed.map(|()| Exit::Done),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lakegate::Failure;
    use lakegate::TableReport;

    #[test]
    fn numbers_are_as_documented() {
        let all = [
            (Exit::Done, 0),
            (Exit::Unexpected, 1),
            (Exit::Usage, 2),
            (Exit::Spec, 3),
            (Exit::Denied, 4),
            (Exit::Storage, 5),
            (Exit::Input, 6),
            (Exit::Source, 7),
            (Exit::Interrupted, 130),
        ];
        for (exit, code) in all {
            assert_eq!(exit.code(), code);
        }
    }

    fn report(classes: &[Option<FailureClass>]) -> WriteReport {
        let table = |class: &Option<FailureClass>| TableReport {
            table: "t".into(),
            failure: class.map(|class| Failure { class, message: "m".into() }),
            ..TableReport::default()
        };
        WriteReport { tables: classes.iter().map(table).collect() }
    }

    #[test]
    fn a_closed_stdout_is_told_only_where_nothing_worse_is() {
        let gone = || Err(CliError::new(Exit::Unexpected, "stdout"));
        assert_eq!(exit_code_after(Ok(Exit::Done), Ok(())).unwrap(), Exit::Done);
        assert_eq!(exit_code_after(Ok(Exit::Done), gone()).unwrap_err().message, "stdout");
        assert_eq!(exit_code_after(Ok(Exit::Storage), gone()).unwrap(), Exit::Storage);
        assert_eq!(exit_code_after(Err(CliError::new(Exit::Input, "torn")), gone()).unwrap_err().message, "torn");
    }

    #[test]
    fn the_highest_of_the_tables_wins() {
        use FailureClass::{Data, Denied, Storage, Unexpected};
        for (classes, exit) in [
            (vec![], Exit::Done),
            (vec![None, None], Exit::Done),
            (vec![Some(Unexpected), None], Exit::Unexpected),
            (vec![Some(Denied), Some(Storage)], Exit::Storage),
            (vec![Some(Data), Some(Storage), None], Exit::Input),
        ] {
            assert_eq!(Exit::from_report(&report(&classes)), exit, "{classes:?}");
        }
    }

    #[test]
    fn a_component_is_refused_like_a_spec_and_a_machine_is_not() {
        assert_eq!(Exit::from(&ComponentError::Precompiled), Exit::Spec);
        assert_eq!(Exit::from(&ComponentError::Compiler(String::new())), Exit::Unexpected);
    }

    #[test]
    fn a_lost_reader_is_no_fault_of_the_input() {
        assert_eq!(CliError::from(InputError::ReaderLost).exit, Exit::Unexpected);
        assert_eq!(CliError::from(InputError::NoTable { file: "f".into() }).exit, Exit::Input);
    }

    #[test]
    fn opening_fails_with_the_code_of_its_cause() {
        let store = || StoreError { kind: StoreErrorKind::Denied, message: "no".into() };
        for (error, exit) in [
            (OpenError::Spec(Vec::new()), Exit::Spec),
            (OpenError::Denied(String::new()), Exit::Denied),
            (OpenError::Connect(store()), Exit::Storage),
            (OpenError::Catalog(Failure::new(FailureClass::Storage, "")), Exit::Storage),
            (OpenError::TestWrite(store()), Exit::Storage),
            (OpenError::Unexpected(String::new()), Exit::Unexpected),
        ] {
            assert_eq!(CliError::from(error).exit, exit);
        }
    }
}

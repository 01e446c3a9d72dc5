//! `lakegate completions` and `lakegate man`: what a package installs beside the program.

use super::console::data;
use super::exit::{CliError, Exit};
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use std::path::PathBuf;

/// Prints the completion script of a shell.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct CompletionsArgs {
    /// The shell that is to complete command lines of `lakegate`.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints the manual page, or writes those of all commands.
#[derive(Debug, Clone, clap::Args)]
pub struct ManArgs {
    /// Write `lakegate.1` and a page for each command into this folder, which is made if it is missing.
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
}

pub(crate) fn completions(args: CompletionsArgs, cli: &Command) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut shown(cli), "lakegate", &mut script);
    print(script)
}

pub(crate) fn man(args: &ManArgs, cli: &Command) -> Result<Exit, CliError> {
    let Some(folder) = &args.output_dir else {
        let mut page = Vec::new();
        Man::new(shown(cli)).render(&mut page).map_err(anyhow::Error::from)?;
        return print(page);
    };
    let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(shown(cli), folder));
    written.map(|()| Exit::Done).map_err(|error| CliError::new(Exit::Unexpected, format!("{}: {error}", folder.display())))
}

/// The command line without commands that are no user's: neither generator leaves them out.
fn shown(cli: &Command) -> Command {
    let commands: Vec<Command> = cli.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
    let mut shown = Command::new("lakegate").version(env!("CARGO_PKG_VERSION")).subcommand_required(true).subcommands(commands);
    if let Some(about) = cli.get_about() {
        shown = shown.about(about.clone());
    }
    if let Some(about) = cli.get_long_about() {
        shown = shown.long_about(about.clone());
    }
    if let Some(help) = cli.get_after_help() {
        shown = shown.after_help(help.clone());
    }
    shown
}

fn print(text: Vec<u8>) -> Result<Exit, CliError> {
    data(String::from_utf8(text).map_err(anyhow::Error::from)?.trim_end()).map(|()| Exit::Done)
}

//! The tenants file: each tenant's address, grant and credentials. Unknown fields are errors.

mod entry;
mod listen_address;
mod losses;
mod seal;

pub use entry::TenantEntry;
pub use listen_address::{ListenAddress, Prepared, same_place};
pub use seal::Seal;

use super::exit::{CliError, Exit};
use super::unquoted::unquoted;
use entry::Entry;
use lakegate_base::file;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Maximum size of the file; even thousands of tenants need only a few megabytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// How long a file has to be unchanged before it is used: a program that writes it in place does so without long pauses.
const SETTLED: Duration = Duration::from_millis(300);

/// How often the file is read before giving up.
const MAX_READS: u32 = 10;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tenants: BTreeMap<String, Entry>,
}

/// The contents of a file, and what is known about its completeness.
#[derive(Debug)]
pub struct Loaded {
    /// The tenants in the file.
    pub tenants: Vec<TenantEntry>,
    /// Whether the file is known to be complete.
    pub seal: Seal,
    /// Whether the file ends with a newline.
    ends_with_a_line: bool,
}

impl Loaded {
    /// Describes what is served but no longer in the file; nothing if the file is sealed.
    pub fn losses<'a>(&self, served: impl Iterator<Item = &'a TenantEntry>) -> Vec<String> {
        if self.seal == Seal::Whole {
            return Vec::new();
        }
        let mut losses = losses::between(served, &self.tenants);
        if !self.ends_with_a_line {
            losses.push("the end of the last line".to_owned());
        }
        losses
    }
}

/// Reads the file once.
///
/// # Errors
/// All problems of the file, one per line.
pub fn read(file: &Path) -> Result<Loaded, CliError> {
    // Read only once, so a pipe is fine.
    let text = file::read_argument(file).map_err(|error| refused(file, &format!("cannot be read: {error}")))?;
    loaded(file, &text)
}

/// Reads the file once it has been unchanged for a moment, so that a file that is being written is not read half-way. A file with a valid seal is
/// used at once.
///
/// # Errors
/// As [`read`], or the file keeps changing.
pub async fn settled(file: &Path) -> Result<Loaded, CliError> {
    let mut text = text_of(file)?;
    for _ in 0..MAX_READS {
        if seal::check(&text) == Ok(Seal::Whole) {
            return loaded(file, &text);
        }
        tokio::time::sleep(SETTLED).await;
        let again = text_of(file)?;
        if again == text {
            return loaded(file, &text);
        }
        text = again;
    }
    Err(refused(file, "it is still being written: write the new file next to it, then rename it"))
}

/// Reads the file, ignoring its seal, and replaces it by one with a valid seal.
///
/// # Errors
/// As [`read`], or the file cannot be written.
pub fn read_and_seal(file: &Path) -> Result<Loaded, CliError> {
    let text = text_of(file)?;
    let sealed = seal::applied(&text);
    let loaded = loaded(file, &sealed)?;
    let replaced = seal::replace(file, &text, &sealed);
    replaced.map_err(|error| CliError::new(Exit::Usage, format!("{}: cannot be sealed: {error}", file.display())))?;
    Ok(loaded)
}

fn refused(file: &Path, problem: &str) -> CliError {
    CliError::new(Exit::Spec, format!("{}: {problem}", file.display()))
}

fn text_of(file: &Path) -> Result<String, CliError> {
    let read = file::read_plain(file, MAX_FILE_BYTES)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8")));
    read.map_err(|error| refused(file, &format!("cannot be read: {error}")))
}

fn loaded(file: &Path, text: &str) -> Result<Loaded, CliError> {
    let seal = seal::check(text).map_err(|problem| refused(file, problem))?;
    let tenants = parse(text).map_err(|problems| refused(file, &problems.join("\n")))?;
    Ok(Loaded { tenants, seal, ends_with_a_line: text.ends_with('\n') })
}

fn parse(text: &str) -> Result<Vec<TenantEntry>, Vec<String>> {
    let file: File = toml::from_str(text).map_err(|error| vec![located(text, &error)])?;
    let mut fields = losses::fields(text);
    let mut problems = Vec::new();
    if file.tenants.is_empty() {
        problems.push("there are no tenants".to_owned());
    }
    let mut tenants: Vec<TenantEntry> = Vec::new();
    for (name, entry) in file.tenants {
        match entry.read(&name) {
            Ok(mut read) => {
                read.fields = fields.remove(&name).unwrap_or_default();
                if let Some(other) = tenants.iter().find(|other| same_place(&other.place, &read.place)) {
                    problems.push(format!("tenants {:?} and {name:?} both listen on {}", &*other.tenant.name, read.place));
                }
                tenants.push(read);
            }
            Err(wrong) => problems.extend(wrong.into_iter().map(|problem| format!("tenant {name:?}: {problem}"))),
        }
    }
    if problems.is_empty() { Ok(tenants) } else { Err(problems) }
}

/// Formats an error with its line number but not the line itself, which may hold a secret.
fn located(text: &str, error: &toml::de::Error) -> String {
    let message = unquoted(error.message().trim_end());
    match error.span().and_then(|span| text.as_bytes().get(..span.start)) {
        Some(before) => format!("line {}: {message}", before.iter().filter(|byte| **byte == b'\n').count() + 1),
        None => message,
    }
}

#[cfg(test)]
mod tests;

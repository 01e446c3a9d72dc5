//! Rows from a feed into writes, until the input ends, fails, or the user has had enough.

use super::console::Progress;
use super::exit::{CliError, Exit};
use crate::ledger::{Totals, WriteReport};
use crate::session::{Session, Write};
use crate::source::{Feed, InputError, Message};
use tokio_util::sync::CancellationToken;

/// An opened destination with its write.
pub(crate) struct Outlet {
    session: Session,
    write: Write,
}

impl Outlet {
    pub(crate) fn begin(session: Session) -> Result<Self, CliError> {
        let write = session.write()?;
        Ok(Self { session, write })
    }
}

/// Sends everything from `feed` to every outlet and ends them: well, with a report each, or badly, with everything open aborted.
///
/// # Errors
/// The input is refused, the destination does not take a message, or `interrupted`.
pub(crate) async fn run(
    mut feed: Feed,
    mut outlets: Vec<Outlet>,
    progress: &Progress,
    interrupted: &CancellationToken,
) -> Result<Vec<WriteReport>, CliError> {
    let pumped = tokio::select! {
        biased;
        () = interrupted.cancelled() => Err(interruption()),
        pumped = pump(&mut feed, &mut outlets, progress) => pumped,
    };
    drop(feed);
    if let Err(error) = pumped {
        for outlet in outlets {
            outlet.write.abort().await;
            outlet.session.close().await;
        }
        return Err(error);
    }
    let mut reports = Vec::with_capacity(outlets.len());
    let mut stopped = None;
    for Outlet { session, write } in outlets {
        if stopped.is_some() {
            write.abort().await;
        } else {
            let halt = write.halt();
            let finishing = write.finish();
            tokio::pin!(finishing);
            tokio::select! {
                report = &mut finishing => reports.push(report),
                () = interrupted.cancelled() => {
                    // Even what is finished is given up if the store has not confirmed it: the user does not wait for a store.
                    halt.now();
                    finishing.await;
                    stopped = Some(interruption());
                }
            }
        }
        session.close().await;
    }
    match stopped {
        Some(error) => Err(error),
        None => Ok(reports),
    }
}

async fn pump(feed: &mut Feed, outlets: &mut [Outlet], progress: &Progress) -> Result<(), CliError> {
    while let Some(message) = feed.next().await {
        let message = message.map_err(|error: InputError| CliError::from(error))?;
        for outlet in outlets.iter_mut() {
            match &message {
                Message::Migrate(ipc) => outlet.write.migrate_table(ipc.clone()).await?,
                Message::Insert(ipc) => outlet.write.insert(ipc.clone()).await?,
            }
        }
        progress.show(totals(outlets));
    }
    Ok(())
}

/// Rows of the input, bytes and objects of all destinations.
fn totals(outlets: &[Outlet]) -> Totals {
    let mut sum = Totals::default();
    for totals in outlets.iter().map(|outlet| outlet.write.totals()) {
        sum.rows = sum.rows.max(totals.rows);
        sum.bytes += totals.bytes;
        sum.objects += totals.objects;
    }
    sum
}

fn interruption() -> CliError {
    CliError::new(Exit::Interrupted, "Interrupted; unfinished uploads were aborted.")
}

/// A fresh sync id.
pub(crate) fn sync_id() -> Result<String, CliError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| CliError::new(Exit::Unexpected, format!("no random numbers: {error}")))?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
}

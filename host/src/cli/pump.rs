//! Rows of files into a write, until the input ends, fails, or the user has had enough.

use super::console::Progress;
use super::exit::{CliError, Exit};
use super::outlet::{Ended, Outlet, abort_all, finish_all, interruption, totals};
use crate::source::{Feed, Message};
use tokio_util::sync::CancellationToken;

/// Sends everything from `feed` to the outlet and ends it: well, with a report, or badly, with everything open aborted.
///
/// # Errors
/// The input is refused, the destination does not take a message, or `interrupted`.
pub(crate) async fn run(
    mut feed: Feed,
    mut outlet: Outlet,
    progress: &Progress,
    interrupted: &CancellationToken,
) -> Result<Option<Ended>, CliError> {
    let pumped = tokio::select! {
        biased;
        () = interrupted.cancelled() => Err(interruption()),
        pumped = pump(&mut feed, &mut outlet, progress) => pumped,
    };
    drop(feed);
    if let Err(error) = pumped {
        abort_all(vec![outlet], interrupted).await;
        return Err(error);
    }
    finish_all(vec![outlet], interrupted).await.pop().transpose()
}

async fn pump(feed: &mut Feed, outlet: &mut Outlet, progress: &Progress) -> Result<(), CliError> {
    while let Some(message) = feed.next().await {
        match message? {
            Message::Migrate(ipc) => outlet.migrate(ipc).await?,
            Message::Insert(ipc) => outlet.insert(ipc, 0).await?,
        }
        progress.show(|| totals(std::iter::once(&*outlet)));
    }
    Ok(())
}

/// A fresh sync id.
pub(crate) fn sync_id() -> Result<String, CliError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| CliError::new(Exit::Unexpected, format!("no random numbers: {error}")))?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
}

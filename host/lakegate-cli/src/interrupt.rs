//! SIGINT and SIGTERM: the first signal asks for a clean end, the second exits immediately.

use super::console::error_line;
use super::destination_write::interruption;
use super::exit::{CliError, Exit};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Installs the signal handlers. The token is cancelled at the first signal.
///
/// # Errors
/// The handlers cannot be installed.
pub(crate) fn listen() -> Result<CancellationToken, CliError> {
    let unheard = |error: std::io::Error| CliError::new(Exit::Unexpected, format!("signal handlers cannot be installed: {error}"));
    let (mut interrupt, mut terminate) = handlers().map_err(unheard)?;
    let token = CancellationToken::new();
    let asked = token.clone();
    tokio::spawn(async move {
        either(&mut interrupt, &mut terminate).await;
        error_line("Interrupted: aborting open uploads. Interrupt again to exit immediately.");
        asked.cancel();
        either(&mut interrupt, &mut terminate).await;
        lakegate_cloudquery::client::process::kill_all();
        super::console::flush();
        std::process::exit(Exit::Interrupted.code().into());
    });
    Ok(token)
}

/// Waits for the next signal.
///
/// # Errors
/// The handlers cannot be installed.
pub(crate) async fn signalled() -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = handlers()?;
    either(&mut interrupt, &mut terminate).await;
    Ok(())
}

fn handlers() -> std::io::Result<(Signal, Signal)> {
    Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
}

/// Runs the preparations before rows are written: reading configurations, resolving file patterns, compiling the component, opening the destination.
/// Ends at the first signal, whatever `work` is waiting for. Reading may block (on a pipe that nobody writes to), so `work` gets its own thread,
/// which is abandoned then: the process is about to exit.
///
/// # Errors
/// The errors of `work`, or the interruption.
pub(crate) async fn unless<T: Send + 'static>(
    interrupted: &CancellationToken,
    work: impl Future<Output = Result<T, CliError>> + Send + 'static,
) -> Result<T, CliError> {
    let (runtime, asked) = (Handle::current(), interrupted.clone());
    let working = tokio::task::spawn_blocking(move || {
        // Work that does not block is cancelled in an orderly way.
        runtime.block_on(async { asked.run_until_cancelled(work).await.unwrap_or_else(|| Err(interruption())) })
    });
    tokio::select! {
        biased;
        () = interrupted.cancelled() => Err(interruption()),
        worked = working => worked.unwrap_or_else(|error| Err(CliError::new(Exit::Unexpected, error.to_string()))),
    }
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// One worker thread, as on a small machine: blocked work must not keep the signal from being handled.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn work_ends_at_the_first_signal_whatever_it_waits_for() {
        let token = CancellationToken::new();
        assert_eq!(unless(&token, async { Ok(7) }).await.unwrap(), 7);
        let refused = unless(&token, async { Err::<(), _>(CliError::new(Exit::Input, "no")) }).await.unwrap_err();
        assert_eq!(refused.exit, Exit::Input);
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let blocked = unless(&token, async move { wait.recv().map_err(|_| CliError::new(Exit::Unexpected, "gone")) });
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            token.cancel();
        };
        assert_eq!(tokio::join!(blocked, cancel).0.unwrap_err().exit, Exit::Interrupted);
        drop(go_on);
        // After an interruption, work does not even start.
        assert_eq!(unless(&token, std::future::pending::<Result<(), _>>()).await.unwrap_err().exit, Exit::Interrupted);
    }
}

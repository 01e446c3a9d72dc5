//! SIGINT and SIGTERM: the first asks for a clean end, the second ends at once.

use super::console::error_line;
use super::exit::Exit;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Listens from now on. The token is cancelled at the first signal.
///
/// # Errors
/// Signals cannot be listened to.
pub(crate) fn listen() -> std::io::Result<CancellationToken> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let token = CancellationToken::new();
    let asked = token.clone();
    tokio::spawn(async move {
        either(&mut interrupt, &mut terminate).await;
        error_line("Interrupted: aborting what is open. Once more to end at once.");
        asked.cancel();
        either(&mut interrupt, &mut terminate).await;
        crate::plugin::process::kill_all();
        super::console::flush();
        std::process::exit(Exit::Interrupted.code().into());
    });
    Ok(token)
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

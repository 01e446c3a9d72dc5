//! Servers as child processes: finds a free port, waits until they answer, and stops them reliably.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::tiers::Unavailable;

/// How long a server may take until it accepts connections. Python imports a lot on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Delay between two attempts.
const START_POLL: Duration = Duration::from_millis(100);

/// A server process on a loopback port, killed when this is dropped.
#[derive(Debug)]
pub struct Server {
    /// The address it listens on.
    pub address: SocketAddr,
    // Killed on drop.
    _child: Child,
    _data: tempfile::TempDir,
}

/// Starts `command`, completed by `arguments` with its address and a temporary folder, and waits until it listens.
pub async fn start(program: &Path, arguments: impl Fn(&mut Command, SocketAddr, &Path)) -> Result<Server, Unavailable> {
    let failed = |what: &str, error: &dyn std::fmt::Display| Unavailable(format!("{}: {what}: {error}", program.display()));
    let data = tempfile::tempdir().map_err(|e| failed("no folder", &e))?;
    let address = free_address().await.map_err(|e| failed("no port", &e))?;
    let log = std::fs::File::create(data.path().join("log")).map_err(|e| failed("no log", &e))?;
    let folder = data.path().join("data");
    std::fs::create_dir(&folder).map_err(|e| failed("no folder", &e))?;
    let mut command = Command::new(program);
    arguments(&mut command, address, &folder);
    command.stdin(std::process::Stdio::null()).stdout(log.try_clone().map_err(|e| failed("no log", &e))?).stderr(log).kill_on_drop(true);
    let mut child = command.spawn().map_err(|e| failed("does not start", &e))?;
    let until = Instant::now() + START_LIMIT;
    loop {
        if TcpStream::connect(address).await.is_ok() {
            return Ok(Server { address, _child: child, _data: data });
        }
        let ended = child.try_wait().map_err(|e| failed("is lost", &e))?;
        if ended.is_some() || Instant::now() > until {
            let said = std::fs::read_to_string(data.path().join("log")).unwrap_or_default();
            return Err(failed("does not listen", &said));
        }
        tokio::time::sleep(START_POLL).await;
    }
}

/// A loopback address that nothing listens on at this moment.
pub(crate) async fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()
}

/// The program `name` on the PATH.
#[must_use]
pub fn on_path(name: &str) -> Option<std::path::PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

//! A stand-in for AWS: moto's server, for STS, KMS headers and ACLs.

use crate::process::{self, Server};
use crate::python;
use crate::tiers::Unavailable;

/// Starts a moto server; every service answers at its one address.
///
/// # Errors
/// The Python environment is missing: `tests/setup.sh` creates it.
pub async fn start() -> Result<Server, Unavailable> {
    let program = python::tool("moto_server")?;
    process::start(&program, |command, address, data| {
        command.arg("-H").arg(address.ip().to_string()).arg("-p").arg(address.port().to_string()).current_dir(data);
    })
    .await
}

//! A stand-in for AWS: moto's server, for STS, KMS headers and ACLs.

use crate::process::{self, Server};
use crate::python;
use crate::tiers::{Unavailable, repository};

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

/// Starts a moto of an older version, which gets something wrong that a test is about; with no version, that of [`start`].
///
/// # Errors
/// As [`start`].
pub async fn start_version(version: &str) -> Result<Server, Unavailable> {
    if version.is_empty() {
        return start().await;
    }
    let packages = repository().join("target/tools").join(format!("moto-{version}"));
    if !packages.is_dir() {
        return Err(Unavailable(format!("no {} (tests/setup.sh makes it)", packages.display())));
    }
    process::start(&python::tool("python")?, |command, address, data| {
        command.args(["-m", "moto.server", "-H"]).arg(address.ip().to_string()).arg("-p").arg(address.port().to_string());
        command.env("PYTHONPATH", &packages).current_dir(data);
    })
    .await
}

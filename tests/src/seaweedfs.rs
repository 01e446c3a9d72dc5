//! A live SeaweedFS: all of its servers in one process, on free loopback ports.

use std::path::{Path, PathBuf};

use crate::process::{self, Server};
use crate::python;
use crate::s3::Store;
use crate::tiers::Unavailable;

const ACCESS_KEY: &str = "lakegate-test";
const SECRET_KEY: &str = "lakegate-test-secret";

/// How often it is started: another program may take one of its eight ports before it does.
const TRIES: usize = 3;

/// Starts a SeaweedFS.
///
/// # Errors
/// There is no `weed` in the Python environment: `tests/setup.sh` installs it there.
pub async fn start() -> Result<Store, Unavailable> {
    let program = python::tool("weed")?;
    for _ in 1..TRIES {
        if let Ok(store) = start_once(&program).await {
            return Ok(store);
        }
    }
    start_once(&program).await
}

async fn start_once(program: &Path) -> Result<Store, Unavailable> {
    let names = ["s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"];
    let mut ports = Vec::new();
    for name in names {
        let address = process::free_address().await.map_err(|error| Unavailable(format!("no port: {error}")))?;
        ports.push((name, address.port()));
    }
    let sockets = Sockets::open(&ports);
    let server: Server = process::start(program, |command, address, data| {
        // To standard error, in place of files among everybody's temporary ones.
        command.args(["-logtostderr=true", "server", "-s3", "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]);
        // A bucket begins with several volumes, which are files of this size at most.
        command.args(["-master.volumeSizeLimitMB=64", "-volume.max=100"]);
        command.arg(format!("-dir={}", data.display())).arg(format!("-ip={}", address.ip())).arg(format!("-ip.bind={}", address.ip()));
        command.arg(format!("-s3.port={}", address.port())).args(ports.iter().map(|(name, port)| format!("-{name}={port}")));
        for socket in ["filer", "s3"] {
            command.arg(format!("-{socket}.localSocket={}", data.join(socket).display()));
        }
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    })
    .await?;
    let mut store = Store::new(format!("http://{}", server.address), ACCESS_KEY.to_owned(), SECRET_KEY.to_owned());
    store.ready().await.map_err(|error| Unavailable(format!("SeaweedFS does not answer: {error}")))?;
    store.keep(server);
    store.keep(sockets);
    Ok(store)
}

/// Unix sockets that SeaweedFS makes at fixed places and leaves behind when it is killed.
#[derive(Debug)]
struct Sockets(Vec<PathBuf>);

impl Sockets {
    fn open(ports: &[(&str, u16)]) -> Self {
        let servers = ports.iter().filter_map(|(name, port)| Some((name.strip_suffix(".port.grpc")?, port)));
        Self(servers.map(|(server, port)| format!("/tmp/seaweedfs-{server}-grpc-{port}.sock").into()).collect())
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        for socket in &self.0 {
            // One that was never made is as good.
            let _ = std::fs::remove_file(socket);
        }
    }
}

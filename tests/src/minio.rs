//! A live S3 store: MinIO, a process of the test's own on a free loopback port; or the store that `S3_ENDPOINT` names.

use std::path::PathBuf;

use crate::process::{self, Server, on_path};
use crate::s3::Store;
use crate::tiers::{Unavailable, repository};

const ACCESS_KEY: &str = "lakegate-test";
const SECRET_KEY: &str = "lakegate-test-secret";

/// Names the endpoint of a store that runs already; its keys come from `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`.
pub const ENDPOINT_VARIABLE: &str = "S3_ENDPOINT";

/// Starts a MinIO, or takes the store of [`ENDPOINT_VARIABLE`].
///
/// # Errors
/// There is no `minio`: `tests/setup.sh` builds one.
pub async fn start() -> Result<Store, Unavailable> {
    if let Ok(endpoint) = std::env::var(ENDPOINT_VARIABLE) {
        let variable = |name: &str| std::env::var(name).map_err(|_| Unavailable(format!("{ENDPOINT_VARIABLE} is set, {name} is not")));
        return Ok(Store::new(endpoint, variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?));
    }
    let program = program().ok_or_else(|| Unavailable("no `minio` on the PATH or in target/tools/bin (tests/setup.sh builds it)".to_owned()))?;
    let server: Server = process::start(&program, |command, address, data| {
        command.arg("server").arg("--quiet").arg("--address").arg(address.to_string()).arg("--console-address").arg("127.0.0.1:0").arg(data);
        command.env("MINIO_ROOT_USER", ACCESS_KEY).env("MINIO_ROOT_PASSWORD", SECRET_KEY).env("MINIO_BROWSER", "off");
        command.env("MINIO_CALLHOME_ENABLE", "off").env("MINIO_UPDATE", "off");
    })
    .await?;
    let mut store = Store::new(format!("http://{}", server.address), ACCESS_KEY.to_owned(), SECRET_KEY.to_owned());
    store.ready().await.map_err(|error| Unavailable(format!("MinIO does not answer: {error}")))?;
    store.keep(server);
    Ok(store)
}

fn program() -> Option<PathBuf> {
    let built = repository().join("target/tools/bin/minio");
    on_path("minio").or_else(|| built.is_file().then_some(built))
}

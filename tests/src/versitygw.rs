//! A live versitygw: an S3 gateway whose objects are files of a folder.

use std::path::PathBuf;

use crate::process::{self, Server, on_path};
use crate::s3::Store;
use crate::tiers::{Unavailable, repository};

const ACCESS_KEY: &str = "lakegate-test";
const SECRET_KEY: &str = "lakegate-test-secret";

/// Starts a versitygw.
///
/// # Errors
/// There is no `versitygw`: `tests/setup.sh` builds one. Or the folder for temporary files is on a file system without extended attributes, in
/// which it keeps what S3 knows of an object.
pub async fn start() -> Result<Store, Unavailable> {
    let program =
        program().ok_or_else(|| Unavailable("no `versitygw` on the PATH or in target/tools/bin (tests/setup.sh builds it)".to_owned()))?;
    let server: Server = process::start(&program, |command, address, data| {
        command.arg("--port").arg(address.to_string()).arg("--quiet").arg("posix").arg(data);
        command.env("ROOT_ACCESS_KEY_ID", ACCESS_KEY).env("ROOT_SECRET_ACCESS_KEY", SECRET_KEY);
    })
    .await?;
    let mut store = Store::new(format!("http://{}", server.address), ACCESS_KEY.to_owned(), SECRET_KEY.to_owned());
    store.ready().await.map_err(|error| Unavailable(format!("versitygw does not answer: {error}")))?;
    store.keep(server);
    Ok(store)
}

fn program() -> Option<PathBuf> {
    let built = repository().join("target/tools/bin/versitygw");
    on_path("versitygw").or_else(|| built.is_file().then_some(built))
}

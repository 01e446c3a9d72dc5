//! Headless Chromium with a temporary profile and without network, to check the status page.

use crate::process::on_path;
use crate::tiers::Unavailable;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// A page takes a second or two, on a busy machine more.
const PATIENCE: Duration = Duration::from_secs(120);

/// The result of rendering a page.
#[derive(Debug)]
pub struct Page {
    /// The parsed document.
    pub dom: String,
    /// The addresses requested by the page itself.
    pub asked: Vec<String>,
    /// A screenshot, PNG.
    pub picture: Vec<u8>,
}

/// The Chromium program.
#[derive(Debug)]
pub struct Chromium(PathBuf);

impl Chromium {
    /// Finds Debian's Chromium.
    ///
    /// # Errors
    /// It is not installed: `tests/setup.sh` does that.
    pub fn find() -> Result<Self, Unavailable> {
        let found = on_path("chromium").map(Self);
        found.ok_or_else(|| Unavailable("no `chromium` on the PATH (tests/setup.sh installs it as root, with apt)".to_owned()))
    }

    /// Looks at a page twice: once at what it is, once at what it looks like. No name is resolved: only 127.0.0.1 can be reached.
    ///
    /// # Errors
    /// The browser failed.
    pub async fn look(&self, origin: &str) -> Result<Page> {
        let folder = tempfile::tempdir()?;
        let (log, picture) = (folder.path().join("net.json"), folder.path().join("page.png"));
        let url = format!("{origin}/");
        let dom = self.run(folder.path(), &[&format!("--log-net-log={}", log.display()), "--dump-dom", &url]).await?;
        self.run(folder.path(), &[&format!("--screenshot={}", picture.display()), "--window-size=1200,700", &url]).await?;
        Ok(Page { dom, asked: asked(&log, origin)?, picture: std::fs::read(picture)? })
    }

    async fn run(&self, folder: &Path, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.0);
        // No sandbox: it does not work for root, and the page is our own.
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        command.arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1").arg(format!("--user-data-dir={}", folder.display()));
        command.args(arguments).env("HOME", folder).stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, command.output()).await.context("the browser is at it for minutes")??;
        ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// The requests whose initiator is a page of `origin`; what the browser wants for itself has another.
fn asked(log: &Path, origin: &str) -> Result<Vec<String>> {
    let log: Value = serde_json::from_slice(&std::fs::read(log)?)?;
    let events = log["events"].as_array().context("events")?.iter().map(|event| &event["params"]);
    let ours = events.filter(|request| request["initiator"].as_str().is_some_and(|initiator| initiator.trim_end_matches('/') == origin));
    Ok(ours.filter_map(|request| request["url"].as_str().map(str::to_owned)).collect())
}

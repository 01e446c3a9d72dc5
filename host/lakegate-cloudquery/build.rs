//! Compiles the CloudQuery protocol definitions without needing protoc.
#![expect(clippy::print_stderr, reason = "a build script reports through its standard streams")]

use anyhow::Result;
use std::path::{Path, PathBuf};

fn main() {
    if let Err(error) = build(Path::new("proto")) {
        // Print one readable cause; returning a `Result` from main would print a backtrace.
        eprintln!("{error:#}");
        std::process::exit(1);
    }
}

fn build(folder: &Path) -> Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let files: Vec<PathBuf> = ["plugin.proto", "discovery.proto"].iter().map(|name| folder.join(name)).collect();
    let set = protox::compile(&files, [folder])?;
    tonic_prost_build::configure().bytes(".").compile_fds(set)?;
    Ok(())
}

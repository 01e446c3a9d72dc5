//! Compiles the messages of OTLP without needing protoc.
#![expect(clippy::print_stderr, reason = "a build script reports through its standard streams")]

use anyhow::Result;
use std::path::Path;

fn main() {
    if let Err(error) = build(Path::new("proto")) {
        // Print one readable cause; returning a `Result` from main would print a backtrace.
        eprintln!("{error:#}");
        std::process::exit(1);
    }
}

fn build(folder: &Path) -> Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let set = protox::compile([folder.join("otlp.proto")], [folder])?;
    tonic_prost_build::configure().compile_fds(set)?;
    Ok(())
}

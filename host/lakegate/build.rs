//! Builds the guest for wasm32, makes it a component, refuses imports outside the allow-list, and embeds it.
#![expect(clippy::print_stderr, reason = "a build script speaks through its streams")]

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::{env, fs};

fn main() {
    if let Err(error) = build() {
        // One readable cause; `Result` from main would print a backtrace.
        eprintln!("{error:#}");
        std::process::exit(1);
    }
}

fn build() -> Result<()> {
    let inputs = [
        "../../guest/src",
        "../../guest/Cargo.toml",
        "../../wit",
        "../../Cargo.lock",
        "../../Cargo.toml",
        "allowed-imports.txt",
        "build.rs",
    ];
    for input in inputs {
        println!("cargo::rerun-if-changed={input}");
    }
    let miniz = env::var_os("CARGO_FEATURE_GZIP_MINIZ").is_some();
    let arguments: &[&str] = if miniz { &["--no-default-features", "--features", "gzip-miniz"] } else { &[] };
    let guest = lakegate_build::Guest { package: "lakegate-guest", arguments, allowed_imports: include_str!("allowed-imports.txt") };
    let path = PathBuf::from(env::var_os("OUT_DIR").context("no OUT_DIR")?).join("destination.wasm");
    let component = guest.build()?;
    fs::write(&path, &component).with_context(|| format!("cannot write {}", path.display()))?;
    println!("cargo::rustc-env=LAKEGATE_COMPONENT={}", path.display());
    let digest: String = Sha256::digest(&component).iter().map(|byte| format!("{byte:02x}")).collect();
    println!("cargo::rustc-env=LAKEGATE_COMPONENT_DIGEST={digest}");
    Ok(())
}

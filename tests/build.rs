//! Builds the hostile guest, a component that targets the same world but misbehaves.
#![expect(clippy::print_stderr, reason = "a build script reports through its standard streams")]

use anyhow::{Context, Result};
use std::path::PathBuf;
use std::{env, fs};

fn main() {
    if let Err(error) = build() {
        eprintln!("{error:#}");
        std::process::exit(1);
    }
}

fn build() -> Result<()> {
    for input in ["hostile/src", "hostile/Cargo.toml", "../wit", "../Cargo.lock", "build.rs"] {
        println!("cargo::rerun-if-changed={input}");
    }
    let allowed_imports = include_str!("../host/lakegate/allowed-imports.txt");
    let component = lakegate_build::Guest { package: "lakegate-hostile", arguments: &[], allowed_imports }.build()?;
    let path = PathBuf::from(env::var_os("OUT_DIR").context("no OUT_DIR")?).join("hostile.wasm");
    fs::write(&path, component).with_context(|| format!("cannot write {}", path.display()))?;
    println!("cargo::rustc-env=LAKEGATE_HOSTILE_COMPONENT={}", path.display());
    Ok(())
}

//! Builds the guest for wasm32, makes it a component, refuses imports outside the allow-list, and embeds it; compiles the protocol.
#![expect(clippy::print_stderr, reason = "a build script speaks through its streams")]

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The imports a component may have. Patch versions of `wasi:` names do not count.
const ALLOWED_IMPORTS: &str = include_str!("allowed-imports.txt");

fn main() {
    if let Err(error) = build() {
        // One readable cause; `Result` from main would print a backtrace.
        eprintln!("{error:#}");
        std::process::exit(1);
    }
}

fn build() -> Result<()> {
    let host = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("no CARGO_MANIFEST_DIR")?);
    let root = host.parent().context("the host crate has no parent folder")?.to_path_buf();
    let out = PathBuf::from(env::var_os("OUT_DIR").context("no OUT_DIR")?);
    for input in ["../guest/src", "../guest/Cargo.toml", "../wit", "../Cargo.lock", "../Cargo.toml", "allowed-imports.txt", "proto", "build.rs"] {
        println!("cargo::rerun-if-changed={input}");
    }
    let core = build_guest(&root, &out)?;
    let component = make_component(&core)?;
    let path = out.join("destination.wasm");
    fs::write(&path, component).with_context(|| format!("cannot write {}", path.display()))?;
    println!("cargo::rustc-env=LAKEGATE_COMPONENT={}", path.display());
    compile_protocol(&host)
}

/// Runs a cargo of its own, in a target folder of its own: the outer one holds the lock of its folder.
fn build_guest(root: &Path, out: &Path) -> Result<Vec<u8>> {
    // <target>[/<triple>]/<profile>/build/<package>-<hash>/out: shared by dev, release, check, clippy and doc.
    let target = out.ancestors().nth(4).context("OUT_DIR has an unknown shape")?.join("guest-build");
    let mut cargo = Command::new(env::var_os("CARGO").context("no CARGO")?);
    for (key, _) in env::vars_os() {
        let name = key.to_string_lossy();
        let outer = ["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "CLIPPY_"].iter().any(|prefix| name.starts_with(prefix))
            || ["TARGET", "HOST", "PROFILE", "OPT_LEVEL", "DEBUG", "NUM_JOBS", "OUT_DIR"].contains(&name.as_ref());
        let kept = ["CARGO_HOME", "CARGO_MAKEFLAGS"].contains(&name.as_ref())
            || ["CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR"].iter().any(|prefix| name.starts_with(prefix));
        if outer && !kept {
            cargo.env_remove(&key);
        }
    }
    cargo.current_dir(root).args(["build", "-p", "lakegate-guest", "--lib", "--target", "wasm32-unknown-unknown", "--profile", "guest", "--locked"]);
    if env::var_os("CARGO_FEATURE_GZIP_MINIZ").is_some() {
        cargo.args(["--no-default-features", "--features", "gzip-miniz"]);
    }
    cargo.arg("--target-dir").arg(&target).env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+simd128");
    let run = cargo.output().context("cannot run cargo for the guest")?;
    if !run.status.success() {
        let text = String::from_utf8_lossy(&run.stderr);
        if text.contains("target may not be installed") || text.contains("E0463") {
            bail!("the wasm target is missing; run: rustup target add wasm32-unknown-unknown");
        }
        bail!("the guest does not build:\n{text}");
    }
    let core = target.join("wasm32-unknown-unknown/guest/lakegate_guest.wasm");
    fs::read(&core).with_context(|| format!("cannot read {}", core.display()))
}

/// Wraps the core module and checks what it imports.
fn make_component(core: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = wit_component::ComponentEncoder::default().validate(true).module(core)?;
    let component = encoder.encode().context("cannot make a component of the guest")?;
    let wit_component::DecodedWasm::Component(resolve, world) = wit_component::decode(&component)? else {
        bail!("the guest did not become a component");
    };
    for key in resolve.worlds[world].imports.keys() {
        let name = resolve.name_world_key(key);
        if !ALLOWED_IMPORTS.lines().any(|allowed| matches(&name, allowed)) {
            bail!("the component imports `{name}`, which is not on the list in host/allowed-imports.txt");
        }
    }
    Ok(component)
}

/// Equal names, but for the patch version of `wasi:` interfaces.
fn matches(name: &str, allowed: &str) -> bool {
    let without_patch = |text: &str| if text.starts_with("wasi:") { text.rsplit_once('.').map(|(head, _)| head.to_owned()) } else { None };
    name == allowed || without_patch(name).is_some_and(|head| without_patch(allowed) == Some(head))
}

/// The gRPC code of the CloudQuery protocol, without a protoc.
fn compile_protocol(host: &Path) -> Result<()> {
    let folder = host.join("proto");
    let files: Vec<PathBuf> = ["plugin.proto", "discovery.proto"].iter().map(|name| folder.join(name)).collect();
    let set = protox::compile(&files, [&folder])?;
    tonic_prost_build::configure().bytes(".").compile_fds(set)?;
    Ok(())
}

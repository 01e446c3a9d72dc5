//! For build scripts: builds a crate of this workspace for wasm32, makes it a component, and refuses imports that are not allowed.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What to build.
#[derive(Debug)]
pub struct Guest<'a> {
    /// The package, a cdylib.
    pub package: &'a str,
    /// Arguments for cargo, such as features.
    pub arguments: &'a [&'a str],
    /// The imports it may have, one a line. Patch versions of `wasi:` names do not count.
    pub allowed_imports: &'a str,
}

impl Guest<'_> {
    /// Builds the component, for the build script that calls.
    ///
    /// # Errors
    /// The crate does not build (with the one command that mends a missing target), or imports what it may not.
    pub fn build(&self) -> Result<Vec<u8>> {
        let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("no CARGO_MANIFEST_DIR")?);
        let root = package.ancestors().find(|folder| folder.join("Cargo.lock").is_file()).context("the package is in no workspace")?;
        let out = PathBuf::from(env::var_os("OUT_DIR").context("no OUT_DIR")?);
        let core = self.core_module(root, &out)?;
        self.component(&core)
    }

    /// Runs a cargo of its own, in a target folder of its own: the outer one holds the lock of its folder.
    fn core_module(&self, root: &Path, out: &Path) -> Result<Vec<u8>> {
        // <target>[/<triple>]/<profile>/build/<package>-<hash>/out: shared by dev, release, check, clippy and doc.
        let target = out.ancestors().nth(4).context("OUT_DIR has an unknown shape")?.join("guest-build");
        let mut cargo = Command::new(env::var_os("CARGO").context("no CARGO")?);
        for (key, _) in env::vars_os() {
            if belongs_to_outer_build(&key.to_string_lossy()) {
                cargo.env_remove(&key);
            }
        }
        cargo.current_dir(root).args(["build", "-p", self.package, "--lib"]).args([
            "--target",
            "wasm32-unknown-unknown",
            "--profile",
            "guest",
        ]);
        cargo.arg("--locked").args(self.arguments).arg("--target-dir").arg(&target);
        let run = cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+simd128").output().context("cannot run cargo for the guest")?;
        if !run.status.success() {
            let text = String::from_utf8_lossy(&run.stderr);
            if text.contains("target may not be installed") || text.contains("E0463") {
                bail!("the wasm target is missing; run: rustup target add wasm32-unknown-unknown");
            }
            bail!("{} does not build:\n{text}", self.package);
        }
        let core = target.join("wasm32-unknown-unknown/guest").join(format!("{}.wasm", self.package.replace('-', "_")));
        fs::read(&core).with_context(|| format!("cannot read {}", core.display()))
    }

    /// Wraps the core module and checks what it imports.
    fn component(&self, core: &[u8]) -> Result<Vec<u8>> {
        let mut encoder = wit_component::ComponentEncoder::default().validate(true).module(core)?;
        let component = encoder.encode().with_context(|| format!("cannot make a component of {}", self.package))?;
        let wit_component::DecodedWasm::Component(resolve, world) = wit_component::decode(&component)? else {
            bail!("{} did not become a component", self.package);
        };
        for key in resolve.worlds[world].imports.keys() {
            let name = resolve.name_world_key(key);
            if !self.allowed_imports.lines().any(|allowed| same_interface(&name, allowed)) {
                bail!("{} imports `{name}`, which is not on the list in host/lakegate/allowed-imports.txt", self.package);
            }
        }
        Ok(component)
    }
}

/// Variables that cargo and its wrappers set for the outer build; the inner one is to know only where cargo keeps its things.
fn belongs_to_outer_build(name: &str) -> bool {
    let outer = ["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "CLIPPY_"].iter().any(|prefix| name.starts_with(prefix))
        || ["TARGET", "HOST", "PROFILE", "OPT_LEVEL", "DEBUG", "NUM_JOBS", "OUT_DIR"].contains(&name);
    let kept = ["CARGO_HOME", "CARGO_MAKEFLAGS"].contains(&name)
        || ["CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR"].iter().any(|prefix| name.starts_with(prefix));
    outer && !kept
}

/// Equal names, but for the patch version of `wasi:` interfaces.
fn same_interface(name: &str, allowed: &str) -> bool {
    let without_patch = |text: &str| text.starts_with("wasi:").then(|| text.rsplit_once('.').map(|(head, _)| head.to_owned())).flatten();
    name == allowed || without_patch(name).is_some_and(|head| without_patch(allowed) == Some(head))
}

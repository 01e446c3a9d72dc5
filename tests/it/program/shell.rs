//! What a package installs beside the program: completions and manual pages, read by the programs that they are for.

use crate::fixtures::proxied_store::{KEY, PLUGIN, SECRET};
use lakegate_tests::process::on_path;
use lakegate_tests::test_dir::TestDir;
use lakegate_tests::tiers::{self, Unavailable};
use std::process::Command;

fn program(name: &str) -> Result<std::path::PathBuf, Unavailable> {
    on_path(name).ok_or_else(|| Unavailable(format!("no `{name}` on the PATH (tests/setup.sh installs it)")))
}

/// Each shell reads its script without a complaint; bash completes with it.
#[test]
fn shells_read_their_completions() {
    let dir = TestDir::new(PLUGIN, (KEY, SECRET));
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = dir.run(&format!("completions {shell}")).ended(0, &[]).stdout.clone();
        assert!(
            script.contains("lakegate") && script.contains("max-open-partitions") && !script.contains("compile-component"),
            "{shell}: {script:.300}"
        );
        dir.file(&format!("lakegate.{shell}"), &script);
        let Some(program) = tiers::live(&format!("completions of {shell}"), program(shell)) else { continue };
        let read = Command::new(program).arg(check).arg(dir.path().join(format!("lakegate.{shell}"))).output().expect("it runs");
        assert!(read.status.success() && read.stderr.is_empty(), "{shell}: {}", String::from_utf8_lossy(&read.stderr));
    }
    let line =
        "source lakegate.bash; COMP_WORDS=(lakegate manifest ver); COMP_CWORD=2; _lakegate lakegate ver manifest; echo \"${COMPREPLY[@]}\"";
    let completed = Command::new("bash").args(["-c", line]).current_dir(dir.path()).output().expect("bash runs");
    assert_eq!(String::from_utf8_lossy(&completed.stdout).trim(), "verify", "{}", String::from_utf8_lossy(&completed.stderr));
}

/// There is a page for every command, and mandoc finds nothing wrong with any.
#[test]
fn manual_pages_are_of_all_commands_and_well_formed() {
    let dir = TestDir::new(PLUGIN, (KEY, SECRET));
    let page = dir.run("man").ended(0, &[]).stdout.clone();
    assert!(page.contains(".TH lakegate 1") && page.contains("Exit codes"), "{page:.300}");
    dir.run("man --output-dir man").ended(0, &[]);
    let folder = std::fs::read_dir(dir.path().join("man")).expect("a folder");
    let pages: Vec<String> = folder.map(|entry| entry.expect("a page").file_name().into_string().expect("UTF-8")).collect();
    for name in ["lakegate.1", "lakegate-load.1", "lakegate-manifest-verify.1", "lakegate-man.1"] {
        assert!(pages.iter().any(|page| page == name), "{name} is not among {pages:?}");
    }
    assert!(!pages.iter().any(|page| page.contains("compile")), "{pages:?}");
    let Some(mandoc) = tiers::live("manual pages", program("mandoc")) else { return };
    let read = Command::new(mandoc)
        .args(["-T", "lint", "-W", "error"])
        .args(&pages)
        .current_dir(dir.path().join("man"))
        .output()
        .expect("it runs");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stdout));
}

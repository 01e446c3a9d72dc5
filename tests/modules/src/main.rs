//! Lists which module of a crate uses which, lowest layer first, and fails if there is a cycle among files or among sibling modules.
//!
//! `modules guest host/lakegate` reads `guest/src/lib.rs` and `host/lakegate/src/lib.rs`, and the modules they declare. The analysis is syntactic:
//! paths in code and imports are followed to the file that defines the name. Method calls on values whose type is not named are not seen.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that draws, and says what is wrong")]

mod graph;
mod known;
mod syntax;
#[cfg(test)]
mod tests;

use graph::Graph;
use known::{KNOWN, Known};
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    let mut problems = String::new();
    for package in std::env::args().skip(1) {
        let modules = syntax::read(&Path::new(&package).join("src/lib.rs"))?;
        let mut graph = Graph::new(&modules);
        print!("{}", drawn(&package, &graph));
        let known: Vec<Known> = KNOWN.iter().filter(|known| known.package == package).copied().collect();
        problems += &check_modules(&package, &mut graph, &known);
    }
    eprint!("{problems}");
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The problems with a crate's modules other than known ones; empty if there are none.
fn check_modules(package: &str, graph: &mut Graph, known: &[Known]) -> String {
    let mut problems = String::new();
    for Known { from, to, reason, .. } in known {
        for from in from.iter().filter(|from| !graph.remove(from, to)) {
            problems += &format!("{package}: {from} no longer uses {to} ({reason}): take it off tests/modules/src/known.rs\n");
        }
    }
    problems += &circles(package, graph, "files");
    for (room, graph) in graph.rooms() {
        problems += &circles(package, &graph, &format!("what lies directly below {room}"));
    }
    problems
}

fn circles(package: &str, graph: &Graph, what: &str) -> String {
    let mut text = String::new();
    for circle in graph.circles() {
        let _ = writeln!(text, "{package}: a circle among {what}:");
        for from in &circle {
            for (to, names) in graph.used_by(from).filter(|(to, _)| circle.contains(to)) {
                let _ = writeln!(text, "    {from} -> {to}: {}", names.iter().map(String::as_str).collect::<Vec<_>>().join(", "));
            }
        }
    }
    text
}

/// The graph as text: a line for each file, below those that it uses.
fn drawn(package: &str, graph: &Graph) -> String {
    let mut text = String::new();
    for (layer, files) in graph.layers().into_iter().enumerate() {
        for file in files {
            let uses: Vec<&str> = graph.used_by(file).map(|(to, _)| to).collect();
            let _ = writeln!(text, "{package} {layer} {file}{}{}", if uses.is_empty() { "" } else { " -> " }, uses.join(", "));
        }
    }
    text
}

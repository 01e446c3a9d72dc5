//! `lakegate` under another name, so that cargo builds it together with the tests and programs of this crate.

#[global_allocator]
static ALLOCATOR: lakegate_cli::Allocator = lakegate_cli::Allocator;

fn main() -> std::process::ExitCode {
    lakegate_cli::main()
}

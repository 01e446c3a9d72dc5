//! `lakegate` under another name, so that tests and programs of this crate have it built with them.

#[global_allocator]
static ALLOCATOR: lakegate_cli::Allocator = lakegate_cli::Allocator;

fn main() -> std::process::ExitCode {
    lakegate_cli::main()
}

//! `lakegate` under another name, so that tests and programs of this crate have it built with them.

#[global_allocator]
static ALLOCATOR: lakegate::cli::Allocator = lakegate::cli::Allocator;

fn main() -> std::process::ExitCode {
    lakegate::cli::main()
}

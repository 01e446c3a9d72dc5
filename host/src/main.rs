//! The `lakegate` command.

#[global_allocator]
static ALLOCATOR: lakegate::cli::Allocator = lakegate::cli::Allocator;

fn main() -> std::process::ExitCode {
    lakegate::cli::main()
}

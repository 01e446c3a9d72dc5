//! The `lakegate` program.

#[global_allocator]
static ALLOCATOR: lakegate_cli::Allocator = lakegate_cli::Allocator;

fn main() -> std::process::ExitCode {
    lakegate_cli::main()
}

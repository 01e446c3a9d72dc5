//! The `lakegate` program, for the integration tests: a binary of another package is not built along with them.

fn main() -> std::process::ExitCode {
    lakegate::cli::main()
}

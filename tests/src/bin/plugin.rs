//! `lakegate` under another name, so that tests and programs of this crate have it built with them.

fn main() -> std::process::ExitCode {
    lakegate::cli::main()
}

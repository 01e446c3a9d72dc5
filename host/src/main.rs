//! The `lakegate` command.
fn main() {}

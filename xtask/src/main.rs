//! The `zanzara` command.
fn main() {}

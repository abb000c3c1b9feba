//! The maplog command.
fn main() {}

//! The `slowburn` command.

fn main() {}

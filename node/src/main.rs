//! The `astreum` command.

fn main() {}

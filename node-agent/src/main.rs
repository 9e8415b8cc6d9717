//! The `portolan` binary: parse, start, exit code.

fn main() {}

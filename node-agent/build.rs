//! Builds the kernel object and embeds it.
fn main() {}

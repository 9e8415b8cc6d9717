//! The project's own commands: set-up, demo, tests, benches and house checks.
fn main() {}

//! Feeds arbitrary bytes to one parser of untrusted input, which an environment variable selects. A parser must not panic,
//! and its result must stay within its documented bounds.
#![no_main]
#![expect(clippy::expect_used, clippy::panic, reason = "a fault is found by panicking")]

mod kernel;
mod orchestrator;
mod user;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

/// Environment variable that selects the parser.
const VARIABLE: &str = "PORTOLAN_FUZZ";

type Parser = fn(&[u8]);

/// Every parser, by its name in `cargo xtask fuzz`.
const PARSERS: [(&str, Parser); 9] = [
    ("packet", kernel::packet),
    ("record", kernel::record),
    ("cgroup", orchestrator::cgroup),
    ("annotations", orchestrator::annotations),
    ("sandbox", orchestrator::sandbox),
    ("manifest", orchestrator::manifest),
    ("configuration", user::configuration),
    ("client", user::client),
    ("state", user::state),
];

/// Returns the selected parser.
fn selected() -> Parser {
    static SELECTED: OnceLock<Parser> = OnceLock::new();
    *SELECTED.get_or_init(|| {
        let name = std::env::var(VARIABLE).unwrap_or_default();
        let found = PARSERS.iter().find(|(known, _)| *known == name);
        let known = PARSERS.map(|(known, _)| known).join(", ");
        found.unwrap_or_else(|| panic!("{VARIABLE} must be one of {known}")).1
    })
}

fuzz_target!(|bytes: &[u8]| selected()(bytes));

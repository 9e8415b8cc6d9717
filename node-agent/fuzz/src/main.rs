//! Feeds arbitrary bytes to one parser of what others wrote; the environment names it. None may panic, and what is read
//! must be as bounded as promised.
#![no_main]
#![expect(clippy::expect_used, clippy::panic, reason = "a fault is found by panicking")]

mod kernel;
mod orchestrator;
mod person;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

/// Which parser is fed.
const CHOICE: &str = "PORTOLAN_FUZZ";

type Target = fn(&[u8]);

/// Every parser, by the name that `cargo xtask fuzz` knows.
const TARGETS: [(&str, Target); 8] = [
    ("packet", kernel::packet),
    ("record", kernel::record),
    ("cgroup", orchestrator::cgroup),
    ("annotations", orchestrator::annotations),
    ("sandbox", orchestrator::sandbox),
    ("manifest", orchestrator::manifest),
    ("configuration", person::configuration),
    ("client", person::client),
];

fn chosen() -> Target {
    static CHOSEN: OnceLock<Target> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let name = std::env::var(CHOICE).unwrap_or_default();
        let found = TARGETS.iter().find(|(known, _)| *known == name);
        let known = TARGETS.map(|(known, _)| known).join(", ");
        found.unwrap_or_else(|| panic!("{CHOICE} must be one of {known}")).1
    })
}

fuzz_target!(|bytes: &[u8]| chosen()(bytes));

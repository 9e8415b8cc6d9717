//! The cases that must hold, by name, one file per subject.

mod attribution;
mod commands;
mod lifetime;
mod privilege;

use libtest_mimic::{Failed, Trial};

/// Every case of the tier.
pub fn all() -> Vec<Trial> {
    [attribution::cases(), lifetime::cases(), commands::cases(), privilege::cases()]
        .into_iter()
        .flatten()
        .collect()
}

/// One case: a name that says what must hold, and the function that shows it.
fn case(name: &'static str, run: fn()) -> Trial {
    Trial::test(name, move || {
        run();
        Ok::<(), Failed>(())
    })
}

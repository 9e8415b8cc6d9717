//! The cases by name, one file per subject.

mod attribution;
mod commands;
mod lifetime;
mod privilege;

use libtest_mimic::{Failed, Trial};

/// Returns every case of the tier.
pub fn all() -> Vec<Trial> {
    [attribution::cases(), lifetime::cases(), commands::cases(), privilege::cases()]
        .into_iter()
        .flatten()
        .collect()
}

/// Creates one case: a name that states what must hold, and the function that checks it.
fn case(name: &'static str, run: fn()) -> Trial {
    Trial::test(name, move || {
        run();
        Ok::<(), Failed>(())
    })
}

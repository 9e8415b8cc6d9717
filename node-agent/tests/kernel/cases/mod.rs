//! The cases that must hold, by name, one file per subject.

mod harness_itself;

use libtest_mimic::{Failed, Trial};

/// Every case of the tier.
pub fn all() -> Vec<Trial> {
    [harness_itself::cases()].into_iter().flatten().collect()
}

/// One case: a name that says what must hold, and the function that shows it.
fn case(name: &'static str, run: fn()) -> Trial {
    Trial::test(name, move || {
        run();
        Ok::<(), Failed>(())
    })
}

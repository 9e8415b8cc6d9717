//! The cases by name, one file per subject.

mod accessibility;
mod browser_itself;
mod budgets;
mod cluster;
mod contrast;
mod first_paint;
mod hostile;
mod keyboard;
mod layout;
mod live;
mod long_run;
mod policy;
mod print;
mod real;
mod states;
mod stream;
mod targets;
mod url;

use libtest_mimic::{Failed, Trial};

use crate::harness::report::Report;
use crate::kernel::stopwatch::duration_of;

/// Returns the cases that measure times, which must run alone. `driver`: the address of chromedriver.
pub fn measured(driver: &str) -> Vec<Trial> {
    [budgets::cases(driver), cluster::measured(driver)].into_iter().flatten().collect()
}

/// Returns all other cases of the tier. `driver`: the address of chromedriver.
pub fn others(driver: &str) -> Vec<Trial> {
    [
        browser_itself::cases(driver),
        layout::cases(driver),
        first_paint::cases(driver),
        hostile::cases(driver),
        policy::cases(driver),
        keyboard::cases(driver),
        accessibility::cases(driver),
        contrast::cases(driver),
        url::cases(driver),
        live::cases(driver),
        stream::cases(driver),
        print::cases(driver),
        targets::cases(driver),
        long_run::cases(driver),
        cluster::cases(driver),
        real::cases(driver),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Creates a case with a runtime of its own.
fn case<C>(name: impl Into<String>, driver: &str, run: C) -> Trial
where
    C: AsyncFnOnce(String) + Send + 'static,
{
    let (driver, name): (_, String) = (driver.to_owned(), name.into());
    let case = name.clone();
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| Failed::from(error.to_string()))?;
        Report::took(&case, duration_of(|| runtime.block_on(run(driver))));
        Ok(())
    })
}

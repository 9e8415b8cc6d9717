//! The cases that must hold, by name, one file per subject.

mod agent_process;
mod churn;
mod connections;
mod counters;
mod devices;
mod exceptions;
mod explain;
mod findings;
mod flood;
mod harness_itself;
mod hostile;
mod kubernetes;
mod lifetime;
mod listening;
mod manifests;
mod netns_churn;
mod node_in_container;
mod origin;
mod ownership;
mod start;
mod translated;
mod udp;

use libtest_mimic::{Failed, Trial};

/// Every case of the tier.
pub fn all() -> Vec<Trial> {
    [
        harness_itself::cases(),
        listening::cases(),
        ownership::cases(),
        lifetime::cases(),
        udp::cases(),
        connections::cases(),
        counters::cases(),
        devices::cases(),
        origin::cases(),
        translated::cases(),
        findings::cases(),
        explain::cases(),
        exceptions::cases(),
        manifests::cases(),
        kubernetes::cases(),
        start::cases(),
        agent_process::cases(),
        node_in_container::cases(),
        hostile::cases(),
        flood::cases(),
        churn::cases(),
        netns_churn::cases(),
    ]
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

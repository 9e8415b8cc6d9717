//! The cases by name, one file per subject.

mod agent_process;
mod busy;
mod chart;
mod churn;
mod connections;
mod counters;
mod daemons;
mod declare;
mod devices;
mod end;
mod exceptions;
mod explain;
mod findings;
mod flood;
mod forwarded;
mod harness_itself;
mod holders;
mod hostile;
mod kubernetes;
mod lifetime;
mod listening;
mod manifests;
mod netns_churn;
mod node_addresses;
mod node_in_container;
mod origin;
mod ownership;
mod redirected;
mod restart;
mod situations;
mod start;
mod translated;
mod udp;

use std::sync::{Mutex, PoisonError};

use libtest_mimic::{Failed, Trial};

/// Returns every case of the tier.
pub fn all() -> Vec<Trial> {
    [
        harness_itself::cases(),
        listening::cases(),
        ownership::cases(),
        holders::cases(),
        lifetime::cases(),
        udp::cases(),
        redirected::cases(),
        connections::cases(),
        counters::cases(),
        devices::cases(),
        origin::cases(),
        translated::cases(),
        forwarded::cases(),
        node_addresses::cases(),
        findings::cases(),
        explain::cases(),
        declare::cases(),
        chart::cases(),
        busy::cases(),
        exceptions::cases(),
        manifests::cases(),
        kubernetes::cases(),
        situations::cases(),
        daemons::cases(),
        start::cases(),
        end::cases(),
        agent_process::cases(),
        restart::cases(),
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

/// Creates a case that runs beside no other case of this kind. Every agent sees the namespaces of all cases: the floods and the
/// churn of one would count for the other.
fn exclusive(name: &'static str, run: fn()) -> Trial {
    static TURN: Mutex<()> = Mutex::new(());
    Trial::test(name, move || {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        run();
        Ok::<(), Failed>(())
    })
}

/// Creates one case: a name that states what must hold, and the function that checks it.
fn case(name: &'static str, run: fn()) -> Trial {
    Trial::test(name, move || {
        run();
        Ok::<(), Failed>(())
    })
}

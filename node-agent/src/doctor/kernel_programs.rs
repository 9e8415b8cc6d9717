//! Checks the hooks of the kernel by loading and attaching them.

use std::io;

use super::check::{Check, NeededBy, check, problem};
use crate::source::kernel::{
    KernelHooks, KernelLogLevel, KernelOptions, LookupScope, NetnsPrograms, TrafficLevel,
};
use crate::source::netns::enter;
use crate::source::netns::look::{Interface, LinkHeader};
use crate::state::{Hook, State, StateFeed};

/// Loads every hook, attaches the hooks of the root cgroup and, in a new netns, those of a netns, and removes them again.
pub fn checks() -> Vec<Check> {
    let options = KernelOptions {
        traffic: TrafficLevel::Full,
        max_listeners: 64,
        max_peers: 64,
        listener_ring_bytes: 4096,
        connection_ring_bytes: 4096,
        records_per_second: 1,
        record_by_default: true,
        log: KernelLogLevel::Off,
    };
    let feed = StateFeed::default();
    match KernelHooks::load(&options, &feed) {
        // Dropping the hooks would take the programs off while they are tried.
        Ok((_hooks, programs)) => {
            let tried = try_in_new_netns(programs);
            feed.subscribe().borrow().hooks().map(|(hook, state)| hook_check(hook, state, &tried)).collect()
        }
        Err(refusal) => {
            let fix = "`portolan scan` and `portolan agent --scan-only` work without";
            let outcome = Err(problem(refusal.missing.join("; "), fix));
            vec![check("kernel programs", NeededBy::Agent, outcome)]
        }
    }
}

fn hook_check(hook: Hook, state: &State, tried: &io::Result<()>) -> Check {
    let stand_in = "the scan stands in for this hook; slower to notice";
    let result = match (state.reason(), tried) {
        (Some(reason), _) => Err(problem(reason, stand_in)),
        (None, Err(error)) if *state == State::Starting => {
            Err(problem(format!("loads; cannot be tried in a netns of its own: {error}"), stand_in))
        }
        (None, _) => Ok("loads and attaches".to_owned()),
    };
    check(&format!("hook {}", hook.as_str()), NeededBy::Nothing, result)
}

/// Attaches the programs of a netns to the loopback interface of a new netns, which ends with its thread.
fn try_in_new_netns(mut programs: NetnsPrograms) -> io::Result<()> {
    let attach = move || {
        enter::unshare_netns()?;
        let home = enter::HomeNetns::of_this_thread()?;
        let loopback = Interface { index: 1, name: "lo".to_owned(), link_header: LinkHeader::Ethernet };
        let netns = enter::identity(home.inode)?;
        programs.reconcile(netns, &[loopback], LookupScope::Inside);
        while programs.attach_next(netns) {}
        Ok(())
    };
    let thread = std::thread::Builder::new().name("doctor".to_owned()).spawn(attach)?;
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
}

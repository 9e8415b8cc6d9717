//! The programs of one netns: sk_lookup on the netns itself, tc ingress on each of its interfaces. Everything here runs on
//! the netns thread while it is inside, and no descriptor that would keep the netns alive stays open.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;

use aya::programs::links::{FdLink, LinkOrder};
use aya::programs::sk_lookup::SkLookupLink;
use aya::programs::tc::{
    NlOptions, SchedClassifierLinkId, TcAttachOptions, qdisc_add_clsact, qdisc_detach_program,
};
use aya::programs::{ProgramError, SchedClassifier, SkLookup, TcAttachType, tc::TcError};
use aya::{Ebpf, EbpfLoader};

use super::bpffs::DetachedBpffs;
use super::hooks::TrafficLevel;
use super::object::NetnsObject;
use crate::engine::identity::NetnsId;

const INGRESS: &str = "portolan_ingress";
/// The kernel keeps 15 bytes of a program's name; a filter's name is ours entirely.
const LOOKUP: &str = "portolan_lookup";
/// Behind what a CNI usually takes (1), before the end.
const CLSACT_PRIORITY: u16 = 0xb0b0;

/// How an interface is attached.
enum Ingress {
    /// The link dies with its interface, and detaches when closed.
    Tcx(#[expect(dead_code, reason = "held for its Drop")] FdLink),
    /// A netlink filter: only its name tells it, and it must be removed inside the netns.
    Clsact,
}

/// What is attached in one netns.
struct Attached {
    /// Detaches when closed.
    _lookup: SkLookupLink,
    /// By its descriptor alone: the loaded object, with its instructions and types, would cost a hundred kilobytes each.
    ingress: SchedClassifier,
    interfaces: BTreeMap<(u32, String), Ingress>,
    refused: BTreeSet<(u32, String)>,
}

/// Loads and attaches per netns.
pub struct NetnsPrograms {
    loader: EbpfLoader<'static>,
    object: NetnsObject,
    traffic: TrafficLevel,
    netns: BTreeMap<NetnsId, Attached>,
    /// The pins of the shared maps live here.
    _bpffs: std::sync::Arc<DetachedBpffs>,
    refusals: super::hooks::Refusals,
}

impl NetnsPrograms {
    pub(super) fn new(
        loader: EbpfLoader<'static>,
        object: NetnsObject,
        traffic: TrafficLevel,
        bpffs: std::sync::Arc<DetachedBpffs>,
        refusals: super::hooks::Refusals,
    ) -> Self {
        Self { loader, object, traffic, netns: BTreeMap::new(), _bpffs: bpffs, refusals }
    }

    /// Brings the attachments of the netns that this thread is inside up to date: loads at the first call, adds new
    /// interfaces, forgets vanished ones. What the kernel refuses is told in status and tried again at the next call.
    pub fn attach(&mut self, netns: NetnsId, interfaces: &[(u32, String)]) {
        if self.traffic == TrafficLevel::Off {
            return;
        }
        if !self.netns.contains_key(&netns) {
            match self.load(netns) {
                Ok(attached) => {
                    self.netns.insert(netns, attached);
                }
                Err(error) => {
                    self.refusals.tell("sk_lookup", error);
                    return;
                }
            }
        }
        if self.traffic != TrafficLevel::Full {
            return;
        }
        let Some(attached) = self.netns.get_mut(&netns) else { return };
        attached.interfaces.retain(|known, _| interfaces.contains(known));
        attached.refused.retain(|known| interfaces.contains(known));
        for interface in interfaces {
            if attached.interfaces.contains_key(interface) && !is_lost(attached, interface) {
                continue;
            }
            match attach_interface(&mut attached.ingress, &interface.1) {
                Ok(ingress) => {
                    attached.interfaces.insert(interface.clone(), ingress);
                    attached.refused.remove(interface);
                }
                Err(error) => {
                    if attached.refused.insert(interface.clone()) {
                        self.refusals.tell("tc", format!("{}: {error:#}", interface.1));
                    }
                }
            }
        }
    }

    /// Forgets a netns; its programs go with their last link.
    pub fn detach(&mut self, netns: NetnsId) {
        self.netns.remove(&netns);
    }

    /// Forgets the netns that this thread is inside, and removes the filters that do not go with their link.
    pub fn remove_filters(&mut self, netns: NetnsId) {
        let Some(attached) = self.netns.remove(&netns) else { return };
        for ((_, name), ingress) in &attached.interfaces {
            if matches!(ingress, Ingress::Clsact) {
                // Gone already with its interface, or removed by somebody else: both are what is wanted.
                let _ = qdisc_detach_program(name, TcAttachType::Ingress, INGRESS);
            }
        }
    }

    fn load(&mut self, netns: NetnsId) -> Result<Attached, String> {
        let mut object = self.loader.load(self.object.for_netns(netns)).map_err(|error| text(&error))?;
        let lookup: &mut SkLookup = program(&mut object, LOOKUP)?;
        lookup.load().map_err(|error| text(&error))?;
        let here = File::open("/proc/thread-self/ns/net").map_err(|error| error.to_string())?;
        let link = lookup.attach(&here).and_then(|id| lookup.take_link(id)).map_err(|error| text(&error))?;
        let ingress: &mut SchedClassifier = program(&mut object, INGRESS)?;
        ingress.load().map_err(|error| text(&error))?;
        let ingress = ingress
            .info()
            .and_then(|loaded| SchedClassifier::from_program_info(loaded, INGRESS.into()))
            .map_err(|error| text(&error))?;
        Ok(Attached { _lookup: link, ingress, interfaces: BTreeMap::new(), refused: BTreeSet::new() })
    }
}

/// A clsact filter that went with its qdisc: making the qdisc anew succeeds only if somebody removed it. TCX links cannot be
/// removed by others.
fn is_lost(attached: &Attached, interface: &(u32, String)) -> bool {
    match attached.interfaces.get(interface) {
        Some(Ingress::Clsact) => qdisc_add_clsact(&interface.1).is_ok(),
        Some(Ingress::Tcx(_)) => false,
        None => true,
    }
}

fn program<'a, P>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut P, String>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program>,
{
    object
        .program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| format!("the kernel object has no program {name}"))
}

fn attach_interface(ingress: &mut SchedClassifier, name: &str) -> anyhow::Result<Ingress> {
    let first = TcAttachOptions::TcxOrder(LinkOrder::first());
    match ingress.attach_with_options(name, TcAttachType::Ingress, first) {
        Ok(id) => {
            let link = ingress.take_link(id)?;
            Ok(Ingress::Tcx(FdLink::try_from(link)?))
        }
        Err(error) if is_without_tcx(&error) => attach_clsact(ingress, name),
        Err(error) => Err(error.into()),
    }
}

/// Before 6.6, and on older kernels of distributions without it.
fn attach_clsact(ingress: &mut SchedClassifier, name: &str) -> anyhow::Result<Ingress> {
    match qdisc_add_clsact(name) {
        Ok(()) => {}
        Err(TcError::AlreadyAttached) => {}
        // The CNI or another agent made it first.
        Err(TcError::NetlinkError(error)) if is_exists(&error) => {}
        Err(error) => return Err(error.into()),
    }
    // What an agent left that was killed.
    let _ = qdisc_detach_program(name, TcAttachType::Ingress, INGRESS);
    let options = NlOptions { priority: CLSACT_PRIORITY, ..NlOptions::default() };
    let id: SchedClassifierLinkId =
        ingress.attach_with_options(name, TcAttachType::Ingress, TcAttachOptions::Netlink(options))?;
    // Its Drop would detach by ifindex in whatever netns this thread is in by then.
    std::mem::forget(ingress.take_link(id)?);
    Ok(Ingress::Clsact)
}

fn is_without_tcx(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::EINVAL))
}

fn is_exists(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.downcast_ref::<io::Error>().is_some_and(|io| io.raw_os_error() == Some(libc::EEXIST)) {
            return true;
        }
        next = cause.source();
    }
    error.to_string().contains("File exists")
}

fn text(error: &(dyn std::error::Error + 'static)) -> String {
    super::refusal::chain(error)
}

//! The programs of one netns: sk_lookup on the netns itself, tc ingress on each of its interfaces. Everything here runs on
//! the netns thread while it is inside, and no descriptor that would keep the netns alive stays open.

use std::collections::{BTreeMap, btree_map::Entry};
use std::fs::File;
use std::io;

use aya::maps::{MapData, ProgramArray};
use aya::programs::links::{FdLink, LinkOrder};
use aya::programs::sk_lookup::SkLookupLink;
use aya::programs::tc::{
    NlOptions, SchedClassifierLinkId, TcAttachOptions, qdisc_add_clsact, qdisc_detach_program,
};
use aya::programs::{ProgramError, ProgramFd, SchedClassifier, SkLookup, TcAttachType, tc::TcError};
use aya::{Ebpf, EbpfLoader};

use super::attachments::Attachments;
use super::bpffs::DetachedBpffs;
use super::clsact::has_filter;
use super::hooks::TrafficLevel;
use super::object::NetnsObject;
use crate::engine::identity::NetnsId;
use crate::source::netns::look::{Interface, LinkHeader};

/// Name of a netns's own tc program, and so of our filters.
const INGRESS: &str = "portolan_tc";
/// Behind what a CNI usually takes (1), before the end.
const CLSACT_PRIORITY: u16 = 0xb0b0;

/// How an interface is attached.
enum Ingress {
    /// The link dies with its interface, and detaches when closed.
    Tcx(#[expect(dead_code, reason = "held for its Drop")] FdLink),
    /// A netlink filter: only its name tells it, and it must be removed inside the netns.
    Clsact,
}

/// What is attached in one netns. The links hold the programs, so nothing else is kept.
#[derive(Default)]
struct Attached {
    /// Detaches when closed.
    lookup: Option<SkLookupLink>,
    interfaces: BTreeMap<Interface, Ingress>,
}

/// Where the programs of each netns find those that all share. The kernel empties an array when its descriptor is closed.
struct Shared {
    _lookup: ProgramArray<MapData>,
    /// Not at every level of traffic.
    ingress: Option<ProgramArray<MapData>>,
}

/// Loads and attaches per netns.
pub struct NetnsPrograms {
    loader: EbpfLoader<'static>,
    object: NetnsObject,
    /// `None` where nothing is counted, or where the shared program was refused.
    shared: Option<Shared>,
    netns: BTreeMap<NetnsId, Attached>,
    /// The pins of the shared maps live here.
    _bpffs: std::sync::Arc<DetachedBpffs>,
    attachments: Attachments,
}

impl NetnsPrograms {
    /// Loads the shared programs of `ebpf`. What the kernel refuses is told in status.
    pub(super) fn new(
        mut loader: EbpfLoader<'static>,
        mut object: NetnsObject,
        ebpf: &mut Ebpf,
        traffic: TrafficLevel,
        bpffs: std::sync::Arc<DetachedBpffs>,
        attachments: Attachments,
    ) -> Self {
        let shared = if traffic == TrafficLevel::Off {
            None
        } else {
            share(&mut loader, &mut object, ebpf, traffic, &attachments)
                .map_err(|reason| attachments.nowhere("sk_lookup", reason))
                .ok()
        };
        Self { loader, object, shared, netns: BTreeMap::new(), _bpffs: bpffs, attachments }
    }

    /// Brings the attachments of the netns that this thread is inside up to date: sk_lookup at the first call, new
    /// interfaces, vanished ones. What the kernel refuses is told in status and tried again at the next call.
    pub fn attach(&mut self, netns: NetnsId, interfaces: &[Interface]) {
        let Some(shared) = &self.shared else { return };
        let counts_packets = shared.ingress.is_some();
        let Self { loader, object, attachments, .. } = self;
        let mut stage = Stage { loader, object, netns, objects: BTreeMap::new() };
        let attached = self.netns.entry(netns).or_default();
        if attached.lookup.is_none() {
            match stage.attach_lookup(interfaces) {
                Ok(lookup) => {
                    attached.lookup = Some(lookup);
                    attachments.attached("sk_lookup", (netns, 0));
                }
                Err(error) => attachments.refused("sk_lookup", (netns, 0), error),
            }
        }
        if !counts_packets {
            return;
        }
        attached.interfaces.retain(|known, _| interfaces.contains(known));
        attachments.retain("tc", netns, |index| interfaces.iter().any(|known| known.index == index));
        for interface in interfaces {
            if attached.interfaces.contains_key(interface) && !is_lost(attached, interface) {
                continue;
            }
            // One that was lost is tried until it is there again.
            attached.interfaces.remove(interface);
            let place = (netns, interface.index);
            match stage.attach_ingress(interface) {
                Ok(ingress) => {
                    attached.interfaces.insert(interface.clone(), ingress);
                    attachments.attached("tc", place);
                }
                Err(error) => attachments.refused("tc", place, format!("{}: {error}", interface.name)),
            }
        }
    }

    /// Forgets a netns; its programs go with their last link.
    pub fn detach(&mut self, netns: NetnsId) {
        self.netns.remove(&netns);
        for hook in ["sk_lookup", "tc"] {
            self.attachments.retain(hook, netns, |_| false);
        }
    }

    /// Forgets the netns that this thread is inside, and removes the filters that do not go with their link.
    pub fn remove_filters(&mut self, netns: NetnsId) {
        let Some(attached) = self.netns.remove(&netns) else { return };
        for (interface, ingress) in &attached.interfaces {
            if matches!(ingress, Ingress::Clsact) {
                // Gone already with its interface, or removed by somebody else: both are what is wanted.
                let _ = qdisc_detach_program(&interface.name, TcAttachType::Ingress, INGRESS);
            }
        }
    }
}

/// Loads the shared programs, and puts them where those of each netns call them.
fn share(
    loader: &mut EbpfLoader<'static>,
    object: &mut NetnsObject,
    ebpf: &mut Ebpf,
    traffic: TrafficLevel,
    attachments: &Attachments,
) -> Result<Shared, String> {
    let bytes = object.for_netns(NetnsId(0), LinkHeader::Unknown);
    let mut arrays = loader.load(bytes).map_err(|error| text(&error))?;
    let program: &mut SkLookup = program(ebpf, "portolan_lookup")?;
    program.load().map_err(|error| text(&error))?;
    let lookup = array_of(&mut arrays, "SHARED_LOOKUP", program.fd().map_err(|error| text(&error))?)?;
    let ingress = if traffic == TrafficLevel::Full {
        share_ingress(&mut arrays, ebpf).map_err(|reason| attachments.nowhere("tc", reason)).ok()
    } else {
        None
    };
    Ok(Shared { _lookup: lookup, ingress })
}

fn share_ingress(arrays: &mut Ebpf, ebpf: &mut Ebpf) -> Result<ProgramArray<MapData>, String> {
    let program: &mut SchedClassifier = program(ebpf, "portolan_ingress")?;
    program.load().map_err(|error| text(&error))?;
    array_of(arrays, "SHARED_INGRESS", program.fd().map_err(|error| text(&error))?)
}

/// The array of this name, with the program in it.
pub(super) fn array_of(
    arrays: &mut Ebpf,
    name: &str,
    program: &ProgramFd,
) -> Result<ProgramArray<MapData>, String> {
    let map = arrays.take_map(name).ok_or_else(|| format!("the kernel object has no map {name}"))?;
    let mut array = ProgramArray::try_from(map).map_err(|error| text(&error))?;
    array.set(0, program, 0).map_err(|error| text(&error))?;
    Ok(array)
}

/// What one call of [`NetnsPrograms::attach`] has loaded: one program for each kind of link header among the new interfaces.
struct Stage<'a> {
    loader: &'a mut EbpfLoader<'static>,
    object: &'a mut NetnsObject,
    netns: NetnsId,
    objects: BTreeMap<LinkHeader, Ebpf>,
}

impl Stage<'_> {
    /// The first thing in a netns; the object is loaded so that most interfaces find theirs in it.
    fn attach_lookup(&mut self, interfaces: &[Interface]) -> Result<SkLookupLink, String> {
        let usual = interfaces.first().map_or(LinkHeader::Unknown, |interface| interface.link_header);
        let lookup: &mut SkLookup = program(self.object(usual)?, "portolan_sk")?;
        lookup.load().map_err(|error| text(&error))?;
        let here = File::open("/proc/thread-self/ns/net").map_err(|error| error.to_string())?;
        lookup.attach(&here).and_then(|id| lookup.take_link(id)).map_err(|error| text(&error))
    }

    fn attach_ingress(&mut self, interface: &Interface) -> Result<Ingress, String> {
        let ingress: &mut SchedClassifier = program(self.object(interface.link_header)?, INGRESS)?;
        if ingress.fd().is_err() {
            ingress.load().map_err(|error| text(&error))?;
        }
        attach_interface(ingress, &interface.name).map_err(|error| format!("{error:#}"))
    }

    fn object(&mut self, link_header: LinkHeader) -> Result<&mut Ebpf, String> {
        match self.objects.entry(link_header) {
            Entry::Occupied(loaded) => Ok(loaded.into_mut()),
            Entry::Vacant(new) => {
                let bytes = self.object.for_netns(self.netns, link_header);
                Ok(new.insert(self.loader.load(bytes).map_err(|error| text(&error))?))
            }
        }
    }
}

/// A clsact filter that somebody removed, alone or with its qdisc. TCX links cannot be removed by others.
fn is_lost(attached: &Attached, interface: &Interface) -> bool {
    match attached.interfaces.get(interface) {
        // Where the kernel does not say, it is looked for again at the next call.
        Some(Ingress::Clsact) => has_filter(interface.index, INGRESS).is_ok_and(|has_it| !has_it),
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

//! The programs of one netns: sk_lookup on the netns itself, tc ingress on each of its interfaces. Everything here runs on
//! the netns thread while it is inside, and no descriptor that would keep the netns alive stays open.

use std::collections::{BTreeMap, VecDeque, btree_map::Entry};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{MapData, ProgramArray};
use aya::programs::links::{FdLink, LinkOrder};
use aya::programs::sk_lookup::SkLookupLink;
use aya::programs::tc::{
    NlOptions, SchedClassifierLinkId, TcAttachOptions, qdisc_add_clsact, qdisc_detach_program,
};
use aya::programs::{ProgramError, ProgramFd, SchedClassifier, SkLookup, TcAttachType, tc::TcError};
use aya::{Ebpf, EbpfLoader};
use portolan_engine::model::identity::NetnsId;

use super::attachments::Attachments;
use super::bpffs::DetachedBpffs;
use super::clsact::has_filter;
use super::hooks::TrafficLevel;
use super::object::NetnsObject;
use super::own_programs::OwnPrograms;
use super::program_call;
use crate::source::netns::look::{Interface, LinkHeader};
use crate::source::state::Hook;

/// Name of a netns's own tc program, and so of our filters.
const INGRESS: &str = "portolan_tc";
/// Behind what a CNI usually takes (1), before the end.
const CLSACT_PRIORITY: u16 = 0xb0b0;

/// What is held for its Drop, by whom it was made.
enum Held<T> {
    Here(#[expect(dead_code, reason = "held for its Drop")] OwnedFd),
    ByLoader(T),
}

/// How an interface is attached.
enum Ingress {
    /// The link dies with its interface, and detaches when closed.
    Tcx(#[expect(dead_code, reason = "held for its Drop")] Held<FdLink>),
    /// A netlink filter: only its name tells it, and it must be removed inside the netns.
    Clsact,
}

/// What is attached in one netns. The links hold the programs, so nothing else is kept once all are attached.
#[derive(Default)]
struct Attached {
    /// Detaches when closed.
    lookup: Option<Held<SkLookupLink>>,
    interfaces: BTreeMap<Interface, Ingress>,
    /// Not attached yet: each link waits for the kernel, and meanwhile nobody on the node can change an interface.
    waiting: VecDeque<Interface>,
    /// Those that the waiting ones may share.
    loaded: BTreeMap<LinkHeader, OwnedFd>,
}

/// Where the programs of each netns find those that all share. The kernel empties an array when its descriptor is closed.
struct Shared {
    _lookup: ProgramArray<MapData>,
    /// Not at every level of traffic.
    ingress: Option<ProgramArray<MapData>>,
    /// The fast way to load a netns's own programs.
    own: Option<OwnPrograms>,
    /// A link was refused as by a kernel without TCX; from then on the loader tries both.
    is_without_tcx: bool,
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
                .map_err(|reason| attachments.nowhere(Hook::SkLookup, reason))
                .ok()
        };
        Self { loader, object, shared, netns: BTreeMap::new(), _bpffs: bpffs, attachments }
    }

    /// Brings the attachments of the netns that this thread is inside up to date, as far as that goes at once: sk_lookup at the
    /// first call, vanished interfaces. True if interfaces are left for [`Self::attach_next`]. What the kernel refuses is
    /// told in status and tried again at the next call.
    pub fn begin(&mut self, netns: NetnsId, interfaces: &[Interface]) -> bool {
        let Self { loader, object, shared, attachments, .. } = self;
        let Some(shared) = shared else { return false };
        let attached = self.netns.entry(netns).or_default();
        if attached.lookup.is_none() {
            match attach_lookup(shared, Stage { loader, object, netns }) {
                Ok(lookup) => {
                    attached.lookup = Some(lookup);
                    attachments.attached(Hook::SkLookup, (netns, 0));
                }
                Err(error) => attachments.refused(Hook::SkLookup, (netns, 0), error),
            }
        }
        if shared.ingress.is_none() {
            return false;
        }
        attached.interfaces.retain(|known, _| interfaces.contains(known));
        attachments.retain(Hook::Tc, netns, |index| interfaces.iter().any(|known| known.index == index));
        let missing = |interface: &&Interface| is_lost(attached, interface);
        attached.waiting = interfaces.iter().filter(missing).cloned().collect();
        attached.waiting.iter().for_each(|interface| attachments.waits(Hook::Tc, (netns, interface.index)));
        attached.settle();
        !attached.waiting.is_empty()
    }

    /// Attaches one interface of the netns that this thread is inside, of those that [`Self::begin`] left; true if there are
    /// more.
    pub fn attach_next(&mut self, netns: NetnsId) -> bool {
        let Self { loader, object, shared, attachments, .. } = self;
        let (Some(shared), Some(attached)) = (shared, self.netns.get_mut(&netns)) else { return false };
        let Some(interface) = attached.waiting.pop_front() else { return false };
        // A filter that was lost is tried until it is there again.
        attached.interfaces.remove(&interface);
        match attach_ingress(shared, &mut attached.loaded, Stage { loader, object, netns }, &interface) {
            Ok(Some(ingress)) => {
                attachments.attached(Hook::Tc, (netns, interface.index));
                attached.interfaces.insert(interface, ingress);
            }
            // Gone or renamed since it was looked at: the next look tells.
            Ok(None) => attachments.retain(Hook::Tc, netns, |index| index != interface.index),
            Err(error) => {
                let reason = format!("{}: {error}", interface.name);
                attachments.refused(Hook::Tc, (netns, interface.index), reason);
            }
        }
        attached.settle();
        !attached.waiting.is_empty()
    }

    /// Forgets a netns; its programs go with their last link.
    pub fn detach(&mut self, netns: NetnsId) {
        self.netns.remove(&netns);
        for hook in [Hook::SkLookup, Hook::Tc] {
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

impl Attached {
    /// Programs are kept only while somebody waits for them.
    fn settle(&mut self) {
        if self.waiting.is_empty() {
            (self.waiting, self.loaded) = Default::default();
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
    let unset = object.bytes().to_vec();
    let bytes = object.for_netns(NetnsId(0), LinkHeader::Unknown);
    let mut arrays = loader.load(bytes).map_err(|error| text(&error))?;
    // Without it each load goes through the loader, which is slower and the same otherwise.
    let own = OwnPrograms::new(&unset, &arrays)
        .inspect_err(|error| tracing::warn!(%error, "programs are loaded the slow way"))
        .ok();
    let program: &mut SkLookup = program(ebpf, "portolan_lookup")?;
    program.load().map_err(|error| text(&error))?;
    let lookup = array_of(&mut arrays, "SHARED_LOOKUP", program.fd().map_err(|error| text(&error))?)?;
    let ingress = if traffic == TrafficLevel::Full {
        share_ingress(&mut arrays, ebpf).map_err(|reason| attachments.nowhere(Hook::Tc, reason)).ok()
    } else {
        None
    };
    Ok(Shared { _lookup: lookup, ingress, own, is_without_tcx: false })
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

/// The loader's way to the programs of one netns: where bpf(2) refuses the short one, for its reasons, and for clsact.
struct Stage<'a> {
    loader: &'a mut EbpfLoader<'static>,
    object: &'a mut NetnsObject,
    netns: NetnsId,
}

impl Stage<'_> {
    fn load(&mut self, link_header: LinkHeader) -> Result<Ebpf, String> {
        self.loader.load(self.object.for_netns(self.netns, link_header)).map_err(|error| text(&error))
    }

    fn attach_lookup(mut self, here: &File) -> Result<SkLookupLink, String> {
        let mut object = self.load(LinkHeader::Unknown)?;
        let lookup: &mut SkLookup = program(&mut object, "portolan_sk")?;
        lookup.load().map_err(|error| text(&error))?;
        lookup.attach(here).and_then(|id| lookup.take_link(id)).map_err(|error| text(&error))
    }

    fn attach_ingress(mut self, interface: &Interface) -> Result<Option<Ingress>, String> {
        let mut object = self.load(interface.link_header)?;
        let ingress: &mut SchedClassifier = program(&mut object, INGRESS)?;
        ingress.load().map_err(|error| text(&error))?;
        match attach_interface(ingress, &interface.name) {
            Ok(ingress) => Ok(Some(ingress)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(format!("{error:#}")),
        }
    }
}

fn attach_lookup(shared: &Shared, stage: Stage<'_>) -> Result<Held<SkLookupLink>, String> {
    let here = File::open("/proc/thread-self/ns/net").map_err(|error| error.to_string())?;
    let quick = shared.own.as_ref().map(|own| {
        let program = own.load_lookup(stage.netns)?;
        program_call::link_lookup(program.as_fd(), here.as_fd())
    });
    match quick {
        Some(Ok(link)) => Ok(Held::Here(link)),
        _ => stage.attach_lookup(&here).map(Held::ByLoader),
    }
}

/// `None` where there is no such interface any more.
fn attach_ingress(
    shared: &mut Shared,
    loaded: &mut BTreeMap<LinkHeader, OwnedFd>,
    stage: Stage<'_>,
    interface: &Interface,
) -> Result<Option<Ingress>, String> {
    let Some(own) = shared.own.as_ref().filter(|_| !shared.is_without_tcx) else {
        return stage.attach_ingress(interface);
    };
    let program = match loaded.entry(interface.link_header) {
        Entry::Occupied(there) => there.into_mut(),
        Entry::Vacant(new) => match own.load_ingress(stage.netns, interface.link_header) {
            Ok(program) => new.insert(program),
            // The loader says why.
            Err(_) => return stage.attach_ingress(interface),
        },
    };
    match program_call::link_ingress(program.as_fd(), interface.index) {
        Ok(link) => Ok(Some(Ingress::Tcx(Held::Here(link)))),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => {
            shared.is_without_tcx |= error.raw_os_error() == Some(libc::EINVAL);
            stage.attach_ingress(interface)
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
            Ok(Ingress::Tcx(Held::ByLoader(FdLink::try_from(link)?)))
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

fn code(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error)
}

/// Removed or renamed since it was listed. The loader looks names up, and shows what that says as its own error, without a cause.
fn is_gone(error: &anyhow::Error) -> bool {
    let by_program = match error.downcast_ref::<ProgramError>() {
        Some(ProgramError::TcError(error)) => Some(error),
        _ => None,
    };
    let by_name = match error.downcast_ref::<TcError>().or(by_program) {
        Some(TcError::IoError(error)) => error.raw_os_error(),
        _ => None,
    };
    by_name == Some(libc::ENODEV) || error.chain().any(|cause| code(cause) == Some(libc::ENODEV))
}

fn is_exists(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if code(cause) == Some(libc::EEXIST) {
            return true;
        }
        next = cause.source();
    }
    error.to_string().contains("File exists")
}

fn text(error: &(dyn std::error::Error + 'static)) -> String {
    super::refusal::chain(error)
}

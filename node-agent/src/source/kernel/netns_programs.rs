//! Loads and attaches the programs of each netns: sk_lookup on the netns itself, tc ingress on each of its interfaces. All of
//! this code runs on the netns thread, inside the netns, and holds no descriptor that would keep the netns alive.

use std::collections::{BTreeMap, VecDeque, btree_map::Entry};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{HashMap, MapData, ProgramArray};
use aya::programs::links::{FdLink, LinkOrder};
use aya::programs::sk_lookup::SkLookupLink;
use aya::programs::tc::{
    NlOptions, SchedClassifierLinkId, TcAttachOptions, qdisc_add_clsact, qdisc_detach_program,
};
use aya::programs::{ProgramError, ProgramFd, SchedClassifier, SkLookup, TcAttachType, tc::TcError};
use aya::{Ebpf, EbpfLoader};
use portolan_ebpf::abi::traffic::SENDING_OBSERVED;
use portolan_engine::model::identity::NetnsId;

use super::attachments::Attachments;
use super::background_close::close_in_background;
use super::bpffs::DetachedBpffs;
use super::clsact::has_filter;
use super::object::{LookupScope, NetnsObject};
use super::options::TrafficLevel;
use super::program_syscalls;
use super::program_templates::ProgramTemplates;
use crate::source::clock;
use crate::source::netns::look::{Interface, LinkHeader};
use crate::state::Hook;

/// Name of the tc program of a netns, and so of the agent's filters.
const INGRESS: &str = "portolan_tc";
/// Filter priority: after the one that a CNI usually takes (1), before the last.
const CLSACT_PRIORITY: u16 = 0xb0b0;

/// A link that detaches when dropped, by the code that created it.
enum LinkHandle<T> {
    Direct(OwnedFd),
    ByLoader(T),
}

/// How a program is attached to an interface.
enum Ingress {
    /// A TCX link. The kernel removes the link with its interface; closing the link detaches.
    Tcx(LinkHandle<FdLink>),
    /// A netlink filter, which only its name identifies and which must be removed from inside the netns.
    Clsact,
}

/// What is attached in one netns. The links hold the programs, so nothing else is kept once everything is attached.
#[derive(Default)]
struct Attached {
    /// Detaches when closed.
    lookup: Option<LinkHandle<SkLookupLink>>,
    interfaces: BTreeMap<Interface, Ingress>,
    /// Interfaces that are not attached yet. Each attachment waits for the kernel, and meanwhile nobody on the node can
    /// change an interface.
    waiting: VecDeque<Interface>,
    /// Loaded programs that the waiting interfaces may share.
    loaded: BTreeMap<LinkHeader, OwnedFd>,
    /// True if the programs know that this netns is observed.
    observed: bool,
    /// True if an interface was refused since the last look.
    is_partial: bool,
}

/// Arrays through which the programs of each netns call the shared programs. The kernel empties an array when its
/// descriptor is closed.
struct Shared {
    _lookup: ProgramArray<MapData>,
    /// `None` if the traffic level does not need it.
    ingress: Option<ProgramArray<MapData>>,
    /// Templates for loading a netns's own programs without the loader.
    templates: Option<ProgramTemplates>,
    /// True after a link failed as on a kernel without TCX. From then on the loader tries TCX and clsact.
    is_without_tcx: bool,
}

/// Loads and attaches the programs of each netns.
pub struct NetnsPrograms {
    loader: EbpfLoader<'static>,
    object: NetnsObject,
    /// `None` if nothing is counted, or if the shared program was refused.
    shared: Option<Shared>,
    netns: BTreeMap<NetnsId, Attached>,
    /// Holds the pins of the shared maps.
    _bpffs: std::sync::Arc<DetachedBpffs>,
    attachments: Attachments,
    observed: ObservedNetns,
}

/// The map `OBSERVED`: the netns whose datagrams the programs see in both directions, and since when.
pub(super) struct ObservedNetns(pub(super) HashMap<MapData, u64, u64>);

impl ObservedNetns {
    /// Says that the netns is observed from now on. Without room, nothing is proven there.
    fn begin(&mut self, netns: NetnsId) {
        if let Err(error) = self.0.insert(netns.0, clock::now().0, 0) {
            tracing::warn!(%error, netns = netns.0, "cannot tell the programs that a netns is observed");
        }
    }

    /// Says that the hooks see from now on what sockets send. Where they are refused, whoever is heard counts as a caller.
    pub(super) fn sending(&mut self, is_seen: bool) {
        let since = if is_seen { clock::now().0 } else { 0 };
        if let Err(error) = self.0.insert(SENDING_OBSERVED, since, 0) {
            tracing::warn!(%error, "cannot tell the programs that senders are observed");
        }
    }

    fn end(&mut self, netns: NetnsId) {
        let _ = self.0.remove(&netns.0);
    }
}

impl NetnsPrograms {
    /// Loads the shared programs of `ebpf`. Refusals of the kernel are reported in the status.
    pub(super) fn new(
        mut loader: EbpfLoader<'static>,
        mut object: NetnsObject,
        ebpf: &mut Ebpf,
        traffic: TrafficLevel,
        bpffs: std::sync::Arc<DetachedBpffs>,
        (attachments, observed): (Attachments, ObservedNetns),
    ) -> Self {
        let shared = if traffic == TrafficLevel::Off {
            None
        } else {
            load_shared(&mut loader, &mut object, ebpf, traffic, &attachments)
                .map_err(|reason| attachments.unsupported(Hook::SkLookup, reason))
                .ok()
        };
        Self { loader, object, shared, netns: BTreeMap::new(), _bpffs: bpffs, attachments, observed }
    }

    /// Reconciles the attachments of the netns that this thread is inside, as far as that does not wait for the kernel:
    /// attaches sk_lookup at the first call and forgets vanished interfaces. Returns true if interfaces are left for
    /// [`Self::attach_next`]. Refusals of the kernel are reported in the status and retried at the next call. `lookups`:
    /// whose lookups count where the traffic level attaches to interfaces.
    pub fn reconcile(&mut self, netns: NetnsId, interfaces: &[Interface], lookups: LookupScope) -> bool {
        let Self { loader, object, shared, attachments, observed, .. } = self;
        let Some(shared) = shared else { return false };
        let attached = self.netns.entry(netns).or_default();
        let lookups = if shared.ingress.is_some() { lookups } else { LookupScope::All };
        if attached.lookup.is_none() {
            match attach_lookup(shared, LoaderFallback { loader, object, netns, lookups }) {
                Ok(lookup) => {
                    attached.lookup = Some(lookup);
                    attachments.attached(Hook::SkLookup, (netns, 0));
                }
                Err(error) => attachments.refused(Hook::SkLookup, (netns, 0), error),
            }
        }
        if lookups == LookupScope::All {
            attached.begin(netns, observed);
            return false;
        }
        attached.interfaces.retain(|known, _| interfaces.contains(known));
        attachments.retain(Hook::Tc, netns, |index| interfaces.iter().any(|known| known.index == index));
        let missing = |interface: &&Interface| needs_program(attached, interface);
        attached.waiting = interfaces.iter().filter(missing).cloned().collect();
        attached.waiting.iter().for_each(|interface| attachments.wait(Hook::Tc, (netns, interface.index)));
        attached.is_partial = false;
        if !attached.waiting.is_empty() && std::mem::take(&mut attached.observed) {
            // What comes over the new interface is not seen yet.
            observed.end(netns);
        }
        attached.drop_idle_programs();
        attached.begin_if_attached(netns, observed);
        !attached.waiting.is_empty()
    }

    /// Attaches one of the interfaces that [`Self::reconcile`] left, inside its netns. Returns true if more are left.
    pub fn attach_next(&mut self, netns: NetnsId) -> bool {
        let Self { loader, object, shared, attachments, observed, .. } = self;
        let (Some(shared), Some(attached)) = (shared, self.netns.get_mut(&netns)) else { return false };
        let Some(interface) = attached.waiting.pop_front() else { return false };
        // A removed filter is retried until it is attached again.
        attached.interfaces.remove(&interface);
        match attach_ingress(
            shared,
            &mut attached.loaded,
            LoaderFallback { loader, object, netns, lookups: LookupScope::Inside },
            &interface,
        ) {
            Ok(Some(ingress)) => {
                attachments.attached(Hook::Tc, (netns, interface.index));
                attached.interfaces.insert(interface, ingress);
                // What came over this interface before was not seen.
                attached.observed = false;
            }
            // The interface is gone or was renamed since the look; the next look finds out.
            Ok(None) => attachments.retain(Hook::Tc, netns, |index| index != interface.index),
            Err(error) => {
                let reason = format!("{}: {error}", interface.name);
                attachments.refused(Hook::Tc, (netns, interface.index), reason);
                attached.is_partial = true;
            }
        }
        attached.drop_idle_programs();
        attached.begin_if_attached(netns, observed);
        !attached.waiting.is_empty()
    }

    /// Forgets a netns that is gone. The kernel removes its programs with their last link.
    pub fn detach(&mut self, netns: NetnsId) {
        self.netns.remove(&netns);
        self.observed.end(netns);
        for hook in [Hook::SkLookup, Hook::Tc] {
            self.attachments.retain(hook, netns, |_| false);
        }
    }

    /// Returns true if [`Self::remove_filters`] has something to remove.
    #[must_use]
    pub fn has_filters(&self, netns: NetnsId) -> bool {
        let attached = self.netns.get(&netns);
        let mut ingress = attached.into_iter().flat_map(|attached| attached.interfaces.values());
        ingress.any(|ingress| matches!(ingress, Ingress::Clsact))
    }

    /// Removes the filters that the kernel does not remove with a link, in the netns that this thread is inside.
    pub fn remove_filters(&self, netns: NetnsId) {
        let Some(attached) = self.netns.get(&netns) else { return };
        for (interface, ingress) in &attached.interfaces {
            if matches!(ingress, Ingress::Clsact) {
                // An error means that the filter is gone already, with its interface or removed by others.
                let _ = qdisc_detach_program(&interface.name, TcAttachType::Ingress, INGRESS);
            }
        }
    }
}

impl Drop for NetnsPrograms {
    /// Detaches everything. The kernel closes the TCX links after this, because each waits for an RCU grace period.
    fn drop(&mut self) {
        let attached = std::mem::take(&mut self.netns).into_values();
        let links =
            attached.flat_map(|attached| attached.interfaces.into_values()).filter_map(Ingress::into_link);
        if let Err(error) = close_in_background(links.collect()) {
            tracing::debug!(%error, "the links were closed one by one");
        }
    }
}

impl Ingress {
    /// Returns the descriptor of a TCX link, unless the loader created the link. Such a link is closed here.
    fn into_link(self) -> Option<OwnedFd> {
        match self {
            Self::Tcx(LinkHandle::Direct(link)) => Some(link),
            Self::Tcx(LinkHandle::ByLoader(_)) | Self::Clsact => None,
        }
    }
}

impl Attached {
    /// Tells the programs that the netns is observed, once all of its interfaces are attached.
    fn begin_if_attached(&mut self, netns: NetnsId, observed: &mut ObservedNetns) {
        if self.waiting.is_empty() && !self.is_partial && !self.interfaces.is_empty() {
            self.begin(netns, observed);
        }
    }

    fn begin(&mut self, netns: NetnsId, observed: &mut ObservedNetns) {
        if !self.observed && self.lookup.is_some() {
            observed.begin(netns);
            self.observed = true;
        }
    }

    /// Drops the loaded programs once no interface waits for them.
    fn drop_idle_programs(&mut self) {
        if self.waiting.is_empty() {
            (self.waiting, self.loaded) = Default::default();
        }
    }
}

/// Loads the shared programs and puts them into the arrays from which those of each netns call them.
fn load_shared(
    loader: &mut EbpfLoader<'static>,
    object: &mut NetnsObject,
    ebpf: &mut Ebpf,
    traffic: TrafficLevel,
    attachments: &Attachments,
) -> Result<Shared, String> {
    let unset = object.bytes().to_vec();
    let bytes = object.for_netns(NetnsId(0), LinkHeader::Unknown, LookupScope::All);
    let mut arrays = loader.load(bytes).map_err(|error| error_text(&error))?;
    // Without templates each load goes through the loader, which is slower and otherwise the same.
    let templates = ProgramTemplates::new(&unset, &arrays)
        .inspect_err(|error| tracing::warn!(%error, "programs are loaded the slow way"))
        .ok();
    let program: &mut SkLookup = program(ebpf, "portolan_lookup")?;
    program.load().map_err(|error| error_text(&error))?;
    let lookup = array_with(&mut arrays, "SHARED_LOOKUP", program.fd().map_err(|error| error_text(&error))?)?;
    let ingress = if traffic == TrafficLevel::Full {
        load_shared_ingress(&mut arrays, ebpf)
            .map_err(|reason| attachments.unsupported(Hook::Tc, reason))
            .ok()
    } else {
        None
    };
    Ok(Shared { _lookup: lookup, ingress, templates, is_without_tcx: false })
}

fn load_shared_ingress(arrays: &mut Ebpf, ebpf: &mut Ebpf) -> Result<ProgramArray<MapData>, String> {
    let program: &mut SchedClassifier = program(ebpf, "portolan_ingress")?;
    program.load().map_err(|error| error_text(&error))?;
    array_with(arrays, "SHARED_INGRESS", program.fd().map_err(|error| error_text(&error))?)
}

/// Takes the array of this name and puts the program into it.
pub(super) fn array_with(
    arrays: &mut Ebpf,
    name: &str,
    program: &ProgramFd,
) -> Result<ProgramArray<MapData>, String> {
    let map = arrays.take_map(name).ok_or_else(|| format!("the kernel object has no map {name}"))?;
    let mut array = ProgramArray::try_from(map).map_err(|error| error_text(&error))?;
    array.set(0, program, 0).map_err(|error| error_text(&error))?;
    Ok(array)
}

/// Loads the programs of one netns with aya's loader: for its error messages where bpf(2) refuses the direct way, and
/// for clsact.
struct LoaderFallback<'a> {
    loader: &'a mut EbpfLoader<'static>,
    object: &'a mut NetnsObject,
    netns: NetnsId,
    lookups: LookupScope,
}

impl LoaderFallback<'_> {
    fn load(&mut self, link_header: LinkHeader) -> Result<Ebpf, String> {
        let object = self.object.for_netns(self.netns, link_header, self.lookups);
        self.loader.load(object).map_err(|error| error_text(&error))
    }

    fn attach_lookup(mut self, netns_file: &File) -> Result<SkLookupLink, String> {
        let mut object = self.load(LinkHeader::Unknown)?;
        let lookup: &mut SkLookup = program(&mut object, "portolan_sk")?;
        lookup.load().map_err(|error| error_text(&error))?;
        lookup.attach(netns_file).and_then(|id| lookup.take_link(id)).map_err(|error| error_text(&error))
    }

    fn attach_ingress(mut self, interface: &Interface) -> Result<Option<Ingress>, String> {
        let mut object = self.load(interface.link_header)?;
        let ingress: &mut SchedClassifier = program(&mut object, INGRESS)?;
        ingress.load().map_err(|error| error_text(&error))?;
        match attach_interface(ingress, &interface.name) {
            Ok(ingress) => Ok(Some(ingress)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(format!("{error:#}")),
        }
    }
}

fn attach_lookup(shared: &Shared, fallback: LoaderFallback<'_>) -> Result<LinkHandle<SkLookupLink>, String> {
    let netns_file = File::open("/proc/thread-self/ns/net").map_err(|error| error.to_string())?;
    let direct = shared.templates.as_ref().map(|templates| {
        let program = templates.load_lookup(fallback.netns, fallback.lookups)?;
        program_syscalls::link_lookup(program.as_fd(), netns_file.as_fd())
    });
    match direct {
        Some(Ok(link)) => Ok(LinkHandle::Direct(link)),
        _ => fallback.attach_lookup(&netns_file).map(LinkHandle::ByLoader),
    }
}

/// Attaches tc ingress to an interface. Returns `None` if the interface does not exist any more.
fn attach_ingress(
    shared: &mut Shared,
    loaded: &mut BTreeMap<LinkHeader, OwnedFd>,
    fallback: LoaderFallback<'_>,
    interface: &Interface,
) -> Result<Option<Ingress>, String> {
    let Some(templates) = shared.templates.as_ref().filter(|_| !shared.is_without_tcx) else {
        return fallback.attach_ingress(interface);
    };
    let program = match loaded.entry(interface.link_header) {
        Entry::Occupied(there) => there.into_mut(),
        Entry::Vacant(new) => match templates.load_ingress(fallback.netns, interface.link_header) {
            Ok(program) => new.insert(program),
            // The loader reports why.
            Err(_) => return fallback.attach_ingress(interface),
        },
    };
    match program_syscalls::link_ingress(program.as_fd(), interface.index) {
        Ok(link) => Ok(Some(Ingress::Tcx(LinkHandle::Direct(link)))),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => {
            shared.is_without_tcx |= error.raw_os_error() == Some(libc::EINVAL);
            fallback.attach_ingress(interface)
        }
    }
}

/// Returns true if the interface has no program: not attached yet, or its clsact filter was removed, alone or with its
/// qdisc. Others cannot remove TCX links.
fn needs_program(attached: &Attached, interface: &Interface) -> bool {
    match attached.interfaces.get(interface) {
        // If the kernel does not say, the filter is checked again at the next call.
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
            Ok(Ingress::Tcx(LinkHandle::ByLoader(FdLink::try_from(link)?)))
        }
        Err(error) if is_without_tcx(&error) => attach_clsact(ingress, name),
        Err(error) => Err(error.into()),
    }
}

/// Attaches a clsact filter, for kernels before 6.6 and older kernels of distributions without TCX.
fn attach_clsact(ingress: &mut SchedClassifier, name: &str) -> anyhow::Result<Ingress> {
    match qdisc_add_clsact(name) {
        Ok(()) => {}
        Err(TcError::AlreadyAttached) => {}
        // The CNI or another agent created the qdisc first.
        Err(TcError::NetlinkError(error)) if is_exists(&error) => {}
        Err(error) => return Err(error.into()),
    }
    // Removes the filter of an agent that was killed.
    let _ = qdisc_detach_program(name, TcAttachType::Ingress, INGRESS);
    let options = NlOptions { priority: CLSACT_PRIORITY, ..NlOptions::default() };
    let id: SchedClassifierLinkId =
        ingress.attach_with_options(name, TcAttachType::Ingress, TcAttachOptions::Netlink(options))?;
    // Drop would detach by ifindex in whatever netns this thread is in by then.
    std::mem::forget(ingress.take_link(id)?);
    Ok(Ingress::Clsact)
}

fn is_without_tcx(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(error) if error.io_error.raw_os_error() == Some(libc::EINVAL))
}

fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error)
}

/// Returns true if the interface was removed or renamed since it was listed. The loader looks interfaces up by name and
/// returns that failure as its own error, without a cause.
fn is_gone(error: &anyhow::Error) -> bool {
    let by_program = match error.downcast_ref::<ProgramError>() {
        Some(ProgramError::TcError(error)) => Some(error),
        _ => None,
    };
    let by_name = match error.downcast_ref::<TcError>().or(by_program) {
        Some(TcError::IoError(error)) => error.raw_os_error(),
        _ => None,
    };
    by_name == Some(libc::ENODEV) || error.chain().any(|cause| errno(cause) == Some(libc::ENODEV))
}

fn is_exists(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        if errno(cause) == Some(libc::EEXIST) {
            return true;
        }
        next = cause.source();
    }
    error.to_string().contains("File exists")
}

fn error_text(error: &(dyn std::error::Error + 'static)) -> String {
    super::refusal::chain(error)
}

//! The kernel side as loaded: the programs on the root cgroup, the maps and the counters.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{
    HashMap, IterableMap, Map, MapData, MapError, PerCpuArray, PerCpuHashMap, PerCpuValues, RingBuf,
};
use aya::programs::{CgroupAttachMode, CgroupSock, Program, ProgramError};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader};
use portolan_ebpf::abi::lost::LostSlot;
use portolan_ebpf::abi::socket::ListenerValue;
use portolan_engine::model::identity::{BootTime, PortId};
use portolan_engine::model::traffic::TrafficDrain;
use zerocopy::IntoBytes;

use super::attachments::Attachments;
use super::batch::BatchReader;
use super::bpffs::DetachedBpffs;
use super::capabilities::Capabilities;
use super::cgroup_root::root_cgroup;
use super::decode::port_key;
use super::drain::{CounterMaps, Drain};
use super::flows::FlowMap;
use super::kernel_log::{self, KernelLog};
use super::netns_programs::{NetnsPrograms, ObservedNetns};
use super::object::{KERNEL_OBJECTS, NetnsObject};
use super::options::{KernelOptions, TrafficLevel};
use super::port_filter::PortFilter;
use super::refusal::KernelRefusal;
use super::rings::Rings;
use crate::source::netns::enter;
use crate::state::{Hook, State, StateFeed};

const BPF_NOEXIST: u64 = 1;
/// Programs on the root cgroup, and their hooks.
const CGROUP_HOOKS: [(&str, Hook); 6] = [
    ("portolan_tcp", Hook::SockOps),
    ("portolan_bind4", Hook::PostBind4),
    ("portolan_bind6", Hook::PostBind6),
    ("portolan_release", Hook::SockRelease),
    ("portolan_send4", Hook::SendMsg4),
    ("portolan_send6", Hook::SendMsg6),
];

/// What the attached hooks of the root cgroup observe.
#[derive(Clone, Copy, Debug)]
struct AttachedHooks {
    /// Every listener that opens or ends.
    socket_events: bool,
    /// Whom UDP sockets address.
    directions: bool,
}

/// The loaded kernel side.
pub struct KernelHooks {
    /// Holds the programs and their links on the cgroup.
    _object: Ebpf,
    hooks: AttachedHooks,
    traffic: TrafficLevel,
    ports: PerCpuHashMap<MapData, [u8; 16], [u64; 5]>,
    peers: HashMap<MapData, [u8; 32], [u64; 6]>,
    flows: FlowMap,
    filter: PortFilter,
    listeners: HashMap<MapData, u64, [u8; 80]>,
    recorded: HashMap<MapData, [u8; 16], [u64; 3]>,
    /// Ports that found no room in `ports` or `recorded`; retried until they do.
    uncounted: BTreeSet<PortId>,
    unrecorded: BTreeSet<PortId>,
    lost: PerCpuArray<MapData, u64>,
    changes: PerCpuArray<MapData, u64>,
    rings: Option<Rings>,
    log: Option<KernelLog>,
    drain: Drain,
    cpus: usize,
    undecodable: Arc<AtomicU64>,
    /// Losses counted by user space.
    own_lost: BTreeMap<&'static str, u64>,
    options: KernelOptions,
    peers_seen: u64,
}

impl KernelHooks {
    /// Loads everything and attaches the hooks of the root cgroup.
    ///
    /// # Errors
    /// Everything that is missing, if sock_ops cannot run: without it there is nothing to observe. Any other hook that
    /// is refused is reported to `feed`.
    pub fn load(options: &KernelOptions, feed: &StateFeed) -> Result<(Self, NetnsPrograms), KernelRefusal> {
        let objects = KERNEL_OBJECTS.as_ref().ok_or_else(|| {
            KernelRefusal::of("this build has no kernel programs: run `cargo xtask setup` and build again")
        })?;
        let missing = Capabilities::own().missing();
        if !missing.is_empty() {
            return Err(KernelRefusal { missing });
        }
        let cgroup = root_cgroup()?.dir;
        let bpffs = DetachedBpffs::new()
            .map_err(|error| KernelRefusal::step("a private bpffs (kernel 5.2, CAP_SYS_ADMIN)", &error))?;
        let constants = Constants::new(options);
        let mut shared_loader = loader(options, &bpffs);
        constants.set(&mut shared_loader);
        let object = NetnsObject::new(objects.netns).ok_or_else(|| {
            KernelRefusal::of("the embedded kernel object has no place for the netns cookie: build again")
        })?;
        let mut ebpf = shared_loader
            .load(objects.shared)
            .map_err(|error| KernelRefusal::step("loading maps", &error))?;
        let hooks = attach_cgroup_hooks(&mut ebpf, &cgroup, options.traffic, feed)?;
        let wanted = [
            (Hook::SkLookup, options.traffic != TrafficLevel::Off),
            (Hook::Tc, options.traffic == TrafficLevel::Full),
        ];
        let attachments = Attachments::new(wanted, feed);
        let mut observed = ObservedNetns(map(&mut ebpf, "OBSERVED")?);
        observed.sending(hooks.directions);
        let netns_loader = loader(options, &bpffs);
        let bpffs = Arc::new(bpffs);
        let programs = NetnsPrograms::new(
            netns_loader,
            object,
            &mut ebpf,
            options.traffic,
            bpffs,
            (attachments, observed),
        );
        Ok((Self::with_maps(ebpf, *options, hooks)?, programs))
    }

    fn with_maps(
        mut ebpf: Ebpf,
        options: KernelOptions,
        hooks: AttachedHooks,
    ) -> Result<Self, KernelRefusal> {
        let cpus = nr_cpus().map_err(|(what, error)| KernelRefusal::step(what, &error))?;
        let log = KernelLog::of(&mut ebpf, options.log);
        let undecodable = Arc::new(AtomicU64::new(0));
        let rings = Rings {
            listeners: map::<RingBuf<MapData>>(&mut ebpf, "LISTENER_EVENTS")?,
            connections: map::<RingBuf<MapData>>(&mut ebpf, "CONNECTION_EVENTS")?,
            undecodable: Arc::clone(&undecodable),
        };
        Ok(Self {
            ports: map(&mut ebpf, "PORT_STATS")?,
            peers: map(&mut ebpf, "PEERS")?,
            flows: map(&mut ebpf, "FLOWS")?,
            filter: PortFilter(map(&mut ebpf, "PORTS_TAKEN")?),
            listeners: map(&mut ebpf, "LISTENERS")?,
            recorded: map(&mut ebpf, "RECORDED")?,
            uncounted: BTreeSet::new(),
            unrecorded: BTreeSet::new(),
            lost: map(&mut ebpf, "LOST")?,
            changes: map(&mut ebpf, "CHANGES")?,
            _object: ebpf,
            hooks,
            traffic: options.traffic,
            rings: Some(rings),
            log,
            drain: Drain::new(cpus),
            cpus,
            undecodable,
            own_lost: BTreeMap::new(),
            options,
            peers_seen: 0,
        })
    }

    /// Returns true if all socket hooks are attached. Otherwise the periodic scan covers for the missing one.
    #[must_use]
    pub fn has_socket_events(&self) -> bool {
        self.hooks.socket_events
    }

    /// Returns true if the programs see whom UDP sockets address. Otherwise an answer looks like a call.
    #[must_use]
    pub fn knows_direction(&self) -> bool {
        self.hooks.directions
    }

    /// Returns the reading ends of the rings, once.
    #[must_use]
    pub fn take_rings(&mut self) -> Option<Rings> {
        self.rings.take()
    }

    /// Returns the log of the programs, once; `None` if the log is off.
    #[must_use]
    pub fn take_log(&mut self) -> Option<KernelLog> {
        self.log.take()
    }

    /// Starts counting this port's traffic.
    pub fn watch(&mut self, port: PortId) {
        if self.traffic == TrafficLevel::Off {
            return;
        }
        if let Err(error) = self.create_entry(port) {
            tracing::debug!(%error, "cannot count a port");
            *self.own_lost.entry(LostSlot::PortStatsMapFull.reason()).or_default() += 1;
            retry_later(&mut self.uncounted, port, &self.options);
        }
    }

    /// Creates the port's entry if it does not exist.
    fn create_entry(&mut self, port: PortId) -> Result<(), MapError> {
        let key = port_key(port);
        let zero = PerCpuValues::try_from(vec![[0_u64; 5]; self.cpus]).map_err(MapError::IoError)?;
        self.filter.will_create(&key)?;
        let Err(error) = self.ports.insert(key_bytes(port), zero, BPF_NOEXIST) else {
            return self.filter.created();
        };
        self.filter.did_not_create(&key)?;
        match &error {
            MapError::SyscallError(call) if call.io_error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            _ => Err(error),
        }
    }

    /// Stops counting a port. Its last counts are part of the next drain.
    pub fn unwatch(&mut self, port: PortId) {
        self.record(port, false);
        self.uncounted.remove(&port);
        if self.traffic == TrafficLevel::Off {
            return;
        }
        let key = port_key(port);
        match self.drain.take_port(self.ports.map().fd().as_fd(), &key) {
            Ok(true) => {
                if let Err(error) = self.filter.removed(&key) {
                    tracing::warn!(%error, "cannot tell the programs that a port is gone");
                }
            }
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "cannot take a port's counters"),
        }
    }

    /// Stops counting ports that the engine does not know, if more ports are counted than the `known` ones: the records
    /// about them were lost. Then starts counting ports that found no room before, as far as there is room now.
    pub fn unwatch_unknown_ports(&mut self, known: usize, is_known: impl Fn(PortId) -> bool, at: BootTime) {
        if self.drain.ports() > known {
            for port in self.drain.take_unknown_ports(is_known, at) {
                self.unwatch(port);
            }
        }
        while let Some(port) = self.uncounted.first().copied()
            && self.create_entry(port).is_ok()
        {
            self.uncounted.remove(&port);
        }
        while let Some(port) = self.unrecorded.first().copied()
            && self.create_record(port).is_ok()
        {
            self.unrecorded.remove(&port);
        }
    }

    /// Turns the recording of single connections on or off.
    pub fn record(&mut self, port: PortId, on: bool) {
        if !on {
            self.unrecorded.remove(&port);
            let _ = self.recorded.remove(&key_bytes(port));
        } else if self.create_record(port).is_err() {
            *self.own_lost.entry("recorded-map-full").or_default() += 1;
            retry_later(&mut self.unrecorded, port, &self.options);
        }
    }

    fn create_record(&mut self, port: PortId) -> Result<(), MapError> {
        let budget = [0, 0, self.options.records_per_second.into()];
        self.recorded.insert(key_bytes(port), budget, 0)
    }

    /// Returns what the counters grew by since the last drain.
    pub fn drain(&mut self, at: BootTime) -> TrafficDrain {
        let changes = self
            .changes
            .get(&0, 0)
            .map_or(0, |values| values.iter().fold(0, |sum: u64, one| sum.wrapping_add(*one)));
        let maps = CounterMaps {
            ports: self.ports.map().fd().as_fd(),
            peers: self.peers.map().fd().as_fd(),
            flows: self.flows.map().fd().as_fd(),
        };
        match self.drain.run(maps, changes, at) {
            Ok((drained, orphans)) => {
                for peer in orphans {
                    let mut key = [0; 32];
                    key.copy_from_slice(peer.as_bytes());
                    let _ = self.peers.remove(&key);
                }
                self.peers_seen = self.drain.peers() as u64;
                drained
            }
            Err(error) => {
                tracing::warn!(%error, "cannot drain the kernel's counters");
                *self.own_lost.entry("drain-failed").or_default() += 1;
                TrafficDrain { at, ..TrafficDrain::default() }
            }
        }
    }

    /// Returns the totals of everything that the kernel side dropped, by reason.
    #[must_use]
    pub fn lost(&self) -> BTreeMap<&'static str, u64> {
        let mut lost = self.own_lost.clone();
        for slot in LostSlot::ALL {
            if let Ok(values) = self.lost.get(&(slot as u32), 0) {
                *lost.entry(slot.reason()).or_default() += values.iter().sum::<u64>();
            }
        }
        lost.insert("undecodable-record", self.undecodable.load(Ordering::Relaxed));
        lost
    }

    /// Returns the number of entries of `LISTENERS`, counted in batches: one call per entry is too expensive for ten
    /// thousand of them.
    fn listeners_held(&self) -> u64 {
        let mut reader = BatchReader::new(size_of::<u64>(), size_of::<ListenerValue>(), 1024);
        let mut held = 0;
        // A failed batch only makes a gauge too low.
        let _ = reader.read(self.listeners.map().fd().as_fd(), |_, _| held += 1);
        held
    }

    /// Returns name, number of entries and capacity of the maps that can fill up.
    #[must_use]
    pub fn map_usage(&self) -> Vec<(&'static str, u64, u64)> {
        vec![
            ("listeners", self.listeners_held(), self.options.max_listeners.into()),
            ("port-stats", self.drain.ports() as u64, self.options.max_listeners.into()),
            ("peers", self.peers_seen, self.options.max_peers.into()),
        ]
    }
}

/// Remembers a port for a retry. Remembers at most as many ports as the map holds; the others were counted as lost.
fn retry_later(ports: &mut BTreeSet<PortId>, port: PortId, options: &KernelOptions) {
    if ports.len() < usize::try_from(options.max_listeners).unwrap_or(usize::MAX) {
        ports.insert(port);
    }
}

fn key_bytes(port: PortId) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(port_key(port).as_bytes());
    bytes
}

/// Constants of the shared programs that this load determines.
struct Constants {
    seed: u64,
    redirected_ports: u64,
    record_by_default: u64,
    host_netns: u64,
}

impl Constants {
    fn new(options: &KernelOptions) -> Self {
        let record_by_default = if options.record_by_default { options.records_per_second.into() } else { 0 };
        Self {
            seed: RandomState::new().hash_one(0_u8),
            redirected_ports: u64::from(options.max_listeners) / 2,
            record_by_default,
            // Where the host's netns is not known, its ports are recorded until the engine says that it keeps none.
            host_netns: enter::in_host_netns(Path::new("/proc"), enter::cookie)
                .ok()
                .flatten()
                .unwrap_or_default(),
        }
    }

    fn set<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        loader
            .override_global("SEED", &self.seed, true)
            .override_global("REDIRECTED_PORTS", &self.redirected_ports, true)
            .override_global("RECORD_BY_DEFAULT", &self.record_by_default, true)
            .override_global("HOST_NETNS", &self.host_netns, true);
    }
}

fn loader<'a>(options: &KernelOptions, bpffs: &DetachedBpffs) -> EbpfLoader<'a> {
    let mut loader = EbpfLoader::new();
    loader
        // Nothing in the object is relocated against the kernel's types, which take 14 MB.
        .btf(None)
        .default_map_pin_directory(bpffs.path())
        // The object of one netns has no such constants.
        .override_global("TRAFFIC", options.traffic.constant(), false)
        .override_global(kernel_log::LEVEL, options.log.constant(), false)
        .map_max_entries("LISTENERS", options.max_listeners)
        .map_max_entries("PORT_STATS", options.max_listeners)
        .map_max_entries("RECORDED", options.max_listeners)
        .map_max_entries("PEERS", options.max_peers)
        .map_max_entries(kernel_log::RING, options.log.ring_bytes())
        .map_max_entries("LISTENER_EVENTS", options.listener_ring_bytes)
        .map_max_entries("CONNECTION_EVENTS", options.connection_ring_bytes);
    loader
}

fn map<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, KernelRefusal>
where
    T: TryFrom<Map>,
    T::Error: std::error::Error + 'static,
{
    let map = ebpf
        .take_map(name)
        .ok_or_else(|| KernelRefusal::of(format!("the kernel object has no map {name}")))?;
    T::try_from(map).map_err(|error| KernelRefusal::step(name, &error))
}

/// Attaches the hooks of the root cgroup and reports how that went.
///
/// # Errors
/// If sock_ops is refused, which nothing can stand in for.
fn attach_cgroup_hooks(
    ebpf: &mut Ebpf,
    cgroup: &File,
    traffic: TrafficLevel,
    feed: &StateFeed,
) -> Result<AttachedHooks, KernelRefusal> {
    let mut attached = AttachedHooks { socket_events: true, directions: true };
    for (program, hook) in CGROUP_HOOKS {
        let reporter = feed.reporter(hook);
        if traffic == TrafficLevel::Off && matches!(hook, Hook::SendMsg4 | Hook::SendMsg6) {
            attached.directions = false;
            reporter.report(State::Off);
            continue;
        }
        let Err(refusal) = attach_cgroup(ebpf, program, hook.as_str(), cgroup) else {
            reporter.report(State::Up);
            continue;
        };
        let mut reason = refusal.missing.join("; ");
        match hook {
            Hook::SockOps => return Err(refusal),
            Hook::SendMsg4 | Hook::SendMsg6 => {
                attached.directions = false;
                reason.push_str("; answers to UDP clients cannot be told from calls");
            }
            _ => attached.socket_events = false,
        }
        tracing::warn!(hook = hook.as_str(), "{reason}");
        reporter.report(State::Down { reason });
    }
    Ok(attached)
}

fn attach_cgroup(
    ebpf: &mut Ebpf,
    program: &str,
    name: &'static str,
    cgroup: &File,
) -> Result<(), KernelRefusal> {
    let found =
        ebpf.program_mut(program).ok_or_else(|| KernelRefusal::of(format!("no program {program}")))?;
    load_and_attach(found, cgroup).map_err(|error| KernelRefusal::step(name, &error))
}

fn load_and_attach(program: &mut Program, cgroup: &File) -> Result<(), ProgramError> {
    const MODE: CgroupAttachMode = CgroupAttachMode::Single;
    match program {
        Program::SockOps(hook) => {
            hook.load()?;
            hook.attach(cgroup.as_fd(), MODE)?;
        }
        Program::CgroupSockAddr(hook) => {
            hook.load()?;
            hook.attach(cgroup.as_fd(), MODE)?;
        }
        other => {
            let hook: &mut CgroupSock = other.try_into()?;
            hook.load()?;
            hook.attach(cgroup.as_fd(), MODE)?;
        }
    }
    Ok(())
}

//! Network namespaces: which exist, what they are, who serves in them. One dedicated thread enters, acts and returns; it
//! keeps no descriptor of a foreign netns, so a deleted one is freed at once.

mod acting;
mod blind_spots;
pub mod budget;
pub mod candidates;
pub mod enter;
mod known;
pub mod look;
mod sought;
mod thread;
mod watch;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use portolan_engine::model::identity::NetnsId;
use portolan_engine::model::input::Input;
use portolan_engine::model::netns::NetnsFacts;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::{mpsc, watch as progress};

use self::budget::Budget;
use self::look::Interface;

/// More single requests than this become one for all.
const MAX_SINGLE_SCANS: usize = 256;
/// More netns than this are not sought at once.
const MAX_SOUGHT: usize = 65_536;

/// Acts inside each netns on the netns thread.
pub trait NetnsActor: Send {
    /// The thread is inside the netns of `facts`, whose sockets are listed next: what waits for the kernel is left for
    /// [`Self::act`]; true if there is any. `interfaces` are those that carry its own packets and nobody else's: none
    /// of the host's, and no loopback. Must be repeatable: it is called at each look.
    fn enter(&mut self, facts: &NetnsFacts, interfaces: &[Interface]) -> bool;
    /// One step of what the last call of [`Self::enter`] left in this netns, in which the thread is again; true if there is more.
    fn act(&mut self, _netns: NetnsId) -> bool {
        false
    }
    /// Whether something else tells of every socket that opens, so that a netns made meanwhile is scanned seldom.
    fn hears_of_sockets(&self) -> bool {
        false
    }
    /// A netns was entered and its sockets listed, which took so long.
    fn scanned(&mut self, _took: Duration) {}
    /// The netns is gone; called outside.
    fn gone(&mut self, netns: NetnsId);
    /// The thread is inside for the last time, before it ends: takes away what does not go by itself.
    fn leave(&mut self, _netns: NetnsId) {}
}

/// For those who only look.
#[derive(Clone, Copy, Debug, Default)]
pub struct OnlyLook;

impl NetnsActor for OnlyLook {
    fn enter(&mut self, _facts: &NetnsFacts, _interfaces: &[Interface]) -> bool {
        false
    }
    fn gone(&mut self, _netns: NetnsId) {}
}

/// Where to look, and how often.
#[derive(Clone, Debug)]
pub struct NetnsOptions {
    /// Directories with named netns; one that does not exist may appear later.
    pub dirs: Vec<PathBuf>,
    /// The host's /proc.
    pub proc_root: PathBuf,
    /// Each netns is looked at again once in this time, if that costs no more than `budget`.
    pub rotation: Duration,
    /// /proc is walked for netns without a name once in this time, if that costs no more than `budget`.
    pub process_walk: Duration,
    /// What rotation and walk may take each while nothing happens.
    pub budget: Budget,
    /// Whether the host's own netns is acted in and scanned as well; its facts are told in any case.
    pub host: HostNetns,
}

/// What to do with the host's own netns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostNetns {
    Scanned,
    /// Its sockets are listed, for the pods that share it; nothing is attached in it.
    Listed,
    FactsOnly,
}

impl Default for NetnsOptions {
    fn default() -> Self {
        Self {
            dirs: vec![PathBuf::from("/run/netns"), PathBuf::from("/run/docker/netns")],
            proc_root: PathBuf::from("/proc"),
            rotation: Duration::from_secs(15),
            process_walk: Duration::from_secs(3),
            budget: Budget::default(),
            host: HostNetns::FactsOnly,
        }
    }
}

/// How far the thread is. Closed when the thread has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Every netns that existed at the start was entered and scanned.
    pub first_scan_done: bool,
    /// The highest ticket of `scan_all` that is done.
    pub scans_done: u64,
    /// Netns known now.
    pub netns: usize,
    /// What could not be looked at the last time, in one line.
    pub blind: Option<String>,
}

impl Progress {
    /// The first look is done, and there was something besides the agent's own netns that could be looked at.
    #[must_use]
    pub fn is_observing(&self) -> bool {
        self.first_scan_done && (self.blind.is_none() || self.netns > 1)
    }
}

/// What was asked for and not done yet. Repeated requests are one.
#[derive(Debug, Default)]
struct Wanted {
    /// The kernel told of these, and nobody knows them.
    discover: BTreeSet<NetnsId>,
    scan: BTreeSet<NetnsId>,
    /// Ticket of the last request for all.
    scan_all: u64,
    shutdown: bool,
}

/// Requests to the netns thread.
#[derive(Debug)]
struct Mailbox {
    wanted: Mutex<Wanted>,
    wake: OwnedFd,
}

impl Mailbox {
    fn ask<T>(&self, change: impl FnOnce(&mut Wanted) -> T) -> T {
        let result = change(&mut self.wanted.lock().unwrap_or_else(PoisonError::into_inner));
        // Fails only when the counter is full, and then the thread is awake anyway.
        let _full = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        result
    }

    /// Takes everything but the ticket.
    fn take(&self) -> Wanted {
        let mut counter = [0_u8; 8];
        let _empty = rustix::io::read(&self.wake, &mut counter);
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let scan_all = wanted.scan_all;
        std::mem::replace(&mut *wanted, Wanted { scan_all, ..Wanted::default() })
    }
}

/// The running netns thread.
#[derive(Debug)]
pub struct NetnsHandle {
    mailbox: Arc<Mailbox>,
    progress: progress::Receiver<Progress>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the netns thread.
///
/// # Errors
/// When /proc is not there, or the kernel gives no eventfd, inotify instance or thread.
pub fn start(
    options: NetnsOptions,
    actor: Box<dyn NetnsActor>,
    inputs: mpsc::Sender<Input>,
) -> io::Result<NetnsHandle> {
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let mailbox = Arc::new(Mailbox { wanted: Mutex::default(), wake });
    let (report, progress) = progress::channel(Progress::default());
    let watch = watch::DirWatch::new(&options.dirs)?;
    let parts = thread::Parts { options, actor, inputs, mailbox: Arc::clone(&mailbox), report, watch };
    let thread = std::thread::Builder::new().name("netns".to_owned()).spawn(move || thread::run(parts))?;
    Ok(NetnsHandle { mailbox, progress, thread: Some(thread) })
}

impl NetnsHandle {
    /// Looks for a netns that is not known yet: the kernel told of it. It is told as gone if it is not found.
    pub fn discover(&self, netns: NetnsId) {
        self.mailbox.ask(|wanted| {
            if wanted.discover.len() < MAX_SOUGHT {
                wanted.discover.insert(netns);
            }
        });
    }

    /// Scans one netns soon.
    pub fn scan(&self, netns: NetnsId) {
        self.mailbox.ask(|wanted| {
            if wanted.scan.len() < MAX_SINGLE_SCANS {
                wanted.scan.insert(netns);
            } else {
                wanted.scan_all += 1;
            }
        });
    }

    /// Discovers, then scans every netns; the answer is a ticket: done once `Progress::scans_done` has reached it.
    pub fn scan_all(&self) -> u64 {
        self.mailbox.ask(|wanted| {
            wanted.scan_all += 1;
            wanted.scan_all
        })
    }

    /// How far the thread is; wait on it for the first scan, or for a ticket.
    #[must_use]
    pub fn progress(&self) -> progress::Receiver<Progress> {
        self.progress.clone()
    }

    /// Ends the thread and waits for it. Drop the receiver of the inputs first, or keep draining it.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        self.mailbox.ask(|wanted| wanted.shutdown = true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the netns thread panicked");
        }
    }
}

impl Drop for NetnsHandle {
    fn drop(&mut self) {
        self.mailbox.ask(|wanted| wanted.shutdown = true);
    }
}

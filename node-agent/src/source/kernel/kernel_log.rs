//! Forwards the log lines of the kernel programs (aya-log) to this process's own diagnostics.

use aya::Ebpf;
use aya_log::{EbpfLogger, Level};
use log::{Log, Metadata, Record};
use tokio::io::unix::AsyncFd;

/// Constant of the programs. At load the verifier removes log calls above this level.
pub(super) const LEVEL: &str = aya_log::LEVEL;
/// Name of the ring of log lines, which exists at every level.
pub(super) const RING: &str = "AYA_LOGS";
/// Ring size in bytes while the log is off; the smallest possible.
const RING_BYTES_OFF: u32 = 4096;
const RING_BYTES_ON: u32 = 1 << 17;

/// Log level of the kernel programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KernelLogLevel {
    #[default]
    Off,
    Error,
    Warn,
    Info,
    Debug,
}

impl KernelLogLevel {
    pub(super) const fn constant(self) -> &'static u8 {
        match self {
            Self::Off => &0,
            Self::Error => &(Level::Error as u8),
            Self::Warn => &(Level::Warn as u8),
            Self::Info => &(Level::Info as u8),
            Self::Debug => &(Level::Debug as u8),
        }
    }

    pub(super) const fn ring_bytes(self) -> u32 {
        if matches!(self, Self::Off) { RING_BYTES_OFF } else { RING_BYTES_ON }
    }
}

/// Reading end of the log lines.
pub struct KernelLog(EbpfLogger<Diagnostics>);

impl KernelLog {
    /// Opens the log; `None` if the log is off or cannot be read.
    pub(super) fn of(ebpf: &mut Ebpf, level: KernelLogLevel) -> Option<Self> {
        if level == KernelLogLevel::Off {
            return None;
        }
        EbpfLogger::init_with_logger(ebpf, Diagnostics)
            .map_err(|error| tracing::warn!(%error, "the kernel programs' log cannot be read"))
            .map(Self)
            .ok()
    }

    /// Forwards log lines until the ring fails.
    pub async fn forward(self) {
        // SAFETY: the logger owns its map's descriptor and hands out no way to close or replace it.
        let Ok(mut lines) = (unsafe { AsyncFd::register(self.0) }) else {
            return tracing::error!("the kernel programs' log cannot be polled");
        };
        while let Ok(mut ready) = lines.readable_mut().await {
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    }
}

/// Writes log lines to this process's diagnostics, in the form that aya-log requires.
struct Diagnostics;

impl Log for Diagnostics {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        match record.level() {
            log::Level::Error => tracing::error!("kernel: {}", record.args()),
            log::Level::Warn => tracing::warn!("kernel: {}", record.args()),
            log::Level::Info => tracing::info!("kernel: {}", record.args()),
            log::Level::Debug | log::Level::Trace => tracing::debug!("kernel: {}", record.args()),
        }
    }

    fn flush(&self) {}
}

//! What the kernel programs say of themselves (aya-log), passed on to this process's own diagnostics.

use aya::Ebpf;
use aya_log::{EbpfLogger, Level};
use log::{Log, Metadata, Record};
use tokio::io::unix::AsyncFd;

/// Constant of the programs: what is above it, the verifier removes when they are loaded.
pub(super) const LEVEL: &str = aya_log::LEVEL;
/// The ring of the lines; it is made in any case.
pub(super) const RING: &str = "AYA_LOGS";
/// As small as a ring can be.
const RING_BYTES_OFF: u32 = 4096;
const RING_BYTES_ON: u32 = 1 << 17;

/// How much the programs say.
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

/// The lines' reading end.
pub struct KernelLog(EbpfLogger<Diagnostics>);

impl KernelLog {
    /// `None` when the programs say nothing.
    pub(super) fn of(ebpf: &mut Ebpf, level: KernelLogLevel) -> Option<Self> {
        if level == KernelLogLevel::Off {
            return None;
        }
        EbpfLogger::init_with_logger(ebpf, Diagnostics)
            .map_err(|error| tracing::warn!(%error, "the kernel programs' log cannot be read"))
            .map(Self)
            .ok()
    }

    /// Passes on what comes, for ever.
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

/// This process's diagnostics, as aya-log wants them.
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

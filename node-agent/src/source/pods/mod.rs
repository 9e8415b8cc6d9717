//! Where pods come from. Each source tells all of its pods at once; the engine joins them.

pub mod api;
pub mod cri;
pub mod file;
pub mod owner;

use tokio::sync::watch;

/// How a source does, for status and readiness.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceState {
    /// It has told its pods at least once, and the last attempt was fine.
    pub up: bool,
    /// Why not, or what is amiss all the same, in one line.
    pub reason: Option<String>,
}

impl SourceState {
    /// Up where there is no reason why not.
    #[must_use]
    pub const fn of(reason: Option<String>) -> Self {
        Self { up: reason.is_none(), reason }
    }

    /// Tells it to who follows the source, unless that is what was told last; true if it was something else.
    pub fn tell(self, status: &watch::Sender<Self>) -> bool {
        status.send_if_modified(|told| {
            let differs = *told != self;
            *told = self;
            differs
        })
    }
}

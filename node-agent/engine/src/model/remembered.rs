//! What is remembered of a finding over a restart of the agent.

use crate::model::identity::{BootTime, NetnsId};
use crate::model::reach::Reach;

/// A finding of an earlier run of the agent, since the same boot of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RememberedFinding {
    /// Id of the finding, which is derived from its owner, protocol and port.
    pub id: u64,
    /// When the condition began.
    pub first_seen: BootTime,
    /// The served port; `None` where the finding is not about a served port.
    pub port: Option<RememberedPort>,
}

/// What is remembered of a served port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RememberedPort {
    /// The netns of the port. A port with the same finding id in another netns is another port.
    pub netns: NetnsId,
    /// How far the callers were away that its verdict counted.
    pub reach: Reach,
}

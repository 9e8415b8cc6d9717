//! Applies what a netns forwards.

use crate::engine::Engine;
use crate::model::identity::BootTime;
use crate::model::netns::ForwardedPorts;

impl Engine {
    /// Applies the ports that a netns forwards.
    pub(crate) fn ports_forwarded(&mut self, _forwarded: ForwardedPorts, _now: BootTime) {}
}

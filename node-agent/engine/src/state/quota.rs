//! What one netns, or all unclaimed netns together, occupies in the bounded tables.

/// Number of entries in each bounded table, of one netns or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Ports.
    pub ports: usize,
    /// Sockets that are counted in a port.
    pub sockets: usize,
    /// Peers of all ports.
    pub peers: usize,
}

impl Usage {
    pub(crate) fn add(&mut self, other: Self) {
        self.ports = self.ports.saturating_add(other.ports);
        self.sockets = self.sockets.saturating_add(other.sockets);
        self.peers = self.peers.saturating_add(other.peers);
    }

    pub(crate) fn remove(&mut self, other: Self) {
        self.ports = self.ports.saturating_sub(other.ports);
        self.sockets = self.sockets.saturating_sub(other.sockets);
        self.peers = self.peers.saturating_sub(other.peers);
    }
}

//! What one netns, or all unclaimed netns together, occupies in the bounded tables.

/// What is kept in each table, for one netns or for several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub ports: usize,
    pub sockets: usize,
    pub peers: usize,
}

impl Usage {
    pub fn add(&mut self, other: Self) {
        self.ports = self.ports.saturating_add(other.ports);
        self.sockets = self.sockets.saturating_add(other.sockets);
        self.peers = self.peers.saturating_add(other.peers);
    }

    pub fn remove(&mut self, other: Self) {
        self.ports = self.ports.saturating_sub(other.ports);
        self.sockets = self.sockets.saturating_sub(other.sockets);
        self.peers = self.peers.saturating_sub(other.peers);
    }
}

//! Slots of the per-CPU array `LOST`: one for each reason for which the kernel programs drop something.

/// Reason for which a kernel program dropped something. The discriminant is the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum LostSlot {
    /// `LISTENER_EVENTS` had no room.
    ListenerRingFull = 0,
    /// `CONNECTION_EVENTS` had no room.
    ConnectionRingFull = 1,
    /// `LISTENERS` had no room.
    ListenersMapFull = 2,
    /// `PORT_STATS` had no room: this port's traffic is not counted.
    PortStatsMapFull = 3,
    /// `PEERS` refused an entry.
    PeersMapFull = 4,
    /// A port had more connections in a second than its budget of records. The connections themselves are counted.
    ConnectionRecordsLimited = 5,
    /// A netns's own program could not call the shared program, or was interrupted by a program of the same kind. The packet is
    /// not counted.
    HandoverFailed = 6,
    /// A redirected connection counts for the port that accepted it, because too many dialled ports have counters.
    RedirectedPortsFull = 7,
    /// `RECORDED` had no room: the connections of this port are not recorded until the agent asks for it.
    RecordedMapFull = 8,
}

impl LostSlot {
    /// Every slot, in the order of the array.
    pub const ALL: [Self; 9] = [
        Self::ListenerRingFull,
        Self::ConnectionRingFull,
        Self::ListenersMapFull,
        Self::PortStatsMapFull,
        Self::PeersMapFull,
        Self::ConnectionRecordsLimited,
        Self::HandoverFailed,
        Self::RedirectedPortsFull,
        Self::RecordedMapFull,
    ];

    /// Returns the name of the reason, as in `lost_total{reason}`.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::ListenerRingFull => "listener-ring-full",
            Self::ConnectionRingFull => "connection-ring-full",
            Self::ListenersMapFull => "listeners-map-full",
            Self::PortStatsMapFull => "port-stats-map-full",
            Self::PeersMapFull => "peers-map-full",
            Self::ConnectionRecordsLimited => "connection-records-limited",
            Self::HandoverFailed => "handover-failed",
            Self::RedirectedPortsFull => "redirected-ports-full",
            Self::RecordedMapFull => "recorded-map-full",
        }
    }
}

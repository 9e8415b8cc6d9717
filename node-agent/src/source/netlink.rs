//! A netlink socket: sends a request, receives datagrams and iterates over their messages, for dumps and for single answers.
//! The socket belongs to the netns in which it was opened, so a visit to a foreign netns opens its own and drops it.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkDeserializable,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr};

/// Buffer for most dumps, in bytes. The kernel fills as much of a datagram as the reader took before, up to 32 KiB: fewer
/// parts mean fewer holes. glibc trims its whole heap whenever 64 KiB are freed.
const BUFFER_BYTES: usize = 32 * 1024;
/// Buffer for dumps with very large objects: an interface with all its alternative names takes nearly 64 KiB.
const LARGE_BUFFER_BYTES: usize = 72 * 1024;

/// Result of a dump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DumpOutcome {
    /// Number of datagrams that carried objects.
    pub parts: usize,
    /// True if the kernel reported that the table changed during the dump (`NLM_F_DUMP_INTR`).
    pub interrupted: bool,
    /// Number of objects that do not parse, plus datagrams that are larger than the buffer.
    pub unparsable: usize,
}

impl DumpOutcome {
    /// Returns true if objects may be missing. A dump of several parts can skip an object when another one disappears
    /// between two parts.
    #[must_use]
    pub fn may_have_holes(self) -> bool {
        self.interrupted || self.parts > 1
    }
}

/// A connected netlink socket with its receive buffer.
pub struct NetlinkSocket {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl AsRawFd for NetlinkSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl NetlinkSocket {
    /// Opens a socket of this netlink protocol in the calling thread's netns.
    ///
    /// # Errors
    /// When the kernel has no such netlink protocol.
    pub fn open(protocol: isize) -> io::Result<Self> {
        Self::with_buffer(protocol, BUFFER_BYTES)
    }

    /// Opens a socket for objects that may be very large, such as interfaces with many alternative names.
    ///
    /// # Errors
    /// When the kernel has no such netlink protocol.
    pub fn open_for_large(protocol: isize) -> io::Result<Self> {
        Self::with_buffer(protocol, LARGE_BUFFER_BYTES)
    }

    /// Opens a non-blocking socket whose datagrams have at most `bytes` bytes, for single answers that the kernel queues
    /// before the request returns.
    ///
    /// # Errors
    /// When the kernel has no such netlink protocol.
    pub fn open_non_blocking(protocol: isize, bytes: usize) -> io::Result<Self> {
        let opened = Self::with_buffer(protocol, bytes)?;
        opened.socket.set_non_blocking(true)?;
        Ok(opened)
    }

    fn with_buffer(protocol: isize, bytes: usize) -> io::Result<Self> {
        let socket = Socket::new(protocol)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, buffer: Vec::with_capacity(bytes), sequence: 0 })
    }

    /// Sends a dump request for `object` and passes every object of the answer to `each`. Skips and counts objects that do
    /// not parse.
    ///
    /// # Errors
    /// The kernel's error: `NotFound` where the kernel has no such table.
    pub fn dump<M>(&mut self, object: M, mut each: impl FnMut(M)) -> io::Result<DumpOutcome>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        self.send(object, NLM_F_DUMP)?;
        let mut outcome = DumpOutcome::default();
        loop {
            // The objects in a truncated end of the datagram would otherwise be missing without a count.
            outcome.unparsable += usize::from(self.receive()?);
            if self.buffer.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if read_part(&self.buffer, self.sequence, &mut outcome, &mut each)? {
                return Ok(outcome);
            }
        }
    }

    /// Makes the kernel fill large datagrams from the first dump on. It fills as much as the reader took before, which is
    /// otherwise some thirty sockets, and a dump in several parts may have holes. Sends a message without content, and takes its
    /// acknowledgement. If that fails, only the first dump is smaller.
    ///
    /// # Errors
    /// The socket's error.
    pub fn widen(&mut self) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let header = NetlinkHeader::default();
        let mut message = NetlinkMessage::<RouteNetlinkMessage>::new(header, NetlinkPayload::Noop);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK;
        message.header.sequence_number = self.sequence;
        self.socket.send(&bytes_of(message), 0)?;
        self.buffer.clear();
        // The kernel has queued the acknowledgement already.
        self.socket.recv(&mut self.buffer, libc::MSG_DONTWAIT).map(drop)
    }

    /// Sends a request for one object and returns the bytes of its answer. Discards late answers to earlier requests.
    ///
    /// # Errors
    /// The socket's error, `WouldBlock` included; `InvalidData` for a datagram without a complete message.
    pub fn request<M: NetlinkSerializable>(&mut self, object: M) -> io::Result<&[u8]> {
        self.send(object, 0)?;
        let sequence = self.sequence;
        let is_answer = |message: &NetlinkBuffer<&[u8]>| message.sequence_number() == sequence;
        // The buffer may hold the answer to an earlier request, which has another sequence number.
        while !Messages(&self.buffer).any(|message| is_answer(&message)) {
            let _truncated = self.receive()?;
            if Messages(&self.buffer).next().is_none() {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        let answer = Messages(&self.buffer).find(is_answer);
        answer.map(NetlinkBuffer::into_inner).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn send<M: NetlinkSerializable>(&mut self, object: M, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request_bytes(object, flags, self.sequence), 0).map(drop)
    }

    /// Receives one datagram into the buffer. Returns true if the datagram was larger than the buffer.
    fn receive(&mut self) -> io::Result<bool> {
        self.buffer.clear();
        let length = self.socket.recv(&mut self.buffer, libc::MSG_TRUNC)?;
        Ok(length > self.buffer.len())
    }
}

/// Returns a request for `object` with these flags beside `NLM_F_REQUEST`, as bytes.
pub(super) fn request_bytes<M: NetlinkSerializable>(object: M, flags: u16, sequence: u32) -> Vec<u8> {
    let mut request = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(object));
    request.header.flags = NLM_F_REQUEST | flags;
    request.header.sequence_number = sequence;
    bytes_of(request)
}

fn bytes_of<M: NetlinkSerializable>(mut message: NetlinkMessage<M>) -> Vec<u8> {
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Iterates over the messages of one datagram; ends at the first one that is not complete.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = NetlinkBuffer<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::try_from(NetlinkBuffer::new_checked(self.0).ok()?.length()).ok()?;
        let (message, tail) = self.0.split_at_checked(length)?;
        // Messages are aligned to four bytes.
        let padding = length.next_multiple_of(4) - length;
        self.0 = tail.get(padding..).unwrap_or_default();
        Some(NetlinkBuffer::new(message))
    }
}

/// Reads the objects of one datagram. Returns true when the dump is complete.
fn read_part<M: NetlinkDeserializable>(
    datagram: &[u8],
    sequence: u32,
    outcome: &mut DumpOutcome,
    each: &mut impl FnMut(M),
) -> io::Result<bool> {
    let mut objects = 0;
    let mut done = false;
    for message in Messages(datagram).filter(|message| message.sequence_number() == sequence) {
        outcome.interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
        match NetlinkMessage::<M>::deserialize(message.into_inner()).map(|message| message.payload) {
            Ok(NetlinkPayload::Done(_)) => done = true,
            Ok(NetlinkPayload::Error(error)) => return Err(error.to_io()),
            Ok(NetlinkPayload::Overrun(_)) => return Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
            Ok(NetlinkPayload::InnerMessage(object)) => {
                objects += 1;
                each(object);
            }
            Ok(_) => {}
            Err(error) => {
                outcome.unparsable += 1;
                tracing::debug!(%error, "a netlink object does not parse");
            }
        }
    }
    outcome.parts += usize::from(objects > 0);
    Ok(done)
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::LinkMessage;
    use proptest::prelude::*;

    use super::*;

    fn link(sequence: u32) -> Vec<u8> {
        request_bytes(RouteNetlinkMessage::NewLink(LinkMessage::default()), 0, sequence)
    }

    fn read(datagram: &[u8]) -> (usize, DumpOutcome) {
        let (mut objects, mut outcome) = (0, DumpOutcome::default());
        let each = &mut |_: RouteNetlinkMessage| objects += 1;
        read_part(datagram, 7, &mut outcome, each).expect("no error of the kernel");
        (objects, outcome)
    }

    #[test]
    fn only_complete_messages_of_the_request_are_read() {
        let datagram = [link(7), link(6), link(7)].concat();
        assert_eq!(read(&datagram), (2, DumpOutcome { parts: 1, ..DumpOutcome::default() }));
        assert_eq!(read(&datagram[..datagram.len() - 1]).0, 1);
        assert_eq!(read(&link(6)), (0, DumpOutcome::default()));
    }

    #[test]
    fn an_interrupted_dump_and_an_unparsable_object_are_noted() {
        let mut interrupted = link(7);
        interrupted[6] |= 0x10;
        assert!(read(&interrupted).1.may_have_holes());
        let mut cut = link(7)[..20].to_vec();
        cut[0] = 20;
        assert_eq!(read(&cut), (0, DumpOutcome { unparsable: 1, ..DumpOutcome::default() }));
    }

    #[test]
    fn messages_are_aligned_to_four_bytes() {
        let mut first = link(7)[..17].to_vec();
        first[0] = 17;
        first.extend([0; 3]);
        let datagram = [first, link(8)].concat();
        let sequences: Vec<u32> = Messages(&datagram).map(|message| message.sequence_number()).collect();
        assert_eq!(sequences, [7, 8]);
    }

    proptest! {
        #[test]
        fn no_datagram_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Messages(&bytes).count();
            let mut framed = link(7);
            framed.extend(bytes);
            let _ = read_part(&framed, 7, &mut DumpOutcome::default(), &mut |_: RouteNetlinkMessage| {});
        }
    }
}

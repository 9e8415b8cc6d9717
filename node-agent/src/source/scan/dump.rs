//! One netlink dump: request out, messages in, and whether the answer can have holes. The socket belongs to the netns in
//! which it was opened, so it is opened inside and dropped before leaving.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use netlink_packet_core::{NetlinkDeserializable, NetlinkMessage, NetlinkPayload, NetlinkSerializable};
use netlink_sys::{Socket, SocketAddr};

/// The kernel fills as much as the reader took before, up to 32 KiB: fewer parts, fewer holes. glibc tidies its whole heap
/// whenever 64 KiB are given back.
const BUFFER: usize = 32 * 1024;
const LARGE_BUFFER: usize = 72 * 1024;
const HEADER: usize = 16;
const NLM_F_DUMP_INTR: u16 = 0x10;

/// How a dump went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Answers that carried objects.
    pub parts: usize,
    /// The kernel says that the table changed meanwhile.
    pub interrupted: bool,
    /// Objects that do not parse, and parts that are larger than the buffer.
    pub unparsable: usize,
}

impl Outcome {
    /// A dump that was resumed can skip an object when another one went away between two parts.
    #[must_use]
    pub fn may_have_holes(self) -> bool {
        self.interrupted || self.parts > 1
    }
}

/// A netlink socket for dumps.
pub struct Dump {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl AsRawFd for Dump {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Dump {
    /// Opens a socket of this netlink protocol in the calling thread's netns.
    ///
    /// # Errors
    /// When the kernel has no such netlink protocol.
    pub fn open(protocol: isize) -> io::Result<Self> {
        Self::with_buffer(protocol, BUFFER)
    }

    /// The same for objects that may be very large: an interface with all its alternative names takes nearly 64 KiB.
    ///
    /// # Errors
    /// When the kernel has no such netlink protocol.
    pub fn open_for_large(protocol: isize) -> io::Result<Self> {
        Self::with_buffer(protocol, LARGE_BUFFER)
    }

    fn with_buffer(protocol: isize, length: usize) -> io::Result<Self> {
        let socket = Socket::new(protocol)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, buffer: Vec::with_capacity(length), sequence: 0 })
    }

    /// Sends `request` and hands every object of the answer to `each`; objects that do not parse are skipped
    /// and counted.
    ///
    /// # Errors
    /// The kernel's error: `NotFound` where it has no such table.
    pub fn run<M>(&mut self, mut request: NetlinkMessage<M>, mut each: impl FnMut(M)) -> io::Result<Outcome>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        self.sequence = self.sequence.wrapping_add(1);
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut outcome = Outcome::default();
        loop {
            self.buffer.clear();
            let length = self.socket.recv(&mut self.buffer, libc::MSG_TRUNC)?;
            // The end of the part was cut off, and what was in it would be missing without a word.
            outcome.unparsable += usize::from(length > self.buffer.len());
            if self.buffer.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if read_part(&self.buffer, self.sequence, &mut outcome, &mut each)? {
                return Ok(outcome);
            }
        }
    }
}

/// Reads one datagram; true when the dump is done.
fn read_part<M: NetlinkDeserializable>(
    mut rest: &[u8],
    sequence: u32,
    outcome: &mut Outcome,
    each: &mut impl FnMut(M),
) -> io::Result<bool> {
    let mut objects = 0;
    let mut done = false;
    while let Some((length, flags, own)) = header(rest, sequence) {
        let (message, tail) = rest.split_at(length.min(rest.len()));
        // Messages are aligned to four bytes.
        let padding = length.next_multiple_of(4) - length;
        rest = tail.get(padding..).unwrap_or_default();
        if !own {
            continue;
        }
        outcome.interrupted |= flags & NLM_F_DUMP_INTR != 0;
        match NetlinkMessage::<M>::deserialize(message).map(|message| message.payload) {
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

/// Length and flags of the message at the front, and whether it answers `sequence`.
fn header(bytes: &[u8], sequence: u32) -> Option<(usize, u16, bool)> {
    let length = usize::try_from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    let flags = u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?);
    let answers = u32::from_ne_bytes(bytes.get(8..12)?.try_into().ok()?);
    (length >= HEADER && length <= bytes.len()).then_some((length, flags, answers == sequence))
}

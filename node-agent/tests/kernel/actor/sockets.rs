//! The actor's sockets and the operations on them, each made of one or a few plain system calls.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::{Errno, FdFlags, Result};
use rustix::net::{
    AddressFamily, Protocol, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType, ipproto, sockopt,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use super::protocol::{Payload, Reply, Request, SocketName, SocketOptions, Transport};
use super::raw_packet::RawSocket;
use super::tun::Tun;
use super::{ACTOR_HOLDS, messages, raw_packet, ring};

#[derive(Default)]
pub struct Sockets {
    open: BTreeMap<SocketName, Arc<OwnedFd>>,
    children: Vec<Child>,
    tun: Option<Tun>,
}

/// Moves the calling thread to a named netns.
pub fn enter_netns(name: &str) -> Result<()> {
    let netns = File::open(Path::new("/run/netns").join(name)).map_err(|_| Errno::NOENT)?;
    rustix::thread::move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))
}

impl Sockets {
    pub fn perform(&mut self, request: Request) -> Result<Reply> {
        use Request as R;
        match request {
            R::Open { socket, transport, v6, options } => {
                self.open.insert(socket, Arc::new(open(transport, v6, options)?));
            }
            R::Bind { socket, address } => rustix::net::bind(self.get(socket)?, &address)?,
            R::Listen { socket, backlog } => rustix::net::listen(self.get(socket)?, backlog)?,
            R::RingListen { socket, address } => ring::bind_and_listen(self.get(socket)?, address, 16)?,
            R::Local { socket } => return Ok(Reply::Address(local(self.get(socket)?)?)),
            R::Connect { socket, to } => rustix::net::connect(self.get(socket)?, &to)?,
            R::StartConnect { socket, to } => start_connect(self.get(socket)?, to)?,
            R::Disconnect { socket } => rustix::net::connect_unspec(self.get(socket)?)?,
            R::Accept { socket, accepted } => {
                let accepted_fd = rustix::net::accept(self.get(socket)?)?;
                self.open.insert(accepted, Arc::new(accepted_fd));
            }
            R::Serve { socket } => serve(Arc::clone(self.open.get(&socket).ok_or(Errno::BADF)?)),
            R::ConnectMany { to, times, length } => return connect_many(to, times, length),
            R::Write { socket, length } => write_all(self.get(socket)?, length)?,
            R::Read { socket, length } => read_exact(self.get(socket)?, length)?,
            R::SendTo { socket, to, length, times } => send_to(self.get(socket)?, to, length, times)?,
            R::SendMany { socket, to, length, times } => {
                return Ok(Reply::Number(messages::send_many(self.get(socket)?, to, length, times)?));
            }
            R::SendMessages { socket, to, length, times } => {
                messages::send(self.get(socket)?, to, length, times)?;
            }
            R::Receive { socket, times } => receive(self.get(socket)?, times)?,
            R::ReceiveMessages { socket, times } => messages::receive(self.get(socket)?, times)?,
            R::ReceiveMany { socket, times } => messages::receive_many(self.get(socket)?, times)?,
            R::Shutdown { .. }
            | R::ShutdownWrite { .. }
            | R::AwaitSent { .. }
            | R::Reset { .. }
            | R::Close { .. } => self.end(&request)?,
            R::ListenOnThread { socket, address, thread } => {
                self.open.insert(socket, Arc::new(listen_on_thread(address, thread)?));
            }
            R::ReceiveBytes { socket, length } => read_exact(self.get(socket)?, length)?,
            R::CloseAll => self.open.clear(),
            R::ListenBriefly { address, milliseconds } => listen_briefly(address, milliseconds)?,
            R::ListenRange { address, last_port } => return self.listen_range(address, last_port),
            R::ListenOften { address, times } => (0..times).try_for_each(|_| listener(address).map(drop))?,
            R::Inherit => return self.inherit(),
            R::Take { path, socket } => {
                self.open.insert(socket, Arc::new(take(&path)?));
            }
            R::Give { path, socket } => give(&path, self.get(socket)?)?,
            R::EnterNetns { name } => enter_netns(&name)?,
            R::NestNetns => return nest_netns(),
            R::SendRaw { from, to, payload } => RawSocket::open()?.send(from, to, payload)?,
            R::Flood { to, payload, times } => RawSocket::open()?.flood(to, payload, times)?,
            R::Spray { to } => spray(to)?,
            R::OpenTun { name } => self.tun = Some(Tun::open(&name)?),
            R::FromTun { from, to, payload, times } => self.send_from_tun(from, to, payload, times)?,
        }
        Ok(Reply::Done)
    }

    fn get(&self, socket: SocketName) -> Result<BorrowedFd<'_>> {
        self.open.get(&socket).map(|fd| fd.as_fd()).ok_or(Errno::BADF)
    }

    /// Performs a request that ends a socket, or a part of it.
    fn end(&mut self, request: &Request) -> Result<()> {
        match *request {
            Request::Shutdown { socket } => rustix::net::shutdown(self.get(socket)?, Shutdown::Both),
            Request::ShutdownWrite { socket } => rustix::net::shutdown(self.get(socket)?, Shutdown::Write),
            Request::AwaitSent { socket } => await_sent(self.get(socket)?),
            Request::Reset { socket } => {
                sockopt::set_socket_linger(self.get(socket)?, Some(Duration::ZERO))?;
                self.close(socket)
            }
            Request::Close { socket } => self.close(socket),
            _ => Err(Errno::INVAL),
        }
    }

    fn close(&mut self, socket: SocketName) -> Result<()> {
        self.open.remove(&socket).map(drop).ok_or(Errno::BADF)
    }

    fn send_from_tun(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        payload: Payload,
        times: u32,
    ) -> Result<()> {
        let device = self.tun.as_mut().ok_or(Errno::NODEV)?;
        let packet = raw_packet::packet(from, to, payload)?;
        (0..times).try_for_each(|_| device.write(&packet))
    }

    fn listen_range(&mut self, address: SocketAddr, last_port: u16) -> Result<Reply> {
        let mut listening = 0;
        for port in address.port()..=last_port {
            if let Ok(socket) = listener(SocketAddr::new(address.ip(), port)) {
                self.open.insert(1_000_000 + u32::from(port), Arc::new(socket));
                listening += 1;
            }
        }
        Ok(Reply::Number(listening))
    }

    fn inherit(&mut self) -> Result<Reply> {
        for socket in self.open.values() {
            rustix::io::fcntl_setfd(socket, FdFlags::empty())?;
        }
        let executable = std::env::current_exe().map_err(|_| Errno::NOENT)?;
        let child = Command::new(executable)
            .env(ACTOR_HOLDS, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let pid = child.id();
        self.children.push(child);
        Ok(Reply::Number(u64::from(pid)))
    }
}

fn open(transport: Transport, v6: bool, options: SocketOptions) -> Result<OwnedFd> {
    let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
    let (kind, protocol) = match transport {
        Transport::Tcp => (SocketType::STREAM, ipproto::TCP),
        Transport::Mptcp => (SocketType::STREAM, ipproto::MPTCP),
        Transport::Udp => (SocketType::DGRAM, ipproto::UDP),
    };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some::<Protocol>(protocol))?;
    if kind == SocketType::STREAM {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    if options.reuse_port {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    if v6 {
        sockopt::set_ipv6_v6only(&socket, options.v6_only)?;
    }
    if options.segment > 0 {
        set_udp(socket.as_fd(), libc::UDP_SEGMENT, options.segment.into())?;
    }
    if options.receive_merged {
        set_udp(socket.as_fd(), libc::UDP_GRO, 1)?;
    }
    if options.broadcast {
        sockopt::set_socket_broadcast(&socket, true)?;
    }
    if options.destination_options {
        raw_packet::set_destination_options(socket.as_fd())?;
    }
    if options.eth0_only {
        bind_to_device(socket.as_fd(), b"eth0")?;
    }
    if options.loopback_only {
        bind_to_device(socket.as_fd(), b"lo")?;
    }
    Ok(socket)
}

fn bind_to_device(socket: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    set_option(socket, (libc::SOL_SOCKET, libc::SO_BINDTODEVICE), name)
}

/// Sets an option of level UDP.
fn set_udp(socket: BorrowedFd<'_>, option: libc::c_int, value: libc::c_int) -> Result<()> {
    set_option(socket, (libc::IPPROTO_UDP, option), &value.to_ne_bytes())
}

/// Sets an option that rustix does not know.
fn set_option(
    socket: BorrowedFd<'_>,
    (level, option): (libc::c_int, libc::c_int),
    value: &[u8],
) -> Result<()> {
    let length = libc::socklen_t::try_from(value.len()).expect("short");
    // SAFETY: the descriptor is borrowed for the call, and the kernel reads `length` bytes of `value`.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value.as_ptr().cast(), length) };
    if result == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

fn listener(address: SocketAddr) -> Result<OwnedFd> {
    let socket = open(Transport::Tcp, address.is_ipv6(), SocketOptions::default())?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 16)?;
    Ok(socket)
}

fn listen_on_thread(address: SocketAddr, name: String) -> Result<OwnedFd> {
    let thread = std::thread::Builder::new().name(name).spawn(move || listener(address));
    thread.map_err(|_| Errno::AGAIN)?.join().map_err(|_| Errno::IO)?
}

fn listen_briefly(address: SocketAddr, milliseconds: u64) -> Result<()> {
    let _socket = listener(address)?;
    std::thread::sleep(Duration::from_millis(milliseconds));
    Ok(())
}

fn local(socket: BorrowedFd<'_>) -> Result<SocketAddr> {
    SocketAddr::try_from(rustix::net::getsockname(socket)?).map_err(|_| Errno::AFNOSUPPORT)
}

fn start_connect(socket: BorrowedFd<'_>, to: SocketAddr) -> Result<()> {
    rustix::io::ioctl_fionbio(socket, true)?;
    match rustix::net::connect(socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(()),
        Err(error) => Err(error),
    }
}

fn serve(listener: Arc<OwnedFd>) {
    std::thread::spawn(move || {
        while let Ok(accepted) = rustix::net::accept(&*listener) {
            let mut buffer = vec![0u8; 1 << 16];
            while matches!(rustix::net::recv(&accepted, &mut buffer[..], RecvFlags::empty()), Ok((length, _)) if length > 0)
            {
            }
        }
    });
}

/// Connects and closes with a reset, so that ten thousand connections do not exhaust the ports of one address with
/// TIME_WAIT.
fn connect_many(to: SocketAddr, times: u32, length: usize) -> Result<Reply> {
    let mut completed = 0;
    for _ in 0..times {
        let socket = open(Transport::Tcp, to.is_ipv6(), SocketOptions::default())?;
        rustix::net::connect(&socket, &to)?;
        if length > 0 {
            write_all(socket.as_fd(), length)?;
        }
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
        completed += 1;
    }
    Ok(Reply::Number(completed))
}

fn write_all(socket: BorrowedFd<'_>, length: usize) -> Result<()> {
    let chunk = vec![b'x'; length.min(1 << 16)];
    let mut left = length;
    while left > 0 {
        left -= rustix::net::send(socket, &chunk[..left.min(chunk.len())], SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

fn await_sent(socket: BorrowedFd<'_>) -> Result<()> {
    loop {
        let mut unsent: libc::c_int = 0;
        // SAFETY: the descriptor is borrowed for the call, which writes one int (SIOCOUTQ).
        if unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut unsent) } != 0 {
            return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
        }
        if unsent == 0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn read_exact(socket: BorrowedFd<'_>, length: usize) -> Result<()> {
    let mut chunk = vec![0u8; length.min(1 << 16)];
    let mut left = length;
    while left > 0 {
        let wanted = left.min(chunk.len());
        match rustix::net::recv(socket, &mut chunk[..wanted], RecvFlags::empty())?.0 {
            0 => return Err(Errno::PIPE),
            read => left -= read,
        }
    }
    Ok(())
}

fn send_to(socket: BorrowedFd<'_>, to: SocketAddr, length: usize, times: u32) -> Result<()> {
    let payload = vec![b'x'; length];
    for _ in 0..times {
        rustix::net::sendto(socket, &payload, SendFlags::empty(), &to)?;
    }
    Ok(())
}

/// A closed port sends no answer that this socket would receive.
fn spray(to: IpAddr) -> Result<()> {
    let socket = open(Transport::Udp, to.is_ipv6(), SocketOptions::default())?;
    for port in 1..=u16::MAX {
        rustix::net::sendto(&socket, b"x", SendFlags::empty(), &SocketAddr::new(to, port))?;
    }
    Ok(())
}

fn receive(socket: BorrowedFd<'_>, times: u32) -> Result<()> {
    let mut buffer = vec![0u8; 1 << 16];
    for _ in 0..times {
        rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty())?;
    }
    Ok(())
}

fn take(path: &Path) -> Result<OwnedFd> {
    let listener = UnixListener::bind(path).map_err(|_| Errno::IO)?;
    let (peer, _) = listener.accept().map_err(|_| Errno::IO)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0u8; 1];
    let mut slices = [std::io::IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(&peer, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut sockets) = message
            && let Some(socket) = sockets.next()
        {
            return Ok(socket);
        }
    }
    Err(Errno::NOMSG)
}

fn give(path: &Path, socket: BorrowedFd<'_>) -> Result<()> {
    let peer = loop {
        match UnixStream::connect(path) {
            Ok(peer) => break peer,
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let sockets = [socket];
    control.push(SendAncillaryMessage::ScmRights(&sockets));
    rustix::net::sendmsg(&peer, &[IoSlice::new(b"x")], &mut control, SendFlags::empty())?;
    Ok(())
}

fn nest_netns() -> Result<Reply> {
    // SAFETY: only the network namespace is left, and no descriptor table is unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET)? };
    let netns = rustix::fs::stat("/proc/thread-self/ns/net")?;
    Ok(Reply::Number(netns.st_ino))
}

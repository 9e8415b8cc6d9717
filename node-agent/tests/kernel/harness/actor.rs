//! The case's handle of an actor process: sends it requests, and ends it with the case.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use crate::actor::ACTOR_NETNS;
use crate::actor::protocol::{Reply, Request, SocketName, SocketOptions, Transport};

/// A real process in a namespace.
pub struct Actor {
    child: Mutex<Child>,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    pid: u32,
    next: Cell<SocketName>,
}

/// One of an actor's sockets. Dropping this handle closes nothing: closing is a request of its own.
#[derive(Clone, Copy)]
pub struct Socket<'a> {
    actor: &'a Actor,
    name: SocketName,
}

impl Actor {
    /// Starts an actor in a named namespace; with an empty name it stays in the host's.
    pub fn start(netns: &str) -> Self {
        Self::start_as(&std::env::current_exe().expect("this executable"), netns)
    }

    /// Starts an actor through another path to the same executable.
    pub fn start_as(executable: &Path, netns: &str) -> Self {
        let mut child = Command::new(executable)
            .env(ACTOR_NETNS, netns)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start an actor");
        let pipes = (child.stdin.take().expect("piped"), BufReader::new(child.stdout.take().expect("piped")));
        let pid = child.id();
        Self { child: Mutex::new(child), pipes: Mutex::new(pipes), pid, next: Cell::new(0) }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a request and returns its reply; `Err` is its errno.
    pub fn attempt(&self, request: &Request) -> Result<Reply, i32> {
        self.post(request);
        self.reply()
    }

    /// Sends a request without waiting for the reply; [`Self::reply`] takes it later.
    pub fn post(&self, request: &Request) {
        let mut line = serde_json::to_vec(request).expect("requests serialise");
        line.push(b'\n');
        self.pipes.lock().expect("not poisoned").0.write_all(&line).expect("the actor reads");
    }

    /// Takes the reply to a posted request.
    pub fn reply(&self) -> Result<Reply, i32> {
        let mut line = String::new();
        self.pipes.lock().expect("not poisoned").1.read_line(&mut line).expect("the actor answers");
        match serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("actor {} is gone: {error}", self.pid))
        {
            Reply::Refused(errno) => Err(errno),
            reply => Ok(reply),
        }
    }

    /// Sends a request that must succeed.
    pub fn order(&self, request: &Request) -> Reply {
        self.attempt(request).unwrap_or_else(|errno| {
            panic!("{request:?}: {}", std::io::Error::from_raw_os_error(errno));
        })
    }

    /// Sends a request whose reply is a number.
    pub fn number(&self, request: &Request) -> u64 {
        match self.order(request) {
            Reply::Number(number) => number,
            other => panic!("{request:?}: no number but {other:?}"),
        }
    }

    /// Returns a name that no socket of this actor has.
    pub fn fresh(&self) -> SocketName {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    pub fn open(&self, transport: Transport, v6: bool) -> Socket<'_> {
        self.open_with(transport, v6, SocketOptions::default())
    }

    pub fn open_with(&self, transport: Transport, v6: bool, options: SocketOptions) -> Socket<'_> {
        let name = self.fresh();
        self.order(&Request::Open { socket: name, transport, v6, options });
        Socket { actor: self, name }
    }

    /// Opens a TCP listener.
    pub fn listen(&self, address: &str) -> Socket<'_> {
        self.listen_with(address, SocketOptions::default())
    }

    pub fn listen_with(&self, address: &str, options: SocketOptions) -> Socket<'_> {
        let address = parse(address);
        let socket = self.open_with(Transport::Tcp, address.is_ipv6(), options);
        socket.bind(address);
        socket.listen(128);
        socket
    }

    /// Opens a TCP listener that accepts connections and reads them to the end.
    pub fn serve(&self, address: &str) -> Socket<'_> {
        let socket = self.listen(address);
        socket.serve();
        socket
    }

    /// Opens a bound UDP socket.
    pub fn udp(&self, address: &str) -> Socket<'_> {
        let address = parse(address);
        let socket = self.open(Transport::Udp, address.is_ipv6());
        socket.bind(address);
        socket
    }

    /// Opens a TCP connection, which must complete.
    pub fn connect(&self, to: SocketAddr) -> Socket<'_> {
        let socket = self.open(Transport::Tcp, to.is_ipv6());
        self.order(&Request::Connect { socket: socket.name, to });
        socket
    }

    /// Connects and closes `times` times; all connections must complete.
    pub fn connect_many(&self, to: SocketAddr, times: u32) {
        assert_eq!(self.number(&Request::ConnectMany { to, times, length: 0 }), u64::from(times));
    }

    /// Tries to connect; `Err` is the errno.
    pub fn try_connect(&self, to: SocketAddr) -> Result<(), i32> {
        let socket = self.open(Transport::Tcp, to.is_ipv6());
        let result = self.attempt(&Request::Connect { socket: socket.name, to }).map(|_| ());
        socket.close();
        result
    }

    /// Sends SIGKILL to the process and waits until it has ended.
    pub fn kill(&self) {
        let mut child = self.child.lock().expect("not poisoned");
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Socket<'_> {
    pub fn name(self) -> SocketName {
        self.name
    }

    pub fn bind(self, address: SocketAddr) {
        self.actor.order(&Request::Bind { socket: self.name, address });
    }

    pub fn listen(self, backlog: i32) {
        self.actor.order(&Request::Listen { socket: self.name, backlog });
    }

    pub fn serve(self) {
        self.actor.order(&Request::Serve { socket: self.name });
    }

    pub fn connect(self, to: SocketAddr) {
        self.actor.order(&Request::Connect { socket: self.name, to });
    }

    pub fn start_connect(self, to: SocketAddr) {
        self.actor.order(&Request::StartConnect { socket: self.name, to });
    }

    pub fn disconnect(self) {
        self.actor.order(&Request::Disconnect { socket: self.name });
    }

    pub fn accept(self) -> Self {
        let accepted = self.actor.fresh();
        self.actor.order(&Request::Accept { socket: self.name, accepted });
        Self { actor: self.actor, name: accepted }
    }

    pub fn shutdown(self) {
        self.actor.order(&Request::Shutdown { socket: self.name });
    }

    pub fn close(self) {
        self.actor.order(&Request::Close { socket: self.name });
    }

    pub fn write(self, length: usize) {
        self.actor.order(&Request::Write { socket: self.name, length });
    }

    pub fn send_to(self, to: SocketAddr, length: usize, times: u32) {
        self.actor.order(&Request::SendTo { socket: self.name, to, length, times });
    }

    pub fn receive(self, times: u32) {
        self.actor.order(&Request::Receive { socket: self.name, times });
    }

    pub fn local(self) -> SocketAddr {
        match self.actor.order(&Request::Local { socket: self.name }) {
            Reply::Address(address) => address,
            other => panic!("no address but {other:?}"),
        }
    }
}

/// Parses an address with a port.
pub fn parse(address: &str) -> SocketAddr {
    address.parse().unwrap_or_else(|_| panic!("{address} is no address with port"))
}

/// Returns the address with this port.
pub fn at(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address, port)
}

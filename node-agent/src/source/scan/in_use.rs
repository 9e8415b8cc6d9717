//! Reads from the kernel's counters whether a netns has sockets of a protocol at all. This avoids dumps, which walk
//! tables of the whole node even for a netns without sockets.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Files of the netns of the thread that opens them.
const FILES: [&str; 2] = ["/proc/thread-self/net/sockstat", "/proc/thread-self/net/sockstat6"];
/// Buffer size in bytes; larger than either file.
const SIZE: usize = 1024;

/// Which tables hold sockets of the netns; `true` where the kernel does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InUse {
    pub tcp: bool,
    pub udp_v4: bool,
    pub udp_v6: bool,
}

impl InUse {
    /// Reads the counters of the calling thread's netns. Reads each file twice: the counters are per CPU, so a socket
    /// that opens on one CPU and closes on another during the sum can hide one that stays. Only a count that is zero
    /// twice counts as zero.
    pub(super) fn here() -> Self {
        let mut in_use = Self { tcp: false, udp_v4: false, udp_v6: false };
        for file in FILES {
            match File::open(file) {
                Ok(file) => [(); 2].iter().for_each(|()| in_use.add(&read(&file))),
                // sockstat6 does not exist without IPv6. If neither file exists, nothing is known.
                Err(error) if error.kind() == io::ErrorKind::NotFound && file == FILES[1] => {}
                Err(_) => in_use.add(""),
            }
        }
        in_use
    }

    fn add(&mut self, text: &str) {
        let is_v6 = text.starts_with("TCP6:");
        let used = |name: &str| text.lines().find_map(|line| number(line, name)).is_none_or(|used| used > 0);
        if is_v6 {
            self.tcp |= used("TCP6:");
            self.udp_v6 |= used("UDP6:");
        } else {
            self.tcp |= used("TCP:");
            self.udp_v4 |= used("UDP:");
            self.udp_v6 |= text.is_empty();
        }
    }
}

/// Returns the content; empty if the file cannot be read.
fn read(file: &File) -> String {
    let mut buffer = [0; SIZE];
    let length = file.read_at(&mut buffer, 0).unwrap_or_default();
    String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned()
}

/// Parses the number of a line `NAME inuse N …`.
fn number(line: &str, name: &str) -> Option<u64> {
    let mut words = line.strip_prefix(name)?.split_whitespace();
    words.find(|word| *word == "inuse")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;
    use crate::source::netns::enter::unshare_netns;

    fn of(texts: &[&str]) -> InUse {
        let mut in_use = InUse { tcp: false, udp_v4: false, udp_v6: false };
        texts.iter().for_each(|text| in_use.add(text));
        in_use
    }

    #[test]
    fn what_is_not_said_may_be_there() {
        let none = "sockets: used 9\nTCP: inuse 0 orphan 0 tw 0 alloc 16 mem 2\nUDP: inuse 0 mem 1\nUDPLITE: inuse 0\n";
        let v6 = "TCP6: inuse 0\nUDP6: inuse 2\nUDPLITE6: inuse 0\n";
        let all = InUse { tcp: true, udp_v4: true, udp_v6: true };
        assert_eq!(of(&[none]), InUse { tcp: false, udp_v4: false, udp_v6: false });
        assert_eq!(of(&[none, v6]), InUse { tcp: false, udp_v4: false, udp_v6: true });
        assert!(of(&[&none.replace("TCP: inuse 0", "TCP: inuse 1"), v6]).tcp);
        assert_eq!(of(&[""]), all);
        assert!(of(&["TCP: inuse x\nUDP: inuse 0\n"]).tcp);
    }

    /// Runs in a new netns where that is allowed, else in the current one.
    #[test]
    fn sockets_that_serve_are_in_use() {
        std::thread::spawn(|| {
            if unshare_netns().is_ok() {
                assert_eq!(InUse::here(), InUse { tcp: false, udp_v4: false, udp_v6: false });
            }
            let _tcp = TcpListener::bind("0.0.0.0:0").expect("bind");
            assert!(InUse::here().tcp);
            let _udp = UdpSocket::bind("0.0.0.0:0").expect("bind");
            assert!(InUse::here().udp_v4);
            if let (Ok(_tcp), Ok(_udp)) = (TcpListener::bind("[::]:0"), UdpSocket::bind("[::]:0")) {
                assert!(InUse::here().udp_v6);
            }
        })
        .join()
        .expect("the thread");
    }
}

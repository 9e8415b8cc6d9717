//! A network device without a link header: what is written to it arrives as a packet in the netns where it was created.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;

use rustix::io::{Errno, Result};

const TUNSETIFF: libc::Ioctl = 0x4004_54ca;

/// A tun device; the kernel removes it with its descriptor.
pub struct Tun(File);

impl Tun {
    pub fn open(name: &str) -> Result<Self> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun").map_err(errno)?;
        // SAFETY: an ifreq of zeros is one.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (place, byte) in request.ifr_name.iter_mut().take(15).zip(name.bytes()) {
            *place = libc::c_char::try_from(byte).expect("ascii");
        }
        request.ifr_ifru.ifru_flags =
            libc::c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI).expect("flags");
        // SAFETY: the descriptor is open, and the kernel reads and writes one ifreq, which lives on this stack.
        if unsafe { libc::ioctl(device.as_raw_fd(), TUNSETIFF, &raw mut request) } < 0 {
            return Err(errno(std::io::Error::last_os_error()));
        }
        Ok(Self(device))
    }

    pub fn write(&mut self, packet: &[u8]) -> Result<()> {
        self.0.write_all(packet).map_err(errno)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "called as map_err does")]
fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

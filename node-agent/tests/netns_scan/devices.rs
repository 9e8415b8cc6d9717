//! Sockets that are bound to a device: what arrives at other devices does not reach them.

use portolan_engine::model::socket::ScannedSocket;

use crate::lab::{Netns, collected_of};

const BOUND_TO_DEVICES: &str = "
keep = []
def bound(family, kind, address, port, device):
    s = socket.socket(family, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    s.bind((address, port))
    if kind == socket.SOCK_STREAM: s.listen()
    keep.append(s)
for base, kind in [(1000, socket.SOCK_STREAM), (2000, socket.SOCK_DGRAM)]:
    bound(socket.AF_INET, kind, '0.0.0.0', base + 1, 'lo')
    bound(socket.AF_INET6, kind, '::', base + 2, 'lo')
    bound(socket.AF_INET, kind, '0.0.0.0', base + 3, 'veth0')
    bound(socket.AF_INET, kind, '127.0.0.1', base + 4, 'veth0')
    bound(socket.AF_INET6, kind, '::', base + 6, 'gone0')
    bound(socket.AF_INET, kind, '0.0.0.0', base + 7, 'bridge0')
";

#[test]
fn a_socket_bound_to_a_device_is_reached_only_through_it() {
    let netns = Netns::new("devices");
    netns.batch(
        "link add veth0 type veth peer name veth1\nlink set veth0 up\nlink add bridge0 type bridge\n\
         link add gone0 type veth peer name gone1\n",
    );
    let _serving = netns.python(BOUND_TO_DEVICES);
    netns.batch("link del gone0\n");
    let scan = collected_of(&netns).scan.expect("scanned");
    let inside = |socket: &&ScannedSocket| socket.on_loopback || socket.address.is_loopback();
    let mut ports: Vec<u16> = scan.sockets.iter().filter(inside).map(|s| s.port.port.get()).collect();
    ports.sort_unstable();
    assert_eq!(scan.sockets.len(), 12);
    assert_eq!(ports, [1001, 1002, 1004, 1006, 2001, 2002, 2004, 2006]);
}
